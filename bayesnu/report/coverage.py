"""What `bayesnu coverage`, `sensitivity` and `region` print and write."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from bayesnu.errors import RunError
from bayesnu.inference.region import ToyRegion
from bayesnu.report.study import Figures
from bayesnu.report.tables import power_of_ten
from bayesnu.resources import write_atomically, write_text
from bayesnu.results.coverage import Coverage, coverage_json
from bayesnu.results.intervals import percent
from bayesnu.results.region import region_json
from bayesnu.results.sensitivity import Sensitivity

BANDS = ("-2 σ", "-1 σ", "median", "+1 σ", "+2 σ")


def coverage_table(result: Coverage, cl: float) -> Table:
    """Return the coverage of each method at each true value, with binomial errors."""
    share, error = result.covered(cl), result.error(cl)
    exponent = power_of_ten(result.truths.tolist())
    table = Table(
        title=Text(f"{result.model}: coverage of {percent(cl)} intervals of {result.coupling}"),
        caption=Text(
            f"{result.statistic.shape[1]} pseudo-experiments at each truth, pulls drawn from their constraints, seed "
            f"{result.seed}; ± binomial. Feldman-Cousins: critical values at the pulls of the fit to the card's data. "
            f"Credible intervals: {result.kind}, Laplace grid."
        ),
        caption_justify="left",
    )
    table.add_column(Text(f"true value [10^{exponent} {result.unit}]"))
    for method in result.methods():
        table.add_column(Text(method), justify="right")
    for k, truth in enumerate(result.truths):
        cells = [f"{share[m, k]:.1%} ± {error[m, k]:.1%}" for m in range(len(share))]
        table.add_row(f"{truth / 10.0**exponent:.3f}", *cells)
    return table


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
                critical=result.critical.astype(np.float32),
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
    table = Table(
        title=Text(f"{result.model}: expected {percent(result.cl)} bounds on {result.coupling} without it"),
        caption=Text(
            f"[10^{exponent} {result.unit}]. {result.toys} pseudo-experiments, pulls drawn from their constraints, "
            f"seed {result.seed}; ± Monte Carlo. laplace: prior {result.prior}. cls: asymptotic, pulls at their "
            "constraints; none where bins expect nothing without the coupling."
        ),
        caption_justify="left",
    )
    table.add_column("method")
    table.add_column("bound")
    for name in ("Asimov data", *BANDS):
        table.add_column(name, justify="right")

    def cell(value: float, error: float = float("nan")) -> str:
        text = f"{value / 10.0**exponent:.3f}"
        return f"{text} ± {error / 10.0**exponent:.2g}" if np.isfinite(error) else text

    for item in result.limits:
        label = item.method if item.method != "laplace" else f"laplace ({item.kind})"
        if item.lower:
            table.add_row(label, "lower", cell(item.asimov[0]), *(cell(v) for v in item.lower))
        upper = [cell(v, e) for v, e in zip(item.upper, item.error, strict=True)]
        table.add_row("" if item.lower else label, "upper", cell(item.asimov[1]), *upper, end_section=True)
    return table


def region_table(model: str, result: ToyRegion) -> Table:
    """Return what there is to say of a region in a few rows."""
    content = region_json(model, result)
    number = result.inside.size
    table = Table(title=Text(f"{model}: {percent(result.cl)} region of {' and '.join(result.couplings)}"))
    table.add_column("quantity")
    table.add_column("value", justify="right")
    for label, value in (
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
