"""Covariances of flux bins and backgrounds as pulls: folds, the χ² with the full matrix, what is refused."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import uproot

from bayesnu.errors import BayesnuError, CardError, DataError
from bayesnu.experiment import backgrounds
from bayesnu.experiment.covariance import covariance_json, read_labelled
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.expectation import build_count_model
from bayesnu.experiment.modes import MODE_WIDTH
from bayesnu.experiment.prediction import predict, prediction_json
from bayesnu.experiment.setup import load_electron_experiment
from bayesnu.experiment.templates import build_templates
from bayesnu.flux.table import Spectrum
from bayesnu.inference.likelihood import make_problem, minimise_pulls
from bayesnu.inference.toys import pseudo_experiments
from bayesnu.physics.couplings import CHANNELS
from bayesnu.resources import find_data
from bayesnu.results.limits import limit

EDGES = (0.0, 2.0, 5.0, 30.0)
HEADERS = {
    "flux": "mode,position_m,channel,e_lo_gev,e_hi_gev",
    "backgrounds": "mode,position_m,background,e_theta2_lo_mev,e_theta2_hi_mev",
}
ABSOLUTE = ("flux.normalisation=absolute", "sterile.m_N=1.0")
FIXED = tuple(f"pulls.{name}=0" for name in ("flux_norm", "wrong_sign", "electron_flavour", "ccqe", "pi0"))
COUPLINGS = {"mu_nue": 2e-9, "q_numu": -1e-9, "r2_nue": 1e-31}
Row = tuple[str, float, str, float, float]


def flux_rows(positions: Sequence[float] = (0.0,), edges: Sequence[float] = EDGES) -> list[Row]:
    return [
        (mode, position, channel, low, high)
        for mode in ("neutrino", "antineutrino")
        for position in positions
        for channel in CHANNELS
        for low, high in pairwise(edges)
    ]


def background_rows() -> list[Row]:
    return [
        (mode, 0.0, name, low, high)
        for mode in ("neutrino", "antineutrino")
        for name in ("ccqe", "pi0")
        for low, high in ((0.0, 1.53299685), (1.53299685, 3.0659937))
    ]


def some_matrix(size: int, scale: float = 0.05) -> np.ndarray:
    """Neighbours are correlated, and all with each other."""
    k = np.arange(size)
    spread = scale * (1 + k % 3)
    return spread[:, None] * spread * (0.3 + 0.7 * np.exp(-abs(k[:, None] - k) / 2))


def write(path: Path, of: str, rows: Sequence[Row], matrix: np.ndarray) -> Path:
    lines = [",".join([HEADERS[of], *(str(k + 1) for k in range(matrix.shape[1]))])]
    for row, own in zip(rows, matrix, strict=True):
        lines.append(",".join([*(str(cell) for cell in row), *(repr(float(value)) for value in own)]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def key(path: Path, of: str = "flux", name: str = "beam", keep: float = 1.0, more: str = "") -> str:
    return f'covariances=[{{name="{name}", of="{of}", file="{path}", keep={keep}{more}}}]'


@pytest.fixture(scope="module")
def beam_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = flux_rows()
    return write(tmp_path_factory.mktemp("covariance") / "beam.csv", "flux", rows, some_matrix(len(rows)))


@pytest.fixture(scope="module")
def beam(beam_file: Path) -> ElectronExperiment:
    return load_electron_experiment("dune-on-axis", [*ABSOLUTE, key(beam_file)])


@pytest.fixture(scope="module")
def fixed(beam_file: Path) -> ElectronExperiment:
    """No pulls but those of the covariance."""
    return load_electron_experiment("dune-on-axis", [*ABSOLUTE, *FIXED, key(beam_file)])


@pytest.fixture(scope="module")
def seen(beam_file: Path) -> ElectronExperiment:
    """An efficiency that rises with energy."""
    efficiency = "detector.efficiency=[[30, 0.2], [20000, 0.9]]"
    return load_electron_experiment("dune-on-axis", [*ABSOLUTE, "backgrounds.model=ccqe", efficiency, key(beam_file)])


@pytest.mark.parametrize("name", ["beam", "seen"])
def test_a_mode_is_a_fold_of_the_shifted_flux(name: str, request: pytest.FixtureRequest) -> None:
    """Couplings, the mass of N, an efficiency and other pulls included."""
    beam: ElectronExperiment = request.getfixturevalue(name)
    modes = beam.covariances[0]
    pulls = {"flux_norm": 0.1, "wrong_sign": -0.05, "electron_flavour": 0.03, "pi0": 0.2}
    couplings = {**COUPLINGS, "d_nue": 1e-9}
    for k, z in ((0, 1.0), (5, -0.7)):
        spectra = {}
        for (mode, position), spectrum in beam.flux.spectra.items():
            factor = np.ones_like(spectrum.values)
            for row, shift in zip(modes.rows, modes.shifts[k], strict=True):
                inside = (spectrum.edges_gev[:-1] >= row.spans[0].low) & (spectrum.edges_gev[1:] <= row.spans[0].high)
                if (row.mode, row.position_m) == (mode, position):
                    factor[list(CHANNELS).index(row.kind), inside] += z * shift
            spectra[mode, position] = Spectrum(spectrum.edges_gev, spectrum.values * factor)
        flux = replace(beam.flux, spectra=spectra)
        templates = build_templates(beam.card, flux, None, print)
        expected = build_count_model(beam.card, templates, beam.backgrounds).expected(couplings, pulls)
        found = beam.model.expected(couplings, {**pulls, f"beam[{k + 1}]": z * MODE_WIDTH})
        np.testing.assert_allclose(found, expected, rtol=1e-11)
        assert np.abs(found / beam.model.expected(couplings, pulls) - 1).max() > 1e-3


def test_all_modes_are_the_matrix(beam: ElectronExperiment, beam_file: Path) -> None:
    modes = beam.covariances[0]
    _, matrix = read_labelled(beam_file, "flux")
    np.testing.assert_allclose(modes.shifts.T @ modes.shifts, matrix, rtol=0, atol=1e-14)
    assert modes.left_out == pytest.approx(0.0, abs=1e-12)
    assert (np.diff(modes.shares) <= 0).all()


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.99])
def test_truncation_leaves_out_no_more_than_stated(beam_file: Path, keep: float) -> None:
    experiment = load_electron_experiment("dune-on-axis", [*ABSOLUTE, key(beam_file, keep=keep)])
    modes = experiment.covariances[0]
    _, matrix = read_labelled(beam_file, "flux")
    left = matrix - modes.shifts.T @ modes.shifts
    assert np.linalg.eigvalsh(left)[0] > -1e-12
    assert left.trace() / matrix.trace() == pytest.approx(modes.left_out, abs=1e-12)
    assert modes.left_out <= 1 - keep
    # One less would not do.
    assert modes.shares[:-1].sum() < keep
    assert len(experiment.model.pulls) == 5 + len(modes.shares)


@pytest.mark.parametrize("couplings", [{}, COUPLINGS])
def test_profiled_chi2_is_that_of_the_full_covariance(fixed: ElectronExperiment, couplings: dict[str, float]) -> None:
    """V = diag(N) + Σ_k D_k D_kᵀ, data away from the expectation."""
    data = fixed.data * (1 + 0.1 * np.random.default_rng(3).standard_normal(fixed.data.size))
    moved = replace(fixed, data=data)
    names = tuple(COUPLINGS)
    problem = make_problem(moved, names, "chi2")
    scaled = np.array([couplings.get(name, 0.0) for name in names]) / problem.scales
    found = minimise_pulls(problem, scaled[:, None]).value[0]
    centre = fixed.model.expected(couplings)
    pulls = [name for name in fixed.model.pulls if name.startswith("beam[")]
    shifts = np.array([fixed.model.expected(couplings, {name: MODE_WIDTH}) - centre for name in pulls])
    covariance = np.diag(fixed.signal_sm) + shifts.T @ shifts
    rest = data - centre
    assert found == pytest.approx(rest @ np.linalg.solve(covariance, rest), rel=1e-9)
    # Without the correlations it would be another number.
    alone = np.diag(np.diagonal(covariance))
    assert found != pytest.approx(rest @ np.linalg.solve(alone, rest), rel=0.05)


@pytest.mark.slow
def test_pseudo_experiments_have_the_covariance(fixed: ElectronExperiment) -> None:
    """Pulls drawn from their constraints: V = diag(λ) + Σ_k D_k D_kᵀ, to the noise of 20000."""
    problem = make_problem(fixed, ["mu_numu"])
    counts = pseudo_experiments(problem, np.zeros(1), 20_000, np.random.default_rng(11)).counts
    pulls = [name for name in fixed.model.pulls if name.startswith("beam[")]
    shifts = np.array([fixed.model.expected({}, {name: MODE_WIDTH}) for name in pulls]) - fixed.data
    expected = np.diag(fixed.data) + shifts.T @ shifts
    size = np.sqrt(np.diagonal(expected))
    difference = (np.cov(counts, rowvar=False) - expected) / size[:, None] / size
    assert np.abs(difference).max() < 6 / np.sqrt(20_000)
    assert (np.abs(expected / size[:, None] / size)[0, 1:12] > 0.1).any()


def test_one_constant_eigenvector_is_a_flux_norm(tmp_path: Path) -> None:
    rows = flux_rows()
    path = write(tmp_path / "norm.csv", "flux", rows, np.full((len(rows), len(rows)), 0.01))
    covariant = load_electron_experiment("dune-on-axis", ["pulls.flux_norm=0", key(path, keep=0.999)])
    usual = load_electron_experiment("dune-on-axis", ["pulls.flux_norm=0.1"])
    modes = covariant.covariances[0]
    np.testing.assert_allclose(modes.shifts, np.full((1, len(rows)), 0.1), rtol=1e-12)
    for coupling in ("mu_numu", "q_nue"):
        for method in ("chi2", "poisson"):
            found, expected = (limit(e, coupling, method=method).intervals for e in (covariant, usual))
            np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_covariance_of_backgrounds(tmp_path: Path) -> None:
    rows = background_rows()
    path = write(tmp_path / "b.csv", "backgrounds", rows, some_matrix(len(rows), 0.1))
    experiment = load_electron_experiment("dune-on-axis", [key(path, "backgrounds", "counts")])
    modes = experiment.covariances[0]
    halves = np.repeat([0, 1], 6)
    expected = np.zeros((2, 12))
    for e, mode in enumerate(("neutrino", "antineutrino")):
        for b, name in enumerate(("ccqe", "pi0")):
            own = [r for r, row in enumerate(modes.rows) if (row.mode, row.kind) == (mode, name)]
            expected[e] += 3.5 * experiment.backgrounds[e, b] * modes.shifts[1][own][halves] * (1.2 if b == 0 else 1)
    found = experiment.model.expected(COUPLINGS, {"counts[2]": MODE_WIDTH, "ccqe": 0.2})
    found = found - experiment.model.expected(COUPLINGS, {"ccqe": 0.2})
    np.testing.assert_allclose(found, expected.ravel(), rtol=1e-9, atol=1e-9)


def test_absolute_matrices(beam: ElectronExperiment, beam_file: Path, tmp_path: Path) -> None:
    """In (ν per cm² per GeV per POT)²: divided by the mean flux of each row's bin; in another unit it is refused."""
    rows, matrix = read_labelled(beam_file, "flux")
    means = []
    for row in rows:
        spectrum = beam.flux.spectrum(row.mode, row.position_m)
        inside = (spectrum.edges_gev[:-1] >= row.spans[0].low) & (spectrum.edges_gev[1:] <= row.spans[0].high)
        width = np.diff(spectrum.edges_gev)[inside]
        means.append(spectrum.values[list(CHANNELS).index(row.kind), inside] @ width / width.sum())
    scale = np.array(means)
    path = write(tmp_path / "absolute.csv", "flux", flux_rows(), matrix * scale[:, None] * scale)
    absolute = load_electron_experiment("dune-on-axis", [*ABSOLUTE, key(path, more=", relative=false")])
    np.testing.assert_allclose(absolute.covariances[0].shifts, beam.covariances[0].shifts, rtol=1e-6, atol=1e-9)
    path = write(tmp_path / "per_m2.csv", "flux", flux_rows(), 1e8 * matrix * scale[:, None] * scale)
    with pytest.raises(CardError, match=r"one standard deviation of .* more than all of it; .* \(ν per cm² per GeV"):
        load_electron_experiment("dune-on-axis", [*ABSOLUTE, key(path, more=", relative=false")])


