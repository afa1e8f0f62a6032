"""The schema of a card of neutrino-electron scattering: target, detector, flux, backgrounds, pulls, exposures."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bayesnu.detector.settings import Method
from bayesnu.experiment.card import (
    SIN2_THETA_W_ERROR,
    AnalysisCard,
    Counts,
    Curve,
    Edges,
    MaterialName,
    MixingAngleError,
    NotNegative,
    Positive,
    Table,
    Width,
    below,
    check_whole,
)
from bayesnu.experiment.flux_card import FluxFiles
from bayesnu.flux.formats import source_of
from bayesnu.physics.constants import SIN2_THETA_W
from bayesnu.physics.electron import MillichargeForm


class Physics(Table):
    """Choices of the cross section."""

    sin2_theta_w: Annotated[float, Field(gt=0, lt=1)] = SIN2_THETA_W
    """sin²θ_W, between 0 and 1."""
    sin2_theta_w_error: MixingAngleError = SIN2_THETA_W_ERROR
    """Standard deviation of its normal prior where it is free, in a joint fit; "none" for a flat one."""
    millicharge: MillichargeForm = "derived"
    """How a millicharge enters: 'derived', a shift of g_V, or 'as-printed', (4.8), (4.9) to the letter."""


class Target(Table):
    """The fiducial mass."""

    material: MaterialName = "argon"
    """Name of the material or a chemical formula (H2O, CH2), which says how many electrons and nucleons there are."""
    mass_tonnes: Positive
    """Fiducial mass in tonnes."""


class BinAxis(NamedTuple):
    """A reconstructed variable, and where each of the flat bins lies in it.

    Attributes
    ----------
    name : {"e_theta2", "energy", "angle"}
    units : {"MeV", "GeV", "deg"}
    label : str
        Of the axis of a figure, with the unit.
    key : str
        The card's key of the edges.
    edges : ndarray
    low, high : ndarray, shape (bins,)
    """

    name: str
    units: str
    label: str
    key: str
    edges: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def columns(self) -> tuple[str, str]:
        """Names of the lower and the upper edge in tables, as ``e_theta2_lo_mev``."""
        return f"{self.name}_lo_{self.units.lower()}", f"{self.name}_hi_{self.units.lower()}"


class Detector(Table):
    """Threshold on the true recoil energy, efficiency, resolutions, and bins of what is reconstructed.

    Bins are in E_e θ² (``bin_edges_mev``), or in E_e by θ, θ the fast index.
    """

    threshold_mev: Positive
    """Lowest true kinetic energy of the electron in MeV."""
    efficiency: Curve | None = None
    """Pairs of true kinetic energy in MeV and efficiency, linear between them."""
    efficiency_file: str | None = None
    """CSV file with the columns kinetic_energy_mev and efficiency."""
    angular_resolution_deg: NotNegative
    """σ_θ of the electron's direction in degrees, at all energies."""
    angular_resolution_falling_deg: NotNegative = 0.0
    """Part of σ_θ that falls with energy, in degrees at 1 GeV:
    σ_θ² = angular_resolution_deg² + angular_resolution_falling_deg² GeV/E_e."""
    energy_resolution: NotNegative
    """σ_E/E of the electron at 1 GeV, which falls as 1/√E; a fraction."""
    energy_resolution_noise_gev: NotNegative = 0.0
    """σ_E of noise in GeV:
    σ_E² = energy_resolution² E_e GeV + energy_resolution_noise_gev² + energy_resolution_constant² E_e²."""
    energy_resolution_constant: NotNegative = 0.0
    """σ_E/E of the electron that stays at high energy; a fraction."""
    bin_edges_mev: Edges | None = None
    """Edges of the bins of the reconstructed E_e θ² in MeV, increasing."""
    energy_bin_edges_gev: Edges | None = None
    """Edges of the bins of the reconstructed E_e in GeV, with angle_bin_edges_deg in the place of bin_edges_mev."""
    angle_bin_edges_deg: Edges | None = None
    """Edges of the bins of the reconstructed θ in degrees, with energy_bin_edges_gev."""

    @field_validator("angle_bin_edges_deg")
    @classmethod
    def _angles(cls, edges: list[float] | None) -> list[float] | None:
        if edges is not None and edges[-1] > 180:
            raise ValueError(f"the last edge must be at most 180, not {edges[-1]:g}")
        return edges

    @model_validator(mode="after")
    def _resolves(self) -> Detector:
        for key, others in (
            ("angular_resolution_deg", ("angular_resolution_falling_deg",)),
            ("energy_resolution", ("energy_resolution_noise_gev", "energy_resolution_constant")),
        ):
            if not any(getattr(self, name) for name in (key, *others)):
                message = f"must be greater than 0, or 0 beside {' or '.join(others)}"
                raise below(f"{key} = {getattr(self, key)}", message)
        return self

    @model_validator(mode="after")
    def _one_of_each(self) -> Detector:
        if self.efficiency is not None and self.efficiency_file is not None:
            raise below("efficiency", "give it or efficiency_file, not both")
        both = "energy_bin_edges_gev and angle_bin_edges_deg"
        given = [edges is not None for edges in (self.energy_bin_edges_gev, self.angle_bin_edges_deg)]
        if self.bin_edges_mev is None and not any(given):
            raise below("bin_edges_mev", f"field required, or {both} in its place")
        if self.bin_edges_mev is not None and any(given):
            raise below("bin_edges_mev", f"give it or {both}, not all")
        if any(given) and not all(given):
            key = both.split(" and ")[given.index(False)]
            raise below(key, f"missing; bins in two dimensions need {both}")
        return self

    @property
    def axes(self) -> tuple[BinAxis, ...]:
        """The reconstructed variables, the slow one first."""
        if self.bin_edges_mev is not None:
            given = [("e_theta2", "MeV", r"reconstructed $E_e\theta^2$ [MeV]", "bin_edges_mev")]
        else:
            given = [
                ("energy", "GeV", "reconstructed $E_e$ [GeV]", "energy_bin_edges_gev"),
                ("angle", "deg", r"reconstructed $\theta$ [deg]", "angle_bin_edges_deg"),
            ]
        edges = [np.array(getattr(self, key)) for *_, key in given]
        places = np.indices([own.size - 1 for own in edges])
        return tuple(
            BinAxis(*named, own, own[place.ravel()], own[place.ravel() + 1])
            for named, own, place in zip(given, edges, places, strict=True)
        )

    @property
    def bins(self) -> int:
        """Number of bins, both dimensions together."""
        return int(self.axes[0].low.size)


