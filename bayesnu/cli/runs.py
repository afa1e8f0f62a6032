"""Commands about run folders: make one, show several, draw one again, write one for others."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bayesnu.cli import complete
from bayesnu.cli.options import AllowUnconverged, Chains, Draws, FormatOption, ModelArgument, Override, Seed, load
from bayesnu.errors import InterruptedStudyError, UsageError
from bayesnu.report.terminal import Format, counting_bar, notice, progress_bar, show

if TYPE_CHECKING:
    from bayesnu.experiment.base import Experiment

CREDIBILITY = 0.90


class Target(StrEnum):
    """What a run is written for."""

    hepdata = "hepdata"
    pyhf = "pyhf"
    csv = "csv"
    latex = "latex"


ENDINGS = {Target.hepdata: "hepdata", Target.pyhf: "pyhf", Target.csv: "limits.csv", Target.latex: "limits.tex"}
"""What the name of a run is followed by."""


def run(
    model: ModelArgument,
    coupling: Annotated[
        list[str] | None,
        typer.Option(help="Fit this coupling; repeatable. All by default.", autocompletion=complete.couplings),
    ] = None,
    joint: Annotated[
        list[str] | None, typer.Option(metavar="A,B", help="Fit these together, as in d_nue,m_N; repeatable.")
    ] = None,
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
    from bayesnu.report.build import drawing, report_page, write_report
    from bayesnu.report.runs import print_limits
    from bayesnu.results.runs import make_arguments, run_fits, run_hash, write_csv
    from bayesnu.results.verdict import failed

    together = [[name.strip() for name in names.split(",")] for names in joint or ()]
    arguments = make_arguments(experiment, coupling or (), draws, chains, seed, together)
    folder = out or Path("runs") / f"{experiment.card.name}-{run_hash(experiment, arguments)}"
    try:
        with progress_bar(len(arguments.couplings) + len(arguments.joint) + 1) as step, drawing() as figures:

            def begin(text: str) -> None:
                figures.prepare()
                step(text)

            finished = run_fits(
                experiment,
                arguments,
                folder,
                force=force,
                notice=notice,
                progress=begin,
                stored=lambda name: figures.start(folder, name, experiment.observed),
            )
            page, failing = report_page(finished), bool(failed(finished.limits))
            if failing:
                write_csv(finished, allow_unconverged=allow_unconverged)
            if failing or not page.exists():
                # Written last, so that a page that exists is whole; what it shows of a failed fit was asked for then.
                step("writing the report")
                write_report(finished, figures, allow_unconverged=allow_unconverged)
    except KeyboardInterrupt:
        raise InterruptedStudyError(
            f"interrupted; finished fits are kept in {folder}: run the same command to go on"
        ) from None
    print_limits([finished], allow_unconverged, notice)
    print(f"report: {page}")
    if failing and not allow_unconverged:
        raise typer.Exit(1)


def combine(
    models: Annotated[list[str], typer.Argument(metavar="CARD CARD...", help="Names in models/ or paths of cards.")],
    coupling: Annotated[list[str] | None, typer.Option(help="This coupling; repeatable. All by default.")] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="chi2, poisson, laplace or nuts; repeatable. The first three by default.")
    ] = None,
    cl: Annotated[float, typer.Option(help="Confidence level or credibility.")] = 0.90,
    joint: Annotated[
        list[str] | None, typer.Option(metavar="A,B", help="With --out, fit these together; repeatable.")
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

    Example: bayesnu combine dune-on-axis lsnd-nue --coupling mu_nue
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
        limits = combined_limits(
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
    show(format_, combination_json(experiment, limits), lambda: [combination_table(experiment.card.name, limits)])


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
    coupling: Annotated[str | None, typer.Option(help="Magnetic moment, for pyhf; the run's only one.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder (hepdata, pyhf) or file (csv, latex); beside RUN by default.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    allow_unconverged: AllowUnconverged = False,
) -> None:
    """Write a finished run for HEPData or pyhf, or its limits as CSV or LaTeX.

    Example: bayesnu export runs/dune --to pyhf --coupling mu_numu

    Exit status 1 if a limit is withheld, since the verdict on its fit is fail.
    """
    from bayesnu.export.source import experiment_of, write_file
    from bayesnu.report.runs import say_verdict
    from bayesnu.results.runs import load_run
    from bayesnu.results.verdict import failed

    if coupling is not None and to is not Target.pyhf:
        raise UsageError(f"--coupling {coupling}: is for --to pyhf; --to {to} writes all of the run's")
    if allow_unconverged and to is Target.pyhf:
        raise UsageError("--allow-unconverged: is for --to hepdata, csv and latex; a pyhf workspace has no limit")
    finished = load_run(run_folder)
    beside = f"{run_folder.resolve()}-{ENDINGS[to]}"
    if to is Target.pyhf:
        from bayesnu.export.pyhf import choose_coupling, write_workspace

        chosen = choose_coupling(finished, coupling)
        place = out or Path(f"{beside}-{chosen}")
        workspace = write_workspace(finished, experiment_of(finished, notice), chosen, place, force)
        if workspace.product is not None:
            print(workspace.product.describe())
        print(f"pyhf: {place / 'workspace.json'}, mu2 = ({chosen}/{workspace.scale:.6g} {workspace.unit})²")
        return
    say_verdict([finished], allow_unconverged, notice)
    place = out or Path(beside)
    if to is Target.hepdata:
        from bayesnu.export.hepdata import write_submission

        experiment = experiment_of(finished, notice)
        tables = write_submission(
            finished, experiment, place, force=force, allow_unconverged=allow_unconverged, notice=notice
        )
        print(f"hepdata: {place / 'submission.yaml'}, {len(tables)} tables")
    else:
        from bayesnu.export.tables import csv_text, latex_text

        write = csv_text if to is Target.csv else latex_text
        write_file(place, write(finished, allow_unconverged=allow_unconverged), force)
        print(f"{to}: {place}")
    if failed(finished.limits) and not allow_unconverged:
        raise typer.Exit(1)
