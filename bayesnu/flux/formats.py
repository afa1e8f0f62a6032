"""The formats of a file of one spectrum, by name, and the units that each may be in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from bayesnu.errors import silent, unknown_name
from bayesnu.flux import globes, snowglobes
from bayesnu.flux.root import read_root
from bayesnu.flux.table import SOURCES, Spectrum, read_flux

Format = Literal["csv", "globes", "snowglobes", "root"]
UNITS: Mapping[Format, tuple[str, ...]] = MappingProxyType(
    {
        "csv": tuple(f"per GeV per cm^2 per {source}" for source in SOURCES),
        "globes": tuple(globes.UNITS),
        "snowglobes": tuple(snowglobes.UNITS),
        "root": tuple(globes.UNITS),
    }
)
"""The units that a file of each format may be in; none is assumed."""


def source_of(unit: str) -> str:
    """Return what the flux in a unit is per: a name of `bayesnu.flux.table.SOURCES`."""
    return unit.rpartition(" per ")[2]


def read_spectrum(
    path: Path,
    form: Format,
    unit: str,
    mode: str,
    position_m: float,
    histograms: Mapping[str, str] | None = None,
    notice: Callable[[str], None] = silent,
) -> Spectrum:
    """Read the flux of one polarity at one position from a file of any format.

    Parameters
    ----------
    path : Path
    form : str
        A name of `UNITS`.
    unit : str
        One that the format may be in.
    mode : str
        "neutrino" or "antineutrino"; which of a CSV file's spectra. The other formats have one.
    position_m : float
        Off axis; which of a CSV file's spectra, or which bin of a TH2.
    histograms : mapping of str to str, optional
        Channel to name in a ROOT file.
    notice : callable
        As in `bayesnu.flux.root.read_root`.

    Returns
    -------
    Spectrum
        Edges in GeV, values in ν cm⁻² GeV⁻¹ POT⁻¹ (or s⁻¹, where the unit says so).

    Raises
    ------
    UsageError
        For a unit that the format may not be in.
    DataError
        As the reader of the format.
    """
    if unit not in UNITS[form]:
        raise unknown_name("unit", unit, UNITS[form])
    if form == "globes":
        return globes.read_globes(path, unit)
    if form == "snowglobes":
        return snowglobes.read_snowglobes(path, unit)
    if form == "root":
        return read_root(path, unit, histograms or {}, position_m, notice)
    return read_flux(path).spectrum(mode, position_m)
