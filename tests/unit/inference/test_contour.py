"""The asymptotic contour of two couplings, against fine grids, formulas and MNCONTOUR."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import contourpy
import numpy as np
import pytest
from iminuit import Minuit
from scipy import ndimage
from scipy.spatial import cKDTree

from bayesnu.errors import ConvergenceError, UsageError
from bayesnu.experiment.expectation import CountModel, MassSpline
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference import contour as module
from bayesnu.inference.batch import BestFits, fit_couplings
from bayesnu.inference.contour import ACCURACY, LEAST_POINTS, POINTS, Contour, profile_contour
from bayesnu.inference.likelihood import Problem, make_problem, minimise_pulls, squared_only
from bayesnu.inference.profile import minima, profile_grid
from bayesnu.plotting.regions import plot_contour
from bayesnu.results.contour import contour, contour_json

CHARGES, MOMENTS = ("q_nue", "q_numu"), ("mu_nue", "mu_numu")
SQUARES = ((), ((0, 2),), ((1, 2),))


def normal(names: tuple[str, str], monomials: tuple[tuple[tuple[int, int], ...], ...], counts: list[list[float]],
           seen: list[float]) -> Problem:  # fmt: skip
    """Normal observations of error 1 about 20 and polynomials of two couplings; no pulls."""
    arrays = np.array([[[20.0] * len(seen), *counts]])
    model = CountModel(names, monomials, ((),), ("c",), (), np.zeros(0), arrays)
    data = 20.0 + np.array(seen)
    return Problem(names, np.ones(2), model, data, np.ones(data.size), np.zeros(data.size))


def checked(problem: Problem, found: Contour) -> Contour:
    """Check the points by fits and the lines, with their number, by a grid that reaches a quarter further.

    Distances are fractions of the region's extent.
    """
    best = minimise_pulls(problem, np.array([found.best]).T / problem.scales[:, None]).value[0]
    points = np.concatenate(found.lines)
    delta = minimise_pulls(problem, (points / problem.scales).T).value - best
    assert np.abs(delta - found.level).max() <= 1.01 * ACCURACY * min(found.level, 1.0)
    assert found.accuracy == pytest.approx(np.abs(delta - found.level).max(), abs=1e-6)
    (x_low, x_high), (y_low, y_high) = found.extremes
    extent = np.array([x_high - x_low, y_high - y_low])
    low, high = np.array([x_low, y_low]) - 0.25 * extent, np.array([x_high, y_high]) + 0.25 * extent
    low = np.where(squared_only(problem), np.maximum(low, 0.0), low)
    grid = profile_grid(problem, *(np.linspace(*ends, 120) for ends in zip(low, high, strict=True)))
    # No grid point is below the best fit.
    values = minimise_pulls(problem, np.array([[grid.x[60]], [grid.y[60]]]) / problem.scales[:, None]).value[0]
    above_best = grid.delta + (values - best - grid.delta[60, 60])
    assert above_best.min() > -1e-6
    lines = contourpy.contour_generator(grid.x, grid.y, above_best.T).lines(found.level)
    assert len(lines) == len(found.lines)
    assert found.parts == ndimage.label(above_best <= found.level, np.ones((3, 3)))[1]
    share = np.linspace(0, 1, 20)[:, None]
    ours = np.concatenate([a + share * (b - a) for own in found.lines for a, b in pairwise(own)])
    theirs = np.concatenate(lines)
    assert cKDTree(ours / extent).query(theirs / extent)[0].max() < 0.01
    assert cKDTree(theirs / extent).query(points / extent)[0].max() < 0.01
    assert max(np.hypot(*(np.diff(line, axis=0) / extent).T).max() for line in found.lines) < 0.08
    for line in found.lines:
        assert len(line) > LEAST_POINTS
        ends = line[[0, -1]]
        assert (ends[0] == ends[1]).all() or (ends[:, squared_only(problem)] == 0).any(axis=1).all()
    assert found.points > POINTS
    return found


@pytest.mark.parametrize(
    ("names", "parts"),
    [(CHARGES, 1), (MOMENTS, 1), (("r2_nue", "q_nue"), 1), (("r2_nue", "r2_numu"), 2)],
)
def test_lines_are_those_of_a_fine_grid(prism: Experiment, names: tuple[str, str], parts: int) -> None:
    problem = make_problem(prism, names)
    assert checked(problem, profile_contour(problem, 0.9)).parts == parts


def test_region_with_a_hole_at_the_edge() -> None:
    """Two solutions of the charge, joined by a moment: two lines from 0 to 0 of the moment, one part."""
    experiment = load_experiment("dune-on-axis", [f"exposures.{k}.years=35" for k in (0, 1)])
    problem = make_problem(experiment, ("mu_nue", "q_nue"), "chi2")
    found = checked(problem, profile_contour(problem, 0.68))
    assert (found.parts, len(found.lines)) == (1, 2)


def test_observed_excess(observe: Callable[[dict[str, float]], Experiment]) -> None:
    """A large moment: either flavour's, or both in a narrow band."""
    problem = make_problem(observe({"mu_numu": 2e-9}), MOMENTS)
    found = checked(problem, profile_contour(problem, 0.9))
    assert found.best[1] == pytest.approx(2e-9, rel=0.02)
    assert found.extremes[1][1] < 2.3e-9


