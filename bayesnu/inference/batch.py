"""Fits of many data sets at once: pulls alone on a grid of couplings, or couplings and pulls together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError, UsageError
from bayesnu.inference.likelihood import Problem, local_minima, minimise_pulls, squared_only, statistic_code

Array = NDArray[np.float64]
SETS_PER_BLOCK = 50
"""Data sets whose curves are fitted at a time: each needs memory at every point."""
FLUCTUATION = 25.0
"""Δ(-2 ln L) within which a valley must be a parabola for one start to be enough."""
BENT = 1.0
"""By how much it may differ from one."""
SHELF_STARTS = 5
"""Equal parts of such a range: one start in each."""
TOLERANCE = 1e-6
"""Steps below end a fit; Newton's method leaves their square."""
PROMISE = 1e-7
"""And so does a step that promises to lower -2 ln L by less, of which hardly the square is left."""


@dataclass(frozen=True)
class BestFits:
    """The global minima of -2 ln L of many data sets.

    Attributes
    ----------
    value : ndarray, shape (sets,)
        -2 ln L there.
    couplings : ndarray, shape (sets, couplings)
        Scaled values; a coupling that enters squared only is not negative.
    pulls : ndarray, shape (sets, pulls)
        z, in units of the widths.
    converged : ndarray of bool, shape (sets,)
    """

    value: Array
    couplings: Array
    pulls: Array
    converged: NDArray[np.bool_]


@dataclass(frozen=True)
class Curves:
    """-2 ln L minimised over the pulls, of many data sets on one grid of couplings.

    Attributes
    ----------
    value : ndarray, shape (sets, points)
    log_det : ndarray, shape (sets, points)
        ln |H|, H the Hessian of -ln L in the pulls: what Laplace's method needs.
    converged : ndarray of bool, shape (sets, points)
    """

    value: Array
    log_det: Array
    converged: NDArray[np.bool_]


def fit_couplings(
    problem: Problem, data: Array, starts: Array, centre: Array | None = None, first: Array | None = None
) -> BestFits:
    """Minimise -2 ln L over couplings and pulls for every data set.

    Each start ends in one local minimum; the lowest of them counts.

    Parameters
    ----------
    problem : Problem
        Its own data are not used.
    data : ndarray, shape (sets, obs)
    starts : ndarray, shape (starts, couplings) or (sets, starts, couplings)
        Scaled values; see `starting_points`.
    centre : ndarray, shape (sets, pulls), optional
        Auxiliary measurements of the pulls; 0 by default.
    first : ndarray, shape (sets, pulls), optional
        Where pulls start; 0 by default.

    Raises
    ------
    UsageError
        If the mass of N is free: counts are not polynomials in it.
    """
    from bayesnu.inference import newton

    model = problem.model
    if model.masses is not None:
        raise UsageError("m_N: toys take it fixed; give it by --at")
    sets, n_couplings = data.shape[0], len(problem.couplings)
    exponents = np.array([[dict(monomial).get(j, 0) for j in range(n_couplings)] for monomial in model.monomials])
    exponents = exponents.reshape(len(model.monomials), n_couplings)
    used = model.arrays.any(axis=(0, 2))
    # Where a coupling enters squared only, its square is the variable: counts have a slope in it at 0.
    square = squared_only(problem) & (exponents[used] % 2 == 0).all(axis=0)
    # Odd powers that no count has are left out, since a square root of them is none.
    exponents, arrays = exponents[used], model.arrays[:, used].reshape(-1, model.arrays.shape[2])
    exponents[:, square] //= 2
    lower = np.where(squared_only(problem), 0.0, -np.inf)
    points = np.broadcast_to(starts if starts.ndim == 3 else starts[None], (sets, *starts.shape[-2:]))
    points = np.where(square, points**2, points)
    value, converged = np.empty(sets), np.empty(sets, dtype=np.bool_)
    found = np.empty((sets, n_couplings + len(model.pulls)))
    nowhere = np.zeros((sets, len(model.pulls)))
    measured = nowhere if centre is None else np.ascontiguousarray(centre)
    begin = nowhere if first is None else np.ascontiguousarray(first)
    counts = np.ascontiguousarray(data, dtype=float)
    whole = exponents.astype(np.int64)
    newton.fit_couplings(
        arrays, whole, lower, model.membership, model.widths, model.constraint, statistic_code(problem),
        problem.normal_variance, problem.relative_variance, counts, measured, points, begin, 400, TOLERANCE, PROMISE,
        value, found, converged,
    )  # fmt: skip
    couplings = found[:, :n_couplings]
    return BestFits(value, np.where(square, np.sqrt(np.abs(couplings)), couplings), found[:, n_couplings:], converged)


