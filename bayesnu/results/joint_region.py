"""The region of two couplings of a joint fit: its density on a grid, and how it is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesnu.inference.laplace import Cells, GridPosterior2D, cells, laplace_posterior_2d
from bayesnu.inference.likelihood import Problem
from bayesnu.inference.priors import Prior
from bayesnu.physics.couplings import COUPLINGS

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]
REGION_CELLS = 96
PLANE_CELLS = 48
"""Along each coupling of a pair among more, whose density is that of draws."""


def region_dataset(grid: GridPosterior2D, delta: Array, origins: Sequence[float]) -> xr.Dataset:
    """Return the region of two couplings as it is stored; values are shown from the origins of their priors."""
    import xarray as xr

    axes = dict(zip(grid.couplings, zip((grid.x, grid.y), origins, strict=True), strict=True))
    return xr.Dataset(
        {
            "density": (grid.couplings, grid.density, {"long_name": "posterior density, per unit or logarithm"}),
            "weight": (grid.couplings, grid.weight, {"long_name": "posterior probability of each cell"}),
            "delta_chi2": (grid.couplings, delta, {"long_name": "Δ(-2 ln L)"}),
            **{f"width_{name}": (name, axis.widths) for name, (axis, _) in axes.items()},
        },
        coords={
            name: (name, axis.centres + origin, {"units": COUPLINGS[name].unit, "logarithmic": int(axis.logarithmic)})
            for name, (axis, origin) in axes.items()
        },
    )


def density_of_draws(pair: tuple[str, str], draws: Array) -> GridPosterior2D:
    """Return the density of draws, shape (2, chains, draws), on a grid: a histogram, smoothed over a cell.

    Where a coupling enters squared only the grid begins at 0, and the density is smooth across it.
    """
    from scipy.ndimage import gaussian_filter

    axes = []
    for name, values in zip(pair, draws, strict=True):
        low, high = float(values.min()), float(values.max())
        margin = 0.03 * (high - low)
        low = 0.0 if COUPLINGS[name].squared_only and low < 0.1 * high else low - margin
        axes.append(cells(low, high + margin, PLANE_CELLS, "linear"))
    edges = [np.append(c.centres - c.widths / 2, c.centres[-1] + c.widths[-1] / 2) for c in axes]
    histogram = np.histogram2d(draws[0].ravel(), draws[1].ravel(), bins=edges)[0]
    weight = gaussian_filter(histogram / histogram.sum(), 1.0, mode="reflect")
    weight /= weight.sum()
    x, y = axes
    return GridPosterior2D(pair, x, y, weight / (x.widths[:, None] * y.widths[None, :]), weight)


def region(problem: Problem, priors: tuple[Prior, Prior], draws: Array) -> GridPosterior2D:
    """Return the posterior of two couplings on a grid that holds all of some draws, shape (2, chains, draws).

    Cells are equal in the logarithm under a log-uniform prior, in the square root for a coupling that enters squared
    only (whose posterior may be much narrower at some values of the other), else in the coupling.
    """
    axes: list[Cells] = []
    for prior, values in zip(priors, draws, strict=True):
        low, high = float(values.min()), float(values.max())
        if prior.kind == "log-uniform":
            margin = (high / low) ** 0.05
            low, high = max(low / margin, prior.low), min(high * margin, prior.high)
            axes.append(cells(low, high, REGION_CELLS, "log"))
            continue
        margin = 0.05 * (high - low)
        low, high = max(low - margin, prior.low), min(high + margin, prior.high)
        if prior.coupling.squared_only and low < 0.1 * high:
            low = max(prior.low, 0.0)
        bent = prior.coupling.squared_only and prior.coupling.name != "m_N"
        axes.append(cells(low, high, REGION_CELLS, "square" if bent else "linear"))
    return laplace_posterior_2d(problem, priors, axes[0], axes[1])


def stored_region(tree: xr.DataTree, couplings: Sequence[str], group: str = "region") -> GridPosterior2D:
    """Return the grid posterior of two couplings that a fit stored; ``group`` is a name of `pairs_of`."""
    stored = tree[group].to_dataset().transpose(*couplings, ...)
    x, y = (
        Cells(stored[name].values, stored[f"width_{name}"].values, bool(stored[name].attrs["logarithmic"]))
        for name in couplings
    )
    return GridPosterior2D((couplings[0], couplings[1]), x, y, stored["density"].values, stored["weight"].values)
