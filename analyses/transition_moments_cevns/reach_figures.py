"""The figures: limits against the mass of N, l₀ at which the radiative mode passes COHERENT, joint posteriors."""

from __future__ import annotations

from typing import Any

import numpy as np
from joint_study import INJECTED_MASS, Joint
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray
from reach_study import (
    COHERENT_MASSES,
    DUNE_MASSES,
    MASSES,
    PATH_M,
    PROBABILITY,
    STERILE_MOMENT,
    TARGETS,
    Reach,
    massless_published,
)

from bayesnu.inference.profile import delta_chi2_level
from bayesnu.physics.dipole import BOHR_MAGNETON_GEV1
from bayesnu.plotting.regions import SecondAxis

Array = NDArray[np.float64]
COLOURS = {"10 g": "#D55E00", "1 kg": "#0072B2", "10 kg": "#000000"}
COHERENT_COLOUR, DUNE_COLOUR, OTHER_COLOUR, MUON_COLOUR = "#009E73", "#E69F00", "#666666", "#CC79A7"
MOMENT_LABEL = r"$d_{\nu_e}$ [$\mu_B$]"
MASS_LABEL = r"$m_N$ [MeV]"


def _finish(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(MASS_LABEL)
    axes.tick_params(which="both", direction="in", top=True)


def _smooth(masses: Array, limits: Array, count: int = 300) -> tuple[Array, Array]:
    """Return a curve through the limits, interpolated in the logarithms."""
    from scipy.interpolate import PchipInterpolator

    dense = np.geomspace(masses[0], masses[-1], count)
    return dense, np.exp(PchipInterpolator(np.log(masses), np.log(limits))(np.log(dense)))


def _mass_ticks(axes: Axes) -> None:
    ticks = [0.1, 0.3, 1.0, 3.0, 7.0]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)


def figure_reach(found: Reach) -> Figure:
    """Limits on d against m_N in the form of Fig. 2 of the proceedings."""
    figure = Figure(figsize=(8.2, 8.4), layout=ConstrainedLayoutEngine(rect=(0.0, 0.17, 1.0, 0.83)))
    axes = figure.add_subplot()
    top = 3e-7
    dense = np.geomspace(COHERENT_MASSES[0], COHERENT_MASSES[-1], 400)
    coherent = found.coherent_at(dense)
    axes.fill_between(dense, coherent, top, color=COHERENT_COLOUR, alpha=0.22, lw=0)
    axes.plot(dense, coherent, color=COHERENT_COLOUR, lw=1.5)
    axes.plot(dense, found.coherent_at(dense, "d_numu"), color=MUON_COLOUR, lw=1.5, ls=(0, (1, 1.2)))
    axes.plot(*_smooth(DUNE_MASSES, found.dune), color=DUNE_COLOUR, lw=1.7, ls=(0, (5, 1.5)))
    for target, colour in COLOURS.items():
        axes.plot(*_smooth(MASSES, found.primakoff[target]), color=colour, lw=1.6, ls="--")
        axes.plot(*_smooth(MASSES, found.active[target]), color=colour, lw=2.0, ls="-")
        axes.plot(*_smooth(MASSES, found.sterile[target]), color=colour, lw=1.6, ls="-.")
    for name, value in massless_published().items():
        axes.plot([0.062, 0.085], [value] * 2, color=OTHER_COLOUR, lw=2.0, clip_on=False)
        axes.annotate(
            name,
            (0.062, value),
            xytext=(0, 3 if name != "GEMMA" else -10),
            textcoords="offset points",
            fontsize=8,
            color=OTHER_COLOUR,
        )
    axes.set_xlim(0.055, 55)
    axes.set_ylim(8e-13, top)
    _finish(axes)
    axes.set_ylabel(MOMENT_LABEL)
    convert = SecondAxis(lambda v: v * BOHR_MAGNETON_GEV1, lambda v: v / BOHR_MAGNETON_GEV1, r"[GeV$^{-1}$]")
    second = axes.secondary_yaxis("right", functions=convert[:2])
    second.set_ylabel(r"$d_{\nu_e}$ " + convert.label)
    second.tick_params(which="both", direction="in")
    power = round(np.log10(STERILE_MOMENT))
    handles: list[Any] = [
        *(Patch(color=colour, label=f"NUCLEUS {target}, Asimov data") for target, colour in COLOURS.items()),
        Line2D([], [], color="0.3", ls="-", lw=2, label=rf"$N\to\nu\gamma$, Majorana, $l_0={PATH_M:g}$ m"),
        Line2D([], [], color="0.3", ls="-.", lw=1.6, label=rf"and $N\to N'\gamma$, $d_{{NN'}}=10^{{{power}}}\mu_B$"),
        Line2D([], [], color="0.3", ls="--", lw=1.6, label="Primakoff upscattering"),
        Patch(facecolor=COHERENT_COLOUR, alpha=0.4, label="COHERENT 2017, observed counts"),
        Line2D([], [], color=MUON_COLOUR, ls=(0, (1, 1.2)), lw=1.5, label=r"COHERENT 2017, $d_{\nu_\mu}$"),
        Line2D([], [], color=DUNE_COLOUR, ls=(0, (5, 1.5)), lw=1.7, label=r"DUNE on axis, $\nu e\to Ne$, Asimov data"),
        Line2D([], [], color=OTHER_COLOUR, lw=2, label=r"published, massless $N$, $d=\mu_{\nu_e}/2$"),
    ]
    figure.legend(handles=handles, loc="lower center", ncols=2, fontsize=9, frameon=False)
    axes.set_title(
        r"90% CL upper limits: $\Delta(-2\ln L)=2.706$ above the minimum over $d\geq0$, asymptotic;"
        "\npublished: 90% as quoted by each experiment",
        fontsize=10,
    )
    return figure


