"""Options and arguments that several commands share, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bayesnu.errors import UsageError
from bayesnu.report.terminal import Format, notice

if TYPE_CHECKING:
    from bayesnu.experiment.base import Experiment

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
