"""Assemble a card's inputs into everything that a fit needs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import CardError, ConvergenceError, DataError, UsageError, nearest, silent
from bayesnu.experiment.backgrounds import computed_backgrounds, made_for_path, read_backgrounds
from bayesnu.experiment.card import Card
from bayesnu.experiment.expectation import CountModel, build_count_model
from bayesnu.experiment.load import LoadedCard, load_card
from bayesnu.experiment.templates import Templates, build_templates, read_event_table
from bayesnu.flux.table import FluxTable, read_flux
from bayesnu.resources import find_data, read_table

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Experiment:
    """A card with its flux, templates, backgrounds, expected counts and data.

    Attributes
    ----------
    loaded : LoadedCard
        The card and where it came from.
    flux : FluxTable
    templates : Templates
    backgrounds : ndarray, shape (exposures, 2, bins)
        Counts per year of CCQE and misidentified π⁰.
    model : CountModel
        All couplings free.
    data : ndarray, shape (obs,)
        Counts to fit, backgrounds included: observed, or the SM expectation.
    observed : bool
        Whether ``data`` were observed; otherwise they are Asimov data, not rounded.
    files : dict
        Role to path of every file that was read.
    """

    loaded: LoadedCard
    flux: FluxTable
    templates: Templates
    backgrounds: Array
    model: CountModel
    data: Array
    observed: bool
    files: dict[str, Path]

    @property
    def card(self) -> Card:
        """The validated card."""
        return self.loaded.card

    @property
    def signal_sm(self) -> Array:
        """N_SM of (3.1): the expected SM counts without backgrounds, shape (obs,)."""
        return np.asarray(self.templates.values[:, :, 0].sum(axis=1).ravel())

    @property
    def background(self) -> Array:
        """The nominal background counts, shape (obs,)."""
        years = np.array([exposure.years for exposure in self.card.exposures])
        return np.asarray((self.backgrounds.sum(axis=1) * years[:, None]).ravel())

    def observation_coordinates(self) -> dict[str, tuple[str, list[object]]]:
        """Return exposure, mode, position, bin and bin edges as coordinates on the flat dimension ``obs``."""
        edges = self.card.detector.bin_edges_mev
        rows = [(e, b) for e in self.card.exposures for b in range(len(edges) - 1)]
        return {
            "exposure": ("obs", [f"{e.mode} {e.position_m:g} m" for e, _ in rows]),
            "mode": ("obs", [e.mode for e, _ in rows]),
            "position_m": ("obs", [e.position_m for e, _ in rows]),
            "bin": ("obs", [b for _, b in rows]),
            "e_theta2_lo_mev": ("obs", [edges[b] for _, b in rows]),
            "e_theta2_hi_mev": ("obs", [edges[b + 1] for _, b in rows]),
        }

    def expected_labelled(self, couplings: dict[str, float], pulls: dict[str, float]) -> xr.DataArray:
        """Return the expected counts as a DataArray over ``obs`` with exposure, bin and edges."""
        import xarray as xr

        counts = finite(self.model.expected(couplings, pulls), couplings, pulls)
        coords = self.observation_coordinates()
        return xr.DataArray(counts, dims="obs", coords=coords, attrs={"units": "counts"}, name="expected")

    def fitted(self, coupling: str) -> str:
        """Return ``coupling`` if the card fits it.

        Raises
        ------
        UsageError
            If the card does not list it.
        """
        names = self.card.couplings
        if coupling not in names:
            allowed = f"{self.loaded.path.name} has {', '.join(names)}{nearest(coupling, names)}"
            raise UsageError(f"unknown coupling '{coupling}': {allowed}")
        return coupling

    @property
    def digest(self) -> str:
        """SHA-256 of everything a fit depends on: card, templates, backgrounds, data and priors."""
        hasher = hashlib.sha256(self.card.model_dump_json().encode())
        for array in (self.model.arrays, self.model.widths, self.data):
            hasher.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return hasher.hexdigest()


def finite(counts: Array, couplings: dict[str, float], pulls: dict[str, float]) -> Array:
    """Return ``counts`` if all are finite.

    Raises
    ------
    ConvergenceError
        If a coupling or pull is so large that they overflow.
    """
    if not np.isfinite(counts).all():
        given = ", ".join(f"{name} = {value:g}" for name, value in {**couplings, **pulls}.items() if value)
        raise ConvergenceError(f"{given}: the expected counts overflow; choose smaller values")
    return counts


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

    Returns
    -------
    Experiment

    Raises
    ------
    BayesnuError
        If any input is not valid.
    """
    loaded = load_card(model, overrides)
    try:
        return _assemble(loaded, notice)
    except CardError as error:
        raise CardError(f"{loaded.path}: {error}") from error


