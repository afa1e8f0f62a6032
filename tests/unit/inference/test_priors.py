"""Priors: normalised densities, draws that follow them, ranges that the program finds."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import integrate, stats

from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.likelihood import make_problem, minimise_pulls
from bayesnu.inference.priors import Prior, one_coupling, resolve_prior, sampled_variable
from bayesnu.physics.couplings import COUPLINGS, ELECTROMAGNETIC

MU, Q = COUPLINGS["mu_numu"], COUPLINGS["q_numu"]
PRIORS = {
    "uniform": Prior(Q, "uniform", -2e-9, 3e-9),
    "normal": Prior(Q, "normal", -math.inf, math.inf, 1.5e-9),
    "half-normal": Prior(MU, "half-normal", 0.0, math.inf, 4e-10),
    "uniform-squared": Prior(MU, "uniform-squared", 0.0, 1e-9),
    "log-uniform": Prior(MU, "log-uniform", 1e-12, 1e-9),
}
# scipy's own distributions, written independently of the package
REFERENCE = {
    "uniform": stats.uniform(-2e-9, 5e-9),
    "normal": stats.norm(0, 1.5e-9),
    "half-normal": stats.halfnorm(0, 4e-10),
    "uniform-squared": stats.powerlaw(2, 0, 1e-9),
    "log-uniform": stats.loguniform(1e-12, 1e-9),
}
KINDS = list(PRIORS)


@pytest.mark.parametrize("kind", KINDS)
def test_density_integrates_to_one(kind: str) -> None:
    low, high = (
        REFERENCE[kind].ppf([0, 1])
        if kind not in ("normal", "half-normal")
        else REFERENCE[kind].ppf([1e-13, 1 - 1e-13])
    )
    if kind == "log-uniform":
        total = integrate.quad(
            lambda u: math.exp(u + PRIORS[kind].log_density(math.exp(u))), math.log(low), math.log(high)
        )[0]
    else:
        unit = high - low
        total = integrate.quad(lambda u: unit * math.exp(PRIORS[kind].log_density(low + u * unit)), 0, 1)[0]
    assert total == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_density_is_scipys(kind: str) -> None:
    theta = REFERENCE[kind].ppf(np.linspace(0.01, 0.99, 17))
    np.testing.assert_allclose(PRIORS[kind].log_density(theta), REFERENCE[kind].logpdf(theta), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_zero_outside_the_support(kind: str) -> None:
    prior = PRIORS[kind]
    outside = [x for x in (prior.low - 1e-12, prior.high + 1e-12) if math.isfinite(x)]
    assert (prior.log_density(np.array(outside)) == -np.inf).all()
    assert len(outside) == {"normal": 0, "half-normal": 1}.get(kind, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_follow_the_density(kind: str) -> None:
    draws = PRIORS[kind].draw(np.random.default_rng(4), 20_000)
    assert stats.kstest(draws, REFERENCE[kind].cdf).pvalue > 1e-3
    np.testing.assert_array_equal(draws, PRIORS[kind].draw(np.random.default_rng(4), 20_000))


@pytest.mark.parametrize(("kind", "words"), [(kind, prior.describe()) for kind, prior in PRIORS.items()])
def test_describe_names_kind_numbers_and_unit(kind: str, words: str) -> None:
    assert words.startswith(f"{kind}, ")
    assert ("mu_B" in words) != (" e" in words)
    assert any(number in words for number in ("-2e-09 to 3e-09", "1.5e-09", "4e-10", "0 to 1e-09", "1e-12 to 1e-09"))


@pytest.mark.parametrize("name", ELECTROMAGNETIC)
def test_automatic_range_ends_at_30(on_axis: Experiment, name: str) -> None:
    prior = one_coupling(on_axis, name)[1]
    problem = make_problem(on_axis, [name])
    value = minimise_pulls(problem, np.array([[prior.low, prior.high]]) / problem.scales[0]).value
    assert (prior.kind, prior.automatic) == ("uniform", True)
    assert "range found (Δχ² = 30)" in prior.describe()
    assert value[1] == pytest.approx(30, abs=1e-3)
    assert prior.low == 0 if name.startswith("mu") else value[0] == pytest.approx(30, abs=1e-3)


CARDS = [
    ("q_nue", '{kind="uniform", low=-1e-9, high=2e-9}', ("uniform", -1e-9, 2e-9)),
    ("r2_numu", '{kind="normal", sigma=1e-33}', ("normal", -math.inf, math.inf)),
    ("mu_nue", '{kind="normal", sigma=1e-9}', ("half-normal", 0.0, math.inf)),
    ("mu_nue", '{kind="half-normal", sigma=1e-9}', ("half-normal", 0.0, math.inf)),
    ("q_numu", '{kind="half-normal", sigma=1e-9}', ("half-normal", 0.0, math.inf)),
    ("mu_numu", '{kind="uniform-squared", high=1e-9}', ("uniform-squared", 0.0, 1e-9)),
    ("mu_numu", '{kind="log-uniform", low=1e-12, high=1e-9}', ("log-uniform", 1e-12, 1e-9)),
]


@pytest.mark.parametrize(("name", "card", "expected"), CARDS)
def test_prior_of_the_card(on_axis: Experiment, name: str, card: str, expected: tuple[str, float, float]) -> None:
    """A normal prior of a magnetic moment is truncated at 0, and so half-normal."""
    experiment = load_experiment("dune-on-axis", [f"couplings.{name}.prior={card}"])
    prior = resolve_prior(experiment.card.couplings[name].prior, make_problem(on_axis, [name]))
    assert (prior.kind, prior.low, prior.high) == expected
    assert not prior.automatic
    assert math.isnan(prior.sigma) != ("normal" in prior.kind)


def transformed(prior: Prior, experiment: Experiment, size: int = 20_000) -> np.ndarray:
    """Draw the sampled variable and map it to the coupling, as NUTS's model does."""
    problem = make_problem(experiment, [prior.coupling.name])
    variable = sampled_variable(prior, problem)
    rng = np.random.default_rng(8)
    if variable.kind == "uniform":
        v = rng.uniform(variable.low, variable.high, size)
    else:
        v = variable.sigma * rng.standard_normal(size)
        v = np.abs(v) if variable.kind == "half-normal" else v
    maps = {"identity": v, "folded": np.abs(v), "square-root": np.sqrt(np.abs(v))}
    return (np.exp(v) if variable.map == "exponential" else maps[variable.map]) * problem.scales[0]


