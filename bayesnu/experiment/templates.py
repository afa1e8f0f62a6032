"""Fold flux, cross section and response once per polynomial term."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesnu.detector.efficiency import efficiency_at
from bayesnu.detector.response import ResponseMatrix
from bayesnu.detector.settings import ResponseSettings
from bayesnu.detector.store import StoredResponse, find_response
from bayesnu.errors import CardError
from bayesnu.experiment.backgrounds import check_made_for, read_made_for
from bayesnu.experiment.electron_card import Card
from bayesnu.experiment.response import response_settings
from bayesnu.flux.table import FluxTable
from bayesnu.physics.constants import ELECTRON_MASS_GEV
from bayesnu.physics.couplings import CHANNELS
from bayesnu.physics.dipole import energy_from_recoil_angle, energy_min, mass_reach, primakoff_coefficients
from bayesnu.physics.electron import FOLDED, cross_section_terms
from bayesnu.physics.kinematics import neutrino_energy_from_angle, neutrino_energy_min
from bayesnu.physics.materials import material
from bayesnu.resources import number, read_table

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]
Folded = tuple[Array, Array, Array, Array]
"""Binned counts and their errors, shape (exposures, channels, terms, bins), counts before efficiency and binning, and
the deviations of the response's sub-samples from the binned counts, (…, bins, sub-samples)."""


@dataclass(frozen=True)
class Templates:
    """Counts of each exposure, channel and polynomial term of `bayesnu.physics.electron.FOLDED`.

    Attributes
    ----------
    card : Card
        What they were made for; gives exposures, bin edges and the mass of N.
    values : ndarray, shape (exposures, channels, terms, bins)
        Counts in the exposure's years per unit of the term's monomial.
    per_year : ndarray, shape (exposures, channels, terms)
        Counts per year above threshold, before efficiency and binning.
    error : ndarray, shape of values
        Standard error of values from the response's Monte Carlo.
    folded_with : ResponseMatrix or StoredResponse
        The response, or where it is; see ``response``.
    ratio : ndarray, shape (exposures, channels)
        SM events of the event table per computed SM event, which scales every term; 1 without a table.
    deviations : ndarray, shape (exposures, channels, terms, bins, sub-samples)
        What each sub-sample of the response gives minus values; no sub-samples unless ``response.mc_stat`` asks.
    """

    card: Card
    values: Array
    per_year: Array
    error: Array
    folded_with: ResponseMatrix | StoredResponse
    ratio: Array
    deviations: Array

    @property
    def response(self) -> ResponseMatrix:
        """The response that they were folded with, read now if it has not been."""
        return self.folded_with if isinstance(self.folded_with, ResponseMatrix) else self.folded_with.matrix

    def standard_model_error(self) -> tuple[Array, Array]:
        """Return the SM counts summed over channels and their Monte Carlo error, each (exposures, bins)."""
        return self.values[:, :, 0].sum(axis=1), np.sqrt((self.error[:, :, 0] ** 2).sum(axis=1))

    def labelled(self) -> xr.DataArray:
        """Return the templates as a DataArray (exposure, channel, term, bin) with edges, units and source."""
        import xarray as xr

        exposures, axes = self.card.exposures, self.card.detector.axes
        return xr.DataArray(
            self.values,
            dims=("exposure", "channel", "term", "bin"),
            coords={
                "exposure": [f"{e.mode} {e.position_m:g} m" for e in exposures],
                "channel": list(CHANNELS),
                "term": list(FOLDED),
                "bin": np.arange(self.card.detector.bins),
                "mode": ("exposure", [e.mode for e in exposures]),
                "position_m": ("exposure", [e.position_m for e in exposures], {"units": "m"}),
                "years": ("exposure", [e.years for e in exposures], {"units": "year"}),
                **{f"{axis.name}_lo": ("bin", axis.low, {"units": axis.units}) for axis in axes},
                **{f"{axis.name}_hi": ("bin", axis.high, {"units": axis.units}) for axis in axes},
            },
            attrs={
                "units": "counts per unit of the term (mu and d in mu_B, q in e, r2 in cm^2)",
                "m_N": self.card.sterile.m_N,
                "source": self.card.source.paper,
                "normalisation": self.card.flux.normalisation,
            },
            name="templates",
        )


