"""The figures of the paper and of the studies: data in, Figure out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from joint_study import PROBABILITY, AllCouplings
from limits_study import UNITS, Limits, local_minima
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from regions_study import JointResult

from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.inference.profile import ProfileCurve, delta_chi2_level
from bayesnu.physics.constants import GAUSSIAN_CHARGE, SIN2_THETA_W
from bayesnu.physics.couplings import CHANNELS, COUPLINGS, UNIT_SYMBOLS
from bayesnu.physics.electron import TERMS, cross_section_terms, standard_model_charge_radius
from bayesnu.plotting.regions import Box, Mark, Region, RegionPanel, SecondAxis, plot_regions
from bayesnu.plotting.spectra import Curve, Panel, plot_cross_section_ratios, plot_spectra
from bayesnu.results.intervals import IntervalSet

Array = NDArray[np.float64]
BLUE, RED, CYAN, GREEN, ORANGE, PURPLE = "#0b3c8c", "#b2182b", "#26c6da", "#1a9641", "#f08c00", "#7b3294"
SCENARIO_STYLE = {"on-axis": ("on-axis", BLUE, "-"), "prism": ("DUNE-PRISM", RED, "--")}
MODE_LABEL = {"neutrino": r"$\nu$ mode", "antineutrino": r"$\bar\nu$ mode"}
FIGURE_5 = {"q_numu": 1e-9, "q_nue": 1e-8}
"""Millicharges of the caption of Fig. 5, in the paper's e."""
FIGURE_7 = {"r2_numu": 1e-32, "r2_nue": 5e-31}
"""Charge radii in cm²; the caption of Fig. 7 gives none, these are ours."""


def power(unit: float) -> str:
    """Return a power of ten in LaTeX."""
    return rf"10^{{{round(np.log10(unit))}}}"


