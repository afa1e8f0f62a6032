"""The asymptotic contour of two couplings: the lines on which Δ(-2 ln L), pulls profiled, is at its level.

-2 ln L is fitted on a grid that holds every part; polynomials through neighbours give it in between. Where these are at
the level, points are moved along their slope until fits at the points themselves are at it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError, UsageError
from bayesnu.inference.batch import TOLERANCE, fit_couplings
from bayesnu.inference.likelihood import Problem, Profiled, minimise_pulls, squared_only
from bayesnu.inference.profile import delta_chi2_level
from bayesnu.shown import Shown

Array = NDArray[np.float64]
POINTS = 112
"""Of all lines together, shared by length; each has at least `LEAST_POINTS`."""
LEAST_POINTS = 72
ACCURACY = 0.005
"""Largest distance of Δ(-2 ln L) from the level at a point, as a fraction of the level where that is below 1."""
RUNGS = np.geomspace(0.2, 2e3, 24)
"""Scaled distances, along each coupling, at which the level and minima are looked for from 0 or the lowest minimum."""
STARTS, FAR = 4, 25.0
"""Equal parts of the range in which Δ(-2 ln L), along one coupling, is below `FAR`: a fit of both starts in each."""
DIRECTIONS, BEYOND = 32, (1.0, 2.0, 4.0)
"""In which -2 ln L is fitted at these times the last rung: a region that is there is none that data bound."""
RIPPLE = 1e-4
"""Depth of a minimum between two rungs that is not worth a fit."""
APART = 0.05
"""Two fits found one minimum if all scaled couplings (squares, of those that enter squared only) differ by less."""
HEADROOM = 1.3
"""The first grid reaches to this times the level, along each coupling, from each minimum."""
WIDER, MOST_WIDENINGS = 0.3, 60
"""A grid is longer by this share at a side that the region reaches, so many times."""
SIDES = (12, 24, 48, 96, 192)
"""Points of the grid along each coupling: the next where polynomials through the last one miss fits."""
FAIR = 0.1
"""By how much they may, as a fraction of the level, where Δ(-2 ln L) is below `HEADROOM` times it."""
NODES = 6
"""Neighbours along each coupling through which a polynomial goes."""
PARTS = 6
"""Of a cell, in which lines are looked for."""
MOST_STEPS = 8
PROMISE = 1e-4
"""A step that promises to lower -2 ln L by less ends a fit: less than 1e-8 is left."""
_POWERS = np.linalg.inv(np.vander(np.arange(float(NODES)), increasing=True))
"""Coefficients of Lagrange's polynomials on the nodes 0, 1, …: (powers, nodes)."""


