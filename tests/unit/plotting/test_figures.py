"""Every plot function returns a Figure with the axes, labels and lines that a reader expects."""

import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from bayesnu.experiment.setup import Experiment
from bayesnu.plotting.diagnostics import import_libraries
from bayesnu.plotting.fluxes import plot_fluxes
from bayesnu.plotting.limits import DensityPanel, ForestRow, axis_label, exponent_of, plot_forest, plot_posteriors
from bayesnu.plotting.predictive import PredictivePanel, plot_predictive
from bayesnu.plotting.regions import Box, Mark, Region, RegionPanel, SecondAxis, plot_regions
from bayesnu.plotting.spectra import Curve, Panel, plot_cross_section_ratios, plot_spectra
from bayesnu.report.figures import predictive_panels
from bayesnu.results.posterior import load_posterior
from bayesnu.results.runs import Run


@pytest.fixture(autouse=True)
def agg() -> Iterator[None]:
    """No window, and no figure left open."""
    mpl.use("Agg")
    yield
    from matplotlib import pyplot

    pyplot.close("all")


def drawn(figure: Figure) -> Figure:
    """Draw it: layout and text problems appear only then."""
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    return figure


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def density_panel(name: str, label: str = "90% highest density") -> DensityPanel:
    x = np.linspace(-4e-9, 4e-9, 201)
    density = np.exp(-((x / 1e-9) ** 2) / 2) / (1e-9 * np.sqrt(2 * np.pi))
    draws = np.random.default_rng(1).normal(0, 1e-9, 1000)
    return DensityPanel(name, draws, x, density, np.full(201, 1 / 8e-9), x, (x / 1e-9) ** 2, [[-1.6e-9, 1.6e-9]], label)


@pytest.mark.parametrize("count", [1, 3])
def test_posteriors(count: int) -> None:
    figure = drawn(plot_posteriors([density_panel("q_numu") for _ in range(count)]))
    axes = [a for a in figure.axes if a.get_visible() and a.get_ylabel() == "density"]
    assert len(axes) == count
    assert axes[0].get_title() == "q_numu: 90% highest density"
    assert axes[0].get_xlabel() == axis_label("q_numu", -9)
    assert set(legend_of(figure)) == {
        "posterior, NUTS draws", "posterior, Laplace grid", "prior", "quoted credible set",
    }  # fmt: skip
    assert len([a for a in figure.axes if "chi^2" in a.get_ylabel()]) == count


def test_axis_labels_name_symbol_power_and_unit() -> None:
    assert axis_label("mu_nue", -9) == r"$\mu_{\nu_e}$  [$10^{-9}\,\mu_B$]"
    assert axis_label("r2_numu", -33) == r"$\langle r^2_{\nu_\mu}\rangle$  [$10^{-33}\,\mathrm{cm}^2$]"
    assert [exponent_of(v) for v in ([2e-9, -3e-8], [0.0], [np.inf, 5.0])] == [-8, 0, 0]


def test_forest() -> None:
    rows = [
        ForestRow("ours", [[-1e-9, 1e-9], [2e-9, 3e-9]], "credible"),
        ForestRow("published", [[-2e-9, 2e-9]], "published"),
        ForestRow("far away", [[-1e-5, 1e-5]], "other"),
        ForestRow("one number", [[4e-10, 4e-10]], "other"),
    ]
    moment = [ForestRow("upper limit", [[0.0, 3e-10]], "credible"), ForestRow("open", [[None, 5e-10]], "published")]
    figure = drawn(plot_forest([("q_numu", rows), ("mu_numu", moment)]))
    first, second = figure.axes
    assert [t.get_text() for t in first.get_yticklabels()] == ["ours", "published", "far away", "one number"]
    written = [t.get_text() for t in first.texts]
    assert written[0] == "[-1, 1] ∪ [2, 3]"
    assert written[3] == "0.4"
    assert [line.get_marker() for line in first.lines].count("<") == 1
    assert [line.get_marker() for line in first.lines].count(">") == 1
    assert [t.get_text() for t in second.texts] == ["< 3", "< 5"]
    assert second.get_xlim()[0] == 0
    assert (first.get_xlabel(), second.get_xlabel()) == (axis_label("q_numu", -9), axis_label("mu_numu", -10))


