"""Profile likelihood: Δχ² curves, intervals that may be unions, and two-coupling regions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError, UsageError
from bayesnu.inference.batch import PROMISE, TOLERANCE, fit_couplings
from bayesnu.inference.likelihood import (
    Problem,
    Profiled,
    bounded_range,
    bracket,
    local_minima,
    merged,
    minimise_pulls,
    refined_minimum,
    squared_only,
)
from bayesnu.workers import InProcess, Task

Array = NDArray[np.float64]
Intervals = tuple[tuple[float, float], ...]
CROSSING_POINTS = 8
MOST_SECANTS = 60
FARTHEST = 1e3
"""Scaled coupling beyond which crossings are left to a scan."""
CLOSE = 1e-10
"""Distance of Δ(-2 ln L) from its level at a crossing."""
ROWS = 5
"""Of a grid in two couplings, fitted by one thread before it takes the next ones."""
STARTS = 128
"""Fits from which the minima of several couplings are found."""
STRIDE = 0.1
"""Step, as a fraction of the range of one coupling alone, in which its range with others free is found."""
MOST_STRIDES = 400
SAME_MINIMUM = 0.05
"""Two fits found one minimum if their -2 ln L differ by less, and their couplings by less in scaled units."""


def delta_chi2_level(cl: float, couplings: int) -> float:
    """Return the asymptotic Δχ² of a confidence level: 2.7055 for 90% and one coupling, 4.605 for two."""
    if not 0 < cl < 1:
        raise UsageError(f"cl = {cl}: must be between 0 and 1, as 0.9 for 90%")
    if couplings == 1:
        return NormalDist().inv_cdf((1 - cl) / 2) ** 2
    if couplings == 2:
        return -2 * math.log(1 - cl)
    from scipy.special import chdtri

    return float(chdtri(couplings, 1 - cl))


@dataclass(frozen=True)
class ProfileCurve:
    """Δ(-2 ln L) of one coupling with the pulls profiled, in the coupling's own unit.

    Attributes
    ----------
    coupling : str
    values : ndarray, shape (points,)
    delta : ndarray, shape (points,)
    best : float
        The best fit.
    """

    coupling: str
    values: Array
    delta: Array
    best: float


def _scan(problem: Problem, threshold: float, points: int, *, exact: bool) -> tuple[Array, Array]:
    """Return scaled values that cover the range up to ``threshold``, local minima included, and -2 ln L there."""
    low, high = bounded_range(problem, threshold, exact=exact)
    grid = np.linspace(low, high, points)
    profiled = minimise_pulls(problem, grid[None, :])
    profiled.require(problem, threshold)
    value = profiled.value
    return merged(
        grid, value, [refined_minimum(problem, *bracket(grid, k)) for k in local_minima(problem, grid, value)]
    )


def profile_curve(problem: Problem, threshold: float = 10.0, points: int = 401) -> ProfileCurve:
    """Return the Δχ² curve of a one-coupling problem where it is below ``threshold``."""
    grid, value = _scan(problem, threshold, points, exact=True)
    scale = float(problem.scales[0])
    return ProfileCurve(problem.couplings[0], grid * scale, value - value.min(), float(grid[value.argmin()] * scale))


def delta_chi2_intervals(problem: Problem, cl: float) -> Intervals:
    """Return the set of values with Δχ² below the level of ``cl``, as a union of intervals.

    For a coupling that enters squared only, the lower bound is 0 where the set
    reaches the boundary.

    Parameters
    ----------
    problem : Problem
        With one coupling.
    cl : float
        Confidence level; the level is asymptotic (Wilks), kind ``delta_chi2``.

    Returns
    -------
    tuple of (low, high)
        In the coupling's own unit.
    """
    level = delta_chi2_level(cl, 1)
    if linear_in_square(problem) and (found := _square_interval(problem, level)) is not None:
        return (found,)
    # Where counts grow with the square alone the curve has one minimum, which fewer points show.
    points = 101 if squared_only(problem)[0] else 401
    grid, value = _scan(problem, max(2 * level, level + 5), points, exact=False)
    lowest = value.min()
    x = np.cos(np.pi * (np.arange(CROSSING_POINTS) + 0.5) / CROSSING_POINTS)

    def crossing(low: float, high: float) -> float:
        # A polynomial through the curve in one cell of the scan, where it is as good as exact.
        middle, half = (low + high) / 2, (high - low) / 2
        excess = minimise_pulls(problem, (middle + half * x)[None, :]).value - lowest - level
        if np.isfinite(excess).all():
            curve = np.polynomial.Polynomial.fit(x, excess, CROSSING_POINTS - 1, domain=[-1, 1])
            roots = curve.roots()
            inside = roots.real[(abs(roots.imag) < 1e-9) & (abs(roots.real) <= 1)]
            if curve(-1.0) * curve(1.0) < 0 and inside.size == 1:
                return middle + half * float(inside[0])

        # The curve is too steep or too bent for that, or ends; the values at both ends are known to differ in sign.
        # Imported here alone, since it takes half a second.
        from scipy.optimize import brentq

        def exact(t: float) -> float:
            return float(minimise_pulls(problem, np.array([[t]])).value[0] - lowest - level)

        return float(brentq(exact, low, high, xtol=1e-10 * max(abs(low), abs(high))))

    below = value - lowest < level
    ends: list[float] = []
    if below[0]:
        ends.append(0.0 if squared_only(problem)[0] else -np.inf)
    for k in np.flatnonzero(below[1:] != below[:-1]):
        ends.append(crossing(float(grid[k]), float(grid[k + 1])))
    if below[-1]:
        ends.append(np.inf)
    scale = float(problem.scales[0])
    return tuple((low * scale, high * scale) for low, high in zip(ends[::2], ends[1::2], strict=True))


def linear_in_square(problem: Problem) -> bool:
    """Return whether a problem has one coupling, and counts that are linear in its square."""
    model = problem.model
    if len(problem.couplings) != 1 or model.masses is not None:
        return False
    used = model.arrays.any(axis=(0, 2))
    return all(dict(monomial).get(0, 0) in (0, 2) for monomial, own in zip(model.monomials, used, strict=True) if own)


def _square_interval(problem: Problem, level: float) -> tuple[float, float] | None:
    """Return the interval of a coupling in whose square the counts are linear, in its unit; None if no root is found.

    -2 ln L has one minimum in the square, from which its root grows nearly linearly: secants find the crossings.
    """
    if problem.few:
        points, value = problem.wide_scan
        least = float(points[value.argmin()] ** 2)
        pulls = minimise_pulls(problem, np.array([[least**0.5]])).pulls
    else:
        best = fit_couplings(problem, problem.data[None, :], np.array([[0.3]]))
        if not best.converged[0]:
            return None
        least, pulls = float(best.couplings[0, 0] ** 2), best.pulls
    # Where its slope vanishes, -2 ln L of the fit is as precise as that of the profile.
    lowest = float(minimise_pulls(problem, np.array([[least**0.5]]), first=pulls).value[0])

    def excess(square: float) -> float:
        """Return the root of Δ(-2 ln L), less that of the level."""
        found = minimise_pulls(problem, np.array([[square**0.5]]), first=pulls)
        return float(np.sqrt(max(found.value[0] - lowest, 0.0)) - np.sqrt(level)) if found.converged[0] else np.nan

    def crossing(inside: float, outside: float, first: float) -> float | None:
        """Return where it is 0 between a place inside and one that is not; the latter may be infinite."""
        bounds, last, place = [inside, outside], (inside, -(level**0.5)), first
        for _ in range(MOST_SECANTS):
            now = excess(place)
            # Pulls that absorb any signal leave a plateau, beyond whose far end rounding may rise: a scan sees it.
            if not np.isfinite(now) or place > FARTHEST**2:
                return None
            if abs(now) < CLOSE:
                return place
            bounds[int(now > 0)] = place
            slope = (now - last[1]) / (place - last[0])
            last, place = (place, now), place - now / slope if slope != 0 else np.inf
            low, high = sorted(bounds)
            if not low < place < high or place > 8 * last[0] + 1:
                place = (low + high) / 2 if high < np.inf else 8 * last[0] + 1
        return None

    low: float | None = 0.0
    if least > 0 and excess(0.0) > 0:
        low = crossing(least, 0.0, least / 2)
    high = crossing(least, np.inf, least + 1.0)
    if low is None or high is None:
        return None
    scale = float(problem.scales[0])
    return low**0.5 * scale, high**0.5 * scale


@dataclass(frozen=True)
class ProfileGrid:
    """Δ(-2 ln L) on a grid of two couplings, pulls profiled, in the couplings' own units.

    Attributes
    ----------
    couplings : (str, str)
    x, y : ndarray
        Values of the first and the second coupling.
    delta : ndarray, shape (x, y)
    """

    couplings: tuple[str, str]
    x: Array
    y: Array
    delta: Array


def profile_grid(problem: Problem, x: Array, y: Array) -> ProfileGrid:
    """Return Δχ² of a two-coupling problem on a grid given in the couplings' own units.

    Raises
    ------
    UsageError
        If the problem does not have two couplings.
    ConvergenceError
        If the minimisation fails somewhere.
    """
    if len(problem.couplings) != 2:
        raise UsageError(f"a two-coupling region needs 2 couplings, not {len(problem.couplings)}")
    columns = y / problem.scales[1]
    rows = [slice(k, k + ROWS) for k in range(0, x.size, ROWS)]
    tasks = [Task(f"rows-{own.start}", (x[own] / problem.scales[0], columns)) for own in rows]
    value, converged = np.empty((x.size, y.size)), np.empty((x.size, y.size), dtype=np.bool_)
    for k, found in InProcess().run(_profiled_rows, problem, tasks):
        value[rows[k]], converged[rows[k]] = found["value"], found["converged"]
    none = np.empty(0)
    Profiled(value, none, none, converged).require(problem, 100.0)
    return ProfileGrid((problem.couplings[0], problem.couplings[1]), x, y, value - value.min())


def _profiled_rows(problem: Problem, first: Array, second: Array) -> dict[str, NDArray[Any]]:
    """Return -2 ln L with the pulls minimised at scaled values of both couplings, and whether that succeeded."""
    rows = [
        minimise_pulls(problem, np.stack([np.full(second.size, at), second]), tolerance=TOLERANCE, promise=PROMISE)
        for at in first.tolist()
    ]
    return {"value": np.stack([row.value for row in rows]), "converged": np.stack([row.converged for row in rows])}


def with_fixed(problem: Problem, fixed: Sequence[int], values: Array) -> Problem:
    """Return the problem of the other couplings, where some (by place) have given scaled values.

    Raises
    ------
    UsageError
        If the mass of N is free: counts are not polynomials in it.
    """
    model = problem.model
    if model.masses is not None:
        raise UsageError("m_N: a profile over other couplings takes it fixed")
    rest = [j for j in range(len(problem.couplings)) if j not in fixed]
    given = dict(zip(fixed, values.tolist(), strict=True))
    blocks: dict[tuple[tuple[int, int], ...], Array] = {}
    for m, monomial in enumerate(model.monomials):
        factor = float(np.prod([given[j] ** n for j, n in monomial if j in given]))
        left = tuple((rest.index(j), n) for j, n in monomial if j not in given)
        blocks[left] = blocks.get(left, 0.0) + factor * model.arrays[:, m]
    names = tuple(problem.couplings[j] for j in rest)
    arrays = np.stack(list(blocks.values()), axis=1)
    own = replace(model, couplings=names, monomials=tuple(blocks), arrays=arrays)
    return replace(problem, couplings=names, scales=problem.scales[rest], model=own)


@dataclass(frozen=True)
class Minima:
    """The local minima of -2 ln L in several couplings, the lowest first.

    Attributes
    ----------
    value : ndarray, shape (minima,)
        -2 ln L.
    couplings : ndarray, shape (minima, couplings)
        Scaled values.
    ranges : ndarray, shape (couplings, 2)
        Scaled range of each coupling with the others at 0, where fits started.
    """

    value: Array
    couplings: Array
    ranges: Array


def minima(problem: Problem, within: float) -> Minima:
    """Return the minima of -2 ln L that lie less than ``within`` above the lowest, found from `STARTS` points.

    The points fill, by multiples of irrational numbers, the box of the ranges in which Δ(-2 ln L) of each coupling
    with the others at 0 is below ``within``.

    Raises
    ------
    ConvergenceError
        If no fit converges.
    """
    number = len(problem.couplings)
    places = range(number)
    alone = [with_fixed(problem, [i for i in places if i != j], np.zeros(number - 1)) for j in places]
    ranges = np.array([bounded_range(one, within, exact=False) for one in alone])
    # The generalised golden ratio: its powers fill a box of that many dimensions evenly.
    ratio = 2.0
    for _ in range(64):
        ratio = (1 + ratio) ** (1 / (number + 1))
    share = (0.5 + np.arange(STARTS)[:, None] * ratio ** -np.arange(1.0, number + 1)) % 1
    starts = np.concatenate([np.zeros((1, number)), ranges[:, 0] + share * (ranges[:, 1] - ranges[:, 0])])
    # 0 is no start for what enters squared only.
    starts = np.where(squared_only(problem) & (starts == 0), 0.3, starts)
    fits = fit_couplings(problem, np.repeat(problem.data[None, :], len(starts), axis=0), starts[:, None])
    if not fits.converged.any():
        raise ConvergenceError(f"{', '.join(problem.couplings)}: no fit converged; check counts and pulls")
    # Near 0 the counts follow the square.
    place = np.where(squared_only(problem), fits.couplings**2, fits.couplings)
    found: list[int] = []
    for k in np.argsort(np.where(fits.converged, fits.value, np.inf)).tolist():
        if not fits.converged[k] or fits.value[k] > fits.value[found[0] if found else k] + within:
            break
        near = [
            i
            for i in found
            if fits.value[k] - fits.value[i] < SAME_MINIMUM and np.abs(place[k] - place[i]).max() < SAME_MINIMUM
        ]
        if not near:
            found.append(k)
    return Minima(fits.value[found], fits.couplings[found], ranges)


def profile_others(problem: Problem, fixed: Sequence[int], points: Array, starts: Array) -> Array:
    """Return -2 ln L minimised over pulls and all other couplings where some have given values.

    Parameters
    ----------
    problem : Problem
    fixed : sequence of int
        Places of the couplings that are given.
    points : ndarray, shape (fixed, points)
        Scaled values; neighbours close to each other make fits short.
    starts : ndarray, shape (starts, couplings)
        Scaled values of all couplings from which fits start at every point, beside its neighbour's best fit.

    Returns
    -------
    ndarray, shape (points,)
        Infinite where no fit converges.
    """
    rest = [j for j in range(len(problem.couplings)) if j not in fixed]
    value, last = np.full(points.shape[1], np.inf), starts[:1, rest]
    for k, point in enumerate(points.T):
        own = fit_couplings(
            with_fixed(problem, fixed, point), problem.data[None, :], np.concatenate([last, starts[:, rest]])
        )
        if own.converged[0]:
            value[k], last = own.value[0], own.couplings
    return value


def joint_ranges(problem: Problem, threshold: float) -> Array:
    """Return the scaled range of each coupling outside which Δ(-2 ln L), all others profiled, exceeds ``threshold``.

    Shape (couplings, 2); up to `STRIDE` wider. From 0 for a coupling that enters squared only.

    Raises
    ------
    ConvergenceError
        If the data do not bound a coupling with the others free.
    """
    found = minima(problem, threshold)
    result = np.empty((len(problem.couplings), 2))
    for j, (low, high) in enumerate(found.ranges.tolist()):
        own, stride = found.couplings[:, j], STRIDE * (high - low)
        for side, end in enumerate((min(low, own.min()), max(high, own.max()))):
            if side == 0 and squared_only(problem)[j]:
                result[j, 0] = 0.0
                continue
            for k in range(MOST_STRIDES):
                place = end + (2 * side - 1) * k * stride
                if profile_others(problem, [j], np.array([[place]]), found.couplings)[0] > found.value[0] + threshold:
                    break
            else:
                others = ", ".join(name for i, name in enumerate(problem.couplings) if i != j)
                raise ConvergenceError(
                    f"{problem.couplings[j]}: with {others} free the data do not bound it; give it a prior with bounds"
                )
            result[j, side] = place
    return result


def profile_plane(problem: Problem, pair: tuple[str, str], x: Array, y: Array) -> ProfileGrid:
    """Return Δ(-2 ln L) of two couplings, the problem's others profiled, on a grid in the couplings' own units.

    Raises
    ------
    ConvergenceError
        If a fit fails near the minimum.
    """
    fixed = [problem.couplings.index(name) for name in pair]
    found = minima(problem, 25.0)
    first, second = np.meshgrid(x / problem.scales[fixed[0]], y / problem.scales[fixed[1]], indexing="ij")
    # Back and forth, so that each point is next to the one before.
    second[1::2] = second[1::2, ::-1]
    value = profile_others(problem, fixed, np.stack([first.ravel(), second.ravel()]), found.couplings)
    value = value.reshape(first.shape)
    value[1::2] = value[1::2, ::-1].copy()
    if not np.isfinite(value).any():
        raise ConvergenceError(f"{', '.join(pair)}: no fit of the other couplings converged")
    return ProfileGrid(pair, x, y, value - min(float(found.value[0]), float(value.min())))
