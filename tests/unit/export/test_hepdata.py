"""A submission that HEPData's validator accepts, with the numbers of the run and what each of them is."""

import copy
import dataclasses
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bayesnu.detector.response import ResponseMatrix
from bayesnu.detector.settings import ResponseSettings
from bayesnu.errors import RunError
from bayesnu.experiment.electron_card import BinAxis
from bayesnu.experiment.setup import Experiment, load_electron_experiment, load_experiment
from bayesnu.export import hepdata, hepdata_tables
from bayesnu.export.hepdata import submission, write_submission
from bayesnu.export.hepdata_format import Column, Table, to_yaml
from bayesnu.export.hepdata_tables import (
    contour_lines,
    contour_tables,
    density_tables,
    limit_tables,
    response_tables,
    sidedness,
    spectrum_tables,
    tables_of,
)
from bayesnu.inference.laplace import cells
from bayesnu.inference.profile import delta_chi2_level
from bayesnu.results.posterior import load_posterior
from bayesnu.results.runs import Run
from bayesnu.results.verdict import withhold

SMALL = ResponseSettings(1.0, 0.1, (0.0, 1.0, 2.0), 0.5, 2.0, energy_cells=3, angle_cells=2, samples=600)
Check = Callable[[Path], list[str]]


def small_matrix() -> ResponseMatrix:
    """Six true cells and two bins; from one cell nothing is reconstructed."""
    values = np.linspace(0.0, 0.44, 12).reshape(3, 2, 2)
    values[1, 1] = 0.0
    return ResponseMatrix(SMALL, values, 0.01 * values)


@pytest.fixture
def problems(monkeypatch: pytest.MonkeyPatch) -> Check:
    """What the validator says of a folder, by its own schemas and without a network."""

    def refuse(*_: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    def check(folder: Path) -> list[str]:
        with warnings.catch_warnings():
            # Its own use of jsonschema, and files that it leaves open.
            warnings.simplefilter("ignore")
            from hepdata_validator.full_submission_validator import FullSubmissionValidator

            validator = FullSubmissionValidator()
            accepted = validator.validate(directory=str(folder))
        found = [message.message for messages in validator.get_messages().values() for message in messages]
        assert accepted == (not found)
        return found

    return check


@pytest.fixture
def small_response(monkeypatch: pytest.MonkeyPatch) -> None:
    """A response of six cells in the place of the card's 7680."""
    monkeypatch.setattr(hepdata_tables, "find_response", lambda *_: small_matrix())


def qualifiers(column: Column) -> dict[str, Any]:
    return {name: value for name, value, _ in column.qualifiers}


def test_submission_is_accepted(
    joint_run: Callable[[str], Run],
    on_axis: Experiment,
    small_response: None,
    problems: Check,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hepdata_tables, "DENSITY_ROWS", 20)
    folder = tmp_path / "submission"
    tables = write_submission(joint_run("pass"), on_axis, folder)
    assert problems(folder) == []
    names = [table.name for table in tables]
    assert names[:5] == [
        "Limits on mu_numu", "Limits on q_numu", "Limits on r2_numu", "Limit on mu_numu, fit of mu_numu+q_numu",
        "Limit on q_numu, fit of mu_numu+q_numu",
    ]  # fmt: skip
    assert {"Response matrix", "Spectrum, neutrino 0 m", "Posterior density of mu_numu", "Profile of q_numu"} < {*names}
    assert {"Contour, mu_numu+q_numu", "Highest-density region, mu_numu+q_numu"} < {*names}
    text = (folder / "submission.yaml").read_text()
    assert text.isascii()
    assert text.count("data_file:") == len(tables) == len(list(folder.iterdir())) - 1


def test_validator_sees_what_is_wrong(finished_run: Run, problems: Check, tmp_path: Path) -> None:
    files = submission(finished_run, list(limit_tables(withhold(finished_run.limits)))[:1])
    hepdata.write_folder(tmp_path / "out", files, False, hepdata.own_file)
    assert problems(tmp_path / "out") == []
    path = tmp_path / "out" / "table-limits-on-mu-numu.yaml"
    content = yaml.safe_load(path.read_text())
    content["dependent_variables"][0]["values"].pop()
    path.write_text(to_yaml([content]))
    assert any("Inconsistent length" in problem for problem in problems(tmp_path / "out"))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["dune-on-axis", "lsnd-nue", "coherent-csi-2017"])
