"""The schema of a card: every key that a TOML file in models/ may have, its type and its range."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bayesnu.detector.settings import Method
from bayesnu.errors import nearest
from bayesnu.physics.constants import MATERIALS, SIN2_THETA_W
from bayesnu.physics.couplings import COUPLINGS, ELECTROMAGNETIC, TRANSITION
from bayesnu.physics.electron import MillichargeForm

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Width = Annotated[float, Field(ge=0, le=1)]
MixingAngleError = Annotated[float, Field(gt=0, lt=0.1)] | Literal["none"]
SIN2_THETA_W_ERROR = 0.0005


class Table(BaseModel):
    """A TOML table: strict types, finite numbers, and no keys but its own."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

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
    equations: list[str] = []


class Physics(Table):
    """Choices of the cross section."""

    sin2_theta_w: Annotated[float, Field(gt=0, lt=1)] = SIN2_THETA_W
    sin2_theta_w_error: MixingAngleError = SIN2_THETA_W_ERROR
    """Standard deviation of its normal prior where it is free, in a joint fit; "none" for a flat one."""
    millicharge: MillichargeForm = "derived"


class Target(Table):
    """The fiducial mass."""

    material: str = "argon"
    mass_tonnes: Positive

    @field_validator("material")
    @classmethod
    def _known_material(cls, value: str) -> str:
        if value not in MATERIALS:
            raise ValueError(f"allowed are {', '.join(MATERIALS)}{nearest(value, MATERIALS)}")
        return value


class Detector(Table):
    """Threshold on the true recoil energy, resolutions, and bins of the reconstructed E_e θ²."""

    threshold_mev: Positive
    angular_resolution_deg: Positive
    energy_resolution: Positive
    bin_edges_mev: Annotated[list[float], Field(min_length=2)]

    @field_validator("bin_edges_mev")
    @classmethod
    def _increasing(cls, edges: list[float]) -> list[float]:
        if edges[0] < 0:
            raise ValueError("the first edge must be at least 0")
        for low, high in pairwise(edges):
            if high <= low:
                raise ValueError(f"edges must increase; {high:g} follows {low:g}")
        return edges


class Response(Table):
    """How the response matrix is computed; none of this changes the physics, only its numerical error."""

    method: Method = "variance-reduced"
    samples: Annotated[int, Field(gt=0)] = 20_000_000
    seed: Annotated[int, Field(ge=0)] = 20211122
    energy_cells: Annotated[int, Field(gt=0)] = 120
    angle_cells: Annotated[int, Field(gt=0)] = 64
    recoil_nodes: Annotated[int, Field(gt=0)] = 3
    """Gauss points in ln E_e per cell when the flux is folded; the neutrino energy is integrated exactly."""
    mc_stat: Literal["none", "covariance", "gamma-poisson"] = "none"
    """How the response's Monte Carlo error enters the likelihood; see `bayesnu.experiment.mc_stat`."""

    @model_validator(mode="after")
    def _has_an_error(self) -> Response:
        if self.mc_stat != "none" and self.method == "quadrature":
            raise below("mc_stat", f"'{self.mc_stat}': method 'quadrature' has no Monte Carlo error; allowed is 'none'")
        return self


class Flux(Table):
    """The flux file and how counts are normalised."""

    file: str
    normalisation: Literal["table", "absolute"]
    event_table: str | None = None
    pot_per_year: Positive

    @model_validator(mode="after")
    def _table_named(self) -> Flux:
        if self.normalisation == "table" and self.event_table is None:
            raise PydanticCustomError(
                "missing_table", "normalisation = 'table' needs the key event_table, or choose 'absolute'", {}
            )
        return self


class Backgrounds(Table):
    """Either a file of counts or the computed model, not both."""

    file: str | None = None
    model: Literal["ccqe"] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Backgrounds:
        if (self.file is None) == (self.model is None):
            raise PydanticCustomError("one_background", "give exactly one of file and model", {})
        return self


class Pulls(Table):
    """One-sigma widths of the pulls, as fractions (0.1 is 10%); 0 fixes a pull."""

    flux_norm: Width
    wrong_sign: Width
    electron_flavour: Width
    ccqe: Width
    pi0: Width
    shared: bool = True
    """Whether one set of pulls serves both horn polarities; false gives each its own."""
    shared_with_others: list[str] = Field(default=[])
    """Pulls (by name, as ``flux_norm``) that `bayesnu combine` takes for one with those of other cards that list them.
    """


class UniformPrior(Table):
    """Flat between finite bounds."""

    kind: Literal["uniform"]
    low: float
    high: float


class NormalPrior(Table):
    """Normal about 0; for a magnetic moment truncated at 0."""

    kind: Literal["normal"]
    sigma: Positive


class HalfNormalPrior(Table):
    """Normal about 0, restricted to values above 0."""

    kind: Literal["half-normal"]
    sigma: Positive


class UniformSquaredPrior(Table):
    """Flat in the square, up to a value of the coupling; for couplings that enter squared only."""

    kind: Literal["uniform-squared"]
    high: Positive


class LogUniformPrior(Table):
    """Flat in the logarithm between positive bounds."""

    kind: Literal["log-uniform"]
    low: Positive
    high: Positive


class JeffreysPrior(Table):
    """√I, I the Fisher information of the card; without bounds over the range that the program finds and reports.

    ``high`` alone is a range from 0, for couplings that enter squared only.
    """

    kind: Literal["jeffreys"]
    low: float | None = None
    high: float | None = None


PriorCard = Annotated[
    UniformPrior | NormalPrior | HalfNormalPrior | UniformSquaredPrior | LogUniformPrior | JeffreysPrior,
    Field(discriminator="kind"),
]


class CouplingCard(Table):
    """One coupling of the analysis; without a prior, flat over the range that the program finds and reports."""

    prior: PriorCard | None = None


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
    position_m: Annotated[float, Field(ge=0)]
    years: Positive
    observed_counts: list[Annotated[float, Field(ge=0, le=1e15)]] | None = None


class Comparison(Table):
    """Which rows of the published limits are this analysis's own."""

    published: str = "published/limits.csv"
    scenario: str


class AnalysisCard(Table):
    """What every card has.

    ``known_couplings`` are those that the kind of scattering has.
    """

    known_couplings: ClassVar[tuple[str, ...]] = (*ELECTROMAGNETIC, *TRANSITION)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    title: str
    source: Source
    couplings: dict[str, CouplingCard]
    sterile: Sterile = Sterile()
    comparison: Comparison | None = None

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
    physics: Physics = Physics()
    target: Target
    detector: Detector
    response: Response = Response()
    flux: Flux
    backgrounds: Backgrounds
    pulls: Pulls
    exposures: Annotated[list[Exposure], Field(min_length=1)]

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
            bins = len(detector.bin_edges_mev) - 1
            for index, exposure in enumerate(exposures):
                found = len(exposure.observed_counts or [])
                if found != bins:
                    raise below(f"{index}.observed_counts", f"has {found} values, the detector has {bins} bins")
        return exposures


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
