"""NUTS through nutpie: against the Laplace grid and what nutpie makes of the PyMC model; diagnostics, seeds."""

import hashlib
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from arviz_stats.base import array_stats

from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.laplace import Cells, laplace_posterior, laplace_posterior_2d
from bayesnu.inference.likelihood import Problem, make_problem
from bayesnu.inference.nuts import SAMPLE_STATS
from bayesnu.inference.priors import Prior, one_coupling
from bayesnu.inference.sampling import Draws, Sampler
from bayesnu.physics.couplings import ELECTROMAGNETIC
from bayesnu.results.diagnostics import Diagnostics, diagnose
from bayesnu.results.fits import RunArguments
from bayesnu.results.joint import fit_jointly
from bayesnu.results.limits import (
    DEFAULT_CHAINS,
    DEFAULT_DRAWS,
    DEFAULT_SEED,
    TUNE,
    default_kind,
    laplace_interval,
    nuts_interval,
)
from bayesnu.results.posterior import posterior_tree


@dataclass
class Fit:
    draws: Draws
    problem: Problem
    prior: Prior
    diagnostics: Diagnostics


def sample(sampler: Sampler, problem: Problem, prior: Prior, draws: int, seed: int, chains: int = 2) -> Draws:
    return sampler.sample(problem, [prior], draws=draws, chains=chains, tune=300, seed=seed)


def fit(sampler: Sampler, experiment: Experiment, name: str) -> Fit:
    """One coupling with the default numbers, diagnosed against the Laplace grid."""
    problem, prior = one_coupling(experiment, name)
    draws = sampler.sample(problem, [prior], draws=DEFAULT_DRAWS, chains=DEFAULT_CHAINS, tune=TUNE, seed=DEFAULT_SEED)
    tree = posterior_tree(experiment, problem, [prior], draws, {})
    kind = default_kind(name)
    grid = laplace_interval(laplace_posterior(problem, prior), 0.90, kind)
    quoted = nuts_interval(draws.theta[0], prior, 0.90, kind)
    return Fit(draws, problem, prior, diagnose(tree, name, quoted, grid))


def check(found: Diagnostics) -> None:
    assert found.divergences == 0
    assert found.rhat < 1.01
    assert found.pull_rhat_max < 1.01
    assert min(found.ess_bulk, found.ess_tail) > 1000
    assert found.laplace_sigma < 4
    assert found.verdict == "pass", found.reasons


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    return Sampler()


@pytest.fixture(scope="module")
def linear(sampler: Sampler, on_axis: Experiment) -> Fit:
    return fit(sampler, on_axis, "q_numu")


@pytest.fixture(scope="module")
def folded(sampler: Sampler, on_axis: Experiment, linear: Fit) -> Fit:
    return fit(sampler, on_axis, "mu_numu")


def test_linear_coupling(linear: Fit) -> None:
    check(linear.diagnostics)
    theta = linear.draws.theta
    assert theta.shape == (1, DEFAULT_CHAINS, DEFAULT_DRAWS)
    assert theta.min() < 0 < theta.max()
    assert (linear.draws.tune, linear.draws.seed, linear.draws.couplings) == (TUNE, DEFAULT_SEED, ("q_numu",))


def test_coupling_that_enters_squared_only(folded: Fit) -> None:
    check(folded.diagnostics)
    assert folded.draws.theta.min() >= 0
    assert folded.draws.theta.max() <= folded.prior.high


def test_moments_are_the_grids(linear: Fit) -> None:
    grid = laplace_posterior(linear.problem, linear.prior)
    mean = np.trapezoid(grid.values * grid.density, grid.values)
    sigma = math.sqrt(np.trapezoid((grid.values - mean) ** 2 * grid.density, grid.values))
    theta = linear.draws.theta[0]
    n = linear.diagnostics.ess_bulk
    assert abs(theta.mean() - mean) < 4.5 * sigma / math.sqrt(n)
    assert theta.std() == pytest.approx(sigma, rel=0.1)


def test_pulls_are_fractions(linear: Fit) -> None:
    pulls, widths = linear.draws.pulls, linear.problem.model.widths
    assert pulls.shape == (DEFAULT_CHAINS, DEFAULT_DRAWS, widths.size)
    assert (pulls > -1).all()
    # The flux norm and the CCQE background are measured far better than their priors; the small pulls are not.
    ratio = pulls.reshape(-1, widths.size).std(axis=0) / widths
    assert (ratio < 1.05).all()
    assert ratio[0] < 0.9


