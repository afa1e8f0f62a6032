"""Coverage against the true coupling, expected limits, and the region of two couplings by pseudo-experiments."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bayesnu.inference.profile import delta_chi2_level
from bayesnu.inference.region import ToyRegion
from bayesnu.plotting.limits import CHI2_COLOUR, axis_label, exponent_of
from bayesnu.results.coverage import FREQUENTIST_NAMES, KIND_NAMES, Coverage
from bayesnu.results.intervals import percent
from bayesnu.results.sensitivity import Sensitivity

Array = NDArray[np.float64]
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999")
BAND_68, BAND_95 = "#009E73", "#F0E442"
CREDIBLE_KINDS = {"upper": "upper limit", "hdi": "highest density", "eti": "equal-tailed"}


def plot_coverage(result: Coverage, cl: float) -> Figure:
    """Plot the coverage of each method against the true coupling: frequentist sets left, credible ones right."""
    order = np.argsort(result.truths)
    share, error = result.covered(cl)[:, order], result.error(cl)[:, order]
    exponent = exponent_of([float(v) for v in result.truths])
    x = result.truths[order] / 10.0**exponent
    figure = Figure(figsize=(11.0, 5.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    number = len(FREQUENTIST_NAMES)
    names = (*FREQUENTIST_NAMES, *result.labels)
    gaps = np.diff(np.unique(x))
    step = float(gaps.min()) if gaps.size else float(np.abs(x).max()) or 1.0
    titles = ("frequentist sets", f"credible {KIND_NAMES[result.kind]}, by prior")
    for axis, title, chosen in zip(axes, titles, (range(number), range(number, len(names))), strict=True):
        axis.axhline(cl, color="0.4", linewidth=1.0, linestyle="--", label=f"stated: {percent(cl)}")
        for place, k in enumerate(chosen):
            # Side by side, so that errors stay legible.
            shift = (place - (len(chosen) - 1) / 2) * 0.08 * step
            axis.errorbar(
                x + shift, share[k], error[k], color=COLOURS[place], marker="o", markersize=3.5, linewidth=1.0,
                capsize=2, label=names[k],
            )  # fmt: skip
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("true " + axis_label(result.coupling, exponent))
        # Close truths would make an offset beside the axis, which reads as a second power of ten.
        axis.ticklabel_format(axis="x", style="plain", useOffset=False)
        axis.set_ylim(min(0.6, float((share - error).min()) - 0.02), 1.02)
        axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False)
    axes[0].set_ylabel("share of intervals that hold the truth")
    toys = result.statistic.shape[1]
    figure.suptitle(
        f"{result.model}: {percent(cl)} intervals, {toys} pseudo-experiments at each truth\n"
        "(markers of one truth stand side by side)",
        fontsize=11,
    )
    return figure


def plot_sensitivity(result: Sensitivity) -> Figure:
    """Plot where experiments without the coupling put each method's bounds: median, 68% and 95%, and the Asimov data.

    Where the coupling has a sign, the lower bound is above the upper one in a method's row, since bands may overlap.
    """
    bounds = [v for item in result.limits for v in (*item.lower, *item.upper, *item.asimov)]
    exponent = exponent_of(bounds)
    unit = 10.0**exponent
    figure = Figure(figsize=(8.0, 1.7 + 0.85 * len(result.limits)), layout="constrained")
    axis = figure.subplots()
    axis.use_sticky_edges = False
    level = percent(result.cl)
    names = {
        "delta_chi2": f"Δχ²\n{level} C.L.",
        "laplace": "credible, {kind}\n" + level,
        "cls": f"CLs, asymptotic\n{level} C.L.",
    }
    for row, item in enumerate(result.limits):
        sides = [(item.upper, item.asimov[1])]
        if item.lower:
            sides.insert(0, (item.lower, item.asimov[0]))
        height = 0.5 if len(sides) == 1 else 0.3
        for place, (side, asimov) in enumerate(sides):
            values = np.sort(side) / unit
            at = row + (place - (len(sides) - 1) / 2) * 1.15 * height
            first = row == place == 0
            for (low, high), colour, label in (
                (values[[0, 4]], BAND_95, "95% of experiments"),
                (values[[1, 3]], BAND_68, "68%"),
            ):
                axis.barh(at, high - low, height, low, color=colour, label=label if first else None, zorder=2)
            axis.plot(
                [values[2]] * 2, [at - height / 2, at + height / 2], color="k", linewidth=1.6,
                label="median" if first else None, zorder=3,
            )  # fmt: skip
            axis.plot(
                asimov / unit, at, linestyle="", marker="D", markersize=5, markerfacecolor="w", markeredgecolor="k",
                label="Asimov data" if first else None, zorder=4,
            )  # fmt: skip
    two_sided = any(item.lower for item in result.limits)
    if two_sided:
        axis.axvline(0.0, color="0.4", linewidth=0.8)
    else:
        axis.set_xlim(left=0.0)
    kinds = [CREDIBLE_KINDS.get(item.kind, item.kind) for item in result.limits]
    labels = [names[item.method].format(kind=kind) for item, kind in zip(result.limits, kinds, strict=True)]
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.grid(axis="x", alpha=0.3, zorder=0)
    what = "bounds" if two_sided else "upper bound"
    axis.set_xlabel(f"expected {level} {what} on {axis_label(result.coupling, exponent)}")
    axis.ticklabel_format(axis="x", style="plain", useOffset=False)
    figure.legend(fontsize=9, loc="outside lower center", ncols=4, frameon=False)
    axis.set_title(f"{result.model}: {result.toys} experiments without {result.coupling}", fontsize=10)
    return figure


def plot_region(model: str, result: ToyRegion) -> Figure:
    """Plot the critical values, and the regions with them and with the asymptotic one, with best fit and SM."""
    from matplotlib.patheffects import Normal, Stroke

    scales = [10.0 ** exponent_of([float(v) for v in axis]) for axis in (result.x, result.y)]
    x, y = result.x / scales[0], result.y / scales[1]
    level = delta_chi2_level(result.cl, 2)
    figure = Figure(figsize=(7.0, 6.0), layout="constrained")
    axis = figure.subplots()
    mesh = axis.pcolormesh(x, y, result.critical.T, shading="nearest", cmap="cividis")
    figure.colorbar(mesh, ax=axis, label=f"critical t, {percent(result.cl)} (asymptotic: {level:.2f})")
    # Dark edges, so that lines are seen on every colour of the map.
    edged = [Stroke(linewidth=3.6, foreground="k"), Normal()]
    for values, colour, line, label in (
        (result.observed - result.critical, "w", "-", "Feldman-Cousins"),
        (result.observed - level, CHI2_COLOUR, "--", f"asymptotic, t < {level:.3g}"),
    ):
        effects = edged if line == "-" else []
        axis.contour(x, y, values.T, levels=[0.0], colors=colour, linestyles=line, linewidths=2.0).set(
            path_effects=effects
        )
        axis.plot([], [], color=colour, linestyle=line, linewidth=2.0, path_effects=effects, label=label)
    marks: dict[str, Any] = {"linestyle": "", "markeredgecolor": "k", "clip_on": False, "zorder": 5}
    axis.plot(0.0, 0.0, marker="o", markersize=13, markerfacecolor="w", label="SM", **marks)
    at = (result.best[0] / scales[0], result.best[1] / scales[1])
    axis.plot(*at, marker="*", markersize=10, markerfacecolor=CHI2_COLOUR, label="best fit", **marks)
    axis.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    axis.set_xlabel(axis_label(result.couplings[0], round(np.log10(scales[0]))))
    axis.set_ylabel(axis_label(result.couplings[1], round(np.log10(scales[1]))))
    figure.legend(fontsize=9, loc="outside lower center", ncols=4, frameon=False)
    axis.set_title(f"{model}: {percent(result.cl)} C.L. region of two couplings", fontsize=10)
    return figure