def test_rows_of_other_positions_are_left_out(tmp_path: Path, beam: ElectronExperiment) -> None:
    rows = flux_rows((0.0, 18.0))
    path = write(tmp_path / "both.csv", "flux", rows, some_matrix(len(rows)))
    modes = load_electron_experiment("dune-on-axis", [*ABSOLUTE, key(path)]).covariances[0]
    assert [row.label for row in modes.rows] == [row.label for row in beam.covariances[0].rows]


def test_another_mass_of_N(beam_file: Path, beam: ElectronExperiment) -> None:
    heavy = load_electron_experiment("dune-on-axis", ["flux.normalisation=absolute", key(beam_file), "sterile.m_N=40"])
    moved = beam.at(40.0)
    given = {"beam[1]": 2 * MODE_WIDTH, "beam[3]": -MODE_WIDTH}
    couplings = {**COUPLINGS, "d_nue": 1e-8}
    np.testing.assert_allclose(
        moved.model.expected(couplings, given), heavy.model.expected(couplings, given), rtol=1e-12
    )
    assert np.abs(moved.model.expected(couplings, given) / beam.model.expected(couplings, given) - 1).max() > 1e-6


def test_other_years_are_those_of_the_card(beam_file: Path, beam: ElectronExperiment) -> None:
    overrides = ["exposures.0.years=1.5", "exposures.1.years=4"]
    expected = load_electron_experiment("dune-on-axis", [*ABSOLUTE, key(beam_file), *overrides])
    found = beam.with_years([1.5, 4.0])
    assert found.card.exposures == expected.card.exposures
    for name in ("data", "signal_sm", "background"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12)
    np.testing.assert_allclose(found.model.arrays, expected.model.arrays, rtol=1e-11)
    given = {"beam[1]": MODE_WIDTH}
    for own, other in zip(predict(found, {}, given).exposures, predict(expected, {}, given).exposures, strict=True):
        np.testing.assert_allclose(own.total, other.total, rtol=1e-12)


