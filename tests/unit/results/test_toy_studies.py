"""Pseudo-experiments of a card: against χ² and Chernoff's half χ², resumed, and refused."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.stats import chi2

from bayesnu.errors import RunError, UsageError
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.batch import fit_couplings, fixed_fits
from bayesnu.inference.likelihood import make_problem
from bayesnu.results import toy_limits, toys
from bayesnu.results.limits import limit
from bayesnu.results.toy_limits import ToyRunner
from bayesnu.results.toys import best_fit, make_toys, save_toys, statistic_quantile, toys_dataset, toys_json
from bayesnu.workers import InProcess, Watched


@pytest.fixture(scope="module")
def lsnd() -> Experiment:
    return load_experiment("lsnd-nue")


@pytest.mark.parametrize("couplings", [1, 2])
def test_quantiles_of_chi2_draws(couplings: int) -> None:
    statistic = np.random.default_rng(1).chisquare(couplings, 20_000)
    for probability in (0.68, 0.9, 0.95):
        found = statistic_quantile(statistic, couplings, probability)
        wanted = chi2.ppf(probability, couplings)
        error = math.sqrt(probability * (1 - probability) / statistic.size)
        assert found.wilks == pytest.approx(wanted, rel=1e-9)
        assert found.value == pytest.approx(wanted, abs=4 * found.mc_error)
        assert found.mc_error == pytest.approx(error / chi2.pdf(wanted, couplings), rel=0.25)
        assert found.coverage == pytest.approx(probability, abs=4 * error)
        assert found.coverage_error == pytest.approx(error, rel=0.05)


def test_best_fits_of_given_values() -> None:
    found = best_fit("mu_nue", 2.0, np.array([0.0, 1.0, 2.0, 5.0]), bounded=True)
    assert (found.unit, found.truth, found.mean, found.at_boundary) == ("mu_B", 2.0, 2.0, 0.25)
    assert found.spread == pytest.approx(math.sqrt(14 / 3))
    assert found.mean_error == pytest.approx(found.spread / 2)
    assert best_fit("q_nue", 0.0, np.array([0.0, 1.0]), bounded=False).at_boundary is None


@pytest.mark.parametrize("ensemble", ["constraint", "fit", "posterior"])
def test_at_the_boundary_half_of_the_fits_are_there(lsnd: Experiment, ensemble: str) -> None:
    """H. Chernoff (1954): t is 0 in half of the experiments and χ² in the others, so that 90% becomes 95%."""
    study = make_toys(lsnd, 2000, {"mu_nue": 0.0}, ensemble=ensemble, seed=4)
    (fit,) = study.fits
    assert fit.at_boundary == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 2000))
    assert study.quantiles[1].probability == 0.9
    assert study.quantiles[1].coverage == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 2000))
    assert (study.statistic[study.best[:, 0] == 0] < 1e-6).mean() == 1.0


def test_far_from_the_boundary_wilks_is_right(on_axis: Experiment) -> None:
    """The spread of best fits is the half width of the 68.3% interval, which no pseudo-experiment enters."""
    study = make_toys(on_axis, 2000, free=["r2_numu"], seed=5)
    for item in study.quantiles:
        assert item.coverage == pytest.approx(item.probability, abs=4 * item.coverage_error)
    (fit,) = study.fits
    ((low, high),) = limit(on_axis, "r2_numu", method="poisson", cl=0.6827).intervals
    assert fit.spread == pytest.approx((high - low) / 2, rel=4 / math.sqrt(2 * 2000))
    assert fit.mean == pytest.approx(0.0, abs=5 * fit.mean_error)
    assert fit.truth == 0.0


def test_true_values_and_free_couplings(on_axis: Experiment) -> None:
    study = make_toys(on_axis, 200, {"mu_numu": 3e-9}, ["r2_numu", "mu_numu"], seed=1)
    assert [(fit.coupling, fit.truth) for fit in study.fits] == [("mu_numu", 3e-9), ("r2_numu", 0.0)]
    assert study.best.shape == (200, 2)
    assert study.fits[0].mean == pytest.approx(3e-9, rel=0.05)
    assert study.quantiles[1].wilks == pytest.approx(4.605, abs=1e-3)
    # Means of counts are the expectation, within its Poisson errors and those of the pulls.
    expected = on_axis.model.expected({"mu_numu": 3e-9})
    error = study.counts.std(axis=0) / math.sqrt(200)
    np.testing.assert_array_less(np.abs(study.counts.mean(axis=0) - expected), 5 * error)
    # True pulls are fractions.
    np.testing.assert_allclose(study.pulls.std(axis=0), on_axis.model.widths, rtol=0.3)


def test_a_study_goes_on_from_its_chunks(
    lsnd: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toys, "PER_TASK", 100)
    asked: list[int] = []
    runner = ToyRunner(Watched(InProcess(), lambda finished, total: asked.append(total)), tmp_path)
    first = make_toys(lsnd, 250, {"mu_nue": 1e-9}, seed=2, runner=runner)
    assert asked[-1] == 3
    more = make_toys(lsnd, 400, {"mu_nue": 1e-9}, seed=2, runner=runner)
    assert asked[-1] == 2
    np.testing.assert_array_equal(more.statistic[:200], first.statistic[:200])
    again = make_toys(lsnd, 400, {"mu_nue": 1e-9}, seed=2, runner=runner)
    assert asked[-1] == 0
    np.testing.assert_array_equal(again.counts, more.counts)
    # Every task draws from its own stream.
    assert len(np.unique(more.statistic)) > 390
    for other in ({"seed": 3}, {"ensemble": "fit"}, {"free": ["mu_numu"]}):
        with pytest.raises(RunError, match="holds another study"):
            make_toys(lsnd, 400, {"mu_nue": 1e-9}, runner=runner, **({"seed": 2} | other))  # type: ignore[arg-type]


def test_what_is_saved(on_axis: Experiment, tmp_path: Path) -> None:
    study = make_toys(on_axis, 100, {"mu_numu": 3e-10}, ["q_nue"], seed=6)
    save_toys(study, on_axis, tmp_path / "toys.nc")
    with xr.open_dataset(tmp_path / "toys.nc", engine="h5netcdf") as stored:
        assert stored["counts"].dims == ("toy", "obs")
        assert stored["pulls"].dims == ("toy", "pull")
        np.testing.assert_array_equal(stored["counts"], study.counts)
        np.testing.assert_array_equal(stored["best_fit"].sel(coupling="q_nue"), study.best[:, 1])
        np.testing.assert_array_equal(stored["statistic"], study.statistic)
        np.testing.assert_array_equal(stored["truth"], [3e-10, 0.0])
        assert stored["pull"].values.tolist() == list(on_axis.model.pulls)
        assert stored["best_fit"].attrs["units"] == "mu_numu: mu_B, q_nue: e"
        assert stored["mode"].values[0] == "neutrino"
        assert stored.attrs["inputs_digest"] == on_axis.digest
        assert (stored.attrs["seed"], stored.attrs["ensemble"]) == (6, "constraint")
    content = json.loads(json.dumps(toys_json(study), allow_nan=False))
    assert (content["number"], content["seed"], content["pulls"]) == (100, 6, "constraint")
    assert [item["probability"] for item in content["statistic"]] == [0.68, 0.9, 0.95]
    assert content["best_fits"][1]["at_boundary"] is None
    assert "m_N" not in content


@pytest.mark.parametrize("ensemble", ["constraint", "fit", "posterior"])
def test_the_statistic_follows_from_what_is_saved(lsnd: Experiment, ensemble: str, tmp_path: Path) -> None:
    """Counts and auxiliary measurements are the whole data of a pseudo-experiment; chunks hold both."""
    for _ in range(2):
        study = make_toys(lsnd, 100, {"mu_nue": 2e-9}, ensemble=ensemble, seed=3, runner=ToyRunner(folder=tmp_path))
    stored = toys_dataset(study, lsnd)
    problem = make_problem(lsnd, ["mu_nue"])
    theta = np.array([[2e-9]]) / problem.scales
    centre = stored["auxiliary"].values / problem.model.widths
    best = fit_couplings(problem, stored["counts"].values, theta, centre).value
    fixed = fixed_fits(problem, theta, stored["counts"].values, centre)[:, 0]
    np.testing.assert_allclose(np.maximum(fixed - best, 0), stored["statistic"], atol=1e-6)
    assert stored["auxiliary"].attrs["units"] == "fraction"


def test_the_mass_of_n_is_said() -> None:
    study = make_toys(load_experiment("nucleus-10g").at(2.0), 100, free=["d_nue"])
    assert study.m_N == 2.0
    assert toys_json(study)["m_N"] == 2.0


def test_chunks_of_another_program_are_not_used(
    lsnd: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_toys(lsnd, 100, free=["mu_nue"], runner=ToyRunner(folder=tmp_path))
    monkeypatch.setattr(toy_limits, "program_digest", lambda: "0123456789")
    with pytest.raises(RunError, match=r"another study \(program = bayesnu .*, not bayesnu .*, source 01234567\)"):
        make_toys(lsnd, 100, free=["mu_nue"], runner=ToyRunner(folder=tmp_path))


def test_a_study_of_another_mass_says_so(tmp_path: Path) -> None:
    card = load_experiment("nucleus-10g")
    make_toys(card.at(1.0), 100, free=["d_nue"], runner=ToyRunner(folder=tmp_path))
    with pytest.raises(RunError, match=r"holds another study \(m_N = 1.0, not 2.0\)"):
        make_toys(card.at(2.0), 100, free=["d_nue"], runner=ToyRunner(folder=tmp_path))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "lsnd-nue: no coupling is free; give --coupling or --set, of mu_nue, mu_numu"),
    ({"free": ["mu_nuee"]}, "unknown coupling 'mu_nuee': .* did you mean 'mu_nue'"),
    ({"values": {"q_nue": 1.0}}, "unknown coupling 'q_nue'"),
    ({"values": {"mu_nue": -1e-9}}, "mu_nue = -1e-09: must be at least 0"),
    ({"values": {"mu_nue": math.inf}}, "mu_nue = inf: must be finite"),
    ({"values": {"m_N": 1.0}}, "m_N: pseudo-experiments take the mass of N fixed; give it by --at"),
    ({"free": ["mu_nue"], "number": 99}, "n = 99: must be from 100 to 1000000"),
    ({"free": ["mu_nue"], "number": 2_000_000}, "n = 2000000: must be from 100"),
    ({"free": ["mu_nue"], "ensemble": "profiled"}, "unknown pulls 'profiled': allowed are constraint, fit, posterior"),
    ({"free": ["mu_nue"], "seed": 2**32}, "seed = 4294967296: must be below"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_refused(lsnd: Experiment, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_toys(lsnd, **({"number": 200} | options))


def test_a_coupling_without_counts_cannot_be_fitted() -> None:
    with pytest.raises(UsageError, match="d_nue: no count depends on it at m_N = 9 MeV, so that it cannot be fitted"):
        make_toys(load_experiment("nucleus-10g").at(9.0), 100, free=["d_nue"])
