"""The commands for an experiment of one's own, help with examples, completion, and the nearest valid name."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.main import get_command

from bayesnu import cli
from bayesnu.cli.app import COMMANDS, app
from bayesnu.cli.complete import among, assignments, couplings, listed, models
from bayesnu.cli.own import SCHEMA_KINDS
from bayesnu.experiment.load import SCHEMAS, card_schema
from bayesnu.resources import shipped_models

GROUP: Any = get_command(app)


class Result(NamedTuple):
    status: int
    out: str
    err: str


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


def test_new_then_check(bayesnu_: Call) -> None:
    made = bayesnu_("new", "mine", "--like", "lsnd-nue")
    assert (made.status, made.out) == (0, "mine/mine.toml\nmine/observed_counts.csv\n")
    assert made.err == "bayesnu: next: bayesnu check mine/mine.toml\n"
    checked = bayesnu_("check", "mine/mine.toml")
    assert checked.status == 0
    assert "mine: valid" in checked.out
    assert "observed counts of observed_counts.csv, with their measured errors" in checked.out
    assert checked.err == "bayesnu: written: mine/check/flux.png, mine/check/spectrum.png\n"
    assert Path("mine/check/spectrum.png").is_file()
    again = bayesnu_("new", "mine", "--like", "lsnd-nue")
    assert (again.status, again.out) == (2, "")
    assert again.err == "bayesnu: mine: exists already; choose another name, or remove it\n"


def test_check_of_a_shipped_card(bayesnu_: Call) -> None:
    content = json.loads(bayesnu_("check", "lsnd-nue", "--format", "json", "-o", "pulls.flux_norm=0.05").out)
    assert content["pulls"] == {"flux_norm": 0.05}
    assert Path("check-lsnd-nue/flux.png").is_file()
    Path("there").touch()
    taken = bayesnu_("check", "lsnd-nue", "--out", "there")
    assert (taken.status, taken.out, taken.err.count("\n")) == (2, "", 1)
    assert "there" in taken.err
    bad = bayesnu_("check", "lsnd-nue", "-o", "pulls.flux=0.2")
    assert (bad.status, bad.out, bad.err.count("\n")) == (2, "", 1)
    assert "did you mean 'flux_norm'" in bad.err


@pytest.mark.parametrize("kind", SCHEMA_KINDS)
def test_schema(bayesnu_: Call, kind: str) -> None:
    found = bayesnu_("schema", "--kind", kind)
    assert (found.status, found.err) == (0, "")
    assert json.loads(found.out) == card_schema(kind)


def test_kinds_are_all_kinds() -> None:
    assert set(SCHEMA_KINDS) == set(SCHEMAS)


@pytest.mark.parametrize("name", GROUP.commands)
def test_help_has_an_example_that_parses(bayesnu_: Call, name: str) -> None:
    text = bayesnu_(name, "--help").out
    example = re.search(r"^  Example:\n    bayesnu (\S+) ?(.*)$", text, re.MULTILINE)
    assert example is not None
    assert example[1] == name
    arguments = shlex.split(example[2].partition(" > ")[0])
    context = GROUP.commands[name].make_context(name, list(arguments))
    given = [value for value in context.params.values() if value not in (None, False)]
    assert len(given) >= bool(arguments)
    model = context.params.get("model") or context.params.get("like")
    assert model is None or model in shipped_models()


def test_every_command_has_an_example() -> None:
    assert [command.__name__ for command in COMMANDS] == list(GROUP.commands)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("chek",), "'check'"),
        (("nwe",), "'new'"),
        (("new", "mine", "--like", "lsnd"), "did you mean 'lsnd-nue'"),
        (("new", "mine", "--lik", "lsnd-nue"), "--like"),
        (("check", "lsnd-nu"), "did you mean 'lsnd-nue'"),
        (("check", "lsnd-nue", "--format", "jsn"), "did you mean 'json'"),
        (("schema", "--kind", "nucleu"), "did you mean 'nucleus'"),
        (("limit", "lsnd-nue", "--coupling", "mu_neu"), "did you mean 'mu_nue'"),
        (("limit", "lsnd-nue", "--coupling", "mu_nue", "--method", "laplac"), "did you mean 'laplace'"),
        (("priors", "lsnd-nue", "--coupling", "mu_nue", "--kind", "hd"), "did you mean 'hdi'"),
        (("limit", "lsnd-nue"), "bayesnu limit --help has an example"),
    ],
)
def test_an_error_names_the_nearest_valid_name(bayesnu_: Call, arguments: tuple[str, ...], hint: str) -> None:
    found = bayesnu_(*arguments)
    assert (found.status, found.out, found.err.count("\n")) == (2, "", 1)
    assert hint in found.err


def test_completions() -> None:
    assert models("dune-p") == ["dune-prism-dipole", "dune-prism"]
    assert couplings("r2") == ["r2_nue", "r2_numu"]
    assert among("nuts", "laplace")("n") == ["nuts"]
    assert assignments(couplings)("r2_nue") == ["r2_nue="]
    assert listed(couplings)("mu_nue,mu_n") == ["mu_nue,mu_numu"]


WITHOUT_NAMES = {
    "allow_unconverged", "chains", "cl", "draws", "events", "experiments", "folder", "force", "m_N", "n",
    "never_falling", "out", "override", "points", "run_folder", "runs", "samples", "scan", "scheduler",
    "seed", "simulations", "tolerance", "total_years", "toys", "true", "workers",
}  # fmt: skip
"""Numbers, flags, files and keys of a card."""


def test_every_option_that_takes_a_name_offers_names() -> None:
    """Couplings, cards, methods and whatever else has names; what has none is listed below."""
    for name, command in GROUP.commands.items():
        context = GROUP.make_context("bayesnu", ["models"])
        silent = {item.name for item in command.params if not item.shell_complete(context, "")}
        assert silent - WITHOUT_NAMES == set(), name


def test_shell_completion(tmp_path: Path) -> None:
    words = "bayesnu check coh"
    environment = {
        **os.environ,
        "_BAYESNU_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": "2",
    }
    script = Path(sys.executable).with_name("bayesnu")
    done = subprocess.run([script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["coherent-csi-2017"], "")


def test_completions_are_the_valid_names() -> None:
    """What the command line offers for an option is what the library takes."""
    from bayesnu.results.calibration import METHODS as CALIBRATED
    from bayesnu.results.intervals import KINDS
    from bayesnu.results.limits import METHODS

    def offered(command: str, option: str) -> set[str]:
        parameter = next(p for p in GROUP.commands[command].params if option in p.opts)
        return {item.value for item in parameter.shell_complete(GROUP.make_context("bayesnu", ["models"]), "")}

    assert offered("limit", "--method") == set(METHODS)
    assert offered("limit", "--kind") == offered("priors", "--kind") == set(KINDS)
    assert offered("calibrate", "--method") == set(CALIBRATED)
