"""The limits of finished runs on the terminal; what did not converge is withheld, or said first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Table

from bayesnu.report.tables import joint_tables, limits_table, runs_table
from bayesnu.report.terminal import print_tables
from bayesnu.results.runs import Run
from bayesnu.results.verdict import notices, warning, withhold


def say_verdict(runs: Sequence[Run], allow_unconverged: bool, notice: Callable[[str], None]) -> None:
    """Print first what is approximate and which limits are shown although they failed; name those withheld."""
    for run in runs:
        for line in run.limits.get("approximate", ()):
            print(line)
        if allow_unconverged and (line := warning(run.limits)):
            print(line)
        for text in [] if allow_unconverged else notices(run.limits):
            notice(text)


def run_tables(runs: Sequence[Run], allow_unconverged: bool = False) -> list[Table]:
    """Return the tables of finished runs, each by itself and, if there are several, side by side."""
    shown = [withhold(run.limits, allow_unconverged) for run in runs]
    tables = [table for limits in shown for table in (limits_table(limits), *joint_tables(limits))]
    if len(runs) > 1:
        tables.append(runs_table([(run.folder.name, limits) for run, limits in zip(runs, shown, strict=True)]))
    return tables


def print_limits(runs: Sequence[Run], allow_unconverged: bool, notice: Callable[[str], None]) -> None:
    """Print the tables of finished runs, each by itself and, if there are several, side by side."""
    say_verdict(runs, allow_unconverged, notice)
    print_tables(*run_tables(runs, allow_unconverged))
