"""Efficiency curves of a card, given in it or in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bayesnu.errors import CardError, DataError
from bayesnu.experiment.base import locate
from bayesnu.experiment.card import Curve, check_curve
from bayesnu.experiment.load import LoadedCard
from bayesnu.resources import number, read_table

if TYPE_CHECKING:
    from bayesnu.experiment.electron_card import Detector
    from bayesnu.experiment.recoil_card import PhononDetector


def read_efficiency(path: Path, column: str) -> Curve:
    """Read a curve from a CSV file with the columns ``column`` and ``efficiency``.

    Raises
    ------
    DataError
        If the file is damaged, or is no curve.
    """
    rows = read_table(path, (column, "efficiency"))
    curve = [[number(path, row, column, minimum=0), number(path, row, "efficiency", minimum=0)] for row in rows]
    try:
        return check_curve(curve)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def with_efficiency[D: (Detector, PhononDetector)](
    loaded: LoadedCard, files: dict[str, Path], detector: D, column: str
) -> D:
    """Return the detector with the points of its ``efficiency_file``, if it names one, in place of the name."""
    if detector.efficiency_file is None:
        return detector
    path = locate(loaded, files, "detector", "efficiency_file", detector.efficiency_file)
    return detector.model_copy(update={"efficiency": read_efficiency(path, column), "efficiency_file": None})


def check_covers(curve: Curve | None, low: float, high: float, unit: str) -> None:
    """Check that a curve is known wherever it is needed.

    Raises
    ------
    CardError
        If there is a true energy between ``low`` and ``high`` (in ``unit``) for which it has no value.
    """
    if curve is not None and not (curve[0][0] <= low and high <= curve[-1][0]):
        raise CardError(
            f"detector.efficiency: is given from {curve[0][0]:.6g} to {curve[-1][0]:.6g} {unit}, and needed from "
            f"{low:.6g} to {high:.6g} {unit}"
        )
