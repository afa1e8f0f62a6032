"""The PyMC model against the NumPy likelihood: densities, gradients, names, data that stay real, predictive draws."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.frame import PullFrame, pull_frame
from bayesnu.inference.likelihood import Problem, make_problem, minimise_pulls
from bayesnu.inference.model import _draw_counts, build_pymc_model, model_data, model_structure, poisson_log_density
from bayesnu.inference.priors import Prior, SampledVariable, jeffreys_prior, sampled_variable
from bayesnu.inference.sampling import Draws
from bayesnu.inference.toys import expected_draws, poisson_log_likelihood
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.results.posterior import posterior_tree

with warnings.catch_warnings():
    # Deprecations inside PyMC and PyTensor are theirs.
    warnings.simplefilter("ignore")
    import pymc as pm
    import pytensor
    import pytensor.tensor as pt
    from pytensor.compile.mode import Mode

# Interpreted, so that a test need not wait for a compiler.
PLAIN = Mode(linker="py", optimizer="fast_compile")


@dataclass
class Case:
    """A model with all that is needed to write its density out."""

    problem: Problem
    priors: list[Prior]
    variables: list[SampledVariable]
    frame: PullFrame
    model: pm.Model

    def points(self, count: int, seed: int = 3) -> list[dict[str, np.ndarray]]:
        """Unconstrained points within a few standard deviations."""
        rng = np.random.default_rng(seed)
        n = len(self.problem.model.pulls)
        result = []
        for _ in range(count):
            point = {"w": rng.normal(0, 1, n)}
            for rv in self.model.free_RVs:
                if rv.name != "w":
                    value = self.model.rvs_to_values[rv]
                    point[value.name] = np.asarray(rng.normal(0, 1))
            result.append(point)
        return result

    def constrained(self, point: dict[str, np.ndarray]) -> tuple[np.ndarray, float]:
        """The sampled variables at an unconstrained point, and ln |dv/dx| of PyMC's transforms."""
        v, log_jacobian = [], 0.0
        for j, variable in enumerate(self.variables):
            if variable.kind == "uniform":
                x = float(point[f"v_{j}_interval__"])
                share, width = 1 / (1 + math.exp(-x)), variable.high - variable.low
                v.append(variable.low + width * share)
                log_jacobian += math.log(width * share * (1 - share))
            elif variable.kind == "normal":
                v.append(float(point[f"v_{j}"]))
            else:
                v.append(math.exp(float(point[f"v_{j}_log__"])))
                log_jacobian += float(point[f"v_{j}_log__"])
        return np.array(v), log_jacobian

    def theta_and_pulls(self, point: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        v, _ = self.constrained(point)
        theta = np.array([u.scaled_coupling(t) for u, t in zip(self.variables, v, strict=True)]) * self.problem.scales
        frame_v = v[0] if len(v) == 1 else np.array(0.0)
        z = self.frame.pulls(np.asarray(frame_v), point["w"])
        return theta, z * self.problem.model.widths

    def log_density(self, point: dict[str, np.ndarray]) -> float:
        """ln L + ln p(θ) + ln p(pulls) + ln |dθ/dx|: the NumPy functions of the package and the change of variable."""
        v, log_jacobian = self.constrained(point)
        theta, pulls = self.theta_and_pulls(point)
        expected = expected_draws(self.problem, theta[:, None], pulls[None, :])[0]
        total = float(poisson_log_likelihood(self.problem.data, expected).sum())
        for j, (prior, variable) in enumerate(zip(self.priors, self.variables, strict=True)):
            total += float(prior.log_density(theta[j]))
            if variable.map == "square-root":
                total -= math.log(2 * math.sqrt(abs(v[j])))
            elif variable.map == "exponential":
                total += v[j]
        return total - float(((pulls / self.problem.model.widths) ** 2).sum()) / 2 + log_jacobian


def make_case(experiment: Experiment, *priors: Prior) -> Case:
    names = [prior.coupling.name for prior in priors]
    problem = make_problem(experiment, names)
    variables = [sampled_variable(prior, problem) for prior in priors]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = pull_frame(problem, variables)
        return Case(problem, list(priors), variables, frame, build_pymc_model(problem, variables))


def prior(name: str, kind: str, low: float, high: float, sigma: float = math.nan) -> Prior:
    return Prior(COUPLINGS[name], kind, low, high, sigma)  # type: ignore[arg-type]


FOLDED = prior("mu_numu", "uniform", 0.0, 1e-9)
PRIORS: dict[str, tuple[Prior, ...]] = {
    "folded": (FOLDED,),
    "folded, half-normal": (prior("mu_nue", "half-normal", 0.0, math.inf, 2e-9),),
    "away from 0": (prior("mu_numu", "uniform", 1e-10, 1e-9),),
    "signed": (prior("q_numu", "uniform", -4e-9, 3e-9),),
    "two solutions": (prior("q_nue", "uniform", -4e-8, 6e-8),),
    "log-uniform": (prior("mu_numu", "log-uniform", 1e-11, 1e-9),),
    "uniform-squared": (prior("mu_numu", "uniform-squared", 0.0, 1e-9),),
    "normal": (prior("r2_numu", "normal", -math.inf, math.inf, 2e-33),),
    "half-normal": (prior("r2_nue", "half-normal", 0.0, math.inf, 3e-31),),
    "joint": (prior("q_nue", "uniform", -4e-8, 6e-8), prior("r2_nue", "normal", -math.inf, math.inf, 3e-31)),
    "joint, folded": (FOLDED, prior("q_numu", "uniform", -4e-9, 3e-9)),
}


JEFFREYS = {"Jeffreys, in the square": ("mu_numu", 0.0, 1e-9), "Jeffreys, signed": ("q_nue", -4e-8, 6e-8)}


# The others are more of what these have: each kind of prior and each map is among them.
BY_DEFAULT = {"folded", "signed", "log-uniform", "uniform-squared", "half-normal", "joint", "Jeffreys, in the square"}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=() if name in BY_DEFAULT else pytest.mark.slow) for name in (*PRIORS, *JEFFREYS)
    ],
)
def case(request: pytest.FixtureRequest, on_axis: Experiment) -> Case:
    if request.param in JEFFREYS:
        name, low, high = JEFFREYS[request.param]
        return make_case(on_axis, jeffreys_prior(make_problem(on_axis, [name]), low, high))
    return make_case(on_axis, *PRIORS[request.param])


