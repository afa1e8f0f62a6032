"""A sterile neutrino N coupled by a transition magnetic moment: Primakoff upscattering and polarisation.

The Lagrangian is d ν̄ σ_ab P_R N F^ab + h.c., eq. (1) of the proceedings of Bolton et al. (TAUP 2021, EPS-HEP 2021);
the conventional moment, (μ/2) ν̄ σ N F, is μ = 2 d. All energies and masses in GeV, moments in μ_B.

The proceedings number eq. (1) alone; what follows from it here was derived for this package. Tests compare it with
Dirac traces (cross section, polarisation) and four-momenta (kinematics). Its decay: `sterile_decay`.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesnu.errors import UsageError
from bayesnu.physics import constants

Array = NDArray[np.float64]
Convention = Literal["d", "mu"]

BOHR_MAGNETON_GEV1 = math.sqrt(4 * math.pi * constants.FINE_STRUCTURE) / (2 * constants.ELECTRON_MASS_GEV)
"""μ_B = e/(2 m_e) with e = √(4πα): 296.304 GeV⁻¹."""


def natural_moment(moment_mu_b: ArrayLike, convention: Convention = "d") -> Array:
    """Return d in GeV⁻¹ from a moment in μ_B, given as d of eq. (1) or as the conventional μ = 2 d.

    Parameters
    ----------
    moment_mu_b : array_like
        In μ_B; any shape, which the result has too.
    convention : {"d", "mu"}
        What ``moment_mu_b`` is.

    Raises
    ------
    UsageError
        For another convention.
    """
    if convention not in ("d", "mu"):
        raise UsageError(f"convention = {convention}: allowed are d, mu")
    factor = 1.0 if convention == "d" else 0.5
    return np.asarray(factor * BOHR_MAGNETON_GEV1 * np.asarray(moment_mu_b, dtype=float))


def check_masses(mass_gev: float, target_gev: float) -> None:
    """Raise `UsageError` unless m ≥ 0 and M > 0, both finite."""
    for name, value, fine in (("mass_gev", mass_gev, mass_gev >= 0), ("target_gev", target_gev, target_gev > 0)):
        if not (fine and math.isfinite(value)):
            raise UsageError(f"{name} = {value}: must be {'at least' if name == 'mass_gev' else 'above'} 0 and finite")


def threshold_energy(mass_gev: float, target_gev: float) -> float:
    """Return the least neutrino energy (GeV) that produces N of mass m on a target M at rest: m + m²/(2M).

    Parameters
    ----------
    mass_gev, target_gev : float
        Mass of N and of the target. From (m + M)² = M² + 2ME.

    Raises
    ------
    UsageError
        For a negative mass of N, or a target without mass.
    """
    check_masses(mass_gev, target_gev)
    return mass_gev + mass_gev**2 / (2 * target_gev)


def recoil_window(energy_gev: ArrayLike, mass_gev: float, target_gev: float) -> tuple[Array, Array]:
    """Return the least and the largest recoil T of the target; NaN below the threshold.

    T_± = {2ME² - (M + E)m² ± E √(4M²E² - 4M(M + E)m² + m⁴)}/(2M(M + 2E)); the least
    one from T_- T_+ = m⁴/(4M(M + 2E)), which keeps its digits. From two-body kinematics in the target's rest frame.

    Parameters
    ----------
    energy_gev : array_like
        Of the neutrino; any shape.
    mass_gev, target_gev : float

    Returns
    -------
    (ndarray, ndarray)
        GeV, each of the shape of ``energy_gev``.

    Raises
    ------
    UsageError
        For a negative mass of N, or a target without mass.
    """
    check_masses(mass_gev, target_gev)
    E, m2, M = np.asarray(energy_gev, dtype=float), mass_gev**2, target_gev
    above = threshold_energy(mass_gev, M) <= E
    root = np.sqrt(np.where(above, np.maximum(4 * M**2 * E**2 - 4 * M * (M + E) * m2 + m2**2, 0.0), np.nan))
    high = (2 * M * E**2 - (M + E) * m2 + E * root) / (2 * M * (M + 2 * E))
    low = np.zeros_like(high) if m2 == 0 else m2**2 / (4 * M * (M + 2 * E) * high)
    return np.where(above, low, np.nan), high


def energy_min(recoil_gev: ArrayLike, mass_gev: float, target_gev: float) -> Array:
    """Return the least neutrino energy (GeV) that gives recoil T: [T + √(T² + 2MT)] [1 + m²/(2MT)]/2.

    Parameters
    ----------
    recoil_gev : array_like
        T ≥ 0; any shape, which the result has too. At T = 0 infinite, or 0 for m = 0.
    mass_gev, target_gev : float

    Raises
    ------
    UsageError
        For a negative mass of N, or a target without mass.
    """
    check_masses(mass_gev, target_gev)
    T, M = np.asarray(recoil_gev, dtype=float), target_gev
    safe = np.where(T > 0, T, 1.0)
    least = (safe + np.sqrt(safe**2 + 2 * M * safe)) / 2 * (1 + mass_gev**2 / (2 * M * safe))
    return np.asarray(np.where(T > 0, least, np.inf if mass_gev > 0 else 0.0))


def mass_reach(energy_gev: float, target_gev: float) -> float:
    """Return the largest mass of N (GeV) that a neutrino of energy E produces: √(M² + 2ME) - M.

    Parameters
    ----------
    energy_gev, target_gev : float
    """
    E, M = energy_gev, target_gev
    return 2 * M * E / (math.sqrt(M**2 + 2 * M * E) + M)


def recoil_angle(recoil_gev: ArrayLike, energy_gev: ArrayLike, mass_gev: float, target_gev: float) -> Array:
    """Return the angle θ in rad of the recoiling target to the beam; NaN outside the recoil window.

    With P_N² = (k + P - P')² = m²: cos θ = [m² + 2T(E + M)]/(2Ep), p = √(T² + 2MT). Since E_min of
    `energy_min` is where cos θ = 1, and p - T = (2MT + m²)/(2E_min), this is

        1 - cos θ = (2MT + m²) (1/E_min - 1/E)/(2p),

    which keeps its digits. At fixed T the angle rises with E, for every m, from 0 at E_min to arccos(T/p).
    The exact angle: (2.3) of arXiv:2111.14884, its m = 0, has E_e for p and M for p - T.

    Parameters
    ----------
    recoil_gev, energy_gev : array_like
        Broadcast against each other; the result has their common shape.
    mass_gev, target_gev : float
    """
    T, E = np.broadcast_arrays(np.asarray(recoil_gev, dtype=float), np.asarray(energy_gev, dtype=float))
    least = energy_min(T, mass_gev, target_gev)
    versine = _versine_slope(T, mass_gev, target_gev) * (1 / least - 1 / np.maximum(E, least))
    # θ = 2 arcsin √((1 - cos θ)/2)
    return np.asarray(np.where(least <= E, 2 * np.arcsin(np.sqrt(np.minimum(versine / 2, 1.0))), np.nan))


def energy_from_recoil_angle(recoil_gev: ArrayLike, angle_rad: ArrayLike, mass_gev: float, target_gev: float) -> Array:
    """Invert `recoil_angle`: 1/E = 1/E_min - 2p (1 - cos θ)/(2MT + m²), linear in 1/E.

    Parameters
    ----------
    recoil_gev, angle_rad : array_like
        Broadcast against each other.
    mass_gev, target_gev : float

    Returns
    -------
    ndarray
        GeV, broadcast shape; E_min at θ = 0, infinity where no neutrino, however energetic, scatters that far.
    """
    T = np.asarray(recoil_gev, dtype=float)
    versine = 2 * np.sin(np.minimum(np.asarray(angle_rad, dtype=float), math.pi) / 2) ** 2
    inverse = 1 / energy_min(T, mass_gev, target_gev) - versine / _versine_slope(T, mass_gev, target_gev)
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(inverse > 0, 1 / np.maximum(inverse, 0.0), np.inf))


def _versine_slope(recoil_gev: Array, mass_gev: float, target_gev: float) -> Array:
    """Return -d(1 - cos θ)/d(1/E) at fixed T: (2MT + m²)/(2p)."""
    T, M = recoil_gev, target_gev
    return np.asarray((2 * M * T + mass_gev**2) / (2 * np.sqrt(T**2 + 2 * M * T)))


def primakoff_coefficients(recoil_gev: ArrayLike, mass_gev: float, target_gev: float) -> Array:
    """Return c_n(T) of dσ/dT = Σ_n c_n E⁻ⁿ per d² for a point charge Z = 1, in cm² GeVⁿ⁻¹ μ_B⁻²; shape (3, *T.shape).

    dσ/dT = 4 α d² Z² F² [1/T - 1/E - m²/(2ETM) (1 - T/(2E) + M/(2E)) + m⁴ (T - M)/(8E²T²M²)],
    exact for a Dirac target; no window: see `recoil_window`. Derived from eq. (1); equal to traces to 1e-10.

    Parameters
    ----------
    recoil_gev : array_like
        T > 0.
    mass_gev, target_gev : float
    """
    T, m2, M = np.asarray(recoil_gev, dtype=float), mass_gev**2, target_gev
    norm = 4 * constants.FINE_STRUCTURE * BOHR_MAGNETON_GEV1**2 * constants.HBARC2_CM2_GEV2
    return norm * np.stack(
        [
            1 / T,
            -1 - m2 / (2 * T * M),
            -m2 / (4 * T * M) * (M - T) + m2**2 * (T - M) / (8 * T**2 * M**2),
        ]
    )


def primakoff_cross_section(
    recoil_gev: ArrayLike,
    energy_gev: ArrayLike,
    mass_gev: float,
    target_gev: float,
    *,
    moment_mu_b: float = 1.0,
    convention: Convention = "d",
) -> Array:
    """Return dσ/dT of ν A → N A for a point charge Z = 1, cm²/GeV; exactly 0 outside the recoil window.

    The same for ν and ν̄, and for Dirac and Majorana N. Multiply by Z² F². See `primakoff_coefficients`.

    Parameters
    ----------
    recoil_gev, energy_gev : array_like
        Broadcast against each other; the result has their common shape.
    mass_gev, target_gev : float
    moment_mu_b : float
    convention : {"d", "mu"}

    Raises
    ------
    UsageError
        For an unknown convention.
    """
    T, E = np.broadcast_arrays(np.asarray(recoil_gev, dtype=float), np.asarray(energy_gev, dtype=float))
    low, high = recoil_window(E, mass_gev, target_gev)
    inside = (low <= T) & (high >= T) & (T > 0)
    safe = np.where(inside, T, 1.0)
    c = primakoff_coefficients(safe, mass_gev, target_gev)
    d2 = (natural_moment(moment_mu_b, convention) / BOHR_MAGNETON_GEV1) ** 2
    E = np.where(inside, E, 1.0)
    value = d2 * (c[0] + c[1] / E + c[2] / E**2)
    # Inside the window the bracket is positive; at its ends rounding may leave -1e-16 of it.
    return np.asarray(np.where(inside, np.maximum(value, 0.0), 0.0))


class Emission(NamedTuple):
    """Energy, momentum (GeV), direction and polarisation of N.

    Attributes
    ----------
    energy_gev, momentum_gev : ndarray
    cosine : ndarray
        Of the angle to the beam.
    longitudinal, transverse : ndarray
        Components of the polarisation along N's direction n, and along the unit vector
        e_x = (k̂ - cosine n)/√(1 - cosine²) in the scattering plane; for a ν beam.
    """

    energy_gev: Array
    momentum_gev: Array
    cosine: Array
    longitudinal: Array
    transverse: Array


def emission(recoil_gev: ArrayLike, energy_gev: ArrayLike, mass_gev: float, target_gev: float) -> Emission:
    """Return kinematics and polarisation of N from ν A → N A at recoil T inside the window.

    With q = k - p_N and a = k̂ - 2 (k̂·q̂) q̂: P_∥ = (p + E_N n·a)/(E_N + p n·a),
    P_⊥ = m a_x/(E_N + p n·a), the static-source form; N is fully polarised. Derived from eq. (1); equal to
    traces over a heavy target to 1e-5.

    Parameters
    ----------
    recoil_gev, energy_gev : array_like
        Broadcast against each other; inside `recoil_window`.
    mass_gev, target_gev : float
        The mass of N must be positive.

    Returns
    -------
    Emission
        Arrays of the common shape; NaN outside the window.
    """
    T, E = np.broadcast_arrays(np.asarray(recoil_gev, dtype=float), np.asarray(energy_gev, dtype=float))
    m, M = mass_gev, target_gev
    window = recoil_window(E, m, M)
    # A recoil at the window's very end may lie outside it by rounding.
    T = np.where((window[0] * (1 - 1e-9) <= T) & (window[1] * (1 + 1e-9) >= T), T, np.nan)
    energy = E - T
    momentum = np.sqrt(np.maximum(energy**2 - m**2, 0.0))
    cosine = np.clip((2 * E * energy - m**2 - 2 * M * T) / (2 * E * momentum), -1.0, 1.0)
    sine = np.sqrt(1 - cosine**2)
    # Along n and e_x: k̂ = (cosine, sine), q = (E cosine - p, E sine).
    q_par, q_perp = E * cosine - momentum, E * sine
    projection = 2 * (cosine * q_par + sine * q_perp) / (q_par**2 + q_perp**2)
    a_par, a_perp = cosine - projection * q_par, sine - projection * q_perp
    below = energy + momentum * a_par
    return Emission(energy, momentum, cosine, (momentum + energy * a_par) / below, m * a_perp / below)
