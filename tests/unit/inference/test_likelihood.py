"""-2 ln L with its pulls minimised, against formulas written out here and against iminuit."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from iminuit import Minuit

from bayesnu.errors import ConvergenceError, UsageError
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.likelihood import (
    Problem,
    bounded_range,
    coupling_scale,
    likelihood_range,
    make_problem,
    minimise_pulls,
    squared_only,
)
from bayesnu.physics.couplings import ELECTROMAGNETIC

POINTS = {
    "mu_nue": (0.0, 2e-9, 6e-9), "mu_numu": (1e-10, 4e-10), "q_nue": (-2e-8, 2.8e-8, 6e-8),
    "q_numu": (-2e-9, 3e-9), "r2_nue": (-5e-31, 4e-31), "r2_numu": (-3e-33, 8e-33),
}  # fmt: skip


def statistic(experiment: Experiment, name: str, value: float, z: np.ndarray, kind: str, variance: str) -> float:
    """(3.1) or the Poisson deviance, plus Σ z², from the expected counts alone."""
    model = experiment.model
    pulls = dict(zip(model.pulls, model.widths * z, strict=True))
    if kind == "poisson":
        expected, n = model.expected({name: value}, pulls), experiment.data
        return float(2 * (expected - n + n * np.log(n / expected)).sum() + (z**2).sum())
    # The data are N_SM without background; N_exp the signal; only α B enters.
    signal = model.expected({name: value}, {**pulls, "ccqe": -1.0, "pi0": -1.0})
    ccqe = (model.expected({}, {"pi0": -1.0}) - model.expected({}, {"pi0": -1.0, "ccqe": -1.0})) * pulls["ccqe"]
    pi0 = (model.expected({}, {"ccqe": -1.0}) - model.expected({}, {"ccqe": -1.0, "pi0": -1.0})) * pulls["pi0"]
    spread = experiment.signal_sm + (experiment.background if variance == "sm+background" else 0)
    return float(((experiment.signal_sm - signal - ccqe - pi0) ** 2 / spread).sum() + (z**2).sum())


def minimised(experiment: Experiment, name: str, value: float, kind: str, variance: str) -> Minuit:
    """Minimise over the pulls by MIGRAD."""

    def objective(z: np.ndarray) -> float:
        return statistic(experiment, name, value, z, kind, variance)

    minuit = Minuit(objective, np.zeros(len(experiment.model.pulls)))
    minuit.tol, minuit.strategy = 1e-5, 1
    minuit.migrad()
    assert minuit.valid
    return minuit


@pytest.mark.parametrize(("kind", "variance"), [("chi2", "sm"), ("chi2", "sm+background"), ("poisson", "sm")])
@pytest.mark.parametrize("name", ELECTROMAGNETIC)
def test_newton_equals_minuit(prism: Experiment, name: str, kind: str, variance: str) -> None:
    problem = make_problem(prism, [name], kind, variance)
    found = minimise_pulls(problem, np.array([POINTS[name]]) / problem.scales[0])
    assert found.converged.all()
    for value, newton, z in zip(POINTS[name], found.value, found.pulls, strict=True):
        minuit = minimised(prism, name, value, kind, variance)
        assert newton == pytest.approx(minuit.fval, abs=1e-6)
        assert newton == pytest.approx(statistic(prism, name, value, z, kind, variance), abs=1e-8)
        np.testing.assert_allclose(z, np.array(minuit.values), atol=2e-3)


def test_newton_equals_minuit_with_separate_pulls(separate_pulls: Experiment) -> None:
    problem = make_problem(separate_pulls, ["r2_numu"])
    value = 6e-33
    found = minimise_pulls(problem, np.array([[value]]) / problem.scales[0])
    minuit = minimised(separate_pulls, "r2_numu", value, "poisson", "sm")
    assert found.value[0] == pytest.approx(minuit.fval, abs=1e-6)


def test_zero_at_the_sm_for_asimov_data(prism: Experiment) -> None:
    for kind in ("poisson", "chi2"):
        found = minimise_pulls(make_problem(prism, ["q_nue"], kind), np.zeros((1, 1)))
        assert found.value[0] == pytest.approx(0, abs=1e-9)
        np.testing.assert_allclose(found.pulls, 0, atol=1e-9)


@pytest.mark.parametrize("kind", ["poisson", "chi2"])
def test_hessian_equals_finite_differences(on_axis: Experiment, kind: str) -> None:
    """Second derivatives of -ln L in z, at the minimum, where the gradient vanishes."""
    problem = make_problem(on_axis, ["mu_nue"], kind)
    value, h = 4e-9, 1e-3
    found = minimise_pulls(problem, np.array([[value]]) / problem.scales[0])

    def half(z: np.ndarray) -> float:
        return statistic(on_axis, "mu_nue", value, z, kind, "sm") / 2

    z, step = found.pulls[0], h * np.eye(5)
    gradient = [(half(z + s) - half(z - s)) / (2 * h) for s in step]
    np.testing.assert_allclose(gradient, 0, atol=1e-4)
    numeric = [
        [(half(z + a + b) - half(z + a - b) - half(z - a + b) + half(z - a - b)) / (4 * h**2) for b in step]
        for a in step
    ]
    np.testing.assert_allclose(found.hessian[0], numeric, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("kind", ["poisson", "chi2"])
def test_derivative_of_the_profile_is_the_partial_one(on_axis: Experiment, kind: str) -> None:
    """d/dθ of the profiled -2 ln L equals ∂/∂θ at the minimising pulls."""
    problem = make_problem(on_axis, ["r2_nue"], kind)
    value, h = 3e-31, 1e-34
    around = minimise_pulls(problem, np.array([[value - h, value, value + h]]) / problem.scales[0])
    partial = [statistic(on_axis, "r2_nue", v, around.pulls[1], kind, "sm") for v in (value - h, value + h)]
    assert around.value[2] - around.value[0] == pytest.approx(partial[1] - partial[0], rel=1e-4)


def test_pull_of_width_zero_stays(on_axis: Experiment) -> None:
    fixed = load_experiment("dune-on-axis", ["pulls.flux_norm=0", "pulls.ccqe=0.0"])
    found = minimise_pulls(make_problem(fixed, ["mu_numu"]), np.array([[2.0]]))
    assert found.converged.all()
    np.testing.assert_array_equal(found.pulls[0, [0, 3]], 0)
    assert found.value[0] > minimise_pulls(make_problem(on_axis, ["mu_numu"]), np.array([[2.0]])).value[0]


def test_chi2_with_observed_data_subtracts_nominal_backgrounds(
    observe: Callable[[dict[str, float]], Experiment],
) -> None:
    """Counts minus nominal backgrounds against N_exp + α B, over the chosen variance, at the data's own coupling 0."""
    truth = {"r2_numu": 4e-33}
    experiment = observe(truth)
    for variance in ("sm", "sm+background"):
        problem = make_problem(experiment, ["r2_numu"], "chi2", variance)
        at_truth = minimise_pulls(problem, np.array([[truth["r2_numu"]]]) / problem.scales[0])
        assert at_truth.value[0] == pytest.approx(0, abs=1e-8)
        fixed = replace(problem, model=replace(problem.model, widths=0 * problem.model.widths))
        at_sm = minimise_pulls(fixed, np.zeros((1, 1))).value[0]
        spread = experiment.signal_sm + (experiment.background if variance == "sm+background" else 0)
        by_hand = ((experiment.data - experiment.background - experiment.signal_sm) ** 2 / spread).sum()
        assert at_sm == pytest.approx(by_hand, rel=1e-10)