@dataclass(frozen=True)
class TrueKernel:
    """∫dE E⁻ⁿ at fixed recoil, in pieces of the neutrino energy of which each is in one flux bin and one true cell.

    Attributes
    ----------
    integrals : ndarray, shape (3, pieces)
        For n = 0, 1, 2; GeV¹⁻ⁿ.
    place : ndarray of int, shape (3, pieces)
        Where each of them belongs in an array of shape (recoils, powers, cells), flat.
    flux_bin : ndarray of int, shape (pieces,)
    shape : tuple of int
        Recoils, powers, cells of E_e θ², flux bins.
    """

    integrals: Array
    place: NDArray[np.intp]
    flux_bin: NDArray[np.intp]
    shape: tuple[int, int, int, int]

    def folded(self, flux: Array) -> Array:
        """Return ∫dE Φ(E) E⁻ⁿ of each spectrum, (channels, flux bins): (channels, recoils, powers, cells)."""
        place, size = self.place.ravel(), math.prod(self.shape[:3])
        spectra = [
            np.bincount(place, weights=(self.integrals * values[self.flux_bin]).ravel(), minlength=size)
            for values in flux
        ]
        return np.array(spectra).reshape(-1, *self.shape[:3])

    @cached_property
    def dense(self) -> Array:
        """The integrals as an array of ``shape``, most of which is 0."""
        place = (self.place * self.shape[3] + self.flux_bin).ravel()
        return np.bincount(place, weights=self.integrals.ravel(), minlength=math.prod(self.shape)).reshape(self.shape)


def true_kernel(
    flux_edges_gev: Array, recoil_gev: Array, angle_edges_gev: Array, mass_gev: float | None = None
) -> TrueKernel:
    """Return ∫dE E⁻ⁿ over each flux bin and each cell of true E_e θ², at fixed recoil.

    The integrals are analytic between consecutive breakpoints: flux edges, cell
    edges mapped to E, and the kinematic limit E ≥ E_min(T). The map rises with E.

    Parameters
    ----------
    flux_edges_gev, recoil_gev, angle_edges_gev : ndarray
    mass_gev : float, optional
        Mass of the outgoing N, with the exact angle of `bayesnu.physics.dipole.recoil_angle`;
        None is elastic scattering with (2.3).

    Returns
    -------
    TrueKernel
    """
    n_recoil, n_cells, n_flux = recoil_gev.size, angle_edges_gev.size - 1, flux_edges_gev.size - 1
    recoil = recoil_gev[:, None]
    if mass_gev is None:
        least, cell_edges = neutrino_energy_min(recoil), neutrino_energy_from_angle(recoil, angle_edges_gev)
    else:
        angle = np.sqrt(angle_edges_gev / (recoil + ELECTRON_MASS_GEV))
        least = energy_min(recoil, mass_gev, ELECTRON_MASS_GEV)
        cell_edges = energy_from_recoil_angle(recoil, angle, mass_gev, ELECTRON_MASS_GEV)
    lowest = np.maximum(least, flux_edges_gev[0])
    top = np.maximum(flux_edges_gev[-1], lowest)
    flux_edges = np.broadcast_to(flux_edges_gev, (n_recoil, n_flux + 1))
    breaks = np.clip(np.concatenate([cell_edges, flux_edges], axis=1), lowest, top)
    order = np.argsort(breaks, axis=1)
    breaks = np.take_along_axis(breaks, order, axis=1)
    low, high = breaks[:, :-1], breaks[:, 1:]
    # A piece is in the cell, and in the flux bin, whose lower edge is the last one up to it.
    passed = np.cumsum(order <= n_cells, axis=1)[:, :-1]
    cell, flux_bin = passed - 1, np.arange(passed.shape[1]) - passed
    inside = (cell >= 0) & (cell < n_cells) & (high > low)
    low, high = low[inside], high[inside]
    integrals = np.array([high - low, np.log(high / low), 1 / low - 1 / high])
    place = (np.nonzero(inside)[0] * 3 + np.arange(3)[:, None]) * n_cells + cell[inside]
    return TrueKernel(integrals, place, flux_bin[inside], (n_recoil, 3, n_cells, n_flux))


