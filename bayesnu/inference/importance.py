"""Weighted draws of the posterior of one coupling and the pulls, from its Laplace grid: no chain, no tuning.

θ is drawn from the grid's density, z from Student's t about its most probable value at θ with the covariance H(θ)⁻¹;
the weight p(n | θ, z) p(θ) p(z)/q(θ, z) makes averages those of the exact posterior. The tail of the weights tells
whether there are enough: a generalised Pareto distribution with shape k has moments up to 1/k, so that below
k = 0.5 their variance is finite (Vehtari et al., J. Mach. Learn. Res. 25 (2024) 72).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError
from bayesnu.inference.laplace import GridPosterior, laplace_posterior
from bayesnu.inference.likelihood import Problem, minimise_pulls
from bayesnu.inference.negative_binomial import mixed_log_density
from bayesnu.inference.priors import Prior
from bayesnu.inference.toys import expected_draws

Array = NDArray[np.float64]
POINTS = 401
"""Of the grid; a density linear between them is what θ is drawn from, so that weights make up for the rest."""
KNOTS = 41
"""Couplings at which the pulls are minimised, between the first and the last of the grid that is ever drawn."""
TAIL = 30.0
"""Degrees of freedom of Student's t: tails above those of a Gamma cost little elsewhere."""
LEAST_TAIL = 5
"""Weights that a Pareto distribution is fitted to at least."""


@dataclass(frozen=True)
class ImportanceDraws:
    """Independent draws with weights.

    Attributes
    ----------
    theta : ndarray, shape (draws,)
        The coupling in its own unit.
    pulls : ndarray, shape (draws, pulls)
        Pulls as fractions.
    weight : ndarray, shape (draws,)
        Their sum is 1.
    pareto_k : float
        Shape of the weights' tail.
    grid : GridPosterior
        What the coupling is drawn from.
    """

    theta: Array
    pulls: Array
    weight: Array
    pareto_k: float
    grid: GridPosterior

    @property
    def effective(self) -> float:
        """How many equally weighted draws they are worth (Kish): (Σ w)²/Σ w²."""
        return float(1 / (self.weight**2).sum())


def laplace_draws(problem: Problem, prior: Prior, number: int, seed: int) -> ImportanceDraws:
    """Return weighted draws of the posterior of a one-coupling problem.

    Parameters
    ----------
    problem : Problem
        One coupling, statistic "poisson" or one that stands in its place.
    prior : Prior
    number : int
    seed : int

    Raises
    ------
    ConvergenceError
        If a minimisation fails, -ln L has no minimum in the pulls, or no draw is possible.
    """
    rng = np.random.default_rng(seed)
    grid = laplace_posterior(problem, prior, points=POINTS)
    theta, log_theta = drawn_from(grid, number, rng)
    # Between knots the most probable pulls are linear, and the covariance is that of the nearest one.
    knots = np.linspace(theta.min(), theta.max(), KNOTS)
    profiled = minimise_pulls(problem, knots[None, :] / float(problem.scales[0]))
    profiled.require(problem, np.inf)
    place = (theta - knots[0]) / max(knots[-1] - knots[0], np.finfo(float).tiny) * (KNOTS - 1)
    left = np.minimum(place.astype(np.int64), KNOTS - 2)
    share = (place - left)[:, None]
    centre = (1 - share) * profiled.pulls[left] + share * profiled.pulls[left + 1]
    nearest = np.rint(place).astype(np.int64)
    try:
        root = np.linalg.inv(np.linalg.cholesky(profiled.hessian))
    except np.linalg.LinAlgError as error:
        raise ConvergenceError(
            "-ln L has no minimum in the pulls where the posterior is; draw from it by the method nuts"
        ) from error
    pulls = profiled.pulls.shape[1]
    noise = rng.standard_normal((number, pulls)) / np.sqrt(rng.chisquare(TAIL, number) / TAIL)[:, None]
    # H = L Lᵀ and R = L⁻¹, so that noise R has the covariance Rᵀ R = H⁻¹.
    z = centre + (noise[:, None, :] @ root[nearest])[:, 0]
    log_width = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)[nearest]
    log_z = -(TAIL + pulls) / 2 * np.log1p((noise**2).sum(axis=1) / TAIL) - log_width
    log_weight = log_posterior(problem, prior, theta, z) - log_theta - log_z
    if not np.isfinite(log_weight.max(initial=-np.inf)):
        raise ConvergenceError(f"{prior.coupling.name}: none of {number} draws of the posterior is possible")
    weight = np.exp(log_weight - log_weight.max())
    return ImportanceDraws(theta, z * problem.model.widths, weight / weight.sum(), pareto_k(log_weight), grid)


