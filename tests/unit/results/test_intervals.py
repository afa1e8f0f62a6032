"""Intervals of known densities and of draws from them, with the Monte Carlo errors that go with them."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, stats

from bayesnu.errors import UsageError
from bayesnu.results import intervals as intervals_module
from bayesnu.results.intervals import (
    KINDS,
    IntervalSet,
    Kind,
    check_kind,
    check_probability,
    density_estimator,
    draws_interval,
    exact,
    falling_root,
    grid_interval,
    grid_quantiles,
    highest_density_set,
    percent,
    quantile_error,
    shortest_interval,
)

NOWHERE = (-math.inf, math.inf)
Z90 = stats.norm.ppf(0.95)


class TwoPeaks:
    """0.6 N(-3, 0.7) + 0.4 N(2, 0.5), with its exact 90% highest-density set."""

    weights, means, sigmas = np.array([0.6, 0.4]), np.array([-3.0, 2.0]), np.array([0.7, 0.5])

    def pdf(self, x: np.ndarray) -> np.ndarray:
        return (self.weights * stats.norm.pdf(np.asarray(x)[..., None], self.means, self.sigmas)).sum(-1)

    def cdf(self, x: np.ndarray) -> np.ndarray:
        return (self.weights * stats.norm.cdf(np.asarray(x)[..., None], self.means, self.sigmas)).sum(-1)

    def set_above(self, level: float) -> np.ndarray:
        def crossing(a: float, b: float) -> float:
            return float(optimize.brentq(lambda x: float(self.pdf(x)) - level, a, b))

        return np.array([[crossing(-9, -3), crossing(-3, -0.5)], [crossing(-0.5, 2), crossing(2, 9)]])

    def densest(self, probability: float) -> np.ndarray:
        def excess(level: float) -> float:
            return float(np.diff(self.cdf(self.set_above(level)), axis=1).sum()) - probability

        return self.set_above(float(optimize.brentq(excess, 0.02, 0.2)))

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        pick = (rng.random(shape) > self.weights[0]).astype(int)
        return rng.normal(self.means[pick], self.sigmas[pick])


# Densities on a grid


@pytest.mark.parametrize("scale", [1.0, 1e-33, 1e20])
def test_gaussian_on_a_grid(scale: float) -> None:
    x = np.linspace(-6, 8, 1201) * scale
    density = stats.norm.pdf(x, scale, scale)
    for kind in ("hdi", "eti"):
        ((low, high),) = grid_interval(x, density, 0.90, kind, -math.inf)
        assert (low / scale, high / scale) == pytest.approx((1 - Z90, 1 + Z90), abs=5e-5)
    ((low, high),) = grid_interval(x, density, 0.90, "upper", -math.inf)
    assert low == -math.inf
    assert high / scale == pytest.approx(1 + stats.norm.ppf(0.90), abs=2e-6)


@pytest.mark.parametrize("scale", [1.0, 1e-33])
def test_quantiles_at_tiny_scales(scale: float) -> None:
    x = np.linspace(-7, 7, 801) * scale
    levels = np.array([1e-4, 0.05, 0.5, 0.95, 0.9999])
    found = grid_quantiles(x, 3.7 * stats.norm.pdf(x / scale), levels) / scale
    np.testing.assert_allclose(found, stats.norm.ppf(levels), atol=2e-6)


def test_one_sided_density_ends_at_its_boundary() -> None:
    """A half-normal's densest set runs from 0; so does its upper limit, and both are the same."""
    x = np.linspace(0, 7, 1201)
    density = 2 * stats.norm.pdf(x)
    for kind in ("hdi", "upper"):
        ((low, high),) = grid_interval(x, density, 0.90, kind, 0.0)
        assert low == 0
        assert high == pytest.approx(Z90, abs=5e-5)
    ((low, high),) = grid_interval(x, density, 0.90, "eti", 0.0)
    assert (low, high) == pytest.approx(tuple(stats.halfnorm.ppf([0.05, 0.95])), abs=1e-5)


def test_density_rising_to_its_upper_edge() -> None:
    x = np.linspace(0, 1, 501)
    ((low, high),) = highest_density_set(x, 2 * x, 0.75)
    assert (low, high) == pytest.approx((0.5, 1.0), abs=1e-9)


