"""What the command line prints: notices and progress on stderr, results on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress


class Format(StrEnum):
    """How results are printed."""

    table = "table"
    json = "json"


def notice(text: str) -> None:
    """Print a one-line notice on stderr."""
    print(f"bayesnu: {text}", file=sys.stderr)


def print_tables(*tables: Any) -> None:
    """Print rich tables on stdout, wide enough when it is not a terminal."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 200)
    for table in tables:
        console.print(table)


def show(format_: Format, content: dict[str, Any], tables: Callable[[], Sequence[Any]]) -> None:
    """Print a result as JSON or as tables."""
    if format_ is Format.json:
        print(json.dumps(content, allow_nan=False))
    else:
        print_tables(*tables())


@contextmanager
def _progress(left: str = "left:") -> Iterator[Progress]:
    """A bar with the time taken and an estimate of the time left, on stderr; none if that is not a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn(left),
        TimeRemainingColumn(),
    )
    console, silent = Console(stderr=True), not sys.stderr.isatty()
    progress = Progress(*columns, console=console, transient=True, disable=silent)
    # Older versions of rich end one that shows nothing with an empty line.
    with nullcontext() if silent else progress:
        yield progress


@contextmanager
def busy(text: str) -> Iterator[None]:
    """Say on a terminal what is done meanwhile, where it may take a second or more and has no steps to count."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[str], None]]:
    """Show the steps of a command; the yielded function names the next one."""
    with _progress() as progress:
        task = progress.add_task("starting", total=total)
        steps = -1

        def step(text: str) -> None:
            nonlocal steps
            steps += 1
            progress.update(task, description=text, completed=max(0, steps))

        yield step


@contextmanager
def counting_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far a count has come; the yielded function takes how many are finished, and of how many."""
    with _progress() as progress:
        task = progress.add_task(description, total=None)

        def count(finished: int, total: int) -> None:
            progress.update(task, completed=finished, total=total)

        yield count


@dataclass(frozen=True)
class Rounds:
    """The progress of a study whose length only its results decide: rounds, each of a known number of tasks.

    Attributes
    ----------
    begin : callable
        Names the next round.
    count : callable
        Takes how many of its tasks are finished, and of how many.
    """

    begin: Callable[[str], None]
    count: Callable[[int, int], None]


@contextmanager
def rounds_bar() -> Iterator[Rounds]:
    """Show the rounds of a study; the time left is that of the round."""
    with _progress("left in round:") as progress:
        task = progress.add_task("starting", total=None)

        def begin(text: str) -> None:
            progress.reset(task, description=text, total=None)

        def count(finished: int, total: int) -> None:
            progress.update(task, completed=finished, total=total)

        yield Rounds(begin, count)
