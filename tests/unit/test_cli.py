"""The command line: machine output on stdout, everything else on stderr; bad input is one line and status 2."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import bayesnu
from bayesnu import cli
from bayesnu.experiment import setup
from bayesnu.experiment.setup import Experiment
from bayesnu.physics.couplings import CHANNELS, ELECTROMAGNETIC, TRANSITION
from bayesnu.report import build
from bayesnu.resources import data_folder
from bayesnu.results.limits import limit
from bayesnu.results.runs import Run


class Result(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """The one line of an error."""
        assert self.out == ""
        assert self.err.endswith("\n")
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err
        assert self.status == 2
        return self.err


Run_ = Callable[..., Result]


@pytest.fixture
def bayesnu_(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run_:
    """Call the command line in this process, in an empty working folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def call(*arguments: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["bayesnu", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return Result(int(stopped.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, on_axis: Experiment, prism: Experiment) -> None:
    """Plain shipped cards come from the fixtures, already assembled."""
    load = setup.load_experiment
    ready = {"dune-on-axis": on_axis, "dune-prism": prism}

    def reuse(model: str, overrides: Any = (), notice: Any = None) -> Experiment:
        return ready[model] if model in ready and not overrides else load(model, overrides, notice)

    monkeypatch.setattr(setup, "load_experiment", reuse)


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Write an empty page in place of the report: drawing takes seconds."""
    written: list[Path] = []

    class Idle:
        def prepare(self) -> None:
            pass

        def start(self, *_: object) -> None:
            pass

    @contextmanager
    def idle() -> Iterator[Idle]:
        yield Idle()

    def write(run: Run, background: object = None, *, allow_unconverged: bool = False) -> Path:
        written.append(run.folder)
        (run.folder / "report.html").write_text(f"report {allow_unconverged}")
        return run.folder / "report.html"

    monkeypatch.setattr(build, "drawing", idle)
    monkeypatch.setattr(build, "write_report", write)
    return written


def fresh(*arguments: str, cwd: Path, code: str | None = None) -> Result:
    """Run in a fresh process."""
    command = [sys.executable, *(["-c", code] if code else ["-m", "bayesnu.cli", *arguments])]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


# Imports

HEAVY = ("pymc", "pytensor", "nutpie", "arviz", "matplotlib")


def test_importing_bayesnu_imports_nothing(tmp_path: Path) -> None:
    found = fresh(
        code="import bayesnu, sys; print([m for m in ('numpy', 'typer', 'pydantic') if m in sys.modules])", cwd=tmp_path
    )
    assert (found.status, found.out.strip()) == (0, "[]")


LIGHT = """
import sys
from bayesnu.cli import main
for arguments in {commands!r}:
    sys.argv = ["bayesnu", *arguments]
    print("#", *arguments, flush=True)
    try:
        main()
    except SystemExit as stopped:
        status = stopped.code
    print(arguments[0], [m for m in {heavy!r} if m in sys.modules], status or 0, file=sys.stderr)
"""


def test_light_commands_import_nothing_heavy(tmp_path: Path) -> None:
    """One after the other in one process, since what is imported stays."""
    commands = [
        ("--help",),
        ("predict", "dune-on-axis", "--format", "json"),
        ("limit", "dune-on-axis", "--coupling", "mu_nue"),
        ("limit", "dune-on-axis", "--coupling", "q_numu", "--method", "laplace"),
        ("toys", "dune-on-axis", "--coupling", "q_numu", "--n", "100"),
    ]
    found = fresh(code=LIGHT.format(commands=commands, heavy=HEAVY), cwd=tmp_path)
    assert found.err.splitlines() == [f"{arguments[0]} [] 0" for arguments in commands]
    _, *printed = re.split(r"^# .*\n", found.out, flags=re.MULTILINE)
    assert len(printed) == len(commands)
    assert all(printed)


@pytest.mark.slow
def test_check_imports_no_more_than_it_needs(tmp_path: Path) -> None:
    """It draws without pyplot; with its background kept from an earlier command, `predict` needs no compiled code."""
    own = ("dune-on-axis", "-o", "backgrounds.model=ccqe", "--format", "json")
    assert fresh("predict", *own, cwd=tmp_path).status == 0
    for arguments, needless in {
        ("predict", *own): ("numba", "scipy"),
        ("check", *own): ("matplotlib.pyplot", "pandas", "xarray", "scipy.special", "scipy.stats", "arviz", "pymc"),
    }.items():
        found = fresh(code=LIGHT.format(commands=[arguments], heavy=needless), cwd=tmp_path)
        assert f"{arguments[0]} [] 0" in found.err.splitlines()


def test_installed_command(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("bayesnu")
    done = subprocess.run([script, "--version"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"bayesnu {bayesnu.__version__}\n", "")
    bad = subprocess.run([script, "predict", "dune"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert Result(bad.returncode, bad.stdout, bad.stderr).line.startswith("bayesnu: unknown model 'dune'")


def test_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    command = f"{sys.executable} -m bayesnu.cli predict dune-on-axis --format json | head -c 1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "{"
    assert "Traceback" not in done.stderr


# Help, version, lists


def test_help_lists_the_commands(bayesnu_: Run_) -> None:
    found = bayesnu_("--help")
    assert found.status == 0
    assert found.err == ""
    assert bayesnu_() == found
    commands = ("run", "predict", "limit", "priors", "toys", "compare", "report", "export", "response", "models")
    assert all(f"\n  {name} " in found.out for name in commands)
    for name in commands:
        assert f"bayesnu {name} [OPTIONS]" in bayesnu_(name, "--help").out


def test_options_of_the_issue_exist(bayesnu_: Run_) -> None:
    for command, options in {
        "run": "--coupling --out --draws --chains --seed --force --allow-unconverged -o",
        "priors": "--coupling --cl --kind --format -o",
        "compare": "--allow-unconverged",
        "report": "--allow-unconverged",
        "export": "--to --coupling --out --force --allow-unconverged",
        "predict": "--set --pull --format -o",
        "limit": "--coupling --method --variance --cl --kind --draws --chains --seed --allow-unconverged --format -o "
        "--toys --pulls --tolerance --never-falling --workers --scheduler --out --force --at --scan",
        "draw": "--coupling --draws --seed --cl --kind --out --at --allow-unconverged --format -o",
        "toys": "--n --set --coupling --pulls --seed --at --workers --scheduler --out --force --format -o",
        "response": "--samples --seed",
    }.items():
        text = bayesnu_(command, "--help").out
        assert [option for option in options.split() if option not in text] == []


def test_version_models_and_data(bayesnu_: Run_) -> None:
    assert bayesnu_("--version") == (0, f"bayesnu {bayesnu.__version__}\n", "")
    models = bayesnu_("models")
    assert (models.status, models.err) == (0, "")
    assert "dune-on-axis" in models.out
    assert "dune-prism" in models.out
    data = bayesnu_("data")
    assert (data.status, data.err) == (0, "")
    assert "flux/dune_nd.csv" in data.out
    assert "CHANGED" not in data.out


def test_data_says_what_was_changed(bayesnu_: Run_, share_copy: Path) -> None:
    (share_copy / "data" / "flux" / "dune_nd.csv").write_text("x")
    found = bayesnu_("data")
    assert found.status == 2
    assert found.out.count("CHANGED") == 1
    assert found.err == "bayesnu: data/flux/dune_nd.csv: missing or changed since the manifest was written\n"


# predict


def test_predict_json(bayesnu_: Run_, quick: None, on_axis: Experiment) -> None:
    found = bayesnu_("predict", "dune-on-axis", "--format", "json")
    assert (found.status, found.err) == (0, "")
    content = found.json
    assert list(content) == ["model", "couplings", "exposures"]
    assert content["model"] == "dune-on-axis"
    assert content["couplings"] == dict.fromkeys((*ELECTROMAGNETIC, *TRANSITION, "m_N"), 0.0)
    assert [(e["mode"], e["position_m"], e["years"]) for e in content["exposures"]] == [
        ("neutrino", 0.0, 3.5),
        ("antineutrino", 0.0, 3.5),
    ]
    for k, exposure in enumerate(content["exposures"]):
        assert set(exposure) == {
            "mode", "position_m", "years", "bin_edges_mev", "signal", "signal_total_per_year", "background", "total",
        }  # fmt: skip
        assert len(exposure["bin_edges_mev"]) == 13
        assert list(exposure["signal"]) == list(exposure["signal_total_per_year"]) == list(CHANNELS)
        assert set(exposure["background"]) == {"ccqe", "pi0"}
        parts = [*exposure["signal"].values(), *exposure["background"].values()]
        assert {len(part) for part in parts} == {12}
        np.testing.assert_allclose(exposure["total"], np.sum(parts, axis=0), rtol=1e-12)
        np.testing.assert_allclose(exposure["total"], on_axis.model.expected()[12 * k : 12 * k + 12], rtol=1e-12)


def test_predict_per_year_totals_are_table_one(bayesnu_: Run_, quick: None) -> None:
    """Counts above threshold, before binning: the shipped event table, which the card normalises to."""
    content = bayesnu_("predict", "dune-on-axis", "--format", "json").json
    lines = (data_folder() / "events" / "dune_table1.csv").read_text(encoding="utf-8")
    for exposure in content["exposures"]:
        for channel, total in exposure["signal_total_per_year"].items():
            assert total > sum(exposure["signal"][channel]) / exposure["years"]
            assert f"{total:.6g}" in lines or f"{total:.1f}" in lines or f"{total:.0f}" in lines


def test_predict_with_couplings_and_pulls(bayesnu_: Run_, quick: None, on_axis: Experiment) -> None:
    content = bayesnu_(
        "predict", "dune-on-axis", "--format", "json", "--set", "mu_numu=3e-10", "--set", "q_nue=-1e-8",
        "--pull", "flux_norm=0.1", "--pull", "ccqe=-0.2",
    ).json  # fmt: skip
    others = dict.fromkeys((*ELECTROMAGNETIC, *TRANSITION, "m_N"), 0.0)
    assert content["couplings"] == {**others, "mu_numu": 3e-10, "q_nue": -1e-8}
    expected = on_axis.model.expected({"mu_numu": 3e-10, "q_nue": -1e-8}, {"flux_norm": 0.1, "ccqe": -0.2})
    np.testing.assert_allclose([t for e in content["exposures"] for t in e["total"]], expected, rtol=1e-12)
    plain = bayesnu_("predict", "dune-on-axis", "--format", "json").json
    first, second = plain["exposures"][0], content["exposures"][0]
    np.testing.assert_allclose(second["background"]["ccqe"], 0.8 * np.array(first["background"]["ccqe"]))
    np.testing.assert_allclose(second["background"]["pi0"], first["background"]["pi0"])
    assert second["signal_total_per_year"]["numu"] > 1.1 * first["signal_total_per_year"]["numu"]


def test_predict_table_and_overrides(bayesnu_: Run_) -> None:
    found = bayesnu_("predict", "dune-on-axis", "-o", "exposures.0.years=7", "-o", "target.mass_tonnes=100")
    assert (found.status, found.err) == (0, "")
    assert "neutrino mode, 0 m, 7 years" in found.out
    doubled, plain = (
        bayesnu_("predict", "dune-on-axis", "--format", "json", *more).json["exposures"][0]["total"]
        for more in (("-o", "target.mass_tonnes=100"), ())
    )
    np.testing.assert_allclose(doubled, 2 * np.array(plain), rtol=1e-9)


def test_card_by_path(bayesnu_: Run_, edited_card: Callable[..., Path]) -> None:
    card = edited_card(('name = "dune-on-axis"', 'name = "mine"'))
    assert bayesnu_("predict", card, "--format", "json").json["model"] == "mine"


# limit


@pytest.mark.parametrize(
    ("options", "keywords", "kind"),
    [
        ((), {}, "delta_chi2"),
        (("--variance", "sm+background", "--cl", "0.68"), {"variance": "sm+background", "cl": 0.68}, "delta_chi2"),
        (("--method", "poisson"), {"method": "poisson"}, "delta_chi2"),
        (("--method", "laplace"), {"method": "laplace"}, "hdi"),
        (("--method", "laplace", "--kind", "eti"), {"method": "laplace", "kind": "eti"}, "eti"),
    ],
)
def test_limit_json(
    bayesnu_: Run_, quick: None, on_axis: Experiment, options: tuple[str, ...], keywords: dict[str, Any], kind: str
) -> None:
    found = bayesnu_("limit", "dune-on-axis", "--coupling", "q_numu", "--format", "json", *options)
    assert (found.status, found.err) == (0, "")
    expected = limit(on_axis, "q_numu", few=True, **keywords)
    # Compiled fits, as of a call in Python, end within rounding of those by NumPy.
    np.testing.assert_allclose(expected.intervals, limit(on_axis, "q_numu", **keywords).intervals, rtol=1e-9)
    assert found.json == {
        "model": "dune-on-axis",
        "coupling": "q_numu",
        "unit": "e",
        "method": keywords.get("method", "chi2"),
        "cl": keywords.get("cl", 0.90),
        "kind": kind,
        "intervals": [list(pair) for pair in expected.intervals],
        "mc_error": [[None, None]],
    }


def test_limit_of_a_moment(bayesnu_: Run_, quick: None) -> None:
    content = bayesnu_("limit", "dune-on-axis", "--coupling", "mu_numu", "--format", "json").json
    assert content["unit"] == "mu_B"
    assert content["intervals"] == [[0.0, pytest.approx(2.94e-10, rel=0.01)]]
    laplace = bayesnu_("limit", "dune-on-axis", "--coupling", "mu_numu", "--method", "laplace", "--format", "json").json
    assert laplace["kind"] == "upper"
    assert laplace["intervals"][0][0] == 0


def test_draw(bayesnu_: Run_, on_axis: Experiment, tmp_path: Path) -> None:
    out = tmp_path / "draws.csv"
    asked = ("draw", "dune-on-axis", "--coupling", "mu_numu", "--draws", "200", "--seed", "3", "--out", str(out))
    content = bayesnu_(*asked, "--format", "json").json
    own = bayesnu.draw(on_axis, "mu_numu", draws=200, seed=3)
    assert content["pareto_k"] == own.pareto_k
    assert content["limit"]["intervals"] == [list(own.interval.intervals[0])]
    assert len(out.read_text(encoding="utf-8").splitlines()) == 201
    assert "did you mean 'mu_numu'" in bayesnu_("draw", "dune-on-axis", "--coupling", "mu_num").line


@pytest.mark.slow
def test_one_limit_and_weighted_draws_load_no_compiled_code(tmp_path: Path) -> None:
    """Nor what other kinds of card, a cluster, or templates that have been folded do not need."""
    needless = ("numba", "scipy", "pandas", "xarray", "asyncio", "multiprocessing", "h5py", "matplotlib")
    needless += ("bayesnu.experiment.recoil_card", "bayesnu.experiment.published_limit_card")
    commands = [
        ("predict", "dune-prism", "--format", "json"),
        ("limit", "dune-prism", "--coupling", "mu_nue", "--method", "chi2", "--format", "json"),
        ("limit", "dune-prism", "--coupling", "q_nue", "--method", "laplace", "--format", "json"),
        ("draw", "dune-prism", "--coupling", "mu_numu", "--format", "json"),
    ]
    assert fresh("predict", "dune-prism", "--format", "json", cwd=tmp_path).status == 0
    found = fresh(code=LIGHT.format(commands=commands, heavy=needless), cwd=tmp_path)
    assert found.err.splitlines() == [f"{arguments[0]} [] 0" for arguments in commands]


@pytest.mark.slow
def test_sampling_imports_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    code = (
        "import sys, bayesnu\n"
        "from bayesnu.inference.priors import one_coupling\n"
        "from bayesnu.inference.sampling import Sampler\n"
        "problem, prior = one_coupling(bayesnu.load_experiment('dune-on-axis'), 'mu_numu')\n"
        "Sampler().sample(problem, [prior], draws=100, chains=2, tune=100, seed=1)\n"
        "print([m for m in ('pymc', 'arviz', 'pandas', 'matplotlib', 'nutpie') if m in sys.modules])\n"
        "import nutpie\n"
        "print(nutpie._lib is sys.modules['nutpie._lib'])"
    )
    assert fresh(code=code, cwd=tmp_path).out == "[]\nTrue\n"


def test_limit_by_nuts(bayesnu_: Run_, quick: None, fake_sampler: Any) -> None:
    content = bayesnu_(
        "limit", "dune-on-axis", "--coupling", "q_numu", "--method", "nuts", "--draws", "500", "--chains", "2",
        "--seed", "3", "--format", "json",
    ).json  # fmt: skip
    assert (content["method"], content["kind"]) == ("nuts", "hdi")
    assert all(0 < error < 1e-9 for pair in content["mc_error"] for error in pair)
    assert fake_sampler.seeds == [3]


def test_limit_table(bayesnu_: Run_, quick: None) -> None:
    found = bayesnu_("limit", "dune-on-axis", "--coupling", "r2_numu")
    assert "[-2.09, 2.08] × 10^-33 cm^2" in found.out
    assert found.err == ""


def test_priors(bayesnu_: Run_, quick: None) -> None:
    content = bayesnu_("priors", "dune-on-axis", "--coupling", "mu_numu", "--cl", "0.95", "--format", "json").json
    assert (content["model"], content["coupling"]) == ("dune-on-axis", "mu_numu")
    assert {item["limit"]["cl"] for item in content["limits"]} == {0.95}
    assert content["limits"][0]["limit"]["kind"] == "upper"
    table = bayesnu_("priors", "dune-on-axis", "--coupling", "q_numu", "--kind", "eti")
    assert (table.status, table.err) == (0, "")
    assert "Left out: flat in the square" in " ".join(table.out.split())
    assert "did you mean 'mu_numu'" in bayesnu_("priors", "dune-on-axis", "--coupling", "mu_num").line


def test_limit_that_did_not_converge(bayesnu_: Run_, quick: None, fake_sampler: Any) -> None:
    asked = ("limit", "dune-on-axis", "--method", "nuts", *FEW)
    withheld = bayesnu_(*asked)
    assert (withheld.status, withheld.out) == (1, "")
    assert withheld.err.startswith("bayesnu: mu_numu: the limit is withheld, since the sampler's verdict is fail: ")
    assert all(text in withheld.err for text in ("ESS ", "give --draws "))
    shown = bayesnu_(*asked, "--allow-unconverged")
    assert shown.status == 0
    assert shown.out.splitlines()[0].startswith("NOT CONVERGED: the limit on mu_numu is shown although")
    assert "× 10^-10 mu_B" in shown.out
    content = bayesnu_(*asked, "--allow-unconverged", "--format", "json")
    assert content.out.startswith('{"unconverged": ["')
    assert content.json["intervals"][0][1] > 0


# run, compare, report


RUN = ("--coupling", "mu_numu", "--coupling", "q_numu", "--draws", "1000", "--chains", "2", "--seed", "5")
FEW = ("--coupling", "mu_numu", "--draws", "100", "--chains", "2", "--seed", "5")


def test_run_and_run_again(
    bayesnu_: Run_, quick: None, fake_sampler: Any, no_report: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = bayesnu_("run", "dune-on-axis", *RUN, "--out", out)
    assert first.status == 0
    assert "mu_numu [10^-10 mu_B]" in first.out
    assert f"report: {out / 'report.html'}" in first.out
    assert first.err == ""
    assert {path.name for path in out.iterdir()} == {
        "run.json",
        "counts.json",
        "limits.json",
        "limits.csv",
        "posteriors",
        "report.html",
    }
    again = bayesnu_("run", "dune-on-axis", *RUN, "--out", out)
    assert again.out == first.out
    assert "this run is finished" in again.err
    assert fake_sampler.calls == ["mu_numu", "q_numu"]


def test_run_that_did_not_converge(
    bayesnu_: Run_, quick: None, fake_sampler: Any, no_report: list[Path], tmp_path: Path
) -> None:
    """No limit in any output, unless it is asked for; and then that is said first."""
    out = tmp_path / "out"
    first = bayesnu_("run", "dune-on-axis", *FEW, "--out", out)
    assert first.status == 1
    assert "withheld" in first.out
    assert "mu_numu: the limit is withheld" in first.err
    entry = json.loads((out / "limits.json").read_text())["limits"][0]
    number = f"{entry['credible']['intervals'][0][1] * 1e10:.2f}"
    csv = out / "limits.csv"
    assert number not in first.out
    assert csv.read_text().count("\n") == 1
    assert (out / "report.html").read_text() == "report False"
    shown = bayesnu_("run", "dune-on-axis", *FEW, "--out", out, "--allow-unconverged")
    assert shown.status == 0
    assert shown.out.startswith("NOT CONVERGED: the limit on mu_numu is shown although the sampler's verdict is fail (")
    assert number in shown.out
    assert csv.read_text().startswith("# NOT CONVERGED: the limit on mu_numu")
    assert csv.read_text().count("\n") == 7
    assert (out / "report.html").read_text() == "report True"
    again = bayesnu_("compare", out)
    assert (again.status, number in again.out, "is withheld" in again.err) == (0, False, True)
    both = bayesnu_("compare", out, out)
    assert "Runs side by side" in both.out
    assert number not in both.out
    allowed = bayesnu_("compare", out, "--allow-unconverged")
    assert allowed.out.startswith("NOT CONVERGED")
    assert number in allowed.out
    page = bayesnu_("report", out)
    assert (page.out, csv.read_text().count("\n")) == (f"report: {out / 'report.html'}\n", 1)
    assert "is withheld" in page.err
    assert bayesnu_("report", out, "--allow-unconverged").out.startswith("NOT CONVERGED")
    assert fake_sampler.calls == ["mu_numu"]


def test_default_folder_is_named_after_card_and_arguments(
    bayesnu_: Run_, quick: None, fake_sampler: Any, no_report: list[Path]
) -> None:
    for seed in ("1", "2"):
        assert bayesnu_("run", "dune-on-axis", "--coupling", "mu_numu", "--draws", "500", "--seed", seed).status == 0
    folders = sorted(Path("runs").iterdir())
    assert len(folders) == 2
    assert all(folder.name.startswith("dune-on-axis-") for folder in folders)
    records = [json.loads((folder / "run.json").read_text()) for folder in folders]
    assert [f"dune-on-axis-{record['hash']}" for record in records] == [folder.name for folder in folders]


def test_interrupted_run_keeps_the_first_fit(
    bayesnu_: Run_, quick: None, fake_sampler: Any, no_report: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    fake_sampler.interrupt_at = 2
    stopped = bayesnu_("run", "dune-on-axis", *RUN, "--out", out)
    assert stopped.status == 130
    assert stopped.out == ""
    assert "Traceback" not in stopped.err
    assert stopped.err.splitlines()[-1] == (
        f"bayesnu: interrupted; finished fits are kept in {out}: run the same command to go on"
    )
    kept = out / "posteriors" / "mu_numu.nc"
    stamp = kept.stat().st_mtime_ns
    assert [path.name for path in (out / "posteriors").iterdir()] == ["mu_numu.nc"]
    unfinished = bayesnu_("compare", out)
    assert "not finished" in unfinished.line
    assert bayesnu_("run", "dune-on-axis", *RUN, "--out", out).status == 0
    assert fake_sampler.calls == ["mu_numu", "q_numu", "q_numu"]
    assert kept.stat().st_mtime_ns == stamp


def test_compare(bayesnu_: Run_, finished_run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(finished_run.folder, other)
    one = bayesnu_("compare", finished_run.folder)
    assert (one.status, one.err) == (0, "")
    assert "[-1.07, 1.09]*" in one.out
    assert "Runs side by side" not in one.out
    two = bayesnu_("compare", finished_run.folder, other)
    assert "Runs side by side" in two.out
    assert "other: credible" in two.out


def test_report_again(bayesnu_: Run_, finished_run: Run, no_report: list[Path]) -> None:
    found = bayesnu_("report", finished_run.folder)
    (finished_run.folder / "report.html").unlink()
    assert found == (0, f"report: {finished_run.folder / 'report.html'}\n", "")


# response


def test_response(bayesnu_: Run_, coarse: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAYESNU_CACHE", str(tmp_path / "cache"))
    overrides = [part for text in coarse[:2] for part in ("-o", text)]
    first = bayesnu_("response", "dune-on-axis", "--samples", "20480", "--seed", "3", *overrides)
    assert first.status == 0
    assert "building the detector response" in first.err
    path = Path(first.out.splitlines()[0].removeprefix("response: "))
    assert path.is_relative_to(tmp_path / "cache")
    assert "20480 samples, seed 3" in first.out
    again = bayesnu_("response", "dune-on-axis", "--samples", "20480", "--seed", "3", *overrides)
    assert (again.status, again.out, again.err) == (0, first.out, "")
    path.write_bytes(path.read_bytes()[:1000])
    damaged = bayesnu_("response", "dune-on-axis", "--samples", "20480", "--seed", "3", *overrides)
    assert damaged.status == 0
    assert path.name in damaged.err
    assert damaged.out == first.out


def test_shipped_response(bayesnu_: Run_) -> None:
    found = bayesnu_("response", "dune-on-axis")
    assert (found.status, found.err) == (0, "")
    assert "data/responses/response-" in found.out
    percent = float(found.out.rpartition(": ")[2].strip().rstrip("%"))
    assert percent <= 0.1


# Bad input: status 2, one line

P, L, R = ("predict", "dune-on-axis"), ("limit", "dune-on-axis"), ("run", "dune-on-axis")
BAD: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    (("predict", "none.toml"), ("none.toml", "no such card")),
    (("predict", "dune-onaxis"), ("unknown model 'dune-onaxis'", "did you mean 'dune-on-axis'")),
    (("predict", "."), (".",)),
    ((*P, "-o", "target.mass_tons=5"), ("dune-on-axis.toml", "target.mass_tons", "did you mean 'mass_tonnes'")),
    ((*P, "-o", "target.mass_tonnes=-5"), ("dune-on-axis.toml", "target.mass_tonnes = -5", "greater than 0")),
    ((*P, "-o", "target.mass_tonnes=0"), ("target.mass_tonnes = 0", "greater than 0")),
    ((*P, "-o", "target.mass_tonnes=much"), ("target.mass_tonnes = 'much'", "number")),
    ((*P, "-o", "exposures.0.years=0"), ("exposures.0.years = 0", "greater than 0")),
    ((*P, "-o", "exposures.7.years=1"), ("exposures.7.years=1", "elements 0 to 1")),
    ((*P, "-o", "exposures=[]"), ("exposures", "at least 1")),
    ((*P, "-o", "exposures.0.mode=nutrino"), ("exposures.0.mode = 'nutrino'", "did you mean 'neutrino'")),
    ((*P, "-o", "exposures.0.position_m=12"), ("exposures.0.position_m = 12", "neutrino 18")),
    ((*P, "-o", "detector.threshold_mev=0"), ("detector.threshold_mev = 0",)),
    ((*P, "-o", "detector.angular_resolution_deg=-1"), ("detector.angular_resolution_deg = -1",)),
    ((*P, "-o", "detector.energy_resolution=0"), ("detector.energy_resolution = 0",)),
    ((*P, "-o", "detector.bin_edges_mev=[0,2,1]"), ("detector.bin_edges_mev", "1 follows 2")),
    ((*P, "-o", "flux.file=none.csv"), ("flux.file = 'none.csv'", "no such file")),
    ((*P, "-o", "nonsense"), ("-o nonsense", "KEY=VALUE")),
    ((*P, "-o", "target.mass_tonnes=[1"), ("-o target.mass_tonnes=[1", "neither a TOML value nor a bare word")),
    ((*P, "-o", "backgrounds.file=backgrounds/none.csv"), ("backgrounds.file",)),
    ((*P, "-o", "detector.threshold_mev=40"), ("threshold_mev",)),
    ((*P, "-o", "couplings.mu_nue.prior={kind='uniform', low=-1e-9, high=1e-9}"), ("mu_nue.prior.low", "at least 0")),
    ((*P, "-o", "couplings.q_nue.prior={kind='uniform', low=1, high=0}"), ("q_nue.prior", "low = 1")),
    ((*P, "-o", "exposures.0.observed_counts=[1,2]"), ("observed_counts",)),
    ((*P, "-o", "exposures.0.observed_counts=[nan,1,1,1,1,1,1,1,1,1,1,1]"), ("observed_counts.0 = nan",)),
    ((*P, "-o", "exposures.0.observed_counts=[-1,1,1,1,1,1,1,1,1,1,1,1]"), ("observed_counts.0 = -1",)),
    ((*P, "-o", "exposures.0.years=1e308"), ("overflow", "years")),
    ((*P, "-o", "flux.pot_per_year=1e308"), ("overflow", "pot_per_year")),
    ((*P, "--pull", "ccqe=1e308"), ("ccqe = 1e+308", "overflow")),
    ((*P, "--pull", "flux_norm=1e308"), ("flux_norm = 1e+308", "overflow")),
    ((*P, "--pull", "ccqe=0.1", "--pull", "ccqe=0.2"), ("--pull ccqe=0.2", "given twice")),
    ((*P, "--set", "mu_nue=0", "--set", "mu_nue=1e-9"), ("--set mu_nue=1e-9", "given twice")),
    ((*P, "--set", "mu_nu=1e-9"), ("unknown coupling 'mu_nu'", "did you mean 'mu_nu")),
    ((*P, "--set", "mu_nue=-1e-9"), ("mu_nue = -1e-09", "at least 0")),
    ((*P, "--set", "mu_nue"), ("--set mu_nue", "NAME=VALUE")),
    ((*P, "--set", "mu_nue=big"), ("--set mu_nue=big", "number")),
    ((*P, "--set", "mu_nue=nan"), ("mu_nue = nan", "finite")),
    ((*P, "--set", "mu_nue=1e200"), ("mu_nue = 1e+200", "overflow")),
    ((*P, "--set", "q_nue=-1e160"), ("q_nue = -1e+160", "overflow")),
    ((*P, "--pull", "flux=0.1"), ("unknown pull 'flux'", "did you mean 'flux_norm'")),
    ((*P, "--pull", "ccqe=-1"), ("pull ccqe = -1", "above -1")),
    ((*P, "--pull", "ccqe=-2"), ("pull ccqe = -2", "above -1")),
    ((*P, "--pull", "ccqe=inf"), ("ccqe = inf", "finite")),
    ((*P, "--format", "yaml"), ("yaml", "table", "json")),
    ((*P, "--frmat", "json"), ("--frmat", "--format")),
    (("predict",), ("MODEL",)),
    (("predikt", "dune-on-axis"), ("predikt", "predict")),
    (("limit", "dune-on-axis"), ("--coupling",)),
    ((*L, "--coupling", "mu_nu"), ("unknown coupling 'mu_nu'", "did you mean 'mu_nu")),
    ((*L, "--coupling", "q_nue", "--method", "chi"), ("unknown method 'chi'", "did you mean 'chi2'")),
    ((*L, "--coupling", "q_nue", "--variance", "bg"), ("variance = bg", "sm, sm+background")),
    ((*L, "--coupling", "q_nue", "--method", "poisson", "--variance", "sm"), ("variance = sm", "chi2")),
    ((*L, "--coupling", "q_nue", "--kind", "hdi"), ("kind = hdi", "laplace, nuts")),
    ((*L, "--coupling", "q_nue", "--seed", "1"), ("seed = 1", "laplace, nuts")),
    ((*L, "--coupling", "q_nue", "--draws", "1000"), ("draws = 1000", "laplace, nuts")),
    ((*L, "--coupling", "q_nue", "--chains", "4", "--method", "poisson"), ("chains = 4", "laplace, nuts")),
    (
        (*L, "--coupling", "q_nue", "--method", "laplace", "--kind", "hpd"),
        ("unknown kind 'hpd'", "hdi, eti, upper", "did you mean 'hdi'"),
    ),
    ((*L, "--coupling", "q_nue", "--cl", "90"), ("cl = 90", "between 0 and 1")),
    ((*L, "--coupling", "q_nue", "--cl", "most"), ("--cl", "most")),
    ((*R, "--coupling", "q_ne"), ("unknown coupling 'q_ne'", "did you mean 'q_nue'")),
    ((*R, "--draws", "0"), ("draws = 0", "at least")),
    ((*R, "--chains", "1"), ("chains = 1", "at least 2")),
    ((*R, "--seed", "-1"), ("seed = -1", "at least 0")),
    ((*R, "--draws", "many"), ("--draws", "many")),
    (("response", "dune-on-axis", "--samples", "0"), ("samples = 0", "greater than 0")),
    (("response", "dune-on-axis", "--samples", "5"), ("response.samples = 5", "at least 61440 are needed")),
    (("response", "dune-on-axis", "--seed", "-1"), ("seed = -1",)),
    (("compare",), ("RUN",)),
    (("compare", "nowhere"), ("nowhere", "cannot be read")),
    (("report", "nowhere"), ("nowhere", "cannot be read")),
]


@pytest.mark.parametrize(("arguments", "fragments"), BAD, ids=lambda value: " ".join(value)[:60])
def test_bad_input(bayesnu_: Run_, quick: None, arguments: tuple[str, ...], fragments: tuple[str, ...]) -> None:
    line = bayesnu_(*arguments).line
    assert [fragment for fragment in fragments if fragment not in line] == []
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"), [("name = ", "not TOML"), ("", "field required"), ('name = "x"\n[target]\n', "field required")]
)
def test_bad_card(bayesnu_: Run_, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    line = bayesnu_("predict", tmp_path / "bad.toml").line
    assert message in line
    assert "bad.toml" in line


HEADER = "mode,position_m,e_lo_gev,e_hi_gev,numu,numubar,nue,nuebar\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (HEADER, "no rows"),
        (HEADER.replace(",nuebar", "") + "neutrino,0,0,1,1,1,1\n", "column 'nuebar' is missing"),
        (HEADER + "neutrino,0,0,1,nan,1,1,1\n", "must be finite"),
        (HEADER + "neutrino,0,0,1,-1,1,1,1\n", "must be at least 0"),
        (HEADER + "neutrino,0,0,2,1,1,1,1\nneutrino,0,1,3,1,1,1,1\n", "line 3"),
        (HEADER + "neutrino,0,1,2,1,1,1,1\nneutrino,0,0,1,1,1,1,1\n", "line 3"),
        (HEADER + "neutrinos,0,0,1,1,1,1,1\n", "did you mean 'neutrino'"),
    ],
)
def test_bad_flux(bayesnu_: Run_, text: str, message: str) -> None:
    Path("flux.csv").write_text(text)
    line = bayesnu_("predict", "dune-on-axis", "-o", "flux.file=flux.csv").line
    assert "flux.csv" in line
    assert message in line


def test_another_flux_needs_its_own_backgrounds_and_normalisation(bayesnu_: Run_) -> None:
    lines = (data_folder() / "flux" / "dune_nd.csv").read_text(encoding="utf-8").splitlines()
    head, first, *rest = lines
    fields = first.split(",")
    fields[4] = repr(2 * float(fields[4]) + 1e-20)
    Path("flux.csv").write_text("\n".join([head, ",".join(fields), *rest]) + "\n")
    for more in ((), ("-o", "flux.normalisation=absolute")):
        assert "flux" in bayesnu_("predict", "dune-on-axis", "-o", "flux.file=flux.csv", *more).line


def test_output_folder_that_holds_something_else(
    bayesnu_: Run_, quick: None, fake_sampler: Any, no_report: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    one = RUN[2:]
    assert "--force" in bayesnu_("run", "dune-on-axis", *one, "--out", out).line
    assert [path.name for path in out.iterdir()] == ["notes.txt"]
    assert bayesnu_("run", "dune-on-axis", *one, "--out", out, "--force").status == 0
    before = (out / "run.json").read_bytes()
    other = bayesnu_("run", "dune-on-axis", *one[:-1], "6", "--out", out).line
    assert "holds another run" in other
    assert "--force" in other
    assert (out / "run.json").read_bytes() == before
    (tmp_path / "file").write_text("x")
    assert "is a file" in bayesnu_("run", "dune-on-axis", *one, "--out", tmp_path / "file").line
    assert "cannot be written" in bayesnu_("run", "dune-on-axis", *one, "--out", tmp_path / "file" / "run").line
    assert fake_sampler.calls == ["q_numu"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.json", '{"format_version": 5, "ha'),
        ("run.json", '{"format_version": 99}'),
        ("limits.json", '{"format_version": 5, "limits": ['),
        ("limits.json", '{"format_version": 99}'),
        pytest.param("posteriors/mu_numu.nc", "CDF", marks=pytest.mark.slow),
    ],
)
def test_damaged_run(bayesnu_: Run_, finished_run: Run, tmp_path: Path, name: str, text: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished_run.folder, folder)
    (folder / name).write_text(text)
    for command in ("report",) if name.startswith("posteriors") else ("compare", "report"):
        found = bayesnu_(command, folder)
        assert Path(name).name in found.line
    assert not (folder / "report.html").exists()


@pytest.mark.slow
def test_killed_run_goes_on(tmp_path: Path) -> None:
    """A real run, killed after its first fit, keeps that fit when it is started again."""
    arguments = [sys.executable, "-m", "bayesnu.cli", "run", "dune-on-axis", *RUN, "--out", str(tmp_path / "out")]
    first = tmp_path / "out" / "posteriors" / "mu_numu.nc"
    with subprocess.Popen(
        arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not first.exists() and process.poll() is None:
            os.sched_yield()
        process.kill()
    stamp = first.stat().st_mtime_ns
    again = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert first.stat().st_mtime_ns == stamp
    assert (tmp_path / "out" / "report.html").exists()
    assert not list((tmp_path / "out").rglob("*.part"))


def test_calibrate_prints_and_writes(bayesnu_: Run_, tmp_path: Path) -> None:
    out = tmp_path / "calibration"
    arguments = ("--coupling", "mu_nue", "--simulations", "21", "--seed", "2", "--workers", "1", "--out", out)
    result = bayesnu_("calibrate", "lsnd-nue", *arguments, "--format", "json")
    written, remark = result.err.splitlines()
    assert written == f"bayesnu: written: {out}/calibration.json, ranks.npz, ecdf_mu_nue.png"
    assert remark.startswith("bayesnu: mu_nue: 21 simulations: only gross errors would be seen")
    (found,) = result.json["calibrations"]
    assert (found["coupling"], found["simulations"], found["seed"]) == ("mu_nue", 21, 2)
    assert json.loads((out / "calibration.json").read_text(encoding="utf-8"))[0]["p_values"] == found["p_values"]
    assert {"ranks.npz", "ecdf_mu_nue.png", "ecdf_mu_nue.pdf"} <= {path.name for path in out.iterdir()}
    table = bayesnu_("calibrate", "lsnd-nue", *arguments)
    assert "overall" in table.out
    other = bayesnu_("calibrate", "lsnd-nue", *arguments, "--seed", "3")
    assert "holds another study (seed = 2, not 3)" in other.line
    assert "--force" in other.line
    fewer = bayesnu_("calibrate", "lsnd-nue", *arguments, "--simulations", "20")
    assert "calibration.json: holds 21 simulations, more than 20; choose another folder or give --force" in fewer.line
    without = bayesnu_("calibrate", "lsnd-nue", "--coupling", "mu_numu", *arguments[2:])
    assert "holds the calibration of mu_nue, which is not asked for now" in without.line
    assert bayesnu_("calibrate", "lsnd-nue", *arguments, "--coupling", "mu_numu").status == 0
    assert bayesnu_("calibrate", "lsnd-nue", *arguments, "--seed", "3", "--force").status == 0


def test_calibrate_by_an_unknown_method(bayesnu_: Run_) -> None:
    assert "unknown method 'mcmc'" in bayesnu_("calibrate", "lsnd-nue", "--method", "mcmc").line
