"""Detectors of nuclear recoils: probabilities of bins, and the points at which recoils are integrated."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import poisson

from bayesnu.detector.recoil import Phonons, Photoelectrons, acceptance, recoil_nodes

EDGES_EV = tuple(np.geomspace(20.0, 1e4, 41).tolist())
RELEASED = (0.6655, 0.4942, 10.8507)
"""Acceptance of COHERENT's release (arXiv:1804.09459)."""
EDGES_PE = tuple(range(6, 31, 2))


@pytest.fixture
def phonons() -> Phonons:
    return Phonons(EDGES_EV, 4.0)


@pytest.fixture
def photoelectrons() -> Photoelectrons:
    return Photoelectrons(EDGES_PE, 13.348, 0.0878, RELEASED)


# Phonons


def test_phonons_are_differences_of_error_functions(phonons: Phonons) -> None:
    """[erf((x_{i+1} - T)/√2σ) - erf((x_i - T)/√2σ)]/2, to the rounding of a difference of numbers of order 1."""
    recoils = np.array([0.3, 5.0, 18.0, 20.0, 21.3, 40.0, 333.0, 9_990.0, 12_000.0])
    expected = [
        [(math.erf((b - T) / (math.sqrt(2) * 4)) - math.erf((a - T) / (math.sqrt(2) * 4))) / 2 for T in recoils]
        for a, b in pairwise(EDGES_EV)
    ]
    found = phonons.probabilities(recoils)
    assert found.shape == (40, recoils.size)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)


def test_phonons_lose_nothing_far_inside(phonons: Phonons) -> None:
    """10 σ from the threshold and the highest bin: 1 - 2e-23."""
    recoils = np.geomspace(60.0, 9_960.0, 300)
    np.testing.assert_allclose(phonons.probabilities(recoils).sum(axis=0), 1.0, rtol=0, atol=1e-14)


def test_half_of_the_recoils_at_the_threshold_are_seen(phonons: Phonons) -> None:
    total = phonons.probabilities(np.array([20.0, 20.0 - 4.0, 20.0 + 4.0, 1e4])).sum(axis=0)
    one_sigma = 0.15865525393145707  # 1 - Φ(1)
    np.testing.assert_allclose(total, [0.5, one_sigma, 1 - one_sigma, 0.5], rtol=0, atol=1e-14)


def test_phonon_probabilities_are_probabilities(phonons: Phonons) -> None:
    found = phonons.probabilities(np.geomspace(0.3, 2e4, 2000))
    assert (found >= 0).all()
    assert (found.sum(axis=0) <= 1 + 1e-14).all()


def test_phonon_breakpoints_lie_about_every_edge(phonons: Phonons) -> None:
    points = phonons.breakpoints_ev
    assert (np.diff(points) > 0).all()
    for edge in EDGES_EV:
        for shift in (-8, -4, -2, 0, 2, 4, 8):
            assert np.abs(points - (edge + 4.0 * shift)).min() < 1e-9


# Photoelectrons


def released_acceptance(pe: int) -> float:
    """0.6655/(1 + exp(-0.4942 (PE - 10.8507))), half of it for 5 ≤ PE < 6, none below."""
    curve = 0.6655 / (1 + math.exp(-0.4942 * (pe - 10.8507)))
    return 0.0 if pe < 5 else curve / 2 if pe < 6 else curve


def test_acceptance_of_the_release() -> None:
    pe = np.arange(0, 40)
    np.testing.assert_allclose(acceptance(pe.astype(float), RELEASED), [released_acceptance(p) for p in pe], rtol=1e-14)
    assert acceptance(np.array([4.0, 10.8507]), RELEASED).tolist() == [0.0, pytest.approx(0.6655 / 2, rel=1e-14)]


@pytest.mark.parametrize("edges", [EDGES_PE, (4, 5, 6, 11, 12, 30), (0, 3, 9)])
def test_photoelectrons_are_poisson_sums(edges: tuple[int, ...]) -> None:
    """Σ over the integers of a bin of acceptance × Poisson(PE; light yield × quenching × T)."""
    recoils = np.array([300.0, 2_000.0, 6_123.0, 15_000.0, 45_000.0])
    found = Photoelectrons(edges, 13.348, 0.0878, RELEASED).probabilities(recoils)
    mean = 13.348 * 0.0878 * recoils / 1000
    expected = [
        sum(poisson.pmf(pe, mean) * released_acceptance(pe) for pe in range(low, high)) for low, high in pairwise(edges)
    ]
    # log Γ at 30 and the exponent carry a few 1e-15 each, times exponents of up to 100.
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_perfect_acceptance_loses_nothing_far_inside() -> None:
    """A mean of 60 PE in a range from 5 to 200: 12 σ or more."""
    wide = Photoelectrons((6, 40, 80, 200), 13.348, 0.0878, (1.0, 50.0, 0.0))
    assert wide.probabilities(np.array([60e3 / (13.348 * 0.0878)])).sum() == pytest.approx(1.0, abs=1e-12)


