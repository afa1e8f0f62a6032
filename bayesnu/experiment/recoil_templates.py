"""Fold neutrino spectra, nuclear cross sections and a detector once per polynomial term."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesnu.detector.recoil import recoil_nodes
from bayesnu.errors import CardError
from bayesnu.experiment.recoil_card import LOWEST_RECOIL_EV, Reactor, RecoilCard, RecoilFlux, StoppedPion
from bayesnu.flux.reactor import JOIN_MEV, LOW_NODES_MEV, Core, reactor_flux
from bayesnu.flux.spectrum import Spectrum, continuous_spectrum, histogram_spectrum, line_spectrum
from bayesnu.flux.stopped_pion import END_POINT_MEV, PROMPT_ENERGY_MEV, arrived, fluence, michel_nue, michel_numubar
from bayesnu.flux.table import FluxTable
from bayesnu.physics.couplings import CHANNELS
from bayesnu.physics.dipole import energy_min, primakoff_coefficients, primakoff_cross_section, recoil_window
from bayesnu.physics.materials import ELEMENTS, Element, nuclei_per_kg
from bayesnu.physics.nucleus import cross_section_terms, helm_form_factor, recoil_max
from bayesnu.physics.sterile_decay import decay_length, decay_probability, decay_width

Array = NDArray[np.float64]
SECONDS_PER_DAY = 86400.0
LOWEST_ENERGY_MEV = 0.02
"""Neutrinos below cannot give `LOWEST_RECOIL_EV` to any element of the table but hydrogen, and 0.9 eV to that."""
MORPH_DEGREE = 8
"""Of the polynomial that follows a response: COHERENT's to 2e-4 of all counts within three standard deviations."""
MORPH_REACH = 4.0
NODES_PER_PANEL = 6
PANELS_PER_DECADE = 24


class RecoilResponse(Protocol):
    """A detector of `bayesnu.detector.recoil`."""

    def probabilities(self, recoil_ev: Array) -> Array:
        """Return P(bin | T), shape (bins, recoils)."""

    @property
    def breakpoints_ev(self) -> Array:
        """Recoils at which panels of the integral end."""


@dataclass(frozen=True)
class Grid:
    """How finely recoils are integrated; none of this changes the physics."""

    nodes: int = NODES_PER_PANEL
    panels_per_decade: int = PANELS_PER_DECADE
    energy_nodes: int = 96


def reactor_density(reactor: Reactor) -> Callable[[Array], Array]:
    """Return a function: energy in MeV → ν̄_e of the card's reactor over its days, per cm² and MeV."""
    cores = [Core(core.power_gw, core.distance_m) for core in reactor.cores]

    def density(energy_mev: Array) -> Array:
        flux = reactor_flux(
            energy_mev,
            cores,
            reactor.fission_fractions,
            capture=reactor.capture,
            energy_max_mev=reactor.energy_max_mev,
        )
        return flux * reactor.days * SECONDS_PER_DAY

    return density


def reactor_spectra(reactor: Reactor, cells: int = 1500) -> tuple[Spectrum, ...]:
    """Return the ν̄_e fluence of the card's reactor over its days."""
    kinks = (*LOW_NODES_MEV, JOIN_MEV, *((0.44, 1.26) if reactor.capture else ()))
    density = reactor_density(reactor)
    return (continuous_spectrum("nuebar", density, LOWEST_ENERGY_MEV, reactor.energy_max_mev, kinks, cells),)


def stopped_pion_spectra(source: StoppedPion, cells: int = 1500) -> tuple[Spectrum, ...]:
    """Return the fluences of ν_μ (a line), ν̄_μ and ν_e."""
    total = fluence(source.protons_on_target, source.neutrinos_per_proton, source.distance_m)

    def within(channel: str) -> float:
        return total * (1.0 if source.window_us is None else arrived(channel, source.window_us))

    def delayed(channel: str, shape: Callable[[Array], Array]) -> Spectrum:
        norm = within(channel)
        return continuous_spectrum(channel, lambda e: norm * shape(e), LOWEST_ENERGY_MEV, END_POINT_MEV, (), cells)

    return (
        line_spectrum("numu", PROMPT_ENERGY_MEV, within("numu")),
        delayed("numubar", michel_numubar),
        delayed("nue", michel_nue),
    )


