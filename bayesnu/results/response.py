"""Where the response matrix of a card is, and how precise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bayesnu.detector.store import locate_response
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.response import response_settings


@dataclass(frozen=True)
class ResponseSummary:
    """A response matrix.

    Attributes
    ----------
    path : Path
        With the shipped data, or in the user's cache.
    method : str
    samples, seed : int
    largest_error : float
        The largest statistical error of a bin with more than 1% of the SM counts, as a fraction.
    """

    path: Path
    method: str
    samples: int
    seed: int
    largest_error: float


def describe_response(experiment: ElectronExperiment) -> ResponseSummary:
    """Return where the response of a card of ν-e scattering is kept and how precise it is.

    Parameters
    ----------
    experiment : ElectronExperiment
    """
    settings = response_settings(experiment.card, experiment.flux)
    total, error = experiment.templates.standard_model_error()
    worst = float((error / total)[total > 0.01 * total.sum(axis=-1, keepdims=True)].max())
    path = locate_response(settings, experiment.card.response.mc_stat != "none")
    return ResponseSummary(path, settings.method, settings.samples, settings.seed, worst)
