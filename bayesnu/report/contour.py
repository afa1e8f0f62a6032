"""What `bayesnu contour` prints and writes."""

from __future__ import annotations

import json
from pathlib import Path

from rich.table import Table
from rich.text import Text

from bayesnu.errors import RunError
from bayesnu.inference.contour import Contour
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.report.study import Figures
from bayesnu.resources import write_text
from bayesnu.results.contour import contour_json
from bayesnu.results.intervals import percent


def contour_table(model: str, result: Contour) -> Table:
    """Return what there is to say of a contour in a few rows."""
    whose = f"{model}: " if model else ""
    table = Table(
        title=Text(f"{whose}{percent(result.cl)} contour of {' and '.join(result.couplings)}"),
        caption=Text("Asymptotic; pulls profiled, other couplings 0. By pseudo-experiments: bayesnu region."),
        caption_justify="left",
    )
    table.add_column("quantity")
    table.add_column("value", justify="right")
    units = [COUPLINGS[name].unit for name in result.couplings]
    # A fit is as good as its tolerance: what is 0 to that is 0.
    shown = [
        value if abs(value) > 1e-6 * (high - low) else 0.0
        for value, (low, high) in zip(result.best, result.extremes, strict=True)
    ]
    fit = ", ".join(f"{value:.3g} {unit}" for value, unit in zip(shown, units, strict=True))
    table.add_row("best fit", fit)
    for name, (low, high), unit in zip(result.couplings, result.extremes, units, strict=True):
        table.add_row(f"{name}, least and greatest", f"{low:.3g}, {high:.3g} {unit}")
    cells = ", ".join(f"{cell:.2g} {unit}" for cell, unit in zip(result.resolution, units, strict=True))
    for label, value in (
        ("Δ(-2 ln L) on the contour", f"{result.level:.4g}"),
        ("largest deviation of a point from it", f"{result.accuracy:.2g}"),
        ("points", str(result.points)),
        ("parts of the region", str(result.parts)),
        ("smaller parts may be missed", cells),
    ):
        table.add_row(label, value)
    return table


def save_contour(model: str, result: Contour, folder: Path) -> None:
    """Write contour.json and the figure (PNG and PDF)."""
    from bayesnu.plotting.regions import plot_contour

    text = json.dumps(contour_json(model, result), allow_nan=False)
    write_text(folder / "contour.json", text + "\n", RunError)
    Figures(folder).save(plot_contour(model, result), "contour")
