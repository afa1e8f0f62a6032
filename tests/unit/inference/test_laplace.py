"""The grid posterior against brute-force quadrature over the pulls and against known answers."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bayesnu.experiment.expectation import CountModel
from bayesnu.experiment.setup import Experiment
from bayesnu.inference.laplace import GridPosterior, laplace_posterior
from bayesnu.inference.likelihood import Problem, make_problem, minimise_pulls
from bayesnu.inference.priors import Prior, one_coupling
from bayesnu.physics.couplings import COUPLINGS, ELECTROMAGNETIC


def integral(posterior: GridPosterior) -> np.ndarray:
    """Cumulative trapezoid of the density."""
    x, y = posterior.values, posterior.density
    return np.concatenate([[0.0], np.cumsum(np.diff(x) * (y[1:] + y[:-1]) / 2)])


def marginal_by_quadrature(problem: Problem, theta: np.ndarray, nodes: int = 6) -> np.ndarray:
    """ln ∫dz exp(-½ (-2 ln L)) by Gauss-Hermite in all pulls at once, about the minimum and along its Hessian."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    n = len(problem.model.pulls)
    points = np.stack(np.meshgrid(*[x] * n, indexing="ij"), axis=-1).reshape(-1, n)
    log_weight = np.log(np.stack(np.meshgrid(*[w] * n, indexing="ij"), axis=-1)).reshape(-1, n).sum(axis=1)
    found = minimise_pulls(problem, theta[None, :])
    result = []
    for t, centre, hessian in zip(theta, found.pulls, found.hessian, strict=True):
        root = np.linalg.cholesky(np.linalg.inv(hessian))
        z = centre + points @ root.T
        strength = problem.model.signal_strengths(np.array([[t]]))[0]
        factor = np.ones((len(z), len(problem.model.components)))
        for c, members in enumerate(problem.model.components):
            for p in members:
                factor[:, c] *= 1 + problem.model.widths[p] * z[:, p]
        expected = factor @ strength
        counts = problem.data
        log_l = (counts * np.log(expected / counts) - expected + counts).sum(axis=1) - (z**2).sum(axis=1) / 2
        terms = log_l + (points**2).sum(axis=1) / 2 + log_weight
        result.append(terms.max() + math.log(np.exp(terms - terms.max()).sum()) + np.linalg.slogdet(root)[1])
    return np.array(result)


@pytest.mark.parametrize("name", ELECTROMAGNETIC)
def test_laplace_equals_quadrature_over_the_pulls(on_axis: Experiment, name: str) -> None:
    """The marginal likelihood's shape, to 1e-5 of its maximum."""
    problem, prior = one_coupling(on_axis, name)
    posterior = laplace_posterior(problem, prior)
    index = np.linspace(0, posterior.values.size - 1, 9).astype(int)
    index = index[posterior.density[index] > 1e-4 * posterior.density.max()]
    index = np.union1d(index, [posterior.density.argmax()])
    assert index.size >= 3
    exact = marginal_by_quadrature(problem, posterior.values[index] / problem.scales[0])
    found = np.log(posterior.density[index])
    np.testing.assert_allclose(np.exp(found - found.max()), np.exp(exact - exact.max()), atol=1e-5)


def test_quadrature_itself_is_converged(on_axis: Experiment) -> None:
    problem = make_problem(on_axis, ["r2_numu"])
    coarse, fine = (marginal_by_quadrature(problem, np.array([0.0, 5.0, 10.0]), nodes) for nodes in (6, 8))
    np.testing.assert_allclose(coarse - coarse[0], fine - fine[0], atol=1e-7)


def direct(problem: Problem, log_prior: Callable[[np.ndarray], np.ndarray], theta: np.ndarray) -> np.ndarray:
    """Posterior density on ``theta`` from profile and Hessian, normalised by the trapezoid rule."""
    found = minimise_pulls(problem, theta[None, :] / problem.scales[0])
    log_density = log_prior(theta) - found.value / 2 - np.linalg.slogdet(found.hessian)[1] / 2
    density = np.exp(log_density - log_density.max())
    return density / np.trapezoid(density, theta)


