"""N as they are emitted and their photons, without a detector: at one neutrino energy, or folded with a reactor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesnu.errors import UsageError
from bayesnu.experiment.photons import (
    ENERGY_RESOLUTION,
    PhotonTemplates,
    default_edges,
    smearing_matrix,
    weighted_emissions,
)
from bayesnu.experiment.recoil import RecoilExperiment
from bayesnu.experiment.recoil_card import PhononDetector
from bayesnu.experiment.recoil_templates import reactor_density
from bayesnu.experiment.setup import load_experiment
from bayesnu.flux.reactor import ENERGY_MAX_MEV
from bayesnu.physics.dipole import Emission, emission, primakoff_cross_section, recoil_window
from bayesnu.physics.materials import ELEMENTS, nuclei_per_kg
from bayesnu.physics.nucleus import helm_form_factor
from bayesnu.physics.sterile_decay import decay_probability, photon_distribution, photon_energy_fractions

Array = NDArray[np.float64]
MODEL = "nucleus-10g-radiative"
"""Its nuclei, flux and threshold make the photon shapes; those of 10 kg are the same."""
DIRAC, MAJORANA = 1.0, 0.0
"""The asymmetry s of the photon law for N → ν γ."""
ENERGY_NODES, RECOIL_NODES = 64, 48
QUICK_NODES = (32, 24)
"""Nodes in E and T for templates in energy and angle: precise to a percent in each bin."""
CHUNK = 400
"""N whose photons are computed at once."""


@dataclass(frozen=True)
class Sample:
    """N of one mass.

    Attributes
    ----------
    mass_mev : float
    weight : ndarray, shape (n,)
        Adds up to 1.
    emitted : Emission
        Arrays of shape (n,).
    """

    mass_mev: float
    weight: Array
    emitted: Emission

    def mean(self, values: Array) -> float:
        """Return the weighted mean of some values, shape (n,)."""
        return float(self.weight @ values)


def load_recoils(model: str, overrides: Sequence[str] = ()) -> RecoilExperiment:
    """Load a card of nuclear recoils.

    Raises
    ------
    UsageError
        If the card is of another kind.
    """
    experiment = load_experiment(model, overrides)
    if not isinstance(experiment, RecoilExperiment):
        raise UsageError(f"{model}: needs a card of nuclear recoils")
    return experiment


def nuclei(experiment: RecoilExperiment) -> dict[str, float]:
    """Return the number of nuclei of each element."""
    numbers: dict[str, float] = {}
    for compound, target in experiment.card.targets.items():
        for symbol, per_kg in nuclei_per_kg(compound).items():
            numbers[symbol] = numbers.get(symbol, 0.0) + per_kg * target.mass_kg
    return numbers


def threshold_ev(experiment: RecoilExperiment) -> float:
    """Return the recoil threshold of a card with phonons."""
    if not isinstance(experiment.card.detector, PhononDetector):
        raise UsageError(f"{experiment.card.name}: needs a phonon detector")
    return experiment.card.detector.threshold_ev


def _collected(mass_mev: float, parts: Sequence[tuple[Array, Emission]]) -> Sample:
    weight = np.concatenate([w.ravel() for w, _ in parts])
    columns = [np.concatenate([e[k].ravel() for _, e in parts]) for k in range(len(Emission._fields))]
    return Sample(mass_mev, weight / weight.sum(), Emission(*columns))


def folded(
    experiment: RecoilExperiment,
    mass_mev: float,
    *,
    path_m: float | None = None,
    width_gev: float | None = None,
    nodes: tuple[int, int] = (ENERGY_NODES, RECOIL_NODES),
) -> Sample:
    """Return the N of a reactor card that decay: weight Φ Z² F² dσ/dT m/p (long-lived N).

    With a path and a width the weight m/p is replaced by the probability of decay, 1 - exp(-l₀ Γ m/(p ħc)).
    """
    reactor = experiment.card.reactor
    if reactor is None:
        raise UsageError(f"{experiment.card.name}: needs a reactor")
    density, threshold = reactor_density(reactor), threshold_ev(experiment)
    parts = []
    for symbol, number in nuclei(experiment).items():
        weights, emitted = weighted_emissions(
            ELEMENTS[symbol],
            density,
            ENERGY_MAX_MEV,
            threshold,
            mass_mev,
            energy_nodes=nodes[0],
            recoil_nodes=nodes[1],
        )
        if path_m is not None and width_gev is not None:
            p, mass = emitted.momentum_gev, 1e-3 * mass_mev
            weights = weights * (p / mass) * decay_probability(path_m, p, mass, width_gev)
        parts.append((number * weights, emitted))
    return _collected(mass_mev, parts)


def at_energy(experiment: RecoilExperiment, mass_mev: float, energy_mev: float, nodes: int = 400) -> Sample:
    """Return the N from neutrinos of one energy on the card's nuclei, above its threshold: weight Z² F² dσ/dT m/p."""
    x, weight = np.polynomial.legendre.leggauss(nodes)
    m, E = 1e-3 * mass_mev, 1e-3 * energy_mev
    parts = []
    for symbol, number in nuclei(experiment).items():
        element = ELEMENTS[symbol]
        low, high = (float(edge) for edge in recoil_window(E, m, element.mass_gev))
        low = max(low, 1e-9 * threshold_ev(experiment))
        if not high > low:
            continue
        T = low * (high / low) ** ((x + 1) / 2)
        emitted = emission(T, E, m, element.mass_gev)
        rate = (
            primakoff_cross_section(T, E, m, element.mass_gev) * (element.protons * helm_form_factor(T, element)) ** 2
        )
        parts.append((number * rate * T * weight * np.log(high / low) * m / emitted.momentum_gev, emitted))
    return _collected(mass_mev, parts)