def test_empty_bins_of_observed_counts() -> None:
    """n = 0 contributes 2 λ to the deviance."""
    zeros = [0.0] * 12
    loaded = load_experiment("dune-on-axis", [f"exposures.{k}.observed_counts={zeros}" for k in (0, 1)])
    problem = make_problem(loaded, ["mu_nue"])
    fixed = replace(problem, model=replace(problem.model, widths=0 * problem.model.widths))
    assert minimise_pulls(fixed, np.zeros((1, 1))).value[0] == pytest.approx(2 * loaded.model.expected().sum())


@pytest.mark.parametrize("name", ELECTROMAGNETIC)
def test_scale_is_a_unit_of_chi2_without_pulls(on_axis: Experiment, name: str) -> None:
    scale = coupling_scale(on_axis.model, name)
    reference = on_axis.model.expected()
    change = max(
        (((on_axis.model.expected({name: sign * scale}) - reference) ** 2) / reference).sum() for sign in (1, -1)
    )
    assert 0.3 < change < 10


def test_a_coupling_without_effect_is_refused(on_axis: Experiment) -> None:
    constant = np.array([float(monomial == ()) for monomial in on_axis.model.monomials])
    model = replace(on_axis.model, arrays=on_axis.model.arrays * constant[None, :, None])
    with pytest.raises(ConvergenceError, match="mu_nue: the expected counts do not depend on it"):
        coupling_scale(model, "mu_nue")