def build_templates(card: Card, flux: FluxTable, events: Array | None, notice: Callable[[str], None]) -> Templates:
    """Fold the card's flux and cross sections with its response.

    N_bin = N_e · POT · ∫dT ε(T) ∫dE Φ(E) Σ_n c_n(T) E⁻ⁿ R(bin | E_e, E_e θ²), (A.5) with an efficiency,
    for every term of `cross_section_terms`, and for d² of ν e → N e. N is taken to leave the
    detector: no photon of its decay is looked for. With ``flux.normalisation = "table"`` all
    terms of a channel are scaled so that its SM total before efficiency equals the table's, as in (A.6).

    Parameters
    ----------
    card : Card
    flux : FluxTable
    events : ndarray, shape (exposures, channels), or None
        SM events per year to scale to (`read_event_table`); None keeps the flux.
    notice : callable
        Receives notices of responses that are built.

    Raises
    ------
    CardError
        If there are events of a channel that has no flux.
    """
    response = find_response(response_settings(card, flux), notice, card.response.mc_stat != "none")
    electromagnetic = fold_electromagnetic(card, flux, response)
    values, error, per_year, deviations = (
        np.concatenate(parts, axis=2) for parts in zip(electromagnetic, fold_dipole(card, flux, response), strict=True)
    )
    ratio = np.ones(per_year.shape[:2])
    if events is not None:
        computed = per_year[:, :, list(FOLDED).index("1")]
        for k, c in np.argwhere((computed == 0) & (events > 0)):
            raise CardError(
                f"flux.event_table = '{card.flux.event_table}': {events[k, c]:g} events of {list(CHANNELS)[c]} "
                f"in exposures.{k}, but {flux.path.name} has no flux of it above the threshold"
            )
        ratio = np.divide(events, computed, out=np.zeros_like(events), where=computed > 0)
    values, error, per_year, deviations = _scale(card, ratio, (values, error, per_year, deviations))
    return Templates(card, values, per_year, error, response, ratio, deviations)


def refold_dipole(templates: Templates, card: Card, flux: FluxTable) -> Templates:
    """Return the templates with d² folded again for the card's mass of N; nothing else differs in the card."""
    place = list(FOLDED).index("d^2")
    made = (templates.values, templates.error, templates.per_year, templates.deviations)
    folded = _scale(card, templates.ratio, fold_dipole(card, flux, templates.response))
    values, error, per_year, deviations = (
        np.concatenate([old[:, :, :place], new, old[:, :, place + 1 :]], axis=2)
        for old, new in zip(made, folded, strict=True)
    )
    return replace(templates, card=card, values=values, error=error, per_year=per_year, deviations=deviations)


def _scale(card: Card, ratio: Array, folded: Folded) -> Folded:
    """Scale to the event table, and what is binned to the exposures' years."""
    values, error, per_year, deviations = folded
    years = np.array([exposure.years for exposure in card.exposures])[:, None, None, None]
    binned = ratio[..., None, None]
    scaled = deviations * (binned * years)[..., None]
    return values * binned * years, error * binned * years, per_year * ratio[..., None], scaled


@dataclass(frozen=True)
class TemplateShifts:
    """What shifts of the flux change in templates.

    Attributes
    ----------
    values : ndarray, shape (exposures, channels, terms, bins, shifts)
        Added to `Templates.values`.
    per_year : ndarray, shape (exposures, channels, terms, shifts)
        Added to `Templates.per_year`.
    """

    values: Array
    per_year: Array


def shift_templates(
    templates: Templates, card: Card, flux: FluxTable, relative: Sequence[Array], made: TemplateShifts | None = None
) -> TemplateShifts:
    """Fold shifts of the flux, scaled to the event table as the templates are.

    Parameters
    ----------
    templates : Templates
    card : Card
        That of the templates, at any mass of N.
    flux : FluxTable
    relative : sequence of ndarray
        Shift of the flux of each exposure as a fraction of it, shape (channels, flux bins, shifts).
    made : TemplateShifts, optional
        The same shifts at another mass of N: only d² is then folded again.
    """
    response = templates.response
    coefficients, mass = _electromagnetic(card, response), card.sterile.m_N * 1e-3
    reached = mass < mass_reach(flux.energy_max_gev, ELECTRON_MASS_GEV)
    n_terms = coefficients.shape[1]
    shape = (*templates.per_year.shape, relative[0].shape[-1])
    values, per_year = np.zeros((*shape[:3], templates.values.shape[3], shape[3])), np.zeros(shape)
    kinds: list[tuple[float | None, Array, slice]] = []
    if made is None:
        kinds.append((None, coefficients, slice(n_terms)))
    else:
        values[:, :, :n_terms], per_year[:, :, :n_terms] = made.values[:, :, :n_terms], made.per_year[:, :, :n_terms]
    if reached:
        kinds.append((mass, _dipole(card, response), slice(n_terms, None)))
    for mass_gev, own, terms in kinds:
        folded: dict[tuple[int, bytes], tuple[Array, Array]] = {}
        for k, kernel in enumerate(_kernels(card, flux, response, mass_gev)):
            exposure = card.exposures[k]
            spectrum = flux.spectrum(exposure.mode, exposure.position_m)
            for c in range(len(CHANNELS)):
                key = (id(kernel), own[c].tobytes())
                if key not in folded:
                    folded[key] = _fold_flux_bins(card, response, own[c], kernel.dense)
                binned, total = folded[key]
                shifted = spectrum.values[c, :, None] * relative[k][c] * templates.ratio[k, c]
                values[k, c, terms] = binned @ shifted * exposure.years
                per_year[k, c, terms] = total @ shifted
    return TemplateShifts(values, per_year)


