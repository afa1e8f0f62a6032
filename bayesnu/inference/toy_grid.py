"""Posteriors of many data sets at once on one grid of a coupling, pulls marginalised by Laplace's method.

What `bayesnu.inference.laplace` does for one data set, for coverage and expected limits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError
from bayesnu.inference.batch import profile_curves
from bayesnu.inference.likelihood import Problem, likelihood_range, minimise_pulls, squared_only
from bayesnu.inference.priors import Prior

Array = NDArray[np.float64]
POINTS = 161
LOG_POINTS = 48
"""Beside these, down to the lowest floor of a log-uniform prior."""
REACH = 60.0
"""Δ(-2 ln L) of the Asimov data at the truth at the ends of the grid: toys fluctuate by some standard deviations."""
SPAN = 60.0
"""Δ(-2 ln L) of a data set above which a failed fit does not matter."""


@dataclass(frozen=True)
class ToyPosteriors:
    """-2 ln L and the marginal likelihood of data sets on a grid.

    Attributes
    ----------
    values : ndarray, shape (points,)
        In the coupling's own unit, increasing.
    deviance : ndarray, shape (sets, points)
        -2 ln L with the pulls minimised; infinite where that failed, far from the minimum.
    log_likelihood : ndarray, shape (sets, points)
        ln of the likelihood with the pulls marginalised, up to a constant.
    """

    values: Array
    deviance: Array
    log_likelihood: Array

    def density(self, prior: Prior) -> Array:
        """Return the normalised posterior density per unit of the coupling, shape (sets, points)."""
        log_density = self.log_likelihood + prior.log_density(self.values)
        highest = log_density.max(axis=1, keepdims=True)
        if not np.isfinite(highest).all():
            raise ConvergenceError(f"{prior.coupling.name}: no point of the grid is in the support of the prior")
        density = np.exp(log_density - highest)
        return np.asarray(density / cell_masses(self.values, density, logarithmic(prior)).sum(axis=1)[:, None])


def logarithmic(prior: Prior) -> bool:
    """Return whether integrals are done in the logarithm: where a prior spreads over decades."""
    return prior.kind == "log-uniform"


def asimov_data(problem: Problem, truth: float) -> Array:
    """Return the expected counts at a scaled value, constrained pulls at 0 and free ones at their fit."""
    model = problem.model
    fitted = minimise_pulls(problem, np.array([[truth]])).pulls[0]
    pulls = model.widths * np.where(model.constraint > 0, 0.0, fitted)
    counts = model.pull_factors(pulls) @ model.signal_strengths(np.array([[truth]]))[0]
    return np.asarray(counts)


def posterior_grid(problem: Problem, truth: float, priors: tuple[Prior, ...]) -> Array:
    """Return values that hold the posteriors of data made at a scaled value, that value among them; own unit."""
    scale = float(problem.scales[0])
    at_truth = replace(problem, data=asimov_data(problem, truth))
    low, high = (bound * scale for bound in likelihood_range(at_truth, REACH, exact=False))
    reach = [prior.reach for prior in priors]
    low, high = max(low, min(r[0] for r in reach)), min(high, max(r[1] for r in reach))
    if not (np.isfinite(high - low) and low < high):
        raise ConvergenceError(f"{problem.couplings[0]}: neither data nor priors bound it; give it a prior with bounds")
    # Ends of supports, so that no cell is cut by one.
    edges = [edge for edge in (truth * scale, *np.ravel(reach).tolist()) if low <= edge <= high]
    grid = [np.linspace(low, high, POINTS), np.array(edges)]
    floors = [prior.low for prior in priors if logarithmic(prior)]
    if floors and squared_only(problem)[0]:
        grid.append(np.geomspace(min(floors), high, LOG_POINTS))
    return np.unique(np.concatenate(grid))


def toy_posteriors(problem: Problem, values: Array, counts: Array, centre: Array) -> ToyPosteriors:
    """Return the likelihoods of data sets on a grid.

    Parameters
    ----------
    problem : Problem
        Of one coupling.
    values : ndarray, shape (points,)
        In the coupling's own unit.
    counts, centre : ndarray, shape (sets, obs), (sets, pulls)

    Raises
    ------
    ConvergenceError
        If a fit fails where the likelihood is not negligible.
    """
    curves = profile_curves(problem, counts, values[None, :] / float(problem.scales[0]), centre)
    lowest = np.where(curves.converged, curves.value, np.inf).min(axis=1, keepdims=True)
    if (~curves.converged & (curves.value < lowest + SPAN)).any():
        raise ConvergenceError(f"{problem.couplings[0]}: fits of toys did not converge; check counts and pulls")
    deviance = np.where(curves.converged, curves.value, np.inf)
    return ToyPosteriors(values, deviance, -deviance / 2 - np.where(curves.converged, curves.log_det, 0.0) / 2)


def cell_masses(values: Array, density: Array, in_logarithm: bool = False) -> Array:
    """Return the integral of a density over each cell of a grid, shape (…, points - 1), by the trapezoid rule."""
    if in_logarithm:
        positive = values > 0
        x = np.log(np.where(positive, values, 1.0))
        width = np.where(positive[:-1] & positive[1:], np.diff(x), 0.0)
        per_x = density * values
    else:
        width, per_x = np.diff(values), density
    return np.asarray(width * (per_x[..., 1:] + per_x[..., :-1]) / 2)


def mass_below(values: Array, density: Array, value: float, in_logarithm: bool = False) -> Array:
    """Return the probability below a value that is a point of the grid, shape (sets,)."""
    masses = cell_masses(values, density, in_logarithm)
    return np.asarray(masses[:, values[1:] <= value].sum(axis=1))


def mass_denser(values: Array, density: Array, value: float, in_logarithm: bool = False) -> Array:
    """Return the probability of all values that are denser than one, which is a point of the grid; shape (sets,).

    The value is in the highest-density set of a probability exactly if this is less.
    """
    place = int(np.argmin(np.abs(values - value)))
    level = density[:, place : place + 1]
    low, high = np.minimum(density[:, 1:], density[:, :-1]), np.maximum(density[:, 1:], density[:, :-1])
    masses = cell_masses(values, density, in_logarithm)
    # In a cell that the level cuts, the density is linear: the part above it, and its mean density.
    cut = (low < level) & (high > level)
    part = np.divide(high - level, high - low, out=np.zeros_like(high), where=cut)
    mean = np.divide((high + level), (high + low), out=np.ones_like(high), where=high + low > 0)
    share = np.where(low >= level, 1.0, np.where(cut, part * mean, 0.0))
    # Equal densities, as of the cell's own end, are not denser.
    share = np.where(high <= level, 0.0, share)
    return np.asarray((masses * share).sum(axis=1))