@pytest.mark.parametrize("count", [1, 2, 6])
def test_predictive(count: int) -> None:
    edges = np.linspace(0, 3, 13)
    counts = np.linspace(1000, 50, 12)
    quantiles = counts + np.sqrt(counts) * np.array([-1.6, -0.7, 0.0, 0.7, 1.6])[:, None]
    panels = [
        PredictivePanel(f"exposure {k}", edges, counts, counts / 5, counts * 0.8, quantiles, "energy [MeV]")
        for k in range(count)
    ]
    figure = drawn(plot_predictive(panels, "Asimov data"))
    assert len(figure.axes) == 2 * count
    assert {a.get_title() for a in figure.axes} - {""} == {f"exposure {k}" for k in range(count)}
    assert [a.get_ylabel() for a in figure.axes].count("counts per bin") == count
    assert [a.get_ylabel() for a in figure.axes].count("pull") == count
    assert legend_of(figure) == ["predictive, 90%", "predictive, 50%", "background", "SM + background", "Asimov data"]
    assert all("[MeV]" in a.get_xlabel() for a in figure.axes if a.get_ylabel() == "pull")


@pytest.mark.slow
def test_arviz_figures_of_a_fit(finished_run: Run) -> None:
    with warnings.catch_warnings():
        # Notes of plotting libraries to their developers.
        warnings.simplefilter("ignore")
        from bayesnu.plotting import diagnostics

        tree = load_posterior(finished_run.folder / "posteriors" / "q_numu.nc")
        shown = diagnostics.readable(tree, ["q_numu"], 250)
        names = list(shown["posterior"].data_vars)
        assert re.fullmatch(r"q_numu\s+\[1e-\d+ e\]", names[0])
        assert names[1:] == ["flux_norm", "wrong_sign", "electron_flavour", "ccqe", "pi0"]
        assert shown["posterior"].sizes["draw"] == 250
        assert 0.1 < float(np.abs(shown["posterior"][names[0]]).max()) < 100
        figures = {
            "trace": diagnostics.plot_trace(shown, 1, "q_numu"),
            "ranks": diagnostics.plot_ranks(shown, "q_numu"),
            "energy": diagnostics.plot_energy(tree, "q_numu"),
            "pairs": diagnostics.plot_pairs(shown, "q_numu"),
        }
        for figure in figures.values():
            drawn(figure)
    axes = {name: len(figure.axes) for name, figure in figures.items()}
    assert axes["trace"] >= 2
    assert axes["ranks"] >= len(names)
    assert axes["pairs"] >= len(names) - 1
    assert all(figure.get_suptitle().startswith("q_numu: ") for figure in figures.values())


def test_pull_of_width_zero_is_left_out(finished_run: Run) -> None:
    from bayesnu.plotting.diagnostics import readable

    tree = load_posterior(finished_run.folder / "posteriors" / "q_numu.nc")
    tree["posterior"]["pulls"].loc[{"pull": "pi0"}] = 0.0
    assert "pi0" not in readable(tree, ["q_numu"], 250)["posterior"]


def test_fluxes(prism: Experiment) -> None:
    figure = drawn(
        plot_fluxes([prism.flux.labelled(mode, x) for mode in ("neutrino", "antineutrino") for x in (0.0, 30.0)])
    )
    assert [a.get_title() for a in figure.axes] == ["0 m (on axis)", "30 m off axis"]
    assert all(a.get_yscale() == "log" for a in figure.axes)
    assert figure.axes[0].get_ylabel().startswith("flux")
    assert len(legend_of(figure)) == 6


@pytest.mark.parametrize(("scale", "lowest"), [("linear", 1.0), ("log", 1.0), ("symlog", -50.0)])
def test_spectra(scale: str, lowest: float) -> None:
    edges, counts = np.linspace(0, 3, 13), np.linspace(1000, 50, 12)
    panel = Panel(
        "neutrino mode",
        (
            Curve("SM", counts, "grey", filled=True),
            Curve("with coupling", counts * 1.1, "tab:red", compared=True),
            Curve("difference", np.linspace(100, lowest, 12), "tab:blue", line="--"),
        ),
    )
    figure = drawn(plot_spectra(edges, [[panel, panel]], scale=scale, note="a note"))  # type: ignore[arg-type]
    assert len(figure.axes) == 4
    assert legend_of(figure) == ["SM", "with coupling", "difference"]
    assert figure.axes[0].get_yscale() == scale
    assert figure.axes[0].get_ylabel() == "events per bin and year"
    assert figure.axes[1].get_ylabel() == "ratio to SM"
    assert figure.axes[1].get_xlabel().endswith("[MeV]")
    assert figure.get_suptitle() == "a note"


def test_spectra_without_ratios() -> None:
    panel = Panel("one", (Curve("SM", np.ones(12), "k"),))
    figure = drawn(plot_spectra(np.linspace(0, 3, 13), [[panel], [panel]], scale="linear"))
    assert [a.get_title() for a in figure.axes] == ["one", "one"]


