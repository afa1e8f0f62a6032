"""Assemble a card of neutrino-electron scattering into everything that a fit needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bayesnu.detector.settings import SUBSAMPLES
from bayesnu.errors import CardError, UsageError
from bayesnu.experiment.backgrounds import computed_backgrounds, made_for_path, read_backgrounds
from bayesnu.experiment.base import Coordinates, Experiment, Variance, check_comparison, locate
from bayesnu.experiment.covariance import CovarianceModes, FoldedModes, covariance_modes, fold_modes
from bayesnu.experiment.efficiency import check_covers, with_efficiency
from bayesnu.experiment.electron_card import Card, CovarianceCard
from bayesnu.experiment.expectation import CountModel, build_count_model, deviation_arrays
from bayesnu.experiment.flux_files import find_flux
from bayesnu.experiment.load import LoadedCard
from bayesnu.experiment.mc_stat import ResponseModes, relative_variance, response_modes, with_modes
from bayesnu.experiment.modes import add_modes
from bayesnu.experiment.observed import Layout, read_observed
from bayesnu.experiment.response import response_settings
from bayesnu.experiment.stored_templates import find_templates
from bayesnu.experiment.templates import (
    Templates,
    read_event_table,
    refold_dipole,
)
from bayesnu.flux.table import FluxTable

Array = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class ElectronExperiment(Experiment):
    """A card of ν-e scattering with its flux, templates and backgrounds.

    Attributes
    ----------
    flux : FluxTable
    templates : Templates
    backgrounds : ndarray, shape (exposures, 2, bins)
        Counts per year of CCQE and misidentified π⁰.
    modes : ResponseModes, optional
        Of the response's Monte Carlo error, the same at every mass of N.
    bin_errors : ndarray, shape (obs,), optional
        Squared relative errors of independent bins.
    folded : tuple of FoldedModes
        Of the card's covariances.
    """

    flux: FluxTable
    templates: Templates
    backgrounds: Array
    modes: ResponseModes | None = None
    bin_errors: Array | None = None
    folded: tuple[FoldedModes, ...] = ()

    @property
    def card(self) -> Card:
        """The validated card."""
        return self.templates.card

    @property
    def signal_sm(self) -> Array:
        """N_SM of (3.1): the expected SM counts without backgrounds, shape (obs,)."""
        return np.asarray(self.templates.values[:, :, 0].sum(axis=1).ravel())

    @property
    def background(self) -> Array:
        """The nominal background counts, shape (obs,)."""
        years = np.array([exposure.years for exposure in self.card.exposures])
        return np.asarray((self.backgrounds.sum(axis=1) * years[:, None]).ravel())

    @property
    def variances(self) -> tuple[Variance, ...]:
        """N_SM, as the paper has it, or N_SM + B; in bins of E_e by θ, some of which have no signal, only this."""
        return ("sm", "sm+background") if self.card.detector.bin_edges_mev is not None else ("sm+background",)

    @property
    def relative_variance(self) -> Array | None:
        """Of the response's Monte Carlo error, with ``response.mc_stat`` = "gamma-poisson"."""
        return self.bin_errors

    @property
    def covariances(self) -> tuple[CovarianceModes, ...]:
        """The modes of the card's covariances."""
        return tuple(item.modes for item in self.folded)

    @property
    def response_error(self) -> str:
        """How the response's Monte Carlo error enters the likelihood; empty where it does not."""
        if self.modes is not None:
            number, left = len(self.modes.weights), self.modes.left_out
            return f"covariance of {SUBSAMPLES} sub-samples in {number} modes, {left:.2g} of its variance left out"
        return "" if self.bin_errors is None else f"gamma-poisson, bin by bin, from {SUBSAMPLES} sub-samples"

    def without_response_error(self) -> ElectronExperiment | None:
        """Return the experiment with the mean of the response's sub-samples taken for exact."""
        if self.modes is None and self.bin_errors is None:
            return None
        model = count_model(self.card, self.templates, self.backgrounds, self.folded, None)
        return replace(self, model=model, modes=None, bin_errors=None)

    @property
    def response_key(self) -> str:
        """The hash that names the response matrix."""
        return response_settings(self.card, self.flux).key

    def observation_coordinates(self) -> Coordinates:
        """Return exposure, mode, position, bin and bin edges as coordinates on the flat dimension ``obs``.

        In bins of E_e by θ, ``bin_lo`` and ``bin_hi`` are those in θ, and ``slice_lo`` and ``slice_hi`` those in E_e.
        """
        detector = self.card.detector
        rows = [(e, b) for e in self.card.exposures for b in range(detector.bins)]
        coordinates: Coordinates = {
            "exposure": ("obs", [f"{e.mode} {e.position_m:g} m" for e, _ in rows]),
            "mode": ("obs", [e.mode for e, _ in rows]),
            "position_m": ("obs", [e.position_m for e, _ in rows]),
            "bin": ("obs", [b for _, b in rows]),
        }
        for name, axis in zip(("bin", "slice"), reversed(detector.axes), strict=False):
            label = {"units": axis.units, "long_name": axis.label}
            coordinates[f"{name}_lo"] = ("obs", [float(axis.low[b]) for _, b in rows], label)
            coordinates[f"{name}_hi"] = ("obs", [float(axis.high[b]) for _, b in rows], label)
        return coordinates

    def at(self, m_N: float) -> ElectronExperiment:
        """Return the experiment with N of another mass (MeV); only what depends on it is folded again."""
        card = self.card.model_copy(update={"sterile": self.card.sterile.model_copy(update={"m_N": m_N})})
        templates = refold_dipole(self.templates, card, self.flux)
        folded = tuple(
            fold_modes(made.modes, card, self.flux, templates, self.backgrounds, made) for made in self.folded
        )
        model = count_model(card, templates, self.backgrounds, folded, self.modes)
        return replace(self, loaded=replace(self.loaded, card=card), model=model, templates=templates, folded=folded)

    def with_years(self, years: Sequence[float]) -> ElectronExperiment:
        """Return the experiment with other years of each exposure and Asimov data; counts are linear in them.

        Raises
        ------
        UsageError
            If the card has observed counts, which belong to its own years.
        """
        if self.observed:
            raise UsageError(
                f"{self.card.name}: its counts were observed in its own years; leave them out, as by "
                "-o counts.asimov=true"
            )
        exposures = self.card.exposures
        ratio = np.array([new / exposure.years for new, exposure in zip(years, exposures, strict=True)])
        changed = [e.model_copy(update={"years": float(y)}) for e, y in zip(exposures, years, strict=True)]
        card = self.card.model_copy(update={"exposures": changed})
        by_exposure = ratio[:, None, None, None]
        made, by_bin = self.templates, np.repeat(ratio, self.backgrounds.shape[2])
        templates = replace(
            made,
            card=card,
            values=made.values * by_exposure,
            error=made.error * by_exposure,
            deviations=made.deviations * by_exposure[..., None],
        )
        folded = tuple(
            item
            if item.templates is None
            else replace(item, templates=replace(item.templates, values=item.templates.values * by_exposure[..., None]))
            for item in self.folded
        )
        model = replace(self.model, arrays=self.model.arrays * by_bin)
        loaded = replace(self.loaded, card=card)
        return replace(self, loaded=loaded, model=model, data=self.data * by_bin, templates=templates, folded=folded)