@dataclass(frozen=True, repr=False)
class Contour(Shown):
    """The lines on which Δ(-2 ln L) of two couplings, pulls profiled, is at the level of a probability.

    Attributes
    ----------
    couplings : (str, str)
    cl : float
    level : float
        -2 ln(1 - cl), asymptotic (Wilks, two couplings).
    best : (float, float)
        Where -2 ln L is lowest, in the couplings' own units.
    lines : tuple of ndarray, each of shape (points, 2)
        In the couplings' own units. A line ends where it begins, or at 0 of couplings that enter squared only. Lines
        may be more than parts of the region: one that has a hole has two.
    parts : int
        Of the region.
    accuracy : float
        Largest distance of Δ(-2 ln L) from the level at a point, by a fit there.
    resolution : (float, float)
        Cells of the grid, in the couplings' own units: a smaller part in which no fit found a minimum may be missed,
        and so may one so far away (a thousand times what changes χ² by 1 with pulls fixed) that no fit leads there.
    """

    couplings: tuple[str, str]
    cl: float
    level: float
    best: tuple[float, float]
    lines: tuple[Array, ...]
    parts: int
    accuracy: float
    resolution: tuple[float, float]

    @property
    def points(self) -> int:
        """Number of points of all lines."""
        return sum(len(line) for line in self.lines)

    @property
    def extremes(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Least and greatest value of each coupling in the region, in its own unit."""
        inside = np.concatenate([*self.lines, [self.best]])
        (a, c), (b, d) = inside.min(axis=0).tolist(), inside.max(axis=0).tolist()
        return (a, b), (c, d)


def profile_contour(problem: Problem, cl: float) -> Contour:
    r"""Return the contour :math:`\Delta(-2\ln L) = -2\ln(1 - \mathrm{cl})` of two couplings, pulls profiled.

    Parameters
    ----------
    problem : Problem
        Of two couplings.
    cl : float
        Confidence level, asymptotic (Wilks, two couplings).

    Raises
    ------
    UsageError
        If the problem has not two couplings, or the mass of N is free.
    ConvergenceError
        If the data do not bound the couplings together, the minimum is not found, or the finest grid does not show the
        region, as where it is too thin or -2 ln L jumps.
    """
    if len(problem.couplings) != 2:
        raise UsageError(f"a contour needs 2 couplings, not {len(problem.couplings)}")
    if problem.model.masses is not None:
        raise UsageError(f"{', '.join(problem.couplings)}: a contour takes the mass of N fixed")
    level = delta_chi2_level(cl, 2)
    valleys, box = _valleys(problem, level)
    for side in SIDES:
        surface, valleys = _bounded(problem, valleys, box, side, level)
        found = _lines(problem, surface, valleys, level)
        if found is not None:
            break
        box = surface.box
    else:
        names = " and ".join(problem.couplings)
        raise ConvergenceError(f"{names}: the region is too thin, or -2 ln L too rough, for {side} × {side} points")
    lines, accuracy = found
    best, cells = ((values * problem.scales).tolist() for values in (valleys.couplings[0], surface.steps))
    return Contour(
        (problem.couplings[0], problem.couplings[1]),
        cl,
        level,
        (best[0], best[1]),
        tuple(line.T * problem.scales for line in lines),
        surface.parts(level),
        accuracy,
        (cells[0], cells[1]),
    )


@dataclass(frozen=True)
class _Valleys:
    """Minima of -2 ln L, the lowest first: values, shape (minima,), and scaled couplings, shape (minima, 2)."""

    values: Array
    couplings: Array

    def joined(self, problem: Problem, starts: Array) -> _Valleys:
        """Return these and those that fits from ``starts``, shape (starts, 2), find."""
        sets = np.repeat(problem.data[None], len(starts), axis=0)
        fits = fit_couplings(problem, sets, starts[:, None])
        values = np.concatenate([self.values, fits.value[fits.converged]])
        couplings = np.concatenate([self.couplings, fits.couplings[fits.converged]])
        # Near 0 counts follow the square.
        place = np.where(squared_only(problem), couplings**2, couplings)
        kept: list[int] = []
        for k in np.argsort(values).tolist():
            if not kept or (np.abs(place[kept] - place[k]).max(axis=1) > APART).all():
                kept.append(k)
        return _Valleys(values[kept], couplings[kept])

    def within(self, height: float) -> Array:
        """Return the couplings of those less than ``height`` above the lowest."""
        return self.couplings[: np.searchsorted(self.values, self.values[0] + height, side="right")]


def _fitted(problem: Problem, points: Array) -> Profiled:
    """Return fits of the pulls at points, shape (2, points)."""
    return minimise_pulls(problem, points, tolerance=TOLERANCE, promise=PROMISE)


def _valleys(problem: Problem, level: float) -> tuple[_Valleys, Array]:
    """Return the minima, and a range of each coupling, shape (2, 2), that holds them and the region along both axes.

    -2 ln L is looked at along both couplings from 0, then from the lowest minimum. Where it falls again, and all over
    the range in which it is not far above, fits look for minima.
    """
    positive, share = squared_only(problem), (np.arange(STARTS) + 0.5) / STARTS
    found, place, lowest = _Valleys(np.empty(0), np.empty((0, 2))), np.zeros(2), np.inf
    while True:
        rungs = [_ladder(place[j], bool(positive[j])) for j in range(2)]
        points = np.repeat(place[:, None], rungs[0].size + rungs[1].size, axis=1)
        lines = np.split(points, [rungs[0].size], axis=1)
        for j, line in enumerate(lines):
            line[j] = rungs[j]
        fits = _fitted(problem, points)
        fits.require(problem, level)
        values = np.where(fits.converged, fits.value, np.inf)
        seen = points[:, int(values.argmin())]
        # 0 is no start for what enters squared only.
        starts = [np.where(positive & (start == 0), RUNGS[0], start).tolist() for start in (place, seen)]
        lowest = min(lowest, float(values.min()))
        halves = np.split(values - values.min(), [rungs[0].size])
        ends = min(float(value[end]) for j, value in enumerate(halves) for end in (0, -1) if end or not positive[j])
        # A plateau may be not far above the level.
        height = min(HEADROOM * level, max(level, (level + ends) / 2))
        ranges, wide = np.empty((2, 2)), np.empty((2, 2))
        for j, (line, value) in enumerate(zip(lines, halves, strict=True)):
            for range_, most in ((ranges, height), (wide, FAR + level)):
                below = np.flatnonzero(value <= max(most, value.min()))
                range_[j] = rungs[j][[max(int(below[0]) - 1, 0), min(int(below[-1]) + 1, value.size - 1)]]
            dips = (value[1:-1] < value[:-2] - RIPPLE) & (value[1:-1] < value[2:] - RIPPLE)
            starts += line[:, 1:-1][:, dips & (np.abs(rungs[j][1:-1] - place[j]) > RUNGS[0])].T.tolist()
        starts += list(product(*((low + share * (high - low)).tolist() for low, high in wide)))
        found = found.joined(problem, np.array(starts))
        if not found.values.size:
            raise ConvergenceError(f"{', '.join(problem.couplings)}: no fit converged; check counts and pulls")
        if found.values[0] > lowest + RIPPLE:
            raise _missed(problem)
        if found.values[0] > lowest - RIPPLE:
            if ends <= level or _far(problem, place) <= lowest + level:
                raise _unbounded(problem)
            places = found.within(level)
            low, high = ranges.T
            return found, np.stack([np.minimum(low, places.min(axis=0)), np.maximum(high, places.max(axis=0))], axis=1)
        place, lowest = found.couplings[0], float(found.values[0])


def _ladder(place: float, positive: bool) -> Array:
    """Return values about a scaled value of a coupling, in their order; not below 0 if it enters squared only."""
    rungs = np.concatenate([place - RUNGS[::-1], [place], place + RUNGS])
    return np.append(0.0, rungs[rungs > 0]) if positive else rungs


def _far(problem: Problem, place: Array) -> float:
    """Return the least -2 ln L in many directions from a place, as far away as the last rung and beyond."""
    angle = np.linspace(0.0, 2 * np.pi, DIRECTIONS, endpoint=False)
    ring = RUNGS[-1] * np.stack([np.cos(angle), np.sin(angle)])
    points = place[:, None] + np.concatenate([factor * ring for factor in BEYOND], axis=1)
    inside = (points >= 0).all(axis=0, where=squared_only(problem)[:, None])
    fits = _fitted(problem, points[:, inside])
    return float(np.where(fits.converged, fits.value, np.inf).min())


def _missed(problem: Problem) -> ConvergenceError:
    names = " and ".join(problem.couplings)
    return ConvergenceError(f"{names}: fits end above the lowest point that was seen; check counts and pulls")


def _unbounded(problem: Problem) -> ConvergenceError:
    names = " and ".join(problem.couplings)
    return ConvergenceError(f"{names}: the data do not bound them together, so that there is no contour")


@dataclass(frozen=True)
class _Surface:
    """Δ(-2 ln L) on a grid of scaled couplings, and polynomials between its points.

    Attributes
    ----------
    low, steps : ndarray, shape (2,)
    delta : ndarray, shape (side, side)
    lowest : float
        -2 ln L where Δ is 0.
    mirrored : ndarray of bool, shape (2,)
        Whether the grid begins at 0 of a coupling that enters squared only.
    """

    low: Array
    steps: Array
    delta: Array
    lowest: float
    mirrored: NDArray[np.bool_]

    @cached_property
    def padded(self) -> Array:
        """The grid and what is mirrored."""
        return np.pad(self.delta, [(own * (NODES // 2), 0) for own in self.mirrored.astype(int)], mode="reflect")

    @cached_property
    def fine(self) -> Array:
        """Δ(-2 ln L) on a grid that divides each cell into `PARTS`."""
        x, y = (_finer(len(self.delta), bool(own)) for own in self.mirrored)
        return np.asarray(x @ self.padded @ y.T)

    def at(self, cells: Array) -> tuple[Array, Array]:
        """Return values and slopes, shapes (points,) and (2, points), at places in units of cells, (2, points)."""
        sides = self.padded.shape
        (i, x, x_slope), (j, y, y_slope) = (
            _weights(sides[k], cells[k] + (sides[k] - len(self.delta))) for k in range(2)
        )
        about = np.arange(NODES)
        nodes = self.padded[i[:, None, None] + about[:, None], j[:, None, None] + about]
        along = (nodes @ y[:, :, None])[:, :, 0]
        slopes = (x_slope * along).sum(axis=1), (x * (nodes @ y_slope[:, :, None])[:, :, 0]).sum(axis=1)
        return (x * along).sum(axis=1), np.stack(slopes)

    def parts(self, level: float) -> int:
        """Return the number of parts in which Δ(-2 ln L) is not above a level."""
        from scipy.ndimage import label

        return int(label(self.fine <= level, np.ones((3, 3)))[1])

    @property
    def box(self) -> Array:
        """The range of each coupling, shape (2, 2)."""
        return np.stack([self.low, self.low + (len(self.delta) - 1) * self.steps], axis=1)

    def couplings(self, cells: Array) -> Array:
        """Return the scaled couplings of places in units of cells."""
        return self.low[:, None] + cells * self.steps[:, None]


def _weights(side: int, place: Array) -> tuple[NDArray[np.int64], Array, Array]:
    """Return the first of the nodes about places on a line of points, and their weights in value and slope."""
    first = np.clip(place.astype(np.int64) - (NODES // 2 - 1), 0, side - NODES)
    power = (place - first)[:, None] ** np.arange(NODES)
    slope = np.zeros_like(power)
    slope[:, 1:] = power[:, :-1] * np.arange(1, NODES)
    return first, power @ _POWERS, slope @ _POWERS


@cache
def _finer(side: int, mirrored: bool) -> Array:
    """Return what makes values on a line, before which some may be mirrored, those on one with `PARTS` of each step."""
    extra = NODES // 2 if mirrored else 0
    first, weights, _ = _weights(side + extra, np.arange((side - 1) * PARTS + 1) / PARTS + extra)
    result = np.zeros((first.size, side + extra))
    np.put_along_axis(result, first[:, None] + np.arange(NODES), weights, axis=1)
    return result


def _bounded(problem: Problem, valleys: _Valleys, box: Array, side: int, level: float) -> tuple[_Surface, _Valleys]:
    """Return Δ(-2 ln L) on a grid at whose sides it is above the level, and the minima with those that it shows."""
    positive = squared_only(problem)
    for _ in range(MOST_WIDENINGS):
        steps = (box[:, 1] - box[:, 0]) / (side - 1)
        axes = [low + step * np.arange(side) for low, step in zip(box[:, 0], steps, strict=True)]
        # Back and forth, so that each point is next to the one before.
        second = np.tile(axes[1], (side, 1))
        second[1::2] = second[1::2, ::-1].copy()
        fits = _fitted(problem, np.stack([np.repeat(axes[0], side), second.ravel()]))
        fits.require(problem, 10 * level)
        value = fits.value.reshape(side, side)
        value[1::2] = value[1::2, ::-1].copy()
        value[~np.isfinite(value)] = value[np.isfinite(value)].max()
        starts = _dips(valleys, value, box[:, 0], steps, level)
        if starts.size:
            valleys = valleys.joined(problem, starts)
        lowest = float(min(valleys.values[0], value.min()))
        surface = _Surface(box[:, 0], steps, value - lowest, lowest, positive & (box[:, 0] == 0))
        places = valleys.within(level)
        wanted = np.stack([places.min(axis=0), places.max(axis=0)], axis=1)
        fine = surface.fine
        # A side is open where the region reaches it, but for 0 of a coupling that enters squared only.
        open_ = np.array([[fine[0].min(), fine[-1].min()], [fine[:, 0].min(), fine[:, -1].min()]]) <= level
        open_[:, 0] &= ~surface.mirrored
        open_ |= (wanted - box) * [-1, 1] > 0
        if not open_.any():
            if lowest < valleys.values[0] - RIPPLE:
                raise _missed(problem)
            return surface, valleys
        length = (box[:, 1] - box[:, 0])[:, None]
        box = box + open_ * (WIDER * length * [-1, 1])
        box[:, 0] = np.where(positive, np.maximum(box[:, 0], 0.0), box[:, 0])
    raise _unbounded(problem)


def _dips(valleys: _Valleys, value: Array, low: Array, steps: Array, level: float) -> Array:
    """Return where a grid of -2 ln L has minima that are not among those known, shape (dips, 2), scaled couplings."""
    side = len(value)
    around = np.pad(value, 1, constant_values=np.inf)
    least = np.minimum(np.minimum(around[:-2], around[1:-1]), around[2:])
    least = np.minimum(np.minimum(least[:, :-2], least[:, 1:-1]), least[:, 2:])
    dips = np.argwhere((value <= least) & (value < valleys.values[0] + 2 * level))
    places = low + dips * steps
    known = (np.abs(places[:, None] - valleys.couplings) <= 1.5 * steps).all(axis=2).any(axis=1)
    # On a side that is open the next grid will tell; 0 itself is no start for what enters squared only.
    inside = ((dips > 0) & (dips < side - 1) | (places == 0)).all(axis=1)
    found = places[inside & ~known]
    return np.where(found == 0, 0.1 * steps, found)


def _lines(problem: Problem, surface: _Surface, valleys: _Valleys, level: float) -> tuple[list[Array], float] | None:
    """Return lines of scaled couplings, each of shape (2, points), and the largest distance of a point from the level.

    None if the polynomials of the surface miss fits by too much: at the centres of cells, at minima or on the lines.
    """
    import contourpy

    side = len(surface.delta) - 1
    centres = np.stack([np.repeat(np.arange(side), side), np.tile(np.arange(side), side)]) + 0.5
    known = valleys.within(level)
    fits = _fitted(problem, surface.couplings(centres))
    delta = np.append(fits.value, valleys.values[: len(known)]) - surface.lowest
    there = surface.at(np.concatenate([centres, (known - surface.low).T / surface.steps[:, None]], axis=1))[0]
    drawn, halved = (contourpy.contour_generator(z=z.T).lines(level) for z in (surface.fine, surface.fine[::2, ::2]))
    # Where half of the places give another number of lines, some are as narrow as the places are apart.
    if not drawn or len(halved) != len(drawn):
        return None
    if (np.abs(there - delta)[np.fmin(there, delta) < HEADROOM * level] > FAIR * level).any():
        return None
    lengths = [float(np.hypot(*np.diff(line, axis=0).T).sum()) for line in drawn]
    shares = [max(LEAST_POINTS, round(POINTS * length / sum(lengths))) for length in lengths]
    spread = [_spread(line, share) / PARTS for line, share in zip(drawn, shares, strict=True)]
    closed = [(line[0] == line[-1]).all() for line in drawn]
    cells = np.concatenate(spread, axis=1)
    fixed = surface.mirrored[:, None] & (cells == 0)

    def moved(cells: Array, excess: Array, slopes: Array, fixed: NDArray[np.bool_]) -> Array:
        """Return places moved along the slope by what takes an excess away, by at most one cell."""
        slopes = np.where(fixed, 0.0, slopes)
        steep = (slopes**2).sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            move = np.where(steep > 0, -excess * slopes / steep, 0.0)
        move /= np.maximum(np.hypot(*move), 1.0)
        return np.where(surface.mirrored[:, None], np.maximum(cells + move, 0.0), cells + move)

    value, slopes = surface.at(cells)
    cells = moved(cells, value - level, slopes, fixed)
    excess, off = np.empty(cells.shape[1]), np.arange(cells.shape[1])
    for step in range(MOST_STEPS):
        fits = _fitted(problem, surface.couplings(cells[:, off]))
        excess[off] = np.where(fits.converged, fits.value, np.inf) - surface.lowest - level
        if step == 0 and not np.abs(excess).max() <= FAIR * level:
            return None
        off = off[np.abs(excess[off]) > ACCURACY * min(1.0, level)]
        if not off.size:
            break
        cells[:, off] = moved(cells[:, off], excess[off], slopes[:, off], fixed[:, off])
    else:
        return None
    points = np.split(surface.couplings(cells), np.cumsum([own.shape[1] for own in spread])[:-1], axis=1)
    for line, ring in zip(points, closed, strict=True):
        if ring:
            line[:, -1] = line[:, 0]
    return points, float(np.abs(excess).max())


def _spread(line: Array, number: int) -> Array:
    """Return points of a line, shape (2, number + 1), closer to each other where it turns; that is (vertices, 2)."""
    even, corner = np.linspace(0.0, 1.0, number + 1), np.zeros(number + 1)
    walked = np.append(0.0, np.hypot(*np.diff(line, axis=0).T).cumsum())
    points = np.stack([np.interp(even * walked[-1], walked, line[:, j]) for j in range(2)])
    steps = np.diff(points[0] + 1j * points[1])
    corner[1:-1] = np.abs(np.angle(steps[1:] * steps[:-1].conj()))
    # Half of the points by length, half by angle.
    angle = np.append(0.0, ((corner[1:] + corner[:-1]) / 2).cumsum())
    share = even + angle / max(angle[-1], 1.0)
    share /= share[-1]
    places = np.interp(even, share, even) * walked[-1]
    return np.stack([np.interp(places, walked, line[:, j]) for j in range(2)])
