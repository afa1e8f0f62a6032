"""Templates of d²: ν e → N e folded with flux and response, at several masses of N."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import qmc

from bayesnu.detector.response import ResponseMatrix
from bayesnu.errors import UsageError
from bayesnu.experiment import templates as templates_module
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.prediction import predict, prediction_json
from bayesnu.experiment.setup import load_electron_experiment, with_parameters
from bayesnu.experiment.templates import refold_dipole, true_kernel
from bayesnu.physics.constants import FINE_STRUCTURE, HBARC2_CM2_GEV2
from bayesnu.physics.couplings import ELECTROMAGNETIC, TRANSITION
from bayesnu.physics.dipole import energy_min, mass_reach
from bayesnu.physics.electron import FOLDED, TERMS
from bayesnu.physics.kinematics import neutrino_energy_from_angle
from bayesnu.physics.materials import material
from bayesnu.resources import cache_folder

M_E = 0.51099895e-3
D2, MU2 = list(FOLDED).index("d^2"), list(FOLDED).index("mu^2")
MASSES = (0.0, 1.0, 5.0, 20.0, 60.0, 100.0, 142.0)


def cross_section(recoil: np.ndarray, energy: np.ndarray, mass: float) -> np.ndarray:
    """dσ/dT per d² in cm²/GeV, the formula letter by letter, Z = 1 and M = m_e; d = 1 μ_B = √(4πα)/(2 m_e)."""
    T, E, m, M = recoil, energy, mass, M_E
    bracket = 1 / T - 1 / E - m**2 / (2 * E * T * M) * (1 - T / (2 * E) + M / (2 * E))
    bracket = bracket + m**4 * (T - M) / (8 * E**2 * T**2 * M**2)
    return 4 * FINE_STRUCTURE * np.pi * FINE_STRUCTURE / M_E**2 * HBARC2_CM2_GEV2 * bracket


def window(energy: float, mass: float) -> tuple[float, float]:
    """The recoils above the threshold of 30 MeV that an energy gives; from the two-body kinematics in the CM frame."""
    s = M_E**2 + 2 * M_E * energy
    if np.sqrt(s) <= mass + M_E:
        return 0.03, 0.03
    gamma, boost = (energy + M_E) / np.sqrt(s), energy / np.sqrt(s)
    e_star = (s + M_E**2 - mass**2) / (2 * np.sqrt(s))
    p_star = np.sqrt(e_star**2 - M_E**2)
    return max(0.03, gamma * e_star - boost * p_star - M_E), max(0.03, gamma * e_star + boost * p_star - M_E)


@pytest.fixture(scope="module")
def absolute() -> ElectronExperiment:
    return load_electron_experiment("dune-on-axis-dipole", ["flux.normalisation=absolute"])


@pytest.fixture(scope="module")
def by_mass(absolute: ElectronExperiment) -> dict[float, ElectronExperiment]:
    return {mass: absolute.at(mass) for mass in MASSES}


def test_terms(absolute: ElectronExperiment) -> None:
    assert list(FOLDED) == [*TERMS, "d^2"]
    assert absolute.templates.values.shape == (2, 4, 8, 12)
    labelled = absolute.templates.labelled()
    assert list(labelled.term.values) == list(FOLDED)
    assert labelled.attrs["m_N"] == 1.0
    assert absolute.model.couplings == (*ELECTROMAGNETIC, *TRANSITION)


def test_massless_is_a_magnetic_moment_of_twice_the_size(by_mass: dict[float, ElectronExperiment]) -> None:
    """d = μ/2, so d² is 4 μ²: before binning exactly, in bins up to the terms of order m_e/E_e that (2.3) drops."""
    made = by_mass[0.0].templates
    np.testing.assert_allclose(made.per_year[..., D2], 4 * made.per_year[..., MU2], rtol=1e-12)
    np.testing.assert_allclose(made.values[:, :, D2], 4 * made.values[:, :, MU2], rtol=0.02)


def test_massless_with_the_angle_of_2_3(
    by_mass: dict[float, ElectronExperiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The angle is the only difference to a magnetic moment."""

    def elastic(recoil: np.ndarray, angle: np.ndarray, mass: float, target: float) -> np.ndarray:
        return neutrino_energy_from_angle(recoil, angle**2 * (recoil + target))

    monkeypatch.setattr(templates_module, "energy_from_recoil_angle", elastic)
    made = by_mass[0.0].at(0.0).templates
    np.testing.assert_allclose(made.values[:, :, D2], 4 * made.values[:, :, MU2], rtol=1e-6)