def figure_priors(found: Reach, priors: dict[tuple[str, float, str], float]) -> Figure:
    """Profile and credible limits under several priors."""
    shapes = {
        "profile": ("k", "o", r"$\Delta(-2\ln L)=2.706$, 90% CL"),
        "flat in d": ("#0072B2", "s", r"credible, flat in $d$"),
        "flat in d²": ("#E69F00", "^", r"credible, flat in $d^2$"),
        "log-uniform from 1e-12": ("#D55E00", "v", r"credible, log-uniform from $10^{-12}\mu_B$"),
        "log-uniform from 1e-14": ("#CC79A7", "D", r"credible, log-uniform from $10^{-14}\mu_B$"),
    }
    figure = Figure(figsize=(10.4, 5.6), layout=ConstrainedLayoutEngine(rect=(0.0, 0.13, 1.0, 0.87)))
    grid = figure.subplots(1, 2, sharey=True)
    titles = {"Primakoff": "Primakoff upscattering", "νγ": rf"recoil and photon, $N\to\nu\gamma$, $l_0={PATH_M:g}$ m"}
    for axes, (mode, title) in zip(grid, titles.items(), strict=True):
        for target in ("10 g", "10 kg"):
            line = found.primakoff[target] if mode == "Primakoff" else found.active[target]
            flat = found.credible[target] if mode == "Primakoff" else found.active_credible[target]
            axes.plot(MASSES, line, color="k", lw=1.2)
            axes.plot(MASSES, flat, color="#0072B2", lw=1.2)
            masses = sorted({m for name, m, _ in priors if name == f"{mode} {target}"})
            for label, (colour, marker, _) in shapes.items():
                values = [priors[f"{mode} {target}", m, label] for m in masses]
                axes.plot(
                    masses, values, marker, color=colour, ms=6, mfc="none" if target == "10 g" else colour, mew=1.4
                )
            axes.annotate(target, (MASSES[4], line[4]), xytext=(0, 7), textcoords="offset points", fontsize=10)
        _finish(axes)
        _mass_ticks(axes)
        axes.set_title(title, fontsize=10)
    grid[0].set_ylabel(MOMENT_LABEL)
    handles = [
        Line2D(
            [], [], color=c, marker=m, mfc="none", mew=1.4, lw=1.2 if label in ("profile", "flat in d") else 0, label=t
        )
        for label, (c, m, t) in shapes.items()
    ]
    figure.legend(handles=handles, loc="lower center", ncols=3, fontsize=9.5, frameon=False)
    figure.suptitle(
        "90% upper limits of NUCLEUS, Asimov data: the kind of interval and the prior (open: 10 g, filled: 10 kg)",
        fontsize=11,
    )
    return figure