@pytest.mark.parametrize(("root", "parts"), [(1.0, 1), (3.0, 4), (10.0, 4)])
def test_parts_by_formula(root: float, parts: int) -> None:
    """(x² - r²)² + (y² - r²)² has four minima, whose parts are small and far apart where r is large."""
    problem = normal(CHARGES, SQUARES, [[1.0, 0.0], [0.0, 1.0]], [root**2, root**2])
    found = profile_contour(problem, 0.9)
    assert (found.parts, len(found.lines)) == (parts, parts)
    for x, y in (line.T for line in found.lines):
        np.testing.assert_allclose((x**2 - root**2) ** 2 + (y**2 - root**2) ** 2, -2 * np.log(0.1), atol=ACCURACY)
    centres = {tuple(np.sign(line.mean(axis=0)).tolist()) for line in found.lines}
    assert len(centres) == parts


@pytest.mark.parametrize("distance", [10.0, 100.0])
def test_second_solution_far_away(distance: float) -> None:
    """x (1 - x/d) is 0 at d again."""
    monomials = ((), ((0, 1),), ((0, 2),), ((1, 1),))
    problem = normal(CHARGES, monomials, [[1.0, 0.0], [-1 / distance, 0.0], [0.0, 1.0]], [0.0, 0.0])
    found = profile_contour(problem, 0.9)
    assert found.parts == 2
    assert found.extremes[0][1] > distance


@pytest.mark.parametrize(("correlation", "cl"), [(0.0, 0.9), (0.99, 0.9), (0.5, 0.01), (0.5, 0.9999)])
def test_ellipse(correlation: float, cl: float) -> None:
    """Two normal observations: the sum and the difference of two couplings, whose errors are 1."""
    long, short = np.sqrt((1 + correlation) / 2), np.sqrt((1 - correlation) / 2)
    counts = [[0.5 / long, 0.5 / short], [0.5 / long, -0.5 / short]]
    problem = normal(CHARGES, ((), ((0, 1),), ((1, 1),)), counts, [0.3, -0.2])
    found = profile_contour(problem, cl)
    (line,) = found.lines
    assert np.abs(found.best - np.array([long * 0.3 - short * 0.2, long * 0.3 + short * 0.2])).max() < 1e-6
    reach = np.sqrt(-2 * np.log(1 - cl))
    for ends, centre in zip(found.extremes, found.best, strict=True):
        assert (np.array(ends) - centre) / reach == pytest.approx([-1, 1], abs=0.01)
    x, y = (line - found.best).T
    distance = (x**2 - 2 * correlation * x * y + y**2) / (1 - correlation**2)
    np.testing.assert_allclose(distance, found.level, atol=1.01 * ACCURACY * min(1.0, found.level))


def test_bent_valley() -> None:
    monomials = ((), ((0, 1),), ((1, 1),), ((0, 2),))
    problem = normal(CHARGES, monomials, [[1.0, 0.0], [0.0, 3.0], [0.0, -3.0]], [0.0, 0.0])
    found = profile_contour(problem, 0.9)
    (line,) = found.lines
    np.testing.assert_allclose(line[:, 0] ** 2 + 9 * (line[:, 1] - line[:, 0] ** 2) ** 2, found.level, atol=ACCURACY)
    assert found.extremes[1] == pytest.approx((-np.sqrt(found.level) / 3, found.level), rel=0.03)