def count_model(
    card: Card, templates: Templates, backgrounds: Array, folded: Sequence[FoldedModes], modes: ResponseModes | None
) -> CountModel:
    """Return the expected counts, with a pull for each mode of the covariances and of the response's error."""
    model = build_count_model(card, templates, backgrounds)
    for item in folded:
        model = add_modes(model, item.arrays(card, templates, backgrounds), item.modes.name)
    return model if modes is None else with_modes(model, deviation_arrays(card, templates, backgrounds), modes)


def find_matrix(
    loaded: LoadedCard, files: dict[str, Path], k: int, covariance: CovarianceCard
) -> tuple[Path, Path | None]:
    """Return the file of a covariance's rows, and that of its matrix if it has one of its own."""
    rows = locate(loaded, files, "covariances", "file", covariance.file, k)
    if covariance.matrix_file is None:
        return rows, None
    return rows, locate(loaded, files, "covariances", "matrix_file", covariance.matrix_file, k)


def electron_layout(card: Card) -> Layout:
    """Return what a row of a file of counts stands for: an exposure and a bin."""
    axes = card.detector.axes
    bins = np.stack([end for axis in axes for end in (axis.low, axis.high)], axis=1).tolist()
    rows = [(e.mode, e.position_m, *edges) for e in card.exposures for edges in bins]
    columns = ("mode", "position_m", *(name for axis in axes for name in axis.columns))
    return Layout(columns, tuple(rows), ("observed",))


