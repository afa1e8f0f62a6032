"""How many independent draws chains are worth, and whether they agree: on plain arrays, many quantities at once.

A. Vehtari, A. Gelman, D. Simpson, B. Carpenter, P.-C. Bürkner, Bayesian Analysis 16 (2021) 667, arXiv:1903.08008.
ArviZ has the same for a finished fit; this serves loops over thousands of fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Mixing:
    """Rank-normalised measures of chains, each of shape (quantities,).

    Attributes
    ----------
    ess : ndarray
        Bulk effective sample size; the number of draws for a quantity that does not move.
    rhat : ndarray
        Split R-hat of the bulk; 1 for a quantity that does not move.
    """

    ess: Array
    rhat: Array


def mixing(draws: Array) -> Mixing:
    """Return the bulk effective sample size and R-hat of draws, shape (chains, draws, quantities)."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    half = draws.shape[1] // 2
    split = np.concatenate([draws[:, :half], draws[:, -half:]])
    chains, n, quantities = split.shape
    ranks = rankdata(split.reshape(-1, quantities), axis=0)
    # Blom's places, (14) of the paper.
    z = ndtri((ranks - 3 / 8) / (chains * n + 1 / 4)).reshape(split.shape)
    means = z.mean(axis=1)
    covariance = _autocovariance(z - means[:, None])
    within = covariance[:, 0].mean(axis=0) * n / (n - 1)
    total = within * (n - 1) / n + means.var(axis=0, ddof=1)
    moves = within > 0
    safe = np.where(moves, total, 1.0)
    correlation = 1 - (within - (covariance * n / (n - 1)).mean(axis=0)) / safe
    correlation[0] = 1.0
    time = np.array([_correlation_time(correlation[:, q]) for q in range(quantities)])
    size = float(chains * n)
    # Antithetic chains are worth more than their number, (13), but not without bound.
    ess = np.where(moves, size / np.maximum(time, 1 / np.log10(size)), size)
    return Mixing(ess, np.where(moves, np.sqrt(safe / np.where(moves, within, 1.0)), 1.0))


def _autocovariance(centred: Array) -> Array:
    """Return Σ_t x_t x_(t+k)/n along the second axis, for every k < n."""
    n = centred.shape[1]
    spectrum = np.fft.rfft(centred, 2 * n, axis=1)
    return np.asarray(np.fft.irfft(np.abs(spectrum) ** 2, 2 * n, axis=1)[:, :n] / n)


def _correlation_time(correlation: Array) -> float:
    """Return 1 + 2 Σ ρ_k, by Geyer's initial monotone sequence: sums of neighbours, positive and not rising."""
    pairs = correlation[: correlation.size // 2 * 2].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs < 0)
    last = int(negative[0]) if negative.size else pairs.size
    monotone = np.minimum.accumulate(pairs[:last])
    # One more even term lowers the variance of the sum where chains are antithetic.
    extra = max(float(correlation[2 * last]), 0.0) if 2 * last < correlation.size else 0.0
    return float(2 * monotone.sum() - 1 + extra)