def proportional(factor: float) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return the functions to and from a unit ``factor`` times as small."""
    return lambda value: value * factor, lambda value: value / factor


def axis_label(name: str, unit: float | None = None) -> str:
    """Return symbol and unit of a coupling for an axis."""
    coupling = COUPLINGS[name]
    return rf"${coupling.symbol}$ [${power(unit or UNITS[name])}\,{UNIT_SYMBOLS[coupling.unit]}$]"


def per_year(experiment: ElectronExperiment, couplings: dict[str, float]) -> Array:
    """Return signal counts per year of every exposure, shape (exposures, bins)."""
    years = np.array([exposure.years for exposure in experiment.card.exposures])
    counts = experiment.model.expected(couplings) - experiment.background
    return np.asarray(counts.reshape(years.size, -1) / years[:, None])


def linear_part(experiment: ElectronExperiment, couplings: dict[str, float]) -> Array:
    """Return the counts per year that are linear in the millicharges: the interference."""
    years = np.array([exposure.years for exposure in experiment.card.exposures])
    values = experiment.templates.values[:, :, list(TERMS).index("q")] / years[:, None, None]
    weight = np.array([couplings.get(f"q_{channel.flavour}", 0.0) for channel in CHANNELS.values()])
    return np.asarray((weight[:, None] * values).sum(axis=1))


def spectra(
    experiment: ElectronExperiment, curves: Sequence[tuple[str, Array, str, str, bool]], **options: Any
) -> Figure:
    """Return a figure of 2 rows (modes) and 3 columns (positions) with SM, backgrounds and the given curves."""
    sm = per_year(experiment, {})
    rows: dict[str, list[Panel]] = {"neutrino": [], "antineutrino": []}
    for k, exposure in enumerate(experiment.card.exposures):
        common = [
            Curve("SM", sm[k], CYAN, filled=True),
            Curve(r"CCQE $\nu_e$ background", experiment.backgrounds[k, 0], GREEN, "--"),
            Curve(r"misID $\pi^0$ background", experiment.backgrounds[k, 1], ORANGE, "--"),
        ]
        own = [Curve(label, counts[k], color, line, compared=ratio) for label, counts, color, line, ratio in curves]
        where = "on axis (0 m)" if exposure.position_m == 0 else f"{exposure.position_m:g} m off axis"
        rows[exposure.mode].append(Panel(f"{MODE_LABEL[exposure.mode]}, {where}", (*common, *own)))
    edges = np.array(experiment.card.detector.bin_edges_mev)
    return plot_spectra(edges, list(rows.values()), **options)


def figure_2(experiment: ElectronExperiment) -> Figure:
    """Magnetic moments of the caption of Fig. 2."""
    first, second = {"mu_numu": 1e-9}, {"mu_numu": 1e-9, "mu_nue": 5e-9}
    label = r"SM + $\mu_{\nu_\mu}=10^{-9}\mu_B$"
    both = label + r", $\mu_{\nu_e}=5\times10^{-9}\mu_B$"
    curves = [
        (label, per_year(experiment, first), BLUE, "-", True),
        (both, per_year(experiment, second), BLUE, "-.", True),
    ]
    return spectra(experiment, curves)


def figure_5(experiment: ElectronExperiment) -> Figure:
    """Millicharges of the caption of Fig. 5, converted to units of +e."""
    true = {name: -value / GAUSSIAN_CHARGE for name, value in FIGURE_5.items()}
    only = {"q_numu": true["q_numu"]}
    labels = r"$q_{\nu_\mu}$", r"$q_{\nu_\mu}$ and $q_{\nu_e}$"
    note = (
        r"$q_{\nu_\mu}=10^{-9}$ and $q_{\nu_e}=10^{-8}$ in the paper's $e$, that is "
        rf"$q_{{\nu_\mu}}={true['q_numu'] * 1e8:.2f}\times10^{{-8}}$ and "
        rf"$q_{{\nu_e}}={true['q_nue'] * 1e7:.2f}\times10^{{-7}}$ in units of $+e$; "
        "Int: the linear term alone; Tot: SM + Int + quadratic"
    )
    curves = []
    for label, couplings, color in ((labels[0], only, BLUE), (labels[1], true, RED)):
        curves.append((f"Int, {label}", linear_part(experiment, couplings), color, "-", False))
        curves.append((f"Tot, {label}", per_year(experiment, couplings), color, "--", True))
    return spectra(experiment, curves, scale="symlog", note=note, ratio_label="Tot / SM")


def figure_7(experiment: ElectronExperiment) -> Figure:
    """Charge radii; the caption of Fig. 7 gives no values."""
    first = {"r2_numu": FIGURE_7["r2_numu"]}
    label = r"SM + $\langle r^2_{\nu_\mu}\rangle=10^{-32}\,\mathrm{cm}^2$"
    both = label + r", $\langle r^2_{\nu_e}\rangle=5\times10^{-31}\,\mathrm{cm}^2$"
    curves = [
        (label, per_year(experiment, first), BLUE, "-", True),
        (both, per_year(experiment, FIGURE_7), BLUE, "-.", True),
    ]
    note = "The caption of Fig. 7 gives no charge radii; the values here are our choice"
    return spectra(experiment, curves, note=note)


def figure_4(energy_gev: float = 10.0, threshold_mev: float = 30.0) -> Figure:
    """Terms of the millicharge cross section over the SM at one neutrino energy."""
    recoil = np.geomspace(3.0, 0.98e3 * energy_gev, 400)
    powers = energy_gev ** -np.arange(3.0)[:, None]
    colors = {"SM": PURPLE, "Int": "#f08c00", "EM": "#2166ac", "total": RED}
    panels = {}
    for flavour, tex in (("numu", r"\nu_\mu"), ("nue", r"\nu_e")):
        charge = -FIGURE_5[f"q_{flavour}"] / GAUSSIAN_CHARGE
        ratios: dict[str, list[Array]] = {term: [] for term in colors}
        for channel in (flavour, f"{flavour}bar"):
            terms = {
                label: (c * powers).sum(axis=0)
                for label, c in cross_section_terms(recoil * 1e-3, channel, sin2_theta_w=SIN2_THETA_W).items()
            }
            interference, square = charge * terms["q"] / terms["1"], charge**2 * terms["q^2"] / terms["1"]
            values = (np.ones_like(recoil), interference, square, 1 + interference + square)
            for term, ratio in zip(colors, values, strict=True):
                ratios[term].append(ratio)
        size = round(np.log10(FIGURE_5[f"q_{flavour}"]))
        true = rf"${charge / 10 ** (size + 1):.2f}\times10^{{{size + 1}}}$ in $+e$"
        title = rf"${tex}$: $q_{{{tex}}}=10^{{{size}}}$ in the paper's $e$ ({true})"
        panels[title] = {term: (pair[0], pair[1]) for term, pair in ratios.items()}
    note = rf"$E_\nu={energy_gev:g}$ GeV; the caption gives no millicharges, these are those of Fig. 5"
    return plot_cross_section_ratios(recoil, panels, colors, threshold_mev=threshold_mev, note=note)


def figure_regions(
    results: Sequence[JointResult], published: dict[tuple[str, str], Array], seed: int, sm_point: bool = False
) -> Figure:
    """Two-coupling 90% regions: Δχ² contours (left), highest-density regions and NUTS draws (right)."""
    first, second = results[0].plane.couplings
    ux, uy = UNITS[first], UNITS[second]
    rng = np.random.default_rng(seed)
    contours, densities, inside = [], [], []
    for result in results:
        label, color, line = SCENARIO_STYLE[result.scenario]
        short = label.removeprefix("DUNE-")
        x, y = result.profile.x / ux, result.profile.y / uy
        contours.append(Region(label, x, y, result.profile.delta, delta_chi2_level(0.90, 2), color, line))
        flat = result.draws.reshape(2, -1)
        chosen = flat[:, rng.choice(flat.shape[1], 700, replace=False)] / np.array([[ux], [uy]])
        inside.append(rf"{100 * result.fraction:.1f}$\pm${100 * result.fraction_error:.1f}% ({short})")
        density = result.posterior.density
        densities.append(Region(label, x, y, density, result.level, color, line, below=False, draws=chosen))
    frequentist = "90% region, $\\Delta\\chi^2 < 4.605$\n$\\chi^2$ of (3.1), pulls profiled"
    bayesian = "90% highest-density region, flat priors\nNUTS draws (dots) in it: " + ", ".join(inside)
    panels = [RegionPanel(frequentist, tuple(contours)), RegionPanel(bayesian, tuple(densities))]
    marks = [] if COUPLINGS[first].squared_only else [Mark(0.0, 0.0, "no new physics", "o", "0.3")]
    if sm_point:
        sm = [standard_model_charge_radius(lepton) for lepton in ("mu", "e")]
        marks.append(Mark(sm[0] / ux, sm[1] / uy, "SM prediction, (4.13), (4.14)"))
    boxes = [
        Box(
            tuple(published[scenario, first] / ux),
            tuple(published[scenario, second] / uy),
            f"published, one at a time, {SCENARIO_STYLE[scenario][0]}",
            SCENARIO_STYLE[scenario][1],
        )
        for scenario in ("on-axis", "prism")
    ]
    second_axes: dict[str, SecondAxis] = {}
    note = ""
    if COUPLINGS[first].family == "q":
        for axis, name, unit in (("second_x", first, ux), ("second_y", second, uy)):
            paper = unit * 0.1
            factor = -GAUSSIAN_CHARGE * unit / paper
            label = rf"${COUPLINGS[name].symbol}$ in the paper's units [${power(paper)}\,e$]"
            second_axes[axis] = SecondAxis(*proportional(factor), label)
        note = r"bottom, left: units of $+e$; top, right: as published, $-\sqrt{\alpha}$ times as large (sign reversed)"
    return plot_regions(
        panels,
        axis_label(first),
        axis_label(second),
        marks=marks,
        boxes=boxes,
        note=note,
        second_x=second_axes.get("second_x"),
        second_y=second_axes.get("second_y"),
    )


def figure_all_couplings(results: Sequence[AllCouplings]) -> Figure:
    """All couplings free: the density of each, the 90% region of every pair, with Δ(-2 ln L) within the families."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    names = results[0].joint.couplings
    units = {name: UNITS.get(name, 1.0) for name in names}
    radii = {f"r2_nu{lepton}": standard_model_charge_radius(lepton) for lepton in ("e", "mu")}
    expected = {name: radii.get(name, SIN2_THETA_W if name == "sin2_theta_w" else 0.0) / units[name] for name in names}
    shown = {name: _reach([result.draws[name] for result in results]) / units[name] for name in names}
    figure = Figure(figsize=(14.0, 14.0), layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0))
    grid = figure.subplots(len(names), len(names), squeeze=False)
    for row, vertical in enumerate(names):
        for column, horizontal in enumerate(names):
            axes = grid[row, column]
            if column > row:
                axes.set_axis_off()
                continue
            for result in results:
                _, color, line = SCENARIO_STYLE[result.scenario]
                if row == column:
                    values = result.draws[vertical] / units[vertical]
                    edges = np.linspace(shown[vertical][0], shown[vertical][1], 61)
                    axes.hist(values, edges, density=True, histtype="step", color=color, linestyle=line, linewidth=1.3)
                    continue
                plane = result.planes[horizontal, vertical]
                x, y = plane.x.centres / units[horizontal], plane.y.centres / units[vertical]
                level, top = plane.level(PROBABILITY), 2 * float(plane.density.max())
                axes.contourf(x, y, plane.density.T, levels=[level, top], colors=[color], alpha=0.15)
                axes.contour(x, y, plane.density.T, levels=[level], colors=[color], linestyles=[line], linewidths=1.5)
                profile = result.profiles.get((horizontal, vertical))
                if profile is not None:
                    x, y = profile.x / units[horizontal], profile.y / units[vertical]
                    levels = [delta_chi2_level(PROBABILITY, 2)]
                    axes.contour(x, y, profile.delta.T, levels=levels, colors=[color], linestyles=":", linewidths=1.5)
            if row == column:
                axes.axvline(expected[vertical], color="0.3", linewidth=0.8)
                axes.set_yticks([])
            else:
                axes.plot(expected[horizontal], expected[vertical], "X", color="k", markersize=6, clip_on=False)
                axes.set_ylim(*shown[vertical])
                axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.set_xlim(*shown[horizontal])
            axes.xaxis.set_major_locator(MaxNLocator(3))
            axes.tick_params(direction="in", labelsize=8)
            axes.tick_params(axis="x", labelrotation=30)
            axes.tick_params(labelbottom=row == len(names) - 1, labelleft=column == 0 and row > 0)
            for axis in (axes.xaxis, axes.yaxis):
                axis.get_major_formatter().set_useOffset(False)
        for axes, set_label in ((grid[row, 0], "set_ylabel"), (grid[-1, row], "set_xlabel")):
            label = axis_label(vertical) if vertical in UNITS else rf"${COUPLINGS[vertical].symbol}$"
            if not (row == 0 and set_label == "set_ylabel"):
                getattr(axes, set_label)(label, fontsize=9)
    styles = [(SCENARIO_STYLE[r.scenario][0], SCENARIO_STYLE[r.scenario][1:]) for r in results]
    handles = [
        Line2D([], [], color=color, linestyle=line, label=f"{label}: 90% highest-density region of the draws")
        for label, (color, line) in styles
    ]
    profiled = r"$\Delta(-2\ln L)=4.61$, all others profiled"
    handles.append(Line2D([], [], color="0.3", linestyle=":", label=profiled))
    handles.append(Line2D([], [], color="k", linestyle="", marker="X", label="Standard Model, radii of (4.13), (4.14)"))
    figure.legend(handles=handles, loc="upper right", bbox_to_anchor=(0.97, 0.97), fontsize=12, frameon=False)
    return figure


