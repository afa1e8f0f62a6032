"""Photon templates against simulated decays, one-line limits and their own convergence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bayesnu.errors import UsageError
from bayesnu.experiment.photons import (
    ENERGY_NODES,
    RECOIL_NODES,
    TRUE_BINS,
    DecayMode,
    PhotonTemplates,
    default_edges,
    energy_start,
    photon_templates,
    smearing_matrix,
    weighted_emissions,
)
from bayesnu.experiment.recoil_card import RecoilCard
from bayesnu.experiment.recoil_photons import decay_modes, experiment_photons, path_width
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.flux.reactor import Core, reactor_flux
from bayesnu.physics.dipole import Emission, recoil_window, threshold_energy
from bayesnu.physics.materials import ELEMENTS
from bayesnu.physics.nucleus import helm_form_factor
from bayesnu.physics.sterile_decay import photon_distribution

NUCLEI = {"O": 4.0, "W": 1.0}
QUICK: dict[str, Any] = {"energy_nodes": 24, "recoil_nodes": 20, "true_bins": 100}


def flux(energy_mev: np.ndarray) -> np.ndarray:
    """A smooth falling spectrum, not the package's."""
    return energy_mev * np.exp(-0.8 * energy_mev) * (8.0 - energy_mev).clip(0)


def reactor(energy_mev: np.ndarray) -> np.ndarray:
    """The flux of NUCLEUS' card."""
    fractions = {"U235": 0.561, "U238": 0.076, "Pu239": 0.307, "Pu241": 0.056}
    return reactor_flux(energy_mev, [Core(4.25, 72.0), Core(4.25, 102.0)], fractions)


def templates(mass: float = 2.0, threshold: float = 20.0, **options: Any) -> PhotonTemplates:
    return photon_templates(NUCLEI, flux, 8.0, threshold, mass, **{**QUICK, **options})


@pytest.fixture(scope="module")
def nucleus() -> Experiment:
    return load_experiment("nucleus-10g")


@pytest.fixture(scope="module")
def quick() -> PhotonTemplates:
    return templates()


# Against events: sampled (E, T), the polarisation as the direction of a light-like vector in N's rest frame, photons
# boosted as four-vectors.


