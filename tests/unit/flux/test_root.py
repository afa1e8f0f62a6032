"""Histograms and covariance matrices in ROOT files that the tests write, and matrices in CSV; each check fires."""

import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from bayesnu.errors import DataError, UsageError
from bayesnu.flux.covariance_file import read_covariance, read_covariance_csv
from bayesnu.flux.root import read_root
from bayesnu.physics.couplings import CHANNELS

PER_M2, PER_CM2 = "per GeV per m^2 per POT", "per GeV per cm^2 per POT"
EDGES = np.array([0, 0.5, 1, 3])
POSITIONS = np.array([-1.0, 1, 17, 19])
NAMES = {channel: f"{channel}_flux" for channel in CHANNELS}
ONE = {channel: np.array([4, 2, 1.0]) * (1 + k) for k, channel in enumerate(CHANNELS)}
"""Contents of a TH1 per channel."""
TWO = {channel: np.outer(values, [1, 9, 0.5]) for channel, values in ONE.items()}
"""Of a TH2: on axis, between the positions, and at 18 m."""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def to_file(**objects: Any) -> Path:
        path = tmp_path / "flux.root"
        with uproot.recreate(path) as file:
            for name, content in objects.items():
                file[name] = content
        return path

    return to_file


def fluxes(*edges: np.ndarray, **contents: np.ndarray) -> dict[str, Any]:
    """A histogram of each channel; ``contents`` replace those of the same channel."""
    plain = TWO if len(edges) == 2 else ONE
    return {NAMES[channel]: (contents.get(channel, values), *edges) for channel, values in plain.items()}


def with_titles(histogram: tuple[np.ndarray, ...], *titles: str, flow: tuple[float, float] = (0, 0)) -> Any:
    """A histogram with titles of its axes, and contents beyond the first."""
    model = uproot.writing.identify.to_writable(histogram)
    for k, title in enumerate(titles):
        model.axis(k)._bases[0]._members["fTitle"] = title
    contents = model._bases[-1]
    contents._data = np.concatenate([[flow[0]], contents._data[1:-1], [flow[1]]]).astype(contents._data.dtype)
    return model


def test_1d_at_any_position(write: Callable[..., Path]) -> None:
    path = write(**fluxes(EDGES))
    for position in (0.0, 18.0):
        spectrum = read_root(path, PER_CM2, NAMES, position)
        np.testing.assert_array_equal(spectrum.edges_gev, EDGES)
        np.testing.assert_array_equal(spectrum.values, list(ONE.values()))
    np.testing.assert_allclose(read_root(path, PER_M2, NAMES, 0).values, 1e-4 * spectrum.values, rtol=1e-15)


def test_2d_takes_the_bin_that_contains_the_position(write: Callable[..., Path]) -> None:
    path = write(**fluxes(EDGES, POSITIONS))
    for position, factor in ((-1.0, 1), (0.0, 1), (0.999, 1), (1.0, 9), (16.9, 9), (17.0, 0.5), (18.0, 0.5)):
        spectrum = read_root(path, PER_CM2, NAMES, position)
        np.testing.assert_array_equal(spectrum.values, factor * np.array(list(ONE.values())))
    for position in (-1.1, 19.0, 30.0):
        with pytest.raises(DataError, match=rf"position_m = {position:g} is outside its second axis, from -1 .* 19 m"):
            read_root(path, PER_CM2, NAMES, position)


def test_folders_and_cycles(tmp_path: Path) -> None:
    path = tmp_path / "flux.root"
    with uproot.recreate(path) as file:
        for name, content in fluxes(EDGES).items():
            file[f"numode/{name}"] = content
    names = {channel: f"numode/{name}" for channel, name in NAMES.items()}
    np.testing.assert_array_equal(read_root(path, PER_CM2, names, 0).values, list(ONE.values()))


def test_single_precision(write: Callable[..., Path]) -> None:
    contents = {channel: values.astype("f4") for channel, values in ONE.items()}
    spectrum = read_root(write(**fluxes(EDGES, **contents)), PER_CM2, NAMES, 0)
    assert spectrum.values.dtype == np.float64


