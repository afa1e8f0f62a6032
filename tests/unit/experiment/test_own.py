"""A new experiment like a known one: valid as written, its own in name, flux and counts."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomlkit

from bayesnu.errors import UsageError
from bayesnu.experiment import electron, own
from bayesnu.experiment.own import new_experiment
from bayesnu.experiment.setup import load_experiment
from bayesnu.flux.table import read_flux
from bayesnu.resources import data_folder, find_card, shipped_models
from bayesnu.results.check import check_card
from bayesnu.results.runs import make_arguments, run_fits


@pytest.fixture
def quick_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """The computed background takes a second."""

    def some(card: Any, *_: Any) -> np.ndarray:
        return np.full((len(card.exposures), 2, len(card.detector.bin_edges_mev) - 1), 40.0)

    monkeypatch.setattr(electron, "computed_backgrounds", some)


def test_electron_card(tmp_path: Path, quick_background: None) -> None:
    written = new_experiment(tmp_path / "mine", "dune-on-axis")
    assert written.card == tmp_path / "mine" / "mine.toml"
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == [
        "SOURCE.md",
        "flux.csv",
        "mine.toml",
        "observed_counts.csv",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    content = tomllib.loads(written.card.read_text())
    assert content["flux"] == {"file": "flux.csv", "normalisation": "absolute", "pot_per_year": 1.1e21}
    assert content["backgrounds"] == {"model": "ccqe"}
    assert (content["name"], "comparison" in content) == ("mine", False)
    own = load_experiment(str(written.card))
    like = load_experiment("dune-on-axis", ["flux.normalisation=absolute", "backgrounds.model=ccqe"])
    assert own.observed
    np.testing.assert_array_equal(own.data, np.round(like.model.expected()))
    np.testing.assert_array_equal(own.model.arrays, like.model.arrays)
    assert own.response_key == like.response_key
    shipped, copied = read_flux(like.files["flux.file"]), read_flux(own.files["flux.file"])
    assert own.files["flux.file"].parent == tmp_path / "mine"
    assert set(copied.spectra) == {("neutrino", 0.0), ("antineutrino", 0.0)}
    np.testing.assert_array_equal(copied.spectrum("neutrino", 0).values, shipped.spectrum("neutrino", 0).values)


def test_comments_stay(tmp_path: Path, quick_background: None) -> None:
    text = new_experiment(tmp_path / "mine", "dune-on-axis").card.read_text()
    for line in find_card("dune-on-axis").read_text().splitlines():
        changed = line.startswith(("name", "title", "paper", "file", "normalisation", "event_table"))
        if "#" in line and not changed:
            assert line in text
    assert "bayesnu check mine/mine.toml" in text
    assert "Not a measurement" in text
    assert "to its SM total in event_table" not in text


def test_observed_counts_of_the_known_card_are_not_taken(
    tmp_path: Path, quick_background: None, edited_card: Callable[..., Path]
) -> None:
    counts = f"observed_counts = {[7] * 12}\n"
    known = edited_card(("years = 3.5\n", f"years = 3.5\n{counts}"))
    own = load_experiment(str(new_experiment(tmp_path / "mine", str(known)).card))
    assert own.data.min() > 7
    assert own.card.model_dump()["exposures"][0]["observed_counts"] is None


@pytest.mark.parametrize(("model", "counts"), [("lsnd-nue", [180.0]), ("nucleus-10g", None)])
def test_other_cards(tmp_path: Path, model: str, counts: list[float] | None) -> None:
    written = new_experiment(tmp_path / "mine", model)
    assert [path.name for path in written.files] == ["observed_counts.csv"]
    own, like = load_experiment(str(written.card)), load_experiment(model)
    assert own.observed
    assert own.card.comparison is None
    np.testing.assert_array_equal(own.data, np.round(like.model.expected()) if counts is None else counts)
    np.testing.assert_array_equal(own.model.arrays, like.model.arrays)
    assert list(own.card.couplings) == list(like.card.couplings)


def test_own_card_like_an_own_card(tmp_path: Path) -> None:
    first = new_experiment(tmp_path / "first", "lsnd-nue")
    second = new_experiment(tmp_path / "second", str(first.card))
    assert load_experiment(str(second.card)).data.tolist() == [180.0]


def test_other_files_beside_the_known_card_come_along(tmp_path: Path) -> None:
    """Those of the shipped data are found from anywhere."""
    for name in ("mine.csv", "mine.toml"):
        (tmp_path / name).write_text(name)
    document, texts = tomlkit.parse('[backgrounds]\nfile = "./mine.csv"\n[flux]\nfile = "flux/dune_nd.csv"\n'), {}
    files = {
        "card": tmp_path / "card.toml",
        "backgrounds.file": tmp_path / "mine.csv",
        "backgrounds.file, made for": tmp_path / "mine.toml",
        "flux.file": data_folder() / "flux" / "dune_nd.csv",
        "flux.event_table": tmp_path / "left-out.csv",
    }
    own._own_files(document, files, texts)
    assert texts == {"mine.csv": "mine.csv", "mine.toml": "mine.toml"}
    assert document.unwrap() == {"backgrounds": {"file": "mine.csv"}, "flux": {"file": "flux/dune_nd.csv"}}


def test_beam_counts_are_copied(tmp_path: Path) -> None:
    own = load_experiment(str(new_experiment(tmp_path / "mine", "coherent-csi-2017").card))
    assert own.files["counts.file"] == tmp_path / "mine" / "observed_counts.csv"
    np.testing.assert_array_equal(own.data, load_experiment("coherent-csi-2017").data)


def test_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match="mine: exists already"):
        new_experiment(tmp_path / "mine", "lsnd-nue")
    with pytest.raises(UsageError, match="'two words' names no card"):
        new_experiment(tmp_path / "two words", "lsnd-nue")
    with pytest.raises(UsageError, match=r"unknown model 'lsnd'.*did you mean 'lsnd-nue'"):
        new_experiment(tmp_path / "other", "lsnd")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        new_experiment(tmp_path / "file" / "mine", "lsnd-nue")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "mine"]


@pytest.mark.slow
@pytest.mark.parametrize("model", shipped_models())
def test_every_model_makes_a_valid_card(model: str, tmp_path: Path, fake_sampler: Any) -> None:
    """Checked and fitted before any edit."""
    written = new_experiment(tmp_path / "mine", model)
    check = check_card(str(written.card))
    assert check.data.startswith("observed counts of observed_counts.csv")
    experiment = load_experiment(str(written.card))
    names = [name for name in experiment.card.couplings if experiment.responds(name)]
    arguments = make_arguments(experiment, names[:2], 100, 2, 5)
    run = run_fits(experiment, arguments, tmp_path / "run", notice=lambda _: None, progress=lambda _: None)
    assert [entry["coupling"] for entry in run.limits["limits"]] == names[:2]
