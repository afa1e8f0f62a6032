"""coverage, sensitivity and region on the command line."""

import json
import sys
from pathlib import Path

import pytest

from bayesnu.cli import main


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bayesnu", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_coverage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "coverage"
    arguments = ["coverage", "lsnd-nue", "--coupling", "mu_nue", "--true", "0", "--true", "1e-9", "--n", "100"]
    assert call(monkeypatch, *arguments, "--out", str(out), "--format", "json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["truths"] == [0.0, 1e-9]
    assert json.loads((out / "coverage.json").read_text()) == content
    assert {path.name for path in out.iterdir()} >= {"coverage.npz", "coverage.png", "coverage.pdf", "chunks"}
    # Again from the finished chunks.
    assert call(monkeypatch, *arguments, "--out", str(out)) == 0
    table = capsys.readouterr().out
    assert "coverage of 90% intervals of mu_nue" in table
    assert f"{content['methods']['delta_chi2']['coverage'][0]:.1%}" in table


def test_sensitivity(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["sensitivity", "lsnd-nue", "--coupling", "mu_nue", "--n", "200", "--seed", "3"]
    assert call(monkeypatch, *arguments, "--format", "json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["seed"] == 3
    assert call(monkeypatch, *arguments) == 0
    table = capsys.readouterr().out
    assert f"{content['limits'][0]['asimov'][1] / 1e-9:.3f}" in table
    assert "median" in table


def test_region(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["region", "dune-on-axis", "--couplings", "mu_nue,mu_numu", "--points", "5", "--tolerance", "0.2"]
    assert call(monkeypatch, *arguments, "--out", str(tmp_path / "r")) == 0
    assert "pseudo-experiments" in capsys.readouterr().out
    assert (tmp_path / "r" / "region.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["region", "dune-on-axis", "--couplings", "mu_nue"], "--couplings mu_nue: must be A,B"),
        (["region", "dune-on-axis", "--couplings", "mu_nue,q_nue", "--pulls", "none"], "unknown pulls 'none'"),
        (["coverage", "lsnd-nue", "--coupling", "mu_nue", "--cl", "2"], "cl = 2.0: must be between 0 and 1"),
        (["sensitivity", "lsnd-nue", "--coupling", "mu_nu"], "did you mean 'mu_nu"),
    ],
)
def test_bad_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert call(monkeypatch, *arguments) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