@pytest.mark.parametrize(
    ("kind", "variable"),
    [("uniform", "identity"), ("normal", "identity"), ("half-normal", "folded"), ("uniform-squared", "square-root"),
     ("log-uniform", "exponential")],
)  # fmt: skip
def test_sampled_variable_has_the_density_of_the_prior(on_axis: Experiment, kind: str, variable: str) -> None:
    """Where the likelihood does not cut it off."""
    prior = PRIORS[kind]
    assert sampled_variable(prior, make_problem(on_axis, [prior.coupling.name])).map == variable
    draws = transformed(prior, on_axis)
    # Bounds may be drawn in to where the likelihood is not negligible: compare inside the drawn range.
    reference = REFERENCE[kind]
    low, high = reference.cdf([draws.min(), draws.max()])
    assert stats.kstest((reference.cdf(draws) - low) / (high - low), "uniform").pvalue > 1e-3
    assert low < 0.01
    assert high > 0.4


def test_signed_half_normal_is_not_folded(on_axis: Experiment) -> None:
    variable = sampled_variable(Prior(Q, "half-normal", 0.0, math.inf, 1e-9), make_problem(on_axis, ["q_numu"]))
    assert (variable.kind, variable.map) == ("half-normal", "identity")


def test_uniform_moment_from_zero_is_folded_and_above_zero_is_not(on_axis: Experiment) -> None:
    problem = make_problem(on_axis, ["mu_numu"])
    scale = problem.scales[0]
    folded = sampled_variable(Prior(MU, "uniform", 0.0, 2e-10), problem)
    assert (folded.map, folded.low, folded.high) == (
        "folded",
        pytest.approx(-2e-10 / scale),
        pytest.approx(2e-10 / scale),
    )
    plain = sampled_variable(Prior(MU, "uniform", 1e-10, 2e-10), problem)
    assert (plain.map, plain.low) == ("identity", pytest.approx(1e-10 / scale))


def test_bounds_are_drawn_in_where_the_likelihood_is_negligible(on_axis: Experiment) -> None:
    problem = make_problem(on_axis, ["r2_numu"])
    variable = sampled_variable(Prior(COUPLINGS["r2_numu"], "uniform", -1e-20, 1e-20), problem)
    ends = minimise_pulls(problem, np.array([[variable.low, variable.high]])).value
    assert (ends > 90).all()
    assert variable.high * problem.scales[0] < 1e-31
    beyond = sampled_variable(Prior(COUPLINGS["r2_numu"], "uniform", 1e-30, 2e-30), problem)
    assert beyond.high * problem.scales[0] == pytest.approx(2e-30)


def test_lowest_value_of_a_found_range(observe: Callable[[dict[str, float]], Experiment]) -> None:
    """A range that the program found is no bound: a moment goes down to 0 even where the data exclude it."""
    prior = one_coupling(observe({"mu_numu": 2e-9}), "mu_numu")[1]
    assert prior.low > 0
    assert prior.lowest == 0.0
    assert one_coupling(observe({}), "q_numu")[1].lowest == -math.inf
    given = Prior(COUPLINGS["mu_numu"], "log-uniform", 1e-12, 1e-8)
    assert given.lowest == 1e-12
