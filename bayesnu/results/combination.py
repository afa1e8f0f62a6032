"""Limits of several experiments together, beside those of each alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bayesnu.errors import UsageError, silent, unknown_name
from bayesnu.experiment.base import Experiment
from bayesnu.experiment.combined import CombinedExperiment
from bayesnu.results.intervals import IntervalSet
from bayesnu.results.limits import BAYESIAN, interval_json, limit
from bayesnu.shown import Shown

METHODS = ("chi2", "poisson", "laplace", "nuts")
"""What limits of a combination are found by; no pseudo-experiments of published limits can be made."""
DEFAULT_METHODS = METHODS[:3]


@dataclass(frozen=True)
class CombinedLimit:
    """A limit of a combination.

    Attributes
    ----------
    together : IntervalSet
    alone : mapping of str to IntervalSet
        By the same method, of each card that fits the coupling and is no published limit; none for "nuts".
    """

    together: IntervalSet
    alone: Mapping[str, IntervalSet]


@dataclass(frozen=True, repr=False)
class Combination(Shown):
    """Limits of several experiments together.

    Attributes
    ----------
    model : str
        The cards' names, joined.
    approximations : tuple of str
        What stands in for a likelihood that is not known, a line each.
    pulls : tuple of str
        Of the likelihood; those of one card alone are ``CARD:PULL``.
    limits : tuple of CombinedLimit
        By coupling, then by method.
    """

    model: str
    approximations: tuple[str, ...]
    pulls: tuple[str, ...]
    limits: tuple[CombinedLimit, ...]


def combined_limits(
    experiment: CombinedExperiment,
    couplings: Sequence[str] = (),
    methods: Sequence[str] = (),
    *,
    cl: float = 0.90,
    draws: int | None = None,
    chains: int | None = None,
    seed: int | None = None,
    notice: Callable[[str], None] = silent,
    progress: Callable[[int, int], None] | None = None,
    allow_unconverged: bool = False,
) -> Combination:
    """Return the limit on each coupling, the others 0, by each method.

    Parameters
    ----------
    experiment : CombinedExperiment
    couplings : sequence of str
        All of the cards' by default.
    methods : sequence of {"chi2", "poisson", "laplace", "nuts"}
        The first three by default; "chi2" is left out then where it has no variance.
    cl : float
        Confidence level or credibility.
    draws, chains, seed : int, optional
        Of "nuts".
    notice : callable, optional
        Receives one-line notices.
    progress : callable, optional
        Receives how many limits are found, and of how many.
    allow_unconverged : bool
        See `bayesnu.results.limits.limit`.

    Raises
    ------
    UsageError
        For an unknown coupling or method, or an option of the sampler without "nuts".
    """
    for name in methods:
        if name not in METHODS:
            raise unknown_name("method", name, METHODS)
    given = {"draws": draws, "chains": chains, "seed": seed}
    wishes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if wishes and "nuts" not in methods:
        raise UsageError(f"{next(iter(wishes))}: is for the method nuts; give --method nuts")
    names = [experiment.fitted(name) for name in couplings] or list(experiment.card.couplings)
    chosen = list(methods) or [m for m in DEFAULT_METHODS if m != "chi2" or experiment.variances]

    def find(where: Experiment, coupling: str, method: str, tell: Callable[[str], None]) -> IntervalSet:
        options = wishes if method == "nuts" else {}
        allow = allow_unconverged and method in BAYESIAN
        return limit(where, coupling, method=method, cl=cl, notice=tell, allow_unconverged=allow, **options)

    found: list[CombinedLimit] = []
    for coupling in names:
        for method in chosen:
            if progress is not None:
                progress(len(found), len(names) * len(chosen))
            alone = {
                member.card.name: find(member, coupling, method, silent)
                for member in experiment.members
                if coupling in member.card.couplings
                and method != "nuts"
                and member.alone
                and (method != "chi2" or member.variances)
            }
            found.append(CombinedLimit(find(experiment, coupling, method, notice), alone))
    return Combination(experiment.card.name, experiment.approximations, experiment.model.pulls, tuple(found))


def combination_json(combination: Combination) -> dict[str, Any]:
    """Return limits of a combination as JSON-able values; what is approximate first."""
    name = combination.model
    return {
        "approximate": list(combination.approximations),
        "model": name,
        "pulls": list(combination.pulls),
        "limits": [
            interval_json(name, item.together)
            | {"alone": {member: interval_json(member, own) for member, own in item.alone.items()}}
            for item in combination.limits
        ],
    }