def test_prediction_with_modes_names_the_leading_ones(beam: ElectronExperiment) -> None:
    pulls = {"beam[1]": 1.5 * MODE_WIDTH, "beam[4]": -MODE_WIDTH, "flux_norm": 0.1}
    predicted = predict(beam, COUPLINGS, pulls)
    total = np.concatenate([exposure.total for exposure in predicted.exposures])
    np.testing.assert_allclose(total, beam.model.expected(COUPLINGS, pulls), rtol=1e-11)
    described = prediction_json(predicted)["covariances"][0]
    assert described == covariance_json(beam.covariances[0])
    first = described["leading"][0]
    modes = beam.covariances[0]
    r = int(np.abs(modes.shifts[0]).argmax())
    assert first["pull"] == "beam[1]"
    assert first["largest"] == modes.rows[r].label
    assert first["shift"] == pytest.approx(modes.shifts[0, r])
    assert first["shift"] > 0
    assert first["share"] == pytest.approx(modes.shares[0])
    assert "covariances" not in prediction_json(predict(load_electron_experiment("dune-on-axis"), {}, {}))


# What is refused


def damaged(change: Callable[[list[str]], None], source: Path, path: Path) -> Path:
    lines = source.read_text(encoding="utf-8").splitlines()
    change(lines)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def edit(line: int, old: str, new: str) -> Callable[[list[str]], None]:
    def change(lines: list[str]) -> None:
        assert old in lines[line]
        lines[line] = lines[line].replace(old, new, 1)

    return change


