"""Checks before any timing: both sides of a row compute the same thing, or the benchmark fails."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


class DisagreementError(RuntimeError):
    """Both sides of a row do not compute the same thing."""


def require_close(what: str, own: ArrayLike, other: ArrayLike, most: float, relative: bool = False) -> str:
    """Check that numbers of both sides differ by less than ``most``; return what was found, in words.

    Raises
    ------
    DisagreementError
        Otherwise, or where a number is not finite.
    """
    a, b = np.asarray(own, dtype=float), np.asarray(other, dtype=float)
    if a.shape != b.shape:
        raise DisagreementError(f"{what}: shapes {a.shape} and {b.shape}")
    away = np.abs(a - b) / (np.maximum(np.abs(a), np.abs(b)) + 1e-300 if relative else 1.0)
    largest = float(away.max())
    if not largest <= most:
        raise DisagreementError(f"{what}: bayesnu and the peer differ by {largest:.2g}, more than {most:g}")
    by = "a fraction of " if relative else ""
    return f"{what} differ by {by}{largest:.1g} at most (of {most:g} allowed)"


def differences(values: ArrayLike) -> NDArray[np.float64]:
    """Return values less the first one: -2 ln L is known up to a constant."""
    array = np.asarray(values, dtype=float)
    return np.asarray(array - array[0])
