"""Text of seven columns, of GLoBES and of SNOwGLoBES: what it means, and that each check fires."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bayesnu.errors import DataError, UsageError
from bayesnu.flux.globes import read_globes
from bayesnu.flux.snowglobes import read_snowglobes
from bayesnu.flux.table import Spectrum

PER_M2, PER_CM2, PER_BIN = "per GeV per m^2 per POT", "per GeV per cm^2 per POT", "per 0.2 MeV per cm^2 per POT"
# E, then nue numu nutau nuebar numubar nutaubar
ROWS = ("0.5 1 2 0 3 4 0", "1.5 5 6 0 7 8 0", "2.5 9 10 0 11 12 0")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def to_file(*lines: str) -> Path:
        path = tmp_path / "flux.txt"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return to_file


def test_columns_and_edges(write: Callable[..., Path]) -> None:
    spectrum = read_globes(write("# E nue ...", "", ROWS[0], "\t1.5  5 6 0\t7 8 0  # the peak", ROWS[2]), PER_CM2)
    np.testing.assert_array_equal(spectrum.edges_gev, [0, 1, 2, 3])
    # numu, numubar, nue, nuebar
    np.testing.assert_array_equal(spectrum.values, [[2, 6, 10], [4, 8, 12], [1, 5, 9], [3, 7, 11]])


def test_the_unit_is_what_the_card_says(write: Callable[..., Path]) -> None:
    path = write(*ROWS)
    per_m2, per_cm2 = read_globes(path, PER_M2), read_globes(path, PER_CM2)
    np.testing.assert_allclose(per_cm2.values, 1e4 * per_m2.values, rtol=1e-15)
    with pytest.raises(UsageError, match=r"unknown unit 'per m\^2': allowed are per GeV per m\^2 per POT, per"):
        read_globes(path, "per m^2")
    with pytest.raises(UsageError, match=r"unknown unit .*allowed are per 0\.2 MeV per cm\^2 per POT"):
        read_snowglobes(path, PER_CM2)


@pytest.mark.parametrize("digits", [3, 4, 7])
def test_energies_of_few_digits_are_equally_spaced(write: Callable[..., Path], digits: int) -> None:
    centres = (np.arange(160) + 0.5) * 0.125
    path = write(*(f"{energy:.{digits}f} 1 1 0 1 1 0" for energy in centres))
    np.testing.assert_allclose(read_globes(path, PER_CM2).edges_gev, np.linspace(0, 20, 161), atol=6 * 10.0**-digits)


def test_edges_are_free_of_rounding(write: Callable[..., Path]) -> None:
    """The highest energy names the stored response."""
    path = write(*(f"{energy:g} 1 1 0 1 1 0" for energy in (np.arange(200) + 0.5) * 0.1))
    assert read_globes(path, PER_CM2).edges_gev[-1] == 20.0


@pytest.mark.parametrize("reader", [read_globes, read_snowglobes])
@pytest.mark.parametrize(
    ("lines", "fragments"),
    [
        ((), ("the file is empty", "E nue numu nutau nuebar numubar nutaubar")),
        (("# only a comment", ""), ("the file is empty",)),
        ((ROWS[0],), ("one energy", "width of its bin")),
        ((*ROWS[:2], "2.5 9 10 11 12"), ("line 3 has 5 columns", "not the seven")),
        (("0.5 1 2 3 4", "1.5 5 6 7 8"), ("line 1 has 5 columns", "not the seven")),
        (("# units", ROWS[0], ROWS[1].replace("8", "eight")), ("line 3", "numubar = 'eight'", "must be a number")),
        (("E nue numu nutau nuebar numubar nutaubar", *ROWS), ("line 1", "E = 'E'", "must be a number")),
        ((ROWS[0], ROWS[1].replace("8", "1D-5")), ("line 2", "numubar = '1D-5'", "must be a number")),
        ((*ROWS[:2], "", ROWS[2].replace("9", "nan")), ("line 4", "nue = nan", "finite")),
        ((ROWS[0], ROWS[1].replace("6", "-6")), ("line 2", "numu = -6", "at least 0")),
        (("-0.5 1 2 0 3 4 0", "0.5 1 2 0 3 4 0"), ("line 1", "E = -0.5", "at least 0")),
        ((ROWS[0], ROWS[1].replace("6 0", "6 1e-9")), ("line 2", "nutau = 1e-09", "no channel", "set the column to 0")),
        ((ROWS[0], ROWS[1][:-1] + "2"), ("line 2", "nutaubar = 2", "numu, numubar, nue, nuebar")),
        ((ROWS[0], ROWS[0]), ("line 2", "E = 0.5", "above the 0.5 before it")),
        ((ROWS[1], ROWS[0]), ("line 2", "E = 0.5", "above the 1.5 before it")),
        ((*ROWS, "4.5 1 1 0 1 1 0"), ("line 4", "E = 4.5", "step of 2 after one of 1", "format csv")),
        (("0 1 2 0 3 4 0", *ROWS[1:]), ("line 3", "E = 2.5", "a step of 1 after one of 1.5", "steps are equal")),
        (("0 1 2 0 3 4 0", "1 5 6 0 7 8 0"), ("line 1", "E = 0", "centres of bins", "reach below 0")),
    ],
)
def test_each_check_names_file_and_line(
    write: Callable[..., Path],
    reader: Callable[[Path, str], Spectrum],
    lines: tuple[str, ...],
    fragments: tuple[str, ...],
) -> None:
    """GLoBES and SNOwGLoBES share them."""
    path = write(*lines)
    with pytest.raises(DataError) as caught:
        reader(path, PER_CM2 if reader is read_globes else PER_BIN)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert [fragment for fragment in fragments if fragment not in message] == []


def test_a_first_point_at_zero_without_flux(write: Callable[..., Path]) -> None:
    """As files have that list points from 0; their first bin is half as wide, and empty."""
    spectrum = read_globes(write("0 0 0 0 0 0 0", "1 1 2 0 3 4 0", "2 5 6 0 7 8 0"), PER_CM2)
    np.testing.assert_array_equal(spectrum.edges_gev, [0, 0.5, 1.5, 2.5])


def test_not_text_and_missing(tmp_path: Path) -> None:
    path = tmp_path / "flux.txt"
    with pytest.raises(DataError, match=r"flux\.txt: cannot be read"):
        read_globes(path, PER_CM2)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        read_globes(path, PER_CM2)


# SNOwGLoBES


def test_flux_per_bin_of_snowglobes_adds_up(write: Callable[..., Path]) -> None:
    """Muons that decay at rest: ν_e of (12/E_m) x²(1-x), ν̄_μ of (2/E_m) x²(3-2x), one of each per cm²."""
    energy = np.arange(501) * 0.2
    x = energy / 52.83
    inside = x < 1
    nue, numubar = (0.2 / 52.83 * shape * inside for shape in (12 * x**2 * (1 - x), 2 * x**2 * (3 - 2 * x)))
    rows = (f"{e * 1e-3:.4f} {a:.8e} 0 0 0 {b:.8e} 0" for e, a, b in zip(energy, nue, numubar, strict=True))
    spectrum = read_snowglobes(write("# SNOwGLoBES", *rows), PER_BIN)
    assert spectrum.values.shape == (4, 501)
    np.testing.assert_allclose(spectrum.edges_gev[[0, 1, -1]], [0, 1e-4, 0.1001])
    counts = spectrum.values * np.diff(spectrum.edges_gev)
    np.testing.assert_allclose(counts.sum(axis=1), [0, 1, 1, 0], rtol=3e-3)
    assert counts[2] @ energy == pytest.approx(0.6 * 52.83, rel=1e-3)


def test_snowglobes_steps_are_200_kev(write: Callable[..., Path]) -> None:
    path = write(*(f"{0.0005 * (k + 1):.4f} 1 1 0 1 1 0" for k in range(4)))
    with pytest.raises(DataError, match=r"0\.5 MeV apart, those of SNOwGLoBES are 0\.2 MeV.*format is globes"):
        read_snowglobes(path, PER_BIN)


def test_long_files_are_read_fast(write: Callable[..., Path]) -> None:
    path = write(*(f"{0.0001 + 0.0002 * k:.4f} 1.234567e-8 2.3e-8 0 3.4e-8 4.5e-8 0" for k in range(20_000)))
    start = time.process_time()
    spectrum = read_snowglobes(path, PER_BIN)
    assert time.process_time() - start < 1
    assert spectrum.edges_gev[-1] == 4.0
