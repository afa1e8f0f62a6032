"""Where a probability crosses a level: its error, windows that start elsewhere, and what is refused."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from bayesnu.errors import ConvergenceError
from bayesnu.inference.crossing import Estimate, Window, find_crossings

Sample = Callable[[int, Sequence[tuple[int, np.ndarray]]], list[list[Estimate]]]


def binomial(curve: Callable[[np.ndarray], np.ndarray], seed: int, size: int = 400) -> Sample:
    """Estimates of a known probability with binomial errors."""
    rng = np.random.default_rng(seed)

    def sample(number: int, wanted: Sequence[tuple[int, np.ndarray]]) -> list[list[Estimate]]:
        return [
            [Estimate(float(x), rng.binomial(size, curve(x)) / size, size) for x in points] for _, points in wanted
        ]

    return sample


def falling(x: np.ndarray) -> np.ndarray:
    """Crosses 10% at 2 + 1.2816/2."""
    return ndtr(-(x - 2.0) / 0.5)


TRUE = 2.0 - 0.5 * float(ndtri(0.1))


def test_the_error_is_what_it_says() -> None:
    """Pulls of 60 seeds: mean 0 and spread 1 within what 60 of them allow."""
    pulls = []
    for seed in range(60):
        (found,) = find_crossings([Window(2.5, 0.3, 0.1)], binomial(falling, seed), [0.01], [0.0], 60)
        assert 0 < found.error <= 0.01 * found.value
        pulls.append((found.value - TRUE) / found.error)
    assert abs(np.mean(pulls)) < 3 / np.sqrt(60)
    assert 0.7 < np.std(pulls) < 1.35


@pytest.mark.parametrize("start", [0.5, 1.5, 4.0])
def test_a_window_that_starts_elsewhere_comes_to_the_crossing(start: float) -> None:
    (found,) = find_crossings([Window(start, 0.2, 0.1)], binomial(falling, 1), [0.002], [0.0], 60)
    assert abs(found.value - TRUE) < 4 * found.error
    # dz/dx of the normal quantile.
    assert found.slope == pytest.approx(-2.0, rel=0.25)


def test_no_point_lies_below_the_lowest() -> None:
    """A crossing at 0.06, beside the boundary at 0."""
    window = Window(0.3, 0.5, 0.1, 0.0)
    assert window.points().min() == 0.0
    (found,) = find_crossings([window], binomial(lambda x: ndtr(-1.2816 - (x - 0.06)), 2), [0.02], [1.0], 60)
    assert abs(found.value - 0.06) < 4 * found.error
    assert min(e.value for e in window.estimates) == 0.0


def test_two_crossings_at_once() -> None:
    """One rises, one falls; each in the order of its window."""

    def hill(x: np.ndarray) -> np.ndarray:
        return ndtr(1.0 - np.abs(x))

    edge = 1.0 - float(ndtri(0.1))
    windows = [Window(-2.0, 0.3, 0.1), Window(2.5, 0.3, 0.1)]
    low, high = find_crossings(windows, binomial(hill, 3), [0.01, 0.01], [0.0, 0.0], 60)
    assert abs(low.value + edge) < 4 * low.error
    assert abs(high.value - edge) < 4 * high.error
    assert low.slope > 0 > high.slope


def test_the_error_grows_where_the_probability_is_no_smooth_curve() -> None:
    """Steps of 4% (of a discrete observation) beside binomial errors of 0.5%."""

    def steps(x: np.ndarray) -> np.ndarray:
        return falling(x) + 0.04 * (np.floor(10 * x) % 2 - 0.5)

    def spread(curve: Callable[[np.ndarray], np.ndarray]) -> float:
        window = Window(TRUE, 0.3, 0.1)
        for estimates in binomial(curve, 4, 4000)(0, [(0, window.points())] * 3):
            window.estimates.extend(estimates)
        found = window.solve()
        assert found is not None
        return found.error

    assert spread(steps) > 2 * spread(falling)


def test_what_is_not_reached_is_refused() -> None:
    with pytest.raises(ConvergenceError, match=r"not known to 0\.00% after 3 rounds .*its error is"):
        find_crossings([Window(2.5, 0.3, 0.1)], binomial(falling, 1), [1e-6], [0.0], 3)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_probability_that_never_crosses_is_refused(level: float) -> None:
    """The same everywhere."""
    with pytest.raises(ConvergenceError, match="after 5 rounds"):
        find_crossings([Window(2.5, 0.3, 0.1)], binomial(lambda x: np.full_like(x, level), 1), [0.01], [0.0], 5)


def test_estimates_differ_by_errors_of_the_level() -> None:
    """√(0.1 × 0.9/900) = 0.01."""
    assert Estimate(1.0, 0.131, 900).differs(0.1, 3.0)
    assert not Estimate(1.0, 0.129, 900).differs(0.1, 3.0)
    assert Estimate(1.0, 0.0, 900).differs(0.1, 3.0)


def test_few_events_say_nothing() -> None:
    """A window with 5 × 100 trials of 10% has 50 events; with twice as many it has a crossing."""
    points = TRUE + 0.1 * np.linspace(-1, 1, 5)
    for number, known in ((100, False), (200, True)):
        window = Window(TRUE, 0.1, 0.1)
        window.estimates.extend(Estimate(float(x), float(falling(x)), number) for x in points)
        assert (window.solve() is not None) is known