def test_photoelectrons_of_no_recoil(photoelectrons: Photoelectrons) -> None:
    """No light at T = 0, and no warning."""
    assert (photoelectrons.probabilities(np.array([0.0])) == 0).all()


def test_light_and_quenching_enter_as_a_product(photoelectrons: Photoelectrons) -> None:
    recoils = np.geomspace(1e3, 5e4, 20)
    other = Photoelectrons(EDGES_PE, 13.348 / 2, 0.0878, RELEASED).probabilities(2 * recoils)
    np.testing.assert_allclose(photoelectrons.probabilities(recoils), other, rtol=1e-12)
    assert photoelectrons.breakpoints_ev.size == 0


# Points of the integral


@pytest.mark.parametrize("power", range(-2, 4))
@pytest.mark.parametrize("breakpoints", [(0.3, 700.0), (0.3, 12.0, 12.5, 700.0), (20.0, 20.000001)])
def test_powers_are_integrated(power: int, breakpoints: tuple[float, ...]) -> None:
    """Six points in panels of a 24th of a decade: T^p is exp((p + 1) ln T), its 12th order is below 1e-15."""
    T, w = recoil_nodes(np.array(breakpoints), 6, 24)
    a, b = breakpoints[0], breakpoints[-1]
    exact = math.log(b / a) if power == -1 else (b ** (power + 1) - a ** (power + 1)) / (power + 1)
    # A difference of ends that agree to 5e-8 keeps 8 digits.
    assert (w * T**power).sum() == pytest.approx(exact, rel=1e-12 if b > 2 * a else 1e-7)


@pytest.mark.parametrize("power", range(12))
def test_polynomials_of_the_logarithm_are_exact_in_one_panel(power: int) -> None:
    """n Gauss points are exact to degree 2n - 1 = 11 in ln T; ∫ (ln T)^p dT/T = (ln T)^(p+1)/(p + 1)."""
    T, w = recoil_nodes(np.array([2.0, 50.0]), 6, 0)
    assert T.size == 6
    exact = (math.log(50.0) ** (power + 1) - math.log(2.0) ** (power + 1)) / (power + 1)
    assert (w / T * np.log(T) ** power).sum() == pytest.approx(exact, rel=1e-12)


def test_degree_twelve_is_not_exact_in_one_panel() -> None:
    T, w = recoil_nodes(np.array([2.0, 50.0]), 6, 0)
    exact = (math.log(50.0) ** 13 - math.log(2.0) ** 13) / 13
    assert abs((w / T * np.log(T) ** 12).sum() / exact - 1) > 1e-10


def test_a_jump_at_a_breakpoint_is_exact() -> None:
    T, w = recoil_nodes(np.array([1.0, 37.0, 100.0]), 4, 5)
    assert (w * np.where(T < 37, 1.0, 3.0)).sum() == pytest.approx(36 + 3 * 63, rel=1e-7)
    assert not ((T > 37 - 1e-6) & (T < 37 + 1e-6)).any()


def test_panels_are_no_wider_than_asked() -> None:
    """Three decades in panels of at most a tenth; weights are positive, points increase within the range."""
    T, w = recoil_nodes(np.array([1.0, 1.01, 1000.0]), 3, 10)
    assert T.size == 3 * (1 + 30)
    assert (w > 0).all()
    assert (np.diff(T) > 0).all()
    assert T[0] > 1.0
    assert T[-1] < 1000.0
    assert w.sum() == pytest.approx(999.0, rel=1e-6)


def test_smeared_spectrum_against_quadrature(phonons: Phonons) -> None:
    """∫ R_i(T)/T dT of a 1/T spectrum in the first bins: the sharpest structure that a card has."""
    points = phonons.breakpoints_ev
    inner = points[(points > 0.3) & (points < 700)]
    T, w = recoil_nodes(np.concatenate([[0.3], inner, [700.0]]), 6, 24)
    found = phonons.probabilities(T) @ (w / T)
    for i in (0, 1, 5):

        def integrand(x: float, i: int = i) -> float:
            a, b = ((edge - x) / (math.sqrt(2) * 4) for edge in (EDGES_EV[i], EDGES_EV[i + 1]))
            return (math.erf(b) - math.erf(a)) / (2 * x)

        exact, _ = quad(integrand, 0.3, 150.0, epsabs=0, epsrel=1e-10, limit=400, points=[EDGES_EV[i], EDGES_EV[i + 1]])
        assert found[i] == pytest.approx(exact, rel=1e-6)