class Response(Table):
    """How the response matrix is computed; none of this changes the physics, only its numerical error."""

    method: Method = "variance-reduced"
    """How the matrix is made; 'quadrature' has no Monte Carlo error."""
    samples: Annotated[int, Field(gt=0)] = 20_000_000
    """Monte Carlo events in total."""
    seed: Annotated[int, Field(ge=0)] = 20211122
    """Seed of the Monte Carlo."""
    energy_cells: Annotated[int, Field(gt=0)] = 120
    """Logarithmic cells of the true electron energy."""
    angle_cells: Annotated[int, Field(gt=0)] = 64
    """Cells of the true E_e θ²."""
    recoil_nodes: Annotated[int, Field(gt=0)] = 3
    """Gauss points in ln E_e per cell when the flux is folded; the neutrino energy is integrated exactly."""
    mc_stat: Literal["none", "covariance", "gamma-poisson"] = "none"
    """How the response's Monte Carlo error enters the likelihood; see `bayesnu.experiment.mc_stat`."""

    @model_validator(mode="after")
    def _has_an_error(self) -> Response:
        if self.mc_stat != "none" and self.method == "quadrature":
            raise below("mc_stat", f"'{self.mc_stat}': method 'quadrature' has no Monte Carlo error; allowed is 'none'")
        return self


