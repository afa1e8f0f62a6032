"""Calibration: the right program passes, wrong ones fail at the same seed; places of truths against quadrature."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import gamma, norm
from simple_problems import counting

from bayesnu.errors import ConvergenceError
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.calibration import (
    HIGHEST_RANK,
    LOG_LIKELIHOOD,
    Generators,
    NutsPosterior,
    Posterior,
    Simulations,
    Study,
    constrained,
    place_block,
    quantities,
    ranked,
    ranks_among,
    run_study,
    simulate,
)
from bayesnu.inference.calibration_grid import LaplacePosterior, WeightedDraws, roots, weighted_places
from bayesnu.inference.laplace import laplace_posterior
from bayesnu.inference.likelihood import Problem, minimise_pulls
from bayesnu.inference.priors import Prior, one_coupling
from bayesnu.inference.sampling import Sampler
from bayesnu.inference.toys import expected_draws
from bayesnu.inference.uniformity import overall, uniformity
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.workers import open_workers, task_seed

SEED = 11


def generators(number: int, seed: int = 1) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, k]) for k in range(number)]


def scaled_counts(problem: Problem, factor: float) -> Problem:
    return replace(
        problem, data=factor * problem.data, model=replace(problem.model, arrays=factor * problem.model.arrays)
    )


@dataclass(frozen=True)
class WrongCounts:
    """A program that takes every count ``factor`` times: 2 is the likelihood twice, 1e-9 returns the prior."""

    posterior: Any
    factor: float

    def place(self, simulations: Simulations, generators: Generators) -> dict[str, np.ndarray]:
        own = replace(self.posterior, problem=scaled_counts(self.posterior.problem, self.factor))
        return own.place(replace(simulations, data=self.factor * simulations.data), generators)


def halved(posterior: Any, pull: str = "wrong_sign") -> Any:
    """A program that takes the width of a pull for half of what it is."""
    model = posterior.problem.model
    widths = np.where(np.array(model.pulls) == pull, model.widths / 2, model.widths)
    return replace(posterior, problem=replace(posterior.problem, model=replace(model, widths=widths)))


@pytest.fixture(scope="module")
def fitted(on_axis: Experiment) -> tuple[Problem, Prior]:
    return one_coupling(on_axis, "mu_numu")


def p_values(fitted: tuple[Problem, Prior], posterior: Posterior, number: int) -> dict[str, float]:
    problem, prior = fitted
    with open_workers(number=1) as workers:
        found = run_study(Study(problem, prior, posterior, SEED), number, number, workers)
    p = [uniformity(column, HIGHEST_RANK, SEED) for column in found["ranks"].T]
    return dict(zip(quantities(problem), p, strict=True))


def check_programs(fitted: tuple[Problem, Prior], right: Any, number: int) -> None:
    """The right program passes; each of the wrong ones fails, in the quantities that can tell."""

    def together(p: dict[str, float]) -> float:
        return overall(np.array(list(p.values())))

    assert together(p_values(fitted, right, number)) > 0.05
    twice = p_values(fitted, WrongCounts(right, 2.0), number)
    assert twice["mu_numu"] < 1e-3
    assert together(twice) < 0.01
    prior = p_values(fitted, WrongCounts(right, 1e-9), number)
    assert prior[LOG_LIKELIHOOD] < 1e-3
    # Parameters alone do not see it: drawn from the prior, they rank as they should among draws of the prior.
    assert min(p for name, p in prior.items() if name != LOG_LIKELIHOOD) > 0.01
    narrow = p_values(fitted, halved(right), number)
    assert narrow["wrong_sign"] < 1e-3
    assert together(narrow) < 0.01


def test_wrong_programs_fail_and_the_right_one_passes(fitted: tuple[Problem, Prior]) -> None:
    check_programs(fitted, LaplacePosterior(*fitted), 200)


@pytest.mark.slow
def test_wrong_programs_fail_and_the_right_one_passes_by_nuts(fitted: tuple[Problem, Prior]) -> None:
    # Draws hang on the last digit of a fit; with 200 the likelihood taken twice is at p = 0.001 for some seeds.
    check_programs(fitted, NutsPosterior(*fitted), 300)


def test_simulations_do_not_depend_on_blocks_or_neighbours(fitted: tuple[Problem, Prior]) -> None:
    study = Study(*fitted, LaplacePosterior(*fitted), SEED)
    whole, part = place_block(study, 0, 5), place_block(study, 3, 2)
    for name in whole:
        np.testing.assert_array_equal(whole[name][3:], part[name])
    other = place_block(replace(study, seed=SEED + 1), 0, 5)
    assert not np.array_equal(whole["theta"], other["theta"])


def test_simulations_follow_prior_and_model(fitted: tuple[Problem, Prior]) -> None:
    problem, prior = fitted
    found = simulate(problem, prior, generators(2000))
    assert found.theta.min() >= prior.low
    assert found.theta.mean() == pytest.approx((prior.low + prior.high) / 2, rel=0.05)
    np.testing.assert_allclose(found.pulls.std(axis=0), problem.model.widths, rtol=0.07)
    expected = expected_draws(problem, found.theta[None], found.pulls)
    residual = (found.data - expected) / np.sqrt(expected)
    assert abs(residual.mean()) < 4 / np.sqrt(residual.size)
    assert residual.std() == pytest.approx(1, abs=0.02)
    np.testing.assert_array_equal(found.data, np.round(found.data))


def test_unsupported_draws_are_drawn_again_with_their_coupling(fitted: tuple[Problem, Prior]) -> None:
    """1 + f > 0 for every pull; what the coupling is does not change, since no factor depends on it."""
    problem, prior = fitted
    wide = replace(problem, model=replace(problem.model, widths=problem.model.widths * 8))
    found = simulate(wide, prior, generators(500))
    assert found.pulls.min() > -1
    assert found.theta.mean() == pytest.approx((prior.low + prior.high) / 2, rel=0.08)
    impossible = replace(problem, model=replace(problem.model, arrays=-problem.model.arrays))
    with pytest.raises(ConvergenceError, match="1000 draws of the prior have negative counts"):
        simulate(impossible, prior, generators(1))


def test_free_pulls_get_their_unit_width() -> None:
    experiment = load_experiment("coherent-csi-2017")
    problem, _ = one_coupling(experiment, "mu_numu")
    assert problem.model.free
    assert constrained(problem).model.free == ()
    assert constrained(problem).model.constraint.all()


def test_ties_are_broken_at_random() -> None:
    rng = np.random.default_rng(1)
    draws = np.column_stack([np.arange(9.0), np.zeros(9)])
    ranks = np.array([ranks_among(np.array([4.5, 0.0]), draws, rng) for _ in range(3000)])
    assert set(ranks[:, 0]) == {5}
    assert set(ranks[:, 1]) == set(range(10))
    assert np.bincount(ranks[:, 1]).min() > 200


def test_draws_without_support_have_no_likelihood(fitted: tuple[Problem, Prior]) -> None:
    problem, _ = fitted
    pulls = np.zeros((2, problem.model.widths.size))
    pulls[1, 0] = -1.5
    values = ranked(problem, np.zeros(2), pulls)
    assert np.isfinite(values[0, -1])
    assert values[1, -1] == -np.inf


def test_places_are_those_of_quadrature_in_coupling_and_pull() -> None:
    """LSND: one normal number under one pull, so that the posterior is an integral over two variables."""
    problem, prior = one_coupling(load_experiment("lsnd-nue"), "mu_numu")
    found = simulate(problem, prior, generators(12))
    # So many draws that their places are as good as exact.
    posterior = LaplacePosterior(problem, prior, draws=400_000)
    low, high = prior.reach
    shared = posterior.posteriors(found.data, low, high)
    theta, z = np.linspace(low, high, 1501), np.linspace(-7, 7, 281)
    points = np.stack(np.meshgrid(theta, z, indexing="ij")).reshape(2, -1)
    expected = expected_draws(problem, points[:1], problem.model.widths * points[1][:, None])[:, 0]
    for k in range(12):
        log_density = -((found.data[k, 0] - expected) ** 2) / problem.normal_variance[0] / 2 - points[1] ** 2 / 2
        density = np.exp(log_density - log_density.max()).reshape(theta.size, z.size)
        density /= density.sum()
        true_theta, true_z = found.theta[[k]], found.pulls[[k]] / problem.model.widths
        drawn = posterior.weighted(
            found.data[k], shared, k, true_theta, true_z, posterior.draws, np.random.default_rng([2, k])
        )
        by_theta, by_z = np.cumsum(density.sum(axis=1)), np.cumsum(density.sum(axis=0))
        steps = [theta[1] - theta[0], z[1] - z[0]]
        by_quadrature = np.interp(found.theta[k], theta + steps[0] / 2, by_theta)
        by_grid = np.interp(found.theta[k], shared.fine, shared.cumulative[k])
        assert by_grid == pytest.approx(by_quadrature, abs=2e-3)
        assert drawn.weight @ (drawn.theta < found.theta[k]) == pytest.approx(by_quadrature, abs=3e-3)
        place = weighted_places(drawn.z, drawn.weight, np.random.default_rng(k))[0]
        assert place == pytest.approx(np.interp(true_z[0, 0], z + steps[1] / 2, by_z), abs=3e-3)


def few_counts(problem: Problem, number: int) -> Problem:
    """``problem`` with one more bin, of so many counts of a background whose rate is free."""
    model = problem.model
    arrays = np.zeros((2, model.arrays.shape[1], 2))
    arrays[0, :, :1], arrays[1, 0, 1] = model.arrays[0], 5.0
    model = replace(
        model, arrays=arrays, components=((), (0,)), component_names=("all", "rate"), pulls=("rate",),
        widths=np.array([0.4]), free=("rate",),
    )  # fmt: skip
    data = np.append(problem.data, float(number))
    return replace(problem, model=model, data=data, normal_variance=np.zeros(2), relative_variance=np.zeros(2))


@pytest.mark.parametrize("number", [5, 20])
def test_places_among_few_counts_are_those_of_a_gamma(number: int) -> None:
    """The rate of n counts under a flat prior is Gamma(n + 1); the normal about its peak is not."""
    problem = few_counts(counting(4.0, 3.0), number)
    prior = Prior(COUPLINGS["mu_nue"], "uniform", 0.0, 4.0)
    posterior = LaplacePosterior(problem, prior)
    shared = posterior.posteriors(problem.data[None], *prior.reach)
    rate = gamma(number + 1)
    for level in (0.05, 0.3, 0.5, 0.7, 0.95):
        truth = rate.ppf(level)
        z = np.array([[(truth / 5.0 - 1) / 0.4]])
        drawn = posterior.weighted(problem.data, shared, 0, np.ones(1), z, 400_000, np.random.default_rng(number))
        assert drawn.z[0] == z
        assert drawn.effective > 0.5 * drawn.weight.size
        error = 1 / np.sqrt(drawn.effective)
        place = weighted_places(drawn.z, drawn.weight, np.random.default_rng(1))[0]
        assert place == pytest.approx(level, abs=3 * error)
        assert abs(norm.cdf((truth - number) / np.sqrt(number)) - level) > 3 * error


def test_weighted_places_are_uniform() -> None:
    """A skewed posterior from a few draws of a normal that lacks its tail: exact; with equal weights it shows."""
    rng = np.random.default_rng(1)
    truths, number, shape = rng.gamma(8.0, size=10_000), 20, 8.0
    places, plain = np.empty(truths.size), np.empty(truths.size)
    for k, truth in enumerate(truths):
        x = np.append(truth, shape + np.sqrt(shape) * rng.standard_normal(number))
        weight = np.where(x > 0, np.abs(x) ** (shape - 1) * np.exp(-x + (x - shape) ** 2 / shape / 2), 0.0)
        places[k] = weighted_places(x[:, None], weight / weight.sum(), rng)[0]
        plain[k] = weighted_places(x[:, None], np.full(x.size, 1 / x.size), rng)[0]
    assert uniformity(np.floor(100 * places).astype(np.int64), HIGHEST_RANK, SEED) > 0.05
    assert uniformity(np.floor(100 * plain).astype(np.int64), HIGHEST_RANK, SEED) < 1e-3


def test_equal_weights_give_ranks() -> None:
    """A truth above five of nine draws has the sixth tenth; ties fall anywhere."""
    rng = np.random.default_rng(1)
    weight, draws = np.full(10, 0.1), np.column_stack([np.append(4.5, np.arange(9.0)), np.zeros(10)])
    places = np.array([weighted_places(draws, weight, rng) for _ in range(3000)])
    np.testing.assert_array_equal(np.floor(10 * places[:, 0]), 5)
    assert np.bincount(np.floor(10 * places[:, 1]).astype(int), minlength=10).min() > 200


def test_a_truth_where_nothing_is_drawn_has_all_the_weight(fitted: tuple[Problem, Prior]) -> None:
    problem, prior = fitted
    posterior = LaplacePosterior(problem, prior)
    data = simulate(problem, prior, generators(1)).data
    shared = posterior.posteriors(data, *prior.reach)
    place = int(np.searchsorted(shared.cumulative[0], 0.5))
    cumulative = shared.cumulative.copy()
    cumulative[0, place + 1] = cumulative[0, place]
    empty = replace(shared, cumulative=cumulative)
    theta, z = shared.fine[[place]] * 0.5 + shared.fine[[place + 1]] * 0.5, np.zeros((1, problem.model.widths.size))
    drawn = posterior.weighted(data[0], empty, 0, theta, z, 50, np.random.default_rng(1))
    assert drawn.weight[0] == drawn.weight.sum() == 1


@pytest.mark.parametrize("name", ["mu_numu", "q_nue"])
def test_cumulative_distribution_is_that_of_the_laplace_posterior(on_axis: Experiment, name: str) -> None:
    problem, prior = one_coupling(on_axis, name)
    found = simulate(problem, prior, generators(4))
    posterior = LaplacePosterior(problem, prior)
    shared = posterior.posteriors(found.data, *prior.reach)
    for k in range(4):
        grid = laplace_posterior(replace(problem, data=found.data[k]), prior)
        area = np.concatenate([[0], np.cumsum((grid.density[1:] + grid.density[:-1]) / 2 * np.diff(grid.values))])
        for theta in np.linspace(prior.low, prior.high, 9)[1:-1]:
            place = np.interp(theta, shared.fine, shared.cumulative[k])
            assert place == pytest.approx(np.interp(theta, grid.values, area), abs=1e-3)


@pytest.mark.parametrize(("coupling", "number"), [("mu_nue", 3009), ("r2_nue", 7823)])
def test_fits_do_not_stay_at_a_saddle_point(coupling: str, number: int) -> None:
    """COHERENT's quenching, four widths from its measurement: -ln L hardly falls there for a hundred steps."""
    problem, prior = one_coupling(load_experiment("coherent-csi-2017"), coupling)
    problem = constrained(problem)
    stream = np.random.default_rng(task_seed(20211122, list(COUPLINGS).index(coupling), number))
    data = simulate(problem, prior, [stream]).data
    high = np.array([[prior.reach[1] / problem.scales[0]]])
    found = minimise_pulls(problem, high, data=data, tolerance=1e-6, iterations=60)
    assert found.converged.all()
    assert np.linalg.eigvalsh(found.hessian[0, 0])[0] > 0.5


