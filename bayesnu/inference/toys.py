"""Pseudo-experiments: pulls from their constraints, counts from the expectation, how likely counts are, and fits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError
from bayesnu.inference.batch import fit_couplings, fixed_fits, require_converged, starting_points
from bayesnu.inference.likelihood import Problem, minimise_pulls
from bayesnu.inference.negative_binomial import draw_mixed, mixed_log_density

Array = NDArray[np.float64]
Ensemble = Literal["constraint", "fit", "posterior"]
ENSEMBLES: tuple[Ensemble, ...] = get_args(Ensemble)
"""Where the pulls of pseudo-experiments come from; see `pseudo_experiments`."""
MOST_REDRAWS = 1000


@dataclass(frozen=True)
class PseudoData:
    """Pseudo-experiments of one truth.

    Attributes
    ----------
    counts : ndarray, shape (toys, obs)
    centre : ndarray, shape (toys, pulls)
        What the auxiliary measurement of each pull gave, in units of its width.
    pulls : ndarray, shape (toys, pulls)
        The true z.
    """

    counts: Array
    centre: Array
    pulls: Array


@dataclass(frozen=True)
class ToyFits:
    """Fits of pseudo-experiments: at the true couplings, and at the best ones.

    Attributes
    ----------
    data : PseudoData
    best : ndarray, shape (toys, couplings)
        Scaled values of the best fit.
    value : ndarray, shape (toys,)
        -2 ln L at the best fit.
    statistic : ndarray, shape (toys,)
        t = -2 ln L(truth)/L(best fit), pulls profiled in both; not negative.
    """

    data: PseudoData
    best: Array
    value: Array
    statistic: Array


BLOCK = 2000
"""Draws whose counts are computed at once."""


def expected_draws(problem: Problem, theta: Array, pulls: Array) -> Array:
    """Return the expected counts of draws: theta (couplings, N) in own units, pulls (N, pulls) → (N, obs)."""
    expected = np.empty((pulls.shape[0], problem.data.size))
    scaled = theta / problem.scales[:, None]
    for start in range(0, pulls.shape[0], BLOCK):
        # Counts by component are several times as many numbers.
        own = slice(start, start + BLOCK)
        strengths = problem.model.signal_strengths(scaled[:, own])
        expected[own] = np.einsum("gc,gco->go", problem.model.pull_factors(pulls[own]), strengths)
    return expected


def draw_counts(problem: Problem, expected: Array, rng: np.random.Generator) -> Array:
    """Draw data about expected counts: Poisson, about a gamma-distributed mean, or normal with measured errors."""
    if problem.statistic == "chi2":
        return np.asarray(rng.normal(expected, np.sqrt(problem.normal_variance)))
    if problem.statistic in ("gamma-poisson", "mixed"):
        return draw_mixed(expected, problem.normal_variance, problem.relative_variance, rng)
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
    # Beside counts, a measurement with a normal error may be of something negative.
    counted = ~problem.normal | problem.normal.all()
    while (bad := unsupported(pulls, counts[:, counted])).any():
        pulls[bad] = widths * rng.standard_normal((int(bad.sum()), widths.size))
        counts[bad] = expected_draws(problem, theta[:, bad], pulls[bad])
    return pulls, counts


def unsupported(pulls: Array, counts: Array) -> NDArray[np.bool_]:
    """Return for which draws a factor 1 + f is not positive, or a count negative."""
    return np.asarray((pulls <= -1).any(axis=-1) | (counts < 0).any(axis=-1))


def log_likelihood(problem: Problem, expected: Array) -> Array:
    """Return ln p(data | expected), normal, negative binomial or Poisson; broadcast shape."""
    if problem.statistic == "poisson":
        return poisson_log_likelihood(problem.data, expected)
    return np.asarray(mixed_log_density(problem.data, expected, problem.normal_variance, problem.relative_variance))


def poisson_log_likelihood(counts: Array, expected: Array) -> Array:
    """Return ln Poisson(n | λ) continued to real n; broadcast shape."""
    from scipy.special import gammaln, xlogy

    return np.asarray(xlogy(counts, expected) - expected - gammaln(counts + 1))


def pseudo_experiments(
    problem: Problem, truth: Array, number: int, rng: np.random.Generator, ensemble: Ensemble = "constraint"
) -> PseudoData:
    """Draw pseudo-experiments at true couplings.

    Parameters
    ----------
    problem : Problem
        Its own data matter to the ensembles "fit" and "posterior", and to free pulls.
    truth : ndarray, shape (couplings,)
        Scaled values.
    number : int
    rng : numpy.random.Generator
    ensemble : {"constraint", "fit", "posterior"}
        "constraint": the pulls of each are drawn from their constraints, whose auxiliary measurements stay at 0.
        "fit": the pulls are those that fit the problem's data best at the truth, and each auxiliary measurement
        fluctuates about its pull: the profile construction of Feldman and Cousins' intervals with nuisances.
        "posterior": as "fit", with the pulls drawn from their posterior at the truth (Laplace's method).
        A free pull has no constraint to draw from: in "constraint" it has the value that fits the data best.
    """
    model = problem.model
    constrained = model.constraint > 0
    fitted = minimise_pulls(problem, truth[:, None])
    if not fitted.converged.all():
        raise ConvergenceError("the pulls do not fit the data at this truth; choose another one")
    if ensemble == "posterior":
        spread = np.linalg.cholesky(np.linalg.inv(fitted.hessian[0]))
    strengths = model.signal_strengths(truth[:, None])[0]
    z, expected = np.empty((number, constrained.size)), np.empty((number, problem.data.size))
    todo = np.ones(number, dtype=np.bool_)
    for _ in range(MOST_REDRAWS):
        draws = rng.standard_normal((int(todo.sum()), constrained.size))
        if ensemble == "constraint":
            z[todo] = np.where(constrained, draws, fitted.pulls[0])
        elif ensemble == "fit":
            z[todo] = fitted.pulls[0]
        else:
            z[todo] = fitted.pulls[0] + draws @ spread.T
        pulls = model.widths * z
        expected[todo] = np.einsum("tc,co->to", model.pull_factors(pulls[todo]), strengths)
        # Where a factor or a count would be negative there is no likelihood, and no experiment.
        todo = unsupported(pulls, expected)
        if not todo.any():
            break
    else:
        raise ConvergenceError("pulls of pseudo-experiments make counts negative; choose narrower pulls")
    centre = np.zeros_like(z)
    if ensemble != "constraint":
        centre = np.where(constrained, z + rng.standard_normal(z.shape), 0.0)
    return PseudoData(draw_counts(problem, expected, rng), centre, z)


def toy_fits(
    problem: Problem,
    truth: Array,
    number: int,
    rng: np.random.Generator,
    ensemble: Ensemble = "constraint",
) -> ToyFits:
    """Draw pseudo-experiments at true couplings and fit each twice: pulls alone at the truth, and all together.

    Parameters
    ----------
    problem : Problem
    truth : ndarray, shape (couplings,)
        Scaled values.
    number : int
    rng : numpy.random.Generator
    ensemble : {"constraint", "fit", "posterior"}
        See `pseudo_experiments`.

    Raises
    ------
    ConvergenceError
        If a fit fails.
    """
    data = pseudo_experiments(problem, truth, number, rng, ensemble)
    starts = starting_points(problem, truth)
    best = fit_couplings(problem, data.counts, starts, data.centre, data.pulls)
    require_converged(best.converged, f"toys of {', '.join(problem.couplings)}")
    fixed = fixed_fits(problem, truth[:, None], data.counts, data.centre, data.pulls)[:, 0]
    return ToyFits(data, best.couplings, best.value, np.maximum(fixed - best.value, 0.0))


def quantile_with_error(sample: Array, probability: float) -> tuple[float, float]:
    """Return a quantile of independent values, shape (toys,), and its standard error.

    The error is half the distance of the two order statistics one binomial standard deviation, √(p (1 - p)/n), below
    and above it, which needs no density.
    """
    spread = math.sqrt(probability * (1 - probability) / sample.size)
    levels = [probability, max(probability - spread, 0.0), min(probability + spread, 1.0)]
    # The order statistic whose median is the quantile: of few values, the usual one is too low far out.
    value, below, above = (float(q) for q in np.quantile(sample, levels, method="median_unbiased"))
    return value, (above - below) / 2
