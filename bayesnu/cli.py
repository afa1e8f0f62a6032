"""The command line: parse, call one library function, print or save.

Machine output goes to stdout alone, everything else to stderr; a foreseen error
is one line on stderr and exit status 2, and a limit that is withheld because the
sampler did not converge is one line on stderr and exit status 1.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.exceptions import TyperException

from bayesnu import __version__
from bayesnu.errors import BayesnuError, DataError, UnconvergedError, UsageError
from bayesnu.report.terminal import Format, notice, print_tables, progress_bar, show

if TYPE_CHECKING:
    from bayesnu.experiment.base import Experiment
    from bayesnu.results.intervals import IntervalSet

app = typer.Typer(
    help="Bayesian inference on the electromagnetic properties of neutrinos.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

MOST_MASSES = 10_000
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A name in models/ or the path of a card.")]
Override = Annotated[
    list[str] | None, typer.Option("-o", "--override", metavar="KEY=VALUE", help="Override a card key; repeatable.")
]
Draws = Annotated[int | None, typer.Option(help="Draws per chain after tuning.")]
Chains = Annotated[int | None, typer.Option(help="Number of chains.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the sampler.")]


AllowUnconverged = Annotated[
    bool, typer.Option("--allow-unconverged", help="Show limits although the sampler's verdict is fail; said first.")
]
FormatOption = Annotated[Format, typer.Option("--format", help="Print a table or JSON.")]


def load(model: str, overrides: Sequence[str] | None) -> Experiment:
    """Load an experiment with notices on stderr."""
    from bayesnu.experiment.setup import load_experiment

    return load_experiment(model, overrides or (), notice)


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


@app.command()
def run(
    model: ModelArgument,
    coupling: Annotated[list[str] | None, typer.Option(help="Fit this coupling; repeatable. All by default.")] = None,
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
        notice(f"interrupted; finished fits are kept in {folder}: run the same command to go on")
        raise typer.Exit(130) from None
    print_limits([finished], allow_unconverged, notice)
    print(f"report: {page}")
    if failing and not allow_unconverged:
        raise typer.Exit(1)


@app.command()
def predict(
    model: ModelArgument,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Set a coupling; repeatable.")
    ] = None,
    pull: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Set a pull; 0.1 is 10%.")] = None,
    format_: FormatOption = Format.table,
    override: Override = None,
) -> None:
    """Print the expected counts per exposure, channel and bin."""
    from bayesnu.experiment.electron import ElectronExperiment
    from bayesnu.experiment.electron_window import ElectronWindowExperiment
    from bayesnu.experiment.prediction import predict as predict_electrons
    from bayesnu.experiment.prediction import prediction_json
    from bayesnu.experiment.recoil import RecoilExperiment
    from bayesnu.experiment.recoil_prediction import predict_recoils, predict_windows, recoil_prediction_json
    from bayesnu.experiment.setup import with_parameters
    from bayesnu.report.tables import prediction_tables, recoil_prediction_tables

    values, pulls = name_values("--set", set_), name_values("--pull", pull)
    mass = {"m_N": values.pop("m_N")} if "m_N" in values else {}
    experiment = with_parameters(load(model, override), mass)
    for name, value in values.items():
        if name in experiment.model.couplings and (caution := experiment.caution(name, value)):
            notice(caution)
    if isinstance(experiment, RecoilExperiment | ElectronWindowExperiment):
        if isinstance(experiment, RecoilExperiment):
            recoils = predict_recoils(experiment, values, pulls)
        else:
            recoils = predict_windows(experiment, values, pulls)
        show(format_, recoil_prediction_json(recoils), lambda: recoil_prediction_tables(recoils))
    elif isinstance(experiment, ElectronExperiment):
        electrons = predict_electrons(experiment, values, pulls)
        show(format_, prediction_json(electrons), lambda: prediction_tables(electrons))


@app.command()
def limit(
    model: ModelArgument,
    coupling: Annotated[str, typer.Option(help="The coupling to bound; the others are 0.")],
    method: Annotated[str, typer.Option(help="chi2, poisson, laplace or nuts.")] = "chi2",
    variance: Annotated[str | None, typer.Option(help="sm (default) or sm+background, for chi2.")] = None,
    cl: Annotated[float, typer.Option(help="Confidence level or credibility.")] = 0.90,
    kind: Annotated[str | None, typer.Option(help="hdi, eti or upper, for laplace and nuts.")] = None,
    draws: Draws = None,
    chains: Chains = None,
    seed: Seed = None,
    at: Annotated[list[str] | None, typer.Option(metavar="m_N=VALUE", help="Fix the mass of N, in MeV.")] = None,
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
    from bayesnu.experiment.setup import with_parameters
    from bayesnu.report.tables import interval_table, scan_table
    from bayesnu.results.limits import interval_json, scan_json
    from bayesnu.results.limits import limit as compute_limit
    from bayesnu.results.verdict import not_converged

    if at and scan:
        raise UsageError(f"--at {at[0]}: give either --at or --scan")
    masses = [] if scan is None else read_scan(scan)
    experiment = with_parameters(load(model, override), name_values("--at", at))
    if (at or scan) and experiment.mass_of(experiment.fitted(coupling)) is None:
        given = f"--at {at[0]}" if at else f"--scan {scan}"
        raise UsageError(f"{given}: counts of {coupling} do not depend on the mass of N")

    def bound(where: Experiment) -> IntervalSet:
        return compute_limit(
            where,
            coupling,
            method=method,
            variance=variance,
            cl=cl,
            kind=kind,
            draws=draws,
            chains=chains,
            seed=seed,
            notice=notice,
            allow_unconverged=allow_unconverged,
        )

    def said_first(intervals: Sequence[IntervalSet]) -> None:
        # JSON says it in its own first line.
        reasons = dict.fromkeys(reason for interval in intervals for reason in interval.unconverged)
        if reasons and format_ is Format.table:
            print(not_converged(coupling, "; ".join(reasons)))

    name = experiment.card.name
    if not masses:
        interval = bound(experiment)
        said_first([interval])
        show(format_, interval_json(name, interval), lambda: [interval_table(name, interval)])
        return
    points = [(mass, bound(with_parameters(experiment, {"m_N": mass}))) for mass in masses]
    said_first([interval for _, interval in points])
    show(format_, scan_json(name, points), lambda: [scan_table(name, points)])


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


@app.command()
def priors(
    model: ModelArgument,
    coupling: Annotated[str, typer.Option(help="The coupling to bound; the others are 0.")],
    cl: Annotated[float, typer.Option(help="Credibility.")] = 0.90,
    kind: Annotated[str | None, typer.Option(help="hdi, eti or upper.")] = None,
    format_: FormatOption = Format.table,
    override: Override = None,
) -> None:
    """Print the limit on one coupling under several priors, beside each other, and which to quote."""
    from bayesnu.report.priors import priors_table
    from bayesnu.results.prior_study import card_study, study_json

    experiment = load(model, override)
    name = experiment.card.name
    content = {"model": name, "coupling": coupling, **study_json(name, card_study(experiment, coupling, cl, kind))}
    show(format_, content, lambda: [priors_table(content)])


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    allow_unconverged: AllowUnconverged = False,
) -> None:
    """Print the limits of finished runs beside each other and beside the published ones."""
    from bayesnu.report.runs import print_limits
    from bayesnu.results.runs import load_run

    print_limits([load_run(folder) for folder in runs], allow_unconverged, notice)


@app.command()
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


@app.command()
def response(
    model: ModelArgument,
    samples: Annotated[int | None, typer.Option(help="Monte Carlo events in total.")] = None,
    seed: Seed = None,
    override: Override = None,
) -> None:
    """Build or find the response matrix of a card and say where it is and how precise."""
    from bayesnu.detector.store import locate_response
    from bayesnu.experiment.setup import load_electron_experiment
    from bayesnu.experiment.templates import response_settings

    settings_overrides = [
        *(override or ()),
        *([f"response.samples={samples}"] if samples is not None else []),
        *([f"response.seed={seed}"] if seed is not None else []),
    ]
    experiment = load_electron_experiment(model, settings_overrides, notice)
    settings = response_settings(experiment.card, experiment.flux)
    total, error = experiment.templates.standard_model_error()
    worst = float((error / total)[total > 0.01 * total.sum(axis=-1, keepdims=True)].max())
    print(f"response: {locate_response(settings, experiment.card.response.mc_stat != 'none')}")
    print(
        f"method {settings.method}, {settings.samples} samples, seed {settings.seed}; largest statistical error of a "
        f"bin with more than 1% of the SM counts: {worst:.2%}"
    )


@app.command()
def discriminate(
    model: ModelArgument,
    m_N: Annotated[float, typer.Option("--m-N", help="Mass of N, in MeV.")],
    events: Annotated[int, typer.Option(help="Photons from N of each simulated experiment.")],
    truth: Annotated[str, typer.Option(help="majorana or dirac.")] = "majorana",
    counts: Annotated[str, typer.Option(help="fixed, or poisson about --events.")] = "fixed",
    experiments: Annotated[int | None, typer.Option(help="Simulated experiments; 10000 by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the simulation.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A moment of the decay beside d_NNp of the card; repeatable."),
    ] = None,
    format_: FormatOption = Format.table,
    override: Override = None,
) -> None:
    """Print how well the photons from N → ν γ tell Dirac from Majorana N."""
    from bayesnu.report.tables import discrimination_table
    from bayesnu.results.discrimination import discriminate as compute
    from bayesnu.results.discrimination import discrimination_json

    given: dict[str, Any] = {
        name: value for name, value in (("experiments", experiments), ("seed", seed)) if value is not None
    }
    moments = name_values("--set", set_)
    result = compute(load(model, override), m_N, events, truth, counts, **given, moments=moments)
    show(format_, discrimination_json(result), lambda: [discrimination_table(result)])


@app.command()
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


@app.command()
def models() -> None:
    """List the shipped cards."""
    from bayesnu.experiment.load import load_card
    from bayesnu.report.tables import models_table
    from bayesnu.resources import shipped_models

    cards = [load_card(name).card for name in shipped_models()]
    print_tables(models_table([(card.name, card.title, card.source.paper) for card in cards]))


@app.command()
def data() -> None:
    """List the shipped data files and check that they are intact."""
    from bayesnu.report.tables import data_table
    from bayesnu.resources import shipped_data

    files = shipped_data()
    print_tables(data_table(files))
    changed = [file.name for file in files if not file.intact]
    if changed:
        raise DataError(f"data/{', data/'.join(changed)}: missing or changed since the manifest was written")


def show_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        print(f"bayesnu {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Bayesian inference on the electromagnetic properties of neutrinos."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def given_value(error: TyperException, arguments: Sequence[str]) -> str:
    """Return " (given: VALUE)" for the option that an error is about, or ''."""
    names = getattr(getattr(error, "param", None), "opts", ())
    for k, argument in enumerate(arguments):
        name, separator, value = argument.partition("=")
        if name in names and (separator or k + 1 < len(arguments)):
            return f" (given: {value if separator else arguments[k + 1]})"
    return ""


def main() -> None:
    """Run the command line."""
    try:
        status = app(standalone_mode=False)
    except BayesnuError as error:
        notice(str(error))
        raise SystemExit(1 if isinstance(error, UnconvergedError) else 2) from None
    except TyperException as error:
        text = " ".join(error.format_message().replace("Value error, ", "").split())
        if text:
            notice(text + given_value(error, sys.argv[1:]))
        raise SystemExit(2) from None
    except (KeyboardInterrupt, typer.Abort):
        notice("interrupted")
        raise SystemExit(130) from None
    except BrokenPipeError:
        # The reader of stdout went away (as with head); there is nobody left to tell.
        sys.stderr.close()
        raise SystemExit(1) from None
    raise SystemExit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
