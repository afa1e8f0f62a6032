"""The split of running time over positions (or exposures) with the best expected limit on a coupling."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError, UsageError, unknown_name
from bayesnu.experiment.base import Variance
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.inference.likelihood import make_problem
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.results.intervals import IntervalSet, check_probability
from bayesnu.results.limits import check_options, check_responds, frequentist_interval, interval_json, naming
from bayesnu.shown import Shown

Array = NDArray[np.float64]
By = Literal["position", "exposure"]
METHODS = ("chi2", "poisson")
LEAST_SHARE = 1e-9
"""Share of the years that stands for none: counts of a bin stay above 0."""
NONE = 1e-3
"""A share below is tried at 0."""
STEP = 1e-4
"""Of the finite differences in a share."""
EQUAL = 1e-6
"""Relative difference of limits that are the same."""


@dataclass(frozen=True)
class Place:
    """A position, or an exposure, with its years now and in the best split."""

    label: str
    years_now: float
    years_best: float


@dataclass(frozen=True, repr=False)
class Optimum(Shown):
    """The best split of running time for one coupling.

    Attributes
    ----------
    model, coupling, unit : str
    by : {"position", "exposure"}
    quantity : str
        What is smallest: the upper limit, or for a coupling with both signs the width of the interval (of a union: the
        sum).
    total_years : float
    places : tuple of Place
    now, best : IntervalSet
        Δχ² intervals of Asimov data without the coupling.
    size_now, size_best : float
        ``quantity`` of both.
    """

    model: str
    coupling: str
    unit: str
    by: By
    quantity: str
    total_years: float
    places: tuple[Place, ...]
    now: IntervalSet
    best: IntervalSet
    size_now: float
    size_best: float

    @property
    def gain(self) -> float:
        """By what fraction the best split lowers the quantity."""
        return 1 - self.size_best / self.size_now


def optimise(
    experiment: ElectronExperiment,
    coupling: str,
    *,
    by: str = "position",
    total_years: float | None = None,
    method: str = "chi2",
    variance: str | None = None,
    cl: float = 0.90,
    progress: Callable[[str], None] | None = None,
) -> Optimum:
    """Return the split of the years, their sum held, with the smallest expected limit on a coupling.

    The limit is that of Δχ² for Asimov data without the coupling, the others 0. Templates are linear in the years and
    are not folded again. The limit need not be convex in the shares: sequential quadratic programming starts from the
    present split, the equal one and near each corner, and the lowest of all that was visited, the corners among it,
    counts.

    Parameters
    ----------
    experiment : ElectronExperiment
    coupling : str
    by : {"position", "exposure"}
        What shares the years: positions, the polarities at each in their present proportion, or every exposure.
    total_years : float, optional
        The sum of the years; that of the card by default. The split of the card is scaled to it.
    method : {"chi2", "poisson"}
    variance : {"sm", "sm+background"}, optional
        V of (3.1), for "chi2"; "sm" by default.
    cl : float
    progress : callable, optional
        Receives the name of each start.

    Raises
    ------
    UsageError
        For an unknown name, a total that is not positive, observed counts, or a card with nothing to share.
    ConvergenceError
        If the limit of the present split is not finite.
    """
    check_responds(experiment, coupling)
    check_probability(cl)
    if by not in get_args(By):
        raise unknown_name("by", by, get_args(By))
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    check_options(method, {"variance": variance})
    allowed = experiment.variances
    if variance is not None and variance not in allowed:
        raise unknown_name("variance", variance, allowed)
    groups = _groups(experiment, by)
    if len(groups) == 1:
        raise UsageError(f"{experiment.card.name}: all years are at {next(iter(groups))}: there is nothing to share")
    years = np.array([exposure.years for exposure in experiment.card.exposures])
    total = float(years.sum()) if total_years is None else total_years
    if not (math.isfinite(total) and total > 0):
        raise UsageError(f"total_years = {total:g}: must be a finite number above 0")
    inside = np.zeros((len(groups), years.size))
    for g, members in enumerate(groups.values()):
        inside[g, members] = years[members] / years[members].sum()
    now = np.array([years[members].sum() for members in groups.values()]) / years.sum()
    chosen: Variance | None = next((v for v in allowed if v == variance), None)
    squared_only = COUPLINGS[coupling].squared_only

    def interval(shares: Array) -> IntervalSet:
        split = np.maximum(shares, LEAST_SHARE) / np.maximum(shares, LEAST_SHARE).sum()
        there = experiment.with_years((total * split @ inside).tolist())
        if method == "poisson":
            return frequentist_interval(make_problem(there, [coupling]), cl)
        return frequentist_interval(make_problem(there, [coupling], "chi2", chosen), cl)

    def size(found: IntervalSet) -> float:
        return found.intervals[-1][1] if squared_only else sum(high - low for low, high in found.intervals)

    with naming(experiment, coupling):
        before = interval(now)
        if not math.isfinite(size(before)):
            raise ConvergenceError("the present split gives no finite limit, which could be made smaller")
        best = _least(lambda shares: size(interval(shares)), now, progress)
        after = interval(best)
    places = tuple(
        Place(label, total * a, total * b) for label, a, b in zip(groups, now.tolist(), best.tolist(), strict=True)
    )
    quantity = "upper limit" if squared_only else "width of the interval"
    name, unit = experiment.card.name, COUPLINGS[coupling].unit
    return Optimum(
        name, coupling, unit, "exposure" if by == "exposure" else "position", quantity, total, places, before, after,
        size(before), size(after),
    )  # fmt: skip


def _groups(experiment: ElectronExperiment, by: str) -> dict[str, list[int]]:
    """Return the exposures that share their years in a fixed proportion."""
    groups: dict[str, list[int]] = {}
    for k, exposure in enumerate(experiment.card.exposures):
        place = f"{exposure.position_m:g} m"
        groups.setdefault(place if by == "position" else f"{exposure.mode} {place}", []).append(k)
    return groups


def _starts(now: Array) -> Iterator[tuple[str, Array]]:
    """Give the present split, the equal one, and points near each corner."""
    n = now.size
    centre = np.full(n, 1 / n)
    yield "the present split", now
    yield "the equal split", centre
    for k in range(n):
        yield f"near corner {k + 1}", 0.9 * np.eye(n)[k] + 0.1 * centre


def _least(size: Callable[[Array], float], now: Array, progress: Callable[[str], None] | None) -> Array:
    """Return the shares with the smallest size; those that may as well be 0 are 0."""
    from scipy.optimize import minimize

    unit = size(now)
    visited: dict[bytes, tuple[float, Array]] = {}

    def value(shares: Array) -> float:
        # Finite differences step off the simplex.
        on_simplex = np.clip(shares, 0.0, None) / np.clip(shares, 0.0, None).sum()
        key = on_simplex.tobytes()
        if key not in visited:
            found = size(on_simplex)
            visited[key] = (math.log(found / unit) if math.isfinite(found) else 1e3, on_simplex)
        return visited[key][0]

    n = now.size
    for name, start in _starts(now):
        if progress is not None:
            progress(name)
        minimize(
            value, start, method="SLSQP", bounds=[(0.0, 1.0)] * n,
            constraints={"type": "eq", "fun": lambda shares: shares.sum() - 1.0},
            options={"eps": STEP, "ftol": EQUAL, "maxiter": 100},
        )  # fmt: skip
    for corner in np.eye(n):
        value(corner)
    lowest, best = min(visited.values(), key=lambda item: item[0])
    for k in np.flatnonzero((best > 0) & (best < NONE)).tolist():
        without = np.where(np.arange(n) == k, 0.0, best)
        without /= without.sum()
        if value(without) <= lowest + EQUAL:
            best = without
    # Within rounding of each other the present split is as good.
    return now if lowest > -EQUAL else best


def optimum_json(result: Optimum) -> dict[str, Any]:
    """Return the best split as JSON-able values."""
    return {
        "model": result.model,
        "coupling": result.coupling,
        "unit": result.unit,
        "by": result.by,
        "quantity": result.quantity,
        "total_years": result.total_years,
        "places": [
            {"place": place.label, "years_now": place.years_now, "years_best": place.years_best}
            for place in result.places
        ],
        "now": interval_json(result.model, result.now) | {"size": result.size_now},
        "best": interval_json(result.model, result.best) | {"size": result.size_best},
        "gain": result.gain,
    }