@pytest.fixture(scope="module")
def folded(on_axis: Experiment) -> Case:
    return make_case(on_axis, FOLDED)


@pytest.fixture(scope="module")
def signed(on_axis: Experiment) -> Case:
    return make_case(on_axis, *PRIORS["signed"])


def compiled(function: Callable[..., Any], *arguments: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, mode=PLAIN)


def test_density_equals_numpy_up_to_a_constant(case: Case) -> None:
    log_density = compiled(case.model.compile_logp)
    points = case.points(12)
    found = np.array([float(log_density(point)) for point in points])
    written = np.array([case.log_density(point) for point in points])
    assert np.ptp(written) > 1
    np.testing.assert_allclose(found - found[0], written - written[0], rtol=1e-10, atol=1e-10)


@pytest.mark.slow
def test_gradient_equals_finite_differences(case: Case) -> None:
    log_density, gradient = compiled(case.model.compile_logp), compiled(case.model.compile_dlogp)
    h = 1e-5
    for point in case.points(3, seed=8):
        found = np.asarray(gradient(point))
        numeric = []
        for value in case.model.value_vars:
            base = np.asarray(point[value.name], dtype=float)
            for k in range(base.size):
                step = np.zeros(base.size)
                step[k] = h
                step = step.reshape(base.shape)
                up, down = ({**point, value.name: base + sign * step} for sign in (1, -1))
                numeric.append((float(log_density(up)) - float(log_density(down))) / (2 * h))
        assert found.size == len(numeric)
        np.testing.assert_allclose(found, numeric, rtol=1e-5, atol=1e-5 * np.abs(numeric).max())


