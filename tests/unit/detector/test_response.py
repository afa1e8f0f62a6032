"""The matrix as an object: constructor checks, folding, labels, files."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from bayesnu.detector.response import ResponseMatrix, build_response, load_response, quadrature_settings
from bayesnu.detector.settings import ResponseSettings
from bayesnu.errors import ResponseError


@pytest.fixture
def tiny() -> ResponseSettings:
    return ResponseSettings(1.0, 0.1, (0.0, 1.0, 2.0), 0.5, 2.0, energy_cells=2, angle_cells=3, samples=96, seed=3)


@pytest.fixture
def saved(tiny: ResponseSettings, tmp_path: Path) -> Path:
    path = tmp_path / "response.nc"
    build_response(tiny).save(path)
    return path


def changed(array: np.ndarray, value: float) -> np.ndarray:
    array = array.copy()
    array[1, 2, 0] = value
    return array


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (lambda a: a[:, :, :1], lambda a: a, r"values have shape \(2, 3, 1\).*\(2, 3, 2\)"),
        (lambda a: a, lambda a: a[:1], r"error have shape \(1, 3, 2\)"),
        (lambda a: changed(a, np.nan), lambda a: a, "values must be finite"),
        (lambda a: changed(a, -1e-6), lambda a: a, "values must be .* at least 0"),
        (lambda a: a, lambda a: changed(a, np.inf), "error must be finite"),
        (lambda a: a, lambda a: changed(a, -1.0), "error must be .* at least 0"),
        (lambda a: changed(a, 1.01), lambda a: a, r"row \(energy 1, e_theta2 2\) sums to 1\.01"),
    ],
)
def test_constructor_checks(
    tiny: ResponseSettings,
    values: Callable[[np.ndarray], np.ndarray],
    error: Callable[[np.ndarray], np.ndarray],
    message: str,
) -> None:
    blank = np.zeros((2, 3, 2))
    ResponseMatrix(tiny, blank, blank)
    with pytest.raises(ResponseError, match=message):
        ResponseMatrix(tiny, values(blank), error(blank))


def test_fold_and_its_error(tiny: ResponseSettings) -> None:
    rng = np.random.default_rng(5)
    values, error, true = rng.random((2, 3, 2)) / 2, rng.random((2, 3, 2)) / 9, rng.random((4, 2, 3))
    response = ResponseMatrix(tiny, values, error)
    np.testing.assert_allclose(response.fold(true), np.einsum("tij,ijb->tb", true, values), rtol=1e-13)
    np.testing.assert_allclose(
        response.fold_error(true), np.sqrt(np.einsum("tij,ijb->tb", true**2, error**2)), rtol=1e-13
    )


def test_labels_units_and_edges(tiny: ResponseSettings) -> None:
    data = build_response(tiny).labelled()
    assert data.response.dims == ("energy_true", "e_theta2_true", "bin")
    assert {name: data[name].attrs["units"] for name in data.response.dims} == {
        "energy_true": "GeV", "e_theta2_true": "MeV", "bin": "MeV",
    }  # fmt: skip
    np.testing.assert_allclose(data.energy_true_lo, tiny.energy_edges_gev[:-1])
    np.testing.assert_allclose(data.e_theta2_true_hi, tiny.angle_edges_gev[1:] * 1e3)
    np.testing.assert_allclose(data.bin_hi, [1, 2])
    assert json.loads(data.attrs["settings"])["seed"] == 3


def test_save_and_load_round_trip(tiny: ResponseSettings, saved: Path) -> None:
    built, read = build_response(tiny), load_response(saved)
    assert read.settings == tiny
    np.testing.assert_array_equal(read.values, built.values)
    np.testing.assert_array_equal(read.error, built.error)
    assert [path.name for path in saved.parent.iterdir()] == ["response.nc"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_truncated_file(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ResponseError, match=r"response\.nc: .*truncated"):
        load_response(saved)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ResponseError, match=r"none\.nc"):
        load_response(tmp_path / "none.nc")


def test_not_hdf5(saved: Path) -> None:
    saved.write_text("mode,position_m\n")
    with pytest.raises(ResponseError, match=r"response\.nc: not a response file"):
        load_response(saved)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("format_version", 99, "format version 99; this bayesnu reads"),
        ("key", "0" * 16, "key 0000000000000000 does not belong"),
        ("settings", "{}", "settings cannot be read"),
        ("settings", "not json", "settings cannot be read"),
        ("settings", '{"bin_edges_mev": [0, 1], "colour": "red"}', "settings cannot be read"),
    ],
)
def test_attributes_that_do_not_fit(saved: Path, attribute: str, value: object, message: str) -> None:
    with h5py.File(saved, "a") as file:
        file.attrs[attribute] = value
    with pytest.raises(ResponseError, match=message) as caught:
        load_response(saved)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["response", "error"])
def test_missing_variable(saved: Path, name: str) -> None:
    with h5py.File(saved, "a") as file:
        del file[name]
    with pytest.raises(ResponseError, match="not a response file"):
        load_response(saved)


def test_unphysical_content_is_refused_on_load(saved: Path) -> None:
    with h5py.File(saved, "a") as file:
        file["response"][0, 0, :] = 0.8
    with pytest.raises(ResponseError, match=r"sums to 1\.6"):
        load_response(saved)


@pytest.mark.parametrize(("method", "needed"), [("variance-reduced", 48), ("sample-and-histogram", 6)])
def test_too_few_samples(tiny: ResponseSettings, method: str, needed: int) -> None:
    build_response(replace(tiny, method=method, samples=needed))
    with pytest.raises(ResponseError, match=f"response.samples = {needed - 1}: at least {needed} are needed"):
        build_response(replace(tiny, method=method, samples=needed - 1))


def test_quadrature_settings_keep_the_detector(tiny: ResponseSettings) -> None:
    exact = quadrature_settings(tiny, tilts=30)
    assert exact == replace(tiny, method="quadrature", samples=30, seed=0)
    response = build_response(exact)
    assert not response.error.any()
    np.testing.assert_array_equal(build_response(replace(exact, seed=1)).values, response.values)
