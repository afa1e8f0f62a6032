"""Expected counts of a card of nuclear recoils, per compound and bin, at given couplings and pulls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import UsageError
from bayesnu.experiment.base import finite
from bayesnu.experiment.expectation import CountModel, check_pulls
from bayesnu.physics.couplings import check_values
from bayesnu.shown import Shown

if TYPE_CHECKING:
    from bayesnu.experiment.electron_window import ElectronWindowExperiment
    from bayesnu.experiment.recoil import RecoilExperiment

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TargetPrediction:
    """Expected counts in one compound, in coincidence with the beam where there is one.

    Attributes
    ----------
    bin_edges : ndarray, shape (bins + 1,)
        In eV or photoelectrons.
    sm, signal, background : ndarray, shape (bins,)
        CEνNS of the SM, what the couplings add (negative where they interfere), and the rest.
    sm_rate_per_kg_day : float
        SM counts above threshold per kg and day; NaN without days.
    """

    bin_edges: Array
    sm: Array
    signal: Array
    background: Array
    sm_rate_per_kg_day: float

    @property
    def total(self) -> Array:
        """All counts, shape (bins,)."""
        return self.sm + self.signal + self.background


@dataclass(frozen=True, repr=False)
class RecoilPrediction(Shown):
    """Expected counts of all compounds (or of the electrons), couplings and pulls included everywhere.

    Attributes
    ----------
    couplings : dict
        Every coupling, and ``m_N``.
    unit : {"ev", "pe", "mev"}
        Of the bin edges.
    """

    model: str
    couplings: dict[str, float]
    pulls: dict[str, float]
    unit: str
    targets: dict[str, TargetPrediction]


def predict_recoils(
    experiment: RecoilExperiment, couplings: Mapping[str, float], pulls: Mapping[str, float]
) -> RecoilPrediction:
    """Return the expected counts of a card of nuclear recoils.

    Parameters
    ----------
    experiment : RecoilExperiment
    couplings : mapping
        Name to value in μ_B, e or cm²; those left out are 0.
    pulls : mapping
        Name to fraction above -1 (0.1 is 10%); those left out are 0.

    Raises
    ------
    UsageError
        For an unknown name or a value out of range.
    ConvergenceError
        If the counts overflow.
    """
    model, card = experiment.model, experiment.card
    theta, given = _checked(model, couplings, pulls)
    with np.errstate(over="ignore", invalid="ignore"):
        total = finite(model.expected(theta, given), theta, given)
    without = model.expected({}, given)
    factors = model.pull_factors(np.array([given.get(name, 0.0) for name in model.pulls]))
    constant = model.arrays[:, model.monomials.index(())]
    signal_like = np.array([float("flux_norm" in [model.pulls[p] for p in c]) for c in model.components])
    sm = (factors * signal_like) @ constant
    bins = experiment.bin_edges.size - 1
    targets = {}
    for k, (compound, target) in enumerate(card.targets.items()):
        own = slice(k * bins, (k + 1) * bins)
        # With a photon detector the counts are coincidences, of which the SM has none.
        days = card.days if card.days is not None and card.photon_detector is None else math.nan
        targets[compound] = TargetPrediction(
            experiment.bin_edges,
            sm[own],
            (total - without)[own],
            (without - sm)[own],
            float(sm[own].sum()) / (target.mass_kg * days),
        )
    return RecoilPrediction(card.name, {**theta, "m_N": card.sterile.m_N}, given, experiment.unit, targets)


def predict_windows(
    experiment: ElectronWindowExperiment, couplings: Mapping[str, float], pulls: Mapping[str, float]
) -> RecoilPrediction:
    """Return the expected ν-e counts of a card of electron windows; see `predict_recoils`."""
    model, card = experiment.model, experiment.card
    theta, given = _checked(model, couplings, pulls)
    with np.errstate(over="ignore", invalid="ignore"):
        total = finite(model.expected(theta, given), theta, given)
    sm = model.expected({}, given)
    edges = np.array(card.detector.bin_edges_mev)
    target = TargetPrediction(edges, sm, total - sm, np.zeros(sm.size), math.nan)
    return RecoilPrediction(card.name, theta, given, "mev", {"electrons": target})


def _checked(
    model: CountModel, couplings: Mapping[str, float], pulls: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return all couplings and the given pulls, checked."""
    for name, value in {**couplings, **pulls}.items():
        if not math.isfinite(value):
            raise UsageError(f"{name} = {value}: must be a finite number")
    return check_values(couplings, model.couplings), check_pulls(pulls, model)


def recoil_prediction_json(prediction: RecoilPrediction) -> dict[str, object]:
    """Return a prediction as JSON-able values."""
    rates = {name: target.sm_rate_per_kg_day for name, target in prediction.targets.items()}
    return {
        "model": prediction.model,
        "couplings": prediction.couplings,
        "targets": {
            name: {
                f"bin_edges_{prediction.unit}": target.bin_edges.tolist(),
                "sm": target.sm.tolist(),
                "signal": target.signal.tolist(),
                "background": target.background.tolist(),
                "total": target.total.tolist(),
            }
            for name, target in prediction.targets.items()
        },
        "sm_rate_per_kg_day_above_threshold": {
            name: rate if math.isfinite(rate) else None for name, rate in rates.items()
        },
    }
