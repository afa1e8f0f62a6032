"""Feldman and Cousins' region of two couplings of a card, beside the asymptotic one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bayesnu.errors import UsageError
from bayesnu.experiment.base import Experiment
from bayesnu.inference.likelihood import make_problem
from bayesnu.inference.profile import delta_chi2_intervals, delta_chi2_level
from bayesnu.inference.region import ToyRegion, feldman_cousins_region
from bayesnu.inference.toys import Ensemble
from bayesnu.results.intervals import check_probability
from bayesnu.results.limits import DEFAULT_SEED, check_counts, check_responds, naming
from bayesnu.results.toy_limits import ToyRunner

MARGIN = 1.7
"""How far the grid goes, in units of the bound of one coupling alone at the same probability."""


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
        If the data do not bound one of the couplings.
    """
    first, second = (experiment.fitted(name) for name in couplings)
    for name in (first, second):
        check_responds(experiment, name)
    check_probability(cl)
    check_counts(draws=None, chains=None, seed=seed)
    if first == second:
        raise UsageError(f"couplings = {first}, {second}: a region needs two different ones")
    if not 5 <= points <= 400:
        raise UsageError(f"points = {points}: must be from 5 to 400")
    if not 0.001 <= tolerance < 1:
        raise UsageError(f"tolerance = {tolerance}: must be from 0.001 to below 1")
    runner = runner or ToyRunner()
    axes = []
    for name in (first, second):
        with naming(experiment, name):
            pieces = delta_chi2_intervals(make_problem(experiment, [name]), cl)
        low, high = pieces[0][0], pieces[-1][1]
        if not math.isfinite(high - low):
            raise UsageError(f"{name}: the data do not bound it, so that there is no region")
        middle, half = (low + high) / 2, MARGIN * (high - low) / 2
        axes.append(np.linspace(0.0, MARGIN * high, points) if low == 0 else middle + half * np.linspace(-1, 1, points))
    problem = make_problem(experiment, [first, second])
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
        runner.notice(f"{first}, {second}: the region reaches the edge of the grid, {MARGIN:g} times the single bounds")
    return found


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
