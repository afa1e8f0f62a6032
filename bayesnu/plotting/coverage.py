"""Coverage against the true coupling, expected limits, and the region of two couplings by pseudo-experiments."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from bayesnu.inference.profile import delta_chi2_level
from bayesnu.inference.region import ToyRegion
from bayesnu.plotting.limits import axis_label, exponent_of
from bayesnu.results.coverage import Coverage
from bayesnu.results.intervals import percent

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999")
LABELS = {"delta_chi2": "Δχ², asymptotic", "feldman_cousins": "Feldman-Cousins"}


def plot_coverage(result: Coverage, cl: float) -> Figure:
    """Plot the coverage of each method against the true coupling: frequentist sets left, credible ones right."""
    share, error = result.covered(cl), result.error(cl)
    exponent = exponent_of([float(v) for v in result.truths])
    x = result.truths / 10.0**exponent
    figure = Figure(figsize=(11.0, 4.4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    methods = result.methods()
    step = float(np.ptp(x)) / max(x.size - 1, 1) or 1.0
    for axis, chosen in zip(axes, (range(2), range(2, len(methods))), strict=True):
        axis.axhline(cl, color="0.4", linewidth=1.0, linestyle="--", label=f"stated: {percent(cl)}")
        for place, k in enumerate(chosen):
            # Side by side, so that errors stay legible.
            shift = (place - (len(chosen) - 1) / 2) * 0.08 * step
            axis.errorbar(
                x + shift, share[k], error[k], color=COLOURS[place], marker="o", markersize=3.5, linewidth=1.0,
                capsize=2, label=LABELS.get(methods[k], methods[k]),
            )  # fmt: skip
        axis.set_xlabel("true " + axis_label(result.coupling, exponent))
        axis.set_ylim(min(0.6, float(share.min()) - 0.05), 1.02)
        axis.legend(fontsize=8)
    axes[0].set_ylabel("share of intervals that hold the truth")
    kind = {"upper": "upper limits", "hdi": "highest-density sets", "eti": "equal-tailed"}[result.kind]
    figure.suptitle(
        f"{result.model}: {percent(cl)} intervals, {result.statistic.shape[1]} pseudo-experiments at each truth; "
        f"credible: {kind}",
        fontsize=10,
    )
    return figure


def plot_region(model: str, result: ToyRegion) -> Figure:
    """Plot the critical values, and the regions with them and with the asymptotic one."""
    scales = [10.0 ** exponent_of([float(v) for v in axis]) for axis in (result.x, result.y)]
    x, y = result.x / scales[0], result.y / scales[1]
    level = delta_chi2_level(result.cl, 2)
    figure = Figure(figsize=(7.0, 5.2), layout="constrained")
    axis = figure.subplots()
    mesh = axis.pcolormesh(x, y, result.critical.T, shading="nearest", cmap="cividis")
    figure.colorbar(mesh, ax=axis, label=f"critical t, {percent(result.cl)} (asymptotic: {level:.2f})")
    axis.contour(x, y, (result.observed - result.critical).T, levels=[0.0], colors="white", linewidths=2.0)
    axis.contour(x, y, (result.observed - level).T, levels=[0.0], colors="#D55E00", linestyles="--", linewidths=1.5)
    axis.plot([], [], color="0.6", linewidth=2.0, label="Feldman-Cousins (white)")
    axis.plot([], [], color="#D55E00", linestyle="--", label=f"t < {level:.3g}, asymptotic")
    axis.set_xlabel(axis_label(result.couplings[0], round(np.log10(scales[0]))))
    axis.set_ylabel(axis_label(result.couplings[1], round(np.log10(scales[1]))))
    axis.legend(fontsize=8, loc="upper right")
    axis.set_title(f"{model}: {percent(result.cl)} C.L. region of two couplings", fontsize=10)
    return figure
