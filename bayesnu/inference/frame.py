"""Coordinates in which the pulls are nearly independent of the coupling and of each other.

NUTS moves in w with z = c(v) + L w: c(v) follows the pulls that minimise -ln L at
each value of the coupling, and L Lᵀ is their covariance at the best fit. The map
is exact for any c and L (its Jacobian is the constant det L); a good one lets
chains cross shoulders and second solutions that bend through the pulls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError
from bayesnu.inference.likelihood import Problem, likelihood_range, minimise_pulls
from bayesnu.inference.priors import AUTOMATIC_RANGE, SampledVariable

Array = NDArray[np.float64]
DEGREE = 10
FALL = 4.0
"""Δ(-2 ln L) at the knee of `MassFrame`."""
HIGHEST_KNEE = 0.95
KNEE_DEGREE = 8


@dataclass(frozen=True)
class PullFrame:
    """z = Σ_k ``centre``[:, k] x^k + ``spread`` w, with x = (v - ``middle``)/``half``, clipped to [-1, 1].

    Attributes
    ----------
    centre : ndarray, shape (pulls, DEGREE + 1)
    spread : ndarray, shape (pulls, pulls)
    middle, half : float
    """

    centre: Array
    spread: Array
    middle: float
    half: float

    def pulls(self, v: Array, w: Array) -> Array:
        """Return z, shape (…, pulls), of v, shape (…), and w, shape (…, pulls)."""
        x = np.clip((v - self.middle) / self.half, -1.0, 1.0)
        powers = x[..., None] ** np.arange(DEGREE + 1)
        return np.asarray(powers @ self.centre.T + w @ self.spread.T)


def pull_frame(problem: Problem, variables: Sequence[SampledVariable]) -> PullFrame:
    """Return the frame of a problem; with several couplings its centre stays at the best fit's pulls.

    Parameters
    ----------
    problem : Problem
        Statistic "poisson" or "gamma-poisson", or "chi2" with measured errors.
    variables : sequence of SampledVariable
        One per coupling.
    """
    n_pulls = len(problem.model.pulls)
    centre = np.zeros((n_pulls, DEGREE + 1))
    if len(variables) > 1:
        best = minimise_pulls(problem, np.zeros((len(variables), 1)))
        centre[:, 0] = best.pulls[0]
        return PullFrame(centre, _cholesky(best.hessian[0]), 0.0, 1.0)
    variable = variables[0]
    theta_low, theta_high = likelihood_range(problem, AUTOMATIC_RANGE)
    # The same range in v: folded variables are symmetric about 0.
    low, high = {
        "identity": (theta_low, theta_high),
        "folded": (-theta_high, theta_high),
        "square-root": (-(theta_high**2), theta_high**2),
        "exponential": (-np.inf, float(np.log(theta_high))),
    }[variable.map]
    reach_low, reach_high = variable.reach
    low, high = max(low, reach_low), min(high, reach_high)
    if not low < high:
        low, high = reach_low, reach_high
    return frame_between(problem, variable, low, high, 201)


def frame_between(problem: Problem, variable: SampledVariable, low: float, high: float, points: int = 33) -> PullFrame:
    """Return the frame of one coupling from the profile at Chebyshev points between two values of its variable."""
    middle, half = (low + high) / 2, (high - low) / 2
    x = np.cos(np.pi * (np.arange(points) + 0.5) / points)
    profiled = minimise_pulls(problem, variable.scaled_coupling(middle + half * x)[None, :])
    centre = [np.polynomial.Polynomial.fit(x, pull, DEGREE, domain=[-1, 1]).coef for pull in profiled.pulls.T]
    spread = _cholesky(profiled.hessian[int(profiled.value.argmin())])
    return PullFrame(np.reshape(centre, (len(centre), DEGREE + 1)), spread, middle, half)


@dataclass(frozen=True)
class MassFrame:
    """A variable u in (0, 1) for a moment whose reach changes with the mass of N by orders of magnitude.

    The share c of the moment's range is k u/(k u + (1 - k)(1 - u)): c = k, where the likelihood begins to fall at
    this mass, is u = 1/2 at every mass. dc/du enters the density, so that the map is exact for any k.

    Attributes
    ----------
    moment, mass : int
        Places among the couplings.
    low, high : float
        Range of the moment's sampled variable v = low + c (high - low).
    coefficients : ndarray, shape (KNEE_DEGREE + 1,)
        Of ln k/(1 - k) in x = (v_m - ``middle``)/``half``, v_m the sampled variable of the mass.
    middle, half : float
    """

    moment: int
    mass: int
    low: float
    high: float
    coefficients: Array
    middle: float
    half: float

    def value(self, u: Array, v_mass: Array) -> Array:
        """Return v of the moment."""
        x = (v_mass - self.middle) / self.half
        k = knee(x[..., None] ** np.arange(KNEE_DEGREE + 1) @ self.coefficients, np)
        return np.asarray(self.low + share(u, k) * (self.high - self.low))


def knee(logit: Any, library: Any) -> Any:
    """Return k of ln k/(1 - k); ``library`` has ``exp``."""
    return 1 / (1 + library.exp(-logit))


def share(u: Any, k: Any) -> Any:
    """Return c = k u/(k u + (1 - k)(1 - u))."""
    return k * u / (k * u + (1 - k) * (1 - u))


def mass_frame(problem: Problem, variables: Sequence[SampledVariable]) -> MassFrame | None:
    """Return the frame of a fit of one bounded moment and the mass of N; None for any other fit."""
    if len(variables) != 2 or "m_N" not in problem.couplings:
        return None
    mass = problem.couplings.index("m_N")
    moment = 1 - mass
    own, heavy = variables[moment], variables[mass]
    if own.kind != "uniform" or heavy.kind != "uniform":
        return None
    low, high = max(own.low, 0.0) if own.map in ("folded", "square-root") else own.low, own.high
    c = 1 / (1 + np.exp(-np.linspace(-12, 6, 145)))
    x = np.cos(np.pi * (np.arange(33) + 0.5) / 33)
    # A mass from 0 is folded: its variable is symmetric about 0.
    middle, half = (heavy.low + heavy.high) / 2, (heavy.high - heavy.low) / 2
    moments, masses = np.meshgrid(low + c * (high - low), middle + half * x)
    points = np.empty((2, c.size * x.size))
    points[moment] = own.scaled_coupling(moments.ravel())
    points[mass] = heavy.scaled_coupling(masses.ravel())
    value = minimise_pulls(problem, points).value.reshape(x.size, c.size)
    inside = value < value.min() + FALL
    last = np.where(inside.any(axis=1), c[inside.shape[1] - 1 - np.argmax(inside[:, ::-1], axis=1)], c[0])
    # Near the upper end, or where nothing falls, no knee is needed; a sharp one in k(m) would only bend the map.
    last = np.minimum(last, HIGHEST_KNEE)
    fit = np.polynomial.Polynomial.fit(x, np.log(last / (1 - last)), KNEE_DEGREE, domain=[-1, 1])
    return MassFrame(moment, mass, low, high, np.asarray(fit.coef, dtype=float), middle, half)


def _cholesky(hessian: Array) -> Array:
    """Return L with L Lᵀ the inverse of a positive definite Hessian.

    Raises
    ------
    ConvergenceError
        If it is not positive definite.
    """
    try:
        return np.asarray(np.linalg.cholesky(np.linalg.inv(hessian)))
    except np.linalg.LinAlgError as error:
        raise ConvergenceError(
            "-ln L has no minimum in the pulls where the prior allows it; choose a prior, counts and pulls nearer to "
            "each other"
        ) from error
