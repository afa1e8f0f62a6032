"""Posteriors, runs, imports and memory: bayesnu beside PyMC models written by hand, in fresh processes."""

from __future__ import annotations

import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.agreement import DisagreementError, differences, require_close
from benchmarks.commands import BAYESNU
from benchmarks.handwritten import Analysis, log_density
from benchmarks.measure import CHECKOUT, Aim, Contest, Figures, Row, fresh

Array = NDArray[np.float64]
HAND = "PyMC model written by hand, `pm.sample` as it comes"
COUPLINGS = ("mu_nue", "mu_numu", "q_nue", "q_numu", "r2_nue", "r2_numu")
FIRST = "mu_numu"
FIGURES = ("predictive", "trace", "ranks", "energy", "pairs")
"""Of each fit of a whole run, by both."""
WIDE = 10.0
"""Width of the normal priors, in units of what changes χ² by about 1."""
SIGMAS = 4.0
"""Monte Carlo errors by which a 90% limit may differ from that of the Laplace grid."""
LOADING = (
    "four fifths of the process are its start and the card (interpreter, NumPy, pydantic, what the card names); "
    "fits, draws and weights take a tenth of a second"
)
DRAWING = (
    "four of five figures of a fit are ArviZ's on both sides, and figures take most of bayesnu's time; it adds the "
    "report and limits by other methods and under other priors"
)
FOUR_PROCESSES = (
    "the figures are drawn by two processes beside the one that fits, each with ArviZ and matplotlib, and a third that "
    "they are forked from"
)
TICK_S = 0.02
"""Between two looks at the memory of a process and all that it has started."""


def module(name: str, *arguments: object) -> list[str]:
    """Return the command that runs a program of `benchmarks.scripts`."""
    return [sys.executable, "-m", f"benchmarks.scripts.{name}", *map(str, arguments)]


@dataclass(frozen=True)
class Case:
    """A card with counts that PyMC's Poisson can take, and the same as arrays.

    Attributes
    ----------
    card : str
    overrides : tuple of str
        Rounded counts, and a wide normal prior for each coupling.
    arrays : dict
        Coupling to the file of its `Analysis`.
    scales : dict
        Coupling to the unit of ``theta`` there.
    """

    card: str
    overrides: tuple[str, ...]
    arrays: dict[str, Path]
    scales: dict[str, float]


@cache
def case(card: str, folder: Path) -> Case:
    """Write the files of a card; the same for all rows."""
    import bayesnu
    from bayesnu.experiment.own import counts_text
    from bayesnu.inference.likelihood import make_problem

    folder = folder / card
    folder.mkdir(parents=True)
    plain = bayesnu.load_experiment(card)
    counts = folder / "counts.csv"
    counts.write_text(counts_text(plain), encoding="utf-8")
    problems = {name: make_problem(plain, [name]) for name in COUPLINGS}
    scales = {name: float(problem.scales[0]) for name, problem in problems.items()}
    overrides = [f"counts.file={counts}"]
    for name, scale in scales.items():
        overrides += [f"couplings.{name}.prior.kind=normal", f"couplings.{name}.prior.sigma={WIDE * scale!r}"]
    observed = bayesnu.load_experiment(card, overrides)
    files = {}
    for name, problem in problems.items():
        model = problem.model
        templates = np.zeros((model.arrays.shape[0], 3, model.arrays.shape[2]))
        for m, monomial in enumerate(model.monomials):
            templates[:, sum(power for _, power in monomial)] += model.arrays[:, m]
        files[name] = folder / f"{name}.npz"
        signed = not name.startswith("mu_")
        Analysis(
            name, signed, WIDE, templates, model.membership, model.widths, np.rint(observed.data).astype(np.int64)
        ).save(files[name])
    return Case(card, tuple(overrides), files, scales)


def same_density(found: Case, coupling: str, points: int = 100) -> str:
    """Check that both sides have the same log-density, up to a constant, at random points."""
    import bayesnu
    from bayesnu.inference.importance import log_posterior
    from bayesnu.inference.priors import one_coupling

    analysis = Analysis.load(found.arrays[coupling])
    rng = np.random.default_rng(5)
    theta = rng.normal(0.0, 2.0, points) if analysis.signed else rng.uniform(0.01, 4.0, points)
    pulls = analysis.widths * rng.normal(0.0, 1.0, (points, analysis.widths.size))
    problem, prior = one_coupling(bayesnu.load_experiment(found.card, found.overrides), coupling)
    own = log_posterior(problem, prior, theta * found.scales[coupling], pulls / problem.model.widths)
    peer = log_density(analysis, theta, pulls)
    # Of sums of some 1e5, ten digits after the point are what rounding leaves.
    return require_close("log-densities", differences(own), differences(peer), 1e-9)