def test_two_peaks_give_a_union() -> None:
    peaks = TwoPeaks()
    x = np.linspace(-9, 7, 20001)
    found = highest_density_set(x, peaks.pdf(x), 0.90)
    np.testing.assert_allclose(found, peaks.densest(0.90), atol=1e-4)
    assert len(grid_interval(x, peaks.pdf(x), 0.90, "eti", -9.0)) == 1


@pytest.mark.parametrize("probability", [0.05, 0.5, 0.683, 0.95, 0.999])
def test_the_set_holds_its_probability_and_is_the_densest(probability: float) -> None:
    peaks = TwoPeaks()
    x = np.linspace(-9, 7, 4001)
    pieces = highest_density_set(x, peaks.pdf(x), probability)
    assert sum(np.diff(peaks.cdf(np.array(p)))[0] for p in pieces) == pytest.approx(probability, abs=1e-5)
    level = [float(peaks.pdf(np.array(v))) for p in pieces for v in p]
    assert max(level) == pytest.approx(min(level), rel=1e-3)
    inside = np.any([(x > a) & (x < b) for a, b in pieces], axis=0)
    assert peaks.pdf(x[inside]).min() >= min(level) * (1 - 1e-3)
    assert peaks.pdf(x[~inside]).max() <= max(level) * (1 + 1e-3)


def test_union_that_touches_the_boundary() -> None:
    """A piece that starts at the edge of the grid keeps that edge."""
    x = np.linspace(0, 10, 4001)
    density = np.exp(-x / 0.5) + stats.norm.pdf(x, 6, 0.5)
    (a, b), (c, d) = highest_density_set(x, density, 0.8)
    assert a == 0 < b < c < 6 < d < 10


# Draws


@pytest.mark.parametrize("kind", ["hdi", "eti"])
def test_gaussian_draws(kind: str) -> None:
    draws = np.random.default_rng(1).normal(2e-33, 1e-33, (4, 5000))
    ((low, high),), ((error_low, error_high),) = draws_interval(draws, 0.90, kind, NOWHERE)
    assert 0 < error_low < 0.06e-33
    assert 0 < error_high < 0.06e-33
    assert abs(low - (2 - Z90) * 1e-33) < 4 * error_low
    assert abs(high - (2 + Z90) * 1e-33) < 4 * error_high


@pytest.mark.parametrize("kind", ["hdi", "upper"])
def test_folded_draws_start_at_0_without_an_error(kind: str) -> None:
    draws = np.abs(np.random.default_rng(2).normal(0, 1e-10, (4, 5000)))
    ((low, high),), ((error_low, error_high),) = draws_interval(draws, 0.90, kind, (0.0, 1e-9))
    assert low == 0
    assert math.isnan(error_low)
    assert abs(high - Z90 * 1e-10) < 4 * error_high < 0.2e-10


def test_draws_that_fill_their_support_reach_both_edges() -> None:
    draws = np.random.default_rng(3).uniform(-1, 3, (4, 5000))
    (interval,), (errors,) = draws_interval(draws, 0.9999, "hdi", (-1.0, 3.0))
    assert interval == pytest.approx((-1, 3), abs=1e-3)
    assert interval[0] == -1 or interval[1] == 3
    assert [math.isnan(error) for error in errors] == [interval[0] == -1, interval[1] == 3]


def test_two_peaks_of_draws_give_a_union() -> None:
    peaks = TwoPeaks()
    found, errors = draws_interval(peaks.draw(np.random.default_rng(4), (4, 5000)), 0.90, "hdi", NOWHERE)
    assert np.shape(found) == np.shape(errors) == (2, 2)
    assert (np.abs(np.array(found) - peaks.densest(0.90)) < 4 * np.array(errors)).all()


def test_the_same_draws_give_the_same_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals_module, "_REPLICATES", 20)
    draws = np.random.default_rng(5).normal(size=(2, 500))
    assert draws_interval(draws, 0.9, "hdi", NOWHERE) == draws_interval(draws, 0.9, "hdi", NOWHERE)


def test_scale_and_shift_carry_over_to_the_bounds_and_their_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals_module, "_REPLICATES", 20)
    draws = np.random.default_rng(6).normal(size=(4, 1000))
    for kind in KINDS:
        plain, plain_error = draws_interval(draws, 0.9, kind, NOWHERE)
        scaled, scaled_error = draws_interval(1e-33 * draws + 5e-33, 0.9, kind, NOWHERE)
        np.testing.assert_allclose(np.array(scaled) * 1e33, np.array(plain) + 5, rtol=1e-6)
        np.testing.assert_allclose(np.array(scaled_error) * 1e33, plain_error, rtol=1e-4)


