"""Limits under several priors against closed forms; which number to quote, in each case; power-scaling."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bayesnu.errors import ConvergenceError, UsageError
from bayesnu.experiment.expectation import CountModel
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.laplace import laplace_posterior
from bayesnu.inference.likelihood import Problem, Statistic, make_problem
from bayesnu.inference.marginal import marginal_likelihood
from bayesnu.inference.priors import Prior, one_coupling
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.results.intervals import IntervalSet
from bayesnu.results.limits import laplace_interval
from bayesnu.results.modes import Mode
from bayesnu.results.prior_study import (
    FLAT_SQUARED,
    FLOORS,
    NORMAL_SHARE,
    PriorLimit,
    PriorStudy,
    advice,
    card_study,
    doubled_range,
    power_scaling,
    relative_change,
    signal_power,
    study_json,
    study_priors,
)


def counting(coefficients: Sequence[float], statistic: Statistic, data: float, name: str = "mu_nue") -> Problem:
    """One bin whose mean is Σ_k coefficients[k] θᵏ, variance 1 if normal, and one pull of width 0."""
    monomials = ((), *(((0, k),) for k in range(1, len(coefficients))))
    arrays = np.array(coefficients, dtype=float)[None, :, None]
    model = CountModel((name,), monomials, ((),), ("all",), ("none",), np.array([0.0]), arrays)
    return Problem((name,), np.ones(1), model, np.array([data]), np.array([float(statistic == "chi2")]), np.zeros(1))


def study(problem: Problem, high: float, kind: Any = "upper") -> PriorStudy:
    return study_priors(problem, Prior(COUPLINGS[problem.couplings[0]], "uniform", 0.0, high), 0.9, kind)


def upper(found: PriorStudy, label: str) -> float:
    (limit,) = [item for item in found.limits if item.label == label]
    return limit.interval.intervals[-1][1]


# Unit Gaussian


@pytest.mark.parametrize(("x", "bound"), [(0.0, 1.645), (1.0, 2.38)])
def test_flat_in_a_normal_mean_from_zero(x: float, bound: float) -> None:
    found = upper(study(counting([0, 1], "chi2", x), 20.0), "the card's own")
    exact = stats.truncnorm(-x, math.inf, loc=x).ppf(0.9)
    assert found == pytest.approx(exact, abs=1e-6)
    assert found == pytest.approx(bound, abs=0.01)


def test_square_of_a_normal_mean_at_zero() -> None:
    """The square is half-normal under the prior flat in it, and so under Jeffreys'; θ itself has density exp(-θ⁴/2)."""
    found = study(counting([0, 0, 1], "chi2", 0.0), 8.0)
    assert upper(found, FLAT_SQUARED) == pytest.approx(math.sqrt(stats.halfnorm.ppf(0.9)), abs=1e-6)
    assert upper(found, "Jeffreys") == pytest.approx(upper(found, FLAT_SQUARED), abs=1e-9)
    assert upper(found, FLAT_SQUARED) == pytest.approx(1.283, abs=0.01)
    assert upper(found, "flat") == pytest.approx((2 * stats.gamma(0.25).ppf(0.9)) ** 0.25, abs=1e-6)
    assert upper(found, "the card's own") == pytest.approx(1.107, abs=0.01)


# One-bin Poisson: the mean is Gamma distributed, of shape n + 1 under a flat prior


@pytest.mark.parametrize("n", [0, 3, 7])
def test_poisson_square_has_gamma_posteriors(n: int) -> None:
    found = study(counting([0, 0, 1], "poisson", n), 12.0)
    high = next(item.prior.high for item in found.limits if item.label == FLAT_SQUARED)
    shapes = {FLAT_SQUARED: n + 1, "flat": n + 0.5, "Jeffreys": n + 0.5}
    for label, shape in shapes.items():
        assert upper(found, label) == pytest.approx(math.sqrt(stats.gamma(shape).ppf(0.9)), abs=2e-6), label
    sigma = NORMAL_SHARE * high
    narrowed = stats.gamma(n + 0.5, scale=1 / (1 + 1 / (2 * sigma**2)))
    assert upper(found, "half-normal") == pytest.approx(math.sqrt(narrowed.ppf(0.9)), abs=2e-6)
    if n > 0:
        for floor in FLOORS:
            gamma = stats.gamma(n)
            start = gamma.cdf((floor * high) ** 2)
            exact = math.sqrt(gamma.ppf(start + 0.9 * (1 - start)))
            assert upper(found, f"log-uniform, floor {floor:g}") == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("n", [5, 9])
