"""Likelihood, profile, Laplace posterior, priors, the PyMC model and its sampling."""
