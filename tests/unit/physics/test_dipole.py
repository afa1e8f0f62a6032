"""Upscattering against Dirac traces, decays against their limits, photon distributions against events."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.integrate import quad

from bayesnu.errors import UsageError
from bayesnu.physics import constants
from bayesnu.physics.dipole import (
    BOHR_MAGNETON_GEV1,
    Emission,
    emission,
    energy_min,
    natural_moment,
    primakoff_coefficients,
    primakoff_cross_section,
    recoil_window,
    threshold_energy,
)
from bayesnu.physics.materials import ELEMENTS
from bayesnu.physics.sterile_decay import (
    decay_length,
    decay_probability,
    decay_width,
    photon_distribution,
    photon_energy_fractions,
)

METRIC = np.diag([1.0, -1.0, -1.0, -1.0])
PAULI = [np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.array([[1, 0], [0, -1]])]
ZERO, ONE = np.zeros((2, 2)), np.eye(2)
GAMMA = [np.block([[ONE, ZERO], [ZERO, -ONE]]), *(np.block([[ZERO, s], [-s, ZERO]]) for s in PAULI)]
GAMMA5 = np.block([[ZERO, ONE], [ONE, ZERO]])
LEFT = (np.eye(4) - GAMMA5) / 2
SIGMA = [[0.5j * (a @ b - b @ a) for b in GAMMA] for a in GAMMA]
TARGETS = {"O": ELEMENTS["O"].mass_gev, "W": ELEMENTS["W"].mass_gev, "electron": constants.ELECTRON_MASS_GEV}


def slash(p: np.ndarray) -> np.ndarray:
    return sum(METRIC[a, a] * p[a] * GAMMA[a] for a in range(4))


def momenta(T: float, E: float, m: float, M: float) -> tuple[np.ndarray, ...]:
    """k along z, N in the x-z plane: k, p_N, p, p'."""
    energy = E - T
    p = math.sqrt(energy**2 - m**2)
    cosine = (2 * E * energy - m**2 - 2 * M * T) / (2 * E * p)
    k, n = np.array([E, 0, 0, E]), np.array([energy, p * math.sqrt(1 - cosine**2), 0, p * cosine])
    rest = np.array([M, 0, 0, 0])
    return k, n, rest, k + rest - n


def squared_amplitude(T: float, E: float, m: float, M: float, spin: np.ndarray | None = None) -> float:
    """|amplitude|² for d = 1 GeV⁻¹, Z = 1: summed over spins (or N's projected on one), averaged over the target's."""
    k, n, before, after = momenta(T, E, m, M)
    q = METRIC @ (k - n)
    vertex = [sum(SIGMA[a][b] * q[b] for b in range(4)) for a in range(4)]
    project = np.eye(4) if spin is None else (np.eye(4) + GAMMA5 @ slash(spin)) / 2
    final = (slash(n) + m * np.eye(4)) @ project
    total = 0.0
    for a in range(4):
        for c in range(4):
            lepton = 4 * np.trace(final @ vertex[a] @ LEFT @ slash(k) @ vertex[c])
            target = np.trace((slash(after) + M * np.eye(4)) @ GAMMA[a] @ (slash(before) + M * np.eye(4)) @ GAMMA[c])
            total += METRIC[a, a] * METRIC[c, c] * (lepton * target / 2).real
    q2 = float(q @ METRIC @ q)
    return -4 * math.pi * constants.FINE_STRUCTURE * total / q2**2


def points(count: int, seed: int) -> list[tuple[float, float, float, float]]:
    """Random (T, E, m, M) inside the window."""
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        M = list(TARGETS.values())[number % len(TARGETS)]
        m = 10 ** rng.uniform(-4, -2)
        E = threshold_energy(m, M) * 10 ** rng.uniform(0.01, 1)
        low, high = (float(edge) for edge in recoil_window(E, m, M))
        found.append((low * (high / low) ** rng.uniform(0.02, 0.98), E, m, M))
    return found


@pytest.mark.parametrize(("T", "E", "m", "M"), points(51, 1))
def test_cross_section_is_the_dirac_trace(T: float, E: float, m: float, M: float) -> None:
    trace = squared_amplitude(T, E, m, M) / (32 * math.pi * M * E**2)
    expected = trace * BOHR_MAGNETON_GEV1**2 * constants.HBARC2_CM2_GEV2
    assert float(primakoff_cross_section(T, E, m, M)) == pytest.approx(expected, rel=1e-10)


