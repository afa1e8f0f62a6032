"""Flux files of SNOwGLoBES: the columns of GLoBES, in neutrinos per 0.2 MeV."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from bayesnu.errors import DataError
from bayesnu.flux.globes import ROUNDING, factor_of, read_columns
from bayesnu.flux.table import SOURCES, Spectrum

BIN_GEV = 2e-4
UNITS: Mapping[str, float] = MappingProxyType({f"per 0.2 MeV per cm^2 per {source}": 1 / BIN_GEV for source in SOURCES})
"""Units, and what takes each to cm⁻² GeV⁻¹ POT⁻¹ (or s⁻¹)."""


def read_snowglobes(path: Path, unit: str) -> Spectrum:
    """Read a flux file of SNOwGLoBES: E in GeV in steps of 0.2 MeV, and ν_e ν_μ ν_τ ν̄_e ν̄_μ ν̄_τ per bin of 0.2 MeV.

    Energies, comments and the columns of ν_τ as in `bayesnu.flux.globes.read_globes`.

    Parameters
    ----------
    path : Path
    unit : str
        A name of `UNITS`: the file does not say what its numbers are per.

    Returns
    -------
    Spectrum
        Edges in GeV, values in ν cm⁻² GeV⁻¹ POT⁻¹ (or s⁻¹).

    Raises
    ------
    UsageError
        For an unknown unit.
    DataError
        As `read_globes`, and for steps other than 0.2 MeV.
    """
    factor = factor_of(unit, UNITS)
    edges, values = read_columns(path)
    step = float(np.diff(edges)[-1])
    if abs(step - BIN_GEV) > ROUNDING * BIN_GEV:
        raise DataError(
            f"{path}: energies are {step * 1e3:g} MeV apart, those of SNOwGLoBES are 0.2 MeV; "
            "if the values are per GeV, the format is globes"
        )
    return Spectrum(edges, values * factor)
