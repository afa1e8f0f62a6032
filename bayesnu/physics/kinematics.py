"""Kinematics of ν e → ν e (arXiv:2111.14884, section 2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesnu.physics.constants import ELECTRON_MASS_GEV as M_E


def recoil_max(neutrino_energy_gev: ArrayLike) -> NDArray[np.float64]:
    """Return the largest recoil energy T_max = 2E²/(m + 2E) in GeV; same shape as the input."""
    energy = np.asarray(neutrino_energy_gev, dtype=float)
    return np.asarray(2 * energy**2 / (M_E + 2 * energy))


def neutrino_energy_min(recoil_gev: ArrayLike) -> NDArray[np.float64]:
    """Return the smallest neutrino energy that gives recoil T: (T + √(T² + 2mT))/2 in GeV."""
    recoil = np.asarray(recoil_gev, dtype=float)
    return np.asarray((recoil + np.sqrt(recoil**2 + 2 * M_E * recoil)) / 2)


def electron_angle(recoil_gev: ArrayLike, neutrino_energy_gev: ArrayLike) -> NDArray[np.float64]:
    """Return the true electron angle θ in rad from 1 - cos θ = m(1 - y)/E_e, (2.3); exact arccos, broadcast shape."""
    recoil = np.asarray(recoil_gev, dtype=float)
    cosine = 1 - M_E * (1 - recoil / np.asarray(neutrino_energy_gev, dtype=float)) / (recoil + M_E)
    return np.asarray(np.arccos(np.clip(cosine, -1.0, 1.0)))


def neutrino_energy_from_angle(recoil_gev: ArrayLike, e_theta2_gev: ArrayLike) -> NDArray[np.float64]:
    """Invert (2.3): the neutrino energy in GeV at which recoil T has true E_e θ² = ``e_theta2_gev``.

    Returns
    -------
    ndarray
        Broadcast shape; infinity where no neutrino, however energetic, scatters that far.
    """
    recoil = np.asarray(recoil_gev, dtype=float)
    electron_energy = recoil + M_E
    angle = np.sqrt(np.asarray(e_theta2_gev, dtype=float) / electron_energy)
    # 1 - cos θ = 2 sin²(θ/2), which keeps its digits at small angles.
    remainder = 1 - electron_energy * 2 * np.sin(np.minimum(angle, np.pi) / 2) ** 2 / M_E
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(remainder > 0, recoil / np.maximum(remainder, 0.0), np.inf))


def e_theta2_max(recoil_gev: float) -> float:
    """Return the largest true E_e θ² in GeV at recoil T, that of y → 0; slightly above 2m since θ is exact."""
    electron_energy = recoil_gev + M_E
    return float(electron_energy * np.arccos(1 - M_E / electron_energy) ** 2)
