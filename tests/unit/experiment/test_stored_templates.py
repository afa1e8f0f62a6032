"""Templates from the cache: those that would be folded, and folded again when anything they depend on is another."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bayesnu.detector import store
from bayesnu.experiment import stored_templates
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.setup import load_electron_experiment
from bayesnu.experiment.stored_templates import WITHOUT, find_templates
from bayesnu.experiment.templates import Templates, build_templates
from bayesnu.flux.table import FluxTable, Spectrum

ARRAYS = ("values", "per_year", "error", "ratio", "deviations")
COARSE = ("response.energy_cells=12", "response.angle_cells=8", "response.samples=15360")


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> ElectronExperiment:
    """With a response of few cells and the flux's own normalisation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAYESNU_CACHE", str(tmp_path_factory.mktemp("response")))
        return load_electron_experiment("dune-on-axis", [*COARSE, "flux.normalisation=absolute"])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, experiment: ElectronExperiment) -> Path:
    """A cache with the response, as a build leaves it."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("BAYESNU_CACHE", str(folder))
    response = experiment.templates.response
    response.save(folder / store.response_name(response.settings))
    return folder


@pytest.fixture
def folds(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was folded."""
    done: list[Any] = []

    def counted(*given: Any) -> Templates:
        done.append(given)
        return build_templates(*given)

    monkeypatch.setattr(stored_templates, "build_templates", counted)
    return done


def test_folded_once_and_the_same(experiment: ElectronExperiment, folds: list[Any], cache: Path) -> None:
    card, flux = experiment.card, experiment.flux
    events = np.full((len(card.exposures), 4), 100.0)
    own = build_templates(card, flux, events, pytest.fail)
    for _ in range(2):
        found = find_templates(card, flux, events, pytest.fail)
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(found, name), getattr(own, name))
    assert len(folds) == 1
    assert len(list(cache.glob("templates-*.npz"))) == 1


def test_another_mass_is_folded_from_kept_templates(experiment: ElectronExperiment) -> None:
    """With the response that they were folded with, which is only then read."""
    loaded = [*COARSE, "flux.normalisation=absolute"]
    load_electron_experiment("dune-on-axis", loaded)
    kept = load_electron_experiment("dune-on-axis", loaded)
    assert "matrix" not in vars(kept.templates.folded_with)
    np.testing.assert_array_equal(kept.at(3.0).model.arrays, experiment.at(3.0).model.arrays)
    assert "matrix" in vars(kept.templates.folded_with)


@pytest.mark.parametrize(
    "change",
    [
        {"target": {"mass_tonnes": 12.0}},
        {"target": {"material": "H2O"}},
        {"physics": {"sin2_theta_w": 0.25}},
        {"physics": {"millicharge": "as-printed"}},
        {"sterile": {"m_N": 3.0}},
        {"response": {"recoil_nodes": 2}},
        {"flux": {"pot_per_year": 2e21}},
        {"detector": {"efficiency": [[0.0, 0.5], [1e5, 1.0]]}},
    ],
    ids=lambda change: "-".join(next(iter(change.values()))),
)
def test_another_card_is_folded(experiment: ElectronExperiment, folds: list[Any], change: dict[str, Any]) -> None:
    card = experiment.card
    find_templates(card, experiment.flux, None, pytest.fail)
    (table, keys), = change.items()
    other = card.model_copy(update={table: getattr(card, table).model_copy(update=keys)})
    found = find_templates(other, experiment.flux, None, pytest.fail)
    assert len(folds) == 2
    np.testing.assert_array_equal(found.values, build_templates(other, experiment.flux, None, pytest.fail).values)


def test_another_flux_years_events_or_response_are_folded(
    experiment: ElectronExperiment, folds: list[Any], cache: Path
) -> None:
    card, flux = experiment.card, experiment.flux
    doubled = FluxTable(flux.path, {k: Spectrum(s.edges_gev, 2 * s.values) for k, s in flux.spectra.items()})
    longer = card.model_copy(update={"exposures": [e.model_copy(update={"years": 9.0}) for e in card.exposures]})
    find_templates(card, flux, None, pytest.fail)
    find_templates(card, doubled, None, pytest.fail)
    find_templates(longer, flux, None, pytest.fail)
    find_templates(card, flux, np.ones((len(card.exposures), 4)), pytest.fail)
    assert len(folds) == 4
    response = experiment.templates.response
    path = cache / store.response_name(response.settings)
    type(response)(response.settings, response.values * 0.5, response.error).save(path)
    found = find_templates(card, flux, None, pytest.fail)
    assert len(folds) == 5
    np.testing.assert_allclose(found.values, 0.5 * experiment.templates.values, rtol=1e-13)


def test_priors_titles_and_counts_are_none_of_their_concern(experiment: ElectronExperiment, folds: list[Any]) -> None:
    card = experiment.card
    renamed = card.model_copy(update={"name": "other", "title": "Other", "couplings": {"mu_nue": {}}})
    for own in (card, renamed):
        find_templates(own, experiment.flux, None, pytest.fail)
    assert len(folds) == 1
    assert set(type(card).model_fields) >= WITHOUT


def test_damaged_files_are_noticed(experiment: ElectronExperiment, folds: list[Any], cache: Path) -> None:
    notices: list[str] = []
    find_templates(experiment.card, experiment.flux, None, notices.append)
    (kept,) = cache.glob("templates-*.npz")
    kept.write_bytes(kept.read_bytes()[:-40])
    find_templates(experiment.card, experiment.flux, None, notices.append)
    assert len(folds) == 2
    assert len(notices) == 1
    assert notices[0].startswith(f"{kept}: damaged")
    (response,) = cache.glob("response-*.nc")
    response.write_bytes(b"no response")
    found = find_templates(experiment.card, experiment.flux, None, notices.append)
    assert notices[1].startswith(f"{response}: not a response file")
    np.testing.assert_array_equal(found.values, experiment.templates.values)


def test_nothing_is_kept_without_a_whole_response(
    experiment: ElectronExperiment, folds: list[Any], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a shipped file that changed, every command says so."""
    shipped, digests = tmp_path / "data" / "responses", tmp_path / "data" / "MANIFEST.sha256"
    shipped.mkdir(parents=True)
    (response,) = cache.glob("response-*.nc")
    good = response.read_bytes()
    digests.write_text(f"{hashlib.sha256(good).hexdigest()}  responses/{response.name}\n")
    (shipped / response.name).write_bytes(good + b" ")
    notices: list[str] = []
    with monkeypatch.context() as patch:
        for module in ("bayesnu.detector.store", "bayesnu.resources"):
            patch.setattr(f"{module}.data_folder", lambda: tmp_path / "data")
        for _ in range(2):
            find_templates(experiment.card, experiment.flux, None, notices.append)
    assert len(folds) == len(notices) == 2
    assert all("changed or damaged" in text for text in notices)
    assert not list(cache.glob("templates-*"))


def test_sub_samples_are_not_kept(experiment: ElectronExperiment, folds: list[Any], cache: Path) -> None:
    card = experiment.card
    sampled = card.model_copy(update={"response": card.response.model_copy(update={"mc_stat": "gamma-poisson"})})
    notices: list[str] = []
    for _ in range(2):
        find_templates(sampled, experiment.flux, None, notices.append)
    assert len(folds) == 2
    assert not list(cache.glob("templates-*"))
