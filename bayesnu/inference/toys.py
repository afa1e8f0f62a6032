"""Pseudo-experiments: pulls from their constraints, counts from the expectation, and how likely counts are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesnu.inference.likelihood import Problem

Array = NDArray[np.float64]


def expected_draws(problem: Problem, theta: Array, pulls: Array) -> Array:
    """Return the expected counts of draws: theta (couplings, N) in own units, pulls (N, pulls) → (N, obs)."""
    strengths = problem.model.signal_strengths(theta / problem.scales[:, None])
    factors = problem.model.pull_factors(pulls)
    return np.asarray(np.einsum("gc,gco->go", factors, strengths))


def draw_counts(problem: Problem, expected: Array, rng: np.random.Generator) -> Array:
    """Draw data about expected counts: Poisson, or normal with measured errors."""
    if problem.statistic == "chi2":
        return np.asarray(rng.normal(expected, np.sqrt(problem.variance)))
    # Expectations beyond NumPy's range (priors far wider than data) stay as they are.
    limit = 1e18
    return np.where(expected < limit, rng.poisson(np.minimum(expected, limit)).astype(float), expected)


def draw_prior_pulls(problem: Problem, theta: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return draws of the pulls from their constraints, (draws, pulls) in fractions, and expected counts, (draws, obs).

    Where a factor 1 + f or a count would be negative the likelihood has no support: such draws are drawn again.
    A free pull has a flat prior, which cannot be drawn from; it is drawn from the normal of its width instead.

    Parameters
    ----------
    problem : Problem
    theta : ndarray, shape (couplings, draws)
        Couplings in their own units.
    rng : numpy.random.Generator
    """
    widths, draws = problem.model.widths, theta.shape[1]
    pulls = widths * rng.standard_normal((draws, widths.size))
    counts = expected_draws(problem, theta, pulls)
    while (bad := unsupported(pulls, counts)).any():
        pulls[bad] = widths * rng.standard_normal((int(bad.sum()), widths.size))
        counts[bad] = expected_draws(problem, theta[:, bad], pulls[bad])
    return pulls, counts


def unsupported(pulls: Array, counts: Array) -> NDArray[np.bool_]:
    """Return for which draws a factor 1 + f is not positive, or a count negative."""
    return np.asarray((pulls <= -1).any(axis=-1) | (counts < 0).any(axis=-1))


def log_likelihood(problem: Problem, expected: Array) -> Array:
    """Return ln p(data | expected), normal or Poisson; broadcast shape."""
    if problem.statistic == "chi2":
        return np.asarray(
            -((problem.data - expected) ** 2 / problem.variance + np.log(2 * np.pi * problem.variance)) / 2
        )
    return poisson_log_likelihood(problem.data, expected)


def poisson_log_likelihood(counts: Array, expected: Array) -> Array:
    """Return ln Poisson(n | λ) continued to real n; broadcast shape."""
    from scipy.special import gammaln, xlogy

    return np.asarray(xlogy(counts, expected) - expected - gammaln(counts + 1))
