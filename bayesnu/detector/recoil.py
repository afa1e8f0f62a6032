"""From the true energy of a nuclear recoil to reconstructed bins: cryogenic detectors and scintillation light.

R_ij = P(bin i | T_j) at given true recoils; both detectors act on T alone. Recoils in eV.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesnu.detector.efficiency import efficiency_at

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Phonons:
    """A cryogenic detector: reconstructed energy normal about T, recoils seen with an efficiency, 1 if there is none.

    Attributes
    ----------
    bin_edges_ev : tuple of float
        Of the reconstructed recoil.
    resolution_ev, stochastic, constant : float
        σ² = ``resolution_ev``² + ``stochastic``² T keV + ``constant``² T².
    efficiency : tuple of (float, float)
        True recoil in eV and efficiency, with straight lines between the points and none outside.
    """

    bin_edges_ev: tuple[float, ...]
    resolution_ev: float
    stochastic: float = 0.0
    constant: float = 0.0
    efficiency: tuple[tuple[float, float], ...] = ()

    def width_ev(self, energy_ev: Array) -> Array:
        """Return σ at true recoils."""
        noise = np.hypot(self.resolution_ev, self.stochastic * np.sqrt(1e3 * energy_ev))
        return np.asarray(np.hypot(noise, self.constant * energy_ev))

    def probabilities(self, recoil_ev: Array) -> Array:
        """Return ε(T) [erf((x_{i+1} - T)/√2σ) - erf((x_i - T)/√2σ)]/2, shape (bins, recoils).

        Parameters
        ----------
        recoil_ev : ndarray, shape (recoils,)
            True recoils.
        """
        from scipy.special import ndtr

        edges = np.array(self.bin_edges_ev)[:, None]
        found = np.diff(ndtr((edges - recoil_ev) / self.width_ev(np.asarray(recoil_ev))), axis=0)
        return np.asarray(found * efficiency_at(self.efficiency, np.asarray(recoil_ev)))

    @property
    def breakpoints_ev(self) -> Array:
        """Recoils between which R is smooth: the edges, ±2, ±4, ±8 σ about them, and the points of the efficiency."""
        edges = np.array(self.bin_edges_ev)[:, None]
        around = edges + self.width_ev(edges) * np.array([-8, -4, -2, 0, 2, 4, 8])
        return np.unique(np.concatenate([around.ravel(), [recoil for recoil, _ in self.efficiency]]))


@dataclass(frozen=True)
class Photoelectrons:
    """A scintillator: a Poisson number of photoelectrons about light yield × quenching × T, kept by an acceptance.

    Attributes
    ----------
    bin_edges_pe : tuple of int
        Bin i holds edges[i] ≤ PE < edges[i + 1].
    light_yield_pe_per_kev : float
        Per keV of an electron.
    quenching : float
        Light of a nuclear recoil relative to an electron's.
    acceptance : (float, float, float)
        a, k, x₀ of a/(1 + exp(-k (PE - x₀))); half of it for 5 ≤ PE < 6, none below
        (COHERENT, arXiv:1804.09459).
    """

    bin_edges_pe: tuple[int, ...]
    light_yield_pe_per_kev: float
    quenching: float
    acceptance: tuple[float, float, float]

    def probabilities(self, recoil_ev: Array) -> Array:
        """Return Σ_{PE in i} acceptance(PE) Poisson(PE | T), shape (bins, recoils).

        Parameters
        ----------
        recoil_ev : ndarray, shape (recoils,)
            True recoils.
        """
        from scipy.special import gammaln

        mean = np.asarray(recoil_ev) * 1e-3 * self.light_yield_pe_per_kev * self.quenching
        photoelectrons = np.arange(self.bin_edges_pe[0], self.bin_edges_pe[-1], dtype=float)[:, None]
        with np.errstate(divide="ignore"):
            poisson = np.exp(photoelectrons * np.log(mean) - mean - gammaln(photoelectrons + 1))
        kept = poisson * acceptance(photoelectrons, self.acceptance)
        return np.asarray(np.add.reduceat(kept, np.array(self.bin_edges_pe[:-1]) - self.bin_edges_pe[0], axis=0))

    @property
    def breakpoints_ev(self) -> Array:
        """R is smooth on the scale of its own width: no recoil needs care."""
        return np.empty(0)


def acceptance(photoelectrons: Array, parameters: Sequence[float]) -> Array:
    """Return the acceptance at integer numbers of photoelectrons; see `Photoelectrons`.

    Parameters
    ----------
    photoelectrons : ndarray
        Any shape, which the result has too.
    parameters : (float, float, float)
        a, k, x₀.
    """
    a, k, middle = parameters
    from scipy.special import expit

    curve = a * expit(k * (photoelectrons - middle))
    return np.where(photoelectrons < 5, 0.0, np.where(photoelectrons < 6, curve / 2, curve))


def recoil_nodes(breakpoints_ev: Array, nodes: int, panels_per_decade: int) -> tuple[Array, Array]:
    """Return Gauss-Legendre points and weights in ln T over panels that end at every breakpoint.

    Parameters
    ----------
    breakpoints_ev : ndarray
        Increasing and positive; the first and the last are the ends of the range.
    nodes : int
        Points in each panel.
    panels_per_decade : int
        The widest panel.
    """
    logarithm = np.log(breakpoints_ev)
    count = np.maximum(np.ceil(np.diff(logarithm) / np.log(10) * panels_per_decade).astype(int), 1)
    # Panel j of its n between two breakpoints starts at the fraction j/n.
    j = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    starts = np.repeat(logarithm[:-1], count) + j * np.repeat(np.diff(logarithm) / count, count)
    edges = np.append(starts, logarithm[-1])
    points, weights = np.polynomial.legendre.leggauss(nodes)
    half = np.diff(edges)[:, None] / 2
    recoil = np.exp(edges[:-1, None] + half * (points + 1))
    return recoil.ravel(), (recoil * half * weights).ravel()
