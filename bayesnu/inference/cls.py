"""CLs limits and their expected bands: A. L. Read, J. Phys. G 28, 2693 (2002).

The statistic compares a value θ of the coupling with its absence, pulls profiled in both:

    Q(θ) = -2 ln L(θ, ẑ(θ))/L(0, ẑ(0)),    CLs(θ) = P(Q ≥ Q_obs | θ)/P(Q ≥ Q_obs | 0),

and θ is excluded where CLs < 1 - cl. Where the counts are linear in the strength and many, the limits are those of
the one-sided q̃ of G. Cowan et al., Eur. Phys. J. C 71, 1554 (2011); Q needs no sign of a strength, so that it serves
couplings of either sign, upper and lower bounds apart. Asymptotically Q is normal about its value for Asimov data,
with a variance of four times its size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError, UsageError, silent
from bayesnu.inference.batch import fixed_fits
from bayesnu.inference.crossing import Estimate, Window, find_crossings
from bayesnu.inference.likelihood import Problem, bounded_range, minimise_pulls, squared_only
from bayesnu.inference.toys import Ensemble, pseudo_experiments
from bayesnu.workers import Chunks, Task, Workers, run_tasks, task_seed

Array = NDArray[np.float64]
BAND_SIGMAS = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""Of the expected bands: what the data of an experiment without the coupling give, in standard deviations."""
REACH = 40.0
"""Δ(-2 ln L) up to which bounds are looked for, of the data and of those expected without the coupling."""
SCAN = np.concatenate([np.geomspace(1e-3, 1 / 120, 20)[:-1], np.linspace(1 / 120, 1.0, 120)])
"""Where asymptotic CLs is computed, as shares of the reach: the more the data exclude 0, the nearer the bound to it."""
RAREST = 1e-4
"""P(Q ≥ Q_obs | 0) below which pseudo-experiments do not tell CLs: too few are like the data."""
BAND_TOLERANCE = 3.0
"""Monte Carlo error of the expected bands, in units of that of the observed bound."""
ROUNDING = 1e-7
"""By how much Q of equal outcomes may differ, since they are fitted."""
REUSED = 3.0
"""Half widths of a window within which it takes the pseudo-experiments of others."""
CHUNK = 2000
LEAST_LIKE = 10.0
"""Pseudo-experiments without the coupling in a chunk, on average, that are like the data: CLs divides by them."""
OUT_OF_ORDER = 4.0
"""Standard errors by which the expected bands may be out of order by chance."""
MOST_ROUNDS = 60


@dataclass(frozen=True)
class Bound:
    """One bound, observed and expected without the coupling.

    Attributes
    ----------
    observed : float
        In the coupling's own unit.
    error : float
        Its Monte Carlo standard error; NaN if asymptotic.
    expected : tuple of float
        At `BAND_SIGMAS`: quantiles 2.3, 15.9, 50, 84.1 and 97.7% of the bound.
    expected_error : tuple of float
    """

    observed: float
    error: float
    expected: tuple[float, ...]
    expected_error: tuple[float, ...]


@dataclass(frozen=True)
class CLsLimit:
    """CLs bounds of a coupling.

    Attributes
    ----------
    lower : Bound or None
        None for a coupling that enters squared only.
    upper : Bound
    toys : int
        Pseudo-experiments that it took; 0 if asymptotic.
    """

    lower: Bound | None
    upper: Bound
    toys: int


def ratio_statistic(
    problem: Problem, theta: Array, data: Array, centre: Array | None, first: Array | None = None
) -> Array:
    """Return Q of every data set at scaled values of the coupling, shape (sets, points)."""
    fits = fixed_fits(problem, np.append(0.0, theta)[None, :], data, centre, first)
    return fits[:, 1:] - fits[:, :1]


def log_asymptotic_cls(observed: Array, without: Array, with_: Array) -> Array:
    """Return ln CLs from Q and from its values for Asimov data without the coupling and with it (negative).

    0 where the coupling makes no difference: CLs is 1.
    """
    from scipy.special import log_ndtr

    told = (without > 0) & (with_ < 0)
    gain, loss = np.where(told, without, 1.0), np.where(told, with_, -1.0)
    tail_with = log_ndtr(-(observed - loss) / (2 * np.sqrt(-loss)))
    tail_without = log_ndtr(-(observed - gain) / (2 * np.sqrt(gain)))
    return np.where(told, tail_with - tail_without, 0.0)


