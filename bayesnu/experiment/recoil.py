"""Assemble a card of nuclear recoils into everything that a fit needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bayesnu.detector.recoil import Phonons, Photoelectrons
from bayesnu.errors import CardError, silent
from bayesnu.experiment.base import Coordinates, Experiment, Variance, check_comparison, locate
from bayesnu.experiment.efficiency import check_covers, with_efficiency
from bayesnu.experiment.expectation import CountModel, Monomial
from bayesnu.experiment.flux_files import find_flux
from bayesnu.experiment.load import LoadedCard
from bayesnu.experiment.observed import Layout, check_whole, read_observed
from bayesnu.experiment.recoil_card import LOWEST_RECOIL_EV, PhononDetector, PhotoelectronDetector, RecoilCard
from bayesnu.experiment.recoil_templates import (
    RecoilResponse,
    card_spectra,
    channel_flavours,
    fold_dipole,
    fold_electromagnetic,
    fold_radiative,
    highest_recoil_ev,
    morph,
    morph_shifts,
)
from bayesnu.flux.spectrum import Spectrum
from bayesnu.physics.couplings import CHANNELS, COUPLINGS, ELECTROMAGNETIC, RADIATIVE, TRANSITION
from bayesnu.physics.electron import TERMS
from bayesnu.resources import number, read_table

Array = NDArray[np.float64]
MOST_COUNTS = 1e18
LEAST_EXCESS = 0.01
DECAYS = (
    [("d_nue", 4)],
    [("d_nue", 2), ("d_numu", 2)],
    [("d_nue", 2), ("d_nutau", 2)],
    [("d_nue_d_numu", 2)],
    [("d_nue_d_nutau", 2)],
)
"""Monomials of the counts with a photon from a decay to active neutrinos."""


@dataclass(frozen=True)
class MassiveTemplates:
    """Counts that depend on the mass of N.

    Attributes
    ----------
    dipole : ndarray, shape (responses, targets, channels, bins)
        Per d²; with a photon detector those whose photon comes with N′.
    decays : ndarray, shape (targets, bins)
        Per d_nue² and d_β² of the decay, with a photon; empty without a photon detector.
    """

    dipole: Array
    decays: Array


@dataclass(frozen=True, repr=False)
class RecoilExperiment(Experiment):
    """A card of nuclear recoils with its spectra and folded counts.

    Attributes
    ----------
    spectra : tuple of Spectrum
        Fluence of each species, over the days or the protons of the card.
    electromagnetic : ndarray, shape (responses, targets, channels, terms, bins)
        Counts per unit of the term of `bayesnu.physics.electron.TERMS`; responses are the nominal one, or those at
        `morph_shifts` of the quenching, the nominal one in the middle.
    massive : MassiveTemplates
        Counts that depend on the mass of N.
    anticoincidence : ndarray, shape (bins,)
        Counts out of time with the beam; empty where there is no beam.
    """

    spectra: tuple[Spectrum, ...]
    electromagnetic: Array
    massive: MassiveTemplates
    anticoincidence: Array

    @property
    def card(self) -> RecoilCard:
        """The validated card."""
        return _recoil_card(self.loaded)

    @property
    def signal_sm(self) -> Array:
        """The expected SM counts of CEνNS, shape (obs,); none out of time with the beam."""
        own = self.electromagnetic[_nominal(self.electromagnetic), :, :, 0].sum(axis=1).ravel()
        return np.concatenate([own, np.zeros(self.anticoincidence.size)])

    @property
    def background(self) -> Array:
        """The nominal background counts, shape (obs,)."""
        return np.asarray(self.model.expected() - self.signal_sm)

    @property
    def templates(self) -> Array:
        """All folded counts by the terms of `bayesnu.physics.electron.FOLDED`: those of N after the others."""
        return np.concatenate([self.electromagnetic, self.massive.dipole[:, :, :, None]], axis=3)

    @property
    def variances(self) -> tuple[Variance, ...]:
        """The variances V of χ² (3.1); none where a bin expects nothing."""
        return ("sm+background",) if (self.signal_sm + self.background > 0).all() else ()

    @cached_property
    def bin_edges(self) -> Array:
        """Edges of the reconstructed recoil in eV, or in photoelectrons."""
        return bin_edges(self.card)

    @property
    def unit(self) -> str:
        """Unit of the bin edges: ``"ev"`` or ``"pe"``."""
        return "ev" if isinstance(self.card.detector, PhononDetector) else "pe"

    def observation_coordinates(self) -> Coordinates:
        """Return exposure (compound, or kind of coincidence), bin and bin edges as coordinates on ``obs``."""
        blocks = list(self.card.targets)
        if self.anticoincidence.size:
            blocks = ["coincidence", "anticoincidence"]
        edges = self.bin_edges
        rows = [(block, b) for block in blocks for b in range(edges.size - 1)]
        label = {
            "ev": {"units": "eV", "long_name": "reconstructed recoil [eV]", "scale": "log"},
            "pe": {"units": "1", "long_name": "photoelectrons", "scale": "linear"},
        }[self.unit]
        return {
            "exposure": ("obs", [block for block, _ in rows]),
            "bin": ("obs", [b for _, b in rows]),
            "bin_lo": ("obs", [float(edges[b]) for _, b in rows], label),
            "bin_hi": ("obs", [float(edges[b + 1]) for _, b in rows], label),
        }

    @property
    def mass_reaches(self) -> tuple[float, ...]:
        """The highest neutrino energies in MeV; a nucleus at rest takes 1e-4 of them."""
        return tuple(sorted({1e3 * spectrum.energy_max_gev for spectrum in self.spectra}))

    def caution(self, coupling: str, value: float) -> str:
        """Return how far the decays to active neutrinos are from first order (`fold_radiative`), if by 1% or more."""
        if self.card.photon_detector is None or coupling != "d_nue":
            return ""
        bins = self.bin_edges.size - 1
        all_of_n = fold_dipole(self.card, self.spectra, responses(self.card)[0], bins, self.card.sterile.m_N)
        upscattered = sum(float(own.sum()) for counts in all_of_n.values() for own in counts.values())
        seen = float(self.massive.decays.sum()) / self.card.photon_detector.efficiency
        # 1 - e⁻ˣ = x - x²/2 + …
        excess = seen * value**2 / upscattered / 2 if upscattered > 0 else 0.0
        if not (math.isfinite(excess) and excess >= LEAST_EXCESS):
            return ""
        return (
            f"{coupling} = {value:.3g} {COUPLINGS[coupling].unit}: counts with a photon are too high by about "
            f"{min(excess, 1.0):.0%} or more; N decays within photon_detector.distance_m too often for first order"
        )

    def at(self, m_N: float) -> RecoilExperiment:
        """Return the experiment with N of another mass (MeV); only what depends on it is folded again."""
        massive = massive_templates(self.card, self.spectra, m_N)
        card = self.card.model_copy(update={"sterile": self.card.sterile.model_copy(update={"m_N": m_N})})
        model = build_recoil_model(card, self.spectra, self.electromagnetic, massive, self.anticoincidence)
        return replace(self, loaded=replace(self.loaded, card=card), model=model, massive=massive)


def _recoil_card(loaded: LoadedCard) -> RecoilCard:
    if not isinstance(loaded.card, RecoilCard):
        raise CardError("scattering = 'electron': this needs a card of nuclear recoils")
    return loaded.card


def _nominal(templates: Array) -> int:
    """Return the index of the nominal response."""
    return int(templates.shape[0] // 2)


def bin_edges(card: RecoilCard) -> Array:
    """Return the edges of a card's reconstructed bins, in eV or photoelectrons."""
    detector = card.detector
    if isinstance(detector, PhononDetector):
        return np.array(detector.edges_ev)
    return np.array(detector.bin_edges_pe, dtype=float)


