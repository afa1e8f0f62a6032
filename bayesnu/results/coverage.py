"""Coverage: how often an interval holds the truth, over pseudo-experiments at true couplings."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import UsageError
from bayesnu.experiment.base import Experiment
from bayesnu.inference.feldman_cousins import ROUNDING
from bayesnu.inference.likelihood import Problem, likelihood_range
from bayesnu.inference.priors import Prior, jeffreys_prior, one_coupling
from bayesnu.inference.profile import delta_chi2_intervals, delta_chi2_level
from bayesnu.inference.toy_grid import (
    REACH,
    asimov_data,
    logarithmic,
    mass_below,
    mass_denser,
    posterior_grid,
    toy_posteriors,
)
from bayesnu.inference.toys import toy_fits
from bayesnu.results.intervals import Kind, check_probability
from bayesnu.results.limits import DEFAULT_SEED, check_counts, check_responds, default_kind, naming
from bayesnu.results.prior_study import alternatives
from bayesnu.results.toy_limits import ToyRunner
from bayesnu.results.toys import LEAST_TOYS, MOST_TOYS, check_truth, naming_truth
from bayesnu.shown import Shown
from bayesnu.workers import Task, run_tasks, task_seed

Array = NDArray[np.float64]
CHUNK = 250
CRITICAL_FACTOR = 4
"""Pseudo-experiments for a critical value of Feldman and Cousins, for each one that tests it."""
FREQUENTIST_NAMES = ("Δχ², asymptotic", "Feldman-Cousins")
KIND_NAMES = {"upper": "upper limits", "hdi": "highest-density sets", "eti": "equal-tailed sets"}
"""What tables and figures call the two frequentist methods, and the credible sets."""
TRUTHS = 9
"""Of a default grid: from 0 to twice the Δχ² bound, or about it for a coupling with a sign."""


@dataclass(frozen=True)
class Study:
    """What all tasks of a coverage study share."""

    problem: Problem
    priors: tuple[Prior, ...]
    kind: Kind
    seed: int

    def priors_at(self, truth: float) -> tuple[Prior, ...]:
        """Return the priors for data made at a scaled truth: ranges that the program finds follow the data."""
        asimov = replace(self.problem, data=asimov_data(self.problem, truth))
        scale = float(self.problem.scales[0])
        low, high = (bound * scale for bound in likelihood_range(asimov, REACH, exact=False))
        return tuple(self._widened(prior, low, high) for prior in self.priors)

    def _widened(self, prior: Prior, low: float, high: float) -> Prior:
        if not (prior.automatic and math.isfinite(high - low)):
            return prior
        low, high = min(prior.low, low), max(prior.high, high)
        if prior.kind == "jeffreys":
            return jeffreys_prior(self.problem, low, high, automatic=True)
        return replace(prior, low=prior.low if prior.coupling.squared_only else low, high=high)


@dataclass(frozen=True, repr=False)
class Coverage(Shown):
    """Pseudo-experiments at true values of a coupling, and what decides whether an interval holds the truth.

    Attributes
    ----------
    model, coupling, unit : str
    kind : str
        Of the credible intervals.
    truths : ndarray, shape (truths,)
        In the coupling's own unit.
    labels : tuple of str
        Of the priors.
    priors : tuple of str
        In words.
    statistic : ndarray, shape (truths, toys)
        t = -2 ln L(truth)/L(best fit), pulls drawn from their constraints.
    p_value : ndarray, shape (truths, toys)
        Share of other pseudo-experiments, `CRITICAL_FACTOR` times as many, with at least as large a t or the very same
        counts; their pulls are those of the fit to the card's data at the truth. Feldman and Cousins' interval of a
        probability holds the truth where this is more than what it leaves out.
    mass : ndarray, shape (truths, toys, priors)
        Probability below the truth, or of values denser than the truth: the truth is in the credible interval of any
        probability above.
    seed : int
    """

    model: str
    coupling: str
    unit: str
    kind: str
    truths: Array
    labels: tuple[str, ...]
    priors: tuple[str, ...]
    statistic: Array
    p_value: Array
    mass: Array
    seed: int

    def methods(self) -> tuple[str, ...]:
        """Return the kinds of interval, in the order of `covered`."""
        return ("delta_chi2", "feldman_cousins", *(f"credible, {label}" for label in self.labels))

    def covered(self, cl: float) -> Array:
        """Return the share of pseudo-experiments whose interval holds the truth, shape (methods, truths)."""
        check_probability(cl)
        wilks = (self.statistic <= delta_chi2_level(cl, 1)).mean(axis=1)
        unified = (self.p_value > 1 - cl).mean(axis=1)
        return np.stack([wilks, unified, *(self.mass <= cl).mean(axis=1).T])

    def error(self, cl: float) -> Array:
        """Return binomial standard errors of `covered`, with that of the p-value for Feldman and Cousins.

        From (k + 1/2)/(n + 1), so that a share of 1 has one too.
        """
        toys = self.statistic.shape[1]
        share = (self.covered(cl) * toys + 0.5) / (toys + 1)
        variance = share * (1 - share) / toys
        variance[1] += cl * (1 - cl) / (CRITICAL_FACTOR * toys)
        return np.asarray(np.sqrt(variance))


def coverage_chunk(study: Study, path: tuple[int, ...], truth: float, number: int) -> dict[str, NDArray[Any]]:
    """Return t and the credible masses of pseudo-experiments at a scaled truth: one task."""
    problem = study.problem
    rng = np.random.default_rng(task_seed(study.seed, *path))
    own = truth * float(problem.scales[0])
    with naming_truth({problem.couplings[0]: own}):
        fits = toy_fits(problem, np.array([truth]), number, rng, "constraint")
        priors = study.priors_at(truth)
        values = posterior_grid(problem, truth, priors)
        posteriors = toy_posteriors(problem, values, fits.data.counts, fits.data.centre)
    mass = mass_below if study.kind == "upper" else mass_denser
    masses = [mass(values, posteriors.density(prior), own, logarithmic(prior)) for prior in priors]
    return {"statistic": fits.statistic, "outcome": count_keys(fits.data.counts), "mass": np.stack(masses, axis=1)}


def critical_chunk(study: Study, path: tuple[int, ...], truth: float, number: int) -> dict[str, NDArray[Any]]:
    """Return t and counts of pseudo-experiments with the pulls of the fit at a scaled truth: one task."""
    rng = np.random.default_rng(task_seed(study.seed, *path))
    with naming_truth({study.problem.couplings[0]: truth * float(study.problem.scales[0])}):
        fits = toy_fits(study.problem, np.array([truth]), number, rng, "fit")
    return {"statistic": fits.statistic, "outcome": count_keys(fits.data.counts)}


def count_keys(counts: Array) -> NDArray[np.uint64]:
    """Return a number for each row of counts, shape (toys,), the same for equal ones."""
    digests = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in np.ascontiguousarray(counts)]
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


def p_values(
    statistic: Array, outcome: NDArray[np.uint64], other: Array, other_outcome: NDArray[np.uint64]
) -> Array:
    """Return the share of other pseudo-experiments with at least as large a t, or the same counts, shape (toys,)."""
    ascending = np.sort(other)
    below = np.searchsorted(ascending, statistic - ROUNDING)
    number = other.size - below
    for same in np.intersect1d(outcome, other_outcome):
        own = np.flatnonzero(outcome == same)
        number[own] += np.searchsorted(np.sort(other[other_outcome == same]), statistic[own] - ROUNDING)
    return np.asarray(number / other.size)


def default_truths(problem: Problem, cl: float = 0.90, number: int = TRUTHS) -> Array:
    """Return true values worth a look, in the coupling's own unit: from no effect to one that is found."""
    pieces = delta_chi2_intervals(problem, cl)
    low, high = pieces[0][0], pieces[-1][1]
    if not math.isfinite(high - low):
        raise UsageError(f"{problem.couplings[0]}: the data do not bound it; give the true values")
    return np.linspace(0.0, 2 * high, number) if low == 0.0 else np.linspace(1.5 * low, 1.5 * high, number)