def asimov_ratios(problem: Problem, theta: Array) -> tuple[Array, Array]:
    """Return Q at values of the coupling for Asimov data without the coupling, and with it; pulls fit the data."""
    points = np.append(0.0, theta)
    fitted = minimise_pulls(problem, points[None, :])
    factors = problem.model.pull_factors(problem.model.widths * fitted.pulls)
    counts = np.einsum("gc,gco->go", factors, problem.model.signal_strengths(points[None, :]))
    # Auxiliary measurements at the pulls, so that these cost nothing.
    centre = fitted.pulls * problem.model.constraint
    without = ratio_statistic(problem, theta, counts[:1], centre[:1])[0]
    with_ = np.array(
        [ratio_statistic(problem, theta[[k]], counts[[k + 1]], centre[[k + 1]])[0, 0] for k in range(theta.size)]
    )
    return without, with_


def cls_limit(
    problem: Problem,
    cl: float,
    workers: Workers | None = None,
    *,
    seed: int = 0,
    tolerance: float = 0.01,
    ensemble: Ensemble = "fit",
    chunks: Chunks | None = None,
    progress: Callable[[str], None] = silent,
) -> CLsLimit:
    """Return the CLs bounds of a problem of one coupling, with the expected bands.

    Parameters
    ----------
    problem : Problem
        Statistic "poisson", or "chi2" with the variances of measured errors.
    cl : float
    workers : Workers, optional
        With them the distributions of Q are those of pseudo-experiments, until the Monte Carlo error of each bound
        is below ``tolerance`` of it; without, the asymptotic ones.
    seed, tolerance, ensemble, chunks, progress
        See `bayesnu.inference.feldman_cousins.feldman_cousins`.

    Raises
    ------
    ConvergenceError
        If the data do not bound the coupling or the tolerance is not reached; if bins expect nothing without it,
        where there is no asymptotic form; if there are counts in such bins, whatever the method: CLs is then 1. If
        they exclude all values on one side of 0, or 0 so far that no pseudo-experiment without it is like them.
    """
    if len(problem.couplings) != 1:
        raise UsageError(f"needs 1 coupling, not {len(problem.couplings)}: {', '.join(problem.couplings)}")
    # Data may exclude 0, which bounds are looked for from: the reach of those expected at 0 has it inside.
    ranges = [bounded_range(case, REACH, exact=False) for case in (problem, without_coupling(problem))]
    sides = [] if squared_only(problem)[0] else [min(low for low, _ in ranges)]
    sides.append(max(high for _, high in ranges))
    nothing = problem.model.signal_strengths(np.zeros((1, 1)))[0].sum(axis=0) == 0
    # Normal data may have any value where 0 is expected.
    closed = nothing & (problem.statistic != "chi2")
    if problem.data[closed].any():
        name = problem.couplings[0]
        raise ConvergenceError(f"{name}: counts where nothing is expected without it: CLs excludes no value of it")
    if workers is not None and closed.any():
        starts = [_zero_count_side(problem, cl, end) for end in sides]
    else:
        starts = [_asymptotic_side(problem, cl, end) for end in sides]
    scale, toys, bounds = float(problem.scales[0]), 0, starts
    if workers is not None:
        bounds, toys = _toy_bounds(problem, cl, starts, workers, seed, tolerance, ensemble, chunks, progress)
    own = [
        Bound(
            b.observed * scale, b.error * scale, tuple(v * scale for v in b.expected),
            tuple(v * scale for v in b.expected_error),
        )
        for b in bounds
    ]  # fmt: skip
    return CLsLimit(None if len(own) == 1 else own[0], own[-1], toys)


def without_coupling(problem: Problem) -> Problem:
    """Return the problem with the counts that are expected without the coupling, pulls at their fit to the data."""
    fitted = minimise_pulls(problem, np.zeros((1, 1)))
    factors = problem.model.pull_factors(problem.model.widths * fitted.pulls)[0]
    return replace(problem, data=np.asarray(factors @ problem.model.signal_strengths(np.zeros((1, 1)))[0]))


def _asymptotic_side(problem: Problem, cl: float, end: float) -> Bound:
    """Return the asymptotic bound between 0 and a scaled value that is far outside."""
    from scipy.interpolate import CubicSpline

    name, side = problem.couplings[0], "above" if end > 0 else "below"
    theta = end * SCAN
    without, with_ = asimov_ratios(problem, theta)
    if not np.isfinite(with_).all():
        # Counts that only the coupling makes tell it apart for certain, which no normal distribution does.
        raise ConvergenceError(
            f"{name}: some bins expect nothing without it, where CLs has no asymptotic form; use "
            "pseudo-experiments (--toys), or feldman-cousins"
        )
    spread = 2 * np.sqrt(np.abs(without))
    observed = ratio_statistic(problem, theta, problem.data[None, :], None)[0]

    def outermost(statistic: Array) -> float:
        excess = log_asymptotic_cls(statistic, without, with_) - math.log(1 - cl)
        above = np.flatnonzero(excess > 0)
        if not above.size:
            if excess[0] < -1.0:
                raise ConvergenceError(f"{name}: the data exclude all values {side} 0, and 0: no bound")
            raise ConvergenceError(f"{name}: CLs falls to {1 - cl:.3g} too near to 0; choose a higher cl")
        k = int(above[-1])
        if k == theta.size - 1:
            raise ConvergenceError(f"{name}: CLs does not fall to {1 - cl:.3g} {side} 0; choose a lower cl")
        # A spline through points of both signs has a root between them.
        roots = CubicSpline(np.abs(theta), excess).roots(extrapolate=False)
        low, high = abs(float(theta[k])), abs(float(theta[k + 1]))
        return math.copysign(float(roots[(roots >= low) & (roots <= high)][-1]), end)

    # Data less like an absence of the coupling, by sigma, have the bound further out.
    expected = tuple(outermost(without - sigma * spread) for sigma in BAND_SIGMAS)
    return Bound(outermost(observed), math.nan, expected, (math.nan,) * len(expected))


