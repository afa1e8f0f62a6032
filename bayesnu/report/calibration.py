"""What `bayesnu calibrate` prints and writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from bayesnu.report.study import Figures
from bayesnu.results.calibration import LEVEL, Calibration, write_calibration


def calibration_table(results: Sequence[Calibration]) -> Table:
    """Return one row per coupling: p-values of what is ranked, and the verdict."""
    first = results[0]
    table = Table(
        title=f"{first.model}: calibration by {first.method}, {len(first.ranks)} simulations, seed {first.seed}",
        caption=f"p-values of uniform ranks; 'overall' after Bonferroni; not calibrated below {LEVEL:g}",
    )
    for name in ("coupling", "quantity", "p-value"):
        table.add_column(name, justify="right" if name == "p-value" else "left")
    for result in results:
        for k, (quantity, p) in enumerate(zip(result.quantities, result.p_values, strict=True)):
            table.add_row(result.coupling if k == 0 else "", quantity, f"{p:.2g}")
        table.add_row("", f"overall: {result.verdict}", f"{result.p_value:.2g}", end_section=True)
    return table


def lost_calibration(kept: Any, names: Sequence[str], number: int) -> str:
    """Return what a calibration of some couplings would lose of a calibration.json of the same study."""
    others = [item["coupling"] for item in kept if item["coupling"] not in names]
    if others:
        return f"the calibration of {', '.join(others)}, which is not asked for now"
    most = max(item["simulations"] for item in kept)
    return f"{most} simulations, more than {number}" if most > number else ""


def save_calibration(results: Sequence[Calibration], folder: Path) -> None:
    """Write numbers (calibration.json, ranks.npz) and one figure per coupling (PNG and PDF) to a folder."""
    from bayesnu.plotting.calibration import plot_calibration

    write_calibration(results, folder)
    for result in results:
        Figures(folder).save(plot_calibration(result), f"ecdf_{result.coupling}")
