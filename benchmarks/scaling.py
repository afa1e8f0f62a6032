"""How time and memory grow with bins, exposures, pulls and couplings: ``python -m benchmarks.scaling``.

Templates are folded with responses of as many bins, of the fewest samples. The likelihoods are those of
dune-on-axis, made larger: each bin is split, exposures are repeated, pulls scale one component each in turn,
couplings are millicharges whose counts follow different waves across the bins, so that no two are the same.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bayesnu.detector.response import ResponseMatrix, build_response
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.setup import load_electron_experiment
from bayesnu.experiment.templates import fold_dipole, fold_electromagnetic
from bayesnu.inference.batch import fit_couplings
from bayesnu.inference.density import density_inputs, log_density
from bayesnu.inference.frame import DEGREE, PullFrame
from bayesnu.inference.likelihood import Problem, make_problem
from bayesnu.inference.priors import SampledVariable
from benchmarks.measure import LEAST

Array = NDArray[np.float64]
CARD, COUPLING = "dune-on-axis", "q_numu"
SIZES = {
    "bins": (12, 36, 120, 360, 1200),
    "exposures": (2, 6, 20, 60),
    "pulls": (5, 10, 20, 50, 100),
    "couplings": (1, 2, 4, 8, 12),
}
LINEAR = ("bins", "exposures")
"""Nothing is to grow faster than linearly in these."""
LEEWAY = 0.15
"""By how much a fitted exponent may exceed 1: caches of the processor end somewhere."""
FITTED = 3
"""Largest sizes from which an exponent is fitted: below, what does not grow dominates."""
GOES, ENOUGH = 5, 2.0
"""Goes of each measurement, and seconds of single calls after which there are no more."""
WORK = ("templates", "evaluation", "fit")
FLAT = SampledVariable("normal", -np.inf, np.inf, 1e12, "identity")
FIGURE = Path(__file__).resolve().parent / "figures" / "scaling.png"


@dataclass(frozen=True)
class Growth:
    """Time and memory of one kind of work against one size.

    Attributes
    ----------
    axis : {"bins", "exposures", "pulls", "couplings"}
    work : {"templates", "evaluation", "fit"}
    sizes : tuple of int
    seconds : tuple of float
        Medians.
    mib : tuple of float
        The most that NumPy holds while it makes and does the work, in MiB.
    """

    axis: str
    work: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    mib: tuple[float, ...]

    @property
    def exponents(self) -> tuple[float, float]:
        """Powers of the size with which time and memory grow, fitted to the largest sizes."""
        x = np.log(self.sizes[-FITTED:])
        time_power, memory_power = (
            float(np.polyfit(x, np.log(values[-FITTED:]), 1)[0]) for values in (self.seconds, self.mib)
        )
        return time_power, memory_power

    @property
    def content(self) -> dict[str, Any]:
        """What is written to JSON."""
        return {**vars(self), "exponents": self.exponents}


@cache
def card() -> ElectronExperiment:
    """Return the experiment that is made larger."""
    return load_electron_experiment(CARD)


@cache
def response(bins: int) -> ResponseMatrix:
    """Return a response of the card's detector with some bins in the same range, of the fewest samples."""
    made = card().templates.response.settings
    edges = tuple(np.linspace(made.bin_edges_mev[0], made.bin_edges_mev[-1], bins + 1).tolist())
    return build_response(replace(made, bin_edges_mev=edges, samples=made.least_samples))


def templates(axis: str, size: int) -> Callable[[], object]:
    """Return the folding of all terms for a card with as many bins or exposures."""
    own, made = card(), response(size if axis == "bins" else 12)
    edges = list(made.settings.bin_edges_mev)
    detector = own.card.detector.model_copy(update={"bin_edges_mev": edges})
    number = size if axis == "exposures" else len(own.card.exposures)
    exposures = [own.card.exposures[k % 2] for k in range(number)]
    larger = own.card.model_copy(update={"detector": detector, "exposures": exposures})
    return lambda: (fold_electromagnetic(larger, own.flux, made), fold_dipole(larger, own.flux, made))


