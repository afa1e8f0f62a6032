"""Feldman and Cousins' region of two couplings: a critical value at every point of a grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError, UsageError, silent
from bayesnu.inference.batch import fit_couplings, fixed_fits, starting_points
from bayesnu.inference.likelihood import Problem
from bayesnu.inference.toys import Ensemble, quantile_with_error, toy_fits
from bayesnu.workers import Chunks, Task, Workers, run_tasks, task_seed

Array = NDArray[np.float64]
CHUNK = 800
"""Pseudo-experiments of one point and round."""
MOST_ROUNDS = 40


@dataclass(frozen=True)
class ToyRegion:
    """Observed t and its critical value on a grid of two couplings; the region is where t is not above it.

    Attributes
    ----------
    couplings : (str, str)
    x, y : ndarray
        Values of the first and the second coupling, in their own units.
    observed : ndarray, shape (x, y)
        t = -2 ln L/L(best fit), pulls profiled.
    critical, error : ndarray, shape (x, y)
        The quantile of t at each point, and its Monte Carlo standard error.
    toys : ndarray of int, shape (x, y)
        Pseudo-experiments of each point.
    cl : float
    """

    couplings: tuple[str, str]
    x: Array
    y: Array
    observed: Array
    critical: Array
    error: Array
    toys: NDArray[np.int64]
    cl: float

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Which points are in the region, shape (x, y)."""
        return np.asarray(self.observed <= self.critical)


def statistic_chunk(
    shared: tuple[Problem, Ensemble, int], path: tuple[int, ...], truth: tuple[float, ...], number: int
) -> dict[str, Array]:
    """Return t of pseudo-experiments at scaled couplings: one task."""
    problem, ensemble, seed = shared
    rng = np.random.default_rng(task_seed(seed, *path))
    return {"statistic": toy_fits(problem, np.array(truth), number, rng, ensemble).statistic}


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

    Parameters
    ----------
    problem : Problem
        Of two couplings.
    cl : float
    x, y : ndarray
        In the couplings' own units.
    workers : Workers
    seed : int
    tolerance : float
        Largest Monte Carlo standard error of a critical value, as a fraction of it.
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
    best = float(fit_couplings(problem, problem.data[None, :], starts).value[0])
    shared = (problem, ensemble, seed)
    samples: list[list[Array]] = [[] for _ in range(grid.shape[1])]
    critical, error = np.full(grid.shape[1], math.nan), np.full(grid.shape[1], math.inf)
    for number in range(MOST_ROUNDS):
        wanted = np.flatnonzero(~(error <= tolerance * critical))
        if not wanted.size:
            break
        progress(f"round {number + 1}: {wanted.size} of {grid.shape[1]} points")
        tasks = [
            Task(f"t-{k}-{number}", ((k, number), tuple(grid[:, k].tolist()), CHUNK)) for k in wanted.tolist()
        ]
        results = run_tasks(statistic_chunk, shared, tasks, workers, chunks)
        for k, result in zip(wanted.tolist(), results, strict=True):
            samples[k].append(result["statistic"])
            critical[k], error[k] = quantile_with_error(np.concatenate(samples[k]), cl)
    else:
        raise ConvergenceError(
            f"critical values are not known to {tolerance:.1%} after {MOST_ROUNDS} rounds of pseudo-experiments; give "
            "a larger tolerance"
        )
    shape = (x.size, y.size)
    return ToyRegion(
        (problem.couplings[0], problem.couplings[1]),
        x,
        y,
        np.maximum(deviance - best, 0.0).reshape(shape),
        critical.reshape(shape),
        error.reshape(shape),
        np.array([sum(part.size for part in parts) for parts in samples]).reshape(shape),
        cl,
    )
