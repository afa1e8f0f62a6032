"""Run folders: resumed, printed again, refused, overwritten; nothing is lost on the way."""

import csv
import io
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bayesnu.errors import RunError, UsageError
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.results import runs
from bayesnu.results.fits import seed_of
from bayesnu.results.limits import DEFAULT_CHAINS, DEFAULT_DRAWS, DEFAULT_SEED
from bayesnu.results.posterior import load_posterior
from bayesnu.results.runs import Run, load_run, make_arguments, read_record, run_hash

Start = Callable[..., tuple[Run, list[str]]]


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def unfinish(folder: Path) -> None:
    """Set a run back to where an interruption leaves it."""
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"finished": None}))
    for name in ("limits.json", "limits.csv"):
        (folder / name).unlink()


@pytest.fixture
def finished(short_run: Run, tmp_path: Path) -> Run:
    """A copy of the run that `fit` makes by default, as if it had been made there."""
    shutil.copytree(short_run.folder, tmp_path / "run")
    return load_run(tmp_path / "run")


def test_a_run_writes_its_folder(fit: Start, fake_sampler: Any, tmp_path: Path) -> None:
    run, notices = fit(tmp_path / "run")
    assert (fake_sampler.calls, notices, run.resumed) == (["mu_numu", "q_numu"], [], ())
    assert set(contents(run.folder)) == {
        "run.json", "counts.json", "limits.json", "limits.csv", "posteriors/mu_numu.nc", "posteriors/q_numu.nc",
    }  # fmt: skip
    assert run.limits == json.loads((run.folder / "limits.json").read_text())
    assert load_run(run.folder).limits == run.limits


def test_record_says_where_everything_came_from(finished_run: Run, on_axis: Experiment) -> None:
    record = read_record(finished_run.folder)
    assert record["finished"] >= record["starts"][0]
    assert record["resumed"] == []
    assert record["card"] == json.loads(on_axis.card.model_dump_json())
    assert record["arguments"]["seed"] == 5
    assert set(record["inputs"]) == set(on_axis.files)
    assert all(len(item["sha256"]) == 64 for item in record["inputs"].values())
    assert {"bayesnu", "python", "pymc", "nutpie", "arviz", "numpy"} <= set(record["versions"])
    assert set(record["fit_seconds"]) == {"mu_numu", "q_numu", "r2_numu"}


def test_limits_json(finished_run: Run) -> None:
    limits = finished_run.limits
    assert (limits["model"], limits["scenario"], limits["observed"]) == ("dune-on-axis", "on-axis", False)
    assert limits["verdict"] in ("pass", "warn", "fail")
    assert [entry["coupling"] for entry in limits["limits"]] == ["mu_numu", "q_numu", "r2_numu"]
    moment, charge, _ = limits["limits"]
    assert moment["credible"]["kind"] == "upper"
    assert charge["credible"]["kind"] == "hdi"
    assert (charge["chi2"]["variance"], charge["chi2_background"]["variance"]) == ("sm", "sm+background")
    for entry in limits["limits"]:
        for key in ("credible", "laplace", "chi2", "chi2_background", "poisson"):
            assert np.shape(entry[key]["intervals"]) == np.shape(entry[key]["mc_error"]) == (1, 2)
        assert abs(entry["diagnostics"]["laplace_sigma"]) < 4
    own = next(row for row in charge["comparisons"] if row["scenario"] == "on-axis")
    assert own["published"] == pytest.approx([-9.3e-11, 9.1e-11])
    assert own["published_true_units"] == pytest.approx([-1.065e-9, 1.089e-9], rel=1e-3)
    assert own["converted"]
    assert own["ratio"] == pytest.approx(
        [a / b for a, b in zip(charge["chi2"]["intervals"][0], own["published_true_units"], strict=True)]
    )