def _reach(draws: Sequence[Array]) -> Array:
    """Return the range that holds all but a thousandth of each of some sets of draws at either end."""
    low, high = (np.quantile(np.stack([np.quantile(own, p) for own in draws]), q) for p, q in ((1e-3, 0), (0.999, 1)))
    margin = 0.05 * (high - low)
    return np.array([0.0 if low >= 0 and low < 0.1 * high else low - margin, high + margin])


def figure_second_solution(curves: dict[str, ProfileCurve], limits: Sequence[Limits]) -> Figure:
    """Δχ² of the ν_e millicharge with both minima."""
    from matplotlib.ticker import AutoMinorLocator

    unit = UNITS["q_nue"]
    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    axes = figure.add_subplot()
    for scenario, curve in curves.items():
        label, color, line = SCENARIO_STYLE[scenario]
        name = rf"{label}, $\chi^2$ of (3.1)"
        axes.plot(curve.values / unit, curve.delta, color=color, linestyle=line, linewidth=2, label=name)
        for value, delta in local_minima(curve):
            axes.plot(value / unit, delta, marker="o", color=color, markersize=6)
            axes.annotate(
                rf"$\Delta\chi^2={delta:.2f}$",
                (value / unit, delta),
                color=color,
                fontsize=10,
                ha="center",
                xytext=(-4, 18) if scenario == "prism" else (0, -16),
                textcoords="offset points",
            )
        published = next(row.published for row in limits if (row.scenario, row.coupling) == (scenario, "q_nue"))
        height = 6.9 if scenario == "on-axis" else 6.4
        low, high = (value / unit for value in published.true_units)
        axes.plot(
            [low, high],
            [height, height],
            color=color,
            linestyle=line,
            marker="|",
            markersize=10,
            linewidth=1.3,
            label=f"{label}, published 90% interval, converted",
        )
    axes.axhline(delta_chi2_level(0.90, 1), color="0.4", linewidth=1, linestyle=":")
    axes.annotate(
        "90%: 2.706",
        (0.5, delta_chi2_level(0.90, 1)),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        fontsize=9,
        color="0.3",
    )
    axes.set_xlim(-2.4, 5.4)
    axes.set_ylim(-0.6, 8.0)
    axes.set_xlabel(axis_label("q_nue"))
    axes.set_ylabel(r"$\Delta\chi^2$")
    factor = -GAUSSIAN_CHARGE * unit / 1e-9
    top = axes.secondary_xaxis("top", functions=proportional(factor))
    top.set_xlabel(r"$q_{\nu_e}$ in the paper's units [$10^{-9}\,e$]")
    for axis in (axes.xaxis, axes.yaxis, top.xaxis):
        axis.set_minor_locator(AutoMinorLocator())
    axes.tick_params(which="both", direction="in", right=True)
    top.tick_params(which="both", direction="in")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, fontsize=9, frameon=False)
    return figure


