"""Assemble a card of nuclear recoils into everything that a fit needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bayesnu.detector.recoil import Phonons, Photoelectrons
from bayesnu.errors import CardError
from bayesnu.experiment.base import Coordinates, Experiment, check_comparison, locate
from bayesnu.experiment.expectation import CountModel, Monomial
from bayesnu.experiment.load import LoadedCard
from bayesnu.experiment.recoil_card import PhononDetector, PhotoelectronDetector, RecoilCard
from bayesnu.experiment.recoil_templates import (
    RecoilResponse,
    card_spectra,
    channel_flavours,
    fold_dipole,
    fold_electromagnetic,
    morph,
)
from bayesnu.flux.spectrum import Spectrum
from bayesnu.physics.couplings import CHANNELS, COUPLINGS
from bayesnu.physics.electron import TERMS
from bayesnu.resources import number, read_table

Array = NDArray[np.float64]
FOLDED = {**TERMS, "d^2": (("d", 2),)}
"""Every term of a recoil spectrum: those of `bayesnu.physics.electron.TERMS`, and the upscattering to N."""


@dataclass(frozen=True)
class RecoilExperiment(Experiment):
    """A card of nuclear recoils with its spectra and folded counts.

    Attributes
    ----------
    spectra : tuple of Spectrum
        Fluence per species, over the days or the protons of the card.
    templates : ndarray, shape (responses, targets, channels, terms, bins)
        Counts per unit of the term of `FOLDED`; responses are the nominal one, or quenching
        down, nominal and up.
    anticoincidence : ndarray, shape (bins,)
        Counts out of time with the beam; empty where there is no beam.
    """

    spectra: tuple[Spectrum, ...]
    templates: Array
    anticoincidence: Array

    @property
    def card(self) -> RecoilCard:
        """The validated card."""
        return _recoil_card(self.loaded)

    @property
    def signal_sm(self) -> Array:
        """The expected SM counts of CEνNS, shape (obs,); none out of time with the beam."""
        own = self.templates[_nominal(self.templates), :, :, 0].sum(axis=1).ravel()
        return np.concatenate([own, np.zeros(self.anticoincidence.size)])

    @property
    def background(self) -> Array:
        """The nominal background counts, shape (obs,)."""
        return np.asarray(self.model.expected() - self.signal_sm)

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

    def at(self, m_N: float) -> RecoilExperiment:
        """Return the experiment with N of another mass (MeV); only what depends on it is folded again."""
        templates = self.templates.copy()
        templates[:, :, :, list(FOLDED).index("d^2")] = _dipole_templates(self.card, self.spectra, m_N)
        card = self.card.model_copy(update={"sterile": self.card.sterile.model_copy(update={"m_N": m_N})})
        model = build_recoil_model(card, self.spectra, templates, self.anticoincidence)
        return replace(self, loaded=replace(self.loaded, card=card), model=model, templates=templates)


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
        return np.geomspace(detector.threshold_ev, detector.highest_ev, detector.bins + 1)
    return np.array(detector.bin_edges_pe, dtype=float)


def responses(card: RecoilCard) -> list[RecoilResponse]:
    """Return the nominal response, or those with the quenching down, nominal and up."""
    detector = card.detector
    if isinstance(detector, PhononDetector):
        return [Phonons(tuple(bin_edges(card).tolist()), detector.resolution_ev)]
    shifts = (-1, 0, 1) if detector.quenching_error > 0 else (0,)
    a, k, middle = detector.acceptance
    return [
        Photoelectrons(
            tuple(detector.bin_edges_pe),
            detector.light_yield_pe_per_kev,
            detector.quenching + shift * detector.quenching_error,
            (a, k, middle),
        )
        for shift in shifts
    ]


def quenching_width(card: RecoilCard) -> float:
    """Return the relative error of the quenching; 0 for a detector that has none."""
    detector = card.detector
    return detector.quenching_error / detector.quenching if isinstance(detector, PhotoelectronDetector) else 0.0


def _dipole_templates(card: RecoilCard, spectra: Sequence[Spectrum], m_N: float) -> Array:
    """Return counts per d², shape (responses, targets, channels, bins)."""
    bins = bin_edges(card).size - 1
    folded = [fold_dipole(card, spectra, response, bins, m_N) for response in responses(card)]
    return np.array([[[counts[target][s.channel] for s in spectra] for target in card.targets] for counts in folded])


def assemble(loaded: LoadedCard, card: RecoilCard) -> RecoilExperiment:
    """Fold a card's spectra and read its counts."""
    files: dict[str, Path] = {"card": loaded.path}
    check_comparison(loaded, files, card)
    spectra = card_spectra(card)
    flavours = channel_flavours(spectra)
    for name in card.couplings:
        if COUPLINGS[name].flavour not in flavours:
            have = ", ".join(flavours)
            raise CardError(f"couplings.{name}: the source has no {COUPLINGS[name].flavour}, only {have}")
    anticoincidence, coincidence = np.empty(0), np.empty(0)
    if card.counts is not None:
        coincidence, anticoincidence = read_counts(locate(loaded, files, "counts", "file", card.counts.file), card)
    folded = [fold_electromagnetic(card, spectra, response) for response in responses(card)]
    electromagnetic = np.array(
        [
            [[[counts[target][s.channel][term] for term in TERMS] for s in spectra] for target in card.targets]
            for counts in folded
        ]
    )
    dipole = _dipole_templates(card, spectra, card.sterile.m_N)
    templates = np.concatenate([electromagnetic, dipole[:, :, :, None]], axis=3)
    model = build_recoil_model(card, spectra, templates, anticoincidence)
    observed = card.observed_counts is not None or (card.counts is not None and not card.counts.asimov)
    if card.observed_counts is not None:
        data = np.concatenate([np.array(card.observed_counts[target]) for target in card.targets])
    elif observed:
        data = np.concatenate([coincidence, anticoincidence])
    else:
        data = model.expected()
    return RecoilExperiment(loaded, model, data, observed, files, spectra, templates, anticoincidence)


