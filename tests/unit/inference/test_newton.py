"""The compiled Newton steps: derivatives against finite differences, bounds, and what does not converge."""

from dataclasses import replace
from decimal import Decimal, localcontext

import numpy as np
import pytest

from bayesnu.experiment.expectation import CountModel
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference import newton
from bayesnu.inference.batch import PROMISE, TOLERANCE
from bayesnu.inference.likelihood import Problem, make_problem, minimise_pulls

RNG = np.random.default_rng(7)


def pieces(problem: Problem, code: int, normal: np.ndarray, relative: np.ndarray) -> newton.Likelihood:
    """What the kernels take of a problem, couplings free."""
    model = problem.model
    exponents = np.array(
        [[dict(m).get(j, 0) for j in range(len(problem.couplings))] for m in model.monomials], dtype=np.int64
    )
    arrays, filled = np.concatenate(model.arrays), model.arrays.any(axis=2).ravel()
    members = np.full((len(model.components), len(model.pulls) + 1), -1)
    for c, powers in enumerate(model.membership):
        own = np.flatnonzero(powers)
        members[c, : own.size] = own
    centre = RNG.normal(size=len(model.pulls)) * model.constraint
    return newton.Likelihood(
        arrays, filled, members, exponents, model.membership, model.widths, model.constraint, code, normal, relative,
        RNG.poisson(problem.data).astype(float), centre,
    )  # fmt: skip


@pytest.mark.parametrize("card", ["dune-on-axis", "coherent-csi-2017"])
@pytest.mark.parametrize("code", [newton.POISSON, newton.NORMAL, newton.NEGATIVE_BINOMIAL, newton.MIXED])
def test_derivatives_equal_finite_differences(card: str, code: int) -> None:
    """Gradient and Hessian of -2 ln L in couplings and pulls; COHERENT has a morph and free pulls."""
    names = ["q_nue", "r2_numu"] if card == "dune-on-axis" else ["d_nue"]
    problem = make_problem(load_experiment(card), names)
    obs = problem.data.size
    normal = np.where((code == newton.NORMAL) | (np.arange(obs) % 2 == 0), 9.0, 0.0)
    fixed = pieces(problem, code, normal, np.linspace(1e-4, 2e-3, obs))
    n, k = len(names) + len(problem.model.pulls), len(names)
    own = newton.room(len(problem.model.components), len(problem.model.monomials), k, n - k, obs)

    def value(y: np.ndarray) -> float:
        return float(newton._value(fixed, y, own))

    def slope(y: np.ndarray) -> np.ndarray:
        newton._counts(fixed, y, own)
        newton._derivatives(fixed, y, own)
        return own.gradient.copy()

    y = np.concatenate([[0.7, -0.4][:k], 0.3 * RNG.normal(size=n - k)])
    slopes = slope(y)
    hessian = own.gauss + own.bend
    h = 1e-5
    steps = h * np.eye(n)
    numeric = np.array([(value(y + s) - value(y - s)) / (2 * h) for s in steps])
    np.testing.assert_allclose(slopes, numeric, rtol=1e-6, atol=1e-5 * np.abs(numeric).max())
    second = np.array([(slope(y + s) - slope(y - s)) / (2 * h) for s in steps])
    np.testing.assert_allclose(hessian, second, rtol=1e-6, atol=1e-7 * np.abs(second).max())


def test_negative_binomial_is_its_own_deviance() -> None:
    """-2 ln p(n | λ) + 2 ln p(n | n) of scipy's distribution with r = 1/τ; Poisson's for τ → 0."""
    from scipy.stats import nbinom, poisson

    n, mean, tau = np.array([0.0, 3.0, 40.0]), np.array([1.5, 4.0, 33.0]), np.array([0.1, 0.02, 0.3])
    found = newton._statistic(newton.NEGATIVE_BINOMIAL, n, 0 * tau, tau, mean)
    size = 1 / tau
    expected = sum(
        -2 * (nbinom.logpmf(k, r, r / (r + m)) - (nbinom.logpmf(k, r, r / (r + k)) if k else 0.0))
        for k, m, r in zip(n, mean, size, strict=True)
    )
    assert found == pytest.approx(expected, rel=1e-12)
    bare = newton._statistic(newton.NEGATIVE_BINOMIAL, n, 0 * tau, 0 * tau, mean)
    assert bare == pytest.approx(-2 * (poisson.logpmf(n, mean) - poisson.logpmf(n, np.maximum(n, 1e-300))).sum())


