"""Totals of the physics page and of textbooks, computed here without the package's formulas."""

import math

import numpy as np
import pytest
from scipy import integrate

from bayesnu.experiment.setup import Experiment
from bayesnu.physics import constants
from bayesnu.physics.couplings import CHANNELS
from bayesnu.physics.electron import differential_cross_section, standard_model_charge_radius
from bayesnu.physics.kinematics import recoil_max
from bayesnu.physics.materials import material

G_F, M, SIN2, HBARC2 = 1.1663787e-5, 0.51099895e-3, 0.2385, 0.3893793721e-27
AXES = {"numu": (-0.5, 1), "numubar": (-0.5, -1), "nue": (0.5, 1), "nuebar": (0.5, -1)}  # g_A, s


def total_above(channel: str, energy: np.ndarray, threshold: float) -> np.ndarray:
    """∫dT of (2.1) from threshold to T_max in closed form, cm²; 0 below the window."""
    g_a, s = AXES[channel]
    g_v = g_a + 2 * SIN2
    top = 2 * energy**2 / (M + 2 * energy)
    y0, y1 = np.minimum(threshold, top) / energy, top / energy
    constant = (g_v + s * g_a) ** 2 * (y1 - y0)
    cubic = (g_v - s * g_a) ** 2 * ((1 - y0) ** 3 - (1 - y1) ** 3) / 3
    mass = (g_v**2 - g_a**2) * M / (2 * energy) * (y1**2 - y0**2)
    return M * G_F**2 * energy / (2 * math.pi) * (constant + cubic - mass) * HBARC2


@pytest.mark.parametrize("channel", list(CHANNELS))
@pytest.mark.parametrize("energy", [0.05, 0.5, 3.0, 20.0])
@pytest.mark.parametrize("threshold", [0.0, 0.03])
def test_total_sm_cross_section(channel: str, energy: float, threshold: float) -> None:
    """scipy.integrate.quad of the package's dσ/dT against the closed form."""
    found = integrate.quad(
        lambda T: float(differential_cross_section(T, energy, channel)) * 1e42,
        max(threshold, 1e-12),
        float(recoil_max(energy)),
        epsabs=0,
        epsrel=1e-10,
    )[0]
    assert found * 1e-42 == pytest.approx(float(total_above(channel, np.array(energy), threshold)), rel=1e-8)


@pytest.mark.parametrize(
    ("channel", "slope"), [("nue", 9.5e-42), ("nuebar", 4.0e-42), ("numu", 1.6e-42), ("numubar", 1.3e-42)]
)
def test_textbook_slopes(channel: str, slope: float) -> None:
    """σ/E in cm²/GeV at high energy: 9.5, 4.0, 1.6 and 1.3 × 10⁻⁴², to their two digits at the textbooks' sin²θ_W."""
    found = integrate.quad(
        lambda T: float(differential_cross_section(T, 20.0, channel, sin2_theta_w=0.2312)) * 1e42, 1e-9, 19.99
    )[0]
    assert found / 20 * 1e-42 == pytest.approx(slope, rel=0.04)


@pytest.mark.parametrize("channel", list(CHANNELS))
def test_events_per_year_before_binning(absolute_prism: Experiment, channel: str) -> None:
    """Electrons × POT × ∫Φ σ(E, T > 30 MeV) dE over the flux table, by Gauss-Legendre in each flux bin.

    The package's recoil nodes see the kinks at the flux edges to about 2e-5 (3e-6 with twice as many).
    """
    x, w = np.polynomial.legendre.leggauss(40)
    for k, exposure in enumerate(absolute_prism.card.exposures):
        spectrum = absolute_prism.flux.spectra[exposure.mode, exposure.position_m]
        edges = np.maximum(spectrum.edges_gev, (0.03 + math.sqrt(0.03**2 + 2 * M * 0.03)) / 2)
        half = np.diff(edges)[:, None] / 2
        energy = edges[:-1, None] + half * (1 + x)
        sigma = (total_above(channel, energy, 0.03) * w * half).sum(axis=1)
        c = list(CHANNELS).index(channel)
        electrons = 50e6 / 39.948 * 6.02214076e23 * 18
        events = electrons * 1.1e21 * (spectrum.values[c] * sigma).sum()
        assert absolute_prism.templates.per_year[k, c, 0] == pytest.approx(events, rel=5e-5)


def test_fifty_tonnes_of_argon() -> None:
    assert material("argon").electrons_in(50) == pytest.approx(1.357e31, rel=5e-4)
    assert (material("argon").protons, material("argon").neutrons) == (18, 22)


@pytest.mark.parametrize(("lepton", "radius"), [("e", 4.1e-33), ("mu", 2.4e-33), ("tau", 1.5e-33)])
def test_sm_charge_radii(lepton: str, radius: float) -> None:
    assert standard_model_charge_radius(lepton) == pytest.approx(radius, abs=0.05e-33)


def test_constants_are_those_of_the_physics_page() -> None:
    assert constants.FERMI_CONSTANT_GEV2 == 1.1663787e-5
    assert pytest.approx(137.035999, rel=1e-12) == 1 / constants.FINE_STRUCTURE
    assert constants.ELECTRON_MASS_GEV == 0.51099895e-3
    assert pytest.approx(1e3 * constants.ELECTRON_MASS_GEV, rel=1e-15) == constants.ELECTRON_MASS_MEV
    assert constants.W_MASS_GEV == 80.377
    assert constants.HBARC2_CM2_GEV2 == 0.3893793721e-27
    assert constants.SIN2_THETA_W == 0.2385