def spin_vectors(n: np.ndarray, m: float) -> tuple[np.ndarray, np.ndarray]:
    """The spin four-vectors of the components along n and along e_x of `emission`."""
    p = math.sqrt(n[0] ** 2 - m**2)
    direction = n[1:] / p
    across = np.array([0, 0, 1.0]) - direction[2] * direction
    across /= np.linalg.norm(across)
    return np.array([p / m, *(n[0] / m * direction)]), np.array([0.0, *across])


@pytest.mark.parametrize("target", ["O", "W"])
@pytest.mark.parametrize(
    ("E_mev", "m_mev", "share"), [(4, 1, 0.3), (4, 3, 0.5), (2.5, 2, 0.9), (7, 6, 0.1), (3, 0.3, 0.7)]
)
def test_polarisation_is_that_of_the_traces(target: str, E_mev: float, m_mev: float, share: float) -> None:
    """At reactor energies; the static-source form neglects recoil, E/M of about 1e-4."""
    M, E, m = TARGETS[target], E_mev * 1e-3, m_mev * 1e-3
    low, high = (float(edge) for edge in recoil_window(E, m, M))
    T = low + share * (high - low)
    found = emission(T, E, m, M)
    n = momenta(T, E, m, M)[1]
    total = squared_amplitude(T, E, m, M)
    for spin, component in zip(spin_vectors(n, m), (found.longitudinal, found.transverse), strict=True):
        up, down = (squared_amplitude(T, E, m, M, s) for s in (spin, -spin))
        assert up + down == pytest.approx(total, rel=1e-9)
        assert (up - down) / total == pytest.approx(float(component), abs=1e-5)
    assert float(found.longitudinal**2 + found.transverse**2) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("T", "E", "m", "M"), points(12, 2))
def test_window_conserves_energy_and_momentum(T: float, E: float, m: float, M: float) -> None:
    """At its ends N goes along the beam line; E_min(T) inverts the window; the threshold closes it."""
    for edge in recoil_window(E, m, M):
        T = float(edge)
        p = math.sqrt((E - T) ** 2 - m**2)
        assert abs((2 * E * (E - T) - m**2 - 2 * M * T) / (2 * E * p)) == pytest.approx(1, abs=1e-6)
        assert float(energy_min(T, m, M)) == pytest.approx(E, rel=1e-6)
    _k, _n, _before, after = momenta(float(recoil_window(E, m, M)[1]) * 0.7, E, m, M)
    assert after @ METRIC @ after == pytest.approx(M**2, rel=1e-9)
    low, high = recoil_window(threshold_energy(m, M), m, M)
    assert float(low) == pytest.approx(float(high), rel=1e-3)
    assert np.isnan(recoil_window(0.999 * threshold_energy(m, M), m, M)).all()


def test_zero_outside_the_window_never_negative_never_nan() -> None:
    M, m, E = TARGETS["W"], 3e-3, 5e-3
    low, high = recoil_window(E, m, M)
    T = np.concatenate([[0.0, low * 0.99, high * 1.01, 1.0], np.geomspace(low, high, 200)])
    value = primakoff_cross_section(T, E, m, M)
    assert (value[:4] == 0).all()
    assert (value[5:-1] > 0).all()
    assert (primakoff_cross_section(T, 2.9e-3, m, M) == 0).all()


def test_light_n_gives_the_magnetic_moment_cross_section() -> None:
    """4 α d² (1/T - 1/E) with d = μ/2 is π α² μ²/m_e² (1/T - 1/E)."""
    T, E, M = 1e-6, 4e-3, TARGETS["O"]
    expected = math.pi * (constants.FINE_STRUCTURE / constants.ELECTRON_MASS_GEV) ** 2 * (1 / T - 1 / E)
    found = float(primakoff_cross_section(T, E, 0.0, M, moment_mu_b=1.0, convention="mu"))
    assert found == pytest.approx(expected * constants.HBARC2_CM2_GEV2, rel=1e-12)
    assert float(primakoff_cross_section(T, E, 0.0, M)) == pytest.approx(4 * found, rel=1e-12)


def test_conventions_and_units() -> None:
    assert pytest.approx(296.304, abs=1e-3) == BOHR_MAGNETON_GEV1
    assert float(natural_moment(2.0, "mu")) == float(natural_moment(1.0, "d"))
    with pytest.raises(UsageError, match="convention = both: allowed are d, mu"):
        natural_moment(1.0, "both")  # type: ignore[arg-type]