def figure_map(found: Reach) -> Figure:
    """Limit of the radiative mode over COHERENT's in the plane of m_N and l₀."""
    paths = np.geomspace(3e-3, 100, 120)
    figure = Figure(figsize=(12.4, 5.2), layout="constrained")
    grid = figure.subplots(1, 3, sharey=True)
    for axes, target in zip(grid, TARGETS, strict=True):
        ratio = found.active[target] / found.coherent_at(MASSES)
        values = np.log10(ratio[None, :] * (paths[:, None] / PATH_M) ** -0.25)
        mesh = axes.pcolormesh(MASSES, paths, values, cmap="PuOr_r", vmin=-1.5, vmax=1.5, shading="gouraud")
        for shift, line in ((0.0, "-"), (0.25 * np.log10(2), "--")):
            axes.contour(MASSES, paths, values + shift, levels=[0.0], colors="k", linestyles=[line], linewidths=2)
        axes.axhline(PATH_M, color="0.25", lw=0.9, ls=":")
        _finish(axes)
        _mass_ticks(axes)
        axes.set_title(target, fontsize=11)
    grid[0].set_ylabel(r"$l_0$ [m]")
    grid[0].annotate("card: 0.2 m", (0.11, PATH_M), xytext=(0, 4), textcoords="offset points", fontsize=9)
    bar = figure.colorbar(mesh, ax=grid, pad=0.01)
    bar.set_label(r"$\log_{10}$ (limit with photon / limit of COHERENT) on $d_{\nu_e}$")
    figure.suptitle(
        r"$N\to\nu\gamma$ at NUCLEUS, no background: purple beyond COHERENT, orange inside what it excludes; "
        "equal at the line (solid Majorana, dashed Dirac).\nBoth limits 90% CL, $\\Delta(-2\\ln L)=2.706$; "
        "Asimov data for NUCLEUS, observed counts for COHERENT",
        fontsize=10,
    )
    return figure


def figure_joint(results: list[Joint], moment: float) -> Figure:
    """Highest-density regions and Δ(-2 ln L) of the mass and the moment."""
    figure = Figure(figsize=(11.0, 9.6), layout=ConstrainedLayoutEngine(rect=(0.0, 0.06, 1.0, 0.94)))
    grid = figure.subplots(2, 2)
    data = {"SM": "Asimov data, SM", "injected": "Asimov data with a signal"}
    for axes, result in zip(grid.ravel(), results, strict=True):
        narrow = result.data == "injected"
        power = -10 if narrow else 0 if result.logarithmic else -9
        mass, d = result.posterior.x.centres, result.posterior.y.centres / 10.0**power
        if result.draws.size:
            flat = result.draws.reshape(2, -1)
            shown = flat[:, :: max(1, flat.shape[1] // 2500)]
            axes.plot(shown[0], shown[1] / 10.0**power, ".", ms=1.7, color="#0072B2", alpha=0.45, rasterized=True)
        level = result.posterior.level(PROBABILITY)
        axes.contour(mass, d, result.posterior.density.T, levels=[level], colors="k", linewidths=1.8)
        level, line = delta_chi2_level(PROBABILITY, 2), "-."
        delta = result.profile.delta.T
        axes.contour(mass, d, delta, levels=[level], colors="#D55E00", linestyles=[line], linewidths=1.8)
        if narrow:
            axes.plot(INJECTED_MASS, moment / 10.0**power, "*", ms=14, color="#E69F00", mec="k", zorder=5)
            axes.set_xlim(1.0, 3.0)
            axes.set_ylim(1.5, 4.5)
        else:
            axes.set_xlim(mass[0], mass[-1])
            axes.set_ylim(d[0], d[-1])
        if result.logarithmic and not narrow:
            axes.set_xscale("log")
            axes.set_yscale("log")
            _mass_ticks(axes)
        unit = rf"$10^{{{power}}}\,\mu_B$" if power else r"$\mu_B$"
        axes.set_xlabel(MASS_LABEL)
        axes.set_ylabel(rf"$d_{{\nu_e}}$ [{unit}]")
        axes.tick_params(which="both", direction="in", top=True, right=True)
        where = r"log-uniform priors, density in $\ln m_N$, $\ln d$" if result.logarithmic else "flat priors"
        axes.set_title(f"{data[result.data]}; {where}", fontsize=10)
    handles = [
        Line2D([], [], color="#0072B2", marker=".", lw=0, label="NUTS draws"),
        Line2D([], [], color="k", lw=1.8, label="90% highest posterior density, Laplace grid"),
        Line2D([], [], color="#D55E00", ls="-.", lw=1.8, label=r"$\Delta(-2\ln L)=4.61$ (90% CL, two parameters)"),
        Line2D([], [], color="#E69F00", mec="k", marker="*", ms=12, lw=0, label="injected"),
    ]
    figure.legend(handles=handles if results[0].draws.size else handles[1:], loc="lower center", ncols=4, frameon=False)
    return figure
