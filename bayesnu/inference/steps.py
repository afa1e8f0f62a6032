"""Newton's steps in the pulls in NumPy, all points at once: for fits that are done before compiled code is loaded.

The same steps as those of `bayesnu.inference.newton`, whose import takes longer than the hundreds of fits that a limit
of one data set needs, and so the same minima; all points start at once, where those go from one to the next.

With counts of a component w_c = Π_p (1 + σ_p z_p)^k_cp times S_c, k 0 or 1, and u_p = σ_p/(1 + σ_p z_p), the slopes of
F = -ln L are g·D + c z and its second derivatives D h Dᵀ + Σ_c (g·S_c) w_c (k_p k_q u_p u_q - δ_pq k_p u_p²) + c, with
g and h those of F in λ, D_p = Σ_c k_cp u_p w_c S_c and c the constraints.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]
ITERATIONS = 100
HALVINGS = 41
EDGE = 1e-13
"""A factor 1 + σ z below is as good as 0."""
RIDGE = 1e-13
"""Added to the unit diagonal of a scaled Hessian: only a degenerate one feels it."""
DEFINITE = 1e-14
"""Least eigenvalue of a Hessian of unit diagonal that is no rounding."""
LEAST_GAIN = 1e-8
"""A fall of -2 ln L, as a fraction of it where it is above 1, that is not worth a step."""
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
    first: Array | None = None,
) -> tuple[Array, Array, Array, Mask]:
    """Return -2 ln L, z, the Hessian of -ln L in z and whether the steps ended, for each point.

    A step takes no factor 1 + σ z to less than a tenth of what it is, and is halved until -2 ln L does not rise. A
    factor at the edge of its range, where its infimum may lie, stays there for a step that leads beyond.

    Parameters
    ----------
    strengths : ndarray, shape (points, components, obs)
        Counts of each component before pulls.
    membership : ndarray, shape (components, pulls)
        1 where a pull scales a component, else 0.
    widths, constraint : ndarray, shape (pulls,)
    data : ndarray, shape (obs,)
    variance : ndarray, shape (obs,), optional
        Of normal data; None for Poisson counts.
    tolerance : float
        Of the last step in every pull.
    first : ndarray, shape (pulls,), optional
        z from which all points start; 0 by default.

    Returns
    -------
    tuple of ndarray, shape (points,), (points, pulls), (points, pulls, pulls), (points,)
    """
    fits = _Fits(strengths, membership, widths, constraint, data, variance)
    z = np.zeros((strengths.shape[0], widths.size))
    z += 0.0 if first is None else first
    value = np.empty(z.shape[0])
    converged, tried = np.zeros((2, z.shape[0]), dtype=np.bool_)
    wanted: Indices = np.arange(z.shape[0])
    while wanted.size:
        value[wanted], z[wanted], converged[wanted] = _descended(fits, z[wanted], wanted, tolerance)
        # Where a point's own steps lead nowhere, its neighbour's pulls may be near.
        lost = ~converged & ~tried
        after = lost & np.append(False, converged[:-1])
        before = lost & ~after & np.append(converged[1:], False)
        wanted = np.flatnonzero(after | before)
        z[wanted] = z[np.where(after[wanted], wanted - 1, wanted + 1)]
        tried[wanted] = True
    _, gauss, bend = fits.derivatives(z, np.arange(z.shape[0]))
    return value, z, gauss + bend, converged


def _descended(fits: _Fits, z: Array, which: Indices, tolerance: float) -> tuple[Array, Array, Mask]:
    """Return -2 ln L, z and whether the steps ended, of some points from given pulls."""
    z = z.copy()
    value = fits.value(z, which)
    converged = np.zeros(which.size, dtype=np.bool_)
    active: Indices = np.arange(which.size)
    for _ in range(ITERATIONS):
        slope, gauss, bend = fits.derivatives(z[active], which[active])
        solved, step = _steps(slope, gauss, bend, 1 + fits.widths * z[active] < EDGE)
        active, slope, step = active[solved], slope[solved], step[solved]
        if not active.size:
            break
        length = 0.9 / (-fits.widths * step / (1 + fits.widths * z[active])).max(axis=1, initial=0.9)
        limit = value[active] + GRAIN * (1 + np.abs(value[active]))
        rest: Indices = np.arange(active.size)
        for _ in range(HALVINGS):
            trial = z[active[rest]] + length[rest, None] * step[rest]
            found = fits.value(trial, which[active[rest]])
            fine = found <= limit[rest]
            z[active[rest[fine]]], value[active[rest[fine]]] = trial[fine], found[fine]
            rest = rest[~fine]
            if not rest.size:
                break
            length[rest] /= 2
        accepted = np.ones(active.size, dtype=np.bool_)
        accepted[rest] = False
        # A whole step that is small is the last one. Where rounding hides the fall that it promises, nothing is left.
        done = (np.abs(step).max(axis=1, initial=0.0) < tolerance) | ~accepted
        nothing_left = -(slope * step).sum(axis=1) < LEAST_GAIN * (1 + np.abs(value[active]))
        converged[active[done & (accepted | nothing_left)]] = True
        active = active[~done]
    return value, z, converged & np.isfinite(value)


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

    def of(self, which: Indices) -> Array:
        """Return the counts of some points, in their order; of all of them without a copy."""
        return self.strengths if which.size == self.strengths.shape[0] else self.strengths[which]

    def weights(self, z: Array) -> Array:
        """Return w, (points, components)."""
        return np.asarray(np.where(self.membership > 0, (1 + self.widths * z)[:, None, :], 1.0).prod(axis=2))

    def value(self, z: Array, which: Indices) -> Array:
        """Return -2 ln L of some points; infinite where λ is impossible."""
        expected = (self.weights(z)[:, None, :] @ self.of(which))[:, 0]
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

    def derivatives(self, z: Array, which: Indices) -> tuple[Array, Array, Array]:
        """Return the slopes of -ln L, (points, pulls), the Hessian of Gauss and Newton, (points, pulls, pulls), and the
        rest of the Hessian.
        """
        strengths, n = self.of(which), self.data
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


def _steps(slope: Array, gauss: Array, bend: Array, at_edge: Mask) -> tuple[Mask, Array]:
    """Return where there is a step, and the steps: Newton's, with less of the bend where his lead uphill."""
    missing, shift = np.zeros(slope.shape[0]), np.zeros(slope.shape[0])
    frozen, step = at_edge & (slope > 0), np.zeros_like(slope)
    solved = np.zeros(slope.shape[0], dtype=np.bool_)
    left: Indices = np.arange(slope.shape[0])
    unit = np.eye(slope.shape[1])
    while left.size:
        hessian = gauss[left] + (1 - missing[left])[:, None, None] * bend[left] + shift[left, None, None] * unit
        good, own = _solved(hessian, slope[left], frozen[left])
        bad, fine = left[~good], left[good]
        # Near a saddle point a step with none of the bend would hardly move; a pull without effect needs a little more.
        whole = missing[bad] == 1
        shift[bad[whole]] = np.maximum(10 * shift[bad[whole]], 1e-3)
        missing[bad] = np.clip(4 * missing[bad], 0.01, 1.0)
        # Others may drive a factor at the edge of its range further out: it stays there for this step.
        step[fine], solved[fine] = own[good], True
        out = at_edge[fine] & ~frozen[fine] & (step[fine] < 0)
        frozen[fine] |= out
        left = np.concatenate([bad[shift[bad] < 1e12], fine[out.any(axis=1)]])
    return solved, step


def _solved(hessian: Array, slope: Array, frozen: Mask) -> tuple[Mask, Array]:
    """Return which Hessians are positive definite, and H s = -g solved there; frozen pulls do not move."""
    # Pulls without constraints may have any scale.
    diagonal = np.diagonal(hessian, axis1=1, axis2=2)
    good = (frozen | (diagonal > 0)).all(axis=1) & np.isfinite(hessian).all(axis=(1, 2))
    scale = np.where(frozen | ~good[:, None], 0.0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)))
    unit = np.where(good[:, None, None], hessian, 0.0) * scale[:, :, None] * scale[:, None, :]
    places = np.arange(slope.shape[1])
    unit[:, places, places] = np.where(scale > 0, 1 + RIDGE, 1.0)
    try:
        np.linalg.cholesky(unit)
    except np.linalg.LinAlgError:
        good &= np.linalg.eigvalsh(unit)[:, 0] > DEFINITE
        unit[~good] = np.eye(slope.shape[1])
    return good, -np.linalg.solve(unit, (slope * scale)[:, :, None])[:, :, 0] * scale
