"""Times fits of pseudo-experiments in a process of their own: ``toys.py batch|iminuit|limit CARD COUPLING``.

Prints the seconds that 10,000 pseudo-experiments with two profile fits each take, or a Feldman-Cousins limit; loading
and compilation are left out.
iminuit fits fewer, whose time is scaled to as many; the -2 ln L that it minimises is compiled, too.
"""

from __future__ import annotations

import sys
import time
from functools import partial

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesnu.experiment.setup import load_experiment
from bayesnu.inference.feldman_cousins import feldman_cousins
from bayesnu.inference.likelihood import Problem, make_problem
from bayesnu.inference.toys import pseudo_experiments, toy_fits
from bayesnu.workers import InProcess

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
TOYS, FITTED_BY_IMINUIT = 10_000, 500
MOST_DIFFERENCE = 1e-3
"""Of t, between both sides: iminuit's default tolerance in -2 ln L is 2e-4."""
TRUTH = np.array([1.0])


def batch(problem: Problem) -> float:
    """Return the seconds of both fits of all toys by the batched Newton steps, drawing included."""
    toy_fits(problem, TRUTH, 10, np.random.default_rng(0))
    start = time.perf_counter()
    toy_fits(problem, TRUTH, TOYS, np.random.default_rng(1))
    return time.perf_counter() - start


@njit  # type: ignore[untyped-decorator]
def deviance(
    y: Array, exponents: Integers, arrays: Array, membership: Array, widths: Array, counts: Array, centre: Array
) -> float:
    """Return -2 ln L at a coupling and pulls, as one would write it for a minimiser; the variable part of it."""
    expected = np.zeros(counts.size)
    for c in range(membership.shape[0]):
        weight = 1.0
        for p in range(widths.size):
            weight *= (1 + widths[p] * y[1 + p]) ** membership[c, p]
        for m in range(exponents.size):
            expected += weight * y[0] ** exponents[m] * arrays[c, m]
    value = 0.0
    for o in range(counts.size):
        mean = max(expected[o], 1e-9)
        value += 2 * (mean - counts[o] * np.log(mean))
    for p in range(widths.size):
        value += (y[1 + p] - centre[p]) ** 2
    return value


def iminuit(problem: Problem) -> float:
    """Return the seconds of as many fits by iminuit, from the true pulls, one after the other."""
    from iminuit import Minuit

    model = problem.model
    exponents = np.array([sum(n for _, n in monomial) for monomial in model.monomials])
    data = pseudo_experiments(problem, TRUTH, FITTED_BY_IMINUIT, np.random.default_rng(1))
    fixed = (exponents, model.arrays, model.membership.astype(np.int64), model.widths)
    deviance(np.zeros(1 + model.widths.size), *fixed, data.counts[0], data.centre[0])
    lowest = np.empty((FITTED_BY_IMINUIT, 2))

    def value(y: Array, counts: Array, centre: Array) -> float:
        return float(deviance(y, *fixed, counts, centre))

    start = time.perf_counter()
    for k, (counts, centre, pulls) in enumerate(zip(data.counts, data.centre, data.pulls, strict=True)):
        for held in (True, False):
            minuit = Minuit(partial(value, counts=counts, centre=centre), np.append(TRUTH, pulls))
            minuit.errordef, minuit.strategy = 1.0, 0
            minuit.errors = 0.5
            minuit.fixed[0] = held
            minuit.limits[0] = (0.0, None)
            lowest[k, int(held)] = minuit.migrad().fval
    seconds = time.perf_counter() - start
    # Both sides are to find the same minima; iminuit's free fits stop up to 0.03 above some of them.
    own = toy_fits(problem, TRUTH, FITTED_BY_IMINUIT, np.random.default_rng(1))
    excess = np.maximum(lowest[:, 1] - lowest[:, 0], 0.0) - own.statistic
    if excess.max() > MOST_DIFFERENCE or np.median(np.abs(excess)) > MOST_DIFFERENCE:
        raise RuntimeError(f"t of iminuit's fits and of the batch's differ by {np.abs(excess).max():.1g}")
    return seconds * TOYS / FITTED_BY_IMINUIT


def limit(problem: Problem) -> float:
    """Return the seconds of a Feldman-Cousins limit at 90% to 1%."""
    toy_fits(problem, TRUTH, 10, np.random.default_rng(0))
    start = time.perf_counter()
    feldman_cousins(problem, 0.9, InProcess(), seed=1)
    return time.perf_counter() - start


def main() -> None:
    """Print the seconds of one side."""
    side, card, coupling = sys.argv[1:]
    problem = make_problem(load_experiment(card), [coupling])
    print({"batch": batch, "iminuit": iminuit, "limit": limit}[side](problem))


if __name__ == "__main__":
    main()
