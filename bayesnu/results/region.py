"""Feldman and Cousins' region of two couplings of a card, beside the asymptotic one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError, UsageError
from bayesnu.experiment.base import Experiment
from bayesnu.inference.batch import fixed_fits
from bayesnu.inference.likelihood import Problem, make_problem, squared_only
from bayesnu.inference.profile import delta_chi2_intervals, delta_chi2_level
from bayesnu.inference.region import ToyRegion, feldman_cousins_region
from bayesnu.inference.toys import Ensemble
from bayesnu.results.intervals import check_probability
from bayesnu.results.limits import DEFAULT_SEED, check_counts, check_pair, naming
from bayesnu.results.toy_limits import ToyRunner

Array = NDArray[np.float64]
HEADROOM = 1.4
"""The grid holds all points with t below this times the asymptotic level; critical values may exceed that."""
COARSE = 41
"""Points along each coupling of the grids that look for them."""
MOST_WIDENINGS = 40
"""Each widens the search by 30% of its length on a side that the region reaches."""


def region(
    experiment: Experiment,
    couplings: tuple[str, str],
    cl: float = 0.90,
    points: int = 40,
    tolerance: float = 0.03,
    ensemble: Ensemble = "fit",
    seed: int = DEFAULT_SEED,
    runner: ToyRunner | None = None,
) -> ToyRegion:
    """Return Feldman and Cousins' region of two couplings, the others 0, on a grid of ``points`` × ``points``.

    Parameters
    ----------
    experiment : Experiment
    couplings : (str, str)
    cl : float
    points : int
        Along each coupling, from 5 to 400.
    tolerance : float
        Monte Carlo error of each critical value, as a fraction of it.
    ensemble : {"fit", "posterior"}
        Pulls of the pseudo-experiments: profiled, or averaged over their posterior.
    seed : int
    runner : ToyRunner, optional

    Raises
    ------
    UsageError
        For two equal or unknown couplings, one that no count depends on, or a number that is not allowed.
    ConvergenceError
        If the data do not bound the couplings together.
    """
    first, second = check_pair(experiment, couplings)
    check_probability(cl)
    check_counts(draws=None, chains=None, seed=seed)
    if not 5 <= points <= 400:
        raise UsageError(f"points = {points}: must be from 5 to 400")
    if not 0.001 <= tolerance < 1:
        raise UsageError(f"tolerance = {tolerance}: must be from 0.001 to below 1")
    runner = runner or ToyRunner()
    bounds = []
    for name in (first, second):
        with naming(experiment, name):
            pieces = delta_chi2_intervals(make_problem(experiment, [name]), cl)
        low, high = pieces[0][0], pieces[-1][1]
        if not math.isfinite(high - low):
            raise UsageError(f"{name}: the data do not bound it, so that there is no region")
        bounds.append((low, high))
    problem = make_problem(experiment, [first, second])
    axes = [np.linspace(low, high, points) for low, high in grid_ranges(problem, bounds, cl)]
    settings = {
        "command": "region", "couplings": [first, second], "cl": cl, "points": points, "tolerance": tolerance,
        "pulls": ensemble, "seed": seed,
    }  # fmt: skip
    found = feldman_cousins_region(
        problem, cl, axes[0], axes[1], runner.workers, seed=seed, tolerance=tolerance, ensemble=ensemble,
        chunks=runner.chunks(experiment, settings), progress=runner.progress,
    )  # fmt: skip
    edges = [found.inside[-1], found.inside[:, -1]]
    edges += [row for row, axis in ((found.inside[0], axes[0]), (found.inside[:, 0], axes[1])) if axis[0] != 0]
    if any(edge.any() for edge in edges):
        runner.notice(
            f"{first}, {second}: the region reaches the edge of the grid, which holds t < {HEADROOM:g} times the "
            "asymptotic level"
        )
    return found


def grid_ranges(
    problem: Problem, bounds: Sequence[tuple[float, float]], cl: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the range of each of two couplings that holds the region, with some room about it.

    Correlated couplings reach farther together than each alone: coarse axes are widened on every side that t below
    `HEADROOM` times the asymptotic level, the other coupling profiled, reaches, and then cut to what holds these.

    Parameters
    ----------
    problem : Problem
        Of two couplings.
    bounds : sequence of (float, float)
        Those of each coupling alone, in its own unit.
    cl : float

    Raises
    ------
    ConvergenceError
        If the points reach the sides whatever the width: the data do not bound the two couplings together.
    """
    level = HEADROOM * delta_chi2_level(cl, 2)
    positive = squared_only(problem)
    lows, highs = (np.array(ends, dtype=float) for ends in zip(*bounds, strict=True))
    for _ in range(MOST_WIDENINGS):
        axes = [np.linspace(low, high, COARSE) for low, high in zip(lows, highs, strict=True)]
        profiles = [_profile(problem, axes, j) for j in range(2)]
        lowest = min(float(profile.min()) for profile in profiles)
        rows = [profile - lowest <= level for profile in profiles]
        step = 0.3 * (highs - lows)
        at_low = np.array([row[0] for row in rows]) & ~(positive & (lows <= 0))
        at_high = np.array([row[-1] for row in rows])
        if not (at_low | at_high).any():
            break
        lows = np.where(at_low, lows - step, lows)
        lows = np.where(positive, np.maximum(lows, 0.0), lows)
        highs = np.where(at_high, highs + step, highs)
    else:
        names = " and ".join(problem.couplings)
        raise ConvergenceError(f"{names}: the data do not bound them together, so that there is no region")
    ranges = []
    for axis, row in zip(axes, rows, strict=True):
        first, last = np.flatnonzero(row)[[0, -1]]
        ranges.append((float(axis[max(first - 1, 0)]), float(axis[min(last + 1, COARSE - 1)])))
    return ranges[0], ranges[1]


def _profile(problem: Problem, axes: Sequence[Array], j: int) -> Array:
    """Return -2 ln L at each value of coupling j, the other one where on its axis that is lowest; shape (values,).

    A valley may be narrower than the axis' spacing: about each lowest point a grid eight times as fine, twice.
    """
    fixed, other = axes[j] / problem.scales[j], axes[1 - j] / problem.scales[1 - j]
    free = np.broadcast_to(other, (fixed.size, other.size))
    spacing = other[1] - other[0]
    for _ in range(3):
        points = np.stack([np.repeat(fixed, free.shape[1]), free.ravel()])
        found = fixed_fits(problem, points if j == 0 else points[::-1], problem.data[None, :])[0].reshape(free.shape)
        centre = np.take_along_axis(free, found.argmin(axis=1)[:, None], axis=1)
        free = np.clip(centre + spacing * np.linspace(-1, 1, 17), other[0], other[-1])
        spacing /= 8
    return np.asarray(found.min(axis=1))


def region_json(model: str, result: ToyRegion) -> dict[str, Any]:
    """Return a region as JSON-able values."""
    level = delta_chi2_level(result.cl, 2)
    return {
        "model": model,
        "couplings": list(result.couplings),
        "cl": result.cl,
        "best_fit": list(result.best),
        "toys": int(result.toys.sum()),
        "largest_error": result.largest_error,
        "delta_chi2": level,
        "critical_lowest": float(result.critical.min()),
        "critical_highest": float(result.critical.max()),
        "inside": int(result.inside.sum()),
        "inside_asymptotic": int((result.observed <= level).sum()),
        "x": result.x.tolist(),
        "y": result.y.tolist(),
        "observed": result.observed.tolist(),
        "critical": result.critical.tolist(),
        "error": result.error.tolist(),
    }