def responses(card: RecoilCard) -> list[RecoilResponse]:
    """Return the nominal response, or those at `morph_shifts` of the quenching."""
    detector = card.detector
    if isinstance(detector, PhononDetector):
        terms = (detector.resolution_ev, detector.resolution_stochastic, detector.resolution_constant)
        curve = tuple((recoil, seen) for recoil, seen in detector.efficiency or ())
        return [Phonons(tuple(detector.edges_ev), *terms, curve)]
    shifts = morph_shifts(quenching_width(card)) if detector.quenching_error > 0 else np.zeros(1)
    a, k, middle = detector.acceptance
    return [
        Photoelectrons(
            tuple(detector.bin_edges_pe),
            detector.light_yield_pe_per_kev,
            detector.quenching * (1 + shift),
            (a, k, middle),
        )
        for shift in shifts.tolist()
    ]


def quenching_width(card: RecoilCard) -> float:
    """Return the relative error of the quenching; 0 for a detector that has none."""
    detector = card.detector
    return detector.quenching_error / detector.quenching if isinstance(detector, PhotoelectronDetector) else 0.0


def massive_templates(card: RecoilCard, spectra: Sequence[Spectrum], m_N: float) -> MassiveTemplates:
    """Return what a mass of N (MeV) gives: recoils, or recoils with a photon where the card has a photon detector."""
    bins = bin_edges(card).size - 1
    if card.photon_detector is not None:
        with_photon = fold_radiative(card, responses(card)[0], bins, m_N)
        counts = np.array([with_photon[target] for target in card.targets])
        return MassiveTemplates(counts[None, :, None, 0], counts[:, 1])
    folded = [fold_dipole(card, spectra, response, bins, m_N) for response in responses(card)]
    dipole = [[[counts[target][s.channel] for s in spectra] for target in card.targets] for counts in folded]
    return MassiveTemplates(np.array(dipole), np.empty((0, bins)))