def drop(line: int) -> Callable[[list[str]], None]:
    def change(lines: list[str]) -> None:
        del lines[line]

    return change


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        (edit(0, "channel", "chanel"), ("column 'channel' is missing",)),
        (edit(0, ",24", ",25"), ("24 rows need the columns 1 to 24",)),
        (drop(3), ("23 rows need the columns 1 to 23", "found 24")),
        (edit(2, "numu", "numuu"), ("line 3, channel = 'numuu'", "did you mean 'numu'")),
        (edit(2, "neutrino", "neutrinos"), ("line 3, mode = 'neutrinos'", "did you mean 'neutrino'")),
        (edit(2, ",2.0,5.0,", ",5.0,2.0,"), ("line 3, e_hi_gev = 2: must be above e_lo_gev = 5",)),
        (edit(1, ",0.0025000000000000005,", ",nan,"), ("line 2, 1 = nan: must be finite",)),
        (edit(1, ",0.0025000000000000005,", ",-0.0025,"), ("not positive semi-definite: its eigenvalues reach from",)),
    ],
)
def test_damaged_files(
    change: Callable[[list[str]], None], fragments: tuple[str, ...], beam_file: Path, tmp_path: Path
) -> None:
    path = damaged(change, beam_file, tmp_path / "bad.csv")
    with pytest.raises(DataError) as caught:
        read_labelled(path, "flux")
    assert [f for f in fragments if f not in str(caught.value)] == []
    assert "bad.csv" in str(caught.value)


