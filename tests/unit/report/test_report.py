"""The report of a finished run: figures, one self-contained page, tables for the terminal."""

import base64
import io
import json
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from bayesnu.errors import RunError
from bayesnu.experiment.covariance import CovarianceModes, Row, Span
from bayesnu.experiment.prediction import predict
from bayesnu.experiment.setup import Experiment
from bayesnu.report import build
from bayesnu.report.build import CAPTIONS, Drawing, drawing, exponential, exponents, image, render, write_report
from bayesnu.report.explorer import card_of, explorer
from bayesnu.report.figures import PER_FIT, density_panels, fit_figures, forest_panels, predictive_panels
from bayesnu.report.limits import interval_table
from bayesnu.report.priors import describe_power_scaling, mode_rows, prior_rows, priors_table
from bayesnu.report.tables import (
    PUBLISHED,
    data_table,
    limits_rows,
    limits_table,
    models_table,
    power_of_ten,
    prediction_tables,
    runs_table,
    write_bounds,
    write_set,
)
from bayesnu.resources import DataFile
from bayesnu.results.comparison import FOOTNOTE
from bayesnu.results.intervals import IntervalSet
from bayesnu.results.posterior import load_posterior
from bayesnu.results.runs import Run, load_run
from bayesnu.results.verdict import withhold

COUPLINGS = ("mu_numu", "q_numu", "r2_numu")