class Flux(FluxFiles):
    """The flux, in one file or one for each of its spectra, and how counts are normalised."""

    normalisation: Literal["table", "absolute"]
    """'absolute' keeps the flux; 'table' scales each channel to its SM events in event_table."""
    event_table: str | None = None
    """CSV file with SM events per year by mode, position_m and channel; for normalisation 'table'."""
    pot_per_year: Positive
    """Protons on target per year of running."""

    @model_validator(mode="after")
    def _table_named(self) -> Flux:
        if self.normalisation == "table" and self.event_table is None:
            raise PydanticCustomError(
                "missing_table", "normalisation = 'table' needs the key event_table, or choose 'absolute'", {}
            )
        return self

    @model_validator(mode="after")
    def _per_proton(self) -> Flux:
        for index, spectrum in enumerate(self.spectra or []):
            if source_of(spectrum.unit) != "POT":
                raise below(f"spectra.{index}.unit", f"'{spectrum.unit}': pot_per_year needs a unit per POT")
        return self


class Backgrounds(Table):
    """Either a file of counts or the computed model, not both."""

    file: str | None = None
    """CSV file of counts per year by mode, position, bin; a TOML file beside it says what for."""
    model: Literal["ccqe"] | None = None
    """'ccqe': CCQE of ν_e without visible hadrons and misidentified π⁰, computed from the flux."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Backgrounds:
        if (self.file is None) == (self.model is None):
            raise PydanticCustomError("one_background", "give exactly one of file and model", {})
        return self


class Pulls(Table):
    """One-sigma widths of the pulls, as fractions (0.1 is 10%); 0 fixes a pull."""

    flux_norm: Width
    """Of all channels together, signal alone."""
    wrong_sign: Width
    """Of ν̄ in neutrino mode and of ν in antineutrino mode."""
    electron_flavour: Width
    """Of ν_e and ν̄_e."""
    ccqe: Width
    """Of the CCQE background."""
    pi0: Width
    """Of the background of misidentified π⁰."""
    shared: bool = True
    """Whether one set of pulls serves both horn polarities; false gives each its own."""
    flux_correlation: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Correlation of the flux norm between positions: 1 is one pull of all, 0 one of each."""
    shared_with_others: list[str] = Field(default=[])
    """Pulls (by name, as ``flux_norm``) that `bayesnu combine` takes for one with those of other cards that list them.
    """


class CovarianceCard(Table):
    """A covariance of flux bins or background counts, whose leading eigenvectors become pulls ``name[k]``.

    The file is CSV, a row for each bin: ``mode``, ``position_m``, then for the flux ``channel``, ``e_lo_gev``,
    ``e_hi_gev``, for backgrounds ``background``, ``e_theta2_lo_mev``, ``e_theta2_hi_mev``, or with bins of E_e by θ
    ``energy_lo_gev``, ``energy_hi_gev``, ``angle_lo_deg``, ``angle_hi_deg``; then the matrix in columns 1, 2, 3, …, in
    the order of the rows, unless ``matrix_file`` holds it. A row may hold several whole bins.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
    """Name of the pulls, which are name[1], name[2], …"""
    of: Literal["flux", "backgrounds"]
    """What varies: the flux in bins of energy, or the counts of backgrounds."""
    file: str
    """CSV file with a row for each bin: what it is, and the matrix in columns 1, 2, 3, … unless matrix_file has it."""
    matrix_file: str | None = None
    """File of the matrix alone, in the order of the rows: CSV without a header, or ROOT if `matrix` names an object."""
    matrix: str | None = None
    """Name of the TH2 or TMatrixTSym in a ROOT file."""
    relative: bool = True
    """Whether the matrix is of fractions; false: of (ν per cm² per GeV per POT)², whatever the unit of the flux
    files, or of (counts per year)²."""
    keep: Annotated[float, Field(gt=0, le=1)] = 0.99
    """Fraction of the fractional variance, summed over the bins, that the eigenvectors kept must have."""

    @model_validator(mode="after")
    def _matrix_of_a_file(self) -> CovarianceCard:
        if self.matrix is not None and self.matrix_file is None:
            raise below("matrix_file", "missing; matrix names an object in it")
        return self


class Exposure(Table):
    """Years of running in one horn polarity at one position, and the observed counts if there are any."""

    mode: Literal["neutrino", "antineutrino"]
    """Polarity of the horn."""
    position_m: Annotated[float, Field(ge=0)]
    """Distance of the detector from the beam's axis in m."""
    years: Positive
    """Time of running in years of flux.pot_per_year."""
    observed_counts: list[Annotated[float, Field(ge=0, le=1e15)]] | None = None
    """Counts in the bins of the detector; absent, counts.file has them, or the data are the SM expectation."""