def test_limits_csv_agrees_with_json(finished_run: Run) -> None:
    text = (finished_run.folder / "limits.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == 3 * 5
    assert {row["kind"] for row in rows} == {"upper", "hdi", "delta_chi2"}
    entry = finished_run.limits["limits"][1]
    (own,) = [r for r in rows if (r["coupling"], r["method"], r["variance"]) == ("q_numu", "chi2", "sm+background")]
    assert [float(own["low"]), float(own["high"])] == pytest.approx(entry["chi2_background"]["intervals"][0], rel=1e-5)
    assert own["mc_error_low"] == ""
    assert float(own["published_low_true_units"]) == pytest.approx(-1.065e-9, rel=1e-3)
    (moment,) = [r for r in rows if (r["coupling"], r["method"]) == ("mu_numu", "nuts")]
    assert (moment["low"], moment["mc_error_low"], moment["published_low"]) == ("0", "", "")
    assert float(moment["mc_error_high"]) > 0


def test_finished_run_is_shown_again(finished: Run, fit: Start, fake_sampler: Any) -> None:
    before = contents(finished.folder)
    again, notices = fit(finished.folder)
    assert fake_sampler.calls == []
    assert again.limits == finished.limits
    assert contents(finished.folder) == before
    assert len(notices) == 1
    assert "finished" in notices[0]


def test_resumed_run_keeps_what_was_finished(finished: Run, fit: Start, fake_sampler: Any) -> None:
    before = finished.information
    kept, lost = (finished.folder / "posteriors" / f"{name}.nc" for name in ("mu_numu", "q_numu"))
    stamp = kept.stat().st_mtime_ns
    lost.unlink()
    unfinish(finished.folder)
    again, _ = fit(finished.folder)
    assert fake_sampler.calls == ["q_numu"]
    assert again.resumed == ("mu_numu",)
    assert kept.stat().st_mtime_ns == stamp
    assert again.limits == finished.limits
    record = again.information
    assert json.loads(json.dumps(record)) == read_record(finished.folder)
    assert (record["starts"][:1], len(record["starts"]), record["resumed"]) == (before["starts"], 2, ["mu_numu"])
    assert record["fit_seconds"]["mu_numu"] == before["fit_seconds"]["mu_numu"]
    assert set(record["fit_seconds"]) == {"mu_numu", "q_numu"}


def test_interrupted_run_goes_on(fit: Start, fake_sampler: Any, tmp_path: Path) -> None:
    fake_sampler.interrupt_at = 2
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run")
    assert set(contents(tmp_path / "run")) == {"run.json", "counts.json", "posteriors/mu_numu.nc"}
    with pytest.raises(RunError, match="not finished; start it again"):
        load_run(tmp_path / "run")
    run, _ = fit(tmp_path / "run")
    assert run.resumed == ("mu_numu",)
    assert fake_sampler.calls == ["mu_numu", "q_numu", "q_numu"]


@pytest.mark.slow
def test_truncated_posterior_is_fitted_again(finished: Run, fit: Start, fake_sampler: Any) -> None:
    path = finished.folder / "posteriors" / "q_numu.nc"
    path.write_bytes(path.read_bytes()[:2000])
    unfinish(finished.folder)
    again, notices = fit(finished.folder)
    assert fake_sampler.calls == ["q_numu"]
    assert again.limits == finished.limits
    assert len(notices) == 1
    assert "q_numu.nc" in notices[0]
    assert notices[0].endswith("fitting again")
    assert load_posterior(path).attrs["run_hash"] == again.information["hash"]


@pytest.mark.slow
def test_posterior_of_another_run_is_fitted_again(finished: Run, fit: Start, tmp_path: Path) -> None:
    other, _ = fit(tmp_path / "other", ("q_numu",), seed=6)
    shutil.copy(other.folder / "posteriors" / "q_numu.nc", finished.folder / "posteriors" / "q_numu.nc")
    unfinish(finished.folder)
    again, notices = fit(finished.folder)
    assert again.limits == finished.limits
    assert len(notices) == 1
    assert notices[0].endswith("belongs to another run; fitting again")


def test_other_run_in_the_folder_is_refused_and_kept(finished: Run, fit: Start, fake_sampler: Any) -> None:
    before = contents(finished.folder)
    with pytest.raises(RunError, match=r"holds another run .*--force"):
        fit(finished.folder, seed=6)
    assert contents(finished.folder) == before
    assert fake_sampler.calls == []
    second, _ = fit(finished.folder, ("q_numu",), seed=6, force=True)
    assert read_record(second.folder)["hash"] != finished.information["hash"]
    written = {"run.json", "counts.json", "limits.json", "limits.csv", "posteriors/q_numu.nc"}
    assert set(contents(second.folder)) == written


def test_force_keeps_files_that_are_not_the_runs(fit: Start, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "figures").mkdir()
    mine = {"notes.txt": b"mine", "figures/talk.png": b"mine"}
    for name, text in mine.items():
        (folder / name).write_bytes(text)
    with pytest.raises(RunError, match=r"is not empty and holds no run.*--force"):
        fit(folder, ("mu_numu",))
    assert contents(folder) == mine
    (folder / "figures" / "mu_numu-trace.png").write_bytes(b"of an earlier run")
    fit(folder, ("mu_numu",), force=True)
    after = contents(folder)
    assert mine.items() <= after.items()
    assert set(after) - set(mine) == {"run.json", "counts.json", "limits.json", "limits.csv", "posteriors/mu_numu.nc"}


@pytest.mark.parametrize("damage", [pytest.param("missing", marks=pytest.mark.slow), "truncated"])
def test_finished_run_without_one_posterior_goes_on(
    finished: Run, fit: Start, fake_sampler: Any, damage: str
) -> None:
    path = finished.folder / "posteriors" / "q_numu.nc"
    (finished.folder / "report.html").write_text("of the whole run")
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:1000])
    again, notices = fit(finished.folder)
    assert "q_numu.nc" in notices[0]
    assert notices[0].endswith("the run goes on from what is whole")
    assert again.limits == finished.limits
    assert again.resumed == ("mu_numu",)
    assert path.stat().st_size > 1000
    assert not (finished.folder / "report.html").exists()
    assert fake_sampler.calls == ["q_numu"]


