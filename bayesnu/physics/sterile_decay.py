"""The decay N → ν γ of a sterile neutrino with a transition magnetic moment: width, length, and its photons.

From eq. (1), and with the conventions, of `bayesnu.physics.dipole`. All energies and masses in GeV, moments in μ_B.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesnu.errors import UsageError
from bayesnu.physics import constants
from bayesnu.physics.dipole import Convention, Emission, natural_moment

Array = NDArray[np.float64]


def decay_width(
    mass_gev: float,
    moments_mu_b: ArrayLike,
    *,
    majorana: bool,
    daughter_gev: float = 0.0,
    convention: Convention = "d",
) -> float:
    """Return Γ in GeV of N → (light fermions) + photon, summed over the given moments.

    Γ = Σ d² m³ (1 - m'²/m²)³/(4π); twice that for Majorana N, which also decays to the antiparticles. From eq. (1).

    Parameters
    ----------
    mass_gev : float
    moments_mu_b : array_like
        One per daughter: active flavours, or N′.
    majorana : bool
    daughter_gev : float
        Mass m' of the daughter; 0 for an active neutrino.
    convention : {"d", "mu"}

    Returns
    -------
    float
        0 if the daughter is not lighter than N.

    Raises
    ------
    UsageError
        For a negative mass, or an unknown convention.
    """
    if not (mass_gev >= 0 and daughter_gev >= 0):
        raise UsageError(f"mass_gev = {mass_gev}, daughter_gev = {daughter_gev}: must be at least 0")
    if daughter_gev >= mass_gev:
        return 0.0
    d2 = float((natural_moment(moments_mu_b, convention) ** 2).sum())
    phase_space = (1 - (daughter_gev / mass_gev) ** 2) ** 3
    return (2 if majorana else 1) * d2 * mass_gev**3 * phase_space / (4 * math.pi)


def decay_length(momentum_gev: ArrayLike, mass_gev: float, width_gev: float) -> Array:
    """Return the mean decay length (p/m) ħc/Γ in m; infinite for Γ = 0.

    Parameters
    ----------
    momentum_gev : array_like
        Any shape, which the result has too.
    mass_gev, width_gev : float

    Raises
    ------
    UsageError
        For a mass that is not positive, or a negative width.
    """
    if not (mass_gev > 0 and width_gev >= 0):
        raise UsageError(f"mass_gev = {mass_gev}, width_gev = {width_gev}: needs a mass above 0, a width of 0 or more")
    p = np.asarray(momentum_gev, dtype=float)
    if width_gev == 0:
        return np.full_like(p, np.inf)
    return np.asarray(p / mass_gev * constants.HBARC_GEV_M / width_gev)


def decay_probability(path_m: float, momentum_gev: ArrayLike, mass_gev: float, width_gev: float) -> Array:
    """Return the probability 1 - exp(-l/λ) of decay within a path l; λ of `decay_length`.

    Parameters
    ----------
    path_m : float
        l in m.
    momentum_gev : array_like
        Any shape, which the result has too.
    mass_gev, width_gev : float

    Raises
    ------
    UsageError
        If the path is not positive.
    """
    if not path_m > 0:
        raise UsageError(f"path_m = {path_m}: must be greater than 0")
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(-path_m / decay_length(momentum_gev, mass_gev, width_gev)))


def check_photon(asymmetry: float, energy_fraction: float) -> None:
    """Raise `UsageError` unless -1 ≤ s ≤ 1 and 0 < κ ≤ 1."""
    if not -1 <= asymmetry <= 1:
        raise UsageError(f"asymmetry = {asymmetry}: must be between -1 and 1")
    if not 0 < energy_fraction <= 1:
        raise UsageError(f"energy_fraction = {energy_fraction}: must be above 0 and at most 1")


def photon_energy_fractions(
    edges_gev: ArrayLike, emitted: Emission, asymmetry: float, energy_fraction: float = 1.0
) -> Array:
    """Return the probability of each photon energy bin; exact, shape (*emission shape, bins).

    dN/dE_γ = (1/κp)(1 - s P_∥ c) with c = (2E_γ/κ - E_N)/p in [-1, 1]; each bin is the
    difference of c/2 - s P_∥ c²/4 at its clipped edges. From N → ν γ at rest,
    dN/dcos = (1 - s P_∥ cos)/2, boosted along N.

    Parameters
    ----------
    edges_gev : array_like, shape (bins + 1,)
    emitted : Emission
    asymmetry : float
        s: 1 for Dirac N → ν γ, 0 for Majorana; (|c_R|² - |c_L|²)/(|c_R|² + |c_L|²) for a daughter N′.
    energy_fraction : float
        κ = 1 - m'²/m² for a daughter of mass m': the photon has κm/2 in N's rest frame.

    Raises
    ------
    UsageError
        For an asymmetry or a fraction out of range.
    """
    check_photon(asymmetry, energy_fraction)
    edges = np.asarray(edges_gev, dtype=float) / energy_fraction
    energy, p = emitted.energy_gev[..., None], emitted.momentum_gev[..., None]
    c = np.clip((2 * edges - energy) / p, -1.0, 1.0)
    return np.diff(c / 2 - asymmetry * emitted.longitudinal[..., None] * c**2 / 4, axis=-1)


def photon_distribution(
    energy_edges_gev: ArrayLike,
    cosine_edges: ArrayLike,
    emitted: Emission,
    asymmetry: float,
    nodes: int = 8,
    energy_fraction: float = 1.0,
) -> Array:
    """Return the probability of each bin of photon energy and angle to the beam, shape (*emission, energies, cosines).

    In N's rest frame dN/dΩ = [1 - s (P_∥ c + P_⊥ √(1 - c²) cos φ)]/(4π); boosted, cos θ_γ =
    cos θ_N cos θ_L + sin θ_N sin θ_L cos φ with cos θ_L = (β + c)/(1 + β c). Bins of cos θ_γ are
    exact (an arccos); the part of each energy bin inside the box is integrated by Gauss-Legendre in c.

    Parameters
    ----------
    energy_edges_gev : array_like, shape (energies + 1,)
    cosine_edges : array_like, shape (cosines + 1,)
    emitted : Emission
    asymmetry : float
        As in `photon_energy_fractions`.
    nodes : int
        Gauss-Legendre nodes in each energy bin.
    energy_fraction : float
        As in `photon_energy_fractions`.

    Returns
    -------
    ndarray
        Sums to 1 over a range that holds all photons.

    Raises
    ------
    UsageError
        For an asymmetry or a fraction out of range.
    """
    check_photon(asymmetry, energy_fraction)
    edges, cosines = np.asarray(energy_edges_gev, dtype=float) / energy_fraction, np.asarray(cosine_edges, dtype=float)
    energy, p = emitted.energy_gev[..., None], emitted.momentum_gev[..., None]
    x, weight = np.polynomial.legendre.leggauss(nodes)
    limits = np.clip((2 * edges - energy) / p, -1.0, 1.0)
    half = np.diff(limits, axis=-1)[..., None] / 2
    c = limits[..., :-1, None] + half * (x + 1)  # (…, energies, nodes)
    beta = (p / energy)[..., None]
    rest_sine = np.sqrt(np.maximum(1 - c**2, 0.0))
    lab = (beta + c) / (1 + beta * c)
    beam = emitted.cosine[..., None, None]
    across = np.sqrt(np.maximum(1 - beam**2, 0.0)) * np.sqrt(np.maximum(1 - lab**2, 0.0))
    centre = beam * lab
    with np.errstate(divide="ignore", invalid="ignore"):
        u = (cosines - centre[..., None]) / across[..., None]
    # Where the cone has no width, all of it lies at its centre.
    u = np.where(across[..., None] > 0, u, np.where(cosines >= centre[..., None], 1.0, -1.0))
    phi = np.arccos(np.clip(u, -1.0, 1.0))
    even = 1 - asymmetry * emitted.longitudinal[..., None, None] * c
    odd = asymmetry * emitted.transverse[..., None, None] * rest_sine
    cumulative = (even[..., None] * (math.pi - phi) + odd[..., None] * np.sin(phi)) / math.pi
    density = np.diff(cumulative, axis=-1)  # (…, energies, nodes, cosines)
    return np.asarray((density * (half * weight / 2)[..., None]).sum(axis=-2))