def test_sample_statistics_are_kept_by_chain_and_draw(linear: Fit) -> None:
    stats = linear.draws.sample_stats
    assert set(stats) == set(SAMPLE_STATS)
    assert {values.shape for values in stats.values()} == {linear.draws.theta.shape[1:]}
    assert (stats["diverging"].dtype, stats["energy"].dtype) == (np.bool_, np.float64)


def test_the_same_seed_gives_the_same_numbers(sampler: Sampler, linear: Fit) -> None:
    one, two, other = (sample(sampler, linear.problem, linear.prior, 100, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.theta, two.theta)
    np.testing.assert_array_equal(one.pulls, two.pulls)
    assert not np.array_equal(one.theta, other.theta)
    assert not np.array_equal(one.theta[:, 0], one.theta[:, 1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ELECTROMAGNETIC)
@pytest.mark.parametrize("card", ["on_axis", "prism"])
def test_every_coupling_of_both_cards(card: str, name: str, sampler: Sampler, request: pytest.FixtureRequest) -> None:
    check(fit(sampler, request.getfixturevalue(card), name).diagnostics)


@pytest.mark.slow
def test_the_pymc_model_gives_the_same_posterior(on_axis: Experiment, linear: Fit, folded: Fit) -> None:
    """What nutpie makes of the PyMC model itself, compiled once for both couplings."""
    by_model = Sampler(compiler="pymc")
    for name, own in (("q_numu", linear), ("mu_numu", folded)):
        other = fit(by_model, on_axis, name)
        check(other.diagnostics)
        for quantile in (0.1, 0.5, 0.9):
            found, error = zip(*(quantile_error(f.draws.theta[0], quantile) for f in (own, other)), strict=True)
            assert abs(found[0] - found[1]) < 4 * math.hypot(*error)
    assert len(by_model._models) == 1


def quantile_error(draws: np.ndarray, quantile: float) -> tuple[float, float]:
    """A quantile of draws, shape (chains, draws), and its Monte Carlo standard error."""
    error = array_stats.mcse(draws, method="quantile", prob=quantile, chain_axis=0, draw_axis=1)
    return float(np.quantile(draws, quantile)), float(error)


@pytest.mark.slow
def test_joint_fit_of_two_couplings() -> None:
    """Means and standard deviations agree with those of the joint posterior on a grid."""
    names, reach = ("q_nue", "r2_nue"), (2e-7, 2e-30)
    uniform = "couplings.{0}.prior={{kind='uniform', low=-{1}, high={1}}}"
    on_axis = load_experiment("dune-on-axis", [uniform.format(n, r) for n, r in zip(names, reach, strict=True)])
    arguments = RunArguments(names, draws=2000, chains=4, seed=1)
    tree = fit_jointly(on_axis, names, arguments, Sampler())
    assert tree["posterior"]["q_nue"].shape == (4, 2000)
    assert int(tree["sample_stats"]["diverging"].sum()) == 0

    priors = [one_coupling(on_axis, name)[1] for name in names]
    x, y = (np.linspace(-edge, edge, 161) for edge in (1e-7, 1.2e-30))
    grid = laplace_posterior_2d(
        make_problem(on_axis, names), (priors[0], priors[1]), Cells(x, np.gradient(x)), Cells(y, np.gradient(y))
    )
    assert max(grid.density[[0, -1]].max(), grid.density[:, [0, -1]].max()) < 1e-6 * grid.density.max()
    for axis, name in enumerate(names):
        values, weight = (x, y)[axis], grid.weight.sum(axis=1 - axis)
        mean = float(values @ weight)
        deviation = math.sqrt((values - mean) ** 2 @ weight)
        draws = tree["posterior"][name].values
        ess = float(array_stats.ess(draws, method="bulk", chain_axis=0, draw_axis=1))
        assert ess > 400
        assert abs(draws.mean() - mean) < 4 * deviation / math.sqrt(ess)
        assert draws.std() == pytest.approx(deviation, rel=4 * math.sqrt(2 / ess))


SCRIPT = """
import hashlib
from bayesnu.experiment.setup import load_experiment
from bayesnu.inference.priors import one_coupling
from bayesnu.inference.sampling import Sampler
experiment = load_experiment("dune-on-axis")
problem, prior = one_coupling(experiment, "q_numu")
draws = Sampler().sample(problem, [prior], draws=200, chains=2, tune=300, seed=7)
print(hashlib.sha256(draws.theta.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_cold_and_warm_cache_give_the_same_numbers(tmp_path: Path, linear: Fit, sampler: Sampler) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    digests = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
        ).stdout.split()[-1]
        for _ in range(2)
    ]
    here = sample(sampler, linear.problem, linear.prior, 200, 7).theta
    assert digests == [hashlib.sha256(here.tobytes()).hexdigest()] * 2
