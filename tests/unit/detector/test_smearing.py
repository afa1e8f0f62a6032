"""The kernels of Appendix A: first principles, the two Monte Carlo forms against quadrature, and their errors."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bayesnu.detector import smearing
from bayesnu.detector.response import ResponseMatrix, build_response
from bayesnu.detector.settings import ResponseSettings, Smearing


def rotation(axis: str, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    if axis == "y":
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


@pytest.mark.parametrize("true", [0.0, 0.003, 0.05, 0.7])
@pytest.mark.parametrize("tilt", [-0.02, 0.0, 0.017, 0.3])
@pytest.mark.parametrize("azimuth", [0.0, 1.0, 2.5, 5.0])
def test_measured_angle_is_the_rotation_of_a4(true: float, tilt: float, azimuth: float) -> None:
    """p = R_y(θ_t) R_z(φ_2) R_y(θ_1) R_y(-θ_t) p_t, cos θ = z·p, in explicit matrices."""
    direction = np.array([np.sin(true), 0, np.cos(true)])
    measured = rotation("y", true) @ rotation("z", azimuth) @ rotation("y", tilt) @ rotation("y", -true) @ direction
    theta = np.arctan2(np.hypot(measured[0], measured[1]), measured[2])
    assert np.sqrt(smearing.measured_angle2(true, tilt, azimuth)) == pytest.approx(theta, rel=1e-6, abs=3e-8)


@pytest.mark.parametrize("energy", [0.05, 1.0, 12.0])
@pytest.mark.parametrize("angle", [0.004, 0.03])
def test_bin_probabilities_are_differences_of_normal_cdfs(energy: float, angle: float, small: ResponseSettings) -> None:
    """Energies below 0 are lost; so is all above the last edge."""
    out = np.zeros(12)
    smearing.add_bin_probabilities(energy, small.smearing, angle**2, 0.5, out)
    cdf = stats.norm(energy, 0.1 * np.sqrt(energy)).cdf(small.smearing.edges / angle**2)
    np.testing.assert_allclose(out, 0.5 * np.diff(cdf), rtol=1e-9, atol=1e-15)


def test_an_electron_along_the_beam_is_in_the_first_bin(small: ResponseSettings) -> None:
    """θ = 0: every energy ≥ 0 gives E_e θ² = 0."""
    out = np.zeros(12)
    smearing.add_bin_probabilities(0.05, small.smearing, 0.0, 1.0, out)
    np.testing.assert_allclose(out, [stats.norm.cdf(np.sqrt(0.05) / 0.1), *[0] * 11], atol=1e-12)


def spectrum(settings: ResponseSettings) -> np.ndarray:
    """True counts that fall with energy and with angle, as those of a beam do."""
    energy, angle = settings.energy_edges_gev[:-1], settings.angle_edges_gev[:-1]
    return np.exp(-energy)[:, None] * (1 - 0.5 * angle / angle[-1])[None, :]


def chi2_probability(response: ResponseMatrix, exact: ResponseMatrix) -> float:
    true = spectrum(response.settings)
    pull = (response.fold(true) - exact.fold(true)) / response.fold_error(true)
    return float(stats.chi2.sf((pull**2).sum(), pull.size))


@pytest.mark.parametrize("seed", [1, 2])
def test_variance_reduced_agrees_with_quadrature(
    small: ResponseSettings, small_quadrature: ResponseMatrix, seed: int
) -> None:
    response = build_response(replace(small, seed=seed))
    assert 1e-3 < chi2_probability(response, small_quadrature) < 0.999


@pytest.mark.parametrize("seed", [1, 2])
def test_sample_and_histogram_agrees_with_quadrature(
    small: ResponseSettings, small_quadrature: ResponseMatrix, seed: int
) -> None:
    response = build_response(replace(small, method="sample-and-histogram", samples=10**6, seed=seed))
    assert 1e-3 < chi2_probability(response, small_quadrature) < 0.999


def test_variance_reduction_beats_the_plain_recipe(small: ResponseSettings, small_response: ResponseMatrix) -> None:
    """At equal samples the stated error of every folded bin is smaller, by half or more in the sum."""
    plain = build_response(replace(small, method="sample-and-histogram"))
    true = spectrum(small)
    reduced, binomial = small_response.fold_error(true), plain.fold_error(true)
    assert (reduced < binomial).all()
    assert (reduced**2).sum() < 0.25 * (binomial**2).sum()


@pytest.mark.parametrize("energy", [0.05, 1.0, 40.0])
def test_a_table_gives_the_bins_of_any_angle(energy: float, small: ResponseSettings) -> None:
    """Between its rows as well, since tilts may be small; nothing is lost beyond its ends."""
    detector, reach = small.smearing, 0.02
    axis = smearing.table_axis(energy, reach, detector)
    table = smearing.bins_by_angle(energy, axis, detector)
    angles = np.geomspace(1e-6, reach + 4 * detector.tilt, 20_001)
    exact, read = np.zeros((angles.size, 12)), np.zeros((angles.size, 12))
    for angle, out in zip(angles, exact, strict=True):
        smearing.add_bin_probabilities(energy, detector, angle**2, 1.0, out)
    place = (2 * np.log(np.sin(angles / 2)) - axis[0]) / axis[1]
    for b in range(12):
        read[:, b] = np.interp(place, np.arange(axis[2]), table[:, b])
    assert np.abs(read - exact).max() < 2e-4
    assert np.abs((read - exact)[angles > reach / 2].mean(axis=0)).max() < 3e-6


@pytest.mark.parametrize("ratio", [1.06, 1.35])
def test_a_cell_of_energy_is_the_mean_of_its_parts(small: ResponseSettings, ratio: float) -> None:
    """However few energies stand for a cell: eight times as many, with as many points each, give the same."""
    wide = replace(small, electron_energy_max_gev=0.8 * ratio**2, energy_cells=2, samples=2**19)
    fine = build_response(replace(wide, energy_cells=16, samples=2**22)).values.reshape(2, 8, 16, 12).mean(axis=1)
    found = build_response(wide)
    stated = np.sqrt((found.error**2).mean())
    assert stated < 3e-4
    assert np.sqrt(((found.values - fine) ** 2).mean()) < 1.25 * stated


def test_plain_errors_are_binomial(small: ResponseSettings) -> None:
    response = build_response(replace(small, method="sample-and-histogram", samples=128 * 1000))
    p = response.values
    np.testing.assert_allclose(response.error, np.sqrt(p * (1 - p) / 1000), rtol=1e-9)


@pytest.mark.slow
def test_five_million_events_give_a_one_percent_bin_to_0_45_percent(small: ResponseSettings) -> None:
    """The paper's recipe: the spread over seeds is binomial in every bin, 0.45% where 1% of the events fall."""
    n = 5_000_000
    energies, angles = np.full(n, 2.0), np.full(n, 0.01)
    counts = np.array(
        [smearing.histogram_events(energies, angles, small.smearing, np.arange(16) + 16 * run) for run in range(3)]
    )
    assert (counts.sum(axis=1) == n).all()
    p = counts.mean(axis=0) / n
    one_percent = int(np.abs(p[:12] - 0.01).argmin())
    expected = np.sqrt(p * (1 - p) / n) / p
    assert p[one_percent] == pytest.approx(0.01, rel=0.2)
    assert expected[one_percent] * np.sqrt(p[one_percent] / 0.01) == pytest.approx(0.0045, rel=0.02)
    relative = counts.std(axis=0, ddof=1) / counts.mean(axis=0)
    # Pooled over the bins: 13 bins × 2 degrees of freedom.
    pooled = 2 * ((relative / expected) ** 2).sum()
    assert 1e-3 < stats.chi2.sf(pooled, 26) < 0.999
    assert 1e-3 < stats.chi2.sf(2 * (relative[one_percent] / expected[one_percent]) ** 2, 2) < 0.999


