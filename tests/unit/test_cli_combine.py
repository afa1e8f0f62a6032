"""bayesnu combine: limits of several cards together on stdout, what is approximate first, bad input in one line."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bayesnu import cli

LIMIT = """
name = "reactor"
title = "A reactor"
scattering = "published-limit"
approximate = true
[source]
paper = "arXiv:0000.00000"
[couplings.mu_nue]
[[limits]]
coupling = "mu_nue"
form = "half-normal in the square"
cl = 0.90
upper = 1e-9
source = "their Table 2"
"""
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def start(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bayesnu", "combine", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return start


@pytest.fixture
def reactor(tmp_path: Path) -> Path:
    path = tmp_path / "reactor.toml"
    path.write_text(LIMIT, encoding="utf-8")
    return path


def test_json(call: Call, reactor: Path) -> None:
    options = ("--coupling", "mu_nue", "--method", "poisson", "--format", "json")
    status, out, _ = call("lsnd-nue", reactor, *options)
    assert status == 0
    content = json.loads(out)
    assert next(iter(content)) == "approximate"
    assert content["approximate"][0].startswith("APPROXIMATE: reactor is not a likelihood")
    (limit,) = content["limits"]
    assert (limit["model"], limit["coupling"], limit["method"]) == ("lsnd-nue_and_reactor", "mu_nue", "chi2")
    # Stronger than either; LSND's alone is 1.1e-9.
    assert list(limit["alone"]) == ["lsnd-nue"]
    assert 0.5e-9 < limit["intervals"][0][1] < min(1e-9, limit["alone"]["lsnd-nue"]["intervals"][0][1])


def test_table_says_first_what_is_approximate(call: Call, reactor: Path) -> None:
    status, out, _ = call("lsnd-nue", reactor, "--method", "laplace")
    assert status == 0
    assert out.startswith("APPROXIMATE: reactor is not a likelihood but the published limit on mu_nue (90% C.L.")
    assert "lsnd-nue alone" in out
    assert "mu_numu [mu_B]" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lsnd-nue",), "combine: needs two cards or more"),
        (("lsnd-nue", "nucleus-10kg", "--coupling", "mu_nu"), "unknown coupling 'mu_nu'"),
        (("lsnd-nue", "nucleus-10kg", "--method", "feldman-cousins"), "unknown method 'feldman-cousins'"),
        (("lsnd-nue", "nucleus-10kg", "--draws", "500"), "draws: is for the method nuts"),
        (("lsnd-nue", "nucleus-10kg", "--joint", "mu_nue,mu_numu"), "--joint: is for a run folder; give --out"),
        (("lsnd-nue", "nucleus-10kg", "--force"), "--force: is for a run folder; give --out"),
        (("lsnd-nue", "nucleus-10kg", "--out", "x", "--method", "nuts"), "--method: a run folder has"),
        (("lsnd-nue", "nucleus-10kg", "--out", "x", "--cl", "0.95"), "--cl 0.95: a run folder has limits of 0.9"),
    ],
)
def test_bad_input(call: Call, arguments: tuple[str, ...], message: str) -> None:
    status, out, err = call(*arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_run_folder(call: Call, reactor: Path, tmp_path: Path) -> None:
    """Posterior by NUTS of counts and data with normal errors, figures and report."""
    folder = tmp_path / "run"
    options = ("--coupling", "mu_nue", "--draws", "1000", "--chains", "4", "--out", folder)
    status, out, err = call("dune-on-axis", "lsnd-nue", reactor, *options)
    assert status == 0, err
    assert out.startswith("APPROXIMATE: reactor")
    limits = json.loads((folder / "limits.json").read_text(encoding="utf-8"))
    assert limits["approximate"]
    (entry,) = limits["limits"]
    assert entry["diagnostics"]["verdict"] in ("pass", "warn")
    nuts, grid = (entry[key]["intervals"][0][1] for key in ("credible", "laplace"))
    assert nuts == pytest.approx(grid, rel=0.1)
    assert "APPROXIMATE: reactor" in (folder / "report.html").read_text(encoding="utf-8")
