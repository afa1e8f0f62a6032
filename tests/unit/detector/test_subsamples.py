"""Sub-samples of a response: their covariance against binomial errors and the spread of other seeds; kept on disk."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bayesnu.detector.response import ResponseMatrix, build_response, build_subsampled, load_response
from bayesnu.detector.settings import SUBSAMPLES, ResponseSettings
from bayesnu.detector.store import find_response, locate_response, response_name
from bayesnu.errors import ResponseError

METHODS = ("variance-reduced", "sample-and-histogram")
CELLS = 8 * 16


@pytest.fixture
def tiny() -> ResponseSettings:
    return ResponseSettings(1.0, 0.1, (0.0, 1.0, 2.0), 0.5, 2.0, energy_cells=2, angle_cells=3, samples=600, seed=3)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BAYESNU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def covariance(response: ResponseMatrix, spectrum: np.ndarray) -> np.ndarray:
    """Of the folded spectrum, (bins, bins)."""
    own = response.fold_deviations(spectrum)
    return own @ own.T / (SUBSAMPLES * (SUBSAMPLES - 1))


def falling(settings: ResponseSettings) -> np.ndarray:
    return np.outer(np.linspace(1, 2, settings.energy_cells), np.exp(-np.linspace(0, 5, settings.angle_cells)))


def test_plain_events_have_the_covariance_of_a_multinomial(
    small: ResponseSettings, small_quadrature: ResponseMatrix
) -> None:
    """Of a cell with n events: (p_i δ_ij - p_i p_j)/n; cells add up. Ratios of traces, with 49 degrees of freedom."""
    events = SUBSAMPLES * 20
    spectrum = falling(small)
    true = np.einsum("ea,eab,bc->bc", spectrum**2, small_quadrature.values, np.eye(12))
    true -= np.einsum("ea,eab,eac->bc", spectrum**2, small_quadrature.values, small_quadrature.values)
    true /= events
    settings = replace(small, method="sample-and-histogram", samples=CELLS * events)
    found = np.mean([covariance(build_subsampled(replace(settings, seed=k)), spectrum) for k in range(10)], axis=0)
    # Whitened, the mean of Wishart matrices is 1 with errors of √(1/(49·10)) = 0.045 off the diagonal, √2 of it on it.
    whiten = np.linalg.inv(np.linalg.cholesky(true))
    assert np.abs(whiten @ found @ whiten.T - np.eye(12)).max() < 4 * np.sqrt(2 / (49 * 10))


@pytest.mark.parametrize("method", METHODS)
def test_covariance_is_the_spread_of_other_seeds(
    small: ResponseSettings, small_quadrature: ResponseMatrix, method: str
) -> None:
    """The mean of the sub-samples minus the exact response, in units of their own error."""
    spectrum = falling(small)
    settings = replace(small, method=method, samples=CELLS * SUBSAMPLES * 4)
    exact = small_quadrature.fold(spectrum)
    deviations = []
    for seed in range(30):
        response = build_subsampled(replace(settings, seed=seed))
        error = np.sqrt(np.diagonal(covariance(response, spectrum)))
        np.testing.assert_allclose(error, response.fold_error(spectrum), rtol=0.5)
        deviations.append((response.fold(spectrum) - exact) / error)
    z = np.array(deviations)
    # A Student variable with 49 degrees of freedom has the variance 49/47.
    assert (z**2).mean() == pytest.approx(49 / 47, abs=4 * np.sqrt(2 / (30 * 6)))
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(30)


@pytest.mark.parametrize("method", METHODS)
def test_deviations_belong_to_the_mean(small: ResponseSettings, method: str) -> None:
    settings = replace(small, method=method, samples=CELLS * SUBSAMPLES * 2)
    response, again = build_subsampled(settings), build_subsampled(settings)
    assert response.deviations is not None
    assert response.deviations.shape == (8, 16, 12, SUBSAMPLES)
    assert np.abs(response.deviations.sum(axis=-1)).max() < 1e-5
    np.testing.assert_array_equal(response.values, again.values)
    np.testing.assert_array_equal(response.deviations, again.deviations)
    other = build_subsampled(replace(settings, seed=8))
    assert not np.array_equal(response.values, other.values)
    spread = np.sqrt((response.deviations.astype(float) ** 2).sum(axis=-1) / (SUBSAMPLES * (SUBSAMPLES - 1)))
    np.testing.assert_allclose(response.error, spread, rtol=1e-4, atol=1e-9)


def test_sub_samples_do_not_change_the_precision(small: ResponseSettings) -> None:
    """As many events of plain Monte Carlo have the same error however they are grouped."""
    settings = replace(small, method="sample-and-histogram", samples=CELLS * 1000)
    whole, parts = build_response(settings), build_subsampled(settings)
    spectrum = falling(small)
    ratio = parts.fold_error(spectrum)[:6] / whole.fold_error(spectrum)[:6]
    assert np.abs(ratio - 1).max() < 0.1


def test_kept_beside_the_plain_one(tiny: ResponseSettings, empty_cache: Path) -> None:
    notices: list[str] = []
    first = find_response(tiny, notices.append, subsampled=True)
    assert notices == [
        f"building the detector response {tiny.key} (variance-reduced, 600 samples in {SUBSAMPLES} sub-samples)"
    ]
    second = find_response(tiny, notices.append, subsampled=True)
    assert len(notices) == 1
    np.testing.assert_array_equal(first.values, second.values)
    np.testing.assert_array_equal(first.deviations, second.deviations)
    assert find_response(tiny, notices.append).deviations is None
    assert sorted(path.name for path in empty_cache.iterdir()) == sorted(
        [response_name(tiny), response_name(tiny, subsampled=True)]
    )
    assert locate_response(tiny, subsampled=True) == empty_cache / f"response-{tiny.key}-of-{SUBSAMPLES}.nc"


@pytest.mark.parametrize(
    ("damage", "message"),
    [("truncated", "truncated"), ("plain", "must hold sub-samples"), ("fewer", "of shape"), ("nan", "must be finite")],
)
def test_damaged_sub_samples_are_noticed_and_built_again(
    tiny: ResponseSettings, empty_cache: Path, damage: str, message: str
) -> None:
    import h5py

    good = find_response(tiny, lambda _: None, subsampled=True)
    path = locate_response(tiny, subsampled=True)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:3000])
    elif damage == "plain":
        build_response(tiny).save(path)
    else:
        with h5py.File(path, "a") as file:
            values = np.asarray(file["deviations"])
            del file["deviations"]
            file["deviations"] = values[..., :-1] if damage == "fewer" else values * np.nan
    notices: list[str] = []
    again = find_response(tiny, notices.append, subsampled=True)
    assert message in notices[0]
    assert len(notices) == 2
    np.testing.assert_array_equal(again.deviations, good.deviations)
    np.testing.assert_array_equal(load_response(path).deviations, good.deviations)


def test_sub_samples_under_the_plain_name_are_not_taken(tiny: ResponseSettings, empty_cache: Path) -> None:
    find_response(tiny, lambda _: None, subsampled=True)
    locate_response(tiny, subsampled=True).rename(empty_cache / response_name(tiny))
    notices: list[str] = []
    assert find_response(tiny, notices.append).deviations is None
    assert "must not hold sub-samples" in notices[0]


def test_quadrature_has_no_sub_samples(tiny: ResponseSettings) -> None:
    with pytest.raises(ResponseError, match="no Monte Carlo error"):
        build_subsampled(replace(tiny, method="quadrature"))


@pytest.mark.parametrize("method", METHODS)
def test_one_sample_in_each_cell_and_sub_sample(tiny: ResponseSettings, method: str) -> None:
    build_subsampled(replace(tiny, method=method, samples=300))
    with pytest.raises(ResponseError, match="at least 300 are needed for 50 sub-samples of 2 × 3 true cells"):
        build_subsampled(replace(tiny, method=method, samples=299))
