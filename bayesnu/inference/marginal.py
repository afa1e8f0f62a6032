"""The marginal likelihood of one coupling on a grid, computed once for every prior that is put on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError
from bayesnu.inference.likelihood import Problem, likelihood_range, minimise_pulls

if TYPE_CHECKING:
    from scipy.interpolate import CubicSpline

Array = NDArray[np.float64]
REACH = 60.0
"""Δχ² at the ends of a grid; a posterior beyond is below e⁻³⁰ of its highest."""
MATTERS = 30.0
"""Δχ² below which the minimisation may fail nowhere; a point above it is left out of a spline."""


def laplace_log_likelihood(problem: Problem, theta: Array) -> Array:
    """Return ln ∫ L(θ, z) dz by Laplace's method, up to a constant.

    -F(θ) - ln|H(θ)|/2, with F = -ln L at its minimum in the pulls and H its Hessian there.

    Parameters
    ----------
    problem : Problem
        With one coupling.
    theta : ndarray, shape (points,)
        In the coupling's own unit.

    Raises
    ------
    ConvergenceError
        If the minimisation fails at a value that matters.
    """
    profiled = minimise_pulls(problem, theta[None, :] / float(problem.scales[0]))
    profiled.require(problem, REACH)
    return np.asarray(-profiled.value / 2 - np.linalg.slogdet(profiled.hessian)[1] / 2)


@dataclass(frozen=True, eq=False)
class MarginalLikelihood:
    """ln of the marginal likelihood on a grid, and a cubic spline between its points.

    Attributes
    ----------
    coupling : str
    values : ndarray, shape (points,)
        In the coupling's own unit.
    log_likelihood : ndarray, shape (points,)
        Pulls marginalised, up to a constant.
    profile : ndarray, shape (points,)
        -2 ln L with the pulls minimised.
    """

    coupling: str
    values: Array
    log_likelihood: Array
    profile: Array

    @cached_property
    def _spline(self) -> CubicSpline:
        from scipy.interpolate import CubicSpline

        return CubicSpline(self._place(self.values), np.stack([self.log_likelihood, self.profile], axis=1))

    def _place(self, theta: Array) -> Array:
        # Couplings of 1e-33 have no squares.
        return np.asarray((theta - self.values[0]) / (self.values[-1] - self.values[0]))

    def covers(self, theta: Array) -> bool:
        """Return whether all of some values lie in the range, to rounding."""
        place = self._place(theta)
        return bool(place.min() >= -1e-9 and place.max() <= 1 + 1e-9)

    def at(self, theta: Array) -> Array:
        """Return ln of the marginal likelihood at values inside the range."""
        return np.asarray(self._spline(self._place(theta))[..., 0])

    def delta(self, theta: float) -> float:
        """Return Δ(-2 ln L) from the lowest point of the profile at one value; infinite outside the range."""
        if not self.covers(np.array([theta])):
            return float("inf")
        return max(0.0, float(self._spline(self._place(np.array(theta)))[1] - self.profile.min()))


def marginal_likelihood(
    problem: Problem, reach: tuple[float, float] | None = None, points: int = 1201
) -> MarginalLikelihood:
    """Return the marginal likelihood of a one-coupling problem where Δχ² is below `REACH`.

    Parameters
    ----------
    problem : Problem
    reach : (low, high), optional
        Of a prior, in the coupling's own unit: bounds the range where the likelihood does not.
    points : int

    Raises
    ------
    ConvergenceError
        If neither bounds the range, or the minimisation fails.
    """
    scale = float(problem.scales[0])
    low, high = (bound * scale for bound in likelihood_range(problem, REACH))
    if reach is not None:
        low, high = (low if np.isfinite(low) else reach[0]), (high if np.isfinite(high) else reach[1])
    if not np.isfinite(high - low):
        raise ConvergenceError(
            f"{problem.couplings[0]}: Δχ² stays below {REACH:g} at any value, so the data do not bound it; "
            "choose narrower pulls or give it a prior with bounds"
        )
    values = np.linspace(low, high, points)
    profiled = minimise_pulls(problem, values[None, :] / scale)
    profiled.require(problem, MATTERS)
    kept = profiled.converged
    log_likelihood = -profiled.value / 2 - np.linalg.slogdet(profiled.hessian)[1] / 2
    return MarginalLikelihood(problem.couplings[0], values[kept], log_likelihood[kept], profiled.value[kept])
