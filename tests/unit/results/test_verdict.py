"""On "fail" nothing that is shown of a run holds a limit; limits.json keeps all of it."""

import copy
import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bayesnu.report import build
from bayesnu.report.build import render, write_report
from bayesnu.report.figures import density_panels, forest_panels
from bayesnu.report.tables import joint_rows, limits_rows, runs_table
from bayesnu.results.runs import Run, write_csv
from bayesnu.results.summary import limits_csv
from bayesnu.results.verdict import INTERVALS, WITHHELD, failed, notices, warning, withhold


def failing(limits: dict[str, Any], coupling: str) -> dict[str, Any]:
    changed = copy.deepcopy(limits)
    entry = next(entry for entry in changed["limits"] if entry["coupling"] == coupling)
    entry["diagnostics"] |= {"verdict": "fail", "reasons": ["ESS 12 below 400"], "hint": "give --draws 999 or more"}
    return changed | {"verdict": "fail"}


@pytest.fixture
def limits(finished_run: Run) -> dict[str, Any]:
    return failing(finished_run.limits, "mu_numu")


def numbers(content: Any) -> list[float]:
    """Every finite number that is not 0 or a probability."""
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        return [number for item in content for number in numbers(item)]
    return [content] if isinstance(content, float) and 0 < abs(content) < 1e-5 else []


def joint_of(limits: dict[str, Any], verdict: str) -> dict[str, Any]:
    """A joint fit of two couplings, made of the entries of two single ones."""
    keys = ("coupling", "unit", "prior", "credible", "diagnostics")
    parameters = [{key: entry[key] for key in keys} for entry in limits["limits"][:2]]
    return {
        "name": "mu_numu+q_numu",
        "couplings": ["mu_numu", "q_numu"],
        "parameters": copy.deepcopy(parameters),
        "correlation": [[1.0, 0.2], [0.2, 1.0]],
        "region": None,
        "verdict": verdict,
        "reasons": ["the grid's 90% region holds 70.0% ± 1.0% of the draws"] if verdict == "fail" else [],
    }


def test_failed_fits_and_what_is_said_of_them(finished_run: Run, limits: dict[str, Any]) -> None:
    assert failed(finished_run.limits) == {}
    assert (warning(finished_run.limits), notices(finished_run.limits)) == ("", [])
    assert failed(limits) == {"mu_numu": ("ESS 12 below 400", "give --draws 999 or more")}
    assert warning(limits).startswith("NOT CONVERGED: the limit on mu_numu is shown although")
    (line,) = notices(limits)
    assert "ESS 12 below 400; give --draws 999 or more, or see it nevertheless with --allow-unconverged" in line


def test_no_number_of_a_failed_fit_is_left(limits: dict[str, Any]) -> None:
    before = copy.deepcopy(limits)
    shown = withhold(limits)
    assert limits == before
    entry, other = shown["limits"][:2]
    assert shown["withheld"] == ["mu_numu"]
    assert all(entry[key]["intervals"] == entry[key]["mc_error"] == [] for key in INTERVALS if entry[key])
    assert entry["priors"]["limits"] == []
    published = [number for row in entry["comparisons"] for number in numbers(row)]
    assert sorted(numbers({**entry, "prior": "", "diagnostics": {}, "power_scaling": {}})) == sorted(published)
    assert other == before["limits"][1]
    allowed = withhold(limits, True)
    assert (allowed.pop("withheld"), allowed) == ([], before)


def test_tables_say_withheld(limits: dict[str, Any]) -> None:
    header, rows = limits_rows(withhold(limits))
    row = dict(zip(header, rows[0], strict=True))
    assert {row[key] for key in ("90% credible (NUTS)", "Laplace grid", "90% C.L. χ²")} == {WITHHELD}
    assert (row["MC error"], row["ratio χ²/published"], row["diagnostics"]) == ("–", "–", "fail")
    assert (row["coupling"], row["published"]) == ("mu_numu [10^-10 mu_B]", "< 3.20")
    assert WITHHELD not in rows[1]
    table = runs_table([("one", withhold(limits)), ("two", withhold(limits, True))])
    cells = [next(iter(column.cells)) for column in table.columns]
    assert [str(cell) for cell in cells[1:3]] == [WITHHELD, WITHHELD]
    assert WITHHELD not in map(str, cells[3:])


