"""How much of a limit's uncertainty is the Monte Carlo error of the response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bayesnu.experiment.base import Experiment
from bayesnu.inference.laplace import laplace_posterior
from bayesnu.inference.likelihood import make_problem
from bayesnu.results.fits import Deterministic
from bayesnu.results.intervals import IntervalSet, check_kind
from bayesnu.results.limits import frequentist_interval, interval_json, laplace_interval
from bayesnu.results.posterior import finite_or_none


@dataclass(frozen=True)
class ResponseShare:
    """Intervals without the response's error in the likelihood, and its share of those with it.

    Attributes
    ----------
    description : str
        How the error enters.
    laplace, chi2 : IntervalSet
        Of the Laplace grid and of Δχ², the mean response taken for exact.
    laplace_share, chi2_share : float
        1 - (width without/width with)².
    """

    description: str
    laplace: IntervalSet
    chi2: IntervalSet
    laplace_share: float
    chi2_share: float


def width(interval: IntervalSet) -> float:
    """Return the length of a union of intervals."""
    return sum(high - low for low, high in interval.intervals)


def response_share(
    experiment: Experiment, inputs: Deterministic, laplace: IntervalSet, chi2: IntervalSet
) -> ResponseShare | None:
    """Return what the response's error adds to two intervals; None where it is not in the likelihood.

    Parameters
    ----------
    experiment : Experiment
    inputs : Deterministic
        Its prior serves both posteriors.
    laplace, chi2 : IntervalSet
        With the error.
    """
    exact = experiment.without_response_error()
    if exact is None:
        return None
    names = [laplace.coupling]
    grid = laplace_posterior(make_problem(exact, names), inputs.prior)
    bare = laplace_interval(grid, laplace.probability, check_kind(laplace.kind))
    bare_chi2 = frequentist_interval(make_problem(exact, names, inputs.chi2.statistic), chi2.probability)
    shares = [1 - (width(a) / width(b)) ** 2 for a, b in ((bare, laplace), (bare_chi2, chi2))]
    return ResponseShare(experiment.response_error, bare, bare_chi2, *shares)


def response_share_json(model: str, share: ResponseShare) -> dict[str, Any]:
    """Return the share as JSON-able values."""
    return {
        "description": share.description,
        "without": {"laplace": interval_json(model, share.laplace), "chi2": interval_json(model, share.chi2)},
        "share": {"laplace": finite_or_none(share.laplace_share), "chi2": finite_or_none(share.chi2_share)},
    }
