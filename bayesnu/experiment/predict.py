"""Expected counts of a card of any kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bayesnu.errors import UsageError
from bayesnu.experiment.base import Experiment

if TYPE_CHECKING:
    from bayesnu.experiment.prediction import Prediction
    from bayesnu.experiment.recoil_prediction import RecoilPrediction


def predict(
    experiment: Experiment, couplings: Mapping[str, float] | None = None, pulls: Mapping[str, float] | None = None
) -> Prediction | RecoilPrediction:
    """Return the expected counts per exposure (or compound), channel and bin.

    Parameters
    ----------
    experiment : Experiment
    couplings : mapping, optional
        Name to value in μ_B, e or cm²; those left out are 0.
    pulls : mapping, optional
        Name to fraction above -1 (0.1 is 10%); those left out are 0.

    Returns
    -------
    Prediction or RecoilPrediction
        Of a card of ν-e scattering, and of one of recoils or of windows.

    Raises
    ------
    UsageError
        For an unknown name, a value out of range, or an experiment without counts of its own.
    ConvergenceError
        If the counts overflow.
    """
    experiment.require_alone()
    values, given = couplings or {}, pulls or {}
    # Of its kind, by its card; other kinds are not imported.
    own: Any = experiment
    match getattr(own.card, "scattering", None):
        case "electron":
            from bayesnu.experiment import prediction

            return prediction.predict(own, values, given)
        case "electron-window":
            from bayesnu.experiment.recoil_prediction import predict_windows

            return predict_windows(own, values, given)
        case "nucleus":
            from bayesnu.experiment.recoil_prediction import predict_recoils

            return predict_recoils(own, values, given)
    raise UsageError(f"{experiment.card.name}: predict the counts of its cards one by one")
