"""Tables and figures of coverage, expected limits and regions."""

import io

import numpy as np
import pytest
from rich.console import Console

from bayesnu.inference.region import ToyRegion
from bayesnu.plotting.coverage import plot_coverage, plot_region, plot_sensitivity
from bayesnu.report.coverage import coverage_tables, told_apart
from bayesnu.results.coverage import Coverage
from bayesnu.results.sensitivity import ExpectedLimit, Sensitivity

PRIORS = ("the card's own", "flat", "flat in the square", "log-uniform, floor 0.001", "log-uniform, floor 1e-06",
          "Jeffreys", "half-normal")  # fmt: skip
NAN = float("nan")


@pytest.fixture
def widest() -> Coverage:
    """All priors there are, close truths that are not sorted, and everything covered."""
    truths = np.array([1.0002e-9, 1e-9, 1.0001e-9])
    return Coverage(
        "nucleus-10kg-radiative", "d_nue_d_nutau", "mu_B^2", "upper", truths, PRIORS, PRIORS, np.zeros((3, 200)),
        np.zeros((3, 800)), np.zeros((3, 200, len(PRIORS))), 1,
    )  # fmt: skip


def test_coverage_fits_120_columns(widest: Coverage) -> None:
    console = Console(file=io.StringIO(), width=200)
    for table in coverage_tables(widest, 0.9):
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 120
    assert "…" not in text
    for word in ("Feldman-Cousins", "half-normal", "1.0001", "100.0 ± 0.4", "90% credible upper limits"):
        assert word in text
    assert told_apart([0.0, 0.5]) == ["0.000", "0.500"]
    assert told_apart([1.0, 1.0]) == ["1.000", "1.000"]


def test_coverage_figure(widest: Coverage) -> None:
    figure = plot_coverage(widest, 0.9)
    figure.canvas.draw()
    for axis in figure.axes:
        assert axis.get_xlabel().startswith("true $")
        assert "10^{-9}" in axis.get_xlabel()
        assert axis.xaxis.get_offset_text().get_text() == ""
        legend = axis.get_legend()
        assert legend is not None
        # Below the axis, not over the data.
        assert legend.get_window_extent().y1 < axis.get_window_extent().y0
        assert legend.get_texts()[0].get_text() == "stated: 90%"
        # Lines go from truth to truth in their order.
        assert (np.diff(np.asarray(axis.lines[1].get_xdata())) > 0).all()


def test_sensitivity_figure() -> None:
    up, down = (0.5, 1.0, 1.5, 2.0, 2.5), (0.2, -0.5, -1.0, -1.5, -2.0)
    limits = (
        ExpectedLimit("delta_chi2", "delta_chi2", (-1.0, 1.4), down, up, (NAN,) * 5, (NAN,) * 5),
        ExpectedLimit("laplace", "hdi", (-1.0, 1.4), down, up, (NAN,) * 5, (NAN,) * 5),
    )
    figure = plot_sensitivity(Sensitivity("card", "q_nue", "e", "flat", 0.95, 200, 1, limits))
    figure.canvas.draw()
    (axis,) = figure.axes
    assert "95% bounds" in axis.get_xlabel()
    assert axis.get_xlabel().endswith("[$e$]")
    assert [label.get_text() for label in axis.get_yticklabels()] == ["Δχ²\n95% C.L.", "credible, highest density\n95%"]
    bars = [bar.get_extents().transformed(axis.transData.inverted()) for bar in axis.patches]
    assert len(bars) == 8
    assert (bars[0].x0, bars[0].x1) == pytest.approx((-2.0, 0.2))
    # The bands of lower and upper bound, which overlap in the coupling, do not on the figure.
    assert bars[0].y1 < bars[2].y0 or bars[2].y1 < bars[0].y0
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {
        "95% of experiments", "68%", "median", "Asimov data"
    }  # fmt: skip


def test_region_figure_marks_best_fit_and_standard_model() -> None:
    x, y = np.linspace(-2e-9, 2e-9, 9), np.linspace(-3e-33, 3e-33, 7)
    observed = (x[:, None] / 1e-9 - 0.5) ** 2 * 4 + (y / 1e-33) ** 2
    shape = np.full(observed.shape, 4.0)
    found = ToyRegion(("q_nue", "r2_nue"), x, y, observed, shape, shape / 100, shape.astype(int), 0.9, (0.5e-9, 0.0))
    figure = plot_region("card", found)
    figure.canvas.draw()
    axis = figure.axes[0]
    marks = {line.get_label(): np.ravel(line.get_data()).tolist() for line in axis.lines if line.get_marker() in "o*"}
    assert marks == {"SM": [0.0, 0.0], "best fit": [pytest.approx(0.5), 0.0]}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "Feldman-Cousins", "asymptotic, t < 4.61", "SM", "best fit"
    ]  # fmt: skip
    assert (axis.get_xlim(), axis.get_ylim()) == ((-2.0, 2.0), (-3.0, 3.0))