def flux_spectra(flux: RecoilFlux, table: FluxTable) -> tuple[Spectrum, ...]:
    """Return the fluence of each channel of a flux from files, over the card's days or protons.

    Raises
    ------
    CardError
        If the files have several spectra and the card does not say which, or nothing of the one that it says.
    """
    wanted = {"mode": flux.mode, "position_m": flux.position_m}
    found = [
        (mode, position)
        for mode, position in table.spectra
        if flux.mode in (None, mode) and flux.position_m in (None, position)
    ]
    if len(found) != 1:
        have = ", ".join(f"{mode} {position:g} m" for mode, position in table.spectra)
        asked = ", ".join(f"{key} = {value}" for key, value in wanted.items() if value is not None)
        which = f"nothing of {asked}" if not found else "several spectra; choose one by flux.mode and flux.position_m"
        raise CardError(f"{flux.source}: has {which}; it has {have}")
    spectrum = table.spectra[found[0]]
    exposure = (flux.days or 0.0) * SECONDS_PER_DAY if flux.per_second else flux.protons_on_target or 0.0
    spectra = tuple(
        histogram_spectrum(channel, spectrum.edges_gev, values * exposure)
        for channel, values in zip(CHANNELS, spectrum.values, strict=True)
        if values.any()
    )
    if not spectra:
        raise CardError(f"{flux.source}: the flux is 0 everywhere")
    return spectra


def card_spectra(card: RecoilCard, table: FluxTable | None = None) -> tuple[Spectrum, ...]:
    """Return the spectra of a card's source; ``table`` is its flux, where that is in files."""
    if card.reactor is not None:
        return reactor_spectra(card.reactor)
    if card.stopped_pion is not None:
        return stopped_pion_spectra(card.stopped_pion)
    if card.flux is not None and table is not None:
        return flux_spectra(card.flux, table)
    raise CardError("give exactly one of the tables reactor, stopped_pion and flux")


def highest_recoil_ev(card: RecoilCard, spectra: Sequence[Spectrum]) -> float:
    """Return the highest recoil that the source gives to an element of the targets."""
    top = max(spectrum.energy_max_gev for spectrum in spectra)
    return max(float(recoil_max(top, element.mass_gev)) * 1e9 for _, element, _ in _elements(card))


def fold_electromagnetic(
    card: RecoilCard, spectra: Sequence[Spectrum], response: RecoilResponse, grid: Grid | None = None
) -> dict[str, dict[str, dict[str, Array]]]:
    """Return counts per bin of the SM and of the couplings of active flavours: compound → channel → term.

    N_i = Σ_elements N_nuclei ∫dT R_i(T) Σ_n c_n(T) ∫_{E_min(T)} dE Φ(E) E⁻ⁿ.
    """
    grid = grid or Grid()
    counts: dict[str, dict[str, dict[str, Array]]] = {}
    for compound, element, nuclei in _elements(card):
        for spectrum in spectra:
            top = float(recoil_max(spectrum.energy_max_gev, element.mass_gev)) * 1e9
            recoil, weight = _panels(response, LOWEST_RECOIL_EV, top, grid, _steps_ev(spectrum, 0.0, element))
            terms = cross_section_terms(recoil * 1e-9, element, sin2_theta_w=card.physics.sin2_theta_w)
            above = spectrum.above(energy_min(recoil * 1e-9, 0.0, element.mass_gev))
            reconstructed = response.probabilities(recoil) * weight * 1e-9 * nuclei
            own = counts.setdefault(compound, {}).setdefault(spectrum.channel, {})
            for term, coefficients in terms.items():
                own[term] = own.get(term, 0.0) + reconstructed @ (coefficients * above).sum(axis=0)
    return counts