@pytest.mark.parametrize("mass", [5.0, 20.0, 100.0])
def test_totals_before_binning(by_mass: dict[float, ElectronExperiment], mass: float) -> None:
    """Counts above threshold against adaptive quadrature over recoil and neutrino energy."""
    experiment = by_mass[mass]
    m = mass * 1e-3
    spectrum = experiment.flux.spectrum("neutrino", 0.0)

    def total(energy: float) -> float:
        low, high = window(energy, m)
        if high <= low:
            return 0.0
        # ∫dT σ in u = ln T; 20 Gauss points are exact to 1e-10 for three powers of T.
        x, w = np.polynomial.legendre.leggauss(20)
        half = np.log(high / low) / 2
        T = low * np.exp(half * (x + 1))
        return float((cross_section(T, np.full_like(T, energy), m) * T) @ w * half)

    opens = max(m + m**2 / (2 * M_E), float(energy_min(0.03, m, M_E)) if mass < 50 else 0.0)
    found = 0.0
    for low, high, value in zip(spectrum.edges_gev[:-1], spectrum.edges_gev[1:], spectrum.values[0], strict=True):
        if high > opens:
            found += value * quad(total, max(low, opens), high, epsrel=1e-7, epsabs=0)[0]
    targets = material("argon").electrons_in(50.0) * 1.1e21
    assert experiment.templates.per_year[0, 0, D2] == pytest.approx(found * targets, rel=1e-4)


@pytest.fixture
def sharp(absolute: ElectronExperiment) -> Iterator[ElectronExperiment]:
    """The card with a response that puts every eight true cells of E_e θ² into a bin of their own."""
    settings = absolute.templates.response.settings
    values = np.zeros((settings.energy_cells, settings.angle_cells, 12))
    values[:, np.arange(settings.angle_cells), np.arange(settings.angle_cells) // 8] = 1
    response = ResponseMatrix(settings, values, np.zeros_like(values))
    return replace(absolute, templates=replace(absolute.templates, folded_with=response))


@pytest.mark.parametrize("mass", [0.0, 5.0, 60.0])
def test_bins_of_a_perfect_detector(sharp: ElectronExperiment, mass: float) -> None:
    """Against quasi-random events (E, T), the angle from cos θ = (m² + 2T(E + m_e))/(2 E p)."""
    made = sharp.at(mass).templates
    m = mass * 1e-3
    spectrum = sharp.flux.spectrum("neutrino", 0.0)
    u = qmc.Sobol(2, rng=3).random_base2(19)
    recoil = 0.03 * (20 / 0.03) ** u[:, 0]
    energy = 0.03 * (20 / 0.03) ** u[:, 1]
    area = recoil * energy * np.log(20 / 0.03) ** 2
    momentum = np.sqrt(recoil**2 + 2 * M_E * recoil)
    cosine = (m**2 + 2 * recoil * (energy + M_E)) / (2 * energy * momentum)
    # cos θ ≤ 1 is the recoil window.
    inside = cosine <= 1
    flux = spectrum.values[0][np.searchsorted(spectrum.edges_gev, energy, side="right") - 1]
    weight = np.where(inside, flux * cross_section(recoil, energy, m) * area, 0) / u.shape[0]
    e_theta2 = (recoil + M_E) * np.arccos(np.minimum(cosine, 1)) ** 2
    edges = made.response.settings.angle_edges_gev
    found = np.histogram(e_theta2, edges[::8], weights=weight)[0]
    found *= material("argon").electrons_in(50.0) * 1.1e21
    computed = made.values[0, 0, D2] / 3.5
    np.testing.assert_allclose(computed[:8], found, rtol=3e-3, atol=3e-4 * found.sum())
    assert (computed[8:] == 0).all()
    assert computed.sum() == pytest.approx(made.per_year[0, 0, D2], rel=1e-12)


def test_kernel_covers_all_energies_above_the_least() -> None:
    """∫dE E⁻ⁿ summed over cells and flux bins is the closed form, whatever the mass; nothing above the reach."""
    edges, recoil = np.array([0.0, 0.5, 2.0, 5.0]), np.geomspace(0.03, 4.5, 40)
    angles = np.linspace(0, 1.03e-3, 9)
    for mass in (0.0, 1e-3, 0.02, 0.06):
        least = energy_min(recoil, mass, M_E)
        open_ = least < 5
        kernel = true_kernel(edges, recoil, angles, mass).dense
        assert (kernel >= 0).all()
        closed = 5 - least, np.log(5 / least), 1 / least - 1 / 5
        for n in range(3):
            np.testing.assert_allclose(
                kernel[:, n].sum(axis=(1, 2)), np.where(open_, closed[n], 0.0), rtol=1e-9, atol=1e-15
            )
    assert (true_kernel(edges, recoil, angles, 0.08).dense == 0).all()


def test_counts_are_counts(by_mass: dict[float, ElectronExperiment]) -> None:
    """Not negative, finite, fewer with every heavier N, and more forward where N is heavy; the other terms stay."""
    totals = []
    for experiment in by_mass.values():
        made = experiment.templates
        for array in (made.values, made.error, made.per_year):
            assert np.isfinite(array).all()
        assert (made.values[:, :, D2] > 0).all()
        assert (made.values[:, :, D2].sum(axis=-1) <= 3.5 * made.per_year[..., D2]).all()
        np.testing.assert_array_equal(made.values[:, :, :D2], by_mass[0.0].templates.values[:, :, :D2])
        totals.append(made.per_year[..., D2])
    assert (np.diff(totals, axis=0) < 0).all()
    first = [e.templates.values[0, 0, D2, 0] / e.templates.values[0, 0, D2].sum() for e in by_mass.values()]
    assert first[-1] > 0.9 > 0.06 > first[0]


def test_no_counts_above_the_reach(absolute: ElectronExperiment) -> None:
    """√(m_e² + 2 m_e E) - m_e at the highest energy, 142.5 MeV; N far beyond it as well."""
    reach = mass_reach(absolute.flux.energy_max_gev, M_E) * 1e3
    assert reach == pytest.approx(142.45, abs=0.01)
    for mass in (reach, reach * 1.0001, 1e6, 1e300):
        made = absolute.at(mass).templates
        assert (made.values[:, :, D2] == 0).all()
        assert (made.error[:, :, D2] == 0).all()
        assert not absolute.at(mass).responds("d_numu")
    assert absolute.at(reach * 0.9999).responds("d_nue")


def test_refolded_is_folded(absolute: ElectronExperiment, by_mass: dict[float, ElectronExperiment]) -> None:
    """A mass from the card and a mass set later are one, with a table's normalisation as without."""
    for overrides, start in (
        (["flux.normalisation=absolute"], absolute),
        ([], load_electron_experiment("dune-on-axis-dipole")),
    ):
        whole = load_electron_experiment("dune-on-axis-dipole", [*overrides, "sterile.m_N=20.0"])
        later = start.at(20.0)
        np.testing.assert_array_equal(whole.model.arrays, later.model.arrays)
        np.testing.assert_array_equal(whole.templates.error, later.templates.error)
        np.testing.assert_array_equal(whole.templates.per_year, later.templates.per_year)
        assert whole.digest == later.digest != start.digest
        assert later.card.sterile.m_N == later.loaded.card.sterile.m_N == 20.0
    ratio = later.templates.values / by_mass[20.0].templates.values
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :, :1, :1], ratio.shape), rtol=1e-12)
    np.testing.assert_allclose(ratio[:, :, 0, 0], later.templates.ratio, rtol=1e-12)
    assert refold_dipole(later.templates, later.card, later.flux).values == pytest.approx(later.templates.values)


