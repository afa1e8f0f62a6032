"""CLs: the asymptotic bounds where they are exact, pseudo-experiments against closed forms, and refusals."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm, poisson
from simple_problems import counting, counting_with_efficiency, normal

from bayesnu.errors import ConvergenceError, UsageError
from bayesnu.experiment.setup import Experiment
from bayesnu.inference.cls import BAND_SIGMAS, Bound, _estimate, asimov_ratios, cls_limit, in_order, ratio_statistic
from bayesnu.inference.likelihood import make_problem
from bayesnu.workers.processes import Processes
from bayesnu.workers.tasks import InProcess


def exact(x: float, sigma: float = 1.0) -> float:
    """Where Φ((x - μ)/σ) = 0.1 Φ(x/σ)."""
    return float(brentq(lambda m: norm.cdf((x - m) / sigma) - 0.1 * norm.cdf(x / sigma), 0.0, 12.0 * sigma))


@pytest.mark.parametrize("x", [-1.0, 0.0, 1.0, 2.0])
@pytest.mark.parametrize("systematic", [0.0, 0.75])
def test_asymptotic_bounds_of_a_normal_observation_are_exact(x: float, systematic: float) -> None:
    """Observed and expected, with and without a pull that adds its variance."""
    sigma = float(np.hypot(1.0, systematic))
    found = cls_limit(normal(x * sigma, systematic=systematic), 0.9)
    assert found.lower is None
    assert found.toys == 0
    assert np.isnan(found.upper.error)
    assert found.upper.observed**2 == pytest.approx(exact(x * sigma, sigma), abs=2e-4)
    bands = [exact(n * sigma, sigma) for n in BAND_SIGMAS]
    if systematic == 0:
        np.testing.assert_allclose(np.square(found.upper.expected), bands, atol=2e-4)


def test_bands_of_an_observation_with_a_pull_follow_its_best_pull() -> None:
    """Experiments without the coupling: their background is the one that fits the data at 0, as the ensemble's is."""
    sigma = 1.25
    found = cls_limit(normal(0.0, systematic=0.75), 0.9)
    np.testing.assert_allclose(
        np.square(found.upper.expected), [exact(n * sigma, sigma) for n in BAND_SIGMAS], atol=2e-4
    )


def test_a_coupling_of_either_sign_has_two_bounds() -> None:
    found = cls_limit(normal(0.5, "r2_nue", 1), 0.9)
    assert found.lower is not None
    assert found.upper.observed == pytest.approx(exact(0.5), abs=2e-4)
    assert found.lower.observed == pytest.approx(-exact(-0.5), abs=2e-4)
    np.testing.assert_allclose(found.upper.expected, [exact(n) for n in BAND_SIGMAS], atol=2e-4)
    np.testing.assert_allclose(found.lower.expected, [-exact(n) for n in BAND_SIGMAS], atol=2e-4)


@pytest.mark.parametrize("x", [4.0, 9.0, 40.0])
def test_data_that_exclude_0_have_bounds_on_both_sides(x: float) -> None:
    """ln CLs = ln Φ(±x - μ) - ln Φ(±x), however far from 0 the data are; the bands are those of any data."""

    def bound(x: float) -> float:
        return float(brentq(lambda m: norm.logcdf(x - m) - norm.logcdf(x) + np.log(10), 0.0, 60.0))

    found = cls_limit(normal(x, "r2_nue", 1), 0.9)
    assert found.lower is not None
    assert found.upper.observed == pytest.approx(bound(x), rel=1e-4)
    assert found.lower.observed == pytest.approx(-bound(-x), rel=1e-3)
    np.testing.assert_allclose(found.upper.expected, [exact(n) for n in BAND_SIGMAS], atol=5e-4)
    assert cls_limit(normal(-x), 0.9).upper.observed ** 2 == pytest.approx(bound(-x), rel=1e-3)


def test_data_that_exclude_0_beyond_pseudo_experiments() -> None:
    with pytest.raises(ConvergenceError, match="r2_nue: the data exclude 0 against values below: about 1e-09 of"):
        cls_limit(normal(6.0, "r2_nue", 1), 0.9, InProcess(2))
    with pytest.raises(ConvergenceError, match="the data exclude all values below 0, and 0"):
        cls_limit(normal(1e5, "r2_nue", 1), 0.9)


