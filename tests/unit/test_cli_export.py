"""bayesnu export on the command line: where it writes, what it says, and what it refuses."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bayesnu.cli import main
from bayesnu.experiment.setup import Experiment
from bayesnu.export import hepdata_tables, source
from bayesnu.results.runs import Run

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def export(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], finished_run: Run, on_axis: Experiment,
    tmp_path: Path,
) -> Call:  # fmt: skip
    """Export a copy of a finished run, tmp_path/run; its experiment is at hand, its response and densities left out."""
    shutil.copytree(finished_run.folder, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(source, "assemble", lambda *_: on_axis)
    monkeypatch.setattr(hepdata_tables, "find_response", lambda *_: None)
    monkeypatch.setattr(hepdata_tables, "response_tables", lambda *_: [])
    monkeypatch.setattr(hepdata_tables, "density_tables", lambda *_: [])

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bayesnu", "export", "run", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        written = capsys.readouterr()
        return int(stop.value.code or 0), written.out, written.err

    return call


def test_hepdata(export: Call, tmp_path: Path) -> None:
    status, out, err = export("--to", "hepdata")
    folder = tmp_path / "run-hepdata"
    assert (status, out, err) == (0, "hepdata: run-hepdata/submission.yaml, 5 tables\n", "")
    assert (folder / "submission.yaml").read_text().count("data_file: ") == 5
    again = export("--to", "hepdata")[2]
    assert again == "bayesnu: run-hepdata: holds an export; choose another --out or give --force\n"
    assert export("--to", "hepdata", "--force")[0] == 0


def test_pyhf(export: Call, tmp_path: Path) -> None:
    status, out, err = export("--to", "pyhf", "--out", "ws")
    assert (status, err) == (0, "")
    left, place = out.splitlines()
    assert left.startswith(
        "wrong_sign × electron_flavour has no counterpart in a workspace: at one sigma of both it is 0."
    )
    about = json.loads((tmp_path / "ws" / "about.json").read_text())
    assert place == f"pyhf: ws/workspace.json, mu2 = (mu_numu/{about['mu2']['scale']:.6g} mu_B)²"
    assert (
        export("--to", "pyhf", "--coupling", "mu_numu")[1]
        .splitlines()[1]
        .startswith("pyhf: run-pyhf-mu_numu/workspace.json, ")
    )


def test_limits(export: Call, tmp_path: Path) -> None:
    assert export("--to", "csv") == (0, "csv: run-limits.csv\n", "")
    assert (tmp_path / "run-limits.csv").read_text() == (tmp_path / "run" / "limits.csv").read_text()
    assert export("--to", "latex", "--out", "t.tex") == (0, "latex: t.tex\n", "")
    assert (tmp_path / "t.tex").read_text().startswith(r"\begin{table}")
    assert export("--to", "csv")[2].endswith("run-limits.csv: exists; choose another --out or give --force\n")


def test_withheld_limits(export: Call, failing_limits: None) -> None:
    status, _, err = export("--to", "csv")
    assert (status, err.startswith("bayesnu: mu_numu: the limit is withheld")) == (1, True)
    status, out, err = export("--to", "csv", "--force", "--allow-unconverged")
    assert (status, err) == (0, "")
    assert out.startswith("NOT CONVERGED: the limit on mu_numu is shown")


@pytest.fixture
def failing_limits(export: Call, tmp_path: Path) -> None:
    """The fit of mu_numu in tmp_path/run failed."""
    path = tmp_path / "run" / "limits.json"
    limits = json.loads(path.read_text())
    limits["limits"][0]["diagnostics"] |= {"verdict": "fail", "reasons": ["ESS 12"], "hint": "give more"}
    path.write_text(json.dumps(limits))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "root"), "'root' is not one of"),
        ((), "Missing option '--to'"),
        (("--to", "pyhf", "--coupling", "q_numu"), "q_numu cannot be written for pyhf: only a magnetic moment"),
        (("--to", "pyhf", "--coupling", "mu_num"), "did you mean 'mu_numu'?"),
        (("--to", "csv", "--coupling", "mu_numu"), "--coupling mu_numu: is for --to pyhf; --to csv writes all"),
        (("--to", "pyhf", "--allow-unconverged"), "--allow-unconverged: is for --to hepdata, csv and latex"),
    ],
)
def test_refusals(export: Call, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    status, out, err = export(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
