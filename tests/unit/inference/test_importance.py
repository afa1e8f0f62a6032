"""Weighted draws: against the grid and quadrature, the tail of their weights against ArviZ."""

import math

import numpy as np
import pytest
from arviz_stats.base import array_stats
from scipy import stats

from bayesnu.errors import ConvergenceError
from bayesnu.experiment.card import HalfNormalPrior, LogUniformPrior, PriorCard, UniformSquaredPrior
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.importance import ImportanceDraws, drawn_from, laplace_draws, log_posterior, pareto_k
from bayesnu.inference.laplace import GridPosterior
from bayesnu.inference.likelihood import few_fits, make_problem, minimise_pulls
from bayesnu.inference.priors import one_coupling, resolve_prior


@pytest.mark.parametrize("number", [100, 226, 4000])
@pytest.mark.parametrize("spread", [0.3, 1.0, 2.5])
def test_pareto_k_is_that_of_arviz(number: int, spread: float) -> None:
    log_weight = spread * np.random.default_rng(number).standard_normal(number)
    assert pareto_k(log_weight) == pytest.approx(float(array_stats.psislw(-log_weight)[1]), abs=1e-9)


def test_pareto_k_at_the_ends() -> None:
    assert pareto_k(np.zeros(1000)) == -math.inf
    assert pareto_k(np.arange(10.0)) == math.inf
    # Weights whose variance does not exist.
    assert pareto_k(np.log(stats.pareto(1.2).rvs(4000, random_state=1))) > 0.6


def test_draws_of_a_density_that_is_linear_between_points(on_axis: Experiment) -> None:
    _, prior = one_coupling(on_axis, "mu_numu")
    x, density = np.array([0.0, 1.0, 1.5, 4.0]), np.array([0.0, 2.0, 1.0, 0.0])
    grid = GridPosterior("mu_numu", x, density / 3.0, prior)
    theta, log_density = drawn_from(grid, 4000, np.random.default_rng(3))
    np.testing.assert_allclose(np.exp(log_density), np.interp(theta, x, density / 3.0), rtol=1e-12)
    fine = np.linspace(0, 4, 20_001)
    cumulative = np.cumsum(np.interp(fine, x, density / 3.0)) * (fine[1] - fine[0])
    assert stats.kstest(np.interp(theta, fine, cumulative), "uniform").pvalue > 1e-3


def assert_quantiles(found: ImportanceDraws) -> None:
    """Compare with the grid, by trapezoids, within 4.5 errors of as many equal draws as these are worth."""
    x, density = found.grid.values, found.grid.density
    cumulative = np.append(0.0, np.cumsum(np.diff(x) * (density[1:] + density[:-1]) / 2))
    for level in (0.1, 0.5, 0.9):
        at = np.interp(level, cumulative / cumulative[-1], x)
        error = math.sqrt(level * (1 - level) / found.effective)
        assert float(found.weight @ (found.theta <= at)) == pytest.approx(level, abs=4.5 * error)


@pytest.mark.slow
@pytest.mark.parametrize("coupling", ["q_numu", "r2_nue"])
def test_weights_where_quenching_bends_the_counts(coupling: str) -> None:
    problem, prior = one_coupling(load_experiment("coherent-csi-2017"), coupling)
    found = laplace_draws(problem, prior, 20_000, 1)
    assert found.pareto_k < 0.5
    assert_quantiles(found)


@pytest.mark.parametrize(
    ("coupling", "card"),
    [
        ("mu_numu", None),
        ("q_nue", None),
        ("mu_numu", LogUniformPrior(kind="log-uniform", low=1e-13, high=1e-9)),
        ("mu_numu", HalfNormalPrior(kind="half-normal", sigma=1e-10)),
        ("mu_numu", UniformSquaredPrior(kind="uniform-squared", high=1e-9)),
    ],
)
def test_weights_of_the_exact_posterior(on_axis: Experiment, coupling: str, card: PriorCard | None) -> None:
    """Quantiles agree with the grid, whose error is far less; pulls are where the minima are."""
    problem = make_problem(on_axis, [coupling])
    prior = resolve_prior(card, problem)
    found = laplace_draws(few_fits(problem), prior, 4000, 1)
    assert found.pareto_k < 0.5
    assert found.effective > 3800
    assert found.weight.sum() == pytest.approx(1.0)
    assert_quantiles(found)
    grid = found.grid
    best = minimise_pulls(problem, np.atleast_2d(grid.values[grid.density.argmax()] / problem.scales[0]))
    mean, spread = found.weight @ found.pulls, found.pulls.std(axis=0)
    assert (np.abs(mean - best.pulls[0] * problem.model.widths) < spread).all()


def test_log_posterior_is_that_of_the_problem(on_axis: Experiment) -> None:
    """Differences of ln p are those of -2 ln L, minimised over the pulls."""
    problem, prior = one_coupling(on_axis, "q_numu")
    x = np.linspace(-2, 2, 7)
    fits = minimise_pulls(problem, x[None, :])
    own = log_posterior(problem, prior, x * float(problem.scales[0]), fits.pulls)
    np.testing.assert_allclose(own - own[0], (fits.value[0] - fits.value) / 2, atol=1e-8)
    outside = np.where(np.arange(5) == 0, -2 / problem.model.widths, 0.0)[None, :]
    assert log_posterior(problem, prior, np.zeros(1), outside) == -math.inf


def test_the_seed_fixes_the_draws(on_axis: Experiment) -> None:
    problem, prior = one_coupling(on_axis, "mu_numu")
    one, two, other = (laplace_draws(few_fits(problem), prior, 200, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.pulls, two.pulls)
    assert not np.array_equal(one.theta, other.theta)


def test_pulls_without_a_minimum(on_axis: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, prior = one_coupling(on_axis, "mu_numu")
    monkeypatch.setattr("numpy.linalg.cholesky", lambda _: (_ for _ in ()).throw(np.linalg.LinAlgError))
    with pytest.raises(ConvergenceError, match="-ln L has no minimum in the pulls"):
        laplace_draws(problem, prior, 200, 1)
