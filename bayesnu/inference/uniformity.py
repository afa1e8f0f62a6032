"""Are ranks uniform? The empirical distribution against its simultaneous band, after Säilynoja et al.

T. Säilynoja, P.-C. Bürkner, A. Vehtari, Statistics and Computing 32 (2022) 32, arXiv:2103.10522. Of N ranks that
are uniform on 0, …, L, the number R_i of those ≤ i is binomial with N trials and z_i = (i + 1)/(L + 1), and

    γ = 2 min_i min{P(Bin(N, z_i) ≤ R_i), P(Bin(N, z_i) ≥ R_i)}

is small if any of them is improbable. Its distribution depends on N and L alone and is simulated; its quantile gives
a band that holds the whole curve with a stated probability.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import UsageError

Array = NDArray[np.float64]
Ranks = NDArray[np.int64]
SIMULATED_SETS = 20_000
"""Sets of uniform ranks from which the distribution of γ is taken; no p-value is below 1 in so many."""
BLOCK = 1000


@dataclass(frozen=True)
class Band:
    """Where the empirical distribution of uniform ranks stays, as a whole, with some probability.

    Attributes
    ----------
    places : ndarray, shape (highest,)
        z_i = (i + 1)/(highest + 1).
    low, high : ndarray, shape (highest,)
        Bounds of the fraction of ranks ≤ i.
    probability : float
    """

    places: Array
    low: Array
    high: Array
    probability: float


def cumulative(ranks: Ranks, highest: int) -> Ranks:
    """Return how many ranks are ≤ i, for i from 0 to ``highest`` - 1.

    Parameters
    ----------
    ranks : ndarray of int, shape (N,)
    highest : int
        L; ranks run from 0 to L.

    Raises
    ------
    UsageError
        For no ranks, or one outside 0 to L.
    """
    if ranks.size == 0 or ranks.min() < 0 or ranks.max() > highest:
        found = f"{ranks.min()} to {ranks.max()}" if ranks.size else "none"
        raise UsageError(f"ranks: {found}; needs one or more between 0 and {highest}")
    return np.cumsum(np.bincount(ranks, minlength=highest + 1))[:-1]


@lru_cache(maxsize=8)
def tail_table(number: int, highest: int) -> Array:
    """Return twice the smaller tail of Bin(``number``, z_i) at each count, both tails with the count itself.

    Shape (highest, number + 1). From sums of positive terms, so that small tails keep their digits.
    """
    from scipy.special import gammaln, xlog1py, xlogy

    z = np.arange(1, highest + 1)[:, None] / (highest + 1)
    k = np.arange(number + 1)
    ways = gammaln(number + 1) - gammaln(k + 1) - gammaln(number - k + 1)
    probability = np.exp(ways + xlogy(k, z) + xlog1py(number - k, -z))
    below = np.cumsum(probability, axis=1)
    above = np.cumsum(probability[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(2 * np.minimum(below, above))


def smallest_tail(counts: Ranks, number: int) -> Array:
    """Return γ of cumulative counts, shape (…, L): twice the least probable tail, at most 1."""
    highest = counts.shape[-1]
    return np.minimum(tail_table(number, highest)[np.arange(highest), counts].min(axis=-1), 1.0)


@lru_cache(maxsize=8)
def tails_of_uniform(number: int, highest: int, seed: int, sets: int = SIMULATED_SETS) -> Array:
    """Return γ of simulated sets of ``number`` uniform ranks, sorted; not to be written to."""
    rng = np.random.default_rng([seed, number, highest])
    found = []
    for start in range(0, sets, BLOCK):
        size = min(BLOCK, sets - start)
        drawn = rng.multinomial(number, np.full(highest + 1, 1 / (highest + 1)), size=size)
        found.append(smallest_tail(np.cumsum(drawn, axis=1)[:, :-1], number))
    return np.sort(np.concatenate(found))


def uniformity(ranks: Ranks, highest: int, seed: int) -> float:
    """Return the p-value of uniform ranks: the fraction of simulated uniform sets with a γ as small, never 0."""
    observed = float(smallest_tail(cumulative(ranks, highest), ranks.size))
    tails = tails_of_uniform(ranks.size, highest, seed)
    # The same counts give the same γ to rounding.
    as_small = int(np.searchsorted(tails, observed * (1 + 1e-9), side="right"))
    return (1 + as_small) / (1 + tails.size)


def simultaneous_band(number: int, highest: int, probability: float, seed: int) -> Band:
    """Return the band that holds the whole empirical distribution of uniform ranks with a probability."""
    from scipy.stats import binom

    tails = tails_of_uniform(number, highest, seed)
    gamma = float(np.quantile(tails, 1 - probability))
    z = np.arange(1, highest + 1) / (highest + 1)
    low, high = binom.ppf(gamma / 2, number, z), binom.ppf(1 - gamma / 2, number, z)
    return Band(z, low / number, high / number, probability)


def overall(p_values: Array) -> float:
    """Return the p-value of several quantities together, after Bonferroni: their number times the least, at most 1."""
    return float(min(1.0, p_values.size * p_values.min()))
