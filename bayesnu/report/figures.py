"""The figures of a run: read what a run stored, draw, save as PNG and PDF."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesnu.errors import RunError
from bayesnu.inference.profile import delta_chi2_level
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.physics.electron import standard_model_charge_radius
from bayesnu.plotting.limits import (
    DensityPanel,
    ForestRow,
    axis_label,
    exponent_of,
    plot_forest,
    plot_posteriors,
)
from bayesnu.plotting.predictive import PredictivePanel, plot_predictive
from bayesnu.plotting.regions import Mark, Region, RegionPanel, plot_regions
from bayesnu.report.tables import describe_chi2
from bayesnu.resources import write_atomically
from bayesnu.results.fits import CREDIBILITY, posterior_path
from bayesnu.results.intervals import percent
from bayesnu.results.joint import pairs_of
from bayesnu.results.joint_region import stored_region
from bayesnu.results.posterior import load_posterior
from bayesnu.results.verdict import WITHHELD

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

KINDS = {"hdi": "highest density", "eti": "equal-tailed", "upper": "upper limit"}
DIAGNOSTICS = ("trace", "ranks", "energy", "pairs")
PER_FIT = ("predictive", *DIAGNOSTICS)


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Save a figure as PNG and PDF, each aside and renamed."""
    engine = figure.get_layout_engine()
    if engine is not None:
        # Lay out once, not once per file.
        engine.execute(figure)
        # None rather than "none", whose place-holder makes every save draw twice.
        figure.set_layout_engine(None)
    for suffix, options in ((".png", {"dpi": 100}), (".pdf", {})):
        write_atomically(
            folder / f"{name}{suffix}",
            lambda path, s=suffix, o=options: figure.savefig(path, format=s[1:], **o),  # type: ignore[misc]
            RunError,
        )


def remove_figure(run_folder: Path, name: str) -> None:
    """Remove a figure of an earlier report that showed what is withheld now."""
    for suffix in (".png", ".pdf"):
        (run_folder / "figures" / f"{name}{suffix}").unlink(missing_ok=True)


