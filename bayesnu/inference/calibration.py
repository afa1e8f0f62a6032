"""Simulation-based calibration: parameters from the prior, data from the model, and where the posterior puts the truth.

S. Talts et al., arXiv:1804.06788: if program, prior and likelihood belong together, the rank of the true value among
independent draws of the posterior is uniform, for every function of parameters and data. Ranks are taken of the
coupling, of every pull and of the log-likelihood; the last one sees a posterior that forgot its data (M. Modrák et
al., Bayesian Analysis 20 (2025) 461, arXiv:2211.02383).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError
from bayesnu.inference.frame import frame_between, pull_frame
from bayesnu.inference.likelihood import Problem
from bayesnu.inference.mixing import mixing
from bayesnu.inference.priors import Prior, SampledVariable, sampled_variable
from bayesnu.inference.sampling import Coordinates, Sampler
from bayesnu.inference.toys import draw_counts, expected_draws, log_likelihood, unsupported
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.workers import Chunks, Task, Workers, run_tasks, task_seed

Array = NDArray[np.float64]
Generators = Sequence[np.random.Generator]
LOG_LIKELIHOOD = "log_likelihood"
HIGHEST_RANK = 99
"""L: ranks run from 0 to L, so that a rank is a per cent."""
MOST_TRIALS = 1000


@dataclass(frozen=True)
class Simulations:
    """Parameters drawn from the prior, and data drawn from the model there.

    Attributes
    ----------
    theta : ndarray, shape (simulations,)
        The coupling in its own unit.
    pulls : ndarray, shape (simulations, pulls)
        Fractions.
    data : ndarray, shape (simulations, obs)
    """

    theta: Array
    pulls: Array
    data: Array


class Posterior(Protocol):
    """A program that is calibrated: it owns the problem and the prior that it takes for true."""

    def place(self, simulations: Simulations, generators: Generators) -> dict[str, NDArray[Any]]:
        """Return ``ranks`` (simulations, quantities) in 0, …, `HIGHEST_RANK`, and diagnostics of each simulation."""


def constrained(problem: Problem) -> Problem:
    """Return a problem whose free pulls have the normal constraint of their unit width: a flat prior has no draws."""
    return replace(problem, model=replace(problem.model, free=()))


def moving_pulls(problem: Problem) -> list[int]:
    """Return the indices of the pulls that move: those without a width have nothing to rank."""
    return np.flatnonzero(problem.model.widths > 0).tolist()


def quantities(problem: Problem) -> tuple[str, ...]:
    """Return what is ranked: the coupling, the pulls that move, the log-likelihood."""
    pulls = [problem.model.pulls[p] for p in moving_pulls(problem)]
    return (problem.couplings[0], *pulls, LOG_LIKELIHOOD)


def simulate(problem: Problem, prior: Prior, generators: Generators) -> Simulations:
    """Draw parameters and data, one simulation from each generator.

    Where a factor 1 + f or a count would be negative the joint prior has no support: coupling and pulls are then
    drawn again together, since the posterior knows them together.

    Raises
    ------
    ConvergenceError
        If a thousand trials find no support.
    """
    widths = problem.model.widths
    theta, pulls = np.empty(len(generators)), np.empty((len(generators), widths.size))
    expected = np.empty((len(generators), problem.data.size))
    again = np.arange(len(generators))
    for _ in range(MOST_TRIALS):
        for k in again.tolist():
            theta[k] = prior.draw(generators[k], 1)[0]
            pulls[k] = widths * generators[k].standard_normal(widths.size)
        expected[again] = expected_draws(problem, theta[None, again], pulls[again])
        again = again[unsupported(pulls[again], expected[again])]
        if again.size == 0:
            break
    else:
        raise ConvergenceError(f"{problem.couplings[0]}: {MOST_TRIALS} draws of the prior have negative counts")
    data = [draw_counts(problem, row, generator) for row, generator in zip(expected, generators, strict=True)]
    return Simulations(theta, pulls, np.array(data))


def total_log_likelihood(problem: Problem, theta: Array, pulls: Array) -> Array:
    """Return ln p(data | θ, f) of draws, shape (draws,), -inf without support; theta (draws,), pulls (draws, pulls)."""
    expected = expected_draws(problem, theta[None, :], pulls)
    outside = unsupported(pulls, expected)
    with np.errstate(divide="ignore"):
        each = log_likelihood(problem, np.where(outside[:, None], 1.0, expected))
    return np.where(outside, -np.inf, each.sum(axis=1))


def ranked(problem: Problem, theta: Array, pulls: Array) -> Array:
    """Return the values of `quantities` of draws, shape (draws, quantities)."""
    log_density = total_log_likelihood(problem, theta, pulls)
    return np.column_stack([theta, pulls[:, moving_pulls(problem)], log_density])


def ranks_among(truth: Array, draws: Array, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return how many draws lie below the truth, ties broken at random; truth (quantities,), draws (L, quantities)."""
    ties = (draws == truth).sum(axis=0)
    return np.asarray((draws < truth).sum(axis=0) + rng.integers(0, ties + 1), dtype=np.int64)


