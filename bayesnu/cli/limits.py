"""Commands that print limits on one coupling, or the contour of two."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayesnu.cli import complete
from bayesnu.cli.options import (
    AllowUnconverged,
    At,
    Chains,
    Couplings,
    Draws,
    Force,
    FormatOption,
    ModelArgument,
    NumberOfWorkers,
    Override,
    Scheduler,
    load_at,
    read_scan,
    toy_runner,
    two_couplings,
)
from bayesnu.errors import UsageError
from bayesnu.report.terminal import Format, counting_bar, notice, rounds_bar, show

if TYPE_CHECKING:
    from bayesnu.results.intervals import IntervalSet


def limit(
    model: ModelArgument,
    coupling: Annotated[
        str, typer.Option(help="The coupling to bound; the others are 0.", autocompletion=complete.couplings)
    ],
    method: Annotated[
        str,
        typer.Option(
            help="chi2, poisson, laplace, nuts, feldman-cousins or cls.",
            autocompletion=complete.among("chi2", "poisson", "laplace", "nuts", "feldman-cousins", "cls"),
        ),
    ] = "chi2",
    variance: Annotated[
        str | None,
        typer.Option(
            help="sm (default) or sm+background, for chi2.", autocompletion=complete.among("sm", "sm+background")
        ),
    ] = None,
    cl: Annotated[float, typer.Option(help="Confidence level or credibility.")] = 0.90,
    kind: Annotated[
        str | None,
        typer.Option(
            help="hdi, eti or upper, for laplace and nuts.", autocompletion=complete.among("hdi", "eti", "upper")
        ),
    ] = None,
    draws: Draws = None,
    chains: Chains = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the sampler, or of the pseudo-experiments.")] = None,
    toys: Annotated[bool, typer.Option("--toys", help="cls by pseudo-experiments; asymptotic without.")] = False,
    pulls: Annotated[
        str | None,
        typer.Option(
            help="Of pseudo-experiments: profiled (default), or averaged over their posterior.",
            autocompletion=complete.among("profiled", "averaged"),
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Monte Carlo error of a bound by pseudo-experiments, as a fraction of it; 0.01 by default."),
    ] = None,
    never_falling: Annotated[
        bool,
        typer.Option(
            "--never-falling",
            help="The largest feldman-cousins upper limit at this background or up to twice it (their section IV B), "
            "for moments. Each of 11 backgrounds takes its own pseudo-experiments: 11 times as long.",
        ),
    ] = False,
    workers: NumberOfWorkers = None,
    scheduler: Scheduler = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for finished pseudo-experiments, with which a command goes on.")
    ] = None,
    force: Force = False,
    at: At = None,
    scan: Annotated[
        str | None, typer.Option(metavar="m_N=LOW:HIGH:N[:log]", help="A limit at each of N masses of N, in MeV.")
    ] = None,
    allow_unconverged: AllowUnconverged = False,
    format_: FormatOption = Format.table,
    override: Override = None,
) -> None:
    """Print the limit on one coupling by one method.

    Exit status 1 if the verdict on the draws of nuts is fail; the limit is then withheld.
    """
    from bayesnu.report.limits import limit_tables, scan_table
    from bayesnu.results.limits import check_options, interval_json, scan_json
    from bayesnu.results.limits import limit as compute_limit
    from bayesnu.results.limits import scan as compute_scan
    from bayesnu.results.verdict import not_converged

    if at and scan:
        raise UsageError(f"--at {at[0]}: give either --at or --scan")
    masses = [] if scan is None else read_scan(scan)
    experiment = load_at(model, override, at, [coupling])
    if scan and experiment.mass_of(coupling) is None:
        raise UsageError(f"--scan {scan}: counts of {coupling} do not depend on the mass of N")
    running = {"workers": workers, "scheduler": scheduler, "out": out, "force": force}
    check_options(method, {"toys": toys, **running})

    options: dict[str, Any] = {
        "method": method, "variance": variance, "cl": cl, "kind": kind, "draws": draws, "chains": chains, "seed": seed,
        "pulls": pulls, "tolerance": tolerance, "never_falling": never_falling, "toys": toys, "notice": notice,
        "allow_unconverged": allow_unconverged,
    }  # fmt: skip

    def said_first(intervals: Sequence[IntervalSet]) -> None:
        # JSON says it in its own first line.
        reasons = dict.fromkeys(reason for interval in intervals for reason in interval.unconverged)
        if reasons and format_ is Format.table:
            print(not_converged(coupling, "; ".join(reasons)))

    name = experiment.card.name
    by_toys = toys or method == "feldman-cousins"
    with toy_runner(scheduler, workers, out, force) if by_toys else nullcontext() as runner:
        if not masses:
            with counting_bar(f"{coupling} by nuts") if method == "nuts" else nullcontext() as progress:
                found = compute_limit(experiment, coupling, runner=runner, progress=progress, few=True, **options)
            said_first([found])
            show(format_, interval_json(name, found), lambda: limit_tables(name, found))
            return
        # Pseudo-experiments show their own progress.
        with counting_bar("masses of N") if runner is None else nullcontext() as progress:
            points = compute_scan(experiment, coupling, masses, runner=runner, progress=progress, **options).points
    said_first([interval for _, interval in points])
    show(format_, scan_json(name, points), lambda: [scan_table(name, points)])


def draw(
    model: ModelArgument,
    coupling: Annotated[
        str, typer.Option(help="The coupling to draw; the others are 0.", autocompletion=complete.couplings)
    ],
    draws: Annotated[int | None, typer.Option(help="Weighted draws; 4000 by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draws.")] = None,
    cl: Annotated[float, typer.Option(help="Credibility of the interval.")] = 0.90,
    kind: Annotated[
        str | None, typer.Option(help="hdi, eti or upper.", autocompletion=complete.among("hdi", "eti", "upper"))
    ] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file for the draws: coupling, pulls, weight.")] = None,
    at: At = None,
    allow_unconverged: Annotated[
        bool, typer.Option("--allow-unconverged", help="Give draws although their weights cannot be trusted.")
    ] = False,
    format_: FormatOption = Format.table,
    override: Override = None,
) -> None:
    """Draw from the posterior of one coupling and the pulls without a sampler, by weighted draws.

    Exit status 1 if Pareto's k of the weights is 0.5 or more; the draws are then withheld.
    """
    from bayesnu.results.weighted import draw as compute
    from bayesnu.results.weighted import weighted_json

    experiment = load_at(model, override, at, [coupling])
    found = compute(
        experiment, coupling, draws=draws, cl=cl, kind=kind, seed=seed, allow_unconverged=allow_unconverged,
        notice=notice,
    )  # fmt: skip
    if out is not None:
        found.save(out)

    def tables() -> Sequence[Any]:
        from bayesnu.report.weighted import weighted_tables

        return weighted_tables(found)

    show(format_, weighted_json(found), tables)


def contour(
    model: ModelArgument,
    couplings: Couplings,
    cl: Annotated[float, typer.Option(help="Confidence level.")] = 0.90,
    at: At = None,
    out: Annotated[Path | None, typer.Option(help="Folder for numbers and the figure.")] = None,
    format_: FormatOption = Format.table,
    override: Override = None,
) -> None:
    """Find the asymptotic contour of two couplings, every part of it, with the pulls profiled."""
    from bayesnu.report.contour import contour_table, save_contour
    from bayesnu.results.contour import contour as compute
    from bayesnu.results.contour import contour_json

    names = two_couplings(couplings)
    experiment = load_at(model, override, at, names)
    found = compute(experiment, names, cl)
    name = experiment.card.name
    if out is not None:
        save_contour(name, found, out)
        notice(f"written: {out}/contour.json, contour.png")
    show(format_, contour_json(name, found), lambda: [contour_table(name, found)])


def priors(
    model: ModelArgument,
    coupling: Annotated[
        str, typer.Option(help="The coupling to bound; the others are 0.", autocompletion=complete.couplings)
    ],
    cl: Annotated[float, typer.Option(help="Credibility.")] = 0.90,
    kind: Annotated[
        str | None, typer.Option(help="hdi, eti or upper.", autocompletion=complete.among("hdi", "eti", "upper"))
    ] = None,
    at: At = None,
    format_: FormatOption = Format.table,
    override: Override = None,
) -> None:
    """Print the limit on one coupling under several priors, beside each other, and which to quote."""
    from bayesnu.report.priors import priors_table
    from bayesnu.results.prior_study import card_study, study_json

    experiment = load_at(model, override, at, [coupling])
    name = experiment.card.name
    with counting_bar("priors") as progress:
        study = card_study(experiment, coupling, cl, kind, progress)
    content = {"model": name, "coupling": coupling, **study_json(name, study)}
    show(format_, content, lambda: [priors_table(content)])


def optimise(
    model: ModelArgument,
    coupling: Annotated[
        str, typer.Option(help="The coupling to bound best; the others are 0.", autocompletion=complete.couplings)
    ],
    by: Annotated[
        str,
        typer.Option(
            help="position (polarities at each in their present proportion) or exposure.",
            autocompletion=complete.among("position", "exposure"),
        ),
    ] = "position",
    total_years: Annotated[
        float | None, typer.Option("--total-years", help="Years to share; the sum of the card's by default.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="chi2 or poisson.", autocompletion=complete.among("chi2", "poisson"))
    ] = "chi2",
    variance: Annotated[
        str | None,
        typer.Option(
            help="sm (default) or sm+background, for chi2.", autocompletion=complete.among("sm", "sm+background")
        ),
    ] = None,
    cl: Annotated[float, typer.Option(help="Confidence level.")] = 0.90,
    format_: FormatOption = Format.table,
    override: Override = None,
) -> None:
    """Print the split of the years over the positions that gives the best expected limit on a coupling.

    Best is the smallest upper limit of a coupling that enters squared only, else the narrowest interval.
    """
    from bayesnu.experiment.setup import load_electron_experiment
    from bayesnu.report.optimise import optimum_table
    from bayesnu.results.optimise import optimise as compute
    from bayesnu.results.optimise import optimum_json

    experiment = load_electron_experiment(model, override or (), notice)
    with rounds_bar() as bar:
        result = compute(
            experiment, coupling, by=by, total_years=total_years, method=method, variance=variance, cl=cl,
            progress=bar.begin,
        )  # fmt: skip
    show(format_, optimum_json(result), lambda: [optimum_table(result)])
