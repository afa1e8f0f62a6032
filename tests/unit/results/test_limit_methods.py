"""`limit`: every method, what it refuses, and the Monte Carlo error that it reaches."""

import math
from typing import Any

import numpy as np
import pytest

from bayesnu.errors import ConvergenceError, UnconvergedError, UsageError
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.laplace import laplace_posterior
from bayesnu.inference.likelihood import make_problem
from bayesnu.inference.priors import one_coupling
from bayesnu.inference.profile import delta_chi2_intervals
from bayesnu.inference.sampling import Draws, Sampler
from bayesnu.results.intervals import IntervalSet, grid_quantiles, relative_error
from bayesnu.results.limits import (
    DEFAULT_CHAINS,
    DEFAULT_DRAWS,
    DEFAULT_SEED,
    ERROR_GOAL,
    MOST_DRAWS,
    TUNE,
    check_counts,
    default_kind,
    interval_json,
    limit,
)


@pytest.mark.parametrize("variance", [None, "sm", "sm+background"])
def test_chi2(on_axis: Experiment, variance: str | None) -> None:
    found = limit(on_axis, "q_numu", variance=variance)
    problem = make_problem(on_axis, ["q_numu"], "chi2", variance or "sm")
    assert found.intervals == delta_chi2_intervals(problem, 0.90)
    assert (found.method, found.kind, found.probability, found.unit) == ("chi2", "delta_chi2", 0.90, "e")
    assert np.isnan(found.mc_error).all()


def test_variance_with_background_is_weaker(on_axis: Experiment) -> None:
    narrow, wide = (limit(on_axis, "r2_numu", variance=v).intervals[0] for v in ("sm", "sm+background"))
    assert wide[0] < narrow[0] < 0 < narrow[1] < wide[1]


def test_poisson_is_the_deviance(on_axis: Experiment) -> None:
    found = limit(on_axis, "mu_numu", method="poisson", cl=0.68)
    assert found.intervals == delta_chi2_intervals(make_problem(on_axis, ["mu_numu"]), 0.68)
    assert (found.method, found.kind, found.probability) == ("poisson", "delta_chi2", 0.68)
    assert found.intervals[0][0] == 0


@pytest.mark.parametrize("kind", ["hdi", "eti", "upper"])
def test_laplace(on_axis: Experiment, kind: str) -> None:
    found = limit(on_axis, "mu_numu", method="laplace", kind=kind)
    posterior = laplace_posterior(*one_coupling(on_axis, "mu_numu"))
    q05, q90, q95 = grid_quantiles(posterior.values, posterior.density, np.array([0.05, 0.90, 0.95]))
    ((low, high),) = found.intervals
    expected = {"eti": (q05, q95), "upper": (0.0, q90), "hdi": (0.0, q90)}[kind]
    assert (low, high) == pytest.approx(expected, rel=1e-3, abs=1e-16)
    assert (found.kind, found.method) == (kind, "laplace")
    assert np.isnan(found.mc_error).all()


def test_default_kinds() -> None:
    assert [default_kind(name) for name in ("mu_nue", "mu_numu", "q_nue", "r2_numu")] == [
        "upper",
        "upper",
        "hdi",
        "hdi",
    ]


