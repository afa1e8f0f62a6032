"""What the scripts in analyses/ write: tables as CSV (full numbers) and markdown (rounded), and figures."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bayesnu.errors import RunError
from bayesnu.resources import write_atomically, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class Tables:
    """The tables of one run of the script."""

    folder: Path
    written: dict[str, str] = field(default_factory=dict)

    def write(
        self, name: str, title: str, header: Sequence[str], rows: Sequence[Sequence[object]], digits: int = 3
    ) -> None:
        """Write ``name``.csv and ``name``.md; numbers with six and with ``digits`` significant digits."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([[shown(cell, 6) for cell in row] for row in rows])
        write_text(self.folder / f"{name}.csv", buffer.getvalue())
        lines = [f"**{title}**", "", "| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
        lines += ["| " + " | ".join(shown(cell, digits) for cell in row) + " |" for row in rows]
        self.written[name] = "\n".join(lines) + "\n"
        write_text(self.folder / f"{name}.md", self.written[name])


@dataclass(frozen=True)
class Figures:
    """The figures of one run of the script."""

    folder: Path

    def save(self, figure: Figure, name: str) -> None:
        """Write a figure as PNG and PDF, without a date, so that the same numbers give the same file."""
        silent = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Creator": None, "Producer": None}}
        for suffix, metadata in silent.items():
            write_atomically(
                self.folder / f"{name}.{suffix}",
                lambda path, s=suffix, m=metadata: figure.savefig(path, format=s, dpi=150, metadata=m),  # type: ignore[misc]
                RunError,
            )
            figure.set_layout_engine("none")  # the second file keeps the layout found for the first


def shown(cell: object, digits: int) -> str:
    """Return a cell as text; a missing or non-finite number is empty."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return ""
    if isinstance(cell, float):
        plain = 1e-3 <= abs(cell) < 10 ** max(digits, 3) or cell == 0
        return f"{cell:.{digits}g}" if plain else f"{cell:.{digits - 1}e}"
    return str(cell)


def union(intervals: Sequence[tuple[float, float]], unit: float = 1.0, digits: int = 3, upper: bool = False) -> str:
    """Return an interval set as text, in multiples of ``unit``."""
    if upper:
        return f"< {intervals[-1][1] / unit:.{digits}g}"
    return " ∪ ".join(f"[{low / unit:.{digits}g}, {high / unit:.{digits}g}]" for low, high in intervals)
