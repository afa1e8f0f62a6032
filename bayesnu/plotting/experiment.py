"""Flux and expected counts of a card, as figures to look at before a run.

They are drawn in a fraction of a second: plain text instead of TeX, few ticks, no layout engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from bayesnu.plotting.fluxes import COLORS, DECADES

Array = NDArray[np.float64]
MOST_COLUMNS = 4
SYMBOLS = MappingProxyType({"numu": "ν_μ", "numubar": "ν̄_μ", "nue": "ν_e", "nuebar": "ν̄_e"})
"""Plain names of the channels."""
GREYS = ("0.45", "0.7", "0.58", "0.85")


@dataclass(frozen=True)
class FluxCurve:
    """The flux of a channel: a histogram (one more energy than values), a curve, or a line (one energy).

    Attributes
    ----------
    channel : str
    energy_gev : ndarray, shape (n,) or (n + 1,)
    density : ndarray, shape (n,)
        Per GeV; of a line its integral.
    """

    channel: str
    energy_gev: Array
    density: Array


@dataclass(frozen=True)
class FluxPanel:
    """The fluxes of one exposure or source."""

    title: str
    unit: str
    curves: tuple[FluxCurve, ...]


@dataclass(frozen=True)
class CountPanel:
    """The expected counts of one exposure, stacked, and the data.

    Attributes
    ----------
    title : str
    edges : ndarray, shape (bins + 1,)
    label : str
    scale : {"linear", "log"}
    signal, background : mapping of ndarray, shape (bins,)
    data : ndarray, shape (bins,)
    errors : ndarray, shape (bins,)
    """

    title: str
    edges: Array
    label: str
    scale: str
    signal: Mapping[str, Array]
    background: Mapping[str, Array]
    data: Array
    errors: Array


def plot_flux_panels(panels: Sequence[FluxPanel]) -> Figure:
    """Return a panel of fluxes for each exposure or source."""
    figure, axes = _grid(len(panels))
    handles: dict[str, Any] = {}
    for panel, own in zip(panels, axes, strict=True):
        top = 0.0
        for curve in panel.curves:
            color = COLORS[curve.channel]
            if curve.energy_gev.size == 1:
                own.axvline(curve.energy_gev[0], color=color, linestyle=":")
            elif curve.energy_gev.size == curve.density.size + 1:
                own.stairs(curve.density, curve.energy_gev, color=color, baseline=None)
            else:
                own.plot(curve.energy_gev, curve.density, color=color)
            top = max(top, float(curve.density.max()) if curve.energy_gev.size > 1 else 0.0)
            handles[SYMBOLS[curve.channel]] = Line2D([], [], color=color)
        if top > 0:
            own.set_yscale("log")
            own.set_ylim(top * 10.0**-DECADES, 3 * top)
            _plain_decades(own.yaxis)
        own.set_xlabel("neutrino energy [GeV]")
        own.set_ylabel(f"ν per GeV, {panel.unit}; {DECADES} decades", fontsize=9)
        own.set_title(panel.title, y=1.0, fontsize=11)
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=len(handles), frameon=False)
    return figure


def plot_count_panels(panels: Sequence[CountPanel], data_label: str) -> Figure:
    """Return a panel of stacked expected counts for each exposure, with the data."""
    figure, axes = _grid(len(panels))
    handles: dict[str, Any] = {}
    backgrounds = list(dict.fromkeys(name for panel in panels for name in panel.background))
    for panel, own in zip(panels, axes, strict=True):
        below = np.zeros(panel.edges.size - 1)
        greys = {name: GREYS[k % len(GREYS)] for k, name in enumerate(backgrounds)}
        layers = [(name, counts, greys[name]) for name, counts in panel.background.items()]
        layers += [(SYMBOLS[name], counts, COLORS[name]) for name, counts in panel.signal.items()]
        for name, counts, color in layers:
            drawn = own.stairs(below + counts, panel.edges, baseline=below, fill=True, color=color, alpha=0.75)
            handles.setdefault(name, drawn)
            below = below + counts
        middle = np.sqrt(panel.edges[1:] * panel.edges[:-1]) if panel.scale == "log" else None
        middle = (panel.edges[1:] + panel.edges[:-1]) / 2 if middle is None else middle
        handles[data_label] = own.errorbar(
            middle, panel.data, panel.errors, color="k", linestyle="none", marker="o", markersize=3
        )
        own.set_xscale(panel.scale)
        own.set_xlim(panel.edges[0], panel.edges[-1])
        if panel.scale == "log":
            _plain_decades(own.xaxis)
        own.set_ylim(0, max(1.0, 1.15 * float(np.max([below, panel.data + panel.errors]))))
        own.set_xlabel(panel.label)
        own.set_ylabel("counts per bin")
        own.set_title(panel.title, y=1.0, fontsize=11)
    # One row, within the narrowest figure too.
    figure.legend(
        handles.values(), handles.keys(), loc="lower center", ncols=min(len(handles), 8), frameon=False, fontsize=8,
        columnspacing=1.0, handlelength=1.4, handletextpad=0.5,
    )  # fmt: skip
    return figure


def _plain_decades(axis: Any) -> None:
    """Mark the decades of a logarithmic axis alone, as in 1e-08."""
    axis.set_major_formatter(lambda value, _: f"{value:.0e}")
    axis.set_minor_locator(NullLocator())


def _grid(number: int) -> tuple[Figure, list[Any]]:
    """Return a figure with a number of axes in rows of up to `MOST_COLUMNS`, and room for a legend below."""
    columns = min(number, MOST_COLUMNS)
    rows = -(-number // columns)
    height = 3.4 * rows + 0.6
    width = max(6.4, 4.0 * columns)
    figure = Figure(figsize=(width, height))
    # Margins in inches: a layout engine would draw everything once more.
    figure.subplots_adjust(
        left=0.8 / width,
        right=1 - 0.3 / width,
        bottom=1.0 / height,
        top=1 - 0.35 / height,
        wspace=0.34,
        hspace=0.38,
    )
    return figure, [figure.add_subplot(rows, columns, k + 1) for k in range(number)]