def assert_near(bound: Bound, observed: float, expected: list[float]) -> None:
    """Within four of its own errors."""
    assert abs(bound.observed - observed) < 4 * bound.error
    difference = np.abs(np.array(bound.expected) - expected)
    np.testing.assert_array_less(difference, 4 * np.array(bound.expected_error))


@pytest.mark.slow
@pytest.mark.parametrize("systematic", [0.0, 0.75])
def test_pseudo_experiments_of_a_normal_observation(systematic: float) -> None:
    """The expected bands too: quantiles of Q without the coupling, and its tail with it."""
    sigma = float(np.hypot(1.0, systematic))
    found = cls_limit(normal(0.0, systematic=systematic), 0.9, InProcess(), seed=5)
    assert found.toys > 0
    assert 0 < found.upper.error <= 0.01 * found.upper.observed
    bands = [float(np.sqrt(exact(n * sigma, sigma))) for n in BAND_SIGMAS]
    assert_near(found.upper, np.sqrt(exact(0.0, sigma)), bands)


@pytest.mark.slow
def test_data_rare_without_the_coupling() -> None:
    """x = -2.5: one in 160 experiments without the coupling has a higher Q, none of many a chunk of 500."""
    found = cls_limit(normal(-2.5), 0.9, InProcess(), seed=7, tolerance=0.03).upper
    assert abs(found.observed - np.sqrt(exact(-2.5))) < 4 * found.error


@pytest.mark.slow
def test_the_error_of_a_bound_is_what_it_says() -> None:
    """Pulls of 20 seeds about the exact bound: observed, and all expected ones."""
    pulls = []
    for seed in range(20):
        found = cls_limit(normal(1.0), 0.9, InProcess(), seed=seed).upper
        bands = [(e - np.sqrt(exact(n))) / error for e, n, error in zip(
            found.expected, BAND_SIGMAS, found.expected_error, strict=True)]  # fmt: skip
        pulls.append([(found.observed - np.sqrt(exact(1.0))) / found.error, *bands])
    assert (np.abs(np.mean(pulls, axis=0)) < 3 / np.sqrt(20)).all()
    assert ((np.std(pulls, axis=0) > 0.6) & (np.std(pulls, axis=0) < 1.4)).all()


@pytest.mark.parametrize(
    ("n", "background"),
    [(3, 2.0), pytest.param(0, 2.0, marks=pytest.mark.slow), pytest.param(7, 4.0, marks=pytest.mark.slow)],
)
def test_pseudo_experiments_of_one_count(n: int, background: float) -> None:
    """Q falls with the count, whatever s: CLs = P(N ≤ n | s + b)/P(N ≤ n | b); expected, of the quantiles of n."""

    def bound(count: float) -> float:
        b = background
        return float(np.sqrt(brentq(lambda s: poisson.cdf(count, s + b) - 0.1 * poisson.cdf(count, b), 0.0, 40.0)))

    found = cls_limit(counting(n, background), 0.9, InProcess(), seed=6)
    assert_near(found.upper, bound(n), [bound(k) for k in poisson.ppf(norm.cdf(BAND_SIGMAS), background)])


def test_nothing_expected_without_the_coupling() -> None:
    """No count without it, ever: CLs = e^-s, expected and observed alike, and so it is beside a bin that is no use."""
    bound = float(np.sqrt(np.log(10)))
    found = cls_limit(counting(0, 0.0), 0.9, InProcess(), seed=6, tolerance=0.02)
    assert_near(found.upper, bound, [bound] * 5)
    with pytest.raises(ConvergenceError, match=r"no asymptotic form; use pseudo-experiments \(--toys\)"):
        cls_limit(counting(0, 0.0), 0.9)


def test_outcomes_with_equal_counts_are_in_both_tails() -> None:
    """Two of ten outcomes have the counts of the data: 30% and 60% are as extreme, without them 10% and 40%."""
    problem = counting(1, 1.0)
    observed = float(ratio_statistic(problem, np.ones(1), problem.data[None, :], None)[0, 0])
    with_, without = np.full(10, observed - 1), np.full(10, observed - 1)
    with_[:1] += 2
    without[:4] += 2
    flags = np.arange(10)
    for same, tails in (((flags == 5) | (flags == 6), (0.3, 0.6)), (flags < 0, (0.1, 0.4))):
        result = {"with": with_, "without": without, "with_same": same, "without_same": same}
        assert _estimate(problem, 1.0, None, result, 1.0).probability == pytest.approx(tails[0] / tails[1])


