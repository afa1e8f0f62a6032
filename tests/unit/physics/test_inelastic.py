"""Angle of the electron in ν e → N e: energy and momentum conserved, and the inverse."""

import numpy as np
import pytest

from bayesnu.physics.constants import ELECTRON_MASS_GEV as M_E
from bayesnu.physics.dipole import (
    emission,
    energy_from_recoil_angle,
    energy_min,
    mass_reach,
    primakoff_cross_section,
    recoil_angle,
    recoil_window,
    threshold_energy,
)
from bayesnu.physics.kinematics import electron_angle, neutrino_energy_min, recoil_max


@pytest.fixture(scope="module")
def events() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random E, T and m inside the window."""
    rng = np.random.default_rng(5)
    energy = 10 ** rng.uniform(-1.5, 1.5, 1000)
    mass = rng.uniform(0, 1, 1000) * np.array([mass_reach(e, M_E) for e in energy])
    low, high = np.array([recoil_window(e, m, M_E) for e, m in zip(energy, mass, strict=True)]).T
    return energy, low + rng.uniform(0, 1, 1000) * (high - low), mass


def each(function: object, *columns: np.ndarray) -> np.ndarray:
    """Return function(T, x, m, M) row by row: a mass is one number."""
    return np.array([float(function(*row, M_E)) for row in zip(*columns, strict=True)])  # type: ignore[operator]


def test_energy_and_momentum_are_conserved(events: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """The four-vector k + P - P' has mass m, and so has N of the same T in the other direction."""
    energy, recoil, mass = events
    angle = each(recoil_angle, recoil, energy, mass)
    electron = recoil + M_E
    momentum = np.sqrt(electron**2 - M_E**2)
    n_energy = energy + M_E - electron
    n_along, n_across = energy - momentum * np.cos(angle), -momentum * np.sin(angle)
    np.testing.assert_allclose(n_energy**2 - n_along**2 - n_across**2, mass**2, atol=1e-12 * energy.max() ** 2)
    # The direction of N, found elsewhere from the same E, T and m.
    for k in range(0, energy.size, 100):
        found = emission(recoil[k], energy[k], mass[k], M_E)
        p = float(found.momentum_gev)
        # 1 - cos loses its digits for N, which flies forward.
        assert n_along[k] / p == pytest.approx(float(found.cosine), abs=1e-9)
        assert -n_across[k] / p == pytest.approx(np.sqrt(1 - float(found.cosine) ** 2), abs=3e-6)


def test_angle_is_the_formula_of_the_four_vectors(events: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    energy, recoil, mass = events
    momentum = np.sqrt(recoil**2 + 2 * M_E * recoil)
    cosine = (mass**2 + 2 * recoil * (energy + M_E)) / (2 * energy * momentum)
    np.testing.assert_allclose(np.cos(each(recoil_angle, recoil, energy, mass)), cosine, atol=1e-11)


def test_inverse(events: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    energy, recoil, mass = events
    angle = each(recoil_angle, recoil, energy, mass)
    np.testing.assert_allclose(each(energy_from_recoil_angle, recoil, angle, mass), energy, rtol=1e-7)
    # From angle to energy and back, where some energy belongs to the angle.
    rng = np.random.default_rng(6)
    least, widest = (
        each(energy_from_recoil_angle, recoil, 0 * angle, mass),
        np.arccos(recoil / np.sqrt(recoil**2 + 2 * M_E * recoil)),
    )
    np.testing.assert_allclose(least, [energy_min(t, m, M_E) for t, m in zip(recoil, mass, strict=True)], rtol=1e-12)
    chosen = rng.uniform(0.01, 0.99, recoil.size) * widest
    at = each(energy_from_recoil_angle, recoil, chosen, mass)
    np.testing.assert_allclose(each(recoil_angle, recoil, at, mass), chosen, rtol=1e-7)
    assert np.isinf(each(energy_from_recoil_angle, recoil, widest * 1.001, mass)).all()
    assert np.isinf(each(energy_from_recoil_angle, recoil, np.full_like(recoil, 7.0), mass)).all()


@pytest.mark.parametrize("mass", [0.0, 1e-3, 0.02, 0.1])
def test_angle_rises_with_the_energy_at_fixed_recoil(mass: float) -> None:
    """From 0 at the least energy to arccos(T/p), so that cells of the angle are intervals of the energy."""
    for recoil in (0.03, 0.5, 4.0):
        least = float(energy_min(recoil, mass, M_E))
        angle = recoil_angle(recoil, least * np.geomspace(1, 1e6, 400), mass, M_E)
        assert angle[0] == 0
        assert (np.diff(angle) > 0).all()
        assert angle[-1] == pytest.approx(np.arccos(recoil / np.sqrt(recoil**2 + 2 * M_E * recoil)), rel=1e-5)


def test_below_two_electron_masses(events: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """E_e θ² < 2 m_e above the threshold of 30 MeV: exact, unlike (2.3), which goes slightly above."""
    energy, recoil, mass = events
    above = recoil > 0.03
    angle = each(recoil_angle, recoil, energy, mass)
    assert (((recoil + M_E) * angle**2)[above] < 2 * M_E).all()
    limit = recoil_angle(0.03, 1e12, 0.0, M_E)
    assert 1.9 * M_E < (0.03 + M_E) * limit**2 < 2 * M_E


def test_the_massless_angle_is_2_3_to_order_m_over_e() -> None:
    """(2.3) drops relative orders of m_e/E_e."""
    energy = np.geomspace(0.05, 20, 60)[:, None]
    recoil = np.linspace(0.6, 0.999, 40) * recoil_max(energy)
    exact = recoil_angle(recoil, energy, 0.0, M_E)
    versines = 2 * np.sin(exact / 2) ** 2, 2 * np.sin(electron_angle(recoil, energy) / 2) ** 2
    assert (np.abs(versines[0] - versines[1]) < (M_E / (recoil + M_E)) ** 2).all()
    np.testing.assert_allclose(energy_min(recoil, 0.0, M_E), neutrino_energy_min(recoil), rtol=1e-12)


@pytest.mark.parametrize("mass", [0.0, 1e-3, 5e-3, 0.05])
def test_outside_the_window(mass: float) -> None:
    """No angle, and a cross section of exactly 0; at the ends of the window the electron goes forward."""
    energy = 5.0 + threshold_energy(mass, M_E)
    low, high = (float(edge) for edge in recoil_window(energy, mass, M_E))
    outside = [high * (1 + 1e-9), high * 1.5, *([low * (1 - 1e-9), low * 0.3] if mass else [])]
    assert np.isnan(recoil_angle(outside, energy, mass, M_E)).all()
    assert (primakoff_cross_section(outside, energy, mass, M_E) == 0).all()
    inside = [high * (1 - 1e-9), *([low * (1 + 1e-9)] if mass else [])]
    assert (primakoff_cross_section(inside, energy, mass, M_E) > 0).all()
    np.testing.assert_allclose((np.array(inside) + M_E) * recoil_angle(inside, energy, mass, M_E) ** 2, 0, atol=1e-7)


def test_mass_reach_is_the_inverse_of_the_threshold() -> None:
    for energy in (1e-4, 0.1, 20.0):
        assert threshold_energy(mass_reach(energy, M_E), M_E) == pytest.approx(energy, rel=1e-12)
    assert mass_reach(20.0, M_E) == pytest.approx(np.sqrt(M_E**2 + 2 * M_E * 20) - M_E, rel=1e-12)
    assert primakoff_cross_section(0.01, 1.0, mass_reach(1.0, M_E) * 1.0001, M_E) == 0
