"""The test of uniform ranks: its statistic by SciPy, its p-value where it can be enumerated, its band by simulation."""

import numpy as np
import pytest
from scipy import stats

from bayesnu.errors import UsageError
from bayesnu.inference.uniformity import (
    SIMULATED_SETS,
    cumulative,
    overall,
    simultaneous_band,
    smallest_tail,
    uniformity,
)


def test_cumulative_counts() -> None:
    assert cumulative(np.array([0, 2, 2, 3]), 3).tolist() == [1, 1, 3]


@pytest.mark.parametrize("ranks", [[], [0, 4], [-1]])
def test_ranks_outside_are_an_error(ranks: list[int]) -> None:
    with pytest.raises(UsageError, match="between 0 and 3"):
        cumulative(np.array(ranks, dtype=int), 3)


def test_statistic_is_the_least_probable_binomial_tail() -> None:
    counts = np.array([30, 55, 80, 130])
    places = np.arange(1, 5) / 5
    tails = [
        2 * min(stats.binom.cdf(k, 200, z), stats.binom.sf(k - 1, 200, z))
        for k, z in zip(counts, places, strict=True)
    ]
    assert float(smallest_tail(counts, 200)) == pytest.approx(min(tails), rel=1e-9)
    assert float(smallest_tail(np.array([100]), 200)) == 1.0


@pytest.mark.parametrize("below", [8, 10, 13, 20])
def test_p_value_of_two_ranks_by_enumeration(below: int) -> None:
    """With ranks 0 and 1 alone γ is a function of one binomial number, whose distribution can be summed."""
    number, k = 40, np.arange(41)
    gamma = np.minimum(1, 2 * np.minimum(stats.binom.cdf(k, number, 0.5), stats.binom.sf(k - 1, number, 0.5)))
    exact = stats.binom.pmf(k, number, 0.5)[gamma <= gamma[below] * (1 + 1e-9)].sum()
    found = uniformity(np.repeat([0, 1], [below, number - below]), 1, seed=3)
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / SIMULATED_SETS) + 1 / SIMULATED_SETS)


def test_p_values_of_uniform_ranks_are_uniform_and_the_band_holds_what_it_says() -> None:
    rng = np.random.default_rng(5)
    sets = rng.integers(0, 20, (2000, 150))
    p = np.array([uniformity(ranks, 19, seed=1) for ranks in sets])
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    band = simultaneous_band(150, 19, 0.9, seed=1)
    fractions = np.array([cumulative(ranks, 19) for ranks in sets]) / 150
    inside = ((fractions >= band.low - 1e-12) & (fractions <= band.high + 1e-12)).all(axis=1).mean()
    assert inside == pytest.approx(0.9, abs=4 * np.sqrt(0.9 * 0.1 / 2000) + 0.01)


@pytest.mark.parametrize("power", [0.6, 1.6])
def test_uneven_ranks_are_found(power: float) -> None:
    ranks = (np.random.default_rng(1).random(400) ** power * 100).astype(int)
    assert uniformity(ranks, 99, seed=1) == 1 / (1 + SIMULATED_SETS)


def test_several_p_values_together() -> None:
    assert overall(np.array([0.3, 0.004, 0.9])) == pytest.approx(0.012)
    assert overall(np.array([0.7, 0.9])) == 1.0
