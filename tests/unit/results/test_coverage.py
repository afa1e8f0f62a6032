"""Coverage where it is known: normal data; and the study of a card."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bayesnu.errors import ConvergenceError, UsageError
from bayesnu.experiment.expectation import CountModel
from bayesnu.experiment.setup import load_experiment
from bayesnu.inference.cls import cls_limit
from bayesnu.inference.likelihood import Problem, make_problem
from bayesnu.inference.priors import Prior
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.results.coverage import (
    Coverage,
    Study,
    count_keys,
    coverage,
    coverage_chunk,
    coverage_json,
    critical_chunk,
    p_values,
)
from bayesnu.results.sensitivity import bounds_chunk, outermost, sensitivity, sensitivity_json

TOYS = 2000


def normal(name: str = "q_nue", power: int = 1) -> Problem:
    model = CountModel(
        (name,), ((), ((0, power),)), ((),), ("c",), (), np.zeros(0), np.array([[[0.0], [1.0]]])
    )
    return Problem((name,), np.ones(1), model, np.array([0.0]), np.ones(1), np.zeros(1))


def result(study: Study, truth: float, labels: tuple[str, ...]) -> Coverage:
    found = coverage_chunk(study, (0,), truth, TOYS)
    other = critical_chunk(study, (1,), truth, 4 * TOYS)
    p_value = p_values(found["statistic"], found["outcome"], other["statistic"], other["outcome"])
    return Coverage(
        "toy", "q_nue", "e", study.kind, np.array([truth]), labels, labels, found["statistic"][None], p_value[None],
        found["mass"][None], 1,
    )  # fmt: skip


@pytest.mark.parametrize("cl", [pytest.param(0.68, marks=pytest.mark.slow), 0.9])
def test_normal_data_have_the_coverage_that_is_known(cl: float) -> None:
    """Δχ², Feldman-Cousins and flat densest sets cover exactly; a normal prior of width s as it can be worked out."""
    width, truth = 1.5, 1.2
    flat = Prior(COUPLINGS["q_nue"], "uniform", -15.0, 15.0)
    narrow = Prior(COUPLINGS["q_nue"], "normal", -np.inf, np.inf, width)
    found = result(Study(normal(), (flat, narrow), "hdi", 3), truth, ("flat", "normal"))
    # Posterior mean w x, w = s²/(1 + s²), standard deviation √w: covered where |w x - θ| < √w q.
    w, q = width**2 / (1 + width**2), stats.norm.ppf((1 + cl) / 2)
    x = (truth + np.array([-1, 1]) * np.sqrt(w) * q) / w
    expected = np.array([cl, cl, cl, np.diff(stats.norm.cdf(x - truth))[0]])
    share, error = found.covered(cl)[:, 0], found.error(cl)[:, 0]
    assert np.abs(share - expected).max() < 3.5 * np.sqrt(0.25 / TOYS)
    np.testing.assert_allclose(error[0], np.sqrt(cl * (1 - cl) / TOYS), rtol=0.1)
    # The critical value has an error of its own, from four times as many.
    assert error[1] == pytest.approx(error[0] * np.sqrt(1.25), rel=0.05)


def test_p_values_count_larger_statistics_and_equal_counts() -> None:
    counts = np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [0.0, 0.0], [3.0, 3.0]])
    outcome = count_keys(counts)
    assert outcome[0] == outcome[2]
    assert len(set(outcome.tolist())) == 4
    other = np.array([0.5, 1.5, 2.5, 3.5])
    found = p_values(np.array([3.0, 2.0, 9.0, 1.5, 0.0]), outcome, other, outcome[[0, 1, 2, 3]])
    np.testing.assert_allclose(found, [3 / 4, 3 / 4, 2 / 4, 3 / 4, 4 / 4])


def test_the_boundary_covers_too_much() -> None:
    """Mean θ² at θ = 0: t = x² for x > 0, else 0. Δχ² covers (1 + cl)/2; Feldman and Cousins cl; any upper limit 1."""
    problem = normal("mu_nue", 2)
    flat = Prior(COUPLINGS["mu_nue"], "uniform", 0.0, 5.0)
    found = replace(result(Study(problem, (flat,), "upper", 5), 0.0, ("flat",)), coupling="mu_nue")
    share = found.covered(0.9)[:, 0]
    assert share[0] == pytest.approx(0.95, abs=0.017)
    assert share[1] == pytest.approx(0.90, abs=0.023)
    assert share[2] == 1.0
    assert 0 < found.error(0.9)[2, 0] < 1e-3


def test_study_of_a_card() -> None:
    experiment = load_experiment("lsnd-nue")
    truths = [0.0, 2e-9]
    found = coverage(experiment, "mu_nue", truths, 150, seed=4)
    again = coverage(experiment, "mu_nue", truths, 150, seed=4)
    np.testing.assert_array_equal(found.statistic, again.statistic)
    np.testing.assert_array_equal(found.mass, again.mass)
    content = coverage_json(found, 0.9)
    assert list(content["methods"])[:3] == ["delta_chi2", "feldman_cousins", "credible, flat"]
    for name in ("delta_chi2", "feldman_cousins"):
        assert all(0.79 < share <= 1.0 for share in content["methods"][name]["coverage"])
    # A range that the program finds reaches beyond any truth.
    assert content["methods"]["credible, flat in the square"]["coverage"][1] > 0.8
    assert content["truths"] == truths


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"number": 50}, "n = 50: needs at least 100"),
        ({"truths": [-1e-9]}, "mu_nue = -1e-09: must be at least 0"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        coverage(load_experiment("lsnd-nue"), "mu_nue", **arguments)


def test_bands_of_a_normal_measurement() -> None:
    """x ± 1.645 for Δχ² and for a flat prior, so that a bound fluctuates as x does."""
    flat = Prior(COUPLINGS["q_nue"], "uniform", -15.0, 15.0)
    grid = np.linspace(-9, 9, 361)
    shared = (normal(), flat, 0.9, "hdi", grid, 6)
    found = bounds_chunk(shared, (0,), 400)  # type: ignore[arg-type]
    for name in ("delta_chi2", "laplace"):
        half = np.diff(found[name], axis=1)[:, 0] / 2
        np.testing.assert_allclose(half, 1.6449, atol=3e-3)
        assert np.std(found[name][:, 1]) == pytest.approx(1.0, abs=0.11)
    np.testing.assert_allclose(found["delta_chi2"], found["laplace"], atol=5e-3)


def test_outermost_of_a_union_and_at_the_ends() -> None:
    x = np.linspace(0, 8, 9)
    union = np.array([1.0, -1.0, 1.0, 2.0, 1.0, -1.0, -3.0, 1.0, 2.0])
    assert outermost(x, union) == pytest.approx((0.5, 6.75))
    assert outermost(x, -np.ones(9)) == (0.0, 8.0)
    assert outermost(x, np.array([3.0, 2, 1, 0.5, 1, 2, 3, 4, 5])) == (3.0, 3.0)


def test_sensitivity_of_a_card() -> None:
    """The median is near the Asimov limit where counts are many; the bands are in order; CLs is asymptotic."""
    found = sensitivity(load_experiment("lsnd-nue"), "mu_nue", number=400, seed=2)
    content = sensitivity_json(found)
    assert [item["method"] for item in content["limits"]] == ["delta_chi2", "laplace", "cls"]
    for item in content["limits"]:
        assert item["upper"] == sorted(item["upper"])
        assert item["upper"][2] == pytest.approx(item["asimov"][1], rel=0.06)
        assert item["lower"] == []
    assert content["limits"][2]["error"] == [None] * 5
    with pytest.raises(UsageError, match="n = 150: needs at least 200"):
        sensitivity(load_experiment("lsnd-nue"), "mu_nue", number=150)


def test_no_cls_where_nothing_is_expected_without_the_coupling() -> None:
    """Its asymptotic form has none there: an error by itself, left out of the table."""
    experiment = load_experiment("nucleus-10g-radiative")
    with pytest.raises(ConvergenceError, match="bins expect nothing without it, where CLs has no asymptotic form"):
        cls_limit(make_problem(experiment, ["d_nue"]), 0.9)
    found = sensitivity(experiment, "d_nue", number=200)
    assert [item.method for item in found.limits] == ["delta_chi2", "laplace"]