def problem(axis: str, size: int) -> Problem:
    """Return the problem of one coupling made larger along an axis."""
    made = make_problem(card(), [COUPLING])
    model = made.model
    if axis in LINEAR:
        arrays = model.arrays[..., : model.arrays.shape[2] // 2 * 2]
        larger = (
            np.repeat(arrays, size // 12, axis=2) * (12 / size)
            if axis == "bins"
            else np.tile(arrays, (1, 1, size // 2))
        )
        model = replace(model, arrays=larger)
    elif axis == "pulls":
        number, components = len(model.pulls), len(model.components)
        more = range(number, size)
        members = [(*own, *(p for p in more if p % components == c)) for c, own in enumerate(model.components)]
        names = (*model.pulls, *(f"norm_{p}" for p in more))
        widths = np.concatenate([model.widths, np.full(len(more), 0.05)])
        model = replace(model, components=tuple(members), pulls=names, widths=widths)
    else:
        waves = [np.ones(model.arrays.shape[2])]
        waves += [1 + 0.5 * np.sin(np.arange(waves[0].size) * k) for k in range(1, size)]
        parts = [model.arrays[:, [model.monomials.index(((0, n),))]] * wave for wave in waves for n in (1, 2)]
        constant = model.arrays[:, [model.monomials.index(())]]
        model = replace(
            model,
            couplings=(COUPLING,) * size,
            monomials=((), *(((k, n),) for k in range(size) for n in (1, 2))),
            arrays=np.concatenate([constant, *parts], axis=1),
        )
    data = model.arrays[:, 0].sum(axis=0)
    return replace(
        made, couplings=model.couplings, scales=np.repeat(made.scales, len(model.couplings)), model=model, data=data,
        normal_variance=np.zeros(data.size), relative_variance=np.zeros(data.size),
    )  # fmt: skip


def evaluation(axis: str, size: int) -> Callable[[], object]:
    """Return one evaluation of -2 ln L with its gradient."""
    own = problem(axis, size)
    pulls, couplings = len(own.model.pulls), len(own.couplings)
    inputs = density_inputs(own, [FLAT] * couplings, PullFrame(np.zeros((pulls, DEGREE + 1)), np.eye(pulls), 0.0, 1.0))
    u, gradient = np.full(couplings + pulls, 0.1), np.empty(couplings + pulls)
    return lambda: log_density(u, inputs, gradient)


def fit(axis: str, size: int) -> Callable[[], object]:
    """Return one fit of all couplings and pulls to fluctuated data."""
    own = problem(axis, size)
    data = np.random.default_rng(1).poisson(own.data).astype(float)[None]
    start = np.full((1, len(own.couplings)), 0.1)

    def work() -> None:
        if not fit_couplings(own, data, start).converged.all():
            raise RuntimeError(f"scaling: the fit with {size} {axis} has not converged")

    return work


def seconds(work: Callable[[], object]) -> float:
    """Return the median seconds of one call, of fewer goes where they take long."""
    found: list[float] = []
    while len(found) < GOES and sum(found) < ENOUGH:
        calls, start = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - start < LEAST:
            work()
            calls += 1
        found.append((time.perf_counter() - start) / calls)
    return float(np.median(found))


def grown(axis: str, work: str) -> Growth:
    """Measure one kind of work against one size."""
    make = {"templates": templates, "evaluation": evaluation, "fit": fit}[work]
    times, memory = [], []
    for size in SIZES[axis]:
        make(axis, size)()
        tracemalloc.start()
        make(axis, size)()
        memory.append(tracemalloc.get_traced_memory()[1] / 1024**2)
        tracemalloc.stop()
        times.append(seconds(make(axis, size)))
    return Growth(axis, work, SIZES[axis], tuple(times), tuple(memory))


def measure() -> list[Growth]:
    """Measure everything, on one thread; templates know no pulls, and hold all couplings always."""
    with threadpool_limits(1):
        return [grown(axis, work) for axis in SIZES for work in WORK if work != "templates" or axis in LINEAR]


def too_fast(found: list[Growth]) -> list[str]:
    """Return what grows faster than linearly in bins or exposures."""
    return [
        f"{what} of {growth.work} against {growth.axis}: power {power:.2f}"
        for growth in found
        for what, power in zip(("time", "memory"), growth.exponents, strict=True)
        if growth.axis in LINEAR and power > 1 + LEEWAY
    ]


def lines(found: list[Growth]) -> list[str]:
    """Return the table and the figure as Markdown."""
    from benchmarks.tables import amount

    result = [
        f"![time and memory against bins, exposures, pulls and couplings](figures/{FIGURE.name})",
        "",
        f"Exponents are fitted to the {FITTED} largest sizes, on one thread; memory is what NumPy holds at most while",
        "it makes and does the work. The likelihoods are those of dune-on-axis made larger, with one coupling and five",
        "pulls where they are not what grows; a fit is one of all couplings and pulls.",
        "",
        "| against | work | from | to | time grows as | memory grows as |",
        "|---|---|---|---|---|---|",
    ]
    for g in found:
        ends = [
            f"{size}: {amount(seconds, 's')}, {amount(mib, 'MiB')}"
            for size, seconds, mib in zip(g.sizes, g.seconds, g.mib, strict=True)
        ]
        powers = " | ".join(f"{g.axis}^{power:.2f}" for power in g.exponents)
        result.append(f"| {g.axis} | {g.work} | {ends[0]} | {ends[-1]} | {powers} |")
    fast = too_fast(found)
    linear = (
        f"Nothing grows faster than linearly in bins or exposures (a power of at most {1 + LEEWAY:g}: those that are "
        "fitted are good to the difference)."
    )
    return [*result, "", linear if not fast else f"**Faster than linearly**: {'; '.join(fast)}."]


def draw(found: list[Growth], path: Path = FIGURE) -> None:
    """Draw time and memory against each size, logarithmic, with a line of linear growth."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.6), layout="constrained")
    panels = figure.subplots(2, len(SIZES), sharey="row", sharex="col")
    colours = dict(zip(WORK, ("#0072b2", "#d55e00", "#009e73"), strict=True))
    for column, (axis, sizes) in enumerate(SIZES.items()):
        for row, unit in enumerate(("seconds", "mib")):
            panel = panels[row, column]
            for growth in found:
                if growth.axis != axis:
                    continue
                x, y, colour = np.array(growth.sizes), np.array(getattr(growth, unit)), colours[growth.work]
                panel.loglog(x, y, "o-", color=colour, markersize=4, label=growth.work)
                panel.loglog(x, y[-1] * x / x[-1], ":", color=colour, alpha=0.6, linewidth=1)
                # Lines of the same end are told apart by heights of their labels.
                panel.annotate(
                    f"{growth.exponents[row]:.2f}", (x[-1], y[-1]), xytext=(5, 5 if growth.work == "fit" else -8),
                    textcoords="offset points", color=colour, fontsize=8,
                )  # fmt: skip
            panel.set_xlim(sizes[0] * 0.85, sizes[-1] * (sizes[-1] / sizes[0]) ** 0.16)
            panel.set_xticks(sizes, [str(size) for size in sizes])
            panel.minorticks_off()
            panel.grid(alpha=0.2)
            if row:
                panel.set_xlabel(axis)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(WORK), frameon=False)
    figure.supxlabel("dotted: linear growth; numbers: the fitted powers", fontsize=9)
    panels[0, 0].set_ylabel("time (s)")
    panels[1, 0].set_ylabel("memory of arrays (MiB)")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure, draw and print the table."""
    found = measure()
    draw(found)
    print("\n".join(lines(found)))


if __name__ == "__main__":
    main()
