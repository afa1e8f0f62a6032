"""What stands beside an interval that pseudo-experiments gave: how many, and what was to be expected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class PseudoExperiments:
    """The pseudo-experiments behind an interval.

    Attributes
    ----------
    number : int
        0 where all outcomes of the data were summed instead.
    pulls : str
        ``"profiled"`` or ``"averaged"``.
    seed : int
    never_falling : bool
        Whether the upper limit was kept from falling as the background grows.
    """

    number: int
    pulls: str
    seed: int
    never_falling: bool = False


@dataclass(frozen=True)
class ExpectedBound:
    """A bound that experiments without the coupling would give.

    Attributes
    ----------
    side : str
        ``"lower"`` or ``"upper"``.
    sigmas : tuple of float
        Normal quantiles of the probabilities at which the distribution of the bound is given: 0 is its median, ±1
        enclose 68%, ±2 95%. A larger one is further from 0.
    values, mc_error : tuple of float
        In the coupling's unit; the Monte Carlo standard error is NaN where there is none.
    """

    side: str
    sigmas: tuple[float, ...]
    values: tuple[float, ...]
    mc_error: tuple[float, ...]


def evidence_json(toys: PseudoExperiments | None, expected: Sequence[ExpectedBound]) -> dict[str, Any]:
    """Return what there is of both as JSON-able values."""
    content: dict[str, Any] = {}
    if toys is not None:
        content["pseudo_experiments"] = asdict(toys)
    if expected:
        content["expected"] = [
            {
                "side": bound.side,
                "sigmas": list(bound.sigmas),
                "values": numbers(bound.values),
                "mc_error": numbers(bound.mc_error),
            }
            for bound in expected
        ]
    return content


def numbers(values: Sequence[float]) -> list[float | None]:
    """Return numbers for JSON, null for those that are not finite."""
    return [value if math.isfinite(value) else None for value in values]
