"""Integrals J_n(x) = ∫_x^∞ Φ E⁻ⁿ dE of continuous spectra and lines against closed forms."""

from collections.abc import Callable

import numpy as np
import pytest

from bayesnu.flux.spectrum import POWERS, Spectrum, continuous_spectrum, histogram_spectrum, line_spectrum

LOW, HIGH = 0.02, 53.0
"""MeV: from where a card's spectra begin to about the end of those of muons at rest."""
AT = np.concatenate([np.geomspace(LOW, 0.99 * HIGH, 257), np.random.default_rng(7).uniform(LOW, HIGH, 200)])
Antiderivative = Callable[[np.ndarray, int], np.ndarray]


def power_law(index: float) -> tuple[Callable[[np.ndarray], np.ndarray], Antiderivative]:
    """E^index, and the antiderivative of E^(index - n)."""

    def integral(energy: np.ndarray, n: int) -> np.ndarray:
        power = index - n + 1
        return np.log(energy) if power == 0 else energy**power / power

    return lambda energy: energy**index, integral


def exponential(scale: float) -> tuple[Callable[[np.ndarray], np.ndarray], Antiderivative]:
    """exp(-E/s); with n > 0 by the exponential integral Ei(-x) = -E₁(x) and one integration by parts."""
    from scipy.special import exp1

    def integral(energy: np.ndarray, n: int) -> np.ndarray:
        x = energy / scale
        return [-scale * np.exp(-x), -exp1(x), -np.exp(-x) / energy + exp1(x) / scale][n]

    return lambda energy: np.exp(-energy / scale), integral


SHAPES = {
    "flat": power_law(0.0),
    "falling": power_law(-1.5),
    "rising": power_law(2.0),
    "inverse": power_law(-1.0),
    "exponential": exponential(1.3),
    "steep": exponential(0.3),
}


def expected(integral: Antiderivative, energy_mev: np.ndarray, highest: float = HIGH) -> np.ndarray:
    """J_n per cm² and GeVⁿ of an antiderivative in MeV, shape (3, *energies)."""
    return np.stack([1e3**n * (integral(np.array(highest), n) - integral(energy_mev, n)) for n in range(POWERS)])