def _fold_flux_bins(card: Card, response: ResponseMatrix, coefficients: Array, kernel: Array) -> tuple[Array, Array]:
    """Return counts per year of one channel per unit of the flux in each of its bins: folded, and before efficiency.

    Shapes (terms, bins, flux bins) and (terms, flux bins).
    """
    made, seen = _rates(card, response, coefficients)
    angles, bins = kernel.shape[2:]
    total = made @ kernel.sum(axis=2).reshape(made.shape[-1], bins)
    cells = seen @ kernel.reshape(len(seen), -1, angles * bins)
    by_bin = cells.reshape(*cells.shape[:2], angles, bins).transpose(1, 3, 0, 2)
    return np.asarray(response.fold(by_bin).swapaxes(1, 2)), np.asarray(total)


def fold_electromagnetic(card: Card, flux: FluxTable, response: ResponseMatrix) -> Folded:
    """Fold the terms of `bayesnu.physics.electron.TERMS`; counts per year, not scaled to a table."""
    return _fold(card, flux, response, _electromagnetic(card, response))


def _electromagnetic(card: Card, response: ResponseMatrix) -> Array:
    recoil, _, _ = recoil_nodes(response.settings, card.response.recoil_nodes)
    physics = card.physics
    coefficients = [
        cross_section_terms(recoil, channel, sin2_theta_w=physics.sin2_theta_w, millicharge=physics.millicharge)
        for channel in CHANNELS
    ]
    return np.array([list(terms.values()) for terms in coefficients])


def fold_dipole(card: Card, flux: FluxTable, response: ResponseMatrix) -> Folded:
    """Fold d² of ν e → N e at the card's mass of N: `primakoff_coefficients` with Z = 1 and M = m_e, the exact angle.

    The same for ν and ν̄. Exactly 0 where the flux reaches no N of this mass. Counts per year, not scaled to a table.
    """
    mass = card.sterile.m_N * 1e-3
    if mass >= mass_reach(flux.energy_max_gev, ELECTRON_MASS_GEV):
        shape = (len(card.exposures), len(CHANNELS), 1)
        none = np.zeros((*shape, card.detector.bins))
        return none, none, np.zeros(shape), np.zeros((*none.shape, response.subsamples))
    return _fold(card, flux, response, _dipole(card, response), mass)


def _dipole(card: Card, response: ResponseMatrix) -> Array:
    recoil, _, _ = recoil_nodes(response.settings, card.response.recoil_nodes)
    coefficients = primakoff_coefficients(recoil, card.sterile.m_N * 1e-3, ELECTRON_MASS_GEV)[None]
    return np.broadcast_to(coefficients, (len(CHANNELS), *coefficients.shape))


def _kernels(card: Card, flux: FluxTable, response: ResponseMatrix, mass_gev: float | None) -> Iterator[TrueKernel]:
    """Give `true_kernel` of each exposure; computed once for the same bins."""
    recoil, _, _ = recoil_nodes(response.settings, card.response.recoil_nodes)
    kernels: dict[bytes, TrueKernel] = {}
    for exposure in card.exposures:
        edges = flux.spectrum(exposure.mode, exposure.position_m).edges_gev
        key = edges.tobytes()
        if key not in kernels:
            kernels[key] = true_kernel(edges, recoil, response.settings.angle_edges_gev, mass_gev)
        yield kernels[key]


def _targets(card: Card) -> float:
    """Return the number of electrons times the protons on target of a year."""
    return material(card.target.material).electrons_in(card.target.mass_tonnes) * card.flux.pot_per_year


