"""The modes of a posterior on a grid, and which of them each chain of draws visited."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesnu.inference.laplace import GridPosterior

Array = NDArray[np.float64]
VALLEY = 0.5
"""Two peaks are two modes if the density between them falls below this share of the lower one."""
LEAST_SHARE = 0.01
"""Of the posterior: what holds less is no mode of its own."""
MUST_VISIT = 0.05
"""Every chain has to visit a mode that holds more of the posterior."""
A_VISIT = 0.1
"""A chain visited a mode if its share there is more than this fraction of the mode's; stray draws are no visit."""


@dataclass(frozen=True)
class Mode:
    """One mode: where its basin begins and ends, where it peaks, and how much of the posterior it holds."""

    low: float
    high: float
    peak: float
    share: float


def find_modes(posterior: GridPosterior) -> tuple[Mode, ...]:
    """Return the modes of a grid posterior, split where the density is lowest between them.

    Under a log-uniform prior the density is that of the logarithm.
    """
    values, density = posterior.values, posterior.density
    x = np.log(values) if posterior.prior.kind == "log-uniform" else values
    height = density * values if posterior.prior.kind == "log-uniform" else density
    cells = np.diff(x) * (height[1:] + height[:-1]) / 2
    padded = np.concatenate([[-np.inf], height, [-np.inf]])
    peaks = np.flatnonzero((padded[1:-1] >= padded[:-2]) & (padded[1:-1] > padded[2:])).tolist()
    while len(peaks) > 1:
        valleys = [a + int(height[a : b + 1].argmin()) for a, b in itertools.pairwise(peaks)]
        edges = [0, *valleys, x.size - 1]
        shares = [float(cells[a:b].sum() / cells.sum()) for a, b in itertools.pairwise(edges)]
        depth = [
            float(height[valley] / min(height[a], height[b]))
            for a, valley, b in zip(peaks, valleys, peaks[1:], strict=False)
        ]
        shallow = int(np.argmax(depth))
        small = int(np.argmin(shares))
        if depth[shallow] >= VALLEY:
            peaks.pop(shallow if height[peaks[shallow]] < height[peaks[shallow + 1]] else shallow + 1)
        elif shares[small] < LEAST_SHARE:
            peaks.pop(small)
        else:
            bounds = zip(edges, edges[1:], peaks, shares, strict=False)
            return tuple(Mode(float(values[a]), float(values[b]), float(values[p]), s) for a, b, p, s in bounds)
    return (Mode(float(values[0]), float(values[-1]), float(values[int(height.argmax())]), 1.0),)


def visits(draws: Array, modes: tuple[Mode, ...]) -> Array:
    """Return the share of each chain's draws in each mode, (chains, modes), of draws, (chains, draws)."""
    # Draws beyond the grid belong to the outermost modes.
    inner = np.array([mode.low for mode in modes[1:]])
    places = np.searchsorted(inner, draws)
    return np.stack([(places == k).mean(axis=1) for k in range(len(modes))], axis=1)


def missed(draws: Array, modes: tuple[Mode, ...]) -> tuple[str, ...]:
    """Return one phrase for each mode of more than `MUST_VISIT` of the posterior that some chain missed."""
    shares = visits(draws, modes)
    found = []
    for k, mode in enumerate(modes):
        absent = np.flatnonzero(shares[:, k] <= A_VISIT * mode.share)
        if mode.share > MUST_VISIT and absent.size:
            chains = ", ".join(str(chain) for chain in absent)
            found.append(
                f"{'chain' if absent.size == 1 else 'chains'} {chains} never (or hardly) visited the mode at "
                f"{mode.peak:.3g}, which holds {mode.share:.0%} of the posterior"
            )
    return tuple(found)