def test_variance_of_zero_is_refused(on_axis: Experiment) -> None:
    templates = replace(on_axis.templates, values=on_axis.templates.values * 0)
    empty = replace(on_axis, templates=templates)
    with pytest.raises(UsageError, match="variance = sm: bin 0 expects no counts"):
        make_problem(empty, ["mu_nue"], "chi2")


def test_unknown_coupling_is_refused(on_axis: Experiment) -> None:
    with pytest.raises(UsageError, match="did you mean 'mu_nu"):
        make_problem(on_axis, ["mu_nu"])


def test_squared_only(on_axis: Experiment) -> None:
    assert squared_only(make_problem(on_axis, ["mu_nue", "q_nue"])).tolist() == [True, False]


def value_at(problem: Problem, scaled: float) -> float:
    return float(minimise_pulls(problem, np.array([[scaled]])).value[0])


@pytest.mark.parametrize("name", ELECTROMAGNETIC)
def test_range_ends_where_the_likelihood_has_fallen(prism: Experiment, name: str) -> None:
    threshold = 12.0
    problem = make_problem(prism, [name])
    low, high = likelihood_range(problem, threshold)
    assert value_at(problem, high) == pytest.approx(threshold, abs=1e-3)
    assert low == 0.0 if name.startswith("mu") else value_at(problem, low) == pytest.approx(threshold, abs=1e-3)


@pytest.mark.parametrize("truth", [{"r2_numu": -1e-31}, {"q_numu": 1e-7}], ids=lambda t: f"{t}")
@pytest.mark.parametrize("kind", ["poisson", "chi2"])
def test_range_of_data_far_from_the_sm(
    observe: Callable[[dict[str, float]], Experiment], truth: dict[str, float], kind: str
) -> None:
    """The fall is counted from the best fit, wherever it lies."""
    (name,) = truth
    problem = make_problem(observe(truth), [name], kind)
    low, high = likelihood_range(problem, 30.0)
    assert low < truth[name] / problem.scales[0] < high
    assert [value_at(problem, low), value_at(problem, high)] == pytest.approx([30, 30], abs=0.1)


def test_unbounded_likelihood_is_refused() -> None:
    """A free normalisation and few counts: any moment is absorbed by f → -1, at a cost of about 1."""
    weak = load_experiment("dune-on-axis", ["exposures.0.years=1e-4", "exposures.1.years=1e-4", "pulls.flux_norm=1"])
    problem = make_problem(weak, ["mu_nue"])
    assert likelihood_range(problem, 30.0) == (0.0, np.inf)
    with pytest.raises(ConvergenceError, match=r"mu_nue: .*do not bound it"):
        bounded_range(problem, 30.0)
