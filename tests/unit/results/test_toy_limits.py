"""`limit` by Feldman and Cousins' construction and by CLs: against their tables, and what stands beside a limit."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from bayesnu.errors import RunError, UsageError
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference import feldman_cousins as engine
from bayesnu.inference.feldman_cousins import ToyIntervals
from bayesnu.inference.likelihood import Problem
from bayesnu.results import toy_limits
from bayesnu.results.intervals import IntervalSet
from bayesnu.results.limits import DEFAULT_SEED, check_options, interval_json, limit
from bayesnu.results.toy_limits import ToyRunner
from bayesnu.workers import InProcess, Watched
from bayesnu.workers.tasks import Function, Results, Task, Workers


@pytest.fixture(scope="module")
def lsnd() -> Experiment:
    return load_experiment("lsnd-nue")


def one_number(sigmas: float) -> tuple[Experiment, float]:
    """LSND without systematic error, its events so many standard deviations above the SM; θ of one of them."""
    plain = load_experiment("lsnd-nue", ["pulls.flux_norm=0"])
    expected = float(plain.model.expected()[0])
    shifted = load_experiment(
        "lsnd-nue", ["pulls.flux_norm=0", f"exposures.0.observed_counts=[{expected + 22 * sigmas}]"]
    )
    return shifted, float((22 / plain.model.change(plain.model.couplings.index("mu_nue"), 2)[0]) ** 0.5)


@pytest.fixture
def quick_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums over the outcomes of one observation in a third of the cells: good to 0.005."""
    monkeypatch.setattr(engine, "NORMAL_CELLS", 1_400)
    monkeypatch.setattr(engine, "FINE_POINTS", 21)


def test_gaussian_near_a_boundary(quick_sums: None) -> None:
    """G. J. Feldman and R. D. Cousins, Phys. Rev. D 57, 3873 (1998), table X: 90%, mean ≥ 0, x = 2."""
    low, high = 0.58, 3.64
    experiment, unit = one_number(2.0)
    found = limit(experiment, "mu_nue", method="feldman-cousins")
    assert (found.kind, found.method, found.probability) == ("feldman_cousins", "feldman-cousins", 0.9)
    ((start, stop),) = found.intervals
    assert (start / unit) ** 2 == pytest.approx(low, abs=0.01)
    assert (stop / unit) ** 2 == pytest.approx(high, abs=0.01)
    assert found.toys is not None
    assert found.toys.number == 0
    assert np.isnan(found.mc_error).all()


@pytest.mark.parametrize("pulls", ["profiled", pytest.param("averaged", marks=pytest.mark.slow)])
def test_feldman_cousins_with_pulls(on_axis: Experiment, pulls: str) -> None:
    """For x = 0 their limit is Wilks', 1.645 standard deviations, but for the pulls."""
    found = limit(on_axis, "mu_numu", method="feldman-cousins", pulls=pulls, tolerance=0.05, seed=3)
    ((low, high),), ((_, error),) = found.intervals, found.mc_error
    wilks = limit(on_axis, "mu_numu", method="poisson").intervals[0][1]
    assert low == 0.0
    assert 0 < error < 0.05 * high
    assert high == pytest.approx(wilks, abs=4 * error)
    content = interval_json("on-axis", found)
    assert found.toys is not None
    assert found.toys.number > 10_000
    assert content["pseudo_experiments"] == {
        "number": found.toys.number, "pulls": pulls, "seed": 3, "never_falling": False,
    }  # fmt: skip
    assert content["mc_error"] == [[None, error]]
    assert "expected" not in content


def same(one: IntervalSet, other: IntervalSet) -> bool:
    """Number for number; NaN is equal to itself."""
    return interval_json("card", one) == interval_json("card", other)


class Backwards(Workers):
    """Eight workers that finish the last task first."""

    number = 8

    def __init__(self) -> None:
        self.tasks = 0

    def run(self, function: Function, shared: Any, tasks: Sequence[Task]) -> Results:
        for place, result in reversed([*InProcess().run(function, shared, tasks)]):
            self.tasks += 1
            yield place, result


