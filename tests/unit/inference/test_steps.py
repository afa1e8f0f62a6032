"""Fits in NumPy: the minima of the compiled steps."""

from dataclasses import replace

import numpy as np
import pytest

from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.likelihood import Problem, few_fits, likelihood_range, make_problem, minimise_pulls
from bayesnu.inference.steps import minimised


def by_numpy(problem: Problem, x: np.ndarray) -> tuple[np.ndarray, ...]:
    model = problem.model
    variance = problem.normal_variance if problem.statistic == "chi2" else None
    return minimised(
        model.signal_strengths(x), model.membership, model.widths, model.constraint, problem.data, variance, 1e-8
    )


@pytest.mark.parametrize("statistic", ["poisson", "chi2"])
@pytest.mark.parametrize("coupling", ["mu_numu", "q_nue"])
def test_minima_of_the_compiled_steps(on_axis: Experiment, coupling: str, statistic: str) -> None:
    problem = make_problem(on_axis, [coupling], statistic)  # type: ignore[arg-type]
    # As far as pulls go that the data drive many of their widths away.
    x = np.append(np.linspace(-6, 6, 41), [30.0, 100.0])[None, :]
    compiled = minimise_pulls(problem, x)
    value, pulls, hessian, converged = by_numpy(problem, x)
    assert converged.all()
    np.testing.assert_allclose(value, compiled.value, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(pulls, compiled.pulls, atol=1e-10)
    np.testing.assert_allclose(hessian, compiled.hessian, rtol=1e-8, atol=1e-8)


def test_few_bins_without_counts() -> None:
    """Where nothing is expected at coupling 0, and where counts of 0 are observed."""
    problem = make_problem(load_experiment("nucleus-10g"), ["mu_nue"])
    empty = replace(problem, data=np.where(np.arange(problem.data.size) % 3, problem.data, 0.0))
    x = np.linspace(0, 4, 9)[None, :]
    compiled, found = minimise_pulls(empty, x), by_numpy(empty, x)
    assert found[3].all()
    np.testing.assert_allclose(found[0], compiled.value, rtol=1e-11)


def test_minimum_at_the_edge_of_a_factor(on_axis: Experiment) -> None:
    """Data that want a negative background: the factor's infimum is at 0, where a step is no longer Newton's."""
    problem = make_problem(on_axis, ["q_nue"])
    less = replace(problem, data=problem.data * 1e-6)
    x = np.array([[0.0, 1e4]])
    compiled = minimise_pulls(less, x)
    value, pulls, _, converged = by_numpy(less, x)
    assert converged.all()
    assert (1 + problem.model.widths * pulls < 1e-6).any(axis=1).all()
    np.testing.assert_allclose(value, compiled.value, rtol=1e-9)


@pytest.mark.parametrize("coupling", ["mu_nue", "r2_nue"])
def test_far_points_end(on_axis: Experiment, coupling: str) -> None:
    """Where pulls are driven to the edge, steps lead uphill, or only a neighbour's pulls lead on."""
    problem = make_problem(on_axis, [coupling])
    x = np.geomspace(50.0, 1e6, 25)[None, :]
    compiled = minimise_pulls(problem, x)
    value, *_, converged = by_numpy(problem, x)
    assert converged.all()
    np.testing.assert_allclose(value, compiled.value, rtol=1e-9)


def test_starts_from_given_pulls(on_axis: Experiment) -> None:
    problem = few_fits(make_problem(on_axis, ["mu_nue"]))
    first = np.full((1, len(problem.model.pulls)), 0.3)
    one, other = (minimise_pulls(problem, np.array([[1.5]]), first=start) for start in (None, first))
    assert other.value == pytest.approx(one.value, abs=1e-10)
    np.testing.assert_allclose(other.pulls, one.pulls, atol=1e-9)


@pytest.mark.parametrize(
    "model",
    [
        "dune-on-axis",
        pytest.param("dune-prism", marks=pytest.mark.slow),
        "lsnd-nue",
        "nucleus-10g",
        "nucleus-10g-radiative",
    ],
)
def test_what_matters_of_every_scan_is_the_same(model: str) -> None:
    """By both statistics and for every coupling: within Δχ² = 60, all that a limit looks at."""
    experiment = load_experiment(model)
    for coupling in experiment.card.couplings:
        for statistic in ("poisson", *(["chi2"] if experiment.variances else [])):
            problem = make_problem(experiment, [coupling], statistic)  # type: ignore[arg-type]
            x = problem.wide_scan[0][::4][None, :]
            compiled = minimise_pulls(problem, x)
            value, _, _, converged = by_numpy(problem, x)
            assert converged.all()
            near = compiled.value - compiled.value.min() < 60
            assert near.sum() > 5
            np.testing.assert_allclose(value[near], compiled.value[near], rtol=0, atol=1e-8)
            assert (value[~near] - value.min() > 59).all()


def test_the_range_is_the_same(on_axis: Experiment) -> None:
    problem = make_problem(on_axis, ["mu_numu"])
    assert likelihood_range(few_fits(problem), 30.0) == pytest.approx(likelihood_range(problem, 30.0), rel=1e-9)
