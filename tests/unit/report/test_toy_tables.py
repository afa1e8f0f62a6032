"""Tables of limits by pseudo-experiments and of pseudo-experiments, and their figure."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table
from scipy.stats import chi2

from bayesnu.errors import RunError
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.plotting.toys import plot_statistic
from bayesnu.report.limits import interval_table, limit_tables, scan_table
from bayesnu.report.toys import toys_tables, write_toys
from bayesnu.results.evidence import ExpectedBound, PseudoExperiments
from bayesnu.results.intervals import IntervalSet
from bayesnu.results.toys import make_toys

NAN = math.nan
SIGMAS = (-2.0, -1.0, 0.0, 1.0, 2.0)


def rendered(*tables: Table) -> str:
    console = Console(file=io.StringIO(), width=200)
    for table in tables:
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def moment(high: float, number: int = 1000, never_falling: bool = False) -> IntervalSet:
    toys = PseudoExperiments(number, "averaged", 7, never_falling)
    errors = ((NAN, 2e-12 if number else NAN),)
    return IntervalSet(
        "mu_numu", "mu_B", 0.9, "feldman_cousins", "feldman-cousins", ((0.0, high),), errors, toys=toys
    )


def test_feldman_cousins_says_what_it_took() -> None:
    text = rendered(*limit_tables("card", moment(3e-10)))
    for word in ("< 3.00 × 10^-10 mu_B", "±2e-12", "1000 pseudo-experiments, pulls averaged, seed 7."):
        assert word in text
    assert "largest upper limit" not in text
    assert "The largest upper limit at this background, or up to twice it." in rendered(
        interval_table("card", moment(3e-10, never_falling=True))
    )
    summed = rendered(interval_table("card", moment(3e-10, number=0)))
    assert "all of its outcomes were summed, no pseudo-experiments" in summed
    assert "deterministic" in summed


def charge(expected: bool = True) -> IntervalSet:
    bounds = (
        ExpectedBound("lower", SIGMAS, (-0.5e-9, -0.8e-9, -1.1e-9, -1.6e-9, -2.2e-9), (NAN,) * 5),
        ExpectedBound("upper", SIGMAS, (0.6e-9, 0.9e-9, 1.2e-9, 1.7e-9, 2.3e-9), (1e-11, 2e-11, 3e-11, 4e-11, 5e-11)),
    )
    found = ((-1.1e-9, 1.2e-9),)
    return IntervalSet(
        "q_numu", "e", 0.9, "cls", "cls", found, ((NAN, NAN),), expected=bounds if expected else ()
    )


def test_expected_bands() -> None:
    text = rendered(*limit_tables("card", charge()))
    assert "[-1.10, 1.20] × 10^-9 e" in text
    assert "Expected without q_numu, in 10^-9 e" in text
    lower, upper = (next(line for line in text.splitlines() if f" {side} " in line) for side in ("lower", "upper"))
    assert [cell.strip() for cell in lower.split("│")[1:-1]] == [
        "lower", "-1.10", "[-1.60, -0.80]", "[-2.20, -0.50]", "asymptotic",
    ]  # fmt: skip
    assert [cell.strip() for cell in upper.split("│")[1:-1]] == [
        "upper", "1.20", "[0.90, 1.70]", "[0.60, 2.30]", "±0.01, ±0.02, ±0.03, ±0.04, ±0.05",
    ]  # fmt: skip


def test_scans_show_errors_and_bands() -> None:
    text = rendered(scan_table("card", [(1.0, moment(3e-10)), (2.0, moment(4e-10, 500))]))
    assert "Monte Carlo error" in text
    assert "1500 pseudo-experiments, pulls averaged, seed 7." in text
    text = rendered(scan_table("card", [(1.0, charge()), (9.0, charge(expected=False))]))
    for word in ("lower: expected, median", "upper: 95%", "[6e-10, 2.3e-09]", "–"):
        assert word in text
    assert "Monte Carlo" not in text


@pytest.fixture(scope="module")
def lsnd() -> Experiment:
    return load_experiment("lsnd-nue")


def test_toys_as_tables_and_in_a_folder(lsnd: Experiment, tmp_path: Path) -> None:
    study = make_toys(lsnd, 500, {"mu_nue": 0.0}, seed=3)
    text = rendered(*toys_tables(study))
    for word in ("lsnd-nue", "500 pseudo-experiments", "χ², 1 d.o.f. (Wilks)", "2.706", "mu_nue [mu_B]", "seed 3"):
        assert word in text
    assert "drawn from their constraints" in text
    write_toys(study, lsnd, tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "statistic.pdf", "statistic.png", "toys.json", "toys.nc",
    ]  # fmt: skip
    assert json.loads((tmp_path / "toys.json").read_text(encoding="utf-8"))["number"] == 500
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        write_toys(study, lsnd, tmp_path / "file")


def test_figure_of_the_statistic() -> None:
    values = np.random.default_rng(1).chisquare(2, 4000)
    figure = plot_statistic(values, 2, [("90%", 4.6, 4.605)], "card: two couplings")
    figure.canvas.draw()
    upper, lower = figure.axes
    assert upper.get_title() == "card: two couplings"
    assert [text.get_text() for text in upper.texts] == ["90%"]
    legend = lower.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "4000 toys", "χ², 2 d.o.f. (Wilks)", "90% of the toys", "90% of χ²"
    ]  # fmt: skip
    wilks = next(line for line in lower.lines if line.get_label() == "χ², 2 d.o.f. (Wilks)")
    np.testing.assert_allclose(wilks.get_ydata(), chi2.sf(wilks.get_xdata(), 2), rtol=1e-9)
    toys = next(line for line in lower.lines if line.get_label() == "4000 toys")
    # χ² draws lie on the curve within their binomial errors.
    t, beyond = np.asarray(toys.get_xdata())[:3600], np.asarray(toys.get_ydata())[:3600]
    assert np.abs(beyond - chi2.sf(t, 2)).max() < 4 * 0.5 / math.sqrt(4000)