def test_a_finished_study_is_read_by_whoever_asks(lsnd: Experiment, tmp_path: Path) -> None:
    options: dict[str, Any] = {"method": "feldman-cousins", "tolerance": 0.2, "seed": 1}
    phrases: list[str] = []
    counts: list[tuple[int, int]] = []
    watched = Watched(InProcess(), lambda finished, total: counts.append((finished, total)))
    runner = ToyRunner(watched, tmp_path, progress=phrases.append)
    first = limit(lsnd, "mu_nue", runner=runner, **options)
    assert phrases[0] == "scanning the coupling"
    assert "pseudo-experiments so far" in phrases[1]
    assert counts[0] == (0, 33)
    assert (33, 33) in counts
    others = Backwards()
    assert same(limit(lsnd, "mu_nue", runner=ToyRunner(others), **options), first)
    assert others.tasks == sum(finished > 0 for finished, _ in counts)
    nobody = Backwards()
    assert same(limit(lsnd, "mu_nue", runner=ToyRunner(nobody, tmp_path), **options), first)
    assert nobody.tasks == 0
    with pytest.raises(RunError, match="holds another study"):
        limit(lsnd, "mu_nue", runner=ToyRunner(nobody, tmp_path), **(options | {"seed": 2}))
    with pytest.raises(RunError, match="holds another study"):
        limit(lsnd, "mu_numu", runner=ToyRunner(nobody, tmp_path), **options)
    assert nobody.tasks == 0


def test_asymptotic_cls_and_its_bands(on_axis: Experiment) -> None:
    """A Gaussian strength: bounds Φ⁻¹(1 - α Φ(N)) + N standard deviations, G. Cowan et al. (2011), (89)."""
    found = limit(on_axis, "mu_numu", method="cls")
    assert (found.kind, found.method, found.toys) == ("cls", "cls", None)
    ((low, high),) = found.intervals
    assert low == 0.0
    (bound,) = found.expected
    assert (bound.side, bound.sigmas) == ("upper", (-2.0, -1.0, 0.0, 1.0, 2.0))
    # Asimov data are the median experiment.
    assert bound.values[2] == pytest.approx(high, rel=1e-3)
    sigmas = np.array(bound.sigmas)
    strengths = (ndtri(1 - 0.1 * ndtr(sigmas)) + sigmas) / ndtri(0.95)
    np.testing.assert_allclose((np.array(bound.values) / bound.values[2]) ** 2, strengths, rtol=0.04)
    content = interval_json("on-axis", found)
    assert content["expected"] == [
        {"side": "upper", "sigmas": [-2, -1, 0, 1, 2], "values": list(bound.values), "mc_error": [None] * 5}
    ]
    assert "pseudo_experiments" not in content


def test_cls_of_either_sign_has_two_bounds(on_axis: Experiment) -> None:
    found = limit(on_axis, "q_numu", method="cls")
    ((low, high),) = found.intervals
    assert low < 0 < high
    lower, upper = found.expected
    assert (lower.side, upper.side) == ("lower", "upper")
    assert list(lower.values) == sorted(lower.values, reverse=True)
    assert list(upper.values) == sorted(upper.values)
    assert (lower.values[2], upper.values[2]) == pytest.approx((low, high), rel=1e-3)


@pytest.mark.slow
def test_cls_by_pseudo_experiments(lsnd: Experiment) -> None:
    found = limit(lsnd, "mu_nue", method="cls", toys=True, tolerance=0.2)
    asymptotic = limit(lsnd, "mu_nue", method="cls")
    ((_, high),), ((none, error),) = found.intervals, found.mc_error
    assert math.isnan(none)
    assert 0 < error < 0.2 * high
    assert high == pytest.approx(asymptotic.intervals[0][1], abs=4 * error)
    assert found.toys is not None
    assert (found.toys.pulls, found.toys.seed) == ("profiled", DEFAULT_SEED)
    assert found.toys.number > 0
    for value, wanted, spread in zip(
        found.expected[0].values, asymptotic.expected[0].values, found.expected[0].mc_error, strict=True
    ):
        assert value == pytest.approx(wanted, abs=4 * spread)