def test_real_submission_is_accepted(model: str, finished_run: Run, problems: Check, tmp_path: Path) -> None:
    """With the whole response; the spectra of cards of the other kinds."""
    experiment = load_experiment(model)
    tables = tables_of(finished_run, experiment)
    hepdata.write_folder(tmp_path / "out", submission(finished_run, tables), False, hepdata.own_file)
    assert problems(tmp_path / "out") == []


def test_limits_are_those_of_the_run(finished_run: Run) -> None:
    tables = {table.name: table for table in limit_tables(withhold(finished_run.limits))}
    for entry in finished_run.limits["limits"]:
        table = tables[f"Limits on {entry['coupling']}"]
        sets = [entry[key] for key in ("credible", "laplace", "chi2", "chi2_background", "poisson")]
        assert len(table.dependent) == len(sets)
        for column, interval in zip(table.dependent, sets, strict=True):
            high = column.values[1][0] if isinstance(column.values[1], tuple) else column.values[1]
            assert high == interval["intervals"][0][1]
            assert qualifiers(column)["CL"] == 90.0
            one_sided = entry["coupling"] == "mu_numu"
            assert qualifiers(column)["SIDEDNESS"] == ("one-sided, upper" if one_sided else "two-sided")
            assert (column.values[0] == "-") == one_sided
            assert qualifiers(column)["PRIOR"] == "none" or qualifiers(column)["PRIOR"].startswith("uniform, ")
        methods = [qualifiers(column)["METHOD"] for column in table.dependent]
        assert methods == ["NUTS", "Laplace grid", "chi2", "chi2", "Poisson deviance"]
        judged = ["SAMPLER VERDICT" in qualifiers(column) for column in table.dependent]
        assert judged == [True, False, False, False, False]
        assert [qualifiers(column).get("VARIANCE") for column in table.dependent[2:]] == ["N_SM", "N_SM + B", None]
        # The error of a bound of NUTS is that of limits.json.
        assert table.dependent[0].values[1][1] == entry["credible"]["mc_error"][0][1]


def test_unions_and_open_ends(finished_run: Run) -> None:
    limits = copy.deepcopy(withhold(finished_run.limits))
    entry = limits["limits"][1]
    entry["chi2"] |= {"intervals": [[-2e-9, -1e-9], [1e-9, None]], "mc_error": [[None, None], [None, None]]}
    table = list(limit_tables(limits))[1]
    assert table.independent[0].values == [1, 1, 2, 2]
    assert table.dependent[2].values == [-2e-9, -1e-9, 1e-9, "-"]
    assert table.dependent[0].values[2:] == ["-", "-"]


@pytest.mark.parametrize(
    ("coupling", "kind", "bounds", "side"),
    [
        ("mu_nue", "delta_chi2", [[0.0, 1e-9]], "one-sided, upper"),
        ("mu_nue", "delta_chi2", [[1e-10, 1e-9]], "two-sided"),
        ("mu_nue", "delta_chi2", [[0.0, None]], "none"),
        ("q_nue", "delta_chi2", [[None, 1e-9]], "one-sided, upper"),
        ("q_nue", "hdi", [[-1.0, 0.0], [1.0, 2.0]], "two-sided"),
        ("q_nue", "upper", [[-1.0, 1.0]], "one-sided, upper"),
        ("q_nue", "delta_chi2", [[-1e-9, None]], "one-sided, lower"),
    ],
)
def test_sidedness(coupling: str, kind: str, bounds: list[list[float | None]], side: str) -> None:
    assert sidedness({"coupling": coupling, "kind": kind, "intervals": bounds}) == side


