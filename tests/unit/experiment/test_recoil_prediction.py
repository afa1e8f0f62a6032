"""`bayesnu predict` for nuclear recoils: keys, sums, pulls and powers."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bayesnu import cli
from bayesnu.errors import ConvergenceError, UsageError
from bayesnu.experiment import setup
from bayesnu.experiment.recoil import RecoilExperiment
from bayesnu.experiment.recoil_prediction import predict_recoils, recoil_prediction_json
from bayesnu.experiment.recoil_templates import morph_shifts
from bayesnu.experiment.setup import load_experiment

Predict = Callable[..., Any]


def load(model: str, *overrides: str) -> RecoilExperiment:
    experiment = load_experiment(model, overrides)
    assert isinstance(experiment, RecoilExperiment)
    return experiment


@pytest.fixture(scope="module")
def ready() -> dict[str, RecoilExperiment]:
    """Both cards, assembled once."""
    return {name: load(name) for name in ("nucleus-10g", "coherent-csi-2017")}


@pytest.fixture
def predict(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    ready: dict[str, RecoilExperiment],
) -> Predict:
    """Call `bayesnu predict` in this process; returns (status, stdout, stderr)."""
    load_anew = setup.load_experiment

    def reuse(model: str, overrides: Any = (), notice: Any = None) -> Any:
        return ready[model] if model in ready and not overrides else load_anew(model, overrides, notice)

    monkeypatch.setattr(setup, "load_experiment", reuse)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bayesnu", "predict", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return call


def content(predict: Predict, *arguments: str) -> Any:
    status, out, err = predict(*arguments, "--format", "json")
    assert (status, err) == (0, "")
    return json.loads(out)


ARGUMENTS = ("nucleus-10g", "--set", "d_nue=1e-10", "--set", "m_N=1.0")


def test_keys(predict: Predict) -> None:
    found = content(predict, *ARGUMENTS)
    assert set(found) == {"model", "couplings", "targets", "sm_rate_per_kg_day_above_threshold"}
    assert found["model"] == "nucleus-10g"
    assert found["couplings"] == {"mu_nue": 0.0, "q_nue": 0.0, "r2_nue": 0.0, "d_nue": 1e-10, "m_N": 1.0}
    assert list(found["targets"]) == ["CaWO4", "Al2O3"]
    for target in found["targets"].values():
        assert set(target) == {"bin_edges_ev", "sm", "signal", "background", "total"}
        assert len(target["bin_edges_ev"]) == 41
        assert [len(target[key]) for key in ("sm", "signal", "background", "total")] == [40] * 4
    assert set(found["sm_rate_per_kg_day_above_threshold"]) == {"CaWO4", "Al2O3"}


def test_sums(predict: Predict, ready: dict[str, RecoilExperiment]) -> None:
    found, nuclei = content(predict, *ARGUMENTS), ready["nucleus-10g"]
    for target in found["targets"].values():
        parts = np.array(target["sm"]) + np.array(target["signal"]) + np.array(target["background"])
        np.testing.assert_allclose(target["total"], parts, rtol=1e-14)
        assert min(target["sm"]) >= 0
        assert min(target["signal"]) >= 0
    totals = np.concatenate([target["total"] for target in found["targets"].values()])
    np.testing.assert_allclose(totals, nuclei.model.expected({"d_nue": 1e-10}), rtol=1e-12)
    sm = np.concatenate([target["sm"] for target in found["targets"].values()])
    np.testing.assert_allclose(sm, nuclei.signal_sm, rtol=1e-12)


def test_bins_are_logarithmic_from_the_threshold(predict: Predict) -> None:
    for target in content(predict, *ARGUMENTS)["targets"].values():
        edges = np.array(target["bin_edges_ev"])
        np.testing.assert_allclose(edges[1:] / edges[:-1], 500 ** (1 / 40), rtol=1e-12)
        assert edges[0] == pytest.approx(20.0, rel=1e-14)


def test_rate_above_threshold(predict: Predict) -> None:
    """Counts of the SM per kg and day: 6 g and 4 g in 1095.75 days."""
    found = content(predict, "nucleus-10g")
    for name, kg in (("CaWO4", 0.006), ("Al2O3", 0.004)):
        counts = math.fsum(found["targets"][name]["sm"])
        assert found["sm_rate_per_kg_day_above_threshold"][name] == pytest.approx(counts / (kg * 1095.75), rel=1e-12)


def test_background_is_flat(predict: Predict) -> None:
    """100 per keV, kg and day."""
    found = content(predict, "nucleus-10g")["targets"]["Al2O3"]
    flat = 100 * 0.004 * 1095.75 * np.diff(found["bin_edges_ev"]) * 1e-3
    np.testing.assert_allclose(found["background"], flat, rtol=1e-6, atol=1e-9)
    assert found["signal"] == [0.0] * 40


def test_signal_goes_as_the_square(predict: Predict) -> None:
    once, twice = (
        np.array(content(predict, "nucleus-10g", "--set", f"d_nue={d}")["targets"]["CaWO4"]["signal"])
        for d in ("1e-9", "2e-9")
    )
    assert once.sum() > 100
    # The signal is a difference of counts, of which the largest is some 1e4.
    np.testing.assert_allclose(twice, 4 * once, rtol=1e-9, atol=1e-9)


def test_mass_is_set(predict: Predict) -> None:
    """Heavier N are rarer, an N above 8 MeV adds exactly nothing; the card's own is 1 MeV."""
    at = {
        m: content(predict, "nucleus-10g", "--set", "d_nue=1e-9", "--set", f"m_N={m}") for m in ("1.0", "5", "7.5", "8")
    }
    sums = [math.fsum(found["targets"]["CaWO4"]["signal"]) for found in at.values()]
    assert sums[0] > sums[1] > sums[2] > sums[3] == 0.0
    assert [found["couplings"]["m_N"] for found in at.values()] == [1.0, 5.0, 7.5, 8.0]
    assert content(predict, "nucleus-10g", "--set", "d_nue=1e-9") == at["1.0"]
    fresh = content(predict, "nucleus-10g", "--set", "d_nue=1e-9", "-o", "sterile.m_N=5")
    assert fresh == at["5"]


