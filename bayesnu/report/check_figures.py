"""The figures of a check: the fluxes and the expected counts of a card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bayesnu.errors import UsageError
from bayesnu.experiment.spectra import Block, Flux
from bayesnu.plotting.experiment import (
    CountPanel,
    FluxCurve,
    FluxPanel,
    plot_count_panels,
    plot_flux_panels,
)
from bayesnu.resources import write_atomically

FIGURES = ("flux", "spectrum")


def write_figures(fluxes: Sequence[Flux], blocks: Sequence[Block], data: str, folder: Path) -> list[Path]:
    """Draw the flux and the spectrum of a check and save them as PNG; return the files.

    Parameters
    ----------
    fluxes, blocks : sequences
        As of `Check`.
    data : str
        What would be fitted, in words: `bayesnu.results.check.data_used`.
    folder : Path

    Raises
    ------
    UsageError
        If the folder cannot be written.
    """
    kind = data.partition(" ")[0]
    label = kind if kind in ("observed", "expected") else "SM expectation (Asimov data)"
    drawn = (plot_flux_panels(flux_panels(fluxes)), plot_count_panels(count_panels(blocks), label))
    return [_save(figure, folder / f"{name}.png") for name, figure in zip(FIGURES, drawn, strict=True)]


def _save(figure: Figure, path: Path) -> Path:
    write_atomically(
        path, lambda aside: figure.savefig(aside, format="png", dpi=100, pil_kwargs={"compress_level": 1}), UsageError
    )
    return path


def flux_panels(fluxes: Sequence[Flux]) -> Sequence[FluxPanel]:
    """Return the fluxes of each exposure or source as a panel."""
    panels = []
    for where in dict.fromkeys(flux.where for flux in fluxes):
        own = [flux for flux in fluxes if flux.where == where]
        curves = tuple(FluxCurve(flux.channel, flux.energy_gev, flux.density) for flux in own)
        panels.append(FluxPanel(where, own[0].unit, curves))
    return panels


def count_panels(blocks: Sequence[Block]) -> Sequence[CountPanel]:
    """Return the counts of each exposure as a panel; errors are measured, or the root of the data."""
    return [
        CountPanel(
            block.name,
            block.edges,
            block.label,
            block.scale,
            block.signal,
            block.background,
            block.data,
            np.sqrt(block.data) if block.errors is None else block.errors,
        )
        for block in blocks
    ]
