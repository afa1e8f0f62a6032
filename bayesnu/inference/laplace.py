"""Deterministic posterior of one coupling: a grid in the coupling, the pulls marginalised by Laplace's method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesnu.inference.likelihood import Problem, likelihood_range, minimise_pulls
from bayesnu.inference.priors import Prior

Array = NDArray[np.float64]
NEGLIGIBLY_SMALL = 1e-5
"""A coupling this far below the highest that the data allow changes no count."""


@dataclass(frozen=True)
class GridPosterior:
    """A posterior density on a grid.

    Attributes
    ----------
    coupling : str
    values : ndarray, shape (points,)
        Values of the coupling, in its own unit.
    density : ndarray, shape (points,)
        Normalised posterior density per unit.
    prior : Prior
    """

    coupling: str
    values: Array
    density: Array
    prior: Prior


def laplace_posterior(problem: Problem, prior: Prior, points: int = 1201) -> GridPosterior:
    """Return the posterior of a one-coupling problem.

    p(θ | n) ∝ p(θ) exp(-F(θ)) |H(θ)|^(-1/2), with F = -ln L minimised over the
    pulls and H its Hessian in them; the pulls are nearly Gaussian, so that this
    agrees with quadrature over them to about 1e-7 for the shipped cards.

    Parameters
    ----------
    problem : Problem
        One coupling, statistic "poisson".
    prior : Prior
    points : int
        Grid points between the ends of prior and likelihood (Δχ² of 60).

    Raises
    ------
    ConvergenceError
        If the minimisation fails at a grid point.
    """
    scale = float(problem.scales[0])

    def log_posterior(grid: Array) -> Array:
        profiled = minimise_pulls(problem, grid[None, :] / scale)
        profiled.require(problem, 60.0)
        return np.asarray(prior.log_density(grid) - profiled.value / 2 - np.linalg.slogdet(profiled.hessian)[1] / 2)

    prior_low, prior_high = prior.reach
    spaced = np.geomspace if prior.kind == "log-uniform" else np.linspace
    low, high = (bound * scale for bound in likelihood_range(problem, 60.0))
    if prior_low >= high or prior_high <= low:
        # The prior lies in a tail of the likelihood: narrow it to where their product is.
        low, high = prior_low, prior_high
        for _ in range(6):
            grid = spaced(low, high, 65)
            log_density = log_posterior(grid)
            inside = np.flatnonzero(log_density > log_density.max() - 30)
            low, high = float(grid[max(inside[0] - 1, 0)]), float(grid[min(inside[-1] + 1, grid.size - 1)])
    grid = spaced(max(low, prior_low), min(high, prior_high), points)
    if prior.kind == "log-uniform" and grid[0] < NEGLIGIBLY_SMALL * grid[-1]:
        # Where the likelihood no longer changes, few points do.
        turn = NEGLIGIBLY_SMALL * grid[-1]
        grid = np.append(np.geomspace(grid[0], turn, points // 4)[:-1], np.geomspace(turn, grid[-1], points))
    log_density = log_posterior(grid)
    density = np.exp(log_density - log_density.max())
    # Normalise in ln θ where the grid is logarithmic: there the integrand is smooth.
    variable, jacobian = (np.log(grid), grid) if prior.kind == "log-uniform" else (grid, np.ones_like(grid))
    norm = float(np.trapezoid(density * jacobian, variable))
    return GridPosterior(problem.couplings[0], grid, density / norm, prior)


@dataclass(frozen=True)
class GridPosterior2D:
    """A joint posterior density of two couplings on a grid.

    Attributes
    ----------
    couplings : (str, str)
    x, y : ndarray
        Values of the first and the second coupling, in their own units, equally spaced.
    density : ndarray, shape (x, y)
        Sums to one over the grid's cells.
    """

    couplings: tuple[str, str]
    x: Array
    y: Array
    density: Array

    def level(self, probability: float) -> float:
        """Return the density above which the highest-density region of this probability lies."""
        flat = np.sort(self.density.ravel())[::-1]
        return float(flat[np.searchsorted(np.cumsum(flat), probability)])


def laplace_posterior_2d(problem: Problem, priors: tuple[Prior, Prior], x: Array, y: Array) -> GridPosterior2D:
    """Return the joint posterior of a two-coupling problem on a grid; see `laplace_posterior`.

    Parameters
    ----------
    problem : Problem
        Two couplings, statistic "poisson".
    priors : (Prior, Prior)
    x, y : ndarray
        Grid values in the couplings' own units.

    Raises
    ------
    ConvergenceError
        If the minimisation fails at a grid point.
    """
    first, second = np.meshgrid(x, y, indexing="ij")
    scaled = np.stack([first.ravel() / problem.scales[0], second.ravel() / problem.scales[1]])
    profiled = minimise_pulls(problem, scaled)
    profiled.require(problem, 60.0)
    log_density = -profiled.value / 2 - np.linalg.slogdet(profiled.hessian)[1] / 2
    log_density = log_density.reshape(first.shape) + priors[0].log_density(first) + priors[1].log_density(second)
    density = np.exp(log_density - log_density.max())
    return GridPosterior2D((problem.couplings[0], problem.couplings[1]), x, y, density / density.sum())
