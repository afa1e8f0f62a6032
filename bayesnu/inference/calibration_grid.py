"""Calibration of the deterministic posterior: where truths lie in it, for many data sets on one grid of couplings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError
from bayesnu.inference.calibration import (
    HIGHEST_RANK,
    Generators,
    Simulations,
    moving_pulls,
    ranks_among,
    total_log_likelihood,
)
from bayesnu.inference.likelihood import Problem, minimise_pulls
from bayesnu.inference.priors import Prior

Array = NDArray[np.float64]
FINE = 10
"""Points of the fine grid for each of the coarse one."""
TOLERANCE = 1e-6
"""Of a step in the pulls; what is left is its square."""
NEGLIGIBLE = 60.0
"""Δ(-2 ln L) from the lowest at which there is no posterior left."""
LARGEST_STEP = 0.3
"""Density at its peak times a step of the grid, above which the posterior is too narrow for the grid: steps of more
than 0.7 standard deviations."""
NEGLIGIBLE_WEIGHT = 1e-9
ZOOMS = 12


@dataclass(frozen=True)
class GridPosteriors:
    """Posteriors of several data sets on one grid of the coupling.

    Attributes
    ----------
    grid : ndarray, shape (points,)
        The coupling in its own unit.
    weight : ndarray, shape (sets, points)
        Quadrature weight times density of each point; the sum is 1.
    step : ndarray, shape (sets,)
        Peak density times a step of the grid.
    fine, cumulative : ndarray, shape (fine points,) and (sets, fine points)
        The cumulative distribution of the coupling.
    pulls : ndarray, shape (sets, points, pulls)
        The most probable z at each point.
    root : ndarray, shape (sets, points, pulls, pulls)
        R of the covariance Rᵀ R of z about them.
    bent : ndarray of bool, shape (sets,)
        Whether the Hessian is not positive definite at a point that counts, as at the edge of a pull's range: the
        sizes of its eigenvalues are then taken for them, at least those of the constraints.
    """

    grid: Array
    weight: Array
    step: Array
    fine: Array
    cumulative: Array
    pulls: Array
    root: Array
    bent: NDArray[np.bool_]


def profiles(problem: Problem, data: Array, scaled: Array) -> tuple[Array, Array, Array]:
    """Return -2 ln L, z and the Hessian, first axes (sets, points), of data sets on a grid of the scaled coupling.

    Where the posterior is negligible, -2 ln L is infinite and the Hessian that of the constraints.

    Raises
    ------
    ConvergenceError
        If the minimisation over pulls fails where it is not.
    """
    found = minimise_pulls(problem, scaled[None, :], data=data, tolerance=TOLERANCE)
    near = found.value < np.nanmin(found.value, axis=1, keepdims=True) + NEGLIGIBLE
    failed = near & ~found.converged
    if failed.any():
        raise ConvergenceError(
            f"{problem.couplings[0]}: the minimisation over pulls failed for {failed.any(axis=1).sum()} of {len(data)} "
            "data sets; choose a prior, counts and pulls nearer to each other"
        )
    hessian = np.where(near[:, :, None, None], found.hessian, np.eye(found.pulls.shape[2]))
    return np.where(near, found.value, np.inf), found.pulls, hessian


def roots(hessian: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return Cholesky factors of Hessians of -ln L, shape (sets, points, pulls, pulls), and which sets are `bent`."""
    try:
        return np.linalg.cholesky(hessian), np.zeros(len(hessian), dtype=np.bool_)
    except np.linalg.LinAlgError:
        curvatures = np.linalg.eigvalsh(hessian)
        bad = curvatures[..., 0] <= 1e-12 * curvatures[..., -1]
    values, vectors = np.linalg.eigh(hessian[bad])
    # A constraint alone has 1.
    sizes = np.maximum(np.abs(values), 1.0)
    definite = hessian.copy()
    definite[bad] = (vectors * sizes[:, None, :]) @ vectors.swapaxes(1, 2)
    return np.linalg.cholesky(definite), bad.any(axis=1)


