"""Finding a card, overriding its keys, and where its paths are looked up."""

from collections.abc import Callable
from pathlib import Path
from shutil import copy

import pytest

from bayesnu.errors import BayesnuError, CardError, UsageError
from bayesnu.experiment.load import load_card, read_override
from bayesnu.experiment.setup import load_experiment
from bayesnu.resources import data_folder


@pytest.mark.parametrize(
    ("text", "parts", "value"),
    [
        ("target.mass_tonnes=25", ["target", "mass_tonnes"], 25),
        ("exposures.0.years = 1.5", ["exposures", "0", "years"], 1.5),
        ("flux.normalisation=absolute", ["flux", "normalisation"], "absolute"),
        ('flux.file="my flux.csv"', ["flux", "file"], "my flux.csv"),
        ("flux.file=./my/flux-2.csv", ["flux", "file"], "./my/flux-2.csv"),
        ("flux.file=2024flux.csv", ["flux", "file"], "2024flux.csv"),
        ("flux.file=~/flux.csv", ["flux", "file"], "~/flux.csv"),
        ("flux.file=/data/flux.csv", ["flux", "file"], "/data/flux.csv"),
        ("pulls.shared=false", ["pulls", "shared"], False),
        ("detector.bin_edges_mev=[0, 1]", ["detector", "bin_edges_mev"], [0, 1]),
        (
            'couplings.q_nue.prior={kind="normal", sigma=1e-9}',
            ["couplings", "q_nue", "prior"],
            {"kind": "normal", "sigma": 1e-9},
        ),
        ("title=a=b", ["title"], None),
    ],
)
def test_read_override(text: str, parts: list[str], value: object) -> None:
    if value is None:
        with pytest.raises(CardError, match="neither a TOML value nor a bare word"):
            read_override(text)
    else:
        assert read_override(text) == (parts, value)


@pytest.mark.parametrize(
    ("override", "fragments"),
    [
        ("target.mass_tonnes", ("-o target.mass_tonnes", "KEY=VALUE")),
        ("=5", ("-o =5", "KEY=VALUE")),
        ("target..mass_tonnes=5", ("KEY=VALUE",)),
        ("target.mass_tonnes=", ("-o target.mass_tonnes=", "''", "neither")),
        ("title=two words", ("'two words'", "neither a TOML value nor a bare word")),
        ("detector.bin_edges_mev=[0, 1", ("'[0, 1'", "neither")),
        ("exposures.2.years=1", ("exposures has elements 0 to 1", "'2'")),
        ("exposures.first.years=1", ("exposures has elements 0 to 1", "'first'")),
        ("exposures.².years=1", ("exposures has elements 0 to 1", "'²'")),
        ("exposures.-1.years=1", ("exposures has elements 0 to 1", "'-1'")),
        ("target.mass_tonnes.unit=1", ("target.mass_tonnes is a value, not a table",)),
    ],
)
def test_bad_override(override: str, fragments: tuple[str, ...]) -> None:
    with pytest.raises(CardError) as caught:
        load_card("dune-on-axis", [override])
    message = str(caught.value)
    assert "\n" not in message
    assert override.strip() in message
    assert [fragment for fragment in fragments if fragment not in message] == []


def test_overrides_apply_in_order_and_to_list_elements() -> None:
    loaded = load_card("dune-on-axis", ["exposures.1.years=1", "exposures.1.years=2", "detector.bin_edges_mev.1=0.3"])
    assert [e.years for e in loaded.card.exposures] == [3.5, 2.0]
    assert loaded.card.detector.bin_edges_mev[:2] == [0.0, 0.3]
    assert loaded.overrides[0] == "exposures.1.years=1"