def read_counts(path: Path, card: RecoilCard) -> tuple[Array, Array]:
    """Return the coincidence and the anticoincidence counts of a file (pe_low, pe_high, coincidence, anticoincidence).

    Raises
    ------
    CardError
        If its bins are not the detector's, or a bin has no anticoincidence counts.
    DataError
        If a number is missing or negative.
    """
    rows = read_table(path, ("pe_low", "pe_high", "coincidence", "anticoincidence"))
    edges = bin_edges(card)
    found = [(number(path, row, "pe_low"), number(path, row, "pe_high")) for row in rows]
    if found != list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)):
        raise CardError(
            f"counts.file = '{path.name}': has {len(found)} bins from {found[0][0]:g} to {found[-1][1]:g} "
            f"photoelectrons; detector.bin_edges_pe has {edges.size - 1} from {edges[0]:g} to {edges[-1]:g}"
        )
    coincidence, anticoincidence = (
        np.array([number(path, row, column, minimum=0) for row in rows])
        for column in ("coincidence", "anticoincidence")
    )
    if not (anticoincidence > 0).all():
        raise CardError(
            f"counts.file = '{path.name}': bin {int(np.argmin(anticoincidence))} has no anticoincidence "
            "counts, so that its background is not known; merge bins"
        )
    return coincidence, anticoincidence


def build_recoil_model(
    card: RecoilCard, spectra: Sequence[Spectrum], templates: Array, anticoincidence: Array
) -> CountModel:
    """Gather signal and backgrounds into the expected counts of all observations.

    Without a beam's timing the observations are the bins of every compound: signal (1 + f) and a flat
    background (1 + f_b) each. With it they are C_i ~ Poisson(signal + neutrons + b_i) and
    AC_i ~ Poisson(b_i), b_i free; the quenching is the parabola of `morph` in the signal.
    """
    n_responses, n_targets, _, _, n_bins = templates.shape
    flavours = channel_flavours(spectra)
    couplings = tuple(name for name, item in COUPLINGS.items() if item.flavour in flavours)
    n_obs = n_targets * n_bins + anticoincidence.size
    pulls: dict[str, float] = {"flux_norm": card.pulls.flux_norm}
    components: list[tuple[tuple[str, ...], str, dict[Monomial, Array]]] = []

    def padded(counts: Array, start: int = 0) -> Array:
        block = np.zeros(n_obs)
        block[start : start + counts.size] = counts
        return block

    per_response: list[dict[Monomial, Array]] = []
    for response in templates:
        own: dict[Monomial, Array] = {(): np.zeros(n_obs)}
        for c, spectrum in enumerate(spectra):
            flavour = CHANNELS[spectrum.channel].flavour
            for t, term in enumerate(FOLDED.values()):
                monomial = tuple(sorted((couplings.index(f"{family}_{flavour}"), n) for family, n in term))
                own[monomial] = own.get(monomial, np.zeros(n_obs)) + padded(response[:, c, t].ravel())
        per_response.append(own)
    if n_responses == 1:
        components.append((("flux_norm",), "CEvNS", per_response[0]))
    else:
        pulls["quenching"] = quenching_width(card)
        down, nominal, up = per_response
        parts = {m: morph({"down": down[m], "nominal": nominal[m], "up": up[m]}, pulls["quenching"]) for m in nominal}
        for power in range(3):
            members = ("flux_norm", *["quenching"] * power)
            components.append((members, f"CEvNS, quenching^{power}", {m: part[power] for m, part in parts.items()}))
    free: list[str] = []
    if card.counts is not None:
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
        days = card.reactor.days if card.reactor is not None else 0.0
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
