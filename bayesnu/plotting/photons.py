"""The photon's energy and angle for Dirac and for Majorana N."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from bayesnu.experiment.photons import PhotonTemplates

COLORS = MappingProxyType({"Dirac": "tab:blue", "Majorana": "tab:red"})
LINES = MappingProxyType({"Dirac": "--", "Majorana": "-"})
LEAST_SHARE = 1e-6
"""Bins with less than this of both hypotheses have no ratio in the map: no experiment fills them."""
MOST_RATIO = 10.0
"""End of the colour scale of the ratio, and its inverse."""


def plot_photons(templates: Sequence[PhotonTemplates]) -> Figure:
    """Return a row of panels per mass: photon energy, angle to the beam, and the ratio Majorana to Dirac of both.

    Parameters
    ----------
    templates : sequence of PhotonTemplates

    Returns
    -------
    Figure
    """
    from matplotlib.colors import LogNorm
    from matplotlib.lines import Line2D
    from matplotlib.ticker import AutoMinorLocator

    rows = len(templates)
    height, legend = 3.3 * rows + 0.5, 0.5
    layout = ConstrainedLayoutEngine(rect=(0.0, legend / height, 1.0, 1 - legend / height))
    figure = Figure(figsize=(12.6, height), layout=layout)
    for r, item in enumerate(templates):
        shapes = {"Dirac": item.dirac, "Majorana": item.majorana}
        energy, cosine, ratio = (figure.add_subplot(rows, 3, 3 * r + c + 1) for c in range(3))
        for axes, edges, other, label in (
            (energy, item.energy_edges_mev, 1, r"$dN/dE_\gamma$ [1/MeV]"),
            (cosine, item.cosine_edges, 0, r"$dN/d\cos\theta_\gamma$"),
        ):
            for name, shape in shapes.items():
                density = shape.sum(axis=other) / np.diff(edges)
                axes.stairs(density, edges, color=COLORS[name], linestyle=LINES[name], linewidth=1.6, baseline=None)
            axes.set_xlim(edges[0], edges[-1])
            axes.set_ylim(bottom=0)
            axes.set_ylabel(label)
            axes.set_title(f"$m_N$ = {item.mass_mev:g} MeV", fontsize=11)
            axes.xaxis.set_minor_locator(AutoMinorLocator())
            axes.yaxis.set_minor_locator(AutoMinorLocator())
            axes.tick_params(which="both", direction="in", top=True, right=True)
        shown = (item.dirac > 0) & (np.maximum(item.dirac, item.majorana) >= LEAST_SHARE)
        values = np.ma.masked_array(item.majorana / np.where(shown, item.dirac, 1.0), ~shown)
        mesh = ratio.pcolormesh(
            item.energy_edges_mev,
            item.cosine_edges,
            np.ma.clip(values, 1 / MOST_RATIO, MOST_RATIO).T,
            cmap="RdBu_r",
            norm=LogNorm(1 / MOST_RATIO, MOST_RATIO),
            rasterized=True,
        )
        figure.colorbar(mesh, ax=ratio, label="Majorana / Dirac", extend="both")
        ratio.set_title(f"$m_N$ = {item.mass_mev:g} MeV", fontsize=11)
        ratio.set_ylabel(r"$\cos\theta_\gamma$")
        for axes, label in (
            (energy, r"$E_\gamma$ [MeV]"),
            (cosine, r"$\cos\theta_\gamma$"),
            (ratio, r"$E_\gamma$ [MeV]"),
        ):
            axes.set_xlabel(label)
    handles = [Line2D([], [], color=COLORS[name], linestyle=LINES[name], linewidth=1.6) for name in COLORS]
    figure.legend(handles, list(COLORS), loc="lower center", ncols=2, frameon=False)
    return figure