def _rates(card: Card, response: ResponseMatrix, coefficients: Array) -> tuple[Array, Array]:
    """Return c_n(T), shape (…, terms, powers, recoils), times targets and dT: what is multiplied with a kernel.

    As made, shape (…, terms, recoils and powers); and as seen, each Gauss point of an energy cell with its own
    efficiency, shape (…, energy cells, terms, recoils of the cell and powers).
    """
    nodes = card.response.recoil_nodes
    recoil, weight, _ = recoil_nodes(response.settings, nodes)
    made = np.swapaxes(coefficients * weight * _targets(card), -1, -2)
    seen = made * efficiency_at(card.detector.efficiency, recoil * 1e3)[:, None]
    terms = made.shape[:-2]
    return made.reshape(*terms, -1), np.swapaxes(seen.reshape(*terms, recoil.size // nodes, -1), -2, -3)


def _fold(
    card: Card, flux: FluxTable, response: ResponseMatrix, coefficients: Array, mass_gev: float | None = None
) -> Folded:
    """Fold c_n(T), shape (channels, terms, powers, recoils), of N of a mass, or of elastic scattering."""
    shape = (len(card.exposures), len(CHANNELS), coefficients.shape[1])
    values = np.zeros((*shape, card.detector.bins))
    error, per_year = np.zeros_like(values), np.zeros(shape)
    deviations = np.zeros((*values.shape, response.subsamples))
    # A cross section is not negative; where its powers of 1/E cancel, rounding may leave -1e-16 of them.
    least = -np.inf if mass_gev is None else 0.0
    made, seen = _rates(card, response, coefficients)
    for k, kernel in enumerate(_kernels(card, flux, response, mass_gev)):
        spectrum = flux.spectrum(card.exposures[k].mode, card.exposures[k].position_m)
        folded = kernel.folded(spectrum.values)
        # One product sums the powers of 1/E and the Gauss points of each energy cell.
        cells = (seen @ folded.reshape(*seen.shape[:2], seen.shape[3], -1)).swapaxes(1, 2)
        cells = np.maximum(cells, least, order="C")
        per_year[k] = np.maximum(made @ folded.sum(axis=3).reshape(len(made), -1, 1), least)[..., 0]
        values[k], error[k], deviations[k] = (
            response.fold(cells), response.fold_error(cells), response.fold_deviations(cells),
        )  # fmt: skip
    return values, error, per_year, deviations


def recoil_nodes(settings: ResponseSettings, nodes: int) -> tuple[Array, Array, NDArray[np.intp]]:
    """Return recoils T, weights dT and cell indices: Gauss-Legendre in ln E_e inside each true energy cell."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    log_edges = np.log(settings.energy_edges_gev)
    half = np.diff(log_edges) / 2
    energy = np.exp(log_edges[:-1, None] + half[:, None] * (points + 1))
    return (
        (energy - ELECTRON_MASS_GEV).ravel(),
        (energy * half[:, None] * weights).ravel(),
        np.repeat(np.arange(half.size), nodes),
    )


def read_event_table(path: Path, card: Card, flux: FluxTable) -> Array:
    """Return the table's SM events per year of every exposure and channel, scaled to the card's mass and POT.

    They are those above threshold before any efficiency.

    Raises
    ------
    CardError
        If the table was made for another flux, threshold or material, or lacks a position.
    """
    remedy = "set flux.normalisation = 'absolute', or give a flux.event_table of your own"
    made = read_made_for(path)
    if made.efficiency:
        raise CardError(
            f"flux.event_table = '{path.name}': its events include an efficiency; those of a table do not; {remedy}"
        )
    factor = check_made_for(path, made, card, flux, remedy)
    events = {
        (row["mode"], number(path, row, "position_m", minimum=0)): [
            number(path, row, channel, minimum=0) for channel in CHANNELS
        ]
        for row in read_table(path, ("mode", "position_m", *CHANNELS))
    }
    for k, exposure in enumerate(card.exposures):
        if (exposure.mode, exposure.position_m) not in events:
            raise CardError(
                f"exposures.{k}.position_m = {exposure.position_m:g}: {path.name} has no row for mode "
                f"'{exposure.mode}' at this position; {remedy}"
            )
    return np.array([events[exposure.mode, exposure.position_m] for exposure in card.exposures]) * factor
