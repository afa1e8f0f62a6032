"""The distribution of a limit over experiments without the coupling: median, 68% and 95% bands."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import UsageError
from bayesnu.experiment.base import Experiment
from bayesnu.inference.batch import fit_couplings, starting_points
from bayesnu.inference.cls import BAND_SIGMAS, Bound, cls_limit
from bayesnu.inference.laplace import laplace_posterior
from bayesnu.inference.likelihood import Problem
from bayesnu.inference.priors import Prior, one_coupling
from bayesnu.inference.profile import delta_chi2_intervals, delta_chi2_level
from bayesnu.inference.toy_grid import asimov_data, logarithmic, posterior_grid, toy_posteriors
from bayesnu.inference.toys import pseudo_experiments, quantile_with_error
from bayesnu.results.intervals import Kind, check_probability, grid_interval
from bayesnu.results.limits import DEFAULT_SEED, check_counts, check_responds, default_kind, laplace_interval, naming
from bayesnu.results.toy_limits import ToyRunner
from bayesnu.results.toys import MOST_TOYS
from bayesnu.shown import Shown
from bayesnu.workers import Task, run_tasks, task_seed

Array = NDArray[np.float64]
CHUNK = 250
LEAST_TOYS = 200


@dataclass(frozen=True)
class ExpectedLimit:
    """One method's limit over experiments without the coupling.

    Attributes
    ----------
    method, kind : str
    asimov : tuple of (low, high)
        Outermost bounds for the Asimov data without the coupling.
    lower, upper : tuple of float
        Bounds at `BAND_SIGMAS`, from the one nearest to 0 outwards; ``lower`` is empty for a moment.
    error, lower_error : tuple of float
        Monte Carlo standard errors of ``upper`` and of ``lower``; NaN for asymptotic CLs.
    """

    method: str
    kind: str
    asimov: tuple[float, float]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    error: tuple[float, ...]
    lower_error: tuple[float, ...]


@dataclass(frozen=True, repr=False)
class Sensitivity(Shown):
    """Expected limits on a coupling by several methods.

    Attributes
    ----------
    model, coupling, unit, prior : str
    cl : float
    toys, seed : int
    limits : tuple of ExpectedLimit
    """

    model: str
    coupling: str
    unit: str
    prior: str
    cl: float
    toys: int
    seed: int
    limits: tuple[ExpectedLimit, ...]


def bounds_chunk(
    shared: tuple[Problem, Prior, float, Kind, Array, int], path: tuple[int, ...], number: int
) -> dict[str, Array]:
    """Return the outermost Δχ² and credible bounds of pseudo-experiments without the coupling: one task."""
    problem, prior, cl, kind, values, seed = shared
    rng = np.random.default_rng(task_seed(seed, *path))
    data = pseudo_experiments(problem, np.zeros(1), number, rng, "constraint")
    posteriors = toy_posteriors(problem, values, data.counts, data.centre)
    best = fit_couplings(problem, data.counts, starting_points(problem, np.zeros(1)), data.centre)
    lowest = np.minimum(best.value, posteriors.deviance.min(axis=1))
    level = delta_chi2_level(cl, 1)
    wilks = [outermost(values, row - low - level) for row, low in zip(posteriors.deviance, lowest, strict=True)]
    credible = [
        _hull(grid_interval(values, row, cl, kind, prior.lowest, logarithmic(prior)))
        for row in posteriors.density(prior)
    ]
    return {"delta_chi2": np.array(wilks), "laplace": np.array(credible)}


def outermost(values: Array, excess: Array) -> tuple[float, float]:
    """Return the lowest and the highest value at which a curve is 0, between points by a straight line.

    The ends of the grid where it is negative there.
    """
    inside = np.flatnonzero(excess <= 0)
    if not inside.size:
        # Narrower than the grid is fine: the set is the minimum's neighbourhood.
        k = int(np.argmin(excess))
        return float(values[k]), float(values[k])

    def edge(k: int, step: int) -> float:
        if not 0 <= k + step < values.size or not np.isfinite(excess[k + step]):
            return float(values[k])
        share = -excess[k] / (excess[k + step] - excess[k])
        return float(values[k] + share * (values[k + step] - values[k]))

    return edge(int(inside[0]), -1), edge(int(inside[-1]), 1)


def sensitivity(
    experiment: Experiment,
    coupling: str,
    cl: float = 0.90,
    number: int = 1000,
    seed: int = DEFAULT_SEED,
    runner: ToyRunner | None = None,
) -> Sensitivity:
    """Return the bands of the Δχ² bound, of the credible one (Laplace grid, the card's prior) and of CLs.

    Pulls of the pseudo-experiments are drawn from their constraints. CLs is asymptotic, for pulls that are at their
    constraints; it is left out where bins expect nothing without the coupling.

    Parameters
    ----------
    experiment : Experiment
    coupling : str
    cl : float
    number : int
        Pseudo-experiments.
    seed : int
    runner : ToyRunner, optional
        Who makes the pseudo-experiments; this process by default.

    Raises
    ------
    UsageError
        For an unknown coupling or one that no count depends on, or fewer than 200 pseudo-experiments: 2.3% are outside
        of each end of a band.
    """
    check_responds(experiment, coupling)
    check_probability(cl)
    check_counts(draws=None, chains=None, seed=seed)
    runner = runner or ToyRunner()
    if not LEAST_TOYS <= number <= MOST_TOYS:
        raise UsageError(
            f"n = {number}: needs at least {LEAST_TOYS} pseudo-experiments for a band of 95%, and at most {MOST_TOYS}"
        )
    kind = default_kind(coupling)
    with naming(experiment, coupling):
        problem, prior = one_coupling(experiment, coupling)
        values = posterior_grid(problem, 0.0, (prior,))
        shared = (problem, prior, cl, kind, values, seed)
        parts = math.ceil(number / CHUNK)
        tasks = [
            Task(f"bounds-{part}", ((part,), number // parts + (part < number % parts))) for part in range(parts)
        ]
        settings = {"command": "sensitivity", "coupling": coupling, "cl": cl, "toys": number, "seed": seed}
        runner.progress("experiments without the coupling")
        found = run_tasks(bounds_chunk, shared, tasks, runner.workers, runner.chunks(experiment, settings))
        asimov = _without(problem)
        two_sided = not prior.coupling.squared_only
        limits = [
            _expected(
                "delta_chi2", "delta_chi2", _hull(delta_chi2_intervals(asimov, cl)),
                np.concatenate([r["delta_chi2"] for r in found]), two_sided,
            ),
            _expected(
                "laplace", kind, _hull(laplace_interval(laplace_posterior(asimov, prior), cl, kind).intervals),
                np.concatenate([r["laplace"] for r in found]), two_sided,
            ),
        ]  # fmt: skip
        if (asimov.data > 0).all():
            limits.append(_expected_cls(asimov, cl))
    name, unit = experiment.card.name, prior.coupling.unit
    return Sensitivity(name, coupling, unit, prior.describe(), cl, number, seed, tuple(limits))


def _expected_cls(asimov: Problem, cl: float) -> ExpectedLimit:
    """Return the asymptotic bands of CLs; there are none where bins expect nothing without the coupling."""
    cls = cls_limit(asimov, cl)
    nan = (math.nan,) * len(BAND_SIGMAS)
    low = cls.lower.observed if cls.lower is not None else 0.0
    lower = _band(cls.lower)
    return ExpectedLimit("cls", "cls", (low, cls.upper.observed), lower, _band(cls.upper), nan, nan[: len(lower)])


def _without(problem: Problem) -> Problem:
    """Return the problem with Asimov data without the coupling."""
    return replace(problem, data=asimov_data(problem, 0.0))


def _band(bound: Bound | None) -> tuple[float, ...]:
    return () if bound is None else bound.expected


def _hull(intervals: tuple[tuple[float, float], ...]) -> tuple[float, float]:
    return intervals[0][0], intervals[-1][1]


def _expected(method: str, kind: str, asimov: tuple[float, float], bounds: Array, two_sided: bool) -> ExpectedLimit:
    """Return quantiles of bounds, shape (toys, 2), with their standard errors from order statistics."""
    from scipy.special import ndtr

    levels = ndtr(np.array(BAND_SIGMAS))
    upper, error = zip(*(quantile_with_error(bounds[:, 1], float(level)) for level in levels), strict=True)
    if not two_sided:
        return ExpectedLimit(method, kind, asimov, (), upper, error, ())
    # Upside down, so that both sides are the same estimate.
    lower, lower_error = zip(*(quantile_with_error(-bounds[:, 0], float(level)) for level in levels), strict=True)
    return ExpectedLimit(method, kind, asimov, tuple(-value for value in lower), upper, error, lower_error)


def sensitivity_json(result: Sensitivity) -> dict[str, Any]:
    """Return expected limits as JSON-able values."""

    def finite(values: tuple[float, ...]) -> list[float | None]:
        return [value if math.isfinite(value) else None for value in values]

    return {
        "model": result.model,
        "coupling": result.coupling,
        "unit": result.unit,
        "cl": result.cl,
        "toys": result.toys,
        "seed": result.seed,
        "prior": result.prior,
        "sigmas": list(BAND_SIGMAS),
        "limits": [
            {
                "method": item.method,
                "kind": item.kind,
                "asimov": finite(item.asimov),
                "lower": finite(item.lower),
                "upper": finite(item.upper),
                "error": finite(item.error),
                "lower_error": finite(item.lower_error),
            }
            for item in result.limits
        ],
    }