def import_plotting() -> None:
    """Import what `fit_figures` needs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from bayesnu.plotting import diagnostics

        diagnostics.import_libraries()


def fit_figures(run_folder: Path, fit: str, observed: bool, kinds: Sequence[str] = ()) -> None:
    """Draw and save figures of one fit, by default all of `figure_names`."""
    import matplotlib

    with warnings.catch_warnings(), matplotlib.rc_context({"backend": "Agg"}):
        # Notes of plotting libraries to their developers are not the user's to act on.
        warnings.simplefilter("ignore")
        from matplotlib import pyplot

        path, couplings = posterior_path(run_folder, fit), fit.split("+")
        for kind, figure in _drawn(path, couplings, kinds or figure_names(fit), observed):
            save_figure(figure, run_folder / "figures", f"{fit}-{kind}")
            pyplot.close("all")


def _drawn(path: Path, couplings: list[str], kinds: Sequence[str], observed: bool) -> Iterator[tuple[str, Figure]]:
    """Yield figures of a stored fit, of which only what they show is read."""
    from bayesnu.plotting import diagnostics

    regions, title = pairs_of(couplings), " and ".join(couplings)
    if "predictive" in kinds:
        tree = load_posterior(path, ("posterior_predictive", "observed_data", "constant_data"))
        yield "predictive", plot_predictive(predictive_panels(tree), "observed counts" if observed else "Asimov data")
    if set(kinds) & set(DIAGNOSTICS):
        diagnostics.import_libraries()
        tree = load_posterior(path, ("posterior", "sample_stats"))
        shown = diagnostics.readable(tree, couplings, 250)
    for kind in kinds:
        if kind == "trace":
            draws = diagnostics.readable(tree, couplings, 1000)
            yield kind, diagnostics.plot_trace(draws, len(couplings), title)
        elif kind == "ranks":
            yield kind, diagnostics.plot_ranks(shown, title)
        elif kind == "energy":
            yield kind, diagnostics.plot_energy(tree, title)
        elif kind == "pairs":
            yield kind, diagnostics.plot_pairs(shown, title)
        elif kind in regions:
            yield kind, region_figure(load_posterior(path, ("posterior", kind)), regions[kind], kind)


def jobs_of(fit: str) -> tuple[tuple[str, ...], ...]:
    """Return the figures of a fit in parts that several processes can draw; those of one part read the same."""
    return ("predictive",), DIAGNOSTICS, *((name,) for name in pairs_of(fit.split("+")))


def figure_names(fit: str) -> tuple[str, ...]:
    """Return which figures there are of a fit."""
    return (*PER_FIT, *pairs_of(fit.split("+")))


def region_figure(tree: xr.DataTree, couplings: Sequence[str], group: str = "region") -> Figure:
    """Return the regions of two couplings of a stored joint fit; ``group`` is a name of `pairs_of`."""
    # The mass of N is what others are drawn against.
    couplings = sorted(couplings, key=lambda name: name != "m_N")
    stored = tree[group].to_dataset().transpose(*couplings, ...)
    grid = stored_region(tree, couplings, group)
    scales, logarithmic = [], (grid.x.logarithmic, grid.y.logarithmic)
    for axis in (grid.x, grid.y):
        # On a logarithmic axis the ticks carry the power.
        scales.append(1.0 if axis.logarithmic else 10.0 ** exponent_of([float(v) for v in axis.centres[[0, -1]]]))
    x, y = grid.x.centres / scales[0], grid.y.centres / scales[1]
    draws = np.stack([np.asarray(tree["posterior"][name].values).ravel() for name in couplings])
    thinned = draws[:, :: max(1, draws.shape[1] // 2500)] / np.array(scales)[:, None]
    dense = Region(
        f"{percent(CREDIBILITY)} highest posterior density, dots: NUTS",
        x,
        y,
        grid.density,
        grid.level(CREDIBILITY),
        "#0072B2",
        below=False,
        draws=thinned,
    )
    level = delta_chi2_level(CREDIBILITY, 2)
    profile = Region(
        rf"$\Delta(-2\ln L)<{level:.3g}$ ({percent(CREDIBILITY)} C.L., two parameters)",
        x,
        y,
        stored["delta_chi2"].values,
        level,
        "#D55E00",
        "-.",
    )
    labels = [axis_label(name, round(np.log10(scale))) for name, scale in zip(couplings, scales, strict=True)]
    if any(logarithmic):
        title = "density per unit of the logarithm where an axis is logarithmic"
    elif group == "region":
        title = "other couplings 0, pulls marginalised or profiled"
    else:
        title = "other couplings of the fit and pulls marginalised or profiled"
    panel = RegionPanel(title, (dense, profile))
    marks = standard_model_marks(couplings, scales) if not any(logarithmic) else []
    return plot_regions([panel], labels[0], labels[1], logarithmic=logarithmic, marks=marks)


def standard_model_marks(couplings: Sequence[str], scales: Sequence[float]) -> list[Mark]:
    """Return the point without new physics and, of two charge radii, the Standard Model's prediction of them."""
    families = {COUPLINGS[name].family for name in couplings}
    if not families <= {"mu", "q", "r2", "d"}:
        return []
    marks = [Mark(0.0, 0.0, "no new physics", "o", "0.3")]
    if families == {"r2"}:
        lepton = {"nue": "e", "numu": "mu"}
        predicted = [standard_model_charge_radius(lepton[COUPLINGS[name].flavour]) for name in couplings]
        x, y = (value / scale for value, scale in zip(predicted, scales, strict=True))
        marks.append(Mark(x, y, "SM prediction, (4.13), (4.14)"))
    return marks


