"""The schema of a card of nuclear recoils (CEνNS): targets, neutrino source, detector, counts."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, Self

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
    check_whole,
)
from bayesnu.experiment.flux_card import FluxFiles
from bayesnu.flux.formats import source_of
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


class RecoilFlux(FluxFiles):
    """The flux at the detector, in files, and the protons on target or the days in which the counts are taken."""

    file: str | None = None
    """CSV file with mode, position_m, e_lo_gev, e_hi_gev and the flux of each channel in flux.unit."""
    unit: Literal["per GeV per cm^2 per POT", "per GeV per cm^2 per s"] | None = None
    """Unit of the values of flux.file; each of flux.spectra has its own."""
    mode: Literal["neutrino", "antineutrino"] | None = None
    """Horn polarity of the spectrum that is taken, where the files have several."""
    position_m: NotNegative | None = None
    """Distance off axis in m of the spectrum that is taken, where the files have several."""
    protons_on_target: Positive | None = None
    """Protons on target over the whole run; for a flux per POT."""
    days: Positive | None = None
    """Time of running in days; for a flux per second, and for backgrounds that are rates."""

    @model_validator(mode="after")
    def _normalised(self) -> Self:
        if self.file is not None and self.unit is None:
            raise below("unit", "missing; a file does not say what its values are per")
        if self.spectra is not None and self.unit is not None:
            raise below("unit", "is of flux.file; each of flux.spectra has its own")
        sources = list(dict.fromkeys(source_of(unit) for unit in self.units))
        if len(sources) > 1:
            raise below("spectra", f"units are {' and '.join(f'per {source}' for source in sources)}; give one of both")
        if self.per_second and self.days is None:
            raise below("days", "missing; a flux per s needs the time of running")
        if self.per_second and self.protons_on_target is not None:
            raise below("protons_on_target", "is for a flux per POT; this one is per s")
        if not self.per_second and self.protons_on_target is None:
            raise below("protons_on_target", "missing; a flux per POT needs the protons on target")
        return self

    @property
    def units(self) -> list[str]:
        """The units of the files."""
        return [self.unit] if self.unit is not None else [spectrum.unit for spectrum in self.spectra or []]

    @property
    def per_second(self) -> bool:
        """Whether the flux is per second of running; else it is per POT."""
        return source_of(self.units[0]) == "s"


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
    physics: RecoilPhysics = RecoilPhysics.model_construct()
    """Choices of the cross section."""
    targets: Annotated[dict[str, Compound], Field(min_length=1)]
    """How much there is of each compound."""
    reactor: Reactor | None = None
    """Power reactors; a card has these, stopped_pion or flux."""
    stopped_pion: StoppedPion | None = None
    """Decays at rest; a card has these, reactor or flux."""
    flux: RecoilFlux | None = None
    """A flux from files; a card has this, reactor or stopped_pion."""
    detector: Annotated[PhononDetector | PhotoelectronDetector, Field(discriminator="kind")]
    """What is measured of a recoil."""
    backgrounds: RecoilBackgrounds = RecoilBackgrounds.model_construct()
    """Backgrounds that do not depend on the neutrinos."""
    pulls: RecoilPulls
    """One-sigma widths of the pulls, as fractions."""
    photon_detector: PhotonDetectorCard | None = None
    """A detector of the photons of N → ν γ; absent, recoils alone count."""
    decay: Decay = Decay.model_construct()
    """How N decays."""
    counts: Counts | None = None
    """A file of observed counts; a pulsed beam needs one, of coincidence and anticoincidence."""
    observed_counts: dict[str, list[Annotated[float, Field(ge=0, le=1e15)]]] | None = None
    """Counts in the bins of each compound; absent, the data are the SM expectation."""
    expected_data: bool = False
    """Whether the counts that are given are the expectation of some model, which need not be whole; observed ones are.
    """

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
        if [self.reactor, self.stopped_pion, self.flux].count(None) != 2:
            raise PydanticCustomError("one_source", "give exactly one of the tables reactor, stopped_pion and flux", {})
        phonons = isinstance(self.detector, PhononDetector)
        if phonons and self.stopped_pion is not None:
            raise below("detector.kind", "'phonons' goes with a reactor or a flux")
        if not phonons and (self.counts is None or self.reactor is not None or len(self.targets) > 1):
            goes = "goes with stopped_pion or flux, counts.file and one compound"
            raise below("detector.kind", f"'photoelectrons' {goes}")
        if phonons and self.backgrounds.neutrons:
            raise below("backgrounds.neutrons", "is for a pulsed beam; a card with phonons has flat_per_kev_kg_day")
        if not phonons and self.backgrounds.flat_per_kev_kg_day:
            raise below("backgrounds.flat_per_kev_kg_day", "is for phonons; a pulsed beam measures its own")
        if self.backgrounds.flat_per_kev_kg_day and self.days is None:
            raise below("flux.days", "missing; backgrounds.flat_per_kev_kg_day is a rate")
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

    @property
    def days(self) -> float | None:
        """Time of running; None where no rate needs it."""
        source = self.reactor or self.flux
        return None if source is None else source.days

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
            if not self.expected_data:
                check_whole(f"observed_counts.{name}", counts)
