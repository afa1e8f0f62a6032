"""How much a Bayesian limit owes to its prior: limits under several, beside each other, and which to quote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesnu.errors import ConvergenceError
from bayesnu.experiment.base import Experiment
from bayesnu.inference.laplace import GridPosterior, laplace_posterior
from bayesnu.inference.likelihood import Problem
from bayesnu.inference.marginal import MarginalLikelihood, marginal_likelihood
from bayesnu.inference.priors import Prior, automatic_range, jeffreys_prior, one_coupling
from bayesnu.inference.profile import delta_chi2_level
from bayesnu.results.intervals import IntervalSet, Kind, check_kind, check_probability, percent
from bayesnu.results.lazy import leave_jax
from bayesnu.results.limits import check_responds, default_kind, interval_json, laplace_interval, naming
from bayesnu.results.modes import Mode, find_modes
from bayesnu.results.posterior import finite_or_none
from bayesnu.shown import Shown

if TYPE_CHECKING:
    import xarray as xr

FLOORS = (1e-3, 1e-6)
"""Of the log-uniform priors, as fractions of the range's upper end."""
NORMAL_SHARE = 0.5
"""Sigma of the (half-)normal prior, as a fraction of the range's upper end: about as wide as the limit itself."""
SENSITIVE = 0.05
"""Power-scaling sensitivity from which ArviZ's authors speak of a sensitive posterior (arXiv:2107.14054)."""
CARDS_OWN = "the card's own"
FLAT_SQUARED = "flat in the square"


@dataclass(frozen=True)
class PriorLimit:
    """The limit under one prior.

    Attributes
    ----------
    label : str
    prior : Prior
    interval : IntervalSet
    doubled : IntervalSet or None
        With the range of an improper prior twice as wide; None for a proper one.
    """

    label: str
    prior: Prior
    interval: IntervalSet
    doubled: IntervalSet | None

    @property
    def change(self) -> float | None:
        """The largest move of a bound when the range is doubled, as a fraction of the largest bound."""
        return None if self.doubled is None else relative_change(self.interval, self.doubled)


@dataclass(frozen=True, repr=False)
class PriorStudy(Shown):
    """Limits on one coupling under several priors, from one Laplace grid.

    Attributes
    ----------
    coupling : str
    limits : tuple of PriorLimit
        The card's own first.
    left_out : tuple of str
        Priors that this coupling cannot have, each with the reason.
    modes : tuple of Mode
        Of the posterior under the card's own prior.
    advice : str
        Which number to quote, and why.
    """

    coupling: str
    limits: tuple[PriorLimit, ...]
    left_out: tuple[str, ...]
    modes: tuple[Mode, ...]
    advice: str

    @property
    def own(self) -> PriorLimit:
        """The limit under the card's own prior."""
        return self.limits[0]


def relative_change(one: IntervalSet, other: IntervalSet) -> float:
    """Return the largest distance of bounds as a fraction of the largest; infinite if the pieces differ in number."""
    if len(one.intervals) != len(other.intervals):
        return float("inf")
    first, second = np.array(one.intervals), np.array(other.intervals)
    known = np.isfinite(first) & np.isfinite(second)
    return float(np.abs(first - second)[known].max() / np.abs(first[known]).max())


def alternatives(problem: Problem, own: Prior) -> tuple[list[tuple[str, Prior]], tuple[str, ...]]:
    """Return the priors to compare, each with a label, and those that are left out, each with a reason.

    Ranges are those that the program finds (Δχ² of 30 at the ends), or the own prior's where the data find none.
    """
    try:
        (low, high), found = automatic_range(problem), True
    except ConvergenceError:
        (low, high), found = own.reach, False
    coupling = own.coupling
    flat = Prior(coupling, "uniform", low, high, automatic=found)
    if not coupling.squared_only:
        width = NORMAL_SHARE * max(abs(low), abs(high))
        priors = [
            ("flat", flat),
            ("normal", Prior(coupling, "normal", -np.inf, np.inf, width)),
            ("Jeffreys", jeffreys_prior(problem, low, high, automatic=found)),
        ]
        return priors, (
            f"{FLAT_SQUARED}: {coupling.name} has a sign, and counts are not a function of its square",
            f"log-uniform: {coupling.name} may be 0 or negative, where no logarithm is",
        )
    priors = [
        ("flat", flat),
        (FLAT_SQUARED, Prior(coupling, "uniform-squared", 0.0, high, automatic=found)),
        *((f"log-uniform, floor {f:g}", Prior(coupling, "log-uniform", f * high, high)) for f in FLOORS),
        ("Jeffreys", jeffreys_prior(problem, 0.0, high, automatic=found)),
        ("half-normal", Prior(coupling, "half-normal", 0.0, np.inf, NORMAL_SHARE * high)),
    ]
    return priors, ()


