"""Jeffreys' prior against closed forms, against the curvature of the profile likelihood, and by NUTS."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, stats

from bayesnu.errors import CardError, ConvergenceError, UsageError
from bayesnu.experiment.expectation import CountModel
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.jeffreys import JeffreysTable, fisher_information, jeffreys_table
from bayesnu.inference.laplace import laplace_posterior
from bayesnu.inference.likelihood import Problem, Statistic, make_problem, minimise_pulls
from bayesnu.inference.priors import Prior, jeffreys_prior, one_coupling, resolve_prior, sampled_variable
from bayesnu.inference.sampling import Sampler
from bayesnu.physics.couplings import COUPLINGS, ELECTROMAGNETIC
from bayesnu.results.joint import joint_priors
from bayesnu.results.limits import laplace_interval, nuts_interval


def counting(
    coefficients: Sequence[float],
    statistic: Statistic = "poisson",
    *,
    name: str = "mu_nue",
    data: float = 0.0,
    width: float = 0.0,
    free: tuple[str, ...] = (),
) -> Problem:
    """One bin whose mean is Σ_k coefficients[k] θᵏ, all of it under one pull; variance 1 if normal."""
    monomials = ((), *(((0, k),) for k in range(1, len(coefficients))))
    arrays = np.array(coefficients, dtype=float)[None, :, None]
    model = CountModel((name,), monomials, ((0,),), ("all",), ("norm",), np.array([width]), arrays, free)
    variances = (np.array([float(statistic == own)]) for own in ("chi2", "gamma-poisson"))
    return Problem((name,), np.ones(1), model, np.array([data]), *variances)


THETA = np.array([0.1, 0.7, 1.0, 3.0])


@pytest.mark.parametrize(
    ("problem", "information"),
    [
        (counting([0, 1], "chi2"), np.ones_like),
        (counting([0, 0, 1], "chi2"), lambda t: 4 * t**2),
        (counting([0, 1]), lambda t: 1 / t),
        (counting([0, 0, 3]), lambda t: 12 * np.ones_like(t)),
        (counting([5, 2]), lambda t: 4 / (5 + 2 * t)),
        (counting([5, 0, 2]), lambda t: 16 * t**2 / (5 + 2 * t**2)),
        # A relative variance of 1 of the mean: λ + λ².
        (counting([5, 2], "gamma-poisson"), lambda t: 4 / ((5 + 2 * t) * (6 + 2 * t))),
        # I_θθ = 1, I_θz = σθ, I_zz + 1 = (σθ)² + 1: what a normalisation of 30% leaves of a mean θ.
        (counting([0, 1], "chi2", width=0.3), lambda t: 1 / (1 + (0.3 * t) ** 2)),
    ],
)
def test_information_in_closed_form(problem: Problem, information: Callable[[np.ndarray], np.ndarray]) -> None:
    np.testing.assert_allclose(fisher_information(problem, THETA), information(THETA), rtol=1e-12)


def test_information_at_zero_is_its_limit() -> None:
    zero = np.zeros(1)
    assert fisher_information(counting([0, 0, 3]), zero) == pytest.approx(12)
    assert fisher_information(counting([5, 0, 2]), zero) == 0
    assert fisher_information(counting([0, 1]), zero) == math.inf


def test_free_pull_takes_all_the_information_it_can_imitate() -> None:
    assert fisher_information(counting([0, 1], "chi2", width=1.0, free=("norm",)), THETA) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ELECTROMAGNETIC)
def test_information_is_the_curvature_of_the_profile_of_expected_data(on_axis: Experiment, name: str) -> None:
    """d²(-ln L)/dθ² of data equal to the expectation at θ, pulls profiled: a fit, not a matrix."""
    problem = make_problem(on_axis, [name])
    for theta in (0.5, 2.0):
        data = problem.model.signal_strengths(np.array([[theta]]))[0].sum(axis=0)
        step = 0.02
        near = theta + step * np.array([-2, -1, 0, 1, 2])
        value = minimise_pulls(replace(problem, data=data), near[None, :]).value / 2
        curvature = (-value[0] + 16 * value[1] - 30 * value[2] + 16 * value[3] - value[4]) / (12 * step**2)
        assert fisher_information(problem, np.array([theta]))[0] == pytest.approx(curvature, rel=2e-4)


@pytest.mark.parametrize("name", ELECTROMAGNETIC)
def test_table_is_the_root_of_the_information(on_axis: Experiment, name: str) -> None:
    problem, flat = one_coupling(on_axis, name)
    table = jeffreys_table(problem, flat.low, flat.high)
    assert table.power == name.startswith("mu")
    theta = np.random.default_rng(1).uniform(flat.low, flat.high, 300)
    written = np.log(fisher_information(problem, theta / problem.scales[0])) / 2
    difference = table.log_density(theta) - written
    np.testing.assert_allclose(difference, difference[0], atol=1e-8)


def test_square_of_a_normal_mean_is_exactly_flat_in_the_square() -> None:
    prior = jeffreys_prior(counting([0, 0, 1], "chi2"), 0.0, 4.0)
    flat = Prior(COUPLINGS["mu_nue"], "uniform-squared", 0.0, 4.0)
    theta = np.linspace(0, 4, 41)
    np.testing.assert_allclose(prior.log_density(theta), flat.log_density(theta), atol=1e-12)
    assert sampled_variable(prior, counting([0, 0, 1], "chi2")).map == "square-root"


def test_poisson_mean_gives_one_over_its_root() -> None:
    prior = jeffreys_prior(counting([0, 1]), 0.5, 9.0)
    theta = np.linspace(0.5, 9, 57)
    np.testing.assert_allclose(prior.log_density(theta), -np.log(2 * (3 - math.sqrt(0.5)) * np.sqrt(theta)), atol=1e-8)


def test_poisson_square_without_background_is_flat() -> None:
    problem = counting([0, 0, 2])
    prior = jeffreys_prior(problem, 0.0, 5.0)
    np.testing.assert_allclose(prior.log_density(np.linspace(0, 5, 11)), -math.log(5), atol=1e-12)
    assert sampled_variable(prior, problem).map == "folded"


@pytest.mark.parametrize("name", ["mu_numu", "q_nue"])
def test_density_is_normalised_and_drawn_from(on_axis: Experiment, name: str) -> None:
    problem, flat = one_coupling(on_axis, name)
    prior = jeffreys_prior(problem, flat.low, flat.high)
    theta = np.linspace(flat.low, flat.high, 20_001)
    density = np.exp(prior.log_density(theta))
    cumulative = integrate.cumulative_simpson(density, x=theta, initial=0)
    assert cumulative[-1] == pytest.approx(1, abs=1e-7)
    draws = prior.draw(np.random.default_rng(4), 20_000)
    assert stats.kstest(draws, lambda x: np.interp(x, theta, cumulative)).pvalue > 1e-3
    outside = np.array([flat.low - 0.1 * flat.high, 1.01 * flat.high])
    assert (prior.log_density(outside) == -np.inf).all()


def test_the_card_gives_the_range_or_the_program_finds_it(on_axis: Experiment) -> None:
    problem, flat = one_coupling(on_axis, "mu_nue")
    found, given, signed = (
        load_experiment("dune-on-axis", [f"couplings.{name}.prior={text}"]).card.couplings[name].prior
        for name, text in (
            ("mu_nue", '{kind="jeffreys"}'),
            ("mu_nue", '{kind="jeffreys", high=1e-9}'),
            ("q_nue", '{kind="jeffreys", low=-1e-8, high=2e-8}'),
        )
    )
    automatic = resolve_prior(found, problem)
    assert (automatic.kind, automatic.low, automatic.high, automatic.automatic) == ("jeffreys", 0, flat.high, True)
    assert automatic.describe() == flat.describe().replace("uniform", "jeffreys")
    bounded = resolve_prior(given, problem)
    assert (bounded.low, bounded.high, bounded.automatic) == (0.0, 1e-9, False)
    other = resolve_prior(signed, make_problem(on_axis, ["q_nue"]))
    assert (other.low, other.high) == (-1e-8, 2e-8)


@pytest.mark.parametrize(
    ("name", "prior", "message"),
    [
        ("mu_nue", '{kind="jeffreys", low=1e-10}', r"prior\.high: missing"),
        ("q_nue", '{kind="jeffreys", high=1e-8}', r"prior\.low: missing"),
        ("mu_nue", '{kind="jeffreys", low=-1e-9, high=1e-8}', r"prior\.low: -1e-09: a moment is at least 0"),
        ("q_nue", '{kind="jeffreys", low=1e-8, high=1e-8}', r"must be below high"),
        ("q_nue", '{kind="jeffreys", low=-1e308, high=1e308}', r"must be finite"),
        ("q_nue", '{kind="jeffries"}', r"jeffreys"),
        ("q_nue", '{kind="jeffreys", sigma=1.0}', r"unknown key"),
    ],
)
def test_cards_that_are_refused(name: str, prior: str, message: str) -> None:
    with pytest.raises(CardError, match=message):
        load_experiment("dune-on-axis", [f"couplings.{name}.prior={prior}"])


def test_joint_fits_refuse_it() -> None:
    priors = ['couplings.q_nue.prior={kind="jeffreys"}', 'couplings.r2_nue.prior={kind="normal", sigma=1e-31}']
    with pytest.raises(UsageError, match=r"couplings\.q_nue\.prior\.kind = jeffreys.*another prior"):
        joint_priors(load_experiment("dune-on-axis", priors), ("q_nue", "r2_nue"))


def test_ranges_without_an_information() -> None:
    with pytest.raises(ConvergenceError, match="a count is negative there"):
        jeffreys_table(counting([1, 1], name="q_nue"), -2.0, 2.0)
    with pytest.raises(ConvergenceError, match="is infinite"):
        jeffreys_table(counting([0, 1]), 0.0, 2.0)
    with pytest.raises(ConvergenceError, match="is 0 everywhere"):
        jeffreys_table(counting([1, 0]), 0.0, 2.0)


def test_free_pulls_that_nothing_determines() -> None:
    lost = replace(counting([0, 1], "chi2", width=1.0).model, components=((),), free=("norm",))
    with pytest.raises(ConvergenceError, match="do not determine the free pulls"):
        fisher_information(replace(counting([0, 1], "chi2"), model=lost), THETA)


def test_density_stays_finite_at_a_zero_of_the_information() -> None:
    """Counts (1 + θ)² of one bin do not change at θ = -1."""
    table = jeffreys_table(counting([1, 2, 1], "chi2", name="q_nue"), -3.0, 3.0)
    assert isinstance(table, JeffreysTable)
    near = np.array([-1.5, -0.5, 2.0])
    density = np.exp(table.log_density(near))
    np.testing.assert_allclose(density / np.abs(1 + near), density[0] / 0.5, rtol=1e-5)
    assert np.isfinite(table.log_density(np.array([-1.0]))).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mu_numu", "q_numu"])
def test_nuts_agrees_with_the_grid(on_axis: Experiment, name: str) -> None:
    problem, flat = one_coupling(on_axis, name)
    prior = jeffreys_prior(problem, flat.low, flat.high, automatic=True)
    draws = Sampler().sample(problem, [prior], draws=4000, chains=4, tune=1000, seed=3)
    assert int(draws.sample_stats["diverging"].sum()) == 0
    kind = "upper" if name == "mu_numu" else "eti"
    found = nuts_interval(draws.theta[0], prior, 0.9, kind)
    grid = laplace_interval(laplace_posterior(problem, prior), 0.9, kind)
    known = np.isfinite(found.mc_error)
    distance = np.abs(np.array(found.intervals) - np.array(grid.intervals))[known]
    assert known.any()
    assert (distance < 4 * np.array(found.mc_error)[known]).all()
    # The flat prior's limit on a moment is another one.
    other = laplace_interval(laplace_posterior(problem, flat), 0.9, kind).intervals[0][1]
    if name == "mu_numu":
        assert found.intervals[0][1] > 1.1 * other
