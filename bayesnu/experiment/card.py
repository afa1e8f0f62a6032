"""The schema of a card: every key that a TOML file in models/ may have, its type and its range."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bayesnu.detector.settings import Method
from bayesnu.errors import UsageError, nearest
from bayesnu.flux.formats import UNITS, Format
from bayesnu.physics.constants import SIN2_THETA_W
from bayesnu.physics.couplings import COUPLINGS, ELECTROMAGNETIC, TRANSITION
from bayesnu.physics.electron import MillichargeForm
from bayesnu.physics.materials import material

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Width = Annotated[float, Field(ge=0, le=1)]
MixingAngleError = Annotated[float, Field(gt=0, lt=0.1)] | Literal["none"]
SIN2_THETA_W_ERROR = 0.0005


def check_edges(edges: list[float]) -> list[float]:
    """Return edges of bins, or raise ValueError where they do not increase from 0 or more."""
    if edges[0] < 0:
        raise ValueError("the first edge must be at least 0")
    for low, high in pairwise(edges):
        if high <= low:
            raise ValueError(f"edges must increase; {high:g} follows {low:g}")
    return edges


def check_curve(points: list[list[float]]) -> list[list[float]]:
    """Return pairs of energy and efficiency, or raise ValueError where they are no curve."""
    if len(points) < 2:
        raise ValueError("an efficiency curve needs at least 2 points")
    for (low, _), (high, _) in pairwise(points):
        if high <= low:
            raise ValueError(f"energies must increase; {high:g} follows {low:g}")
    for energy, efficiency in points:
        if not 0 <= efficiency <= 1:
            raise ValueError(f"an efficiency is between 0 and 1, not {efficiency:g}, as at {energy:g}")
    return points


def check_material(name: str) -> str:
    """Return the name or formula of a material, or raise ValueError where it is none."""
    try:
        material(name)
    except UsageError as error:
        raise ValueError(str(error).removeprefix(f"'{name}': ").removeprefix(f"'{name}' ")) from error
    return name


Edges = Annotated[list[float], Field(min_length=2), AfterValidator(check_edges)]
Curve = Annotated[list[Annotated[list[NotNegative], Field(min_length=2, max_length=2)]], AfterValidator(check_curve)]
"""Pairs of true energy and efficiency, with straight lines between them."""
MaterialName = Annotated[str, AfterValidator(check_material)]
"""A chemical formula, or a name of `bayesnu.physics.materials.NAMES`."""


class Table(BaseModel):
    """A TOML table: strict types, finite numbers, and no keys but its own."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, defer_build=True
    )

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    hint = f"allowed are {', '.join(cls.model_fields)}{nearest(str(key), cls.model_fields)}"
                    raise PydanticCustomError("unknown_key", "unknown key; {hint}", {"key": str(key), "hint": hint})
        return data


class Source(Table):
    """Where the analysis comes from."""

    paper: str
    """The paper, as in arXiv:2111.14884, or what else the numbers come from."""
    equations: list[str] = []
    """Equations that the analysis takes from it."""


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
    angular_resolution_falling_deg: NotNegative = 0.0
    """Part of σ_θ that falls with energy, in degrees at 1 GeV:
    σ_θ² = angular_resolution_deg² + angular_resolution_falling_deg² GeV/E_e."""
    angular_resolution_deg: float
    """σ_θ of the electron's direction in degrees, at all energies."""
    energy_resolution_noise_gev: NotNegative = 0.0
    """σ_E of noise in GeV:
    σ_E² = energy_resolution² E_e GeV + energy_resolution_noise_gev² + energy_resolution_constant² E_e²."""
    energy_resolution_constant: NotNegative = 0.0
    """σ_E/E of the electron that stays at high energy; a fraction."""
    energy_resolution: float
    """σ_E/E of the electron at 1 GeV, which falls as 1/√E; a fraction."""
    bin_edges_mev: Edges | None = None
    """Edges of the bins of the reconstructed E_e θ² in MeV, increasing."""
    energy_bin_edges_gev: Edges | None = None
    """Edges of the bins of the reconstructed E_e in GeV, with angle_bin_edges_deg in the place of bin_edges_mev."""
    angle_bin_edges_deg: Edges | None = None
    """Edges of the bins of the reconstructed θ in degrees, with energy_bin_edges_gev."""

    @field_validator("angular_resolution_deg", "energy_resolution")
    @classmethod
    def _resolves(cls, value: float, info: ValidationInfo) -> float:
        others = {
            "angular_resolution_deg": ("angular_resolution_falling_deg",),
            "energy_resolution": ("energy_resolution_noise_gev", "energy_resolution_constant"),
        }[info.field_name or ""]
        if value < 0 or (value == 0 and not any(info.data.get(name) for name in others)):
            raise ValueError(f"must be greater than 0, or 0 beside {' or '.join(others)}")
        return value

    @field_validator("angle_bin_edges_deg")
    @classmethod
    def _angles(cls, edges: list[float] | None) -> list[float] | None:
        if edges is not None and edges[-1] > 180:
            raise ValueError(f"the last edge must be at most 180, not {edges[-1]:g}")
        return edges

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


