"""One limit by one method, from an experiment to an interval set."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError, UnconvergedError, UsageError, nearest, silent, unknown_name
from bayesnu.experiment.base import Experiment
from bayesnu.experiment.setup import with_parameters
from bayesnu.inference.laplace import GridPosterior, laplace_posterior
from bayesnu.inference.likelihood import Problem, few_fits, make_problem
from bayesnu.inference.priors import Prior, one_coupling
from bayesnu.inference.profile import delta_chi2_intervals
from bayesnu.inference.sampling import Sampler
from bayesnu.physics.couplings import COUPLINGS, FREE_TOGETHER
from bayesnu.results.diagnostics import CouplingDraws, judge
from bayesnu.results.evidence import evidence_json, numbers
from bayesnu.results.intervals import (
    IntervalSet,
    Kind,
    Pairs,
    check_kind,
    check_probability,
    draws_interval,
    exact,
    grid_interval,
    relative_error,
)
from bayesnu.results.toy_limits import ToyChoices, ToyRunner, cls_interval, feldman_cousins_interval
from bayesnu.shown import Shown

Method = Literal["chi2", "poisson", "laplace", "nuts", "feldman-cousins", "cls"]
METHODS = get_args(Method)
BAYESIAN = ("laplace", "nuts")
TOY_METHODS = ("feldman-cousins", "cls")
FREQUENTIST_KINDS = {"chi2": "delta_chi2", "poisson": "delta_chi2", "feldman-cousins": "feldman_cousins", "cls": "cls"}
TAKEN_BY = {
    "variance": ("chi2",),
    **dict.fromkeys(("kind", "draws", "chains"), BAYESIAN),
    "seed": (*BAYESIAN, *TOY_METHODS),
    **dict.fromkeys(("pulls", "tolerance", "workers", "scheduler", "out", "force"), TOY_METHODS),
    "never_falling": ("feldman-cousins",),
    "toys": ("cls",),
}
"""Option to the methods that take it."""
OF_TOYS = ("seed", "pulls", "tolerance", "workers", "scheduler", "out", "force")
"""Options that "cls" takes with pseudo-experiments only: it is asymptotic without."""
DEFAULT_DRAWS = 6000
DEFAULT_CHAINS = 4
DEFAULT_SEED = 20211122
TUNE = 1000
HEAD_KEYS = ("model", "coupling", "unit", "method", "cl", "kind")
"""What all limits of a scan share."""
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
    support, logarithmic = (prior.low + prior.origin, prior.high + prior.origin), prior.kind == "log-uniform"
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
    progress: Callable[[int, int], None] | None = None,
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
        result = sampler.sample(problem, [prior], draws=number, chains=chains, tune=TUNE, seed=seed, progress=progress)
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
        stats["diverging"],
        stats["energy"],
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


def check_options(method: str, given: Mapping[str, object]) -> None:
    """Check that a method takes the options that are given.

    Parameters
    ----------
    method : str
    given : mapping
        Option to value; None and False are not given.

    Raises
    ------
    UsageError
        For an unknown method, or an option that it does not take.
    """
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    for name, value in given.items():
        if value is None or value is False:
            continue
        shown, takers = name if value is True else f"{name} = {value}", TAKEN_BY[name]
        if method not in takers:
            where = f"method {takers[0]}" if len(takers) == 1 else f"the methods {', '.join(takers)}"
            raise UsageError(f"{shown}: is for {where}, not {method}")
        if method == "cls" and name in OF_TOYS and not given.get("toys"):
            raise UsageError(f"{shown}: is for cls with toys; without them it is asymptotic")


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
    pulls: str | None = None,
    tolerance: float | None = None,
    never_falling: bool = False,
    toys: bool = False,
    runner: ToyRunner | None = None,
    notice: Callable[[str], None] = silent,
    allow_unconverged: bool = False,
    progress: Callable[[int, int], None] | None = None,
    few: bool = False,
) -> IntervalSet:
    """Return the limit on one coupling, the others held at 0.

    Parameters
    ----------
    experiment : Experiment
    coupling : str
    method : {"chi2", "poisson", "laplace", "nuts", "feldman-cousins", "cls"}
        χ² of (3.1), Poisson deviance, deterministic posterior, sampled posterior, Feldman and Cousins' construction,
        CLs with expected bands.
    variance : {"sm", "sm+background"}, optional
        V of (3.1); for "chi2" alone, "sm" by default.
    cl : float
        Confidence level or credibility.
    kind : {"hdi", "eti", "upper"}, optional
        Kind of credible interval, for the Bayesian methods; "upper" by default
        for a coupling that enters squared only, else "hdi".
    draws, chains : int, optional
        For the Bayesian methods; ``laplace`` is deterministic and needs none.
    seed : int, optional
        Of the sampler, or of the pseudo-experiments.
    pulls : {"profiled", "averaged"}, optional
        Of pseudo-experiments; see `ToyChoices`.
    tolerance : float, optional
        Monte Carlo error of each bound, as a fraction of it; 0.01 by default.
    never_falling : bool
        For "feldman-cousins" of a coupling that enters squared only: the largest limit at this background or more.
    toys : bool
        For "cls": by pseudo-experiments, not asymptotic.
    runner : ToyRunner, optional
        Who makes the pseudo-experiments; this process by default.
    notice : callable, optional
        Receives a line if the sampler's draws have a problem.
    allow_unconverged : bool
        Return the limit of draws whose diagnostics end in "fail", marked as such.
    progress : callable, optional
        Receives how many draws "nuts" has made, and of how many; from the start again where it needs more.
    few : bool
        Whether this process is to find few limits: those of "chi2", "poisson" and "laplace" are then found by NumPy,
        which is done before compiled code is loaded, but slower for the tenth. The same to 1e-9.

    Raises
    ------
    UnconvergedError
        If the verdict on the sampler's draws is "fail", unless ``allow_unconverged``.
    UsageError
        For an unknown name, or an option that the method does not take.
    """
    experiment.fitted(coupling)
    check_probability(cl)
    given = {
        "variance": variance, "kind": kind, "draws": draws, "chains": chains, "seed": seed, "pulls": pulls,
        "tolerance": tolerance, "never_falling": never_falling, "toys": toys,
    }  # fmt: skip
    check_options(method, given)
    if method == "poisson" and experiment.errors is not None:
        notice(f"{experiment.card.name}: the data have measured errors, so that their likelihood is normal, as by chi2")
    allowed = experiment.variances
    if variance is not None and variance not in allowed:
        raise UsageError(f"variance = {variance}: allowed are {', '.join(allowed)}{nearest(variance, allowed)}")
    check_counts(draws=draws, chains=chains, seed=seed)
    chosen_seed = DEFAULT_SEED if seed is None else seed
    wishes = {name: value for name, value in (("pulls", pulls), ("tolerance", tolerance)) if value is not None}
    choices = ToyChoices(chosen_seed, never_falling=never_falling, **wishes)  # type: ignore[arg-type]
    chosen_kind = check_kind(kind) if kind is not None else default_kind(coupling)
    mass = experiment.mass_of(coupling)
    if not experiment.responds(coupling):
        notice(no_limit(experiment, coupling))
        everything: Pairs = ((0.0 if COUPLINGS[coupling].squared_only else -math.inf, math.inf),)
        interval = IntervalSet(
            coupling, COUPLINGS[coupling].unit, cl, FREQUENTIST_KINDS.get(method, chosen_kind), method, everything,
            exact(everything),
        )  # fmt: skip
        return replace(interval, m_N=mass)
    runner = runner or ToyRunner(notice=notice)
    with naming(experiment, coupling):
        if method in ("chi2", "poisson"):
            problem = _frequentist_problem(experiment, coupling, method, variance)
            interval = frequentist_interval(few_fits(problem) if few else problem, cl)
        elif method == "feldman-cousins":
            interval = feldman_cousins_interval(experiment, coupling, cl, choices, runner)
        elif method == "cls":
            interval = cls_interval(experiment, coupling, cl, choices if toys else None, runner)
        else:
            problem, prior = one_coupling(experiment, coupling, few=few and method == "laplace")
            if method == "laplace":
                interval = laplace_interval(laplace_posterior(problem, prior), cl, chosen_kind)
            else:
                number = chains or DEFAULT_CHAINS
                interval = sample_single(
                    problem, prior, Sampler(), cl, chosen_kind, number, chosen_seed, draws, notice, allow_unconverged,
                    progress,
                )  # fmt: skip
    say_caution(experiment, interval, notice)
    return replace(interval, m_N=mass)


def check_responds(experiment: Experiment, coupling: str) -> None:
    """Check that counts depend on a coupling of the card.

    Raises
    ------
    UsageError
        For an unknown coupling, or one that no count depends on.
    """
    if not experiment.responds(experiment.fitted(coupling)):
        raise UsageError(no_limit(experiment, coupling, "so that it cannot be fitted"))


def check_pair(experiment: Experiment, couplings: Sequence[str]) -> tuple[str, str]:
    """Return two different couplings of a card that counts depend on.

    Raises
    ------
    UsageError
        If they are not that, or one of them is fitted only with others: the mass of N, or the weak mixing angle.
    """
    given = [couplings] if isinstance(couplings, str) else [str(name) for name in couplings]
    shown = f"couplings = {', '.join(given)}"
    if len(given) != 2 or given[0] == given[1]:
        raise UsageError(f"{shown}: must be two different ones, as mu_nue, mu_numu")
    for name in given:
        check_responds(experiment, name)
        if name in FREE_TOGETHER:
            raise UsageError(f"{shown}: {name} takes its value from the card here; run --joint frees it")
    return given[0], given[1]


def no_limit(experiment: Experiment, coupling: str, so: str = "so there is no limit") -> str:
    """Say that no count depends on a coupling, and why if it is the mass of N."""
    mass = experiment.mass_of(coupling)
    where = "" if mass is None else f" at m_N = {mass:g} MeV"
    reach = experiment.mass_reaches[-1] if experiment.mass_reaches else math.inf
    why = f" (no neutrino has more than {reach:.4g} MeV)" if mass is not None and mass >= reach else ""
    return f"{coupling}: no count depends on it{where}, {so}{why}"


def say_caution(experiment: Experiment, interval: IntervalSet, notice: Callable[[str], None]) -> None:
    """Say what `Experiment.caution` knows about the highest bound."""
    highest = interval.intervals[-1][1]
    if math.isfinite(highest) and (caution := experiment.caution(interval.coupling, highest)):
        notice(caution)


def _frequentist_problem(experiment: Experiment, coupling: str, method: str, variance: str | None) -> Problem:
    if method == "poisson":
        return make_problem(experiment, [coupling])
    chosen = next((v for v in experiment.variances if v == variance), None)
    return make_problem(experiment, [coupling], "chi2", chosen)


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


@dataclass(frozen=True, repr=False)
class MassScan(Shown):
    """Limits on a coupling at several masses of N.

    Attributes
    ----------
    model : str
    points : tuple of (float, IntervalSet)
        The mass in MeV, and the limit there.
    """

    model: str
    points: tuple[tuple[float, IntervalSet], ...]


def scan(
    experiment: Experiment,
    coupling: str,
    masses_mev: Sequence[float],
    *,
    runner: ToyRunner | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> MassScan:
    """Return the limit on one coupling at several masses of N.

    Parameters
    ----------
    experiment : Experiment
    coupling : str
    masses_mev : sequence of float
    runner : ToyRunner, optional
        Keeps the pseudo-experiments of each mass in a folder of its own.
    progress : callable, optional
        Receives how many masses are done, and of how many.
    **options
        Of `limit`.

    Raises
    ------
    UsageError
        If counts of the coupling do not depend on the mass of N, or as `limit`.
    """
    if experiment.mass_of(experiment.fitted(coupling)) is None:
        raise UsageError(f"counts of {coupling} do not depend on the mass of N")
    points: list[tuple[float, IntervalSet]] = []
    for mass in masses_mev:
        if progress is not None:
            progress(len(points), len(masses_mev))
        own = runner and runner.below(f"m_N-{mass:.12g}")
        points.append((mass, limit(with_parameters(experiment, {"m_N": mass}), coupling, runner=own, **options)))
    return MassScan(experiment.card.name, tuple(points))


def scan_json(model: str, points: Sequence[tuple[float, IntervalSet]]) -> dict[str, object]:
    """Return the limits at several masses of N as JSON-able values."""
    own = [interval_json(model, interval) for _, interval in points]
    return {
        **{key: own[0][key] for key in HEAD_KEYS},
        "points": [
            {"m_N": mass, **{key: value for key, value in item.items() if key not in (*HEAD_KEYS, "m_N")}}
            for (mass, _), item in zip(points, own, strict=True)
        ],
    }


def interval_json(model: str, interval: IntervalSet) -> dict[str, object]:
    """Return an interval set as JSON-able values: null for an open end and for the error of an exact bound."""
    marked = {"unconverged": list(interval.unconverged)} if interval.unconverged else {}
    mass = {} if interval.m_N is None else {"m_N": interval.m_N}
    return marked | {
        "model": model,
        "coupling": interval.coupling,
        "unit": interval.unit,
        "method": interval.method,
        "cl": interval.probability,
        "kind": interval.kind,
        "intervals": [numbers(pair) for pair in interval.intervals],
        "mc_error": [numbers(pair) for pair in interval.mc_error],
        **evidence_json(interval.toys, interval.expected),
        **mass,
    }