def upper(values: Array, weight: Array | None = None) -> tuple[float, float]:
    """Return the 90% limit of draws, (chains, draws) or weighted ones, and its Monte Carlo error."""
    from arviz_stats.base import array_stats

    if weight is None:
        error = array_stats.mcse(values, method="quantile", prob=0.9, chain_axis=0, draw_axis=1)
        return float(np.quantile(values, 0.9)), float(error)
    order = np.argsort(values)
    cumulative = np.cumsum(weight[order])
    # σ(q) = √(0.9 · 0.1/N)/p(q), by how far the quantile moves.
    spread = math.sqrt(0.9 * 0.1 * float((weight**2).sum()))
    at = np.interp([0.9 - spread, 0.9, 0.9 + spread], cumulative, values[order])
    return float(at[1]), float(at[2] - at[0]) / 2


def exact_limit(found: Case) -> float:
    """Return the 90% limit of the first coupling by the Laplace grid, in units of its scale: no draws, no error."""
    import bayesnu

    limit = bayesnu.limit(bayesnu.load_experiment(found.card, found.overrides), FIRST, method="laplace", cl=0.9)
    return float(limit.intervals[0][1]) / found.scales[FIRST]


def same_limit(found: Case, own: tuple[float, float], peer: tuple[float, float]) -> str:
    """Check that two limits of draws agree with that of the grid within their errors."""
    exact = exact_limit(found)
    for who, (limit, error) in {"bayesnu": own, "the peer": peer}.items():
        if not abs(limit - exact) <= SIGMAS * error:
            raise DisagreementError(f"90% limit by {who} {limit:.4g} ± {error:.2g}, by the Laplace grid {exact:.4g}")
    return (
        f"90% limits {own[0]:.3g} ± {own[1]:.2g} and {peer[0]:.3g} ± {peer[1]:.2g}, by the Laplace grid {exact:.4g} "
        f"(more than {SIGMAS:g} errors from it fail)"
    )


def chains(seconds: float, path: Path) -> Figures:
    """Return the figures of one sampled posterior: the tail ESS is the least, of the coupling and the pulls."""
    from arviz_stats.base import array_stats

    with np.load(path) as file:
        theta, pulls, diverging = file["theta"], file["pulls"], file["diverging"]
    if theta.shape != (4, 1000):
        raise RuntimeError(f"{path.name}: draws of the shape {theta.shape} where 4 × 1,000 were asked for")
    each = [theta, *np.moveaxis(pulls, 2, 0)]
    ess = min(
        float(array_stats.ess(values, method="tail", prob=(0.05, 0.95), chain_axis=0, draw_axis=1)) for values in each
    )
    return {
        "seconds": seconds,
        "divergences": float(diverging.sum()),
        "tail_ESS": ess,
        "tail_ESS_per_second": ess / seconds,
    }


def draws_of(path: Path, name: str) -> Array:
    """Return one array of what a program wrote."""
    with np.load(path) as file:
        return np.asarray(file[name])


def sampled(folder: Path, nuts_sampler: str = "") -> Contest:
    """Return NUTS of the first coupling by both, once done and compared."""
    found = case("dune-prism", folder)
    ours, theirs = folder / "own.npz", folder / "peer.npz"
    seeds = iter(range(1, 10_000))

    def own() -> Figures:
        done = fresh(module("posterior_by_bayesnu", "nuts", FIRST, ours, next(seeds), found.card, *found.overrides))
        return chains(done.seconds, ours)

    def peer() -> Figures:
        done = fresh(module("posterior_by_pymc", found.arrays[FIRST], theirs, next(seeds), nuts_sampler))
        return chains(done.seconds, theirs)

    density = same_density(found, FIRST)
    own()
    peer()
    limits = same_limit(found, upper(draws_of(ours, "theta") / found.scales[FIRST]), upper(draws_of(theirs, "theta")))
    return Contest(own, peer, f"{density}; {limits}", "4 chains of 1,000 draws after 1,000 tuning steps on both sides")


