"""coverage, sensitivity, region, contour and calibrate on the command line, and what commands do at Ctrl-C."""

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from bayesnu.cli import main
from bayesnu.results.discrimination import STEPS


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bayesnu", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_coverage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "coverage"
    arguments = ["coverage", "lsnd-nue", "--coupling", "mu_nue", "--true", "0", "--true", "1e-9", "--n", "100"]
    arguments += ["--workers", "1"]
    assert call(monkeypatch, *arguments, "--out", str(out), "--format", "json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["truths"] == [0.0, 1e-9]
    assert json.loads((out / "coverage.json").read_text()) == content
    assert {path.name for path in out.iterdir()} >= {"coverage.npz", "coverage.png", "coverage.pdf", "chunks"}
    # Again from the finished chunks.
    assert call(monkeypatch, *arguments, "--out", str(out)) == 0
    table = capsys.readouterr().out
    assert "how often 90% credible upper limits hold mu_nue, in %" in table
    assert f"{100 * content['methods']['delta_chi2']['coverage'][0]:.1f} ± " in table
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 120
    # Another probability has the same pseudo-experiments, and would replace coverage.json.
    other = [*arguments, "--cl", "0.68", "--out", str(out)]
    assert call(monkeypatch, *other) == 2
    said = capsys.readouterr().err
    assert said.endswith(
        "coverage.json: holds the coverage of 90% intervals, not of 68% ones; choose another folder or give --force\n"
    )
    assert json.loads((out / "coverage.json").read_text()) == content
    assert call(monkeypatch, *other, "--force") == 0
    assert json.loads((out / "coverage.json").read_text())["cl"] == 0.68


def test_sensitivity(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["sensitivity", "lsnd-nue", "--coupling", "mu_nue", "--n", "200", "--seed", "3"]
    assert call(monkeypatch, *arguments, "--format", "json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["seed"] == 3
    assert call(monkeypatch, *arguments) == 0
    table = capsys.readouterr().out
    assert f"{content['limits'][0]['asimov'][1] / 1e-9:.3f}" in table
    assert "median" in table
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 120
    out = tmp_path / "expected"
    assert call(monkeypatch, *arguments, "--out", str(out)) == 0
    assert json.loads((out / "sensitivity.json").read_text(encoding="utf-8")) == content
    assert (out / "sensitivity.png").stat().st_size > 5000
    capsys.readouterr()
    assert call(monkeypatch, *arguments, "--cl", "0.95", "--out", str(out)) == 2
    assert "holds another study (cl = 0.9, not 0.95); choose another folder or give --force" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["priors", "calibrate"])
def test_at_a_mass(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str) -> None:
    arguments = [command, "lsnd-nue", "--coupling", "mu_nue", "--at", "m_N=1"]
    assert call(monkeypatch, *arguments) == 2
    assert capsys.readouterr().err == "bayesnu: --at m_N=1: counts of mu_nue do not depend on the mass of N\n"
    few = ["--simulations", "20", "--workers", "1"] if command == "calibrate" else []
    found = []
    for mass in ("m_N=1", "m_N=3"):
        arguments = [command, "nucleus-10g", "--coupling", "d_nue", *few, "--format", "json"]
        assert call(monkeypatch, *arguments, "--at", mass) == 0
        at = json.loads(capsys.readouterr().out)
        assert call(monkeypatch, *arguments, "-o", "sterile." + mass) == 0
        overridden = json.loads(capsys.readouterr().out)
        for content in (at, overridden):
            for item in content.get("calibrations", ()):
                del item["seconds"]
        assert at == overridden
        found.append(at)
    assert found[0] != found[1]


CALIBRATE = ("calibrate", "lsnd-nue", "--coupling", "mu_nue", "--simulations", "20", "--workers", "1")
INTERRUPTED = {
    "bayesnu.results.calibration.run_study": CALIBRATE,
    "bayesnu.results.discrimination.simulate": (
        "discriminate", "nucleus-10g-radiative", "--m-N", "1", "--events", "2", "--experiments", "100"
    ),
    "bayesnu.results.prior_study.study_priors": ("priors", "lsnd-nue", "--coupling", "mu_nue"),
    "bayesnu.inference.sampling.Sampler.sample": ("limit", "lsnd-nue", "--coupling", "mu_nue", "--method", "nuts"),
    "bayesnu.results.toy_limits.feldman_cousins": (
        "limit", "lsnd-nue", "--coupling", "mu_nue", "--method", "feldman-cousins"
    ),
    "bayesnu.results.coverage.run_tasks": ("coverage", "lsnd-nue", "--coupling", "mu_nue"),
    "bayesnu.results.sensitivity.run_tasks": ("sensitivity", "lsnd-nue", "--coupling", "mu_nue"),
    "bayesnu.results.region.feldman_cousins_region": ("region", "dune-on-axis", "--couplings", "mu_nue,mu_numu"),
}  # fmt: skip


# One command takes two seconds to come to where it is interrupted.
@pytest.mark.parametrize(
    "where",
    [pytest.param(at, marks=pytest.mark.slow) if "discrimination" in at else at for at in INTERRUPTED],
)
def test_ctrl_c_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupt)
    assert call(monkeypatch, *INTERRUPTED[where]) == 130
    assert capsys.readouterr() == ("", "bayesnu: interrupted\n")


@pytest.mark.slow
def test_ctrl_c_by_signal() -> None:
    """While nutpie samples, which by itself would return the draws made so far, and a limit would be printed."""
    code = (
        "import os, signal, sys, threading, time\n"
        "from bayesnu.cli import main\n"
        "from bayesnu.inference import sampling\n"
        "def interrupt(chains):\n"
        "    if not asked.is_set() and any(chain.finished_draws for chain in chains):\n"
        "        asked.set()\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "asked = threading.Event()\n"
        "sampling.watching = lambda progress: interrupt\n"
        "sys.argv = 'bayesnu limit lsnd-nue --coupling mu_nue --method nuts --draws 1000000'.split()\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "bayesnu: interrupted\n")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What progress bars of the commands are told: phrases, and pairs of counts."""
    told: list[Any] = []
    monkeypatch.setattr("bayesnu.cli.inputs.progress_bar", lambda total: nullcontext(told.append))
    monkeypatch.setattr("bayesnu.cli.limits.counting_bar", lambda _: nullcontext(lambda *counts: told.append(counts)))
    return told


def test_progress_of_discriminate_and_priors(monkeypatch: pytest.MonkeyPatch, seen: list[Any]) -> None:
    assert call(monkeypatch, *INTERRUPTED["bayesnu.results.discrimination.simulate"]) == 0
    assert seen == list(STEPS)
    seen.clear()
    assert call(monkeypatch, *INTERRUPTED["bayesnu.results.prior_study.study_priors"]) == 0
    assert seen == [(done, 6) for done in range(6)]


@pytest.mark.slow
def test_progress_of_nuts(monkeypatch: pytest.MonkeyPatch, seen: list[Any]) -> None:
    arguments = INTERRUPTED["bayesnu.inference.sampling.Sampler.sample"]
    assert call(monkeypatch, *arguments, "--draws", "50000", "--chains", "2") == 0
    # 1000 more of each chain tune it.
    assert {total for _, total in seen} == {2 * 51_000}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_region(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["region", "dune-on-axis", "--couplings", "mu_nue,mu_numu", "--points", "5", "--tolerance", "0.2"]
    arguments += ["--workers", "1"]
    assert call(monkeypatch, *arguments, "--out", str(tmp_path / "r")) == 0
    assert "pseudo-experiments" in capsys.readouterr().out
    assert json.loads((tmp_path / "r" / "region.json").read_text())["best_fit"] == pytest.approx([0, 0], abs=1e-13)
    assert (tmp_path / "r" / "region.png").stat().st_size > 5000


def test_contour(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["contour", "dune-on-axis", "--couplings", "q_nue, q_numu", "--cl", "0.68"]
    assert call(monkeypatch, *arguments, "--format", "json", "--out", str(tmp_path / "c")) == 0
    content = json.loads(capsys.readouterr().out)
    assert content == json.loads((tmp_path / "c" / "contour.json").read_text())
    assert (content["couplings"], content["delta_chi2"]) == (["q_nue", "q_numu"], pytest.approx(2.2789, abs=1e-4))
    assert (tmp_path / "c" / "contour.png").stat().st_size > 5000
    assert call(monkeypatch, *arguments) == 0
    assert "68% contour of q_nue and q_numu" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["contour", "dune-on-axis", "--couplings", "mu_nue"], "--couplings mu_nue: must be A,B"),
        (["contour", "dune-on-axis", "--couplings", "mu_nue,mu_nu"], "did you mean 'mu_nu"),
        (["contour", "dune-on-axis", "--couplings", "q_nue,q_nue"], "must be two different ones"),
        (["contour", "dune-on-axis", "--couplings", "q_nue,q_numu", "--cl", "90"], "cl = 90.0: must be between 0"),
        (["contour", "dune-on-axis", "--couplings", "mu_nue,q_nue", "--at", "m_N=1"], "counts of mu_nue and q_nue do"),
        (["region", "dune-on-axis", "--couplings", "mu_nue"], "--couplings mu_nue: must be A,B"),
        (["region", "dune-on-axis", "--couplings", "mu_nue,q_nue", "--pulls", "none"], "unknown pulls 'none'"),
        (["coverage", "lsnd-nue", "--coupling", "mu_nue", "--cl", "2"], "cl = 2.0: must be between 0 and 1"),
        (["sensitivity", "lsnd-nue", "--coupling", "mu_nu"], "did you mean 'mu_nu"),
        (["sensitivity", "lsnd-nue", "--coupling", "mu_nue", "--n", "9999999999"], "at least 200"),
        (["sensitivity", "lsnd-nue", "--coupling", "mu_nue", "--at", "m_N=1"], "--at m_N=1: counts of mu_nue do not"),
        (["coverage", "lsnd-nue", "--coupling", "mu_nue", "--at", "m_N=1"], "--at m_N=1: counts of mu_nue do not"),
        (["region", "dune-on-axis", "--couplings", "mu_nue,q_nue", "--at", "m_N=1"], "counts of mu_nue and q_nue do"),
        (["calibrate", "lsnd-nue", "--at", "m_N=1"], "--at m_N=1: counts of lsnd-nue do not depend on the mass of N"),
        (["coverage", "lsnd-nue", "--coupling", "mu_nue", "--true", "nan"], "mu_nue = nan: must be finite"),
        (["coverage", "lsnd-nue", "--coupling", "mu_nue", "--true", "inf"], "mu_nue = inf: must be finite"),
        (["coverage", "lsnd-nue", "--coupling", "mu_nue", "--true=-1"], "mu_nue = -1.0: must be at least 0"),
        (["coverage", "lsnd-nue", "--coupling", "mu_nue", "--true", "1e300"], "mu_nue = 1e+300: the expected counts"),
        (["coverage", "lsnd-nue", "--coupling", "mu_nue", "--true", "1"], "mu_nue = 1: 5.2e+19 expected counts in one"),
        (["coverage", "lsnd-nue", "--coupling", "mu_nue", "--n", "9"], "n = 9: needs at least 100"),
        (["toys", "dune-on-axis", "--set", "mu_nue=1e300"], "mu_nue = 1e+300: the expected counts overflow"),
        (["toys", "dune-on-axis", "--set", "mu_nue=nan"], "mu_nue = nan: must be finite"),
        (["toys", "dune-on-axis", "--set", "mu_nue=1"], "choose smaller values"),
        (["region", "dune-on-axis", "--couplings", "mu_nue,mu_numu", "--points", "0"], "points = 0: must be from 5"),
        (["calibrate", "lsnd-nue", "--simulations", "0"], "simulations = 0: needs at least 20"),
        (["calibrate", "lsnd-nue", "--seed", "-1"], "seed = -1: must be at least 0"),
        *(
            ([*command, "--at", "m_N=50"], "d_nue: no count depends on it at m_N = 50 MeV, so that it cannot be fitted")
            for command in (
                ["sensitivity", "nucleus-10g", "--coupling", "d_nue"],
                ["coverage", "nucleus-10g", "--coupling", "d_nue"],
                ["toys", "nucleus-10g", "--coupling", "d_nue"],
                ["region", "nucleus-10g", "--couplings", "mu_nue,d_nue"],
                ["contour", "nucleus-10g", "--couplings", "mu_nue,d_nue"],
                ["calibrate", "nucleus-10g", "--coupling", "d_nue"],
                ["priors", "nucleus-10g", "--coupling", "d_nue"],
            )
        ),
    ],
)
def test_bad_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert call(monkeypatch, *arguments) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
    assert said.err.startswith("bayesnu: ")
    assert said.err.count("\n") == 1
