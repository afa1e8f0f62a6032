"""Counts whose Poisson mean is gamma-distributed: negative binomial, continued to real n.

With mean λ and relative variance v of the mean, r = 1/v:

    p(n | λ, v) = Γ(n + r)/(Γ(r) n!) (vλ)ⁿ/(1 + vλ)^(n + r),   E n = λ,   Var n = λ + v λ².

At v = 0 this is the Poisson distribution, and everything here goes over into it without loss of digits.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LEAST_VARIANCE = 1e-30
"""Relative variances below are as good as 0."""
SMALL_VARIANCE = 1e-4
"""Below, Stirling's series is exact and the difference of two lnΓ is not."""


def negative_binomial_log_density(counts: Any, mean: Any, relative_variance: Array, library: Any = None) -> Any:
    """Return ln p(n | λ, v), -inf where λ < 0 or a count is seen and none expected; broadcast shape.

    Parameters
    ----------
    counts, mean : arrays, or tensors of PyTensor
    relative_variance : ndarray
        At least 0.
    library : module, optional
        ``pytensor.tensor`` for tensors; NumPy by default.
    """
    if library is None:
        from scipy.special import gammaln

        library = SimpleNamespace(log=np.log, log1p=np.log1p, gammaln=gammaln, switch=np.where)
    v = np.maximum(relative_variance, LEAST_VARIANCE)
    r = 1 / v
    safe = library.switch(mean > 0, mean, 1.0)
    # ln Γ(n + r)/Γ(r) rⁿ: 0 at r = ∞.
    u = 1 / (counts + r)
    stirling = (counts + r - 0.5) * library.log1p(counts * v) - counts + (u - v) / 12 - (u**3 - v**3) / 360
    direct = library.gammaln(counts + r) - library.gammaln(r) - counts * np.log(r)
    rising = library.switch(v < SMALL_VARIANCE, stirling, direct)
    density = counts * library.log(safe) - (counts + r) * library.log1p(v * safe) + rising - library.gammaln(counts + 1)
    # Nothing expected and nothing seen is certain.
    return library.switch(mean > 0, density, library.switch((mean >= 0) & (counts <= 0), 0.0, -np.inf))


def draw_means(mean: Array, relative_variance: Array, rng: np.random.Generator, size: Any = None) -> Array:
    """Draw Poisson means about ``mean``: gamma-distributed with the relative variance."""
    v = np.maximum(relative_variance, LEAST_VARIANCE)
    return np.asarray(mean * rng.gamma(1 / v, v, size=np.shape(mean) if size is None else size))


def mixed_log_density(
    data: Any, mean: Any, normal_variance: Array, relative_variance: Array, library: Any = None
) -> Any:
    """Return ln p(n | λ): normal where there is a variance of that, `negative_binomial_log_density` elsewhere.

    Parameters
    ----------
    data, mean : arrays, or tensors of PyTensor
    normal_variance, relative_variance : ndarray
        See `bayesnu.inference.likelihood.Problem`.
    library : module, optional
        ``pytensor.tensor`` for tensors; NumPy by default.
    """
    normal = normal_variance > 0
    if not normal.any():
        return negative_binomial_log_density(data, mean, relative_variance, library)
    switch = np.where if library is None else library.switch
    spread = np.where(normal, normal_variance, 1.0)
    gaussian = -((data - mean) ** 2 / spread + np.log(2 * np.pi * spread)) / 2
    # Counts of 1 stand in where there are none, so that no branch that is not taken is without a derivative.
    data, mean = switch(normal, 1.0, data), switch(normal, 1.0, mean)
    counts = negative_binomial_log_density(data, mean, relative_variance, library)
    return switch(normal, gaussian, counts)


def draw_mixed(
    mean: Array, normal_variance: Array, relative_variance: Array, rng: np.random.Generator, size: Any = None
) -> Array:
    """Draw data about expected counts: normal where there is a variance of that, else Poisson, a gamma-drawn mean."""
    normal = np.broadcast_to(normal_variance > 0, np.shape(mean) if size is None else size)
    # Expectations beyond NumPy's range (priors far wider than data) stay as they are.
    limit = 1e18
    drawn = draw_means(np.where(normal, 1.0, mean), relative_variance, rng, size)
    counts = np.where(drawn < limit, rng.poisson(np.minimum(drawn, limit)).astype(float), drawn)
    if not normal.any():
        return counts
    return np.where(normal, rng.normal(mean, np.sqrt(normal_variance), size), counts)