def test_poisson_to_the_last_digit() -> None:
    """The series of counts near what is expected and the logarithm of others, beside arithmetic of 60 digits."""
    ratios = [1e-6, 0.5, 0.6660, 0.6673, 1 - 1e-9, 1.0, 1 + 3e-5, 1.1, 1.499, 1.501]
    n, mean = (grid.ravel() for grid in np.meshgrid([0.3, 7.0, 4e4, 1e9], ratios))
    mean = n * mean
    total = 0.0
    with localcontext(prec=60):
        for count, expected in zip(n.tolist(), mean.tolist(), strict=True):
            k, m = Decimal(count), Decimal(expected)
            exact = float(2 * (m - k + k * (k / m).ln()))
            total += exact
            own = newton._statistic(newton.POISSON, *(np.array([v]) for v in (count, 0.0, 0.0, expected)))
            assert own == pytest.approx(exact, rel=4e-14 if abs(expected / count - 1) < 0.3 else 1e-12)
    zero = np.zeros(n.size)
    assert newton._statistic(newton.POISSON, n, zero, zero, mean) == pytest.approx(total, rel=1e-13)


def singular() -> CountModel:
    """Two free pulls that scale the same single count."""
    return CountModel(
        ("mu_nue",), ((), ((0, 2),)), ((0, 1),), ("signal",), ("a", "b"), np.array([0.1, 0.1]),
        np.array([[[10.0], [1.0]]]), ("a", "b"),
    )  # fmt: skip


def test_a_degenerate_problem_has_its_minimum_all_the_same() -> None:
    """Only the product of both factors is known; a ridge picks one solution."""
    problem = Problem(("mu_nue",), np.ones(1), singular(), np.array([14.0]), np.zeros(1), np.zeros(1))
    found = minimise_pulls(problem, np.zeros((1, 1)))
    assert found.converged.all()
    assert found.value[0] == pytest.approx(0, abs=1e-9)
    assert np.prod(1 + 0.1 * found.pulls[0]) == pytest.approx(1.4, rel=1e-6)


def test_what_cannot_be_is_not_converged() -> None:
    """A count where none is expected, whatever the pulls."""
    none = replace(singular(), arrays=np.zeros((1, 2, 1)))
    problem = Problem(("mu_nue",), np.ones(1), none, np.array([1.0]), np.zeros(1), np.zeros(1))
    found = minimise_pulls(problem, np.zeros((1, 1)))
    assert not found.converged.any()
    assert np.isinf(found.value[0])


def test_centres_of_the_constraints(on_axis: Experiment) -> None:
    """With all data at the nominal expectation but auxiliary measurements at a, moving both by a changes nothing."""
    problem = make_problem(on_axis, ["mu_nue"])
    model = problem.model
    a = np.array([[0.5, -1.0, 0.3, 1.2, -0.7]])
    counts = np.einsum("c,co->o", model.pull_factors(model.widths * a[0]), model.signal_strengths(np.zeros((1, 1)))[0])
    found = minimise_pulls(problem, np.zeros((1, 1)), data=counts[None], centre=a)
    assert found.value[0, 0] == pytest.approx(0, abs=1e-8)
    np.testing.assert_allclose(found.pulls[0, 0], a[0], atol=1e-6)
    assert minimise_pulls(problem, np.zeros((1, 1)), data=counts[None]).value[0, 0] > 0.1