@pytest.mark.parametrize(
    ("objects", "names", "fragments"),
    [
        (fluxes(EDGES), NAMES | {"nue": "nu_flux"}, ("no 'nu_flux'", "numu_flux, numubar_flux", "did you mean")),
        (fluxes(EDGES) | {"nue_flux": "text"}, NAMES, ("'nue_flux' is a TObjString", "allowed are TH1, TH2")),
        (fluxes(EDGES, nue=np.array([1, -1, 1.0])), NAMES, ("'nue_flux': -1 between 0.5 and 1 GeV", "at least 0")),
        (fluxes(EDGES, nue=np.array([1, 1, np.nan])), NAMES, ("'nue_flux': nan between 1 and 3 GeV", "finite")),
        (fluxes(EDGES - 1), NAMES, ("'numu_flux'", "begins at -1 GeV", "at least 0")),
        (
            fluxes(EDGES) | {"nuebar_flux": (ONE["nue"], 2 * EDGES)},
            NAMES,
            ("'nuebar_flux': its energy axis differs from that of 'numu_flux'",),
        ),
        (
            fluxes(EDGES) | {"numu_flux": with_titles((ONE["numu"], EDGES), "E_{#nu} (MeV)")},
            NAMES,
            ("the axis 'E_{#nu} (MeV)' is in MeV; it must be in GeV",),
        ),
        (
            fluxes(EDGES, POSITIONS) | {"numu_flux": with_titles((TWO["numu"], EDGES, POSITIONS), "GeV", "x [cm]")},
            NAMES,
            ("the axis 'x [cm]' is in cm; it must be in m",),
        ),
    ],
)
def test_each_check_names_the_histogram(
    write: Callable[..., Path], objects: dict[str, Any], names: dict[str, str], fragments: tuple[str, ...]
) -> None:
    path = write(**objects)
    with pytest.raises(DataError) as caught:
        read_root(path, PER_CM2, names, 0)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert [fragment for fragment in fragments if fragment not in message] == []


def test_titles_in_the_right_units(write: Callable[..., Path]) -> None:
    titled = with_titles((TWO["numu"], EDGES, POSITIONS), "E_{#nu} (GeV)", "off-axis position (m)")
    path = write(**fluxes(EDGES, POSITIONS) | {"numu_flux": titled})
    assert read_root(path, PER_CM2, NAMES, 0).values.shape == (4, 3)


def test_arguments() -> None:
    with pytest.raises(UsageError, match=r"unknown unit 'per POT': allowed are per GeV per m\^2 per POT"):
        read_root(Path("none.root"), "per POT", NAMES, 0)
    with pytest.raises(UsageError, match="no histogram of 'numu': channels are numu, numubar"):
        read_root(Path("none.root"), PER_CM2, {"nue": "nue_flux"}, 0)
    with pytest.raises(UsageError, match=r"unknown channel 'nu_mu': .*did you mean 'numu'"):
        read_root(Path("none.root"), PER_CM2, NAMES | {"nu_mu": "x"}, 0)


def test_what_lies_beyond_the_axis_is_said(write: Callable[..., Path]) -> None:
    notices: list[str] = []
    path = write(**fluxes(EDGES))
    read_root(path, PER_CM2, NAMES, 0, notices.append)
    assert notices == []
    path = write(**fluxes(EDGES) | {"nue_flux": with_titles((ONE["nue"], EDGES), flow=(0, 2.5))})
    spectrum = read_root(path, PER_CM2, NAMES, 0, notices.append)
    np.testing.assert_array_equal(spectrum.values, list(ONE.values()))
    assert notices == [f"{path}: histogram 'nue_flux': under- or overflow, beyond 0 to 3 GeV, is left out"]


def test_without_uproot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "uproot", None)
    with pytest.raises(DataError, match=r"flux\.root: a ROOT file needs uproot; pip install 'bayesnu\[root\]'"):
        read_root(tmp_path / "flux.root", PER_CM2, NAMES, 0)


