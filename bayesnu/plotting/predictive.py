"""Figures of counts: posterior predictive distributions over the data, per exposure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PredictivePanel:
    """One exposure of `plot_predictive`.

    Attributes
    ----------
    title : str
    edges : ndarray, shape (bins + 1,)
    data, background, signal_sm : ndarray, shape (bins,)
    quantiles : ndarray, shape (5, bins)
        5%, 25%, 50%, 75% and 95% of the predictive counts.
    axis_label : str
        What the bins are of, with its unit.
    axis_scale : {"linear", "log"}
    """

    title: str
    edges: Array
    data: Array
    background: Array
    signal_sm: Array
    quantiles: Array
    axis_label: str
    axis_scale: str = "linear"


def plot_predictive(panels: Sequence[PredictivePanel], data_label: str) -> Figure:
    """Plot the data of each exposure over bands of the posterior predictive, with residuals in units of √median.

    Parameters
    ----------
    panels : sequence of PredictivePanel
    data_label : str
        What the points are: observed counts or Asimov data.
    """
    from matplotlib.figure import Figure

    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.6 * columns, 4.2 * rows), layout="constrained")
    grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[3, 1] * rows, sharex=True)
    for k, panel in enumerate(panels):
        row, column = 2 * (k // columns), k % columns
        top, bottom = grid[row, column], grid[row + 1, column]
        edges = panel.edges
        centres = np.sqrt(edges[1:] * edges[:-1]) if panel.axis_scale == "log" else (edges[1:] + edges[:-1]) / 2
        low, first, middle, third, high = panel.quantiles
        scale = np.sqrt(np.maximum(middle, 1.0))
        for axes, shift, norm in ((top, np.zeros_like(middle), np.ones_like(middle)), (bottom, middle, scale)):
            for a, b, alpha, label in ((low, high, 0.25, "predictive, 90%"), (first, third, 0.45, "predictive, 50%")):
                axes.stairs(
                    (b - shift) / norm,
                    edges,
                    baseline=(a - shift) / norm,
                    fill=True,
                    color="#0072B2",
                    alpha=alpha,
                    label=label,
                )
        top.stairs(panel.background, edges, color="#E69F00", ls="--", lw=1.3, label="background")
        top.stairs(panel.background + panel.signal_sm, edges, color="#009E73", lw=1.2, label="SM + background")
        top.plot(centres, panel.data, "k.", ms=6, label=data_label)
        bottom.plot(centres, (panel.data - middle) / scale, "k.", ms=6)
        bottom.axhline(0, color="black", lw=0.6)
        top.set_ylim(bottom=0)
        top.set_title(panel.title, fontsize=10)
        top.set_ylabel("counts per bin")
        bottom.set_ylabel("pull")
        bottom.set_xlabel(panel.axis_label)
        bottom.set_xscale(panel.axis_scale)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False, fontsize=9)
    return figure
