"""Intervals by Feldman and Cousins' unified construction, Phys. Rev. D 57, 3873 (1998), with pulls.

A value θ is in the set if its p-value is above α = 1 - cl:

    p(θ) = P(t(θ) ≥ t_obs(θ) | θ),    t(θ) = -2 ln L(θ, ẑ(θ))/L(θ̂, ẑ),

which is their ordering by the likelihood ratio. Counts and auxiliary measurements of pseudo-experiments follow the
pulls that fit the data best at θ (profiled), or pulls drawn from their posterior at θ (averaged). Pseudo-experiments
with the very counts of the data are as extreme as they are, whatever their auxiliary measurements: else those would
tell equal outcomes of few counts apart, half of them on either side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError, UsageError, silent
from bayesnu.inference.batch import fit_couplings, fixed_fits, starting_points
from bayesnu.inference.crossing import Crossing, Estimate, Window, find_crossings
from bayesnu.inference.likelihood import Problem, likelihood_range, squared_only
from bayesnu.inference.profile import delta_chi2_level
from bayesnu.inference.toys import Ensemble, toy_fits
from bayesnu.workers import Chunks, Task, Workers, run_tasks, task_seed

Array = NDArray[np.float64]
Pairs = tuple[tuple[float, float], ...]
SCAN_POINTS = 33
SCAN_TOYS = 400
SCAN_EVENTS = 16
"""Pseudo-experiments above a critical value at α that a point of the scan has at least."""
MOST_SCANS = 4
"""How often a point that might be of another piece than its neighbours gets four times as many."""
SCAN_REACH, REACH_OF_WILKS = 14.0, 1.7
"""Observed t up to which the scan goes, and that in units of the asymptotic critical value, if it is more."""
CHUNK = 500
"""Pseudo-experiments of one task."""
MOST_ROUNDS = 60
NEAR_ZERO = 0.3
"""Of the largest bound: the error of one closer to 0 is measured by this."""
DECIDED = 3.0
"""Standard errors by which a p-value has to differ from α to count as above or below."""
FINE_POINTS = 101
TAIL = 1e-13
"""Probability that a sum over counts leaves out."""
NORMAL_REACH, NORMAL_CELLS = 7.0, 2_000
"""Standard deviations, and cells, of a sum over values of a normal observation."""
ROUNDING = 1e-7
"""By how much t of equal outcomes may differ, since they are fitted."""
BISECTIONS, JUMP_BISECTIONS = 30, 14
"""Of a scan's step, to find a bound, and a jump of the p-value."""
BACKGROUND_STEPS = 401
MOST_BACKGROUND = 2.0


@dataclass(frozen=True)
class ToyIntervals:
    """A set of values of a coupling found with pseudo-experiments.

    Attributes
    ----------
    intervals : tuple of (low, high)
        In the coupling's own unit.
    mc_error : tuple of (low, high)
        Monte Carlo standard error of each bound; NaN where there is none.
    toys : int
        Pseudo-experiments that it took; 0 if all outcomes were summed.
    """

    intervals: Pairs
    mc_error: Pairs
    toys: int


def observed_statistic(problem: Problem) -> Callable[[Array], Array]:
    """Return the function θ → t_obs(θ) of a one-coupling problem, in scaled values."""
    points, value = problem.wide_scan
    starts = np.append(starting_points(problem, np.zeros(1)), points[[value.argmin()]][:, None], axis=0)
    best = fit_couplings(problem, problem.data[None, :], starts)
    lowest = min(float(best.value[0]), float(value.min()))

    def statistic(theta: Array) -> Array:
        return np.asarray(np.maximum(fixed_fits(problem, theta[None, :], problem.data[None, :])[0] - lowest, 0.0))

    return statistic


def statistic_chunk(
    shared: tuple[Problem, Ensemble, int],
    path: tuple[int, ...],
    truth: tuple[float, ...],
    observed: float,
    number: int,
) -> dict[str, Array]:
    """Return t of pseudo-experiments at scaled couplings: one task.

    Those with the very counts of the data have at least the observed t.
    """
    problem, ensemble, seed = shared
    rng = np.random.default_rng(task_seed(seed, *path))
    fits = toy_fits(problem, np.array(truth), number, rng, ensemble)
    same = (fits.data.counts == problem.data).all(axis=1)
    return {"statistic": np.where(same, np.maximum(fits.statistic, observed), fits.statistic)}


