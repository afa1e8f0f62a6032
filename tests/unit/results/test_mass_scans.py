"""`bayesnu limit` at one mass of N or several, and masses that cannot be reached."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bayesnu import cli
from bayesnu.cli.options import read_scan
from bayesnu.errors import UsageError
from bayesnu.experiment import setup
from bayesnu.experiment.recoil import RecoilExperiment
from bayesnu.experiment.setup import load_experiment
from bayesnu.inference import profile
from bayesnu.results.limits import limit


class Result(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.status == 0, self.err
        return json.loads(self.out)


Limit = Callable[..., Result]


@pytest.fixture(scope="module")
def nuclei() -> RecoilExperiment:
    experiment = load_experiment("nucleus-10g")
    assert isinstance(experiment, RecoilExperiment)
    return experiment


@pytest.fixture
def limit_(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, nuclei: RecoilExperiment
) -> Limit:
    """Call `bayesnu limit nucleus-10g --coupling d_nue` in this process, with the card assembled once."""
    load_anew = setup.load_experiment

    def reuse(model: str, overrides: Any = (), notice: Any = None) -> Any:
        return nuclei if model == "nucleus-10g" and not overrides else load_anew(model, overrides, notice)

    monkeypatch.setattr(setup, "load_experiment", reuse)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, coupling: str = "d_nue") -> Result:
        monkeypatch.setattr(sys, "argv", ["bayesnu", "limit", "nucleus-10g", "--coupling", coupling, *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return Result(int(stopped.value.code or 0), captured.out, captured.err)

    return call


POISSON = ("--method", "poisson", "--cl", "0.9", "--format", "json")


def test_one_mass_is_one_point(limit_: Limit, nuclei: RecoilExperiment) -> None:
    result = limit_("--at", "m_N=1.0", *POISSON)
    found = result.json
    assert result.err == ""
    assert set(found) == {"model", "coupling", "unit", "method", "cl", "kind", "intervals", "mc_error", "m_N"}
    assert found["m_N"] == 1.0
    assert (found["model"], found["coupling"], found["unit"]) == ("nucleus-10g", "d_nue", "mu_B")
    assert (found["method"], found["cl"], found["kind"]) == ("poisson", 0.9, "delta_chi2")
    ((low, high),) = found["intervals"]
    assert low == 0.0
    assert 1e-11 < high < 1e-9
    # The card's own mass is 1 MeV.
    assert limit_(*POISSON).json == found
    ((_, compiled),) = limit(nuclei, "d_nue", method="poisson").intervals
    assert compiled == pytest.approx(high, rel=1e-9)


def test_another_mass_is_the_card_with_that_mass(limit_: Limit) -> None:
    moved, fresh = limit_("--at", "m_N=2.5", *POISSON), limit_("-o", "sterile.m_N=2.5", *POISSON)
    assert moved.json == fresh.json


def test_a_scan_is_its_points(limit_: Limit) -> None:
    """0.5, 1 and 2 MeV: geometric."""
    scan = limit_("--scan", "m_N=0.5:2:3:log", *POISSON).json
    assert set(scan) == {"model", "coupling", "unit", "method", "cl", "kind", "points"}
    assert (scan["model"], scan["coupling"], scan["method"], scan["kind"]) == (
        "nucleus-10g",
        "d_nue",
        "poisson",
        "delta_chi2",
    )
    assert [point["m_N"] for point in scan["points"]] == pytest.approx([0.5, 1.0, 2.0], rel=1e-14)
    for point, mass in zip(scan["points"], ("0.5", "1", "2"), strict=True):
        single = limit_("--at", f"m_N={mass}", *POISSON).json
        assert set(point) == {"m_N", "intervals", "mc_error"}
        assert point["intervals"][0] == pytest.approx(single["intervals"][0], rel=1e-9)
        assert point["mc_error"] == single["mc_error"] == [[None, None]]
    highs = [point["intervals"][0][1] for point in scan["points"]]
    assert highs == sorted(highs)


@pytest.mark.parametrize("options", [("--scan", "m_N=0:10:2"), ("--at", "m_N=2")])
def test_a_coupling_that_does_not_care_has_no_mass(limit_: Limit, options: tuple[str, str]) -> None:
    result = limit_(*options, *POISSON, coupling="mu_nue")
    assert result.status == 2
    assert result.err == f"bayesnu: {' '.join(options)}: counts of mu_nue do not depend on the mass of N\n"


@pytest.mark.parametrize("method", ["poisson", "chi2", "laplace"])
def test_a_mass_out_of_reach_has_no_limit(limit_: Limit, method: str) -> None:
    result = limit_("--at", "m_N=8.5", "--method", method, "--format", "json")
    assert result.json["intervals"] == [[0.0, None]]
    assert result.json["mc_error"] == [[None, None]]
    assert result.json["kind"] == ("upper" if method == "laplace" else "delta_chi2")
    assert result.err.startswith("bayesnu: d_nue: no count depends on it")
    assert "m_N" in result.err
    assert result.err.count("\n") == 1


def test_a_scan_runs_out_of_reach(limit_: Limit) -> None:
    result = limit_("--scan", "m_N=5:11:3", *POISSON)
    points = result.json["points"]
    assert [point["m_N"] for point in points] == [5.0, 8.0, 11.0]
    assert [point["intervals"][0][1] is None for point in points] == [False, True, True]
    assert result.err.count("no count depends on it") == 2


def test_tables(limit_: Limit) -> None:
    for arguments, fragments in (
        (("--at", "m_N=1"), ("nucleus-10g", "d_nue", "90%")),
        (("--scan", "m_N=1:9:2"), ("d_nue", "m_N", "9")),
    ):
        result = limit_(*arguments, "--method", "poisson")
        assert result.status == 0
        assert [fragment for fragment in fragments if fragment not in result.out] == []


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (("--scan", "m_N=1:2"), ("--scan m_N=1:2: must be m_N=LOW:HIGH:N",)),
        (("--scan", "m_N"), ("--scan m_N: must be",)),
        (("--scan", "1:2:3"), ("--scan 1:2:3: must be",)),
        (("--scan", "m_n=1:2:3"), ("--scan m_n=1:2:3: must be",)),
        (("--scan", "m_N=1:2:3:lin"), ("must be", "m_N=LOW:HIGH:N:log")),
        (("--scan", "m_N=1:2:3:log:x"), ("must be m_N=LOW:HIGH:N",)),
        (("--scan", "m_N=1:2:2.5"), ("must be m_N=LOW:HIGH:N",)),
        (("--scan", "m_N=a:2:3"), ("must be m_N=LOW:HIGH:N",)),
        (("--scan", "m_N=2:1:3"), ("needs 0 ≤ LOW < HIGH",)),
        (("--scan", "m_N=1:1:3"), ("needs 0 ≤ LOW < HIGH",)),
        (("--scan", "m_N=-1:1:3"), ("needs 0 ≤ LOW",)),
        (("--scan", "m_N=0:1:3:log"), ("0 < LOW with log",)),
        (("--scan", "m_N=1:inf:3"), ("LOW < HIGH",)),
        (("--scan", "m_N=nan:1:3"), ("LOW < HIGH",)),
        (("--scan", "m_N=1:2:1"), ("2 to 10000 values",)),
        (("--scan", "m_N=1:2:3", "--at", "m_N=1"), ("--at m_N=1", "either --at or --scan")),
        (("--at", "m_N"), ("--at m_N: must be NAME=VALUE",)),
        (("--at", "m_N=heavy"), ("--at m_N=heavy: must be NAME=VALUE",)),
        (("--at", "m_N=-1"), ("m_N = -1", "at least 0")),
        (("--at", "m_N=nan"), ("m_N = nan", "finite")),
        (("--at", "m_N=inf"), ("m_N = inf", "finite")),
        (("--at", "m_n=1"), ("unknown parameter 'm_n'", "did you mean 'm_N'")),
        (("--at", "m_N=1", "--at", "m_N=2"), ("m_N is given twice",)),
        (("--at", "m_N=1", "--method", "poison"), ("unknown method 'poison'", "did you mean 'poisson'")),
        (("--at", "m_N=9", "--cl", "1"), ("cl = 1", "between 0 and 1")),
    ],
)
def test_bad_masses_are_one_line(limit_: Limit, arguments: tuple[str, ...], fragments: tuple[str, ...]) -> None:
    result = limit_(*arguments, "--format", "json")
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    assert [fragment for fragment in fragments if fragment not in result.err] == []


def test_a_flavour_that_the_source_lacks(limit_: Limit) -> None:
    result = limit_("--at", "m_N=1", coupling="d_numu")
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "unknown coupling 'd_numu'" in result.err
    assert "did you mean 'd_nue'" in result.err


def test_scans_are_read() -> None:
    assert read_scan("m_N=0:4:5") == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert read_scan("m_N=0.01:1:3:log") == pytest.approx([0.01, 0.1, 1.0], rel=1e-14)
    many = read_scan("m_N=0.3:7:41:log")
    assert (many[0], many[-1]) == (0.3, pytest.approx(7.0, rel=1e-14))
    assert len(many) == 41
    with pytest.raises(UsageError, match="LOW"):
        read_scan("m_N=1:2:3:4:5")


def test_a_scan_is_printed_with_its_digits(limit_: Limit) -> None:
    """Limits of different size are not written in one power of ten; brackets of units are printed."""
    out = limit_("--scan", "m_N=1:7:2", "--method", "poisson").out
    assert "m_N [MeV]" in out
    assert "d_nue [mu_B]" in out
    assert re.search(r"1 +│ +< 6\.2\de-11", out)
    assert re.search(r"7 +│ +< 2\.2\de-09", out)


def test_one_limit_is_printed_with_its_mass(limit_: Limit) -> None:
    out = limit_("--at", "m_N=2.5", "--method", "poisson").out
    assert "m_N [MeV]" in out
    assert "2.5" in out


def test_counts_far_below_the_expectation() -> None:
    """One bin and two counts where thousands are expected: far from any model, but no traceback."""
    overrides = ["detector.bins=1", "observed_counts={CaWO4=[1],Al2O3=[1]}"]
    found = limit(load_experiment("nucleus-10g", overrides), "d_nue", method="poisson")
    assert all(low < high for low, high in found.intervals)


def test_crossings_that_a_polynomial_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the polynomial through a cell has no root, the curve itself has."""
    experiment = load_experiment("nucleus-10g")
    usual = limit(experiment, "d_nue", method="poisson").intervals
    monkeypatch.setattr(profile, "CROSSING_POINTS", 1)
    found = limit(experiment, "d_nue", method="poisson").intervals
    assert found[0] == pytest.approx(usual[0], rel=1e-6)
