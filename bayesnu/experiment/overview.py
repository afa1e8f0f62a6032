"""What the program understood of an experiment: its keys, exposures, fluxes and counts, as plain numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from bayesnu.experiment.backgrounds import BACKGROUNDS
from bayesnu.experiment.base import Experiment
from bayesnu.experiment.card import meanings
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.electron_window import ElectronWindowExperiment, decay_at_rest_spectra
from bayesnu.experiment.recoil import RecoilExperiment
from bayesnu.experiment.recoil_card import RecoilCard
from bayesnu.experiment.spectra import Block, Flux
from bayesnu.flux.spectrum import Spectrum
from bayesnu.physics.couplings import CHANNELS
from bayesnu.physics.electron import FOLDED

Array = NDArray[np.float64]
APART = ("couplings", "source", "name", "title")
"""Keys of a card that have a place of their own."""


@dataclass(frozen=True)
class Key:
    """One key of a card, given or by default: dotted name, value, and what it means."""

    name: str
    value: Any
    meaning: str
    given: bool


def card_keys(table: BaseModel, prefix: str = "") -> Iterator[Key]:
    """Yield the keys of a card in the order of its schema, with their meaning; tables that are absent have none."""
    for name in type(table).model_fields:
        if not prefix and name in APART:
            continue
        yield from _keys(
            f"{prefix}{name}", getattr(table, name), meanings(type(table)).get(name, ""), name in table.model_fields_set
        )


def _keys(name: str, value: Any, meaning: str, given: bool) -> Iterator[Key]:
    if isinstance(value, BaseModel):
        # Without a table of its own all of it is by default.
        for key in card_keys(value, f"{name}."):
            yield Key(key.name, key.value, key.meaning, key.given and given)
    elif isinstance(value, dict) and any(isinstance(own, BaseModel) for own in value.values()):
        for own_name, own in value.items():
            yield from _keys(f"{name}.{own_name}", own, meaning, given)
    elif isinstance(value, list) and any(isinstance(own, BaseModel) for own in value):
        for k, own in enumerate(value):
            yield from _keys(f"{name}.{k}", own, meaning, given)
    elif value is not None:
        yield Key(name, value, meaning, given)


def fluxes(experiment: Experiment) -> list[Flux]:
    """Return the flux of every channel in every exposure, or of every species of the source."""
    if isinstance(experiment, ElectronExperiment):
        return [own for where in _positions(experiment) for own in _tabulated(experiment, *where)]
    if isinstance(experiment, RecoilExperiment):
        where, unit = _source(experiment.card)
        return [_smooth(spectrum, where, unit) for spectrum in experiment.spectra]
    return [_smooth(spectrum, "decay at rest", "shape alone") for spectrum in decay_at_rest_spectra()]


def _source(card: RecoilCard) -> tuple[str, str]:
    """Return where the neutrinos of a card are from, and the unit of their fluence."""
    days, protons = "per cm² in all days", "per cm² of all protons"
    if card.flux is not None:
        return card.flux.file or "flux.spectra", days if card.flux.per_second else protons
    return ("reactor", days) if card.reactor is not None else ("stopped pions", protons)


def _positions(experiment: ElectronExperiment) -> list[tuple[str, float]]:
    return list(dict.fromkeys((e.mode, e.position_m) for e in experiment.card.exposures))


def _tabulated(experiment: ElectronExperiment, mode: str, position_m: float) -> Iterator[Flux]:
    spectrum = experiment.flux.spectrum(mode, position_m)
    edges = spectrum.edges_gev
    width, middle = np.diff(edges), (edges[1:] + edges[:-1]) / 2
    for channel, values in zip(CHANNELS, spectrum.values, strict=True):
        total = float(values @ width)
        mean = float((values * middle) @ width) / total if total > 0 else float("nan")
        yield Flux(f"{mode} {position_m:g} m", channel, total, "per cm² and POT", mean, edges, values)


def _smooth(spectrum: Spectrum, where: str, unit: str) -> Flux:
    total = float(spectrum.integrals[0, 0])
    return Flux(where, spectrum.channel, total, unit, spectrum.mean_energy_gev, *spectrum.curve)


def blocks(experiment: Experiment) -> list[Block]:
    """Return the counts of every exposure (compound, or kind of coincidence)."""
    coordinates = experiment.observation_coordinates()
    exposure = np.array(coordinates["exposure"][1])
    low, high = (np.array(coordinates[name][1], dtype=float) for name in ("bin_lo", "bin_hi"))
    label = coordinates["bin_lo"][2]
    found = []
    for k, name in enumerate(dict.fromkeys(exposure.tolist())):
        own = exposure == name
        joined = (low[own][1:] == high[own][:-1]).all()
        edges = np.append(low[own], high[own][-1]) if joined else np.arange(own.sum() + 1.0)
        axis, scale = (plain(label["long_name"]), label.get("scale", "linear")) if joined else ("bin", "linear")
        signal, background = _expected(experiment, k, own)
        errors = None if experiment.errors is None else experiment.errors[own]
        exposed = _exposed(experiment, k)
        data = experiment.data[own]
        found.append(Block(str(name), exposed, edges, axis, scale, signal, background, data, errors))
    return found


def plain(label: str) -> str:
    """Return the label of an axis without TeX."""
    for written, letters in ((r"E_e\theta", "Eₑθ"), (r"\theta", "θ"), ("E_e", "Eₑ"), ("^2", "²"), ("$", "")):
        label = label.replace(written, letters)
    return label


def _expected(experiment: Experiment, k: int, own: NDArray[np.bool_]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the SM counts by channel and the backgrounds by name of the k-th exposure."""
    if isinstance(experiment, ElectronExperiment):
        standard = experiment.templates.values[k, :, list(FOLDED).index("1")]
        years = experiment.card.exposures[k].years
        backgrounds = dict(zip(BACKGROUNDS, experiment.backgrounds[k] * years, strict=True))
        return dict(zip(CHANNELS, standard, strict=True)), backgrounds
    if isinstance(experiment, RecoilExperiment):
        channels = [spectrum.channel for spectrum in experiment.spectra]
        nominal = experiment.electromagnetic[experiment.electromagnetic.shape[0] // 2, :, :, 0]
        # Out of time with the beam there are none.
        counts = nominal[k] if k < nominal.shape[0] else np.zeros_like(nominal[0])
        return dict(zip(channels, counts, strict=True)), _other_components(experiment, own)
    return {"nue": experiment.signal_sm[own]}, {}


def _other_components(experiment: Experiment, own: NDArray[np.bool_]) -> dict[str, Array]:
    """Return the components that do not scale with the flux, bins of the same kind together."""
    model = experiment.model
    flux = model.pulls.index("flux_norm")
    constant = model.arrays[:, model.monomials.index(())]
    found: dict[str, Array] = {}
    for i, (pulls, name) in enumerate(zip(model.components, model.component_names, strict=True)):
        if flux not in pulls and constant[i, own].any():
            kind = name.partition(",")[0]
            found[kind] = found.get(kind, 0.0) + constant[i, own]
    return found


def _exposed(experiment: Experiment, k: int) -> dict[str, float]:
    """Return mass, time and what the source gave in the k-th exposure."""
    if isinstance(experiment, ElectronExperiment):
        electrons, years = experiment.card, experiment.card.exposures[k].years
        mass = electrons.target.mass_tonnes
        pot = years * electrons.flux.pot_per_year
        return {"mass [t]": mass, "years": years, "mass × time [t yr]": mass * years, "POT": pot}
    if isinstance(experiment, RecoilExperiment):
        card = experiment.card
        masses = [compound.mass_kg for compound in card.targets.values()]
        # Coincidence and anticoincidence are two views of one compound.
        mass = masses[min(k, len(masses) - 1)]
        if card.reactor is not None:
            days = card.reactor.days
            power = sum(core.power_gw for core in card.reactor.cores)
            return {"mass [kg]": mass, "days": days, "mass × time [kg d]": mass * days, "power [GW]": power}
        beam = card.stopped_pion or card.flux
        exposed = {"mass [kg]": mass}
        if beam is not None and beam.protons_on_target is not None:
            exposed["POT"] = beam.protons_on_target
        if card.days is not None:
            exposed |= {"days": card.days, "mass × time [kg d]": mass * card.days}
        return exposed
    if isinstance(experiment, ElectronWindowExperiment):
        return {"events of the slope": experiment.card.normalisation.events}
    return {}
