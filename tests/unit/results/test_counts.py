"""counts.json: what a page evaluates again is what a fit evaluates."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bayesnu.errors import RunError
from bayesnu.experiment.expectation import MassSpline
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.results.counts import counts_json, counts_path, read_counts
from bayesnu.results.runs import Run


def evaluated(content: dict[str, Any], couplings: list[float], pulls: dict[str, float]) -> np.ndarray:
    """The counts that the numbers of counts.json give, term by term."""
    total = np.zeros(len(content["data"]))
    for block in content["blocks"]:
        value = 1.0
        for j, power in content["monomials"][block["monomial"]]:
            value *= couplings[j] ** power
        for p, power in content["components"][block["component"]]:
            value *= (1 + pulls.get(content["pulls"][p]["name"], 0.0)) ** power
        total[block["first"] :][: len(block["counts"])] += value * np.array(block["counts"])
    return total


@pytest.mark.parametrize(
    ("model", "couplings", "values", "pulls"),
    [
        ("dune-on-axis", ("r2_nue", "q_nue"), [1e-31, -2e-8], {"ccqe": 0.1, "wrong_sign": -0.02}),
        ("coherent-csi-2017", ("q_numu", "d_nue"), [1e-7, 1e-9], {"quenching": 0.2, "steady_state[3]": -0.1}),
        ("lsnd-nue", ("mu_nue",), [1e-9], {"flux_norm": 0.1}),
    ],
)
def test_numbers_are_those_of_the_fit(
    model: str, couplings: tuple[str, ...], values: list[float], pulls: dict[str, float]
) -> None:
    experiment = load_experiment(model)
    content = json.loads(json.dumps(counts_json(experiment, couplings)))
    expected = experiment.model.expected(dict(zip(couplings, values, strict=True)), pulls)
    np.testing.assert_allclose(evaluated(content, values, pulls), expected, rtol=1e-12)
    np.testing.assert_array_equal(content["data"], experiment.data)
    assert [pull["name"] for pull in content["pulls"] if not pull["constrained"]] == list(experiment.model.free)


def test_statistic_errors_and_bins() -> None:
    coherent = counts_json(load_experiment("coherent-csi-2017"), ["mu_nue"])
    assert (coherent["statistic"], coherent["errors"], coherent["observed"]) == ("poisson", None, True)
    assert coherent["axis"] == {"label": "photoelectrons", "scale": "linear"}
    assert [(e["name"], e["first"], e["edges"][0], e["edges"][-1]) for e in coherent["exposures"]] == [
        ("coincidence", 0, 6.0, 30.0),
        ("anticoincidence", 12, 6.0, 30.0),
    ]
    measured = counts_json(load_experiment("lsnd-nue"), ["mu_nue"])
    assert measured["statistic"] == "chi2"
    np.testing.assert_allclose(np.square(measured["errors"]), measured["normal_variance"])


def test_no_counts_where_m_n_is_free(on_axis: Experiment) -> None:
    free = replace(on_axis, model=replace(on_axis.model, masses=MassSpline((0.0, 1.0), (4,))))
    assert counts_json(free, ["mu_nue"]) == {"left_out": "its counts are splines in m_N, no polynomials"}


def test_counts_of_a_run_are_read_back(finished_run: Run, on_axis: Experiment) -> None:
    found = read_counts(finished_run.folder, finished_run.information["hash"])
    assert found == {"hash": finished_run.information["hash"], **counts_json(on_axis, found["couplings"])}
    assert found["couplings"] == ["mu_numu", "q_numu", "r2_numu"]


def test_damaged_and_foreign_counts(tmp_path: Path) -> None:
    assert "run it again" in read_counts(tmp_path, "abc")["left_out"]
    path = counts_path(tmp_path)
    for text in ("", '{"hash": "a', "[]", "{}"):
        path.write_text(text)
        with pytest.raises(RunError, match=r"counts\.json: not the counts of a run, or truncated"):
            read_counts(tmp_path, "abc")
    path.write_text('{"hash": "xyz", "left_out": ""}')
    with pytest.raises(RunError, match=r"counts\.json: belongs to another run \(xyz\)"):
        read_counts(tmp_path, "abc")
    path.unlink()
    path.mkdir()
    with pytest.raises(RunError, match=r"counts\.json: cannot be read"):
        read_counts(tmp_path, "abc")


def test_bins_in_two_dimensions_are_slices() -> None:
    tiny = ["response.energy_cells=4", "response.angle_cells=2", "response.samples=640", "flux.normalisation=absolute"]
    bins = ["detector.energy_bin_edges_gev=[0.0, 1.0, 20.0]", "detector.angle_bin_edges_deg=[0.0, 2.0, 5.0]"]
    experiment = load_experiment("dune-on-axis", [*tiny, *bins, "backgrounds.model=ccqe"])
    exposures = counts_json(experiment, ["mu_nue"])["exposures"]
    assert [own["name"] for own in exposures[:2]] == ["neutrino 0 m, 0 to 1 GeV", "neutrino 0 m, 1 to 20 GeV"]
    assert [own["first"] for own in exposures] == [0, 2, 4, 6]
    assert all(own["edges"] == [0.0, 2.0, 5.0] for own in exposures)