def test_a_matrix_that_is_not_symmetric(tmp_path: Path) -> None:
    matrix = np.diag(np.full(24, 0.01)) + 0.001 * np.eye(24, k=1)
    path = write(tmp_path / "m.csv", "flux", flux_rows(), matrix)
    with pytest.raises(DataError, match=r"m\.csv: not symmetric: row 1, column 2 is 0\.001"):
        read_labelled(path, "flux")


def test_matrix_in_a_file_of_its_own(beam: ElectronExperiment, tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.csv", "flux", flux_rows(), np.empty((24, 0)))
    rows.write_text(rows.read_text().replace(",\n", "\n"))
    matrix = some_matrix(24)
    text = tmp_path / "matrix.csv"
    np.savetxt(text, matrix, delimiter=",")
    with uproot.recreate(tmp_path / "beam.root") as file:
        edges = np.arange(25.0)
        file["cov/flux"] = (matrix, edges, edges)
    for more in (f', matrix_file="{text}"', f', matrix_file="{tmp_path / "beam.root"}", matrix="cov/flux"'):
        loaded = load_electron_experiment("dune-on-axis", [*ABSOLUTE, key(rows, more=more)])
        np.testing.assert_allclose(loaded.model.arrays, beam.model.arrays, atol=1e-12 * beam.model.arrays.max())
        assert set(loaded.files) >= {"covariances.0.file", "covariances.0.matrix_file"}
    with pytest.raises(DataError, match="24 rows need the columns 1 to 24"):
        load_electron_experiment("dune-on-axis", [*ABSOLUTE, key(rows)])
    whole = write(tmp_path / "both.csv", "flux", flux_rows(), matrix)
    with pytest.raises(DataError, match=r"both\.csv: has columns of a matrix, and matrix\.csv is one"):
        load_electron_experiment("dune-on-axis", [*ABSOLUTE, key(whole, more=f', matrix_file="{text}"')])
    with pytest.raises(CardError, match=r"covariances\.0\.matrix_file: missing; matrix names an object in it"):
        load_electron_experiment("dune-on-axis", [*ABSOLUTE, key(rows, more=', matrix="cov/flux"')])


TWO_EDGES = "mode,position_m,background,energy_lo_gev,energy_hi_gev,angle_lo_deg,angle_hi_deg"
TWO = (
    *("response.energy_cells=4", "response.angle_cells=2", "response.samples=640", "backgrounds.model=ccqe"),
    *("detector.energy_bin_edges_gev=[0.0, 2.0, 5.0, 20.0]", "detector.angle_bin_edges_deg=[0.0, 1.0, 5.0]"),
)
WIDE = ((0.0, 5.0, 0.0, 1.0), (0.0, 2.0, 1.0, 5.0), (2.0, 20.0, 1.0, 5.0), (5.0, 20.0, 0.0, 1.0))
"""Rectangles of the six bins of E_e by θ: lower and upper E_e, lower and upper θ."""
HELD = (0, 1, 0, 2, 3, 2)
"""Which of them holds each bin, θ the fast index."""


def write_two(path: Path, rectangles: Sequence[tuple[float, ...]], matrix: np.ndarray) -> Path:
    lines = [",".join([TWO_EDGES, *(str(k + 1) for k in range(matrix.shape[1]))])]
    kinds = [(mode, name) for mode in ("neutrino", "antineutrino") for name in ("ccqe", "pi0")]
    for (mode, name), own, row in zip(
        [kind for kind in kinds for _ in rectangles], [*rectangles] * 4, matrix.tolist(), strict=True
    ):
        lines.append(",".join([mode, "0", name, *map(str, own), *map(repr, row)]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backgrounds, "POINTS", 256)


@pytest.mark.usefixtures("few_points")
@pytest.mark.parametrize("relative", [True, False])
def test_backgrounds_in_bins_of_energy_by_angle(relative: bool, tmp_path: Path) -> None:
    """A row holds whole bins of both variables; a mode shifts what is in them by one fraction."""
    matrix = some_matrix(16, 0.1)
    plain = load_electron_experiment("dune-on-axis", [*ABSOLUTE, *TWO])
    if not relative:
        content = np.array(
            [[own[np.array(HELD) == r].sum() for r in range(4)] for own in plain.backgrounds.reshape(4, 6)]
        )
        matrix = matrix * content.ravel()[:, None] * content.ravel()
    path = write_two(tmp_path / "b.csv", WIDE, matrix)
    more = "" if relative else ", relative=false"
    experiment = load_electron_experiment(
        "dune-on-axis", [*ABSOLUTE, *TWO, key(path, "backgrounds", "counts", more=more)]
    )
    modes = experiment.covariances[0]
    np.testing.assert_allclose(modes.shifts.T @ modes.shifts, some_matrix(16, 0.1), rtol=1e-9)
    assert modes.rows[1].label == "neutrino 0 m ccqe 0–2 GeV 1–5 deg"
    by_bin = modes.shifts[2].reshape(4, 4)[:, HELD].reshape(2, 2, 6)
    expected = (3.5 * plain.backgrounds * by_bin).sum(axis=1).ravel()
    found = experiment.model.expected({}, {"counts[3]": MODE_WIDTH}) - experiment.model.expected()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


BAD_RECTANGLES: tuple[tuple[Sequence[tuple[float, ...]], str], ...] = (
    (WIDE[:3], r"no row for neutrino 0 m ccqe 5–20 GeV 0–1 deg"),
    ([*WIDE[:3], (4.0, 20.0, 0.0, 1.0)], r"4–20 GeV 0–1 deg: an edge lies inside the bin 2–5 GeV 0–1 deg"),
    ([*WIDE[:3], (5.0, 20.0, 0.0, 5.0)], r"5–20 GeV 0–5 deg: overlaps neutrino 0 m ccqe 2–20 GeV 1–5 deg"),
    ([*WIDE[:3], (5.0, 20.0, 1.0, 0.0)], r"angle_hi_deg = 0: must be above angle_lo_deg = 1"),
)


@pytest.mark.usefixtures("few_points")
@pytest.mark.parametrize(("rectangles", "message"), BAD_RECTANGLES)
def test_rectangles_that_are_not_the_bins(
    rectangles: Sequence[tuple[float, ...]], message: str, tmp_path: Path
) -> None:
    path = write_two(tmp_path / "b.csv", rectangles, some_matrix(4 * len(rectangles)))
    with pytest.raises(BayesnuError, match=message):
        load_electron_experiment("dune-on-axis", [*ABSOLUTE, *TWO, key(path, "backgrounds")])


@pytest.mark.usefixtures("few_points")
def test_columns_of_other_bins(tmp_path: Path) -> None:
    path = write(tmp_path / "b.csv", "backgrounds", background_rows(), np.eye(8))
    with pytest.raises(DataError, match=r"column 'energy_lo_gev' is missing"):
        load_electron_experiment("dune-on-axis", [*ABSOLUTE, *TWO, key(path, "backgrounds")])


def without(rows: list[Row], index: int) -> list[Row]:
    return rows[:index] + rows[index + 1 :]


@pytest.mark.parametrize(
    ("rows", "fragments"),
    [
        (
            without(flux_rows(), 1),
            (
                "covariances.0.file",
                "no row for neutrino 0 m numu 2–2.25",
            ),
        ),
        (flux_rows(edges=(0.0, 2.1, 30.0)), ("numu 0–2.1 GeV: an edge lies inside the bin 2–2.25 GeV",)),
        (
            [*flux_rows(), ("neutrino", 0.0, "numu", 4.0, 5.0)],
            ("neutrino 0 m numu 4–5 GeV: overlaps neutrino 0 m numu 2–5 GeV",),
        ),
    ],
)
def test_rows_that_do_not_fit_the_flux(rows: list[Row], fragments: tuple[str, ...], tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", "flux", rows, np.diag(np.full(len(rows), 0.01)))
    with pytest.raises(CardError) as caught:
        load_electron_experiment("dune-on-axis", [key(path)])
    assert [f for f in fragments if f not in str(caught.value)] == []


def test_variance_of_nothing(tmp_path: Path) -> None:
    """Relative to a flux of 0, or only of exposures that the card does not have."""
    text = find_data("flux/dune_nd.csv", []).read_text(encoding="utf-8").splitlines()
    flux = tmp_path / "flux.csv"
    emptied = [
        ",".join([*line.split(",")[:5], "0", *line.split(",")[6:]]) if line.startswith("neutrino,0,") else line
        for line in text
    ]
    flux.write_text("\n".join(emptied) + "\n", encoding="utf-8")
    own = ["flux.normalisation=absolute", "backgrounds.model=ccqe", f"flux.file={flux}"]
    path = write(tmp_path / "m.csv", "flux", flux_rows(), np.diag(np.full(24, 1e-20)))
    with pytest.raises(CardError, match="neutrino 0 m numubar 0–2 GeV has a variance but is 0"):
        load_electron_experiment("dune-on-axis", [*own, key(path, more=", relative=false")])
    rows = flux_rows((0.0, 18.0))
    variance = np.array([0.01 * (row[1] > 0) for row in rows])
    path = write(tmp_path / "far.csv", "flux", rows, np.diag(variance))
    with pytest.raises(CardError, match="no variance of the exposures of the card"):
        load_electron_experiment("dune-on-axis", [key(path)])


def test_too_many_modes(tmp_path: Path) -> None:
    rows = flux_rows(edges=(0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 30.0))
    path = write(tmp_path / "m.csv", "flux", rows, np.diag(np.linspace(0.01, 0.02, len(rows))))
    with pytest.raises(CardError, match=r"covariances\.0\.keep = 1: takes 72 eigenvectors, more than 64; keep less"):
        load_electron_experiment("dune-on-axis", [key(path)])
    assert len(load_electron_experiment("dune-on-axis", [key(path, keep=0.8)]).covariances[0].shares) <= 64


@pytest.mark.parametrize(
    ("override", "fragments"),
    [
        ('covariances=[{name="b", of="fluxes", file="b.csv"}]', ("covariances.0.of = 'fluxes'", "did you mean 'flux'")),
        ('covariances=[{name="b", of="flux", file="b.csv", keep=0}]', ("covariances.0.keep = 0", "greater than 0")),
        ('covariances=[{name="b", of="flux", file="b.csv", keep=1.1}]', ("covariances.0.keep = 1.1", "less than")),
        ('covariances=[{name="b c", of="flux", file="b.csv"}]', ("covariances.0.name = 'b c'",)),
        ('covariances=[{name="pi0", of="flux", file="b.csv"}]', ("covariances.0.name", "'pi0' names other pulls")),
        ('covariances=[{name="mc_stat", of="flux", file="b.csv"}]', ("'mc_stat' names other pulls",)),
        (
            'covariances=[{name="b", of="flux", file="b.csv"}, {name="b", of="backgrounds", file="b.csv"}]',
            ("covariances.1.name", "'b' names other pulls"),
        ),
        ('covariances=[{name="b", of="flux", fil="b.csv"}]', ("covariances.0.fil", "did you mean 'file'")),
        ('covariances=[{name="b", of="flux", file="b.csv"}]', ("covariances.0.file = 'b.csv': no such file",)),
    ],
)
def test_keys(override: str, fragments: tuple[str, ...]) -> None:
    with pytest.raises(BayesnuError) as caught:
        load_electron_experiment("dune-on-axis", [override])
    assert [f for f in fragments if f not in str(caught.value)] == []


def test_files_beside_the_card_and_by_override(
    edited_card: Callable[..., Path], beam_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = '[[covariances]]\nname = "beam"\nof = "flux"\nfile = "beam.csv"\nkeep = 0.9\n\n[[exposures]]\n'
    card = edited_card(('[[exposures]]\nmode = "neutrino"', table + 'mode = "neutrino"'))
    (card.parent / "beam.csv").write_text(beam_file.read_text(encoding="utf-8"), encoding="utf-8")
    beside = load_electron_experiment(str(card))
    assert beside.files["covariances.0.file"] == card.parent / "beam.csv"
    away = tmp_path / "away"
    away.mkdir()
    (away / "other.csv").write_text(beam_file.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(away)
    found = load_electron_experiment(str(card), ["covariances.0.file=other.csv"])
    assert found.files["covariances.0.file"] == away / "other.csv"
    np.testing.assert_array_equal(found.model.arrays, beside.model.arrays)
