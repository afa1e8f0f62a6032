"""A finished run for other programs and archives: HEPData, pyhf, CSV and LaTeX."""
