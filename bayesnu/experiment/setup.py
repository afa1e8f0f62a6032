"""Load a card and assemble everything that a fit needs: the door to every experiment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from bayesnu.errors import CardError, UsageError, silent, unknown_name
from bayesnu.experiment import electron, electron_window, recoil
from bayesnu.experiment.base import Experiment
from bayesnu.experiment.card import Card
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.electron_window_card import ElectronWindowCard
from bayesnu.experiment.load import LoadedCard, load_card


def load_experiment(model: str, overrides: Sequence[str] = (), notice: Callable[[str], None] = silent) -> Experiment:
    """Load a card and everything it names.

    Parameters
    ----------
    model : str
        A name in models/ or the path of a card.
    overrides : sequence of str
        ``KEY=VALUE`` each; see `bayesnu.experiment.load`.
    notice : callable, optional
        Receives one-line notices, such as that a response is built.

    Raises
    ------
    BayesnuError
        If any input is not valid.
    """
    return assemble(load_card(model, overrides), notice)


def assemble(loaded: LoadedCard, notice: Callable[[str], None] = silent) -> Experiment:
    """Return the experiment of a card that is already read; see `load_experiment`."""
    try:
        if isinstance(loaded.card, Card):
            return electron.assemble(loaded, loaded.card, notice)
        if isinstance(loaded.card, ElectronWindowCard):
            return electron_window.assemble(loaded, loaded.card)
        return recoil.assemble(loaded, loaded.card)
    except CardError as error:
        raise CardError(f"{loaded.where}: {error}") from error


def with_parameters(experiment: Experiment, parameters: Mapping[str, float]) -> Experiment:
    """Return an experiment with another mass of N (``m_N``, MeV); the only parameter that is no coupling.

    Raises
    ------
    UsageError
        For another name, or a mass that is negative or not finite.
    """
    for name, value in parameters.items():
        if name != "m_N":
            raise unknown_name("parameter", name, ("m_N",))
        if not (math.isfinite(value) and value >= 0):
            raise UsageError(f"m_N = {value}: must be a finite number of MeV, at least 0")
        experiment = experiment.at(value)
    return experiment


def load_electron_experiment(
    model: str, overrides: Sequence[str] = (), notice: Callable[[str], None] = silent
) -> ElectronExperiment:
    """Load a card of ν-e scattering; see `load_experiment`.

    Raises
    ------
    UsageError
        If the card is of another kind.
    """
    experiment = load_experiment(model, overrides, notice)
    if not isinstance(experiment, ElectronExperiment):
        raise UsageError(f"{model}: is a card of nuclear recoils; this needs one of neutrino-electron scattering")
    return experiment
