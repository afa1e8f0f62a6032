"""Expected counts of ν-e scattering per exposure, channel and bin at given couplings and pulls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import UsageError
from bayesnu.experiment.backgrounds import BACKGROUNDS
from bayesnu.experiment.base import finite
from bayesnu.experiment.covariance import CovarianceModes, covariance_json
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.electron_card import BinAxis
from bayesnu.experiment.expectation import channel_factor, check_pulls, pull_names
from bayesnu.experiment.mc_stat import PULL
from bayesnu.experiment.modes import MODE_WIDTH
from bayesnu.physics.couplings import CHANNELS, check_values
from bayesnu.physics.electron import FOLDED
from bayesnu.shown import Shown

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ExposurePrediction:
    """Expected counts of one exposure.

    Attributes
    ----------
    mode : str
    position_m, years : float
    axes : tuple of BinAxis
        What the bins are of.
    signal : dict of ndarray, shape (bins,)
        By channel, counts in the exposure's years.
    signal_total_per_year : dict of float
        By channel, above threshold, before efficiency and binning.
    background : dict of ndarray, shape (bins,)
        By name, counts in the exposure's years.
    """

    mode: str
    position_m: float
    years: float
    axes: tuple[BinAxis, ...]
    signal: dict[str, Array]
    signal_total_per_year: dict[str, float]
    background: dict[str, Array]

    @property
    def total(self) -> Array:
        """Signal and backgrounds, shape (bins,)."""
        return np.asarray(sum(self.signal.values()) + sum(self.background.values()))


@dataclass(frozen=True, repr=False)
class Prediction(Shown):
    """Expected counts of all exposures, couplings and pulls included everywhere.

    Attributes
    ----------
    couplings : dict
        Every coupling, and ``m_N``.
    covariances : tuple of CovarianceModes
        Of the card: what their pulls are.
    """

    model: str
    couplings: dict[str, float]
    pulls: dict[str, float]
    exposures: tuple[ExposurePrediction, ...]
    covariances: tuple[CovarianceModes, ...] = ()


def predict(experiment: ElectronExperiment, couplings: Mapping[str, float], pulls: Mapping[str, float]) -> Prediction:
    """Return the expected counts of a card of ν-e scattering.

    Parameters
    ----------
    experiment : ElectronExperiment
    couplings : mapping
        Name to value in μ_B, e or cm²; those left out are 0.
    pulls : mapping
        Name to fraction above -1 (0.1 is 10%; of a mode of a covariance 0.01 is one standard deviation); those left
        out are 0.

    Raises
    ------
    UsageError
        For an unknown name or a value out of range.
    ConvergenceError
        If the counts overflow.
    """
    for name, value in {**couplings, **pulls}.items():
        if not math.isfinite(value):
            raise UsageError(f"{name} = {value}: must be a finite number")
    theta = check_values(couplings, experiment.model.couplings)
    given = check_pulls(pulls, experiment.model)
    for name in given:
        if name.startswith(f"{PULL}["):
            raise UsageError(f"pull {name}: is the fit's alone; a prediction is that of the mean response")
    templates = experiment.templates
    values, per_year, backgrounds = templates.values, templates.per_year, experiment.backgrounds
    for item in experiment.folded:
        names = [f"{item.modes.name}[{k + 1}]" for k in range(len(item.modes.shares))]
        z = np.array([given.get(name, 0.0) for name in names]) / MODE_WIDTH
        if item.templates is not None:
            values, per_year = values + item.templates.values @ z, per_year + item.templates.per_year @ z
        if item.backgrounds is not None:
            backgrounds = backgrounds + item.backgrounds @ z
    exposures = []
    with np.errstate(over="ignore", invalid="ignore"):
        for k, exposure in enumerate(experiment.card.exposures):
            own = pull_names(experiment.card, exposure.mode)
            signal, totals = {}, {}
            for c, (channel, species) in enumerate(CHANNELS.items()):
                factor = sum(
                    weight * math.prod(1 + given.get(name, 0.0) for name in names)
                    for weight, names in channel_factor(experiment.card, channel, exposure)
                )
                weights = factor * np.array(
                    [
                        math.prod(
                            (theta[f"{family}_{species.flavour}"] for family, n in term for _ in range(n)), start=1.0
                        )
                        for term in FOLDED.values()
                    ]
                )
                signal[channel] = finite(weights @ values[k, c], theta, given)
                totals[channel] = finite(weights @ per_year[k, c], theta, given).item()
            background = {
                name: finite(
                    backgrounds[k, b] * exposure.years * (1 + given.get(own[name], 0.0)), theta, given
                )
                for b, name in enumerate(BACKGROUNDS)
            }
            axes = experiment.card.detector.axes
            predicted = ExposurePrediction(
                exposure.mode, exposure.position_m, exposure.years, axes, signal, totals, background
            )
            finite(predicted.total, theta, given)
            exposures.append(predicted)
    couplings_and_mass = {**theta, "m_N": experiment.card.sterile.m_N}
    return Prediction(experiment.card.name, couplings_and_mass, given, tuple(exposures), experiment.covariances)


def prediction_json(prediction: Prediction) -> dict[str, object]:
    """Return a prediction as JSON-able values; counts in bins of E_e by θ are flat, with θ the fast index."""
    return {
        "model": prediction.model,
        "couplings": prediction.couplings,
        "exposures": [
            {
                "mode": e.mode,
                "position_m": e.position_m,
                "years": e.years,
                **{axis.key: axis.edges.tolist() for axis in e.axes},
                "signal": {channel: counts.tolist() for channel, counts in e.signal.items()},
                "signal_total_per_year": e.signal_total_per_year,
                "background": {name: counts.tolist() for name, counts in e.background.items()},
                "total": e.total.tolist(),
            }
            for e in prediction.exposures
        ],
        **({"covariances": [covariance_json(c) for c in prediction.covariances]} if prediction.covariances else {}),
    }