def test_failed_fit_has_no_limit_density_or_contour(
    failing_run: Run, joint_run: Callable[[str], Run], on_axis: Experiment, small_response: None
) -> None:
    names = [table.name for table in tables_of(failing_run, on_axis)]
    assert not any("mu_numu" in name for name in names)
    assert any("q_numu" in name for name in names)
    (head,) = yaml.safe_load_all(submission(failing_run, [])["submission.yaml"])
    assert head["comment"].endswith("The sampler's verdict on mu_numu is fail.")
    shown = {table.name: table for table in tables_of(failing_run, on_axis, allow_unconverged=True)}
    assert shown["Limits on mu_numu"].description.startswith("NOT CONVERGED: the limit on mu_numu is shown although")
    assert qualifiers(shown["Limits on mu_numu"].dependent[0])["SAMPLER VERDICT"] == "fail"
    failed = joint_run("fail")
    assert list(contour_tables(failed, withhold(failed.limits))) == []
    assert len(list(contour_tables(failed, withhold(failed.limits, True)))) == 2


def test_spectra_are_the_counts(on_axis: Experiment) -> None:
    first, second = spectrum_tables(on_axis)
    data, signal, background, expected = (column.values for column in first.dependent)
    assert data == on_axis.data[:12].tolist()
    np.testing.assert_allclose(np.add(signal, background), expected)
    assert second.dependent[2].values == on_axis.background[12:].tolist()
    assert first.independent[0].values[0] == (0.0, 0.255499475)
    assert first.independent[0].units == "MeV"


def test_bins_in_two_dimensions() -> None:
    tiny = ["response.energy_cells=4", "response.angle_cells=2", "response.samples=640", "flux.normalisation=absolute"]
    bins = ["detector.energy_bin_edges_gev=[0.0, 1.0, 20.0]", "detector.angle_bin_edges_deg=[0.0, 2.0]"]
    experiment = load_electron_experiment("dune-on-axis", [*tiny, *bins, "backgrounds.model=ccqe"])
    spectrum = next(spectrum_tables(experiment))
    assert [column.values for column in spectrum.independent] == [[(0.0, 1.0), (1.0, 20.0)], [(0.0, 2.0)] * 2]
    assert [column.units for column in spectrum.independent] == ["GeV", "deg"]
    response = next(response_tables(experiment.templates.response, experiment.card.detector.axes))
    given = qualifiers(response.dependent[1])
    assert (given["RECONSTRUCTED $E_e$"], given[r"RECONSTRUCTED $\theta$"]) == ("1 - 20", "0 - 2")


def test_efficiency_stands_beside_the_response() -> None:
    edges = np.array(SMALL.bin_edges_mev)
    axis = BinAxis("e_theta2", "MeV", "", "bin_edges_mev", edges, edges[:-1], edges[1:])
    curve, matrix = response_tables(small_matrix(), [axis], [[30.0, 0.2], [20000.0, 0.9]])
    assert (curve.independent[0].values, curve.dependent[0].values) == ([30.0, 20000.0], [0.2, 0.9])
    assert "before the efficiency, which is in the table Efficiency" in matrix.description
    (alone,) = response_tables(small_matrix(), [axis])
    assert "before the efficiency, which is 1" in alone.description


def test_measured_errors_are_those_of_the_data() -> None:
    lsnd = load_experiment("lsnd-nue")
    (table,) = spectrum_tables(lsnd)
    assert table.dependent[0].values == [(float(lsnd.data[0]), float(lsnd.errors[0]), "measured")]  # type: ignore[index]
    assert table.dependent[0].content()["values"][0]["errors"][0]["label"] == "measured"


