"""Fits of many data sets at once, against iminuit, against fine grids, and whoever does them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from simple_problems import counting

from bayesnu.errors import ConvergenceError, UsageError
from bayesnu.experiment.expectation import CountModel, MassSpline
from bayesnu.experiment.setup import load_experiment
from bayesnu.inference.batch import fit_couplings, fixed_fits, profile_curves, require_converged, starting_points
from bayesnu.inference.likelihood import Problem, likelihood_range, make_problem, squared_only
from bayesnu.inference.toys import PseudoData, pseudo_experiments


def by_hand(problem: Problem, counts: np.ndarray, centre: np.ndarray) -> Callable[[np.ndarray], float]:
    """-2 ln L of one data set, Poisson, written out: couplings first, then pulls in units of their widths."""
    model = problem.model

    def value(y: np.ndarray) -> float:
        x, z = y[: len(problem.couplings)], y[len(problem.couplings) :]
        expected = np.zeros(counts.size)
        for c, members in enumerate(model.components):
            factor = 1.0
            for p in members:
                factor *= 1 + model.widths[p] * z[p]
                if 1 + model.widths[p] * z[p] <= 0:
                    return 1e12
            for m, monomial in enumerate(model.monomials):
                power = 1.0
                for j, n in monomial:
                    power *= x[j] ** n
                expected += factor * power * model.arrays[c, m]
        if (expected <= 0).any():
            return 1e12
        seen = counts > 0
        logs = (counts[seen] * np.log(counts[seen] / expected[seen])).sum()
        penalty = sum((z[p] - centre[p]) ** 2 for p, name in enumerate(model.pulls) if name not in model.free)
        return float(2 * ((expected - counts).sum() + logs) + penalty)

    return value


def by_iminuit(value: Callable[[np.ndarray], float], start: np.ndarray, fixed: int, bounded: bool) -> float:
    """The minimum from one start; the first coordinates are held where they are."""
    from iminuit import Minuit

    minuit = Minuit(lambda y: value(np.asarray(y)), start)
    minuit.errordef, minuit.strategy, minuit.tol = 1.0, 2, 1e-5
    minuit.errors = np.full(start.size, 0.1)
    for k in range(fixed):
        minuit.fixed[k] = True
    if bounded and not fixed:
        minuit.limits[0] = (0.0, None)
    for _ in range(3):
        minuit.migrad(ncall=20_000)
    return float(minuit.fval)


def toys(card: str, names: list[str], truth: list[float], number: int, seed: int) -> tuple[Problem, PseudoData]:
    problem = make_problem(load_experiment(card), names)
    return problem, pseudo_experiments(problem, np.array(truth), number, np.random.default_rng(seed), "fit")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("card", "coupling", "truth"),
    [
        ("dune-prism", "mu_numu", 1.0),
        ("dune-on-axis", "q_nue", 1.0),
        ("dune-on-axis", "r2_nue", 10.0),
        ("nucleus-10g", "d_nue", 0.8),
        ("coherent-csi-2017", "d_nue", 0.7),
    ],
)
def test_both_fits_agree_with_iminuit(card: str, coupling: str, truth: float) -> None:
    """30 toys whose auxiliary measurements are not at 0: -2 ln L to 1e-6 at the truth and at the best fit."""
    problem, data = toys(card, [coupling], [truth], 30, 11)
    assert np.abs(data.centre).max() > 1
    starts = starting_points(problem, np.array([truth]))
    best = fit_couplings(problem, data.counts, starts, data.centre)
    assert best.converged.all()
    at_truth = fixed_fits(problem, np.array([[truth]]), data.counts, data.centre)[:, 0]
    bounded = bool(squared_only(problem)[0])
    free, held = np.empty(30), np.empty(30)
    for t in range(30):
        value = by_hand(problem, data.counts[t], data.centre[t])
        origin = np.append(truth, data.pulls[t])
        held[t] = by_iminuit(value, origin, 1, bounded)
        own = np.append(best.couplings[t], best.pulls[t])
        assert value(own) == pytest.approx(best.value[t], abs=1e-7)
        tries = [by_iminuit(value, np.append(x, data.pulls[t]), 0, bounded) for x in (truth, *starts[:, 0], 0.1)]
        free[t] = min(tries)
    np.testing.assert_allclose(at_truth, held, atol=1e-6, rtol=0)
    np.testing.assert_allclose(best.value, free, atol=1e-6, rtol=0)


def worst_excess(problem: Problem, data: PseudoData, truth: np.ndarray, grid: np.ndarray) -> float:
    """By how much the lowest point of a grid lies below the fit, at most over all toys."""
    best = fit_couplings(problem, data.counts, starting_points(problem, truth), data.centre)
    assert best.converged.all()
    curves = profile_curves(problem, data.counts, grid, data.centre)
    lowest = np.where(curves.converged, curves.value, np.inf).min(axis=1)
    return float((best.value - lowest).max())


@pytest.mark.parametrize(
    ("card", "coupling"),
    [
        ("dune-on-axis", "q_nue"),
        pytest.param("dune-on-axis", "r2_nue", marks=pytest.mark.slow),
        pytest.param("dune-on-axis", "mu_nue", marks=pytest.mark.slow),
        pytest.param("dune-prism", "r2_numu", marks=pytest.mark.slow),
        pytest.param("nucleus-10g", "d_nue", marks=pytest.mark.slow),
        pytest.param("nucleus-10g-radiative", "d_nue_d_numu", marks=pytest.mark.slow),
        pytest.param("coherent-csi-2017", "mu_numu", marks=pytest.mark.slow),
    ],
)
def test_no_point_of_a_fine_grid_lies_below_a_fit(card: str, coupling: str) -> None:
    """At truths all over the range; at 0 too, where a squared coupling meets its bound."""
    problem = make_problem(load_experiment(card), [coupling])
    low, high = likelihood_range(problem, 20.0, exact=False)
    for k, truth in enumerate((0.0, 0.7 * low, 0.4 * high, 0.8 * high)):
        at = np.array([truth])
        data = pseudo_experiments(problem, at, 40, np.random.default_rng(k), "fit")
        grid = np.linspace(1.5 * low, 1.5 * high, 401)[None]
        assert worst_excess(problem, data, at, grid) < 1e-6


@pytest.mark.parametrize(
    ("card", "names"),
    [
        pytest.param("dune-on-axis", ["r2_nue", "r2_numu"], marks=pytest.mark.slow),
        ("dune-on-axis", ["q_nue", "mu_nue"]),
    ],
)
def test_no_point_of_a_plane_lies_below_a_fit(card: str, names: list[str]) -> None:
    problem = make_problem(load_experiment(card), names)
    axes = []
    for name in names:
        low, high = likelihood_range(make_problem(load_experiment(card), [name]), 12.0, exact=False)
        axes.append(np.linspace(1.3 * low, 1.3 * high, 41))
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")])
    for k, truth in enumerate(([0.0, 0.0], [float(axes[0][30]), float(axes[1][25])])):
        data = pseudo_experiments(problem, np.array(truth), 15, np.random.default_rng(k), "fit")
        assert worst_excess(problem, data, np.array(truth), grid) < 1e-6


@pytest.mark.parametrize("exposure", [1e-3, 1e4])
def test_few_and_many_counts(exposure: float) -> None:
    """A ten-thousandth of a count to millions in a bin."""
    problem = make_problem(load_experiment("dune-on-axis"), ["mu_nue"])
    problem = replace(
        problem,
        model=replace(problem.model, arrays=problem.model.arrays * exposure),
        data=problem.data * exposure,
    )
    _, high = likelihood_range(problem, 20.0, exact=False)
    truth = np.array([0.5 * high])
    data = pseudo_experiments(problem, truth, 50, np.random.default_rng(5), "fit")
    assert worst_excess(problem, data, truth, np.linspace(0, 2 * high, 401)[None]) < 1e-6


def test_the_bound_of_a_squared_coupling() -> None:
    """n ≤ b has its best fit at 0 exactly; above, at √(n - b) with -2 ln L = 0."""
    counts = np.array([[0.0], [2.0], [3.0], [4.0], [12.0]])
    found = fit_couplings(counting(3.0, 3.0), counts, np.array([[0.3]]))
    assert found.converged.all()
    np.testing.assert_allclose(found.couplings[:, 0], np.sqrt([0, 0, 0, 1, 9]), atol=1e-3)
    assert (found.couplings[:2, 0] == 0).all()
    deviance = [2 * 3.0, 2 * (3 - 2 + 2 * np.log(2 / 3)), 0, 0, 0]
    np.testing.assert_allclose(found.value, deviance, atol=1e-9)


def test_a_best_fit_that_cannot_be_told_from_0_is_at_0() -> None:
    """No count, and a signal that grows with the square of what is fitted: its slope at 0 vanishes."""
    found = fit_couplings(counting(0, 0.0, power=4), np.zeros((5, 1)), np.geomspace(0.01, 3.0, 5)[:, None, None])
    assert found.converged.all()
    assert (found.couplings == 0).all()
    assert (found.value < 1e-7).all()


def test_starts_near_each_other_end_in_the_same_minimum() -> None:
    """A start given up beside a known minimum never counts as a better one."""
    problem, data = toys("dune-on-axis", ["q_nue"], [1.0], 60, 3)
    starts = starting_points(problem, np.array([1.0]))
    once = fit_couplings(problem, data.counts, starts, data.centre)
    often = fit_couplings(problem, data.counts, np.repeat(starts, 3, axis=0), data.centre)
    turned = fit_couplings(problem, data.counts, starts[::-1], data.centre)
    assert often.converged.all()
    assert turned.converged.all()
    np.testing.assert_allclose(often.value, once.value, atol=1e-7)
    np.testing.assert_allclose(turned.value, once.value, atol=1e-7)


def test_start_of_the_pulls_does_not_matter() -> None:
    problem, data = toys("coherent-csi-2017", ["d_nue"], [0.7], 60, 3)
    truth = np.array([[0.7]])
    zero = fixed_fits(problem, truth, data.counts, data.centre)
    np.testing.assert_allclose(
        fixed_fits(problem, truth, data.counts, data.centre, first=data.pulls), zero, atol=1e-6
    )


def test_a_data_set_does_not_know_of_the_others() -> None:
    problem, data = toys("dune-prism", ["mu_numu"], [1.0], 120, 3)
    starts = starting_points(problem, np.array([1.0]))
    some = slice(30, 97)
    whole = fit_couplings(problem, data.counts, starts, data.centre)
    part = fit_couplings(problem, data.counts[some], starts, data.centre[some])
    for a, b in ((part.value, whole.value), (part.couplings, whole.couplings), (part.pulls, whole.pulls)):
        np.testing.assert_array_equal(a, b[some])
    grid = np.linspace(0.0, 3.0, 5)[None]
    curves = profile_curves(problem, data.counts, grid, data.centre)
    few = profile_curves(problem, data.counts[some], grid, data.centre[some])
    np.testing.assert_array_equal(few.value, curves.value[some])
    np.testing.assert_array_equal(few.log_det, curves.log_det[some])
    np.testing.assert_allclose(fixed_fits(problem, grid, data.counts, data.centre), curves.value, atol=1e-7)


def test_log_determinant_of_a_curve() -> None:
    """One pull σ = 0.1 on one count: H = d²(λ - n ln λ)/dz² + 1 = n σ²/(1 + σ ẑ)² + 1."""
    arrays = np.array([[[50.0], [1.0]]])
    model = CountModel(("mu_nue",), ((), ((0, 2),)), ((0,),), ("all",), ("norm",), np.array([0.1]), arrays)
    problem = Problem(("mu_nue",), np.ones(1), model, np.array([60.0]), np.zeros(1), np.zeros(1))
    curves = profile_curves(problem, problem.data[None], np.array([[0.0, 2.0]]))
    for k, expected in enumerate((50.0, 54.0)):
        # d/dz: σ λ₀ - 60 σ/(1 + σ z) + z = 0
        z = np.roots([0.1, 1 + 0.01 * expected, 0.1 * (expected - 60.0)]).max()
        assert curves.log_det[0, k] == pytest.approx(np.log(0.6 / (1 + 0.1 * z) ** 2 + 1), rel=1e-7)


def test_what_cannot_be_fitted_is_an_error() -> None:
    """A free mass; fits that did not converge, with their number."""
    problem = counting(3.0, 3.0)
    problem = replace(problem, model=replace(problem.model, masses=MassSpline((0.0, 1.0), (4,))))
    with pytest.raises(UsageError, match="m_N: toys take it fixed"):
        fit_couplings(problem, problem.data[None], np.ones((1, 2)))
    with pytest.raises(ConvergenceError, match="toys of x: 2 of 3 fits did not converge"):
        require_converged(np.array([True, False, False]), "toys of x")
