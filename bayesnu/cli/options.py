"""Options and arguments that several commands share, and how they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bayesnu.cli import complete
from bayesnu.errors import InterruptedStudyError, UsageError
from bayesnu.report.terminal import Format, notice, rounds_bar

if TYPE_CHECKING:
    from bayesnu.experiment.base import Experiment
    from bayesnu.results.toy_limits import ToyRunner

MOST_MASSES = 10_000
PATIENCE_S = 20.0
"""Seconds of work that threads do at once, where most commands end within, before a local cluster is started."""
ModelArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A name in models/ or the path of a card.", autocompletion=complete.models),
]
Override = Annotated[
    list[str] | None, typer.Option("-o", "--override", metavar="KEY=VALUE", help="Override a card key; repeatable.")
]
Joint = Annotated[
    list[str] | None,
    typer.Option(
        metavar="A,B",
        help="Fit these together, as in d_nue,m_N; repeatable.",
        autocompletion=complete.listed(complete.couplings),
    ),
]
Couplings = Annotated[
    str,
    typer.Option(
        "--couplings",
        metavar="A,B",
        help="Two couplings; the others are 0.",
        autocompletion=complete.listed(complete.couplings),
    ),
]
Draws = Annotated[int | None, typer.Option(help="Draws per chain after tuning.")]
Chains = Annotated[int | None, typer.Option(help="Number of chains.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the sampler.")]
ToySeed = Annotated[int | None, typer.Option(help="Seed of the pseudo-experiments.")]
NumberOfWorkers = Annotated[
    int | None, typer.Option("--workers", help="Worker processes; without, threads, and after 20 s one per core.")
]
ProcessesOfCluster = Annotated[
    int | None, typer.Option("--workers", help="Worker processes of this machine; one per core by default.")
]
Scheduler = Annotated[str | None, typer.Option(metavar="tcp://HOST:PORT", help="A running Dask cluster.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite another study in the folder.")]
At = Annotated[
    list[str] | None,
    typer.Option(
        metavar="m_N=VALUE",
        help="Fix the mass of N, in MeV.",
        autocompletion=complete.assignments(complete.among("m_N")),
    ),
]
AllowUnconverged = Annotated[
    bool, typer.Option("--allow-unconverged", help="Show limits although the sampler's verdict is fail; said first.")
]
FormatOption = Annotated[Format, typer.Option("--format", help="Print a table or JSON.")]


def load(model: str, overrides: Sequence[str] | None) -> Experiment:
    """Load an experiment with notices on stderr."""
    from bayesnu.experiment.setup import load_experiment

    experiment = load_experiment(model, overrides or (), notice)
    for line in experiment.approximations:
        notice(line)
    return experiment


def together(joint: Sequence[str] | None) -> list[list[str]]:
    """Read repeated ``--joint A,B``."""
    return [[name.strip() for name in names.split(",")] for names in joint or ()]


def two_couplings(text: str) -> tuple[str, str]:
    """Read ``--couplings A,B``."""
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2:
        raise UsageError(f"--couplings {text}: must be A,B, as in mu_nue,mu_numu")
    return names[0], names[1]


def name_values(option: str, pairs: Sequence[str] | None) -> dict[str, float]:
    """Read repeated NAME=VALUE options."""
    values = {}
    for pair in pairs or ():
        name, separator, text = pair.partition("=")
        if name.strip() in values:
            raise UsageError(f"{option} {pair}: {name.strip()} is given twice")
        try:
            values[name.strip()] = float(text)
        except ValueError:
            raise UsageError(f"{option} {pair}: must be NAME=VALUE with a number") from None
        if not separator:
            raise UsageError(f"{option} {pair}: must be NAME=VALUE with a number")
    return values


def load_at(
    model: str, overrides: Sequence[str] | None, at: Sequence[str] | None, couplings: Sequence[str] = ()
) -> Experiment:
    """Load an experiment, with the mass of N of ``--at``, on which counts of one of the couplings must depend.

    Without couplings: those that the card fits.
    """
    from bayesnu.experiment.setup import with_parameters

    experiment = with_parameters(load(model, overrides), name_values("--at", at))
    names = [experiment.fitted(name) for name in couplings]
    if at and all(experiment.mass_of(name) is None for name in names or experiment.card.couplings):
        whose = f"of {' and '.join(names)}" if names else f"of {experiment.card.name}"
        raise UsageError(f"--at {at[0]}: counts {whose} do not depend on the mass of N")
    return experiment


@contextmanager
def toy_runner(
    scheduler: str | None, workers: int | None, out: Path | None, force: bool, *, processes: bool = False
) -> Iterator[ToyRunner]:
    """Open who makes pseudo-experiments, with a progress bar; chunks are kept in ``out``.

    Without scheduler and workers: a local cluster, or processes, from the start with ``processes``; else threads of
    this process do what they can in the time that a cluster takes to pay for its start.
    """
    from bayesnu.results.toy_limits import ToyRunner
    from bayesnu.workers import Watched, open_workers

    try:
        with open_workers(scheduler, workers, 0.0 if processes else PATIENCE_S) as team, rounds_bar() as bar:
            yield ToyRunner(Watched(team, bar.count), out, force, bar.begin, notice)
    except KeyboardInterrupt:
        kept = "" if out is None else f"; finished chunks are kept in {out}: run the same command to go on"
        raise InterruptedStudyError(f"interrupted{kept}") from None


def read_scan(text: str) -> list[float]:
    """Read ``m_N=LOW:HIGH:N`` or ``m_N=LOW:HIGH:N:log``."""
    name, _, numbers = text.partition("=")
    low, high, count, *spacing = [*numbers.split(":"), "", "", ""][: max(3, len(numbers.split(":")))]
    try:
        start, stop, n = float(low), float(high), int(count)
    except ValueError:
        raise UsageError(f"--scan {text}: must be m_N=LOW:HIGH:N, or m_N=LOW:HIGH:N:log") from None
    if name != "m_N" or spacing not in ([], ["log"]):
        raise UsageError(f"--scan {text}: must be m_N=LOW:HIGH:N, or m_N=LOW:HIGH:N:log")
    if not (0 <= start < stop < float("inf") and 2 <= n <= MOST_MASSES and (start > 0 or not spacing)):
        raise UsageError(f"--scan {text}: needs 0 ≤ LOW < HIGH (0 < LOW with log) and 2 to {MOST_MASSES} values")
    ratio = [k / (n - 1) for k in range(n)]
    return [start * (stop / start) ** r if spacing else start + (stop - start) * r for r in ratio]
