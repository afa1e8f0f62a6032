"""From a card to expected counts: schema, templates, backgrounds, expectation, data."""
