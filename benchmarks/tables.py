"""Writes what was measured: ``RESULTS.md`` and ``results.json``."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from benchmarks.measure import LONG, Measured, Spread

WHERE = Path(__file__).resolve().parent / "where_time_goes.md"
REACHED = {True: "yes", False: "**no**", None: "–"}
PACKAGES = (
    "bayesnu", "numpy", "scipy", "numba", "xarray", "pymc", "pytensor", "nutpie", "arviz", "pyhf", "jax", "iminuit",
    "numpyro",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of bayesnu, of what it stands on and of its peers, where installed."""
    found = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def machine() -> str:
    """Return the processor, its cores and the Python in one line."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.machine()
    return f"{processor}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def number(value: float) -> str:
    """Return a number to three digits, with what makes it easy to read."""
    if value >= 1000 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def amount(value: float, unit: str) -> str:
    """Return a number with its unit; seconds below 0.1 in ms or μs."""
    if unit == "s" and 0 < value < 0.1:
        return f"{number(value * 1e3)} ms" if value >= 1e-4 else f"{number(value * 1e6)} μs"
    return f"{number(value)} {unit}".strip()


def with_quartiles(spread: Spread | None, unit: str, goes: int) -> str:
    """Return a median with its quartiles, or the one value that there is."""
    if spread is None:
        return "–"
    middle = amount(spread.median, unit)
    if goes == 1:
        return f"{middle} (once)"
    return f"{middle} ({amount(spread.low, unit)} to {amount(spread.high, unit)})"


def row_lines(measured: Sequence[Measured]) -> list[str]:
    """Return the first table: bayesnu beside its peers."""
    lines = ["| task | bayesnu | peer | ratio | aim | reached |", "|---|---|---|---|---|---|"]
    for m in measured:
        figure = "" if m.aim.figure == "seconds" else f", {m.aim.figure.replace('_', ' ')}"
        ratio = "–" if m.ratio is None else with_quartiles(m.ratio, "", m.goes) + " ×"
        peer = with_quartiles(m.peer, m.aim.unit, m.goes) + (f": {m.row.peer}" if m.peer else "")
        lines.append(
            f"| {m.row.task}{figure} | {with_quartiles(m.own, m.aim.unit, m.goes)} | {peer} | {ratio} | {m.aim.text} "
            f"| {REACHED[m.reached]} |"
        )
    return lines


def alone_lines(measured: Sequence[Measured]) -> list[str]:
    """Return the second table: commands of bayesnu, beside a process that only imports what most of them need."""
    lines = ["| task | bayesnu | times the reference | aim | reached |", "|---|---|---|---|---|"]
    for m in measured:
        reference = "–" if m.ratio is None else f"{1 / m.ratio.median:.1f}"
        own = with_quartiles(m.own, m.aim.unit, m.goes)
        figure = "" if m.aim.figure == "seconds" else f", {m.aim.figure.replace('_', ' ')}"
        lines.append(f"| {m.row.task}{figure} | {own} | {reference} | {m.aim.text} | {REACHED[m.reached]} |")
    return lines


def _named(measured: Measured) -> str:
    """Return the task and its peer."""
    row = measured.row
    return f"{row.task} against {row.peer}" if row.peer else row.task


def page(measured: Sequence[Measured], scaling: Sequence[str] = ()) -> str:
    """Return the text of ``RESULTS.md``."""
    contests = [m for m in measured if not m.row.alone]
    alone = [m for m in measured if m.row.alone]
    lines = [
        "# Timings",
        "",
        "`make bench` writes this page. Figures are medians, with the quartiles in brackets; both sides of a row run",
        "in turn, and the ratio is the median of theirs. Whole processes are fresh ones with bytecode and compilation",
        f"caches in place. What takes longer than {LONG:g} s runs once (`make bench-all`: five times). Before a row is",
        "timed, both sides are shown to compute the same thing.",
        "",
        "## Beside its peers",
        "",
        *row_lines(contests),
        "",
    ]
    missed = {id(m.contest): m for m in [*contests, *alone] if m.reached is False}.values()
    if missed:
        lines += ["Not reached:", ""]
        lines += [f"- {_named(m)}: {m.row.reason or 'the reason is not known'}." for m in missed]
        lines.append("")
    lines += ["What was compared before the timing:", ""]
    for m in {id(m.contest): m for m in contests}.values():
        parts = [part for part in (m.contest.agreement, m.contest.note) if part]
        lines.append(f"- {_named(m)}: {'; '.join(parts) or 'nothing, there is no peer'}.")
    lines.append("")
    if scaling:
        lines += ["## How time and memory grow", "", *scaling, ""]
    lines += ["## Where the time goes", "", WHERE.read_text(encoding="utf-8").rstrip(), ""]
    if alone:
        lines += [
            "## bayesnu alone",
            "",
            "The reference is a process that imports numpy, scipy.optimize and xarray, measured in turn: compare such",
            "ratios, not seconds, between machines. Of toys and of Feldman-Cousins limits only the work counts, on all",
            "cores, without starting and loading. Each process has an empty cache of bayesnu's own, of responses and",
            "templates, and keeps those of bytecode and of compiled functions.",
            "",
            *alone_lines(alone),
            "",
        ]
        noted = {id(m.contest): m for m in alone if m.contest.note}.values()
        lines += [*(f"- {_named(m)}: {m.contest.note}." for m in noted), *([""] if noted else [])]
    listed = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines += [f"Machine: {machine()}. Versions: {listed}.", ""]
    return "\n".join(lines)


def write(
    folder: Path, measured: Sequence[Measured], scaling: Sequence[str] = (), grown: Sequence[object] = ()
) -> None:
    """Write the page and the JSON of all that was measured."""
    content = {
        "machine": machine(),
        "versions": versions(),
        "tasks": [m.content for m in measured],
        "scaling": list(grown),
    }
    (folder / "results.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "RESULTS.md").write_text(page(measured, scaling), encoding="utf-8")