def test_coefficients_add_up() -> None:
    T, E, m, M = 1e-6, 4e-3, 1e-3, TARGETS["O"]
    c = primakoff_coefficients(T, m, M)
    assert float(c[0] + c[1] / E + c[2] / E**2) == pytest.approx(float(primakoff_cross_section(T, E, m, M)), rel=1e-12)


@pytest.mark.parametrize(("m_mev", "metres"), [(1, 1.09e6), (2, 6.1e4), (3, 9.2e3)])
def test_decay_lengths(m_mev: float, metres: float) -> None:
    """Dirac, d = 1e-8 μ_B, E_N = 4 MeV: the numbers of the derivation."""
    m = m_mev * 1e-3
    width = decay_width(m, [1e-8], majorana=False)
    momentum = math.sqrt(4e-3**2 - m**2)
    assert float(decay_length(momentum, m, width)) == pytest.approx(metres, rel=0.01)
    assert decay_width(m, [1e-8], majorana=True) == 2 * width
    assert decay_width(m, [3e-9, 4e-9], majorana=False) == pytest.approx(width / 4, rel=1e-12)
    assert decay_width(m, [2e-8], majorana=False, convention="mu") == pytest.approx(width, rel=1e-12)


def test_decay_to_a_lighter_sterile() -> None:
    free = decay_width(2e-3, [1e-6], majorana=False)
    assert decay_width(2e-3, [1e-6], majorana=False, daughter_gev=1e-3) == pytest.approx(free * 0.75**3, rel=1e-12)
    assert decay_width(2e-3, [1e-6], majorana=False, daughter_gev=2e-3) == 0


def test_decay_probability() -> None:
    width = decay_width(3e-3, [1e-8], majorana=False)
    length = float(decay_length(2e-3, 3e-3, width))
    assert float(decay_probability(length, 2e-3, 3e-3, width)) == pytest.approx(1 - math.exp(-1), rel=1e-12)
    assert float(decay_probability(1e-9 * length, 2e-3, 3e-3, width)) == pytest.approx(1e-9, rel=1e-6)
    assert float(decay_probability(1.0, 2e-3, 3e-3, 0.0)) == 0
    for path in (0.0, -1.0, math.nan):
        with pytest.raises(UsageError, match="path_m"):
            decay_probability(path, 2e-3, 3e-3, width)


def emitted(T_share: float = 0.3, E: float = 5e-3, m: float = 2e-3) -> tuple[Emission, float]:
    M = TARGETS["W"]
    low, high = (float(edge) for edge in recoil_window(E, m, M))
    return emission(low + T_share * (high - low), E, m, M), m


@pytest.mark.parametrize("asymmetry", [1.0, 0.0, -1.0])
def test_photon_energies_add_up_and_have_their_mean(asymmetry: float) -> None:
    """⟨E_γ⟩ = (E_N/2)(1 - s β P_∥/3); Majorana photons are symmetric about E_N/2."""
    found, _ = emitted()
    edges = np.linspace(0, 6e-3, 6001)
    share = photon_energy_fractions(edges, found, asymmetry)
    assert share.sum() == pytest.approx(1, abs=1e-12)
    beta = float(found.momentum_gev / found.energy_gev)
    mean = float(found.energy_gev) / 2 * (1 - asymmetry * beta * float(found.longitudinal) / 3)
    assert float(share @ (edges[1:] + edges[:-1]) / 2) == pytest.approx(mean, rel=1e-4)
    middle = photon_energy_fractions([0, float(found.energy_gev) / 2, 1.0], found, asymmetry)
    assert middle[1] == pytest.approx(0.5 - asymmetry * float(found.longitudinal) / 4, abs=1e-12)


@pytest.mark.parametrize("asymmetry", [1.0, 0.0])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_photon_distribution_is_that_of_events(asymmetry: float, share: float) -> None:
    """Photons drawn in N's rest frame, boosted with Lorentz matrices, rotated to the beam and counted."""
    found, m = emitted(share)
    rng, number = np.random.default_rng(4), 1_000_000
    c, phi = rng.uniform(-1, 1, number), rng.uniform(0, 2 * math.pi, number)
    s = np.sqrt(1 - c**2)
    along, across = float(found.longitudinal), float(found.transverse)
    weight = 1 - asymmetry * (along * c + across * s * np.cos(phi))
    gamma = float(found.energy_gev) / m
    boost = float(found.momentum_gev) / m
    energy = m / 2 * (gamma + boost * c)
    parallel, transverse = m / 2 * (boost + gamma * c), m / 2 * s * np.cos(phi)
    beam = parallel * float(found.cosine) + transverse * math.sqrt(1 - float(found.cosine) ** 2)
    energy_edges, cosine_edges = np.linspace(0, 5e-3, 9), np.linspace(-1, 1, 7)
    bins = (energy_edges, cosine_edges)
    counts = np.histogram2d(energy, beam / energy, bins=bins, weights=weight)[0] / number
    error = np.sqrt(np.histogram2d(energy, beam / energy, bins=bins, weights=weight**2)[0]) / number
    exact = photon_distribution(energy_edges, cosine_edges, found, asymmetry, nodes=64)
    assert exact.sum() == pytest.approx(1, abs=1e-9)
    assert (exact >= 0).all()
    assert (np.abs(exact - counts) < 5 * error + 2e-4).all()
    np.testing.assert_allclose(exact.sum(axis=1), photon_energy_fractions(energy_edges, found, asymmetry), atol=1e-9)


