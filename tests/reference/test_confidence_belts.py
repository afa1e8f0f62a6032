"""Limits of one observation that the literature gives: Feldman and Cousins' tables, CLs, and Δχ² = 2.71 beside them.

G. J. Feldman and R. D. Cousins, Phys. Rev. D 57, 3873 (1998), tables IV and X; their section IV B for the remedy.
"""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import poisson

from bayesnu.experiment.expectation import CountModel
from bayesnu.inference.cls import cls_limit
from bayesnu.inference.feldman_cousins import feldman_cousins, never_falling
from bayesnu.inference.likelihood import Problem
from bayesnu.inference.profile import delta_chi2_intervals
from bayesnu.workers.tasks import InProcess


def one_bin(observed: float, background: float, statistic: str) -> Problem:
    """A single observation of mean θ² + b: Poisson, or normal of variance 1."""
    arrays = np.array([[[background], [1.0]]])
    model = CountModel(("mu_nue",), ((), ((0, 2),)), ((),), ("all",), (), np.zeros(0), arrays)
    variance = np.array([float(statistic == "chi2")])
    return Problem(("mu_nue",), np.ones(1), model, np.array([observed]), variance, np.zeros(1))


def belt(problem: Problem) -> np.ndarray:
    """The 90% interval of μ = θ²; no pseudo-experiments are needed."""
    found = feldman_cousins(problem, 0.9, InProcess(), seed=0)
    assert found.toys == 0
    (interval,) = found.intervals
    return np.square(interval)


@pytest.mark.parametrize(
    ("x", "low", "high"),
    [
        pytest.param(-1, 0, 0.81, marks=pytest.mark.slow),
        pytest.param(0, 0, 1.64, marks=pytest.mark.slow),
        pytest.param(1, 0, 2.64, marks=pytest.mark.slow),
        pytest.param(2, 0.58, 3.64, marks=pytest.mark.slow),
        (3, 1.37, 4.64),
    ],
)
def test_normal_with_a_boundary(x: float, low: float, high: float) -> None:
    """Table X. At x = 2 the lower bound is 0.58, at x = 1 there is none."""
    np.testing.assert_allclose(belt(one_bin(x, 0.0, "chi2")), [low, high], atol=0.01)


@pytest.mark.parametrize(
    ("background", "n", "low", "high"),
    [
        (0.0, 0, 0, 2.44),
        (0.0, 1, 0.11, 4.36),
        (0.0, 3, 1.10, 7.42),
        (3.0, 0, 0, 0.95),
        (3.0, 3, 0, 4.42),
        (3.0, 4, 0, 5.60),
    ],
)
def test_poisson_with_background(background: float, n: int, low: float, high: float) -> None:
    """Table IV; of n = 0, b = 3 the plain construction, which the table's own remedy raises to 1.08."""
    np.testing.assert_allclose(belt(one_bin(n, background, "poisson")), [low, high], atol=0.01)


def test_a_piece_narrower_than_the_scan_is_found() -> None:
    """n = 0, b = 3.4575: after a gap from 0.76 on, values between 1.074 and 1.0766 are in the set again."""

    def inside(mean: float) -> bool:
        n = np.arange(40)
        p = poisson.pmf(n, mean + 3.4575)
        ratio = p / poisson.pmf(n, np.maximum(n, 3.4575))
        return bool(p[ratio > ratio[0] * (1 + 1e-12)].sum() < 0.9)

    assert [inside(mean) for mean in (0.76, 0.77, 1.07, 1.0755, 1.08)] == [True, False, False, True, False]
    edge = brentq(lambda mean: inside(mean) - 0.5, 1.0755, 1.08)
    assert belt(one_bin(0, 3.4575, "poisson"))[1] == pytest.approx(edge, abs=1e-4)


@pytest.mark.slow
def test_no_limit_falls_as_the_background_grows() -> None:
    """n = 0, b = 3: 1.08, on backgrounds 0.0075 apart."""

    def limit_at(problem: Problem) -> float:
        return float(belt(problem)[1])

    assert never_falling(one_bin(0, 3.0, "poisson"), limit_at) == pytest.approx(1.078, abs=0.005)


@pytest.mark.parametrize(("x", "delta_chi2", "cls"), [(0.0, 1.645, 1.645), (1.0, 2.645, 2.378)])
def test_limits_of_one_normal_observation(x: float, delta_chi2: float, cls: float) -> None:
    """Upper limits of μ at 90%: Δχ² = 2.71, and CLs."""
    problem = one_bin(x, 0.0, "chi2")
    ((low, high),) = delta_chi2_intervals(problem, 0.9)
    assert low == 0.0
    assert high**2 == pytest.approx(delta_chi2, abs=1e-3)
    assert cls_limit(problem, 0.9).upper.observed ** 2 == pytest.approx(cls, abs=1e-3)
