"""m_N free in the expected counts: the spline, against templates folded at the mass itself, in NumPy and PyTensor."""

from collections.abc import Callable

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from bayesnu.errors import UsageError
from bayesnu.experiment.expectation import CountModel, MassSpline, expected_counts, free_mass
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.likelihood import coupling_scale

WEIGHTS = np.random.default_rng(5).uniform(-1, 1, 80)


@pytest.fixture(scope="module")
def nucleus() -> Experiment:
    return load_experiment("nucleus-10g")


@pytest.fixture(scope="module")
def free(nucleus: Experiment) -> Experiment:
    return nucleus.with_free_mass(7.5)


def even(mass: np.ndarray) -> np.ndarray:
    return np.exp(-((mass / 3) ** 2)) * (1 + mass**2)


def test_spline_is_of_fourth_order() -> None:
    masses = np.linspace(0, 6, 501)
    errors = []
    for steps in (24, 48, 96):
        spline = MassSpline(6 / steps, 6.0)
        coefficients = spline.coefficients(even(spline.nodes))
        errors.append(float(np.abs(coefficients @ spline.basis(masses) - even(masses)).max()))
    assert errors[0] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.35)
    assert errors[1] / errors[2] == pytest.approx(16, rel=0.35)


def test_spline_goes_through_its_nodes_and_adds_up_to_one() -> None:
    spline = MassSpline(0.25, 3.0)
    values = np.random.default_rng(2).normal(size=(spline.nodes.size, 4))
    inner = np.flatnonzero((spline.nodes >= 0) & (spline.nodes <= 3.0))
    at_nodes = np.einsum("ko,km->mo", spline.coefficients(values), spline.basis(spline.nodes[inner]))
    np.testing.assert_allclose(at_nodes, values[inner], atol=1e-12)
    np.testing.assert_allclose(spline.basis(np.linspace(0, 3, 50)).sum(axis=0), 1, rtol=1e-12)


@pytest.mark.parametrize("m_N", [0.05, 0.7, 2.03, 4.4, 6.1, 7.3])
def test_interpolated_counts_are_those_of_the_mass(nucleus: Experiment, free: Experiment, m_N: float) -> None:
    """To 1e-3 in every bin that holds more than 1% of the counts."""
    own = nucleus.at(m_N).model
    exact = own.expected({"d_nue": 1e-10}) - own.expected()
    found = free.model.expected({"d_nue": 1e-10, "m_N": m_N}) - free.model.expected({"m_N": m_N})
    large = exact > 0.01 * exact.sum()
    assert large.sum() > 10
    np.testing.assert_allclose(found[large], exact[large], rtol=1e-3)
    assert np.abs(found - exact).max() < 1e-3 * exact.max()


def test_other_couplings_do_not_feel_the_mass(nucleus: Experiment, free: Experiment) -> None:
    couplings = {"mu_nue": 2e-10, "q_nue": 1e-10}
    np.testing.assert_allclose(
        free.model.expected({**couplings, "m_N": 3.0}), nucleus.model.expected(couplings), rtol=1e-12
    )


def test_counts_are_even_in_the_mass(free: Experiment) -> None:
    """A mass that is sampled from 0 is folded: its variable has both signs."""
    for mass in (0.2, 3.0, 7.0):
        np.testing.assert_array_equal(
            free.model.expected({"d_nue": 1e-10, "m_N": -mass}), free.model.expected({"d_nue": 1e-10, "m_N": mass})
        )


@pytest.mark.parametrize("order", [("d_nue", "m_N"), ("m_N", "d_nue")])
def test_restricted_to_the_moment_and_the_mass(free: Experiment, order: tuple[str, str]) -> None:
    scales = [4e-11 if name == "d_nue" else 1.0 for name in order]
    model = free.model.restrict(order, scales)
    scaled = {"d_nue": 2.5, "m_N": 1.3}
    np.testing.assert_allclose(model.expected(scaled), free.model.expected({"d_nue": 1e-10, "m_N": 1.3}), rtol=1e-12)


def test_a_model_with_a_free_mass_needs_one(free: Experiment) -> None:
    with pytest.raises(UsageError, match="m_N"):
        free.model.restrict(["d_nue"], [1.0])


def test_scales(nucleus: Experiment, free: Experiment) -> None:
    """That of the moment is taken at mass 0, that of the mass is 1 MeV."""
    assert coupling_scale(free.model, "m_N") == 1.0
    assert coupling_scale(free.model, "d_nue") == pytest.approx(
        coupling_scale(nucleus.at(0.0).model, "d_nue"), rel=1e-3
    )


@pytest.fixture(scope="module")
def symbolic(free: Experiment) -> Callable[[float, float], tuple[np.ndarray, np.ndarray]]:
    """Expected counts and their slope in m_N, compiled."""
    model: CountModel = free.model.restrict(["d_nue", "m_N"], [4e-11, 1.0])
    theta = [pt.dscalar("d"), pt.dscalar("m")]
    counts = expected_counts(
        pt.as_tensor(model.arrays), model.monomial_values(theta, pt), pt.ones(len(model.components))
    )
    # The slope of a weighted sum of bins.
    slope = pt.grad((counts * WEIGHTS).sum(), theta[1])
    function = pytensor.function(theta, [counts, slope], mode="FAST_COMPILE")
    return lambda d, m: tuple(function(d, m))


@pytest.mark.parametrize("m_N", [0.0, 0.31, 2.77, 6.9])
def test_pytensor_gives_the_same_counts_and_their_slope(
    free: Experiment, symbolic: Callable[[float, float], tuple[np.ndarray, np.ndarray]], m_N: float
) -> None:
    def counts(mass: float) -> np.ndarray:
        return free.model.expected({"d_nue": 1e-10, "m_N": mass})

    found, slope = symbolic(2.5, m_N)
    np.testing.assert_allclose(found, counts(m_N), rtol=1e-12)
    step = 1e-4
    difference = WEIGHTS @ (counts(m_N + step) - counts(m_N - step)) / (2 * step)
    assert float(slope) == pytest.approx(difference, rel=1e-5, abs=1e-6)


def test_models_at_the_nodes_are_reproduced(nucleus: Experiment) -> None:
    spline = MassSpline(2.0, 4.0)
    models = [nucleus.at(abs(mass)).model for mass in spline.nodes.tolist()]
    model = free_mass(models, spline)
    np.testing.assert_allclose(
        model.expected({"d_nue": 1e-10, "m_N": 2.0}), nucleus.at(2.0).model.expected({"d_nue": 1e-10}), rtol=1e-9
    )