class Unweighted(LaplacePosterior):
    """The same draws with equal weights."""

    def weighted(self, *arguments: Any) -> WeightedDraws:
        drawn = super().weighted(*arguments)
        return replace(drawn, weight=np.full(drawn.weight.size, 1 / drawn.weight.size))


@pytest.mark.slow
def test_coherent_is_calibrated_with_weights_alone() -> None:
    """Twelve rates of 17 to 67 counts: Laplace's normal puts their medians too low."""
    problem, prior = one_coupling(load_experiment("coherent-csi-2017"), "mu_numu")
    problem = constrained(problem)
    rates = [k for k, name in enumerate(quantities(problem)) if name.startswith("steady_state")]
    number, found = 600, {}
    for program in (LaplacePosterior, Unweighted):
        found[program] = place_block(Study(problem, prior, program(problem, prior), SEED), 0, number)
    ranks = found[LaplacePosterior]["ranks"]
    assert overall(np.array([uniformity(column, HIGHEST_RANK, SEED) for column in ranks.T])) > 0.05
    assert found[LaplacePosterior]["ess"].min() > LaplacePosterior.LEAST_EFFECTIVE
    shift = {program: (each["ranks"][:, rates].mean() + 0.5) / 100 - 0.5 for program, each in found.items()}
    error = 1 / np.sqrt(12 * number * len(rates))
    assert abs(shift[LaplacePosterior]) < 3 * error
    assert shift[Unweighted] > 4 * error