def test_cl_widens_the_interval(on_axis: Experiment) -> None:
    uppers = [limit(on_axis, "q_numu", method="laplace", cl=cl).intervals[0][1] for cl in (0.5, 0.9, 0.99)]
    assert uppers == sorted(uppers)
    assert len(set(uppers)) == 3


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"variance": "sm", "method": "poisson"}, "variance = sm: is for method chi2, not poisson"),
    ({"variance": "sm", "method": "laplace"}, "variance = sm: is for method chi2, not laplace"),
    ({"variance": "sm", "method": "nuts"}, "variance = sm: is for method chi2, not nuts"),
    ({"variance": "sm+backgrund"}, r"variance = sm\+backgrund: allowed are sm, sm\+background; did you mean"),
    ({"kind": "hdi"}, "kind = hdi: is for the methods laplace, nuts, not chi2"),
    ({"kind": "hdi", "method": "poisson"}, "kind = hdi: is for the methods laplace, nuts, not poisson"),
    ({"draws": 1000}, "draws = 1000: is for the methods laplace, nuts, not chi2"),
    ({"chains": 4, "method": "poisson"}, "chains = 4: is for the methods"),
    ({"seed": 0}, "seed = 0: is for the methods"),
    ({"method": "chi3"}, "unknown method 'chi3': allowed are chi2, poisson, laplace, nuts, .* did you mean 'chi2'"),
    ({"method": "laplace", "kind": "hpd"}, "unknown kind 'hpd': allowed are hdi, eti, upper"),
    ({"cl": 0.0}, "cl = 0.0: must be between 0 and 1"),
    ({"cl": 1.0}, "cl = 1.0: must be between 0 and 1"),
    ({"cl": 90.0}, "cl = 90.0: must be between 0 and 1"),
    ({"cl": math.nan}, "cl = nan: must be between 0 and 1"),
    ({"cl": -0.9, "method": "laplace"}, "cl = -0.9"),
    ({"method": "nuts", "draws": 0}, "draws = 0: must be at least 100"),
    ({"method": "nuts", "chains": 1}, "chains = 1: must be at least 2"),
    ({"method": "nuts", "seed": -1}, "seed = -1: must be at least 0"),
    ({"method": "nuts", "seed": 2**32}, "seed = 4294967296: must be below"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_refused(on_axis: Experiment, options: dict[str, Any], message: str, fake_sampler: Any) -> None:
    with pytest.raises(UsageError, match=message):
        limit(on_axis, "q_numu", **options)
    assert fake_sampler.calls == []


def test_unknown_coupling(on_axis: Experiment) -> None:
    with pytest.raises(UsageError, match=r"unknown coupling 'q_nmu'.*did you mean 'q_numu'"):
        limit(on_axis, "q_nmu")


def test_counts_that_are_allowed() -> None:
    check_counts(draws=None, chains=None, seed=None)
    check_counts(draws=100, chains=2, seed=0)
    with pytest.raises(UsageError):
        check_counts(draws=99, chains=None, seed=None)


class Recorder:
    """Draws from N(1, σ) whatever is asked; notes the numbers it was asked for."""

    def __init__(self, sigma: float, scale: float) -> None:
        self.sigma, self.scale, self.divergent_above = sigma, scale, math.inf
        self.asked: list[dict[str, int]] = []

    def __call__(self, problem: Any, priors: Any, progress: Any = None, **numbers: int) -> Draws:
        self.asked.append(numbers)
        rng = np.random.default_rng(numbers["seed"])
        theta = self.scale * rng.normal(1, self.sigma, (1, numbers["chains"], numbers["draws"]))
        stats = {
            "diverging": theta[0] > self.scale * self.divergent_above,
            "energy": rng.normal(size=theta.shape[1:]),
        }
        return Draws(problem.couplings, theta, np.zeros((*theta.shape[1:], 1)), stats, 0, 0.9, 0)


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Recorder:
    recorder = Recorder(request.param, 1e-10)
    monkeypatch.setattr(Sampler, "sample", lambda self, *a, **k: recorder(*a, **k))
    return recorder


@pytest.mark.parametrize("sampled", [0.1], indirect=True)
def test_nuts_by_default(on_axis: Experiment, sampled: Recorder) -> None:
    found = limit(on_axis, "q_numu", method="nuts", kind="eti", allow_unconverged=True)
    assert sampled.asked == [
        {"draws": DEFAULT_DRAWS, "chains": DEFAULT_CHAINS, "tune": TUNE, "seed": DEFAULT_SEED},
    ]
    assert DEFAULT_CHAINS == 4
    assert relative_error(found) < ERROR_GOAL
    assert (found.method, found.kind) == ("nuts", "eti")


@pytest.mark.parametrize("sampled", [0.6], indirect=True)
def test_nuts_draws_more_until_the_error_is_small(on_axis: Experiment, sampled: Recorder) -> None:
    """1 - 1.645 × 0.6 is so near 0 that its relative error takes many draws."""
    found = limit(on_axis, "q_numu", method="nuts", kind="eti", allow_unconverged=True)
    numbers = [numbers["draws"] for numbers in sampled.asked]
    assert numbers == sorted(set(numbers))
    assert len(numbers) > 1
    assert relative_error(found) <= ERROR_GOAL or numbers[-1] == MOST_DRAWS
    assert numbers[-1] <= MOST_DRAWS


@pytest.mark.parametrize("sampled", [0.6], indirect=True)
def test_given_draws_are_kept(on_axis: Experiment, sampled: Recorder) -> None:
    limit(on_axis, "q_numu", method="nuts", kind="eti", draws=200, chains=3, seed=0, allow_unconverged=True)
    assert sampled.asked == [{"draws": 200, "chains": 3, "tune": TUNE, "seed": 0}]


@pytest.mark.parametrize("sampled", [0.1], indirect=True)
def test_limit_of_draws_that_fail_is_withheld(on_axis: Experiment, sampled: Recorder) -> None:
    sampled.divergent_above = 1.0
    asked = {"method": "nuts", "kind": "eti", "draws": 100, "chains": 2}
    with pytest.raises(UnconvergedError) as error:
        limit(on_axis, "q_numu", **asked)  # type: ignore[arg-type]
    text = str(error.value)
    assert text.startswith("q_numu: the limit is withheld, since the sampler's verdict is fail: ")
    assert all(part in text for part in ("ESS", "divergences at q_numu 1", "; give --draws ", "--allow-unconverged"))
    assert "NUTS and the Laplace grid differ by" in text
    shown = limit(on_axis, "q_numu", **asked, allow_unconverged=True)  # type: ignore[arg-type]
    assert any("divergences" in reason for reason in shown.unconverged)
    assert next(iter(interval_json("on-axis", shown))) == "unconverged"


def test_notice_of_few_draws(on_axis: Experiment, fake_sampler: Any) -> None:
    notices: list[str] = []
    found = limit(on_axis, "q_numu", method="nuts", kind="eti", notice=notices.append)
    assert (notices, found.unconverged) == ([], ())
    assert "unconverged" not in interval_json("on-axis", found)
    limit(on_axis, "q_numu", method="nuts", kind="eti", draws=175, chains=4, notice=notices.append)
    (line,) = notices
    assert line.startswith("q_numu: take this limit with care: ESS ")


@pytest.mark.parametrize("sampled", [0.1], indirect=True)
@pytest.mark.parametrize("method", ["laplace", "nuts"])
def test_upper_limit_of_a_signed_coupling_is_open_below(on_axis: Experiment, sampled: Recorder, method: str) -> None:
    """The range that the program found bounds the search, not the coupling; a range of the card's does."""
    asked: dict[str, Any] = {"method": method, "kind": "upper", "allow_unconverged": True}
    assert limit(on_axis, "q_numu", **asked).intervals[0][0] == -math.inf
    prior = "couplings.q_numu.prior={kind='uniform', low=-3e-9, high=3e-9}"
    bounded = load_experiment("dune-on-axis", [prior])
    assert limit(bounded, "q_numu", **asked).intervals[0][0] == -3e-9
    assert limit(on_axis, "mu_numu", **asked).intervals[0][0] == 0


@pytest.mark.slow
def test_sampled_limits_reach_the_goal(on_axis: Experiment) -> None:
    for name in ("mu_numu", "r2_nue"):
        found, grid = (limit(on_axis, name, method=method) for method in ("nuts", "laplace"))
        assert relative_error(found) < ERROR_GOAL
        known = np.isfinite(found.mc_error)
        distance = np.abs(np.array(found.intervals) - np.array(grid.intervals))[known]
        assert (distance < 4 * np.array(found.mc_error)[known]).all()


def test_json() -> None:
    item = IntervalSet(
        "q_nue", "e", 0.9, "hdi", "nuts", ((-math.inf, 1e-8), (2e-8, 3e-8)), ((math.nan, 1e-10), (2e-10, 3e-10))
    )
    assert interval_json("card", item) == {
        "model": "card",
        "coupling": "q_nue",
        "unit": "e",
        "method": "nuts",
        "cl": 0.9,
        "kind": "hdi",
        "intervals": [[None, 1e-8], [2e-8, 3e-8]],
        "mc_error": [[None, 1e-10], [2e-10, 3e-10]],
    }


def test_relative_error_skips_exact_bounds_and_is_lenient_near_zero() -> None:
    def item(intervals: Any, errors: Any) -> IntervalSet:
        return IntervalSet("q_nue", "e", 0.9, "hdi", "nuts", intervals, errors)

    assert relative_error(item(((0.0, 2.0),), ((math.nan, 0.1),))) == pytest.approx(0.05)
    assert relative_error(item(((0.01, 2.0),), ((0.03, 0.1),))) == pytest.approx(0.15)
    assert relative_error(item(((-4.0, 2.0),), ((0.4, math.nan),))) == pytest.approx(0.1)
    assert relative_error(item(((-4.0, 2.0),), ((math.nan, math.nan),))) == 0


@pytest.mark.parametrize("method", ["laplace", "nuts"])
def test_what_does_not_converge_is_named(method: str) -> None:
    override = "couplings.q_nue.prior={kind='uniform',low=1e20,high=2e20}"
    experiment = load_experiment("dune-on-axis", [override])
    message = r'dune-on-axis\.toml \(with -o couplings.*\): couplings\.q_nue\.prior = \{"kind": "uniform", "low": 1e'
    with pytest.raises(ConvergenceError, match=message):
        limit(experiment, "q_nue", method=method)
