"""Feldman and Cousins' region of two couplings: a critical value at every point of a grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError, UsageError, silent
from bayesnu.inference.batch import fit_couplings, fixed_fits, starting_points
from bayesnu.inference.feldman_cousins import statistic_chunk
from bayesnu.inference.likelihood import Problem
from bayesnu.inference.toys import Ensemble, quantile_with_error
from bayesnu.shown import Shown
from bayesnu.workers import Chunks, Task, Workers, run_tasks

Array = NDArray[np.float64]
CHUNK = 400
"""Pseudo-experiments of one point and round."""
MOST_ROUNDS = 80
LEAST_CRITICAL = 0.1
"""The error of a critical value below is measured by this: where pseudo-experiments hardly differ it may be 0."""
REACH = 0.08
"""Of the grid's length along a coupling: how far the pseudo-experiments of other points count."""


@dataclass(frozen=True, repr=False)
class ToyRegion(Shown):
    """Observed t and its critical value on a grid of two couplings; the region is where t is not above it.

    Attributes
    ----------
    couplings : (str, str)
    x, y : ndarray
        Values of the first and the second coupling, in their own units.
    observed : ndarray, shape (x, y)
        t = -2 ln L/L(best fit), pulls profiled.
    critical, error : ndarray, shape (x, y)
        The quantile of t at each point, smoothed by `local_surface`, and its Monte Carlo standard error.
    toys : ndarray of int, shape (x, y)
        Pseudo-experiments made at each point.
    cl : float
    best : (float, float)
        Where -2 ln L of the data is lowest.
    """

    couplings: tuple[str, str]
    x: Array
    y: Array
    observed: Array
    critical: Array
    error: Array
    toys: NDArray[np.int64]
    cl: float
    best: tuple[float, float]

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Which points are in the region, shape (x, y)."""
        return np.asarray(self.observed <= self.critical)

    @property
    def largest_error(self) -> float:
        """The largest error of a critical value, as a fraction of it (of `LEAST_CRITICAL` where it is less)."""
        return float((self.error / np.maximum(self.critical, LEAST_CRITICAL)).max())


def feldman_cousins_region(
    problem: Problem,
    cl: float,
    x: Array,
    y: Array,
    workers: Workers,
    *,
    seed: int,
    tolerance: float = 0.03,
    ensemble: Ensemble = "fit",
    chunks: Chunks | None = None,
    progress: Callable[[str], None] = silent,
) -> ToyRegion:
    """Return Feldman and Cousins' region of two couplings on a grid.

    Each round makes pseudo-experiments at the points whose critical value is not known well enough yet.

    Parameters
    ----------
    problem : Problem
        Of two couplings.
    cl : float
    x, y : ndarray
        Equally spaced, in the couplings' own units.
    workers : Workers
    seed : int
    tolerance : float
        Largest Monte Carlo standard error of a critical value, as a fraction of it (of `LEAST_CRITICAL` where it is
        less).
    ensemble : {"fit", "posterior"}
        Pulls of the pseudo-experiments: profiled, or averaged over their posterior.
    chunks : Chunks, optional
    progress : callable, optional
        Receives one phrase for each round.

    Raises
    ------
    UsageError
        If the problem has not two couplings.
    ConvergenceError
        If a critical value is not that well known after `MOST_ROUNDS` rounds.
    """
    if len(problem.couplings) != 2:
        raise UsageError(f"a region needs 2 couplings, not {len(problem.couplings)}")
    grid = np.stack([c.ravel() for c in np.meshgrid(x / problem.scales[0], y / problem.scales[1], indexing="ij")])
    deviance = fixed_fits(problem, grid, problem.data[None, :])[0]
    lowest = grid[:, [int(np.argmin(deviance))]].T
    starts = np.concatenate([starting_points(problem, np.zeros(2)), lowest])
    best = fit_couplings(problem, problem.data[None, :], starts)
    observed = np.maximum(deviance - best.value[0], 0.0)
    shared = (problem, ensemble, seed)
    samples: list[list[Array]] = [[] for _ in range(grid.shape[1])]
    own, own_error, toys = (np.zeros(grid.shape[1]) for _ in range(3))
    critical, error = np.full((x.size, y.size), math.nan), np.full((x.size, y.size), math.inf)
    for number in range(MOST_ROUNDS):
        wanted = np.flatnonzero(~(error <= tolerance * np.fmax(critical, LEAST_CRITICAL)).ravel())
        if not wanted.size:
            break
        progress(f"round {number + 1}: {wanted.size} of {grid.shape[1]} points")
        tasks = [
            Task(f"t-{k}-{number}", ((k, number), tuple(grid[:, k].tolist()), float(observed[k]), CHUNK))
            for k in wanted.tolist()
        ]
        results = run_tasks(statistic_chunk, shared, tasks, workers, chunks)
        for k, result in zip(wanted.tolist(), results, strict=True):
            samples[k].append(result["statistic"])
            own[k], own_error[k] = quantile_with_error(np.concatenate(samples[k]), cl)
            toys[k] += result["statistic"].size
        critical, error = local_surface(*(values.reshape(x.size, y.size) for values in (own, own_error, toys)))
    else:
        raise ConvergenceError(
            f"critical values are not known to {tolerance:.1%} after {MOST_ROUNDS} rounds of pseudo-experiments; give "
            "a larger tolerance"
        )
    at_best = (best.couplings[0] * problem.scales).tolist()
    return ToyRegion(
        (problem.couplings[0], problem.couplings[1]),
        x,
        y,
        observed.reshape(critical.shape),
        critical,
        error,
        toys.reshape(critical.shape).astype(np.int64),
        cl,
        (at_best[0], at_best[1]),
    )


def local_surface(value: Array, error: Array, number: Array) -> tuple[Array, Array]:
    """Return estimates on a grid smoothed by a second-order polynomial about each point, and their errors.

    The polynomial is fitted to all points within `REACH`; a window that would leave the grid is moved into it. On a
    grid so coarse that there is no neighbour within, the estimates stay as they are. Where the points scatter about
    the polynomial by more than their errors, as they do if it is not curved enough, the error is that of the scatter.

    Parameters
    ----------
    value, error : ndarray, shape (x, y)
    number : ndarray, shape (x, y)
        Pseudo-experiments behind each value, whose variance is inverse to it.

    Returns
    -------
    smooth, smooth_error : ndarray, shape (x, y)
    """
    half = np.array([int(REACH * (points - 1)) for points in value.shape])
    # A window is known by its first point, along either coupling.
    first, second = (np.clip(np.arange(n) - h, 0, n - 1 - 2 * h) for n, h in zip(value.shape, half, strict=True))
    values, variances, numbers = (
        sliding_window_view(array, tuple(2 * half + 1)) for array in (value, error**2 * number, number)
    )
    # An axis without neighbours has no slope.
    powers = [(i, j) for i in range(3) for j in range(3 - i) if (i == 0 or half[0]) and (j == 0 or half[1])]
    y = (second - np.arange(second.size))[:, None, None] + np.arange(2 * half[1] + 1)
    smooth, smooth_error = np.empty_like(value), np.empty_like(error)
    for row, start in enumerate(first):
        x = (start - row + np.arange(2 * half[0] + 1))[None, :, None]
        # All points of the row at once: shapes (points, window, window), and (points, places, powers).
        target, weight = values[start, second], numbers[start, second]
        spread = variances[start, second].mean(axis=(1, 2))
        root = np.sqrt(weight).reshape(second.size, -1)
        basis = np.stack([np.broadcast_to(x**i * y**j, target.shape) for i, j in powers], axis=-1)
        basis = basis.reshape(*root.shape, -1) * root[:, :, None]
        target = target.reshape(root.shape) * root
        covariance = np.linalg.inv(basis.swapaxes(1, 2) @ basis)
        coefficients = np.einsum("pab,pwb,pw->pa", covariance, basis, target)
        scatter = ((target - np.einsum("pwa,pa->pw", basis, coefficients)) ** 2).sum(axis=1)
        freedom = root.shape[1] - len(powers)
        variance = np.maximum(spread, scatter / freedom) if freedom else spread
        smooth[row], smooth_error[row] = coefficients[:, 0], np.sqrt(covariance[:, 0, 0] * variance)
    return smooth, smooth_error
