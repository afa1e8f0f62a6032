"""Commands that study a card with pseudo-experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayesnu.cli import complete
from bayesnu.cli.options import (
    At,
    Couplings,
    Force,
    FormatOption,
    ModelArgument,
    NumberOfWorkers,
    Override,
    ProcessesOfCluster,
    Scheduler,
    ToySeed,
    load_at,
    name_values,
    toy_runner,
    two_couplings,
)
from bayesnu.report.terminal import Format, notice, show


def toys(
    model: ModelArgument,
    n: Annotated[int, typer.Option("--n", help="Pseudo-experiments.")] = 10_000,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="True value of a coupling, free in the fits; repeatable.",
            autocompletion=complete.assignments(complete.couplings),
        ),
    ] = None,
    coupling: Annotated[
        list[str] | None,
        typer.Option(
            help="A further free coupling, whose true value is 0; repeatable.", autocompletion=complete.couplings
        ),
    ] = None,
    pulls: Annotated[
        str,
        typer.Option(
            help="From their constraint, from the fit to the card's data, or from its posterior.",
            autocompletion=complete.among("constraint", "fit", "posterior"),
        ),
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
    from bayesnu.report.toys import lost_toys, toys_tables, write_toys
    from bayesnu.results.limits import DEFAULT_SEED
    from bayesnu.results.toys import make_toys, toys_json

    truth = name_values("--set", set_)
    experiment = load_at(model, override, at, [name for name in (*truth, *(coupling or ())) if name != "m_N"])
    with toy_runner(scheduler, workers, out, force) as runner:
        runner.refuse_loss("toys.json", lambda kept: lost_toys(kept, n))
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


def coverage(
    model: ModelArgument,
    coupling: Annotated[
        str,
        typer.Option(
            help="The coupling whose true value is known; the others are 0.", autocompletion=complete.couplings
        ),
    ],
    true: Annotated[
        list[float] | None,
        typer.Option(help="A true value, in the coupling's own unit; repeatable. A grid of 9 by default."),
    ] = None,
    n: Annotated[int, typer.Option("--n", help="Pseudo-experiments at each true value.")] = 1000,
    cl: Annotated[float, typer.Option(help="Confidence level and credibility.")] = 0.90,
    seed: ToySeed = None,
    at: At = None,
    workers: ProcessesOfCluster = None,
    scheduler: Scheduler = None,
    out: Annotated[Path | None, typer.Option(help="Folder for numbers, the figure and finished chunks.")] = None,
    force: Force = False,
    format_: FormatOption = Format.table,
    override: Override = None,
) -> None:
    """Print how often the intervals of each method hold the truth."""
    from bayesnu.report.coverage import coverage_tables, lost_coverage, save_coverage
    from bayesnu.results.coverage import coverage as compute
    from bayesnu.results.coverage import coverage_json
    from bayesnu.results.intervals import check_probability
    from bayesnu.results.limits import DEFAULT_SEED

    check_probability(cl)
    experiment = load_at(model, override, at, [coupling])
    with toy_runner(scheduler, workers, out, force, processes=True) as runner:
        runner.refuse_loss("coverage.json", lambda kept: lost_coverage(kept, cl))
        result = compute(experiment, coupling, true, n, DEFAULT_SEED if seed is None else seed, runner)
    if out is not None:
        save_coverage(result, cl, out)
        notice(f"written: {out}/coverage.json, coverage.npz, coverage.png")
    show(format_, coverage_json(result, cl), lambda: coverage_tables(result, cl))


def sensitivity(
    model: ModelArgument,
    coupling: Annotated[
        str, typer.Option(help="The coupling to bound; the others are 0.", autocompletion=complete.couplings)
    ],
    n: Annotated[int, typer.Option("--n", help="Pseudo-experiments without the coupling.")] = 1000,
    cl: Annotated[float, typer.Option(help="Confidence level and credibility.")] = 0.90,
    seed: ToySeed = None,
    at: At = None,
    workers: NumberOfWorkers = None,
    scheduler: Scheduler = None,
    out: Annotated[Path | None, typer.Option(help="Folder for numbers, the figure and finished chunks.")] = None,
    force: Force = False,
    format_: FormatOption = Format.table,
    override: Override = None,
) -> None:
    """Print the limits that experiments without the coupling would give: median, 68% and 95% bands."""
    from bayesnu.report.coverage import save_sensitivity, sensitivity_table
    from bayesnu.results.limits import DEFAULT_SEED
    from bayesnu.results.sensitivity import sensitivity as compute
    from bayesnu.results.sensitivity import sensitivity_json

    experiment = load_at(model, override, at, [coupling])
    with toy_runner(scheduler, workers, out, force) as runner:
        result = compute(experiment, coupling, cl, n, DEFAULT_SEED if seed is None else seed, runner)
    if out is not None:
        save_sensitivity(result, out)
        notice(f"written: {out}/sensitivity.json, sensitivity.png")
    show(format_, sensitivity_json(result), lambda: [sensitivity_table(result)])


def region(
    model: ModelArgument,
    couplings: Couplings,
    points: Annotated[int, typer.Option(help="Points of the grid along each.")] = 40,
    cl: Annotated[float, typer.Option(help="Confidence level.")] = 0.90,
    pulls: Annotated[
        str,
        typer.Option(
            help="Of pseudo-experiments: profiled, or averaged over their posterior.",
            autocompletion=complete.among("profiled", "averaged"),
        ),
    ] = "profiled",
    tolerance: Annotated[
        float, typer.Option(help="Monte Carlo error of each critical value, as a fraction of it.")
    ] = 0.03,
    seed: ToySeed = None,
    at: At = None,
    workers: ProcessesOfCluster = None,
    scheduler: Scheduler = None,
    out: Annotated[Path | None, typer.Option(help="Folder for numbers, the figure and finished chunks.")] = None,
    force: Force = False,
    format_: FormatOption = Format.table,
    override: Override = None,
) -> None:
    """Find Feldman and Cousins' region of two couplings, beside the asymptotic one."""
    from bayesnu.report.coverage import region_table, save_region
    from bayesnu.results.limits import DEFAULT_SEED
    from bayesnu.results.region import region as compute
    from bayesnu.results.region import region_json
    from bayesnu.results.toy_limits import check_pulls

    names = two_couplings(couplings)
    experiment = load_at(model, override, at, names)
    with toy_runner(scheduler, workers, out, force, processes=True) as runner:
        found = compute(
            experiment,
            names,
            cl,
            points,
            tolerance,
            check_pulls(pulls),
            DEFAULT_SEED if seed is None else seed,
            runner,
        )
    name = experiment.card.name
    if out is not None:
        save_region(name, found, out)
        notice(f"written: {out}/region.json, region.png")
    show(format_, region_json(name, found), lambda: [region_table(name, found)])


