"""Commands that study a card with pseudo-experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayesnu.cli.options import (
    At,
    Force,
    FormatOption,
    ModelArgument,
    NumberOfWorkers,
    Override,
    Scheduler,
    ToySeed,
    load,
    name_values,
    toy_runner,
)
from bayesnu.errors import UsageError
from bayesnu.report.terminal import Format, notice, show


def toys(
    model: ModelArgument,
    n: Annotated[int, typer.Option("--n", help="Pseudo-experiments.")] = 10_000,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="True value of a coupling, free in the fits; repeatable."),
    ] = None,
    coupling: Annotated[
        list[str] | None, typer.Option(help="A further free coupling, whose true value is 0; repeatable.")
    ] = None,
    pulls: Annotated[
        str, typer.Option(help="From their constraint, from the fit to the card's data, or from its posterior.")
    ] = "constraint",
    seed: ToySeed = None,
    at: At = None,
    workers: NumberOfWorkers = None,
    scheduler: Scheduler = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for toys.nc, toys.json, the figure and finished chunks.")
    ] = None,
    force: Force = False,
    format_: FormatOption = Format.table,
    override: Override = None,
) -> None:
    """Make pseudo-experiments, fit each at the truth and at its best, and compare with Wilks' theorem."""
    from bayesnu.experiment.setup import with_parameters
    from bayesnu.report.toys import toys_tables, write_toys
    from bayesnu.results.limits import DEFAULT_SEED
    from bayesnu.results.toys import make_toys, toys_json

    truth = name_values("--set", set_)
    experiment = with_parameters(load(model, override), name_values("--at", at))
    names = [experiment.fitted(name) for name in (*truth, *(coupling or ())) if name != "m_N"]
    if at and names and all(experiment.mass_of(name) is None for name in names):
        raise UsageError(f"--at {at[0]}: counts of {' and '.join(names)} do not depend on the mass of N")
    with toy_runner(scheduler, workers, out, force) as runner:
        study = make_toys(
            experiment,
            n,
            truth,
            coupling or (),
            ensemble=pulls,
            seed=DEFAULT_SEED if seed is None else seed,
            runner=runner,
        )
    if out is not None:
        write_toys(study, experiment, out)
        notice(f"written: {out}/toys.nc, toys.json, figures/statistic.png")
    show(format_, toys_json(study), lambda: toys_tables(study))