def starting_points(problem: Problem, truth: Array, threshold: float = 25.0) -> Array:
    """Return where fits of toys made at ``truth`` start, shape (starts, couplings): one point in each valley.

    The valleys are those of the Asimov data at the truth below ``threshold`` in -2 ln L. One coupling alone is
    scanned; with more, the combinations of the valleys of each are taken.

    Parameters
    ----------
    problem : Problem
    truth : ndarray, shape (couplings,)
        Scaled values.
    """
    from itertools import product

    truth = np.asarray(truth, dtype=float)
    asimov = np.asarray(problem.model.signal_strengths(truth[:, None])[0].sum(axis=0))[None, :]
    lists = []
    for j, squared in enumerate(squared_only(problem)):
        if squared:
            # Counts only grow with the square: one valley. The slope in the square never vanishes above 0.
            lists.append([max(float(truth[j]), 0.3)])
            continue
        steps = np.geomspace(0.05, 300.0, 60)
        line = np.concatenate([-steps[::-1], [0.0], steps])
        points = np.repeat(truth[:, None], line.size, axis=1)
        points[j] = line
        value = minimise_pulls(problem, points, data=asimov).value[0]
        own = int(np.argmin(np.abs(line - truth[j])))
        others = [
            float(line[k])
            for k in local_minima(problem, line, value)
            if value[k] < np.nanmin(value) + threshold and abs(k - own) > 1
        ]
        inside = np.flatnonzero(value < np.nanmin(value) + FLUCTUATION)
        if inside.size < 4 or _departure(line[inside], value[inside]) > BENT:
            # No parabola: fluctuations may make valleys where there are none here, as on a shelf.
            edges = np.linspace(float(line[inside[0]]), float(line[inside[-1]]), SHELF_STARTS + 1)
            started = np.histogram([truth[j], *others], edges)[0] > 0
            others += ((edges[1:] + edges[:-1]) / 2)[~started].tolist()
        lists.append([float(truth[j]), *others])
    return np.array(list(product(*lists)))


def _departure(x: Array, value: Array) -> float:
    """Return by how much a curve differs from a parabola at most."""
    parabola = np.polynomial.Polynomial.fit(x, value, 2)
    return float(np.abs(value - parabola(x)).max())


def profile_curves(problem: Problem, data: Array, grid: Array, centre: Array | None = None) -> Curves:
    """Return -2 ln L minimised over the pulls for every data set at every point of a grid.

    Parameters
    ----------
    problem : Problem
        Its own data are not used.
    data : ndarray, shape (sets, obs)
    grid : ndarray, shape (couplings, points)
        Scaled values; neighbours close to each other make fits short.
    centre : ndarray, shape (sets, pulls), optional
        Auxiliary measurements of the pulls; 0 by default.
    """
    shape = (data.shape[0], grid.shape[1])
    value, log_det, converged = np.empty(shape), np.empty(shape), np.empty(shape, dtype=np.bool_)
    measured = np.zeros((shape[0], len(problem.model.pulls))) if centre is None else centre
    for start in range(0, shape[0], SETS_PER_BLOCK):
        block = slice(start, start + SETS_PER_BLOCK)
        found = minimise_pulls(problem, grid, data=data[block], centre=measured[block], tolerance=TOLERANCE)
        value[block], converged[block] = found.value, found.converged
        log_det[block] = np.linalg.slogdet(found.hessian)[1]
    return Curves(value, log_det, converged)


def fixed_fits(
    problem: Problem, couplings: Array, data: Array, centre: Array | None = None, first: Array | None = None
) -> Array:
    """Return -2 ln L minimised over the pulls at given couplings, shape (sets, points).

    Parameters
    ----------
    problem : Problem
    couplings : ndarray, shape (couplings, points)
    data, centre, first
        See `fit_couplings`.

    Raises
    ------
    ConvergenceError
        If a fit fails.
    """
    nowhere = np.zeros((data.shape[0], len(problem.model.pulls)))
    found = minimise_pulls(
        problem, couplings, data=data, centre=nowhere if centre is None else centre, tolerance=TOLERANCE,
        promise=PROMISE, first=nowhere if first is None else first,
    )  # fmt: skip
    # Counts that are impossible there are no failure: their -2 ln L is infinite.
    require_converged(found.converged | np.isinf(found.value), f"toys of {', '.join(problem.couplings)}")
    return found.value


def require_converged(converged: NDArray[np.bool_], what: str) -> None:
    """Check that all fits are good.

    Raises
    ------
    ConvergenceError
        Otherwise, with their number.
    """
    failed = int((~converged).sum())
    if failed:
        raise ConvergenceError(f"{what}: {failed} of {converged.size} fits did not converge; check counts and pulls")
