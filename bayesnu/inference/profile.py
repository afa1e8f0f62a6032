"""Profile likelihood: Δχ² curves, intervals that may be unions, and two-coupling regions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import UsageError
from bayesnu.inference.likelihood import (
    Problem,
    bounded_range,
    bracket,
    local_minima,
    merged,
    minimise_pulls,
    refined_minimum,
    squared_only,
)

Array = NDArray[np.float64]
Intervals = tuple[tuple[float, float], ...]
CROSSING_POINTS = 8


def delta_chi2_level(cl: float, couplings: int) -> float:
    """Return the asymptotic Δχ² of a confidence level: 2.7055 for 90% and one coupling, 4.605 for two."""
    from scipy.special import chdtri

    if not 0 < cl < 1:
        raise UsageError(f"cl = {cl}: must be between 0 and 1")
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
    points = np.stack([c.ravel() for c in np.meshgrid(x / problem.scales[0], y / problem.scales[1], indexing="ij")])
    profiled = minimise_pulls(problem, points)
    profiled.require(problem, 100.0)
    value = profiled.value.reshape(x.size, y.size)
    return ProfileGrid((problem.couplings[0], problem.couplings[1]), x, y, value - value.min())