def drawn_from(grid: GridPosterior, number: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return independent draws of a density that is linear between the points of a grid, and its logarithm there."""
    x, density = grid.values, grid.density
    mass = np.diff(x) * (density[1:] + density[:-1]) / 2
    cumulative = np.append(0.0, np.cumsum(mass))
    target = rng.random(number) * cumulative[-1]
    k = np.minimum(np.searchsorted(cumulative, target, side="right") - 1, mass.size - 1)
    # f0 t + (f1 - f0) t²/2 is the share of the cell's mean density; the stable root.
    f0, f1 = density[k], density[k + 1]
    wanted = (target - cumulative[k]) / mass[k] * (f0 + f1) / 2
    t = 2 * wanted / (f0 + np.sqrt(np.maximum(f0**2 + 2 * (f1 - f0) * wanted, 0.0)))
    t = np.clip(t, 0.0, 1.0)
    with np.errstate(divide="ignore"):
        return x[k] + t * (x[k + 1] - x[k]), np.log(f0 + (f1 - f0) * t) - np.log(cumulative[-1])


def log_posterior(problem: Problem, prior: Prior, theta: Array, z: Array) -> Array:
    """Return ln p(n | θ, z) p(θ) p(z) up to a constant, -inf without support; theta (points,), z (points, pulls)."""
    model, n = problem.model, problem.data
    pulls = z * model.widths
    expected = expected_draws(problem, theta[None, :], pulls)
    possible = (pulls > -1).all(axis=1)
    if problem.statistic == "chi2":
        terms = -((n - expected) ** 2) / problem.normal_variance / 2
    else:
        possible &= (problem.normal | (expected > 0) | ((expected == 0) & (n == 0))).all(axis=1)
        safe = np.where(problem.normal | (expected > 0), expected, 1.0)
        if problem.statistic == "poisson":
            # `log_likelihood` of toys has ln n! too, and SciPy with it, whose import takes as long as all of this.
            terms = n * np.log(safe) - expected
        else:
            terms = np.asarray(mixed_log_density(n, safe, problem.normal_variance, problem.relative_variance))
    value = terms.sum(axis=1) - z**2 @ model.constraint / 2 + prior.log_density(theta)
    return np.where(possible, value, -np.inf)


def pareto_k(log_weight: Array) -> float:
    """Return the shape of a generalised Pareto distribution fitted to the largest of some weights.

    The empirical Bayes estimate of Zhang and Stephens (Technometrics 51 (2009) 316), drawn towards 0.5 as by ten
    further weights (Vehtari et al., appendix C); of the 3 √n largest weights, but no more than a fifth of all. ArviZ
    has the same number, which tests hold this one equal to; its import takes longer than drawing and weighing.

    Returns
    -------
    float
        -inf where all weights are the same; infinite where there are too few to tell.
    """
    n = log_weight.size
    tail = int(min(n / 5, 3 * np.sqrt(n)))
    ordered = np.exp(np.sort(log_weight)[-tail - 1 :] - log_weight.max())
    if tail < LEAST_TAIL:
        return float("inf")
    x = ordered[1:] - ordered[0]
    if x[-1] <= np.finfo(float).eps:
        return float("-inf")
    quartile = x[int(tail / 4 + 0.5) - 1]
    if quartile <= 0:
        return float("inf")
    trials = 30 + int(np.sqrt(tail))
    b = 1 / x[-1] + (1 - np.sqrt(trials / (np.arange(trials) + 0.5))) / (3 * quartile)
    k = np.log1p(-b[:, None] * x).mean(axis=1)
    log_likelihood = tail * (np.log(-b / k) - k - 1)
    share = np.exp(log_likelihood - log_likelihood.max())
    mean = float(b @ share / share.sum())
    own = float(np.log1p(-mean * x).mean())
    return (own * tail + 10 * 0.5) / (tail + 10)
