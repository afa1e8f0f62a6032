"""Figure of pseudo-experiments: the distribution of -2 ln L(truth)/L(best) beside that of Wilks' theorem."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import chdtrc

from bayesnu.plotting.limits import CHI2_COLOUR, NUTS_COLOUR

Array = NDArray[np.float64]


def plot_statistic(statistic: Array, couplings: int, levels: Sequence[tuple[str, float, float]], title: str) -> Figure:
    """Plot the distribution of the statistic and, below it, how many pseudo-experiments lie beyond each value.

    Parameters
    ----------
    statistic : ndarray, shape (toys,)
    couplings : int
        Degrees of freedom of Wilks' χ².
    levels : sequence of (str, float, float)
        Label, quantile of the pseudo-experiments, and of χ².
    title : str
    """
    figure = Figure(figsize=(6.4, 6.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    number = statistic.size
    # Beyond this Wilks expects about one of them.
    top = max(float(np.quantile(statistic, 1 - 2 / number)), 2 * levels[-1][2])
    edges = np.linspace(0.0, top, 41)
    wilks = chdtrc(couplings, edges)
    found = np.histogram(statistic, edges)[0] / number
    expected = -np.diff(wilks)
    low = 0.5 / number
    upper.stairs(found, edges, fill=True, color=NUTS_COLOUR, alpha=0.35, baseline=low)
    middle = (edges[1:] + edges[:-1]) / 2
    upper.errorbar(
        middle, found, np.sqrt(found * (1 - found) / number), fmt="none", color=NUTS_COLOUR, linewidth=1.0
    )
    upper.stairs(expected, edges, baseline=None, color=CHI2_COLOUR, linewidth=1.6)
    upper.set(yscale="log", ylabel=f"share per {edges[1]:.2g}", title=title)
    upper.set_ylim(bottom=low)
    ordered = np.sort(statistic)
    lower.step(ordered, 1 - np.arange(number) / number, where="pre", color=NUTS_COLOUR, label=f"{number} toys")
    lower.plot(edges, wilks, color=CHI2_COLOUR, linewidth=1.6, label=f"χ², {couplings} d.o.f. (Wilks)")
    lower.set(yscale="log", ylabel="share beyond", xlabel=r"$t = -2\,\ln L(\mathrm{truth})/L(\mathrm{best\ fit})$")
    lower.set_ylim(bottom=low, top=1.3)
    lower.set_xlim(0.0, top)
    quantiles = ", ".join(label for label, _, _ in levels)
    lower.plot([], [], color=NUTS_COLOUR, linewidth=0.9, linestyle="--", label=f"{quantiles} of the toys")
    lower.plot([], [], color=CHI2_COLOUR, linewidth=0.9, linestyle=":", label=f"{quantiles} of χ²")
    for k, (label, value, asymptotic) in enumerate(levels):
        for axes in (upper, lower):
            axes.axvline(value, color=NUTS_COLOUR, linewidth=0.9, linestyle="--")
            axes.axvline(asymptotic, color=CHI2_COLOUR, linewidth=0.9, linestyle=":")
        upper.annotate(
            label, (max(value, asymptotic), 0.97 - 0.08 * k), xycoords=("data", "axes fraction"), xytext=(4, 0),
            textcoords="offset points", va="top", fontsize="small",
        )  # fmt: skip
    lower.legend(loc="upper right", frameon=False)
    return figure