@pytest.fixture(scope="module")
def reported(finished_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("reported") / "run"
    shutil.copytree(finished_run.folder, folder)
    run = load_run(folder)

    def draw_once(run_folder: Path, coupling: str, observed: bool) -> None:
        """The figures of one coupling, under the names of the others too: drawing takes seconds."""
        if not (run_folder / "figures" / "mu_numu-trace.png").exists():
            fit_figures(run_folder, "mu_numu", observed)
        for path in list((run_folder / "figures").glob("mu_numu-*")):
            if coupling != "mu_numu":
                shutil.copy(path, path.with_name(path.name.replace("mu_numu", coupling)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "fit_figures", draw_once)
        assert write_report(run) == folder / "report.html"
    return run


@pytest.fixture(scope="module")
def page(reported: Run) -> str:
    return (reported.folder / "report.html").read_text(encoding="utf-8")


def test_every_figure_is_written_as_png_and_pdf(reported: Run) -> None:
    names = {"limits", "posteriors"} | {f"{name}-{kind}" for name in COUPLINGS for kind in PER_FIT}
    files = list((reported.folder / "figures").iterdir())
    assert {file.name for file in files} == {f"{name}.{suffix}" for name in names for suffix in ("png", "pdf")}
    assert all(f.read_bytes().startswith(b"\x89PNG" if f.suffix == ".png" else b"%PDF") for f in files)
    assert all(file.stat().st_size > 3000 for file in files)


def test_page_is_self_contained(page: str) -> None:
    assert re.findall(r"<(?:link|iframe|script src)\b", page) == []
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 2 + len(COUPLINGS) * len(PER_FIT)
    links = re.findall(r'href="([^"]*)"', page)
    assert len(links) == 4 + len(COUPLINGS) + len(sources)
    assert all(link.startswith("#") and f'id="{link[1:]}"' in page for link in links)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert all(base64.b64decode(s.partition(",")[2]).startswith(b"\x89PNG") for s in sources)
    assert "url(" not in page
    assert page.count("<html") == page.count("</html>") == 1


def test_page_shows_every_result(page: str, reported: Run) -> None:
    text = unescape(page)
    assert FOOTNOTE in text
    for entry in reported.limits["limits"]:
        assert f'<h2 id="{entry["coupling"]}">' in page
        assert entry["prior"] in text
        for key in ("credible", "laplace", "chi2", "chi2_background", "poisson"):
            assert exponential(entry[key]["intervals"]) in text
        assert entry["priors"]["advice"] in text
        assert all(cell in text for row in prior_rows(entry["priors"]["limits"]) for cell in row)
        assert all(f"Left out: {reason}." in text for reason in entry["priors"]["left_out"])
        assert entry["power_scaling"]["text"] in text
        diagnostics = entry["diagnostics"]
        assert f'<span class="{diagnostics["verdict"]}">{diagnostics["verdict"]}</span>' in page
        assert all(reason in text for reason in diagnostics["reasons"])
        assert f"{diagnostics['rhat']:.4f}" in text
        assert f"{diagnostics['ess_bulk']:.0f}, {diagnostics['ess_tail']:.0f}" in text
    header, rows = limits_rows(withhold(reported.limits))
    assert all(cell in text for cell in (*header, *(c for row in rows for c in row)))
    assert all(CAPTIONS[kind] in text for kind in PER_FIT)


def explored(page: str) -> Any:
    """What the page gives to its explorer."""
    return json.loads(page.partition('id="explorer-data">')[2].partition("</script>")[0])


def test_page_carries_the_counts_and_the_bounds(page: str, reported: Run, on_axis: Experiment) -> None:
    content = explored(page)
    assert content["axis"]["label"] == "reconstructed Eₑθ² [MeV]"
    assert content["command"] == "bayesnu predict dune-on-axis"
    charge = content["couplings"][1]
    assert (charge["name"], charge["unit"], charge["squared_only"]) == ("q_numu", "e", False)
    (interval,) = reported.limits["limits"][1]["credible"]["intervals"]
    assert charge["bounds"] == interval
    assert charge["reach"] > max(map(abs, interval))
    assert content["couplings"][0]["bounds"] == [reported.limits["limits"][0]["credible"]["intervals"][0][1]]
    constant = content["monomials"].index([])
    total = np.zeros(24)
    for block in content["blocks"]:
        if block["monomial"] == constant:
            total[block["first"] :][: len(block["counts"])] += block["counts"]
    np.testing.assert_allclose(total, on_axis.model.expected(), rtol=1e-13)


def test_explorer_shows_no_withheld_bound_and_no_markup(reported: Run) -> None:
    limits = withhold(reported.limits)
    limits["limits"][0]["credible"] |= {"intervals": []}
    information = reported.information | {"overrides": ['title="</script>"']}
    shown = explorer(replace(reported, limits=limits, information=information))
    assert "<" not in shown["content"]
    content = json.loads(shown["content"])
    assert content["couplings"][0]["bounds"] == []
    assert content["couplings"][0]["reach"] > 0
    assert content["command"] == "bayesnu predict dune-on-axis -o 'title=\"</script>\"'"


def test_page_of_a_run_without_counts_says_why_there_is_no_explorer(reported: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(reported.folder, folder)
    (folder / "counts.json").unlink()
    page = render(replace(load_run(folder), limits=withhold(reported.limits)), "")
    assert "Left out: the run is of a version that kept no counts.json; run it again." in page
    assert "explorer-data" not in page.partition("<section")[2].partition("<script>")[0]


def test_page_shows_the_provenance(page: str, reported: Run) -> None:
    text = unescape(page)
    information = reported.information
    assert information["hash"] in text
    assert information["starts"][0] in text
    assert all(
        f"<tr><td>{name}</td><td>{version}</td></tr>" in text for name, version in information["versions"].items()
    )
    assert all(item["sha256"][:16] in text for item in information["inputs"].values())
    assert '"threshold_mev": 30.0' in text
    assert "arXiv:2111.14884" in text


def test_figures_are_drawn_once_behind_the_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, str, bool]] = []

    def draw(folder: Path, coupling: str, observed: bool, kinds: tuple[str, ...]) -> None:
        drawn.extend((coupling, kind, observed) for kind in kinds)
        if coupling == "q_nue" and "energy" in kinds:
            raise RunError(f"{folder.name}: no energy of {coupling}")

    monkeypatch.setattr(build, "fit_figures", draw)
    with ThreadPoolExecutor(1) as pool:
        figures = Drawing(pool)
        figures.prepare()
        for coupling in ("mu_nue", "mu_numu", "mu_nue"):
            figures.start(tmp_path, coupling, False)
        figures.finish()
        assert drawn == [(coupling, kind, False) for coupling in ("mu_nue", "mu_numu") for kind in PER_FIT]
        figures.start(tmp_path, "q_nue", True)
        with pytest.raises(RunError, match="no energy of q_nue"):
            figures.finish()


def test_other_processes_draw_and_report_what_is_missing(tmp_path: Path) -> None:
    with drawing(1) as figures:
        figures.start(tmp_path, "mu_numu", False)
        with pytest.raises(RunError, match=r"mu_numu\.nc"):
            figures.finish()


def test_a_caller_that_ends_at_once_leaves_no_trace() -> None:
    """The thread that starts the workers finds their pool closed; an exception in it would fail this test."""
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    before = set(threading.enumerate())
    Drawing(pool).prepare()
    for thread in set(threading.enumerate()) - before:
        thread.join()


def test_report_of_a_run_without_its_posteriors(finished_run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished_run.folder, folder)
    shutil.rmtree(folder / "posteriors")
    with pytest.raises(RunError, match=r"mu_numu\.nc"):
        write_report(load_run(folder))
    assert not (folder / "report.html").exists()


def test_missing_figure(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"limits\.png: cannot be read"):
        image(tmp_path, "limits")


def test_panels_carry_what_was_stored(finished_run: Run, on_axis: Experiment) -> None:
    tree = load_posterior(finished_run.folder / "posteriors" / "q_numu.nc")
    first, second = predictive_panels(tree)
    assert (first.title, second.title) == ("neutrino 0 m", "antineutrino 0 m")
    np.testing.assert_allclose(first.edges, on_axis.card.detector.bin_edges_mev)
    np.testing.assert_array_equal(second.data, on_axis.data[12:])
    assert (np.diff(first.quantiles, axis=0) >= 0).all()
    panels = density_panels(finished_run.folder, finished_run.limits["limits"])
    assert [panel.coupling for panel in panels] == list(COUPLINGS)
    assert panels[0].label == "90% upper limit"
    assert panels[1].draws.size == 2000


def test_forest_has_our_lines_then_the_published_ones(finished_run: Run) -> None:
    panels = dict(forest_panels(finished_run.limits))
    rows = panels["q_numu"]
    assert [row.role for row in rows[:5]] == ["credible", "laplace", "chi2", "chi2", "published"]
    assert rows[4].label == "arXiv:2111.14884, on-axis, true units"
    assert rows[4].intervals[0] == pytest.approx([-1.065e-9, 1.089e-9], rel=1e-3)
    assert {row.role for row in rows[5:]} <= {"other"}
    assert not any("prism" in row.label for row in rows)


def rendered(*tables: Table) -> str:
    console = Console(width=240, file=io.StringIO(), record=True)
    for table in tables:
        console.print(table)
    return console.export_text()


def test_limits_table(finished_run: Run) -> None:
    header, rows = limits_rows(withhold(finished_run.limits))
    assert header[1] == "90% credible (NUTS)"
    assert [row[0] for row in rows] == ["mu_numu [10^-10 mu_B]", "q_numu [10^-9 e]", "r2_numu [10^-33 cm^2]"]
    moment, charge, radius = (dict(zip(header, row, strict=True)) for row in rows)
    assert moment["90% C.L. χ²"] == "< 2.94"
    assert moment["published"] == moment["published, true units"] == "< 3.20"
    assert charge["published"] == "[-0.09, 0.09]"
    assert charge["published, true units"] == "[-1.07, 1.09]*"
    assert charge["90% credible (NUTS)"].endswith(" HDI")
    assert radius["90% C.L. χ²"] == "[-2.09, 2.08]"
    assert radius["ratio χ²/published"] == "0.91, 0.94"
    text = rendered(limits_table(withhold(finished_run.limits)))
    assert "DUNE near detector, on axis" in text
    assert "-√α" in text


def test_runs_that_differ_by_orders_of_magnitude_are_written_out(finished_run: Run) -> None:
    """Beside 3e-10 a limit of 5e-12 would be 0.05 in its power of ten; an upper limit has no lower end."""

    def scaled(factor: float) -> dict[str, Any]:
        entry = dict(finished_run.limits["limits"][0])
        for key in ("credible", "chi2"):
            high = entry[key]["intervals"][0][1] * factor
            low = 1e-14 if entry[key]["kind"] == "upper" else 0.0
            entry[key] = {**entry[key], "intervals": [[low, high]]}
        return {**finished_run.limits, "limits": [entry], "m_N": 2.5}

    both = [("near", withhold(scaled(1.0))), ("far", withhold(scaled(0.01)))]
    text = rendered(runs_table(both))
    assert "mu_numu [mu_B]" in text
    assert re.search(r"< 2\.\d+e-10 .*< 2\.\d+e-12", text)
    assert "near, m_N = 2.5 MeV: credible" in text
    assert "[1e-14" not in text


def test_several_runs_side_by_side(finished_run: Run) -> None:
    other = {**finished_run.limits, "limits": finished_run.limits["limits"][1:]}
    text = rendered(runs_table([("one", withhold(finished_run.limits)), ("two", withhold(other))]))
    for word in ("one: credible", "two: χ²", "mu_numu", "r2_numu", "–"):
        assert word in text


@pytest.mark.parametrize(
    ("low", "high", "exponent", "one_sided", "text"),
    [
        (-1.07e-9, 1.089e-9, -9, False, "[-1.07, 1.09]"),
        (0.0, 2.94e-10, -10, True, "< 2.94"),
        (None, 2.94e-10, -10, False, "< 2.94"),
        (-3e-9, None, -9, False, "> -3.00"),
        (None, None, 0, False, "–"),
        (float("-inf"), 2.0, 0, False, "< 2.00"),
        (1e-12, 1.4e-10, -10, False, "[0.01, 1.40]"),
        (3e-15, 1.4e-10, -10, False, "[3e-05, 1.40]"),
        (1e-31, 1.0008e-31, -31, False, "[1.000, 1.001]"),
        (1e-31, 1e-31, -31, False, "[1.00, 1.00]"),
    ],
)
def test_bounds_in_words(low: float, high: float, exponent: int, one_sided: bool, text: str) -> None:
    assert write_bounds(low, high, exponent, one_sided) == text


def test_unions_and_exponents() -> None:
    assert write_set([(-1e-8, 1e-8), (2e-8, 3e-8)], -8, False) == "[-1.00, 1.00] ∪ [2.00, 3.00]"
    assert [power_of_ten(v) for v in ([3e-9, -2e-8], [0.0], [], [float("inf"), 12.0])] == [-8, 0, 0, 1]
    assert exponential([[None, 1e-8], [2e-8, None]]) == "< 1e-08 ∪ > 2e-08"
    assert exponential([[None, None]]) == "–"
    assert exponents([[None, None]]) == "–"
    assert exponents([[None, 1.234e-10], [2e-9, None]]) == "–, ±1.2e-10; ±2e-09, –"


def test_set_of_a_moment_away_from_0_is_not_an_upper_limit() -> None:
    """A lower bound above 0 must be seen: with an observed signal Δχ² excludes 0."""
    assert write_bounds(2e-10, 6e-10, -10, True) == "[2.00, 6.00]"


def test_interval_table() -> None:
    nan = float("nan")
    sampled = IntervalSet(
        "q_nue", "e", 0.9, "hdi", "nuts", ((-1e-8, 1e-8), (2e-8, 3e-8)), ((1e-10, 2e-10), (nan, 3e-10))
    )
    text = rendered(interval_table("card", sampled))
    for word in ("card", "q_nue", "nuts", "90%", "hdi", "[-1.00, 1.00] ∪ [2.00, 3.00] × 10^-8 e", "±1e-10", "±3e-10"):
        assert word in text
    limit = IntervalSet("mu_nue", "mu_B", 0.9, "delta_chi2", "chi2", ((0.0, 2.5e-9),), ((nan, nan),))
    text = rendered(interval_table("card", limit))
    assert "< 2.50 × 10^-9 mu_B" in text
    assert "deterministic" in text


def test_prediction_tables(on_axis: Experiment) -> None:
    prediction = predict(on_axis, {"mu_numu": 3e-10}, {"ccqe": 0.1})
    tables = prediction_tables(prediction)
    assert len(tables) == 2
    text = rendered(*tables)
    assert "dune-on-axis: neutrino mode, 0 m, 3.5 years" in text
    assert f"{prediction.exposures[0].total.sum():.1f}" in text
    assert f"numu {prediction.exposures[0].signal_total_per_year['numu']:.1f}" in text
    assert tables[0].row_count == 13


COVARIANCE = {
    "name": "beam",
    "of": "flux",
    "rows": 24,
    "pulls": 5,
    "left_out": 0.0123,
    "leading": [{"pull": "beam[1]", "share": 0.625, "largest": "neutrino 0 m numu 0–2 GeV", "shift": 0.0812}],
}
CELLS = ("beam[1]", "62.5%", "neutrino 0 m numu 0–2 GeV", "+8.12%", "5 pulls for 24 bins of the flux, 1.23% of the")


def test_explorer_names_the_card_as_the_command_line_knows_it(reported: Run) -> None:
    assert card_of(reported) == "dune-on-axis"
    own = replace(reported, folder=Path("mine/runs/run"), information={**reported.information, "card_folder": "../.."})
    assert card_of(own) == "mine/dune-on-axis.toml"


def test_table_without_published_limits_has_no_columns_for_them(reported: Run) -> None:
    header, rows = limits_rows(reported.limits)
    assert set(PUBLISHED) < set(header)
    bare, fewer = limits_rows({**reported.limits, "scenario": None})
    assert bare == [name for name in header if name not in PUBLISHED]
    assert {len(row) for row in fewer} == {len(bare)} == {len(rows[0]) - 3}


def test_page_names_the_leading_pulls_of_covariances(page: str, reported: Run) -> None:
    assert 'id="systematics"' not in page
    information = {**reported.information, "covariances": [COVARIANCE]}
    text = unescape(render(replace(reported, information=information, limits=withhold(reported.limits)), ""))
    assert '<h2 id="systematics">' in text
    assert [cell for cell in CELLS if cell not in text] == []


def test_prediction_names_the_leading_pulls_of_covariances(on_axis: Experiment) -> None:
    row = Row("neutrino", 0.0, "numu", (Span(0.0, 2.0, "GeV"),))
    modes = CovarianceModes("beam", "flux", (row,), np.array([[0.0812]]), np.array([0.625]))
    prediction = replace(predict(on_axis, {}, {}), covariances=(modes,))
    text = rendered(*prediction_tables(prediction))
    assert [cell for cell in (*CELLS[:4], "beam: 1 pulls for 1 bins of the flux, 37.50%") if cell not in text] == []


def test_models_and_data_tables() -> None:
    assert "arXiv:1" in rendered(models_table([("a", "A title", "arXiv:1")]))
    text = rendered(data_table([DataFile("x.csv", 12, "ab" * 32, True), DataFile("y.csv", 0, "cd" * 32, False)]))
    for word in ("x.csv", "abababababab", "intact", "y.csv", "CHANGED"):
        assert word in text


def test_priors_table(finished_run: Run) -> None:
    entry = finished_run.limits["limits"][0]
    text = rendered(priors_table({"model": "dune-on-axis", "coupling": "mu_numu", **entry["priors"]}))
    for words in ("flat in the square", "< 3.03e-10", "log-uniform, floor 0.001", "Quote the limit", "deterministic"):
        assert words in text


def test_power_scaling_in_words() -> None:
    assert describe_power_scaling({"prior": None, "likelihood": None, "text": "not defined"}) == "not defined"
    found = describe_power_scaling({"prior": 0.1234, "likelihood": 0.2, "text": "both"})
    assert found == "prior 0.123, likelihood 0.200: both"


def test_share_of_each_chain_in_each_mode() -> None:
    found = {"mode_peaks": [-1.0, 2.0], "mode_shares": [0.6, 0.4], "mode_visits": [[0.5, 0.5], [1.0, 0.0]]}
    assert mode_rows(found) == [
        ("mode at -1: share of the Laplace grid; of each chain", "60%; 50%, 100%"),
        ("mode at 2: share of the Laplace grid; of each chain", "40%; 50%, 0%"),
    ]
