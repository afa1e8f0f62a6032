"""What `import bayesnu` gives: every command as one documented call, results that show themselves."""

import inspect
import re
from dataclasses import is_dataclass
from pathlib import Path

import pytest

import bayesnu
from bayesnu.cli.app import COMMANDS
from bayesnu.errors import UsageError
from bayesnu.experiment.setup import Experiment
from bayesnu.results.runs import Run
from bayesnu.shown import Shown

CALLS = {
    "new": "new", "check": "check", "run": "run", "predict": "predict", "limit": "limit", "draw": "draw",
    "combine": "combined_limits", "optimise": "optimise", "priors": "priors", "sensitivity": "sensitivity",
    "toys": "toys", "region": "region", "contour": "contour", "coverage": "coverage", "calibrate": "calibrate",
    "compare": "compare",
    "report": "write_report", "export": "export_run", "cite": "cite", "response": "describe_response",
    "discriminate": "discriminate", "models": "models", "data": "data", "schema": "schema",
}  # fmt: skip
"""The call for each command."""


def test_every_command_is_a_call() -> None:
    assert set(CALLS) == {command.__name__ for command in COMMANDS}
    assert set(CALLS.values()) <= set(bayesnu.__all__)


@pytest.mark.parametrize("name", bayesnu.PUBLIC)
def test_public_names_are_there_and_documented(name: str) -> None:
    found = getattr(bayesnu, name)
    assert inspect.getdoc(found)
    assert name in dir(bayesnu)
    if inspect.isfunction(found) and len(inspect.signature(found).parameters) > 1:
        said = inspect.getdoc(found) or ""
        assert "Parameters\n" in said or "see `" in said, name


def test_stub_says_the_same() -> None:
    stub = Path(bayesnu.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    found = re.findall(r"^from (\S+) import (\S+) as (\S+)$", stub, re.MULTILINE)
    assert {name: (module, own) for module, own, name in found} == bayesnu.PUBLIC


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'bayesnu' has no attribute 'limits'"):
        _ = bayesnu.limits  # type: ignore[attr-defined]


def results() -> list[type]:
    """All classes of results that show themselves."""
    import bayesnu.report.shown as shown

    return [known for known in shown.tables.registry if known is not object]


def test_every_result_is_frozen_and_shows_itself() -> None:
    assert len(results()) >= 16
    for known in results():
        assert issubclass(known, Shown), known
        assert is_dataclass(known)
        assert known.__dataclass_params__.frozen, known
        # A dataclass writes a repr of its own unless told not to.
        assert known.__repr__ is Shown.__repr__, known


def test_tables_in_a_terminal_and_in_a_notebook(on_axis: Experiment, finished_run: Run) -> None:
    interval = bayesnu.limit(on_axis, "mu_numu", method="laplace")
    assert "< 2.61 × 10^-10 mu_B" in repr(interval)
    page = interval._repr_html_()
    assert "<th>probability</th>" in page
    assert "<td>&lt; 2.61 × 10^-10 mu_B</td>" in page
    assert "model" not in page
    assert repr(bayesnu.cite()).startswith("@software{bayesnu")
    assert bayesnu.cite()._repr_html_().startswith("<pre>@software")
    assert repr(bayesnu.predict(on_axis)).count("mode, 0 m") == 2
    assert "q_numu" in repr(bayesnu.load_run(finished_run.folder))
    both = bayesnu.compare([finished_run.folder, str(finished_run.folder)])
    assert "Runs side by side" in repr(both)
    assert "flat in the square" in bayesnu.priors(on_axis, "mu_numu")._repr_html_()


def test_experiments_are_named_and_not_written_out(on_axis: Experiment) -> None:
    assert repr(on_axis).startswith("<ElectronExperiment dune-on-axis: 24 observations (Asimov data), 5 pulls")


def test_scan_and_response(on_axis: Experiment) -> None:
    dipole = bayesnu.load_experiment("dune-on-axis-dipole")
    found = bayesnu.scan(dipole, "d_numu", [0.0, 10.0])
    assert [mass for mass, _ in found.points] == [0.0, 10.0]
    assert found.points[1][1].m_N == 10.0
    assert "by chi2, 90%" in repr(found)
    with pytest.raises(UsageError, match="counts of mu_numu do not depend on the mass of N"):
        bayesnu.scan(on_axis, "mu_numu", [1.0])
    assert bayesnu.describe_response(on_axis).largest_error < 0.01
