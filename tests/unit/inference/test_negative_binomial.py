"""Poisson about a gamma-distributed mean: against SciPy, quadrature, the Poisson limit, PyTensor, and draws."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.inference import newton
from bayesnu.inference.likelihood import make_problem, minimise_pulls
from bayesnu.inference.model import build_pymc_model
from bayesnu.inference.negative_binomial import draw_means, negative_binomial_log_density
from bayesnu.inference.priors import one_coupling, sampled_variable
from bayesnu.inference.sampling import Sampler
from bayesnu.inference.toys import draw_counts, log_likelihood, poisson_log_likelihood

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pytensor.tensor as pt
    from pytensor.compile.mode import Mode

PLAIN = Mode(linker="py", optimizer="fast_compile")
VARIANCES = (0.0, 1e-12, 3e-5, 0.9999e-4, 1.0001e-4, 0.02, 1.5)


@pytest.fixture(scope="module")
def spread(on_axis: ElectronExperiment) -> ElectronExperiment:
    """The shipped card with independent errors of 1% to 5% in its bins."""
    return replace(on_axis, bin_errors=np.linspace(0.01, 0.05, on_axis.data.size) ** 2)


@pytest.mark.parametrize("v", VARIANCES[2:])
@pytest.mark.parametrize("n", [0, 1, 7, 1234])
def test_integers_are_scipys(n: int, v: float) -> None:
    mean = np.array([0.3, 5.0, 1100.0])
    found = negative_binomial_log_density(n, mean, np.full(3, v))
    np.testing.assert_allclose(found, stats.nbinom.logpmf(n, 1 / v, 1 / (1 + v * mean)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [0.0, 0.4, 10.7])
def test_real_counts_are_the_integral_over_the_gamma(n: float) -> None:
    mean, v = 8.0, 0.1
    mixed, error = integrate.quad(
        lambda m: stats.gamma.pdf(m, 1 / v, scale=v * mean) * np.exp(poisson_log_likelihood(np.array(n), np.array(m))),
        0, 100, epsabs=1e-13, limit=200,
    )  # fmt: skip
    assert error < 1e-10
    assert np.exp(negative_binomial_log_density(n, mean, np.array(v))) == pytest.approx(mixed, rel=1e-9)


def deviance(n: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The kernel's statistic and its slopes, bin by bin."""
    value, first, second = np.empty(n.size), np.empty(n.size), np.empty(n.size)
    for o in range(n.size):
        own = slice(o, o + 1)
        fixed = (newton.NEGATIVE_BINOMIAL, n[own], np.zeros(1), variance[own], mean[own])
        value[o] = newton._statistic(*fixed)
        newton._slopes(*fixed, first[own], second[own])
    return value, first, second


@pytest.mark.parametrize("v", [0.0, 1e-15])
def test_no_variance_is_poisson(v: float) -> None:
    n, mean = np.array([0.0, 0.5, 12.0, 2000.3]), np.array([0.2, 3.0, 12.0, 1900.0])
    found = negative_binomial_log_density(n, mean, np.full(4, v))
    np.testing.assert_allclose(found, poisson_log_likelihood(n, mean), rtol=1e-11, atol=1e-11)
    found = deviance(n, mean, np.full(4, v))[0]
    log_ratio = np.where(n > 0, n * np.log(np.where(n > 0, n, 1) / mean), 0.0)
    np.testing.assert_allclose(found, 2 * (mean - n + log_ratio), rtol=1e-10, atol=1e-10)


def test_impossible_means() -> None:
    found = negative_binomial_log_density(np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0]), np.full(3, 0.1))
    np.testing.assert_array_equal(found, [0.0, -np.inf, -np.inf])