def doubled_range(prior: Prior, problem: Problem) -> Prior | None:
    """Return an improper prior cut off at a range twice as wide; None for a proper one.

    About the middle of the range, or from the same lower end for a coupling that enters squared only.
    """
    low, high = prior.low, prior.high
    grown = low if prior.coupling.squared_only else low - (high - low) / 2
    top = high + (high - low) / (1 if prior.coupling.squared_only else 2)
    if prior.kind == "jeffreys":
        return jeffreys_prior(problem, grown, top)
    return replace(prior, low=grown, high=top) if prior.kind in ("uniform", "uniform-squared") else None


def study_priors(
    problem: Problem,
    own: Prior,
    cl: float,
    kind: Kind,
    marginal: MarginalLikelihood | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PriorStudy:
    """Return the credible limits of a one-coupling problem under several priors.

    The marginal likelihood is computed once; each prior multiplies it.

    Parameters
    ----------
    problem : Problem
    own : Prior
        The card's own prior, or the flat one that stands for it.
    cl : float
    kind : {"hdi", "eti", "upper"}
    marginal : MarginalLikelihood, optional
        Of this problem, if it is known already.
    progress : callable, optional
        Receives the number of priors that are done, and of all.

    Raises
    ------
    ConvergenceError
        If the minimisation over the pulls fails, or the card has no Jeffreys prior.
    """
    shared = marginal_likelihood(problem, own.reach) if marginal is None else marginal

    def posterior(prior: Prior) -> GridPosterior:
        return laplace_posterior(problem, prior, marginal=shared)

    def bound(label: str, prior: Prior) -> PriorLimit:
        wider = doubled_range(prior, problem)
        doubled = None if wider is None else laplace_interval(posterior(wider), cl, kind)
        return PriorLimit(label, prior, laplace_interval(posterior(prior), cl, kind), doubled)

    priors, left_out = alternatives(problem, own)
    # A card without a prior has the flat one.
    same = own.automatic and own.kind == "uniform"
    named = [(f"flat ({CARDS_OWN})", own), *priors[1:]] if same else [(CARDS_OWN, own), *priors]
    limits: list[PriorLimit] = []
    for label, prior in named:
        if progress is not None:
            progress(len(limits), len(named))
        limits.append(bound(label, prior))
    grid = posterior(own)
    # Data that say nothing leave a flat prior flat, without a densest set.
    pieces = len(laplace_interval(grid, cl, "hdi").intervals) if np.ptp(grid.density) > 0 else 1
    allowed = shared.delta(0.0) <= delta_chi2_level(cl, 1)
    modes = find_modes(grid)
    text = advice(limits, modes, pieces, zero_allowed=allowed, power=signal_power(problem))
    return PriorStudy(problem.couplings[0], tuple(limits), left_out, modes, text)


def card_study(
    experiment: Experiment,
    coupling: str,
    cl: float = 0.90,
    kind: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PriorStudy:
    """Return the study of one coupling of a card; see `study_priors`.

    Raises
    ------
    UsageError
        For an unknown coupling or kind, a probability outside (0, 1), or a coupling that no count depends on.
    """
    check_responds(experiment, coupling)
    check_probability(cl)
    chosen = default_kind(coupling) if kind is None else check_kind(kind)
    with naming(experiment, coupling):
        return study_priors(*one_coupling(experiment, coupling), cl, chosen, progress=progress)


def signal_power(problem: Problem) -> int:
    """Return the lowest power of a one-coupling problem's coupling that any count has."""
    model = problem.model
    used = [monomial for m, monomial in enumerate(model.monomials) if monomial and model.arrays[:, m].any()]
    return min(sum(n for _, n in monomial) for monomial in used)


def advice(
    limits: Sequence[PriorLimit], modes: Sequence[Mode], pieces: int, *, zero_allowed: bool, power: int = 2
) -> str:
    """Say in one or two sentences which number to quote, and why.

    Parameters
    ----------
    limits : sequence of PriorLimit
        The card's own first.
    modes : sequence of Mode
        Of the posterior under the card's own prior.
    pieces : int
        Of its highest-density set.
    zero_allowed : bool
        Whether Δχ² at 0 is below the level of the limits' probability.
    power : int
        Lowest power of the coupling with which counts grow; see `signal_power`.
    """
    own = limits[0]
    name, unit = own.prior.coupling.name, own.prior.coupling.unit
    level = percent(own.interval.probability)
    places = " and ".join(f"{mode.peak:.3g} {unit} ({mode.share:.0%})" for mode in modes)
    if pieces > 1:
        return (
            f"Quote the {level} highest-density set as the union of its {pieces} pieces (modes at {places}): one "
            "interval around both would hold values that the data exclude, and one piece alone would hide the other "
            "solution."
        )
    if len(modes) > 1:
        return (
            f"Quote the {level} highest-density set, and that it holds {len(modes)} modes, at {places}: the data do "
            "not tell them apart, and a mean or a median lies where neither is."
        )
    if not own.prior.coupling.squared_only:
        split = [item.label for item in limits if len(item.interval.intervals) > 1]
        whole = [item.interval for item in limits if len(item.interval.intervals) == 1]
        spread = max(relative_change(own.interval, interval) for interval in whole)
        torn = f", and that of {', '.join(split)} leaves out values where the counts hardly change" if split else ""
        return (
            f"Quote the interval under {CARDS_OWN} prior as it stands: one mode and no boundary; the other priors here "
            f"move its bounds by at most {spread:.1%} of the largest{torn}."
        )
    if not zero_allowed:
        return (
            f"Quote the two-sided {level} set (Δχ² or highest density), not an upper limit: {name} = 0 is outside the "
            f"{level} Δχ² interval, and an upper limit alone would hide that."
        )
    if power != 2:
        return (
            f"Quote the limit together with its prior: counts grow with the power {power} of {name}, in which no prior "
            "here is flat, so that each favours small signals or large ones. Feldman and Cousins' set needs no prior."
        )
    squared = next(item for item in limits if item.label == FLAT_SQUARED).interval.intervals[-1][1]
    flat_one = next(item for item in limits if item.label.startswith("flat") and item.prior.kind == "uniform")
    flat = flat_one.interval.intervals[-1][1]
    informative = own.prior.kind not in ("uniform", "uniform-squared", "jeffreys")
    beside = f", beside that under {CARDS_OWN} ({own.prior.kind}) prior" if informative else ""
    side = "lower" if flat < squared else "higher"
    return (
        f"Quote the limit that is {FLAT_SQUARED}, {squared:.4g} {unit}{beside}: the data allow 0, and counts depend on "
        f"the square of {name} alone, in which this prior is flat. Flat in {name} itself the limit is {flat:.4g}, "
        f"{abs(1 - flat / squared):.0%} {side} by the choice of variable alone."
    )


@dataclass(frozen=True)
class PowerScaling:
    """Sensitivity of a posterior to the power of the coupling's own prior and of the likelihood.

    Attributes
    ----------
    prior, likelihood : float or None
        None where it is not defined.
    text : str
        What that means.
    """

    prior: float | None
    likelihood: float | None
    text: str


def power_scaling(tree: xr.DataTree, own: PriorLimit) -> PowerScaling:
    """Return ArviZ's power-scaling sensitivity (arXiv:2107.14054) of a fit to the coupling's own prior.

    The cumulative Jensen-Shannon distance of the posterior of the coupling when the density of the prior, or the
    likelihood, is raised to a power near 1, per unit of log₂ of the power. A flat density stays flat at any power.

    Parameters
    ----------
    tree : DataTree
        Of `posterior_tree`.
    own : PriorLimit
        The limit under the prior of the fit.
    """
    from arviz_stats import psense

    leave_jax()
    coupling = own.prior.coupling.name
    if own.prior.kind == "uniform":
        moved = "" if own.change is None else f"; with its range doubled, the limit moves by {own.change:.1e} of it"
        return PowerScaling(None, None, f"not defined for a flat prior{moved}")
    prior, likelihood = (
        float(psense(tree, var_names=[coupling], group=group, group_var_names=names)[coupling])
        for group, names in (("prior", [coupling]), ("likelihood", None))
    )
    if prior < SENSITIVE:
        text = f"the prior's power hardly matters (below {SENSITIVE:g})"
    elif likelihood < SENSITIVE:
        text = "the prior rules and the data say little: quote the prior with the limit"
    else:
        text = "prior and data both matter: quote the prior with the limit"
    return PowerScaling(prior, likelihood, text)


def study_json(model: str, study: PriorStudy) -> dict[str, Any]:
    """Return a study as JSON-able values."""
    return {
        "limits": [
            {
                "label": item.label,
                "prior": item.prior.describe(),
                "prior_kind": item.prior.kind,
                "limit": interval_json(model, item.interval),
                "range_doubled": None if item.doubled is None else interval_json(model, item.doubled)["intervals"],
                "range_doubled_change": None if item.change is None else finite_or_none(item.change),
            }
            for item in study.limits
        ],
        "left_out": list(study.left_out),
        "modes": [{"peak": mode.peak, "share": mode.share} for mode in study.modes],
        "advice": study.advice,
    }
