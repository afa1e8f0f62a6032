"""The schema of a card of ν-e events counted in windows of the electron's energy, normalised to the SM."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from bayesnu.experiment.card import AnalysisCard, CountsFile, NotNegative, Positive, Table, Width, below, check_edges
from bayesnu.physics.constants import SIN2_THETA_W


class WindowPhysics(Table):
    """Choices of the cross section."""

    sin2_theta_w: Annotated[float, Field(gt=0, lt=1)] = SIN2_THETA_W
    """sin²θ_W, between 0 and 1."""


class WindowDetector(Table):
    """Bins of the electron's kinetic energy, without resolution or efficiency: these cancel in the ratio to the SM."""

    bin_edges_mev: Annotated[list[NotNegative], Field(min_length=2), AfterValidator(check_edges)]
    """Edges in MeV, increasing."""


class Normalisation(Table):
    """How the SM counts follow from the measured cross section: events × SM slope/measured slope."""

    events: Positive
    """Events that were measured with the slope; not data: counts that are put in instead leave the SM as it is."""
    slope_cm2_per_mev: Positive
    """σ/E_ν of ν_e e as measured with these events."""


class WindowPulls(Table):
    """One-sigma widths of the pulls, as fractions."""

    flux_norm: Width
    """Of all counts together."""
    shared_with_others: list[str] = Field(default=[])
    """Pulls (by name, as ``flux_norm``) that `bayesnu combine` takes for one with those of other cards that list them.
    """


class Measurement(Table):
    """Observed ν_e e events above other species and backgrounds, with their measured errors."""

    observed_counts: list[Annotated[float, Field(gt=0, le=1e15)]]
    """Events in the bins of the detector."""
    observed_errors: list[Positive]
    """The data are normal with these errors."""


class ElectronWindowCard(AnalysisCard):
    """A card of ν-e events at a decay-at-rest source."""

    known_couplings: ClassVar[tuple[str, ...]] = ("mu_nue", "mu_numu")

    scattering: Literal["electron-window"]
    """Kind of card: ν-e events in windows of energy."""
    physics: WindowPhysics = WindowPhysics.model_construct()
    """Choices of the cross section."""
    detector: WindowDetector
    """Bins of the electron's energy."""
    normalisation: Normalisation
    """What the SM counts follow from."""
    pulls: WindowPulls
    """One-sigma widths of the pulls, as fractions."""
    exposures: Annotated[list[Measurement], Field(max_length=1, default_factory=list)]
    """The measurement, one table; or counts.file has it."""
    counts: CountsFile | None = None
    """A file of the measurement: counts and errors."""

    @model_validator(mode="after")
    def _lengths(self) -> ElectronWindowCard:
        if bool(self.exposures) == (self.counts is not None):
            raise PydanticCustomError(
                "one_measurement", "give exactly one of exposures (one table) and counts.file", {}
            )
        if not self.exposures:
            return self
        bins = len(self.detector.bin_edges_mev) - 1
        for key in ("observed_counts", "observed_errors"):
            found = len(getattr(self.exposures[0], key))
            if found != bins:
                raise below(f"exposures.0.{key}", f"has {found} values, the detector has {bins} bins")
        return self
