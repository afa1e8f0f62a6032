"""One limit by one method, from an experiment to an interval set."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError, UnconvergedError, UsageError, nearest, silent, unknown_name
from bayesnu.experiment.base import Experiment
from bayesnu.inference.laplace import GridPosterior, laplace_posterior
from bayesnu.inference.likelihood import Problem, make_problem
from bayesnu.inference.priors import Prior, one_coupling
from bayesnu.inference.profile import delta_chi2_intervals
from bayesnu.inference.sampling import Sampler
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.results.diagnostics import CouplingDraws, judge
from bayesnu.results.intervals import (
    IntervalSet,
    Kind,
    check_kind,
    check_probability,
    draws_interval,
    exact,
    grid_interval,
    relative_error,
)

Method = Literal["chi2", "poisson", "laplace", "nuts"]
METHODS = get_args(Method)
BAYESIAN = ("laplace", "nuts")
DEFAULT_DRAWS = 6000
DEFAULT_CHAINS = 4
DEFAULT_SEED = 20211122
TUNE = 1000
ERROR_GOAL = 0.02
"""Monte Carlo error of a quoted bound, as a fraction of it, that `limit` reaches by drawing more."""
MOST_DRAWS = 64_000


def default_kind(coupling: str) -> Kind:
    """Return the kind quoted by default.

    Equal-tailed for the mass of N, an upper limit if the coupling enters squared only, else the densest set.
    """
    if coupling == "m_N":
        return "eti"
    return "upper" if COUPLINGS[coupling].squared_only else "hdi"


def nuts_interval(draws: NDArray[np.float64], prior: Prior, cl: float, kind: Kind) -> IntervalSet:
    """Return the credible interval of posterior draws, shape (chains, draws)."""
    support, logarithmic = (prior.low, prior.high), prior.kind == "log-uniform"
    intervals, error = draws_interval(draws, cl, kind, support, logarithmic)
    if kind == "upper":
        intervals = ((prior.lowest, intervals[0][1]),)
    return IntervalSet(prior.coupling.name, prior.coupling.unit, cl, kind, "nuts", intervals, error)


def laplace_interval(posterior: GridPosterior, cl: float, kind: Kind) -> IntervalSet:
    """Return the credible interval of a grid posterior; deterministic."""
    coupling = COUPLINGS[posterior.coupling]
    logarithmic = posterior.prior.kind == "log-uniform"
    intervals = grid_interval(posterior.values, posterior.density, cl, kind, posterior.prior.lowest, logarithmic)
    return IntervalSet(coupling.name, coupling.unit, cl, kind, "laplace", intervals, exact(intervals))


def frequentist_interval(problem: Problem, cl: float) -> IntervalSet:
    """Return the Δχ² interval of (3.1), or of the Poisson deviance; asymptotic, deterministic."""
    coupling = COUPLINGS[problem.couplings[0]]
    intervals = delta_chi2_intervals(problem, cl)
    return IntervalSet(coupling.name, coupling.unit, cl, "delta_chi2", problem.statistic, intervals, exact(intervals))


def sample_single(
    problem: Problem,
    prior: Prior,
    sampler: Sampler,
    cl: float,
    kind: Kind,
    chains: int,
    seed: int,
    draws: int | None,
    notice: Callable[[str], None],
    allow_unconverged: bool = False,
) -> IntervalSet:
    """Sample one coupling until the Monte Carlo error of the quoted bounds is below `ERROR_GOAL` of them.

    A given number of draws is kept as it is. A warning about the draws goes to ``notice``.

    Raises
    ------
    UnconvergedError
        If the verdict on the draws is "fail", unless ``allow_unconverged``.
    """
    number = draws or DEFAULT_DRAWS
    while True:
        result = sampler.sample(problem, [prior], draws=number, chains=chains, tune=TUNE, seed=seed)
        interval = nuts_interval(result.theta[0], prior, cl, kind)
        worst = relative_error(interval)
        if draws is not None or worst <= ERROR_GOAL or number >= MOST_DRAWS:
            break
        number = min(MOST_DRAWS, int(number * max(2.0, 1.2 * (worst / ERROR_GOAL) ** 2)))
    grid = laplace_posterior(problem, prior)
    stats = result.sample_stats
    drawn = CouplingDraws(
        prior.coupling.name,
        result.theta[0],
        result.pulls,
        problem.model.pulls,
        np.asarray(stats["diverging"].values, dtype=bool),
        np.asarray(stats["energy"].values),
    )
    found = judge(drawn, interval, laplace_interval(grid, cl, kind), grid)
    why = "; ".join(found.reasons)
    if found.verdict != "fail":
        if found.verdict == "warn":
            notice(f"{prior.coupling.name}: take this limit with care: {why}")
        return interval
    if allow_unconverged:
        return replace(interval, unconverged=found.reasons)
    raise UnconvergedError(
        f"{prior.coupling.name}: the limit is withheld, since the sampler's verdict is fail: {why}; {found.hint}, or "
        "see it nevertheless with --allow-unconverged"
    )


@contextmanager
def naming(experiment: Experiment, coupling: str) -> Iterator[None]:
    """Say in what does not converge which card, coupling and prior it was."""
    prior = experiment.card.couplings[coupling].prior
    given = "" if prior is None else f".prior = {json.dumps(prior.model_dump(exclude_none=True))}"
    try:
        yield
    except ConvergenceError as error:
        raise ConvergenceError(f"{experiment.loaded.where}: couplings.{coupling}{given}: {error}") from error


def limit(
    experiment: Experiment,
    coupling: str,
    *,
    method: str = "chi2",
    variance: str | None = None,
    cl: float = 0.90,
    kind: str | None = None,
    draws: int | None = None,
    chains: int | None = None,
    seed: int | None = None,
    notice: Callable[[str], None] = silent,
    allow_unconverged: bool = False,
) -> IntervalSet:
    """Return the limit on one coupling, the others held at 0.

    Parameters
    ----------
    experiment : Experiment
    coupling : str
    method : {"chi2", "poisson", "laplace", "nuts"}
        χ² of (3.1), Poisson deviance, deterministic posterior, sampled posterior.
    variance : {"sm", "sm+background"}, optional
        V of (3.1); for "chi2" alone, "sm" by default.
    cl : float
        Confidence level or credibility.
    kind : {"hdi", "eti", "upper"}, optional
        Kind of credible interval, for the Bayesian methods; "upper" by default
        for a coupling that enters squared only, else "hdi".
    draws, chains, seed : int, optional
        For the Bayesian methods; ``laplace`` is deterministic and needs none.
    notice : callable, optional
        Receives a line if the sampler's draws have a problem.
    allow_unconverged : bool
        Return the limit of draws whose diagnostics end in "fail", marked as such.

    Raises
    ------
    UnconvergedError
        If the verdict on the sampler's draws is "fail", unless ``allow_unconverged``.
    UsageError
        For an unknown name, or an option that the method does not take.
    """
    experiment.fitted(coupling)
    check_probability(cl)
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    if method == "poisson" and experiment.errors is not None:
        notice(f"{experiment.card.name}: the data have measured errors, so that their likelihood is normal, as by chi2")
    if variance is not None and method != "chi2":
        raise UsageError(f"variance = {variance}: is for method chi2, not {method}")
    allowed = experiment.variances
    if variance is not None and variance not in allowed:
        raise UsageError(f"variance = {variance}: allowed are {', '.join(allowed)}{nearest(variance, allowed)}")
    for name, value in (("kind", kind), ("draws", draws), ("chains", chains), ("seed", seed)):
        if value is not None and method not in BAYESIAN:
            raise UsageError(f"{name} = {value}: is for the methods {', '.join(BAYESIAN)}, not {method}")
    check_counts(draws=draws, chains=chains, seed=seed)
    chosen_kind = check_kind(kind) if kind is not None else default_kind(coupling)
    mass = experiment.mass_of(coupling)
    if not experiment.responds(coupling):
        notice(no_limit(experiment, coupling))
        chosen = chosen_kind if method in BAYESIAN else "delta_chi2"
        everything = ((0.0 if COUPLINGS[coupling].squared_only else -math.inf, math.inf),)
        return IntervalSet(coupling, COUPLINGS[coupling].unit, cl, chosen, method, everything, exact(everything), mass)
    interval = _by_method(
        experiment, coupling, method, variance, cl, chosen_kind, draws, chains, seed, notice, allow_unconverged
    )
    say_caution(experiment, interval, notice)
    return replace(interval, m_N=mass)


def no_limit(experiment: Experiment, coupling: str) -> str:
    """Say that no count depends on a coupling, and why if it is the mass of N."""
    mass = experiment.mass_of(coupling)
    where = "" if mass is None else f" at m_N = {mass:g} MeV"
    reach = experiment.mass_reaches[-1] if experiment.mass_reaches else math.inf
    why = f" (no neutrino has more than {reach:.4g} MeV)" if mass is not None and mass >= reach else ""
    return f"{coupling}: no count depends on it{where}, so there is no limit{why}"


def say_caution(experiment: Experiment, interval: IntervalSet, notice: Callable[[str], None]) -> None:
    """Say what `Experiment.caution` knows about the highest bound."""
    highest = interval.intervals[-1][1]
    if math.isfinite(highest) and (caution := experiment.caution(interval.coupling, highest)):
        notice(caution)


def _by_method(
    experiment: Experiment,
    coupling: str,
    method: str,
    variance: str | None,
    cl: float,
    kind: Kind,
    draws: int | None,
    chains: int | None,
    seed: int | None,
    notice: Callable[[str], None],
    allow_unconverged: bool,
) -> IntervalSet:
    allowed = experiment.variances
    chosen_variance = next((v for v in allowed if v == variance), None)
    with naming(experiment, coupling):
        if method == "chi2":
            return frequentist_interval(make_problem(experiment, [coupling], "chi2", chosen_variance), cl)
        if method == "poisson":
            return frequentist_interval(make_problem(experiment, [coupling]), cl)
        problem, prior = one_coupling(experiment, coupling)
        if method == "laplace":
            return laplace_interval(laplace_posterior(problem, prior), cl, kind)
        sampler, number = Sampler(), DEFAULT_SEED if seed is None else seed
        return sample_single(
            problem, prior, sampler, cl, kind, chains or DEFAULT_CHAINS, number, draws, notice, allow_unconverged
        )


def check_counts(*, draws: int | None, chains: int | None, seed: int | None) -> None:
    """Check the sampler's numbers.

    Raises
    ------
    UsageError
        For fewer than 100 draws, fewer than 2 chains (R-hat needs two) or a seed outside [0, 2³²).
    """
    for name, value, least in (("draws", draws, 100), ("chains", chains, 2), ("seed", seed, 0)):
        if value is not None and value < least:
            raise UsageError(f"{name} = {value}: must be at least {least}")
    if seed is not None and seed >= 2**32:
        raise UsageError(f"seed = {seed}: must be below {2**32}")


def scan_json(model: str, points: Sequence[tuple[float, IntervalSet]]) -> dict[str, object]:
    """Return the limits at several masses of N as JSON-able values."""
    content = interval_json(model, points[0][1])
    own = [interval_json(model, interval) for _, interval in points]
    return {
        **{key: content[key] for key in ("model", "coupling", "unit", "method", "cl", "kind")},
        "points": [
            {"m_N": mass, "intervals": item["intervals"], "mc_error": item["mc_error"]}
            for (mass, _), item in zip(points, own, strict=True)
        ],
    }


def interval_json(model: str, interval: IntervalSet) -> dict[str, object]:
    """Return an interval set as JSON-able values: null for an open end and for the error of an exact bound."""

    def pairs(values: tuple[tuple[float, float], ...]) -> list[list[float | None]]:
        return [[v if math.isfinite(v) else None for v in pair] for pair in values]

    marked = {"unconverged": list(interval.unconverged)} if interval.unconverged else {}
    return marked | {
        "model": model,
        "coupling": interval.coupling,
        "unit": interval.unit,
        "method": interval.method,
        "cl": interval.probability,
        "kind": interval.kind,
        "intervals": pairs(interval.intervals),
        "mc_error": pairs(interval.mc_error),
    } | ({} if interval.m_N is None else {"m_N": interval.m_N})
