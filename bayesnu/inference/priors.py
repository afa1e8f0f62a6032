"""Priors of the couplings: densities, draws, and the variable in which each is sampled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import UsageError
from bayesnu.experiment.base import Experiment
from bayesnu.experiment.card import (
    HalfNormalPrior,
    JeffreysPrior,
    LogUniformPrior,
    NormalPrior,
    PriorCard,
    UniformPrior,
    UniformSquaredPrior,
)
from bayesnu.inference.jeffreys import JeffreysTable, jeffreys_table
from bayesnu.inference.likelihood import Problem, bounded_range, few_fits, likelihood_range, make_problem
from bayesnu.physics.couplings import COUPLINGS, Coupling

Array = NDArray[np.float64]
AUTOMATIC_RANGE = 30.0
"""Δχ² by which the likelihood has fallen at both ends of a range that the program finds."""
NEGLIGIBLE = 100.0
"""Δχ² outside which the posterior is zero to machine precision, whatever the prior."""


@dataclass(frozen=True)
class Prior:
    """A prior density of one coupling, in its own unit.

    Attributes
    ----------
    coupling : Coupling
    kind : {"uniform", "normal", "half-normal", "uniform-squared", "log-uniform", "jeffreys"}
        A normal prior of a coupling that enters squared only is truncated at 0: "half-normal".
    low, high : float
        Support; infinite for the normal kinds.
    sigma : float
        Width of the normal kinds; NaN for the others.
    automatic : bool
        Whether the program found the range.
    table : JeffreysTable, optional
        The density of kind "jeffreys".
    origin : float
        What is added to the value to be shown: the card's sin²θ_W, from which ``sin2_theta_w`` counts.
    """

    coupling: Coupling
    kind: Literal["uniform", "normal", "half-normal", "uniform-squared", "log-uniform", "jeffreys"]
    low: float
    high: float
    sigma: float = math.nan
    automatic: bool = False
    table: JeffreysTable | None = None
    origin: float = 0.0

    @property
    def reach(self) -> tuple[float, float]:
        """Finite bounds that hold all of the prior's mass (to 1e-18 for the normal kinds)."""
        if self.kind in ("normal", "half-normal"):
            return (-9 * self.sigma if self.kind == "normal" else 0.0), 9 * self.sigma
        return self.low, self.high

    @property
    def lowest(self) -> float:
        """Least value that the prior allows; the ends of a range that the program found are no bounds."""
        if self.automatic:
            return 0.0 if self.coupling.squared_only else -math.inf
        return self.low

    def log_density(self, theta: Array) -> Array:
        """Return ln p(θ), normalised, per unit of the coupling; -inf outside the support."""
        theta = np.asarray(theta, dtype=float)
        inside = (theta >= self.low) & (theta <= self.high)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.kind == "uniform":
                density = np.full_like(theta, -math.log(self.high - self.low))
            elif self.kind == "uniform-squared":
                density = np.log(2 * np.abs(theta)) - 2 * math.log(self.high)
            elif self.table is not None:
                density = self.table.log_density(np.clip(theta, self.low, self.high))
            elif self.kind == "log-uniform":
                density = -np.log(np.abs(theta)) - math.log(math.log(self.high / self.low))
            else:
                norm = math.log(2.0) if self.kind == "half-normal" else 0.0
                density = norm - (theta / self.sigma) ** 2 / 2 - math.log(self.sigma * math.sqrt(2 * math.pi))
        return np.asarray(np.where(inside, density, -np.inf))

    def draw(self, rng: np.random.Generator, size: int) -> Array:
        """Return independent draws of θ."""
        if self.table is not None:
            return self.table.draw(rng, size)
        u = rng.random(size)
        if self.kind == "uniform":
            return self.low + u * (self.high - self.low)
        if self.kind == "uniform-squared":
            return self.high * np.sqrt(u)
        if self.kind == "log-uniform":
            return self.low * (self.high / self.low) ** u
        normal = self.sigma * rng.standard_normal(size)
        return np.abs(normal) if self.kind == "half-normal" else normal

    def describe(self) -> str:
        """Return one phrase with kind, bounds and unit."""
        # Of a number there is no unit to name.
        unit = "" if self.coupling.unit == "1" else f" {self.coupling.unit}"
        found = f", range found (Δχ² = {AUTOMATIC_RANGE:g})" if self.automatic else ""
        if self.kind in ("normal", "half-normal"):
            about = f" about {self.origin:g}" if self.origin else ""
            return f"{self.kind}{about}, sigma {self.sigma:.4g}{unit}"
        return f"{self.kind}, {self.low + self.origin:.4g} to {self.high + self.origin:.4g}{unit}{found}"


def resolve_prior(card: PriorCard | None, problem: Problem) -> Prior:
    """Return the prior of a one-coupling problem: the card's, or uniform over the range where the likelihood lives."""
    coupling = COUPLINGS[problem.couplings[0]]
    if card is None:
        return Prior(coupling, "uniform", *automatic_range(problem), automatic=True)
    if isinstance(card, JeffreysPrior):
        if card.high is None:
            return jeffreys_prior(problem, *automatic_range(problem), automatic=True)
        return jeffreys_prior(problem, card.low or 0.0, card.high)
    if isinstance(card, UniformPrior):
        return Prior(coupling, "uniform", card.low, card.high)
    if isinstance(card, UniformSquaredPrior):
        return Prior(coupling, "uniform-squared", 0.0, card.high)
    if isinstance(card, LogUniformPrior):
        return Prior(coupling, "log-uniform", card.low, card.high)
    if isinstance(card, HalfNormalPrior) or (isinstance(card, NormalPrior) and coupling.squared_only):
        return Prior(coupling, "half-normal", 0.0, math.inf, card.sigma)
    return Prior(coupling, "normal", -math.inf, math.inf, card.sigma)


