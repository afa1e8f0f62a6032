"""ν-e events of a decay-at-rest source in windows of electron energy, from the ratio of cross sections to the SM's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import CardError
from bayesnu.experiment.base import Coordinates, MeasuredExperiment, check_comparison, locate
from bayesnu.experiment.electron_window_card import ElectronWindowCard
from bayesnu.experiment.expectation import CountModel
from bayesnu.experiment.load import LoadedCard
from bayesnu.experiment.observed import Layout, read_observed
from bayesnu.flux.spectrum import Spectrum, continuous_spectrum, line_spectrum
from bayesnu.flux.stopped_pion import END_POINT_MEV, PROMPT_ENERGY_MEV, michel_nue, michel_numubar
from bayesnu.physics.constants import ELECTRON_MASS_GEV, FERMI_CONSTANT_GEV2, HBARC2_CM2_GEV2
from bayesnu.physics.couplings import CHANNELS
from bayesnu.physics.electron import cross_section_terms
from bayesnu.physics.kinematics import neutrino_energy_min

Array = NDArray[np.float64]
LOWEST_ENERGY_MEV = 0.1
NODES_PER_BIN = 64


@dataclass(frozen=True, repr=False)
class ElectronWindowExperiment(MeasuredExperiment):
    """A card of ν-e events in windows of electron energy.

    Attributes
    ----------
    measured_errors : ndarray, shape (obs,)
        Standard deviations of the data.
    """

    measured_errors: Array

    @property
    def card(self) -> ElectronWindowCard:
        """The validated card."""
        if not isinstance(self.loaded.card, ElectronWindowCard):
            raise CardError("scattering: this needs a card of electron windows")
        return self.loaded.card

    @property
    def errors(self) -> Array:
        """The measured errors of the data, shape (obs,)."""
        return self.measured_errors

    def observation_coordinates(self) -> Coordinates:
        """Return exposure, bin and bin edges as coordinates on ``obs``."""
        edges = self.card.detector.bin_edges_mev
        bins = len(edges) - 1
        label = {"units": "MeV", "long_name": "kinetic energy of the electron [MeV]", "scale": "linear"}
        return {
            "exposure": ("obs", ["decay at rest"] * bins),
            "bin": ("obs", list(range(bins))),
            "bin_lo": ("obs", edges[:-1], label),
            "bin_hi": ("obs", edges[1:], label),
        }

    def at(self, m_N: float) -> ElectronWindowExperiment:
        """Return the experiment itself: it has no transition moments."""
        return self


def decay_at_rest_spectra() -> tuple[Spectrum, ...]:
    """Return ν_μ, ν̄_μ and ν_e of π⁺ and μ⁺ at rest, one of each."""
    return (
        line_spectrum("numu", PROMPT_ENERGY_MEV, 1.0),
        continuous_spectrum("numubar", michel_numubar, LOWEST_ENERGY_MEV, END_POINT_MEV),
        continuous_spectrum("nue", michel_nue, LOWEST_ENERGY_MEV, END_POINT_MEV),
    )


def slope_sm(sin2_theta_w: float) -> float:
    """Return σ/E_ν of ν_e e → ν_e e for E ≫ m_e: 2 G_F² m_e [(1/2 + s²)² + s⁴/3]/π, in cm² per MeV."""
    norm = 2 * FERMI_CONSTANT_GEV2**2 * ELECTRON_MASS_GEV / math.pi * HBARC2_CM2_GEV2
    return norm * ((0.5 + sin2_theta_w) ** 2 + sin2_theta_w**2 / 3) * 1e-3


def folded(spectrum: Spectrum, edges_mev: list[float], sin2_theta_w: float) -> dict[str, Array]:
    """Return ∫dT ∫dE Φ dσ/dT over each bin of the kinetic energy, term by term, per electron."""
    x, weight = np.polynomial.legendre.leggauss(NODES_PER_BIN)
    edges = np.array(edges_mev) * 1e-3
    half = np.diff(edges)[:, None] / 2
    recoil = edges[:-1, None] + half * (x + 1)
    terms = cross_section_terms(recoil.ravel(), spectrum.channel, sin2_theta_w=sin2_theta_w)
    above = spectrum.above(neutrino_energy_min(recoil.ravel()))
    return {
        name: ((coefficients * above).sum(axis=0).reshape(recoil.shape) * half * weight).sum(axis=1)
        for name, coefficients in terms.items()
    }


def window_layout(card: ElectronWindowCard) -> Layout:
    """Return what a row of a file of counts stands for: a bin of the electron's energy in MeV."""
    rows = tuple(pairwise(card.detector.bin_edges_mev))
    return Layout(("energy_lo_mev", "energy_hi_mev"), rows, ("observed", "error"))


def read_measurement(loaded: LoadedCard, files: dict[str, Path], card: ElectronWindowCard) -> tuple[Array, Array]:
    """Return the counts and their errors, of the card or of its file.

    Raises
    ------
    CardError
        If a number of the file is not above 0.
    """
    if card.counts is None:
        measurement = card.exposures[0]
        return np.array(measurement.observed_counts), np.array(measurement.observed_errors)
    path = locate(loaded, files, "counts", "file", card.counts.file)
    values = read_observed(path, window_layout(card), whole=False)
    if not (values > 0).all():
        row = int(np.argmin(values.min(axis=1)))
        raise CardError(f"counts.file = '{path.name}': bin {row}: counts and errors must be above 0")
    return values[:, 0], values[:, 1]


def assemble(loaded: LoadedCard, card: ElectronWindowCard) -> ElectronWindowExperiment:
    """Return the experiment: N_SM from the measured slope, the magnetic counts from N_SM by the ratio of rates."""
    files: dict[str, Path] = {"card": loaded.path}
    check_comparison(loaded, files, card)
    edges, sin2 = card.detector.bin_edges_mev, card.physics.sin2_theta_w
    data, errors = read_measurement(loaded, files, card)
    rates = {spectrum.channel: folded(spectrum, edges, sin2) for spectrum in decay_at_rest_spectra()}
    total = card.normalisation.events * slope_sm(sin2) / card.normalisation.slope_cm2_per_mev
    reference = rates["nue"]["1"]
    if not (reference > 0).all():
        raise CardError(f"detector.bin_edges_mev: no electron has more than {END_POINT_MEV:.4g} MeV")
    # One normalisation for all bins; the other species' SM events are not among the counts.
    scale = total / reference.sum()
    couplings = card.known_couplings
    arrays = np.zeros((1, 1 + len(couplings), data.size))
    arrays[0, 0] = reference * scale
    for channel, own in rates.items():
        arrays[0, 1 + couplings.index(f"mu_{CHANNELS[channel].flavour}")] += own["mu^2"] * scale
    monomials = ((), *(((j, 2),) for j in range(len(couplings))))
    widths = np.array([card.pulls.flux_norm])
    model = CountModel(couplings, monomials, ((0,),), ("nu-e",), ("flux_norm",), widths, arrays)
    return ElectronWindowExperiment(loaded, model, data, True, files, errors)
