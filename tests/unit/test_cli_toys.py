"""The commands that make pseudo-experiments: what they print, keep and refuse."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bayesnu import cli
from bayesnu.cli.app import COMMANDS
from bayesnu.experiment.setup import load_experiment
from bayesnu.inference.feldman_cousins import ToyIntervals
from bayesnu.results import toy_limits, toys
from bayesnu.results.limits import interval_json, limit


class Result(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.status == 0, self.err
        return json.loads(self.out)


Call = Callable[..., Result]


@pytest.fixture
def bayesnu_(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Call the command line in this process, in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["bayesnu", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return Result(int(stopped.value.code or 0), captured.out, captured.err)

    return call


FELDMAN_COUSINS = ("limit", "lsnd-nue", "--coupling", "mu_nue", "--method", "feldman-cousins", "--tolerance", "0.2")
JSON = ("--format", "json")


def test_every_command_is_listed() -> None:
    assert [command.__name__ for command in COMMANDS].count("toys") == 1


def test_feldman_cousins(bayesnu_: Call, tmp_path: Path) -> None:
    found = bayesnu_(*FELDMAN_COUSINS, "--seed", "3", "--out", "kept", *JSON)
    assert found.err == ""
    expected = limit(load_experiment("lsnd-nue"), "mu_nue", method="feldman-cousins", tolerance=0.2, seed=3)
    assert found.json == interval_json("lsnd-nue", expected)
    assert found.json["pseudo_experiments"]["seed"] == 3
    # The folder has all: the same command makes no task again.
    chunks = sorted((tmp_path / "kept" / "chunks").iterdir())
    written = [path.stat().st_mtime_ns for path in chunks]
    table = bayesnu_(*FELDMAN_COUSINS, "--seed", "3", "--out", "kept")
    assert f"{found.json['pseudo_experiments']['number']} pseudo-experiments, pulls profiled, seed 3." in table.out
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "kept" / "chunks").iterdir())] == written
    other = bayesnu_(*FELDMAN_COUSINS, "--seed", "4", "--out", "kept", *JSON)
    assert (other.status, other.out) == (2, "")
    assert "holds another study" in other.err
    assert bayesnu_(*FELDMAN_COUSINS, "--seed", "4", "--out", "kept", "--force", *JSON).json["intervals"] != (
        found.json["intervals"]
    )


def test_cls_of_a_scan(bayesnu_: Call) -> None:
    scan = bayesnu_("limit", "nucleus-10g", "--coupling", "d_nue", "--method", "cls", "--scan", "m_N=1:9:2", *JSON)
    assert scan.err.startswith("bayesnu: d_nue: no count depends on it at m_N = 9 MeV")
    first, second = scan.json["points"]
    assert set(first) == {"m_N", "intervals", "mc_error", "expected"}
    assert first["expected"][0]["side"] == "upper"
    assert second == {"m_N": 9.0, "intervals": [[0.0, None]], "mc_error": [[None, None]]}
    table = bayesnu_("limit", "nucleus-10g", "--coupling", "d_nue", "--method", "cls", "--scan", "m_N=1:9:2")
    assert "upper: 68%" in table.out


def test_a_scan_by_toys_has_a_folder_for_each_mass(
    bayesnu_: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ToyIntervals(((0.0, 1e-10),), ((math.nan, 1e-12),), 100)
    monkeypatch.setattr(toy_limits, "feldman_cousins", lambda *_, **__: found)
    scan = bayesnu_(
        "limit", "nucleus-10g", "--coupling", "d_nue", "--method", "feldman-cousins",
        "--scan", "m_N=1:2:2", "--out", "kept", *JSON,
    )  # fmt: skip
    assert [set(point) for point in scan.json["points"]] == [{"m_N", "intervals", "mc_error", "pseudo_experiments"}] * 2
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["m_N-1", "m_N-2"]


TOYS = ("toys", "lsnd-nue", "--set", "mu_nue=1e-9", "--n", "200", "--seed", "1")


def test_toys(bayesnu_: Call, tmp_path: Path) -> None:
    found = bayesnu_(*TOYS, *JSON)
    assert found.err == ""
    assert (found.json["number"], found.json["seed"], found.json["pulls"]) == (200, 1, "constraint")
    assert [fit["coupling"] for fit in found.json["best_fits"]] == ["mu_nue"]
    kept = bayesnu_(*TOYS, "--out", "kept", *JSON)
    assert kept.json == found.json
    assert kept.err == "bayesnu: written: kept/toys.nc, toys.json, figures/statistic.png\n"
    assert json.loads((tmp_path / "kept" / "toys.json").read_text(encoding="utf-8")) == found.json
    assert (tmp_path / "kept" / "figures" / "statistic.png").stat().st_size > 10_000
    fewer = bayesnu_(*TOYS, "--n", "150", "--out", "kept")
    assert (fewer.status, fewer.out) == (2, "")
    assert fewer.err == (
        "bayesnu: kept/toys.json: holds 200 pseudo-experiments, more than 150; choose another folder or give --force\n"
    )
    assert bayesnu_(*TOYS, "--n", "300", "--out", "kept", *JSON).json["number"] == 300
    (tmp_path / "kept" / "toys.json").write_text("[]")
    broken = bayesnu_(*TOYS, "--out", "kept").err
    assert broken.startswith("bayesnu: kept/toys.json: holds something else than this command writes")
    assert bayesnu_(*TOYS, "--out", "kept", "--force", *JSON).json == found.json
    table = bayesnu_(*TOYS, "--coupling", "mu_numu", "--pulls", "fit")
    for word in ("χ², 2 d.o.f. (Wilks)", "mu_numu [mu_B]", "those that fit the card's data best"):
        assert word in table.out
    assert bayesnu_("toys", "nucleus-10g", "--coupling", "d_nue", "--at", "m_N=2", "--n", "100", *JSON).json["m_N"] == 2


def test_interrupted_toys_are_kept(bayesnu_: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    done = bayesnu_(*TOYS, "--n", "400", *JSON).json
    fit_chunk, calls = toys.fit_chunk, []

    def interrupt(shared: Any, place: int, number: int) -> Any:
        calls.append(place)
        if place == 2:
            raise KeyboardInterrupt
        return fit_chunk(shared, place, number)

    monkeypatch.setattr(toys, "PER_TASK", 100)
    whole = bayesnu_(*TOYS, "--n", "400", *JSON).json
    assert whole != done
    monkeypatch.setattr(toys, "fit_chunk", interrupt)
    stopped = bayesnu_(*TOYS, "--n", "400", "--out", "kept", *JSON)
    assert (stopped.status, stopped.out) == (130, "")
    assert stopped.err == "bayesnu: interrupted; finished chunks are kept in kept: run the same command to go on\n"
    assert bayesnu_(*TOYS, "--n", "400", *JSON).err == "bayesnu: interrupted\n"
    monkeypatch.setattr(toys, "fit_chunk", fit_chunk)
    assert bayesnu_(*TOYS, "--n", "400", "--out", "kept", *JSON).json == whole
    # Twice until the interruption; a further task may have begun in another thread.
    assert {calls.count(place) for place in (0, 1, 2)} == {2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("limit", "lsnd-nue", "--coupling", "mu_nue", "--workers", "2"), "workers = 2: is for the methods feldman-"),
        (("limit", "lsnd-nue", "--coupling", "mu_nue", "--out", "x"), "out = x: is for the methods feldman-cousins"),
        (("limit", "lsnd-nue", "--coupling", "mu_nue", "--method", "cls", "--force"), "force: is for cls with toys"),
        ((*FELDMAN_COUSINS, "--toys"), "toys: is for method cls, not feldman-cousins"),
        ((*FELDMAN_COUSINS, "--workers", "0"), "workers = 0: must be at least 1"),
        ((*FELDMAN_COUSINS, "--workers", "2", "--scheduler", "tcp://x:1"), "workers = 2: scheduler tcp://x:1"),
        ((*FELDMAN_COUSINS, "--pulls", "profile"), "unknown pulls 'profile': allowed are profiled, averaged; did you"),
        ((*FELDMAN_COUSINS, "--at", "m_N=1"), "--at m_N=1: counts of mu_nue do not depend on the mass of N"),
        (("toys", "lsnd-nue"), "lsnd-nue: no coupling is free; give --coupling or --set, of mu_nue, mu_numu"),
        (("toys", "lsnd-nue", "--set", "mu_nue=x"), "--set mu_nue=x: must be NAME=VALUE with a number"),
        (("toys", "lsnd-nue", "--set", "mu_nue=1e200"), "mu_nue = 1e+200: the expected counts overflow"),
        ((*TOYS, "--at", "m_N=1"), "--at m_N=1: counts of mu_nue do not depend on the mass of N"),
        ((*TOYS, "--n", "5"), "n = 5: must be from 100 to 1000000"),
        (("toys", "lsnd-nue", "--set", "m_N=1"), "m_N: pseudo-experiments take the mass of N fixed; give it by --at"),
    ],
)
def test_bad_input_is_one_line(bayesnu_: Call, arguments: tuple[str, ...], message: str) -> None:
    found = bayesnu_(*arguments)
    assert (found.status, found.out) == (2, "")
    assert found.err.startswith(f"bayesnu: {message}")
    assert found.err.count("\n") == 1