def coverage(
    experiment: Experiment,
    coupling: str,
    truths: Sequence[float] | None = None,
    number: int = 1000,
    seed: int = DEFAULT_SEED,
    runner: ToyRunner | None = None,
) -> Coverage:
    """Run pseudo-experiments at true values of one coupling; see `Coverage`.

    The credible intervals are those of the method ``laplace`` under the card's own prior and under each of
    `bayesnu.results.prior_study`. A range that the program finds is wide enough for the data at each truth; floors
    and widths are those that the card's own data give.

    Parameters
    ----------
    experiment : Experiment
    coupling : str
    truths : sequence of float, optional
        In the coupling's own unit; `default_truths` by default.
    number : int
        Pseudo-experiments at each truth.
    seed : int
    runner : ToyRunner, optional
        Who makes the pseudo-experiments; this process by default.

    Raises
    ------
    UsageError
        For an unknown coupling or one that no count depends on, a number that is not allowed, or a true value that
        is negative for a moment, not finite, or gives more counts than can be.
    """
    check_responds(experiment, coupling)
    runner = runner or ToyRunner()
    check_counts(draws=None, chains=None, seed=seed)
    if not LEAST_TOYS <= number <= MOST_TOYS:
        raise UsageError(
            f"n = {number}: needs at least {LEAST_TOYS} pseudo-experiments for a coverage, and at most {MOST_TOYS}"
        )
    for truth in truths or ():
        check_truth(experiment, {coupling: truth}, ())
    with naming(experiment, coupling):
        problem, own = one_coupling(experiment, coupling)
        others, _ = alternatives(problem, own)
        # The upper end of those that spread over decades is that of the range, too.
        others = [(label, replace(prior, automatic=True) if logarithmic(prior) else prior) for label, prior in others]
        named = others if own.automatic and own.kind == "uniform" else [("the card's own", own), *others]
        values = default_truths(problem) if truths is None else np.array(truths, dtype=float)
        kind = default_kind(coupling)
        study = Study(problem, tuple(prior for _, prior in named), kind, seed)
        scaled = (values / float(problem.scales[0])).tolist()
        parts = math.ceil(number / CHUNK)
        sizes = [number // parts + (part < number % parts) for part in range(parts)]
        tasks = [
            Task(f"coverage-{k}-{part}", ((0, k, part), truth, size))
            for k, truth in enumerate(scaled)
            for part, size in enumerate(sizes)
        ]
        critical = [
            Task(f"critical-{k}-{part}", ((1, k, part), truth, CRITICAL_FACTOR * size))
            for k, truth in enumerate(scaled)
            for part, size in enumerate(sizes)
        ]
        settings = {"command": "coverage", "coupling": coupling, "truths": scaled, "toys": number, "seed": seed}
        chunks = runner.chunks(experiment, settings)
        runner.progress("intervals of toys")
        tested = run_tasks(coverage_chunk, study, tasks, runner.workers, chunks)
        runner.progress("critical values")
        levels = run_tasks(critical_chunk, study, critical, runner.workers, chunks)

    def gathered(results: Sequence[dict[str, NDArray[Any]]], name: str) -> NDArray[Any]:
        rows = [np.concatenate([r[name] for r in results[k * parts : (k + 1) * parts]]) for k in range(len(scaled))]
        return np.stack(rows)

    columns = [gathered(found, name) for found in (tested, levels) for name in ("statistic", "outcome")]
    unified = [p_values(*rows) for rows in zip(*columns, strict=True)]
    return Coverage(
        experiment.card.name,
        coupling,
        own.coupling.unit,
        kind,
        values,
        tuple(label for label, _ in named),
        tuple(prior.describe() for _, prior in named),
        gathered(tested, "statistic"),
        np.stack(unified),
        gathered(tested, "mass"),
        seed,
    )


def coverage_json(result: Coverage, cl: float) -> dict[str, Any]:
    """Return the coverage at a probability as JSON-able values."""
    share, error = result.covered(cl), result.error(cl)
    return {
        "model": result.model,
        "coupling": result.coupling,
        "unit": result.unit,
        "cl": cl,
        "credible_kind": result.kind,
        "toys": result.statistic.shape[1],
        "seed": result.seed,
        "priors": dict(zip(result.labels, result.priors, strict=True)),
        "truths": result.truths.tolist(),
        "methods": {
            method: {"coverage": share[k].tolist(), "error": error[k].tolist()}
            for k, method in enumerate(result.methods())
        },
    }
