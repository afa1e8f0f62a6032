"""What targets are made of: elements, chemical formulas, and the particles in a mass of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from bayesnu.errors import UsageError, nearest
from bayesnu.physics.constants import ATOMIC_MASS_GEV, AVOGADRO


class Element(NamedTuple):
    """An element with its natural isotopes averaged: charge Z and atomic weight in g/mol."""

    symbol: str
    protons: int
    atomic_weight: float

    @property
    def mass_gev(self) -> float:
        """Mass of the average atom, A × 0.9315 GeV."""
        return self.atomic_weight * ATOMIC_MASS_GEV

    @property
    def neutrons(self) -> float:
        """Average number of neutrons; none in hydrogen."""
        return self.atomic_weight - self.protons if self.protons > 1 else 0.0


class Material(NamedTuple):
    """A target material: electrons, protons and neutrons per formula unit of molar mass in g/mol."""

    electrons: float
    protons: float
    neutrons: float
    molar_mass_g: float

    def electrons_in(self, mass_tonnes: float) -> float:
        """Return the number of electrons in ``mass_tonnes`` (50 t of argon: 1.357e31)."""
        return mass_tonnes * 1e6 / self.molar_mass_g * AVOGADRO * self.electrons


ELEMENTS = MappingProxyType(
    {
        element.symbol: element
        for element in (
            Element("H", 1, 1.008),
            Element("He", 2, 4.0026),
            Element("Li", 3, 6.94),
            Element("B", 5, 10.81),
            Element("C", 6, 12.011),
            Element("N", 7, 14.007),
            Element("O", 8, 15.999),
            Element("F", 9, 18.998),
            Element("Ne", 10, 20.180),
            Element("Na", 11, 22.990),
            Element("Mg", 12, 24.305),
            Element("Al", 13, 26.982),
            Element("Si", 14, 28.085),
            Element("P", 15, 30.974),
            Element("S", 16, 32.06),
            Element("Cl", 17, 35.45),
            Element("Ar", 18, 39.948),
            Element("K", 19, 39.098),
            Element("Ca", 20, 40.078),
            Element("Ti", 22, 47.867),
            Element("Fe", 26, 55.845),
            Element("Cu", 29, 63.546),
            Element("Zn", 30, 65.38),
            Element("Ga", 31, 69.723),
            Element("Ge", 32, 72.630),
            Element("As", 33, 74.922),
            Element("Br", 35, 79.904),
            Element("Mo", 42, 95.95),
            Element("Cd", 48, 112.414),
            Element("Te", 52, 127.60),
            Element("I", 53, 126.904),
            Element("Xe", 54, 131.293),
            Element("Cs", 55, 132.905),
            Element("Gd", 64, 157.25),
            Element("W", 74, 183.84),
            Element("Pb", 82, 207.2),
            Element("Bi", 83, 208.980),
        )
    }
)
"""Elements by symbol; atomic weights of IUPAC 2021."""

NAMES = MappingProxyType(
    {
        "argon": "Ar",
        "carbon": "C",
        "germanium": "Ge",
        "iron": "Fe",
        "lead": "Pb",
        "neon": "Ne",
        "polystyrene": "C8H8",
        "polyvinyltoluene": "C9H10",
        "silicon": "Si",
        "water": "H2O",
        "xenon": "Xe",
    }
)
"""Formulas of materials that have a name."""
EXAMPLES = ("CaWO4", "Al2O3", "CsI", "NaI", "LiF", "CaF2", "C3F8", "CF4", "H2O", "CH", "CH2", "PbWO4", "TeO2")
"""Formulas that errors suggest, beside elements and names."""
_PART = re.compile(r"([A-Z][a-z]?)([1-9]\d*(?:\.\d+)?|0\.\d*[1-9]\d*)?")


def atoms(formula: str) -> dict[str, float]:
    """Return the atoms of each element in a unit of a chemical formula, or of a name of `NAMES`.

    Parameters
    ----------
    formula : str
        Symbols of `ELEMENTS`, each followed by a number if it is not 1: "Ar", "H2O", "CaWO4", "CH1.1". No brackets.

    Raises
    ------
    UsageError
        If it is anything else.

    Examples
    --------
    >>> atoms("CaWO4")
    {'Ca': 1.0, 'W': 1.0, 'O': 4.0}
    """
    text = NAMES.get(formula, formula)
    parts = _PART.findall(text)
    hint = nearest(formula, (*NAMES, *EXAMPLES, *ELEMENTS))
    if not parts or "".join(symbol + number for symbol, number in parts) != text:
        raise UsageError(
            f"'{formula}' is no chemical formula such as CaWO4, CH2 or Ar, and none of {', '.join(NAMES)}{hint}"
        )
    found: dict[str, float] = {}
    for symbol, number in parts:
        if symbol not in ELEMENTS:
            raise UsageError(f"'{formula}': unknown element '{symbol}'; allowed are {', '.join(ELEMENTS)}{hint}")
        found[symbol] = found.get(symbol, 0.0) + float(number or 1)
    return found


def molar_mass_g(parts: Mapping[str, float]) -> float:
    """Return the molar mass of `atoms`, g/mol."""
    return sum(n * ELEMENTS[symbol].atomic_weight for symbol, n in parts.items())


def material(formula: str) -> Material:
    """Return what a formula unit holds; neutrons are those of the whole mass number next to the atomic weight.

    Parameters
    ----------
    formula : str
        As in `atoms`.

    Raises
    ------
    UsageError
        As `atoms`.
    """
    parts = atoms(formula)
    protons = sum(n * ELEMENTS[symbol].protons for symbol, n in parts.items())
    nucleons = sum(n * round(ELEMENTS[symbol].atomic_weight) for symbol, n in parts.items())
    return Material(protons, protons, nucleons - protons, molar_mass_g(parts))


def nuclei_per_kg(formula: str) -> dict[str, float]:
    """Return the number of nuclei of each element in a kilogram: 1000 N_A n/M_mol.

    Parameters
    ----------
    formula : str
        As in `atoms`.

    Raises
    ------
    UsageError
        As `atoms`.
    """
    parts = atoms(formula)
    molar = molar_mass_g(parts)
    return {symbol: 1000 * AVOGADRO * n / molar for symbol, n in parts.items()}
