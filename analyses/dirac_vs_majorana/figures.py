"""The figures of this analysis: data in, Figure out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from emissions import Array
from events_study import EVENTS, OBSERVED, Need, lookup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from reach_study import Reach
from shapes_study import Histogram

from bayesnu.inference.discrimination import DECISIVE, TRUTHS

BLUE, VERMILLION, GREEN, PINK, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#999999"
COLORS = {"Dirac": BLUE, "Majorana": VERMILLION}
LINES = {"Dirac": "--", "Majorana": "-"}
MOST_RATIO = 10.0
LEAST_DENSITY = 1e-3
"""Cells with less than this share of the highest density are left white: numerical noise."""


def ticked(axes: Axes) -> None:
    """Draw ticks inside, on all sides, with minor ones on linear axes."""
    from matplotlib.ticker import AutoMinorLocator

    for axis, scale in ((axes.xaxis, axes.get_xscale()), (axes.yaxis, axes.get_yscale())):
        if scale == "linear":
            axis.set_minor_locator(AutoMinorLocator())
    axes.tick_params(which="both", direction="in", top=True, right=True)


def with_legend(width: float, height: float, room: float) -> Figure:
    """Return a figure with some inches left free at the bottom for a legend."""
    return Figure(
        figsize=(width, height), layout=ConstrainedLayoutEngine(rect=(0.0, room / height, 1.0, 1 - room / height))
    )


def figure_distributions(rows: Sequence[Histogram]) -> Figure:
    """Photon energy and cosine, true, one row per mass."""
    from matplotlib.lines import Line2D

    figure = with_legend(9.6, 2.9 * len(rows) + 0.4, 0.4)
    panels = figure.subplots(len(rows), 2, squeeze=False)
    for (energy, cosine), item in zip(panels, rows, strict=True):
        for name in COLORS:
            style = {"color": COLORS[name], "linestyle": LINES[name], "linewidth": 1.8, "baseline": None}
            energy.stairs(item.spectrum[name], item.fine_mev, **style)
            angular = np.diff(item.energy_edges_mev) @ item.density[name]
            cosine.stairs(angular, item.cosine_edges, **style)
        energy.axvline(item.centre_mev, color=GREY, linewidth=1.0, linestyle=":")
        for axes in (energy, cosine):
            axes.set_ylim(bottom=0)
            axes.set_title(item.title, fontsize=11)
            ticked(axes)
        energy.set_xlim(item.fine_mev[0], item.fine_mev[-1])
        cosine.set_xlim(-1, 1)
        energy.set_xlabel(r"$E_\gamma$ [MeV]")
        energy.set_ylabel(r"$dN/dE_\gamma$ [1/MeV]")
        cosine.set_xlabel(r"$\cos\theta_\gamma$")
        cosine.set_ylabel(r"$dN/d\cos\theta_\gamma$")
    handles = [Line2D([], [], color=COLORS[n], linestyle=LINES[n], linewidth=1.8) for n in ("Majorana", "Dirac")]
    handles.append(Line2D([], [], color=GREY, linestyle=":"))
    labels = ["Majorana", "Dirac", r"$\langle E_N\rangle/2$"]
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False)
    return figure


def figure_double_differential(rows: Sequence[Histogram]) -> Figure:
    """d²N/dE_γ dcos θ of Dirac and Majorana N and their ratio, one row per sample."""
    from matplotlib.colors import LogNorm

    figure = Figure(figsize=(13.6, 3.7 * len(rows)), layout=ConstrainedLayoutEngine(w_pad=0.12))
    panels = figure.subplots(len(rows), 3, squeeze=False)
    for line, item in zip(panels, rows, strict=True):
        highest = max(float(d.max()) for d in item.density.values())
        shown = np.maximum(item.density["Dirac"], item.density["Majorana"]) > LEAST_DENSITY * highest
        for axes, name in zip(line[:2], COLORS, strict=True):
            values = np.ma.masked_array(item.density[name], ~shown)
            norm = LogNorm(LEAST_DENSITY * highest, highest, clip=True)
            mesh = axes.pcolormesh(
                item.energy_edges_mev, item.cosine_edges, values.T, cmap="viridis", norm=norm, rasterized=True
            )
            axes.set_title(f"{name}, {item.title}", fontsize=11)
        figure.colorbar(mesh, ax=list(line[:2]), label=r"$d^2N/dE_\gamma\,d\cos\theta_\gamma$ [1/MeV]", pad=0.01)
        dirac = np.where(shown, item.density["Dirac"], 1.0)
        ratio = item.density["Majorana"] / np.maximum(dirac, 1e-3 * LEAST_DENSITY * highest)
        clipped = np.ma.masked_array(np.clip(ratio, 1 / MOST_RATIO, MOST_RATIO), ~shown)
        mesh = line[2].pcolormesh(
            item.energy_edges_mev,
            item.cosine_edges,
            clipped.T,
            cmap="PuOr_r",
            norm=LogNorm(1 / MOST_RATIO, MOST_RATIO),
            rasterized=True,
        )
        figure.colorbar(mesh, ax=line[2], label="Majorana / Dirac", extend="both", pad=0.02)
        line[2].set_title(f"Ratio, {item.title}", fontsize=11)
        for axes in line:
            axes.set_xlabel(r"$E_\gamma$ [MeV]")
            axes.set_ylabel(r"$\cos\theta_\gamma$")
    return figure


def figure_events(needs: Sequence[Need]) -> Figure:
    """Events needed against the mass: median and 90%, for both truths."""
    figure = with_legend(9.6, 7.0, 0.6)
    panels = figure.subplots(2, 2, sharex=True)
    styles = {OBSERVED[0]: (GREEN, "o"), OBSERVED[1]: (PINK, "s")}
    labels = {OBSERVED[0]: r"$E_\gamma$ alone", OBSERVED[1]: r"$E_\gamma$ and $\cos\theta_\gamma$"}
    for line, quantile in zip(panels, ("median", "90%"), strict=True):
        for axes, truth in zip(line, TRUTHS, strict=True):
            for observed, (color, marker) in styles.items():
                for counts, dashes in (("fixed", "-"), ("poisson", ":")):
                    masses, events = lookup(needs, truth, counts, observed, quantile)
                    label = f"{labels[observed]}, {'fixed number' if counts == 'fixed' else 'Poisson number'}"
                    axes.plot(masses, events, color=color, marker=marker, markersize=4.5, linestyle=dashes, label=label)
            share = "half" if quantile == "median" else "90%"
            axes.set_title(f"{truth.capitalize()} N, $B$ > {DECISIVE:g} in {share} of the experiments", fontsize=11)
            axes.set_yscale("log")
            axes.set_ylim((12, 110) if quantile == "median" else (40, 350))
            ticks = (15, 20, 30, 50, 80) if quantile == "median" else (50, 70, 100, 150, 250)
            axes.set_yticks(ticks, [str(t) for t in ticks])
            axes.set_yticks([], minor=True)
            ticked(axes)
    for axes in panels[1]:
        axes.set_xlabel(r"$m_N$ [MeV]")
    for axes in panels[:, 0]:
        axes.set_ylabel("photons needed")
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", ncols=2, frameon=False)
    return figure


def figure_bayes_factors(values: Mapping[tuple[float, str, str], Array]) -> Figure:
    """Distribution of log10 B_MD at a number of photons, one panel per mass and observable."""
    from matplotlib.lines import Line2D

    masses = sorted({mass for mass, _, _ in values})
    figure = with_legend(4.3 * len(masses), 6.4, 0.45)
    panels = figure.subplots(2, len(masses), sharex=True, squeeze=False)
    edges = np.linspace(-5, 5, 51)
    names = {OBSERVED[0]: r"$E_\gamma$", OBSERVED[1]: r"$E_\gamma$ and $\cos\theta_\gamma$"}
    for line, observed in zip(panels, OBSERVED, strict=True):
        for axes, mass in zip(line, masses, strict=True):
            for truth in TRUTHS:
                sign = 1 if truth == "majorana" else -1
                density, _ = np.histogram(sign * values[mass, truth, observed], edges, density=True)
                name = truth.capitalize()
                style = {"color": COLORS[name], "linestyle": LINES[name], "linewidth": 1.8}
                axes.stairs(density, edges, baseline=None, **style)
            for bound in (-1.0, 1.0):
                axes.axvline(bound, color=GREY, linewidth=1.0, linestyle=":")
            axes.set_title(f"$m_N$ = {mass:g} MeV, {names[observed]}", fontsize=11)
            axes.set_ylim(bottom=0)
            axes.set_xlim(-5, 5)
            ticked(axes)
    for axes in panels[1]:
        axes.set_xlabel(r"$\log_{10} B$ (Majorana over Dirac)")
    for axes in panels[:, 0]:
        axes.set_ylabel("probability density")
    handles = [Line2D([], [], color=COLORS[n], linestyle=LINES[n], linewidth=1.8) for n in ("Majorana", "Dirac")]
    handles.append(Line2D([], [], color=GREY, linestyle=":"))
    labels = [f"{EVENTS} photons, N is Majorana", f"{EVENTS} photons, N is Dirac", "$B$ = 10 and 1/10"]
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False)
    return figure


def figure_reality(reach: Reach) -> Figure:
    """Moments that give the photons needed, beside the limits: without and with N′."""
    figure = with_legend(11.6, 5.7, 0.65)
    panels = figure.subplots(1, 2, sharey=True)
    colors = {"10 g": VERMILLION, "10 kg": BLUE}
    titles = (r"$N\to\nu_e\gamma$ alone", r"with $N\to N'\gamma$, $d_{NN'}=10^{-6}\,\mu_B$, chirality 1")
    for axes, prefix, title in zip(panels, ("", "N′ "), titles, strict=True):
        axes.fill_between(
            reach.masses,
            reach.limits["COHERENT"],
            1e-6,
            color=GREY,
            alpha=0.3,
            linewidth=0,
            label="excluded by COHERENT",
        )
        for size, color in colors.items():
            limit = reach.limits[f"Primakoff {size}"]
            axes.plot(reach.masses, limit, color=color, linestyle="--", linewidth=1.6, label=f"Primakoff limit, {size}")
        for size, color in colors.items():
            low, high = (reach.asked[f"{prefix}{size}", q] for q in ("median", "90%"))
            label = rf"needed for $B$ > 10, {size}: median to 90%"
            axes.fill_between(reach.masses, low, high, color=color, alpha=0.45, linewidth=0, label=label)
        axes.set_title(title, fontsize=11)
        axes.set_yscale("log")
        axes.set_xlim(reach.masses[0], reach.masses[-1])
        axes.set_ylim(2e-12, 1e-7)
        axes.set_xlabel(r"$m_N$ [MeV]")
        ticked(axes)
    panels[0].set_ylabel(r"$d_{\nu_e}$ [$\mu_B$]")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", ncols=3, frameon=False)
    return figure


def figure_chirality(curves: Mapping[float, Sequence[tuple[float, float]]]) -> Figure:
    """Events needed against the chirality of the moment to N′."""
    figure = Figure(figsize=(6.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for (mass, points), color, marker in zip(curves.items(), (BLUE, VERMILLION, GREEN), "os^", strict=True):
        x, y = np.array(points).T
        axes.plot(x, y, color=color, marker=marker, markersize=5, label=f"$m_N$ = {mass:g} MeV")
    axes.axvline(0, color=GREY, linestyle=":", linewidth=1)
    axes.annotate(
        "both chiralities alike:\nno number decides",
        (0.0, 30),
        xytext=(6, 0),
        textcoords="offset points",
        fontsize=9,
        color="0.3",
    )
    axes.set_yscale("log")
    ticks = (20, 30, 50, 100, 200, 300)
    axes.set_yticks(ticks, [str(t) for t in ticks])
    axes.set_yticks([], minor=True)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel(r"chirality $(|c_R|^2-|c_L|^2)/(|c_R|^2+|c_L|^2)$ of the moment to $N'$")
    axes.set_ylabel("photons for a median $B$ of 10, N Majorana")
    axes.legend(frameon=False)
    ticked(axes)
    return figure
