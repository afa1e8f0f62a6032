"""Deterministic posterior of one coupling: a grid in the coupling, the pulls marginalised by Laplace's method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError
from bayesnu.inference.likelihood import Problem, likelihood_range, minimise_pulls
from bayesnu.inference.marginal import REACH, MarginalLikelihood, laplace_log_likelihood
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


def laplace_posterior(
    problem: Problem, prior: Prior, points: int = 1201, marginal: MarginalLikelihood | None = None
) -> GridPosterior:
    """Return the posterior of a one-coupling problem.

    p(θ | n) ∝ p(θ) exp(-F(θ)) |H(θ)|^(-1/2), with F = -ln L minimised over the
    pulls and H its Hessian in them; the pulls are nearly Gaussian, so that this
    agrees with quadrature over them to about 1e-7 for DUNE's cards, and to 1e-3 in the limits of
    COHERENT's, whose quenching bends the counts.

    Parameters
    ----------
    problem : Problem
        One coupling, statistic "poisson".
    prior : Prior
    points : int
        Grid points between the ends of prior and likelihood (Δχ² of 60).
    marginal : MarginalLikelihood, optional
        Of this problem, to interpolate in where it reaches; nothing is minimised again.

    Raises
    ------
    ConvergenceError
        If the minimisation fails at a grid point.
    """
    scale = float(problem.scales[0])

    def log_posterior(grid: Array) -> Array:
        if marginal is not None and marginal.covers(grid):
            return prior.log_density(grid) + marginal.at(grid)
        return prior.log_density(grid) + laplace_log_likelihood(problem, grid)

    prior_low, prior_high = prior.reach
    spaced = np.geomspace if prior.kind == "log-uniform" else np.linspace
    if marginal is None:
        low, high = (bound * scale for bound in likelihood_range(problem, REACH))
    else:
        low, high = float(marginal.values[0]), float(marginal.values[-1])
    if prior_low >= high or prior_high <= low:
        # The prior lies in a tail of the likelihood: narrow it to where their product is.
        low, high = prior_low, prior_high
        for _ in range(6):
            grid = spaced(low, high, 65)
            log_density = log_posterior(grid)
            inside = np.flatnonzero(log_density > log_density.max() - 30)
            if not inside.size:
                raise ConvergenceError("the data have no probability anywhere in the prior; choose another")
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
class Cells:
    """Cells of a grid along one coupling, in its own unit.

    Attributes
    ----------
    centres, widths : ndarray, shape (cells,)
    logarithmic : bool
        Whether densities are shown per unit of the logarithm.
    """

    centres: Array
    widths: Array
    logarithmic: bool = False


_SPACINGS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "linear": (np.asarray, np.asarray),
    "square": (np.sqrt, np.square),
    "log": (np.log, np.exp),
}


def cells(low: float, high: float, number: int, spacing: Literal["linear", "square", "log"]) -> Cells:
    """Return cells equal in a coupling, in its square root (smaller where it is small), or in its logarithm."""
    to, back = _SPACINGS[spacing]
    edges = np.linspace(to(low), to(high), number + 1)
    return Cells(back((edges[1:] + edges[:-1]) / 2), np.diff(back(edges)), spacing == "log")


@dataclass(frozen=True)
class GridPosterior2D:
    """A joint posterior of two couplings on a grid.

    Attributes
    ----------
    couplings : (str, str)
    x, y : Cells
        Of the first and the second coupling.
    density : ndarray, shape (x, y)
        Per unit of each coupling, or of its logarithm where the cells are logarithmic.
    weight : ndarray, shape (x, y)
        Probability of each cell; the grid holds all of it.
    """

    couplings: tuple[str, str]
    x: Cells
    y: Cells
    density: Array
    weight: Array

    def level(self, probability: float) -> float:
        """Return the density above which the highest-density region of this probability lies."""
        order = np.argsort(self.density.ravel())[::-1]
        last = int(np.searchsorted(np.cumsum(self.weight.ravel()[order]), probability))
        return float(self.density.ravel()[order[min(last, order.size - 1)]])

    def contains(self, x: Array, y: Array, probability: float) -> NDArray[np.bool_]:
        """Return which points (in the couplings' own units, any shape) lie in the highest-density region."""
        from scipy.interpolate import RegularGridInterpolator

        def place(axis: Cells, values: Array) -> Array:
            scale = axis.centres[-1]
            return np.asarray(np.log(values / scale) if axis.logarithmic else values / scale)

        # Extrapolated into the outer halves of the outermost cells.
        log_density = RegularGridInterpolator(
            (place(self.x, self.x.centres), place(self.y, self.y.centres)),
            np.log(np.maximum(self.density, 1e-300)),
            bounds_error=False,
            fill_value=None,
        )
        points = np.stack([place(self.x, x), place(self.y, y)], axis=-1)
        return np.asarray(log_density(points) > np.log(self.level(probability)))


def laplace_posterior_2d(problem: Problem, priors: tuple[Prior, Prior], x: Cells, y: Cells) -> GridPosterior2D:
    """Return the joint posterior of a two-coupling problem on a grid; see `laplace_posterior`.

    Parameters
    ----------
    problem : Problem
        Two couplings, statistic "poisson".
    priors : (Prior, Prior)
    x, y : Cells

    Raises
    ------
    ConvergenceError
        If the minimisation fails at a grid point.
    """
    first, second = np.meshgrid(x.centres, y.centres, indexing="ij")
    scaled = np.stack([first.ravel() / problem.scales[0], second.ravel() / problem.scales[1]])
    profiled = minimise_pulls(problem, scaled)
    profiled.require(problem, 60.0)
    log_density = -profiled.value / 2 - np.linalg.slogdet(profiled.hessian)[1] / 2
    log_density = log_density.reshape(first.shape) + priors[0].log_density(first) + priors[1].log_density(second)
    density = np.exp(log_density - log_density.max())
    weight = density * x.widths[:, None] * y.widths[None, :]
    density *= (x.centres[:, None] if x.logarithmic else 1.0) * (y.centres[None, :] if y.logarithmic else 1.0)
    names = problem.couplings[0], problem.couplings[1]
    return GridPosterior2D(names, x, y, density / weight.sum(), weight / weight.sum())
