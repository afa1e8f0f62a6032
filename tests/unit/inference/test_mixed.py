"""Data of which some are counts and some normal: one density everywhere."""

import math
import warnings

import numpy as np
import pytest
from scipy.stats import norm, poisson

from bayesnu.experiment.combined import combine
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.density import density_inputs, log_density
from bayesnu.inference.frame import pull_frame
from bayesnu.inference.likelihood import Problem, make_problem
from bayesnu.inference.model import build_pymc_model
from bayesnu.inference.negative_binomial import draw_mixed, mixed_log_density
from bayesnu.inference.priors import one_coupling, sampled_variable
from bayesnu.inference.toys import draw_counts, log_likelihood

with warnings.catch_warnings():
    # Deprecations inside PyMC and PyTensor are theirs.
    warnings.simplefilter("ignore")
    from pytensor.compile.mode import Mode

PLAIN = Mode(linker="py", optimizer="fast_compile")
NORMAL, RELATIVE = np.array([0.0, 4.0, 0.0, 0.25]), np.zeros(4)
DATA, MEAN = np.array([3.0, -1.0, 0.0, 2.0]), np.array([2.5, -2.0, 0.7, 2.2])


@pytest.fixture(scope="module")
def both(on_axis: Experiment) -> Experiment:
    return combine([load_experiment("lsnd-nue"), on_axis])


@pytest.fixture(scope="module")
def problem(both: Experiment) -> Problem:
    return make_problem(both, ["mu_nue"])


def test_density_is_that_of_either() -> None:
    found = mixed_log_density(DATA, MEAN, NORMAL, RELATIVE)
    expected = [
        poisson.logpmf(3, 2.5), norm.logpdf(-1, -2, 2), poisson.logpmf(0, 0.7), norm.logpdf(2, 2.2, 0.5),
    ]  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_draws_are_of_either() -> None:
    draws = draw_mixed(np.broadcast_to(MEAN, (20_000, 4)), NORMAL, RELATIVE, np.random.default_rng(2))
    np.testing.assert_allclose(draws.mean(axis=0), MEAN, atol=0.05)
    np.testing.assert_allclose(draws.var(axis=0), [2.5, 4.0, 0.7, 0.25], rtol=0.05)
    assert (draws[:, [0, 2]] == np.round(draws[:, [0, 2]])).all()


def test_problem(problem: Problem) -> None:
    assert problem.statistic == "mixed"
    assert problem.normal_variance[0] == 22.0**2
    assert (problem.normal_variance[1:] == 0).all()
    assert (problem.relative_variance == 0).all()
    expected = problem.model.signal_strengths(np.zeros((1, 1)))[0].sum(axis=0)
    by_bin = log_likelihood(problem, expected)
    assert by_bin[0] == pytest.approx(norm.logpdf(191, expected[0], 22))
    assert draw_counts(problem, expected, np.random.default_rng(1)).shape == expected.shape


def test_density_and_gradient_are_pymcs(both: Experiment) -> None:
    problem, prior = one_coupling(both, "mu_nue")
    variables = [sampled_variable(prior, problem)]
    frame = pull_frame(problem, variables)
    inputs = density_inputs(problem, variables, frame)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = build_pymc_model(problem, variables)
        reference, slopes = model.compile_logp(mode=PLAIN), model.compile_dlogp(mode=PLAIN)
    names = [value.name for value in model.value_vars]
    rng = np.random.default_rng(5)
    for _ in range(4):
        u = rng.normal(0, 1, 1 + len(problem.model.pulls))
        gradient = np.empty(u.size)
        point = {name: u[0] if k == 0 else u[1:] for k, name in enumerate(names)}
        expected = float(reference(point))
        assert math.isfinite(expected)
        assert log_density(u, inputs, gradient) == pytest.approx(expected, rel=1e-10)
        own = np.asarray(slopes(point))
        np.testing.assert_allclose(gradient, own, rtol=1e-8, atol=1e-10 * np.abs(own).max())