def test_with_parameters(absolute: ElectronExperiment, by_mass: dict[float, ElectronExperiment]) -> None:
    assert with_parameters(absolute, {"m_N": 5}).digest == by_mass[5.0].digest
    assert with_parameters(absolute, {}) is absolute
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="m_N"):
            with_parameters(absolute, {"m_N": bad})


def test_prediction_lists_the_mass(by_mass: dict[float, ElectronExperiment]) -> None:
    experiment = by_mass[5.0]
    content = prediction_json(predict(experiment, {"d_numu": 1e-9}, {"flux_norm": 0.1}))
    assert content["couplings"] == {
        **dict.fromkeys((*ELECTROMAGNETIC, *TRANSITION), 0.0), "d_numu": 1e-9, "m_N": 5.0,
    }  # fmt: skip
    exposures = content["exposures"]
    assert isinstance(exposures, list)
    expected = experiment.model.expected({"d_numu": 1e-9}, {"flux_norm": 0.1})
    np.testing.assert_allclose(np.concatenate([e["total"] for e in exposures]), expected, rtol=1e-12)


def test_cards_share_the_response_of_the_others(absolute: ElectronExperiment) -> None:
    """No notice, and nothing built: the response knows no coupling."""
    notices: list[str] = []
    before = sorted(cache_folder().glob("response-*"))
    experiments = [load_electron_experiment(name, (), notices.append) for name in ("dune-on-axis", "dune-prism-dipole")]
    assert {e.response_key for e in experiments} == {absolute.response_key}
    assert (notices, sorted(cache_folder().glob("response-*"))) == ([], before)
    assert list(experiments[1].card.couplings) == list(TRANSITION)
    assert list(experiments[0].card.couplings) == list(ELECTROMAGNETIC)
