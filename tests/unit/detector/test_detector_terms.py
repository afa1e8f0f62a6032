"""Noise and constant terms, a tilt that falls with energy, and bins of E_e by θ, against events simulated here."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bayesnu.detector import smearing
from bayesnu.detector.efficiency import efficiency_at
from bayesnu.detector.response import build_response, build_subsampled, load_response
from bayesnu.detector.settings import ResponseSettings

ENERGIES, ANGLES = (0.2, 0.7, 1.0, 1.4), (0.0, 1.0, 2.0, 4.0)


@pytest.fixture(scope="module")
def terms() -> ResponseSettings:
    """Bins of E_e by θ in one true cell; every term matters near 1 GeV."""
    return ResponseSettings(
        1.0,
        0.10,
        (),
        0.6,
        1.5,
        energy_cells=1,
        angle_cells=1,
        samples=2**15,
        seed=3,
        energy_resolution_noise_gev=0.08,
        energy_resolution_constant=0.12,
        angular_resolution_falling_deg=0.9,
        energy_bin_edges_gev=ENERGIES,
        angle_bin_edges_deg=ANGLES,
    )


def simulated(settings: ResponseSettings, n: int = 400_000) -> tuple[np.ndarray, np.ndarray]:
    """Reconstructed E_e (GeV) and θ (rad) of events uniform in the true cell, by explicit directions in space."""
    rng = np.random.default_rng(11)
    low, high = settings.energy_edges_gev
    energy = low * (high / low) ** rng.random(n)
    theta = np.sqrt(settings.angle_edges_gev[-1] * rng.random(n) / energy)
    tilt = rng.normal(size=n) * np.deg2rad(np.sqrt(1.0**2 + 0.9**2 / energy))
    azimuth = rng.uniform(0, 2 * np.pi, n)
    # The direction tilted about the true one: along it, and across it at a random azimuth.
    across = np.sin(tilt) * np.cos(azimuth)
    z = np.cos(theta) * np.cos(tilt) - np.sin(theta) * across
    width = np.sqrt(0.10**2 * energy + 0.08**2 + (0.12 * energy) ** 2)
    return energy + width * rng.normal(size=n), np.arccos(z)


@pytest.mark.parametrize("method", ["variance-reduced", "sample-and-histogram"])
def test_bins_of_energy_by_angle_agree_with_simulated_events(terms: ResponseSettings, method: str) -> None:
    response = build_response(replace(terms, method=method))
    n = 400_000
    counts = np.histogram2d(*simulated(terms, n), bins=(ENERGIES, np.deg2rad(ANGLES)))[0].ravel()
    share, found = counts / n, response.values[0, 0]
    variance = share * (1 - share) / n + response.error[0, 0] ** 2
    pulls = (found - share) / np.sqrt(variance)
    assert found.shape == (9,)
    assert 1e-3 < stats.chi2.sf((pulls**2).sum(), 9) < 0.999


def test_each_new_term_matters(terms: ResponseSettings) -> None:
    """Without it the events above would be seen to disagree."""
    full = build_response(terms).values[0, 0]
    for name in ("energy_resolution_noise_gev", "energy_resolution_constant", "angular_resolution_falling_deg"):
        assert np.abs(build_response(replace(terms, **{name: 0.0})).values[0, 0] - full).max() > 5e-3


@pytest.mark.slow
def test_quadrature_in_two_dimensions(terms: ResponseSettings) -> None:
    """Sharp edges in θ: no better than the spacing of its nodes."""
    exact = build_response(replace(terms, method="quadrature", samples=600, energy_cells=4, angle_cells=4))
    found = build_response(replace(terms, energy_cells=4, angle_cells=4, samples=2**17))
    np.testing.assert_allclose(found.values.mean(axis=(0, 1)), exact.values.mean(axis=(0, 1)), atol=2e-3)


@pytest.mark.parametrize("energy", [0.05, 1.0, 12.0])
def test_the_three_terms_of_the_energy_add_in_quadrature(terms: ResponseSettings, energy: float) -> None:
    width = np.sqrt(0.10**2 * energy + 0.08**2 + 0.12**2 * energy**2)
    assert float(smearing.energy_resolution(np.array(energy), terms.smearing)) == pytest.approx(width, rel=1e-14)
    out = np.zeros(9)
    smearing.add_bin_probabilities(energy, terms.smearing, np.deg2rad(1.5) ** 2, 0.5, out)
    expected = np.zeros((3, 3))
    expected[:, 1] = 0.5 * np.diff(stats.norm(energy, width).cdf(ENERGIES))
    np.testing.assert_allclose(out.reshape(3, 3), expected, rtol=1e-9, atol=1e-15)


def test_terms_at_zero_change_no_digit(small: ResponseSettings) -> None:
    """Σ of the shipped responses: 0.1 √E to the last bit."""
    energy = np.random.default_rng(1).uniform(0.03, 20, 1000)
    np.testing.assert_array_equal(smearing.energy_resolution(energy, small.smearing), 0.1 * np.sqrt(energy))
    np.testing.assert_array_equal(smearing.angular_resolution(energy, small.smearing), np.deg2rad(1.0))


def test_an_angle_outside_the_bins_is_lost(terms: ResponseSettings) -> None:
    out = np.zeros(9)
    smearing.add_bin_probabilities(1.0, terms.smearing, np.deg2rad(4.0) ** 2, 1.0, out)
    assert not out.any()
    smearing.add_bin_probabilities(1.0, terms.smearing, 0.0, 1.0, out)
    assert (out.reshape(3, 3)[:, 0] > 0).all()


def test_all_angles_and_energies_hold_every_event(terms: ResponseSettings) -> None:
    """What is missing is E_e < 0."""
    whole = replace(terms, energy_bin_edges_gev=(0.0, 1.0, 50.0), angle_bin_edges_deg=(0.0, 1.0, 180.0))
    rows = build_response(whole).values.sum(axis=2)
    np.testing.assert_allclose(rows, 1.0, atol=1e-4)
    assert (rows <= 1 + 1e-12).all()


def test_fine_bins_of_energy_by_angle_add_up_to_bins_of_e_theta2(terms: ResponseSettings) -> None:
    """Each small rectangle goes to the bin of E_e θ² where its middle lies."""
    edges = (0.0, 0.4, 0.8, 1.6, 4.0)
    line = build_response(
        replace(terms, bin_edges_mev=edges, energy_bin_edges_gev=(), angle_bin_edges_deg=(), samples=2**14)
    ).values[0, 0]
    energies, angles = np.linspace(0.0, 3.0, 121), np.linspace(0.0, 12.0, 241)
    fine = build_response(
        replace(terms, energy_bin_edges_gev=tuple(energies), angle_bin_edges_deg=tuple(angles), samples=2**14)
    ).values[0, 0]
    middle = 1e3 * np.outer(energies[1:] + energies[:-1], np.deg2rad(angles[1:] + angles[:-1]) ** 2) / 8
    summed = np.histogram(middle.ravel(), bins=edges, weights=fine)[0]
    np.testing.assert_allclose(summed, line, rtol=0.01)


def test_two_dimensions_in_a_file(terms: ResponseSettings, tmp_path: Path) -> None:
    built = build_response(replace(terms, samples=64))
    built.save(tmp_path / "response.nc")
    read = load_response(tmp_path / "response.nc")
    assert read.settings == built.settings
    np.testing.assert_array_equal(read.values, built.values)
    labels = built.labelled()
    np.testing.assert_allclose(labels.energy_lo, np.repeat(ENERGIES[:-1], 3))
    np.testing.assert_allclose(labels.angle_hi, np.tile(ANGLES[1:], 3))
    assert (labels.energy.attrs["units"], labels.angle.attrs["units"]) == ("GeV", "deg")


def test_subsamples_in_two_dimensions(terms: ResponseSettings) -> None:
    response = build_subsampled(replace(terms, samples=50 * 64))
    assert response.deviations is not None
    assert response.deviations.shape == (1, 1, 9, 50)
    np.testing.assert_allclose(response.values, build_response(terms).values, atol=6 * response.error.max())


def test_efficiency_between_points_and_outside() -> None:
    curve = [[1.0, 0.2], [3.0, 0.6]]
    np.testing.assert_allclose(efficiency_at(curve, np.array([0.9, 1.0, 1.5, 3.0, 3.1])), [0, 0.2, 0.3, 0.6, 0])
    np.testing.assert_array_equal(efficiency_at(None, np.array([0.9, 3.1])), [1, 1])
