"""χ² limits of both cards against the numbers of the issue and of the physics page."""

import math

import pytest

from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.likelihood import make_problem
from bayesnu.inference.profile import delta_chi2_intervals

ROOT_ALPHA = math.sqrt(1 / 137.035999)


def limit(experiment: Experiment, name: str, variance: str = "sm") -> tuple[float, float]:
    ((low, high),) = delta_chi2_intervals(make_problem(experiment, [name], "chi2", variance), 0.90)
    return low, high


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("mu_numu", 0.0, 2.94e-10),
        ("r2_numu", -2.09e-33, 2.08e-33),
        ("q_numu", -1.07e-9, 1.07e-9),
        ("mu_nue", 0.0, 2.67e-9),
    ],
)
def test_on_axis(on_axis: Experiment, name: str, low: float, high: float) -> None:
    assert limit(on_axis, name) == pytest.approx((low, high), rel=0.01, abs=0)


def test_prism_mu_nue(prism: Experiment) -> None:
    assert limit(prism, "mu_nue") == pytest.approx((0.0, 2.33e-9), rel=0.01, abs=0)


def test_r2_nue_on_axis_hangs_on_the_background_pulls(on_axis: Experiment) -> None:
    """-3.1, 2.9e-31 with background pulls; -1.9, 1.5e-31 without."""
    fixed = load_experiment("dune-on-axis", ["pulls.ccqe=0", "pulls.pi0=0"])
    assert limit(on_axis, "r2_nue") == pytest.approx((-3.1e-31, 2.9e-31), abs=0.05e-31)
    assert limit(fixed, "r2_nue") == pytest.approx((-1.9e-31, 1.5e-31), abs=0.05e-31)


@pytest.mark.parametrize(("fixture", "published_upper"), [("on_axis", 1.22e-9), ("prism", 0.93e-9)])
def test_nue_millicharge_upper_end_in_published_units(
    fixture: str, published_upper: float, request: pytest.FixtureRequest
) -> None:
    """A published upper end is the true lower end times -√α."""
    low, _ = limit(request.getfixturevalue(fixture), "q_nue")
    assert -low * ROOT_ALPHA == pytest.approx(published_upper, abs=0.005e-9)


def test_nue_millicharge_runs_through_its_second_solution(on_axis: Experiment) -> None:
    """To -3.76e-9 in published units and sign, that is +3.76e-9/√α true."""
    _, high = limit(on_axis, "q_nue")
    assert high == pytest.approx(3.76e-9 / ROOT_ALPHA, rel=0.005)


def test_numu_millicharge_in_published_units(on_axis: Experiment) -> None:
    """-9.16e-11 < q_numu < 9.12e-11 with the published reading of e."""
    low, high = limit(on_axis, "q_numu")
    assert (-high * ROOT_ALPHA, -low * ROOT_ALPHA) == pytest.approx((-9.16e-11, 9.12e-11), rel=0.005)


def test_numu_millicharge_as_printed() -> None:
    """±2.3e-10 with (4.8) and (4.9) letter by letter."""
    printed = load_experiment("dune-on-axis", ["physics.millicharge=as-printed"])
    assert limit(printed, "q_numu") == pytest.approx((-2.3e-10, 2.3e-10), abs=0.05e-10)


@pytest.mark.parametrize("name", ["r2_numu", "q_numu"])
def test_separate_pulls_weaken_the_limits(on_axis: Experiment, separate_pulls: Experiment, name: str) -> None:
    """2 to 3.5 times, as ν and ν̄ feel the coupling with opposite sign."""
    for shared, separate in zip(limit(on_axis, name), limit(separate_pulls, name), strict=True):
        assert 2.0 < separate / shared < 3.5


@pytest.mark.parametrize("name", ["mu_numu", "r2_numu", "q_numu"])
def test_prism_is_worse_for_numu(on_axis: Experiment, prism: Experiment, name: str) -> None:
    assert limit(prism, name)[1] > limit(on_axis, name)[1]


@pytest.mark.parametrize("name", ["mu_nue", "r2_nue", "q_nue"])
def test_prism_is_better_for_nue(on_axis: Experiment, prism: Experiment, name: str) -> None:
    assert limit(prism, name)[1] < limit(on_axis, name)[1]
