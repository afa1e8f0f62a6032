"""The flux that a card names, read from its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bayesnu.experiment.base import locate
from bayesnu.experiment.flux_card import FluxFiles
from bayesnu.experiment.load import LoadedCard
from bayesnu.flux.formats import read_spectrum
from bayesnu.flux.table import FluxTable, Spectrum, read_flux


def find_flux(loaded: LoadedCard, files: dict[str, Path], flux: FluxFiles, notice: Callable[[str], None]) -> FluxTable:
    """Read the flux that a card names, from one file or from one for each of its spectra; note them in ``files``."""
    if flux.file is not None:
        return read_flux(locate(loaded, files, "flux", "file", flux.file))
    spectra: dict[tuple[str, float], Spectrum] = {}
    for k, named in enumerate(flux.spectra or []):
        path = locate(loaded, files, "flux", f"spectra.{k}.file", named.file)
        histograms = named.histograms.model_dump() if named.histograms is not None else None
        spectra[named.mode, named.position_m] = read_spectrum(
            path, named.format, named.unit, named.mode, named.position_m, histograms, notice
        )
    return FluxTable(loaded.path, spectra)