@pytest.mark.parametrize(
    ("prior", "log_prior"),
    [
        (Prior(COUPLINGS["mu_numu"], "log-uniform", 1e-12, 1e-9), lambda t: -np.log(t)),
        (Prior(COUPLINGS["mu_numu"], "uniform-squared", 0.0, 1e-9), np.log),
        (Prior(COUPLINGS["mu_numu"], "half-normal", 0.0, math.inf, 1e-10), lambda t: -((t / 1e-10) ** 2) / 2),
        (Prior(COUPLINGS["mu_numu"], "uniform", 1e-10, 3e-10), lambda t: np.where((t > 1e-10) & (t < 3e-10), 0, -99.0)),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_priors_against_direct_computation(on_axis: Experiment, prior: Prior, log_prior: Callable) -> None:
    problem = make_problem(on_axis, ["mu_numu"])
    posterior = laplace_posterior(problem, prior)
    theta = np.geomspace(1e-12, 1e-9, 4001) if prior.kind == "log-uniform" else np.linspace(1e-16, 1e-9, 4001)
    exact = direct(problem, log_prior, theta)
    inside = (theta > posterior.values[0]) & (theta < posterior.values[-1])
    found = np.interp(theta[inside], posterior.values, posterior.density)
    np.testing.assert_allclose(found, exact[inside], atol=2e-3 * exact.max())
    assert integral(posterior)[-1] == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("name", ["mu_numu", "q_nue"])
def test_normalised_and_refined_consistently(on_axis: Experiment, name: str) -> None:
    problem, prior = one_coupling(on_axis, name)
    coarse, fine = laplace_posterior(problem, prior), laplace_posterior(problem, prior, points=2401)
    assert integral(fine)[-1] == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(fine.density[::2], coarse.density, rtol=1e-6, atol=1e-12 * coarse.density.max())
    assert coarse.density.min() >= 0


def test_prior_narrower_than_the_likelihood(on_axis: Experiment) -> None:
    """The posterior is then the prior."""
    problem = make_problem(on_axis, ["r2_numu"])
    posterior = laplace_posterior(problem, Prior(COUPLINGS["r2_numu"], "normal", -math.inf, math.inf, 2e-36))
    cumulative = integral(posterior)
    assert cumulative[-1] == pytest.approx(1, abs=1e-4)
    for sigmas in (-1, 0, 1.5):
        found = np.interp(sigmas * 2e-36, posterior.values, cumulative)
        assert found == pytest.approx(stats.norm.cdf(sigmas), abs=1e-3)


def test_uniform_prior_inside_the_likelihood_bounds_the_grid(on_axis: Experiment) -> None:
    problem = make_problem(on_axis, ["q_numu"])
    posterior = laplace_posterior(problem, Prior(COUPLINGS["q_numu"], "uniform", -1e-11, 2e-11))
    assert (posterior.values[0], posterior.values[-1]) == pytest.approx((-1e-11, 2e-11))
    np.testing.assert_allclose(posterior.density, 1 / 3e-11, rtol=1e-2)


def test_half_normal_where_the_data_want_a_negative_value(observe: Callable[[dict[str, float]], Experiment]) -> None:
    problem = make_problem(observe({"r2_numu": -1e-31}), ["r2_numu"])
    posterior = laplace_posterior(problem, Prior(COUPLINGS["r2_numu"], "half-normal", 0.0, math.inf, 1e-33))
    assert integral(posterior)[-1] == pytest.approx(1, abs=1e-3)
    assert posterior.density[-1] < 1e-9 * posterior.density[0]
    assert posterior.values[0] == 0
    assert posterior.density.argmax() == 0


def test_prior_where_the_likelihood_is_negligible(on_axis: Experiment) -> None:
    problem = make_problem(on_axis, ["r2_numu"])
    posterior = laplace_posterior(problem, Prior(COUPLINGS["r2_numu"], "uniform", 5e-32, 6e-32))
    assert posterior.values[0] == 5e-32
    assert posterior.values[-1] <= 6e-32
    assert posterior.density.argmax() == 0
    assert integral(posterior)[-1] == pytest.approx(1, abs=1e-3)


def toy(n: float, signal: float, background: float, width: float) -> Problem:
    """One bin, λ = signal θ + (1 + f) background, one pull."""
    arrays = np.array([[[0.0], [signal], [0.0]], [[background], [0.0], [0.0]]])
    model = CountModel(
        ("q_nue",),
        ((), ((0, 1),), ((0, 2),)),
        ((), (0,)),
        ("signal", "background"),
        ("norm",),
        np.array([width]),
        arrays,
    )
    return Problem(("q_nue",), np.array([1.0]), model, np.array([n]), np.zeros(1), np.zeros(1))


@pytest.mark.parametrize("width", [0.0, 0.02])
def test_gaussian_toy(width: float) -> None:
    """Many counts: normal about (n - B)/S with variance (n + σ²B²)/S²."""
    n, signal, background = 1e8, 1e6, 0.999e8
    width *= 1e-2
    posterior = laplace_posterior(toy(n, signal, background, width), Prior(COUPLINGS["q_nue"], "uniform", -50.0, 50.0))
    cumulative = integral(posterior)
    mean, sigma = (n - background) / signal, math.sqrt(n + (width * background) ** 2) / signal
    for sigmas in (-1.6449, 0.0, 1.0, 1.6449):
        found = np.interp(mean + sigmas * sigma, posterior.values, cumulative)
        assert found == pytest.approx(stats.norm.cdf(sigmas), abs=1e-3)


def test_poisson_toy_is_a_gamma_distribution() -> None:
    """No background and no pull: p(θ | n) with a flat prior is a Gamma(n + 1) in λ."""
    n, signal = 7.0, 2.0
    problem = toy(n, signal, 0.0, 0.0)
    fixed = replace(problem, model=replace(problem.model, components=((), (0,))))
    posterior = laplace_posterior(fixed, Prior(COUPLINGS["q_nue"], "uniform", 0.01, 40.0))
    expected = stats.gamma(n + 1, scale=1 / signal)
    np.testing.assert_allclose(posterior.density[::60], expected.pdf(posterior.values[::60]), atol=1e-5)