class Flux(Table):
    """The flux, in one file or one for each of its spectra, and how counts are normalised."""

    file: str | None = None
    """CSV file with mode, position_m, e_lo_gev, e_hi_gev and ν per cm² per GeV per POT of each channel."""
    spectra: Annotated[list[FluxSpectrum], Field(min_length=1)] | None = None
    """A file for each horn polarity and position, in place of flux.file."""
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
    def _one_source(self) -> Flux:
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
    ``e_hi_gev``, for backgrounds ``background``, ``e_theta2_lo_mev``, ``e_theta2_hi_mev``; then the matrix in columns
    1, 2, 3, …, in the order of the rows, unless ``matrix_file`` holds it.
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


class UniformPrior(Table):
    """Flat between finite bounds."""

    kind: Literal["uniform"]
    """Flat in the coupling."""
    low: float
    """Lower bound, in the coupling's own unit."""
    high: float
    """Upper bound, in the coupling's own unit."""


class NormalPrior(Table):
    """Normal about 0; for a magnetic moment truncated at 0."""

    kind: Literal["normal"]
    """Normal about 0."""
    sigma: Positive
    """Standard deviation, in the coupling's own unit."""


class HalfNormalPrior(Table):
    """Normal about 0, restricted to values above 0."""

    kind: Literal["half-normal"]
    """Normal about 0, above 0."""
    sigma: Positive
    """Standard deviation of the whole normal, in the coupling's own unit."""


class UniformSquaredPrior(Table):
    """Flat in the square, up to a value of the coupling; for couplings that enter squared only."""

    kind: Literal["uniform-squared"]
    """Flat in the square."""
    high: Positive
    """Upper bound of the coupling, in its own unit."""


class LogUniformPrior(Table):
    """Flat in the logarithm between positive bounds."""

    kind: Literal["log-uniform"]
    """Flat in the logarithm."""
    low: Positive
    """Lower bound, above 0, in the coupling's own unit."""
    high: Positive
    """Upper bound, in the coupling's own unit."""


class JeffreysPrior(Table):
    """√I, I the Fisher information of the card; without bounds over the range that the program finds and reports.

    ``high`` alone is a range from 0, for couplings that enter squared only.
    """

    kind: Literal["jeffreys"]
    """√I of the Fisher information."""
    low: float | None = None
    """Lower bound, in the coupling's own unit; 0 or absent for a moment."""
    high: float | None = None
    """Upper bound, in the coupling's own unit."""


PriorCard = Annotated[
    UniformPrior | NormalPrior | HalfNormalPrior | UniformSquaredPrior | LogUniformPrior | JeffreysPrior,
    Field(discriminator="kind"),
]


class CouplingCard(Table):
    """One coupling of the analysis; without a prior, flat over the range that the program finds and reports."""

    prior: PriorCard | None = None
    """Prior density, in the coupling's own unit."""


class Sterile(Table):
    """The sterile neutrino N of the transition moments."""

    m_N: NotNegative = 0.0
    """Mass in MeV at which the transition moments are taken."""
    m_N_prior: Annotated[UniformPrior | LogUniformPrior, Field(discriminator="kind")] | None = None
    """In MeV, for fits in which the mass is free."""

    @field_validator("m_N_prior")
    @classmethod
    def _positive_masses(cls, prior: UniformPrior | LogUniformPrior | None) -> UniformPrior | LogUniformPrior | None:
        if prior is not None and not 0 <= prior.low < prior.high:
            raise ValueError(f"needs 0 ≤ low < high, not {prior.low:g} and {prior.high:g}")
        return prior


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


class CountsFile(Table):
    """Observed counts in a file that names the bins they belong to; the card's own, in any format of numbers."""

    file: str
    """CSV file with a row for each bin, in the card's order; `bayesnu new` writes one with the right columns."""


class Counts(CountsFile):
    """Observed counts in a file, or the SM expectation in their place."""

    asimov: bool = False
    """Whether to fit the SM expectation instead of the counts; a pulsed beam's background is still from them."""


class Comparison(Table):
    """Which rows of the published limits are this analysis's own."""

    published: str = "published/limits.csv"
    """CSV file of published limits."""
    scenario: str
    """Value of its column scenario in this analysis's own rows."""


