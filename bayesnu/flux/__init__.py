"""Neutrino fluxes as tables."""