def test_linear_poisson_has_gamma_posteriors(n: int) -> None:
    problem = counting([0, 1], "poisson", n)
    marginal = marginal_likelihood(problem)
    for prior, shape in (
        (Prior(COUPLINGS["mu_nue"], "uniform", 0.0, 80.0), n + 1),
        (Prior(COUPLINGS["mu_nue"], "half-normal", 0.0, math.inf, 1e3), n + 1),
        (Prior(COUPLINGS["mu_nue"], "uniform-squared", 0.0, 80.0), n + 2),
    ):
        found = laplace_interval(laplace_posterior(problem, prior, marginal=marginal), 0.9, "upper").intervals[0][1]
        assert found == pytest.approx(stats.gamma(shape).ppf(0.9), abs=1e-3 if prior.kind == "half-normal" else 1e-5)


# Ranges


def test_floor_decides_where_the_data_allow_zero() -> None:
    """Log-uniform with nothing seen: the lower the floor, the lower the limit; no limit without one."""
    found = study(counting([0, 0, 1], "chi2", 0.0), 8.0)
    first, second = (upper(found, f"log-uniform, floor {floor:g}") for floor in FLOORS)
    assert second < 0.7 * first
    # Δχ² = θ⁴ is 30 at the upper end.
    ends = [(item.prior.low, item.prior.high) for item in found.limits if item.label.startswith("log-uniform")]
    assert ends == [(pytest.approx(floor * 30**0.25), pytest.approx(30**0.25)) for floor in FLOORS]


@pytest.mark.parametrize("name", ["mu_numu", "q_nue", "r2_nue"])
def test_doubled_range_hardly_moves_a_limit(on_axis: Experiment, name: str) -> None:
    found = card_study(on_axis, name)
    assert [item.label for item in found.limits if item.prior.kind == "uniform"] == ["flat (the card's own)"]
    for item in found.limits:
        improper = item.prior.kind in ("uniform", "uniform-squared", "jeffreys")
        assert (item.change is not None) == improper
        if item.change is not None:
            assert 0 < item.change < 1e-3


def test_doubled_range_moves_a_limit_that_the_range_makes() -> None:
    problem = counting([0, 1], "chi2", 0.0)
    own = study(problem, 0.5).own
    assert own.change is not None
    assert own.change > 0.5
    wide = doubled_range(own.prior, problem)
    assert wide is not None
    assert (wide.low, wide.high) == (0.0, 1.0)
    signed = doubled_range(Prior(COUPLINGS["q_nue"], "uniform", -1.0, 3.0), counting([0, 1], "chi2", 0.0, "q_nue"))
    assert signed is not None
    assert (signed.low, signed.high) == (-3.0, 5.0)
    assert doubled_range(Prior(COUPLINGS["q_nue"], "normal", -np.inf, np.inf, 1.0), problem) is None


def test_a_likelihood_without_bounds_takes_the_range_of_the_cards_prior() -> None:
    """A mean of 1000 whatever the coupling, as good as none."""
    flat = counting([1000, 1e-9], "chi2", 1000.0)
    found = study(flat, 2.0)
    assert upper(found, "flat") == pytest.approx(1.8, abs=1e-6)
    assert upper(found, FLAT_SQUARED) == pytest.approx(2 * math.sqrt(0.9), abs=1e-6)
    with pytest.raises(ConvergenceError, match="do not bound it"):
        marginal_likelihood(flat)


def test_interpolated_marginal_gives_the_limits_of_the_exact_one(on_axis: Experiment) -> None:
    for name in ("mu_nue", "q_nue"):
        problem, prior = one_coupling(on_axis, name)
        shared = marginal_likelihood(problem)
        for kind in ("eti", "hdi"):
            found, exact = (
                laplace_interval(laplace_posterior(problem, prior, marginal=m), 0.9, kind) for m in (shared, None)
            )
            assert relative_change(exact, found) < 1e-8
        assert shared.delta(0.0) == pytest.approx(0, abs=1e-5)
        assert shared.delta(1.0) == math.inf


# Which there are