def second(folder: Path, *, alone: bool) -> Contest:
    """Return NUTS of the couplings after the first; the peer in a process of its own for each with ``alone``."""
    found = case("dune-prism", folder)
    names = (FIRST, *(name for name in COUPLINGS if name != FIRST))
    theirs = folder / "second.npz"

    def own() -> Figures:
        done = fresh(module("second_by_bayesnu", ",".join(names), found.card, *found.overrides))
        return {"seconds": statistics.median(json.loads(done.output))}

    def peer() -> Figures:
        if alone:
            return {"seconds": fresh(module("posterior_by_pymc", found.arrays[names[1]], theirs, 1)).seconds}
        done = fresh(module("second_by_pymc", *(found.arrays[name] for name in names[:3])))
        return {"seconds": statistics.median(json.loads(done.output))}

    density = "; ".join(f"{name}: {same_density(found, name)}" for name in names[1:3])
    own()
    return Contest(own, peer, density, "the median over the couplings, its problem and coordinates included")


def weighted(folder: Path, *, by_command: bool) -> Contest:
    """Return 4,000 weighted draws, by a Python call or by the command, beside NUTS of the hand-written model."""
    found = case("dune-prism", folder)
    ours, theirs, table = folder / "weighted.npz", folder / "peer.npz", folder / "weighted.csv"
    overrides = [text for override in found.overrides for text in ("-o", override)]

    def by_call() -> float:
        arguments = ("laplace", FIRST, ours, 1, found.card, *found.overrides)
        return fresh(module("posterior_by_bayesnu", *arguments)).seconds

    def own() -> Figures:
        if not by_command:
            return {"seconds": by_call()}
        command = [*BAYESNU, "draw", found.card, "--coupling", FIRST, "--draws", "4000", "--out", str(table)]
        return {"seconds": fresh([*command, *overrides]).seconds}

    def peer() -> Figures:
        return {"seconds": fresh(module("posterior_by_pymc", found.arrays[FIRST], theirs, 1)).seconds}

    by_call()
    own()
    peer()
    k = float(draws_of(ours, "pareto_k"))
    if not k < 0.5:
        raise DisagreementError(f"Pareto's k of the weights is {k:.2f}")
    theta, weight = draws_of(ours, "theta"), draws_of(ours, "weight")
    if by_command:
        written = np.genfromtxt(table, delimiter=",", names=True, comments="#")
        theta, weight = written[FIRST], written["weight"]
    limits = same_limit(found, upper(theta / found.scales[FIRST], weight), upper(draws_of(theirs, "theta")))
    return Contest(own, peer, f"{same_density(found, FIRST)}; {limits}; Pareto's k of the weights {k:.2f}")


def whole_run(folder: Path, *draws: str) -> Contest:
    """Return `bayesnu run` of six couplings beside as many hand-written runs with summaries and figures.

    As a user types it, or with as many ``draws`` as the hand-written runs make.
    """
    found = case("dune-on-axis", folder)
    out, theirs = folder / "run-own", folder / "run-peer"
    overrides = [text for override in found.overrides for text in ("-o", override)]

    def own() -> Figures:
        seed = str(time.time_ns() % 2**31)
        command = [*BAYESNU, "run", found.card, *draws, "--force", "--seed", seed, "--out", str(out), *overrides]
        return {"seconds": fresh(command).seconds, "files": whole(out / "posteriors", out / "figures")}

    def peer() -> Figures:
        done = fresh(module("run_by_pymc", theirs, *(found.arrays[n] for n in COUPLINGS)))
        return {"seconds": done.seconds, "files": whole(theirs, theirs)}

    def whole(draws: Path, figures: Path) -> float:
        """Return how many files there are, once draws and all figures of each coupling are."""
        wanted = [draws / f"{name}.nc" for name in COUPLINGS]
        wanted += [figures / f"{name}-{kind}.{end}" for name in COUPLINGS for kind in FIGURES for end in ("png", "pdf")]
        if missing := [path.name for path in wanted if not path.is_file()]:
            raise DisagreementError(f"whole run: {', '.join(missing)} missing")
        shutil.rmtree(figures)
        return float(len(wanted))

    density = "; ".join(f"{name}: {same_density(found, name)}" for name in COUPLINGS)
    return Contest(
        own,
        peer,
        density,
        "both save draws as netCDF and five figures of each fit as PNG and PDF, the peer in ArviZ's own sizes",
    )