def test_points_of_mncontour_are_on_the_line(on_axis: Experiment) -> None:
    """MNCONTOUR's are good to 0.2 in Δχ²."""
    problem = make_problem(on_axis, ("r2_numu", "q_numu"))
    model, data = problem.model, problem.data
    arrays = model.arrays.reshape(-1, data.size)

    def deviance(y: np.ndarray) -> float:
        weights = ((1 + model.widths * y[2:]) ** model.membership).prod(axis=1)
        expected = (weights[:, None] * model.monomial_values(y[:2, None])[:, 0]).ravel() @ arrays
        return float(2 * (expected - data + data * np.log(data / expected)).sum() + (y[2:] ** 2).sum())

    minuit = Minuit(deviance, np.zeros(2 + len(model.pulls)))
    minuit.errordef = 1.0
    minuit.migrad().hesse()
    theirs = np.asarray(minuit.mncontour("x0", "x1", cl=0.9, size=8)) * problem.scales
    found = profile_contour(problem, 0.9)
    (line,) = found.lines
    extent = np.ptp(line, axis=0)
    share = np.linspace(0, 1, 20)[:, None]
    dense = np.concatenate([a + share * (b - a) for a, b in pairwise(line)])
    assert len(theirs) >= 8
    assert cKDTree(dense / extent).query(theirs / extent)[0].max() < 0.02


def test_what_is_refused(on_axis: Experiment) -> None:
    with pytest.raises(UsageError, match="needs 2 couplings, not 1"):
        profile_contour(make_problem(on_axis, ["q_nue"]), 0.9)
    linear = ((), ((0, 1),), ((1, 1),))
    for second in ([1.0, 1.0], [1.0, 1.0 + 1e-7]):
        with pytest.raises(ConvergenceError, match="q_nue and q_numu: the data do not bound them together"):
            profile_contour(normal(CHARGES, linear, [[1.0, 1.0], second], [0.0, 0.0]), 0.9)


def test_needle_is_refused_rather_than_cut_into_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayesnu.inference.contour.SIDES", (12, 24))
    needle = normal(CHARGES, ((), ((0, 1),), ((1, 1),)), [[1.0, 100.0], [1.0, -100.0]], [0.0, 0.0])
    with pytest.raises(ConvergenceError, match="the region is too thin, or -2 ln L too rough, for 24 × 24 points"):
        profile_contour(needle, 0.9)


def test_card(on_axis: Experiment) -> None:
    found = contour(on_axis, CHARGES)
    content = json.loads(json.dumps(contour_json("dune-on-axis", found)))
    assert content["points"] == sum(len(line) for line in content["lines"]) == found.points
    assert content["extremes"][0] == pytest.approx([-1.84e-8, 4.88e-8], rel=0.01)
    assert content["delta_chi2"] == pytest.approx(4.605, abs=1e-3)
    text = repr(found)
    assert "90% contour of q_nue and q_numu" in text
    assert "-1.84e-08, 4.88e-08 e" in text
    for couplings, cl, message in (
        (("q_nue", "q_nue"), 0.9, "must be two different ones"),
        (("q_nue", "q_nux"), 0.9, "did you mean 'q_nue'"),
        (CHARGES, 1.0, "cl = 1.0: must be between 0 and 1"),
    ):
        with pytest.raises(UsageError, match=message):
            contour(on_axis, couplings, cl)


@pytest.mark.parametrize("given", [("q_nue",), ("q_nue", "q_numu", "mu_nue"), "q_nue,q_numu", ("q_nue", "m_N")])
def test_what_is_no_pair(on_axis: Experiment, given: tuple[str, ...] | str) -> None:
    with pytest.raises(UsageError, match=r"couplings = |unknown coupling 'm_N'"):
        contour(on_axis, given)


def test_weak_mixing_angle_is_the_cards(on_axis: Experiment) -> None:
    with pytest.raises(UsageError, match="sin2_theta_w takes its value from the card here"):
        contour(on_axis.with_free_mixing_angle(), ("q_nue", "sin2_theta_w"))