def test_empty_folder_is_taken(fit: Start, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert fit(tmp_path / "run", ("mu_numu",))[0].limits["limits"][0]["coupling"] == "mu_numu"


def test_folder_that_cannot_be_written(
    fit: Start, fake_sampler: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="file: is a file"):
        fit(tmp_path / "file")
    with pytest.raises(RunError, match="cannot be written"):
        fit(tmp_path / "file" / "run")

    def refuse(self: Path, *arguments: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RunError, match=r"run: cannot be written \(Permission denied\)"):
        fit(tmp_path / "run")
    assert fake_sampler.calls == []
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", '{"format_version": 5, "ha', r"run\.json: not JSON, or truncated"),
        ("run.json", "", r"run\.json: not JSON, or truncated"),
        ("run.json", "[]", r"run\.json: not a record of a run"),
        ("run.json", '{"format_version": 99, "hash": "x", "finished": "now"}', r"run\.json: format version 99"),
        ("run.json", '{"hash": "x", "finished": "now"}', r"run\.json: format version None"),
        ("run.json", '{"format_version": 5, "finished": "now"}', r"the key 'hash' is missing"),
        ("limits.json", '{"format_version": 5, "lim', r"limits\.json: not JSON, or truncated"),
        ("limits.json", '{"format_version": 99, "limits": []}', r"limits\.json: format version 99"),
        ("limits.json", '{"format_version": 5}', r"limits\.json: the key 'model' is missing or empty"),
        ("limits.json", "ANOTHER HASH", r"limits\.json: belongs to another run \(0123\)"),
        ("limits.json", "NO LIMITS", r"limits\.json: the key 'limits' is missing or empty"),
        ("limits.json", None, r"limits\.json: cannot be read"),
        ("run.json", None, r"run\.json: cannot be read .*is this a run folder"),
    ],
)
def test_damaged_record(finished_run: Run, tmp_path: Path, name: str, content: str | None, message: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished_run.folder, folder)
    if content is None:
        (folder / name).unlink()
    else:
        changed = {"ANOTHER HASH": {"hash": "0123"}, "NO LIMITS": {"limits": []}}.get(content)
        (folder / name).write_text(json.dumps(finished_run.limits | changed) if changed else content)
    with pytest.raises(RunError, match=message):
        load_run(folder)