@dataclass(frozen=True)
class LaplacePosterior:
    """The posterior of `laplace_posterior` for many data sets at once.

    The coupling's place is its cumulative distribution; that of a pull the mixture, over the grid, of normals
    N(ẑ(θ), H(θ)⁻¹); the log-likelihood is ranked among independent draws from both.

    Attributes
    ----------
    problem : Problem
    prior : Prior
    points : int
        Of the grid, which covers the prior; posteriors too narrow for it get a grid of their own.
    """

    problem: Problem
    prior: Prior
    points: int = 81

    def place(self, simulations: Simulations, generators: Generators) -> dict[str, NDArray[Any]]:
        low, high = self.prior.reach
        shared = self.posteriors(simulations.data, low, high)
        narrow = shared.step > LARGEST_STEP
        ranks = []
        for k, generator in enumerate(generators):
            found = self._zoomed(simulations.data[[k]], shared, k) if narrow[k] else shared
            place = 0 if narrow[k] else k
            theta, pulls = simulations.theta[k], simulations.pulls[k]
            pit = self._pit(found, place, theta, pulls)
            own = np.floor(pit * (HIGHEST_RANK + 1)).clip(0, HIGHEST_RANK).astype(np.int64)
            problem = replace(self.problem, data=simulations.data[k])
            truth = total_log_likelihood(problem, theta[None], pulls[None])
            drawn = total_log_likelihood(problem, *self._draws(found, place, generator))
            ranks.append(np.append(own, ranks_among(truth, drawn[:, None], generator)))
        return {"ranks": np.array(ranks), "own_grid": narrow, "bent": shared.bent}

    def posteriors(self, data: Array, low: float, high: float, points: int | None = None) -> GridPosteriors:
        """Return the posteriors of data sets, shape (sets, obs), between two values of the coupling."""
        from scipy.integrate import cumulative_trapezoid
        from scipy.interpolate import CubicSpline

        points = points or self.points
        logarithmic = self.prior.kind == "log-uniform"
        to, back = (np.log, np.exp) if logarithmic else (np.asarray, np.asarray)
        x = np.linspace(to(low), to(high), points)
        fine = np.linspace(x[0], x[-1], FINE * (points - 1) + 1)
        grid = back(x)
        value, pulls, hessian = profiles(self.problem, data, grid / float(self.problem.scales[0]))
        lower, bent = roots(hessian)
        half_log_determinant = np.log(np.diagonal(lower, axis1=2, axis2=3)).sum(axis=2)
        log_density = self.prior.log_density(grid) - value / 2 - half_log_determinant
        density = np.exp(log_density - log_density.max(axis=1, keepdims=True)) * (grid if logarithmic else 1.0)
        # A cubic spline is linear in the values that it goes through.
        spline = CubicSpline(x, np.eye(points))
        weight = density * spline.integrate(x[0], x[-1])
        total = weight.sum(axis=1)
        cumulative = cumulative_trapezoid(np.maximum(density @ spline(fine).T, 0.0), fine, axis=1, initial=0.0)
        return GridPosteriors(
            grid,
            weight / total[:, None],
            density.max(axis=1) * (x[1] - x[0]) / total,
            back(fine),
            cumulative / cumulative[:, -1:],
            pulls,
            np.linalg.inv(lower),
            bent,
        )

    def _zoomed(self, data: Array, found: GridPosteriors, k: int) -> GridPosteriors:
        """Return the posterior of one data set on a grid drawn in to where it is, finer where that is not enough."""
        weight, grid = found.weight[k], found.grid
        for zoom in range(ZOOMS):
            inside = np.flatnonzero(weight > NEGLIGIBLE_WEIGHT * weight.max())
            low, high = grid[max(inside[0] - 1, 0)], grid[min(inside[-1] + 1, grid.size - 1)]
            own = self.posteriors(data, float(low), float(high), self.points * (1 + zoom))
            if own.step[0] <= LARGEST_STEP:
                return own
            weight, grid = own.weight[0], own.grid
        raise ConvergenceError(f"{self.problem.couplings[0]}: the posterior is too narrow for a grid")

    def _pit(self, found: GridPosteriors, k: int, theta: float, pulls: Array) -> Array:
        """Return the cumulative posterior probability of the true coupling and of each true pull that moves."""
        from scipy.special import ndtr

        moving = moving_pulls(self.problem)
        z = pulls[moving] / self.problem.model.widths[moving]
        width = np.sqrt((found.root[k] ** 2).sum(axis=1)[:, moving])
        below = ndtr((z - found.pulls[k][:, moving]) / width)
        coupling = np.interp(theta, found.fine, found.cumulative[k])
        return np.append(coupling, found.weight[k] @ below)

    def _draws(self, found: GridPosteriors, k: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return `HIGHEST_RANK` independent draws: couplings (draws,), and pulls (draws, pulls) as fractions."""
        theta = np.interp(rng.random(HIGHEST_RANK), found.cumulative[k], found.fine)
        # ẑ between two points of the grid; the covariance changes far less and is taken from the likelier of them.
        place = np.interp(theta, found.grid, np.arange(found.grid.size))
        left = np.minimum(place.astype(int), found.grid.size - 2)
        share = (place - left)[:, None]
        centre = (1 - share) * found.pulls[k][left] + share * found.pulls[k][left + 1]
        likelier = left + (found.weight[k][left + 1] > found.weight[k][left])
        noise = rng.standard_normal(centre.shape)
        return theta, (centre + (noise[:, None, :] @ found.root[k][likelier])[:, 0]) * self.problem.model.widths