def assemble(loaded: LoadedCard, card: Card, notice: Callable[[str], None]) -> ElectronExperiment:
    """Read what a card names and fold it; every input is checked before anything slow starts."""
    files: dict[str, Path] = {"card": loaded.path}
    flux = find_flux(loaded, files, card.flux, notice)
    matrices = [find_matrix(loaded, files, k, item) for k, item in enumerate(card.covariances)]
    check_comparison(loaded, files, card)
    detector = with_efficiency(loaded, files, card.detector, "kinetic_energy_mev")
    card = card.model_copy(update={"detector": detector})
    loaded = replace(loaded, card=card)
    for k, exposure in enumerate(card.exposures):
        if (exposure.mode, exposure.position_m) not in flux.spectra:
            have = ", ".join(f"{m} {p:g}" for m, p in flux.spectra)
            raise CardError(
                f"exposures.{k}.position_m = {exposure.position_m:g}: {card.flux.source} has no flux "
                f"for mode '{exposure.mode}' there; it has {have}"
            )
    if card.detector.threshold_mev * 1e-3 >= flux.energy_max_gev:
        raise CardError(
            f"detector.threshold_mev = {card.detector.threshold_mev:g}: no neutrino of {card.flux.source} "
            f"has more than {flux.energy_max_gev * 1e3:g} MeV"
        )
    check_covers(detector.efficiency, detector.threshold_mev, flux.energy_max_gev * 1e3, "MeV")
    events = None
    if card.flux.normalisation == "table" and card.flux.event_table is not None:
        table = locate(loaded, files, "flux", "event_table", card.flux.event_table)
        events = read_event_table(table, card, flux)
        files["flux.event_table, made for"] = made_for_path(table)
    with np.errstate(over="ignore", invalid="ignore"):
        if card.backgrounds.file is not None:
            table = locate(loaded, files, "backgrounds", "file", card.backgrounds.file)
            backgrounds = read_backgrounds(table, card, flux)
            files["backgrounds.file, made for"] = made_for_path(table)
        else:
            backgrounds = computed_backgrounds(card, flux, notice)
        covariances = [covariance_modes(*paths, k, card, flux, backgrounds) for k, paths in enumerate(matrices)]
        templates = find_templates(card, flux, events, notice)
        model = build_count_model(card, templates, backgrounds)
        expected = model.expected()
    if not np.isfinite(expected).all():
        raise CardError(
            "exposures: the expected counts overflow; check years, target.mass_tonnes and flux.pot_per_year"
        )
    empty = np.flatnonzero(~(expected > 0))
    if empty.size:
        keys = " and ".join(axis.key for axis in detector.axes)
        raise CardError(f"detector.{keys}: bin {empty[0] % detector.bins} expects no counts at all")
    counts = [exposure.observed_counts for exposure in card.exposures]
    observed, data = counts[0] is not None, expected
    if observed:
        data = np.array(counts, dtype=float).ravel()
    elif card.counts is not None:
        path = locate(loaded, files, "counts", "file", card.counts.file)
        from_file = read_observed(path, electron_layout(card), whole=not card.expected_data)
        observed = not card.counts.asimov
        data = from_file[:, 0] if observed else expected
    folded = tuple(fold_modes(item, card, flux, templates, backgrounds) for item in covariances)
    modes: ResponseModes | None = None
    bin_errors: Array | None = None
    if card.response.mc_stat != "none":
        deviations = deviation_arrays(card, templates, backgrounds)
        if card.response.mc_stat == "covariance":
            modes = response_modes(model, deviations)
            if modes.largest > 1:
                notice(
                    f"{loaded.where}: response.samples = {card.response.samples}: the response's Monte Carlo error is "
                    f"up to {modes.largest:.1f} times the statistical one, more than {SUBSAMPLES} sub-samples can "
                    "describe well; take more samples"
                )
        else:
            labels = [f"exposures.{k} bin {b}" for k in range(len(card.exposures)) for b in range(backgrounds.shape[2])]
            bin_errors = relative_variance(model, deviations, labels)
    model = count_model(card, templates, backgrounds, folded, modes)
    return ElectronExperiment(
        loaded, model, data, observed, files, flux, templates, backgrounds, modes, bin_errors, folded
    )
