"""Intervals as unions, Δχ² curves and grids."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bayesnu.errors import ConvergenceError, UsageError
from bayesnu.experiment.expectation import CountModel
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference import profile
from bayesnu.inference.likelihood import Problem, make_problem, minimise_pulls
from bayesnu.inference.profile import delta_chi2_intervals, delta_chi2_level, profile_curve, profile_grid


@pytest.mark.parametrize(
    ("cl", "couplings", "level"),
    [(0.9, 1, 2.7055), (0.9, 2, 4.6052), (0.95, 1, 3.8415), (0.6826895, 1, 1.0), (0.99, 2, 9.2103)],
)
def test_levels(cl: float, couplings: int, level: float) -> None:
    assert delta_chi2_level(cl, couplings) == pytest.approx(level, abs=1e-4)


@pytest.mark.parametrize("cl", [0.0, 1.0, -0.5, 90, float("nan")])
def test_level_must_be_a_probability(cl: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        delta_chi2_level(cl, 1)


@pytest.mark.parametrize("cl", [0.68, 0.99])
@pytest.mark.parametrize("name", ["r2_numu", "q_nue", "mu_nue"])
def test_ends_are_at_the_level_and_the_inside_is_below(on_axis: Experiment, name: str, cl: float) -> None:
    problem = make_problem(on_axis, [name], "chi2")
    level = delta_chi2_level(cl, 1)
    for low, high in delta_chi2_intervals(problem, cl):
        inside = minimise_pulls(problem, np.linspace(low, high, 30)[None, :] / problem.scales[0]).value
        assert (inside < level + 1e-6).all()
        assert inside[-1] == pytest.approx(level, abs=1e-6)
        assert low == 0.0 if name == "mu_nue" else inside[0] == pytest.approx(level, abs=1e-6)


def test_intervals_widen_with_the_level(on_axis: Experiment) -> None:
    problem = make_problem(on_axis, ["q_numu"], "chi2")
    (inner,), (outer,) = (delta_chi2_intervals(problem, cl) for cl in (0.68, 0.95))
    assert outer[0] < inner[0] < 0 < inner[1] < outer[1]


@pytest.mark.parametrize(("cl", "years", "pieces"), [(0.9, 3.5, 1), (0.4, 3.5, 2), (0.3, 3.5, 1), (0.9, 35, 2)])
def test_second_solution_of_the_nue_millicharge(cl: float, years: float, pieces: int) -> None:
    """Interference cancels the quadratic term near +2.9e-8 e: two pieces where Δχ² between is above the level."""
    experiment = load_experiment("dune-on-axis", [f"exposures.{k}.years={years}" for k in (0, 1)])
    problem = make_problem(experiment, ["q_nue"], "chi2")
    intervals = delta_chi2_intervals(problem, cl)
    assert len(intervals) == pieces
    assert intervals[0][0] < 0 < intervals[0][1]
    level = delta_chi2_level(cl, 1)
    # A fine scan must find the same set.
    scan = np.linspace(-3e-8, 6e-8, 3001)
    allowed = minimise_pulls(problem, scan[None, :] / problem.scales[0]).value < level
    in_union = np.any([(low < scan) & (scan < high) for low, high in intervals], axis=0)
    np.testing.assert_array_equal(allowed, in_union)
    if pieces == 2:
        assert intervals[0][1] < intervals[1][0] < 2.9e-8 < intervals[1][1]


def test_interval_of_observed_data_excludes_zero(observe: Callable[[dict[str, float]], Experiment]) -> None:
    experiment = observe({"r2_numu": 6e-33})
    for kind in ("chi2", "poisson"):
        ((low, high),) = delta_chi2_intervals(make_problem(experiment, ["r2_numu"], kind), 0.9)
        assert 0 < low < 6e-33 < high


def test_squared_coupling_with_an_excess_has_a_lower_bound(observe: Callable[[dict[str, float]], Experiment]) -> None:
    experiment = observe({"mu_numu": 6e-10})
    ((low, high),) = delta_chi2_intervals(make_problem(experiment, ["mu_numu"], "chi2"), 0.9)
    assert 1e-10 < low < 6e-10 < high


@pytest.mark.parametrize("kind", ["chi2", "poisson"])
def test_squared_coupling_with_a_large_excess(observe: Callable[[dict[str, float]], Experiment], kind: str) -> None:
    experiment = observe({"mu_numu": 3e-9})
    ((low, high),) = delta_chi2_intervals(make_problem(experiment, ["mu_numu"], kind), 0.9)
    assert 2.8e-9 < low < 3e-9 < high < 3.2e-9


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_secants_find_the_ends_of_the_scan(on_axis: Experiment, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where counts are linear in the square of a coupling no scan is made; it would find the same interval."""
    problem = make_problem(on_axis, ["mu_numu"])
    seen = problem.model.signal_strengths(np.array([[value]]))[0].sum(axis=0)
    problem = replace(problem, data=seen)
    assert profile.linear_in_square(problem)
    found = delta_chi2_intervals(problem, 0.9)
    monkeypatch.setattr(profile, "linear_in_square", lambda _: False)
    (scanned,) = delta_chi2_intervals(replace(problem), 0.9)
    assert (scanned[0] > 0) == (value > 0)
    np.testing.assert_allclose(found[0], scanned, rtol=1e-8)