@pytest.mark.parametrize("name", SHAPES)
def test_integrals_of_smooth_spectra(name: str) -> None:
    """To 1e-6: a factor 100 better than the 1e-4 that is asked of counts."""
    density, integral = SHAPES[name]
    spectrum = continuous_spectrum("nue", density, LOW, HIGH)
    exact = expected(integral, AT)
    # An exponential is 1e-40 of its size at the end, so 1e-12 of the whole integral counts as 0.
    whole = expected(integral, np.array(LOW))[:, None]
    np.testing.assert_allclose(spectrum.above(AT * 1e-3) / whole, exact / whole, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", ["flat", "falling"])
def test_integrals_near_the_highest_energy(name: str) -> None:
    """J vanishes there in proportion to what is left, so that the end of a recoil spectrum is right."""
    density, integral = SHAPES[name]
    near = HIGH * (1 - np.geomspace(1e-6, 1e-2, 20))
    spectrum = continuous_spectrum("nue", density, LOW, HIGH)
    np.testing.assert_allclose(spectrum.above(near * 1e-3), expected(integral, near), rtol=1e-6)


def test_nothing_above_the_highest_energy() -> None:
    spectrum = continuous_spectrum("nuebar", np.ones_like, LOW, HIGH)
    assert spectrum.energy_max_gev == HIGH * 1e-3
    assert (spectrum.above([HIGH * 1e-3, HIGH * 1e-3 * (1 + 1e-12), 1.0, np.inf]) == 0).all()


def test_everything_below_the_lowest_energy() -> None:
    """Energies below are left out: J stays at its largest value."""
    spectrum = continuous_spectrum("nuebar", lambda energy: 1 / energy, LOW, HIGH)
    whole = expected(SHAPES["inverse"][1], np.array(LOW))
    np.testing.assert_allclose(spectrum.above([0.0, LOW * 0.5e-3]), np.stack([whole, whole], axis=1), rtol=1e-10)


@pytest.mark.parametrize("name", SHAPES)
def test_integrals_fall(name: str) -> None:
    spectrum = continuous_spectrum("nue", SHAPES[name][0], LOW, HIGH, cells=1500)
    values = spectrum.above(np.linspace(LOW, HIGH * 1.01, 5000) * 1e-3)
    assert (np.diff(values, axis=1) <= 1e-13 * values[:, :1]).all()
    assert (values >= -1e-15 * values[:, :1]).all()


def test_shape_of_the_argument_is_kept() -> None:
    spectrum = continuous_spectrum("nue", lambda energy: energy, LOW, HIGH)
    grid = np.geomspace(1e-4, 0.06, 12)
    np.testing.assert_array_equal(spectrum.above(grid.reshape(3, 4)), spectrum.above(grid).reshape(POWERS, 3, 4))
    np.testing.assert_array_equal(spectrum.above(grid[3]), spectrum.above(grid)[:, 3])


def tent(energy: np.ndarray) -> np.ndarray:
    """Linear up to a kink at 1 MeV, then constant."""
    return np.minimum(energy, 1.0)


def tent_integral(energy: np.ndarray, n: int) -> np.ndarray:
    below, above = SHAPES["flat"][1], power_law(1.0)[1]
    joined = above(np.minimum(energy, 1.0), n) - above(np.array(1.0), n)
    return joined + below(np.maximum(energy, 1.0), n) - below(np.array(1.0), n)


def test_a_kink_at_a_breakpoint_costs_nothing() -> None:
    """Without the breakpoint the error is over a hundred times larger."""
    errors = []
    for breakpoints in ((1.0,), ()):
        spectrum = continuous_spectrum("nue", tent, LOW, HIGH, breakpoints, cells=400)
        fine = np.geomspace(0.9, 1.1, 101)
        ratio = spectrum.above(fine * 1e-3) / expected(tent_integral, fine)
        errors.append(np.abs(ratio - 1).max())
    assert errors[0] < 1e-7
    assert errors[1] > 100 * errors[0]


def test_breakpoints_are_nodes_and_those_outside_are_ignored() -> None:
    plain = continuous_spectrum("nue", tent, LOW, HIGH, cells=50)
    outside = continuous_spectrum("nue", tent, LOW, HIGH, (0.0, LOW, HIGH, 100.0), cells=50)
    np.testing.assert_array_equal(plain.energy_gev, outside.energy_gev)
    inside = continuous_spectrum("nue", tent, LOW, HIGH, (1.0, 2.5), cells=50)
    assert set(np.round(inside.energy_gev, 12)) - set(np.round(plain.energy_gev, 12)) == {1.0e-3, 2.5e-3}
    assert (np.diff(inside.energy_gev) > 0).all()


@pytest.fixture
def line() -> Spectrum:
    return line_spectrum("numu", 29.79, 3e14)


def test_a_line_is_a_step(line: Spectrum) -> None:
    """J_n is Φ E⁻ⁿ at and below the line, 0 above."""
    energy = 29.79e-3
    at = energy * np.array([0.0, 0.5, 1 - 1e-12, 1.0, 1 + 1e-12, 2.0])
    step = np.array([1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    exact = 3e14 * np.array([1.0, 1 / energy, 1 / energy**2])[:, None] * step
    np.testing.assert_allclose(line.above(at), exact, rtol=1e-14)
    assert (line.channel, line.energy_max_gev) == ("numu", pytest.approx(energy, rel=1e-15))


def test_a_line_keeps_the_shape_of_the_argument(line: Spectrum) -> None:
    assert line.above(np.full((2, 5), 1e-3)).shape == (POWERS, 2, 5)
    assert line.above(1e-3).shape == (POWERS,)


def test_a_narrow_spectrum_is_nearly_a_line(line: Spectrum) -> None:
    """A box of 0.01% about the line has its J_n below to 1e-8, the square of the half width."""
    half = 29.79 * 0.5e-4
    box = continuous_spectrum("numu", lambda e: np.full_like(e, 3e14 / (2 * half)), 29.79 - half, 29.79 + half)
    np.testing.assert_allclose(box.above(0.01), line.above(0.01), rtol=1e-8)


EDGES = np.array([0.0, 0.5, 1.0, 4.0, 20.0, 53.0]) * 1e-3
DENSITY = np.array([0.0, 3.0, 3.0, 1.0, 0.0]) * 1e14


def test_integrals_of_a_histogram_are_exact() -> None:
    """Against the sum of the closed forms of its bins; nothing above the last that is not empty."""
    spectrum = histogram_spectrum("nuebar", EDGES, DENSITY)
    at = np.concatenate([np.linspace(1e-5, 0.06, 997), EDGES[1:]])
    bins = list(zip(EDGES[1:-1], EDGES[2:], DENSITY[1:], strict=True))
    exact = np.zeros((POWERS, at.size))
    for low, high, density in bins:
        x = np.clip(at, low, high)
        exact += density * np.array([high - x, np.log(high / x), 1 / x - 1 / high])
    np.testing.assert_allclose(spectrum.above(at), exact, rtol=1e-12, atol=1e-2)
    assert spectrum.energy_max_gev == EDGES[4]
    number = DENSITY * np.diff(EDGES)
    assert spectrum.mean_energy_gev == pytest.approx(number @ (EDGES[1:] + EDGES[:-1]) / 2 / number.sum())


def test_where_a_histogram_jumps() -> None:
    """Where it begins and between unequal bins; its end is that of the integral."""
    spectrum = histogram_spectrum("nuebar", EDGES, DENSITY)
    np.testing.assert_array_equal(spectrum.steps_gev, EDGES[[1, 3]])
    assert continuous_spectrum("nue", np.ones_like, LOW, HIGH).steps_gev.size == 0
    assert line_spectrum("numu", 29.79, 1.0).steps_gev.size == 0


def test_a_histogram_from_0_has_a_number_but_no_inverse_moment() -> None:
    spectrum = histogram_spectrum("nue", np.array([0.0, 1e-3]), np.array([2.0]))
    np.testing.assert_array_equal(spectrum.above(0.0), [2e-3, np.inf, np.inf])
    assert np.isfinite(spectrum.above(1e-12)).all()