def correlated(rng: np.random.Generator, shape: tuple[int, int], rho: float) -> np.ndarray:
    """Stationary unit-normal chains with autocorrelation ρ^lag."""
    noise = rng.normal(size=shape)
    chains = np.empty(shape)
    chains[:, 0] = noise[:, 0]
    for k in range(1, shape[1]):
        chains[:, k] = rho * chains[:, k - 1] + math.sqrt(1 - rho**2) * noise[:, k]
    return chains


@pytest.mark.parametrize(
    ("rho", "kind"), [pytest.param(0.6, "hdi", marks=pytest.mark.slow), (0.0, "eti"), (0.6, "eti"), (0.6, "upper")]
)
def test_error_is_the_spread_over_replicas(rho: float, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quoted error agrees with the spread of independent replicas, autocorrelation included; no large bias."""
    monkeypatch.setattr(intervals_module, "_REPLICATES", 20)
    rng = np.random.default_rng(7)
    columns = [1] if kind == "upper" else [0, 1]
    bounds, quoted = [], []
    for _ in range(30):
        intervals, errors = draws_interval(correlated(rng, (4, 1000), rho), 0.90, kind, NOWHERE)
        bounds.append([intervals[0][k] for k in columns])
        quoted.append([errors[0][k] for k in columns])
    spread = np.std(bounds, axis=0, ddof=1)
    ratio = np.mean(quoted, axis=0) / spread
    assert (ratio > 0.6).all(), ratio
    assert (ratio < 1.6).all(), ratio
    truth = np.array([-Z90, Z90 if kind != "upper" else stats.norm.ppf(0.90)])[columns]
    assert (np.abs(np.mean(bounds, axis=0) - truth) < 0.7 * spread).all()


def test_quantile_error_is_the_analytic_one() -> None:
    """√(p(1-p)/N)/f at the quantile, for independent draws."""
    draws = np.random.default_rng(8).normal(size=(4, 5000))
    for p in (0.05, 0.5, 0.9):
        expected = math.sqrt(p * (1 - p) / draws.size) / stats.norm.pdf(stats.norm.ppf(p))
        assert quantile_error(draws, p) == pytest.approx(expected, rel=0.25)


def test_kernel_density_keeps_its_mass_inside_the_support() -> None:
    draws = np.random.default_rng(9).exponential(size=(4, 5000))
    x, density = density_estimator(draws, (0.0, math.inf))(np.ones(80))
    assert x[0] == 0
    probability = np.diff(x) @ (density[1:] + density[:-1]) / 2
    np.testing.assert_allclose(density[40:1500] / probability, np.exp(-x[40:1500]), atol=0.05)
    assert density.min() >= 0


# Names


def test_draws_over_decades_give_one_piece() -> None:
    """p(θ) ∝ exp(-θ²/2)/θ over three decades: falling, so the densest 90% is [low, 90% quantile]."""
    rng = np.random.default_rng(5)
    low, high = 1e-3, 10.0
    theta = low * (high / low) ** rng.random(200_000)
    theta = theta[rng.random(theta.size) < np.exp(-(theta**2) / 2)][:64_000].reshape(4, -1)
    grid = np.geomspace(low, high, 20_001)
    mass = np.cumsum(np.exp(-(grid**2) / 2))
    quantile = float(np.interp(0.9 * mass[-1], mass, grid))
    intervals, errors = draws_interval(theta, 0.9, "hdi", (low, high), logarithmic=True)
    assert len(intervals) == 1
    assert intervals[0][0] == low
    assert abs(intervals[0][1] - quantile) < 4 * errors[0][1] + 0.02 * quantile


def test_flat_draws_give_one_interval() -> None:
    """Noise alone would tear the densest 90% of a flat density into pieces; two real peaks stay two."""
    rng = np.random.default_rng(8)
    flat = rng.random((4, 4000))
    (interval,), (errors,) = draws_interval(flat, 0.9, "hdi", (0.0, 1.0))
    assert interval[1] - interval[0] == pytest.approx(0.9, abs=0.02)
    assert max(e for e in errors if not math.isnan(e)) > 0.01
    peaks = rng.normal(size=(4, 4000)) + 5 * rng.integers(2, size=(4, 4000))
    assert len(draws_interval(peaks, 0.9, "hdi", NOWHERE)[0]) == 2


@pytest.mark.parametrize("low", [1e-6, 1e-30, 1e-300])
@pytest.mark.parametrize("kind", ["hdi", "eti", "upper"])
def test_log_uniform_density_over_many_decades(low: float, kind: Kind) -> None:
    """∫ dθ/θ from a to b is ln b/a: every bound is a power of the range."""
    high, cl = 1e-3, 0.9
    x = np.geomspace(low, high, 801)
    ((found_low, found_high),) = grid_interval(x, 1 / x, cl, kind, low, logarithmic=True)
    tail = (1 - cl) / 2 if kind == "eti" else 0.0
    expected = [low * (high / low) ** p for p in (tail, tail + cl)]
    np.testing.assert_allclose([found_low, found_high], expected, rtol=1e-9)


@pytest.mark.parametrize("low", [1e-6, 1e-30])
def test_log_uniform_draws_over_many_decades(low: float) -> None:
    high, rng = 1e-3, np.random.default_rng(11)
    draws = low * (high / low) ** rng.random((4, 5000))
    ((found_low, found_high),), ((error_low, error_high),) = draws_interval(draws, 0.9, "hdi", (low, high), True)
    assert found_low == low
    assert math.isnan(error_low)
    expected = low * (high / low) ** 0.9
    assert abs(math.log(found_high / expected)) < 4 * error_high / found_high
    assert error_high / found_high == pytest.approx(math.log(high / low) * math.sqrt(0.09 / draws.size), rel=0.5)


def test_rounding_does_not_tear_a_flat_density() -> None:
    x = np.linspace(-1.0, 1.0, 1001)
    flat = 1 + 1e-12 * np.random.default_rng(3).standard_normal(x.size)
    ((low, high),) = grid_interval(x, flat, 0.9, "hdi", -math.inf)
    assert high - low == pytest.approx(1.8, rel=1e-3)
    two_peaks = 1 + 1e-3 * x**2
    assert len(grid_interval(x, two_peaks, 0.9, "hdi", -math.inf)) == 2


@pytest.mark.parametrize("root", [1e-9, 0.3, 0.9])
def test_falling_root_of_curves_and_of_jumps(root: float) -> None:
    calls: list[float] = []

    def counted(function: Callable[[float], float]) -> Callable[[float], float]:
        def called(x: float) -> float:
            calls.append(x)
            return function(x)

        calls.clear()
        return called

    def curve(x: float) -> float:
        return math.exp(-5 * x) - math.exp(-5 * root)

    def jump(x: float) -> float:
        return 1.0 if x < root else -1e-6

    found = falling_root(counted(curve), 0.0, 1.0, curve(0.0), curve(1.0))
    assert found == pytest.approx(root, rel=1e-6 if root < 1e-6 else 1e-13)
    assert len(calls) < 20
    assert abs(falling_root(counted(jump), 0.0, 1.0, 1.0, -1e-6) - root) <= 2 * math.ulp(root)
    assert len(calls) < 400


def test_shortest_interval() -> None:
    x = np.linspace(0, 8, 4001)
    assert shortest_interval(x, np.exp(-x), 0.9)[0] == pytest.approx((0, -math.log(0.1)), abs=0.01)
    y = np.linspace(-6, 6, 4001)
    assert shortest_interval(y, np.exp(-(y**2) / 2), 0.9)[0] == pytest.approx((-Z90, Z90), abs=0.01)


def test_percent_keeps_all_digits() -> None:
    assert [percent(p) for p in (0.9, 0.995, 0.6827)] == ["90%", "99.5%", "68.27%"]


def test_kinds_and_probabilities_are_checked() -> None:
    assert [check_kind(kind) for kind in KINDS] == ["hdi", "eti", "upper"]
    assert check_probability(0.9) == 0.9
    with pytest.raises(UsageError, match="unknown kind 'hpd': allowed are hdi, eti, upper"):
        check_kind("hpd")
    for bad in (0.0, 1.0, -0.1, 90.0, math.nan):
        with pytest.raises(UsageError, match="must be between 0 and 1"):
            check_probability(bad)


def test_exact_bounds_have_no_error() -> None:
    item = IntervalSet("q_nue", "e", 0.9, "hdi", "laplace", ((0.0, 1.0), (2.0, 3.0)), exact(((0.0, 1.0), (2.0, 3.0))))
    assert np.isnan(item.mc_error).all()
    assert np.shape(item.mc_error) == (2, 2)
    assert replace(item, kind="eti").kind == "eti"
