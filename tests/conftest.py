"""Shared fixtures: a cache of the tests' own, the shipped experiments, and cards that differ in one thing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bayesnu import resources
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.resources import find_card

COARSE = ("response.energy_cells=24", "response.angle_cells=16", "response.samples=30720")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the user's cache out of the tests, and the tests out of the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAYESNU_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def on_axis() -> Experiment:
    return load_experiment("dune-on-axis")


@pytest.fixture(scope="session")
def prism() -> Experiment:
    return load_experiment("dune-prism")


@pytest.fixture(scope="session")
def absolute_prism() -> Experiment:
    return load_experiment("dune-prism", ["flux.normalisation=absolute"])


@pytest.fixture(scope="session")
def separate_pulls() -> Experiment:
    return load_experiment("dune-on-axis", ["pulls.shared=false"])


@pytest.fixture(scope="session")
def coarse() -> tuple[str, ...]:
    """Overrides that make a response build take a moment: for tests of plumbing, not of numbers."""
    return COARSE


@pytest.fixture
def edited_card(tmp_path: Path) -> Callable[..., Path]:
    """Write a copy of a shipped card with text replacements, each of which must apply; return its path."""

    def write(*replacements: tuple[str, str], model: str = "dune-on-axis", name: str = "card.toml") -> Path:
        text = find_card(model).read_text(encoding="utf-8")
        for old, new in replacements:
            if old not in text:
                raise ValueError(f"{old!r} is not in {model}")
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def observe(on_axis: Experiment) -> Callable[[dict[str, float]], Experiment]:
    """Return the on-axis card with observed counts equal to the expectation at some couplings."""

    def load(couplings: dict[str, float]) -> Experiment:
        counts = on_axis.model.expected(couplings).reshape(len(on_axis.card.exposures), -1)
        return load_experiment(
            "dune-on-axis", [f"exposures.{k}.observed_counts={row.tolist()!r}" for k, row in enumerate(counts)]
        )

    return load


@pytest.fixture
def share_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A writable copy of models/ and data/ that the package takes for its own; returns its root."""
    root = tmp_path / "share"
    for folder in (resources.models_folder(), resources.data_folder()):
        shutil.copytree(folder, root / folder.name)
    monkeypatch.setattr(resources, "share_root", lambda: root)
    return root