def predictive_panels(tree: xr.DataTree) -> list[PredictivePanel]:
    """Return one panel per exposure, and per slice of bins in two dimensions, from the stored counts and data."""
    counts = tree["posterior_predictive"]["n"]
    data, constant = tree["observed_data"]["n"], tree["constant_data"]
    quantiles = np.quantile(counts.values.reshape(-1, counts.sizes["obs"]), [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
    titles = [str(name) for name in data["exposure"].values]
    if "slice_lo" in data.coords:
        ends = zip(data["slice_lo"].values, data["slice_hi"].values, strict=True)
        unit = data["slice_lo"].attrs["units"]
        titles = [f"{name}, {low:g} to {high:g} {unit}" for name, (low, high) in zip(titles, ends, strict=True)]
    panels = []
    for name in dict.fromkeys(titles):
        own = np.array(titles) == name
        edges = np.append(data["bin_lo"].values[own], data["bin_hi"].values[own][-1])
        panels.append(
            PredictivePanel(
                name,
                edges,
                data.values[own],
                constant["background"].values[own],
                constant["signal_sm"].values[own],
                quantiles[:, own],
                data["bin_lo"].attrs["long_name"],
                data["bin_lo"].attrs.get("scale", "linear"),
            )
        )
    return panels


def density_panels(run_folder: Path, limits: Sequence[dict[str, Any]]) -> list[DensityPanel]:
    """Return one posterior panel per coupling."""
    panels = []
    for entry in limits:
        name, credible = entry["coupling"], entry["credible"]
        label = f"{percent(credible['cl'])} {KINDS[credible['kind']]}" if credible["intervals"] else f"limit {WITHHELD}"
        tree = load_posterior(posterior_path(run_folder, name), ("posterior", "laplace_grid", "profile_curve"))
        grid, curve = tree["laplace_grid"], tree["profile_curve"]
        panels.append(
            DensityPanel(
                name,
                tree["posterior"][name].values.ravel(),
                grid[name].values,
                grid["density"].values,
                grid["prior_density"].values,
                curve[name].values,
                curve["delta_chi2"].values,
                credible["intervals"],
                label,
            )
        )
    return panels


def forest_panels(limits: dict[str, Any]) -> list[tuple[str, list[ForestRow]]]:
    """Return the rows of the forest plot: ours, the paper's own in true units, then the others.

    A coupling whose limit is withheld has none.
    """
    panels = []
    for entry in limits["limits"]:
        if not entry["credible"]["intervals"]:
            continue
        credible, chi2 = entry["credible"], entry["chi2"]
        level = f"{percent(credible['cl'])}"
        rows = [
            ForestRow(f"credible, {KINDS[credible['kind']]} {level} (NUTS)", credible["intervals"], "credible"),
            ForestRow(
                f"credible, {KINDS[credible['kind']]} {level} (Laplace grid)", entry["laplace"]["intervals"], "laplace"
            ),
            *(
                ForestRow(
                    f"Δχ² {level} C.L., {describe_chi2(row['variance']).removeprefix('(3.1), ')}",
                    row["intervals"],
                    "chi2",
                )
                for row in (chi2, entry["chi2_background"])
                if row is not None
            ),
        ]
        for row in entry["comparisons"]:
            own = row["scenario"] == limits["scenario"]
            if row["scenario"] in ("on-axis", "prism") and not own:
                continue
            note = ", true units" if row["converted"] else ""
            label = f"{row['source']}, {row['scenario']}{note}" if own else f"{row['scenario']} ({row['source']})"
            rows.append(ForestRow(label, [row["published_true_units"]], "published" if own else "other"))
        panels.append((entry["coupling"], rows))
    return panels


def posterior_figure(run_folder: Path, limits: dict[str, Any]) -> None:
    """Draw and save the posterior densities of all couplings."""
    save_figure(plot_posteriors(density_panels(run_folder, limits["limits"])), run_folder / "figures", "posteriors")


def forest_figure(run_folder: Path, limits: dict[str, Any]) -> None:
    """Draw and save the forest plot of all limits that are shown; without any there is no such figure."""
    panels = forest_panels(limits)
    if panels:
        save_figure(plot_forest(panels), run_folder / "figures", "limits")
    else:
        remove_figure(run_folder, "limits")