def electromagnetic_templates(card: RecoilCard, spectra: Sequence[Spectrum]) -> Array:
    """Return counts per term, shape (responses, targets, channels, terms, bins); 0 where a photon is asked for."""
    if card.photon_detector is not None:
        return np.zeros((1, len(card.targets), len(spectra), len(TERMS), bin_edges(card).size - 1))
    folded = [fold_electromagnetic(card, spectra, response) for response in responses(card)]
    return np.array(
        [
            [[[counts[target][s.channel][term] for term in TERMS] for s in spectra] for target in card.targets]
            for counts in folded
        ]
    )


def assemble(loaded: LoadedCard, card: RecoilCard, notice: Callable[[str], None] = silent) -> RecoilExperiment:
    """Fold a card's spectra and read its counts."""
    files: dict[str, Path] = {"card": loaded.path}
    check_comparison(loaded, files, card)
    table = None if card.flux is None else find_flux(loaded, files, card.flux, notice)
    spectra = card_spectra(card, table)
    if isinstance(card.detector, PhononDetector):
        detector = with_efficiency(loaded, files, card.detector, "recoil_ev")
        card = card.model_copy(update={"detector": detector})
        loaded = replace(loaded, card=card)
        check_covers(detector.efficiency, LOWEST_RECOIL_EV, highest_recoil_ev(card, spectra), "eV")
    flavours = channel_flavours(spectra)
    for name in card.couplings:
        if COUPLINGS[name].flavour not in flavours:
            have = ", ".join(flavours)
            raise CardError(f"couplings.{name}: the source has no {COUPLINGS[name].flavour}, only {have}")
    anticoincidence, coincidence = np.empty(0), np.empty(0)
    if card.counts is not None:
        path = locate(loaded, files, "counts", "file", card.counts.file)
        if isinstance(card.detector, PhononDetector):
            coincidence = read_observed(path, recoil_layout(card), whole=not card.expected_data)[:, 0]
        else:
            coincidence, anticoincidence = read_counts(path, card)
    with np.errstate(over="ignore", invalid="ignore"):
        electromagnetic = electromagnetic_templates(card, spectra)
        massive = massive_templates(card, spectra, card.sterile.m_N)
        model = build_recoil_model(card, spectra, electromagnetic, massive, anticoincidence)
    if not (np.isfinite(model.arrays).all() and model.expected().max() < MOST_COUNTS):
        raise CardError(
            "targets: the expected counts overflow; check the masses, the exposure and the distance of the source"
        )
    observed = card.observed_counts is not None or (card.counts is not None and not card.counts.asimov)
    if card.observed_counts is not None:
        data = np.concatenate([np.array(card.observed_counts[target]) for target in card.targets])
    elif observed:
        data = np.concatenate([coincidence, anticoincidence])
    else:
        data = model.expected()
    return RecoilExperiment(loaded, model, data, observed, files, spectra, electromagnetic, massive, anticoincidence)