def count_above(
    shared: tuple[Problem, Ensemble, int], path: tuple[int, ...], truth: float, observed: float, number: int
) -> dict[str, Array]:
    """Count the pseudo-experiments at a truth whose t is at least the observed one: one task."""
    t = statistic_chunk(shared, path, (truth,), observed, number)["statistic"]
    return {"above": np.array(float((t >= observed - ROUNDING).sum()))}


def feldman_cousins(
    problem: Problem,
    cl: float,
    workers: Workers,
    *,
    seed: int,
    tolerance: float = 0.01,
    ensemble: Ensemble = "fit",
    chunks: Chunks | None = None,
    progress: Callable[[str], None] = silent,
) -> ToyIntervals:
    """Return Feldman and Cousins' set for a problem of one coupling.

    A scan of the p-value tells how many pieces there are; each bound is then refined with more and more
    pseudo-experiments until its Monte Carlo error is small enough. A single observation without pulls needs none:
    its outcomes are summed.

    Parameters
    ----------
    problem : Problem
        Statistic "poisson", or "chi2" with the variances of measured errors.
    cl : float
    workers : Workers
    seed : int
        The same seed gives the same numbers, whoever the workers are.
    tolerance : float
        Of each bound, as a fraction of it (of 0.3 of the largest, where it is closer to 0 than that).
    ensemble : {"fit", "posterior"}
        Pulls of the pseudo-experiments: profiled, or averaged over their posterior.
    chunks : Chunks, optional
        Where finished tasks are kept.
    progress : callable, optional
        Receives one phrase for each round.

    Raises
    ------
    ConvergenceError
        If the data do not bound the coupling, or the tolerance is not reached.
    """
    if len(problem.couplings) != 1:
        raise UsageError(f"needs 1 coupling, not {len(problem.couplings)}: {', '.join(problem.couplings)}")
    scale, bounded = float(problem.scales[0]), bool(squared_only(problem)[0])
    grid = scan_grid(problem, cl)
    if is_one_observation(problem):
        pieces = exact_set(problem, cl, grid)
        return ToyIntervals(_scaled(pieces, scale), tuple((math.nan, math.nan) for _ in pieces), 0)
    statistic = observed_statistic(problem)
    shared = (problem, ensemble, seed)
    toys = 0

    def p_values(points: Sequence[tuple[tuple[int, ...], float]], number: int) -> list[Estimate]:
        """Return the p-value at values of the coupling, each with its own random stream."""
        nonlocal toys
        theta = np.array([value for _, value in points])
        observed = statistic(theta)
        tasks = [
            Task("p-" + "-".join(map(str, path)), (path, float(value), float(t), number))
            for (path, value), t in zip(points, observed, strict=True)
        ]
        toys += number * len(tasks)
        above = [float(result["above"]) for result in run_tasks(count_above, shared, tasks, workers, chunks)]
        return [Estimate(value, k / number, number) for (_, value), k in zip(points, above, strict=True)]

    progress("scanning the coupling")
    alpha = 1 - cl
    size = max(SCAN_TOYS, math.ceil(SCAN_EVENTS / min(alpha, cl)))
    scan = p_values([((0, k), float(value)) for k, value in enumerate(grid)], size)
    for again in range(1, MOST_SCANS + 1):
        doubtful = in_doubt(scan, alpha)
        if not doubtful:
            break
        size *= 4
        more = p_values([((0, k, again), scan[k].value) for k in doubtful], size)
        for k, estimate in zip(doubtful, more, strict=True):
            scan[k] = scan[k].with_more(estimate)
    ends, brackets = split(scan, alpha, bounded)
    windows = []
    for low, high in brackets:
        windows.append(Window((low + high) / 2, max((high - low) / 2, 1e-6), alpha, 0.0 if bounded else -math.inf))
    extent = max(max(abs(low), abs(high)) for low, high in brackets)

    def sample(number: int, wanted: Sequence[tuple[int, Array]]) -> list[list[Estimate]]:
        progress(f"round {number + 1}: {toys} pseudo-experiments so far")
        # Each round half as large again as the one before: few rounds, little too much.
        size = int(CHUNK * 1.5 ** min(number, 8))
        paths = [((1, k, number, j), float(value)) for k, points in wanted for j, value in enumerate(points)]
        found = iter(p_values(paths, size))
        return [[next(found) for _ in points] for _, points in wanted]

    number = len(windows)
    crossings = find_crossings(windows, sample, [tolerance] * number, [NEAR_ZERO * extent] * number, MOST_ROUNDS)
    bounds = iter(crossings)
    pieces, errors = [], []
    for start, stop in ends:
        a = (start, math.nan) if start is not None else _bound(next(bounds))
        b = (stop, math.nan) if stop is not None else _bound(next(bounds))
        pieces.append((a[0], b[0]))
        errors.append((a[1], b[1]))
    return ToyIntervals(_scaled(pieces, scale), _scaled(errors, scale), toys)


