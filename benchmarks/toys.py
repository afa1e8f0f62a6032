"""Fits of pseudo-experiments beside a loop of iminuit's; ``benchmarks.toys batch|limit CARD COUPLING`` is one side.

As a command it prints the seconds that 10,000 pseudo-experiments with two profile fits each take, or a Feldman-Cousins
limit; loading and compilation are left out.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bayesnu.experiment.setup import load_experiment
from bayesnu.inference.feldman_cousins import feldman_cousins
from bayesnu.inference.likelihood import Problem, make_problem, squared_only
from bayesnu.inference.toys import PseudoData, pseudo_experiments, toy_fits
from bayesnu.workers import InProcess
from benchmarks.agreement import DisagreementError, require_close
from benchmarks.measure import Aim, Contest, Row, seconds_of
from benchmarks.peers import HandWritten, compiled_deviance, minuit

Array = NDArray[np.float64]
CARD, COUPLING = "dune-prism", "mu_numu"
ALONE, TOYS, CHECKED, WITH_NUMPY = 10_000, 1_000, 200, 100
"""Toys of the command, of the row, of the check, and those that iminuit fits with a NumPy likelihood."""
MOST_DIFFERENCE = 1e-3
"""Of t, between both sides: iminuit's default tolerance in -2 ln L is 2e-4."""
MOST_OF_ONE = 5e-3
"""Of a single toy: iminuit's free fits stop somewhat above a few of the minima."""
TRUTH = np.array([1.0])


def batch(problem: Problem) -> float:
    """Return the seconds of both fits of all toys by the batched Newton steps, drawing included."""
    toy_fits(problem, TRUTH, 10, np.random.default_rng(0))
    start = time.perf_counter()
    toy_fits(problem, TRUTH, ALONE, np.random.default_rng(1))
    return time.perf_counter() - start


def limit(problem: Problem) -> float:
    """Return the seconds of a Feldman-Cousins limit at 90% to 1%."""
    toy_fits(problem, TRUTH, 10, np.random.default_rng(0))
    start = time.perf_counter()
    feldman_cousins(problem, 0.9, InProcess(), seed=1)
    return time.perf_counter() - start


def draws(problem: Problem, number: int) -> PseudoData:
    """Return the pseudo-experiments that both sides fit."""
    return pseudo_experiments(problem, TRUTH, number, np.random.default_rng(1))


def looped(problem: Problem, deviance: Callable[[Array, Array, Array], Callable[[Array], float]], number: int) -> Array:
    """Return t of toys, drawing included, by iminuit: one fit after the other, each from the true pulls.

    ``deviance`` is that of counts and auxiliary measurements; the variable is the square of the coupling.
    """
    names, squared = HandWritten.of(problem).names, squared_only(problem)
    data, lowest = draws(problem, number), np.empty((number, 2))
    for k, (counts, centre, pulls) in enumerate(zip(data.counts, data.centre, data.pulls, strict=True)):
        made = minuit(deviance(counts, centre, pulls), np.append(TRUTH**2, pulls), names, squared)
        for place, held in enumerate((True, False)):
            made.fixed[0] = held
            lowest[k, place] = made.migrad().fval
    return np.maximum(lowest[:, 0] - lowest[:, 1], 0.0)


def contest(compiled: bool) -> Contest:
    """Compare toys with iminuit's, on a compiled likelihood or on one in NumPy."""
    problem = make_problem(load_experiment(CARD), [COUPLING])
    counted = compiled_deviance(problem) if compiled else None

    def deviance(counts: Array, centre: Array, _: Array) -> Callable[[Array], float]:
        if counted is None:
            return HandWritten(problem, counts, centre).with_numpy()
        return lambda y: float(counted(y, counts, centre))

    def own(number: int) -> Array:
        return toy_fits(problem, TRUTH, number, np.random.default_rng(1)).statistic

    number = TOYS if compiled else WITH_NUMPY
    checked = min(CHECKED, number)
    theirs, ours = looped(problem, deviance, checked), own(checked)
    excess = theirs - ours
    if excess.max() > MOST_DIFFERENCE:
        raise DisagreementError(f"t: iminuit finds a minimum lower by {excess.max():.1g}")
    agreement = [
        require_close(f"t of {checked} toys", ours, theirs, MOST_OF_ONE),
        require_close("their medians", np.median(ours), np.median(theirs), MOST_DIFFERENCE),
    ]
    note = "" if number == TOYS else f"iminuit fits {number} toys, whose time is scaled by {TOYS / number:g}"
    return Contest(
        seconds_of(lambda: own(TOYS)), seconds_of(lambda: looped(problem, deviance, number), TOYS / number),
        ", ".join(agreement), note,
    )  # fmt: skip


def rows() -> list[Row]:
    """Return the rows."""
    task = f"{TOYS:,} toys with two fits each, {CARD} {COUPLING}"
    return [
        Row(task, "iminuit in a loop, NumPy likelihood", lambda: contest(False), (Aim(ratio=50.0),)),
        Row(
            task,
            "iminuit in a loop, compiled likelihood",
            lambda: contest(True),
            (Aim(ratio=50.0),),
            "a likelihood compiled for this one problem leaves iminuit 0.25 ms a fit, bayesnu takes 10 μs, drawing "
            "included",
        ),
    ]


def main() -> None:
    """Print the seconds of one kind of work."""
    kind, card, coupling = sys.argv[1:]
    problem = make_problem(load_experiment(card), [coupling])
    print({"batch": batch, "limit": limit}[kind](problem))


if __name__ == "__main__":
    main()
