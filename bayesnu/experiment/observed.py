"""A file of observed counts: a row for each bin, which names the bin it belongs to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import CardError
from bayesnu.experiment.card import WHOLE
from bayesnu.resources import number, read_table

Array = NDArray[np.float64]
MOST_COUNTS = 1e15
EDGE_TOLERANCE = 1e-6
"""Relative difference of two edges that are the same; files may round them."""


@dataclass(frozen=True)
class Layout:
    """The rows that a file of counts must have, in this order.

    Attributes
    ----------
    columns : tuple of str
        What names a bin, such as mode, position and edges.
    rows : tuple of tuple
        Their values: text, or numbers that are compared to `EDGE_TOLERANCE`.
    values : tuple of str
        Columns of numbers: counts, and their errors where these are measured.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]
    values: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All columns of the file."""
        return (*self.columns, *self.values)


def read_observed(path: Path, layout: Layout, *, whole: bool = True) -> Array:
    """Return the numbers of a file of counts, shape (rows, values); unless they are ``whole``, they may be fractions.

    Raises
    ------
    DataError
        If a column is missing, or a number is missing or negative.
    CardError
        If its bins are not those of the card, or a count is too large to be one, or no whole number.
    """
    rows = read_table(path, layout.names)
    found: list[list[float]] = []
    for row, wanted in zip(rows, layout.rows, strict=False):
        for column, value in zip(layout.columns, wanted, strict=True):
            same = row[column] == value if isinstance(value, str) else _close(number(path, row, column), value)
            if not same:
                raise CardError(
                    f"counts.file = '{path.name}': line {row['line']}, {column} = {row[column]}: the card has "
                    f"{_written(value)} here; its bins are, in order, {_first_and_last(layout)}"
                )
        found.append([number(path, row, column, minimum=0) for column in layout.values])
        for column, value in zip(layout.values, found[-1], strict=True):
            if value > MOST_COUNTS:
                raise CardError(
                    f"counts.file = '{path.name}': line {row['line']}, {column} = {value:g}: must be at most "
                    f"{MOST_COUNTS:g}"
                )
            if whole:
                check_whole(path, row, column, value)
    if len(rows) != len(layout.rows):
        raise CardError(
            f"counts.file = '{path.name}': has {len(rows)} rows, the card has {len(layout.rows)} bins: "
            f"{_first_and_last(layout)}"
        )
    return np.array(found)


def check_whole(path: Path, row: Mapping[str, str], column: str, value: float) -> None:
    """Check that a count in a row of a file is a whole number.

    Raises
    ------
    CardError
        Otherwise; names file, line, column and value.
    """
    if value != round(value):
        raise CardError(f"counts.file = '{path.name}': line {row['line']}, {column} = {value:.12g}: {WHOLE}")


def observed_text(layout: Layout, values: Array) -> str:
    """Return the text of a file of counts; ``values`` of shape (rows, values)."""
    lines = [",".join(layout.names)]
    for row, own in zip(layout.rows, np.atleast_2d(values).tolist(), strict=True):
        lines.append(",".join([*map(_written, row), *(f"{value:.12g}" for value in own)]))
    return "\n".join(lines) + "\n"


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=EDGE_TOLERANCE, abs_tol=1e-12)


def _written(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.12g}"


def _first_and_last(layout: Layout) -> str:
    first, last = (" ".join(map(_written, layout.rows[k])) for k in (0, -1))
    return f"{first} to {last}"
