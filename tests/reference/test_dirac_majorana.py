"""Dirac or Majorana N at NUCLEUS, 10 g, against numbers computed independently of this code.

Photon energies in 22 bins to 9.6 MeV with 10% resolution, 10 bins of the angle; no background, m_N known.
"""

import math

import numpy as np
import pytest

from bayesnu.experiment.photons import PhotonTemplates
from bayesnu.experiment.recoil_photons import experiment_photons
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.discrimination import events_needed, log_bayes_factor, relative_entropy, simulate

SIGN = {"majorana": 1, "dirac": -1}
QUICK = {"energy_nodes": 32, "recoil_nodes": 24, "true_bins": 160}
"""Precise to a percent in each bin."""


@pytest.fixture(scope="module")
def nucleus() -> Experiment:
    return load_experiment("nucleus-10g")


@pytest.fixture(scope="module")
def templates(nucleus: Experiment) -> dict[float, PhotonTemplates]:
    return {mass: experiment_photons(nucleus, mass, **QUICK) for mass in (1.0, 3.0, 5.0)}


def energy_only(item: PhotonTemplates) -> PhotonTemplates:
    dirac, majorana = (shape.sum(axis=1, keepdims=True) for shape in (item.dirac, item.majorana))
    return PhotonTemplates(item.mass_mev, item.energy_edges_mev, np.array([-1.0, 1.0]), dirac, majorana)


@pytest.mark.parametrize(("mass", "energy", "both"), [(1.0, 0.113, 0.118), (3.0, 0.106, 0.140), (5.0, 0.070, 0.145)])
def test_relative_entropy(mass: float, energy: float, both: float, templates: dict[float, PhotonTemplates]) -> None:
    """Mean ln B per event if N is Majorana; the angle helps where N is slow."""
    assert relative_entropy(energy_only(templates[mass]), "majorana") == pytest.approx(energy, rel=0.05)
    assert relative_entropy(templates[mass], "majorana") == pytest.approx(both, rel=0.05)


@pytest.mark.parametrize(
    ("mass", "majorana", "dirac"),
    [(0.5, 1.111, 0.754), (1.0, 1.229, 0.868), (2.0, 1.605, 1.220), (3.0, 1.979, 1.618), (5.0, 2.881, 2.562)],
)
def test_mean_photon_energies(mass: float, majorana: float, dirac: float, nucleus: Experiment) -> None:
    edges = np.linspace(0, 9.6, 481)
    found = experiment_photons(nucleus, mass, energy_edges_mev=edges, cosine_edges=[-1, 1], **QUICK)
    centre = (edges[1:] + edges[:-1]) / 2
    assert centre @ found.majorana[:, 0] == pytest.approx(majorana, rel=0.01)
    assert centre @ found.dirac[:, 0] == pytest.approx(dirac, rel=0.01)


@pytest.mark.parametrize("mass", [1.0, 3.0, 5.0])
def test_events_needed_if_majorana(mass: float, templates: dict[float, PhotonTemplates]) -> None:
    """16 to 23 events in half and 50 to 63 in 90% of the experiments, from 1000 simulated ones: ±10%."""
    half, most = (
        events_needed(templates[mass], "majorana", p, np.random.default_rng(11), experiments=5000) for p in (0.5, 0.9)
    )
    assert 16 <= half.events <= 23
    assert 50 <= most.events <= 63 * 1.05
    assert half.error < 1
    assert most.error < 2


@pytest.mark.parametrize(("mass", "half", "most"), [(1.0, (21, 24), (59, 74)), (5.0, (32, 38), (100, 120))])
def test_events_needed_by_energy_alone(
    mass: float, half: tuple[int, int], most: tuple[int, int], templates: dict[float, PhotonTemplates]
) -> None:
    item = energy_only(templates[mass])
    for p, (low, high) in ((0.5, half), (0.9, most)):
        found = events_needed(item, "majorana", p, np.random.default_rng(12), experiments=5000)
        assert 0.9 * low <= found.events <= 1.1 * high


@pytest.mark.parametrize("truth", ["majorana", "dirac"])
@pytest.mark.parametrize("mass", [1.0, 5.0])
def test_mean_of_the_inverse_is_one(mass: float, truth: str, templates: dict[float, PhotonTemplates]) -> None:
    """E[1/B] = 1 under the truth: exactly for one event, within its Monte Carlo error for three."""
    item = templates[mass]
    own, other = (item.majorana, item.dirac) if truth == "majorana" else (item.dirac, item.majorana)
    assert (own * (other / own)).sum() == pytest.approx(1, abs=1e-12)
    sample = simulate(item, truth, 3, 20_000, np.random.default_rng(13))
    values = np.exp(-SIGN[truth] * log_bayes_factor(sample, item))
    assert values.mean() == pytest.approx(1, abs=4 * values.std() / math.sqrt(values.size))
