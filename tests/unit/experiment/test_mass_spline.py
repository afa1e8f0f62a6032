"""m_N free in the expected counts: the spline, against templates folded at the mass itself, in NumPy and PyTensor."""

from collections.abc import Callable

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from bayesnu.errors import UsageError
from bayesnu.experiment.expectation import CountModel, MassSpline, expected_counts, free_mass
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.likelihood import coupling_scale, make_problem, minimise_pulls

WEIGHTS = np.random.default_rng(5).uniform(-1, 1, 80)


@pytest.fixture(scope="module")
def nucleus() -> Experiment:
    return load_experiment("nucleus-10g")


@pytest.fixture(scope="module")
def free(nucleus: Experiment) -> Experiment:
    return nucleus.with_free_mass(7.5)


@pytest.fixture(scope="module")
def coherent() -> tuple[Experiment, Experiment]:
    experiment = load_experiment("coherent-csi-2017")
    return experiment, experiment.with_free_mass(52.0)


@pytest.fixture(scope="module")
def radiative() -> Experiment:
    return load_experiment("nucleus-10g-radiative", ["detector.bins=6"])


@pytest.fixture(scope="module")
def to_the_end(nucleus: Experiment) -> Experiment:
    return nucleus.with_free_mass(9.0)


def even(mass: np.ndarray) -> np.ndarray:
    return np.exp(-((mass / 3) ** 2)) * (1 + mass**2)


def test_spline_is_of_fourth_order() -> None:
    masses = np.linspace(0, 6, 501)
    errors = []
    for steps in (48, 96, 192):
        spline = MassSpline((0.0, 6.0), (steps,))
        coefficients = spline.coefficients(even(spline.nodes))
        errors.append(float(np.abs(coefficients @ spline.basis(masses) - even(masses)).max()))
    assert errors[0] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.4)
    assert errors[1] / errors[2] == pytest.approx(16, rel=0.4)


def test_spline_goes_through_its_nodes_and_adds_up_to_one() -> None:
    spline = MassSpline((0.0, 1.0, 3.0), (6, 8))
    values = np.random.default_rng(2).normal(size=(spline.nodes.size, 4))
    # The last node of a piece is the first of the next, whose side holds there.
    inner = [k for k in range(spline.nodes.size) if k != 6]
    at_nodes = np.einsum("ko,km->mo", spline.coefficients(values), spline.basis(spline.nodes[inner]))
    np.testing.assert_allclose(at_nodes, values[inner], atol=1e-4)
    np.testing.assert_allclose(spline.basis(np.linspace(0, 3, 50)).sum(axis=0), 1, rtol=1e-12)
    np.testing.assert_array_equal(spline.basis(np.array([3.01, 9.0])), 0)


def test_a_threshold_inside_is_no_trouble() -> None:
    """√(2 - m) below 2 and nothing above, beside what is smooth: no ringing about the threshold."""

    def closing(mass: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(2 - mass, 0)) + np.maximum(3 - mass, 0) ** 1.5

    spline, masses = MassSpline((0.0, 2.0, 3.0), (40, 40)), np.linspace(0, 3, 1001)
    found = spline.coefficients(closing(spline.nodes)) @ spline.basis(masses)
    np.testing.assert_allclose(found, closing(masses), atol=3e-6)


@pytest.mark.parametrize("m_N", [0.05, 0.7, 2.03, 4.4, 6.1, 7.3])
def test_interpolated_counts_are_those_of_the_mass(nucleus: Experiment, free: Experiment, m_N: float) -> None:
    """To 1e-3 in every bin that holds more than 1% of the counts."""
    assert interpolation_error(nucleus, free, "d_nue", m_N) < 1e-5


def interpolation_error(experiment: Experiment, free: Experiment, coupling: str, m_N: float) -> float:
    """Largest relative error of the signal in the bins that hold more than 1% of it."""
    own = experiment.at(m_N).model
    exact = own.expected({coupling: 1e-10}) - own.expected()
    found = free.model.expected({coupling: 1e-10, "m_N": m_N}) - free.model.expected({"m_N": m_N})
    large = exact > 0.01 * exact.sum()
    assert large.sum() > 2
    assert np.abs(found - exact).max() < 1e-3 * exact.max()
    return float(np.abs(found[large] / exact[large] - 1).max())


@pytest.mark.parametrize("m_N", [7.5, 7.83, 7.9])
def test_up_to_the_heaviest_that_the_flux_makes(nucleus: Experiment, to_the_end: Experiment, m_N: float) -> None:
    """A prior beyond the highest neutrino energy ends where the counts do."""
    free = to_the_end
    assert free.model.masses is not None
    assert free.model.masses.breaks == (0.0, 8.0)
    assert interpolation_error(nucleus, free, "d_nue", m_N) < 5e-3
    assert free.model.expected({"d_nue": 1e-8, "m_N": 8.5}) == pytest.approx(free.model.expected())


@pytest.mark.slow
@pytest.mark.parametrize("m_N", [1.0, 28.9, 29.55, 29.7, 30.05, 45.0])
def test_across_the_line_of_pion_decay(coherent: tuple[Experiment, Experiment], m_N: float) -> None:
    experiment, free = coherent
    assert free.model.masses is not None
    assert free.model.masses.breaks == pytest.approx((0.0, 29.79, 52.0), abs=0.01)
    assert interpolation_error(experiment, free, "d_numu", m_N) < 1e-3


@pytest.mark.slow
def test_closed_bins_stay_possible(radiative: Experiment) -> None:
    """Without background a bin that N cannot fill expects nothing, not a trifle less than nothing."""
    experiment = radiative
    free = experiment.with_free_mass(7.5, 16)
    problem = make_problem(free, ["d_nue", "m_N"])
    for mass in (0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 7.47):
        value = minimise_pulls(problem, np.array([[2e-9 / problem.scales[0]], [mass]])).value
        own = make_problem(experiment.at(mass), ["d_nue"])
        exact = minimise_pulls(own, np.array([[2e-9 / own.scales[0]]])).value
        assert np.isfinite(value).all()
        assert value == pytest.approx(exact, rel=0.02)
    assert (free.model.expected({"d_nue": 2e-9, "m_N": 6.0}) >= 0).all()
    model = free.model.restrict(["d_nue", "m_N"], [1e-9, 1.0])
    theta = [pt.dscalar("d"), pt.dscalar("m")]
    counts = expected_counts(
        pt.as_tensor(model.arrays),
        model.monomial_values(theta, pt),
        pt.ones(len(model.components)),
        model.floored,
    )
    function = pytensor.function(theta, counts, mode="FAST_COMPILE")
    for mass in (0.7, 6.0):
        np.testing.assert_allclose(
            function(2.0, mass), free.model.expected({"d_nue": 2e-9, "m_N": mass}), rtol=1e-12, atol=1e-20
        )


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
    """That of the moment is the least over the masses, here at mass 0; that of the mass is 1 MeV."""
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
    spline = MassSpline((0.0, 4.0), (4,))
    models = [nucleus.at(abs(mass)).model for mass in spline.nodes.tolist()]
    model = free_mass(models, spline)
    np.testing.assert_allclose(
        model.expected({"d_nue": 1e-10, "m_N": 2.0}), nucleus.at(2.0).model.expected({"d_nue": 1e-10}), rtol=1e-9
    )