def test_a_plateau_below_the_level_has_no_end() -> None:
    """Where a wide pull absorbs any signal, -2 ln L stays below the level until rounding lifts it far out."""
    wide = ["pulls.flux_norm=1", "backgrounds.flat_per_kev_kg_day=1e4"]
    problem = make_problem(load_experiment("nucleus-10g", wide), ["mu_nue"], "chi2")
    plateau = minimise_pulls(problem, np.array([[0.0, 300.0, 1000.0]])).value
    level = delta_chi2_level(0.9, 1)
    assert plateau[1:] - plateau.min() == pytest.approx(plateau[1] - plateau.min(), rel=1e-2)
    assert plateau[2] - plateau.min() < level
    with pytest.raises(ConvergenceError, match="do not bound"):
        delta_chi2_intervals(problem, 0.9)


def test_counts_with_odd_or_higher_powers_are_scanned(on_axis: Experiment) -> None:
    assert not profile.linear_in_square(make_problem(on_axis, ["q_nue"]))
    assert not profile.linear_in_square(make_problem(on_axis, ["mu_nue", "mu_numu"]))


def test_chi2_variances_and_poisson_differ_as_they_should(on_axis: Experiment) -> None:
    """A larger variance gives a wider interval; Poisson's, with n = S + B, is close to that of the honest variance."""
    widths = {}
    for kind, variance in (("chi2", "sm"), ("chi2", "sm+background"), ("poisson", "sm")):
        ((low, high),) = delta_chi2_intervals(make_problem(on_axis, ["r2_numu"], kind, variance), 0.9)
        widths[kind, variance] = high - low
    assert widths["chi2", "sm"] < 0.99 * widths["chi2", "sm+background"]
    assert widths["poisson", "sm"] == pytest.approx(widths["chi2", "sm+background"], rel=0.01)


def test_curve(on_axis: Experiment) -> None:
    problem = make_problem(on_axis, ["q_nue"], "chi2")
    curve = profile_curve(problem, threshold=10)
    assert (np.diff(curve.values) > 0).all()
    assert curve.delta.min() == 0
    assert curve.delta[[0, -1]] == pytest.approx([10, 10], abs=1e-3)
    assert curve.best == pytest.approx(0, abs=1e-10)
    again = minimise_pulls(problem, curve.values[None, ::50] / problem.scales[0]).value
    np.testing.assert_allclose(curve.delta[::50], again, atol=1e-7)


def test_two_coupling_grid(prism: Experiment) -> None:
    names = ("q_nue", "r2_nue")
    x, y = np.linspace(-1e-8, 1e-8, 5), np.linspace(-2e-31, 2e-31, 7)
    grid = profile_grid(make_problem(prism, names, "chi2"), x, y)
    assert grid.delta.shape == (5, 7)
    assert grid.delta.min() == 0
    assert np.unravel_index(grid.delta.argmin(), grid.delta.shape) == (2, 3)
    one = minimise_pulls(problem := make_problem(prism, ["q_nue"], "chi2"), x[None, :] / problem.scales[0])
    np.testing.assert_allclose(grid.delta[:, 3], one.value, atol=1e-6)
    other = minimise_pulls(problem := make_problem(prism, ["r2_nue"], "chi2"), y[None, :] / problem.scales[0])
    np.testing.assert_allclose(grid.delta[2], other.value, atol=1e-6)


def test_rows_of_a_grid_stay_in_their_places(on_axis: Experiment) -> None:
    """Threads fit some rows each, of which the last may have fewer."""
    problem = make_problem(on_axis, ["q_nue", "mu_numu"])
    x, y = np.linspace(-3e-8, 4e-8, 2 * profile.ROWS + 2), np.linspace(0, 6e-10, 3)
    grid = profile_grid(problem, x, y)
    first, second = np.meshgrid(x / problem.scales[0], y / problem.scales[1], indexing="ij")
    value = minimise_pulls(problem, np.stack([first.ravel(), second.ravel()])).value.reshape(grid.delta.shape)
    np.testing.assert_allclose(grid.delta, value - value.min(), atol=1e-7)


def test_grid_includes_the_product_of_charge_and_radius(prism: Experiment) -> None:
    """Both shift g_V: with the product left out, the corners of equal and of opposite sign would be symmetric sums."""
    values = np.array([-1e-8, 0, 1e-8]), np.array([-2e-31, 0, 2e-31])
    problem = make_problem(prism, ["q_nue", "r2_nue"], "chi2")
    assert ((0, 1), (1, 1)) in problem.model.monomials
    delta = profile_grid(problem, *values).delta
    counts = prism.model.expected({"q_nue": 1e-8, "r2_nue": 2e-31})
    parts = prism.model.expected({"q_nue": 1e-8}) + prism.model.expected({"r2_nue": 2e-31}) - prism.model.expected()
    assert np.abs(counts - parts).max() > 1
    assert delta[2, 2] != pytest.approx(delta[2, 1] + delta[1, 2], rel=0.05)


def test_grid_needs_two_couplings(prism: Experiment) -> None:
    with pytest.raises(UsageError, match="needs 2 couplings, not 1"):
        profile_grid(make_problem(prism, ["q_nue"]), np.zeros(2), np.zeros(2))


def test_counts_that_end_inside_the_range() -> None:
    """λ = 3 (θ - 1)(θ - 3), no count seen: Δ = 2 λ outside, and between 1 and 3 no counts are possible at all."""
    arrays = np.array([[[9.0], [-12.0], [3.0]]])
    model = CountModel(("q_nue",), ((), ((0, 1),), ((0, 2),)), ((),), ("all",), (), np.zeros(0), arrays)
    problem = Problem(("q_nue",), np.ones(1), model, np.zeros(1), np.zeros(1), np.zeros(1))
    half = np.sqrt(1 + delta_chi2_level(0.9, 1) / 6)
    np.testing.assert_allclose(delta_chi2_intervals(problem, 0.9), [[2 - half, 1], [3, 2 + half]], atol=1e-6)
