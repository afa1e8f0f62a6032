"""Coherent elastic neutrino-nucleus scattering, in the Standard Model and with electromagnetic couplings of neutrinos.

As in `bayesnu.physics.electron`, cross sections are Σ_n c_n(T) E⁻ⁿ and polynomial in the couplings.
Energies in GeV. The Standard Model's cross section is that of Freedman, Phys. Rev. D 9 (1974) 1389, with the term in
T/E kept; the electromagnetic terms are those of arXiv:2111.14884 for electrons, with the nucleus in their place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesnu.physics import constants
from bayesnu.physics.couplings import check_values
from bayesnu.physics.electron import TERMS
from bayesnu.physics.materials import Element

Array = NDArray[np.float64]

SIN2_THETA_W_LOW = 0.23857
"""sin²θ_W at zero momentum transfer; a card may change it."""
HELM_SKIN_FM = 0.9
"""s of the Helm form factor (Lewin and Smith, Astropart. Phys. 6 (1996) 87)."""
HELM_DIFFUSENESS_FM = 0.52
"""a of the Helm form factor (Lewin and Smith)."""


def recoil_max(energy_gev: ArrayLike, target_gev: float) -> Array:
    """Return the largest recoil 2E²/(M + 2E) of a nucleus, GeV.

    Parameters
    ----------
    energy_gev : array_like
        Of the neutrino; any shape, which the result has too.
    target_gev : float
        M.
    """
    E = np.asarray(energy_gev, dtype=float)
    return np.asarray(2 * E**2 / (target_gev + 2 * E))


def helm_form_factor(recoil_gev: ArrayLike, element: Element) -> Array:
    """Return F(q) = 3 j₁(qR)/(qR) exp(-q²s²/2) with q = √(2MT), R² = c² + 7π²a²/3 - 5s², c = 1.23 A^(1/3) - 0.60 fm.

    Lewin and Smith, Astropart. Phys. 6 (1996) 87; the same for weak and electric charge.

    Parameters
    ----------
    recoil_gev : array_like
        T; any shape, which the result has too.
    element : Element
    """
    T = np.asarray(recoil_gev, dtype=float)
    q = np.sqrt(2 * element.mass_gev * T) / constants.HBARC_GEV_FM
    c = 1.23 * element.atomic_weight ** (1 / 3) - 0.60
    radius = math.sqrt(c**2 + 7 / 3 * math.pi**2 * HELM_DIFFUSENESS_FM**2 - 5 * HELM_SKIN_FM**2)
    x = q * radius
    small = x < 1e-2
    safe = np.where(small, 1.0, x)
    bessel = 3 * (np.sin(safe) / safe - np.cos(safe)) / safe**2
    series = 1 - x**2 / 10 + x**4 / 280
    return np.asarray(np.where(small, series, bessel) * np.exp(-((q * HELM_SKIN_FM) ** 2) / 2))


def weak_charge(element: Element, sin2_theta_w: float = SIN2_THETA_W_LOW) -> float:
    """Return Q_W = N - (1 - 4 sin²θ_W) Z, at tree level.

    Parameters
    ----------
    element : Element
        N is the average number of neutrons.
    sin2_theta_w : float
    """
    return element.neutrons - (1 - 4 * sin2_theta_w) * element.protons


def millicharge_shift(recoil_gev: ArrayLike, element: Element) -> Array:
    """Return δg per unit q, +√2 π α/(G_F M T); q in +e. The weak charge becomes Q_W - 2Z δg.

    Photon exchange beside that of the Z: as (4.8) of arXiv:2111.14884 for electrons, with the other sign of the charge.

    Parameters
    ----------
    recoil_gev : array_like
        T > 0; any shape, which the result has too.
    element : Element
    """
    T = np.asarray(recoil_gev, dtype=float)
    scale = constants.FERMI_CONSTANT_GEV2 * element.mass_gev
    return np.asarray(math.sqrt(2) * math.pi * constants.FINE_STRUCTURE / (scale * T))


def charge_radius_shift(sin2_theta_w: float = SIN2_THETA_W_LOW) -> float:
    """Return δg per cm² of ⟨r²⟩, -(2/3) m_W² sin²θ_W/(ħc)²: protons carry the opposite charge of electrons.

    As (4.16) of arXiv:2111.14884 for electrons.
    """
    return -2 / 3 * constants.W_MASS_GEV**2 * sin2_theta_w / constants.HBARC2_CM2_GEV2


def differential_cross_section(
    recoil_gev: ArrayLike,
    energy_gev: ArrayLike,
    element: Element,
    flavour: str = "nue",
    couplings: Mapping[str, float] | None = None,
    *,
    sin2_theta_w: float = SIN2_THETA_W_LOW,
) -> Array:
    """Return dσ/dT of ν A → ν A in cm²/GeV; zero outside 0 < T ≤ `recoil_max`.

    Parameters
    ----------
    recoil_gev, energy_gev : array_like
        T and E; broadcast against each other, and the result has their common shape.
    element : Element
    flavour : {"nue", "numu"}
    couplings : mapping, optional
        Coupling name to value (μ_B, e, cm²); those left out are 0.
    sin2_theta_w : float

    Raises
    ------
    UsageError
        For an unknown coupling, or a negative moment.

    See Also
    --------
    cross_section_terms : the same as polynomial terms, with the equations.
    """
    T, E = np.broadcast_arrays(np.asarray(recoil_gev, dtype=float), np.asarray(energy_gev, dtype=float))
    values = check_values(couplings or {})
    inside = (T > 0) & (E > 0) & (recoil_max(np.maximum(E, 0.0), element.mass_gev) >= T)
    T, E = np.where(inside, T, 1.0), np.where(inside, E, 1.0)
    terms = cross_section_terms(T, element, sin2_theta_w=sin2_theta_w)
    powers = np.stack([np.ones_like(E), 1 / E, 1 / E**2])
    total = np.zeros_like(E)
    for label, monomial in TERMS.items():
        weight = math.prod(values[f"{family}_{flavour}"] ** power for family, power in monomial)
        total = total + weight * (terms[label] * powers).sum(axis=0)
    return np.asarray(np.where(inside, total, 0.0))


def cross_section_terms(
    recoil_gev: ArrayLike, element: Element, *, sin2_theta_w: float = SIN2_THETA_W_LOW
) -> dict[str, Array]:
    """Return dσ/dT of ν A → ν A as polynomial terms in the flavour's couplings, each c_n(T), n the power of 1/E.

    G_F² M/(4π) (Q_W - 2Z δg)² [1 - T/E - MT/(2E²)] F² and π α² Z² μ²/m_e² (1/T - 1/E) F²; the
    same for ν and ν̄. Labels as in `bayesnu.physics.electron.TERMS`.

    Parameters
    ----------
    recoil_gev : array_like
        T > 0; any shape.
    element : Element
    sin2_theta_w : float

    Returns
    -------
    dict of str to ndarray
        Shape (3, *T.shape), cm² GeVⁿ⁻¹ per unit of the term's monomial (μ_B, e, cm²); no window: T ≤ `recoil_max`.
    """
    T = np.asarray(recoil_gev, dtype=float)
    one, zero, M, Z = np.ones_like(T), np.zeros_like(T), element.mass_gev, element.protons
    form2 = helm_form_factor(T, element) ** 2
    hbarc2 = constants.HBARC2_CM2_GEV2
    shape = np.stack([one, -T, -M * T / 2])
    weak = constants.FERMI_CONSTANT_GEV2**2 * M / (4 * math.pi) * hbarc2 * form2 * shape
    charge = weak_charge(element, sin2_theta_w)
    q, r2 = -2 * Z * millicharge_shift(T, element), -2 * Z * charge_radius_shift(sin2_theta_w)
    magnetic = math.pi * (constants.FINE_STRUCTURE * Z / constants.ELECTRON_MASS_GEV) ** 2 * hbarc2 * form2
    return {
        "1": weak * charge**2,
        "mu^2": magnetic * np.stack([1 / T, -one, zero]),
        "q": weak * 2 * charge * q,
        "q^2": weak * q**2,
        "r2": weak * 2 * charge * r2,
        "r2^2": weak * r2**2,
        "q*r2": weak * 2 * q * r2,
    }
