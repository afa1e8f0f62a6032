"""Regions of two couplings by pseudo-experiments."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bayesnu.errors import ConvergenceError, UsageError
from bayesnu.experiment.expectation import CountModel
from bayesnu.experiment.setup import load_experiment
from bayesnu.inference import region as module
from bayesnu.inference.likelihood import Problem, make_problem
from bayesnu.inference.region import feldman_cousins_region, local_surface
from bayesnu.inference.toys import quantile_with_error, toy_fits
from bayesnu.results.region import HEADROOM, grid_ranges, region, region_json
from bayesnu.results.toy_limits import ToyRunner
from bayesnu.workers.tasks import InProcess


def two_means(names: tuple[str, str] = ("q_nue", "q_numu")) -> Problem:
    """Two normal observations about 20, one for each coupling."""
    arrays = np.array([[[20.0, 20.0], [1.0, 0.0], [0.0, 1.0]]])
    monomials = ((), ((0, 1),), ((1, 1),))
    model = CountModel(names, monomials, ((),), ("c",), (), np.zeros(0), arrays)
    return Problem(names, np.ones(2), model, np.array([20.3, 19.8]), np.ones(2), np.zeros(2))


def test_normal_data_have_the_quantile_of_chi_square() -> None:
    x = np.array([-1.0, 0.3, 2.5])
    found = feldman_cousins_region(two_means(), 0.9, x, x, InProcess(), seed=1, tolerance=0.02)
    exact = stats.chi2.ppf(0.9, 2)
    pulls = (found.critical - exact) / found.error
    assert np.abs(pulls).max() < 4
    assert (found.error <= 0.02 * found.critical).all()
    distance = (x[:, None] - 0.3) ** 2 + (x[None, :] + 0.2) ** 2
    np.testing.assert_allclose(found.observed, distance, atol=1e-8)
    np.testing.assert_array_equal(found.inside, distance <= found.critical)


def test_error_of_a_quantile_is_that_of_order_statistics() -> None:
    rng = np.random.default_rng(3)
    samples = stats.chi2.rvs(2, size=(300, 2000), random_state=rng)
    found = np.array([quantile_with_error(sample, 0.9) for sample in samples])
    q = stats.chi2.ppf(0.9, 2)
    exact = np.sqrt(0.09 / 2000) / stats.chi2.pdf(q, 2)
    assert found[:, 0].mean() == pytest.approx(q, abs=4 * exact / np.sqrt(300))
    assert found[:, 1].mean() == pytest.approx(exact, rel=0.1)


def test_smoothed_surface_has_its_errors() -> None:
    """A paraboloid is kept as it is; noise about it is reduced, and what is left has the errors that are stated."""
    rng = np.random.default_rng(5)
    x, y = np.mgrid[0:1:26j, 0:1:40j]
    exact = 4 + x - 2 * y + x**2 - 0.5 * x * y + y**2
    number = rng.choice([400.0, 1600.0], exact.shape)
    error = 6.0 / np.sqrt(number)
    np.testing.assert_allclose(local_surface(exact, error, number)[0], exact, atol=1e-9)
    # 35 points of equal errors and 6 coefficients: the first diagonal element of (XᵀX)⁻¹, edges apart.
    u, v = np.meshgrid(np.arange(-2, 3), np.arange(-3, 4))
    basis = np.stack([np.ones(35), u.ravel(), v.ravel(), u.ravel() ** 2, u.ravel() * v.ravel(), v.ravel() ** 2], axis=1)
    share = np.linalg.inv(basis.T @ basis)[0, 0]
    equal = local_surface(exact, np.ones_like(exact), np.ones_like(exact))[1]
    np.testing.assert_allclose(equal[2:-2, 3:-3], np.sqrt(share))
    assert equal[0, 0] > equal[0, 20] > equal[13, 20]
    pulls = []
    for _ in range(40):
        found, sigma = local_surface(exact + error * rng.standard_normal(exact.shape), error, number)
        pulls.append((found - exact) / sigma)
    spread = np.std(pulls, axis=0)
    assert np.sqrt((spread**2).mean()) == pytest.approx(0.95, abs=0.05)
    assert np.abs(np.mean(pulls)) < 0.05


def test_surface_that_bends_too_much_has_larger_errors() -> None:
    x = np.mgrid[0:1:40j, 0:1:40j][0]
    value = np.abs(x - 0.5) * 40
    plain, bent = (local_surface(v, np.full_like(x, 0.1), np.ones_like(x))[1] for v in (np.zeros_like(x), value))
    assert (bent[20] > 2 * plain[20]).all()
    np.testing.assert_allclose(bent[5], plain[5])


def test_values_without_any_spread() -> None:
    """As where no pseudo-experiment has a count: exact, and where neighbours jump, the error is that of the jump."""
    none, number = np.zeros((26, 26)), np.ones((26, 26))
    value, error = local_surface(none, none, number)
    np.testing.assert_array_equal(value, 0.0)
    np.testing.assert_array_equal(error, 0.0)
    step = np.where(np.arange(26) < 13, 0.0, 1.0)[:, None] + none
    assert (local_surface(step, none, number)[1][12] > 0.05).all()


def test_points_without_neighbours_are_not_smoothed() -> None:
    rng = np.random.default_rng(1)
    value, error = rng.uniform(3, 5, (8, 40)), np.full((8, 40), 0.1)
    alone, unchanged = local_surface(value[:, :8], error[:, :8], np.ones((8, 8)))
    np.testing.assert_allclose(alone, value[:, :8])
    np.testing.assert_allclose(unchanged, error[:, :8])
    # Neighbours along one coupling alone.
    rows, _ = local_surface(value, error, np.ones_like(value))
    one, _ = local_surface(value[[2]], error[[2]], np.ones((1, 40)))
    np.testing.assert_allclose(rows[2], one[0])


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROUNDS", 1)
    with pytest.raises(ConvergenceError, match=r"not known to 0\.1% after 1 rounds"):
        feldman_cousins_region(two_means(), 0.9, np.zeros(1), np.zeros(1), InProcess(), seed=1, tolerance=0.001)
    experiment = load_experiment("dune-on-axis")
    for couplings, arguments, message in (
        (("mu_nue", "mu_nue"), {}, "must be two different ones"),
        (("mu_nue", "q_nue"), {"points": 3}, "points = 3: must be from 5 to 400"),
        (("mu_nue", "q_nue"), {"tolerance": 2.0}, "tolerance = 2.0"),
        (("mu_nue", "qnue"), {}, "did you mean 'q_nue'"),
    ):
        with pytest.raises(UsageError, match=message):
            region(experiment, couplings, **arguments)  # type: ignore[arg-type]


def test_region_of_a_card() -> None:
    """At the corner of two moments t is a mixture with much at 0, so that critical values are below the asymptotic."""
    experiment, couplings = load_experiment("dune-on-axis"), ("mu_nue", "mu_numu")
    found = region(experiment, couplings, points=5, tolerance=0.08)
    content = region_json("dune-on-axis", found)
    # Asimov data without the couplings.
    assert content["best_fit"] == pytest.approx([0.0, 0.0], abs=1e-13)
    assert found.critical[0, 0] < 2.5 < content["delta_chi2"]
    assert found.inside[0, 0]
    assert not found.inside[-1, -1]
    assert content["inside"] <= content["inside_asymptotic"]
    assert content["largest_error"] <= 0.08


def test_region_that_leaves_the_grid_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayesnu.results.region.HEADROOM", 0.2)
    notices: list[str] = []
    runner = ToyRunner(notice=notices.append)
    region(load_experiment("lsnd-nue"), ("mu_nue", "mu_numu"), points=5, tolerance=0.3, runner=runner)
    assert [notice.split(", which")[0] for notice in notices] == [
        "mu_nue, mu_numu: the region reaches the edge of the grid"
    ]
    monkeypatch.setattr("bayesnu.results.region.HEADROOM", 1.4)
    region(load_experiment("dune-on-axis"), ("mu_nue", "mu_numu"), points=5, tolerance=0.3, runner=runner)
    assert len(notices) == 1


def correlated(correlation: float) -> Problem:
    """Two normal observations: the sum and a multiple of the difference of two couplings, whose errors are 1."""
    long, short = np.sqrt((1 + correlation) / 2), np.sqrt((1 - correlation) / 2)
    arrays = np.array([[[20.0, 20.0], [0.5 / long, 0.5 / short], [0.5 / long, -0.5 / short]]])
    model = CountModel(("q_nue", "q_numu"), ((), ((0, 1),), ((1, 1),)), ((),), ("c",), (), np.zeros(0), arrays)
    return Problem(model.couplings, np.array([1.0, 2.0]), model, np.full(2, 20.0), np.ones(2), np.zeros(2))


@pytest.mark.parametrize("correlation", [0.0, 0.9, 0.999])
def test_grid_holds_the_region_of_correlated_couplings(correlation: float) -> None:
    """The ellipse of t < level reaches √level in units of the errors, the bounds of one alone √(1 - ρ²) of that."""
    problem = correlated(correlation)
    alone = np.sqrt(2.71 * (1 - correlation**2))
    ranges = grid_ranges(problem, [(-alone, alone), (-2 * alone, 2 * alone)], 0.9)
    reach = np.sqrt(HEADROOM * stats.chi2.ppf(0.9, 2))
    for (low, high), unit in zip(ranges, (1.0, 2.0), strict=True):
        assert -low / unit == pytest.approx(high / unit)
        assert reach <= high / unit < 1.2 * reach


def test_couplings_of_which_only_the_sum_is_bounded_have_no_region() -> None:
    problem = replace(correlated(0.0), normal_variance=np.array([1.0, 1e30]))
    with pytest.raises(ConvergenceError, match="q_nue and q_numu: the data do not bound them together"):
        grid_ranges(problem, [(-1.0, 1.0), (-1.0, 1.0)], 0.9)


def test_moments_stay_above_zero() -> None:
    problem = make_problem(load_experiment("lsnd-nue"), ["mu_nue", "mu_numu"])
    ranges = grid_ranges(problem, [(0.0, 1e-10), (0.0, 1e-10)], 0.9)
    assert [low for low, _ in ranges] == [0.0, 0.0]
    assert min(high for _, high in ranges) > 5e-10


@pytest.mark.slow
def test_smoothed_critical_values_are_those_of_many_pseudo_experiments() -> None:
    experiment = load_experiment("dune-on-axis")
    found = region(experiment, ("mu_nue", "mu_numu"), points=27, tolerance=0.03)
    problem = make_problem(experiment, ["mu_nue", "mu_numu"])
    pulls = []
    places = [(0, 0), (0, 26), (26, 0), (0, 13), (13, 0), (26, 26), (5, 5), (13, 13), (20, 8), (8, 20)]
    for k, (i, j) in enumerate(places):
        truth = np.array([found.x[i], found.y[j]]) / problem.scales
        statistic = toy_fits(problem, truth, 20_000, np.random.default_rng(k), "fit").statistic
        exact, error = quantile_with_error(statistic, 0.9)
        pulls.append((found.critical[i, j] - exact) / np.hypot(error, found.error[i, j]))
    assert np.abs(pulls).max() < 3.5
    assert np.sqrt(np.mean(np.square(pulls))) < 1.8
