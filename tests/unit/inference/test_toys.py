"""Pseudo-experiments: their means and covariances, their seeds, and the distribution of the statistic."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2, kstest

from bayesnu.errors import ConvergenceError
from bayesnu.experiment.expectation import CountModel
from bayesnu.experiment.setup import Experiment
from bayesnu.inference.likelihood import Problem, make_problem, minimise_pulls
from bayesnu.inference.toys import ENSEMBLES, Ensemble, draw_counts, pseudo_experiments, toy_fits

NUMBER = 40_000
SIGNAL, BACKGROUND = np.array([20.0, 10.0, 5.0]), np.array([30.0, 40.0, 50.0])
WIDTHS = np.array([0.1, 0.2])
TRUTH = np.array([1.0])


def two_pulls(free: tuple[str, ...] = (), widths: np.ndarray = WIDTHS) -> Problem:
    """λ = θ² s (1 + f₁) + b (1 + f₂), with data 10% above the expectation at θ = 1."""
    arrays = np.array([[0 * SIGNAL, SIGNAL], [BACKGROUND, 0 * BACKGROUND]])
    model = CountModel(
        ("mu_nue",), ((), ((0, 2),)), ((0,), (1,)), ("signal", "background"), ("a", "b"), widths, arrays, free
    )
    data = np.round(1.1 * (SIGNAL + BACKGROUND))
    return Problem(("mu_nue",), np.ones(1), model, data, np.zeros(3), np.zeros(3))


def posterior(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Best pulls at the truth, and the inverse of the Hessian written out there: both slopes of λ are constant."""
    z = minimise_pulls(problem, TRUTH[:, None]).pulls[0]
    slopes = np.stack([WIDTHS[0] * SIGNAL, WIDTHS[1] * BACKGROUND])
    expected = SIGNAL + BACKGROUND + z @ slopes
    gradient = slopes @ (1 - problem.data / expected) + problem.model.constraint * z
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    hessian = (slopes * problem.data / expected**2) @ slopes.T + np.diag(problem.model.constraint)
    return z, np.linalg.inv(hessian)


