"""Commands about what a fit starts from: cards, data files, responses, expected counts."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bayesnu.cli import complete
from bayesnu.cli.options import FormatOption, ModelArgument, Override, Seed, load, name_values
from bayesnu.errors import DataError
from bayesnu.report.terminal import Format, notice, print_tables, progress_bar, show


def models() -> None:
    """List the shipped cards."""
    from bayesnu.experiment.load import load_card
    from bayesnu.report.tables import models_table
    from bayesnu.resources import shipped_models

    cards = [load_card(name).card for name in shipped_models()]
    print_tables(models_table([(card.name, card.title, card.source.paper) for card in cards]))


def data() -> None:
    """List the shipped data files and check that they are intact."""
    from bayesnu.report.tables import data_table
    from bayesnu.resources import shipped_data

    files = shipped_data()
    print_tables(data_table(files))
    changed = [file.name for file in files if not file.intact]
    if changed:
        raise DataError(f"data/{', data/'.join(changed)}: missing or changed since the manifest was written")


def cite(
    analysis: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL|RUN]",
            help="A name in models/, a card or a run folder.",
            autocompletion=complete.models,
        ),
    ] = None,
    format_: FormatOption = Format.table,
) -> None:
    """Print what to cite: bayesnu, the analysis, and the sources of the data that it or a run used."""
    from bayesnu.report.cite import citation_text
    from bayesnu.results.cite import citation_json
    from bayesnu.results.cite import cite as compute

    found = compute(analysis)
    if format_ is Format.json:
        show(format_, citation_json(found), lambda: [])
    else:
        print(citation_text(found))


def response(
    model: ModelArgument,
    samples: Annotated[int | None, typer.Option(help="Monte Carlo events in total.")] = None,
    seed: Seed = None,
    override: Override = None,
) -> None:
    """Build or find the response matrix of a card and say where it is and how precise."""
    from bayesnu.experiment.setup import load_electron_experiment
    from bayesnu.results.response import describe_response

    settings_overrides = [
        *(override or ()),
        *([f"response.samples={samples}"] if samples is not None else []),
        *([f"response.seed={seed}"] if seed is not None else []),
    ]
    found = describe_response(load_electron_experiment(model, settings_overrides, notice))
    print(f"response: {found.path}")
    print(
        f"method {found.method}, {found.samples} samples, seed {found.seed}; largest statistical error of a "
        f"bin with more than 1% of the SM counts: {found.largest_error:.2%}"
    )


def predict(
    model: ModelArgument,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Set a coupling; repeatable.",
            autocompletion=complete.assignments(complete.couplings),
        ),
    ] = None,
    pull: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Set a pull; 0.1 is 10%.",
            autocompletion=complete.assignments(
                complete.among("flux_norm", "wrong_sign", "electron_flavour", "ccqe", "pi0")
            ),
        ),
    ] = None,
    format_: FormatOption = Format.table,
    override: Override = None,
) -> None:
    """Print the expected counts per exposure, channel and bin."""
    from bayesnu.experiment.predict import predict as compute
    from bayesnu.experiment.prediction import Prediction, prediction_json
    from bayesnu.experiment.recoil_prediction import recoil_prediction_json
    from bayesnu.experiment.setup import with_parameters
    from bayesnu.report.tables import prediction_tables, recoil_prediction_tables

    values, pulls = name_values("--set", set_), name_values("--pull", pull)
    mass = {"m_N": values.pop("m_N")} if "m_N" in values else {}
    experiment = with_parameters(load(model, override), mass)
    for name, value in values.items():
        if name in experiment.model.couplings and (caution := experiment.caution(name, value)):
            notice(caution)
    found = compute(experiment, values, pulls)
    if isinstance(found, Prediction):
        show(format_, prediction_json(found), lambda: prediction_tables(found))
    else:
        show(format_, recoil_prediction_json(found), lambda: recoil_prediction_tables(found))


def discriminate(
    model: ModelArgument,
    m_N: Annotated[float, typer.Option("--m-N", help="Mass of N, in MeV.")],
    events: Annotated[int, typer.Option(help="Photons from N of each simulated experiment.")],
    truth: Annotated[
        str, typer.Option(help="majorana or dirac.", autocompletion=complete.among("majorana", "dirac"))
    ] = "majorana",
    counts: Annotated[
        str, typer.Option(help="fixed, or poisson about --events.", autocompletion=complete.among("fixed", "poisson"))
    ] = "fixed",
    experiments: Annotated[int | None, typer.Option(help="Simulated experiments; 10000 by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the simulation.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A moment of the decay beside d_NNp of the card; repeatable.",
            autocompletion=complete.assignments(complete.couplings),
        ),
    ] = None,
    format_: FormatOption = Format.table,
    override: Override = None,
) -> None:
    """Print how well the photons from N → ν γ tell Dirac from Majorana N."""
    from bayesnu.report.tables import discrimination_table
    from bayesnu.results.discrimination import STEPS, discrimination_json
    from bayesnu.results.discrimination import discriminate as compute

    given: dict[str, Any] = {
        name: value for name, value in (("experiments", experiments), ("seed", seed)) if value is not None
    }
    moments = name_values("--set", set_)
    experiment = load(model, override)
    with progress_bar(len(STEPS)) as step:
        result = compute(experiment, m_N, events, truth, counts, **given, moments=moments, progress=step)
    show(format_, discrimination_json(result), lambda: [discrimination_table(result)])
