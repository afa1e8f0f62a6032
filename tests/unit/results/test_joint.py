"""A joint fit as a run stores it: marginals, region, correlation, and the check of the draws against the grid."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from bayesnu.experiment.setup import load_experiment
from bayesnu.inference.likelihood import Problem
from bayesnu.inference.priors import Prior
from bayesnu.inference.sampling import Draws, Sampler
from bayesnu.report import build
from bayesnu.report.build import write_report
from bayesnu.report.figures import figure_names, region_figure, save_figure
from bayesnu.report.tables import joint_tables
from bayesnu.results import intervals
from bayesnu.results.joint_region import region, stored_region
from bayesnu.results.joint_summary import RegionCheck
from bayesnu.results.posterior import load_posterior
from bayesnu.results.runs import Run, load_run, make_arguments, own_files, run_fits

NAMES = ("d_nue", "m_N")
PRIORS = [
    "couplings.d_nue.prior={kind='log-uniform',low=1e-12,high=1e-9}",
    "sterile.m_N_prior={kind='log-uniform',low=0.1,high=7.5}",
]


def grid_draws(
    self: Sampler, problem: Problem, priors: Sequence[Prior], *, draws: int, chains: int, tune: int, seed: int
) -> Draws:
    """Stands in for NUTS: independent draws from cells of the grid posterior of one or two couplings."""
    rng = np.random.default_rng(seed)
    shape = (chains, draws)
    reach = np.array([prior.reach for prior in priors])
    if len(priors) == 1:
        theta = np.exp(rng.uniform(np.log(reach[0, 0]), np.log(4e-11), shape))[None]
    else:
        grid = region(problem, (priors[0], priors[1]), reach[:, None, :])
        cell = rng.choice(grid.weight.size, size=shape, p=grid.weight.ravel())
        places = np.unravel_index(cell, grid.weight.shape)
        within = rng.uniform(-0.5, 0.5, (2, *shape))
        theta = np.stack(
            [axis.centres[k] + u * axis.widths[k] for axis, k, u in zip((grid.x, grid.y), places, within, strict=True)]
        )
    widths = problem.model.widths
    stats = {
        "energy": rng.standard_normal(shape),
        "diverging": np.zeros(shape, dtype=bool),
    }
    pulls = 0.1 * widths * rng.standard_normal((*shape, widths.size))
    return Draws(problem.couplings, theta, pulls, stats, tune, self.target_accept, seed)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run with one joint fit, without figures."""
    folder = tmp_path_factory.mktemp("joint") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sampler, "sample", grid_draws)
        patch.setattr(intervals, "_REPLICATES", 20)
        experiment = load_experiment("nucleus-10g", PRIORS)
        arguments = make_arguments(experiment, (), 1000, 4, 3, [NAMES])
        done: list[str] = []
        run_fits(experiment, arguments, folder, notice=done.append, progress=done.append, stored=done.append)
        assert done == ["fitting d_nue", "d_nue", "fitting d_nue+m_N", "d_nue+m_N"]
        again = run_fits(experiment, arguments, folder, notice=done.append, progress=done.append)
        assert done[-1].endswith("this run is finished; its stored results are shown")
    assert again.limits == load_run(folder).limits
    return again


def test_entry(run: Run) -> None:
    (entry,) = run.limits["joint"]
    assert (entry["name"], entry["couplings"]) == ("d_nue+m_N", list(NAMES))
    moment, mass = entry["parameters"]
    assert [p["unit"] for p in (moment, mass)] == ["mu_B", "MeV"]
    assert [p["credible"]["kind"] for p in (moment, mass)] == ["upper", "eti"]
    assert [p["prior"].partition(",")[0] for p in (moment, mass)] == ["log-uniform"] * 2
    # The 90% upper limit of d with m_N free lies beyond that at 1 MeV: heavy N are hardly seen.
    assert moment["credible"]["intervals"][0][1] > 4.5e-11
    low, high = mass["credible"]["intervals"][0]
    assert 0.1 < low < 0.2
    assert 6 < high < 7.5
    correlation = np.array(entry["correlation"])
    assert np.diag(correlation) == pytest.approx([1, 1])
    assert 0.1 < correlation[0, 1] < 0.8


def test_the_region_holds_its_share_of_the_draws(run: Run) -> None:
    (entry,) = run.limits["joint"]
    assert abs(entry["region"]["fraction"] - 0.9) < 0.02
    assert entry["region"]["delta_chi2_level"] == pytest.approx(4.605, abs=1e-3)
    assert 0.003 < entry["region"]["error"] < 0.01


def test_draws_from_elsewhere_fail(run: Run) -> None:
    tree = load_posterior(run.folder / "posteriors" / "d_nue+m_N.nc")
    grid = stored_region(tree, NAMES)
    assert grid.weight.sum() == pytest.approx(1)
    draws = [tree["posterior"][name].values for name in NAMES]
    inside = grid.contains(3 * draws[0], draws[1], 0.9).mean()
    assert inside < 0.8
    assert RegionCheck(0.9, float(inside), 0.005).problem is not None
    assert RegionCheck(0.9, 0.905, 0.003).problem is None


def test_csv_names_what_was_free(run: Run) -> None:
    rows = list(csv.DictReader(io.StringIO((run.folder / "limits.csv").read_text(encoding="utf-8"))))
    together = [row for row in rows if row["free"] == "d_nue m_N"]
    assert [row["coupling"] for row in together] == list(NAMES)
    assert all(row["free"] == row["coupling"] for row in rows if row not in together)
    entry = run.limits["joint"][0]["parameters"][1]["credible"]["intervals"][0]
    assert [float(together[1][key]) for key in ("low", "high")] == pytest.approx(entry, rel=1e-5)


def test_report(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(folder: Path, fit: str, observed: bool) -> None:
        """Drawing takes seconds, and is tested elsewhere."""
        assert not observed
        for name in figure_names(fit):
            save_figure(Figure((1, 1)), folder / "figures", f"{fit}-{name}")

    monkeypatch.setattr(build, "fit_figures", draw)
    text = write_report(run).read_text(encoding="utf-8")
    assert '<h2 id="d_nue+m_N">d_nue and m_N, free together</h2>' in text
    assert text.count('alt="d_nue and m_N: ') == len(figure_names("d_nue+m_N")) == 6
    assert "of the draws of NUTS" in text
    files = {path.relative_to(run.folder) for path in own_files(run.folder)}
    assert Path("posteriors/d_nue+m_N.nc") in files
    assert Path("figures/d_nue+m_N-region.png") in files
    (table,) = joint_tables(run.limits)
    assert table.row_count == 2


def test_figure_has_the_mass_across(run: Run) -> None:
    tree = load_posterior(run.folder / "posteriors" / "d_nue+m_N.nc", ["posterior", "region"])
    axes = region_figure(tree, NAMES).axes[0]
    assert "m_N" in axes.get_xlabel()
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_xlim() == pytest.approx((0.1, 7.5), rel=0.05)


def test_record(run: Run) -> None:
    record = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    assert record["arguments"]["joint"] == [list(NAMES)]
    assert set(record["fit_seconds"]) == {"d_nue", "d_nue+m_N"}
    assert load_posterior(run.folder / "posteriors" / "d_nue+m_N.nc").attrs["target_accept"] == 0.98
