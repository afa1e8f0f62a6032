"""Events against Table 1, the physics page's ratios, and a slow folding written here."""

import numpy as np
import pytest
from scipy.special import erf

from bayesnu.detector.store import find_response
from bayesnu.experiment.setup import Experiment
from bayesnu.experiment.templates import response_settings
from bayesnu.physics.couplings import CHANNELS

M = 0.51099895e-3
CHANNEL_NAMES = list(CHANNELS)
# Calculated over Table 1, in the order numu, numubar, nue, nuebar (physics page).
RATIOS = {
    ("neutrino", 0.0): (0.994, 0.884, 0.998, 1.049),
    ("antineutrino", 0.0): (0.916, 1.001, 0.881, 1.033),
    ("neutrino", 18.0): (1.034, 1.025, 1.077, 1.002),
    ("antineutrino", 18.0): (1.001, 1.040, 1.141, 1.010),
    ("neutrino", 30.0): (1.031, 1.049, 1.062, 0.935),
    ("antineutrino", 30.0): (0.965, 1.027, 1.079, 0.990),
}
TABLE_1 = {
    ("neutrino", 0.0): (5915, 593, 574, 78),
    ("neutrino", 18.0): (573, 102, 108, 21),
    ("neutrino", 30.0): (175, 39, 39, 9),
    ("antineutrino", 0.0): (864, 4515, 285, 173),
    ("antineutrino", 18.0): (161, 409, 54, 35),
    ("antineutrino", 30.0): (65, 126, 23, 13),
}


@pytest.mark.parametrize("place", list(RATIOS), ids=str)
def test_absolute_normalisation_over_table_1(absolute_prism: Experiment, place: tuple[str, float]) -> None:
    k = [(e.mode, e.position_m) for e in absolute_prism.card.exposures].index(place)
    np.testing.assert_allclose(absolute_prism.templates.per_year[k, :, 0] / TABLE_1[place], RATIOS[place], atol=0.003)


@pytest.mark.parametrize("place", list(RATIOS), ids=str)
def test_table_normalisation_is_table_1(prism: Experiment, place: tuple[str, float]) -> None:
    k = [(e.mode, e.position_m) for e in prism.card.exposures].index(place)
    np.testing.assert_allclose(prism.templates.per_year[k, :, 0], TABLE_1[place], rtol=1e-12)


@pytest.mark.parametrize(("fixture", "events"), [("on_axis", 45_490), ("prism", 24_452)])
def test_events_of_both_scenarios(fixture: str, events: int, request: pytest.FixtureRequest) -> None:
    experiment: Experiment = request.getfixturevalue(fixture)
    years = np.array([e.years for e in experiment.card.exposures])
    assert (experiment.templates.per_year[:, :, 0].sum(axis=1) * years).sum() == pytest.approx(events, abs=1)


def test_events_above_the_window_are_lost(on_axis: Experiment) -> None:
    """About 6.5% on axis."""
    years = np.array([e.years for e in on_axis.card.exposures])
    made = (on_axis.templates.per_year[:, :, 0].sum(axis=1) * years).sum()
    assert 1 - on_axis.signal_sm.sum() / made == pytest.approx(0.065, abs=0.003)


@pytest.mark.parametrize("fixture", ["on_axis", "prism"])
def test_shipped_response_gives_every_large_bin_to_a_permille(fixture: str, request: pytest.FixtureRequest) -> None:
    """Each bin with more than 1% of its exposure's counts."""
    experiment: Experiment = request.getfixturevalue(fixture)
    counts, error = experiment.templates.values, experiment.templates.error
    settings = response_settings(experiment.card, experiment.flux)
    assert settings.samples >= 5_000_000
    assert find_response(settings, lambda _: None).error.max() > 0
    # The channels share the response's cells: add their errors.
    sm, sm_error = counts[:, :, 0].sum(axis=1), error[:, :, 0].sum(axis=1)
    large = sm > 0.01 * sm.sum(axis=1, keepdims=True)
    assert large.sum() >= 60 * len(counts) / 6
    assert (sm_error / sm)[large].max() <= 1e-3


