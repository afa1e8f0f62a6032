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


def coverage(
    model: ModelArgument,
    coupling: Annotated[str, typer.Option(help="The coupling whose true value is known; the others are 0.")],
    true: Annotated[
        list[float] | None,
        typer.Option(help="A true value, in the coupling's own unit; repeatable. A grid of 9 by default."),
    ] = None,
    n: Annotated[int, typer.Option("--n", help="Pseudo-experiments at each true value.")] = 1000,
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
    """Print how often the intervals of each method hold the truth."""
    from bayesnu.experiment.setup import with_parameters
    from bayesnu.report.coverage import coverage_table, save_coverage
    from bayesnu.results.coverage import coverage as compute
    from bayesnu.results.coverage import coverage_json
    from bayesnu.results.intervals import check_probability
    from bayesnu.results.limits import DEFAULT_SEED

    check_probability(cl)
    experiment = with_parameters(load(model, override), name_values("--at", at))
    with toy_runner(scheduler, workers, out, force) as runner:
        result = compute(experiment, coupling, true, n, DEFAULT_SEED if seed is None else seed, runner)
    if out is not None:
        save_coverage(result, cl, out)
        notice(f"written: {out}/coverage.json, coverage.npz, coverage.png")
    show(format_, coverage_json(result, cl), lambda: [coverage_table(result, cl)])


def sensitivity(
    model: ModelArgument,
    coupling: Annotated[str, typer.Option(help="The coupling to bound; the others are 0.")],
    n: Annotated[int, typer.Option("--n", help="Pseudo-experiments without the coupling.")] = 1000,
    cl: Annotated[float, typer.Option(help="Confidence level and credibility.")] = 0.90,
    seed: ToySeed = None,
    at: At = None,
    workers: NumberOfWorkers = None,
    scheduler: Scheduler = None,
    out: Annotated[Path | None, typer.Option(help="Folder for finished chunks.")] = None,
    force: Force = False,
    format_: FormatOption = Format.table,
    override: Override = None,
) -> None:
    """Print the limits that experiments without the coupling would give: median, 68% and 95% bands."""
    from bayesnu.experiment.setup import with_parameters
    from bayesnu.report.coverage import sensitivity_table
    from bayesnu.results.limits import DEFAULT_SEED
    from bayesnu.results.sensitivity import sensitivity as compute
    from bayesnu.results.sensitivity import sensitivity_json

    experiment = with_parameters(load(model, override), name_values("--at", at))
    with toy_runner(scheduler, workers, out, force) as runner:
        result = compute(experiment, coupling, cl, n, DEFAULT_SEED if seed is None else seed, runner)
    show(format_, sensitivity_json(result), lambda: [sensitivity_table(result)])


def region(
    model: ModelArgument,
    couplings: Annotated[str, typer.Option("--couplings", metavar="A,B", help="Two couplings; the others are 0.")],
    points: Annotated[int, typer.Option(help="Points of the grid along each.")] = 40,
    cl: Annotated[float, typer.Option(help="Confidence level.")] = 0.90,
    pulls: Annotated[
        str, typer.Option(help="Of pseudo-experiments: profiled, or averaged over their posterior.")
    ] = "profiled",
    tolerance: Annotated[
        float, typer.Option(help="Monte Carlo error of each critical value, as a fraction of it.")
    ] = 0.03,
    seed: ToySeed = None,
    at: At = None,
    workers: NumberOfWorkers = None,
    scheduler: Scheduler = None,
    out: Annotated[Path | None, typer.Option(help="Folder for numbers, the figure and finished chunks.")] = None,
    force: Force = False,
    format_: FormatOption = Format.table,
    override: Override = None,
) -> None:
    """Find Feldman and Cousins' region of two couplings, beside the asymptotic one."""
    from bayesnu.experiment.setup import with_parameters
    from bayesnu.report.coverage import region_table, save_region
    from bayesnu.results.limits import DEFAULT_SEED
    from bayesnu.results.region import region as compute
    from bayesnu.results.region import region_json
    from bayesnu.results.toy_limits import check_pulls

    names = tuple(name.strip() for name in couplings.split(","))
    if len(names) != 2:
        raise UsageError(f"--couplings {couplings}: must be A,B")
    experiment = with_parameters(load(model, override), name_values("--at", at))
    with toy_runner(scheduler, workers, out, force) as runner:
        found = compute(
            experiment,
            (names[0], names[1]),
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
    coupling: Annotated[list[str] | None, typer.Option(help="This coupling; repeatable. All by default.")] = None,
    method: Annotated[str, typer.Option(help="laplace or nuts.")] = "laplace",
    simulations: Annotated[
        int | None, typer.Option(help="Simulated fits; 10000 by laplace, 500 by nuts by default.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the simulations.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for p-values, ranks and figures; none by default.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="tcp://HOST:PORT", help="A Dask cluster; this machine by default.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes of this machine; one per core by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite another calibration in the folder.")] = False,
    format_: FormatOption = Format.table,
    override: Override = None,
) -> None:
    """Test the posteriors of a card's couplings by simulation: are the ranks of the truth uniform?"""
    from bayesnu.report.calibration import calibration_table, save_calibration
    from bayesnu.report.terminal import counting_bar
    from bayesnu.results.calibration import calibrate as compute
    from bayesnu.results.calibration import calibration_json, check_arguments
    from bayesnu.results.limits import DEFAULT_SEED
    from bayesnu.workers import open_workers

    experiment = load(model, override)
    names, number = check_arguments(experiment, coupling or (), method, simulations)
    results = []
    with open_workers(scheduler, workers) as team:
        for name in names:
            chunks = None if out is None else out / "chunks" / name
            with counting_bar(f"{name} by {method}") as progress:
                results.append(
                    compute(
                        experiment,
                        name,
                        team,
                        method,
                        number,
                        DEFAULT_SEED if seed is None else seed,
                        chunks,
                        force,
                        progress,
                        notice,
                    )
                )
    if out is not None:
        save_calibration(results, out)
    for text in dict.fromkeys(f"{result.coupling}: {remark}" for result in results for remark in result.remarks):
        notice(text)
    show(
        format_,
        {"calibrations": [calibration_json(result) for result in results]},
        lambda: [calibration_table(results)],
    )

