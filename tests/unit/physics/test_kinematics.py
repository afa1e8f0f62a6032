import numpy as np
import pytest

from bayesnu.physics.constants import ELECTRON_MASS_GEV as M
from bayesnu.physics.kinematics import (
    e_theta2_max,
    electron_angle,
    neutrino_energy_from_angle,
    neutrino_energy_min,
    recoil_max,
)

T = np.geomspace(0.005, 15, 7)


def test_recoil_max_and_energy_min_invert_each_other() -> None:
    np.testing.assert_allclose(recoil_max(neutrino_energy_min(T)), T, rtol=1e-13)
    np.testing.assert_allclose(neutrino_energy_min(recoil_max(T)), T, rtol=1e-13)


def test_forward_electron_at_the_largest_recoil() -> None:
    """At T = T_max the electron goes forward: four-momentum conservation gives E - T = |p_ν'| = p_e - E."""
    energy = neutrino_energy_min(T)
    momentum = np.sqrt(T**2 + 2 * M * T)
    np.testing.assert_allclose(momentum - energy, energy - T, rtol=1e-10)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_angle_and_energy_round_trip(share: float) -> None:
    energy = T / share
    electron = T + M
    theta = electron_angle(T, energy)
    np.testing.assert_allclose(1 - np.cos(theta), M * (1 - share) / electron, rtol=1e-6)
    np.testing.assert_allclose(neutrino_energy_from_angle(T, electron * theta**2), energy, rtol=1e-6)


def test_e_theta2_is_2m_times_one_minus_y() -> None:
    for share in (0.1, 0.6):
        theta = electron_angle(T, T / share)
        np.testing.assert_allclose((T + M) * theta**2, 2 * M * (1 - share), rtol=0.03)


def test_angle_beyond_every_neutrino_energy_is_infinite() -> None:
    for recoil in T:
        limit = e_theta2_max(recoil)
        assert limit > 2 * M
        assert np.isinf(neutrino_energy_from_angle(recoil, limit * (1 + 1e-9)))
        assert np.isfinite(neutrino_energy_from_angle(recoil, limit * (1 - 1e-6)))


def test_zero_angle_is_the_recoil_equal_to_the_neutrino_energy() -> None:
    np.testing.assert_allclose(neutrino_energy_from_angle(T, 0.0), T, rtol=1e-14)