@pytest.mark.slow
def test_equal_counts_are_as_extreme_as_the_data() -> None:
    """The measurement of the efficiency fluctuates, which tells no experiment without a count from another.

    With the efficiency at its fit to no count, 1 - s σ², CLs = exp(-s (1 - s σ²)).
    """
    width = 0.1
    s = brentq(lambda s: s * (1 - s * width**2) - np.log(10), 1.0, 5.0)
    found = cls_limit(counting_with_efficiency(0, 0.0, width), 0.9, InProcess(), seed=6, tolerance=0.005)
    assert abs(found.upper.observed - np.sqrt(s)) < 4 * found.upper.error < 0.02 * np.sqrt(s)


@pytest.mark.parametrize("workers", [None, InProcess()])
def test_counts_that_only_the_coupling_makes(workers: InProcess | None) -> None:
    with pytest.raises(ConvergenceError, match="counts where nothing is expected without it: CLs excludes no value"):
        cls_limit(counting(1, 0.0), 0.9, workers)


def test_a_rare_tail_is_not_made_larger() -> None:
    """At -2σ and CLs = 0.01 one experiment with the coupling in 4400 is in the tail: none of 2000 says 0."""
    result = {"with": np.full(2000, -1.0), "without": np.linspace(1.0, 2.0, 2000)}
    assert _estimate(normal(0.0), 1.5, -2.0, result, 0.02).probability == 0.0
    result["with"][:10] = 3.0
    assert _estimate(normal(0.0), 1.5, -2.0, result, 0.02).probability == pytest.approx(0.005 / 0.0228, rel=0.02)


def test_bands_in_order() -> None:
    """Neighbours out of order by chance have one value; more than chance is refused; lower bounds are negative."""
    assert in_order([1.0, 2.0, 3.0], [0.1, 0.1, 0.1]) == ((1.0, 2.0, 3.0), (0.1, 0.1, 0.1))
    values, errors = in_order([1.0, 2.1, 2.0, 3.0], [0.1, 0.1, 0.2, 0.1])
    np.testing.assert_allclose(values, [1.0, 2.08, 2.08, 3.0])
    np.testing.assert_allclose(errors, [0.1, 0.12, 0.12, 0.1])
    np.testing.assert_allclose(in_order([-3.0, -2.9, -2.8], [0.1, 0.1, 0.1])[0], [-2.9, -2.9, -2.9])
    with pytest.raises(ConvergenceError, match="out of order beyond their errors"):
        in_order([1.0, 3.0, 2.0], [0.1, 0.1, 0.1])


@pytest.mark.slow
def test_the_same_numbers_from_two_processes(on_axis: Experiment) -> None:
    problem = make_problem(on_axis, ["mu_nue"])
    alone = cls_limit(problem, 0.9, InProcess(), seed=4, tolerance=0.04)
    team = Processes(2)
    try:
        assert cls_limit(problem, 0.9, team, seed=4, tolerance=0.04) == alone
    finally:
        team.close()


def test_ratio_of_asimov_data() -> None:
    """±μ² without and with the coupling, for one normal observation at 0."""
    theta = np.array([0.5, 1.0, 1.5])
    without, with_ = asimov_ratios(normal(0.0), theta)
    np.testing.assert_allclose(without, theta**4, atol=1e-9)
    np.testing.assert_allclose(with_, -(theta**4), atol=1e-9)
    observed = ratio_statistic(normal(0.3), theta, np.array([[0.3]]), None)[0]
    np.testing.assert_allclose(observed, (0.3 - theta**2) ** 2 - 0.09, atol=1e-9)


def test_what_cannot_be_bounded_is_refused(on_axis: Experiment) -> None:
    with pytest.raises(UsageError, match="needs 1 coupling, not 2"):
        cls_limit(make_problem(on_axis, ["mu_nue", "mu_numu"]), 0.9)
    with pytest.raises(ConvergenceError, match="choose a lower cl"):
        cls_limit(normal(0.0), 1 - 1e-14)
    with pytest.raises(ConvergenceError, match="choose a higher cl"):
        cls_limit(normal(0.0), 1e-6)
