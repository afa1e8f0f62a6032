"""The schema of a card of nuclear recoils (CEνNS): targets, neutrino source, detector, counts."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bayesnu.errors import UsageError, nearest
from bayesnu.experiment.card import (
    SIN2_THETA_W_ERROR,
    AnalysisCard,
    MixingAngleError,
    NotNegative,
    Positive,
    Table,
    Width,
    below,
)
from bayesnu.flux.reactor import ENERGY_MAX_MEV, EXTRAPOLATED_MEV, JOIN_MEV, check_fractions
from bayesnu.flux.stopped_pion import arrived
from bayesnu.physics.couplings import ELECTROMAGNETIC, PRODUCTS, TRANSITION
from bayesnu.physics.nucleus import COMPOUNDS, SIN2_THETA_W_LOW

LOWEST_RECOIL_EV = 0.3
"""True recoils below are left out: far below any threshold, where 1/T terms are not to be trusted."""


class RecoilPhysics(Table):
    """Choices of the cross section."""

    sin2_theta_w: Annotated[float, Field(gt=0, lt=1)] = SIN2_THETA_W_LOW
    sin2_theta_w_error: MixingAngleError = SIN2_THETA_W_ERROR
    """Standard deviation of its normal prior where it is free, in a joint fit; "none" for a flat one."""


class Compound(Table):
    """How much there is of a compound."""

    mass_kg: Positive


class CoreCard(Table):
    """A reactor core."""

    power_gw: Positive
    distance_m: Positive


class Reactor(Table):
    """Power reactors and the time of running."""

    cores: Annotated[list[CoreCard], Field(min_length=1)]
    fission_fractions: dict[str, float]
    capture: bool = False
    """Whether to add the ν̄ that follow neutron capture on 238U."""
    energy_max_mev: Annotated[float, Field(gt=JOIN_MEV, le=EXTRAPOLATED_MEV)] = ENERGY_MAX_MEV
    """Highest ν̄ energy; the spectra are valid to 8 MeV and extrapolated above."""
    days: Positive

    @field_validator("fission_fractions")
    @classmethod
    def _whole(cls, fractions: dict[str, float]) -> dict[str, float]:
        try:
            check_fractions(fractions)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return fractions


class StoppedPion(Table):
    """Pions and muons that decay at rest."""

    protons_on_target: Positive
    neutrinos_per_proton: Positive
    """Of each flavour."""
    distance_m: Positive
    window_us: float | None = None
    """End of the time window in which the counts were taken; absent, all neutrinos count."""

    @field_validator("window_us")
    @classmethod
    def _whole_bins(cls, window: float | None) -> float | None:
        if window is not None:
            try:
                arrived("numu", window)
            except UsageError as error:
                raise ValueError(str(error).removeprefix(f"window_us = {window:g}: ")) from error
        return window


class PhononDetector(Table):
    """A cryogenic detector: reconstructed recoils in logarithmic bins from the threshold up."""

    kind: Literal["phonons"]
    threshold_ev: Positive
    resolution_ev: Positive
    highest_ev: Positive
    bins: Annotated[int, Field(gt=0, le=1000)]

    @model_validator(mode="after")
    def _range(self) -> PhononDetector:
        least = LOWEST_RECOIL_EV + 4 * self.resolution_ev
        if self.threshold_ev < least:
            raise below(
                "threshold_ev",
                f"{self.threshold_ev:g} must be at least {least:g}: {LOWEST_RECOIL_EV:g} eV, below which recoils are "
                "not in the model, and 4 resolutions",
            )
        if self.highest_ev <= self.threshold_ev:
            raise below("highest_ev", f"{self.highest_ev:g} must be above threshold_ev = {self.threshold_ev:g}")
        return self


class PhotoelectronDetector(Table):
    """A scintillator whose recoils are counted in photoelectrons."""

    kind: Literal["photoelectrons"]
    light_yield_pe_per_kev: Positive
    quenching: Annotated[float, Field(gt=0, le=1)]
    quenching_error: NotNegative
    """One standard deviation, absolute; it changes the response, as the pull ``quenching``."""
    acceptance: Annotated[list[Positive], Field(min_length=3, max_length=3)]
    """a, k, x₀ of a/(1 + exp(-k (PE - x₀)))."""
    bin_edges_pe: Annotated[list[int], Field(min_length=2)]

    @field_validator("bin_edges_pe")
    @classmethod
    def _increasing(cls, edges: list[int]) -> list[int]:
        if edges[0] < 0:
            raise ValueError("the first edge must be at least 0")
        for low, high in pairwise(edges):
            if high <= low:
                raise ValueError(f"edges must increase; {high} follows {low}")
        return edges

    @field_validator("acceptance")
    @classmethod
    def _probability(cls, acceptance: list[float]) -> list[float]:
        if acceptance[0] > 1:
            raise below("0", f"{acceptance[0]:g} must be at most 1")
        return acceptance

    @model_validator(mode="after")
    def _physical_error(self) -> PhotoelectronDetector:
        if self.quenching_error >= self.quenching:
            raise below("quenching_error", f"{self.quenching_error:g} must be below quenching = {self.quenching:g}")
        return self


class RecoilBackgrounds(Table):
    """Backgrounds that do not depend on the neutrinos."""

    flat_per_kev_kg_day: NotNegative = 0.0
    """Of each compound, per keV of reconstructed recoil; for detectors in eV."""
    neutrons: NotNegative = 0.0
    """Counts of beam-related neutrons in all bins together, the same in every photoelectron."""


class RecoilPulls(Table):
    """One-sigma widths of the pulls, as fractions (0.1 is 10%); 0 fixes a pull."""

    flux_norm: Width
    """All that scales the signal alone."""
    background: Width = 0.0
    """The flat background, each compound for itself."""
    neutrons: Width = 0.0
    shared_with_others: list[str] = Field(default=[])
    """Pulls (by name, as ``flux_norm``) that `bayesnu combine` takes for one with those of other cards that list them.
    """


class PhotonDetectorCard(Table):
    """A detector of the photons of N → ν γ: counts are then coincidences of a recoil and a photon."""

    distance_m: Positive
    """l₀: N must decay within this path."""
    efficiency: Annotated[float, Field(gt=0, le=1)] = 1.0


class Decay(Table):
    """How N decays, for cards with a photon detector."""

    nature: Literal["dirac", "majorana"] = "majorana"
    """A Majorana N decays to antineutrinos as well, at the same rate."""
    d_NNp: NotNegative = 0.0
    """Transition moment to a lighter sterile N′, in μ_B."""
    m_Np: NotNegative = 0.0
    """Mass of N′ in MeV."""
    chirality: Annotated[float, Field(ge=-1, le=1)] = 1.0
    """(|c_R|² - |c_L|²)/(|c_R|² + |c_L|²) of the moment to N′; photons, not rates, depend on it."""


class Counts(Table):
    """Coincidence and anticoincidence counts of a pulsed beam: two measurements that share a free background."""

    file: str
    asimov: bool = False
    """Whether to fit the SM expectation, with the anticoincidence counts as background, instead of the counts."""


class RecoilCard(AnalysisCard):
    """A card of nuclear recoils."""

    known_couplings: ClassVar[tuple[str, ...]] = (*ELECTROMAGNETIC, *TRANSITION, *PRODUCTS)

    scattering: Literal["nucleus"]
    physics: RecoilPhysics = RecoilPhysics()
    targets: Annotated[dict[str, Compound], Field(min_length=1)]
    reactor: Reactor | None = None
    stopped_pion: StoppedPion | None = None
    detector: Annotated[PhononDetector | PhotoelectronDetector, Field(discriminator="kind")]
    backgrounds: RecoilBackgrounds = RecoilBackgrounds()
    pulls: RecoilPulls
    photon_detector: PhotonDetectorCard | None = None
    decay: Decay = Decay()
    counts: Counts | None = None
    observed_counts: dict[str, list[Annotated[float, Field(ge=0, le=1e15)]]] | None = None
    """Counts in the bins of each compound; absent, the data are the SM expectation."""

    @field_validator("targets")
    @classmethod
    def _known_compounds(cls, targets: dict[str, Compound]) -> dict[str, Compound]:
        for name in targets:
            if name not in COMPOUNDS:
                raise below(name, f"unknown compound; allowed are {', '.join(COMPOUNDS)}{nearest(name, COMPOUNDS)}")
        return targets

    @model_validator(mode="after")
    def _consistent(self) -> RecoilCard:
        if (self.reactor is None) == (self.stopped_pion is None):
            raise PydanticCustomError("one_source", "give exactly one of the tables reactor and stopped_pion", {})
        phonons = isinstance(self.detector, PhononDetector)
        if phonons and (self.counts is not None or self.reactor is None):
            raise below("detector.kind", "'phonons' goes with a reactor and without counts.file")
        if not phonons and (self.counts is None or self.stopped_pion is None or len(self.targets) > 1):
            raise below("detector.kind", "'photoelectrons' goes with stopped_pion, counts.file and one compound")
        if phonons and self.backgrounds.neutrons:
            raise below("backgrounds.neutrons", "is for a pulsed beam; a reactor card has flat_per_kev_kg_day")
        if not phonons and self.backgrounds.flat_per_kev_kg_day:
            raise below("backgrounds.flat_per_kev_kg_day", "is for reactors; a pulsed beam measures its own")
        if self.photon_detector is not None and self.reactor is None:
            raise below("photon_detector", "goes with a reactor")
        seen = ("d_nue", *PRODUCTS) if self.photon_detector is not None else (*ELECTROMAGNETIC, *TRANSITION)
        for name in self.couplings:
            if name not in seen:
                others = "with" if self.photon_detector is not None else "without"
                raise below(f"couplings.{name}", f"a card {others} photon_detector has {', '.join(seen)}")
        if self.observed_counts is not None:
            self._check_observed(self.observed_counts)
        return self

    def _check_observed(self, observed: dict[str, list[float]]) -> None:
        if not isinstance(self.detector, PhononDetector):
            raise below("observed_counts", "the counts of a pulsed beam are in counts.file")
        if set(observed) != set(self.targets):
            raise below("observed_counts", f"must name the compounds {', '.join(self.targets)}")
        for name, counts in observed.items():
            if len(counts) != self.detector.bins:
                raise below(
                    f"observed_counts.{name}", f"has {len(counts)} values, the detector has {self.detector.bins} bins"
                )
