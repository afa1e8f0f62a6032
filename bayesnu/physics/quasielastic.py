"""Charged-current quasi-elastic ν_e scattering without visible hadrons: the documented background model."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesnu.physics import constants

V_UD = 0.974
"""CKM element (PDG, rounded)."""
AXIAL_COUPLING = 1.275
"""g_A of the nucleon (PDG, rounded)."""
AXIAL_MASS_GEV = 1.0
"""M_A of the dipole form factor."""
FERMI_MOMENTUM_GEV = 0.25
"""k_F of argon in the Fermi-gas model."""
NUCLEAR_FACTOR = 0.5
"""Assumed reduction by binding and RPA."""
PROTON_VISIBLE_GEV = 0.021
"""Kinetic energy above which a proton is seen and the event vetoed."""


def pauli_factor(q2_gev2: ArrayLike) -> NDArray[np.float64]:
    """Return the Fermi-gas Pauli factor (3/4) q/k_F - (1/16)(q/k_F)³, q = √Q²; 1 above 2 k_F."""
    ratio = np.minimum(np.sqrt(np.asarray(q2_gev2, dtype=float)) / FERMI_MOMENTUM_GEV, 2.0)
    return np.asarray(0.75 * ratio - ratio**3 / 16)


def ccqe_cross_section(q2_gev2: ArrayLike) -> NDArray[np.float64]:
    """Return dσ/dQ² per nucleon in cm²/GeV², with Pauli and nuclear factors.

    G_F² V_ud² (1 + g_A²)/(2π) (1 + Q²/M_A²)⁻⁴ × Pauli factor × 0.5; without the
    last two, 2.10e-38 cm²/GeV² at Q² = 0. The same for ν_e n and ν̄_e p.
    """
    q2 = np.asarray(q2_gev2, dtype=float)
    point = constants.FERMI_CONSTANT_GEV2**2 * V_UD**2 * (1 + AXIAL_COUPLING**2) / (2 * math.pi)
    dipole = (1 + q2 / AXIAL_MASS_GEV**2) ** -4
    return np.asarray(point * constants.HBARC2_CM2_GEV2 * dipole * pauli_factor(q2) * NUCLEAR_FACTOR)


def proton_visible(q2_gev2: ArrayLike) -> NDArray[np.bool_]:
    """Return whether the proton of ν_e n → e p is seen: Q²/(2 M_p) above 21 MeV."""
    return np.asarray(np.asarray(q2_gev2, dtype=float) / (2 * constants.PROTON_MASS_GEV) > PROTON_VISIBLE_GEV)
