"""Cross sections against (2.1) and the expanded formulas, both written out here from the physics page."""

import math

import numpy as np
import pytest

from bayesnu.errors import UsageError
from bayesnu.physics.couplings import CHANNELS
from bayesnu.physics.electron import (
    TERMS,
    charge_radius_shift,
    cross_section_terms,
    differential_cross_section,
    millicharge_shift,
    vector_axial,
)
from bayesnu.physics.kinematics import recoil_max

G_F, ALPHA, M, M_W, SIN2, HBARC2 = 1.1663787e-5, 1 / 137.035999, 0.51099895e-3, 80.377, 0.2385, 0.3893793721e-27
SIGN = {"numu": 1, "numubar": -1, "nue": 1, "nuebar": -1}
ELECTRON_FLAVOUR = {"numu": 0, "numubar": 0, "nue": 1, "nuebar": 1}
# Recoil energies inside the window of every neutrino energy below.
T = np.array([0.03, 0.1, 0.5, 1.0, 2.0])[:, None]
E = np.array([2.5, 5.0, 19.0])
Q, R2, MU = 3e-8, -4e-32, 5e-9
CHANNEL_NAMES = list(CHANNELS)


def shifted_2_1(channel: str, T: np.ndarray, E: np.ndarray, shift: np.ndarray | float = 0.0) -> np.ndarray:
    """(2.1) with g_V → g_V + shift, in cm²/GeV."""
    delta, s = ELECTRON_FLAVOUR[channel], SIGN[channel]
    g_v, g_a = -0.5 + 2 * SIN2 + delta + shift, -0.5 + delta
    bracket = (g_v + s * g_a) ** 2 + (g_v - s * g_a) ** 2 * (1 - T / E) ** 2 - (g_v**2 - g_a**2) * M * T / E**2
    return M * G_F**2 / (2 * math.pi) * bracket * HBARC2


def charge_shift(q: float) -> np.ndarray:
    return -math.sqrt(2) * math.pi * ALPHA * q / (G_F * M * T)


def radius_shift(r2: float) -> float:
    return 2 / 3 * M_W**2 * (r2 / HBARC2) * SIN2


@pytest.mark.parametrize("channel", CHANNEL_NAMES)
@pytest.mark.parametrize(("q", "r2"), [(0, 0), (Q, 0), (-Q, 0), (0, R2), (0, -R2), (Q, R2), (-Q, R2)])
def test_millicharge_and_radius_are_a_shift_of_g_v(channel: str, q: float, r2: float) -> None:
    flavour = "nue" if ELECTRON_FLAVOUR[channel] else "numu"
    found = differential_cross_section(T, E, channel, {f"q_{flavour}": q, f"r2_{flavour}": r2})
    np.testing.assert_allclose(found, shifted_2_1(channel, T, E, charge_shift(q) + radius_shift(r2)), rtol=1e-12)


@pytest.mark.parametrize("channel", CHANNEL_NAMES)
def test_expanded_millicharge(channel: str) -> None:
    """The interference and quadratic formulas of the physics page, per unit q and q²."""
    s, g_v = SIGN[channel], -0.5 + 2 * SIN2 + ELECTRON_FLAVOUR[channel]
    g_a = -0.5 + ELECTRON_FLAVOUR[channel]
    bracket = g_v * (2 * E**2 + T**2 - T * (2 * E + M)) + s * g_a * T * (2 * E - T)
    interference = -math.sqrt(2) * ALPHA * G_F / (E**2 * T) * bracket * HBARC2
    quadratic = math.pi * ALPHA**2 * (2 * E**2 + T**2 - 2 * E * T - M * T) / (M * T**2 * E**2) * HBARC2
    np.testing.assert_allclose(term(channel, "q"), interference, rtol=1e-12)
    np.testing.assert_allclose(term(channel, "q^2"), quadratic, rtol=1e-12)


