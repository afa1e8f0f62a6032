"""CEνNS: form factor, weak charge, the couplings as a shift of it, and published totals."""

import math

import numpy as np
import pytest
from scipy.integrate import quad

from bayesnu.errors import UsageError
from bayesnu.physics import constants
from bayesnu.physics.materials import ELEMENTS, Element, nuclei_per_kg
from bayesnu.physics.nucleus import (
    charge_radius_shift,
    cross_section_terms,
    differential_cross_section,
    helm_form_factor,
    millicharge_shift,
    recoil_max,
    weak_charge,
)

KEV = 1e-6
T = np.array([0.02, 0.3, 2.0, 12.0]) * KEV


def value(c: np.ndarray, energy: float) -> np.ndarray:
    return c[0] + c[1] / energy + c[2] / energy**2


def test_helm_form_factor_is_the_transform_of_its_density() -> None:
    """A uniform sphere folded with a Gaussian skin: F is the product of the two transforms."""
    caesium = ELEMENTS["Cs"]
    c = 1.23 * caesium.atomic_weight ** (1 / 3) - 0.6
    radius = math.sqrt(c**2 + 7 / 3 * (math.pi * 0.52) ** 2 - 5 * 0.9**2)
    for recoil in (1 * KEV, 10 * KEV, 40 * KEV):
        q = math.sqrt(2 * caesium.mass_gev * recoil) / constants.HBARC_GEV_FM
        sphere = quad(lambda r, q=q: 3 * r * math.sin(q * r) / q, 0, radius)[0] / radius**3
        skin = quad(lambda x, q=q: math.exp(-x * x / (2 * 0.81)) * math.cos(q * x), -12, 12)[0] / math.sqrt(
            2 * math.pi * 0.81
        )
        assert float(helm_form_factor(recoil, caesium)) == pytest.approx(sphere * skin, rel=1e-8)


@pytest.mark.parametrize(("symbol", "kev", "f2"), [("W", 0.7, 0.943), ("O", 5, 0.990)])
def test_form_factor_at_reactor_end_points(symbol: str, kev: float, f2: float) -> None:
    assert float(helm_form_factor(kev * KEV, ELEMENTS[symbol])) ** 2 == pytest.approx(f2, abs=0.002)


def test_form_factor_is_smooth_where_its_series_ends() -> None:
    recoil = np.geomspace(1e-13, 1e-6, 4000)
    f = helm_form_factor(recoil, ELEMENTS["W"])
    assert float(f[0]) == pytest.approx(1, abs=1e-6)
    assert (np.diff(f) < 1e-14).all()
    assert np.abs(np.diff(f)).max() < 1e-3


def test_weak_charge_and_masses() -> None:
    assert weak_charge(Element("X", 10, 30.0), 0.25) == 20
    assert ELEMENTS["W"].mass_gev == pytest.approx(171.25, abs=0.01)
    assert ELEMENTS["O"].neutrons == pytest.approx(8, abs=0.01)


def test_nuclei_of_compounds() -> None:
    """287.914, 101.961 and 259.81 g/mol."""
    for compound, molar, element, atoms in (
        ("CaWO4", 287.914, "O", 4),
        ("Al2O3", 101.961, "Al", 2),
        ("CsI", 259.81, "I", 1),
    ):
        assert nuclei_per_kg(compound)[element] == pytest.approx(6.02214076e26 * atoms / molar, rel=2e-5)


@pytest.mark.parametrize("symbol", list(ELEMENTS))
def test_charge_and_radius_shift_the_weak_charge(symbol: str) -> None:
    element, E, q, r2 = ELEMENTS[symbol], 0.03, 3e-8, -4e-32
    terms = {name: value(c, E) for name, c in cross_section_terms(T, element).items()}
    sm = terms["1"]
    total = (
        sm + q * terms["q"] + q**2 * terms["q^2"] + r2 * terms["r2"] + r2**2 * terms["r2^2"] + q * r2 * terms["q*r2"]
    )
    shifted = weak_charge(element) - 2 * element.protons * (
        q * millicharge_shift(T, element) + r2 * charge_radius_shift()
    )
    np.testing.assert_allclose(total, sm * (shifted / weak_charge(element)) ** 2, rtol=1e-11)


