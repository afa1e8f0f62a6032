"""Photons of N at a card of nuclear recoils: its nuclei and flux, and how its N decays, as `photons` takes them."""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from bayesnu.errors import UsageError
from bayesnu.experiment.base import Experiment
from bayesnu.experiment.photons import (
    ENERGY_NODES,
    ENERGY_RESOLUTION,
    RECOIL_NODES,
    TO_ACTIVE,
    TRUE_BINS,
    DecayMode,
    PhotonTemplates,
    photon_templates,
)
from bayesnu.experiment.recoil import RecoilExperiment
from bayesnu.experiment.recoil_card import PhononDetector, RecoilCard
from bayesnu.experiment.recoil_templates import reactor_density
from bayesnu.physics.constants import HBARC_GEV_M
from bayesnu.physics.materials import nuclei_per_kg
from bayesnu.physics.sterile_decay import decay_width


def experiment_photons(
    experiment: Experiment,
    m_N: float,
    *,
    moment_mu_b: float = 0.0,
    energy_edges_mev: ArrayLike | None = None,
    cosine_edges: ArrayLike | None = None,
    energy_resolution: float = ENERGY_RESOLUTION,
    energy_nodes: int = ENERGY_NODES,
    recoil_nodes: int = RECOIL_NODES,
    true_bins: int = TRUE_BINS,
) -> PhotonTemplates:
    """Return the photon's shapes at a reactor card: its nuclei, flux, recoil threshold, and how its N decays.

    Parameters
    ----------
    experiment : Experiment
        A `bayesnu.experiment.recoil.RecoilExperiment` at a reactor. Its threshold cuts the true recoil.
    m_N : float
        Mass of N in MeV.
    moment_mu_b : float
        √(d_e² + d_μ² + d_τ²) of the decay to active neutrinos, in μ_B. Where the card has a lighter N′, the shapes
        depend on it: with 0, all decays are to N′.
    energy_edges_mev, cosine_edges, energy_resolution, energy_nodes, recoil_nodes, true_bins
        As in `photon_templates`.

    Raises
    ------
    UsageError
        For another kind of card, a mass that is not between 0 and the highest neutrino energy, and as in
        `photon_templates`.
    """
    card = experiment.card if isinstance(experiment, RecoilExperiment) else None
    if card is None or card.reactor is None or not isinstance(card.detector, PhononDetector):
        raise UsageError(f"{experiment.card.name}: photons from N need a card of nuclear recoils at a reactor")
    if card.detector.efficiency is not None:
        raise UsageError(
            f"{card.name}: photons from N take detector.threshold_ev for a step; remove detector.efficiency"
        )
    highest = card.reactor.energy_max_mev
    if not 0 < m_N < highest:
        raise UsageError(
            f"m_N = {m_N}: must be above 0 and below the highest neutrino energy of {card.name}, {highest:g} MeV"
        )
    nuclei: dict[str, float] = {}
    for compound, target in card.targets.items():
        for symbol, per_kg in nuclei_per_kg(compound).items():
            nuclei[symbol] = nuclei.get(symbol, 0.0) + per_kg * target.mass_kg
    return photon_templates(
        nuclei,
        reactor_density(card.reactor),
        highest,
        card.detector.threshold_ev,
        m_N,
        energy_edges_mev=energy_edges_mev,
        cosine_edges=cosine_edges,
        energy_resolution=energy_resolution,
        modes=decay_modes(card, m_N, moment_mu_b),
        path_width=path_width(card, m_N, moment_mu_b),
        energy_nodes=energy_nodes,
        recoil_nodes=recoil_nodes,
        true_bins=true_bins,
    )


def decay_modes(card: RecoilCard, m_N: float, moment_mu_b: float) -> tuple[DecayMode, ...]:
    """Return the decays of a card's N: to N′ if it has a moment to a lighter one, and to active neutrinos.

    Weights are squared moments times (1 - m'²/m_N²)³, as in `decay_width`; without N′, active neutrinos alone.

    Parameters
    ----------
    card : RecoilCard
    m_N : float
        In MeV.
    moment_mu_b : float
        As in `experiment_photons`.

    Raises
    ------
    UsageError
        For a negative or infinite moment.
    """
    decay = card.decay
    if not 0 <= moment_mu_b < math.inf:
        raise UsageError(f"moment_mu_b = {moment_mu_b}: must be at least 0")
    if decay.d_NNp == 0 or decay.m_Np >= m_N:
        return (TO_ACTIVE,)
    fraction = 1 - (decay.m_Np / m_N) ** 2
    ratio = (moment_mu_b / decay.d_NNp) ** 2
    return DecayMode(ratio), DecayMode(fraction**3, fraction, decay.chirality)


def path_width(card: RecoilCard, m_N: float, moment_mu_b: float) -> float:
    """Return l₀ Γ/ħc of a Dirac N at a card with a photon detector, else 0; m_N in MeV, the moment in μ_B."""
    if card.photon_detector is None:
        return 0.0
    mass, decay = 1e-3 * m_N, card.decay
    width = decay_width(mass, [moment_mu_b], majorana=False)
    width += decay_width(mass, [decay.d_NNp], majorana=False, daughter_gev=1e-3 * decay.m_Np)
    return card.photon_detector.distance_m * width / HBARC_GEV_M