def photon_energies(sample: Sample, edges_mev: ArrayLike, asymmetry: float) -> Array:
    """Return the probability of each bin of the true photon energy, shape (bins,); exact for the given N."""
    fractions = photon_energy_fractions(1e-3 * np.asarray(edges_mev, dtype=float), sample.emitted, asymmetry)
    return np.asarray(sample.weight @ fractions)


def photons(sample: Sample, edges_mev: ArrayLike, cosine_edges: ArrayLike, asymmetry: float, nodes: int = 2) -> Array:
    """Return the probability of each bin of the true photon energy and angle to the beam, shape (energies, cosines)."""
    edges, cosines = 1e-3 * np.asarray(edges_mev, dtype=float), np.asarray(cosine_edges, dtype=float)
    total = np.zeros((edges.size - 1, cosines.size - 1))
    for start in range(0, sample.weight.size, CHUNK):
        some = slice(start, start + CHUNK)
        emitted = Emission(*(part[some] for part in sample.emitted))
        shape = photon_distribution(edges, cosines, emitted, asymmetry, nodes)
        total += np.einsum("n,nec->ec", sample.weight[some], shape)
    return total


def reconstructed(dirac: Sample, majorana: Sample, true_bins: int = 160) -> PhotonTemplates:
    """Return templates as `bayesnu.experiment.photons.photon_templates` makes them, for N of any weights."""
    edges, cosines = default_edges(ENERGY_MAX_MEV)
    true_edges = ENERGY_MAX_MEV * np.linspace(0.0, 1.0, true_bins + 1) ** 2
    smearing = smearing_matrix(true_edges, edges, ENERGY_RESOLUTION)
    pairs = ((dirac, DIRAC), (majorana, MAJORANA))
    shapes = [np.maximum(smearing @ photons(sample, true_edges, cosines, s), 0.0) for sample, s in pairs]
    return PhotonTemplates(dirac.mass_mev, edges, cosines, *(shape / shape.sum() for shape in shapes))