def test_damaged_record_is_not_overwritten_without_force(finished: Run, fit: Start) -> None:
    (finished.folder / "run.json").write_text("{")
    before = contents(finished.folder)
    with pytest.raises(RunError, match="not JSON"):
        fit(finished.folder)
    assert contents(finished.folder) == before
    assert fit(finished.folder, force=True)[0].limits == finished.limits


@pytest.mark.slow
def test_fewer_couplings_give_the_same_numbers(short_run: Run, fit: Start, tmp_path: Path) -> None:
    run, _ = fit(tmp_path / "run", ("q_numu",))
    assert run.limits["limits"] == [short_run.limits["limits"][1]]
    name = "posteriors/q_numu.nc"
    assert load_posterior(run.folder / name)["posterior"].equals(
        load_posterior(short_run.folder / name)["posterior"]
    )


def test_each_coupling_has_a_seed_of_its_own() -> None:
    names = ("mu_nue", "mu_numu", "q_nue", "q_numu", "r2_nue", "r2_numu")
    seeds = {seed_of(seed, name) for seed in (0, 1) for name in names}
    assert len(seeds) == 12
    assert seed_of(5, "q_numu") == seed_of(5, "q_numu")


def test_hash_depends_on_card_and_arguments(on_axis: Experiment) -> None:
    def name(experiment: Experiment = on_axis, couplings: Any = (), draws: Any = None, seed: Any = None) -> str:
        return run_hash(experiment, make_arguments(experiment, couplings, draws, None, seed))

    assert name() == name(couplings=tuple(on_axis.card.couplings), draws=DEFAULT_DRAWS, seed=DEFAULT_SEED)
    other = load_experiment("dune-on-axis", ["pulls.pi0=0.2"])
    assert len({name(), name(other), name(draws=200), name(seed=1), name(couplings=("mu_nue",))}) == 5


def test_arguments(on_axis: Experiment) -> None:
    arguments = make_arguments(on_axis, ("q_nue", "mu_nue", "q_nue"), None, None, None)
    assert arguments.couplings == ("q_nue", "mu_nue")
    assert (arguments.draws, arguments.chains, arguments.seed) == (DEFAULT_DRAWS, DEFAULT_CHAINS, DEFAULT_SEED)
    assert make_arguments(on_axis, (), None, None, 0).couplings == tuple(on_axis.card.couplings)
    with pytest.raises(UsageError, match="did you mean 'q_nue'"):
        make_arguments(on_axis, ("q_ne",), None, None, None)
    with pytest.raises(UsageError, match="draws = 5"):
        make_arguments(on_axis, (), 5, None, None)


def test_card_without_comparison(fit: Start, edited_card: Callable[..., Path], tmp_path: Path) -> None:
    card = edited_card(('[comparison]\npublished = "published/limits.csv"\nscenario = "on-axis"', ""))
    run, _ = fit(tmp_path / "run", ("mu_numu",), experiment=load_experiment(str(card)))
    assert run.limits["scenario"] is None
    assert run.limits["limits"][0]["comparisons"] == []
    assert math.isfinite(run.limits["limits"][0]["chi2"]["intervals"][0][1])
    assert runs.load_run(run.folder).limits == run.limits


MASS_PRIORS = (
    "couplings.d_nue.prior={kind='log-uniform',low=1e-12,high=1e-9}",
    "sterile.m_N_prior={kind='log-uniform',low=0.1,high=7.5}",
)