def term(channel: str, label: str, **options: str) -> np.ndarray:
    coefficients = cross_section_terms(T[:, 0], channel, **options)[label]
    return sum(coefficients[n][:, None] / E**n for n in range(3))


@pytest.mark.parametrize("channel", CHANNEL_NAMES)
def test_product_term_alone(channel: str) -> None:
    second = M * G_F**2 / (2 * math.pi) * (1 + (1 - T / E) ** 2 - M * T / E**2) * HBARC2
    np.testing.assert_allclose(term(channel, "q*r2"), 2 * charge_shift(1) * radius_shift(1) * second, rtol=1e-12)


@pytest.mark.parametrize("channel", CHANNEL_NAMES)
def test_magnetic_moment_adds_without_interference(channel: str) -> None:
    flavour = "nue" if ELECTRON_FLAVOUR[channel] else "numu"
    added = MU**2 * math.pi * ALPHA**2 / M**2 * (1 / T - 1 / E) * HBARC2
    both = differential_cross_section(T, E, channel, {f"mu_{flavour}": MU, f"q_{flavour}": Q, f"r2_{flavour}": R2})
    shift = charge_shift(Q) + radius_shift(R2)
    np.testing.assert_allclose(both, shifted_2_1(channel, T, E, shift) + added, rtol=1e-12)
    np.testing.assert_allclose(term(channel, "mu^2") * MU**2, added, rtol=1e-12)


@pytest.mark.parametrize(("flavour", "channels"), [("nue", ("nue", "nuebar")), ("numu", ("numu", "numubar"))])
def test_a_coupling_acts_on_its_own_flavour_only(flavour: str, channels: tuple[str, ...]) -> None:
    values = {f"mu_{flavour}": MU, f"q_{flavour}": Q, f"r2_{flavour}": R2}
    for channel in CHANNELS:
        changed = not np.array_equal(
            differential_cross_section(T, E, channel, values), differential_cross_section(T, E, channel)
        )
        assert changed == (channel in channels)


@pytest.mark.parametrize("neutrino", ["numu", "nue"])
def test_antineutrinos_flip_the_sign_of_the_axial_coupling(neutrino: str) -> None:
    """At T ≪ E both have (g_V + s g_A)² + (g_V - s g_A)²; at T = E only (g_V + s g_A)² is left."""
    g_v, g_a = vector_axial(CHANNELS[neutrino], SIN2)
    energy = 10.0
    norm = M * G_F**2 / (2 * math.pi) * HBARC2
    for channel, s in ((neutrino, 1), (f"{neutrino}bar", -1)):
        zeroth = cross_section_terms(np.array([energy]), channel)["1"][:, 0]
        mass_term = (g_v**2 - g_a**2) * M / energy
        at_full_recoil = sum(zeroth[n] / energy**n for n in range(3)) / norm + mass_term
        assert at_full_recoil == pytest.approx((g_v + s * g_a) ** 2, rel=1e-9)


def test_couplings_of_2_2() -> None:
    assert vector_axial(CHANNELS["numu"], SIN2) == pytest.approx((-0.023, -0.5))
    assert vector_axial(CHANNELS["nuebar"], SIN2) == pytest.approx((0.977, 0.5))


def test_positive_millicharge_lowers_a_positive_g_v() -> None:
    """A positive neutrino attracts the electron; a positive g_V repels it."""
    assert millicharge_shift(0.1) == pytest.approx(-math.sqrt(2) * math.pi * ALPHA / (G_F * M * 0.1), rel=1e-14)
    assert (term("nue", "q") < 0).all()


def test_charge_radius_shift_follows_from_the_millicharge_shift() -> None:
    """q → k²<r²>/6 with k² = -2mT gives √2πα<r²>/(3G_F) at every T: (4.16) but for its sin²θ_W, 11% above."""
    r2_gev = 1.0
    from_charge = millicharge_shift(T) * (-2 * M * T) * r2_gev / 6
    expected = math.sqrt(2) * math.pi * ALPHA / (3 * G_F)
    np.testing.assert_allclose(from_charge, expected, rtol=1e-12)
    ratio = charge_radius_shift(SIN2) * HBARC2 / expected
    assert ratio == pytest.approx(1.11, abs=0.01)