@pytest.mark.parametrize(
    ("overrides", "file", "model"),
    [
        ((), "backgrounds/dune_ccqe_pi0.csv", None),
        (("backgrounds.model=ccqe",), None, "ccqe"),
        (("backgrounds.model=ccqe", "backgrounds.file=mine.csv"), "mine.csv", None),
    ],
)
def test_background_file_and_model_replace_each_other(
    overrides: tuple[str, ...], file: str | None, model: str | None
) -> None:
    backgrounds = load_card("dune-on-axis", overrides).card.backgrounds
    assert (backgrounds.file, backgrounds.model) == (file, model)


def test_unknown_model_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"model 'dune-onaxis'.*did you mean 'dune-on-axis'"):
        load_card("dune-onaxis")


@pytest.mark.parametrize("name", ["nowhere.toml", "folder/card"])
def test_missing_card(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BayesnuError, match=rf"{name}: no such card; shipped models are .*dune-on-axis, dune-prism"):
        load_card(name)


def test_card_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(BayesnuError, match="is a folder"):
        load_card(str(tmp_path))


@pytest.mark.parametrize("content", [b"name = ", b"[target\nmass = 3", b"\xff\xfe", b"a = 1\na = 2"])
def test_not_toml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "card.toml"
    path.write_bytes(content)
    with pytest.raises(CardError, match=r"card\.toml: not TOML") as caught:
        load_card(str(path))
    assert "\n" not in str(caught.value)


def test_empty_card(tmp_path: Path) -> None:
    path = tmp_path / "card.toml"
    path.write_text("")
    with pytest.raises(CardError, match=r"card\.toml: name: field required"):
        load_card(str(path))


@pytest.fixture
def three_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited_card: Callable[..., Path]
) -> tuple[Path, Path, Path]:
    """A card and two copies of the published limits, one beside the card and one in the working folder."""
    beside, working = tmp_path / "cards", tmp_path / "work"
    for folder in (beside, working):
        (folder / "published").mkdir(parents=True)
        copy(data_folder() / "published" / "limits.csv", folder / "published" / "limits.csv")
    card = edited_card().rename(beside / "card.toml")
    monkeypatch.chdir(working)
    return card, beside, working


def published(card: Path, *overrides: str) -> Path:
    return load_experiment(str(card), overrides).files["comparison.published"].resolve()


def test_paths_of_a_card_are_beside_it_then_shipped(three_places: tuple[Path, Path, Path]) -> None:
    card, beside, _ = three_places
    assert published(card) == (beside / "published" / "limits.csv").resolve()
    (beside / "published" / "limits.csv").unlink()
    assert published(card) == (data_folder() / "published" / "limits.csv").resolve()


def test_paths_of_an_override_are_in_the_working_folder_first(three_places: tuple[Path, Path, Path]) -> None:
    card, beside, working = three_places
    override = "comparison.published=published/limits.csv"
    assert published(card, override) == (working / "published" / "limits.csv").resolve()
    (working / "published" / "limits.csv").unlink()
    assert published(card, override) == (beside / "published" / "limits.csv").resolve()
    (beside / "published" / "limits.csv").unlink()
    assert published(card, override) == (data_folder() / "published" / "limits.csv").resolve()


def test_home_folder_in_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    copy(data_folder() / "flux" / "dune_nd.csv", tmp_path / "mine.csv")
    experiment = load_experiment("dune-on-axis", ["flux.file=~/mine.csv"])
    assert experiment.files["flux.file"] == tmp_path / "mine.csv"


def test_a_whole_table_as_override_is_looked_up_in_the_working_folder(three_places: tuple[Path, Path, Path]) -> None:
    card, _, working = three_places
    override = 'comparison={published="published/limits.csv", scenario="on-axis"}'
    assert published(card, override) == (working / "published" / "limits.csv").resolve()


@pytest.mark.parametrize("key", ["flux.file", "flux.event_table", "backgrounds.file", "comparison.published"])
def test_missing_data_file(key: str) -> None:
    with pytest.raises(CardError) as caught:
        load_experiment("dune-on-axis", [f"{key}=no_such.csv"])
    assert "no_such.csv" in str(caught.value)
    assert key in str(caught.value)