def bin_probabilities(electron: float, x: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """P(bin | E_e, E_e θ²): midpoints in |θ_1| and azimuth, normal CDFs in energy; shape (x, bins)."""
    tilt = (np.arange(80) + 0.5) * 5.5 / 80
    weight = np.exp(-(tilt**2) / 2)
    weight /= weight.sum()
    azimuth = np.pi * (np.arange(24) + 0.5) / 24
    true = np.sqrt(x / electron)[:, None, None]
    t1 = np.deg2rad(1.0) * tilt[None, :, None]
    cosine = np.cos(true) * np.cos(t1) - np.sin(true) * np.sin(t1) * np.cos(azimuth)
    angle2 = np.arccos(np.clip(cosine, -1, 1)) ** 2
    z = (edges / angle2[..., None] - electron) / (0.10 * np.sqrt(electron))
    cdf = (1 + erf(z / np.sqrt(2))) / 2
    return np.einsum("t,xtab->xb", weight, np.diff(cdf, axis=3)) / 24


def slow_folding(experiment: Experiment, mode: str, position: float, channel: str) -> np.ndarray:
    """∫dT ∫dE Φ(E) dσ/dT P(bin | T, θ(T, E)) on plain grids: SM counts per year, absolute."""
    spectrum = experiment.flux.spectra[mode, position]
    flux = spectrum.values[CHANNEL_NAMES.index(channel)]
    edges = np.array(experiment.card.detector.bin_edges_mev) * 1e-3
    s, delta = (-1 if channel.endswith("bar") else 1), (1 if channel.startswith("nue") else 0)
    g_v, g_a = -0.5 + 2 * 0.2385 + delta, -0.5 + delta
    step = np.log(20 / 0.03) / 64
    counts = np.zeros(edges.size - 1)
    x_nodes = np.linspace(0, 1.03 * 2 * M, 18)
    for T in 0.03 * np.exp(step * (np.arange(64) + 0.5)):
        lowest = (T + np.sqrt(T**2 + 2 * M * T)) / 2
        # 400 midpoints in each flux bin's part of the window.
        low, high = np.maximum(spectrum.edges_gev[:-1], lowest), np.maximum(spectrum.edges_gev[1:], lowest)
        energy = low[:, None] + (high - low)[:, None] * (np.arange(400) + 0.5) / 400
        y = T / energy
        sigma = (g_v + s * g_a) ** 2 + (g_v - s * g_a) ** 2 * (1 - y) ** 2 - (g_v**2 - g_a**2) * M * T / energy**2
        sigma *= M * 1.1663787e-5**2 / (2 * np.pi) * 0.3893793721e-27
        weight = flux[:, None] * sigma * (high - low)[:, None] / 400 * T * step
        x = (T + M) * np.arccos(1 - M * (1 - y) / (T + M)) ** 2
        response = bin_probabilities(T + M, x_nodes, edges)
        counts += [(weight * np.interp(x, x_nodes, response[:, b])).sum() for b in range(counts.size)]
    return counts * 50e6 / 39.948 * 6.02214076e23 * 18 * 1.1e21


@pytest.mark.parametrize(
    ("mode", "position", "channel"),
    [pytest.param("neutrino", 0.0, "numu", marks=pytest.mark.slow), ("antineutrino", 30.0, "nuebar")],
)
def test_templates_against_a_slow_folding(absolute_prism: Experiment, mode: str, position: float, channel: str) -> None:
    k = [(e.mode, e.position_m) for e in absolute_prism.card.exposures].index((mode, position))
    years = absolute_prism.card.exposures[k].years
    found = absolute_prism.templates.values[k, CHANNEL_NAMES.index(channel), 0] / years
    np.testing.assert_allclose(found, slow_folding(absolute_prism, mode, position, channel), rtol=3e-3)
