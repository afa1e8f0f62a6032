"""Weighted draws of a card: the call, what it withholds, its file, and NUTS beside it."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from arviz_stats.base import array_stats

import bayesnu
from bayesnu.errors import RunError, UnconvergedError, UsageError
from bayesnu.experiment.setup import Experiment
from bayesnu.inference.priors import one_coupling
from bayesnu.inference.sampling import Sampler
from bayesnu.results import weighted
from bayesnu.results.limits import limit
from bayesnu.results.weighted import WeightedPosterior, moments, weighted_json


@pytest.fixture(scope="module")
def found(on_axis: Experiment) -> WeightedPosterior:
    return bayesnu.draw(on_axis, "mu_numu", draws=1000, seed=4)


def test_the_interval_is_that_of_the_grid(found: WeightedPosterior, on_axis: Experiment) -> None:
    by_grid = limit(on_axis, "mu_numu", method="laplace")
    assert found.interval.kind == "upper"
    assert found.interval.intervals[0][1] == pytest.approx(by_grid.intervals[0][1], rel=2e-4)
    assert (found.verdict, found.reasons, found.seed) == ("pass", (), 4)
    assert f"1000 weighted draws worth {found.effective:.0f}" in repr(found)
    assert 950 < found.effective < 1000


def test_moments_and_json(found: WeightedPosterior) -> None:
    mean, deviation = moments(found)["mu_numu"]
    assert mean == pytest.approx(float(np.average(found.theta, weights=found.weight)))
    assert 0.05 * mean < deviation < mean
    content = weighted_json(found)
    assert content["parameters"]["flux_norm"]["mean"] == pytest.approx(float(found.weight @ found.pulls[:, 0]))
    assert (content["draws"], content["verdict"], content["unit"]) == (1000, "pass", "mu_B")


def test_resampled_draws_are_taken_by_weight(found: WeightedPosterior) -> None:
    theta, pulls = found.resampled(3000, 1)
    assert pulls.shape == (3000, 5)
    names, times = np.unique(theta, return_counts=True)
    wanted = 3000 * found.weight[np.argsort(found.theta)][np.isin(np.sort(found.theta), names)]
    assert (np.abs(times - wanted) < 1).all()


def test_the_file(found: WeightedPosterior, tmp_path: Path) -> None:
    found.save(tmp_path / "draws.csv")
    with (tmp_path / "draws.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["mu_numu", "flux_norm", "wrong_sign", "electron_flavour", "ccqe", "pi0", "weight"]
    np.testing.assert_allclose(np.array(rows[1:], dtype=float)[:, 0], found.theta, rtol=1e-9)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        found.save(tmp_path / "file" / "draws.csv")


def test_weights_that_cannot_be_trusted(on_axis: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weighted, "PARETO_K_MAX", -1.0)
    with pytest.raises(UnconvergedError, match="mu_numu: the draws are withheld: Pareto's k of the weights is"):
        bayesnu.draw(on_axis, "mu_numu", draws=200)
    notices: list[str] = []
    shown = bayesnu.draw(on_axis, "mu_numu", draws=200, allow_unconverged=True, notice=notices.append)
    assert (shown.verdict, len(notices)) == ("fail", 1)
    assert "NOT CONVERGED" in repr(shown)


def test_arguments(on_axis: Experiment) -> None:
    with pytest.raises(UsageError, match="unknown coupling 'mu_num'"):
        bayesnu.draw(on_axis, "mu_num")
    with pytest.raises(UsageError, match="draws = 10: must be at least 100"):
        bayesnu.draw(on_axis, "mu_numu", draws=10)
    with pytest.raises(UsageError, match="unknown kind"):
        bayesnu.draw(on_axis, "mu_numu", kind="etti")


@pytest.mark.slow
@pytest.mark.parametrize("coupling", ["mu_numu", "q_nue", "r2_nue"])
def test_nuts_has_the_same_posterior(on_axis: Experiment, coupling: str) -> None:
    """Means of the coupling, of its square and of each pull, within the errors of both."""
    own = bayesnu.draw(on_axis, coupling, draws=4000, seed=2)
    problem, prior = one_coupling(on_axis, coupling)
    nuts = Sampler().sample(problem, [prior], draws=2000, chains=4, tune=1000, seed=2)
    unit = float(problem.scales[0])
    columns = [own.theta / unit, (own.theta / unit) ** 2, *own.pulls.T]
    chains = [nuts.theta[0] / unit, (nuts.theta[0] / unit) ** 2, *np.moveaxis(nuts.pulls, 2, 0)]
    for values, by_nuts in zip(columns, chains, strict=True):
        mean = float(own.weight @ values)
        error = math.sqrt(float(own.weight @ (values - mean) ** 2) / own.effective)
        other = float(array_stats.mcse(by_nuts, method="mean", chain_axis=0, draw_axis=1))
        assert abs(mean - by_nuts.mean()) < 4.5 * math.hypot(error, other)