def test_cross_section_ratios() -> None:
    recoil = np.geomspace(1, 1e4, 50)
    terms = {"moment": (1 / recoil, 2 / recoil), "charge": (-1 / recoil, 1 / recoil)}
    figure = drawn(
        plot_cross_section_ratios(
            recoil, {"muon": terms, "electron": terms}, {"moment": "tab:red", "charge": "tab:blue"}, threshold_mev=30.0
        )
    )
    assert [a.get_title() for a in figure.axes] == ["muon", "electron"]
    assert [t.get_text() for t in figure.axes[0].texts] == ["30 MeV"]
    assert legend_of(figure) == ["moment", "charge", "neutrino", "antineutrino"]


def test_regions() -> None:
    x, y = np.linspace(-3, 3, 61), np.linspace(-5, 5, 81)
    delta = x[:, None] ** 2 + (y[None, :] / 2) ** 2
    chi2 = Region("χ², 90%", x, y, delta, 1.0, "tab:red")
    draws = np.random.default_rng(1).normal(size=(2, 50))
    bayes = Region("posterior, 90%", x, y, np.exp(-delta / 2), 0.4, "tab:blue", "--", below=False, draws=draws)
    assert chi2.extent == pytest.approx((-1, 1, -2, 2), abs=0.13)
    assert bayes.inside.sum() > chi2.inside.sum()
    figure = drawn(
        plot_regions(
            [RegionPanel("χ²", (chi2,)), RegionPanel("Bayesian", (bayes,))],
            "x [1]",
            "y [1]",
            marks=[Mark(0.0, 0.0, "SM")],
            boxes=[Box((-1.0, 1.0), (-2.0, np.nan), "one at a time", "k")],
            second_x=SecondAxis(lambda v: 2 * np.asarray(v), lambda v: np.asarray(v) / 2, "2x"),
        )
    )
    assert [a.get_title() for a in figure.axes] == ["χ²", "Bayesian"]
    assert [a.get_xlabel() for a in figure.axes] == ["x [1]", "x [1]"]
    assert legend_of(figure) == ["χ², 90%", "one at a time", "SM", "posterior, 90%"]
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()


def test_figures_are_saved_as_png_and_pdf(tmp_path: Path) -> None:
    from bayesnu.report.figures import save_figure

    save_figure(plot_posteriors([density_panel("q_numu")]), tmp_path, "x")
    assert {path.name for path in tmp_path.iterdir()} == {"x.png", "x.pdf"}
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_bins_in_two_dimensions_are_panels_of_slices() -> None:
    """Two exposures, two slices of energy, three bins of angle."""
    places = list(np.ndindex(2, 2, 3))
    angles, energies = np.array([0.0, 1.0, 2.0, 5.0]), np.array([0.0, 0.5, 20.0])
    label = {"units": "deg", "long_name": r"reconstructed $\theta$ [deg]"}
    coordinates = {
        "exposure": ("obs", [f"exposure {k}" for k, _, _ in places]),
        "bin_lo": ("obs", [angles[a] for _, _, a in places], label),
        "bin_hi": ("obs", [angles[a + 1] for _, _, a in places], label),
        "slice_lo": ("obs", [energies[e] for _, e, _ in places], {"units": "GeV"}),
        "slice_hi": ("obs", [energies[e + 1] for _, e, _ in places], {"units": "GeV"}),
    }
    data = np.arange(12.0)
    counts = ("obs", data)
    tree = xr.DataTree.from_dict(
        {
            "posterior_predictive": xr.Dataset({"n": (("chain", "draw", "obs"), np.ones((1, 4, 12)))}),
            "observed_data": xr.Dataset({"n": counts}, coords=coordinates),
            "constant_data": xr.Dataset({"background": counts, "signal_sm": counts}),
        }
    )
    panels = predictive_panels(tree)
    assert [panel.title for panel in panels] == [
        f"exposure {k}, {ends} GeV" for k in range(2) for ends in ("0 to 0.5", "0.5 to 20")
    ]
    for panel, own in zip(panels, data.reshape(4, 3), strict=True):
        np.testing.assert_array_equal(panel.edges, angles)
        np.testing.assert_array_equal(panel.data, own)
        assert panel.axis_label == label["long_name"]
    drawn(plot_predictive(panels, "counts"))


class Lazy(ModuleType):
    """A module that loads at the first look."""


@pytest.mark.parametrize(("kind", "stays"), [(Lazy, False), (ModuleType, True)])
def test_jax_is_not_loaded_to_draw(monkeypatch: pytest.MonkeyPatch, kind: type[ModuleType], stays: bool) -> None:
    monkeypatch.setitem(sys.modules, "jax", kind("jax"))
    import_libraries()
    assert ("jax" in sys.modules) is stays
