"""A moment and the mass of N, free together: change of variable, density of the PyMC model, NUTS against a grid."""

import math
import warnings

import numpy as np
import pytest
from arviz_stats.base import array_stats
from pytensor.compile.mode import Mode

from bayesnu.errors import CardError, UsageError
from bayesnu.experiment.setup import load_experiment
from bayesnu.inference.frame import MassFrame, mass_frame, pull_frame, share
from bayesnu.inference.laplace import Cells, laplace_posterior_2d
from bayesnu.inference.likelihood import Problem, make_problem, minimise_pulls
from bayesnu.inference.model import build_pymc_model
from bayesnu.inference.priors import Prior, SampledVariable, sampled_variable
from bayesnu.inference.sampling import Sampler
from bayesnu.inference.toys import expected_draws, poisson_log_likelihood
from bayesnu.results.fits import RunArguments
from bayesnu.results.joint import fit_jointly, joint_problem

NAMES = ("d_nue", "m_N")
PRIORS = {
    "logarithmic": (
        "couplings.d_nue.prior={kind='log-uniform',low=1e-12,high=1e-9}",
        "sterile.m_N_prior={kind='log-uniform',low=0.1,high=7.5}",
    ),
    "linear": (
        "couplings.d_nue.prior={kind='uniform',low=0,high=1e-9}",
        "sterile.m_N_prior={kind='uniform',low=0.1,high=7.5}",
    ),
    "squared": (
        "couplings.d_nue.prior={kind='uniform-squared',high=1e-9}",
        "sterile.m_N_prior={kind='uniform',low=0,high=7.5}",
    ),
}
Joint = tuple[Problem, list[Prior], list[SampledVariable], MassFrame]


@pytest.fixture(scope="module", params=["logarithmic", pytest.param("squared", marks=pytest.mark.slow)])
def joint(request: pytest.FixtureRequest) -> Joint:
    problem, priors = joint_problem(load_experiment("nucleus-10g", PRIORS[request.param]), NAMES)
    variables = [sampled_variable(prior, problem) for prior in priors]
    frame = mass_frame(problem, variables)
    assert frame is not None
    return problem, priors, variables, frame


def test_share() -> None:
    u = np.linspace(0, 1, 11)
    for k in (0.02, 0.5, 0.9):
        assert share(np.array([0.0, 0.5, 1.0]), k) == pytest.approx([0, k, 1])
        assert (np.diff(share(u, k)) > 0).all()


def test_the_knee_is_where_the_likelihood_begins_to_fall(joint: Joint) -> None:
    """At u = 1/2 the fall is some units at every mass in reach, though the moment changes by a factor of 5."""
    problem, _, variables, frame = joint
    masses = np.array([0.3, 1.0, 2.0, 4.0, 5.0])
    v_mass = np.log(masses) if variables[1].map == "exponential" else masses
    moments = variables[0].scaled_coupling(frame.value(np.full(masses.size, 0.5), v_mass))
    value = minimise_pulls(problem, np.stack([moments, masses])).value
    fall = value - minimise_pulls(problem, np.zeros((2, 1))).value
    assert (fall > 1).all()
    assert (fall < 12).all()
    assert moments.max() > 5 * moments.min()


def test_no_frame_for_other_fits(joint: Joint) -> None:
    problem, _, variables, _ = joint
    single = load_experiment("nucleus-10g")
    assert mass_frame(make_problem(single, ["d_nue"]), variables[:1]) is None
    assert mass_frame(make_problem(single, ["d_nue", "mu_nue"]), variables) is None
    normal = SampledVariable("normal", -math.inf, math.inf, 1.0, "folded")
    assert mass_frame(problem, [normal, variables[1]]) is None


