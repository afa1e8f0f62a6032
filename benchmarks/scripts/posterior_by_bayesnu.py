"""Draw from the posterior of one coupling with bayesnu: {nuts,laplace} COUPLING OUT.npz SEED CARD [KEY=VALUE …]."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

import bayesnu

if TYPE_CHECKING:
    from bayesnu.experiment.base import Experiment


def by_nuts(experiment: Experiment, coupling: str, out: str, seed: int) -> None:
    """Write 4 × 1,000 draws after as many tuning steps, and which trajectories diverged."""
    from bayesnu.inference.priors import one_coupling
    from bayesnu.inference.sampling import Sampler

    problem, prior = one_coupling(experiment, coupling)
    found = Sampler().sample(problem, [prior], draws=1000, chains=4, tune=1000, seed=seed)
    np.savez(out, theta=found.theta[0], pulls=found.pulls, diverging=found.sample_stats["diverging"])


def by_weights(experiment: Experiment, coupling: str, out: str, seed: int) -> None:
    """Write 4,000 weighted draws and their Pareto k."""
    found = bayesnu.draw(experiment, coupling, draws=4000, seed=seed)
    np.savez(out, theta=found.theta, pulls=found.pulls, weight=found.weight, pareto_k=found.pareto_k)


if __name__ == "__main__":
    how, name, target, number, card, *overrides = sys.argv[1:]
    ways = {"nuts": by_nuts, "laplace": by_weights}
    ways[how](bayesnu.load_experiment(card, overrides), name, target, int(number))
