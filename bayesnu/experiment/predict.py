"""Expected counts of a card of any kind."""

from __future__ import annotations

from collections.abc import Mapping

from bayesnu.errors import UsageError
from bayesnu.experiment.base import Experiment
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.electron_window import ElectronWindowExperiment
from bayesnu.experiment.prediction import Prediction
from bayesnu.experiment.prediction import predict as predict_electrons
from bayesnu.experiment.recoil import RecoilExperiment
from bayesnu.experiment.recoil_prediction import RecoilPrediction, predict_recoils, predict_windows


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
    if isinstance(experiment, RecoilExperiment):
        return predict_recoils(experiment, values, given)
    if isinstance(experiment, ElectronWindowExperiment):
        return predict_windows(experiment, values, given)
    if isinstance(experiment, ElectronExperiment):
        return predict_electrons(experiment, values, given)
    raise UsageError(f"{experiment.card.name}: predict the counts of its cards one by one")
