"""Intervals of a posterior: highest-density sets, equal-tailed intervals, upper limits, and their Monte Carlo error."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import UsageError, unknown_name
from bayesnu.results.evidence import ExpectedBound, PseudoExperiments
from bayesnu.shown import Shown

Array = NDArray[np.float64]
Kind = Literal["hdi", "eti", "upper"]
KINDS: tuple[Kind, ...] = ("hdi", "eti", "upper")
Pairs = tuple[tuple[float, float], ...]
_KDE_POINTS = 4096
_BLOCKS_PER_CHAIN = 20
_REPLICATES = 200


@dataclass(frozen=True, repr=False)
class IntervalSet(Shown):
    """A union of intervals with its probability and kind.

    Attributes
    ----------
    coupling, unit : str
    probability : float
        Credibility, or confidence level.
    kind : str
        ``"hdi"``, ``"eti"``, ``"upper"``, ``"delta_chi2"``, ``"feldman_cousins"`` or ``"cls"``.
    method : str
        ``"chi2"``, ``"poisson"``, ``"laplace"``, ``"nuts"``, ``"feldman-cousins"`` or ``"cls"``.
    intervals : tuple of (low, high)
        In the coupling's unit.
    mc_error : tuple of (low, high)
        Monte Carlo standard error of each bound; NaN where it is deterministic.
    m_N : float, optional
        Mass of N in MeV at which a transition moment is bounded.
    unconverged : tuple of str
        Reasons for which the sampler's verdict is "fail", where the interval is shown nevertheless.
    toys : PseudoExperiments, optional
        None where the method needs none.
    expected : tuple of ExpectedBound
        Expected bounds, where the method gives them.
    """

    coupling: str
    unit: str
    probability: float
    kind: str
    method: str
    intervals: Pairs
    mc_error: Pairs
    m_N: float | None = None
    unconverged: tuple[str, ...] = ()
    toys: PseudoExperiments | None = None
    expected: tuple[ExpectedBound, ...] = ()


def relative_error(interval: IntervalSet) -> float:
    """Return the largest Monte Carlo error of a bound as a fraction of it; 0 if all are deterministic.

    A bound closer to 0 than a tenth of the largest is measured against that tenth.
    """
    bounds, errors = np.abs(np.array(interval.intervals)), np.array(interval.mc_error)
    known = np.isfinite(errors) & np.isfinite(bounds)
    if not known.any():
        return 0.0
    extent = float(bounds[np.isfinite(bounds)].max())
    return float((errors[known] / np.maximum(bounds[known], 0.1 * extent)).max())


def percent(probability: float) -> str:
    """Return a probability as a percentage with all its digits."""
    return f"{100 * probability:.6g}%"


def exact(intervals: Pairs) -> Pairs:
    """Return the Monte Carlo errors of deterministic bounds: NaN."""
    return tuple((float("nan"), float("nan")) for _ in intervals)


def check_kind(kind: str) -> Kind:
    """Return ``kind`` if it names a kind of credible interval.

    Raises
    ------
    UsageError
        Otherwise.
    """
    for known in KINDS:
        if kind == known:
            return known
    raise unknown_name("kind", kind, KINDS)


def check_probability(probability: float) -> float:
    """Return ``probability`` if it lies strictly between 0 and 1.

    Raises
    ------
    UsageError
        Otherwise.
    """
    if not 0 < probability < 1:
        raise UsageError(f"cl = {probability}: must be between 0 and 1, as 0.9 for 90%")
    return probability


def highest_density_set(x: Array, density: Array, probability: float, logarithmic: bool = False) -> Pairs:
    """Return the highest-density set of a density on a grid: {θ: p(θ) ≥ c} with the given probability.

    Between grid points the density is linear, and the level c is found so that
    the set's integral is ``probability``; the set may be a union.

    Parameters
    ----------
    x : ndarray, shape (points,)
        Increasing: θ, or ln θ if ``logarithmic``.
    density : ndarray, shape (points,)
        Per unit of x, non-negative; need not be normalised.
    probability : float
    logarithmic : bool
        Whether x is ln θ. Points are then ranked by ln p(θ) = ln density - x, linear in between: p spans too many
        decades for a number.
    """
    density = density / density.max()
    rank = density
    if logarithmic:
        rank = np.log(np.where(density > 0, density, 1.0)) - x
        rank[density <= 0] = rank[density > 0].min()
    total = float(np.trapezoid(density, x))
    width, rises = np.diff(x), np.diff(rank) > 0
    bottom, top = np.minimum(rank[:-1], rank[1:]), np.maximum(rank[:-1], rank[1:])
    at_top, at_bottom = np.where(rises, density[1:], density[:-1]), np.where(rises, density[:-1], density[1:])

    def excess(level: float) -> float:
        # Per cell: all of it, none, or the part that ranks above the level.
        part = np.divide(top - level, top - bottom, out=np.zeros_like(top), where=(bottom < level) & (level < top))
        part = np.where(bottom >= level, 1.0, part)
        inside = width * part * (at_top + (at_bottom - at_top) * part / 2)
        return float(inside.sum()) / total - probability

    level = falling_root(excess, float(rank.min()), float(rank.max()), 1 - probability, -probability)
    above = rank > level
    ends = [float(x[0])] if above[0] else []
    for k in np.flatnonzero(above[1:] != above[:-1]):
        ends.append(float(x[k] + width[k] * (level - rank[k]) / (rank[k + 1] - rank[k])))
    if above[-1]:
        ends.append(float(x[-1]))
    return tuple(zip(ends[::2], ends[1::2], strict=True))


def falling_root(function: Callable[[float], float], low: float, high: float, at_low: float, at_high: float) -> float:
    """Return where a function that falls passes 0, to the last digit, be it by a jump, from its values at both ends.

    Parameters
    ----------
    function : callable
    low, high : float
        Ends between which it passes 0.
    at_low, at_high : float
        Its values there, above and below 0.

    Notes
    -----
    False position, in which an end that stays twice counts half (Illinois), and a halving at every fourth step, since
    jumps would make it slow. SciPy's `brentq` takes half a second to import.
    """
    last = 0
    for step in itertools.count(1):
        level = (low * at_high - high * at_low) / (at_high - at_low)
        if step % 4 == 0 or not low < level < high:
            level = (low + high) / 2
            if not low < level < high:
                break
        value = function(level)
        side = 1 if value > 0 else -1
        if abs(value) < 1e-15:
            break
        if side > 0:
            low, at_low, at_high = level, value, at_high / 2 if last == side else at_high
        else:
            high, at_high, at_low = level, value, at_low / 2 if last == side else at_low
        last = side
    return level


def shortest_interval(x: Array, density: Array, probability: float) -> Pairs:
    """Return the shortest single interval with a probability, for a density on a grid."""
    cumulative = np.concatenate([[0.0], np.cumsum(np.diff(x) * (density[1:] + density[:-1]) / 2)])
    cumulative /= cumulative[-1]
    starts = np.flatnonzero(cumulative <= 1 - probability)
    stops = np.interp(cumulative[starts] + probability, cumulative, x)
    best = int(np.argmin(stops - x[starts]))
    return ((float(x[starts[best]]), float(stops[best])),)


def grid_quantiles(x: Array, density: Array, probabilities: Array) -> Array:
    """Return quantiles of a density on a grid; the density is linear inside a cell, cell integrals are corrected.

    The trapezoid rule with its end-slope correction is exact to h⁴.
    """
    width, slope = np.diff(x), np.gradient(density, x)
    cells = width * (density[1:] + density[:-1]) / 2 + width**2 * (slope[:-1] - slope[1:]) / 12
    cumulative = np.concatenate([[0.0], np.cumsum(np.maximum(cells, 0.0))])
    target = np.asarray(probabilities) * cumulative[-1]
    k = np.clip(np.searchsorted(cumulative, target, side="right") - 1, 0, width.size - 1)
    # Inside cell k: f0 t + (f1 - f0) t²/2 = share of the cell's integral, t in [0, 1]; the stable root.
    f0, f1 = density[k], density[k + 1]
    share = np.divide(target - cumulative[k], cells[k], out=np.zeros_like(target), where=cells[k] > 0)
    share = share * (f0 + f1) / 2
    root = np.sqrt(np.maximum(f0**2 + 2 * (f1 - f0) * share, 0.0))
    t = np.divide(2 * share, f0 + root, out=np.zeros_like(share), where=f0 + root > 0)
    return np.asarray(x[k] + width[k] * np.clip(t, 0.0, 1.0))


def grid_interval(
    values: Array, density: Array, probability: float, kind: Kind, lowest: float, logarithmic: bool = False
) -> Pairs:
    """Return the interval of a kind for a density on a grid.

    ``upper`` is one-sided: from ``lowest``, the least value that the coupling's
    prior allows, to the quantile ``probability``.

    Parameters
    ----------
    values, density : ndarray, shape (points,)
        Of the coupling, and per unit of it.
    probability : float
    kind : {"hdi", "eti", "upper"}
    lowest : float
    logarithmic : bool
        Whether the grid spans decades (a log-uniform prior): the work is then done in ln θ.
    """
    x, per_x = (np.log(values), density * values) if logarithmic else (values, density)

    def back(bound: float) -> float:
        # An end of the grid is that value itself, which exp(ln value) is not.
        ends = {float(x[0]): float(values[0]), float(x[-1]): float(values[-1])}
        return ends.get(bound, math.exp(bound)) if logarithmic else bound

    if kind == "hdi":
        pieces = highest_density_set(x, per_x, probability, logarithmic)
        if any(_flat_gap(x, per_x, gap[1], gap[2]) for gap in _gaps(pieces)):
            # A posterior so flat that rounding alone tears its densest set.
            pieces = shortest_interval(x, per_x, probability)
        return tuple((back(low), back(high)) for low, high in pieces)
    levels = [probability] if kind == "upper" else [(1 - probability) / 2, (1 + probability) / 2]
    bounds = [back(float(q)) for q in grid_quantiles(x, per_x, np.array(levels))]
    return ((lowest if kind == "upper" else bounds[0], bounds[-1]),)


def _flat_gap(x: Array, density: Array, start: float, stop: float) -> bool:
    """Return whether the density dips by less than a millionth between two pieces of its densest set."""
    inside = density[(x > start) & (x < stop)]
    return bool(inside.size and inside.min() > (1 - 1e-6) * float(np.interp(start, x, density)))


def draws_interval(
    draws: Array, probability: float, kind: Kind, support: tuple[float, float], logarithmic: bool = False
) -> tuple[Pairs, Pairs]:
    """Return the interval of a kind from posterior draws, and the Monte Carlo standard error of its bounds.

    Quantiles are those of the draws; highest-density sets come from a kernel
    density with its leading bias removed and its mass kept inside the support.
    Errors: `arviz_stats`' quantile MCSE, or a bootstrap of blocks of draws.

    Parameters
    ----------
    draws : ndarray, shape (chains, draws)
    probability : float
    kind : {"hdi", "eti", "upper"}
    support : (low, high)
        Of the prior.
    logarithmic : bool
        Whether draws spread over decades (a log-uniform prior): the density is then estimated in ln θ.
    """
    if kind == "hdi":
        return _draws_hdi(draws, probability, support, logarithmic)
    levels = [probability] if kind == "upper" else [(1 - probability) / 2, (1 + probability) / 2]
    bounds = [float(q) for q in np.quantile(draws, levels)]
    errors = [quantile_error(draws, level) for level in levels]
    if kind == "upper":
        return ((support[0], bounds[0]),), ((float("nan"), errors[0]),)
    return ((bounds[0], bounds[1]),), ((errors[0], errors[1]),)


def quantile_error(draws: Array, probability: float) -> float:
    """Return the Monte Carlo standard error of a quantile of draws, shape (chains, draws)."""
    from arviz_stats.base import array_stats

    return float(array_stats.mcse(draws, method="quantile", prob=probability, chain_axis=0, draw_axis=1))


def _draws_hdi(
    draws: Array, probability: float, support: tuple[float, float], logarithmic: bool
) -> tuple[Pairs, Pairs]:
    """Return the highest-density set of draws and bootstrap errors of its bounds."""
    if logarithmic:
        low, high = (math.log(edge) for edge in support)
        pieces, errors = _densest_draws(np.log(draws), probability, (low, high), logarithmic=True)
        # An end at the support's edge is that edge itself, which exp(ln edge) is not.
        edges = {low: support[0], high: support[1]}
        intervals = tuple((edges.get(a, math.exp(a)), edges.get(b, math.exp(b))) for a, b in pieces)
        scaled = zip(intervals, errors, strict=True)
        return intervals, tuple((a * da, b * db) for (a, b), (da, db) in scaled)
    return _densest_draws(draws, probability, support)


def _densest_draws(
    draws: Array, probability: float, support: tuple[float, float], *, logarithmic: bool = False
) -> tuple[Pairs, Pairs]:
    """Return the highest-density set of draws of θ, or of ln θ, in the same variable, and errors of its bounds."""

    def densest(x: Array, density: Array) -> Pairs:
        return highest_density_set(x, density, probability, logarithmic)

    def shortest(x: Array, density: Array) -> Pairs:
        return shortest_interval(x, density, probability)

    density_of = density_estimator(draws, support)
    chains, n = draws.shape
    blocks = draws[:, : n - n % _BLOCKS_PER_CHAIN].reshape(chains * _BLOCKS_PER_CHAIN, -1)
    x, full = density_of(np.ones(blocks.shape[0]))
    find = densest
    intervals = find(x, full)
    if len(intervals) > 1 and not any(_real_gap(draws, *gap) for gap in _gaps(intervals)):
        # A posterior so flat that its densest set is torn by noise alone.
        find = shortest
        intervals = find(x, full)
    # A fixed seed: the error estimate of the same draws is the same number.
    rng = np.random.default_rng(0)
    replicates = []
    for weights in rng.multinomial(blocks.shape[0], np.full(blocks.shape[0], 1 / blocks.shape[0]), size=_REPLICATES):
        replicates.append(find(*density_of(weights.astype(float))))
    # Compare bounds of replicates that have as many pieces as the estimate itself.
    same = np.array([r for r in replicates if len(r) == len(intervals)])
    spread = same.std(axis=0, ddof=1) if len(same) > 1 else np.full((len(intervals), 2), np.nan)
    fixed = np.array(intervals)
    # A bound at the edge of the support has no error of its own.
    spread = np.where((fixed == support[0]) | (fixed == support[1]), np.nan, spread)
    return intervals, tuple((float(low), float(high)) for low, high in spread)


def _gaps(intervals: Pairs) -> list[tuple[float, float, float, float]]:
    """Return the gaps between consecutive pieces, each with the far ends of its neighbours."""
    return [(a, b, c, d) for (a, b), (c, d) in itertools.pairwise(intervals)]


def _real_gap(draws: Array, before: float, start: float, stop: float, after: float) -> bool:
    """Return whether draws are rarer in (start, stop) than beside it by more than four standard errors.

    Beside it: within the gap's length on either side, as far as the neighbouring pieces reach.
    """
    from arviz_stats.base import array_stats

    low, high = max(before, start - (stop - start)), min(after, stop + (stop - start))
    beside = (start - low) + (high - stop)
    inside, outside = (float(np.mean((draws > a) & (draws < b))) for a, b in ((start, stop), (low, high)))
    ess = float(array_stats.ess(draws, method="bulk", chain_axis=0, draw_axis=1))
    rate, rate_beside = inside / (stop - start), (outside - inside) / beside
    error = np.sqrt((inside / (stop - start) ** 2 + (outside - inside) / beside**2) / ess)
    return bool(rate_beside - rate > 4 * error)


def _peak_spread(draws: Array) -> float:
    """Return a standard deviation typical of one peak, so that separated peaks are not smeared into each other.

    From the length of the 90% highest-density set of a histogram, shared between its pieces: 3.29 standard
    deviations of a normal peak.
    """
    spread = min(float(draws.std()), float(np.subtract(*np.quantile(draws, [0.75, 0.25]))) / 1.349)
    for _ in range(2):
        step = 0.5 * spread
        edges = np.arange(float(draws.min()) - step, float(draws.max()) + 2 * step, step)
        counts, edges = np.histogram(draws, bins=edges)
        pieces = highest_density_set((edges[1:] + edges[:-1]) / 2, counts.astype(float), 0.9)
        spread = min(spread, sum(high - low for low, high in pieces) / 3.29 / len(pieces))
    return spread


def density_estimator(draws: Array, support: tuple[float, float]) -> Callable[[Array], tuple[Array, Array]]:
    """Return a function: weights of the blocks of draws → (grid, density).

    A Gaussian kernel of width h from Silverman's rule on the spread of a peak;
    (4 f_h - f_2h)/3 removes the bias of order h². At a finite edge of the
    support that the draws reach, mass is reflected.
    """
    from scipy.fft import irfft, rfft, rfftfreq

    chains, n = draws.shape
    blocks = draws[:, : n - n % _BLOCKS_PER_CHAIN].reshape(chains * _BLOCKS_PER_CHAIN, -1)
    width = 0.9 * _peak_spread(draws) * draws.size**-0.2
    low, high = float(draws.min()), float(draws.max())
    reflect_low, reflect_high = low - support[0] < 4 * width, support[1] - high < 4 * width
    start = support[0] if reflect_low else low - 8 * width
    stop = support[1] if reflect_high else high + 8 * width
    edges = np.linspace(start, stop, _KDE_POINTS + 1)
    step = edges[1] - edges[0]
    counts = np.stack([np.histogram(block, bins=edges)[0] for block in blocks]).astype(float)
    frequency = 2 * np.pi * rfftfreq(2 * _KDE_POINTS, step)
    small = np.exp(-((frequency * width) ** 2) / 2)
    filter_ = (4 * small - small**4) / 3

    def density(weights: Array) -> tuple[Array, Array]:
        histogram = weights @ counts
        # The mirror image makes the circular convolution reflect at both ends; far from the draws it adds nothing.
        smooth = irfft(rfft(np.concatenate([histogram, histogram[::-1]])) * filter_, 2 * _KDE_POINTS)[:_KDE_POINTS]
        x = np.concatenate([[edges[0]], (edges[1:] + edges[:-1]) / 2, [edges[-1]]])
        values = np.concatenate([[smooth[0]], smooth, [smooth[-1]]])
        # What the rounding of the transform leaves where there are no draws is nothing.
        return x, np.where(values > 1e-12 * values.max(), values, 0.0)

    return density