@pytest.mark.parametrize("name", ["r2_numu", "mu_nue"])
def test_region_beside_a_plateau(name: str) -> None:
    """A pull of 25% takes in nearly all of any signal: a plateau at 16, far beyond the region."""
    loose = load_experiment("dune-prism", ["pulls.flux_norm=0.25"])
    problem = make_problem(loose, ["r2_nue", name])
    found = profile_contour(problem, 0.9)
    assert np.abs(np.array(found.best) / problem.scales).max() < 1e-6
    lowest = minima(problem, 10.0).value[0]
    line = np.concatenate(found.lines).T / problem.scales[:, None]
    np.testing.assert_allclose(minimise_pulls(problem, line).value - lowest, found.level, atol=0.01)


def test_region_that_is_bounded_along_both_axes_alone() -> None:
    """Far out, in a direction of its own, a signal of another strength fits nearly as well: Δ = 1.3."""
    loose = load_experiment("dune-on-axis", ["pulls.flux_norm=1.0"])
    problem = make_problem(loose, ["r2_nue", "r2_numu"])
    shifted = problem.model.signal_strengths(np.array([[3.0], [3.0]]))[0].sum(axis=0)
    with pytest.raises(ConvergenceError, match="do not bound them together"):
        profile_contour(replace(problem, data=shifted), 0.9)


def test_minimum_that_no_fit_reaches_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = normal(CHARGES, ((), ((0, 1),), ((1, 1),)), [[1.0, 0.0], [0.0, 1.0]], [1.0, 0.5])

    def short(problem: Problem, data: np.ndarray, starts: np.ndarray) -> BestFits:
        fits = fit_couplings(problem, data, starts)
        return replace(fits, value=fits.value + 3.0)

    monkeypatch.setattr(module, "fit_couplings", short)
    with pytest.raises(ConvergenceError, match="fits end above the lowest point that was seen"):
        profile_contour(problem, 0.9)


def test_minimum_that_the_grid_shows_below_all_fits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = normal(CHARGES, ((), ((0, 1),), ((1, 1),)), [[1.0, 0.0], [0.0, 1.0]], [1.0, 0.5])
    valleys, box = module._valleys(problem, 4.6)
    above = replace(valleys, values=valleys.values + 3.0)
    monkeypatch.setattr(module, "_dips", lambda *_: np.empty((0, 2)))
    assert module._bounded(problem, valleys, box, 12, 4.6)[1] is valleys
    with pytest.raises(ConvergenceError, match="fits end above the lowest point that was seen"):
        module._bounded(problem, above, box, 12, 4.6)


def test_fits_that_do_not_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = normal(CHARGES, ((), ((0, 1),), ((1, 1),)), [[1.0, 0.0], [0.0, 1.0]], [1.0, 0.5])

    def endless(problem: Problem, data: np.ndarray, starts: np.ndarray) -> BestFits:
        fits = fit_couplings(problem, data, starts)
        return replace(fits, converged=np.zeros_like(fits.converged))

    monkeypatch.setattr(module, "fit_couplings", endless)
    with pytest.raises(ConvergenceError, match="no fit converged"):
        profile_contour(problem, 0.9)


def test_mass_of_n_stays_fixed() -> None:
    problem = normal(CHARGES, ((), ((0, 1),), ((1, 1),)), [[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])
    free = replace(problem, model=replace(problem.model, masses=MassSpline((0.0, 7.5), (8,))))
    with pytest.raises(UsageError, match="q_nue, q_numu: a contour takes the mass of N fixed"):
        profile_contour(free, 0.9)


def test_figure(on_axis: Experiment) -> None:
    found = contour(on_axis, MOMENTS)
    figure = plot_contour("card", found)
    figure.canvas.draw()
    (axis,) = figure.axes
    assert (axis.get_xlim()[0], axis.get_ylim()[0]) == (0.0, 0.0)
    (line,) = [line for line in axis.lines if line.get_marker() == "None"]
    np.testing.assert_allclose(np.array(line.get_data()).T * [1e-9, 1e-10], found.lines[0])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [r"$\Delta(-2\ln L)=4.61$", "no new physics", "best fit"]
    assert axis.get_xlabel().endswith(r"[$10^{-9}\,\mu_B$]")
