"""Figures from results: data in, Figure out; nothing is computed or saved here."""
