"""The schema of a card of nuclear recoils (CEνNS): targets, neutrino source, detector, counts."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bayesnu.errors import UsageError
from bayesnu.experiment.card import (
    SIN2_THETA_W_ERROR,
    AnalysisCard,
    Counts,
    Curve,
    Edges,
    MixingAngleError,
    NotNegative,
    Positive,
    Table,
    Width,
    below,
    check_edges,
    check_material,
)
from bayesnu.flux.reactor import ENERGY_MAX_MEV, EXTRAPOLATED_MEV, JOIN_MEV, check_fractions
from bayesnu.flux.stopped_pion import arrived
from bayesnu.physics.couplings import ELECTROMAGNETIC, PRODUCTS, TRANSITION
from bayesnu.physics.nucleus import SIN2_THETA_W_LOW

LOWEST_RECOIL_EV = 0.3
"""True recoils below are left out: far below any threshold, where 1/T terms are not to be trusted."""


class RecoilPhysics(Table):
    """Choices of the cross section."""

    sin2_theta_w: Annotated[float, Field(gt=0, lt=1)] = SIN2_THETA_W_LOW
    """sin²θ_W at zero momentum transfer, between 0 and 1."""
    sin2_theta_w_error: MixingAngleError = SIN2_THETA_W_ERROR
    """Standard deviation of its normal prior where it is free, in a joint fit; "none" for a flat one."""


class Compound(Table):
    """How much there is of a compound."""

    mass_kg: Positive
    """Mass in kg."""


class CoreCard(Table):
    """A reactor core."""

    power_gw: Positive
    """Thermal power in GW."""
    distance_m: Positive
    """Distance of the detector in m."""


class Reactor(Table):
    """Power reactors and the time of running."""

    cores: Annotated[list[CoreCard], Field(min_length=1)]
    """One table for each core."""
    fission_fractions: dict[str, float]
    """Share of the fissions of each isotope; their sum is 1."""
    capture: bool = False
    """Whether to add the ν̄ that follow neutron capture on 238U."""
    energy_max_mev: Annotated[float, Field(gt=JOIN_MEV, le=EXTRAPOLATED_MEV)] = ENERGY_MAX_MEV
    """Highest ν̄ energy; the spectra are valid to 8 MeV and extrapolated above."""
    days: Positive
    """Time of running in days."""

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
    """Protons on target over the whole run."""
    neutrinos_per_proton: Positive
    """Of each flavour."""
    distance_m: Positive
    """Distance of the detector in m."""
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
    """A cryogenic detector: reconstructed recoils in logarithmic bins from the threshold up, or in bins of its own."""

    kind: Literal["phonons"]
    """A cryogenic detector."""
    threshold_ev: Positive
    """Lowest reconstructed recoil in eV."""
    resolution_ev: Positive
    """σ of the recoil energy in eV, noise at all energies:
    σ² = resolution_ev² + resolution_stochastic² T keV + resolution_constant² T²."""
    resolution_stochastic: NotNegative = 0.0
    """σ/T at 1 keV, which falls as 1/√T; a fraction."""
    resolution_constant: NotNegative = 0.0
    """σ/T that stays at high energy; a fraction."""
    efficiency: Curve | None = None
    """Pairs of true recoil in eV and efficiency, linear between them; of the signal, not of backgrounds, which are
    rates of what is reconstructed."""
    efficiency_file: str | None = None
    """CSV file with the columns recoil_ev and efficiency."""
    highest_ev: Positive | None = None
    """Highest reconstructed recoil in eV."""
    bins: Annotated[int, Field(gt=0, le=1000)] | None = None
    """Logarithmic bins from threshold_ev to highest_ev."""
    bin_edges_ev: Edges | None = None
    """Edges of the bins of the reconstructed recoil in eV, in the place of highest_ev and bins."""

    @model_validator(mode="after")
    def _range(self) -> PhononDetector:
        if self.efficiency is not None and self.efficiency_file is not None:
            raise below("efficiency", "give it or efficiency_file, not both")
        stochastic = self.resolution_stochastic * math.sqrt(1e3 * LOWEST_RECOIL_EV)
        width = math.hypot(self.resolution_ev, stochastic, self.resolution_constant * LOWEST_RECOIL_EV)
        least = LOWEST_RECOIL_EV + 4 * width
        if self.threshold_ev < least:
            raise below(
                "threshold_ev",
                f"{self.threshold_ev:g} must be at least {least:g}: {LOWEST_RECOIL_EV:g} eV, below which recoils are "
                "not in the model, and 4 resolutions",
            )
        if self.bin_edges_ev is not None:
            if self.bins is not None or self.highest_ev is not None:
                raise below("bin_edges_ev", "give it or bins and highest_ev, not all")
            if self.bin_edges_ev[0] < self.threshold_ev:
                raise below(
                    "bin_edges_ev",
                    f"the first edge, {self.bin_edges_ev[0]:g}, must be at least threshold_ev = {self.threshold_ev:g}",
                )
            return self
        for key in ("bins", "highest_ev"):
            if getattr(self, key) is None:
                raise below(key, "field required, or bin_edges_ev in place of bins and highest_ev")
        if self.highest_ev is not None and self.highest_ev <= self.threshold_ev:
            raise below("highest_ev", f"{self.highest_ev:g} must be above threshold_ev = {self.threshold_ev:g}")
        return self

    @property
    def edges_ev(self) -> list[float]:
        """Edges of the reconstructed recoil."""
        if self.bin_edges_ev is not None or self.highest_ev is None or self.bins is None:
            return self.bin_edges_ev or []
        edges: list[float] = np.geomspace(self.threshold_ev, self.highest_ev, self.bins + 1).tolist()
        return edges


class PhotoelectronDetector(Table):
    """A scintillator whose recoils are counted in photoelectrons."""

    kind: Literal["photoelectrons"]
    """A scintillator."""
    light_yield_pe_per_kev: Positive
    """Photoelectrons per keV of an electron."""
    quenching: Annotated[float, Field(gt=0, le=1)]
    """Light of a recoil over that of an electron of the same energy."""
    quenching_error: NotNegative
    """One standard deviation, absolute; it changes the response, as the pull ``quenching``."""
    acceptance: Annotated[list[Positive], Field(min_length=3, max_length=3)]
    """a, k, x₀ of a/(1 + exp(-k (PE - x₀)))."""
    bin_edges_pe: Annotated[list[int], Field(min_length=2), AfterValidator(check_edges)]
    """Edges of the bins in photoelectrons, increasing."""

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
    """Of the beam-related neutrons."""
    shared_with_others: list[str] = Field(default=[])
    """Pulls (by name, as ``flux_norm``) that `bayesnu combine` takes for one with those of other cards that list them.
    """


class PhotonDetectorCard(Table):
    """A detector of the photons of N → ν γ: counts are then coincidences of a recoil and a photon."""

    distance_m: Positive
    """l₀: N must decay within this path."""
    efficiency: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Probability that a photon of N is seen."""


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