def scan_grid(problem: Problem, cl: float) -> Array:
    """Return scaled values of the coupling that cover all that could be in a set.

    Raises
    ------
    ConvergenceError
        If the data do not bound the coupling.
    """
    reach = max(SCAN_REACH, REACH_OF_WILKS * delta_chi2_level(cl, 1))
    low, high = likelihood_range(problem, reach, exact=False)
    if not np.isfinite(high - low):
        raise ConvergenceError(
            f"{problem.couplings[0]}: Δ(-2 ln L) stays below {reach:g} at any value, so the data do not bound it"
        )
    return np.linspace(low, high, SCAN_POINTS)


def in_doubt(estimates: Sequence[Estimate], alpha: float) -> list[int]:
    """Return the points of a scan that decide how many pieces there are, but are not clearly above or below α.

    Those between an inner and an outer point are none: there is a bound somewhere among them.
    """
    runs = groupby(range(len(estimates)), lambda k: estimates[k].differs(alpha, DECIDED))
    found = []
    for decided, run in ((decided, list(run)) for decided, run in runs):
        if decided:
            continue
        sides = [estimates[k].probability > alpha for k in (run[0] - 1, run[-1] + 1) if 0 <= k < len(estimates)]
        if len(sides) < 2 or sides[0] == sides[1]:
            found += run
    return found


def split(
    estimates: Sequence[Estimate], alpha: float, bounded: bool
) -> tuple[list[tuple[float | None, float | None]], list[tuple[float, float]]]:
    """Return the pieces of a set from p-values on a grid, and the bracket of each bound that is to be refined.

    Points whose p-value is not clearly above or below α are left to the refinement; after `in_doubt`, those that lie
    between two of a kind are within a few thousandths of α, and count as these. An end of a piece is None where there
    is a bracket, else the boundary at 0.

    Raises
    ------
    ConvergenceError
        If no value is clearly inside, or the ends of the grid are not clearly outside.
    """
    decided = [(e.value, e.probability > alpha) for e in estimates if e.differs(alpha, DECIDED)]
    if not any(inside for _, inside in decided):
        raise ConvergenceError("no value of the coupling is in the set; choose a higher cl")
    at_low = estimates[0].value
    if decided[-1][1] or (decided[0][1] and not (bounded and at_low == 0.0)):
        raise ConvergenceError("the set does not end where the likelihood has fallen; choose a lower cl")
    ends: list[tuple[float | None, float | None]] = []
    brackets: list[tuple[float, float]] = []
    start: float | None = at_low if decided[0][1] else None
    for (here, inside), (there, after) in pairwise(decided):
        if inside == after:
            continue
        brackets.append((here, there))
        if after:
            start = None
        else:
            ends.append((start, None))
    return ends, brackets


def is_one_observation(problem: Problem) -> bool:
    """Return whether the data are one number and no pull moves."""
    return problem.data.size == 1 and not np.any(problem.model.widths)


def outcomes(problem: Problem, expected: float) -> tuple[Array, Array]:
    """Return all values that a single observation can take, but for a negligible share, and their probabilities.

    Of a normal observation, the edges of cells, and the probabilities between them.
    """
    from scipy.stats import norm, poisson

    if problem.statistic == "chi2":
        width = math.sqrt(float(problem.normal_variance[0]))
        edges = expected + width * np.linspace(-NORMAL_REACH, NORMAL_REACH, NORMAL_CELLS + 1)
        return edges, np.diff(norm.cdf(edges, expected, width))
    n = np.arange(int(poisson.isf(TAIL, expected)) + 2, dtype=float)
    return n, np.asarray(poisson.pmf(n, expected))


def exact_p_value(problem: Problem, theta: float) -> float:
    """Return the p-value of a single observation without pulls by summing over all outcomes."""
    return _summed(problem, theta)[0]


