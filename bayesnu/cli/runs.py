"""Commands about run folders: make one, show several, draw one again, write one for others."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bayesnu.cli import complete
from bayesnu.cli.options import AllowUnconverged, Chains, Draws, ModelArgument, Override, Seed, load
from bayesnu.errors import InterruptedStudyError, UsageError
from bayesnu.report.terminal import notice, progress_bar


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
    from bayesnu.report.build import drawing, report_page, write_report
    from bayesnu.report.runs import print_limits
    from bayesnu.results.runs import make_arguments, run_fits, run_hash, write_csv
    from bayesnu.results.verdict import failed

    experiment = load(model, override)
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