class RecoilCard(AnalysisCard):
    """A card of nuclear recoils."""

    known_couplings: ClassVar[tuple[str, ...]] = (*ELECTROMAGNETIC, *TRANSITION, *PRODUCTS)

    scattering: Literal["nucleus"]
    """Kind of card: nuclear recoils."""
    physics: RecoilPhysics = RecoilPhysics()
    """Choices of the cross section."""
    targets: Annotated[dict[str, Compound], Field(min_length=1)]
    """How much there is of each compound."""
    reactor: Reactor | None = None
    """Power reactors; a card has these or stopped_pion."""
    stopped_pion: StoppedPion | None = None
    """Decays at rest; a card has these or reactor."""
    detector: Annotated[PhononDetector | PhotoelectronDetector, Field(discriminator="kind")]
    """What is measured of a recoil."""
    backgrounds: RecoilBackgrounds = RecoilBackgrounds()
    """Backgrounds that do not depend on the neutrinos."""
    pulls: RecoilPulls
    """One-sigma widths of the pulls, as fractions."""
    photon_detector: PhotonDetectorCard | None = None
    """A detector of the photons of N → ν γ; absent, recoils alone count."""
    decay: Decay = Decay()
    """How N decays."""
    counts: Counts | None = None
    """A file of observed counts; a pulsed beam needs one, of coincidence and anticoincidence."""
    observed_counts: dict[str, list[Annotated[float, Field(ge=0, le=1e15)]]] | None = None
    """Counts in the bins of each compound; absent, the data are the SM expectation."""

    @field_validator("targets")
    @classmethod
    def _known_compounds(cls, targets: dict[str, Compound]) -> dict[str, Compound]:
        for name in targets:
            try:
                check_material(name)
            except ValueError as error:
                raise below(name, str(error)) from error
        return targets

    @model_validator(mode="after")
    def _consistent(self) -> RecoilCard:
        if (self.reactor is None) == (self.stopped_pion is None):
            raise PydanticCustomError("one_source", "give exactly one of the tables reactor and stopped_pion", {})
        phonons = isinstance(self.detector, PhononDetector)
        if phonons and self.reactor is None:
            raise below("detector.kind", "'phonons' goes with a reactor")
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
        if self.counts is not None:
            raise below("counts.file", "observed_counts has counts too; give one of the two")
        if set(observed) != set(self.targets):
            raise below("observed_counts", f"must name the compounds {', '.join(self.targets)}")
        for name, counts in observed.items():
            bins = len(self.detector.edges_ev) - 1
            if len(counts) != bins:
                raise below(f"observed_counts.{name}", f"has {len(counts)} values, the detector has {bins} bins")