def test_events_are_one_dimensional_normal_in_the_tilt() -> None:
    """At θ_t = 0 the measured angle is |θ_1|: half-normal (KS test on its histogram), not Rayleigh."""
    n, sigma = 200_000, np.deg2rad(1)
    angles = sigma * np.linspace(0, 4, 41)
    detector = Smearing(1e-12, 0.0, 0.0, sigma, 0.0, angles**2, np.empty(0))
    counts = smearing.histogram_events(np.full(n, 1.0), np.zeros(n), detector, np.arange(4))
    cumulative = np.cumsum(counts[:-1]) / n
    expected = stats.halfnorm.cdf(angles[1:] / sigma)
    assert np.abs(cumulative - expected).max() < stats.kstwobign.ppf(0.999) / np.sqrt(n)


@pytest.mark.parametrize("method", ["variance-reduced", "sample-and-histogram"])
def test_same_seed_same_numbers(small: ResponseSettings, method: str) -> None:
    settings = replace(small, method=method)
    first, second = build_response(settings), build_response(settings)
    np.testing.assert_array_equal(first.values, second.values)
    np.testing.assert_array_equal(first.error, second.error)
    assert not np.array_equal(build_response(replace(settings, seed=8)).values, first.values)


def test_rows_sum_to_at_most_one(small_response: ResponseMatrix, small_quadrature: ResponseMatrix) -> None:
    for response in (small_response, small_quadrature):
        rows = response.values.sum(axis=2)
        assert (rows <= 1 + 1e-9).all()
        assert (rows < 0.99).any()


@pytest.mark.parametrize("method", ["variance-reduced", "sample-and-histogram", "quadrature"])
def test_perfect_resolution_keeps_every_cell_in_its_bin(small: ResponseSettings, method: str) -> None:
    samples = 30 if method == "quadrature" else small.samples
    sharp = replace(small, method=method, angular_resolution_deg=1e-7, energy_resolution=1e-7, samples=samples)
    values = build_response(sharp).values
    edges, low, high = sharp.smearing.edges, sharp.angle_edges_gev[:-1], sharp.angle_edges_gev[1:]
    inside = (np.searchsorted(edges, low, "right") == np.searchsorted(edges, high, "left")) & (low > 0)
    assert inside.sum() >= 8
    bins = np.searchsorted(edges, (low + high) / 2, "right") - 1
    for j in np.flatnonzero(inside):
        np.testing.assert_allclose(values[:, j], np.eye(12)[bins[j]][None, :].repeat(8, axis=0), atol=1e-6)


def test_perfect_resolution_histograms_true_events(small: ResponseSettings) -> None:
    rng = np.random.default_rng(1)
    energy, x = rng.uniform(0.5, 5, 5000), rng.uniform(0, 4e-3, 5000)
    sharp = replace(small, angular_resolution_deg=1e-10, energy_resolution=1e-12).smearing
    counts = smearing.histogram_events(energy, np.sqrt(x / energy), sharp, np.arange(3))
    np.testing.assert_array_equal(counts[:-1], np.histogram(x, sharp.edges)[0])
    assert counts[-1] == (x > sharp.edges[-1]).sum() > 0


@pytest.mark.parametrize(
    ("value", "bin_"), [(-0.1, -1), (0.0, 0), (0.999, 0), (1.0, 1), (2.999, 2), (3.0, -1), (9.0, -1)]
)
def test_bins_are_half_open(value: float, bin_: int) -> None:
    assert smearing.find_bin(value, np.array([0.0, 1.0, 2.0, 3.0])) == bin_