def check(sample: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> None:
    """Compare a sample's mean and covariance with what they should be, to 4.5 standard errors of normal draws."""
    sigma = np.sqrt(np.diag(covariance))
    np.testing.assert_array_less(np.abs(sample.mean(axis=0) - mean), 4.5 * sigma / np.sqrt(NUMBER) + 1e-9)
    error = np.sqrt((np.outer(sigma, sigma) ** 2 + covariance**2) / NUMBER)
    np.testing.assert_array_less(np.abs(np.cov(sample.T) - covariance), 4.5 * error + 1e-9)


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_means_and_covariances(ensemble: Ensemble) -> None:
    """Counts: Poisson's variance plus that of the pulls through the slopes of λ, which are exact here."""
    problem = two_pulls()
    data = pseudo_experiments(problem, TRUTH, NUMBER, np.random.default_rng(1), ensemble)
    z, width = posterior(problem)
    mean, spread = {
        "constraint": (np.zeros(2), np.eye(2)),
        "fit": (z, np.zeros((2, 2))),
        "posterior": (z, width),
    }[ensemble]
    slopes = np.stack([WIDTHS[0] * SIGNAL, WIDTHS[1] * BACKGROUND])
    expected = SIGNAL + BACKGROUND + mean @ slopes
    check(data.pulls, mean, spread)
    check(data.counts, expected, np.diag(expected) + slopes.T @ spread @ slopes)
    assert (data.counts == np.round(data.counts)).all()
    if ensemble == "constraint":
        assert not data.centre.any()
    else:
        check(data.centre - data.pulls, np.zeros(2), np.eye(2))
        check(data.centre, mean, np.eye(2) + spread)
        # Counts and auxiliary measurements share the true pulls and nothing else.
        cross = np.cov(data.counts.T, data.centre.T)[:3, 3:]
        error = np.sqrt(np.outer(data.counts.var(axis=0), data.centre.var(axis=0)) / NUMBER)
        np.testing.assert_array_less(np.abs(cross - slopes.T @ spread), 4.5 * error)


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_a_free_pull_has_no_auxiliary_measurement(ensemble: Ensemble) -> None:
    """It takes the value that fits the data, or one of its posterior."""
    problem = two_pulls(("b",))
    data = pseudo_experiments(problem, TRUTH, NUMBER, np.random.default_rng(2), ensemble)
    z, width = posterior(problem)
    assert z[1] > 0.1
    assert not data.centre[:, 1].any()
    if ensemble == "posterior":
        check(data.pulls, z, width)
    else:
        np.testing.assert_allclose(data.pulls[:, 1], z[1], atol=1e-9)


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_the_seed_and_nothing_else_makes_the_numbers(ensemble: Ensemble) -> None:
    first, again, other = (toy_fits(two_pulls(), TRUTH, 600, np.random.default_rng(s), ensemble) for s in (5, 5, 6))
    for name in ("counts", "centre", "pulls"):
        np.testing.assert_array_equal(getattr(first.data, name), getattr(again.data, name))
    for name in ("best", "value", "statistic"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.data.counts != other.data.counts).any()


def test_pulls_that_leave_the_likelihood_are_drawn_again() -> None:
    """Widths of 70%: one in thirteen draws would make a count negative."""
    data = pseudo_experiments(
        two_pulls(widths=np.array([0.7, 0.7])), TRUTH, 5000, np.random.default_rng(3), "constraint"
    )
    assert (1 + 0.7 * data.pulls > 0).all()
    assert (data.pulls.mean(axis=0) > 0.05).all()


def test_pulls_that_always_leave_it_are_refused() -> None:
    """Sixty pulls, each negative in half of the draws."""
    names = tuple(f"p{k}" for k in range(60))
    model = CountModel(
        ("mu_nue",), ((), ((0, 2),)), tuple((k,) for k in range(60)), names, names, np.full(60, 1e6),
        np.ones((60, 2, 1)),
    )  # fmt: skip
    problem = Problem(("mu_nue",), np.ones(1), model, np.array([120.0]), np.zeros(1), np.zeros(1))
    with pytest.raises(ConvergenceError, match="choose narrower pulls"):
        pseudo_experiments(problem, TRUTH, 20, np.random.default_rng(3), "constraint")


def test_a_truth_that_the_data_rule_out_is_refused() -> None:
    """A count where none is expected."""
    problem = two_pulls()
    impossible = replace(problem, model=replace(problem.model, arrays=0 * problem.model.arrays))
    with pytest.raises(ConvergenceError, match="choose another one"):
        pseudo_experiments(impossible, TRUTH, 10, np.random.default_rng(3), "fit")


def test_draws_of_each_statistic() -> None:
    """Variances λ, λ + v λ² and V."""
    expected = np.broadcast_to(np.array([5.0, 20.0, 80.0]), (NUMBER, 3))
    own, none = np.array([0.04, 0.1, 0.02]), np.zeros(3)
    for normal, relative, variance in (
        (none, none, expected[0]),
        (none, own, expected[0] + own * expected[0] ** 2),
        (own, none, own),
    ):
        problem = replace(two_pulls(), normal_variance=normal, relative_variance=relative)
        drawn = draw_counts(problem, expected, np.random.default_rng(4))
        np.testing.assert_allclose(drawn.mean(axis=0), expected[0], atol=4.5 * np.sqrt(variance.max() / NUMBER))
        # Kurtosis of what is discrete or gamma-distributed: 8% is 6 standard errors at most.
        np.testing.assert_allclose(drawn.var(axis=0), variance, rtol=0.08)


@pytest.mark.parametrize("ensemble", ENSEMBLES[1:])
def test_statistic_follows_wilks_where_counts_are_many(on_axis: Experiment, ensemble: Ensemble) -> None:
    """t at r2_numu = 0 of dune-on-axis is χ² with one degree of freedom, by Kolmogorov and Smirnov."""
    fits = toy_fits(make_problem(on_axis, ["r2_numu"]), np.zeros(1), 2000, np.random.default_rng(8), ensemble)
    assert (fits.statistic >= 0).all()
    assert kstest(fits.statistic, chi2(1).cdf).pvalue > 1e-3
