"""Load a card and assemble everything that a fit needs: the door to every experiment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bayesnu.errors import CardError, UsageError, silent, unknown_name
from bayesnu.experiment.base import Experiment
from bayesnu.experiment.combined import CombinedExperiment, combine, listed_pulls
from bayesnu.experiment.load import LoadedCard, load_card

if TYPE_CHECKING:
    from bayesnu.experiment.electron import ElectronExperiment


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
        experiment = _assemble(loaded, notice)
    except CardError as error:
        raise CardError(f"{loaded.where}: {error}") from error
    listed_pulls(experiment)
    return experiment


def _assemble(loaded: LoadedCard, notice: Callable[[str], None]) -> Experiment:
    # Of its kind, which `load_card` has seen to; other kinds are not imported.
    card: Any = loaded.card
    match getattr(card, "scattering", None):
        case "electron":
            from bayesnu.experiment import electron

            return electron.assemble(loaded, card, notice)
        case "electron-window":
            from bayesnu.experiment import electron_window

            return electron_window.assemble(loaded, card)
        case "nucleus":
            from bayesnu.experiment import recoil

            return recoil.assemble(loaded, card, notice)
        case "published-limit":
            from bayesnu.experiment import published_limit

            return published_limit.assemble(loaded, card)
    raise CardError(f"{type(card).__name__}: no card of an experiment")


def load_combination(
    models: Sequence[str], overrides: Sequence[str] = (), notice: Callable[[str], None] = silent
) -> CombinedExperiment:
    """Load several cards and combine them; see `bayesnu.experiment.combined.combine`.

    Parameters
    ----------
    models : sequence of str
        Names in models/ or paths of cards.
    overrides : sequence of str
        ``KEY=VALUE`` each, for every card.
    notice : callable, optional
        Receives one-line notices, such as that a response is built.

    Raises
    ------
    BayesnuError
        If any input is not valid, or the cards do not fit together.
    """
    return combine([load_experiment(model, overrides, notice) for model in models])


def with_parameters(experiment: Experiment, parameters: Mapping[str, float]) -> Experiment:
    """Return an experiment with another mass of N (``m_N``, MeV); the only parameter that is no coupling.

    Parameters
    ----------
    experiment : Experiment
    parameters : mapping
        Name to value.

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
    from bayesnu.experiment.electron import ElectronExperiment

    experiment = load_experiment(model, overrides, notice)
    if not isinstance(experiment, ElectronExperiment):
        raise UsageError(f"{model}: is a card of nuclear recoils; this needs one of neutrino-electron scattering")
    return experiment
