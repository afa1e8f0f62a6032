"""How much of a limit is the response's Monte Carlo error: in limits.json, table and page; nothing without it."""

import math
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from bayesnu.experiment import mc_stat
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.setup import load_electron_experiment
from bayesnu.report import build
from bayesnu.report.build import entry_page, render
from bayesnu.report.tables import describe_response_share, limits_table
from bayesnu.results.intervals import IntervalSet
from bayesnu.results.limits import limit
from bayesnu.results.mc_stat import width
from bayesnu.results.runs import Run
from bayesnu.results.verdict import withhold

COARSE = (
    "response.energy_cells=24",
    "response.angle_cells=16",
    "response.samples=384000",
    "response.mc_stat=covariance",
)


@pytest.fixture(scope="module")
def sampled() -> ElectronExperiment:
    # Few modes, for the time that a fit takes.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mc_stat, "MOST_MODES", 3)
        return load_electron_experiment("dune-on-axis", COARSE)


def test_width_of_a_union() -> None:
    pieces = IntervalSet("q_nue", "e", 0.9, "hdi", "laplace", ((-2.0, -1.0), (0.0, 3.0)), ((math.nan,) * 2,) * 2)
    assert width(pieces) == 4.0


def test_run_says_the_share(
    fit: Callable[..., tuple[Run, list[str]]],
    sampled: ElectronExperiment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, _ = fit(tmp_path / "run", ("mu_nue",), experiment=sampled)
    (entry,) = run.limits["limits"]
    found = entry["mc_stat"]
    bare = sampled.without_response_error()
    assert bare is not None
    for name in ("laplace", "chi2"):
        with_error, without = (limit(e, "mu_nue", method=name).intervals[0][1] for e in (sampled, bare))
        assert entry[name]["intervals"][0][1] == pytest.approx(with_error)
        # The prior of the posterior without the error is that of the fit, whose range is wider.
        assert found["without"][name]["intervals"][0][1] == pytest.approx(without, rel=1e-3)
        assert found["share"][name] == pytest.approx(1 - (without / with_error) ** 2, abs=2e-3)
        assert 0.002 < found["share"][name] < 0.5
    assert found["description"].startswith("covariance of 50 sub-samples in 3 modes")

    # Of a fit that failed, the limits without the error go with the others.
    entry["diagnostics"]["verdict"] = "fail"
    assert "mc_stat" not in withhold(run.limits)["limits"][0]
    shown = withhold(run.limits, allow_unconverged=True)
    text = describe_response_share(entry)
    assert f"{found['share']['laplace']:.1%} of the squared width" in text
    assert f"Monte Carlo error of the response: mu_nue {text}." in str(limits_table(shown).caption)
    monkeypatch.setattr(build, "image", lambda *_: "")
    page = unescape(render(replace(run, limits=shown), ""))
    assert f"Monte Carlo error of the response ({found['description']}): {text}." in page
    assert "Laplace grid, response taken for exact" in page


def test_nothing_without_it(finished_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "image", lambda *_: "")
    for entry in finished_run.limits["limits"]:
        assert "mc_stat" not in entry
        assert describe_response_share(entry) == ""
        assert not any("taken for exact" in row[0] for row in entry_page(finished_run.folder, entry, None)["intervals"])
    shown = withhold(finished_run.limits, allow_unconverged=True)
    assert "Monte Carlo error of the response" not in render(replace(finished_run, limits=shown), "")
    assert "of the response" not in str(limits_table(shown).caption)


def test_shares_that_round_to_nothing_or_are_open() -> None:
    entry = {"mc_stat": {"share": {"laplace": -1e-7, "chi2": None}}}
    assert describe_response_share(entry).startswith("0.0% of the squared width")
    assert describe_response_share(entry).endswith("– of that of χ²")
