"""Efficiency curves: points with straight lines between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def efficiency_at(curve: Sequence[Sequence[float]] | None, energy: Array) -> Array:
    """Return the efficiency at true energies: 1 without a curve, 0 outside the range that a curve has.

    Parameters
    ----------
    curve : sequence of (energy, efficiency), optional
        By increasing energy, in the unit of ``energy``.
    energy : ndarray
        Any shape, which the result has too.
    """
    if not curve:
        return np.ones_like(energy)
    points = np.array(curve)
    return np.asarray(np.interp(energy, points[:, 0], points[:, 1], left=0.0, right=0.0))