def test_pulls_scale_their_part(predict: Predict) -> None:
    plain = content(predict, *ARGUMENTS)["targets"]
    pulled = content(predict, *ARGUMENTS, "--pull", "flux_norm=0.1", "--pull", "background[Al2O3]=-0.25")["targets"]
    for name, background in (("CaWO4", 1.0), ("Al2O3", 0.75)):
        for key, factor in (("sm", 1.1), ("signal", 1.1), ("background", background)):
            np.testing.assert_allclose(
                pulled[name][key], factor * np.array(plain[name][key]), rtol=1e-9, atol=1e-10, err_msg=f"{name} {key}"
            )


def test_counts_of_a_beam(predict: Predict) -> None:
    """163.5 of the SM (computed independently, see data) over 405 out of time and 5.4 neutrons; no days."""
    found = content(predict, "coherent-csi-2017", "--set", "q_numu=1e-7")
    target = found["targets"]["CsI"]
    assert set(target) == {"bin_edges_pe", "sm", "signal", "background", "total"}
    assert target["bin_edges_pe"] == list(range(6, 31, 2))
    assert math.fsum(target["sm"]) == pytest.approx(163.5, rel=0.01)
    assert math.fsum(target["background"]) == pytest.approx(405 + 5.4, rel=1e-9)
    assert found["sm_rate_per_kg_day_above_threshold"] == {"CsI": None}
    # Where the counts interfere with the SM, the signal is negative.
    assert min(target["signal"]) < 0
    np.testing.assert_allclose(
        target["total"], np.sum([target[key] for key in ("sm", "signal", "background")], axis=0), rtol=1e-12
    )


def test_quenching_and_free_pulls_of_a_beam(predict: Predict) -> None:
    plain = content(predict, "coherent-csi-2017")["targets"]["CsI"]
    pulled = content(predict, "coherent-csi-2017", "--pull", "steady_state[3]=0.1", "--pull", "neutrons=1")
    expected = np.array(plain["background"]) + 5.4 / 12
    expected[3] += 4.9
    np.testing.assert_allclose(pulled["targets"]["CsI"]["background"], expected, rtol=1e-9)
    pull = float(morph_shifts(0.0166 / 0.0878)[6])
    brighter = content(predict, "coherent-csi-2017", "--pull", f"quenching={pull!r}")["targets"]["CsI"]
    other = load("coherent-csi-2017", f"detector.quenching={0.0878 * (1 + pull)!r}", "detector.quenching_error=0")
    np.testing.assert_allclose(brighter["sm"], other.signal_sm[:12], rtol=1e-7)
    np.testing.assert_allclose(brighter["background"], plain["background"], rtol=1e-9)


def test_a_table_is_printed(predict: Predict) -> None:
    status, out, err = predict(*ARGUMENTS)
    assert (status, err) == (0, "")
    assert "CaWO4" in out
    assert "Al2O3" in out
    assert len(out.splitlines()) > 40


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (("--set", "d_numu=1e-10"), ("unknown coupling 'd_numu'", "did you mean 'd_nue'")),
        (("--set", "d_nue=-1e-10"), ("d_nue = -1e-10", "at least 0")),
        (("--set", "d_nue=nan"), ("d_nue = nan", "finite")),
        (("--set", "m_N=-1"), ("m_N = -1", "at least 0")),
        (("--set", "m_N=nan"), ("m_N = nan", "finite")),
        (("--set", "m_N=inf"), ("m_N = inf", "finite")),
        (("--set", "m_N=1", "--set", "m_N=2"), ("m_N is given twice",)),
        (("--set", "m_n=1"), ("'m_n'",)),
        (("--set", "d_nue"), ("--set d_nue", "NAME=VALUE")),
        (("--set", "d_nue=1e200"), ("overflow", "d_nue = 1e+200")),
        (("--pull", "background=0.1"), ("unknown pull 'background'", "did you mean 'background[CaWO4]'")),
        (("--pull", "flux_norm=-1"), ("flux_norm = -1", "above -1")),
    ],
)
def test_bad_input_is_one_line(predict: Predict, arguments: tuple[str, ...], fragments: tuple[str, ...]) -> None:
    status, out, err = predict("nucleus-10g", *arguments, "--format", "json")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert [fragment for fragment in fragments if fragment not in err] == []


def test_library_and_command_agree(predict: Predict, ready: dict[str, RecoilExperiment]) -> None:
    prediction = predict_recoils(ready["nucleus-10g"], {"d_nue": 1e-10}, {"flux_norm": 0.02})
    found = content(predict, "nucleus-10g", "--set", "d_nue=1e-10", "--pull", "flux_norm=0.02")
    assert json.loads(json.dumps(recoil_prediction_json(prediction))) == found
    assert prediction.unit == "ev"
    assert prediction.targets["CaWO4"].total == pytest.approx(found["targets"]["CaWO4"]["total"], rel=1e-14)


def test_library_refuses_too(ready: dict[str, RecoilExperiment]) -> None:
    nuclei = ready["nucleus-10g"]
    with pytest.raises(UsageError, match="finite"):
        predict_recoils(nuclei, {}, {"flux_norm": math.inf})
    with pytest.raises(ConvergenceError, match="d_nue"):
        predict_recoils(nuclei, {"d_nue": 1e200}, {})