class AnalysisCard(Table):
    """What every card has.

    ``known_couplings`` are those that the kind of scattering has.
    """

    known_couplings: ClassVar[tuple[str, ...]] = (*ELECTROMAGNETIC, *TRANSITION)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Short name: letters, digits, dots, dashes and underscores. Run folders begin with it."""
    title: str
    """Title of tables and of the report."""
    source: Source
    """Where the analysis comes from."""
    couplings: dict[str, CouplingCard]
    """The couplings to fit, each a table, which may be empty."""
    sterile: Sterile = Sterile()
    """The sterile neutrino N of the transition moments."""
    comparison: Comparison | None = None
    """The analysis's own rows among the published limits; absent, it has none."""

    @field_validator("couplings", mode="before")
    @classmethod
    def _known_couplings(cls, couplings: Any) -> Any:
        if couplings == {}:
            raise ValueError(f"at least one coupling is needed; allowed are {', '.join(cls.known_couplings)}")
        for name in couplings if isinstance(couplings, dict) else ():
            if name not in cls.known_couplings:
                raise PydanticCustomError(
                    "unknown_key",
                    "unknown coupling; allowed are {names}",
                    {"key": name, "names": f"{', '.join(cls.known_couplings)}{nearest(name, cls.known_couplings)}"},
                )
        return couplings

    @field_validator("couplings")
    @classmethod
    def _physical_priors(cls, couplings: dict[str, CouplingCard]) -> dict[str, CouplingCard]:
        for name, coupling in couplings.items():
            if coupling.prior is not None:
                _check_prior(name, coupling.prior)
        return couplings


class Card(AnalysisCard):
    """A card of neutrino-electron scattering."""

    scattering: Literal["electron"] = "electron"
    """Kind of card: neutrino-electron scattering."""
    physics: Physics = Physics()
    """Choices of the cross section."""
    target: Target
    """The fiducial mass."""
    detector: Detector
    """Threshold, resolutions and bins."""
    response: Response = Response()
    """How the response matrix is computed."""
    flux: Flux
    """The flux file and how counts are normalised."""
    backgrounds: Backgrounds
    """A file of counts or the computed model."""
    pulls: Pulls
    """One-sigma widths of the pulls, as fractions."""
    covariances: list[CovarianceCard] = []
    """Covariances of the flux or of backgrounds, whose leading eigenvectors are pulls."""
    exposures: Annotated[list[Exposure], Field(min_length=1)]
    """Years of running, one table for each horn polarity and position."""
    counts: Counts | None = None
    """A file of observed counts; absent, exposures have them, or the data are the SM expectation."""

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
        return self


def below(key: str, message: str) -> PydanticCustomError:
    """An error at a key below the validated one."""
    return PydanticCustomError("below", "{text}", {"key": key, "text": message})


def _check_prior(name: str, prior: PriorCard) -> None:
    """Refuse a prior with low ≥ high, or one that reaches outside the physical region."""
    if isinstance(prior, UniformPrior | LogUniformPrior) and prior.low >= prior.high:
        raise below(f"{name}.prior", f"low = {prior.low:g} must be below high = {prior.high:g}")
    squared_only = COUPLINGS[name].squared_only
    if isinstance(prior, JeffreysPrior):
        _check_jeffreys(name, prior)
    elif squared_only and isinstance(prior, UniformPrior) and prior.low < 0:
        raise below(f"{name}.prior.low", f"{prior.low:g}: a moment is at least 0")
    if isinstance(prior, UniformSquaredPrior) and not squared_only:
        raise below(f"{name}.prior.kind", "'uniform-squared' is for couplings that enter squared only (moments)")
    if isinstance(prior, UniformPrior) and not math.isfinite(prior.high - prior.low):
        raise below(f"{name}.prior", "the range high - low must be finite")


def _check_jeffreys(name: str, prior: JeffreysPrior) -> None:
    """Refuse half a range, an empty one, or one that reaches outside the physical region."""
    squared_only = COUPLINGS[name].squared_only
    if prior.high is None and prior.low is not None:
        raise below(f"{name}.prior.high", "missing; give low and high, or neither for the range that the program finds")
    if prior.high is not None and prior.low is None and not squared_only:
        raise below(f"{name}.prior.low", "missing; give low and high, or neither for the range that the program finds")
    low = prior.low or 0.0
    if squared_only and low < 0:
        raise below(f"{name}.prior.low", f"{low:g}: a moment is at least 0")
    if prior.high is not None and low >= prior.high:
        raise below(f"{name}.prior", f"low = {low:g} must be below high = {prior.high:g}")
    if prior.high is not None and not math.isfinite(prior.high - low):
        raise below(f"{name}.prior", "the range high - low must be finite")
