"""The list of commands, and what happens to their errors."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from bayesnu import __version__
from bayesnu.cli.inputs import cite, data, discriminate, models, predict, response
from bayesnu.cli.limits import contour, draw, limit, optimise, priors
from bayesnu.cli.own import check, new, schema
from bayesnu.cli.runs import combine, compare, export, report, run
from bayesnu.cli.studies import calibrate, coverage, region, sensitivity, toys
from bayesnu.errors import BayesnuError, InterruptedStudyError, UnconvergedError, nearest
from bayesnu.report.terminal import notice

COMMANDS: dict[Callable[..., None], str] = {
    new: "my-experiment --like dune-on-axis",
    check: "dune-on-axis -o target.mass_tonnes=100",
    run: "dune-on-axis --coupling mu_numu --draws 2000",
    predict: "dune-prism --set mu_numu=1e-9 --pull flux_norm=0.1 --format json",
    limit: "dune-on-axis --coupling q_numu --method laplace",
    draw: "dune-prism --coupling mu_numu --out draws.csv",
    contour: "dune-on-axis --couplings q_nue,q_numu --out contour",
    combine: "dune-on-axis nucleus-10kg --coupling mu_nue",
    optimise: "dune-prism --coupling mu_nue",
    priors: "nucleus-10g --coupling d_nue --at m_N=2",
    sensitivity: "nucleus-10g --coupling d_nue --out expected",
    toys: "dune-on-axis --set mu_numu=3e-10 --n 10000 --out toys",
    region: "dune-on-axis --couplings mu_nue,mu_numu --out region",
    coverage: "dune-on-axis --coupling mu_nue --n 1000",
    calibrate: "dune-on-axis --coupling mu_numu --method nuts",
    compare: "runs/dune-on-axis-1 runs/dune-prism-1",
    report: "runs/dune-on-axis-1",
    export: "runs/dune-on-axis-1 --to pyhf --coupling mu_numu",
    cite: "runs/dune-on-axis-1",
    response: "dune-on-axis --samples 1000000",
    discriminate: "nucleus-10g-radiative --m-N 1.0 --events 20",
    models: "",
    data: "",
    schema: "--kind nucleus > schema.json",
}
"""In the order of ``--help``, each with the arguments of the example in its own."""

INTERRUPTED = 130
STATUS = {UnconvergedError: 1, InterruptedStudyError: INTERRUPTED}
"""Exit status of an error; 2 of all others."""

app = typer.Typer(
    help="Bayesian inference on the electromagnetic properties of neutrinos.",
    epilog="\b\nExample:\n  bayesnu new my-experiment --like dune-on-axis\n"
    "  bayesnu check my-experiment/my-experiment.toml\n  bayesnu run my-experiment/my-experiment.toml",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command, example in COMMANDS.items():
    # \b keeps the line as it is.
    app.command(epilog=f"\b\nExample:\n  {f'bayesnu {command.__name__} {example}'.rstrip()}")(command)


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
    """Return " (given: VALUE)" for the option that an error is about, with the nearest choice, or ''."""
    names = getattr(getattr(error, "param", None), "opts", ())
    for k, argument in enumerate(arguments):
        name, separator, value = argument.partition("=")
        if name in names and (separator or k + 1 < len(arguments)):
            given = value if separator else arguments[k + 1]
            choices = re.findall("'([^']+)'", error.format_message().partition(" is not one of ")[2])
            return f" (given: {given}{nearest(given, choices)})"
    return ""


def example_of(error: TyperException) -> str:
    """Return where to find an example of the command that lacks an argument or an option, or ''."""
    context = getattr(error, "ctx", None)
    if context is None or not error.format_message().startswith("Missing "):
        return ""
    return f" ({context.command_path} --help has an example)"


def start() -> None:
    """Run a command; an error is one line on stderr and an exit status."""
    try:
        status = app(standalone_mode=False)
        if status == INTERRUPTED:
            # What typer makes of Ctrl-C, without a word.
            raise InterruptedStudyError("interrupted")
    except BayesnuError as error:
        notice(str(error))
        raise SystemExit(STATUS.get(type(error), 2)) from None
    except TyperException as error:
        text = " ".join(error.format_message().replace("Value error, ", "").split())
        if text:
            notice(text + given_value(error, sys.argv[1:]) + example_of(error))
        raise SystemExit(2) from None
    except BrokenPipeError:
        # The reader of stdout went away (as with head); there is nobody left to tell.
        sys.stderr.close()
        raise SystemExit(1) from None
    raise SystemExit(status if isinstance(status, int) else 0)
