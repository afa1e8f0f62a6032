"""Fluxes and counts of an experiment as plain numbers, for tables and figures; nothing here reads a card."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Flux:
    """The flux of one channel.

    Attributes
    ----------
    where : str
        Exposure or source.
    channel : str
    integral : float
        In ``unit``.
    unit : str
    mean_energy_gev : float
        NaN without a flux.
    energy_gev : ndarray, shape (n,) or (n + 1,)
        Points of a curve, or edges of bins; one point is a line.
    density : ndarray, shape (n,)
        Per GeV; that of a line is its integral.
    """

    where: str
    channel: str
    integral: float
    unit: str
    mean_energy_gev: float
    energy_gev: Array
    density: Array


@dataclass(frozen=True)
class Block:
    """The counts of one exposure, in its bins.

    Attributes
    ----------
    name : str
    exposure : dict
        What was exposed: quantity with unit to number.
    edges : ndarray, shape (bins + 1,)
    label : str
        Of the axis of the edges, in plain text.
    scale : {"linear", "log"}
    signal, background : dict of ndarray, shape (bins,)
        Expected counts of the Standard Model by channel, and of the rest by name.
    data : ndarray, shape (bins,)
    """

    name: str
    exposure: dict[str, float]
    edges: Array
    label: str
    scale: str
    signal: dict[str, Array]
    background: dict[str, Array]
    data: Array
    errors: Array | None = field(default=None)

    @property
    def significance(self) -> float:
        """S/√B of all bins together; NaN without a background."""
        signal, background = (float(sum(map(np.sum, own.values()))) for own in (self.signal, self.background))
        return signal / background**0.5 if background > 0 else float("nan")