def test_csv_has_no_row_of_a_failed_fit(limits: dict[str, Any], finished_run: Run) -> None:
    rows = list(csv.DictReader(limits_csv(withhold(limits)).splitlines()))
    assert {row["coupling"] for row in rows} == {"q_numu", "r2_numu"}
    whole = limits_csv(withhold(limits, True), warning(limits)).splitlines()
    assert whole[0] == f"# {warning(limits)}"
    assert whole[1:] == limits_csv(withhold(finished_run.limits)).splitlines()


def test_joint_fits_obey_the_same_rule(finished_run: Run) -> None:
    limits = finished_run.limits | {"joint": [joint_of(finished_run.limits, "fail")]}
    assert list(failed(limits)) == ["mu_numu+q_numu"]
    assert "give more --draws" in notices(limits)[0]
    shown = withhold(limits)
    header, rows = joint_rows(shown["joint"][0])
    assert [row[2] for row in rows] == [WITHHELD, WITHHELD]
    assert header[2] == "90% credible (NUTS)"
    free = {row["free"] for row in csv.DictReader(limits_csv(shown).splitlines())}
    assert "mu_numu q_numu" not in free
    good = finished_run.limits | {"joint": [joint_of(finished_run.limits, "pass")]}
    free = {row["free"] for row in csv.DictReader(limits_csv(withhold(good)).splitlines())}
    assert "mu_numu q_numu" in free
    assert joint_rows(withhold(good)["joint"][0])[1][0][2].startswith("< ")


def test_figures_show_no_limit_of_a_failed_fit(finished_run: Run, limits: dict[str, Any]) -> None:
    shown = withhold(limits)
    assert [name for name, _ in forest_panels(shown)] == ["q_numu", "r2_numu"]
    first, second, _ = density_panels(finished_run.folder, shown["limits"])
    assert (first.interval, first.label) == ([], "limit withheld")
    assert second.label == "90% highest density"


def test_page_of_a_run_that_failed(
    finished_run: Run, limits: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first line says so if limits are shown; else none is, the region of a joint fit is gone too."""
    folder = tmp_path / "run"
    shutil.copytree(finished_run.folder, folder)
    figures = folder / "figures"
    figures.mkdir()
    drawn: list[str] = []

    def draw(name: str) -> None:
        drawn.append(name)
        for suffix in (".png", ".pdf"):
            (figures / f"{name}{suffix}").write_bytes(b"x")

    monkeypatch.setattr(build, "fit_figures", lambda folder, fit, observed: [draw(f"{fit}-{k}") for k in FIGURES])
    monkeypatch.setattr(build, "forest_figure", lambda folder, content: draw("limits"))
    monkeypatch.setattr(build, "posterior_figure", lambda folder, content: draw("posteriors"))
    both = limits | {"joint": [joint_of(limits, "fail")]}
    run = dataclasses.replace(finished_run, folder=folder, limits=both)
    bound = f"{limits['limits'][0]['credible']['intervals'][0][1]:.4g}"
    page = write_report(run).read_text(encoding="utf-8")
    assert bound not in page
    assert "no limit is shown" in page
    assert "NOT CONVERGED" not in page
    assert not (figures / "mu_numu+q_numu-region.png").exists()
    assert "mu_numu+q_numu-region" in drawn
    shown = write_report(run, allow_unconverged=True).read_text(encoding="utf-8")
    body = shown[shown.index("<body>") :].splitlines()
    assert body[1].startswith('<p class="fail">NOT CONVERGED: the limit on mu_numu is shown although')
    assert bound in shown
    assert (figures / "mu_numu+q_numu-region.png").exists()
    nothing = {**run.limits, "limits": [failing({"limits": [e]}, e["coupling"])["limits"][0] for e in both["limits"]]}
    assert "Forest plot" not in render(dataclasses.replace(run, limits=withhold(nothing)), "")


FIGURES = ("predictive", "trace", "ranks", "energy", "pairs", "region")


def test_stored_csv_follows_what_is_allowed(finished_run: Run, limits: dict[str, Any], tmp_path: Path) -> None:
    run = Run(tmp_path, {}, limits, ())
    write_csv(run)
    assert "mu_numu" not in (tmp_path / "limits.csv").read_text(encoding="utf-8")
    write_csv(run, allow_unconverged=True)
    assert (tmp_path / "limits.csv").read_text(encoding="utf-8").startswith("# NOT CONVERGED")
    write_csv(finished_run)
    assert np.shape(json.loads((finished_run.folder / "limits.json").read_text())["limits"]) == (3,)
