"""Compare an interval with the published limits; no number is adjusted to match."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bayesnu.errors import DataError
from bayesnu.physics.constants import GAUSSIAN_CHARGE
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.resources import number, read_table

COLUMNS = ("scenario", "coupling", "unit", "cl", "lower", "upper", "equation", "source")
GAUSSIAN_PAPER = "arXiv:2111.14884"
"""Its millicharges are numbers in natural units with e = √α and the electron's sign."""
FOOTNOTE = (
    "Millicharges of arXiv:2111.14884 are converted to units of the positive elementary charge: divided by -√α and "
    "their ends exchanged. (4.9) prints π α q² where the derivation gives π α² q², which holds if q is a pure "
    "number in Gaussian natural units, e = √α; its interference sign is that of a charge in units of the electron's."
)


@dataclass(frozen=True)
class PublishedLimit:
    """One row of the published limits.

    Attributes
    ----------
    scenario, coupling, source, equation : str
    cl : float
        NaN where none is stated.
    printed : (low, high)
        As published, in the coupling's unit; NaN where one-sided.
    true_units : (low, high)
        In μ_B, +e or cm². For the millicharges of arXiv:2111.14884 converted; for a
        bound on the magnitude of a coupling that has a sign, both ends of it.
    """

    scenario: str
    coupling: str
    source: str
    equation: str
    cl: float
    printed: tuple[float, float]
    true_units: tuple[float, float]

    @property
    def converted(self) -> bool:
        """Whether ``true_units`` differ from what is printed."""
        return COUPLINGS[self.coupling].family == "q" and self.source == GAUSSIAN_PAPER


def read_published(path: Path) -> list[PublishedLimit]:
    """Read published limits; rows of couplings that bayesnu does not have are left out.

    A row of coupling ``q`` holds for the millicharge of every flavour.

    Raises
    ------
    DataError
        For a damaged file or a unit that is not ``FACTOR UNIT``.
    """
    limits = []
    units = {"mu_B": "mu_B", "e": "e", "cm^2": "cm^2"}
    for row in read_table(path, COLUMNS):
        factor_text, _, unit = row["unit"].partition(" ")
        if unit not in units:
            raise DataError(
                f"{path}: line {row['line']}, unit = '{row['unit']}': must be a number and one of {', '.join(units)}"
            )
        factor = number(path, {**row, "unit": factor_text}, "unit", minimum=0)
        low, high = (number(path, row, key) * factor if row[key] else math.nan for key in ("lower", "upper"))
        cl = number(path, row, "cl") if row["cl"] else math.nan
        names = [name for name in COUPLINGS if row["coupling"] in (name, COUPLINGS[name].family)]
        for name in names:
            true = (low, high)
            if COUPLINGS[name].family == "q" and row["source"] == GAUSSIAN_PAPER:
                true = (-high / GAUSSIAN_CHARGE, -low / GAUSSIAN_CHARGE)
            elif math.isnan(low) and not COUPLINGS[name].squared_only:
                true = (-high, high)
            limits.append(PublishedLimit(row["scenario"], name, row["source"], row["equation"], cl, (low, high), true))
    return limits


@dataclass(frozen=True)
class Comparison:
    """An interval beside one published row.

    Attributes
    ----------
    coupling : str
    ours : (low, high)
        Hull of the interval set, low NaN for a one-sided limit.
    published : PublishedLimit
    ratio : (low, high)
        Ours over published in true units; NaN where either is missing.
    """

    coupling: str
    ours: tuple[float, float]
    published: PublishedLimit
    ratio: tuple[float, float]


def compare(
    coupling: str, intervals: Sequence[tuple[float, float]], limits: Sequence[PublishedLimit]
) -> list[Comparison]:
    """Set the hull of an interval set beside every published row of its coupling."""
    low, high = min(a for a, _ in intervals), max(b for _, b in intervals)
    if COUPLINGS[coupling].squared_only:
        low = math.nan
    rows = []
    for published in limits:
        if published.coupling == coupling:
            pairs = zip((low, high), published.true_units, strict=True)
            ratio = tuple(a / b if b and math.isfinite(a) and math.isfinite(b) else math.nan for a, b in pairs)
            rows.append(Comparison(coupling, (low, high), published, (ratio[0], ratio[1])))
    return rows


def own_row(rows: Sequence[Comparison], scenario: str | None) -> Comparison | None:
    """Return the comparison with the card's own scenario, or None."""
    for row in rows:
        if row.published.scenario == scenario:
            return row
    return None