def test_signed_couplings_have_fewer(on_axis: Experiment) -> None:
    found = card_study(on_axis, "q_numu")
    assert [item.label for item in found.limits] == ["flat (the card's own)", "normal", "Jeffreys"]
    assert [reason.partition(":")[0] for reason in found.left_out] == [FLAT_SQUARED, "log-uniform"]
    assert {item.interval.kind for item in found.limits} == {"hdi"}


def test_card_with_a_prior_of_its_own() -> None:
    card = load_experiment("dune-on-axis", ['couplings.mu_numu.prior={kind="half-normal", sigma=1e-10}'])
    found = card_study(card, "mu_numu", 0.95, "eti")
    assert [item.label for item in found.limits][:3] == ["the card's own", "flat", FLAT_SQUARED]
    assert (found.own.prior.kind, found.own.change) == ("half-normal", None)
    assert {(item.interval.probability, item.interval.kind) for item in found.limits} == {(0.95, "eti")}
    assert "half-normal) prior" in found.advice


def test_bad_arguments(on_axis: Experiment) -> None:
    with pytest.raises(UsageError, match="did you mean 'mu_nue'"):
        card_study(on_axis, "mu_ne")
    with pytest.raises(UsageError, match="cl = 2"):
        card_study(on_axis, "mu_nue", 2.0)
    with pytest.raises(UsageError, match="unknown kind"):
        card_study(on_axis, "mu_nue", 0.9, "hdx")


def test_json(on_axis: Experiment) -> None:
    content = study_json("dune-on-axis", card_study(on_axis, "mu_numu"))
    first = content["limits"][0]
    assert first["limit"]["cl"] == 0.9
    assert first["limit"]["kind"] == "upper"
    assert first["range_doubled_change"] < 1e-3
    assert content["limits"][3]["range_doubled"] is None
    assert content["modes"] == [{"peak": content["modes"][0]["peak"], "share": 1.0}]


# Advice


def limit_of(label: str, prior: Prior, *pieces: tuple[float, float]) -> PriorLimit:
    blank = tuple((math.nan, math.nan) for _ in pieces)
    return PriorLimit(label, prior, IntervalSet(prior.coupling.name, "u", 0.9, "hdi", "laplace", pieces, blank), None)


MU, Q = COUPLINGS["mu_nue"], COUPLINGS["q_nue"]
ONE = (Mode(-1.0, 1.0, 0.0, 1.0),)
TWO = (Mode(-1.0, 0.0, -0.5, 0.7), Mode(0.0, 1.0, 0.5, 0.3))
SIGNED = [
    limit_of("flat (the card's own)", Prior(Q, "uniform", -2.0, 2.0), (-1.0, 1.0)),
    limit_of("normal", Prior(Q, "normal", -np.inf, np.inf, 1.0), (-0.9, 0.9)),
]
MOMENT = [
    limit_of("flat (the card's own)", Prior(MU, "uniform", 0.0, 3.0), (0.0, 1.0)),
    limit_of(FLAT_SQUARED, Prior(MU, "uniform-squared", 0.0, 3.0), (0.0, 1.25)),
]


def test_advice_on_two_pieces() -> None:
    text = advice(SIGNED, TWO, 2, zero_allowed=True)
    assert text.startswith("Quote the 90% highest-density set as the union of its 2 pieces")
    assert "-0.5 e (70%) and 0.5 e (30%)" in text


def test_advice_on_two_modes_in_one_piece() -> None:
    text = advice(SIGNED, TWO, 1, zero_allowed=True)
    assert "that it holds 2 modes, at -0.5 e (70%) and 0.5 e (30%)" in text


def test_advice_on_an_ordinary_coupling() -> None:
    text = advice(SIGNED, ONE, 1, zero_allowed=True)
    assert "as it stands: one mode and no boundary" in text
    assert "at most 10.0% of the largest." in text
    split = limit_of("Jeffreys", Prior(Q, "uniform", -2.0, 2.0), (-1.0, -0.1), (0.1, 1.0))
    assert "that of Jeffreys leaves out values" in advice([*SIGNED, split], ONE, 1, zero_allowed=True)