def recoil_layout(card: RecoilCard) -> Layout:
    """Return what a row of a file of counts stands for: a compound and a bin of the recoil in eV."""
    edges = bin_edges(card).tolist()
    rows = [(name, low, high) for name in card.targets for low, high in pairwise(edges)]
    return Layout(("compound", "recoil_lo_ev", "recoil_hi_ev"), tuple(rows), ("observed",))


def read_counts(path: Path, card: RecoilCard) -> tuple[Array, Array]:
    """Return the coincidence and the anticoincidence counts of a file (pe_low, pe_high, coincidence, anticoincidence).

    Raises
    ------
    CardError
        If its bins are not the detector's, a count is no whole number, or a bin has no anticoincidence counts.
    DataError
        If a number is missing or negative.
    """
    rows = read_table(path, ("pe_low", "pe_high", "coincidence", "anticoincidence"))
    edges = bin_edges(card)
    found = [(number(path, row, "pe_low"), number(path, row, "pe_high")) for row in rows]
    wanted = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    if found != wanted:
        first = next((k for k, (own, bin_) in enumerate(zip(found, wanted, strict=False)) if own != bin_), None)
        where = "" if first is None else f"; bin {first} is {found[first][0]:g} to {found[first][1]:g}, not "
        where += "" if first is None else f"{wanted[first][0]:g} to {wanted[first][1]:g}"
        raise CardError(
            f"counts.file = '{path.name}': has {len(found)} bins from {found[0][0]:g} to {found[-1][1]:g} "
            f"photoelectrons; detector.bin_edges_pe has {edges.size - 1} from {edges[0]:g} to {edges[-1]:g}{where}"
        )
    counts = {
        column: [number(path, row, column, minimum=0) for row in rows] for column in ("coincidence", "anticoincidence")
    }
    for column, values in counts.items() if not card.expected_data else ():
        for row, value in zip(rows, values, strict=True):
            check_whole(path, row, column, value)
    coincidence, anticoincidence = map(np.array, counts.values())
    if not (anticoincidence > 0).all():
        raise CardError(
            f"counts.file = '{path.name}': bin {int(np.argmin(anticoincidence))} has no anticoincidence "
            "counts, so that its background is not known; merge bins"
        )
    return coincidence, anticoincidence


def model_couplings(card: RecoilCard, spectra: Sequence[Spectrum]) -> tuple[str, ...]:
    """Return the couplings that a card's counts may depend on, m_N apart."""
    if card.photon_detector is not None:
        return RADIATIVE
    flavours = channel_flavours(spectra)
    return tuple(name for name in (*ELECTROMAGNETIC, *TRANSITION) if COUPLINGS[name].flavour in flavours)