def test_more_draws_where_few_are_worth_enough(fitted: tuple[Problem, Prior]) -> None:
    problem, prior = fitted
    truths = simulate(problem, prior, generators(3))
    found = LaplacePosterior(problem, prior, draws=60).place(truths, generators(3))
    assert found["attempts"].tolist() == [2, 2, 2]
    assert found["ess"].min() > LaplacePosterior.LEAST_EFFECTIVE
    assert found["heaviest"].max() < 0.1
    few = LaplacePosterior(problem, prior, draws=2).place(truths, generators(3))
    assert few["attempts"].tolist() == [LaplacePosterior.ATTEMPTS] * 3
    assert few["ess"].max() < LaplacePosterior.LEAST_EFFECTIVE


def test_draws_that_are_all_impossible_are_said(fitted: tuple[Problem, Prior]) -> None:
    problem, prior = fitted
    data = simulate(problem, prior, generators(1)).data
    posterior = LaplacePosterior(problem, prior)
    found = posterior.posteriors(data, *prior.reach)
    nowhere = replace(found, pulls=found.pulls - 50 / problem.model.widths)
    with pytest.raises(ConvergenceError, match="mu_numu: none of 20 draws of the posterior is possible"):
        posterior.weighted(data[0], nowhere, 0, found.grid[:1], found.pulls[0, :1], 20, np.random.default_rng(1))


