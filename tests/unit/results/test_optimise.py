"""The best split of the years: against other splits, limits of the cards themselves, and what is refused."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from bayesnu.cli import main
from bayesnu.errors import ConvergenceError, UsageError
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.setup import load_electron_experiment
from bayesnu.report.optimise import optimum_table
from bayesnu.results import optimise as module
from bayesnu.results.limits import limit
from bayesnu.results.mc_stat import width
from bayesnu.results.optimise import optimise, optimum_json


@pytest.fixture(scope="module")
def two() -> ElectronExperiment:
    """Seven years on axis and at 30 m, both polarities."""
    card = load_electron_experiment("dune-prism")
    exposures = [card.card.exposures[k] for k in (0, 1, 4, 5)]
    text = "[" + ", ".join(f'{{mode="{e.mode}", position_m={e.position_m}, years=1.75}}' for e in exposures) + "]"
    return load_electron_experiment("dune-prism", [f"exposures={text}"])


def at(share: float) -> list[float]:
    """Years of `two` with a share of them at 30 m."""
    return [3.5 * max(1 - share, 1e-9)] * 2 + [3.5 * max(share, 1e-9)] * 2


@pytest.mark.slow
def test_no_other_split_is_better(two: ElectronExperiment) -> None:
    """A scan of all shares: the optimum inside for mu_nue; for mu_numu all years belong on axis."""
    shares = np.linspace(0, 1, 41)
    for coupling, inside in (("mu_nue", True), ("mu_numu", False)):
        found = optimise(two, coupling)
        scan = [limit(two.with_years(at(share)), coupling).intervals[-1][1] for share in shares.tolist()]
        assert found.size_best <= min(scan) * (1 + 1e-6)
        best = found.places[1].years_best / 7
        assert abs(best - shares[int(np.argmin(scan))]) < 0.03
        assert found.size_now == pytest.approx(limit(two, coupling).intervals[-1][1], rel=1e-9)
        assert sum(place.years_best for place in found.places) == pytest.approx(7.0)
        if inside:
            assert 0.3 < best < 0.95
        else:
            assert best == 0.0
            on_axis = limit(load_electron_experiment("dune-on-axis"), coupling).intervals[-1][1]
            assert found.size_best == pytest.approx(on_axis, rel=1e-6)


@pytest.mark.slow
def test_years_polarities_and_total(two: ElectronExperiment) -> None:
    found = optimise(two, "mu_nue", by="exposure", total_years=14.0, method="poisson")
    assert [place.label for place in found.places] == [
        "neutrino 0 m", "antineutrino 0 m", "neutrino 30 m", "antineutrino 30 m",
    ]  # fmt: skip
    assert sum(place.years_now for place in found.places) == pytest.approx(14.0)
    doubled = two.with_years([3.5] * 4)
    assert found.size_now == pytest.approx(limit(doubled, "mu_nue", method="poisson").intervals[-1][1], rel=1e-9)
    by_position = optimise(two, "mu_nue", total_years=14.0, method="poisson")
    assert found.size_best <= by_position.size_best * (1 + 1e-5)
    assert found.gain == pytest.approx(1 - found.size_best / found.size_now)


def test_a_width_of_couplings_with_both_signs(two: ElectronExperiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_starts", lambda now: iter([("the present split", now)]))
    found = optimise(two, "q_numu", variance="sm+background")
    assert found.quantity == "width of the interval"
    assert found.size_best == pytest.approx(width(found.best))
    assert found.size_now == pytest.approx(width(limit(two, "q_numu", variance="sm+background")))
    assert found.size_best < found.size_now


@pytest.mark.slow
def test_the_present_split_may_be_the_best(two: ElectronExperiment) -> None:
    best = optimise(two, "mu_nue")
    again = two.with_years([years for place in best.places for years in (place.years_best / 2,) * 2])
    found = optimise(again, "mu_nue")
    assert found.gain == pytest.approx(0.0, abs=2e-6)
    assert optimum_json(optimise(two, "mu_nue")) == optimum_json(best)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"by": "polarity"}, "unknown by 'polarity': allowed are position, exposure"),
        ({"method": "nuts"}, "unknown method 'nuts': allowed are chi2, poisson"),
        ({"method": "poisson", "variance": "sm"}, "variance = sm: is for method chi2, not poisson"),
        ({"variance": "background"}, "unknown variance 'background'"),
        ({"total_years": 0.0}, "total_years = 0: must be a finite number above 0"),
        ({"total_years": float("inf")}, "total_years = inf: must be"),
        ({"cl": 1.0}, "1.0"),
    ],
)
def test_refused(two: ElectronExperiment, options: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text.replace("(", r"\(")):
        optimise(two, "mu_nue", **options)


def test_nothing_to_share(on_axis: ElectronExperiment, two: ElectronExperiment) -> None:
    with pytest.raises(UsageError, match="dune-on-axis: all years are at 0 m: there is nothing to share"):
        optimise(on_axis, "mu_nue")
    with pytest.raises(UsageError, match="unknown coupling 'mu_nu'"):
        optimise(two, "mu_nu")
    with pytest.raises(UsageError, match="its counts were observed in its own years"):
        optimise(replace(two, observed=True), "mu_nue")
    with pytest.raises(UsageError, match="is a card of nuclear recoils"):
        load_electron_experiment("nucleus-10g")


def test_no_finite_limit(two: ElectronExperiment, monkeypatch: pytest.MonkeyPatch) -> None:
    now = limit(two, "mu_nue")
    monkeypatch.setattr(module, "frequentist_interval", lambda *_: replace(now, intervals=((0.0, float("inf")),)))
    with pytest.raises(ConvergenceError, match="the present split gives no finite limit"):
        optimise(two, "mu_nue")


def test_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "_starts", lambda now: iter([("the present split", now)]))
    arguments = ["optimise", "dune-prism", "--coupling", "mu_nue"]

    def call(*more: str) -> int:
        monkeypatch.setattr(sys, "argv", ["bayesnu", *arguments, *more])
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0)

    assert call("--format", "json") == 0
    content = json.loads(capsys.readouterr().out)
    found = optimise(load_electron_experiment("dune-prism"), "mu_nue")
    assert content == optimum_json(found)
    assert [place["place"] for place in content["places"]] == ["0 m", "18 m", "30 m"]
    assert content["best"]["size"] < content["now"]["size"]
    assert call() == 0
    table = capsys.readouterr().out
    for text in (f"{found.places[2].years_best:.3f}", "years best", f"{found.gain:.1%} less", "< 2.33", "upper limit"):
        assert text in table
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 120
    assert optimum_table(found).row_count == 4
    assert call("-o", "exposures=[{mode='neutrino', position_m=0.0, years=7}]") == 2
    assert "there is nothing to share" in capsys.readouterr().err
