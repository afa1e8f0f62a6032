"""Regions of two couplings: contours of Δχ² or of a posterior density."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesnu.inference.contour import Contour
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.plotting.limits import CHI2_COLOUR, axis_label, exponent_of
from bayesnu.results.intervals import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Region:
    """One contour in the plane of two couplings.

    Attributes
    ----------
    label : str
    x, y : ndarray
        Grid of the two couplings in the axes' units.
    values : ndarray, shape (x, y)
        Δχ² or density.
    level : float
        Where the contour runs.
    color, line : str
    below : bool
        Whether the region is where ``values`` lie below the level (Δχ²) rather than above (density).
    draws : ndarray, shape (2, points), optional
        Posterior draws, shown as dots.
    """

    label: str
    x: Array
    y: Array
    values: Array
    level: float
    color: str
    line: str = "-"
    below: bool = True
    draws: Array | None = None

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Where the grid lies inside, shape (x, y)."""
        return np.asarray(self.values < self.level if self.below else self.values > self.level)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Least and greatest x, then y, of the grid points inside."""
        x, y = self.x[self.inside.any(axis=1)], self.y[self.inside.any(axis=0)]
        return float(x.min()), float(x.max()), float(y.min()), float(y.max())


@dataclass(frozen=True)
class RegionPanel:
    """The regions of one panel; equal labels share a line of the common legend."""

    title: str
    regions: tuple[Region, ...]


class Mark(NamedTuple):
    """A point that is marked in every panel, with its label."""

    x: float
    y: float
    label: str
    marker: str = "X"
    color: str = "k"


class Box(NamedTuple):
    """Single-coupling limits, drawn as thin lines in every panel; NaN for a side that is open."""

    x: tuple[float, float]
    y: tuple[float, float]
    label: str
    color: str
    line: str = ":"


class SecondAxis(NamedTuple):
    """A second axis in other units: the function from the first, its inverse, and the label."""

    forward: Callable[[Any], Any]
    inverse: Callable[[Any], Any]
    label: str


def plot_regions(
    panels: Sequence[RegionPanel],
    x_label: str,
    y_label: str,
    *,
    marks: Sequence[Mark] = (),
    boxes: Sequence[Box] = (),
    second_x: SecondAxis | None = None,
    second_y: SecondAxis | None = None,
    note: str = "",
    logarithmic: tuple[bool, bool] = (False, False),
) -> Figure:
    """Return two-coupling regions, one panel for each kind, on common axes.

    Parameters
    ----------
    panels : sequence of RegionPanel
    x_label, y_label : str
        With units.
    marks : sequence of Mark
        For instance the Standard Model.
    boxes : sequence of Box
        For instance published limits of one coupling at a time.
    second_x, second_y : SecondAxis, optional
        Other units at the top and at the right.
    note : str
        One line on top.
    logarithmic : (bool, bool)
        Whether the axes are.

    Returns
    -------
    Figure
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.lines import Line2D
    from matplotlib.ticker import AutoMinorLocator, LogLocator, NullFormatter, StrMethodFormatter

    limits = _limits([region for panel in panels for region in panel.regions], marks, boxes, logarithmic)
    figure = Figure(figsize=(5.6 * len(panels), 6.0))
    handles: dict[str, Any] = {}
    for k, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), k + 1)
        for region in panel.regions:
            low, high = (-np.inf, region.level) if region.below else (region.level, np.inf)
            bounds = [max(low, float(region.values.min()) - 1), min(high, float(region.values.max()) * 2)]
            axes.contourf(region.x, region.y, region.values.T, levels=bounds, colors=[region.color], alpha=0.12)
            axes.contour(
                region.x,
                region.y,
                region.values.T,
                levels=[region.level],
                colors=[region.color],
                linestyles=[region.line],
                linewidths=2.0,
            )
            if region.draws is not None:
                axes.plot(*region.draws, linestyle="", marker=".", markersize=1.6, color=region.color, alpha=0.5)
            handles.setdefault(region.label, Line2D([], [], color=region.color, linestyle=region.line, linewidth=2.0))
        for box in boxes:
            _draw_box(axes, box)
            handles.setdefault(box.label, Line2D([], [], color=box.color, linestyle=box.line, linewidth=1.2))
        for mark in marks:
            style: dict[str, Any] = {"linestyle": "", "marker": mark.marker, "color": mark.color, "markersize": 8}
            axes.plot(mark.x, mark.y, zorder=5, clip_on=False, **style)
            handles.setdefault(mark.label, Line2D([], [], **style))
        if logarithmic[0]:
            axes.set_xscale("log")
        if logarithmic[1]:
            axes.set_yscale("log")
        axes.set_xlim(*limits[0])
        axes.set_ylim(*limits[1])
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label if k == 0 else "")
        axes.set_title(panel.title, fontsize=10)
        for axis, is_logarithmic in zip((axes.xaxis, axes.yaxis), logarithmic, strict=True):
            if not is_logarithmic:
                axis.set_minor_locator(AutoMinorLocator())
            elif min(axis.get_view_interval()) > 1e-3 and max(axis.get_view_interval()) < 1e4:
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.set_major_formatter(StrMethodFormatter("{x:g}"))
                axis.set_minor_formatter(NullFormatter())
        axes.tick_params(which="both", direction="in", top=second_x is None, right=second_y is None)
        if second_x is not None:
            _second(axes.secondary_xaxis("top", functions=second_x[:2]), "x", second_x.label)
        if second_y is not None:
            label = second_y.label if k == len(panels) - 1 else ""
            _second(axes.secondary_yaxis("right", functions=second_y[:2]), "y", label)
    # As many as the figure is wide for; below the axes.
    columns = min(-(-len(handles) // 2), max(1, round(figure.get_figwidth() / 4)))
    below = 0.03 + 0.04 * -(-len(handles) // columns)
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0.0, below, 1.0, 1.0 - below)))
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=columns, fontsize=9.5, frameon=False)
    if note:
        figure.suptitle(note, fontsize=10)
    return figure