def test_a_sequence_is_predicted_by_the_order_that_fits_it() -> None:
    """Exactly where it is a parabola; by its last value where it jumps, or a factor of the prediction would be none."""
    differences, z = np.zeros((newton.ORDER + 2, 1)), np.empty(1)
    for place in range(6):
        newton._difference(differences, place, np.array([3.0 - 2.0 * place + 0.5 * place**2]))
    newton._predict(differences, 6, np.array([0.1]), z)
    assert z[0] == pytest.approx(3.0 - 12.0 + 18.0, rel=1e-14)
    newton._predict(differences, 6, np.array([-0.2]), z)
    assert z[0] == pytest.approx(3.0 - 10.0 + 12.5)
    for place, value in enumerate([0.0, 1.0, -1.0, 1.0, -1.0]):
        newton._difference(differences, place, np.array([value]))
    newton._predict(differences, 5, np.array([0.1]), z)
    assert z[0] == -1.0


@pytest.mark.parametrize("order", ["along", "back and forth", "anyhow"])
def test_neighbours_do_not_matter(on_axis: Experiment, order: str) -> None:
    """Fits that start from predictions by their neighbours find what each finds alone."""
    problem = make_problem(on_axis, ["q_nue", "q_numu"])
    steps = np.linspace(-6.0, 6.0, 25)
    if order == "back and forth":
        steps[1::2] *= -1
    elif order == "anyhow":
        steps = RNG.permutation(np.sinh(steps / 2))
    points = np.stack([steps, 0.3 * steps**2])
    together = minimise_pulls(problem, points)
    quick = minimise_pulls(problem, points, tolerance=TOLERANCE, promise=PROMISE)
    alone = [minimise_pulls(problem, point[:, None]) for point in points.T]
    assert together.converged.all()
    assert quick.converged.all()
    value = np.array([one.value[0] for one in alone])
    np.testing.assert_allclose(together.value, value, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(quick.value, value, rtol=0, atol=1e-3 * PROMISE)
    np.testing.assert_allclose(together.pulls, [one.pulls[0] for one in alone], atol=1e-8)


def test_small_steps_stop_where_counts_end() -> None:
    """λ = 0.02 + 0.3 z and n = 0.001: the first full step promises 0.07 and would end where λ is negative.

    At the minimum 0.3 (1 - n/λ) + z = 0.
    """
    model = CountModel(
        ("mu_nue",), ((), ((0, 2),)), ((), (0,)), ("less", "more"), ("a",), np.array([0.1]),
        np.array([[[-2.98], [0.0]], [[3.0], [0.0]]]), signed=True,
    )  # fmt: skip
    problem = Problem(("mu_nue",), np.ones(1), model, np.array([0.001]), np.zeros(1), np.zeros(1))
    root = np.roots([0.3, 0.02 + 0.3**2, 0.3 * (0.02 - 0.001)]).max()
    for promise in (0.0, PROMISE):
        found = minimise_pulls(problem, np.zeros((1, 1)), promise=promise)
        assert found.converged.all()
        assert found.pulls[0, 0] == pytest.approx(root, abs=1e-7)


def test_with_a_morph_no_fit_is_above_that_from_its_own_start() -> None:
    """Counts to powers of a pull have several minima: what a neighbour's pulls lead to is not always the lower one."""
    experiment = load_experiment("coherent-csi-2017")
    problem, expected = make_problem(experiment, ["r2_nue"]), np.asarray(experiment.model.expected())
    toys = np.random.default_rng(3).poisson(expected, (10, expected.size)).astype(float)
    x = np.linspace(-40, 40, 81)
    in_a_row = minimise_pulls(problem, x[None, :], data=toys).value
    alone = np.stack([minimise_pulls(problem, np.array([[value]]), data=toys).value[:, 0] for value in x], axis=1)
    assert (in_a_row <= alone + 1e-6).all()
    # Nor is it always the higher one.
    assert (in_a_row < alone - 1).any()
