"""Calibration of the deterministic posterior: where truths lie in it, for many data sets on one grid of couplings.

The coupling's place is its cumulative distribution on the grid, which limits are made of. A pull is only nearly normal
about its most probable value, so that pulls and likelihood are placed among draws that are weighted with the exact
density over that of the grid's Laplace posterior.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError
from bayesnu.inference.calibration import (
    HIGHEST_RANK,
    Generators,
    NutsPosterior,
    Simulations,
    moving_pulls,
)
from bayesnu.inference.likelihood import RIPPLE, Problem, Profiled, minimise_pulls, statistic_code
from bayesnu.inference.priors import Prior

Array = NDArray[np.float64]
FINE = 10
"""Points of the fine grid for each of the coarse one."""
TOLERANCE = 1e-6
"""Of a step in the pulls; what is left is its square."""
NEGLIGIBLE = 60.0
"""Δ(-2 ln L) from the lowest at which there is no posterior left."""
STRIDE = 4
"""Points of the grid for each one that is fitted from `STARTS`, too."""
STARTS = (-2.0, 0.0, 2.0)
"""In standard deviations of a pull that morphs the response."""
LARGEST_STEP = 0.3
"""Density at its peak times a step of the grid, above which the posterior is too narrow for the grid: steps of more
than 0.7 standard deviations."""
NEGLIGIBLE_WEIGHT = 1e-9
ZOOMS = 12
TAIL = 30.0
"""Degrees of freedom of Student's t that pulls are drawn from: tails above those of a Gamma cost little elsewhere."""


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

    Each fit starts where its neighbour ended. A morph of the response is a polynomial that a false minimum may hold the
    pull in, at the edge of its range; fits of a few points from the `STARTS` tell which data sets it does, and these
    are fitted from each of them at every point.
    Where the posterior is negligible, -2 ln L is infinite and the Hessian that of the constraints.

    Raises
    ------
    ConvergenceError
        If the minimisation over pulls fails where it is not.
    """
    found = minimise_pulls(problem, scaled[None, :], data=data, tolerance=TOLERANCE)
    starts = morph_starts(problem)
    held = np.zeros(len(data), dtype=np.bool_)
    for start in starts:
        value = fits_from(problem, data, scaled[::STRIDE], start).value
        lowest = np.fmin(np.nanmin(found.value, axis=1), np.nanmin(value, axis=1))[:, None]
        held |= ((value < lowest + NEGLIGIBLE) & (value < found.value[:, ::STRIDE] - RIPPLE)).any(axis=1)
    for start in starts if held.any() else ():
        again = fits_from(problem, data[held], scaled, start)
        better = again.converged & ~(again.value > found.value[held])
        for old, new in (
            (found.value, again.value),
            (found.pulls, again.pulls),
            (found.hessian, again.hessian),
            (found.converged, again.converged),
        ):
            chosen = better.reshape(*better.shape, *[1] * (old.ndim - 2))
            old[held] = np.where(chosen, new, old[held])
    near = found.value < np.nanmin(found.value, axis=1, keepdims=True) + NEGLIGIBLE
    failed = near & ~found.converged
    if failed.any():
        raise ConvergenceError(
            f"{problem.couplings[0]}: the minimisation over pulls failed for {failed.any(axis=1).sum()} of {len(data)} "
            "data sets; choose a prior, counts and pulls nearer to each other"
        )
    hessian = np.where(near[:, :, None, None], found.hessian, np.eye(found.pulls.shape[2]))
    return np.where(near, found.value, np.inf), found.pulls, hessian


def morph_starts(problem: Problem) -> list[Array]:
    """Return pulls, shape (pulls,) each, to start fits from: 0 but for one that morphs the response at a time."""
    morphs = np.flatnonzero(problem.model.membership.max(axis=0) > 1)
    return [start * np.eye(len(problem.model.pulls))[p] for p in morphs for start in STARTS]


def fits_from(problem: Problem, data: Array, scaled: Array, start: Array) -> Profiled:
    """Return fits of data sets at scaled couplings that all start from the same pulls."""
    first = np.tile(start, (len(data), 1))
    fits = [minimise_pulls(problem, np.array([[x]]), data=data, tolerance=TOLERANCE, first=first) for x in scaled]
    names = ("value", "pulls", "hessian", "converged")
    return Profiled(*(np.concatenate([getattr(fit, name) for fit in fits], axis=1) for name in names))


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
class WeightedDraws:
    """Draws of one posterior with importance weights; the first is the truth that they are drawn about.

    Attributes
    ----------
    theta : ndarray, shape (draws,)
        The coupling in its own unit.
    z : ndarray, shape (draws, pulls)
        Pulls in units of their widths.
    log_likelihood : ndarray, shape (draws,)
        Up to a constant of the data.
    weight : ndarray, shape (draws,)
        Their sum is 1.
    """

    theta: Array
    z: Array
    log_likelihood: Array
    weight: Array

    @property
    def effective(self) -> float:
        """How many equally weighted draws they are worth (Kish): (Σ w)²/Σ w²."""
        return float(1 / (self.weight**2).sum())


def weighted_places(values: Array, weight: Array, rng: np.random.Generator) -> Array:
    """Return the places in [0, 1) of a truth, the first row of values (1 + draws, quantities), among all rows.

    Given all rows but not which of them is the truth, each is with a probability that is its weight: one is drawn
    from the posterior, the others from another density. The sum of the weights below the truth, and a uniform share of
    its own and those of its equals, is therefore uniform for any number of draws from any density.
    """
    below, same = weight @ (values < values[0]), weight @ (values == values[0])
    return np.asarray(below + rng.random(below.size) * same)


@dataclass(frozen=True)
class LaplacePosterior:
    """The posterior of `laplace_posterior` for many data sets at once.

    The coupling's place is its cumulative distribution. Pulls and the log-likelihood are placed among draws of the
    coupling from it and of pulls about ẑ(θ) with the covariance H(θ)⁻¹, weighted with the exact posterior density over
    the one that they are drawn from; where these are worth too few, among more of them.

    Attributes
    ----------
    problem : Problem
    prior : Prior
    points : int
        Of the grid, which covers the prior; posteriors too narrow for it get a grid of their own.
    draws : int
        Of a first attempt; every further one has ``LONGER`` times as many.
    """

    problem: Problem
    prior: Prior
    points: int = 81
    draws: int = 500

    LONGER = 4
    ATTEMPTS = 4
    LEAST_EFFECTIVE = NutsPosterior.LEAST_PER_RANK * HIGHEST_RANK

    def place(self, simulations: Simulations, generators: Generators) -> dict[str, NDArray[Any]]:
        low, high = self.prior.reach
        shared = self.posteriors(simulations.data, low, high)
        narrow = shared.step > LARGEST_STEP
        rows = []
        for k, generator in enumerate(generators):
            found = self._zoomed(simulations.data[[k]], shared, k) if narrow[k] else shared
            own = Simulations(simulations.theta[[k]], simulations.pulls[[k]], simulations.data[[k]])
            rows.append(self._one(own, found, 0 if narrow[k] else k, generator))
        diagnostics = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        return diagnostics | {"own_grid": narrow, "bent": shared.bent}

    def _one(self, simulation: Simulations, found: GridPosteriors, k: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return ranks and what the weights are worth of one simulation, whose posterior is the k-th."""
        data, theta = simulation.data[0], simulation.theta
        moving = moving_pulls(self.problem)
        z = np.zeros_like(simulation.pulls)
        z[:, moving] = simulation.pulls[:, moving] / self.problem.model.widths[moving]
        for attempt in range(1, self.ATTEMPTS + 1):
            drawn = self.weighted(data, found, k, theta, z, self.draws * self.LONGER ** (attempt - 1), rng)
            if drawn.effective >= self.LEAST_EFFECTIVE:
                break
        coupling = np.interp(theta, found.fine, found.cumulative[k])
        values = np.column_stack([drawn.z[:, moving], drawn.log_likelihood])
        places = np.append(coupling, weighted_places(values, drawn.weight, rng))
        return {
            "ranks": np.floor(places * (HIGHEST_RANK + 1)).clip(0, HIGHEST_RANK).astype(np.int64),
            "ess": drawn.effective,
            "heaviest": float(drawn.weight.max()),
            "attempts": attempt,
        }

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

    def weighted(
        self, data: Array, found: GridPosteriors, k: int, theta: Array, z: Array, number: int, rng: np.random.Generator
    ) -> WeightedDraws:
        """Return a truth, theta (1,) and z (1, pulls), and weighted draws of the k-th posterior; data (obs,).

        Raises
        ------
        ConvergenceError
            If none of them is possible.
        """
        fine, cumulative, root = found.fine, found.cumulative[k], found.root[k]
        # Linear between fine points: the density is that of the cell, which has some where a draw falls.
        density = np.diff(cumulative) / np.diff(fine)
        u = rng.random(number)
        cell = np.searchsorted(cumulative, u, side="right") - 1
        own = np.searchsorted(fine, theta, side="right").clip(1, fine.size - 1) - 1
        theta = np.append(theta, fine[cell] + (u - cumulative[cell]) / density[cell])
        centre, point = self._about(found, k, theta)
        noise = rng.standard_normal((number, z.shape[1])) / np.sqrt(rng.chisquare(TAIL, number) / TAIL)[:, None]
        noise = np.concatenate([(z - centre[:1]) @ np.linalg.inv(root[point[0]]), noise])
        z = np.concatenate([z, centre[1:] + (noise[1:, None, :] @ root[point[1:]])[:, 0]])
        # R is triangular.
        log_width = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)[point]
        log_t = -(TAIL + z.shape[1]) / 2 * np.log1p((noise**2).sum(axis=1) / TAIL)
        with np.errstate(divide="ignore"):
            log_drawn = np.log(density[np.append(own, cell)]) + log_t - log_width
        log_likelihood = self.log_likelihood(data, theta, z)
        log_prior = self.prior.log_density(theta) - z**2 @ self.problem.model.constraint / 2
        log_weight = log_likelihood + log_prior - log_drawn
        if not np.isfinite(log_weight[1:].max()):
            raise ConvergenceError(f"{self.problem.couplings[0]}: none of {number} draws of the posterior is possible")
        # Where nothing would ever be drawn, the truth has all of the weight.
        top = log_weight.max()
        weight = np.exp(log_weight - top) if np.isfinite(top) else (log_weight == top).astype(float)
        return WeightedDraws(theta, z, log_likelihood, weight / weight.sum())

    def _about(self, found: GridPosteriors, k: int, theta: Array) -> tuple[Array, NDArray[np.int64]]:
        """Return what pulls are drawn about at some couplings, and whose covariance they have, a point of the grid.

        ẑ between two points; the covariance changes far less and is taken from the likelier of them.
        """
        place = np.interp(theta, found.grid, np.arange(found.grid.size))
        left = np.minimum(place.astype(np.int64), found.grid.size - 2)
        between = (place - left)[:, None]
        centre = (1 - between) * found.pulls[k][left] + between * found.pulls[k][left + 1]
        return centre, left + (found.weight[k][left + 1] > found.weight[k][left])

    def log_likelihood(self, data: Array, theta: Array, z: Array) -> Array:
        """Return ln p(data | θ, z) up to a constant of the data, -inf without support; theta (draws,), z (draws, …)."""
        from bayesnu.inference import newton

        model = self.problem.model
        value = np.empty(theta.size)
        newton.statistics(
            model.arrays.reshape(-1, model.arrays.shape[2]),
            model.membership,
            model.widths,
            statistic_code(self.problem),
            self.problem.variance,
            data,
            np.ascontiguousarray(model.monomial_values(theta[None, :] / self.problem.scales[:, None]).T),
            z,
            value,
        )
        return -value / 2