@pytest.mark.parametrize("name", ["folded", pytest.param("signed", marks=pytest.mark.slow), "joint"])
def test_gradient_is_finite_at_the_initial_point(on_axis: Experiment, name: str) -> None:
    """Where `pm.find_MAP` and samplers without jitter start: the middle of the range, x = 0 in the frame."""
    case = make_case(on_axis, *PRIORS[name])
    gradient = compiled(case.model.compile_dlogp)(case.model.initial_point())
    assert np.isfinite(gradient).all(), gradient


def test_density_at_the_profiled_pulls_is_the_minimised_statistic(signed: Case) -> None:
    """-2 ln p falls by the Δχ² of `minimise_pulls` where the prior is flat."""
    frame, variable = signed.frame, signed.variables[0]
    x = np.array([-1.5, -0.4, 0.3, 1.2])
    share = 1 / (1 + np.exp(-x))
    v = variable.low + (variable.high - variable.low) * share
    profiled = minimise_pulls(signed.problem, v[None, :])
    log_density = compiled(signed.model.compile_logp)
    found = []
    for xi, vi, z, s in zip(x, v, profiled.pulls, share, strict=True):
        w = np.linalg.solve(frame.spread, z - frame.pulls(vi, np.zeros(z.size)))
        found.append(float(log_density({"v_0_interval__": np.asarray(xi), "w": w})) - math.log(s * (1 - s)))
    np.testing.assert_allclose(-2 * np.diff(found), np.diff(profiled.value), rtol=1e-9, atol=1e-9)


def test_deterministics_are_the_coupling_and_the_pulls(case: Case) -> None:
    model = case.model
    outputs = model.replace_rvs_by_values([model["theta"], model["pulls"]])
    function = compiled(lambda *a, **k: model.compile_fn(*a, inputs=model.value_vars, **k), outputs)
    for point in case.points(4, seed=5):
        theta, pulls = function(point)
        expected_theta, expected_pulls = case.theta_and_pulls(point)
        np.testing.assert_allclose(theta, expected_theta, rtol=1e-12)
        np.testing.assert_allclose(pulls, expected_pulls, rtol=1e-10, atol=1e-14)


def test_coordinates_are_named(on_axis: Experiment) -> None:
    case = make_case(on_axis, *PRIORS["joint"])
    model, coords = case.model, case.model.coords
    assert coords["coupling"] == ("q_nue", "r2_nue")
    assert coords["pull"] == ("flux_norm", "wrong_sign", "electron_flavour", "ccqe", "pi0")
    assert len(coords["obs"]) == on_axis.data.size
    assert model.named_vars_to_dims["theta"] == ("coupling",)
    assert model.named_vars_to_dims["pulls"] == ("pull",)
    assert model.named_vars_to_dims["n"] == ("obs",)
    assert model.named_vars_to_dims["counts"] == ("obs",)


def test_one_structure_serves_signed_and_folded_couplings(folded: Case, signed: Case, case: Case) -> None:
    assert model_structure(folded.problem, folded.variables) == model_structure(signed.problem, signed.variables)
    same = case.variables[0].kind == "uniform" and case.variables[0].map in ("identity", "folded")
    same = same and case.variables[0].table is None
    equal = model_structure(case.problem, case.variables) == model_structure(folded.problem, folded.variables)
    assert equal == (same and len(case.variables) == 1)


