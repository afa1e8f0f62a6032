"""Commands for an experiment of one's own: write its card, check it, export the schema of cards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayesnu.cli import complete
from bayesnu.cli.options import FormatOption, Joint, ModelArgument, Override, together
from bayesnu.report.terminal import Format, busy, notice, show

SCHEMA_KINDS = ("electron", "nucleus", "electron-window", "published-limit")


def new(
    folder: Annotated[Path, typer.Argument(metavar="NAME", help="Folder to write, whose name is the card's.")],
    like: Annotated[
        str,
        typer.Option(metavar="MODEL", help="A name in models/ or the path of a card.", autocompletion=complete.models),
    ],
) -> None:
    """Write a folder with a commented card like a known one, its flux and observed counts, valid as written."""
    from bayesnu.experiment.own import new_experiment

    with busy(f"writing {folder} like {like}"):
        written = new_experiment(folder, like)
    for path in (written.card, *written.files):
        print(path)
    notice(f"next: bayesnu check {written.card}")


def check(
    model: ModelArgument,
    joint: Joint = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for flux.png and spectrum.png; check/ beside a card of your own, else check-MODEL."),
    ] = None,
    format_: FormatOption = Format.table,
    override: Override = None,
) -> None:
    """Validate everything a run would read and print what was understood, with a flux and a spectrum figure."""
    from bayesnu.report.aside import figures_aside

    with figures_aside() as drawing, busy(f"checking {model}"):
        from bayesnu.experiment.setup import load_experiment
        from bayesnu.report.check import check_tables, figures_folder
        from bayesnu.results.check import check_experiment, check_json

        experiment = load_experiment(model, override or (), notice)
        drawing.start(experiment, out or figures_folder(experiment.card.name, experiment.loaded.path))
        found = check_experiment(experiment, together(joint))
        figures = drawing.finish()
    show(format_, check_json(found), lambda: check_tables(found))
    if found.fit.problem:
        notice(found.fit.problem)
    notice(f"written: {', '.join(map(str, figures))}")


def schema(
    kind: Annotated[
        str,
        typer.Option(
            help="Of card: electron, nucleus, electron-window or published-limit.",
            autocompletion=complete.among(*SCHEMA_KINDS),
        ),
    ] = "electron",
) -> None:
    """Print the JSON schema of a kind of card, with which editors complete and check its keys."""
    import json

    from bayesnu.experiment.load import card_schema

    print(json.dumps(card_schema(kind), ensure_ascii=False, indent=2))
