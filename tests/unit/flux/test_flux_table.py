"""The flux reader: what it returns, and that each of its checks fires."""

from pathlib import Path

import numpy as np
import pytest

from bayesnu.errors import DataError
from bayesnu.experiment.setup import Experiment
from bayesnu.flux.table import UNIT, FluxTable, read_flux

HEADER = "mode,position_m,e_lo_gev,e_hi_gev,numu,numubar,nue,nuebar"
ROWS = ("neutrino,0,0,1,4,3,2,1", "neutrino,0,1,2,8,7,6,5", "antineutrino,18,0,2,1,2,3,4")


def write(folder: Path, *lines: str) -> Path:
    path = folder / "flux.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_spectra_by_mode_and_position(tmp_path: Path) -> None:
    flux = read_flux(write(tmp_path, HEADER, *ROWS))
    assert set(flux.spectra) == {("neutrino", 0.0), ("antineutrino", 18.0)}
    spectrum = flux.spectrum("neutrino", 0)
    np.testing.assert_array_equal(spectrum.edges_gev, [0, 1, 2])
    np.testing.assert_array_equal(spectrum.values, [[4, 8], [3, 7], [2, 6], [1, 5]])
    assert flux.energy_max_gev == 2


@pytest.mark.parametrize(
    ("lines", "fragments"),
    [
        ((HEADER, "neutrino,0,0,1,nan,3,2,1"), ("line 2", "numu = nan", "finite")),
        ((HEADER, "neutrino,0,0,1,inf,3,2,1"), ("line 2", "numu = inf", "finite")),
        ((HEADER, ROWS[0], "neutrino,0,1,2,8,7,-6,5"), ("line 3", "nue = -6", "at least 0")),
        ((HEADER, "neutrino,0,-1,1,4,3,2,1"), ("line 2", "e_lo_gev = -1", "at least 0")),
        ((HEADER, "neutrino,-3,0,1,4,3,2,1"), ("line 2", "position_m = -3", "at least 0")),
        ((HEADER, ROWS[0], "neutrino,0,0.5,2,8,7,6,5"), ("line 3", "e_lo_gev = 0.5", "overlaps", "ends at 1")),
        ((HEADER, ROWS[1], ROWS[0]), ("line 3", "e_lo_gev = 0", "not sorted", "ends at 2")),
        ((HEADER, ROWS[0], "neutrino,0,1.5,2,8,7,6,5"), ("line 3", "e_lo_gev = 1.5", "gap", "ends at 1")),
        ((HEADER, "neutrino,0,1,1,4,3,2,1"), ("line 2", "e_hi_gev = 1", "above e_lo_gev = 1")),
        ((HEADER, "neutrino,0,2,1,4,3,2,1"), ("line 2", "e_hi_gev = 1", "above e_lo_gev = 2")),
        ((HEADER.replace("nuebar", "nue_bar"), *ROWS), ("'nuebar' is missing", "did you mean 'nue_bar'")),
        ((), ("file is empty", "mode")),
        ((HEADER,), ("no rows",)),
        ((HEADER, "neutrinos,0,0,1,4,3,2,1"), ("line 2", "'neutrinos'", "neutrino, antineutrino")),
        ((HEADER, ROWS[0], "neutrino,0,1,2,8,7,6"), ("line 3", "7 fields", "8")),
        ((HEADER, ROWS[0], ROWS[1] + ",9"), ("line 3", "9 fields", "8")),
        ((HEADER, "neutrino,0,0,1,4,three,2,1"), ("line 2", "numubar = 'three'", "must be a number")),
        ((HEADER, "neutrino,0,0,1,4,,2,1"), ("line 2", "numubar = ''", "must be a number")),
        ((HEADER, "", ROWS[0], "", "neutrino,0,1,2,x,7,6,5"), ("line 5", "numu = 'x'")),
    ],
)
def test_each_check_names_file_line_and_column(
    tmp_path: Path, lines: tuple[str, ...], fragments: tuple[str, ...]
) -> None:
    path = write(tmp_path, *lines)
    with pytest.raises(DataError) as caught:
        read_flux(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert [fragment for fragment in fragments if fragment not in message] == []


def test_not_text(tmp_path: Path) -> None:
    path = tmp_path / "flux.csv"
    path.write_bytes(b"\xff\xfe\x00mode")
    with pytest.raises(DataError, match="UTF-8"):
        read_flux(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"flux\.csv: cannot be read"):
        read_flux(tmp_path / "flux.csv")


def test_unknown_spectrum_lists_what_there_is(tmp_path: Path) -> None:
    flux = read_flux(write(tmp_path, HEADER, *ROWS))
    with pytest.raises(DataError, match=r"'neutrino' at position_m = 18.*neutrino 0 m, antineutrino 18 m"):
        flux.spectrum("neutrino", 18)


def test_columns_may_stand_in_another_order(tmp_path: Path) -> None:
    plain = read_flux(write(tmp_path, HEADER, *ROWS)).digest
    swapped = [",".join([*line.split(",")[4:], *line.split(",")[:4]]) for line in (HEADER, *ROWS)]
    assert read_flux(write(tmp_path, *swapped)).digest == plain


def test_digest_depends_on_values_not_on_formatting(tmp_path: Path) -> None:
    def digest(*lines: str) -> str:
        return read_flux(write(tmp_path, *lines)).digest

    plain = digest(HEADER, *ROWS)
    assert digest(HEADER, "", " neutrino , 0.0,0e0,1.00,4.0,3,2,1 ", *ROWS[1:]) == plain
    assert digest(HEADER, ROWS[2], *ROWS[:2]) == plain
    assert digest(HEADER, ROWS[0].replace("4,3", "4.000001,3"), *ROWS[1:]) != plain
    assert digest(HEADER, *ROWS[:2], ROWS[2].replace("18", "30")) != plain
    assert digest(HEADER, *ROWS[:2], ROWS[2].replace("0,2", "0,2.5")) != plain


def test_labelled_spectrum(on_axis: Experiment) -> None:
    flux: FluxTable = on_axis.flux
    array = flux.labelled("neutrino", 0.0)
    assert array.dims == ("channel", "energy")
    assert list(array.channel.values) == ["numu", "numubar", "nue", "nuebar"]
    assert array.attrs["units"] == UNIT
    assert (array.attrs["mode"], array.attrs["position_m"]) == ("neutrino", 0.0)
    assert {array[name].attrs["units"] for name in ("energy", "energy_lo", "energy_hi")} == {"GeV"}
    assert float(array.sel(channel="numu")[0]) == 4.225e-09
    np.testing.assert_allclose(array.energy, (array.energy_lo + array.energy_hi) / 2)


def test_shipped_flux_has_six_spectra_of_forty_bins_to_20_gev(on_axis: Experiment) -> None:
    spectra = on_axis.flux.spectra
    assert set(spectra) == {(m, p) for m in ("neutrino", "antineutrino") for p in (0.0, 18.0, 30.0)}
    assert {s.values.shape for s in spectra.values()} == {(4, 40)}
    assert {float(s.edges_gev[-1]) for s in spectra.values()} == {20.0}