def test_response_is_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    response = small_matrix()
    edges = np.array(SMALL.bin_edges_mev)
    axis = BinAxis("e_theta2", "MeV", "", "bin_edges_mev", edges, edges[:-1], edges[1:])
    (table,) = response_tables(response, [axis])
    kept = response.values.any(axis=2)
    assert [len(column.values) for column in table.independent] == [kept.sum()] * 2
    found = np.array([column.values for column in table.dependent]).T
    np.testing.assert_allclose(found, response.values[kept], rtol=1e-4)
    assert qualifiers(table.dependent[1])[r"RECONSTRUCTED $E_e\theta^2$"] == "1 - 2"
    monkeypatch.setattr(hepdata_tables, "MOST_NUMBERS", 5)
    parts = list(response_tables(response, [axis]))
    assert [part.name for part in parts] == ["Response matrix, bins 1 to 1", "Response matrix, bins 2 to 2"]
    assert parts[1].dependent == table.dependent[1:]


def test_densities_and_profiles_are_those_stored(finished_run: Run) -> None:
    density, profile = list(density_tables(finished_run, withhold(finished_run.limits)))[2:4]
    tree = load_posterior(finished_run.folder / "posteriors" / "q_numu.nc", ("laplace_grid", "profile_curve"))
    stored = tree["laplace_grid"]["density"].to_series()
    values = density.independent[0].values
    assert 300 < len(values) <= 800
    assert density.dependent[0].values == stored[values].tolist()
    assert profile.dependent[0].values == tree["profile_curve"]["delta_chi2"].values.tolist()
    assert np.trapezoid(density.dependent[0].values, values) == pytest.approx(1, abs=1e-3)


def test_contours_are_where_the_values_are(joint_run: Callable[[str], Run]) -> None:
    run = joint_run("pass")
    dense, profile = contour_tables(run, withhold(run.limits))
    x, y = (np.array(column.values) for column in (profile.independent[1], profile.dependent[0]))
    np.testing.assert_allclose(np.hypot(x / 2e-10, y / 1e-9), 4.605170186 / 4.605170186, rtol=3e-3)
    assert delta_chi2_level(0.9, 2) == pytest.approx(4.605170186)
    radii = np.hypot(np.array(dense.independent[1].values) / 2e-10, np.array(dense.dependent[0].values) / 1e-9)
    # A fraction 1 - exp(-r²) of a disc of this shape, cut off at 2, is inside r.
    np.testing.assert_allclose(radii, np.sqrt(-np.log(0.1)), rtol=0.03)
    assert qualifiers(dense.dependent[0])["PRIOR"].startswith("mu_numu: uniform, ")


def test_contour_on_logarithmic_axes() -> None:
    x, y = cells(1e-33, 1e-30, 90, "log"), cells(0.1, 10.0, 80, "log")
    height = np.hypot(np.log10(x.centres)[:, None] + 31.5, np.log10(y.centres)[None, :])
    (line,) = contour_lines(x, y, height, 0.8)
    np.testing.assert_allclose(np.hypot(np.log10(line[:, 0]) + 31.5, np.log10(line[:, 1])), 0.8, rtol=2e-3)
    assert contour_lines(x, y, height, 50.0) == []


def column(*values: Any) -> Column:
    return Column("x", "", list(values))


def test_tables_are_checked(finished_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match=r"table 'A': columns must have rows, and all as many; found \[1, 2\]"):
        Table("A", "", (), (column(1),), (column(1, 2),))
    with pytest.raises(RunError, match=r"found \[0\]"):
        Table("A", "", (), (column(),), (column(),))
    with pytest.raises(RunError, match="may have 64 characters, not 65"):
        Table("A" * 65, "", (), (column(1),), (column(1),))
    table = Table("A b", "", (), (column(1),), (column(2.0),))
    with pytest.raises(RunError, match=r"'A-B': another table has its file name table-a-b\.yaml"):
        submission(finished_run, [table, dataclasses.replace(table, name="A-B")])
    monkeypatch.setattr(hepdata, "MOST_BYTES", 100)
    with pytest.raises(RunError, match="that HEPData takes in one file"):
        submission(finished_run, [table])
