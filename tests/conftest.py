"""Shared fixtures: a cache of the tests' own, the shipped experiments, and cards that differ in one thing."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bayesnu import resources
from bayesnu.detector.response import build_response
from bayesnu.detector.settings import ResponseSettings
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.batch import fit_couplings
from bayesnu.inference.density import callbacks
from bayesnu.inference.likelihood import make_problem, minimise_pulls
from bayesnu.resources import find_card

COARSE = ("response.energy_cells=24", "response.angle_cells=16", "response.samples=30720")


def compile_fits() -> None:
    problem = make_problem(load_experiment("dune-on-axis"), ["q_numu"])
    minimise_pulls(problem, np.zeros((1, 1)))
    fit_couplings(problem, problem.data[None, :], np.zeros((1, 1)))


def compile_smearing_and_density() -> None:
    callbacks()
    small = ResponseSettings(1.0, 0.1, (0.0, 1.0), 0.5, 2.0, energy_cells=1, angle_cells=1, samples=8)
    for method in ("variance-reduced", "sample-and-histogram", "quadrature"):
        build_response(replace(small, method=method))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Of several processes, two compile half of the kernels each, and all wait: numba keeps them on disk for all."""
    worker = getattr(session.config, "workerinput", {"workercount": 1})
    if worker["workercount"] == 1:
        return
    shared = Path(session.config.option.basetemp).parent
    for name, compile_ in {"gw0": compile_fits, "gw1": compile_smearing_and_density}.items():
        if worker["workerid"] == name:
            compile_()
            (shared / f"compiled-{name}").touch()
    # Not for ever: the other may have failed, which its tests will say.
    give_up = time.monotonic() + 120
    while len(list(shared.glob("compiled-gw[01]"))) < 2 and time.monotonic() < give_up:
        time.sleep(0.1)


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
        given = [f"exposures.{k}.observed_counts={row.tolist()!r}" for k, row in enumerate(counts)]
        return load_experiment("dune-on-axis", ["expected_data=true", *given])

    return load


@pytest.fixture
def share_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A writable copy of models/ and data/ that the package takes for its own; returns its root."""
    root = tmp_path / "share"
    for folder in (resources.models_folder(), resources.data_folder()):
        shutil.copytree(folder, root / folder.name)
    monkeypatch.setattr(resources, "share_root", lambda: root)
    return root
