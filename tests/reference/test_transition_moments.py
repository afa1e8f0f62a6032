"""Upscattering at a reactor: flux averages over NUCLEUS' 10 g against those of an independent calculation."""

import numpy as np
import pytest

from bayesnu.flux.reactor import Core, reactor_flux
from bayesnu.physics.dipole import Emission, emission, primakoff_cross_section, recoil_window
from bayesnu.physics.materials import ELEMENTS, nuclei_per_kg
from bayesnu.physics.nucleus import helm_form_factor
from bayesnu.physics.sterile_decay import photon_energy_fractions

CORES = (Core(4.25, 72.0), Core(4.25, 102.0))
FRACTIONS = {"U235": 0.561, "U238": 0.076, "Pu239": 0.307, "Pu241": 0.056}
MASS_KG = {"CaWO4": 0.006, "Al2O3": 0.004}
THRESHOLD_GEV = 20e-9


def events(m_mev: float, steps: int = 160) -> tuple[np.ndarray, Emission]:
    """Points of (E, T) above 20 eV with weights flux × cross section × m/p: those of decays of a long-lived N."""
    m = 1e-3 * m_mev
    x, w = np.polynomial.legendre.leggauss(steps)
    weights, parts = [], []
    for compound, mass in MASS_KG.items():
        for symbol, nuclei in nuclei_per_kg(compound).items():
            element = ELEMENTS[symbol]
            # E in pieces, since the flux has a kink at 2 MeV.
            for start, stop in (
                (m_mev * (1 + 1e-5), max(m_mev * (1 + 1e-5), 2.0)),
                (max(m_mev * (1 + 1e-5), 2.0), 8.0),
            ):
                energy = start + (stop - start) * (x + 1) / 2
                low, high = recoil_window(1e-3 * energy, m, element.mass_gev)
                low = np.maximum(low, THRESHOLD_GEV)
                reached = high > low
                if not reached.any():
                    continue
                E, a, b = energy[reached], np.log(low[reached]), np.log(high[reached])
                T = np.exp(a[:, None] + (b - a)[:, None] * (x + 1) / 2)
                grid = np.broadcast_to(1e-3 * E[:, None], T.shape)
                sigma = primakoff_cross_section(T, grid, m, element.mass_gev) * element.protons**2
                sigma = sigma * helm_form_factor(T, element) ** 2
                flux = reactor_flux(E, CORES, FRACTIONS) * w[reached] * (stop - start) / 2
                found = emission(T, grid, m, element.mass_gev)
                area = T * (b - a)[:, None] / 2 * w
                weight = nuclei * mass * flux[:, None] * sigma * area * m / found.momentum_gev
                weights.append(weight.ravel())
                parts.append([part.ravel() for part in found])
    return np.concatenate(weights), Emission(*(np.concatenate(p) for p in zip(*parts, strict=True)))


@pytest.mark.parametrize(
    ("m_mev", "average"),
    [(0.5, 0.9995), (1, 0.976), (2, 0.924), (3, 0.828), (4, 0.708), (5, 0.628), (6, 0.549), (7, 0.434)],
)
def test_longitudinal_polarisation(m_mev: float, average: float) -> None:
    weight, found = events(m_mev)
    assert weight @ found.longitudinal / weight.sum() == pytest.approx(average, abs=0.006)


@pytest.mark.parametrize(
    ("m_mev", "majorana", "dirac"),
    [(0.5, 1.111, 0.754), (1, 1.229, 0.868), (2, 1.605, 1.220), (3, 1.979, 1.618), (5, 2.881, 2.562)],
)
def test_mean_photon_energies(m_mev: float, majorana: float, dirac: float) -> None:
    """The Dirac photon is softer: ⟨E_γ⟩ = E_N/2 (1 - s β P_∥/3)."""
    weight, found = events(m_mev)
    beta = found.momentum_gev / found.energy_gev
    for s, expected in ((0.0, majorana), (1.0, dirac)):
        mean = weight @ (found.energy_gev / 2 * (1 - s * beta * found.longitudinal / 3)) / weight.sum()
        assert 1e3 * mean == pytest.approx(expected, rel=0.01)


def test_share_of_photons_above_the_centre() -> None:
    """x = 2E_γ/E_N above 1 at 1 MeV: 0.257 for Dirac, half for Majorana; 1/2 - s ⟨P_∥⟩/4."""
    weight, found = events(1.0, 60)
    for s, expected in ((0.0, 0.5), (1.0, 0.257)):
        above = np.array(
            [
                photon_energy_fractions([e / 2, 1.0], Emission(*(part[k] for part in found)), s)[0]
                for k, e in list(enumerate(found.energy_gev))[::37]
            ]
        )
        assert above @ weight[::37] / weight[::37].sum() == pytest.approx(expected, abs=0.004)
