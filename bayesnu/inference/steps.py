"""Newton's steps in the pulls in NumPy, all points at once: for fits that are done before compiled code is loaded.

The same minima as those of `bayesnu.inference.newton`, whose import takes longer than the hundreds of fits that a limit
of one data set needs. There is no fit here that is not sure: points where plain steps do not end are left to that.

With counts of a component w_c = Π_p (1 + σ_p z_p)^k_cp times S_c and u_p = σ_p/(1 + σ_p z_p), the slopes of
F = -ln L are g·D + c z and its second derivatives D h Dᵀ + Σ_c (g·S_c) w_c (k_p k_q u_p u_q - δ_pq k_p u_p²) + c, with
g and h those of F in λ, D_p = Σ_c k_cp u_p w_c S_c and c the constraints.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
STEPS = 60
SHORTEST = 1e-4
"""Of a step, below which it is given up."""
EDGE = 1e-9
"""A factor 1 + σ z below is as good as 0."""
GRAIN = 1e-12
"""Relative rounding of -2 ln L that does not count as a rise."""


def minimised(
    strengths: Array,
    membership: Array,
    widths: Array,
    constraint: Array,
    data: Array,
    variance: Array | None,
    tolerance: float,
) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """Return -2 ln L, z, the Hessian of -ln L in z and whether the steps ended, for each point.

    Parameters
    ----------
    strengths : ndarray, shape (points, components, obs)
        Counts of each component before pulls.
    membership : ndarray, shape (components, pulls)
    widths, constraint : ndarray, shape (pulls,)
    data : ndarray, shape (obs,)
    variance : ndarray, shape (obs,), optional
        Of normal data; None for Poisson counts.
    tolerance : float
        Of the last step in every pull.

    Returns
    -------
    tuple of ndarray, shape (points,), (points, pulls), (points, pulls, pulls), (points,)
    """
    fits = _Fits(strengths, membership, widths, constraint, data, variance)
    points, pulls = strengths.shape[0], widths.size
    z = np.zeros((points, pulls))
    value = fits.value(z, slice(None))
    hessian = np.empty((points, pulls, pulls))
    converged = np.zeros(points, dtype=np.bool_)
    active = np.flatnonzero(np.isfinite(value))
    for _ in range(STEPS):
        if not active.size:
            break
        good, step = _steps(*fits.derivatives(z[active], active))
        active, step = active[good], step[good]
        # No factor 1 + σ z falls to less than a tenth of what it is.
        shrink = (-widths * step / (1 + widths * z[active])).max(axis=1, initial=0.9)
        step *= (0.9 / shrink)[:, None]
        full = shrink <= 0.9
        length = np.ones(active.size)
        limit = value[active] + GRAIN * (1 + np.abs(value[active]))
        taken = np.zeros(active.size, dtype=np.bool_)
        while not taken.all() and length[~taken].min() > SHORTEST:
            rest = np.flatnonzero(~taken)
            trial = z[active[rest]] + length[rest, None] * step[rest]
            found = fits.value(trial, active[rest])
            fine = found <= limit[rest]
            z[active[rest[fine]]], value[active[rest[fine]]] = trial[fine], found[fine]
            taken[rest[fine]] = True
            length[rest[~fine]] /= 2
        # At the edge of a factor's range, where its minimum may lie, a step is no longer Newton's.
        taken &= (1 + widths * z[active] > EDGE).all(axis=1)
        small = np.abs(step).max(axis=1, initial=0.0) < tolerance
        converged[active[small & full & taken]] = True
        active = active[taken & ~(small & full)]
    if converged.any():
        _, gauss, bend = fits.derivatives(z[converged], np.flatnonzero(converged))
        hessian[converged] = gauss + bend
    return value, z, hessian, converged


class _Fits:
    """-2 ln L of many points and its derivatives in z."""

    def __init__(
        self,
        strengths: Array,
        membership: Array,
        widths: Array,
        constraint: Array,
        data: Array,
        variance: Array | None,
    ) -> None:
        self.strengths, self.membership, self.widths, self.constraint = strengths, membership, widths, constraint
        self.data, self.variance = data, variance

    def weights(self, z: Array) -> Array:
        """Return w, (points, components)."""
        return np.asarray(((1 + self.widths * z)[:, None, :] ** self.membership).prod(axis=2))

    def value(self, z: Array, which: slice | NDArray[np.int64]) -> Array:
        """Return -2 ln L of some points; infinite where λ is impossible."""
        expected = (self.weights(z)[:, None, :] @ self.strengths[which])[:, 0]
        total = (self.constraint * z**2).sum(axis=1)
        if self.variance is not None:
            return np.asarray(total + ((expected - self.data) ** 2 / self.variance).sum(axis=1))
        n = self.data
        possible = (expected > 0) | ((expected == 0) & (n == 0))
        safe = np.where(expected > 0, expected, 1.0)
        # Near λ, of large counts no more than the difference from it is rounded.
        away = np.where(n > 0, (safe - n) / np.where(n > 0, n, 1.0), 0.0)
        terms = np.where(n > 0, n * (away - np.log1p(away)), np.where(expected > 0, expected, 0.0))
        return np.where(possible.all(axis=1), total + 2 * terms.sum(axis=1), np.inf)

    def derivatives(self, z: Array, which: NDArray[np.int64]) -> tuple[Array, Array, Array]:
        """Return the slopes of -ln L, (points, pulls), the Hessian of Gauss and Newton, (points, pulls, pulls), and the
        rest of the Hessian.
        """
        strengths, n = self.strengths[which], self.data
        weights, unit = self.weights(z), self.widths / (1 + self.widths * z)
        expected = (weights[:, None, :] @ strengths)[:, 0]
        if self.variance is not None:
            first, second = (expected - n) / self.variance, np.broadcast_to(1 / self.variance, expected.shape)
        else:
            safe = np.where(expected > 0, expected, 1.0)
            first = np.where(expected > 0, (expected - n) / safe, 1.0)
            second = np.where(expected > 0, n / safe**2, 0.0)
        powers = self.membership[None] * unit[:, None, :]
        scaled = powers * weights[:, :, None]
        slopes = scaled.swapaxes(1, 2) @ strengths
        slope = (slopes @ first[:, :, None])[:, :, 0] + self.constraint * z
        paired = (strengths @ first[:, :, None]) * scaled
        gauss = (slopes * second[:, None, :]) @ slopes.swapaxes(1, 2) + np.diag(self.constraint)
        bend = powers.swapaxes(1, 2) @ paired
        diagonal = np.arange(self.widths.size)
        bend[:, diagonal, diagonal] -= (paired * unit[:, None, :]).sum(axis=1)
        return slope, gauss, bend


def _definite(hessian: Array) -> tuple[NDArray[np.bool_], Array]:
    """Return which Hessians are positive definite, and scales that make their diagonals 1."""
    # Pulls without constraints may have any scale.
    diagonal = np.diagonal(hessian, axis1=1, axis2=2)
    positive = (diagonal > 0).all(axis=1) & np.isfinite(hessian).all(axis=(1, 2))
    scale = 1 / np.sqrt(np.where(positive[:, None], diagonal, 1.0))
    unit = np.where(positive[:, None, None], hessian * scale[:, :, None] * scale[:, None, :], np.eye(scale.shape[1]))
    try:
        np.linalg.cholesky(unit)
    except np.linalg.LinAlgError:
        positive &= np.linalg.eigvalsh(unit)[:, 0] > 1e-12
    return positive, scale


def _steps(slope: Array, gauss: Array, bend: Array) -> tuple[NDArray[np.bool_], Array]:
    """Return where there is a step, and the steps: Newton's, or those of Gauss and Newton where his lead uphill."""
    hessian = gauss + bend
    newton, scale = _definite(hessian)
    good = newton
    if not newton.all():
        hessian = np.where(newton[:, None, None], hessian, gauss)
        good, scale = _definite(hessian)
    unit = np.where(good[:, None, None], hessian * scale[:, :, None] * scale[:, None, :], np.eye(scale.shape[1]))
    step = -np.linalg.solve(unit, (slope * scale)[:, :, None])[:, :, 0] * scale
    return good, step