def fold_dipole(
    card: RecoilCard,
    spectra: Sequence[Spectrum],
    response: RecoilResponse,
    bins: int,
    mass_mev: float,
    grid: Grid | None = None,
) -> dict[str, dict[str, Array]]:
    """Return counts per bin of ν A → N A per d² (μ_B²): compound → channel; 0 where no N of this mass is produced."""
    grid = grid or Grid()
    mass = mass_mev * 1e-3
    counts: dict[str, dict[str, Array]] = {}
    for compound, element, nuclei in _elements(card):
        for spectrum in spectra:
            own = counts.setdefault(compound, {})
            own.setdefault(spectrum.channel, np.zeros(bins))
            if mass >= spectrum.energy_max_gev:
                continue
            low, high = (float(edge) * 1e9 for edge in recoil_window(spectrum.energy_max_gev, mass, element.mass_gev))
            if not high > LOWEST_RECOIL_EV:
                continue
            recoil, weight = _panels(
                response, max(low, LOWEST_RECOIL_EV), high, grid, _steps_ev(spectrum, mass, element)
            )
            coefficients = primakoff_coefficients(recoil * 1e-9, mass, element.mass_gev)
            form2 = (element.protons * helm_form_factor(recoil * 1e-9, element)) ** 2
            above = spectrum.above(energy_min(recoil * 1e-9, mass, element.mass_gev))
            rate = np.maximum((coefficients * above).sum(axis=0), 0.0) * form2
            own[spectrum.channel] += response.probabilities(recoil) @ (rate * weight) * 1e-9 * nuclei
    return counts


def fold_radiative(
    card: RecoilCard, response: RecoilResponse, bins: int, mass_mev: float, grid: Grid | None = None
) -> dict[str, Array]:
    """Return counts per bin with a photon, ν A → N A and N → ν γ within l₀: compound → (2, bins).

    N = ε Σ_nuclei ∫dT R(T) ∫dE Φ Z² F² dσ/dT P, P = 1 - exp(-l₀ Γ m/(p ħc)), Γ = Γ(d_NNp) + Γ(1 μ_B) Σ_β d_β²:
    to first order in the moments d_β of the decay, P = 1 - e⁻ˣ + e⁻ˣ l₀ Γ(1 μ_B) m/(p ħc) Σ d_β², where
    x = l₀ Γ(d_NNp) m/(p ħc).
    Row 0 is per d² (the photons of N′), row 1 per d² Σ d_β², in μ_B. The first order holds while N is long-lived on
    the scale of l₀ for the moments d_β, as it is where they are not excluded.

    Raises
    ------
    CardError
        If the card has no reactor or no photon detector.
    """
    if card.reactor is None or card.photon_detector is None:
        raise CardError("photon_detector: missing, or without a reactor")
    grid = grid or Grid()
    mass, path = mass_mev * 1e-3, card.photon_detector.distance_m
    majorana = card.decay.nature == "majorana"
    density, top = reactor_density(card.reactor), card.reactor.energy_max_mev * 1e-3
    if mass >= top:
        return {compound: np.zeros((2, bins)) for compound in card.targets}
    active = decay_width(mass, [1.0], majorana=majorana)
    sterile = decay_width(mass, [card.decay.d_NNp], majorana=majorana, daughter_gev=card.decay.m_Np * 1e-3)
    x, weight_x = np.polynomial.legendre.leggauss(grid.energy_nodes)
    root = (x + 1) / 2
    counts: dict[str, Array] = {}
    for compound, element, nuclei in _elements(card):
        own = counts.setdefault(compound, np.zeros((2, bins)))
        if mass == 0:
            continue
        low, high = (float(edge) * 1e9 for edge in recoil_window(top, mass, element.mass_gev))
        if not high > LOWEST_RECOIL_EV:
            continue
        recoil, weight = _panels(response, max(low, LOWEST_RECOIL_EV), high, grid)
        T = recoil[:, None] * 1e-9
        start = energy_min(T, mass, element.mass_gev)
        # 1/p is steep where N is slow, which is at the least energy.
        E = start + (top - start) * root**2
        area = 2 * root * (top - start) * weight_x / 2
        p = np.sqrt(np.maximum((E - T) ** 2 - mass**2, np.finfo(float).tiny))
        rate = density(1e3 * E) * 1e3 * primakoff_cross_section(T, E, mass, element.mass_gev) * area
        form2 = (element.protons * helm_form_factor(T[:, 0], element)) ** 2
        to_sterile = decay_probability(path, p, mass, sterile)
        first = (1 - to_sterile) * path / decay_length(p, mass, active)
        per_recoil = np.stack([(rate * to_sterile).sum(axis=1), (rate * first).sum(axis=1)]) * form2 * weight * 1e-9
        own += card.photon_detector.efficiency * nuclei * per_recoil @ response.probabilities(recoil).T
    return counts


