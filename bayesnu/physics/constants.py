"""Physical constants, natural units in GeV; each with its source."""

from __future__ import annotations

import math
from types import MappingProxyType

FERMI_CONSTANT_GEV2 = 1.1663787e-5
"""G_F in GeV⁻² (CODATA 2018)."""

FINE_STRUCTURE = 1.0 / 137.035999
"""α at zero momentum transfer (CODATA 2018)."""

ELECTRON_MASS_GEV = 0.51099895e-3
"""m_e (CODATA 2018)."""

ELECTRON_MASS_MEV = 0.51099895
"""m_e (CODATA 2018)."""

PROTON_MASS_GEV = 0.938272088
"""M_p (CODATA 2018)."""

W_MASS_GEV = 80.377
"""m_W (PDG 2022)."""

HBARC2_CM2_GEV2 = 0.3893793721e-27
"""(ħc)² in cm² GeV² (CODATA 2018)."""

HBARC_GEV_FM = 0.1973269804
"""ħc in GeV fm (CODATA 2018)."""

HBARC_GEV_M = 0.1973269804e-15
"""ħc in GeV m (CODATA 2018)."""

ATOMIC_MASS_GEV = 0.93149410242
"""Atomic mass unit (CODATA 2018)."""

SIN2_THETA_W = 0.2385
"""sin²θ_W at ⟨Q²⟩ ≈ (50 MeV)², the value of arXiv:2111.14884, section 2; a card may change it."""

AVOGADRO = 6.02214076e23
"""N_A in mol⁻¹ (exact, SI 2019)."""

CHARGED_LEPTON_MASS_GEV = MappingProxyType({"e": ELECTRON_MASS_GEV, "mu": 0.1056583755, "tau": 1.77686})
"""Masses of the charged leptons (PDG 2022)."""

GAUSSIAN_CHARGE = math.sqrt(FINE_STRUCTURE)
"""e in Gaussian natural units, √α: the reading of "e" with which (4.9) of arXiv:2111.14884 holds as printed."""