def test_distributions_of_many_points_at_once() -> None:
    M, m, E = TARGETS["O"], 1e-3, 4e-3
    low, high = (float(edge) for edge in recoil_window(E, m, M))
    T = low + np.array([[0.2, 0.4, 0.6], [0.7, 0.8, 0.9]]) * (high - low)
    many = photon_distribution(np.linspace(0, 5e-3, 6), np.linspace(-1, 1, 5), emission(T, E, m, M), 1.0)
    assert many.shape == (2, 3, 5, 4)
    one = photon_distribution(np.linspace(0, 5e-3, 6), np.linspace(-1, 1, 5), emission(T[1, 2], E, m, M), 1.0)
    np.testing.assert_allclose(many[1, 2], one, rtol=1e-12)


def test_total_cross_section_by_quadrature() -> None:
    """The integral over the window, from c_n(T) analytically, equals adaptive quadrature."""
    M, m, E = TARGETS["W"], 2e-3, 5e-3
    low, high = (float(edge) for edge in recoil_window(E, m, M))
    numeric = quad(
        lambda u: float(primakoff_cross_section(math.exp(u), E, m, M)) * math.exp(u),
        math.log(low),
        math.log(high),
        epsabs=0,
    )[0]
    norm = 4 * constants.FINE_STRUCTURE * BOHR_MAGNETON_GEV1**2 * constants.HBARC2_CM2_GEV2
    log, width, inverse = math.log(high / low), high - low, 1 / low - 1 / high
    linear = -width / E - m**2 / (2 * E * M) * log
    square = (-(m**2) / 4 * log + m**2 / (4 * M) * width + m**4 / (8 * M**2) * log - m**4 / (8 * M) * inverse) / E**2
    assert numeric == pytest.approx(norm * (log + linear + square), rel=1e-6)


# Input outside of what is physical


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: threshold_energy(-1e-3, 15.0), "mass_gev = -0.001: must be at least 0 and finite"),
        (lambda: energy_min(1e-6, 1e-3, 0.0), "target_gev = 0.0: must be above 0 and finite"),
        (lambda: primakoff_cross_section(1e-6, 5e-3, -1e-3, 15.0), "mass_gev = -0.001"),
        (lambda: recoil_window(5e-3, math.nan, 15.0), "mass_gev = nan"),
        (lambda: decay_width(1e-3, [1e-8], majorana=True, daughter_gev=-5e-4), "daughter_gev = -0.0005"),
        (lambda: decay_probability(1.0, 5e-3, 1e-3, -1e-20), "width_gev = -1e-20"),
        (lambda: decay_length(5e-3, 0.0, 1e-20), "mass_gev = 0.0"),
        (lambda: photon_energy_fractions([0, 1], emission(1e-7, 5e-3, 1e-3, 15.0), 3.0), "asymmetry = 3.0"),
        (
            lambda: photon_distribution([0, 1], [-1, 1], emission(1e-7, 5e-3, 1e-3, 15.0), 1.0, 8, 1.5),
            "energy_fraction = 1.5",
        ),
    ],
)
def test_what_is_not_physical_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_edges_of_the_kinematics() -> None:
    assert energy_min(0.0, 0.0, 15.0) == 0
    assert energy_min(0.0, 1e-3, 15.0) == math.inf
    assert primakoff_cross_section(1e-6, 0.0, 0.0, 15.0) == 0
    low, high = recoil_window(5e-3, 1e-3, 15.0)
    for recoil in (0.5 * low, 1.5 * high):
        assert all(np.isnan(part) for part in emission(recoil, 5e-3, 1e-3, 15.0)[2:])
    assert all(np.isfinite(part) for part in emission(high, 5e-3, 1e-3, 15.0))
