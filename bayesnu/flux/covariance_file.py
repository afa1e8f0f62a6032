"""Covariance matrices, of flux bins or anything else, in ROOT and CSV files."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import DataError
from bayesnu.flux.root import find_object, open_root
from bayesnu.resources import number, read_data

Array = NDArray[np.float64]
ROUNDING = 1e-6
"""Asymmetry and negative eigenvalues, as shares of the largest, that single precision and few printed digits leave."""


def read_covariance(path: Path, name: str, size: int) -> Array:
    """Read a covariance matrix from a ROOT file: a TH2 (bins in order, under- and overflow left out) or a TMatrixTSym.

    Parameters
    ----------
    path : Path
    name : str
        In the file, folders before it with ``/``.
    size : int
        Rows and columns that the matrix must have.

    Returns
    -------
    ndarray, shape (size, size)
        In the unit of the file; symmetric.

    Raises
    ------
    DataError
        As `bayesnu.flux.root.open_root` and `check_covariance`, or if there is no such object.
    """
    with open_root(path) as file:
        found = find_object(path, file, name, ("TH2", "TMatrixTSym<double>"))
        if found.classname.startswith("TH2"):
            matrix = np.asarray(found.values(), dtype=float)
        else:
            # The file has the upper triangle, row by row.
            matrix = np.zeros((found.member("fNrows"), found.member("fNcols")))
            matrix[np.triu_indices(len(matrix))] = found.member("fElements")
            matrix += np.triu(matrix, 1).T
    return check_covariance(f"{path}: '{name}'", matrix, size)


def read_covariance_csv(path: Path, size: int) -> Array:
    """Read a covariance matrix from a CSV file: a line per row, no header.

    Parameters
    ----------
    path : Path
    size : int
        Rows and columns that the matrix must have.

    Returns
    -------
    ndarray, shape (size, size)
        In the unit of the file; symmetric.

    Raises
    ------
    DataError
        With the line, if a value is not a number or the rows differ in length; or as `check_covariance`.
    """
    try:
        text = read_data(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file in UTF-8") from error
    rows: list[list[float]] = []
    for line, fields in enumerate(csv.reader(text.splitlines()), start=1):
        if not any(field.strip() for field in fields):
            continue
        if rows and len(fields) != len(rows[0]):
            raise DataError(f"{path}: line {line} has {len(fields)} values, the first row has {len(rows[0])}")
        row = {f"column {k}": field.strip() for k, field in enumerate(fields, start=1)}
        rows.append([number(path, {**row, "line": str(line)}, column) for column in row])
    return check_covariance(str(path), np.array(rows, ndmin=2), size)


def check_covariance(where: str, matrix: Array, size: int) -> Array:
    """Return a matrix if it can be a covariance, its two halves averaged.

    Parameters
    ----------
    where : str
        What an error begins with: the file, and the name in it.
    matrix : ndarray
    size : int

    Raises
    ------
    DataError
        Unless it is of shape (size, size), finite and, to `ROUNDING` of its largest element and
        eigenvalue, symmetric and positive semi-definite.
    """
    if matrix.shape != (size, size):
        raise DataError(f"{where}: is {' × '.join(map(str, matrix.shape))}, must be {size} × {size}")
    for i, j in np.argwhere(~np.isfinite(matrix))[:1]:
        raise DataError(f"{where}: row {i + 1}, column {j + 1} is {matrix[i, j]:g}; must be finite")
    excess = np.abs(matrix - matrix.T) - ROUNDING * np.abs(matrix).max()
    i, j = np.unravel_index(int(np.argmax(excess)), matrix.shape)
    if excess[i, j] > 0:
        raise DataError(
            f"{where}: not symmetric: row {i + 1}, column {j + 1} is {matrix[i, j]:g}, the other way {matrix[j, i]:g}"
        )
    symmetric = np.asarray((matrix + matrix.T) / 2)
    values = np.linalg.eigvalsh(symmetric)
    if values[0] < -ROUNDING * max(values[-1], 0.0):
        raise DataError(
            f"{where}: not positive semi-definite: its eigenvalues reach from {values[0]:g} to {values[-1]:g}"
        )
    return symmetric