def test_density_of_the_pymc_model(joint: Joint) -> None:
    """ln L + ln p(d) + ln p(m_N) + ln p(pulls) + ln |∂(d, m_N)/∂(unconstrained)|, the last by finite differences."""
    problem, priors, variables, frame = joint
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = build_pymc_model(problem, variables)
        log_density = model.compile_logp(mode=Mode(linker="py", optimizer="fast_compile"))
    pulls_frame = pull_frame(problem, variables)
    heavy = variables[1]

    def theta(x: float, y: float) -> tuple[float, float]:
        v_mass = np.array(heavy.low + (heavy.high - heavy.low) / (1 + math.exp(-y)))
        v = frame.value(np.array(1 / (1 + math.exp(-x))), v_mass)
        both = [float(u.scaled_coupling(t)) for u, t in zip(variables, (v, v_mass), strict=True)]
        return both[0] * float(problem.scales[0]), both[1]

    rng, found, written = np.random.default_rng(4), [], []
    for _ in range(10):
        # Masses on one side of 0, where the folded variable has a kink.
        x, y, w = rng.normal(), abs(rng.normal()) + 0.1, rng.normal(size=len(problem.model.pulls))
        d, m = theta(x, y)
        h = 1e-5
        slope_d = abs(theta(x + h, y)[0] - theta(x - h, y)[0]) / (2 * h)
        slope_m = abs(theta(x, y + h)[1] - theta(x, y - h)[1]) / (2 * h)
        pulls = pulls_frame.pulls(np.array(0.0), w) * problem.model.widths
        expected = expected_draws(problem, np.array([[d], [abs(m)]]), pulls[None, :])[0]
        total = float(poisson_log_likelihood(problem.data, expected).sum())
        total += float(priors[0].log_density(np.array(d))) + float(priors[1].log_density(np.array(abs(m))))
        total += math.log(slope_d * slope_m) - float(((pulls / problem.model.widths) ** 2).sum()) / 2
        written.append(total)
        found.append(float(log_density({"v_0_interval__": np.array(x), "v_1_interval__": np.array(y), "w": w})))
    assert np.ptp(written) > 1
    np.testing.assert_allclose(np.array(found) - found[0], np.array(written) - written[0], atol=1e-6)


def test_what_a_joint_fit_needs() -> None:
    with pytest.raises(UsageError, match=r"nucleus-10g\.toml.*: sterile\.m_N_prior: missing"):
        joint_problem(load_experiment("nucleus-10g", PRIORS["linear"][:1]), NAMES)
    with pytest.raises(UsageError, match=r"couplings\.d_nue\.prior: a joint fit with m_N needs a prior"):
        joint_problem(load_experiment("nucleus-10g", PRIORS["linear"][1:]), NAMES)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ("{kind='uniform',low=3,high=1}", r"sterile\.m_N_prior: needs 0 ≤ low < high"),
        ("{kind='uniform',low=-1,high=1}", r"sterile\.m_N_prior: needs 0 ≤ low < high"),
        ("{kind='normal',sigma=1}", r"sterile\.m_N_prior\.kind = 'normal'"),
        ("{low=1,high=2}", r"sterile\.m_N_prior\.kind: missing; allowed are log-uniform, uniform"),
    ],
)
def test_bad_priors_of_the_mass(prior: str, message: str) -> None:
    with pytest.raises(CardError, match=message):
        load_experiment("nucleus-10g", [f"sterile.m_N_prior={prior}"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(PRIORS))
def test_nuts_equals_the_grid(kind: str) -> None:
    """Marginal quantiles of both parameters within four Monte Carlo errors of a two-dimensional grid; R-hat and ESS."""
    experiment = load_experiment("nucleus-10g", PRIORS[kind])
    problem, priors = joint_problem(experiment, NAMES)
    tree = fit_jointly(
        experiment, NAMES, RunArguments(NAMES, draws=3000, chains=4, seed=8), Sampler(target_accept=0.98)
    )
    assert int(tree["sample_stats"]["diverging"].values.sum()) == 0
    spaced = np.geomspace if kind == "logarithmic" else np.linspace
    low = 1e-12 if kind == "logarithmic" else 1e-14
    d, m = spaced(low, 1e-9, 801), spaced(max(priors[1].low, 1e-3), 7.5, 301)
    mass = laplace_posterior_2d(
        problem, (priors[0], priors[1]), Cells(d, np.gradient(d)), Cells(m, np.gradient(m))
    ).weight
    for name, x, axis in (("d_nue", d, 1), ("m_N", m, 0)):
        draws = tree["posterior"][name].values
        cumulative = np.cumsum(mass.sum(axis=axis))
        axes = {"chain_axis": 0, "draw_axis": 1}
        assert array_stats.rhat(draws, **axes) < 1.01
        assert array_stats.ess(draws, method="bulk", **axes) > 1000
        assert array_stats.ess(draws, method="tail", prob=(0.05, 0.95), **axes) > 1000
        for probability in (0.25, 0.5, 0.9):
            exact = float(np.interp(probability, cumulative / cumulative[-1], x))
            error = float(array_stats.mcse(draws, method="quantile", prob=probability, **axes))
            found = float(np.quantile(draws, probability))
            step = abs(float(np.interp(exact, x, np.gradient(x))))
            assert abs(found - exact) < 4 * error + step
