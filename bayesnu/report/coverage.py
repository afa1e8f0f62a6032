"""What `bayesnu coverage`, `sensitivity` and `region` print and write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from bayesnu.errors import RunError
from bayesnu.inference.region import ToyRegion
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.report.study import Figures
from bayesnu.report.tables import power_of_ten
from bayesnu.resources import write_atomically, write_text
from bayesnu.results.coverage import FREQUENTIST_NAMES, KIND_NAMES, Coverage, coverage_json
from bayesnu.results.intervals import percent
from bayesnu.results.region import region_json
from bayesnu.results.sensitivity import Sensitivity, sensitivity_json

BANDS = ("-2 σ", "-1 σ", "median", "+1 σ", "+2 σ")


WIDEST_HEAD = 12
"""Characters of a column's head, so that a table fits 120 columns."""


def told_apart(values: Sequence[float]) -> list[str]:
    """Return numbers with three decimals, or as many more as tell them apart."""
    for decimals in range(3, 16):
        texts = [f"{value:.{decimals}f}" for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return texts


def coverage_tables(result: Coverage, cl: float) -> list[Table]:
    """Return the coverage at each true value, with binomial errors: of frequentist sets, and of credible ones."""
    share, error = 100 * result.covered(cl), 100 * result.error(cl)
    exponent = power_of_ten(result.truths.tolist())
    truths = told_apart((result.truths / 10.0**exponent).tolist())
    captions = (
        f"{result.statistic.shape[1]} pseudo-experiments at each truth, pulls drawn from their constraints, seed "
        f"{result.seed}; ± binomial. Feldman-Cousins: p-values at the pulls of the fit to the card's data.",
        "By prior; Laplace grid.",
    )
    kinds = (f"{percent(cl)} frequentist sets", f"{percent(cl)} credible {KIND_NAMES[result.kind]}")
    tables = []
    for kind, caption, rows in zip(kinds, captions, (range(2), range(2, len(share))), strict=True):
        title = f"{result.model}: how often {kind} hold {result.coupling}, in %"
        table = Table(title=Text(title), caption=Text(caption), caption_justify="left")
        table.add_column(Text(f"true value\n[10^{exponent} {result.unit}]"))
        for m in rows:
            name = FREQUENTIST_NAMES[m] if m < 2 else result.labels[m - 2]
            table.add_column(Text(name), justify="right", max_width=None if m < 2 else WIDEST_HEAD)
        for k in range(len(truths)):
            table.add_row(truths[k], *(f"{share[m, k]:.1f} ± {error[m, k]:.1f}" for m in rows))
        tables.append(table)
    return tables


def lost_coverage(kept: Any, cl: float) -> str:
    """Return what the coverage at a probability would replace in a coverage.json of the same study."""
    return "" if kept["cl"] == cl else f"the coverage of {percent(kept['cl'])} intervals, not of {percent(cl)} ones"


def save_coverage(result: Coverage, cl: float, folder: Path) -> None:
    """Write coverage.json, coverage.npz (what each pseudo-experiment gave) and the figure (PNG and PDF)."""
    from bayesnu.plotting.coverage import plot_coverage

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(
                file,
                allow_pickle=False,
                truths=result.truths,
                statistic=result.statistic.astype(np.float32),
                p_value=result.p_value.astype(np.float32),
                mass=result.mass.astype(np.float32),
                labels=np.array(result.labels),
            )

    write_atomically(folder / "coverage.npz", write, RunError)
    text = json.dumps(coverage_json(result, cl), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(folder / "coverage.json", text + "\n", RunError)
    Figures(folder).save(plot_coverage(result, cl), "coverage")


def sensitivity_table(result: Sensitivity) -> Table:
    """Return the expected bounds of each method."""
    bounds = [v for item in result.limits for v in (*item.lower, *item.upper, *item.asimov)]
    exponent = power_of_ten(bounds)
    if any(item.method == "cls" for item in result.limits):
        cls = "cls: asymptotic, pulls at their constraints."
    else:
        cls = "No asymptotic cls: bins expect nothing without the coupling."
    table = Table(
        title=Text(f"{result.model}: expected {percent(result.cl)} bounds on {result.coupling} without it"),
        caption=Text(
            f"[10^{exponent} {result.unit}]. {result.toys} pseudo-experiments, pulls drawn from their constraints, "
            f"seed {result.seed}; ± Monte Carlo. laplace: prior {result.prior}. {cls}"
        ),
        caption_justify="left",
    )
    table.add_column("method")
    table.add_column("bound")
    for name in ("Asimov data", *BANDS):
        table.add_column(name, justify="right")

    def cell(value: float, error: float = float("nan")) -> str:
        text = f"{value / 10.0**exponent:.3f}"
        return f"{text} ±{error / 10.0**exponent:.2g}" if np.isfinite(error) else text

    for item in result.limits:
        label = item.method if item.method != "laplace" else f"laplace ({item.kind})"
        if item.lower:
            lower = [cell(v, e) for v, e in zip(item.lower, item.lower_error, strict=True)]
            table.add_row(label, "lower", cell(item.asimov[0]), *lower)
        upper = [cell(v, e) for v, e in zip(item.upper, item.error, strict=True)]
        table.add_row("" if item.lower else label, "upper", cell(item.asimov[1]), *upper, end_section=True)
    return table


def save_sensitivity(result: Sensitivity, folder: Path) -> None:
    """Write sensitivity.json and the figure (PNG and PDF)."""
    from bayesnu.plotting.coverage import plot_sensitivity

    text = json.dumps(sensitivity_json(result), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(folder / "sensitivity.json", text + "\n", RunError)
    Figures(folder).save(plot_sensitivity(result), "sensitivity")


def region_table(model: str, result: ToyRegion) -> Table:
    """Return what there is to say of a region in a few rows."""
    content = region_json(model, result)
    number = result.inside.size
    whose = f"{model}: " if model else ""
    table = Table(title=Text(f"{whose}{percent(result.cl)} region of {' and '.join(result.couplings)}"))
    table.add_column("quantity")
    table.add_column("value", justify="right")
    units = [COUPLINGS[name].unit for name in result.couplings]
    fits = ", ".join(f"{value:.3g} {unit}" for value, unit in zip(result.best, units, strict=True))
    for label, value in (
        ("best fit", fits),
        ("critical t, lowest and highest", f"{content['critical_lowest']:.3f}, {content['critical_highest']:.3f}"),
        ("asymptotic Δχ²", f"{content['delta_chi2']:.3f}"),
        ("largest Monte Carlo error of a critical value", f"{content['largest_error']:.2%}"),
        ("pseudo-experiments", str(content["toys"])),
        (f"points inside, of {number}", str(content["inside"])),
        ("points inside by the asymptotic value", str(content["inside_asymptotic"])),
    ):
        table.add_row(label, value)
    return table


def save_region(model: str, result: ToyRegion, folder: Path) -> None:
    """Write region.json and the figure (PNG and PDF)."""
    from bayesnu.plotting.coverage import plot_region

    text = json.dumps(region_json(model, result), allow_nan=False)
    write_text(folder / "region.json", text + "\n", RunError)
    Figures(folder).save(plot_region(model, result), "region")
