"""Neutrino fluxes at several positions and horn polarities."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from bayesnu.physics.couplings import CHANNELS

if TYPE_CHECKING:
    import xarray as xr

COLORS = MappingProxyType({"numu": "tab:blue", "numubar": "tab:green", "nue": "tab:red", "nuebar": "tab:cyan"})
"""Channel colours, those of arXiv:2111.14884, figure 1."""
LINES = MappingProxyType({"neutrino": "-", "antineutrino": "--"})
"""Line style by horn polarity."""
DECADES = 6
"""Decades below the largest flux that are shown."""


def plot_fluxes(fluxes: Sequence[xr.DataArray]) -> Figure:
    """Return the fluxes of every position in a panel of its own, polarities by line style, channels by colour.

    Parameters
    ----------
    fluxes : sequence of DataArray
        Dimensions (channel, energy), coordinates ``energy_lo`` and ``energy_hi`` in
        GeV, attributes ``mode``, ``position_m`` and ``units``, as
        `bayesnu.flux.table.FluxTable.labelled` gives.

    Returns
    -------
    Figure
    """
    import numpy as np
    from matplotlib.lines import Line2D
    from matplotlib.ticker import AutoMinorLocator

    positions = sorted({float(flux.attrs["position_m"]) for flux in fluxes})
    layout = ConstrainedLayoutEngine(rect=(0.0, 0.09, 1.0, 0.91))
    figure = Figure(figsize=(4.2 * len(positions), 4.4), layout=layout)
    top = max(float(flux.max()) for flux in fluxes)
    for k, position in enumerate(positions):
        axes = figure.add_subplot(1, len(positions), k + 1)
        for flux in fluxes:
            if float(flux.attrs["position_m"]) != position:
                continue
            edges = np.append(flux["energy_lo"].values, flux["energy_hi"].values[-1])
            for channel in flux["channel"].values:
                axes.stairs(
                    flux.sel(channel=channel).values,
                    edges,
                    color=COLORS[str(channel)],
                    linestyle=LINES[flux.attrs["mode"]],
                    linewidth=1.4,
                    baseline=None,
                )
            axes.set_xlim(edges[0], edges[-1])
        axes.set_yscale("log")
        axes.set_ylim(top * 10.0**-DECADES, 3 * top)
        axes.xaxis.set_minor_locator(AutoMinorLocator())
        axes.set_xlabel(r"$E_\nu$ [GeV]")
        axes.set_title(f"{position:g} m " + ("(on axis)" if position == 0 else "off axis"), fontsize=11)
        axes.tick_params(which="both", direction="in", top=True, right=True)
        if k == 0:
            axes.set_ylabel(r"flux [$\nu$ / (cm$^2$ GeV POT)]")
    handles = [Line2D([], [], color=color) for color in COLORS.values()]
    handles += [Line2D([], [], color="k", linestyle=line) for line in LINES.values()]
    labels = [f"${CHANNELS[name].symbol}$" for name in COLORS] + [rf"{mode} mode" for mode in LINES]
    figure.legend(handles, labels, loc="lower center", ncols=len(handles), frameon=False)
    return figure
