"""The asymptotic contour of two couplings of a card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bayesnu.experiment.base import Experiment
from bayesnu.inference.contour import Contour, profile_contour
from bayesnu.inference.likelihood import make_problem
from bayesnu.results.intervals import check_probability
from bayesnu.results.limits import check_pair


def contour(experiment: Experiment, couplings: Sequence[str], cl: float = 0.90) -> Contour:
    """Return the asymptotic contour of two couplings, the others 0, pulls profiled: Δ(-2 ln L) = -2 ln(1 - cl).

    It takes milliseconds. `bayesnu.region` has Feldman and Cousins' region, whose critical values differ where the
    region ends at 0 of a coupling that enters squared only, or has several solutions.

    Parameters
    ----------
    experiment : Experiment
    couplings : sequence of str
        Two different ones.
    cl : float

    Raises
    ------
    UsageError
        If these are not two different couplings that counts depend on.
    ConvergenceError
        If the data do not bound the couplings together.
    """
    names = check_pair(experiment, couplings)
    return profile_contour(make_problem(experiment, names), float(check_probability(cl)))


def contour_json(model: str, result: Contour) -> dict[str, Any]:
    """Return a contour as JSON-able values."""
    return {
        "model": model,
        "couplings": list(result.couplings),
        "cl": result.cl,
        "delta_chi2": result.level,
        "best_fit": list(result.best),
        "extremes": [list(ends) for ends in result.extremes],
        "parts": result.parts,
        "points": result.points,
        "accuracy": result.accuracy,
        "resolution": list(result.resolution),
        "lines": [line.tolist() for line in result.lines],
    }