def _assemble(loaded: LoadedCard, notice: Callable[[str], None]) -> Experiment:
    """Read what a card names and fold it; every input is checked before anything slow starts."""
    card = loaded.card
    files = {"card": loaded.path}

    def locate(table: str, key: str, name: str) -> Path:
        try:
            files[f"{table}.{key}"] = find_data(name, loaded.folders[table, key])
        except DataError as error:
            message = str(error).removeprefix(f"{name}: ")
            raise CardError(f"{table}.{key} = '{name}': {message}") from error
        return files[f"{table}.{key}"]

    flux = read_flux(locate("flux", "file", card.flux.file))
    if card.comparison is not None:
        path = locate("comparison", "published", card.comparison.published)
        scenarios = list(dict.fromkeys(row["scenario"] for row in read_table(path, ("scenario",))))
        if card.comparison.scenario not in scenarios:
            raise CardError(
                f"comparison.scenario = '{card.comparison.scenario}': {path.name} has {', '.join(scenarios)}"
                f"{nearest(card.comparison.scenario, scenarios)}"
            )
    for k, exposure in enumerate(card.exposures):
        if (exposure.mode, exposure.position_m) not in flux.spectra:
            have = ", ".join(f"{m} {p:g}" for m, p in flux.spectra)
            raise CardError(
                f"exposures.{k}.position_m = {exposure.position_m:g}: {flux.path.name} has no flux "
                f"for mode '{exposure.mode}' there; it has {have}"
            )
    if card.detector.threshold_mev * 1e-3 >= flux.energy_max_gev:
        raise CardError(
            f"detector.threshold_mev = {card.detector.threshold_mev:g}: no neutrino of {flux.path.name} "
            f"has more than {flux.energy_max_gev * 1e3:g} MeV"
        )
    events = None
    if card.flux.normalisation == "table" and card.flux.event_table is not None:
        table = locate("flux", "event_table", card.flux.event_table)
        events = read_event_table(table, card, flux)
        files["flux.event_table, made for"] = made_for_path(table)
    with np.errstate(over="ignore", invalid="ignore"):
        if card.backgrounds.file is not None:
            table = locate("backgrounds", "file", card.backgrounds.file)
            backgrounds = read_backgrounds(table, card, flux)
            files["backgrounds.file, made for"] = made_for_path(table)
        else:
            backgrounds = computed_backgrounds(card, flux)
        templates = build_templates(card, flux, events, notice)
        count_model = build_count_model(card, templates, backgrounds)
        expected = count_model.expected()
    if not np.isfinite(expected).all():
        raise CardError(
            "exposures: the expected counts overflow; check years, target.mass_tonnes and flux.pot_per_year"
        )
    empty = np.flatnonzero(~(expected > 0))
    if empty.size:
        raise CardError(f"detector.bin_edges_mev: bin {empty[0]} expects no counts at all")
    counts = [exposure.observed_counts for exposure in card.exposures]
    observed = counts[0] is not None
    data = np.array(counts, dtype=float).ravel() if observed else expected
    return Experiment(loaded, flux, templates, backgrounds, count_model, data, observed, files)