def _elements(card: RecoilCard) -> list[tuple[str, Element, float]]:
    """Return compound, element and number of nuclei of everything in a card's targets."""
    return [
        (compound, ELEMENTS[symbol], per_kg * target.mass_kg)
        for compound, target in card.targets.items()
        for symbol, per_kg in nuclei_per_kg(compound).items()
    ]


def _steps_ev(spectrum: Spectrum, mass_gev: float, element: Element) -> Array:
    """Return the ends of the recoils in eV that neutrinos of each energy give at which a flux jumps."""
    ends = np.concatenate(recoil_window(spectrum.steps_gev, mass_gev, element.mass_gev)) * 1e9
    return np.asarray(ends[np.isfinite(ends)])


def _panels(
    response: RecoilResponse, low_ev: float, high_ev: float, grid: Grid, steps_ev: ArrayLike = ()
) -> tuple[Array, Array]:
    """Return recoils and weights dT in eV over a range, split where the response or the flux has structure."""
    inner = np.union1d(response.breakpoints_ev, steps_ev)
    inner = inner[(inner > low_ev * (1 + 1e-9)) & (inner < high_ev * (1 - 1e-9))]
    return recoil_nodes(np.concatenate([[low_ev], inner, [high_ev]]), grid.nodes, grid.panels_per_decade)


def morph_shifts(relative_error: float) -> Array:
    """Return the fractions f at which a response is folded for `morph`: Chebyshev's extremes, 0 in the middle.

    They reach to `MORPH_REACH` standard deviations, or to -80% where that is nearer.
    """
    reach = min(MORPH_REACH * relative_error, 0.8)
    shifts = reach * np.cos(np.pi * np.arange(MORPH_DEGREE + 1) / MORPH_DEGREE)[::-1]
    shifts[MORPH_DEGREE // 2] = 0.0
    return np.asarray(shifts)


def morph(counts: Array, shifts: Array) -> Array:
    """Return the coefficients of 1, u, u², …, u = 1 + f, of the polynomial through counts at some f.

    Parameters
    ----------
    counts : ndarray, shape (shifts, …)
    shifts : ndarray, shape (shifts,)

    Returns
    -------
    ndarray
        Of the shape of ``counts``.
    """
    powers = (1 + shifts)[:, None] ** np.arange(shifts.size)
    return np.asarray(np.linalg.solve(powers, counts.reshape(shifts.size, -1)).reshape(counts.shape))


def channel_flavours(spectra: Sequence[Spectrum]) -> tuple[str, ...]:
    """Return the flavours of some spectra, each once."""
    return tuple(dict.fromkeys(CHANNELS[spectrum.channel].flavour for spectrum in spectra))
