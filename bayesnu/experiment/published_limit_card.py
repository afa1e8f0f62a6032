"""The schema of a card of published limits, which stand in for the likelihoods of their experiments."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from bayesnu.experiment.card import AnalysisCard, Positive, Table, below
from bayesnu.physics.couplings import COUPLINGS, ELECTROMAGNETIC


class Limit(Table):
    """One published limit, and the form of the likelihood that stands in for that of its experiment.

    "half-normal in the square": -2 ln L = (θ²/σ)², with σ such that a share ``cl`` of θ² > 0 lies below ``upper``²;
    "normal": -2 ln L = ((θ - c)/σ)², c the middle of ``low`` and ``high`` and σ such that a share ``cl`` lies between.
    """

    coupling: str
    """What is limited: a coupling of the card."""
    form: Literal["half-normal in the square", "normal"]
    """Form of the likelihood: 'half-normal in the square' for moments, 'normal' for the other couplings."""
    cl: Annotated[float, Field(gt=0, lt=1)]
    """Probability of the published interval."""
    upper: Positive | None = None
    """Upper limit on a moment in μ_B."""
    low: float | None = None
    """Lower bound, in the coupling's unit."""
    high: float | None = None
    """Upper bound, in the coupling's unit."""
    source: Annotated[str, Field(min_length=1)]
    """Where the limit was published."""

    @model_validator(mode="after")
    def _bounds(self) -> Limit:
        if self.coupling not in ELECTROMAGNETIC:
            raise below("coupling", f"'{self.coupling}': allowed are {', '.join(ELECTROMAGNETIC)}")
        squared = COUPLINGS[self.coupling].squared_only
        if squared != (self.form == "half-normal in the square"):
            other = "normal" if self.form != "normal" else "half-normal in the square"
            raise below("form", f"'{self.form}': for {self.coupling} allowed is '{other}'")
        if squared and (self.upper is None or self.low is not None or self.high is not None):
            raise below("upper", "missing; a limit on a moment has the key upper alone")
        if not squared and (self.low is None or self.high is None or self.upper is not None):
            raise below("low", "missing; a limit of form 'normal' has the keys low and high")
        if not squared and not (self.low or 0.0) < (self.high or 0.0):
            raise below("low", f"{self.low:g} must be below high = {self.high:g}")
        return self

    @property
    def power(self) -> int:
        """The power of the coupling that is normal."""
        return 2 if self.form == "half-normal in the square" else 1

    @property
    def centre(self) -> float:
        """The middle of the normal, in the coupling's unit to the `power`."""
        return 0.0 if self.low is None or self.high is None else (self.low + self.high) / 2

    @property
    def sigma(self) -> float:
        """The width of the normal, in the coupling's unit to the `power`."""
        from scipy.special import ndtri

        reach = self.upper**2 if self.upper is not None else ((self.high or 0.0) - (self.low or 0.0)) / 2
        return float(reach / ndtri((1 + self.cl) / 2))


class PublishedLimitCard(AnalysisCard):
    """A card of published limits, which must say that their likelihoods are approximate."""

    known_couplings: ClassVar[tuple[str, ...]] = ELECTROMAGNETIC

    scattering: Literal["published-limit"]
    """Kind of card: limits that others published."""
    approximate: bool
    """Must be true: a limit alone does not say what the likelihood of its experiment is."""
    limits: Annotated[list[Limit], Field(min_length=1)]
    """The published limits, a table for each."""

    @field_validator("approximate")
    @classmethod
    def _said(cls, value: bool) -> bool:
        if not value:
            raise ValueError("must be true: a published limit enters as an approximate likelihood, or not at all")
        return value

    @model_validator(mode="after")
    def _same_couplings(self) -> PublishedLimitCard:
        for k, limit in enumerate(self.limits):
            if limit.coupling not in self.couplings:
                raise below(f"limits.{k}.coupling", f"'{limit.coupling}': is not among the card's couplings")
        for name in self.couplings:
            if all(limit.coupling != name for limit in self.limits):
                raise below(f"couplings.{name}", "no limit of the card is about it")
        return self