def test_advice_at_the_boundary() -> None:
    text = advice(MOMENT, ONE, 1, zero_allowed=True)
    assert text.startswith("Quote the limit that is flat in the square, 1.25 mu_B: the data allow 0")
    assert "the limit is 1, 20% lower by the choice of variable alone" in text
    own = limit_of("the card's own", Prior(MU, "half-normal", 0.0, np.inf, 1.0), (0.0, 0.8))
    informed = advice([own, limit_of("flat", *MOMENT_FLAT), MOMENT[1]], ONE, 1, zero_allowed=True)
    assert "beside that under the card's own (half-normal) prior" in informed


MOMENT_FLAT: tuple[Prior, tuple[float, float]] = (Prior(MU, "uniform", 0.0, 3.0), (0.0, 1.0))


def test_advice_where_counts_grow_with_the_fourth_power() -> None:
    """Photons of N: flat in the square is not flat in the signal."""
    text = advice(MOMENT, ONE, 1, zero_allowed=True, power=4)
    assert "counts grow with the power 4" in text
    assert "flat in the square" not in text
    problem = make_problem(load_experiment("nucleus-10g-radiative"), ["d_nue"])
    assert signal_power(problem) == 4
    assert signal_power(make_problem(load_experiment("lsnd-nue"), ["mu_nue"])) == 2


def test_advice_on_a_signal() -> None:
    text = advice(MOMENT, ONE, 1, zero_allowed=False)
    assert text.startswith("Quote the two-sided 90% set")
    assert "mu_nue = 0 is outside the 90% Δχ² interval" in text


def test_advice_follows_the_data(observe: Callable[[dict[str, float]], Experiment], on_axis: Experiment) -> None:
    assert card_study(on_axis, "mu_numu").advice.startswith("Quote the limit that is flat in the square")
    assert card_study(observe({"mu_numu": 8e-10}), "mu_numu").advice.startswith("Quote the two-sided 90% set")
    assert card_study(on_axis, "r2_numu").advice.startswith("Quote the interval under the card's own prior")
    two = study_priors(
        counting([4, 4, 1], "chi2", 9.0, "q_nue"), Prior(COUPLINGS["q_nue"], "uniform", -9.0, 5.0), 0.9, "hdi"
    )
    assert two.advice.startswith("Quote the 90% highest-density set as the union of its 2 pieces")
    assert [mode.peak for mode in two.modes] == pytest.approx([-5, 1], abs=0.02)
    assert [mode.share for mode in two.modes] == pytest.approx([0.5, 0.5], abs=1e-6)


# Power-scaling


def tree_of(log_prior: np.ndarray, log_likelihood: np.ndarray, theta: np.ndarray) -> xr.DataTree:
    dims = ("chain", "draw")
    return xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset({"mu_nue": (dims, theta)}),
            "log_prior": xr.Dataset({"mu_nue": (dims, log_prior)}),
            "log_likelihood": xr.Dataset({"n": ((*dims, "obs"), log_likelihood[..., None])}),
        }
    )


def test_power_scaling_of_strong_and_weak_priors() -> None:
    """Normal prior and normal likelihood: which is narrower rules."""
    rng = np.random.default_rng(2)
    found = {}
    for sigma, other in ((1.0, 20.0), (20.0, 1.0), (1.0, 1.0)):
        # A prior about 0 and a measurement at 2.
        precision = sigma**-2 + other**-2
        theta = rng.normal(2 * other**-2 / precision, precision**-0.5, (4, 2000))
        tree = tree_of(-((theta / sigma) ** 2) / 2, -(((theta - 2) / other) ** 2) / 2, theta)
        own = limit_of("the card's own", Prior(MU, "half-normal", 0.0, math.inf, sigma), (0.0, 1.0))
        found[sigma, other] = power_scaling(tree, own)
    strong, weak, equal = found[1.0, 20.0], found[20.0, 1.0], found[1.0, 1.0]
    assert strong.text.startswith("the prior rules")
    assert weak.text.startswith("the prior's power hardly matters")
    assert equal.text.startswith("prior and data both matter")
    assert strong.prior is not None
    assert weak.prior is not None
    assert strong.prior > 0.05 > weak.prior


def test_power_scaling_of_a_flat_prior_is_not_defined() -> None:
    own = study(counting([0, 0, 1], "chi2", 0.0), 8.0).own
    zero = np.zeros((2, 100))
    found = power_scaling(tree_of(zero, zero, zero), own)
    assert (found.prior, found.likelihood) == (None, None)
    assert found.text.startswith("not defined for a flat prior; with its range doubled, the limit moves by ")