def imports() -> Contest:
    """Return by how much a process that imports bayesnu takes longer than one that does nothing."""
    code = "import sys, bayesnu; sys.exit('numpy' in sys.modules)"

    def own() -> Figures:
        pairs = []
        for _ in range(5):
            nothing = fresh([sys.executable, "-c", "pass"]).seconds
            pairs.append(fresh([sys.executable, "-c", code]).seconds - nothing)
        return {"seconds": max(statistics.median(pairs), 0.0)}

    own()
    return Contest(own, note="the process fails if numpy is imported; the interpreter's own start is taken off")


def memory(folder: Path) -> Contest:
    """Return the most memory that `bayesnu run` and all that it starts have at once."""

    def own() -> Figures:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            together, largest = peak_of_tree([*BAYESNU, "run", "dune-prism", "--force", "--out", f"{out}/run"])
            return {"peak_memory": together, "peak_memory_of_one_process": largest}

    return Contest(own, note="the sum over the process and its children, pages that they share counted once")


def peak_of_tree(command: Sequence[str]) -> tuple[float, float]:
    """Return the most memory in GiB that a command and its descendants hold at once, and one of them (Linux).

    Of proportional set sizes, whose sum counts a shared page once.
    """
    peak = largest = 0
    with tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=err)
        while process.poll() is None:
            sizes = [proportional_kib(pid) for pid in descendants(process.pid)]
            peak, largest = max(peak, sum(sizes)), max(largest, *sizes)
            time.sleep(TICK_S)
        err.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {err.read()[-2000:]}")
    return peak / 1024**2, largest / 1024**2


def descendants(root: int) -> set[int]:
    """Return a process and all that it has started, directly or not."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in brackets may hold blanks.
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
    found, grown = {root}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found


def proportional_kib(pid: int) -> int:
    """Return the proportional set size of a process; 0 if it has gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def rows(folder: Path) -> list[Row]:
    """Return the rows; a folder for what they write."""
    nuts = "NUTS, one coupling and five pulls, 4 × 1,000 draws, fresh process"
    per_second = Aim("tail_ESS_per_second", "/s", ratio=10.0, more=True)
    weights = "the same posterior as 4,000 weighted Laplace draws"
    six = "six runs of PyMC models written by hand, each with `az.summary` and figures of these kinds, 4 × 1,000 draws"
    found = [
        Row(
            nuts,
            HAND,
            lambda: sampled(folder),
            (Aim(ratio=3.0), per_second, Aim("divergences", "", bound=0.0)),
        ),
        Row(
            "the same, second coupling onward in one process",
            f"{HAND}, in a process for each",
            lambda: second(folder, alone=True),
            (Aim(ratio=50.0),),
        ),
        Row(
            "the same, second coupling onward in one process",
            f"{HAND}, second model onward in one process",
            lambda: second(folder, alone=False),
            (Aim(),),
        ),
        Row(
            f"{weights}, by Python call",
            HAND,
            lambda: weighted(folder, by_command=False),
            (Aim(ratio=15.0),),
            LOADING,
        ),
        Row(f"{weights}, by command", HAND, lambda: weighted(folder, by_command=True), (Aim(ratio=10.0),)),
        Row(
            "`bayesnu run dune-on-axis`, six couplings with report, 4 × 1,000 draws",
            six,
            lambda: whole_run(folder, "--draws", "1000"),
            (Aim(ratio=4.0),),
            DRAWING,
        ),
        Row(
            "`bayesnu run dune-on-axis`, six couplings with report, 4 × 6,000 draws (as it comes)",
            six,
            lambda: whole_run(folder),
            (Aim(ratio=4.0),),
            f"{DRAWING}; six times as many draws are made",
        ),
        Row("`import bayesnu`, beyond the interpreter", "", imports, (Aim(bound=0.05),), alone=True),
        Row(
            "`bayesnu run dune-prism`",
            "",
            lambda: memory(folder),
            (Aim("peak_memory", "GiB", bound=1.0), Aim("peak_memory_of_one_process", "GiB")),
            FOUR_PROCESSES,
            alone=True,
        ),
    ]
    if has_numpyro():
        found.insert(
            1, Row(nuts, f"{HAND}, by NumPyro", lambda: sampled(folder, "numpyro"), (Aim(), Aim("divergences", "")))
        )
    return found


def has_numpyro() -> bool:
    """Return whether NumPyro is installed."""
    from importlib.util import find_spec

    return find_spec("numpyro") is not None