def calibrate(
    model: ModelArgument,
    coupling: Annotated[
        list[str] | None,
        typer.Option(help="This coupling; repeatable. All by default.", autocompletion=complete.couplings),
    ] = None,
    method: Annotated[
        str, typer.Option(help="laplace or nuts.", autocompletion=complete.among("laplace", "nuts"))
    ] = "laplace",
    simulations: Annotated[
        int | None,
        typer.Option("--n", "--simulations", help="Simulated fits; 10000 by laplace, 500 by nuts by default."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the simulations.")] = None,
    at: At = None,
    workers: ProcessesOfCluster = None,
    scheduler: Scheduler = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for p-values, ranks, figures and finished chunks; none by default.")
    ] = None,
    force: Force = False,
    format_: FormatOption = Format.table,
    override: Override = None,
) -> None:
    """Test the posteriors of a card's couplings by simulation: are the ranks of the truth uniform?"""
    from bayesnu.report.calibration import calibration_table, lost_calibration, save_calibration
    from bayesnu.results.calibration import calibrate as compute
    from bayesnu.results.calibration import calibration_json, check_arguments
    from bayesnu.results.limits import DEFAULT_SEED

    experiment = load_at(model, override, at, coupling or ())
    names, number = check_arguments(experiment, coupling or (), method, simulations)
    chosen_seed = DEFAULT_SEED if seed is None else seed
    with toy_runner(scheduler, workers, out, force, processes=True) as runner:
        runner.refuse_loss("calibration.json", lambda kept: lost_calibration(kept, names, number))
        results = [compute(experiment, name, method, number, chosen_seed, runner) for name in names]
    if out is not None:
        save_calibration(results, out)
        notice(f"written: {out}/calibration.json, ranks.npz, {', '.join(f'ecdf_{name}.png' for name in names)}")
    said: dict[str, list[str]] = {}
    for result in results:
        for remark in result.remarks:
            said.setdefault(remark, []).append(result.coupling)
    for remark, whose in said.items():
        notice(f"{', '.join(whose)}: {remark}")
    show(
        format_,
        {"calibrations": [calibration_json(result) for result in results]},
        lambda: [calibration_table(results)],
    )
