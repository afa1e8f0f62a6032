"""Posteriors of many data sets on one grid, against the normal distribution and against the grid of one data set."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bayesnu.errors import ConvergenceError
from bayesnu.experiment.expectation import CountModel
from bayesnu.experiment.setup import Experiment
from bayesnu.inference.laplace import laplace_posterior
from bayesnu.inference.likelihood import Problem, make_problem
from bayesnu.inference.priors import Prior
from bayesnu.inference.toy_grid import mass_below, mass_denser, posterior_grid, toy_posteriors
from bayesnu.inference.toys import pseudo_experiments
from bayesnu.physics.couplings import COUPLINGS


def normal(power: int = 1, name: str = "q_nue") -> Problem:
    """One normal observation of unit width with mean θ, or θ²."""
    arrays = np.array([[[0.0], [1.0]]])
    model = CountModel((name,), ((), ((0, power),)), ((),), ("c",), (), np.zeros(0), arrays)
    return Problem((name,), np.ones(1), model, np.array([0.0]), np.ones(1), np.zeros(1))


FLAT = Prior(COUPLINGS["q_nue"], "uniform", -12.0, 12.0)


def test_masses_of_a_normal_posterior() -> None:
    problem, truth = normal(), 0.7
    x = np.array([[-1.5], [0.0], [0.7], [2.9]])
    grid = posterior_grid(problem, truth, (FLAT,))
    density = toy_posteriors(problem, grid, x, np.zeros((4, 0))).density(FLAT)
    np.testing.assert_allclose(mass_below(grid, density, truth), stats.norm.cdf(truth - x[:, 0]), atol=1e-3)
    exact = 2 * stats.norm.cdf(np.abs(truth - x[:, 0])) - 1
    np.testing.assert_allclose(mass_denser(grid, density, truth), exact, atol=2e-3)


def test_ties_are_not_denser() -> None:
    """A flat density has no denser values; two peaks have the part of both above the level."""
    grid = np.linspace(0.0, 4.0, 5)
    assert mass_denser(grid, np.full((1, 5), 0.25), 2.0)[0] == 0
    peaks = np.array([[0.0, 0.4, 0.2, 0.4, 0.0]])
    # Above 0.2: the cells between 0.5 and 3.5, those from 0.5 to 1 and from 3 to 3.5 by their upper halves.
    assert mass_denser(grid, peaks, 2.0)[0] == pytest.approx(2 * (0.5 * 0.3 + 0.3))


@pytest.mark.parametrize("kind", ["uniform", "uniform-squared", "log-uniform", "half-normal"])
def test_the_same_as_for_one_data_set(on_axis: Experiment, kind: str) -> None:
    problem = make_problem(on_axis, ["mu_numu"])
    scale = float(problem.scales[0])
    low = 1e-3 * scale if kind == "log-uniform" else 0.0
    prior = Prior(COUPLINGS["mu_numu"], kind, low, 6 * scale, 2 * scale)  # type: ignore[arg-type]
    data = pseudo_experiments(problem, np.array([1.5]), 5, np.random.default_rng(2))
    grid = posterior_grid(problem, 1.5, (prior,))
    posteriors = toy_posteriors(problem, grid, data.counts, data.centre).density(prior)
    for counts, density in zip(data.counts, posteriors, strict=True):
        one = laplace_posterior(replace(problem, data=counts), prior)
        inside = (one.values >= grid[0]) & (one.values <= 1.5 * scale)
        logarithmic = kind == "log-uniform"
        x = np.log(one.values[inside]) if logarithmic else one.values[inside]
        per_x = one.density[inside] * (one.values[inside] if logarithmic else 1.0)
        expected = np.trapezoid(per_x, x)
        found = mass_below(grid, density[None], 1.5 * scale, logarithmic)[0]
        assert found == pytest.approx(expected, abs=3e-3)


def test_a_prior_far_from_the_data_is_refused() -> None:
    far = Prior(COUPLINGS["q_nue"], "uniform", 50.0, 60.0)
    with pytest.raises(ConvergenceError, match="neither data nor priors bound it"):
        posterior_grid(normal(), 0.0, (far,))
    posteriors = toy_posteriors(normal(), np.linspace(-5, 5, 11), np.zeros((1, 1)), np.zeros((1, 0)))
    with pytest.raises(ConvergenceError, match="no point of the grid"):
        posteriors.density(far)


def test_grid_holds_the_truth_and_the_floor() -> None:
    problem = normal(2, "mu_nue")
    prior = Prior(COUPLINGS["mu_nue"], "log-uniform", 1e-4, 9.0, math.nan)
    grid = posterior_grid(problem, 1.234, (prior,))
    assert 1.234 in grid
    assert grid[grid > 0][0] == pytest.approx(1e-4)
    assert (np.diff(grid) > 0).all()
