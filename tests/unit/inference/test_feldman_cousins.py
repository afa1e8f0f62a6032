"""Feldman and Cousins' construction with pseudo-experiments: against its exact limits, its own errors, and refusals."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm
from simple_problems import counting, counting_with_efficiency, normal

from bayesnu.errors import ConvergenceError, UsageError
from bayesnu.experiment.setup import Experiment
from bayesnu.inference.crossing import Estimate
from bayesnu.inference.feldman_cousins import (
    exact_p_value,
    feldman_cousins,
    in_doubt,
    never_falling,
    observed_statistic,
    split,
)
from bayesnu.inference.likelihood import make_problem
from bayesnu.inference.profile import delta_chi2_intervals
from bayesnu.inference.toys import Ensemble
from bayesnu.workers.processes import Processes
from bayesnu.workers.tasks import InProcess


def p_value(x: float, mean: float) -> float:
    """P(t ≥ t_obs) of x ~ N(mean, 1), mean ≥ 0, where t = (x - mean)² - min(x, 0)²."""
    observed = (x - mean) ** 2 - min(x, 0.0) ** 2
    # t ≥ t_obs where x' ≥ mean + √t, and below: on the parabola, or beyond 0 on the line mean² - 2 mean x'.
    root = np.sqrt(observed)
    below = mean - root if root <= mean else (mean**2 - observed) / (2 * mean)
    return float(norm.sf(root) + norm.cdf(below - mean))


def upper(x: float) -> float:
    return float(brentq(lambda m: p_value(x, m) - 0.1, max(x, 0.0) + 0.3, max(x, 0) + 3.0))


def test_the_formula_of_these_tests_gives_the_published_table() -> None:
    """Table X of the paper at 90%."""
    found = [upper(x) for x in (-1.0, 0.0, 1.0, 2.0, 3.0)]
    np.testing.assert_allclose(found, [0.81, 1.64, 2.64, 3.64, 4.64], atol=0.0051)


@pytest.mark.parametrize("ensemble", ["fit", "posterior"])
@pytest.mark.parametrize("x", [-1.0, pytest.param(0.0, marks=pytest.mark.slow), 1.0])
def test_a_pull_that_only_adds_variance(x: float, ensemble: Ensemble) -> None:
    """σ = 0.75 in quadrature with 1: the table of the boundary in units of 1.25, profiled and averaged."""
    problem = normal(1.25 * x, systematic=0.75)
    found = feldman_cousins(problem, 0.9, InProcess(), seed=2, tolerance=0.01, ensemble=ensemble)
    assert found.toys > 0
    ((low, high),) = found.intervals
    assert low == 0.0
    error = found.mc_error[0][1]
    assert error <= 0.01 * high
    assert abs(high - np.sqrt(1.25 * upper(x))) < 4 * error


def test_both_bounds() -> None:
    """x = 3: [1.37, 4.64], in units of 1.25."""
    found = feldman_cousins(normal(3.75, systematic=0.75), 0.9, InProcess(), seed=2)
    ((low, high),) = found.intervals
    exact = brentq(lambda m: p_value(3.0, m) - 0.1, 0.5, 2.5)
    assert exact == pytest.approx(1.37, abs=0.0051)
    assert abs(low - np.sqrt(1.25 * exact)) < 4 * found.mc_error[0][0]
    assert abs(high - np.sqrt(1.25 * upper(3.0))) < 4 * found.mc_error[0][1]


@pytest.mark.slow
def test_without_a_boundary_it_is_the_parabola() -> None:
    """A linear coupling: x ± 1.645 σ, as Δχ² has it."""
    problem = normal(0.5, "r2_nue", 1, systematic=0.75)
    found = feldman_cousins(problem, 0.9, InProcess(), seed=3)
    (expected,) = delta_chi2_intervals(problem, 0.9)
    np.testing.assert_allclose(expected, (0.5 - 1.645 * 1.25, 0.5 + 1.645 * 1.25), atol=2e-3)
    for k in range(2):
        assert abs(found.intervals[0][k] - expected[k]) < 4 * found.mc_error[0][k]


@pytest.mark.slow
def test_the_error_of_a_limit_is_what_it_says() -> None:
    """Pulls of 20 seeds about the exact limit: mean 0 and spread 1 within what 20 of them allow."""
    exact = np.sqrt(1.25 * upper(1.0))
    pulls = []
    for seed in range(20):
        found = feldman_cousins(normal(1.25, systematic=0.75), 0.9, InProcess(), seed=seed)
        pulls.append((found.intervals[0][1] - exact) / found.mc_error[0][1])
    assert abs(np.mean(pulls)) < 3 / np.sqrt(20)
    assert 0.6 < np.std(pulls) < 1.4


@pytest.mark.slow
def test_the_same_numbers_from_two_processes(on_axis: Experiment) -> None:
    problem = make_problem(on_axis, ["mu_nue"])
    alone = feldman_cousins(problem, 0.9, InProcess(), seed=4, tolerance=0.03)
    team = Processes(2)
    try:
        both = feldman_cousins(problem, 0.9, team, seed=4, tolerance=0.03)
    finally:
        team.close()
    assert both.intervals == alone.intervals
    assert both.toys == alone.toys
    np.testing.assert_array_equal(both.mc_error, alone.mc_error)


def test_seeds_differ_and_repeat() -> None:
    problem = normal(1.0, systematic=0.75)
    first, again, other = (feldman_cousins(problem, 0.9, InProcess(), seed=s, tolerance=0.03) for s in (1, 1, 2))
    assert first.intervals == again.intervals
    assert first.intervals != other.intervals


@pytest.mark.parametrize("x", [-1.0, 0.4, 2.5])
@pytest.mark.parametrize("mean", [0.3, 1.0, 3.2])
def test_sum_over_all_outcomes(x: float, mean: float) -> None:
    """Cells of h = 0.007, in which t is not quite straight: h²/0.8 where its root is 0.1."""
    assert exact_p_value(normal(x), np.sqrt(mean)) == pytest.approx(p_value(x, mean), abs=1e-4)


def test_observed_statistic_counts_from_the_best_fit() -> None:
    """Of x = -1 it lies at the boundary; t = (x - θ²)² - 1."""
    theta = np.array([0.0, 0.5, 1.5])
    np.testing.assert_allclose(observed_statistic(normal(-1.0))(theta), (1 + theta**2) ** 2 - 1, atol=1e-6)
    np.testing.assert_allclose(observed_statistic(normal(2.0))(theta), (2 - theta**2) ** 2, atol=1e-6)


@pytest.mark.parametrize("cl", [0.99, pytest.param(0.9973, marks=pytest.mark.slow)])
def test_high_confidence(cl: float) -> None:
    found = feldman_cousins(normal(1.25, systematic=0.75), cl, InProcess(), seed=2, tolerance=0.02)
    ((low, high),) = found.intervals
    exact = brentq(lambda m: p_value(1.0, m) - (1 - cl), 2.0, 6.0)
    assert low == 0.0
    assert abs(high - np.sqrt(1.25 * exact)) < 4 * found.mc_error[0][1]


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_lower_bound_near_the_boundary(seed: int) -> None:
    """x = 1.5: p(0) = 0.067, so that 0 is not in the set, and the p-value of small θ differs little from it."""
    found = feldman_cousins(normal(1.875, systematic=0.75), 0.9, InProcess(), seed=seed, tolerance=0.02)
    ((low, _),) = found.intervals
    exact = brentq(lambda m: p_value(1.5, m) - 0.1, 0.01, 1.0)
    assert low == pytest.approx(np.sqrt(1.25 * exact), abs=4 * found.mc_error[0][0])


def test_equal_counts_are_equal_outcomes() -> None:
    """No count, no background: 2.44 events, where auxiliary measurements that tell outcomes apart would give 1.9."""
    found = feldman_cousins(counting_with_efficiency(0, 0.0, 0.05), 0.9, InProcess(), seed=3, tolerance=0.01)
    assert found.toys > 0
    assert found.intervals[0][1] ** 2 == pytest.approx(2.44, abs=0.06)


def test_points_that_decide_about_pieces() -> None:
    """A dip that may be a gap, and ends that may be outside; not what lies between inside and outside."""
    assert in_doubt(estimates([0.0, 0.1, 0.5, 0.101, 0.099, 0.5, 0.1, 0.0]), 0.1) == [3, 4]
    assert in_doubt(estimates([0.1, 0.5, 0.0]), 0.1) == [0]
    assert in_doubt(estimates([0.0, 0.5, 0.1, 0.1]), 0.1) == [2, 3]
    assert in_doubt(estimates([0.0, 0.5, 0.0]), 0.1) == []


def test_more_of_an_estimate() -> None:
    both = Estimate(2.0, 0.1, 400.0).with_more(Estimate(2.0, 0.2, 1200.0))
    assert (both.value, both.number) == (2.0, 1600.0)
    assert both.probability == pytest.approx(0.175)


def estimates(probabilities: list[float]) -> list[Estimate]:
    return [Estimate(float(k), p, 10_000.0) for k, p in enumerate(probabilities)]


def test_pieces_of_a_set() -> None:
    """Two pieces; one from the boundary; points that are not clear are left to the brackets."""
    ends, brackets = split(estimates([0.0, 0.5, 0.0, 0.1, 0.6, 0.01]), 0.1, False)
    assert ends == [(None, None), (None, None)]
    assert brackets == [(0.0, 1.0), (1.0, 2.0), (2.0, 4.0), (4.0, 5.0)]
    ends, brackets = split(estimates([0.9, 0.5, 0.101, 0.0]), 0.1, True)
    assert ends == [(0.0, None)]
    assert brackets == [(1.0, 3.0)]


def test_sets_without_ends_are_refused() -> None:
    with pytest.raises(ConvergenceError, match="no value of the coupling is in the set"):
        split(estimates([0.0, 0.05, 0.0]), 0.1, False)
    with pytest.raises(ConvergenceError, match="does not end"):
        split(estimates([0.0, 0.5, 0.4]), 0.1, False)
    with pytest.raises(ConvergenceError, match="does not end"):
        split(estimates([0.9, 0.5, 0.0]), 0.1, False)
    wide = normal(0.0, systematic=0.75)
    wide = replace(wide, model=replace(wide.model, arrays=1e-16 * wide.model.arrays), data=np.zeros(1))
    with pytest.raises(ConvergenceError, match="do not bound it"):
        feldman_cousins(wide, 0.9, InProcess(), seed=1)


def test_two_couplings_are_refused(on_axis: Experiment) -> None:
    with pytest.raises(UsageError, match="needs 1 coupling, not 2: mu_nue, mu_numu"):
        feldman_cousins(make_problem(on_axis, ["mu_nue", "mu_numu"]), 0.9, InProcess(), seed=1)


def test_never_falling_takes_the_largest_of_larger_backgrounds() -> None:
    """Of a limit that falls with the background and rises once."""

    def limit_at(problem: object) -> float:
        background = problem.model.arrays[0, 0, 0]  # type: ignore[attr-defined]
        return float(10 - background if background < 3 else 8.5 - (background - 3.5) ** 2)

    assert never_falling(counting(0.0, 2.0), limit_at) == pytest.approx(8.5, abs=1e-4)
    assert never_falling(counting(0.0, 1.0), limit_at) == 9.0
    assert never_falling(counting(0.0, 3.6), limit_at, most=1.5) == pytest.approx(8.49)
