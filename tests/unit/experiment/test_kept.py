"""Arrays kept in the cache: found again, computed again when anything they depend on or the file is another."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bayesnu.experiment import backgrounds, kept
from bayesnu.experiment.backgrounds import ccqe_kernel, computed_backgrounds, find_kernel
from bayesnu.experiment.electron_card import Card
from bayesnu.experiment.response import response_settings
from bayesnu.experiment.setup import Experiment
from bayesnu.flux.table import FluxTable, Spectrum

VALUES = np.array([[1 / 3, 2e-40], [0.0, 4e300]])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BAYESNU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def keep() -> Callable[..., tuple[np.ndarray, bool, list[str]]]:
    """Ask for an array; says whether it was computed, and what was noticed."""

    def ask(values: np.ndarray = VALUES, **content: Any) -> tuple[np.ndarray, bool, list[str]]:
        computed: list[bool] = []
        notices: list[str] = []

        def compute() -> np.ndarray:
            computed.append(True)
            return values

        found = kept.kept_array("some", content, values.shape, compute, notices.append)
        return found, bool(computed), notices

    return ask


def test_computed_once(keep: Callable[..., Any], cache: Path) -> None:
    assert keep(a=1)[1:] == (True, [])
    found, computed, notices = keep(a=1)
    assert (computed, notices) == (False, [])
    np.testing.assert_array_equal(found, VALUES)
    assert [path.suffix for path in cache.iterdir()] == [".npz"]
    assert keep(a=2)[1]


def test_another_program_computes_again(keep: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    keep(a=1)
    monkeypatch.setattr(kept, "program_digest", lambda: "another")
    assert keep(a=1)[1]


@pytest.mark.parametrize("damage", ["truncated", "empty", "a bit", "text", "another array", "not finite", "one array"])
def test_bad_file_is_noticed_and_computed_again(keep: Callable[..., Any], cache: Path, damage: str) -> None:
    keep(a=1)
    (path,) = cache.iterdir()
    content = path.read_bytes()
    if damage == "another array":
        path.unlink()
        keep(a=2)
        next(cache.iterdir()).rename(path)
    elif damage == "not finite":
        with path.open("wb") as file:
            np.savez(file, key=kept.content_key({"name": "some", "a": 1}), values=VALUES + np.inf)
    elif damage == "one array":
        with path.open("wb") as file:
            np.save(file, VALUES)
    elif damage == "a bit":
        place = content.index(VALUES.tobytes()) + 3
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
    else:
        path.write_bytes({"truncated": content[:-40], "empty": b"", "text": b"no archive"}[damage])
    found, computed, notices = keep(a=1)
    assert computed
    assert len(notices) == 1
    assert notices[0].startswith(f"{path}: ")
    assert "computing it again" in notices[0]
    assert "\n" not in notices[0]
    np.testing.assert_array_equal(found, VALUES)
    assert not keep(a=1)[1]


def test_what_is_not_finite_is_not_kept(keep: Callable[..., Any], cache: Path) -> None:
    assert keep(VALUES + np.inf, a=1)[1:] == keep(VALUES + np.inf, a=1)[1:] == (True, [])
    assert not cache.exists()


def test_cache_that_cannot_be_written_is_noticed(
    keep: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("BAYESNU_CACHE", str(tmp_path / "file" / "cache"))
    found, _, notices = keep(a=1)
    assert len(notices) == 1
    assert "used without being kept" in notices[0]
    np.testing.assert_array_equal(found, VALUES)


# The kernel of the CCQE background


def with_detector(card: Card, **changes: Any) -> Card:
    return card.model_copy(update={"detector": card.detector.model_copy(update=changes)})


def test_kernel_knows_all_that_it_depends_on(on_axis: Experiment, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backgrounds, "POINTS", 32)
    detector = response_settings(on_axis.card, on_axis.flux).smearing
    angles = np.array([0.0, 0.01, 0.1])
    start: dict[str, Any] = {
        "spectrum": Spectrum(np.array([1.0, 2.0, 3.0]), np.ones((4, 2))),
        "card": with_detector(on_axis.card, efficiency=None, threshold_mev=30.0),
        "detector": detector,
        "below_gev": 0.02,
    }
    changes: list[dict[str, Any]] = [
        {},
        {"spectrum": Spectrum(np.array([1.0, 2.0, 3.5]), np.ones((4, 2)))},
        {"spectrum": Spectrum(np.array([1.0, 2.0]), np.ones((4, 1)))},
        {"card": with_detector(start["card"], threshold_mev=1500.0)},
        {"card": with_detector(start["card"], efficiency=[[0.0, 0.5], [2500.0, 1.0]])},
        {"below_gev": 0.001},
        {"detector": detector._replace(edges=detector.edges[:-1])},
        {"detector": detector._replace(angle2_edges=angles)},
        *({"detector": detector._replace(**{name: 0.07})} for name in detector._fields[:5]),
    ]
    found = []
    for number, change in enumerate(changes, start=1):
        given = {**start, **change}
        found.append(find_kernel(**given, notice=pytest.fail))
        assert len(list(cache.iterdir())) == number, change
        np.testing.assert_array_equal(found[-1], ccqe_kernel(**given, points=32))
        np.testing.assert_array_equal(found[-1], find_kernel(**given, notice=pytest.fail))
    monkeypatch.setattr(backgrounds, "POINTS", 64)
    found.append(find_kernel(**start, notice=pytest.fail))
    assert len({(kernel.shape, kernel.tobytes()) for kernel in found}) == len(found)


def test_kernel_serves_another_flux_in_the_same_bins(on_axis: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    """And gives what is computed without it, to the last digit."""
    monkeypatch.setattr(backgrounds, "POINTS", 32)
    doubled = FluxTable(Path("x"), {k: Spectrum(s.edges_gev, 2 * s.values) for k, s in on_axis.flux.spectra.items()})
    first = computed_backgrounds(on_axis.card, on_axis.flux, pytest.fail)
    monkeypatch.setattr(backgrounds, "ccqe_kernel", lambda *_: pytest.fail("computed again"))
    np.testing.assert_array_equal(computed_backgrounds(on_axis.card, on_axis.flux, pytest.fail), first)
    np.testing.assert_array_equal(computed_backgrounds(on_axis.card, doubled, pytest.fail), 2 * first)
