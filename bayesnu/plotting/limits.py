"""Figures of limits: posterior densities over their priors, and a forest plot against published limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesnu.physics.couplings import COUPLINGS, UNIT_SYMBOLS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Pairs = Sequence[Sequence[float | None]]

NUTS_COLOUR, GRID_COLOUR, PRIOR_COLOUR, CHI2_COLOUR = "#0072B2", "#000000", "#999999", "#D55E00"
PUBLISHED_COLOUR, OTHER_COLOUR = "#009E73", "#CC79A7"


@dataclass(frozen=True)
class DensityPanel:
    """What one panel of `plot_posteriors` shows, all in the coupling's own unit.

    Attributes
    ----------
    coupling : str
    draws : ndarray
        Posterior draws, flat.
    grid, density, prior_density : ndarray
        Laplace posterior and prior on a grid.
    profile, delta_chi2 : ndarray
        Profile curve.
    interval : pairs of float
        The quoted credible set.
    label : str
        Probability and kind of the set.
    """

    coupling: str
    draws: Array
    grid: Array
    density: Array
    prior_density: Array
    profile: Array
    delta_chi2: Array
    interval: Pairs
    label: str


def axis_label(coupling: str, exponent: int) -> str:
    """Return the axis label of a coupling in units of 10^exponent."""
    item = COUPLINGS[coupling]
    power = rf"10^{{{exponent}}}\," if exponent else ""
    return rf"${item.symbol}$  [${power}{UNIT_SYMBOLS[item.unit]}$]"


def exponent_of(values: Sequence[float]) -> int:
    """Return the power of ten of the largest value."""
    largest = max((abs(v) for v in values if np.isfinite(v)), default=0.0)
    return int(np.floor(np.log10(largest))) if largest > 0 else 0


def plot_posteriors(panels: Sequence[DensityPanel]) -> Figure:
    """Plot each coupling's posterior (draws and Laplace grid) over its prior, with the quoted set and the Δχ² curve.

    Parameters
    ----------
    panels : sequence of DensityPanel

    Returns
    -------
    Figure
    """
    from matplotlib.figure import Figure

    columns = 2 if len(panels) > 1 else 1
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.6 * columns, 3.5 * rows), layout="constrained")
    grid = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axes, panel in zip(grid, panels, strict=False):
        _draw_posterior(axes, panel)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    return figure


def _draw_posterior(axes: Axes, panel: DensityPanel) -> None:
    visible = panel.grid[panel.density > 1e-4 * panel.density.max()]
    exponent = exponent_of([visible[0], visible[-1]])
    unit = 10.0**exponent
    heights, edges = np.histogram(panel.draws / unit, bins=_bins(panel.draws.size), density=True)
    axes.stairs(heights, edges, fill=True, color=NUTS_COLOUR, alpha=0.35, label="posterior, NUTS draws")
    axes.plot(panel.grid / unit, panel.density * unit, color=GRID_COLOUR, lw=1.4, label="posterior, Laplace grid")
    axes.plot(panel.grid / unit, panel.prior_density * unit, color=PRIOR_COLOUR, ls="--", lw=1.4, label="prior")
    for k, (low, high) in enumerate(panel.interval):
        left = visible[0] if low is None else low
        right = visible[-1] if high is None else high
        label = "quoted credible set" if k == 0 else None
        axes.axvspan(left / unit, right / unit, color=NUTS_COLOUR, alpha=0.10, lw=0, label=label)
    second = axes.twinx()
    second.plot(panel.profile / unit, panel.delta_chi2, color=CHI2_COLOUR, lw=1.2, ls="-.")
    second.axhline(2.7055, color=CHI2_COLOUR, lw=0.7, ls=":")
    second.set_ylim(0, 10)
    second.set_ylabel(r"$\Delta\chi^2$ (dash-dotted; 2.71 dotted)", color=CHI2_COLOUR)
    second.tick_params(axis="y", colors=CHI2_COLOUR)
    axes.set_xlim(visible[0] / unit, visible[-1] / unit)
    axes.set_ylim(0, 1.08 * max(float(panel.density.max() * unit), float(heights.max())))
    axes.set_xlabel(axis_label(panel.coupling, exponent))
    axes.set_ylabel("density")
    axes.set_title(f"{panel.coupling}: {panel.label}", fontsize=10)


def _bins(draws: int) -> int:
    """Return a number of bins that leaves enough draws in each."""
    return int(np.clip(draws / 100, 20, 80))


@dataclass(frozen=True)
class ForestRow:
    """One line of a forest plot: a label, a union of intervals (None: open end), and what kind of line it is."""

    label: str
    intervals: Pairs
    role: str


ROLE_COLOURS = {
    "credible": NUTS_COLOUR,
    "laplace": GRID_COLOUR,
    "chi2": CHI2_COLOUR,
    "published": PUBLISHED_COLOUR,
    "other": OTHER_COLOUR,
}


def plot_forest(panels: Sequence[tuple[str, Sequence[ForestRow]]]) -> Figure:
    """Plot intervals of each coupling beside the published ones.

    Axes span the analysis' own intervals; a published one that reaches beyond is
    cut at the edge, with an arrow, and every line carries its numbers.

    Parameters
    ----------
    panels : sequence of (coupling, rows)

    Returns
    -------
    Figure
    """
    from matplotlib.figure import Figure

    heights = [len(rows) for _, rows in panels]
    figure = Figure(figsize=(10, 0.34 * sum(heights) + 0.95 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=[h + 1 for h in heights])
    for axes, (coupling, rows) in zip(grid[:, 0], panels, strict=True):
        _draw_forest(axes, coupling, rows)
    return figure


def _draw_forest(axes: Axes, coupling: str, rows: Sequence[ForestRow]) -> None:
    own = [row for row in rows if row.role in ("credible", "laplace", "chi2", "published")]
    bounds = [v for row in own for pair in row.intervals for v in pair if v is not None]
    exponent = exponent_of(bounds)
    unit = 10.0**exponent
    squared_only = COUPLINGS[coupling].squared_only
    low, high = (0.0 if squared_only else min(bounds)), max(bounds)
    margin = 0.08 * (high - low)
    left, right = (low if squared_only else low - margin) / unit, (high + margin) / unit
    for k, row in enumerate(rows):
        colour = ROLE_COLOURS[row.role]
        text = []
        for a, b in row.intervals:
            start = left if a is None else a / unit
            stop = right if b is None else b / unit
            text.append(f"< {stop:.3g}" if a is None or (squared_only and a == 0) else f"[{start:.3g}, {stop:.3g}]")
            if a is not None and a == b:
                text[-1] = f"{start:.3g}"
                axes.plot([np.clip(start, left, right)], [k], marker="x", color=colour, ms=7, mew=2, clip_on=False)
                continue
            axes.plot([max(start, left), min(stop, right)], [k, k], color=colour, lw=4, solid_capstyle="butt")
            if start < left:
                axes.plot([left], [k], marker="<", color=colour, ms=7, clip_on=False)
            if stop > right:
                axes.plot([right], [k], marker=">", color=colour, ms=7, clip_on=False)
        axes.annotate(
            " ∪ ".join(text),
            (1.01, k),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            annotation_clip=False,
        )
    axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(left, right)
    axes.axvline(0, color="black", lw=0.6)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel(axis_label(coupling, exponent))