def _zero_count_side(problem: Problem, cl: float, end: float) -> Bound:
    """Return where CLs = 1 - cl for one empty bin that expects nothing without the coupling, between 0 and a value.

    There CLs = e^-s and Q = 2 s. With more bins it is where pseudo-experiments start to look.
    """
    from scipy.optimize import brentq

    level = -2 * math.log(1 - cl)
    try:
        found = brentq(lambda x: float(asimov_ratios(problem, np.array([x]))[0][0]) - level, 0.0, end)
    except ValueError:
        name = problem.couplings[0]
        raise ConvergenceError(f"{name}: CLs does not fall to {1 - cl:.3g}; choose a lower cl") from None
    return Bound(float(found), math.nan, (float(found),) * len(BAND_SIGMAS), (math.nan,) * len(BAND_SIGMAS))


def ratio_chunk(
    shared: tuple[Problem, Ensemble, int], path: tuple[int, ...], theta: float, number: int
) -> dict[str, NDArray[Any]]:
    """Return Q at a value of the coupling of pseudo-experiments with and without it, and which have the very counts of
    the data: one task.
    """
    problem, ensemble, seed = shared
    rng = np.random.default_rng(task_seed(seed, *path))
    result: dict[str, NDArray[Any]] = {}
    for name, truth in (("with", theta), ("without", 0.0)):
        data = pseudo_experiments(problem, np.array([truth]), number, rng, ensemble)
        result[name] = ratio_statistic(problem, np.array([theta]), data.counts, data.centre, data.pulls)[:, 0]
        result[f"{name}_same"] = (data.counts == problem.data).all(axis=1)
    return result


def _toy_bounds(
    problem: Problem, cl: float, starts: Sequence[Bound], workers: Workers, seed: int, tolerance: float,
    ensemble: Ensemble, chunks: Chunks | None, progress: Callable[[str], None],
) -> tuple[list[Bound], int]:  # fmt: skip
    """Refine bounds with pseudo-experiments."""
    shared = (problem, ensemble, seed)
    cases: list[tuple[float, float | None]] = []
    for bound in starts:
        cases += [(bound.observed, None), *zip(bound.expected, BAND_SIGMAS, strict=True)]
    alpha = 1 - cl
    # Weights of estimates are those that all have at the bound: their own would go up and down with them.
    trials = [_trials(problem, start, sigma, alpha) for start, sigma in cases]
    windows = [Window(start, 0.12 * abs(start), alpha) for start, _ in cases]
    least = math.ceil(LEAST_LIKE / min(_like(problem, bound.observed) for bound in starts))
    toys = 0

    def sample(number: int, wanted: Sequence[tuple[int, Array]]) -> list[list[Estimate]]:
        nonlocal toys
        progress(f"round {number + 1}: {toys} pseudo-experiments so far")
        size = max(int(CHUNK * 1.5 ** min(number, 8)), least)
        open_ones = {k for k, _ in wanted}
        places = [(k, j, float(value)) for k, points in wanted for j, value in enumerate(points)]
        tasks = [Task(f"q-{k}-{number}-{j}-{size}", ((k, number, j), value, size)) for k, j, value in places]
        toys += 2 * size * len(tasks)
        results = run_tasks(ratio_chunk, shared, tasks, workers, chunks)
        # Pseudo-experiments know nothing of the bound they were made for: they serve all on their side of 0.
        for k, window in enumerate(windows):
            if k not in open_ones:
                continue
            window.estimates.extend(
                _estimate(problem, value, cases[k][1], result, trials[k])
                for (_, _, value), result in zip(places, results, strict=True)
                if value * cases[k][0] > 0 and abs(value - window.centre) <= window.half * REUSED
            )
        return [[] for _ in wanted]

    # The width of a band does not need the precision of a limit.
    tolerances = [tolerance * (1.0 if sigma is None else BAND_TOLERANCE) for _, sigma in cases]
    crossings = find_crossings(windows, sample, tolerances, [0.0] * len(cases), MOST_ROUNDS)
    bounds = []
    for k in range(len(starts)):
        first, *rest = crossings[k * (1 + len(BAND_SIGMAS)) : (k + 1) * (1 + len(BAND_SIGMAS))]
        try:
            expected, errors = in_order([c.value for c in rest], [c.error for c in rest])
        except ConvergenceError as error:
            raise ConvergenceError(f"{problem.couplings[0]}: {error}") from None
        bounds.append(Bound(first.value, first.error, expected, errors))
    return bounds, toys


