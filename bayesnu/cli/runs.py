"""Commands about run folders: make one, show several, draw one again, write one for others."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bayesnu.cli import complete
from bayesnu.cli.options import (
    AllowUnconverged,
    Chains,
    Draws,
    FormatOption,
    Joint,
    ModelArgument,
    Override,
    Seed,
    load,
    together,
)
from bayesnu.errors import UsageError
from bayesnu.report.terminal import Format, busy, counting_bar, notice, progress_bar, show

if TYPE_CHECKING:
    from bayesnu.experiment.base import Experiment

CREDIBILITY = 0.90


class Target(StrEnum):
    """What a run is written for."""

    hepdata = "hepdata"
    pyhf = "pyhf"
    csv = "csv"
    latex = "latex"


def run(
    model: ModelArgument,
    coupling: Annotated[
        list[str] | None,
        typer.Option(help="Fit this coupling; repeatable. All by default.", autocompletion=complete.couplings),
    ] = None,
    joint: Joint = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/MODEL-<hash> by default.")] = None,
    draws: Draws = None,
    chains: Chains = None,
    seed: Seed = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite another run in the folder.")] = False,
    allow_unconverged: AllowUnconverged = False,
    override: Override = None,
) -> None:
    """Fit the couplings of a card and write posteriors, limits, figures and the report.

    Exit status 1 if a limit is withheld, since the verdict on its fit is fail.
    """
    experiment = load(model, override)
    run_experiment(experiment, coupling, joint, out, draws, chains, seed, force, allow_unconverged)


def run_experiment(
    experiment: Experiment,
    coupling: Sequence[str] | None,
    joint: Sequence[str] | None,
    out: Path | None,
    draws: int | None,
    chains: int | None,
    seed: int | None,
    force: bool,
    allow_unconverged: bool,
) -> None:
    """Fit an experiment's couplings into a run folder and print the limits."""
    from bayesnu.report.analysis import run as compute
    from bayesnu.report.build import report_page
    from bayesnu.report.runs import print_limits
    from bayesnu.results.verdict import failed

    with ExitStack() as bars:
        finished = compute(
            experiment, coupling or (), together(joint), out, draws=draws, chains=chains, seed=seed, force=force,
            allow_unconverged=allow_unconverged, processes=True, notice=notice,
            begin=lambda steps: bars.enter_context(progress_bar(steps)),
        )  # fmt: skip
    print_limits([finished], allow_unconverged, notice)
    print(f"report: {report_page(finished)}")
    if failed(finished.limits) and not allow_unconverged:
        raise typer.Exit(1)


def combine(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="CARD CARD...", help="Names in models/ or paths of cards.", autocompletion=complete.models
        ),
    ],
    coupling: Annotated[
        list[str] | None,
        typer.Option(help="This coupling; repeatable. All by default.", autocompletion=complete.couplings),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="chi2, poisson, laplace or nuts; repeatable. The first three by default.",
            autocompletion=complete.among("chi2", "poisson", "laplace", "nuts"),
        ),
    ] = None,
    cl: Annotated[float, typer.Option(help="Confidence level or credibility.")] = 0.90,
    joint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B",
            help="With --out, fit these together; repeatable.",
            autocompletion=complete.listed(complete.couplings),
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Make a run folder with posteriors, figures and report.")] = None,
    draws: Draws = None,
    chains: Chains = None,
    seed: Seed = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite another run in the folder.")] = False,
    allow_unconverged: AllowUnconverged = False,
    format_: FormatOption = Format.table,
    override: Override = None,
) -> None:
    """Print the limits of several experiments together: one likelihood, the product of theirs.

    Couplings are shared; pulls are where the cards list them in pulls.shared_with_others. -o holds for every card.
    """
    from bayesnu.experiment.setup import load_combination
    from bayesnu.report.limits import combination_table
    from bayesnu.results.combination import combination_json, combined_limits

    experiment = load_combination(models, override or (), notice)
    if out is not None:
        for name, value in (("method", method), ("format", format_ is not Format.table)):
            if value:
                raise UsageError(f"--{name}: a run folder has the limits of every method; leave it or --out out")
        if cl != CREDIBILITY:
            raise UsageError(f"--cl {cl:g}: a run folder has limits of {CREDIBILITY:g}; leave it or --out out")
        run_experiment(experiment, coupling, joint, out, draws, chains, seed, force, allow_unconverged)
        return
    if joint or force:
        raise UsageError(f"--{'joint' if joint else 'force'}: is for a run folder; give --out")
    with counting_bar("limits") as progress:
        found = combined_limits(
            experiment,
            coupling or (),
            method or (),
            cl=cl,
            draws=draws,
            chains=chains,
            seed=seed,
            notice=notice,
            progress=progress,
            allow_unconverged=allow_unconverged,
        )
    if format_ is Format.table:
        for line in experiment.approximations:
            print(line)
    show(format_, combination_json(found), lambda: [combination_table(found.model, found.limits)])


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    allow_unconverged: AllowUnconverged = False,
) -> None:
    """Print the limits of finished runs beside each other and beside the published ones."""
    from bayesnu.report.runs import print_limits
    from bayesnu.results.runs import load_run

    print_limits([load_run(folder) for folder in runs], allow_unconverged, notice)


def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    allow_unconverged: AllowUnconverged = False,
) -> None:
    """Write the figures and the HTML report of a finished run again."""
    from bayesnu.report.build import drawing, write_report
    from bayesnu.report.runs import say_verdict
    from bayesnu.results.runs import load_run, write_csv

    run = load_run(run_folder)
    say_verdict([run], allow_unconverged, notice)
    write_csv(run, allow_unconverged=allow_unconverged)
    with drawing() as figures:
        print(f"report: {write_report(run, figures, allow_unconverged=allow_unconverged)}")


def export(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    to: Annotated[Target, typer.Option("--to", help="What to write.")],
    coupling: Annotated[
        str | None,
        typer.Option(help="Magnetic moment, for pyhf; the run's only one.", autocompletion=complete.couplings),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder (hepdata, pyhf) or file (csv, latex); beside RUN by default.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    allow_unconverged: AllowUnconverged = False,
) -> None:
    """Write a finished run for HEPData or pyhf, or its limits as CSV or LaTeX.

    Exit status 1 if a limit is withheld, since the verdict on its fit is fail.
    """
    from bayesnu.export.run import export_run
    from bayesnu.report.runs import say_verdict
    from bayesnu.results.runs import load_run
    from bayesnu.results.verdict import failed

    if coupling is not None and to is not Target.pyhf:
        raise UsageError(f"--coupling {coupling}: is for --to pyhf; --to {to} writes all of the run's")
    if allow_unconverged and to is Target.pyhf:
        raise UsageError("--allow-unconverged: is for --to hepdata, csv and latex; a pyhf workspace has no limit")
    finished = load_run(run_folder)
    if to is not Target.pyhf:
        say_verdict([finished], allow_unconverged, notice)
    with busy(f"writing {run_folder} for {to}"):
        written = export_run(
            finished, to.value, coupling, out, force=force, allow_unconverged=allow_unconverged, notice=notice
        )
    print(written.describe())
    if to is not Target.pyhf and failed(finished.limits) and not allow_unconverged:
        raise typer.Exit(1)
