"""Spectra given by a function, as a line or as a histogram, with the integrals over the energy that a rate needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
POWERS = 3
"""Rates are Σ_n c_n(T) E⁻ⁿ with n = 0, 1, 2."""


@dataclass(frozen=True)
class Spectrum:
    """Fluence of one species and its integrals J_n(x) = ∫_x^∞ Φ(E) E⁻ⁿ dE.

    Attributes
    ----------
    channel : str
        A name of `bayesnu.physics.couplings.CHANNELS`.
    energy_max_gev : float
        Nothing above.
    energy_gev : ndarray, shape (nodes,)
        Increasing; J is tabulated here. A line has one node.
    integrals : ndarray, shape (3, nodes)
        J_n, per cm² and GeVⁿ.
    slopes : ndarray, shape (3, nodes)
        -Φ E⁻ⁿ, its derivative; empty for a line.
    """

    channel: str
    energy_max_gev: float
    energy_gev: Array
    integrals: Array
    slopes: Array

    @property
    def curve(self) -> tuple[Array, Array]:
        """Energies in GeV and fluence per GeV at them; of a line its energy and its integral."""
        return self.energy_gev, -self.slopes[0] if self.slopes.size else self.integrals[0]

    @property
    def steps_gev(self) -> Array:
        """Energies at which the fluence jumps, where an integral over recoils has its panels end; none here."""
        return np.empty(0)

    @property
    def mean_energy_gev(self) -> float:
        """∫Φ E dE/∫Φ dE, by parts from J_0: the mean of E is E_min + ∫J_0 dE/J_0(E_min)."""
        if self.energy_gev.size == 1:
            return self.energy_max_gev
        step, number, slope = np.diff(self.energy_gev), self.integrals[0], self.slopes[0]
        # The integral of each cubic of `above`.
        area = (step * (number[1:] + number[:-1]) / 2 + step**2 * (slope[:-1] - slope[1:]) / 12).sum()
        return float(self.energy_gev[0] + area / number[0]) if number[0] > 0 else float("nan")

    def above(self, energy_gev: ArrayLike) -> Array:
        """Return J_n(x), shape (3, *x.shape): by cubic Hermite interpolation, or a step at a line."""
        x = np.asarray(energy_gev, dtype=float)
        if self.energy_gev.size == 1:
            return np.where(x <= self.energy_max_gev, 1.0, 0.0) * self.integrals.reshape(POWERS, *([1] * x.ndim))
        clipped = np.clip(x, self.energy_gev[0], self.energy_gev[-1])
        k = np.clip(np.searchsorted(self.energy_gev, clipped, side="right") - 1, 0, self.energy_gev.size - 2)
        step = self.energy_gev[k + 1] - self.energy_gev[k]
        t = (clipped - self.energy_gev[k]) / step
        left, right = self.integrals[:, k], self.integrals[:, k + 1]
        slope_left, slope_right = self.slopes[:, k] * step, self.slopes[:, k + 1] * step
        value = (
            (1 + 2 * t) * (1 - t) ** 2 * left
            + t * (1 - t) ** 2 * slope_left
            + t**2 * (3 - 2 * t) * right
            + t**2 * (t - 1) * slope_right
        )
        return np.where(x < self.energy_max_gev, value, 0.0)


@dataclass(frozen=True)
class Histogram(Spectrum):
    """Fluence that is constant inside each bin, with exact integrals.

    Attributes
    ----------
    energy_gev : ndarray, shape (bins + 1,)
        Edges.
    density : ndarray, shape (bins,)
        Φ per cm² and GeV.
    """

    density: Array

    @property
    def curve(self) -> tuple[Array, Array]:
        """Edges in GeV and fluence per GeV between them."""
        return self.energy_gev, self.density

    @property
    def steps_gev(self) -> Array:
        """The edges at which the fluence jumps."""
        jumps = np.flatnonzero(np.diff(self.density)) + 1
        return np.concatenate([self.energy_gev[:1], self.energy_gev[jumps]])

    @property
    def mean_energy_gev(self) -> float:
        """∫Φ E dE/∫Φ dE."""
        number = self.density * np.diff(self.energy_gev)
        return float(number @ (self.energy_gev[1:] + self.energy_gev[:-1]) / 2 / number.sum())

    def above(self, energy_gev: ArrayLike) -> Array:
        """Return J_n(x), shape (3, *x.shape): exact; J_1 and J_2 are infinite at 0 where the first bin begins there."""
        x = np.asarray(energy_gev, dtype=float)
        clipped = np.clip(x, self.energy_gev[0], self.energy_gev[-1])
        k = np.clip(np.searchsorted(self.energy_gev, clipped, side="right") - 1, 0, self.density.size - 1)
        value = self.integrals[:, k + 1] + self.density[k] * _powers_between(clipped, self.energy_gev[k + 1])
        return np.where(x < self.energy_max_gev, value, 0.0)


def _powers_between(low: Array, high: Array) -> Array:
    """Return ∫ E⁻ⁿ dE from low to high, n = 0, 1, 2."""
    with np.errstate(divide="ignore"):
        return np.stack([high - low, np.log(high / low), 1 / low - 1 / high])


def histogram_spectrum(channel: str, edges_gev: Array, density: Array) -> Histogram:
    """Tabulate the integrals of a histogram, without the empty bins at its ends.

    Parameters
    ----------
    channel : str
    edges_gev : ndarray, shape (bins + 1,)
    density : ndarray, shape (bins,)
        Fluence per cm² and GeV; not all of it 0.
    """
    filled = np.flatnonzero(density)
    edges, density = edges_gev[filled[0] : filled[-1] + 2], density[filled[0] : filled[-1] + 1]
    integrals = np.zeros((POWERS, edges.size))
    per_bin = density * _powers_between(edges[:-1], edges[1:])
    integrals[:, :-1] = np.cumsum(per_bin[:, ::-1], axis=1)[:, ::-1]
    return Histogram(channel, float(edges[-1]), edges, integrals, np.empty((POWERS, 0)), density)


def continuous_spectrum(
    channel: str,
    density: Callable[[Array], Array],
    energy_min_mev: float,
    energy_max_mev: float,
    breakpoints_mev: Sequence[float] = (),
    cells: int = 1500,
) -> Spectrum:
    """Tabulate the integrals of a spectrum.

    Parameters
    ----------
    channel : str
    density : callable
        Energy in MeV → fluence per cm² and MeV; smooth between breakpoints.
    energy_min_mev : float
        Energies below are left out; must lie below every threshold that matters.
    energy_max_mev : float
    breakpoints_mev : sequence of float
        Where the density has kinks.
    cells : int
        Logarithmic cells, each integrated by four Gauss points.
    """
    inner = [b for b in breakpoints_mev if energy_min_mev < b < energy_max_mev]
    edges = np.unique(np.concatenate([np.geomspace(energy_min_mev, energy_max_mev, cells + 1), inner]))
    points, weights = np.polynomial.legendre.leggauss(4)
    half = np.diff(edges)[:, None] / 2
    energy = edges[:-1, None] + half * (points + 1)
    powers = np.arange(POWERS)[:, None]
    # Integrals and energies in GeV, the density stays per MeV: Φ dE is the same in both.
    per_cell = ((density(energy) * half * weights)[None] * (energy[None] * 1e-3) ** -powers[:, :, None]).sum(axis=2)
    integrals = np.zeros((POWERS, edges.size))
    integrals[:, :-1] = np.cumsum(per_cell[:, ::-1], axis=1)[:, ::-1]
    slopes = -1e3 * density(edges)[None] * (edges[None] * 1e-3) ** -powers
    return Spectrum(channel, energy_max_mev * 1e-3, edges * 1e-3, integrals, slopes)


def line_spectrum(channel: str, energy_mev: float, fluence: float) -> Spectrum:
    """Return a monochromatic spectrum of some fluence per cm²."""
    energy = energy_mev * 1e-3
    integrals = fluence * energy ** -np.arange(POWERS, dtype=float)[:, None]
    return Spectrum(channel, energy, np.array([energy]), integrals, np.empty((POWERS, 0)))