def in_order(values: Sequence[float], errors: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return estimates that are known to grow in size, and their errors: neighbours out of order are pooled.

    Their mean is weighted by 1/error²; so is the error, since they may share pseudo-experiments.

    Raises
    ------
    ConvergenceError
        If they are out of order by more than `OUT_OF_ORDER` of their errors.
    """
    pools: list[list[int]] = []

    def mean(pool: list[int], of: Sequence[float]) -> float:
        if len(pool) == 1:
            return of[pool[0]]
        return float(np.average([of[k] for k in pool], weights=[errors[k] ** -2 for k in pool]))

    for k, (value, error) in enumerate(zip(values, errors, strict=True)):
        if k and abs(values[k - 1]) - abs(value) > OUT_OF_ORDER * math.hypot(errors[k - 1], error):
            raise ConvergenceError("expected bounds are out of order beyond their errors; give a smaller tolerance")
        pools.append([k])
        while len(pools) > 1 and abs(mean(pools[-2], values)) > abs(mean(pools[-1], values)):
            pools[-2:] = [pools[-2] + pools[-1]]
    ordered, spread = (tuple(mean(pool, of) for pool in pools for _ in pool) for of in (values, errors))
    return ordered, spread


def _like(problem: Problem, theta: float) -> float:
    """Return the asymptotic P(Q ≥ Q_obs | 0).

    Raises
    ------
    ConvergenceError
        If it is below `RAREST`.
    """
    from scipy.special import ndtr

    without = float(asimov_ratios(problem, np.array([theta]))[0][0])
    observed = float(ratio_statistic(problem, np.array([theta]), problem.data[None, :], None)[0, 0])
    rest = float(ndtr((without - observed) / (2 * math.sqrt(abs(without)))))
    if rest < RAREST:
        raise ConvergenceError(
            f"{problem.couplings[0]}: the data exclude 0 against values {'above' if theta > 0 else 'below'}: about "
            f"{rest:.0e} of pseudo-experiments without it are like them, too few for a bound there; asymptotic CLs "
            "(without --toys) has one"
        )
    return rest


def _trials(problem: Problem, theta: float, sigma: float | None, alpha: float) -> float:
    """Return how many binomial trials have the error that one toy (with and without) leaves in CLs = α."""
    from scipy.special import ndtr

    if sigma is None:
        rest = _like(problem, theta)
        # Both tails are counted.
        variance = alpha**2 * ((1 - alpha * rest) / (alpha * rest) + (1 - rest) / rest)
    else:
        # The error of the quantile moves the other tail by the ratio of both densities of Q, exp(-Q/2).
        without = float(asimov_ratios(problem, np.array([theta]))[0][0])
        rest, tail = float(ndtr(sigma)), alpha * float(ndtr(sigma))
        ratio = math.exp(-(without - 2 * sigma * math.sqrt(abs(without))) / 2)
        variance = (tail * (1 - tail) + ratio**2 * rest * (1 - rest)) / rest**2
    return alpha * (1 - alpha) / variance


def _estimate(
    problem: Problem, theta: float, sigma: float | None, result: dict[str, NDArray[Any]], trials: float
) -> Estimate:
    """Return CLs at one value of the coupling; ``trials`` are those of one pseudo-experiment."""
    from scipy.special import ndtr

    with_, without = result["with"], result["without"]
    number = with_.size
    if sigma is None:
        observed = float(ratio_statistic(problem, np.array([theta]), problem.data[None, :], None)[0, 0])
        # Equal counts are as extreme as the data, whatever their auxiliary measurements: those differ by chance alone.
        tail = float(((with_ >= observed) | result["with_same"]).mean())
        # None at all says no more than that they are few.
        rest = max(float(((without >= observed) | result["without_same"]).mean()), 0.5 / number)
    else:
        # Its share of experiments without the coupling lies above it: the less, the more they are like it. Of a
        # discrete Q, those at it count with those above.
        observed = float(np.quantile(without, 1 - ndtr(sigma), method="inverted_cdf")) - ROUNDING
        rest = float((without >= observed).mean())
        tail = float((with_ >= observed).mean())
    return Estimate(theta, min(tail / rest, 1 - 0.5 / number), number * trials)
