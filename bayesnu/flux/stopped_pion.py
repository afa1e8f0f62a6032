"""Neutrinos of pions and muons that decay at rest. Energies in MeV, spectra of unit area per flavour.

π⁺ → μ⁺ ν_μ is a line; μ⁺ → e⁺ ν_e ν̄_μ has the spectra of V-A theory with the electron's mass neglected.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesnu.errors import UsageError, unknown_name
from bayesnu.physics.constants import CHARGED_LEPTON_MASS_GEV

Array = NDArray[np.float64]

SOURCE = (
    "Neutrinos of pions and muons at rest: V-A spectra of unit area; arrival times at the SNS of COHERENT's release, "
    "arXiv:1804.09459, doi 10.5281/zenodo.1228631."
)
"""What to cite for the spectra."""
PION_MASS_MEV = 139.57039
"""m_π± (PDG 2022)."""
MUON_MASS_MEV = 1e3 * CHARGED_LEPTON_MASS_GEV["mu"]
PROMPT_ENERGY_MEV = (PION_MASS_MEV**2 - MUON_MASS_MEV**2) / (2 * PION_MASS_MEV)
"""Energy of the ν_μ of π⁺ → μ⁺ ν_μ: 29.79 MeV."""
END_POINT_MEV = MUON_MASS_MEV / 2
"""End of the spectra of μ⁺ → e⁺ ν_e ν̄_μ: 52.83 MeV; the electron's mass is neglected."""

TIME_BIN_US = 0.5
PROMPT_TIMING = (0.0648, 0.9095, 0.0257, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Shares of ν_μ in bins of 0.5 μs from 0 to 6 μs at the SNS (COHERENT's release, arXiv:1804.09459)."""
DELAYED_TIMING = (0.0014, 0.1192, 0.1796, 0.1435, 0.1144, 0.0911, 0.0726, 0.0578, 0.0461, 0.0366, 0.0292, 0.0233)
"""The same for ν_e and ν̄_μ; 0.915 arrives within 6 μs."""


def michel_nue(energy_mev: ArrayLike) -> Array:
    """Return the ν_e spectrum (12/E_m) x² (1 - x), x = E/E_m, per MeV; 0 outside [0, E_m].

    Parameters
    ----------
    energy_mev : array_like
        Any shape, which the result has too.
    """
    x = np.asarray(energy_mev, dtype=float) / END_POINT_MEV
    return np.where((x >= 0) & (x <= 1), 12 / END_POINT_MEV * x**2 * (1 - x), 0.0)


def michel_numubar(energy_mev: ArrayLike) -> Array:
    """Return the ν̄_μ spectrum (2/E_m) x² (3 - 2x), x = E/E_m, per MeV; 0 outside [0, E_m].

    Parameters
    ----------
    energy_mev : array_like
        Any shape, which the result has too.
    """
    x = np.asarray(energy_mev, dtype=float) / END_POINT_MEV
    return np.where((x >= 0) & (x <= 1), 2 / END_POINT_MEV * x**2 * (3 - 2 * x), 0.0)


def arrived(channel: str, window_us: float) -> float:
    """Return the share of a species that arrives between 0 and the end of a window: the sum of the timing histogram.

    Raises
    ------
    UsageError
        For an unknown species, or if the window is not a whole number of the histogram's bins.
    """
    if channel not in ("numu", "nue", "numubar"):
        raise unknown_name("channel", channel, ("numu", "nue", "numubar"))
    timing = PROMPT_TIMING if channel == "numu" else DELAYED_TIMING
    bins = round(window_us / TIME_BIN_US)
    if not (1 <= bins <= len(timing) and math.isclose(bins * TIME_BIN_US, window_us)):
        raise UsageError(
            f"window_us = {window_us:g}: must be a multiple of {TIME_BIN_US:g} up to {TIME_BIN_US * len(timing):g}"
        )
    return math.fsum(timing[:bins])


def fluence(protons_on_target: float, neutrinos_per_proton: float, distance_m: float) -> float:
    """Return neutrinos of each flavour per cm² at a distance: N_POT r/(4πL²).

    Raises
    ------
    UsageError
        If a number is not positive.
    """
    numbers = {
        "protons_on_target": protons_on_target,
        "neutrinos_per_proton": neutrinos_per_proton,
        "distance_m": distance_m,
    }
    for name, value in numbers.items():
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"{name} = {value}: must be greater than 0")
    return protons_on_target * neutrinos_per_proton / (4 * math.pi * (100 * distance_m) ** 2)
