"""The schema of a flux from files, as cards of ν-e scattering and of nuclear recoils name it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bayesnu.errors import nearest
from bayesnu.experiment.card import NotNegative, Table, below
from bayesnu.flux.formats import UNITS, Format


class Histograms(Table):
    """The name of each channel's histogram in a ROOT file."""

    numu: str
    """Histogram of ν_μ."""
    numubar: str
    """Histogram of ν̄_μ."""
    nue: str
    """Histogram of ν_e."""
    nuebar: str
    """Histogram of ν̄_e."""


class FluxSpectrum(Table):
    """The file of the flux in one horn polarity at one position, and the unit that it is in."""

    mode: Literal["neutrino", "antineutrino"]
    """Horn polarity."""
    position_m: NotNegative
    """Distance off axis in m."""
    file: str
    """File of the flux of all channels."""
    format: Format
    """'globes' and 'snowglobes' are text of seven columns, 'root' histograms, 'csv' as flux.file."""
    unit: str
    """Unit of the values, spelled out as 'per GeV per m^2 per POT'; which are allowed depends on the format."""
    histograms: Histograms | None = None
    """Name of each channel's histogram, for format 'root'."""

    @model_validator(mode="after")
    def _unit_of_the_format(self) -> FluxSpectrum:
        allowed = UNITS[self.format]
        if self.unit not in allowed:
            names = ", ".join(f"'{name}'" for name in allowed)
            hint = nearest(self.unit, allowed)
            raise below("unit", f"'{self.unit}': allowed with format '{self.format}': {names}{hint}")
        return self

    @model_validator(mode="after")
    def _histograms_of_root(self) -> FluxSpectrum:
        if self.format == "root" and self.histograms is None:
            raise below("histograms", "missing; format 'root' needs a table of channel to name in the file")
        if self.format != "root" and self.histograms is not None:
            raise below("histograms", f"is for format 'root', not '{self.format}'")
        return self


class FluxFiles(Table):
    """The flux, in one file or one for each of its spectra."""

    file: str | None = None
    """CSV file with mode, position_m, e_lo_gev, e_hi_gev and ν per cm² per GeV per POT of each channel."""
    spectra: Annotated[list[FluxSpectrum], Field(min_length=1)] | None = None
    """A file for each horn polarity and position, in place of flux.file."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.spectra is None):
            raise PydanticCustomError("one_flux", "give exactly one of file and spectra", {})
        return self

    @field_validator("spectra")
    @classmethod
    def _distinct_spectra(cls, spectra: list[FluxSpectrum] | None) -> list[FluxSpectrum] | None:
        seen: set[tuple[str, float]] = set()
        for index, spectrum in enumerate(spectra or []):
            pair = (spectrum.mode, spectrum.position_m)
            if pair in seen:
                raise below(str(index), f"mode '{pair[0]}' at position_m = {pair[1]:g} stands twice")
            seen.add(pair)
        return spectra

    @property
    def source(self) -> str:
        """The key that says where the flux is, with its value if it is one file, as an error names it."""
        return "flux.spectra" if self.file is None else f"flux.file = '{self.file}'"