class Card(AnalysisCard):
    """A card of neutrino-electron scattering."""

    scattering: Literal["electron"] = "electron"
    """Kind of card: neutrino-electron scattering."""
    physics: Physics = Physics.model_construct()
    """Choices of the cross section."""
    target: Target
    """The fiducial mass."""
    detector: Detector
    """Threshold, resolutions and bins."""
    response: Response = Response.model_construct()
    """How the response matrix is computed."""
    flux: Flux
    """The flux file and how counts are normalised."""
    backgrounds: Backgrounds
    """A file of counts or the computed model."""
    pulls: Pulls
    """One-sigma widths of the pulls, as fractions."""
    covariances: list[CovarianceCard] = Field(default=[])
    """Covariances of the flux or of backgrounds, whose leading eigenvectors are pulls."""
    exposures: Annotated[list[Exposure], Field(min_length=1)]
    """Years of running, one table for each horn polarity and position."""
    counts: Counts | None = None
    """A file of observed counts; absent, exposures have them, or the data are the SM expectation."""
    expected_data: bool = False
    """Whether the counts that are given are the expectation of some model, which need not be whole; observed ones are.
    """

    @field_validator("covariances")
    @classmethod
    def _distinct_names(cls, covariances: list[CovarianceCard]) -> list[CovarianceCard]:
        taken = [*Pulls.model_fields, "mc_stat"]
        for index, covariance in enumerate(covariances):
            if covariance.name in taken:
                raise below(f"{index}.name", f"'{covariance.name}' names other pulls; choose another")
            taken.append(covariance.name)
        return covariances

    @field_validator("exposures")
    @classmethod
    def _distinct_exposures(cls, exposures: list[Exposure], info: ValidationInfo) -> list[Exposure]:
        seen: set[tuple[str, float]] = set()
        for index, exposure in enumerate(exposures):
            pair = (exposure.mode, exposure.position_m)
            if pair in seen:
                raise below(str(index), f"mode '{pair[0]}' at position_m = {pair[1]:g} stands twice; add the years up")
            seen.add(pair)
        detector: Detector | None = info.data.get("detector")
        given = [exposure.observed_counts is not None for exposure in exposures]
        if any(given) and not all(given):
            raise below(f"{given.index(False)}.observed_counts", "missing; give counts for all exposures or for none")
        if any(given) and detector is not None:
            bins = detector.bins
            for index, exposure in enumerate(exposures):
                found = len(exposure.observed_counts or [])
                if found != bins:
                    raise below(f"{index}.observed_counts", f"has {found} values, the detector has {bins} bins")
        return exposures

    @model_validator(mode="after")
    def _counts_once(self) -> Card:
        if self.counts is not None and self.exposures[0].observed_counts is not None:
            raise below("counts.file", "exposures.0.observed_counts has counts too; give one of the two")
        for index, exposure in enumerate(self.exposures):
            if not self.expected_data:
                check_whole(f"exposures.{index}.observed_counts", exposure.observed_counts or ())
        return self