def build_recoil_model(
    card: RecoilCard,
    spectra: Sequence[Spectrum],
    electromagnetic: Array,
    massive: MassiveTemplates,
    anticoincidence: Array,
) -> CountModel:
    """Gather signal and backgrounds into the expected counts of all observations.

    Without a beam's timing the observations are the bins of every compound: signal (1 + f) and a flat
    background (1 + f_b) each. With it they are C_i ~ Poisson(signal + neutrons + b_i) and
    AC_i ~ Poisson(b_i), b_i free; the quenching is the polynomial of `morph` in the signal.
    """
    n_responses, n_targets, _, _, n_bins = electromagnetic.shape
    couplings = model_couplings(card, spectra)
    n_obs = n_targets * n_bins + anticoincidence.size
    pulls: dict[str, float] = {"flux_norm": card.pulls.flux_norm}
    components: list[tuple[tuple[str, ...], str, dict[Monomial, Array]]] = []

    def padded(counts: Array, start: int = 0) -> Array:
        block = np.zeros(n_obs)
        block[start : start + counts.size] = counts
        return block

    def add(own: dict[Monomial, Array], powers: Sequence[tuple[str, int]], counts: Array) -> None:
        monomial = tuple(sorted((couplings.index(name), n) for name, n in powers))
        own[monomial] = own.get(monomial, np.zeros(n_obs)) + padded(counts.ravel())

    per_response: list[dict[Monomial, Array]] = []
    flavours = [CHANNELS[spectrum.channel].flavour for spectrum in spectra]
    for r, response in enumerate(electromagnetic):
        own: dict[Monomial, Array] = {(): np.zeros(n_obs)}
        for c, flavour in enumerate(flavours if card.photon_detector is None else ()):
            for t, term in enumerate(TERMS.values()):
                add(own, [(f"{family}_{flavour}", n) for family, n in term], response[:, c, t])
        for c, flavour in enumerate(flavours):
            add(own, [(f"d_{flavour}", 2)], massive.dipole[r, :, c])
        for powers in DECAYS if card.photon_detector is not None else ():
            add(own, powers, massive.decays)
        per_response.append(own)
    if n_responses == 1:
        components.append((("flux_norm",), "CEvNS", per_response[0]))
    else:
        pulls["quenching"] = quenching_width(card)
        shifts = morph_shifts(pulls["quenching"])
        parts = {m: morph(np.stack([own[m] for own in per_response]), shifts) for m in per_response[0]}
        for power in range(shifts.size):
            members = ("flux_norm", *["quenching"] * power)
            components.append((members, f"CEvNS, quenching^{power}", {m: part[power] for m, part in parts.items()}))
    free: list[str] = []
    if anticoincidence.size:
        pulls["neutrons"] = card.pulls.neutrons
        width = np.diff(bin_edges(card))
        components.append((("neutrons",), "neutrons", {(): padded(card.backgrounds.neutrons * width / width.sum())}))
        for b, counts in enumerate(anticoincidence.tolist()):
            name = f"steady_state[{b}]"
            free.append(name)
            pulls[name] = 1 / np.sqrt(counts)
            both = np.zeros(n_obs)
            both[[b, n_bins + b]] = counts
            components.append(((name,), f"steady state, bin {b}", {(): both}))
    else:
        days = card.days or 0.0
        kev = np.diff(bin_edges(card)) * 1e-3
        for k, (compound, target) in enumerate(card.targets.items()):
            name = f"background[{compound}]"
            pulls[name] = card.pulls.background
            flat = card.backgrounds.flat_per_kev_kg_day * target.mass_kg * days * kev
            components.append(((name,), f"background in {compound}", {(): padded(flat, k * n_bins)}))
    names = list(pulls)
    monomials: list[Monomial] = list(dict.fromkeys(m for _, _, own in components for m in own))
    arrays = np.zeros((len(components), len(monomials), n_obs))
    for i, (_, _, own) in enumerate(components):
        for monomial, counts in own.items():
            arrays[i, monomials.index(monomial)] = counts
    return CountModel(
        couplings,
        tuple(monomials),
        tuple(tuple(names.index(name) for name in members) for members, _, _ in components),
        tuple(label for _, label, _ in components),
        tuple(names),
        np.array(list(pulls.values())),
        arrays,
        tuple(free),
    )