def boost(vector: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """Boost four-vectors (events, 4) by velocities (events, 3)."""
    b2 = (beta**2).sum(axis=1)
    gamma = 1 / np.sqrt(1 - b2)
    along = (beta * vector[:, 1:]).sum(axis=1)
    time = gamma * (vector[:, 0] + along)
    space = vector[:, 1:] + ((gamma - 1) * along / b2 + gamma * vector[:, 0])[:, None] * beta
    return np.column_stack([time, space])


def simulated(mass: float, threshold: float, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Smeared photon energies (MeV), cosines, weights (Majorana), weights (Dirac)."""
    parts = []
    for symbol, number in NUCLEI.items():
        M, Z = ELEMENTS[symbol].mass_gev * 1e3, ELEMENTS[symbol].protons
        E = rng.uniform(mass * (1 + mass / (2 * M)), 8.0, count)
        root = E * np.sqrt(4 * M**2 * E**2 - 4 * M * (M + E) * mass**2 + mass**4)
        high = (2 * M * E**2 - (M + E) * mass**2 + root) / (2 * M * (M + 2 * E))
        low = np.maximum(mass**4 / (4 * M * (M + 2 * E) * high), threshold * 1e-6)
        inside = high > low
        E, low, high = E[inside], low[inside], high[inside]
        T = low * (high / low) ** rng.uniform(size=E.size)
        bracket = (
            1 / T - 1 / E
            - mass**2 / (2 * E * T * M) * (1 - T / (2 * E) + M / (2 * E))
            + mass**4 * (T - M) / (8 * E**2 * T**2 * M**2)
        )  # fmt: skip
        energy = E - T
        p = np.sqrt(energy**2 - mass**2)
        # Momentum transfer |q|² = T² + 2MT fixes the angle.
        cosine = ((E**2 + p**2 - T**2 - 2 * M * T) / (2 * E * p)).clip(-1, 1)
        turn = rng.uniform(0, 2 * math.pi, E.size)
        sine = np.sqrt(1 - cosine**2)
        n = np.column_stack([sine * np.cos(turn), sine * np.sin(turn), cosine])
        q = np.array([0, 0, 1.0]) * E[:, None] - p[:, None] * n
        q /= np.linalg.norm(q, axis=1)[:, None]
        reflected = np.array([0, 0, 1.0]) - 2 * q[:, 2:] * q
        light = np.column_stack([np.ones(E.size), -reflected])
        velocity = (p / energy)[:, None] * n
        P = -boost(light, -velocity)[:, 1:]
        P /= np.linalg.norm(P, axis=1)[:, None]
        direction = rng.normal(size=(E.size, 3))
        direction /= np.linalg.norm(direction, axis=1)[:, None]
        photon = boost(np.column_stack([np.ones(E.size), direction]) * mass / 2, velocity)
        form2 = helm_form_factor(T * 1e-3, ELEMENTS[symbol]) ** 2
        weight = number * Z**2 * form2 * flux(E) * bracket * T * np.log(high / low) * (mass / p) * (8.0 - mass)
        observed = photon[:, 0] * (1 + 0.1 * rng.normal(size=E.size))
        parts.append([observed, photon[:, 3] / photon[:, 0], weight, weight * (1 - (P * direction).sum(axis=1))])
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


@pytest.mark.parametrize("mass", [pytest.param(1.0, marks=pytest.mark.slow), 4.0])
def test_against_simulated_decays(mass: float) -> None:
    energy, cosine, *weights = simulated(mass, 20.0, 600_000, np.random.default_rng(7))
    found = templates(mass, energy_nodes=40, recoil_nodes=32)
    bins = (found.energy_edges_mev, found.cosine_edges)
    for shape, weight in zip((found.majorana, found.dirac), weights, strict=True):
        content = np.histogram2d(energy, cosine, bins=bins, weights=weight)[0]
        error = np.sqrt(np.histogram2d(energy, cosine, bins=bins, weights=weight**2)[0])
        total = content.sum()
        filled = shape > 2e-3
        pulls = (content / total - shape)[filled] / (error / total)[filled]
        assert np.abs(pulls).max() < 4.5
        assert (pulls**2).mean() < 1 + 5 * math.sqrt(2 / filled.sum())


# What is true without numbers of others


def test_shapes(quick: PhotonTemplates) -> None:
    energies, cosines = default_edges(8.0)
    assert quick.dirac.shape == quick.majorana.shape == (22, 10)
    assert (quick.energy_edges_mev == energies).all()
    assert (quick.cosine_edges == cosines).all()
    for shape in (quick.dirac, quick.majorana):
        assert (shape >= 0).all()
        assert shape.sum() == pytest.approx(1, abs=1e-12)
    centre = (energies[1:] + energies[:-1]) / 2
    assert quick.dirac.sum(axis=1) @ centre < 0.9 * quick.majorana.sum(axis=1) @ centre


def test_chirality_turns_dirac_into_majorana_and_over() -> None:
    none, half, whole, mirrored = (templates(modes=[DecayMode(1.0, 1.0, s)]) for s in (0.0, 0.5, 1.0, -1.0))
    assert none.dirac == pytest.approx(none.majorana, abs=1e-15)
    # The photon law is linear in s; what the edges lose is not the same for both, 1e-6.
    assert half.dirac == pytest.approx((none.dirac + whole.dirac) / 2, abs=1e-7)
    assert mirrored.dirac + whole.dirac == pytest.approx(2 * whole.majorana, abs=1e-7)


def test_a_heavy_daughter_takes_the_photons_energy() -> None:
    """κ = 1 - m'²/m² scales every energy and no angle; bins scaled by κ hold what they held."""
    kappa = 0.3
    energies = np.linspace(0, 4, 9)
    whole = templates(energy_edges_mev=energies, true_bins=400)
    scaled = templates(energy_edges_mev=kappa * energies, modes=[DecayMode(5.0, kappa)], true_bins=400)
    assert scaled.dirac == pytest.approx(whole.dirac, abs=2e-4)
    assert scaled.majorana == pytest.approx(whole.majorana, abs=2e-4)


def test_modes_mix_by_their_weights() -> None:
    active, sterile = DecayMode(1.0), DecayMode(1.0, 0.4, -0.5)
    both = templates(modes=[active._replace(weight=2.0), sterile._replace(weight=6.0)])
    apart = [templates(modes=[mode]) for mode in (active, sterile)]
    assert both.dirac == pytest.approx(0.25 * apart[0].dirac + 0.75 * apart[1].dirac, abs=1e-5)
    assert both.majorana == pytest.approx(0.25 * apart[0].majorana + 0.75 * apart[1].majorana, abs=1e-5)


def test_n_that_all_decay_are_weighted_by_their_production() -> None:
    """For a path much longer than the decay length every N decays: the factor m/p is gone."""
    slow, emitted = weighted_emissions(ELEMENTS["O"], flux, 8.0, 20.0, 2.0)
    assert weighted_emissions(ELEMENTS["O"], flux, 8.0, 20.0, 2.0, path_width=1e-9)[0] == pytest.approx(slow, rel=1e-6)
    a = 1e6
    fast = weighted_emissions(ELEMENTS["O"], flux, 8.0, 20.0, 2.0, path_width=a)[0]
    assert a * fast == pytest.approx(slow * emitted.momentum_gev / 2e-3, rel=1e-9)


@pytest.mark.parametrize(
    ("overrides", "moment", "modes"),
    [
        ([], 1e-8, [DecayMode(1.0)]),
        (["decay.d_NNp=1e-6", "decay.m_Np=3.5"], 1e-8, [DecayMode(1.0)]),
        (["decay.d_NNp=1e-6", "decay.chirality=-0.5"], 0.0, [DecayMode(0.0), DecayMode(1.0, 1.0, -0.5)]),
        (["decay.d_NNp=2e-6", "decay.m_Np=1.5"], 1e-6, [DecayMode(0.25), DecayMode(0.75**3, 0.75)]),
    ],
)
def test_modes_of_a_card(overrides: list[str], moment: float, modes: list[DecayMode]) -> None:
    card = load_experiment("nucleus-10g-radiative", overrides).card
    assert isinstance(card, RecoilCard)
    assert decay_modes(card, 3.0, moment) == tuple(modes)


def test_a_moment_must_not_be_negative() -> None:
    card = load_experiment("nucleus-10g-radiative").card
    assert isinstance(card, RecoilCard)
    with pytest.raises(UsageError, match=r"moment_mu_b = -1\.0: must be at least 0"):
        decay_modes(card, 3.0, -1.0)


def test_path_of_a_card() -> None:
    """l₀ Γ/ħc = (l₀/λ)(p/m), with the decay length of 6.1e4 m of N of 2 MeV at 4 MeV and 1e-8 μ_B."""
    card = load_experiment("nucleus-10g-radiative").card
    assert isinstance(card, RecoilCard)
    assert path_width(card, 2.0, 1e-8) == pytest.approx(0.2 / 6.1e4 * math.sqrt(12) / 2, rel=0.01)


def test_angle_summed_out_is_the_energy_spectrum(quick: PhotonTemplates) -> None:
    found = templates(cosine_edges=[-1, 1])
    assert found.dirac[:, 0] == pytest.approx(quick.dirac.sum(axis=1), abs=1e-6)


def test_only_ratios_of_flux_and_nuclei_matter(quick: PhotonTemplates) -> None:
    more = {symbol: 3e24 * number for symbol, number in NUCLEI.items()}
    found = photon_templates(more, lambda e: 1e12 * flux(e), 8.0, 20.0, 2.0, **QUICK)
    assert found.dirac == pytest.approx(quick.dirac, rel=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(("symbol", "mass"), [("O", 1.0), ("W", 6.0)])
def test_doubling_all_nodes_changes_nothing(symbol: str, mass: float) -> None:
    """At the default precision: 1e-3 in bins of more than 1%."""
    found = photon_templates({symbol: 1.0}, reactor, 8.0, 20.0, mass)
    finer = photon_templates(
        {symbol: 1.0},
        reactor,
        8.0,
        20.0,
        mass,
        energy_nodes=2 * ENERGY_NODES,
        recoil_nodes=2 * RECOIL_NODES,
        true_bins=2 * TRUE_BINS,
    )
    for a, b in ((found.dirac, finer.dirac), (found.majorana, finer.majorana)):
        assert a[b > 0.01] == pytest.approx(b[b > 0.01], rel=1e-3)


@pytest.mark.parametrize("mass", [0.5, 2.0, 5.0])
def test_share_above_half_the_energy_of_n(mass: float) -> None:
    """P(2 E_γ > E_N) = 1/2 - s ⟨P_∥⟩/4."""
    weights, emitted = weighted_emissions(ELEMENTS["W"], flux, 8.0, 20.0, mass, energy_nodes=10, recoil_nodes=6)
    parallel = float((weights * emitted.longitudinal).sum() / weights.sum())
    for s in (0.0, 1.0):
        above = 0.0
        for index in np.ndindex(weights.shape):
            one = Emission(*(part[index] for part in emitted))
            shape = photon_distribution([float(one.energy_gev) / 2, 0.02], [-1.0, 1.0], one, s)
            above += weights[index] * float(shape.sum())
        assert above / weights.sum() == pytest.approx(0.5 - s * parallel / 4, abs=1e-9)


@pytest.mark.parametrize("threshold", [0.0, 20.0, 500.0])
def test_energies_start_where_the_window_opens(threshold: float) -> None:
    element, m = ELEMENTS["O"], 2e-3
    start = energy_start(element, m, threshold * 1e-9)
    if threshold * 1e-9 <= m**2 / (2 * (element.mass_gev + m)):
        assert start == threshold_energy(m, element.mass_gev)
    else:
        assert float(recoil_window(start, m, element.mass_gev)[1]) == pytest.approx(threshold * 1e-9, rel=1e-6)
    weights, emitted = weighted_emissions(element, flux, 8.0, threshold, 2.0)
    assert (weights >= 0).all()
    assert np.isfinite(np.array(emitted)).all()


def test_smearing_is_a_gaussian_that_keeps_photons() -> None:
    true, edges = np.array([1.0, 1.1, 3.0, 3.3]), np.linspace(0, 6, 61)
    matrix = smearing_matrix(true, edges, 0.05)
    assert matrix.sum(axis=0) == pytest.approx([1, 1, 1], abs=1e-9)
    centre = (edges[1:] + edges[:-1]) / 2
    assert centre @ matrix == pytest.approx([1.05, 2.05, 3.15], abs=1e-6)
    # Variances add: Gaussian, width of the true bin, width of the bins.
    variance = centre**2 @ matrix - (centre @ matrix) ** 2
    assert variance[2] == pytest.approx((0.05 * 3.15) ** 2 + 0.3**2 / 12 + 0.1**2 / 12, rel=1e-4)


def test_count_bins_photons(quick: PhotonTemplates) -> None:
    counts = quick.count([0.1, 0.2, 1.0, 99.0], [-0.95, -0.91, 0.99, 0.0])
    assert counts.shape == quick.dirac.shape
    assert (counts[0, 0], counts[2, 9], counts.sum()) == (2, 1, 3)
    for energy, cosine, word in (
        ([1.0], [0.0, 0.1], "shape"),
        ([math.nan], [0.0], "finite"),
        ([1.0], [1.1], "between"),
    ):
        with pytest.raises(UsageError, match=word):
            quick.count(energy, cosine)


# Cards


def test_a_card_gives_its_nuclei_flux_and_threshold(nucleus: Experiment) -> None:
    coarse: dict[str, Any] = {"energy_edges_mev": [0.0, 1.0, 2.0, 9.6], "cosine_edges": [-1.0, 1.0]}
    found = experiment_photons(nucleus, 5.0, **coarse, **QUICK)
    # 6 g of CaWO4 and 4 g of Al2O3, in nuclei per kg of both: g/mol of the compounds.
    ca, al = 0.006 / 287.914, 0.004 / 101.961
    nuclei = {"Ca": ca, "W": ca, "O": 4 * ca + 3 * al, "Al": 2 * al}
    expected = photon_templates(nuclei, reactor, 8.0, 20.0, 5.0, **coarse, **QUICK)
    assert found.mass_mev == 5
    assert found.dirac == pytest.approx(expected.dirac, rel=1e-5)
    assert found.majorana == pytest.approx(expected.majorana, rel=1e-5)


@pytest.mark.parametrize("model", ["coherent-csi-2017", "dune-on-axis"])
def test_other_cards_are_refused(model: str, on_axis: Experiment) -> None:
    experiment = on_axis if model == "dune-on-axis" else load_experiment(model)
    with pytest.raises(UsageError, match=f"^{model}: photons from N need a card of nuclear recoils at a reactor$"):
        experiment_photons(experiment, 1.0)


@pytest.mark.parametrize("mass", [0.0, -1.0, 8.0, 9.0, math.nan, math.inf])
def test_masses_out_of_range(mass: float, nucleus: Experiment) -> None:
    with pytest.raises(
        UsageError, match=f"^m_N = {mass}: must be above 0 and below the highest .* nucleus-10g, 8 MeV$"
    ):
        experiment_photons(nucleus, mass)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mass": 8.0}, "mass_mev = 8.0: must be below the highest neutrino energy, 8 MeV"),
        ({"mass": 0.0}, "mass_mev = 0.0: must be greater than 0"),
        ({"threshold": -1.0}, "threshold_ev = -1.0: must be at least 0"),
        ({"threshold": 1e5}, "threshold_ev = 100000.0, mass_mev = 2.0: no photon inside the bins"),
        ({"modes": [DecayMode(1.0, 1.0, 1.5)]}, "asymmetry = 1.5: must be between -1 and 1"),
        ({"modes": [DecayMode(1.0, 0.0)]}, "energy_fraction = 0.0: must be above 0 and at most 1"),
        ({"modes": [DecayMode(0.0)]}, "weights must be at least 0, and one above it"),
        ({"path_width": -1.0}, "path_width = -1.0: must be at least 0"),
        ({"energy_resolution": 0.0}, "energy_resolution = 0.0: must be greater than 0"),
        ({"energy_edges_mev": [2.0, 1.0]}, "energy_edges_mev = .*increasing"),
        ({"cosine_edges": [-2.0, 1.0]}, "cosine_edges = .*from -1 to 1"),
    ],
)
def test_bad_arguments(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        templates(**change)


def test_unknown_element_and_no_nuclei() -> None:
    with pytest.raises(UsageError, match="unknown element 'Xx'"):
        photon_templates({"Xx": 1.0}, flux, 8.0, 20.0, 1.0)
    with pytest.raises(UsageError, match=r"nuclei of O = -1\.0: must be greater than 0"):
        photon_templates({"O": -1.0}, flux, 8.0, 20.0, 1.0)
