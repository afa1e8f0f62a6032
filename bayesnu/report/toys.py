"""Pseudo-experiments of a card: tables for the terminal, and the folder that keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.table import Table

from bayesnu.errors import RunError
from bayesnu.experiment.base import Experiment
from bayesnu.report.tables import mass_note, text_table
from bayesnu.resources import write_text
from bayesnu.results.intervals import percent
from bayesnu.results.toys import ToyStudy, save_toys, toys_json

WHERE_PULLS_COME_FROM = {
    "constraint": "drawn from their constraints",
    "fit": "those that fit the card's data best at the truth",
    "posterior": "drawn from their posterior at the truth",
}


def toys_tables(study: ToyStudy) -> list[Table]:
    """Return the quantiles of the statistic beside Wilks' ones, and the best fits."""
    rows = [
        [
            percent(item.probability),
            f"{item.value:.3f} ±{item.mc_error:.2g}",
            f"{item.wilks:.3f}",
            f"{item.coverage:.2%} ±{item.coverage_error:.2%}",
        ]
        for item in study.quantiles
    ]
    free = len(study.fits)
    title = f"{study.model}: -2 ln L(truth)/L(best) of {study.number} pseudo-experiments{mass_note(study.m_N)}"
    caption = f"Pulls {WHERE_PULLS_COME_FROM[study.ensemble]}; seed {study.seed}. ±: Monte Carlo error."
    wilks = f"χ², {free} d.o.f. (Wilks)"
    statistic = text_table(title, ["quantile", "pseudo-experiments", wilks, "coverage of Δχ² below it"], rows, caption)
    fits = text_table(
        "Best fits",
        ["coupling", "truth", "mean", "spread", "at 0"],
        [
            [
                f"{fit.coupling} [{fit.unit}]",
                f"{fit.truth:g}",
                f"{fit.mean:.4g} ±{fit.mean_error:.2g}",
                f"{fit.spread:.3g}",
                "–" if fit.at_boundary is None else f"{fit.at_boundary:.1%}",
            ]
            for fit in study.fits
        ],
    )
    return [statistic, fits]


def lost_toys(kept: Any, number: int) -> str:
    """Return what ``number`` pseudo-experiments would lose of a toys.json of the same study."""
    return f"{kept['number']} pseudo-experiments, more than {number}" if kept["number"] > number else ""


def write_toys(study: ToyStudy, experiment: Experiment, folder: Path) -> None:
    """Write toys.nc, toys.json and figures/statistic.png and .pdf.

    Raises
    ------
    RunError
        If the folder cannot be written.
    """
    import matplotlib

    save_toys(study, experiment, folder / "toys.nc")
    with matplotlib.rc_context({"backend": "Agg"}):
        from bayesnu.plotting.toys import plot_statistic
        from bayesnu.report.figures import save_figure

        truth = ", ".join(f"{fit.coupling} = {fit.truth:g}" + f" {fit.unit}" * bool(fit.truth) for fit in study.fits)
        levels = [(percent(item.probability), item.value, item.wilks) for item in study.quantiles]
        title = f"{study.model}, true {truth}{mass_note(study.m_N)}"
        save_figure(plot_statistic(study.statistic, len(study.fits), levels, title), folder / "figures", "statistic")
    # Last, so that a summary that exists has all the rest beside it.
    write_text(folder / "toys.json", json.dumps(toys_json(study), indent=1, allow_nan=False) + "\n", RunError)