@pytest.mark.parametrize("channel", CHANNEL_NAMES)
def test_as_printed_millicharge_is_4_8_and_4_9(channel: str) -> None:
    s, g_v = SIGN[channel], -0.5 + 2 * SIN2 + ELECTRON_FLAVOUR[channel]
    g_a = -0.5 + ELECTRON_FLAVOUR[channel]
    bracket = g_v * (2 * E**2 + T**2 - T * (2 * E + T)) + s * g_a * T * (2 * E - T)
    printed_4_8 = math.sqrt(2) * ALPHA * G_F / (E**2 * T) * bracket * HBARC2
    printed_4_9 = math.pi * ALPHA * (2 * E**2 + T**2 - 2 * E * T) / (M * T**2 * E**2) * HBARC2
    np.testing.assert_allclose(term(channel, "q", millicharge="as-printed"), printed_4_8, rtol=1e-12)
    np.testing.assert_allclose(term(channel, "q^2", millicharge="as-printed"), printed_4_9, rtol=1e-12)
    assert not term(channel, "q*r2", millicharge="as-printed").any()
    for label in ("1", "mu^2", "r2", "r2^2"):
        np.testing.assert_array_equal(term(channel, label, millicharge="as-printed"), term(channel, label))


@pytest.mark.parametrize("channel", CHANNEL_NAMES)
def test_published_millicharge_is_minus_root_alpha_times_the_true_one(channel: str) -> None:
    """With q_published = -√α q_true, the printed (4.9) is the derived quadratic term but for m T."""
    true = 1e-9
    published = -math.sqrt(ALPHA) * true
    small = M * T / (2 * E**2 + T**2 - 2 * E * T)
    printed = term(channel, "q^2", millicharge="as-printed") * published**2
    np.testing.assert_allclose(printed * (1 - small), term(channel, "q^2") * true**2, rtol=1e-12)


@pytest.mark.parametrize("channel", CHANNEL_NAMES)
def test_zero_outside_the_kinematic_window(channel: str) -> None:
    energy = np.array([0.05, 0.5, 5.0])
    top = recoil_max(energy)
    assert (differential_cross_section(top * (1 - 1e-9), energy, channel) > 0).all()
    assert (differential_cross_section(top * (1 + 1e-9), energy, channel) == 0).all()


def test_arguments_broadcast_and_terms_are_labelled() -> None:
    assert differential_cross_section(T, E, "numu").shape == (5, 3)
    terms = cross_section_terms(T[:, 0], "numu")
    assert list(terms) == list(TERMS)
    assert {array.shape for array in terms.values()} == {(3, 5)}


@pytest.mark.parametrize("channel", CHANNEL_NAMES)
def test_another_mixing_angle_is_a_shift_of_g_v(channel: str) -> None:
    found = differential_cross_section(T, E, channel, sin2_theta_w=0.2312)
    np.testing.assert_allclose(found, shifted_2_1(channel, T, E, 2 * (0.2312 - SIN2)), rtol=1e-12)


@pytest.mark.parametrize(
    ("channel", "couplings", "fragments"),
    [
        ("numbu", {}, ("channel 'numbu'", "did you mean 'numu")),
        ("numu", {"mu_nu": 1.0}, ("coupling 'mu_nu'", "did you mean 'mu_nu")),
        ("numu", {"mu_numu": -1e-10}, ("mu_numu", "-1e-10", "at least 0")),
    ],
)
def test_wrong_names_and_values(channel: str, couplings: dict[str, float], fragments: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        differential_cross_section(0.1, 1.0, channel, couplings)
    assert all(fragment in str(caught.value) for fragment in fragments)
    assert "\n" not in str(caught.value)
