"""From posteriors to intervals, diagnostics, comparisons and stored runs."""
