"""Bayesian inference on the electromagnetic properties of neutrinos."""

__version__ = "0.1.0"
