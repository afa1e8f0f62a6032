"""A published limit as an approximate likelihood: one measurement with a normal error of a coupling or its square."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import CardError
from bayesnu.experiment.base import Coordinates, MeasuredExperiment
from bayesnu.experiment.expectation import CountModel, Monomial
from bayesnu.experiment.load import LoadedCard
from bayesnu.experiment.published_limit_card import PublishedLimitCard

Array = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class PublishedLimitExperiment(MeasuredExperiment):
    """One observation for each limit: 1 is measured with the error 1 where 1 + (θⁿ - c)/σ is expected."""

    @property
    def card(self) -> PublishedLimitCard:
        """The validated card."""
        if not isinstance(self.loaded.card, PublishedLimitCard):
            raise CardError("scattering: this needs a card of published limits")
        return self.loaded.card

    @property
    def alone(self) -> bool:
        """It has no counts to check, to predict or to run."""
        return False

    @property
    def approximations(self) -> tuple[str, ...]:
        """One line for each limit, which says what stands in for what."""
        return tuple(
            f"APPROXIMATE: {self.card.name} is not a likelihood but the published limit on {limit.coupling} "
            f"({100 * limit.cl:g}% C.L., {limit.source}) taken as {limit.form}"
            for limit in self.card.limits
        )

    @property
    def errors(self) -> Array:
        """Ones: the unit of an observation is its error."""
        return np.ones(self.data.size)

    def observation_coordinates(self) -> Coordinates:
        """Return exposure, bin and bin edges as coordinates on ``obs``; a limit has no bins."""
        number = self.data.size
        label = {"units": "1", "long_name": "published limit", "scale": "linear"}
        return {
            "exposure": ("obs", ["published limit"] * number),
            "bin": ("obs", list(range(number))),
            "bin_lo": ("obs", [float(k) for k in range(number)], label),
            "bin_hi": ("obs", [float(k + 1) for k in range(number)], label),
        }

    def at(self, m_N: float) -> PublishedLimitExperiment:
        """Return the experiment itself: it has no transition moments."""
        del m_N
        return self


def assemble(loaded: LoadedCard, card: PublishedLimitCard) -> PublishedLimitExperiment:
    """Return the experiment of a card of published limits."""
    couplings = tuple(card.couplings)
    number = len(card.limits)
    monomials: dict[Monomial, Array] = {(): np.zeros(number)}
    with np.errstate(all="ignore"):
        for k, limit in enumerate(card.limits):
            monomials[()][k] = 1 - np.divide(limit.centre, limit.sigma)
            own = monomials.setdefault(((couplings.index(limit.coupling), limit.power),), np.zeros(number))
            own[k] = np.divide(1.0, limit.sigma)
    arrays = np.stack(list(monomials.values()))[None]
    if not np.isfinite(arrays).all():
        raise CardError("limits: a bound is too small or too large to be a limit")
    model = CountModel(couplings, tuple(monomials), ((),), ("published limit",), (), np.empty(0), arrays)
    return PublishedLimitExperiment(loaded, model, np.ones(number), True, {"card": loaded.path})
