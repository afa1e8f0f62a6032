"""Cards with a flux file per spectrum: the shipped flux in each format gives the same counts; each check fires."""

from collections.abc import Callable
from pathlib import Path
from shutil import copy
from typing import Any

import numpy as np
import pytest
import uproot

from bayesnu.errors import CardError, DataError
from bayesnu.experiment import electron
from bayesnu.experiment.flux_files import find_flux
from bayesnu.experiment.load import LoadedCard, load_card
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.flux.table import FluxTable, Spectrum
from bayesnu.physics.couplings import CHANNELS
from bayesnu.resources import data_folder

PER_M2, PER_CM2, PER_BIN = "per GeV per m^2 per POT", "per GeV per cm^2 per POT", "per 0.2 MeV per cm^2 per POT"
NAMES = {channel: f"{channel}_flux" for channel in CHANNELS}
ABSOLUTE = ("flux.normalisation=absolute", "backgrounds.model=ccqe")


def toml(value: Any) -> str:
    """A value as TOML text."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def entry(mode: str, position: float, path: Path | str, form: str, unit: str, **more: Any) -> dict[str, Any]:
    return {"mode": mode, "position_m": position, "file": str(path), "format": form, "unit": unit, **more}


def spectra_of(entries: list[dict[str, Any]]) -> str:
    return f"flux.spectra={toml(entries)}"


def write_seven_columns(path: Path, spectrum: Spectrum, step_gev: float, factor: float) -> Path:
    """Write bins of any width that are multiples of a step as columns of equal steps."""
    edges = spectrum.edges_gev
    centres = np.arange(round(edges[-1] / step_gev)) * step_gev + step_gev / 2
    values = factor * spectrum.values[:, np.searchsorted(edges, centres) - 1]
    numu, numubar, nue, nuebar = values
    none = np.zeros(centres.size)
    np.savetxt(path, np.column_stack([centres, nue, numu, none, nuebar, numubar, none]), fmt="%.12g")
    return path


def write_1d(path: Path, spectrum: Spectrum, factor: float) -> Path:
    with uproot.recreate(path) as file:
        for name, values in zip(NAMES.values(), spectrum.values, strict=True):
            file[name] = (factor * values, spectrum.edges_gev)
    return path


def write_2d(path: Path, spectra: list[Spectrum], position_edges: list[float]) -> Path:
    """Write spectra at several positions; a gap between positions has no flux."""
    with uproot.recreate(path) as file:
        for k, name in enumerate(NAMES.values()):
            contents = np.zeros((spectra[0].edges_gev.size - 1, len(position_edges) - 1))
            contents[:, ::2] = np.transpose([spectrum.values[k] for spectrum in spectra])
            file[name] = (contents, spectra[0].edges_gev, np.array(position_edges))
    return path


def read(loaded: LoadedCard) -> tuple[FluxTable, dict[str, Path]]:
    """The flux of a card, and the files that it is from."""
    files: dict[str, Path] = {}
    return find_flux(loaded, files, loaded.card.flux, lambda _: None), files


def test_2d_histograms_give_the_flux_of_the_csv_file(prism: Experiment, tmp_path: Path) -> None:
    """To the last bit, so that the shipped tables, which ask for the very flux they were made for, accept it."""
    entries = []
    for mode in ("neutrino", "antineutrino"):
        spectra = [prism.flux.spectrum(mode, position) for position in (0, 18, 30)]
        path = write_2d(tmp_path / f"{mode}.root", spectra, [-1, 1, 17, 19, 29, 31])
        entries += [entry(mode, x, path, "root", PER_CM2, histograms=NAMES) for x in (0.0, 18.0, 30.0)]
    flux, files = read(load_card("dune-prism", [spectra_of(entries)]))
    assert flux.digest == prism.flux.digest
    assert {role: path.name for role, path in files.items()} == {
        f"flux.spectra.{k}.file": f"{'neutrino' if k < 3 else 'antineutrino'}.root" for k in range(6)
    }


def test_1d_histograms_beside_csv_give_the_same_counts(on_axis: Experiment, tmp_path: Path) -> None:
    path = write_1d(tmp_path / "flux.root", on_axis.flux.spectrum("neutrino", 0), 1)
    entries = [
        entry(mode, position, "flux/dune_nd.csv", "csv", PER_CM2)
        for mode, position in on_axis.flux.spectra
        if (mode, position) != ("neutrino", 0)
    ]
    entries.append(entry("neutrino", 0.0, path, "root", PER_CM2, histograms=NAMES))
    other = load_experiment("dune-on-axis", [spectra_of(entries)])
    np.testing.assert_array_equal(other.data, on_axis.data)
    roles = {role: path.name for role, path in other.files.items() if role.startswith("flux.")}
    assert (roles["flux.spectra.0.file"], roles["flux.spectra.5.file"]) == ("dune_nd.csv", "flux.root")
    assert "flux.file" not in roles


EXPOSURE = '[{mode = "neutrino", position_m = 18.0, years = 0.875}]'
FORMATS = [("globes", PER_M2), ("globes", PER_CM2), ("snowglobes", PER_BIN), ("root", PER_M2)]


def card_in_format(form: str, unit: str, plain: Spectrum, path: Path) -> LoadedCard:
    """Write a spectrum in a format; return the card of DUNE-PRISM with it for the neutrino mode at 18 m."""
    factor = {PER_M2: 1e4, PER_CM2: 1.0, PER_BIN: 2e-4}[unit]
    if form == "root":
        write_1d(path, plain, factor)
    else:
        write_seven_columns(path, plain, 2e-4 if form == "snowglobes" else 0.25, factor)
    more = {"histograms": NAMES} if form == "root" else {}
    listed = entry("neutrino", 18.0, path, form, unit, **more)
    return load_card("dune-prism", [spectra_of([listed]), f"exposures={EXPOSURE}", *ABSOLUTE])


@pytest.mark.parametrize(("form", "unit"), FORMATS)
def test_each_format_gives_the_flux_of_the_csv_file(form: str, unit: str, prism: Experiment, tmp_path: Path) -> None:
    """SNOwGLoBES, in its steps of 0.2 MeV, with a spectrum to 200 MeV."""
    plain = prism.flux.spectrum("neutrino", 18)
    if form == "snowglobes":
        plain = Spectrum(np.array([0, 0.1, 0.15, 0.2]), plain.values[:, :3])
    flux, files = read(card_in_format(form, unit, plain, tmp_path / "flux.dat"))
    assert files == {"flux.spectra.0.file": tmp_path / "flux.dat"}
    assert flux.energy_max_gev == plain.edges_gev[-1]
    found = flux.spectrum("neutrino", 18)
    middle = (found.edges_gev[1:] + found.edges_gev[:-1]) / 2
    bins = np.searchsorted(plain.edges_gev, middle) - 1
    np.testing.assert_allclose(found.values, plain.values[:, bins], rtol=1e-10)
    total = plain.values @ np.diff(plain.edges_gev)
    np.testing.assert_allclose(found.values @ np.diff(found.edges_gev), total, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(("form", "unit"), [FORMATS[0], FORMATS[3]])
def test_each_format_gives_the_counts_of_the_csv_file(form: str, unit: str, prism: Experiment, tmp_path: Path) -> None:
    """Signal and computed background; the latter is integrated by points in each bin of the flux."""
    plain = prism.flux.spectrum("neutrino", 18)
    loaded = card_in_format(form, unit, plain, tmp_path / "flux.dat")
    made = electron.assemble(loaded, loaded.card, lambda _: None)
    csv = load_card("dune-prism", [f"exposures={EXPOSURE}", *ABSOLUTE])
    wanted = electron.assemble(csv, csv.card, lambda _: None)
    np.testing.assert_allclose(made.templates.values, wanted.templates.values, rtol=1e-9)
    np.testing.assert_allclose(made.background, wanted.background, rtol=2e-3)


GOOD = entry("neutrino", 0.0, "a.txt", "globes", PER_M2)
ROOT = entry("neutrino", 0.0, "a.root", "root", PER_M2, histograms=NAMES)


def without(listed: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in listed.items() if name != key}


@pytest.mark.parametrize(
    ("spectra", "fragments"),
    [
        ([], ("flux.spectra", "at least 1")),
        ([GOOD | {"mode": "nutrino"}], ("flux.spectra.0.mode = 'nutrino'", "did you mean 'neutrino'")),
        ([GOOD | {"position_m": -1.0}], ("flux.spectra.0.position_m = -1.0", "greater than or equal to 0")),
        ([GOOD | {"format": "globe"}], ("flux.spectra.0.format = 'globe'", "did you mean 'globes'")),
        ([GOOD | {"unit": "per m^2"}], ("flux.spectra.0.unit: 'per m^2'", f"'globes': '{PER_M2}', '{PER_CM2}'")),
        ([GOOD | {"unit": PER_BIN}], ("flux.spectra.0.unit", "allowed with format 'globes'", "did you mean")),
        ([GOOD | {"format": "snowglobes"}], ("flux.spectra.0.unit", f"'snowglobes': '{PER_BIN}'")),
        ([GOOD | {"format": "csv"}], ("flux.spectra.0.unit", f"'csv': '{PER_CM2}'")),
        ([GOOD | {"histograms": NAMES}], ("flux.spectra.0.histograms", "for format 'root', not 'globes'")),
        ([GOOD | {"colour": "red"}], ("flux.spectra.0.colour", "unknown key")),
        ([without(GOOD, "unit")], ("flux.spectra.0.unit: field required",)),
        ([without(ROOT, "histograms")], ("flux.spectra.0.histograms: missing", "'root' needs")),
        ([ROOT | {"histograms": {"numu": "x"}}], ("flux.spectra.0.histograms.numubar: field required",)),
        ([ROOT | {"histograms": NAMES | {"nu_e": "x"}}], ("histograms.nu_e", "unknown key", "did you mean 'nue'")),
        ([GOOD, ROOT], ("flux.spectra.1: mode 'neutrino' at position_m = 0 stands twice",)),
    ],
)
def test_each_check_of_the_card(spectra: list[dict[str, Any]], fragments: tuple[str, ...]) -> None:
    with pytest.raises(CardError) as caught:
        load_card("dune-on-axis", [spectra_of(spectra)])
    message = str(caught.value)
    assert "\n" not in message
    assert [fragment for fragment in fragments if fragment not in message] == []


def test_either_a_file_or_spectra(edited_card: Callable[..., Path]) -> None:
    with pytest.raises(CardError, match=r"flux: give exactly one of file and spectra$"):
        load_card(str(edited_card(('file = "flux/dune_nd.csv"', ""))))
    with pytest.raises(CardError, match=r"flux: give exactly one of file and spectra$"):
        load_card(str(edited_card(('file = "flux/dune_nd.csv"', f'file = "x"\nspectra = {toml([GOOD])}'))))
    card = load_card("dune-on-axis", [spectra_of([GOOD])]).card
    assert (card.flux.file, len(card.flux.spectra)) == (None, 1)
    assert load_card("dune-on-axis", [spectra_of([GOOD]), "flux.file=x.csv"]).card.flux.spectra is None


@pytest.fixture
def listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited_card: Callable[..., Path]
) -> tuple[Path, Path, Path]:
    """A card that lists a.csv twice, beside it a copy, and another in the working folder."""
    beside, working = tmp_path / "cards", tmp_path / "work"
    for folder in (beside, working):
        folder.mkdir()
        copy(data_folder() / "flux" / "dune_nd.csv", folder / "a.csv")
    entries = [entry(mode, 0.0, "a.csv", "csv", PER_CM2) for mode in ("neutrino", "antineutrino")]
    card = edited_card(('file = "flux/dune_nd.csv"', f"spectra = {toml(entries)}")).rename(beside / "card.toml")
    monkeypatch.chdir(working)
    return card, beside, working


@pytest.mark.parametrize(
    ("override", "own"),
    [
        ((), (False, False)),
        (("flux.spectra.1.file=a.csv",), (False, True)),
        (("flux.spectra.1.unit='per GeV per cm^2 per POT'",), (False, False)),
        (("flux.pot_per_year=1e21",), (False, False)),
    ],
)
def test_files_are_beside_the_card_or_where_the_override_is_given(
    listing: tuple[Path, Path, Path], override: tuple[str, ...], own: tuple[bool, bool]
) -> None:
    card, beside, working = listing
    flux, files = read(load_card(str(card), override))
    assert [files[f"flux.spectra.{k}.file"] for k in (0, 1)] == [(working if o else beside) / "a.csv" for o in own]
    assert set(flux.spectra) == {("neutrino", 0.0), ("antineutrino", 0.0)}


def test_a_card_with_spectra_is_named_where_it_has_not_enough(listing: tuple[Path, Path, Path]) -> None:
    card, beside, _ = listing
    with pytest.raises(CardError, match=r"exposures\.1\.position_m = 18: flux\.spectra has no flux .*antineutrino 0"):
        load_experiment(str(card), ["exposures.1.position_m=18"])
    with pytest.raises(CardError, match=r"flux\.spectra\.1\.file = 'b\.csv': no such file beside the card"):
        load_experiment(str(card), ["flux.spectra.1.file=b.csv"])
    text = (beside / "a.csv").read_text().replace("3.505e-08", "3.506e-08")
    (beside / "a.csv").write_text(text)
    with pytest.raises(CardError, match=r"flux\.spectra: dune_table1\.csv was made for another flux"):
        load_experiment(str(card))
    (beside / "a.csv").write_text(text.replace("antineutrino,0,", "antineutrino,6,"))
    with pytest.raises(DataError, match=r"a\.csv: no flux for mode 'antineutrino' at position_m = 0; it has"):
        load_experiment(str(card))


def test_notices_of_the_reader_reach_the_caller(on_axis: Experiment, tmp_path: Path) -> None:
    plain = on_axis.flux.spectrum("neutrino", 0)
    path = write_1d(tmp_path / "flux.root", plain, 1)
    with uproot.update(path) as file:
        model = uproot.writing.identify.to_writable((plain.values[0], plain.edges_gev))
        model._bases[-1]._data = np.append(model._bases[-1]._data[:-1], 7.0).astype(">f8")
        file["spilt"] = model
    listed = entry("neutrino", 0.0, path, "root", PER_CM2, histograms=NAMES | {"numu": "spilt"})
    loaded = load_card("dune-on-axis", [spectra_of([listed])])
    notices: list[str] = []
    find_flux(loaded, {}, loaded.card.flux, notices.append)
    assert [notice.partition(": ")[2] for notice in notices] == [
        "histogram 'spilt': under- or overflow, beyond 0 to 20 GeV, is left out"
    ]
