"""Counts in a file: every kind of card reads one, and none whose bins are others."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bayesnu.errors import CardError, DataError
from bayesnu.experiment.load import load_card
from bayesnu.experiment.observed import Layout, observed_text, read_observed
from bayesnu.experiment.setup import load_experiment
from bayesnu.resources import data_folder

LAYOUT = Layout(("mode", "low", "high"), (("up", 0.0, 0.1), ("up", 0.1, 1 / 3), ("down", 0.0, 5.0)), ("observed",))
TEXT = "mode,low,high,observed\nup,0,0.1,3\nup,0.1,0.333333333333,0\ndown,0,5,12.5\n"
COUNTS = "counts.file={path}"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "counts.csv"
    path.write_text(text)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    values = np.array([[3.0], [0.0], [12.5]])
    assert observed_text(LAYOUT, values) == TEXT
    np.testing.assert_array_equal(read_observed(written(tmp_path, TEXT), LAYOUT, whole=False), values)


@pytest.mark.parametrize(
    ("old", "new", "error", "fragments"),
    [
        ("up,0.1,0.3", "up,0.2,0.3", CardError, ("line 3, low = 0.2", "0.1 here", "up 0 0.1 to down 0 5")),
        ("down,0,5", "up,0,5", CardError, ("line 4, mode = up", "down here")),
        ("0.333333333333", "0.3334", CardError, ("line 3, high = 0.3334",)),
        ("down,0,5,12.5\n", "", CardError, ("has 2 rows", "3 bins")),
        ("12.5\n", "12.5\ndown,5,6,1\n", CardError, ("has 4 rows", "3 bins")),
        ("12.5", "-1", DataError, ("line 4, observed = -1", "at least 0")),
        ("12.5", "nan", DataError, ("line 4, observed = nan", "finite")),
        ("12.5", "many", DataError, ("line 4, observed = 'many'", "a number")),
        ("12.5", "12.50", CardError, ("line 4, observed = 12.5", "whole numbers", "expected_data = true")),
        ("12.5", "1e16", CardError, ("line 4, observed = 1e+16", "at most 1e+15")),
        ("observed", "obsreved", DataError, ("column 'observed' is missing", "did you mean 'obsreved'")),
    ],
)
def test_what_is_no_file_of_these_counts(
    tmp_path: Path, old: str, new: str, error: type[Exception], fragments: tuple[str, ...]
) -> None:
    assert old in TEXT
    with pytest.raises(error) as raised:
        read_observed(written(tmp_path, TEXT.replace(old, new)), LAYOUT, whole=new == "12.50")
    assert [fragment for fragment in ("counts.csv", *fragments) if fragment not in str(raised.value)] == []


def test_fractions_are_expectations(on_axis: object, tmp_path: Path) -> None:
    """A file of fractions is refused unless the card says that these are the expectation of a model."""
    path = electron_counts(on_axis, tmp_path)
    path.write_text(path.read_text().replace(",103\n", ",103.25\n"))
    given = COUNTS.format(path=path)
    with pytest.raises(CardError, match=r"counts.file = 'counts.csv': line 5, observed = 103.25: observed counts are"):
        load_experiment("dune-on-axis", [given])
    assert load_experiment("dune-on-axis", [given, "expected_data=true"]).data[3] == 103.25


@pytest.mark.parametrize(
    ("model", "overrides", "key"),
    [
        (
            "dune-on-axis",
            [f"exposures.{k}.observed_counts={[1.0] * 11 + [k + 0.5]}" for k in (0, 1)],
            "exposures.0.obs",
        ),
        (
            "nucleus-10g",
            [f"observed_counts={{CaWO4={[1] * 40}, Al2O3={[1] * 39 + [2.5]}}}"],
            "observed_counts.Al2O3.39",
        ),
    ],
)
def test_fractions_in_a_card(model: str, overrides: list[str], key: str) -> None:
    with pytest.raises(CardError, match=rf"{key}.*\.5: observed counts are whole numbers; say expected_data = true"):
        load_card(model, overrides)
    assert load_card(model, [*overrides, "expected_data=true"]).card


def test_fractions_of_a_pulsed_beam(tmp_path: Path) -> None:
    text = (data_folder() / "counts" / "coherent_csi_2017.csv").read_text()
    for old, column in (("6,8,35,26", "anticoincidence"), ("6,8,35,26", "coincidence")):
        new = "6,8,35,26.5" if column == "anticoincidence" else "6,8,35.5,26"
        path = written(tmp_path, text.replace(old, new))
        with pytest.raises(CardError, match=rf"counts.csv': line 2, {column} = \d+.5: observed counts are whole"):
            load_experiment("coherent-csi-2017", [COUNTS.format(path=path)])


def electron_counts(experiment: object, tmp_path: Path) -> Path:
    edges = load_card("dune-on-axis").card.detector.bin_edges_mev  # type: ignore[union-attr]
    rows = [(m, lo, hi) for m in ("neutrino", "antineutrino") for lo, hi in itertools.pairwise(edges)]
    lines = [f"{m},0,{lo!r},{hi!r},{100 + k}" for k, (m, lo, hi) in enumerate(rows)]
    return written(tmp_path, "\n".join(["mode,position_m,e_theta2_lo_mev,e_theta2_hi_mev,observed", *lines]))


def test_electron_card(on_axis: object, tmp_path: Path) -> None:
    path = electron_counts(on_axis, tmp_path)
    found = load_experiment("dune-on-axis", [COUNTS.format(path=path)])
    assert found.observed
    assert found.data.tolist() == [100 + k for k in range(24)]
    assert found.files["counts.file"] == path
    asimov = load_experiment("dune-on-axis", [COUNTS.format(path=path), "counts.asimov=true"])
    assert not asimov.observed
    np.testing.assert_array_equal(asimov.data, on_axis.data)  # type: ignore[attr-defined]


def test_recoil_card(tmp_path: Path) -> None:
    edges = np.geomspace(20, 1e4, 41)
    lines = [
        f"{name},{edges[b]:.8g},{edges[b + 1]:.8g},{k * 40 + b}"
        for k, name in enumerate(("CaWO4", "Al2O3"))
        for b in range(40)
    ]
    path = written(tmp_path, "\n".join(["compound,recoil_lo_ev,recoil_hi_ev,observed", *lines]))
    found = load_experiment("nucleus-10g", [COUNTS.format(path=path)])
    assert found.observed
    assert found.data.tolist() == list(range(80))
    assert not load_experiment("nucleus-10g", [COUNTS.format(path=path), "counts.asimov=true"]).observed


def test_window_card(tmp_path: Path, edited_card: Callable[..., Path]) -> None:
    """The same numbers from the card and from a file are the same experiment but for where they come from."""
    exposures = "[[exposures]]\nobserved_counts = [191]\nobserved_errors = [22] "
    card = edited_card((exposures, '[counts]\nfile = "counts.csv" '), model="lsnd-nue")
    written(tmp_path, "energy_lo_mev,energy_hi_mev,observed,error\n18,50,191,22\n")
    shipped, found = load_experiment("lsnd-nue"), load_experiment(str(card))
    assert (found.data.tolist(), found.errors.tolist()) == ([191.0], [22.0])  # type: ignore[union-attr]
    np.testing.assert_array_equal(found.model.arrays, shipped.model.arrays)
    other = written(tmp_path, "energy_lo_mev,energy_hi_mev,observed,error\n18,50,191,23\n")
    assert load_experiment(str(card)).digest != found.digest
    for row in ("0,22", "191,0"):
        other.write_text(f"energy_lo_mev,energy_hi_mev,observed,error\n18,50,{row}\n")
        with pytest.raises(CardError, match=r"counts\.csv.*bin 0: counts and errors must be above 0"):
            load_experiment(str(card))


@pytest.mark.parametrize(
    ("model", "overrides", "fragment"),
    [
        ("dune-on-axis", [f"exposures.{k}.observed_counts={[1] * 12}" for k in (0, 1)], "exposures.0.observed_counts"),
        ("nucleus-10g", [f"observed_counts={{CaWO4={[1] * 40}, Al2O3={[1] * 40}}}"], "observed_counts has counts too"),
        ("lsnd-nue", [], "exactly one of exposures"),
    ],
)
def test_counts_are_given_once(model: str, overrides: list[str], fragment: str) -> None:
    with pytest.raises(CardError, match="one of") as raised:
        load_card(model, [*overrides, "counts.file=counts.csv"])
    assert fragment in str(raised.value)


def test_window_card_needs_a_measurement() -> None:
    with pytest.raises(CardError, match="exactly one of exposures"):
        load_card("lsnd-nue", ["exposures=[]"])


def test_file_that_is_not_there() -> None:
    with pytest.raises(CardError, match=r"counts\.file = 'nowhere\.csv': no such file"):
        load_experiment("dune-on-axis", ["counts.file=nowhere.csv"])