def test_swapped_data_give_the_other_coupling(folded: Case, signed: Case) -> None:
    """What the sampler does when a compiled model is used again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        swapped = build_pymc_model(folded.problem, folded.variables)
        with swapped:
            pm.set_data(model_data(signed.problem, signed.variables))
    points = signed.points(3)
    found, expected = (compiled(m.compile_logp) for m in (swapped, signed.model))
    assert [float(found(p)) for p in points] == [float(expected(p)) for p in points]


# The Asimov trap


def test_the_model_keeps_real_valued_data(folded: Case, on_axis: Experiment) -> None:
    kept = folded.model.rvs_to_values[folded.model["n"]]
    values = compiled(lambda mode: pytensor.function([], kept, mode=mode)())
    np.testing.assert_array_equal(values, on_axis.data)
    assert (values != np.floor(values)).all()


def test_pymc_poisson_truncates_real_valued_data() -> None:
    """The reason for a density of our own; if this fails one day, `pm.Poisson` will do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pm.Model() as model:
            n = pm.Poisson("n", 5.0, observed=[10.7, 3.2])
        kept = pytensor.function([], model.rvs_to_values[n], mode=PLAIN)()
    assert kept.tolist() == [10, 3]


@pytest.fixture(scope="module")
def log_density_of_counts() -> Callable[[Any, Any], np.ndarray]:
    n, expected = pt.dvector("n"), pt.dvector("expected")
    function = pytensor.function([n, expected], poisson_log_density(n, expected), mode=PLAIN)
    return lambda a, b: np.asarray(function(np.asarray(a, float), np.asarray(b, float)))


