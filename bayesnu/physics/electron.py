"""Neutrino-electron scattering as polynomials in the couplings (arXiv:2111.14884, sections 2 and 4).

Every cross section here is Σ_n c_n(T) E⁻ⁿ with n = 0, 1, 2, so that the integral
over a neutrino energy bin of constant flux is analytic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesnu.errors import unknown_name
from bayesnu.physics import constants
from bayesnu.physics.couplings import CHANNELS, Channel, check_values
from bayesnu.physics.kinematics import recoil_max

MillichargeForm = Literal["derived", "as-printed"]
Array = NDArray[np.float64]

TERMS: Mapping[str, tuple[tuple[str, int], ...]] = {
    "1": (),
    "mu^2": (("mu", 2),),
    "q": (("q", 1),),
    "q^2": (("q", 2),),
    "r2": (("r2", 1),),
    "r2^2": (("r2", 2),),
    "q*r2": (("q", 1), ("r2", 1)),
}
"""The monomials of one flavour's couplings that a channel's cross section contains, label to (family, power)."""
FOLDED: Mapping[str, tuple[tuple[str, int], ...]] = {**TERMS, "d^2": (("d", 2),)}
"""Every term that is folded: `TERMS`, and the upscattering to N of `bayesnu.physics.dipole`."""


def vector_axial(channel: Channel, sin2_theta_w: float) -> tuple[float, float]:
    """Return (g_V, g_A) of (2.2): -1/2 + 2 sin²θ_W + δ and -1/2 + δ, with δ = 1 for ν_e and ν̄_e."""
    charged_current = 1.0 if channel.flavour == "nue" else 0.0
    return -0.5 + 2 * sin2_theta_w + charged_current, -0.5 + charged_current


def millicharge_shift(recoil_gev: ArrayLike) -> Array:
    """Return δg_V per unit q, -√2 π α/(G_F m T); q in units of the positive elementary charge.

    The sign follows from the amplitudes: contact -√2 G_F g_V, photon exchange
    e² Q_e q/k² with k² = -2mT and Q_e = -1.
    """
    m, G = constants.ELECTRON_MASS_GEV, constants.FERMI_CONSTANT_GEV2
    return np.asarray(
        -math.sqrt(2) * math.pi * constants.FINE_STRUCTURE / (G * m * np.asarray(recoil_gev, dtype=float))
    )


def charge_radius_shift(sin2_theta_w: float) -> float:
    """Return δg_V per cm² of ⟨r²⟩: (2/3) m_W² sin²θ_W/(ħc)², (4.16)."""
    return 2 / 3 * constants.W_MASS_GEV**2 * sin2_theta_w / constants.HBARC2_CM2_GEV2


def shifted_coefficients(recoil_gev: ArrayLike, channel: Channel, sin2_theta_w: float) -> tuple[Array, Array, Array]:
    """Return the coefficients of 1, δg_V and δg_V² in (2.1), each as c_n(T), n the power of 1/E.

    dσ/dT = m G_F²/(2π) [(g_V + s g_A)² + (g_V - s g_A)² (1 - T/E)² - (g_V² - g_A²) m T/E²]

    Returns
    -------
    three ndarrays
        Shape (3, *T.shape), cm² GeVⁿ⁻¹.
    """
    T = np.asarray(recoil_gev, dtype=float)
    m = constants.ELECTRON_MASS_GEV
    g_v, g_a = vector_axial(channel, sin2_theta_w)
    s = channel.sign
    one, zero = np.ones_like(T), np.zeros_like(T)
    inelasticity = np.stack([one, -2 * T, T**2])  # (1 - T/E)² in powers of 1/E
    constant = np.stack([one, zero, zero])
    mass_term = np.stack([zero, zero, m * T])
    norm = m * constants.FERMI_CONSTANT_GEV2**2 / (2 * math.pi) * constants.HBARC2_CM2_GEV2
    plus, minus = g_v + s * g_a, g_v - s * g_a
    zeroth = norm * (plus**2 * constant + minus**2 * inelasticity - (g_v**2 - g_a**2) * mass_term)
    first = norm * (2 * plus * constant + 2 * minus * inelasticity - 2 * g_v * mass_term)
    second = norm * (constant + inelasticity - mass_term)
    return zeroth, first, second


def magnetic_coefficients(recoil_gev: ArrayLike) -> Array:
    """Return c_n(T) per μ² (μ in μ_B) of π α²/m² [1/T - 1/E], (4.3) of the JHEP version; shape (3, *T.shape)."""
    T = np.asarray(recoil_gev, dtype=float)
    norm = math.pi * constants.FINE_STRUCTURE**2 / constants.ELECTRON_MASS_GEV**2 * constants.HBARC2_CM2_GEV2
    return np.stack([norm / T, np.full_like(T, -norm), np.zeros_like(T)])


def printed_millicharge_coefficients(
    recoil_gev: ArrayLike, channel: Channel, sin2_theta_w: float
) -> tuple[Array, Array]:
    """Return c_n(T) per q and per q² exactly as (4.8) and (4.9) are printed in arXiv:2111.14884.

    √2 α G_F q/(E² T) {g_V [2E² + T² - T(2E + T)] ± g_A T(2E - T)} and
    π α q² (2E² + T² - 2ET)/(m T² E²). Its sign of q, its power of α and the
    misprint 2E + T (for 2E + m) differ from the derivation; see `millicharge_shift`.
    """
    T = np.asarray(recoil_gev, dtype=float)
    g_v, g_a = vector_axial(channel, sin2_theta_w)
    one, zero = np.ones_like(T), np.zeros_like(T)
    hbarc2 = constants.HBARC2_CM2_GEV2
    linear = math.sqrt(2) * constants.FINE_STRUCTURE * constants.FERMI_CONSTANT_GEV2 * hbarc2 / T
    interference = linear * (
        g_v * np.stack([2 * one, -2 * T, zero]) + channel.sign * g_a * np.stack([zero, 2 * T, -(T**2)])
    )
    square = math.pi * constants.FINE_STRUCTURE * hbarc2 / (constants.ELECTRON_MASS_GEV * T**2)
    return interference, square * np.stack([2 * one, -2 * T, T**2])


def cross_section_terms(
    recoil_gev: ArrayLike,
    channel: str,
    *,
    sin2_theta_w: float = constants.SIN2_THETA_W,
    millicharge: MillichargeForm = "derived",
) -> dict[str, Array]:
    """Return dσ/dT of a channel as polynomial terms in its flavour's couplings.

    dσ/dT = Σ_term (monomial of the couplings) Σ_n c_n(T) E⁻ⁿ

    with the Standard Model of (2.1), the magnetic moment of (4.3), and the
    millicharge and the charge radius as shifts of g_V that add before squaring.

    Parameters
    ----------
    recoil_gev : array_like
        Electron kinetic energy T, positive.
    channel : str
        ``"numu"``, ``"numubar"``, ``"nue"`` or ``"nuebar"``.
    sin2_theta_w : float
        Weak mixing angle.
    millicharge : {"derived", "as-printed"}
        The derivation, or (4.8) and (4.9) as printed (then without the product q·r²).

    Returns
    -------
    dict
        Term label of `TERMS` to c_n(T), shape (3, *T.shape), cm² GeVⁿ⁻¹ per unit
        of the monomial (μ in μ_B, q in +e, r² in cm²). Zero outside the
        kinematic window is the caller's part (`recoil_max`).

    Raises
    ------
    UsageError
        For an unknown channel.
    """
    if channel not in CHANNELS:
        raise unknown_name("channel", channel, CHANNELS)
    T = np.asarray(recoil_gev, dtype=float)
    species = CHANNELS[channel]
    zeroth, first, second = shifted_coefficients(T, species, sin2_theta_w)
    radius = charge_radius_shift(sin2_theta_w)
    terms = {"1": zeroth, "mu^2": magnetic_coefficients(T), "r2": radius * first, "r2^2": radius**2 * second}
    if millicharge == "as-printed":
        terms["q"], terms["q^2"] = printed_millicharge_coefficients(T, species, sin2_theta_w)
        terms["q*r2"] = np.zeros_like(second)
    else:
        charge = millicharge_shift(T)
        terms |= {"q": charge * first, "q^2": charge**2 * second, "q*r2": 2 * charge * radius * second}
    return {label: terms[label] for label in TERMS}


def differential_cross_section(
    recoil_gev: ArrayLike,
    neutrino_energy_gev: ArrayLike,
    channel: str,
    couplings: Mapping[str, float] | None = None,
    *,
    sin2_theta_w: float = constants.SIN2_THETA_W,
    millicharge: MillichargeForm = "derived",
) -> Array:
    """Return dσ/dT in cm²/GeV; zero above T_max; arguments broadcast.

    Parameters
    ----------
    recoil_gev, neutrino_energy_gev : array_like
        T and E.
    channel : str
        Beam channel.
    couplings : mapping, optional
        Coupling name to value (μ_B, e, cm²); those left out are 0.

    See Also
    --------
    cross_section_terms : the same as polynomial terms, with the equations.
    """
    T, E = np.broadcast_arrays(np.asarray(recoil_gev, dtype=float), np.asarray(neutrino_energy_gev, dtype=float))
    terms = cross_section_terms(T, channel, sin2_theta_w=sin2_theta_w, millicharge=millicharge)
    values = check_values(couplings or {})
    flavour = CHANNELS[channel].flavour
    powers = np.stack([np.ones_like(E), 1 / E, 1 / E**2])
    total = np.zeros_like(E)
    for label, monomial in TERMS.items():
        weight = math.prod(values[f"{family}_{flavour}"] ** power for family, power in monomial)
        total = total + weight * (terms[label] * powers).sum(axis=0)
    return np.asarray(np.where(recoil_max(E) >= T, total, 0.0))


def standard_model_charge_radius(lepton: str) -> float:
    """Return ⟨r²⟩_SM in cm², G_F/(4√2 π²) [3 - 2 ln(m_ℓ²/m_W²)], (4.12), for ℓ = ``"e"``, ``"mu"`` or ``"tau"``.

    4.1, 2.4 and 1.5 × 10⁻³³ cm².
    """
    mass = constants.CHARGED_LEPTON_MASS_GEV[lepton]
    bracket = 3 - 2 * math.log(mass**2 / constants.W_MASS_GEV**2)
    return constants.FERMI_CONSTANT_GEV2 / (4 * math.sqrt(2) * math.pi**2) * bracket * constants.HBARC2_CM2_GEV2
