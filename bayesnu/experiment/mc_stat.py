"""The Monte Carlo error of the response in the likelihood.

One response serves all exposures, channels and terms, so that its errors are shared. The response is the mean of S
independent sub-samples; folded, each gives a deviation δ_s of the whole array [component, monomial, obs], and
V = Σ_s δ_s δ_sᵀ/(S (S - 1)) is the covariance of the expectation at any couplings and pulls.

V is known as well as S samples tell it. Where the response's error exceeds the statistical one in many bins, a fit
finds the combinations for which it came out too small, and intervals are too narrow by a fraction of about bins/S: a
response with more samples is the remedy, and the card says so (`ResponseModes.largest`).

"covariance" gives the expectation a pull for each of the leading modes of V,

    λ(z) = λ + Σ_k z_k D_k(θ, f),   z_k ~ N(0, 1),   Σ_k D_k D_kᵀ = V

(`bayesnu.experiment.modes`). "gamma-poisson" gives each bin a relative variance of its own; see `relative_variance`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import CardError
from bayesnu.experiment.expectation import CountModel
from bayesnu.experiment.modes import add_modes

Array = NDArray[np.float64]
PULL = "mc_stat"
LEFT_OUT = 1e-2
"""Share of the response's variance that modes may leave out, summed as in `response_modes`; and of the SM's statistical
variance in any direction."""
MOST_MODES = 16
"""Each mode is one more pull to profile and to sample."""
REACH = 10.0
"""√χ² to which a coupling may change the counts where pulls take it back: near a limit, not far outside."""
CHANCE = 0.01
"""Probability that independent bins are taken for correlated ones."""


@dataclass(frozen=True)
class ResponseModes:
    """The leading modes of the response's error.

    Attributes
    ----------
    weights : ndarray, shape (modes, sub-samples)
        D_k = Σ_s weights[k, s] δ_s.
    left_out : float
        Share of the response's variance that they leave out.
    left_out_statistical : float
        The most that they leave out of the variance of any combination of the SM's counts, over its statistical one.
    largest : float
        The largest error of the response over the statistical one, among combinations of the SM's counts.
    """

    weights: Array
    left_out: float
    left_out_statistical: float
    largest: float


def response_modes(model: CountModel, deviations: Array) -> ResponseModes:
    """Return the leading modes: as few as leave out at most `LEFT_OUT`, but `MOST_MODES` at most.

    Counts are in units of their statistical error, √λ of the SM, and the monomials, each where it alone changes χ² by
    `REACH` squared, side by side, so that none is lost for its unit. An eigenvalue of the covariance is then the
    response's variance over the statistical one along a mode.

    Parameters
    ----------
    model : CountModel
    deviations : ndarray, shape (components, monomials, obs, sub-samples)
    """
    expected = model.expected()
    size = np.sqrt((model.arrays.sum(axis=0) ** 2 / expected).sum(axis=1))
    unit = np.where(size > 0, size / REACH, 1.0)
    unit[model.monomials.index(())] = 1.0
    scaled = deviations.sum(axis=0) / unit[:, None, None] / np.sqrt(expected)[:, None]
    _, singular, modes = np.linalg.svd(scaled.reshape(-1, scaled.shape[-1]), full_matrices=False)
    if not singular.any():
        return ResponseModes(np.zeros((0, deviations.shape[-1])), 0.0, 0.0, 0.0)
    # What is left out by the first 0, 1, 2, ... modes: their sum, and the largest.
    variance = np.append((singular * _to_standard_error(deviations)) ** 2, 0.0)
    left = np.cumsum(variance[::-1])[::-1] / variance.sum()
    number = min(int(np.argmax((left <= LEFT_OUT) & (variance <= LEFT_OUT))), MOST_MODES)
    weights = modes[:number] * _to_standard_error(deviations)
    return ResponseModes(weights, float(left[number]), float(variance[number]), math.sqrt(variance[0]))


def _to_standard_error(deviations: Array) -> float:
    """Return 1/√(S (S - 1)), which makes the deviations' squares those of their mean."""
    subsamples = deviations.shape[-1]
    return 1 / math.sqrt(subsamples * (subsamples - 1))


def with_modes(model: CountModel, deviations: Array, modes: ResponseModes) -> CountModel:
    """Return the model with a pull ``mc_stat[k]`` for each mode."""
    return add_modes(model, np.moveaxis(deviations @ modes.weights.T, -1, 0), PULL)


def chance_correlation(bins: int, subsamples: int) -> float:
    """Return the largest |ρ| that sub-samples of as many independent bins show, exceeded with probability `CHANCE`.

    ρ √((S - 2)/(1 - ρ²)) is a Student variable with S - 2 degrees of freedom.
    """
    from scipy.special import stdtrit

    pairs = bins * (bins - 1) / 2
    if pairs == 0:
        return 1.0
    t = float(stdtrit(subsamples - 2, 1 - CHANCE / (2 * pairs)))
    return t / math.sqrt(subsamples - 2 + t**2)


def relative_variance(model: CountModel, deviations: Array, bins: Sequence[str]) -> Array:
    """Return the squared relative error of every bin at the SM expectation, shape (obs,), if the bins are independent.

    Parameters
    ----------
    model : CountModel
    deviations : ndarray, shape (components, monomials, obs, sub-samples)
    bins : sequence of str
        How an error names each bin, (obs,).

    Raises
    ------
    CardError
        If two bins are correlated more than the sub-samples of independent bins are by chance.
    """
    own = deviations[:, model.monomials.index(())].sum(axis=0) * _to_standard_error(deviations)
    covariance = own @ own.T
    error = np.sqrt(np.diagonal(covariance))
    scale = np.where(error > 0, error, 1.0)
    correlation = covariance / (scale[:, None] * scale)
    np.fill_diagonal(correlation, 0.0)
    allowed = chance_correlation(int((error > 0).sum()), deviations.shape[-1])
    first, second = (int(k) for k in np.unravel_index(int(np.abs(correlation).argmax()), correlation.shape))
    if abs(correlation[first, second]) > allowed:
        raise CardError(
            f"response.mc_stat = 'gamma-poisson': the response's errors of {bins[first]} and {bins[second]} have the "
            f"correlation {correlation[first, second]:.2f}; independent ones would stay within ±{allowed:.2f}; "
            "use 'covariance'"
        )
    return np.asarray((error / model.expected()) ** 2)