@pytest.mark.parametrize("v", VARIANCES)
def test_deviance_is_twice_the_log_ratio_and_its_slopes(v: float) -> None:
    n, mean = np.array([0.0, 3.3, 40.0, 900.0]), np.array([0.7, 5.0, 33.0, 1000.0])
    variance = np.full(4, v)
    value, first, second = deviance(n, mean, variance)
    saturated = negative_binomial_log_density(n, np.maximum(n, 1e-300), variance)
    expected = 2 * (saturated - negative_binomial_log_density(n, mean, variance))
    np.testing.assert_allclose(value, expected, rtol=1e-8, atol=1e-9)
    step = 1e-4 * mean
    low, high = (deviance(n, mean + sign * step, variance) for sign in (-1, 1))
    np.testing.assert_allclose(first, (high[0] - low[0]) / (2 * step), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(second, (high[1] - low[1]) / (2 * step), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("v", VARIANCES)
def test_tensors_give_the_same(v: float) -> None:
    n, mean = np.array([0.0, 3.3, 40.0, 0.0]), np.array([0.7, 5.0, 33.0, 0.0])
    variance = np.full(4, v)
    found = negative_binomial_log_density(pt.as_tensor(n), pt.as_tensor(mean), variance, pt).eval(mode=PLAIN)
    np.testing.assert_allclose(found, negative_binomial_log_density(n, mean, variance), rtol=1e-12, atol=1e-12)


def test_draws_have_mean_and_variance(spread: ElectronExperiment) -> None:
    problem = make_problem(spread, ["mu_nue"])
    assert problem.statistic == "gamma-poisson"
    expected = spread.model.expected()
    counts = draw_counts(problem, np.tile(expected, (20_000, 1)), np.random.default_rng(4))
    np.testing.assert_array_equal(counts, np.round(counts))
    variance = expected + spread.bin_errors * expected**2
    np.testing.assert_allclose((counts.mean(axis=0) - expected) / np.sqrt(variance / 20_000), 0, atol=4)
    np.testing.assert_allclose(counts.var(axis=0) / variance, 1, atol=5 * np.sqrt(2 / 20_000))
    sharp = draw_means(expected, np.zeros(expected.size), np.random.default_rng(1))
    np.testing.assert_allclose(sharp, expected, rtol=1e-13)


def test_pulls_are_minimised(spread: ElectronExperiment) -> None:
    """Against SciPy's minimiser and its negative binomial."""
    counts = np.round(spread.data * np.linspace(1.1, 0.9, spread.data.size))
    experiment = replace(spread, data=counts)
    problem = make_problem(experiment, ["mu_nue"])
    theta, v = 2e-9, experiment.bin_errors
    profiled = minimise_pulls(problem, np.array([[theta / problem.scales[0]]]))
    names, widths = experiment.model.pulls, experiment.model.widths

    def minus_two_log(z: np.ndarray) -> float:
        mean = experiment.model.expected({"mu_nue": theta}, dict(zip(names, widths * z, strict=True)))
        ratio = stats.nbinom.logpmf(counts, 1 / v, 1 / (1 + v * counts)) - stats.nbinom.logpmf(
            counts, 1 / v, 1 / (1 + v * mean)
        )
        return float(2 * ratio.sum() + (z**2).sum())

    best = optimize.minimize(minus_two_log, np.zeros(len(names)), method="BFGS", options={"gtol": 1e-4})
    assert profiled.value[0] == pytest.approx(best.fun, abs=1e-5)
    assert profiled.converged.all()


def test_chi2_takes_the_variance_in(spread: ElectronExperiment, on_axis: ElectronExperiment) -> None:
    wide, narrow = (make_problem(e, ["mu_nue"], "chi2") for e in (spread, on_axis))
    added = spread.bin_errors * on_axis.model.expected() ** 2
    np.testing.assert_allclose(wide.normal_variance, narrow.normal_variance + added, rtol=1e-12)


def test_pymc_has_the_same_likelihood(spread: ElectronExperiment) -> None:
    problem, prior = one_coupling(spread, "mu_nue")
    model = build_pymc_model(problem, [sampled_variable(prior, problem)])
    point = model.initial_point()
    point["w"] = np.linspace(-1, 1, len(problem.model.pulls))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = [model.rvs_to_values[rv] for rv in model.free_RVs]
        theta, pulls = (
            model.compile_fn(
                model.replace_rvs_by_values([model[name]])[0], inputs=inputs, mode=PLAIN, on_unused_input="ignore"
            )(point)
            for name in ("theta", "pulls")
        )
        found = model.compile_fn(model.logp(vars=[model["n"]], sum=False)[0], inputs=inputs, mode=PLAIN)(point)
    counts = spread.model.expected({"mu_nue": float(theta[0])}, dict(zip(problem.model.pulls, pulls, strict=True)))
    np.testing.assert_allclose(found, log_likelihood(problem, counts), rtol=1e-10)


def test_limits_widen(spread: ElectronExperiment, on_axis: ElectronExperiment) -> None:
    at = np.array([[0.0, 3.0]])
    wide, narrow = (minimise_pulls(make_problem(e, ["mu_nue"]), at).value for e in (spread, on_axis))
    assert wide[1] - wide[0] < 0.8 * (narrow[1] - narrow[0])


@pytest.mark.slow
def test_nuts_draws_from_it(spread: ElectronExperiment) -> None:
    from bayesnu.inference.laplace import laplace_posterior
    from bayesnu.results.limits import laplace_interval, nuts_interval

    problem, prior = one_coupling(spread, "mu_nue")
    draws = Sampler().sample(problem, [prior], draws=4000, chains=4, tune=500, seed=3)
    quoted = nuts_interval(draws.theta[0], prior, 0.9, "upper")
    exact = laplace_interval(laplace_posterior(problem, prior), 0.9, "upper")
    assert abs(quoted.intervals[0][1] - exact.intervals[0][1]) < 4 * quoted.mc_error[0][1]