def _summed(problem: Problem, theta: float) -> tuple[float, Array]:
    """Return the p-value of a single observation, and the outcomes that the data are more extreme than."""
    expected = float(problem.model.signal_strengths(np.array([[theta]]))[0].sum())
    values, probabilities = outcomes(problem, expected)
    data = np.append(values, problem.data[0])[:, None]
    starts = starting_points(problem, np.array([theta]))
    t = fixed_fits(problem, np.array([[theta]]), data)[:, 0] - fit_couplings(problem, data, starts).value
    inside = t[:-1] >= t[-1] - ROUNDING
    if problem.statistic != "chi2":
        return float(probabilities[inside].sum()), values[~inside]
    # Cells at the end of the region count as far as they reach into it, t being a straight line in them.
    excess = t[:-1] - t[-1]
    low, high = np.abs(excess[:-1]), np.abs(excess[1:])
    mixed = inside[:-1] != inside[1:]
    share = np.where(inside[:-1], low, high) / np.where(mixed, np.maximum(low + high, ROUNDING), 1.0)
    return float(probabilities @ np.where(mixed, share, inside[:-1])), np.empty(0)


def exact_set(problem: Problem, cl: float, grid: Array) -> list[tuple[float, float]]:
    """Return the set of a single observation; gaps that the discreteness of counts tears are filled.

    The p-value of counts jumps where an outcome becomes as extreme as the data, or ceases to be; a piece of the set
    that ends there may be narrower than a step of the scan, so that both sides of each jump are looked at, too.
    """
    points = {float(theta): _summed(problem, float(theta)) for theta in np.linspace(grid[0], grid[-1], FINE_POINTS)}

    def at(theta: float) -> tuple[float, Array]:
        if theta not in points:
            points[theta] = _summed(problem, theta)
        return points[theta]

    def look_at_jumps(low: float, high: float) -> None:
        while not np.array_equal(at(low)[1], at(high)[1]):
            below, above = low, high
            for _ in range(JUMP_BISECTIONS):
                middle = (below + above) / 2
                if np.array_equal(_summed(problem, middle)[1], at(low)[1]):
                    below = middle
                else:
                    above = middle
            at(below)
            at(above)
            low = above

    def inside() -> list[float]:
        found = sorted(theta for theta, (p_value, _) in points.items() if p_value >= 1 - cl)
        if not found:
            raise ConvergenceError("no value of the coupling is in the set; choose a higher cl")
        return found

    first, last = inside()[0], inside()[-1]
    for low, high in pairwise(sorted(points)):
        if high <= first or low >= last:
            look_at_jumps(low, high)
    first, last = inside()[0], inside()[-1]

    def edge(within: float, outside: float) -> float:
        for _ in range(BISECTIONS):
            middle = (within + outside) / 2
            if exact_p_value(problem, middle) >= 1 - cl:
                within = middle
            else:
                outside = middle
        return within

    ordered = sorted(points)
    start, stop = ordered.index(first), ordered.index(last)
    low = first if start == 0 else edge(first, ordered[start - 1])
    high = last if stop == len(ordered) - 1 else edge(last, ordered[stop + 1])
    return [(low, high)]


def with_background(problem: Problem, factor: float) -> Problem:
    """Return a problem whose counts without the coupling are scaled."""
    arrays = problem.model.arrays.copy()
    arrays[:, problem.model.monomials.index(())] *= factor
    return replace(problem, model=replace(problem.model, arrays=arrays))


def never_falling(
    problem: Problem, limit_at: Callable[[Problem], float], steps: int = BACKGROUND_STEPS, most: float = MOST_BACKGROUND
) -> float:
    """Return the largest upper limit at this background or any larger one, so that no limit falls as it grows.

    Feldman and Cousins' own remedy, section IV B, for few counts: the same data would otherwise give a lower
    limit to an experiment with more background.

    Parameters
    ----------
    problem : Problem
    limit_at : callable
        The upper limit of a problem.
    steps : int
        Backgrounds tried, equally spaced from 1 to ``most`` times the nominal one.
    most : float
    """
    return max(limit_at(with_background(problem, float(factor))) for factor in np.linspace(1.0, most, steps))


def _bound(crossing: Crossing) -> tuple[float, float]:
    return crossing.value, crossing.error


def _scaled(pairs: Sequence[tuple[float, float]], scale: float) -> Pairs:
    return tuple((low * scale, high * scale) for low, high in pairs)