@pytest.mark.parametrize(
    ("names", "overrides", "message"),
    [
        (("d_nue",), (), "joint = d_nue: needs two different couplings"),
        (("d_nue", "d_nue"), (), "joint = d_nue,d_nue: needs two different"),
        (("mu_nue", "m_N"), (), "joint = mu_nue,m_N: m_N needs a transition moment"),
        (("d_nu", "m_N"), (), "unknown coupling 'd_nu'.*did you mean 'd_nue'"),
        (("d_nue", "m_N"), MASS_PRIORS[:1], r"sterile\.m_N_prior: missing"),
        (("d_nue", "m_N"), MASS_PRIORS[1:], r"couplings\.d_nue\.prior: a joint fit with m_N needs"),
        (("d_nue", "q_nue", "m_N"), MASS_PRIORS, r"couplings\.q_nue\.prior: a joint fit with m_N needs"),
        (("sin2_theta_w", "m_N"), MASS_PRIORS, "needs a coupling of the card beside them"),
    ],
)
def test_what_cannot_be_fitted_together(names: tuple[str, ...], overrides: tuple[str, ...], message: str) -> None:
    experiment = load_experiment("nucleus-10g", overrides)
    with pytest.raises(UsageError, match=message):
        make_arguments(experiment, (), None, None, None, [names])


def test_a_joint_run_fits_its_couplings_alone_too() -> None:
    experiment = load_experiment("nucleus-10g", MASS_PRIORS)
    arguments = make_arguments(experiment, (), None, None, None, [("d_nue", "m_N")])
    assert (arguments.couplings, arguments.joint) == (("d_nue",), (("d_nue", "m_N"),))
    assert make_arguments(experiment, ("mu_nue",), None, None, None, [("d_nue", "m_N")]).couplings == ("mu_nue",)


def test_a_run_says_the_mass_and_what_it_cannot_bound(fit: Start, tmp_path: Path) -> None:
    """At 9 MeV no reactor makes N: the magnetic moment is fitted, the transition moment has no limit."""
    heavy = load_experiment("nucleus-10g", ["sterile.m_N=9"])
    run, notices = fit(tmp_path / "heavy", ("d_nue", "mu_nue"), experiment=heavy)
    assert notices[0] == (
        "d_nue: no count depends on it at m_N = 9 MeV, so there is no limit (no neutrino has more than 8 MeV)"
    )
    assert run.limits["without_limit"] == ["d_nue"]
    assert [entry["coupling"] for entry in run.limits["limits"]] == ["mu_nue"]
    assert run.limits["m_N"] is None
    assert runs.load_run(run.folder).limits == run.limits
    nucleus = load_experiment("nucleus-10g")
    light, _ = fit(tmp_path / "light", ("d_nue", "mu_nue"), experiment=nucleus, draws=500, chains=4)
    assert light.limits["m_N"] == 1.0
    rows = list(csv.DictReader(io.StringIO((light.folder / "limits.csv").read_text(encoding="utf-8"))))
    assert {(row["coupling"], row["m_N_mev"]) for row in rows} == {("d_nue", "1"), ("mu_nue", "")}


def test_a_run_without_any_limit_leaves_nothing(fit: Start, tmp_path: Path) -> None:
    heavy = load_experiment("nucleus-10g", ["sterile.m_N=9"])
    with pytest.raises(UsageError, match=r"nucleus-10g\.toml.*d_nue: no count depends on it at m_N = 9 MeV"):
        fit(tmp_path / "run", ("d_nue",), experiment=heavy)
    assert not (tmp_path / "run").exists()


def test_measured_errors_have_no_poisson_deviance(fit: Start, tmp_path: Path) -> None:
    run, _ = fit(tmp_path / "run", ("mu_nue",), experiment=load_experiment("lsnd-nue"))
    (entry,) = run.limits["limits"]
    assert entry["poisson"] is None
    assert entry["chi2"]["variance"] == "measured"