def figure_shared_pulls(limits: Sequence[Limits], separate: dict[tuple[str, str], IntervalSet]) -> Figure:
    """Return every coupling's 90% interval with shared pulls, with one set per polarity, and as published."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import AutoMinorLocator

    figure = Figure(figsize=(13.5, 5.6), layout=ConstrainedLayoutEngine(rect=(0.0, 0.07, 1.0, 0.93)))
    kinds = {
        "pulls shared by both polarities": (BLUE, "o"),
        "one set of pulls per polarity": (RED, "s"),
        "published": ("0.25", "D"),
    }
    order = ["mu_numu", "q_numu", "r2_numu", "mu_nue", "q_nue", "r2_nue"]
    for k, name in enumerate(order):
        axes = figure.add_subplot(2, 3, k + 1)
        for row in limits:
            if row.coupling != name:
                continue
            base = 0.0 if row.scenario == "prism" else 1.0
            sets = [row.chi2.intervals, separate[row.scenario, name].intervals, (row.published.true_units,)]
            for offset, intervals, (color, marker) in zip((0.25, 0.0, -0.25), sets, kinds.values(), strict=True):
                for low, high in intervals:
                    start = 0.0 if COUPLINGS[name].squared_only else low
                    axes.plot(
                        np.array([start, high]) / UNITS[name],
                        [base + offset] * 2,
                        color=color,
                        marker=marker,
                        markersize=4.5,
                        linewidth=2,
                    )
        axes.axvline(0, color="0.6", linewidth=0.8)
        axes.axhline(0.5, color="0.85", linewidth=0.8)
        axes.set_ylim(-0.5, 1.5)
        axes.set_yticks([1, 0], ["on-axis", "PRISM"] if k % 3 == 0 else ["", ""])
        axes.set_xlabel(axis_label(name))
        axes.xaxis.set_minor_locator(AutoMinorLocator())
        axes.tick_params(which="both", axis="x", direction="in")
        axes.tick_params(axis="y", length=0)
    handles = [Line2D([], [], color=color, marker=marker, linewidth=2) for color, marker in kinds.values()]
    title = r"90% intervals, $\chi^2$ of (3.1); millicharges in units of $+e$, published ones converted"
    figure.suptitle(title, fontsize=11)
    figure.legend(handles, list(kinds), loc="lower center", ncols=3, frameon=False)
    return figure
