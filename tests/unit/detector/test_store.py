"""Where responses come from: shipped, cached, or built, and what is said when a file is not good."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from bayesnu.detector.response import load_response
from bayesnu.detector.settings import ResponseSettings
from bayesnu.detector.store import find_response, response_name
from bayesnu.experiment.setup import Experiment
from bayesnu.experiment.templates import response_settings


@pytest.fixture
def tiny() -> ResponseSettings:
    return ResponseSettings(1.0, 0.1, (0.0, 1.0, 2.0), 0.5, 2.0, energy_cells=2, angle_cells=3, samples=96, seed=3)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("BAYESNU_CACHE", str(folder))
    return folder


def test_built_once_then_cached(tiny: ResponseSettings, empty_cache: Path) -> None:
    notices: list[str] = []
    first = find_response(tiny, notices.append)
    assert len(notices) == 1
    assert tiny.key in notices[0]
    assert [path.name for path in empty_cache.iterdir()] == [response_name(tiny)]
    second = find_response(tiny, notices.append)
    assert len(notices) == 1
    np.testing.assert_array_equal(first.values, second.values)


@pytest.mark.parametrize("damage", ["truncated", "version", "other settings"])
def test_bad_cached_file_is_noticed_and_rebuilt(tiny: ResponseSettings, empty_cache: Path, damage: str) -> None:
    good = find_response(tiny, lambda _: None)
    path = empty_cache / response_name(tiny)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:2000])
    elif damage == "version":
        with h5py.File(path, "a") as file:
            file.attrs["format_version"] = 0
    else:
        other = ResponseSettings(2.0, 0.1, (0.0, 1.0, 2.0), 0.5, 2.0, energy_cells=2, angle_cells=3, samples=96, seed=3)
        find_response(other, lambda _: None)
        (empty_cache / response_name(other)).replace(path)
    notices: list[str] = []
    rebuilt = find_response(tiny, notices.append)
    assert len(notices) == 2
    assert str(path) in notices[0]
    assert "building the response again" in notices[0]
    assert not any("\n" in notice for notice in notices)
    np.testing.assert_array_equal(rebuilt.values, good.values)
    np.testing.assert_array_equal(load_response(path).values, good.values)


def test_cache_that_cannot_be_written_is_noticed(
    tiny: ResponseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    monkeypatch.setenv("BAYESNU_CACHE", str(blocker / "cache"))
    notices: list[str] = []
    response = find_response(tiny, notices.append)
    assert response.settings == tiny
    assert "cannot be written" in notices[-1]
    assert "used without being kept" in notices[-1]
    assert blocker.read_text() == "not a folder"


def test_shipped_response_serves_both_cards(on_axis: Experiment, prism: Experiment, empty_cache: Path) -> None:
    notices: list[str] = []
    settings = response_settings(on_axis.card, on_axis.flux)
    assert response_settings(prism.card, prism.flux) == settings
    assert find_response(settings, notices.append).settings == settings
    assert notices == []
    assert not empty_cache.exists()


@pytest.mark.parametrize("damage", ["one byte", "truncated"])
def test_damaged_shipped_response_is_noticed(
    on_axis: Experiment, share_copy: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    settings = response_settings(on_axis.card, on_axis.flux)
    path = share_copy / "data" / "responses" / response_name(settings)
    good = load_response(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content if damage == "one byte" else content[:5000])
    monkeypatch.setattr("bayesnu.detector.store.build_response", lambda _: good)  # the build itself takes long
    notices: list[str] = []
    assert find_response(settings, notices.append).settings == settings
    assert len(notices) == 2
    assert str(path) in notices[0]
    assert "checksum" in notices[0]
    assert (empty_cache / response_name(settings)).is_file()
    assert path.read_bytes() != b""  # the shipped file stays as it is


def test_stale_shipped_response_is_noticed(tiny: ResponseSettings, share_copy: Path, empty_cache: Path) -> None:
    """A file of the right name that the manifest does not list is not trusted."""
    find_response(tiny, lambda _: None)
    path = share_copy / "data" / "responses" / response_name(tiny)
    (empty_cache / response_name(tiny)).replace(path)
    notices: list[str] = []
    assert find_response(tiny, notices.append).settings == tiny
    assert "not listed" in notices[0]
    assert (empty_cache / response_name(tiny)).is_file()
