"""Formulas, and what they hold."""

import pytest

from bayesnu.errors import UsageError
from bayesnu.physics.materials import ELEMENTS, NAMES, atoms, material, molar_mass_g, nuclei_per_kg


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("Ar", {"Ar": 1}),
        ("argon", {"Ar": 1}),
        ("H2O", {"H": 2, "O": 1}),
        ("C6H6", {"C": 6, "H": 6}),
        ("CaWO4", {"Ca": 1, "W": 1, "O": 4}),
        ("CH1.1", {"C": 1, "H": 1.1}),
        ("CH0.5", {"C": 1, "H": 0.5}),
        ("CH3CH2", {"C": 2, "H": 5}),
    ],
)
def test_formulas(formula: str, expected: dict[str, float]) -> None:
    assert atoms(formula) == expected


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("", "is no chemical formula"),
        ("CaW04", "is no chemical formula.*did you mean 'CaWO4'"),
        ("argonn", "is no chemical formula.*did you mean 'argon'"),
        ("C0", "is no chemical formula"),
        ("C2.", "is no chemical formula"),
        ("H2 O", "is no chemical formula"),
        ("Ca(OH)2", "is no chemical formula"),
        ("2H", "is no chemical formula"),
        ("H-1", "is no chemical formula"),
        ("Qq2", "unknown element 'Qq'; allowed are H, He"),
    ],
)
def test_no_formula(formula: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        atoms(formula)


@pytest.mark.parametrize(
    ("formula", "molar"),
    [("H2O", 18.015), ("NaI", 149.894), ("C6H6", 78.114), ("CF4", 88.0), ("Ge", 72.63), ("PbWO4", 455.04)],
)
def test_molar_masses(formula: str, molar: float) -> None:
    """Of tables of compounds, g/mol."""
    assert molar_mass_g(atoms(formula)) == pytest.approx(molar, abs=0.01)


def test_argon_is_that_of_the_paper() -> None:
    assert material("argon") == material("Ar") == (18, 18, 22, 39.948)


def test_particles_of_water_and_xenon() -> None:
    assert material("water") == (10, 10, 8, pytest.approx(18.015, abs=1e-3))
    assert material("xenon")[:3] == (54, 54, 77)
    # A tonne of water has 3.343e32 electrons.
    assert material("H2O").electrons_in(1000.0) == pytest.approx(3.343e32, rel=1e-3)


@pytest.mark.parametrize("name", list(NAMES))
def test_names_are_formulas(name: str) -> None:
    assert set(atoms(name)) <= set(ELEMENTS)


def test_elements_rise() -> None:
    """In the order of Z, each near the valley of stability; weights fall only at Ar, Te and their neighbours."""
    charges = [element.protons for element in ELEMENTS.values()]
    assert charges == sorted(set(charges))
    for element in ELEMENTS.values():
        if element.protons > 1:
            assert 1.9 < element.atomic_weight / element.protons < 2.6
            assert element.neutrons == pytest.approx(element.atomic_weight - element.protons)
    assert ELEMENTS["H"].neutrons == 0


def test_nuclei_of_a_formula() -> None:
    """Masses add up to a kilogram."""
    for formula in ("C3F8", "xenon", "CH1.1"):
        grams = sum(n * ELEMENTS[symbol].atomic_weight for symbol, n in nuclei_per_kg(formula).items()) / 6.02214076e23
        assert grams == pytest.approx(1000, rel=1e-12)
