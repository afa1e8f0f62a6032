"""A flux table: the beam's spectra by horn polarity and off-axis position."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import DataError, nearest
from bayesnu.physics.couplings import CHANNELS
from bayesnu.resources import number, read_table

if TYPE_CHECKING:
    import xarray as xr

MODES = ("neutrino", "antineutrino")
UNIT = "neutrinos per cm^2 per GeV per POT"
SOURCES = ("POT", "s")
"""What a flux may be per: a proton on target, or a second of running."""
COLUMNS = ("mode", "position_m", "e_lo_gev", "e_hi_gev", *CHANNELS)


@dataclass(frozen=True)
class Spectrum:
    """The flux of one polarity at one position, constant inside each energy bin.

    Attributes
    ----------
    edges_gev : ndarray, shape (n + 1,)
        Energy bin edges.
    values : ndarray, shape (4, n)
        ν per cm² per GeV per POT (or second), channels in the order of `CHANNELS`.
    """

    edges_gev: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class FluxTable:
    """Spectra by (mode, position in m), and the file that they are from: a flux file, or a card that names several."""

    path: Path
    spectra: Mapping[tuple[str, float], Spectrum]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the table's values: the same for any formatting of the same numbers."""
        hasher = hashlib.sha256()
        for (mode, position), spectrum in sorted(self.spectra.items()):
            hasher.update(f"{mode},{position!r}".encode())
            hasher.update(np.ascontiguousarray(spectrum.edges_gev, dtype="<f8").tobytes())
            hasher.update(np.ascontiguousarray(spectrum.values, dtype="<f8").tobytes())
        return hasher.hexdigest()

    @property
    def energy_max_gev(self) -> float:
        """The highest energy of any spectrum."""
        return max(float(spectrum.edges_gev[-1]) for spectrum in self.spectra.values())

    def spectrum(self, mode: str, position_m: float) -> Spectrum:
        """Return one spectrum.

        Raises
        ------
        DataError
            If the file has none for this mode and position; lists what it has.
        """
        key = (mode, float(position_m))
        if key not in self.spectra:
            have = ", ".join(f"{m} {p:g} m" for m, p in self.spectra)
            raise DataError(f"{self.path}: no flux for mode '{mode}' at position_m = {position_m:g}; it has {have}")
        return self.spectra[key]

    def labelled(self, mode: str, position_m: float) -> xr.DataArray:
        """Return one spectrum as a DataArray (channel, energy) with edges and units."""
        import xarray as xr

        spectrum = self.spectrum(mode, position_m)
        edges = spectrum.edges_gev
        return xr.DataArray(
            spectrum.values,
            dims=("channel", "energy"),
            coords={
                "channel": list(CHANNELS),
                "energy": ("energy", (edges[1:] + edges[:-1]) / 2, {"units": "GeV"}),
                "energy_lo": ("energy", edges[:-1], {"units": "GeV"}),
                "energy_hi": ("energy", edges[1:], {"units": "GeV"}),
            },
            attrs={"units": UNIT, "source": str(self.path), "mode": mode, "position_m": position_m},
            name="flux",
        )


def read_flux(path: Path) -> FluxTable:
    """Read a flux file: CSV with columns mode, position_m, e_lo_gev, e_hi_gev and one per channel.

    Values are ν per cm² per GeV per POT (or second), constant inside a bin; the bins of one
    mode and position stand in order and join.

    Raises
    ------
    DataError
        For a missing column, an empty file, NaN, a negative value, an unknown
        mode, or bins that overlap, leave a gap or are not sorted.
    """
    groups: dict[tuple[str, float], list[tuple[float, float, list[float], str]]] = {}
    for row in read_table(path, COLUMNS):
        if row["mode"] not in MODES:
            allowed = f"allowed are {', '.join(MODES)}{nearest(row['mode'], MODES)}"
            raise DataError(f"{path}: line {row['line']}, mode = '{row['mode']}': {allowed}")
        key = (row["mode"], number(path, row, "position_m", minimum=0))
        low, high = number(path, row, "e_lo_gev", minimum=0), number(path, row, "e_hi_gev", minimum=0)
        if low >= high:
            raise DataError(f"{path}: line {row['line']}, e_hi_gev = {high:g}: must be above e_lo_gev = {low:g}")
        bins = groups.setdefault(key, [])
        if bins and low != bins[-1][1]:
            problem = "overlaps or is not sorted after" if low < bins[-1][1] else "leaves a gap after"
            raise DataError(
                f"{path}: line {row['line']}, e_lo_gev = {low:g}: {problem} the bin that ends at {bins[-1][1]:g}"
            )
        bins.append((low, high, [number(path, row, channel, minimum=0) for channel in CHANNELS], row["line"]))
    spectra = {
        key: Spectrum(
            np.array([bins[0][0], *(high for _, high, _, _ in bins)]),
            np.array([values for _, _, values, _ in bins]).T.copy(),
        )
        for key, bins in groups.items()
    }
    return FluxTable(path, spectra)