def test_integer_counts_have_exactly_pymcs_density(log_density_of_counts: Callable[..., np.ndarray]) -> None:
    counts = np.array([0, 1, 2, 7, 150, 2612, 30_000])
    expected = np.array([0.3, 1.0, 9.5, 7.0, 140.2, 2600.0, 30_100.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        variable = pm.logp(pm.Poisson.dist(pt.as_tensor(expected)), counts)
        reference = pytensor.function([], variable, mode=PLAIN)()
    found = log_density_of_counts(counts, expected)
    np.testing.assert_allclose(found, reference, rtol=1e-13)
    np.testing.assert_allclose(found, stats.poisson(expected).logpmf(counts), rtol=1e-11)


def test_real_counts_lie_between_and_peak_at_the_expectation(
    log_density_of_counts: Callable[..., np.ndarray],
) -> None:
    n = 10.7
    expected = np.linspace(8, 14, 601)
    values = log_density_of_counts(np.full(601, n), expected)
    assert expected[values.argmax()] == pytest.approx(n, abs=0.006)
    ends = stats.poisson(10.5).logpmf([10, 11])
    assert ends.min() < log_density_of_counts([n], [10.5])[0] < ends.max()
    np.testing.assert_allclose(values, poisson_log_likelihood(np.array(n), expected), rtol=1e-12)


def test_no_density_where_nothing_is_expected(log_density_of_counts: Callable[..., np.ndarray]) -> None:
    assert log_density_of_counts([3.0, 0.0, 3.0], [0.0, -1.0, -1.5]).tolist() == [-math.inf] * 3


def test_nothing_seen_where_nothing_is_expected_is_certain(log_density_of_counts: Callable[..., np.ndarray]) -> None:
    """A signal without background at coupling 0: ln p = 0 and -λ beside it."""
    assert log_density_of_counts([0.0, 0.0], [0.0, 1.5]).tolist() == [0.0, -1.5]


def test_random_draws_are_poisson() -> None:
    expected = np.array([0.5, 20.0, 2612.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        counts = pm.CustomDist.dist(
            pt.as_tensor(expected), logp=poisson_log_density, random=_draw_counts, dtype="float64"
        )
        drawn = pm.draw(counts, draws=4000, random_seed=1, mode=PLAIN)
    assert drawn.shape == (4000, 3)
    assert (drawn == np.round(drawn)).all()
    np.testing.assert_allclose(drawn.mean(axis=0), expected, atol=4.5 * np.sqrt(expected / 4000).max())
    np.testing.assert_allclose(drawn.var(axis=0) / expected, 1, atol=0.12)
    first = [np.sum(drawn[:, 0] == k) for k in range(4)]
    assert stats.chisquare(first, stats.poisson(0.5).pmf(range(4)) / stats.poisson(0.5).cdf(3) * sum(first)).pvalue > (
        1e-3
    )


def test_predictive_draws_of_the_model_are_poisson_about_the_expectation(signed: Case) -> None:
    w = np.zeros(len(signed.problem.model.pulls))
    theta, pulls = signed.theta_and_pulls({"v_0_interval__": np.asarray(0.7), "w": w})
    v, _ = signed.constrained({"v_0_interval__": np.asarray(0.7)})
    draws = 600
    posterior = xr.Dataset(
        {
            "v_0": (("chain", "draw"), np.full((1, draws), v[0])),
            "w": (("chain", "draw", "pull"), np.zeros((1, draws, w.size))),
        },
        coords={"chain": [0], "draw": np.arange(draws), "pull": list(signed.problem.model.pulls)},
    )
    with warnings.catch_warnings(), signed.model:
        warnings.simplefilter("ignore")
        tree = pm.sample_posterior_predictive(
            xr.DataTree.from_dict({"posterior": posterior}),
            var_names=["n"],
            random_seed=2,
            progressbar=False,
            compile_kwargs={"mode": PLAIN},
        )
    counts = tree["posterior_predictive"]["n"].values.reshape(draws, -1)
    expected = expected_draws(signed.problem, theta[:, None], pulls[None, :])[0]
    assert (counts == np.round(counts)).all()
    sigmas = (counts.mean(axis=0) - expected) / np.sqrt(expected / draws)
    assert np.abs(sigmas).max() < 4.5
    assert stats.kstest(counts[:, 0], stats.norm(expected[0], math.sqrt(expected[0])).cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", ["folded", "joint"])
def test_stored_log_likelihood_is_pymcs(on_axis: Experiment, name: str) -> None:
    case = make_case(on_axis, *PRIORS[name])
    model, problem = case.model, case.problem
    points = case.points(6, seed=11)
    both = [case.theta_and_pulls(point) for point in points]
    theta = np.array([t for t, _ in both]).T.reshape(len(case.priors), 2, 3)
    pulls = np.array([p for _, p in both]).reshape(2, 3, -1)
    stats_ = {"energy": np.zeros((2, 3))}
    tree = posterior_tree(on_axis, problem, case.priors, Draws(problem.couplings, theta, pulls, stats_, 0, 0.9, 1), {})
    stored = tree["log_likelihood"]["n"].values.reshape(6, -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (terms,) = model.logp(vars=[model["n"]], sum=False)
    function = compiled(lambda *a, **k: model.compile_fn(*a, inputs=model.value_vars, **k), terms)
    for row, point in zip(stored, points, strict=True):
        np.testing.assert_allclose(row, function(point), rtol=1e-10, atol=1e-10)


def test_density_of_observed_integers() -> None:
    """Observed integer counts go through the same model; scipy's Poisson is the reference."""
    rng = np.random.default_rng(1)
    counts = [rng.poisson(row).tolist() for row in load_experiment("dune-on-axis").data.reshape(2, -1)]
    experiment = load_experiment(
        "dune-on-axis", [f"exposures.{k}.observed_counts={row}" for k, row in enumerate(counts)]
    )
    case = make_case(experiment, *PRIORS["signed"])
    (point,) = case.points(1)
    theta, pulls = case.theta_and_pulls(point)
    expected = expected_draws(case.problem, theta[:, None], pulls[None, :])[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (terms,) = case.model.logp(vars=[case.model["n"]], sum=False)
    function = compiled(lambda *a, **k: case.model.compile_fn(*a, inputs=case.model.value_vars, **k), terms)
    np.testing.assert_allclose(function(point), stats.poisson(expected).logpmf(np.ravel(counts)), rtol=1e-9)