def test_never_falling_is_the_largest_limit(
    on_axis: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backgrounds from the nominal one to twice it, each with the same seed and a folder of its own."""
    counts: list[float] = []
    seeds: set[int] = set()

    def construct(problem: Problem, cl: float, workers: Workers, *, seed: int, chunks: Any, **_: Any) -> ToyIntervals:
        counts.append(float(problem.model.expected().sum()))
        seeds.add(seed)
        step = len(counts) - 1
        return ToyIntervals(((0.1, 1.0 + 0.1 * (step == 4)),), ((0.01, 0.001 * step),), 100)

    monkeypatch.setattr(toy_limits, "feldman_cousins", construct)
    found = limit(
        on_axis, "mu_numu", method="feldman-cousins", never_falling=True, seed=8, runner=ToyRunner(folder=tmp_path)
    )
    np.testing.assert_allclose(np.array(counts) / counts[0], np.linspace(1, 2, 11))
    assert seeds == {8}
    assert (found.intervals, found.mc_error) == (((0.1, 1.1),), ((0.01, 0.004),))
    assert found.toys is not None
    assert (found.toys.number, found.toys.never_falling) == (1100, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"background-{k:02d}" for k in range(11)]


@pytest.mark.parametrize(("variance", "steps"), [(0.0, 401), (1.0, 11)])
def test_backgrounds_of_a_single_count(
    variance: float, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums over counts take a moment each, so that the steps are fine; those over normal data do not."""
    made: list[Problem] = []

    def construct(problem: Problem, *_: Any, **__: Any) -> ToyIntervals:
        made.append(problem)
        return ToyIntervals(((0.0, 1.0),), ((math.nan, math.nan),), 0)

    experiment, _ = one_number(0.0)
    ordinary, own = toy_limits.make_problem, np.array([variance])
    monkeypatch.setattr(toy_limits, "feldman_cousins", construct)
    monkeypatch.setattr(toy_limits, "make_problem", lambda *given: replace(ordinary(*given), normal_variance=own))
    found = limit(experiment, "mu_nue", method="feldman-cousins", never_falling=True)
    assert len(made) == steps
    assert found.toys is not None
    assert found.toys.number == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pulls": "profiled"}, "pulls = profiled: is for the methods feldman-cousins, cls, not chi2"),
        ({"tolerance": 0.1, "method": "poisson"}, "tolerance = 0.1: is for the methods feldman-cousins, cls"),
        ({"toys": True}, "toys: is for method cls, not chi2"),
        ({"toys": True, "method": "feldman-cousins"}, "toys: is for method cls, not feldman-cousins"),
        ({"never_falling": True, "method": "cls"}, "never_falling: is for method feldman-cousins, not cls"),
        ({"never_falling": True, "method": "feldman-cousins"}, "never_falling: is for upper limits, and q_numu may"),
        ({"method": "cls", "seed": 3}, "seed = 3: is for cls with toys; without them it is asymptotic"),
        ({"method": "cls", "pulls": "averaged"}, "pulls = averaged: is for cls with toys"),
        ({"method": "cls", "draws": 1000}, "draws = 1000: is for the methods laplace, nuts, not cls"),
        ({"method": "feldman-cousins", "kind": "upper"}, "kind = upper: is for the methods laplace, nuts"),
        ({"method": "feldman-cousins", "variance": "sm"}, "variance = sm: is for method chi2"),
        (
            {"method": "feldman-cousins", "pulls": "averages"},
            "unknown pulls 'averages': allowed are profiled, averaged; did you mean 'averaged'",
        ),
        ({"method": "feldman-cousins", "tolerance": 0.0}, "tolerance = 0.0: must be from 0.0001 to 0.2"),
        ({"method": "cls", "toys": True, "tolerance": math.nan}, "tolerance = nan: must be from 0.0001 to 0.2"),
        ({"method": "feldman-cousins", "seed": -1}, "seed = -1: must be at least 0"),
        ({"method": "feldman-cousin"}, "unknown method 'feldman-cousin': .* did you mean 'feldman-cousins'"),
    ],
)
def test_refused(on_axis: Experiment, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        limit(on_axis, "q_numu", **options)


@pytest.mark.parametrize("option", [{"workers": 2}, {"scheduler": "tcp://x:1"}, {"out": Path("x")}, {"force": True}])
def test_where_toys_run_is_for_toys(option: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="is for the methods feldman-cousins, cls, not laplace"):
        check_options("laplace", option)
    with pytest.raises(UsageError, match="is for cls with toys"):
        check_options("cls", option)
    check_options("cls", {"toys": True, **option})
    check_options("feldman-cousins", option)


def test_a_coupling_without_counts_has_no_limit() -> None:
    experiment = load_experiment("nucleus-10g").at(9.0)
    notices: list[str] = []
    for method, kind in (("feldman-cousins", "feldman_cousins"), ("cls", "cls")):
        found = limit(experiment, "d_nue", method=method, notice=notices.append)
        assert (found.intervals, found.kind, found.m_N) == (((0.0, math.inf),), kind, 9.0)
    assert [text.startswith("d_nue: no count depends on it at m_N = 9 MeV") for text in notices] == [True, True]