def test_positive_charge_and_negative_radius_act_on_protons_opposite_to_electrons() -> None:
    """A positive millicharge repels protons: it adds to g of the proton, whose own is nearly 0, with a plus sign."""
    argon = ELEMENTS["Ar"]
    terms = cross_section_terms(T, argon)
    assert (value(terms["q"], 0.03) < 0).all()
    assert (value(terms["r2"], 0.03) > 0).all()


def test_magnetic_moment_is_the_point_charge_formula() -> None:
    element, E = ELEMENTS["O"], 0.004
    found = value(cross_section_terms(T, element)["mu^2"], E)
    form2 = helm_form_factor(T, element) ** 2
    expected = math.pi * (constants.FINE_STRUCTURE * 8 / constants.ELECTRON_MASS_GEV) ** 2 * (1 / T - 1 / E) * form2
    np.testing.assert_allclose(found, expected * constants.HBARC2_CM2_GEV2, rtol=1e-12)


def test_standard_model_total_without_form_factor() -> None:
    """σ = G_F² Q_W² E²/(4π) (1 - 2E/M + …) for a heavy nucleus: 4.2e-45 cm² N² (E/MeV)² to the size of s_W² terms."""
    element, E = ELEMENTS["Ar"], 1e-3
    top = float(recoil_max(E, element.mass_gev))

    def rate(recoil: float) -> float:
        form2 = float(helm_form_factor(recoil, element)) ** 2
        return float(value(cross_section_terms(recoil, element)["1"], E)) / form2

    total = quad(rate, 0, top, epsabs=0)[0]
    expected = (
        constants.FERMI_CONSTANT_GEV2**2 * weak_charge(element) ** 2 * E**2 / (4 * math.pi) * constants.HBARC2_CM2_GEV2
    )
    assert total == pytest.approx(expected, rel=1e-3)
    assert rate(top * (1 - 1e-9)) == pytest.approx(0, abs=1e-3 * rate(top / 2))


def test_cross_section_with_its_window() -> None:
    """The terms with their couplings inside the window, exactly 0 outside, in every direction."""
    oxygen, E = ELEMENTS["O"], 5e-3
    end = float(recoil_max(E, oxygen.mass_gev))
    couplings = {"mu_numu": 3e-10, "q_numu": 1e-9, "r2_numu": -2e-31, "mu_nue": 1e-8}
    recoil = np.array([0.01, 0.5, 0.999]) * end
    terms = cross_section_terms(recoil, oxygen)
    mu, q, r2 = (couplings[f"{family}_numu"] for family in ("mu", "q", "r2"))
    weights = {"1": 1, "mu^2": mu**2, "q": q, "q^2": q**2, "r2": r2, "r2^2": r2**2, "q*r2": q * r2}
    by_hand = sum(weight * value(terms[label], E) for label, weight in weights.items())
    found = differential_cross_section(recoil, E, oxygen, "numu", couplings)
    np.testing.assert_allclose(found, by_hand, rtol=1e-12)
    assert (differential_cross_section(recoil, E, oxygen) > 0).all()
    outside = differential_cross_section([-1e-9, 0.0, 1.001 * end, 1e-8], [E, E, E, 0.0], oxygen, "numu", couplings)
    np.testing.assert_array_equal(outside, 0)


def test_bad_couplings() -> None:
    with pytest.raises(UsageError, match="unknown coupling 'mu_e'"):
        differential_cross_section(1e-6, 5e-3, ELEMENTS["O"], couplings={"mu_e": 1.0})