def test_not_a_root_file(write: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "flux.root"
    with pytest.raises(DataError, match=r"flux\.root: cannot be read \(No such file"):
        read_root(path, PER_CM2, NAMES, 0)
    for content in (b"", b"E numu\n", b"root"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"flux\.root: cannot be read as a ROOT file \(.+\)") as caught:
            read_root(path, PER_CM2, NAMES, 0)
        assert "\n" not in str(caught.value)
    whole = write(**fluxes(EDGES)).read_bytes()
    path.write_bytes(whole[:400])
    with pytest.raises(DataError, match=r"cannot be read as a ROOT file"):
        read_root(path, PER_CM2, NAMES, 0)


# Covariance matrices

COVARIANCE = np.array([[4, 1, 0.5], [1, 3, -1], [0.5, -1, 2]])
RANK_ONE = np.outer([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])


def write_symmetric(path: Path, matrix: np.ndarray) -> Path:
    """Write a TMatrixTSym<double> named "cov" as ROOT streams it: header of TMatrixTBase, then the upper triangle."""
    rows, columns = matrix.shape
    base = struct.pack(">hII", 1, 0, 0x03000000)
    base += struct.pack(">iiiiiid", rows, columns, 0, 0, rows * columns, rows, 2.2e-16)
    header = struct.pack(">Ih", 0x40000000 | (2 + len(base)), 5)
    raw = header + base + matrix[np.triu_indices(rows)].astype(">f8").tobytes()
    with uproot.recreate(path) as file:
        file._cascading.add_object(file._file.sink, "TMatrixTSym<double>", "cov", "", raw, len(raw))
    return path


def square(matrix: np.ndarray) -> tuple[np.ndarray, ...]:
    return (matrix, *(np.arange(size + 1.0) for size in matrix.shape))


@pytest.mark.parametrize("matrix", [COVARIANCE, RANK_ONE])
def test_covariance_in_every_form(write: Callable[..., Path], tmp_path: Path, matrix: np.ndarray) -> None:
    np.testing.assert_array_equal(read_covariance(write(cov=square(matrix)), "cov", 3), matrix)
    np.testing.assert_array_equal(read_covariance(write_symmetric(tmp_path / "sym.root", matrix), "cov", 3), matrix)
    text = tmp_path / "cov.csv"
    text.write_text("\n".join(", ".join(f"{value!r}" for value in row.tolist()) for row in matrix) + "\n\n")
    np.testing.assert_array_equal(read_covariance_csv(text, 3), matrix)


def test_rounding_is_no_failure(write: Callable[..., Path], tmp_path: Path) -> None:
    """Rank one in single precision, or with six digits, has eigenvalues below 0."""
    vector = np.random.default_rng(1).random(40)
    matrix = np.outer(vector, vector)
    read = read_covariance(write(cov=square(matrix.astype("f4"))), "cov", 40)
    np.testing.assert_allclose(read, matrix, rtol=1e-6)
    np.testing.assert_array_equal(read, read.T)
    text = tmp_path / "cov.csv"
    np.savetxt(text, matrix, fmt="%.5e", delimiter=",")
    read = read_covariance_csv(text, 40)
    assert np.linalg.eigvalsh(read)[0] < -1e-9
    np.testing.assert_allclose(read, matrix, rtol=1e-5)


WRONG = [
    (COVARIANCE[:2, :2], r"is 2 × 2, must be 3 × 3"),
    (COVARIANCE[:2], r"is 2 × 3, must be 3 × 3"),
    (np.where(COVARIANCE == -1, np.inf, COVARIANCE), r"row 2, column 3 is inf; must be finite"),
    (COVARIANCE + np.triu(np.full((3, 3), 1e-4), 2), r"not symmetric: row 1, column 3 is 0\.5001, the other way 0\.5$"),
    (COVARIANCE - 2 * np.eye(3), r"not positive semi-definite: its eigenvalues reach from -0\.94\d+ to 2\.62"),
    (-COVARIANCE, r"not positive semi-definite"),
]


@pytest.mark.parametrize(("matrix", "message"), WRONG)
def test_what_is_no_covariance(write: Callable[..., Path], tmp_path: Path, matrix: np.ndarray, message: str) -> None:
    path = write(cov=square(matrix))
    with pytest.raises(DataError, match=rf"flux\.root: 'cov': {message}"):
        read_covariance(path, "cov", 3)
    if np.isfinite(matrix).all():
        text = tmp_path / "cov.csv"
        np.savetxt(text, matrix, delimiter=",")
        with pytest.raises(DataError, match=rf"cov\.csv: {message}"):
            read_covariance_csv(text, 3)


def test_symmetric_matrix_of_another_size(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"sym\.root: 'cov': is 3 × 3, must be 4 × 4"):
        read_covariance(write_symmetric(tmp_path / "sym.root", COVARIANCE), "cov", 4)


def test_covariance_by_a_wrong_name(write: Callable[..., Path]) -> None:
    path = write(cov=square(COVARIANCE), numu_flux=(ONE["numu"], EDGES))
    with pytest.raises(DataError, match=r"no 'covar'; it has cov, numu_flux; did you mean 'cov'"):
        read_covariance(path, "covar", 3)
    with pytest.raises(DataError, match=r"'numu_flux' is a TH1D; allowed are TH2, TMatrixTSym<double>"):
        read_covariance(path, "numu_flux", 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"is 1 × 0, must be 2 × 2"),
        ("1,0\n0,x\n", r"line 2, column 2 = 'x': must be a number"),
        ("1,0\n\n0,nan\n", r"line 3, column 2 = nan: must be finite"),
        ("1,0\n0,1,2\n", r"line 2 has 3 values, the first row has 2"),
    ],
)
def test_csv_that_is_no_matrix(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "cov.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"cov\.csv: {message}"):
        read_covariance_csv(path, 2)


def test_csv_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "cov.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        read_covariance_csv(path, 2)
