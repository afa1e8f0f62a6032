"""Photon templates of the radiative mode ν A → N A, N → ν γ for Dirac and for Majorana N.

The mode is that of Bolton et al. (arXiv:2110.02233; proceedings of TAUP 2021 and EPS-HEP 2021). Energies in MeV,
recoil thresholds in eV; `bayesnu.physics.dipole` works in GeV.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesnu.errors import UsageError, unknown_name
from bayesnu.physics.dipole import (
    Emission,
    emission,
    energy_min,
    primakoff_cross_section,
    recoil_window,
    threshold_energy,
)
from bayesnu.physics.materials import ELEMENTS, Element
from bayesnu.physics.nucleus import helm_form_factor
from bayesnu.physics.sterile_decay import check_photon, photon_distribution

Array = NDArray[np.float64]

ENERGY_BINS = 22
"""Default bins of the photon energy, from 0 to `ENERGY_MARGIN` × the highest neutrino energy."""
ENERGY_MARGIN = 1.2
"""No photon is harder than the neutrino; the rest is for the resolution."""
COSINE_BINS = 10
"""Default bins of the angle between photon and beam, from -1 to 1."""
ENERGY_RESOLUTION = 0.10
"""Relative resolution σ/E_γ: an assumption."""
ENERGY_NODES = 48
RECOIL_NODES = 48
TRUE_BINS = 240
"""Bins of the true photon energy, from 0 to the highest neutrino energy."""
NODES_PER_TRUE_BIN = 2
"""With these numbers bins of more than 1% are precise to 1e-3 for m_N ≥ 0.5 MeV; to 1% at 0.1 MeV, where
the photon follows N and a node in T is a step in the angle."""


class DecayMode(NamedTuple):
    """One daughter of N → daughter + γ.

    Attributes
    ----------
    weight : float
        Its share of the decays; only ratios matter.
    energy_fraction : float
        1 - m'²/m_N² for a daughter of mass m'.
    chirality : float
        (|c_R|² - |c_L|²)/(|c_R|² + |c_L|²) of its dipole, for Dirac N; 1 for an active neutrino.
    """

    weight: float
    energy_fraction: float = 1.0
    chirality: float = 1.0


TO_ACTIVE = DecayMode(1.0)


@dataclass(frozen=True)
class PhotonTemplates:
    """Shapes of the photon's reconstructed energy and angle to the beam.

    Attributes
    ----------
    mass_mev : float
    energy_edges_mev : ndarray, shape (n + 1,)
    cosine_edges : ndarray, shape (k + 1,)
    dirac, majorana : ndarray, shape (n, k)
        Probability of each bin for a photon inside the bins; each adds up to 1.
    """

    mass_mev: float
    energy_edges_mev: Array
    cosine_edges: Array
    dirac: Array
    majorana: Array

    def count(self, energy_mev: ArrayLike, cosine: ArrayLike) -> Array:
        """Return the number of photons in each bin, shape (n, k); those outside the bins are left out.

        Raises
        ------
        UsageError
            If there is not one finite energy and one cosine in [-1, 1] for each photon.
        """
        energy, c = np.asarray(energy_mev, dtype=float), np.asarray(cosine, dtype=float)
        if energy.ndim != 1 or energy.shape != c.shape:
            raise UsageError(f"energy_mev has shape {energy.shape}, cosine {c.shape}: need one of each for each photon")
        if not (np.isfinite(energy).all() and (np.abs(c) <= 1).all()):
            raise UsageError("energy_mev and cosine: must be finite, the cosine between -1 and 1")
        return np.asarray(np.histogram2d(energy, c, bins=(self.energy_edges_mev, self.cosine_edges))[0])


def default_edges(energy_max_mev: float) -> tuple[Array, Array]:
    """Return the default edges of photon energy (MeV) and cosine for the highest neutrino energy."""
    return np.linspace(0.0, ENERGY_MARGIN * energy_max_mev, ENERGY_BINS + 1), np.linspace(-1.0, 1.0, COSINE_BINS + 1)


def energy_start(element: Element, mass_gev: float, threshold_gev: float) -> float:
    """Return the least neutrino energy (GeV) that gives a recoil above the threshold.

    At the production threshold N and the nucleus move together: T = m²/(2(M + m)).
    """
    M = element.mass_gev
    if threshold_gev <= mass_gev**2 / (2 * (M + mass_gev)):
        return threshold_energy(mass_gev, M)
    return float(energy_min(threshold_gev, mass_gev, M))


def weighted_emissions(
    element: Element,
    flux: Callable[[Array], Array],
    energy_max_mev: float,
    threshold_ev: float,
    mass_mev: float,
    *,
    path_width: float = 0.0,
    energy_nodes: int = ENERGY_NODES,
    recoil_nodes: int = RECOIL_NODES,
) -> tuple[Array, Emission]:
    """Return N from upscattering on one element, weighted as its decays within a path are.

    The weights integrate Φ(E) Z² F² dσ/dT (1 - e⁻ˣ)/a over E and over T above the threshold, where x = a m/p = l/λ is
    the path over the decay length and a = l Γ/ħc; for a long-lived N, m/p.

    Parameters
    ----------
    element : Element
    flux : callable
        Neutrinos per MeV at energies in MeV, in any unit.
    energy_max_mev : float
        Highest neutrino energy.
    threshold_ev : float
        Least recoil, in eV.
    mass_mev : float
    path_width : float
        a = l Γ/ħc; 0 for N that live long.
    energy_nodes, recoil_nodes : int
        Gauss-Legendre nodes in √(E - E_start) and in ln T.

    Returns
    -------
    weights : ndarray, shape (energy_nodes, recoil_nodes)
        Not normalised; without rows if nothing is above the threshold.
    emitted : Emission
        Of the same shape.
    """
    m, M, threshold = 1e-3 * mass_mev, element.mass_gev, 1e-9 * threshold_ev
    start, stop = energy_start(element, m, threshold), 1e-3 * energy_max_mev
    if start >= stop:
        none = np.zeros((0, recoil_nodes))
        return none, Emission(none, none, none, none, none)
    x, weight = np.polynomial.legendre.leggauss(energy_nodes)
    y, recoil_weight = np.polynomial.legendre.leggauss(recoil_nodes)
    # The window opens as √(E - E_start), which this variable makes smooth.
    root = (x + 1) / 2
    E = (start + (stop - start) * root**2)[:, None]
    low, high = recoil_window(E, m, M)
    low, high = np.log(np.maximum(low, threshold)), np.log(high)
    T = np.exp(low + (high - low) * (y + 1) / 2)
    emitted = emission(T, E, m, M)
    cross_section = primakoff_cross_section(T, E, m, M) * (element.protons * helm_form_factor(T, element)) ** 2
    area = (weight * root)[:, None] * (stop - start) * T * (high - low) / 2 * recoil_weight
    decays = m / emitted.momentum_gev
    if path_width > 0:
        decays = -np.expm1(-path_width * decays) / path_width
    return flux(1e3 * E) * cross_section * area * decays, emitted


def smearing_matrix(true_edges: ArrayLike, edges: ArrayLike, resolution: float) -> Array:
    """Return the probability that a photon of a true bin is reconstructed in each bin, shape (bins, true bins).

    A Gaussian of σ = resolution × the true bin's centre, averaged over the true bin: ∫ Φ(d/σ) dd = d Φ(d/σ) + σ φ(d/σ).
    """
    from scipy.special import ndtr

    true = np.asarray(true_edges, dtype=float)
    sigma = resolution * (true[1:] + true[:-1]) / 2

    def integral(distance: Array) -> Array:
        z = distance / sigma
        value: Array = distance * ndtr(z) + sigma * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        return value

    edge = np.asarray(edges, dtype=float)[:, None]
    below = (integral(edge - true[:-1]) - integral(edge - true[1:])) / np.diff(true)
    return np.asarray(np.diff(below, axis=0))


def photon_templates(
    nuclei: Mapping[str, float],
    flux: Callable[[Array], Array],
    energy_max_mev: float,
    threshold_ev: float,
    mass_mev: float,
    *,
    energy_edges_mev: ArrayLike | None = None,
    cosine_edges: ArrayLike | None = None,
    energy_resolution: float = ENERGY_RESOLUTION,
    modes: Sequence[DecayMode] = (TO_ACTIVE,),
    path_width: float = 0.0,
    energy_nodes: int = ENERGY_NODES,
    recoil_nodes: int = RECOIL_NODES,
    true_bins: int = TRUE_BINS,
) -> PhotonTemplates:
    """Return the photon's shapes for Dirac and Majorana N, in reconstructed energy and angle to the beam.

    f = Σ_A N_A ∫dE Φ ∫_{T > threshold} dT Z² F² dσ/dT (m/p) Σ_modes w d²N/dE_γ dcos θ_γ, normalised, with the photon
    law [1 - s P·n̂]/(4π) of N's rest frame (`photon_distribution`): s = the mode's chirality for Dirac, 0 for Majorana.
    An antineutrino beam gives the same shapes, since P and s both flip.

    Parameters
    ----------
    nuclei : mapping of str to float
        Number of nuclei of each element; only the ratios matter.
    flux : callable
        Neutrinos per MeV at energies in MeV, in any unit.
    energy_max_mev : float
        Highest neutrino energy.
    threshold_ev : float
        Least nuclear recoil, in eV.
    mass_mev : float
        m_N.
    energy_edges_mev : array_like, shape (n + 1,), optional
    cosine_edges : array_like, shape (k + 1,), optional
        Both as in `default_edges` if not given.
    energy_resolution : float
        σ/E_γ of the reconstructed energy.
    modes : sequence of DecayMode
        How N decays; to an active neutrino by default.
    path_width : float
        l Γ/ħc of a Dirac N, see `weighted_emissions`; twice that for a Majorana N. 0 for N that live long.
    energy_nodes, recoil_nodes, true_bins : int
        Nodes in E and T, and bins of the true photon energy.

    Returns
    -------
    PhotonTemplates

    Raises
    ------
    UsageError
        For a value out of range, an unknown element, a mass at or above the highest neutrino energy, or no photon
        inside the bins from a recoil above the threshold.
    """
    default_energies, default_cosines = default_edges(energy_max_mev)
    energies = default_energies if energy_edges_mev is None else np.asarray(energy_edges_mev, dtype=float)
    cosines = default_cosines if cosine_edges is None else np.asarray(cosine_edges, dtype=float)
    for name, value in (
        ("energy_max_mev", energy_max_mev),
        ("mass_mev", mass_mev),
        ("energy_resolution", energy_resolution),
        *((f"nuclei of {symbol}", number) for symbol, number in nuclei.items()),
    ):
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"{name} = {value}: must be greater than 0")
    if not (math.isfinite(threshold_ev) and threshold_ev >= 0):
        raise UsageError(f"threshold_ev = {threshold_ev}: must be at least 0")
    for mode in modes:
        check_photon(mode.chirality, mode.energy_fraction)
    if not sum(mode.weight for mode in modes) > 0 or any(mode.weight < 0 for mode in modes):
        raise UsageError(f"modes = {list(modes)}: weights must be at least 0, and one above it")
    if not (math.isfinite(path_width) and path_width >= 0):
        raise UsageError(f"path_width = {path_width}: must be at least 0")
    for name, edges, least, most in (
        ("energy_edges_mev", energies, 0.0, math.inf),
        ("cosine_edges", cosines, -1.0, 1.0),
    ):
        increasing = edges.ndim == 1 and edges.size >= 2 and (np.diff(edges) > 0).all()
        if not (increasing and edges[0] >= least and edges[-1] <= most):
            raise UsageError(f"{name} = {edges.tolist()}: must be two or more, increasing, from {least:g} to {most:g}")
    for symbol in nuclei:
        if symbol not in ELEMENTS:
            raise unknown_name("element", symbol, ELEMENTS)
    if mass_mev >= energy_max_mev:
        raise UsageError(f"mass_mev = {mass_mev}: must be below the highest neutrino energy, {energy_max_mev:g} MeV")

    # The bins grow with the energy, as the resolution does.
    true_edges = energy_max_mev * np.linspace(0.0, 1.0, true_bins + 1) ** 2
    smearing = smearing_matrix(true_edges, energies, energy_resolution)
    true = np.zeros((2, true_bins, cosines.size - 1))
    used = [mode for mode in modes if mode.weight > 0]
    for symbol, number in nuclei.items():
        dirac_n, majorana_n = (
            weighted_emissions(
                ELEMENTS[symbol],
                flux,
                energy_max_mev,
                threshold_ev,
                mass_mev,
                path_width=path,
                energy_nodes=energy_nodes,
                recoil_nodes=recoil_nodes,
            )
            for path in (path_width, 2 * path_width)
        )
        emitted = dirac_n[1]
        weights = np.stack([dirac_n[0], majorana_n[0]], axis=1)
        # One neutrino energy at a time, and only the true bins between κ(E_N - p)/2 and κ(E_N + p)/2, to keep the
        # arrays small. An asymmetry s acts as a polarisation s P: both hypotheses share the geometry of one call.
        for (k, weight), mode in product(enumerate(weights), used):
            row = Emission(*(part[k] for part in emitted))
            both = row._replace(
                longitudinal=np.multiply.outer([mode.chirality, 0.0], row.longitudinal),
                transverse=np.multiply.outer([mode.chirality, 0.0], row.transverse),
            )
            low = 1e3 * mode.energy_fraction * float((row.energy_gev - row.momentum_gev).min()) / 2
            high = 1e3 * mode.energy_fraction * float((row.energy_gev + row.momentum_gev).max()) / 2
            first = int(np.searchsorted(true_edges, low, side="right")) - 1
            last = int(np.searchsorted(true_edges, high))
            shape = photon_distribution(
                1e-3 * true_edges[first : last + 1], cosines, both, 1.0, NODES_PER_TRUE_BIN, mode.energy_fraction
            )
            true[:, first:last] += mode.weight * number * np.einsum("ht,htec->hec", weight, shape)
    # Rounding may leave -1e-17 far from every photon.
    dirac, majorana = np.maximum(smearing @ true, 0.0)
    if not (dirac.sum() > 0 and majorana.sum() > 0):
        raise UsageError(f"threshold_ev = {threshold_ev}, mass_mev = {mass_mev}: no photon inside the bins")
    return PhotonTemplates(mass_mev, energies, cosines, dirac / dirac.sum(), majorana / majorana.sum())
