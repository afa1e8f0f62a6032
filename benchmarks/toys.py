"""Times fits of pseudo-experiments in a process of their own: ``toys.py batch|iminuit|limit CARD COUPLING``.

Prints the seconds that 10,000 pseudo-experiments with two profile fits each take, or a Feldman-Cousins limit; loading
and compilation are left out.
iminuit fits fewer, whose time is scaled to as many; the -2 ln L that it minimises is a few NumPy operations.
"""

from __future__ import annotations

import sys
import time
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bayesnu.experiment.setup import load_experiment
from bayesnu.inference.feldman_cousins import feldman_cousins
from bayesnu.inference.likelihood import Problem, make_problem
from bayesnu.inference.toys import pseudo_experiments, toy_fits
from bayesnu.workers import open_workers

TOYS, FITTED_BY_IMINUIT = 10_000, 200
TRUTH = np.array([1.0])


def batch(problem: Problem) -> float:
    """Return the seconds of both fits of all toys by the batched Newton steps, drawing included."""
    toy_fits(problem, TRUTH, 10, np.random.default_rng(0))
    start = time.perf_counter()
    toy_fits(problem, TRUTH, TOYS, np.random.default_rng(1))
    return time.perf_counter() - start


def iminuit(problem: Problem) -> float:
    """Return the seconds of as many fits by iminuit, from the true pulls, one after the other."""
    from iminuit import Minuit  # type: ignore[import-untyped]

    model = problem.model
    exponent = np.array([sum(n for _, n in monomial) for monomial in model.monomials])
    table = model.arrays.reshape(exponent.size * len(model.components), -1)
    data = pseudo_experiments(problem, TRUTH, FITTED_BY_IMINUIT, np.random.default_rng(1))
    start = time.perf_counter()

    def value(y: NDArray[np.float64], counts: NDArray[np.float64], centre: NDArray[np.float64]) -> float:
        weights = model.pull_factors(model.widths * y[1:])[:, None] * y[0] ** exponent
        expected = np.maximum(weights.ravel() @ table, 1e-9)
        difference = y[1:] - centre
        return 2 * float(expected.sum() - counts @ np.log(expected)) + float(difference @ difference)

    for counts, centre, pulls in zip(data.counts, data.centre, data.pulls, strict=True):
        for held in (True, False):
            minuit = Minuit(partial(value, counts=counts, centre=centre), np.append(TRUTH, pulls))
            minuit.errordef, minuit.strategy = 1.0, 0
            minuit.errors = 0.5
            minuit.fixed[0] = held
            minuit.limits[0] = (0.0, None)
            minuit.migrad()
    return (time.perf_counter() - start) * TOYS / FITTED_BY_IMINUIT


def limit(problem: Problem) -> float:
    """Return the seconds of a Feldman-Cousins limit at 90% to 1%."""
    toy_fits(problem, TRUTH, 10, np.random.default_rng(0))
    start = time.perf_counter()
    with open_workers(number=1) as workers:
        feldman_cousins(problem, 0.9, workers, seed=1)
    return time.perf_counter() - start


def main() -> None:
    """Print the seconds of one side."""
    side, card, coupling = sys.argv[1:]
    problem = make_problem(load_experiment(card), [coupling])
    print({"batch": batch, "iminuit": iminuit, "limit": limit}[side](problem))


if __name__ == "__main__":
    main()