@pytest.mark.parametrize("number", [134, 549])
def test_fits_do_not_stay_in_a_false_minimum(number: int) -> None:
    """COHERENT's quenching at the edge of its range, up to 200 above the minimum: one fit would lead the next there."""
    problem, prior = one_coupling(load_experiment("coherent-csi-2017"), "q_nue")
    problem = constrained(problem)
    stream = np.random.default_rng(task_seed(20211122, list(COUPLINGS).index("q_nue"), number))
    data = simulate(problem, prior, [stream]).data
    quenching = problem.model.pulls.index("quenching")
    low, high = prior.reach
    found = LaplacePosterior(problem, prior).posteriors(data, low, high)
    apart = np.zeros((5, len(problem.model.pulls)))
    apart[:, quenching] = (-4, -2, 0, 2, 4)
    for point in np.flatnonzero(found.weight[0] > 1e-4):
        scaled = np.array([[found.grid[point] / problem.scales[0]]])
        fits = minimise_pulls(problem, scaled, data=np.repeat(data, 5, axis=0), first=apart)
        best = fits.value[:, 0].argmin()
        assert found.pulls[0, point, quenching] == pytest.approx(fits.pulls[best, 0, quenching], abs=1e-3)


def test_curvatures_without_minimum_are_taken_by_their_size() -> None:
    good, bad = np.diag([4.0, 9.0]), np.array([[0.0, 3.0], [3.0, 0.0]])
    lower, bent = roots(np.array([[good, good], [good, bad]]))
    assert bent.tolist() == [False, True]
    np.testing.assert_allclose(lower[0], [np.diag([2.0, 3.0])] * 2)
    # Eigenvalues ±3.
    np.testing.assert_allclose(lower[1, 1] @ lower[1, 1].T, np.diag([3.0, 3.0]), atol=1e-12)
    whole, none = roots(np.array([[good, good]]))
    assert not none.any()
    np.testing.assert_allclose(whole, lower[:1])


