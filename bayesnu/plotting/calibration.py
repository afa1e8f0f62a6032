"""Figures of simulation-based calibration."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from bayesnu.inference.uniformity import cumulative
from bayesnu.results.calibration import Calibration

COLUMNS = 4


def plot_calibration(result: Calibration) -> Figure:
    """Plot the empirical distribution of the ranks of each quantity, less that of uniform ones, with its band.

    The band holds the whole curve with the probability stated in the title if the posterior is calibrated.
    """
    number, band = len(result.ranks), result.band
    columns = min(COLUMNS, len(result.quantities))
    rows = -(-len(result.quantities) // columns)
    figure = Figure(figsize=(max(3.1 * columns, 8.0), 2.5 * rows + 0.9), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    edges = np.concatenate([[0.0], band.places, [1.0]])
    low, high = (np.concatenate([[0.0], bound - band.places, [0.0]]) for bound in (band.low, band.high))
    for k, axis in enumerate(axes.ravel()):
        if k >= len(result.quantities):
            axis.set_visible(False)
            continue
        fraction = cumulative(result.ranks[:, k], result.highest) / number
        curve = np.concatenate([[0.0], fraction - band.places, [0.0]])
        outside = bool(((curve < low - 1e-12) | (curve > high + 1e-12)).any())
        axis.fill_between(edges, low, high, step="mid", color="0.88", zorder=0)
        axis.axhline(0.0, color="0.5", linewidth=0.8)
        axis.step(edges, curve, where="mid", color="C3" if outside else "C0", linewidth=1.2)
        axis.set_title(f"{result.quantities[k]}   p = {result.p_values[k]:.2g}", fontsize=9)
        axis.tick_params(labelsize=8)
    for axis in axes[:, 0]:
        axis.set_ylabel("ECDF − uniform", fontsize=9)
    for k in range(columns):
        lowest = max(row for row in range(rows) if row * columns + k < len(result.quantities))
        axes[lowest, k].set_xlabel("rank of the truth / L", fontsize=9)
        axes[lowest, k].tick_params(labelbottom=True)
    figure.suptitle(
        f"{result.model}, {result.coupling} by {result.method}: {number} simulations, seed {result.seed}; "
        f"{result.verdict} (p = {result.p_value:.2g})\nband: {band.probability:.0%} of uniform curves as a whole",
        fontsize=10,
    )
    return figure