def plot_contour(model: str, result: Contour) -> Figure:
    """Plot the asymptotic contour of two couplings, with the best fit and the point without new physics.

    Parameters
    ----------
    model : str
        Name of the card, for the title.
    result : Contour
        Drawn in powers of ten of the couplings' own units.
    """
    from matplotlib.figure import Figure

    exponents = [exponent_of(ends) for ends in result.extremes]
    scales = 10.0 ** np.array(exponents)
    figure = Figure(figsize=(7.0, 6.0), layout="constrained")
    axis = figure.subplots()
    for k, line in enumerate(result.lines):
        label = rf"$\Delta(-2\ln L)={result.level:.3g}$" if k == 0 else None
        axis.plot(*(line / scales).T, color=CHI2_COLOUR, linewidth=2.0, clip_on=False, label=label)
    marks: dict[str, Any] = {"linestyle": "", "markeredgecolor": "k", "clip_on": False, "zorder": 5}
    axis.plot(0.0, 0.0, marker="o", markersize=13, markerfacecolor="w", label="no new physics", **marks)
    best = np.array(result.best) / scales
    axis.plot(*best, marker="*", markersize=10, markerfacecolor=CHI2_COLOUR, label="best fit", **marks)
    # A line that ends at 0 ends at the axis.
    for name, ends, which in zip(result.couplings, result.extremes, "xy", strict=True):
        if COUPLINGS[name].squared_only and ends[0] == 0:
            axis.set(**{f"{which}lim": (0.0, None)})
    axis.set_xlabel(axis_label(result.couplings[0], exponents[0]))
    axis.set_ylabel(axis_label(result.couplings[1], exponents[1]))
    axis.tick_params(which="both", direction="in", top=True, right=True)
    figure.legend(fontsize=9, loc="outside lower center", ncols=3, frameon=False)
    axis.set_title(f"{model}: {percent(result.cl)} C.L. contour of two couplings", fontsize=10)
    return figure


def _second(axis: Any, which: str, label: str) -> None:
    from matplotlib.ticker import AutoMinorLocator

    (axis.set_xlabel if which == "x" else axis.set_ylabel)(label)
    (axis.xaxis if which == "x" else axis.yaxis).set_minor_locator(AutoMinorLocator())
    axis.tick_params(which="both", direction="in")


def _draw_box(axes: Any, box: Box) -> None:
    for value in box.x:
        if np.isfinite(value):
            axes.axvline(value, color=box.color, linestyle=box.line, linewidth=1.2)
    for value in box.y:
        if np.isfinite(value):
            axes.axhline(value, color=box.color, linestyle=box.line, linewidth=1.2)


def _limits(
    regions: Sequence[Region], marks: Sequence[Mark], boxes: Sequence[Box], logarithmic: tuple[bool, bool]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return axis limits that hold every region, mark and box with a margin, within the grids."""
    extents = np.array([region.extent for region in regions])
    result = []
    for k in (0, 1):
        points = [extents[:, 2 * k].min(), extents[:, 2 * k + 1].max()]
        points += [mark[k] for mark in marks] + [value for box in boxes for value in box[k] if np.isfinite(value)]
        grids = [region.x if k == 0 else region.y for region in regions]
        if logarithmic[k]:
            margin = (max(points) / min(points)) ** 0.08
            low, high = min(points) / margin, max(points) * margin
        else:
            margin = 0.08 * (max(points) - min(points))
            low, high = min(points) - margin, max(points) + margin
        low, high = max(low, min(grid[0] for grid in grids)), min(high, max(grid[-1] for grid in grids))
        result.append((low, high))
    return result[0], result[1]