@dataclass(frozen=True)
class NutsPosterior:
    """NUTS; a chain that mixed too little is run again, longer.

    Coordinates are found from few points and, where the program found the prior's range, keep its bounds: exact for
    any data, and ten times faster than to look for the range of each.

    Attributes
    ----------
    problem : Problem
    prior : Prior
    tune, draws, chains : int
        Of a first attempt; every further one has ``LONGER`` times the draws.
    sampler : Sampler
    """

    problem: Problem
    prior: Prior
    tune: int = 200
    draws: int = 400
    chains: int = 2
    sampler: Sampler = field(default_factory=Sampler)

    LONGER = 4
    ATTEMPTS = 3
    LEAST_PER_RANK = 2.0
    """Effective draws for each of the thinned draws that make a rank, so that these are nearly independent."""

    @cached_property
    def variable(self) -> SampledVariable:
        """What NUTS moves in for the card's own data."""
        return sampled_variable(self.prior, self.problem)

    def coordinates(self, problem: Problem) -> Coordinates:
        """Return the coordinates for some data."""
        if self.prior.automatic:
            return Coordinates((self.variable,), frame_between(problem, self.variable, *self.variable.reach))
        variable = sampled_variable(self.prior, problem)
        return Coordinates((variable,), pull_frame(problem, [variable]))

    def place(self, simulations: Simulations, generators: Generators) -> dict[str, NDArray[Any]]:
        found = [self._one(simulations, k, generator) for k, generator in enumerate(generators)]
        return {name: np.array([row[name] for row in found]) for name in found[0]}

    def _one(self, simulations: Simulations, k: int, rng: np.random.Generator) -> dict[str, Any]:
        problem = replace(self.problem, data=simulations.data[k])
        coordinates = self.coordinates(problem)
        length = 1
        for attempt in range(1, self.ATTEMPTS + 1):
            sampled = self.sampler.sample(
                problem,
                [self.prior],
                draws=self.draws * length,
                chains=self.chains,
                tune=self.tune * attempt,
                seed=int(rng.integers(2**32)),
                coordinates=coordinates,
                cores=1,
            )
            flat = sampled.pulls.reshape(-1, sampled.pulls.shape[2])
            values = ranked(problem, sampled.theta[0].ravel(), flat)
            chains = mixing(values.reshape(self.chains, -1, values.shape[1]))
            if chains.ess.min() >= self.LEAST_PER_RANK * HIGHEST_RANK:
                break
            length *= self.LONGER
        thinned = values[((np.arange(HIGHEST_RANK) + 0.5) * len(values) / HIGHEST_RANK).astype(int)]
        truth = ranked(problem, simulations.theta[k : k + 1], simulations.pulls[k : k + 1])[0]
        return {
            "ranks": ranks_among(truth, thinned, rng),
            "divergences": int(np.asarray(sampled.sample_stats["diverging"]).sum()),
            "rhat": float(chains.rhat.max()),
            "ess": float(chains.ess.min()),
            "attempts": attempt,
        }


@dataclass(frozen=True)
class Study:
    """What all simulations of one coupling share.

    Attributes
    ----------
    problem : Problem
        What the data are drawn from; its own data are the card's and not used.
    prior : Prior
    posterior : Posterior
    seed : int
    """

    problem: Problem
    prior: Prior
    posterior: Posterior
    seed: int


def place_block(study: Study, first: int, number: int) -> dict[str, NDArray[Any]]:
    """Simulate and rank ``number`` simulations; each has its own stream, so that no number depends on the block."""
    coupling = list(COUPLINGS).index(study.problem.couplings[0])
    generators = [np.random.default_rng(task_seed(study.seed, coupling, k)) for k in range(first, first + number)]
    simulations = simulate(study.problem, study.prior, generators)
    return {**study.posterior.place(simulations, generators), "theta": simulations.theta}


def run_study(
    study: Study,
    simulations: int,
    block: int,
    workers: Workers,
    chunks: Chunks | None = None,
) -> dict[str, NDArray[Any]]:
    """Return ranks, diagnostics and true couplings of all simulations, in order.

    Parameters
    ----------
    study : Study
    simulations : int
    block : int
        Simulations per task.
    workers : Workers
    chunks : Chunks, optional
        Where finished tasks are kept.
    """
    blocks = [(first, min(block, simulations - first)) for first in range(0, simulations, block)]
    # Couplings share a folder.
    name = study.problem.couplings[0]
    tasks = [Task(f"{name}-{first:06d}-{number}", (first, number)) for first, number in blocks]
    found = run_tasks(place_block, study, tasks, workers, chunks)
    return {name: np.concatenate([result[name] for result in found]) for name in found[0]}