def automatic_range(problem: Problem) -> tuple[float, float]:
    """Return the range of a one-coupling problem, in its own unit, at whose ends Δχ² is `AUTOMATIC_RANGE`.

    From 0 for a coupling that enters squared only, unless the data exclude 0.
    """
    low, high = (float(bound * problem.scales[0]) for bound in bounded_range(problem, AUTOMATIC_RANGE))
    return low, high


def jeffreys_prior(problem: Problem, low: float, high: float, *, automatic: bool = False) -> Prior:
    """Return Jeffreys' prior of a one-coupling problem between two values in the coupling's own unit."""
    table = jeffreys_table(problem, low, high)
    return Prior(COUPLINGS[problem.couplings[0]], "jeffreys", low, high, automatic=automatic, table=table)


def one_coupling(experiment: Experiment, coupling: str, *, few: bool = False) -> tuple[Problem, Prior]:
    """Return the Poisson problem of one of the card's couplings, and its prior; see `few_fits` for ``few``."""
    problem = make_problem(experiment, [coupling])
    problem = few_fits(problem) if few else problem
    return problem, resolve_prior(experiment.card.couplings[coupling].prior, problem)


def mass_prior(experiment: Experiment) -> Prior:
    """Return the prior of ``m_N`` (MeV) of the card's ``sterile.m_N_prior``.

    Raises
    ------
    UsageError
        If the card has none.
    """
    card = experiment.card.sterile.m_N_prior
    if card is None:
        raise UsageError(f"{experiment.loaded.where}: sterile.m_N_prior: missing; a fit with m_N free needs it")
    return Prior(COUPLINGS["m_N"], "uniform" if isinstance(card, UniformPrior) else "log-uniform", card.low, card.high)


def mixing_angle_prior(experiment: Experiment) -> Prior:
    """Return the prior of ``sin2_theta_w``: normal about the card's value; flat from 0 to 1 if its error is "none"."""
    value, error = experiment.sin2_theta_w
    if error is None:
        return Prior(COUPLINGS["sin2_theta_w"], "uniform", -value, 1 - value, origin=value)
    return Prior(COUPLINGS["sin2_theta_w"], "normal", -math.inf, math.inf, error, origin=value)


@dataclass(frozen=True)
class SampledVariable:
    """The variable v that NUTS moves in, and how the coupling follows from it, in scaled units.

    Attributes
    ----------
    kind : {"uniform", "normal", "half-normal"}
        Distribution of v.
    low, high : float
        Bounds of a uniform v.
    sigma : float
        Width of a normal v.
    map : {"identity", "folded", "square-root", "exponential"}
        t = v, |v|, √|v| or exp v. Folding gives a coupling that enters squared
        only a variable without a boundary at 0, where NUTS would diverge.
    table : JeffreysTable, optional
        Makes the density of v what it is when uniform times √K of the table.
    """

    kind: Literal["uniform", "normal", "half-normal"]
    low: float
    high: float
    sigma: float
    map: Literal["identity", "folded", "square-root", "exponential"]
    table: JeffreysTable | None = None

    def scaled_coupling(self, v: Array) -> Array:
        """Return the coupling in scaled units at values of v."""
        if self.map == "folded":
            return np.abs(v)
        if self.map == "square-root":
            return np.sqrt(np.abs(v))
        return np.exp(v) if self.map == "exponential" else v

    @property
    def reach(self) -> tuple[float, float]:
        """Finite bounds that hold all of the distribution of v (to 1e-18 for the normal kinds)."""
        if self.kind == "uniform":
            return self.low, self.high
        return (-9 * self.sigma if self.kind == "normal" else 0.0), 9 * self.sigma


def sampled_variable(prior: Prior, problem: Problem) -> SampledVariable:
    """Return the sampled variable of the prior of one of a problem's couplings.

    If it is the only one, bounds of a uniform variable are drawn in to where Δχ²
    stays below `NEGLIGIBLE`, so that a very wide prior does not leave the sampler
    lost. With other couplings free no such range is known.
    """
    alone = len(problem.couplings) == 1
    scale = float(problem.scales[problem.couplings.index(prior.coupling.name)])
    low, high, sigma = prior.low / scale, prior.high / scale, prior.sigma / scale
    if prior.kind == "normal":
        return SampledVariable("normal", low, high, sigma, "identity")
    if prior.kind == "half-normal" and prior.coupling.squared_only:
        return SampledVariable("normal", -math.inf, math.inf, sigma, "folded")
    if prior.kind == "half-normal":
        return SampledVariable("half-normal", 0.0, math.inf, sigma, "identity")
    reach_low, reach_high = likelihood_range(problem, NEGLIGIBLE) if alone else (-math.inf, math.inf)
    if low < reach_high and high > reach_low:
        low, high = max(low, reach_low), min(high, reach_high)
    if prior.kind == "log-uniform":
        return SampledVariable("uniform", math.log(low), math.log(high), math.nan, "exponential")
    table = prior.table
    if prior.kind == "uniform-squared" or (table is not None and table.power):
        # A Jeffreys prior that begins as θ is smooth in θ².
        return SampledVariable("uniform", -(high**2), high**2, math.nan, "square-root", table)
    if prior.coupling.squared_only and low == 0:
        return SampledVariable("uniform", -high, high, math.nan, "folded", table)
    return SampledVariable("uniform", low, high, math.nan, "identity", table)
