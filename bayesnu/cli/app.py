"""The list of commands, and what happens to their errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from bayesnu import __version__
from bayesnu.cli.inputs import data, discriminate, models, predict, response
from bayesnu.cli.limits import limit, priors
from bayesnu.cli.runs import combine, compare, report, run
from bayesnu.cli.studies import calibrate, coverage, region, sensitivity, toys
from bayesnu.errors import BayesnuError, InterruptedStudyError, UnconvergedError
from bayesnu.report.terminal import notice

COMMANDS = (
    run, predict, limit, combine, priors, sensitivity, toys, region, coverage, calibrate, compare, report, response,
    discriminate, models, data,
)  # fmt: skip
"""In the order of ``--help``."""

INTERRUPTED = 130
STATUS = {UnconvergedError: 1, InterruptedStudyError: INTERRUPTED}
"""Exit status of an error; 2 of all others."""

app = typer.Typer(
    help="Bayesian inference on the electromagnetic properties of neutrinos.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in COMMANDS:
    app.command()(command)


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
            notice(text + given_value(error, sys.argv[1:]))
        raise SystemExit(2) from None
    except BrokenPipeError:
        # The reader of stdout went away (as with head); there is nobody left to tell.
        sys.stderr.close()
        raise SystemExit(1) from None
    raise SystemExit(status if isinstance(status, int) else 0)