def test_a_posterior_far_narrower_than_the_prior_gets_its_own_grid(fitted: tuple[Problem, Prior]) -> None:
    problem, prior = fitted
    wide = replace(prior, high=500 * prior.high)
    number = 3
    truths = simulate(problem, prior, generators(number))
    found = LaplacePosterior(problem, wide).place(truths, generators(number))
    assert found["own_grid"].all()
    for k in range(number):
        grid = laplace_posterior(replace(problem, data=truths.data[k]), wide)
        area = np.concatenate([[0], np.cumsum((grid.density[1:] + grid.density[:-1]) / 2 * np.diff(grid.values))])
        percent = 100 * float(np.interp(truths.theta[k], grid.values, area))
        assert found["ranks"][k, 0] == pytest.approx(percent, abs=1.5)


@pytest.mark.slow
def test_chains_that_mix_too_little_are_run_again_longer(fitted: tuple[Problem, Prior]) -> None:
    """Twenty draws are never worth a hundred; eighty and 320 follow."""
    problem, prior = fitted
    asked: list[int] = []

    class Counting(Sampler):
        def sample(self, *arguments: Any, **options: Any) -> Any:
            asked.append(options["draws"])
            return super().sample(*arguments, **options)

    posterior = NutsPosterior(problem, prior, draws=20, sampler=Counting())
    simulations = simulate(problem, prior, generators(1))
    found = posterior.place(simulations, generators(1))
    assert asked == [20, 80, 320][: found["attempts"][0]]
    assert found["attempts"][0] >= 2
    assert 0 <= found["ranks"].min() <= found["ranks"].max() <= HIGHEST_RANK
    assert found["ess"][0] > 0
