"""Event spectra in E_e θ², and ratios of cross-section terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

Array = NDArray[np.float64]
LINEAR_SHARE = 0.6
"""Height of the linear part of a symmetric logarithmic axis, in decades."""
LINEAR_FRACTION = 3e-3
"""Where a symmetric logarithmic axis of counts turns linear, as a fraction of its largest value, to a power of ten."""


@dataclass(frozen=True)
class Curve:
    """One histogram of a panel.

    Attributes
    ----------
    label : str
        For the legend, which is common to all panels.
    counts : ndarray, shape (bins,)
    color : str
    line : str
        Line style.
    filled : bool
        Shaded from 0 instead of a line: the reference of the ratios.
    compared : bool
        Whether its ratio to the filled curve is drawn below.
    """

    label: str
    counts: Array
    color: str
    line: str = "-"
    filled: bool = False
    compared: bool = False


@dataclass(frozen=True)
class Panel:
    """One exposure: its title and curves."""

    title: str
    curves: tuple[Curve, ...]


def plot_spectra(
    edges: Array,
    panels: Sequence[Sequence[Panel]],
    *,
    scale: Literal["linear", "log", "symlog"] = "log",
    x_label: str = r"$E_e\theta^2$ [MeV]",
    y_label: str = "events per bin and year",
    ratio_label: str = "ratio to SM",
    note: str = "",
) -> Figure:
    """Return spectra of several exposures in rows and columns, each with its ratios below.

    Parameters
    ----------
    edges : ndarray, shape (bins + 1,)
        In the variable of ``x_label``.
    panels : sequence of rows of Panel
        Rows of equal length; a row shares its vertical axis only in label.
    scale : {"linear", "log", "symlog"}
        Vertical axis; "symlog" where counts may be negative.
    x_label, y_label, ratio_label : str
    note : str
        One line above the legend.

    Returns
    -------
    Figure
    """
    rows, columns = len(panels), len(panels[0])
    with_ratio = any(curve.compared for row in panels for panel in row for curve in panel.curves)
    heights = [3.0, 1.1] * rows if with_ratio else [1.0] * rows
    layout = ConstrainedLayoutEngine(rect=(0.0, 0.085, 1.0, 0.915), hspace=0.02)
    figure = Figure(figsize=(4.2 * columns, (4.1 if with_ratio else 3.1) * rows + 0.9), layout=layout)
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    handles: dict[str, Any] = {}
    for r, row in enumerate(panels):
        for c, panel in enumerate(row):
            axes = figure.add_subplot(grid[(2 * r if with_ratio else r), c])
            for curve in panel.curves:
                handles.setdefault(curve.label, _draw(axes, edges, curve))
            _finish(axes, edges, panel, scale)
            axes.set_title(panel.title, fontsize=11)
            axes.set_ylabel(y_label if c == 0 else "")
            if not with_ratio:
                axes.set_xlabel(x_label)
                continue
            axes.tick_params(labelbottom=False)
            below = figure.add_subplot(grid[2 * r + 1, c], sharex=axes)
            _draw_ratios(below, edges, panel)
            below.set_xlabel(x_label)
            below.set_ylabel(ratio_label if c == 0 else "")
    columns_of_legend = min(4, -(-len(handles) // 2))
    figure.legend(
        handles.values(), handles.keys(), loc="lower center", ncols=columns_of_legend, fontsize=9.5, frameon=False
    )
    if note:
        figure.suptitle(note, fontsize=10)
    return figure


def _draw(axes: Any, edges: Array, curve: Curve) -> Any:
    if curve.filled:
        return axes.stairs(curve.counts, edges, fill=True, color=curve.color, alpha=0.45, baseline=0)
    return axes.stairs(curve.counts, edges, color=curve.color, linestyle=curve.line, linewidth=1.7, baseline=None)


def _finish(axes: Any, edges: Array, panel: Panel, scale: str) -> None:
    from matplotlib.ticker import AutoMinorLocator

    counts = np.concatenate([curve.counts for curve in panel.curves])
    axes.set_xlim(edges[0], edges[-1])
    axes.xaxis.set_minor_locator(AutoMinorLocator())
    if scale == "symlog":
        _symmetric_log(axes, 10.0 ** round(np.log10(LINEAR_FRACTION * counts.max())), counts)
    elif scale == "log":
        axes.set_yscale("log")
    else:
        axes.yaxis.set_minor_locator(AutoMinorLocator())
        axes.set_ylim(bottom=0)
    axes.tick_params(which="both", direction="in", top=True, right=True)


def _symmetric_log(axes: Any, linear_below: float, values: Array) -> None:
    """Make the vertical axis symmetric logarithmic and wide enough for ``values``."""
    from matplotlib.ticker import SymmetricalLogLocator

    axes.set_yscale("symlog", linthresh=linear_below, linscale=LINEAR_SHARE)
    axes.yaxis.set_minor_locator(SymmetricalLogLocator(base=10, linthresh=linear_below, subs=range(2, 10)))
    axes.axhline(0, color="0.4", linewidth=0.7)
    lowest, highest = float(values.min()), float(values.max())
    axes.set_ylim(min(2 * lowest, -0.3 * linear_below), 2 * highest)


def _draw_ratios(axes: Any, edges: Array, panel: Panel) -> None:
    from matplotlib.ticker import AutoMinorLocator

    reference = next(curve for curve in panel.curves if curve.filled)
    axes.axhline(1, color="0.4", linewidth=0.8)
    for curve in panel.curves:
        if curve.compared:
            ratio = curve.counts / reference.counts
            axes.stairs(ratio, edges, color=curve.color, linestyle=curve.line, linewidth=1.5, baseline=None)
    axes.yaxis.set_minor_locator(AutoMinorLocator())
    axes.margins(y=0.15)
    axes.tick_params(which="both", direction="in", top=True, right=True)


def plot_cross_section_ratios(
    recoil_mev: Array,
    panels: Mapping[str, Mapping[str, tuple[Array, Array]]],
    colors: Mapping[str, str],
    *,
    threshold_mev: float,
    linear_below: float = 0.1,
    note: str = "",
) -> Figure:
    """Return ratios of cross-section terms to the Standard Model's against the recoil energy.

    Parameters
    ----------
    recoil_mev : ndarray, shape (points,)
    panels : mapping of title to mapping of term to (neutrino, antineutrino)
        Ratios to the SM, each of shape (points,); they may be negative.
    colors : mapping
        Term to colour.
    threshold_mev : float
        Where the vertical line stands.
    linear_below : float
        Where the symmetric logarithmic axis turns linear.
    note : str
        One line on top.

    Returns
    -------
    Figure
    """
    from matplotlib.lines import Line2D

    layout = ConstrainedLayoutEngine(rect=(0.0, 0.09, 1.0, 0.91))
    figure = Figure(figsize=(5.4 * len(panels), 4.9), layout=layout)
    for k, (title, terms) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), k + 1)
        for term, (neutrino, antineutrino) in terms.items():
            axes.plot(recoil_mev, neutrino, color=colors[term], linewidth=1.8)
            axes.plot(recoil_mev, antineutrino, color=colors[term], linewidth=1.8, linestyle="--")
        axes.axvline(threshold_mev, color="k", linewidth=1.0)
        axes.annotate(
            f"{threshold_mev:g} MeV",
            (threshold_mev, 0.98),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=9,
            rotation=90,
            va="top",
        )
        axes.set_xscale("log")
        _symmetric_log(axes, linear_below, np.concatenate([values for pair in terms.values() for values in pair]))
        axes.set_xlim(recoil_mev[0], recoil_mev[-1])
        axes.set_xlabel(r"$E_R$ [MeV]")
        axes.set_ylabel(r"$(d\sigma/dE_R)\,/\,(d\sigma^{\rm SM}/dE_R)$" if k == 0 else "")
        axes.set_title(title, fontsize=11)
        axes.tick_params(which="both", direction="in", top=True, right=True)
    shown = [Line2D([], [], color=color, linewidth=1.8) for color in colors.values()]
    shown += [Line2D([], [], color="k", linestyle=line, linewidth=1.8) for line in ("-", "--")]
    labels = [*colors, "neutrino", "antineutrino"]
    figure.legend(shown, labels, loc="lower center", ncols=len(shown), frameon=False, fontsize=10)
    if note:
        figure.suptitle(note, fontsize=10)
    return figure
