"""Tables for the terminal, figures of a run and the HTML report."""
