"""Flux files of GLoBES and of DUNE: text of seven columns, E in GeV and ν_e ν_μ ν_τ ν̄_e ν̄_μ ν̄_τ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import DataError, unknown_name
from bayesnu.flux.table import SOURCES, Spectrum
from bayesnu.physics.couplings import CHANNELS
from bayesnu.resources import number, read_data

Array = NDArray[np.float64]

UNITS: Mapping[str, float] = MappingProxyType(
    {f"per GeV per {area} per {what}": factor for what in SOURCES for area, factor in (("m^2", 1e-4), ("cm^2", 1.0))}
)
"""Units of a flux density, and what takes each to cm⁻² GeV⁻¹ POT⁻¹ (or s⁻¹)."""
COLUMNS = ("E", "nue", "numu", "nutau", "nuebar", "numubar", "nutaubar")
FOLDED = [COLUMNS.index(channel) for channel in CHANNELS]
ROUNDING = 0.01
"""How far, in steps, an energy may lie from an equally spaced one: files print few digits."""


def read_globes(path: Path, unit: str) -> Spectrum:
    """Read a flux file of seven columns: E, ν_e, ν_μ, ν_τ, ν̄_e, ν̄_μ, ν̄_τ (GLoBES manual, section on fluxes).

    E is the centre of a bin in GeV, as in the files of DUNE (arXiv:2103.04797), or a point of an
    equally spaced grid; the flux is constant to half a step on either side. What follows a ``#``
    is a comment. A first bin that would reach below 0 GeV must be empty.

    Parameters
    ----------
    path : Path
    unit : str
        A name of `UNITS`: the file does not say.

    Returns
    -------
    Spectrum
        Edges in GeV, values in ν cm⁻² GeV⁻¹ POT⁻¹ (or s⁻¹).

    Raises
    ------
    UsageError
        For an unknown unit.
    DataError
        With the line, for a number of columns other than seven, NaN, a negative value, energies
        that do not increase in equal steps, or a flux of ν_τ or ν̄_τ, which no channel has.
    """
    factor = factor_of(unit, UNITS)
    edges, values = read_columns(path)
    return Spectrum(edges, values * factor)


def factor_of(unit: str, units: Mapping[str, float]) -> float:
    """Return the factor of a unit.

    Raises
    ------
    UsageError
        If it is not among ``units``.
    """
    if unit not in units:
        raise unknown_name("unit", unit, units)
    return units[unit]


def read_columns(path: Path) -> tuple[Array, Array]:
    """Return the bin edges in GeV and the values as the file has them, channels in the order of `CHANNELS`.

    Raises
    ------
    DataError
        As `read_globes`.
    """
    lines, table = _read_numbers(path)
    for column in ("nutau", "nutaubar"):
        for k in np.flatnonzero(table[:, COLUMNS.index(column)])[:1]:
            raise DataError(
                f"{path}: line {lines[k]}, {column} = {table[k, COLUMNS.index(column)]:g}: there is no channel for it "
                f"(they are {', '.join(CHANNELS)}); set the column to 0 to leave this flux out"
            )
    values = table[:, FOLDED].T.copy()
    return _edges(path, lines, table[:, 0], empty=not values[:, 0].any()), values


def _read_numbers(path: Path) -> tuple[Sequence[int], Array]:
    """Return the line numbers and the seven columns, finite and not negative."""
    try:
        text = read_data(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file in UTF-8") from error
    found = [(k, line) for k, line in enumerate(text.splitlines(), start=1) if line.partition("#")[0].strip()]
    if not found:
        raise DataError(f"{path}: the file is empty; expected the columns {' '.join(COLUMNS)}")
    lines = [k for k, _ in found]
    try:
        table = np.loadtxt([line for _, line in found], ndmin=2)
    except ValueError:
        table = np.empty((0, 0))
    if table.shape[1] == len(COLUMNS) and (np.isfinite(table) & (table >= 0)).all():
        return lines, table
    return lines, np.array([_read_line(path, k, line) for k, line in found])


def _read_line(path: Path, k: int, line: str) -> list[float]:
    """Read one line; says what is wrong with it."""
    fields = line.partition("#")[0].split()
    if len(fields) != len(COLUMNS):
        raise DataError(f"{path}: line {k} has {len(fields)} columns, not the seven {' '.join(COLUMNS)}")
    row = {**dict(zip(COLUMNS, fields, strict=True)), "line": str(k)}
    return [number(path, row, column, minimum=0) for column in COLUMNS]


def _edges(path: Path, lines: Sequence[int], energy: Array, *, empty: bool) -> Array:
    """Return the edges half way between equally spaced energies; ``empty`` says that the first has no flux."""
    if energy.size < 2:
        raise DataError(f"{path}: has one energy; the width of its bin cannot be told")
    for k in np.flatnonzero(np.diff(energy) <= 0)[:1] + 1:
        raise DataError(f"{path}: line {lines[k]}, E = {energy[k]:g}: must be above the {energy[k - 1]:g} before it")
    step = (energy[-1] - energy[0]) / (energy.size - 1)
    if np.abs(energy - np.linspace(energy[0], energy[-1], energy.size)).max() > ROUNDING * step:
        k = int(np.argmax(np.abs(np.diff(energy, 2)))) + 2
        raise DataError(
            f"{path}: line {lines[k]}, E = {energy[k]:g}: a step of {energy[k] - energy[k - 1]:g} after one of "
            f"{energy[k - 1] - energy[k - 2]:g}; edges follow from centres only where steps are equal: give the edges, "
            "in the format csv"
        )
    edges = np.round(energy[0] + step * (np.arange(energy.size + 1) - 0.5), 12)
    if edges[0] < -ROUNDING * step and not empty:
        raise DataError(
            f"{path}: line {lines[0]}, E = {energy[0]:g}: energies are the centres of bins, and one {step:g} GeV wide "
            "would reach below 0"
        )
    edges[0] = max(edges[0], 0.0)
    return np.asarray(edges)
