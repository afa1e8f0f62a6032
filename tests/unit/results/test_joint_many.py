"""Joint fits of more than two couplings: ranges and profiles with the others free, regions, what is stored."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bayesnu.errors import ConvergenceError, UsageError
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.likelihood import Problem, make_problem, minimise_pulls, with_measurement
from bayesnu.inference.priors import Prior
from bayesnu.inference.profile import joint_ranges, minima, profile_others, profile_plane, with_fixed
from bayesnu.inference.sampling import Draws, Sampler
from bayesnu.report.figures import figure_names, region_figure
from bayesnu.report.tables import joint_tables
from bayesnu.results import intervals
from bayesnu.results.joint import joint_priors, pairs_of
from bayesnu.results.joint_region import density_of_draws, stored_region
from bayesnu.results.posterior import load_posterior
from bayesnu.results.runs import Run, make_arguments, run_fits

THREE = ("q_numu", "r2_nue", "r2_numu")
NAMES = ("r2_nue", "r2_numu", "sin2_theta_w")


@pytest.fixture(scope="module")
def three(on_axis: Experiment) -> Problem:
    return make_problem(on_axis, THREE)


def test_fixing_couplings_leaves_the_counts(three: Problem) -> None:
    fixed = with_fixed(three, [0, 2], np.array([1.5, -0.7]))
    assert fixed.couplings == ("r2_nue",)
    for value in (-2.0, 0.0, 3.0):
        np.testing.assert_allclose(
            fixed.model.signal_strengths(np.array([[value]])),
            three.model.signal_strengths(np.array([[1.5], [value], [-0.7]])),
            rtol=1e-12,
        )


def test_profile_is_the_least_over_the_others(three: Problem) -> None:
    """Against a scan of the one coupling that is profiled."""
    points = np.array([[0.0, 1.0, 2.0], [0.0, -1.0, 1.0]])
    starts = minima(three, 25.0).couplings
    found = profile_others(three, [0, 2], points, starts)

    def least(first: float, last: float, scan: np.ndarray) -> tuple[float, float]:
        values = minimise_pulls(three, np.stack([np.full(scan.size, first), scan, np.full(scan.size, last)])).value
        return float(values.min()), float(scan[values.argmin()])

    for k, (first, last) in enumerate(points.T):
        _, place = least(first, last, np.linspace(-120, 80, 401))
        assert found[k] == pytest.approx(least(first, last, place + np.linspace(-1, 1, 401))[0], abs=1e-5)


def test_what_is_known_of_the_mixing_angle_bounds_the_profile(on_axis: Experiment) -> None:
    """Against a scan of the angle with its penalty; without it the profile has no bound along r2_nue = r2_numu."""
    free = on_axis.with_free_mixing_angle()
    problem = make_problem(free, NAMES)
    known = with_measurement(problem, "sin2_theta_w", 0.0005)
    assert known.statistic == "mixed"
    x, y = np.array([0.0, 2e-32]), np.array([0.0, 2e-32])
    found = profile_plane(known, ("r2_nue", "r2_numu"), x, y).delta
    steps = np.linspace(-0.02, 0.02, 8001)
    for k in range(2):
        scan = np.stack([np.full(steps.size, x[k]), np.full(steps.size, y[k]), steps]) / problem.scales[:, None]
        penalised = minimise_pulls(problem, scan).value + (steps / 0.0005) ** 2
        lowest = minimise_pulls(problem, np.zeros((3, 1))).value[0]
        assert found[k, k] == pytest.approx(penalised.min() - lowest, abs=1e-4)
    assert found[1, 1] > 20
    loose = profile_plane(problem, ("r2_nue", "r2_numu"), x, y).delta
    assert loose[1, 1] < 1e-3


def test_ranges_know_how_well_the_mixing_angle_is_known() -> None:
    """A loose angle widens the range of a radius, which it is nearly degenerate with."""
    tight = load_experiment("dune-on-axis")
    loose = load_experiment("dune-on-axis", ["physics.sin2_theta_w_error=0.05"])
    couplings = ("r2_numu", "sin2_theta_w")
    (narrow, _), (wide, _) = (joint_priors(experiment, couplings) for experiment in (tight, loose))
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)
    alone = joint_priors(tight, ("r2_numu", "q_numu"))[0]
    assert narrow.high - narrow.low == pytest.approx(alone.high - alone.low, rel=0.5)


def test_minima_are_minima(three: Problem) -> None:
    """Asimov data: the lowest is the SM; at each the profile is lower than at its neighbours."""
    found = minima(three, 25.0)
    assert found.value[0] == pytest.approx(0, abs=1e-8)
    assert (np.diff(found.value) >= 0).all()
    for value, place in zip(found.value, found.couplings, strict=True):
        around = place[:, None] + 0.05 * np.concatenate([np.eye(3), -np.eye(3)], axis=1)
        assert (minimise_pulls(three, around).value >= value - 1e-6).all()


@pytest.mark.slow
def test_ranges_with_others_free_are_wider(three: Problem) -> None:
    found = joint_ranges(three, 9.0)
    start = minima(three, 9.0)
    assert (found[:, 0] <= start.ranges[:, 0]).all()
    assert (found[:, 1] >= start.ranges[:, 1]).all()
    assert (np.ptp(found, axis=1) > 1.1 * np.ptp(start.ranges, axis=1)).any()
    for j, ends in enumerate(found):
        assert (profile_others(three, [j], ends[None, :], start.couplings) > start.value[0] + 9.0).all()


def test_automatic_priors_of_a_joint_fit(on_axis: Experiment) -> None:
    names = ("mu_numu", "r2_numu")
    moment, radius = joint_priors(on_axis, names)
    assert (moment.kind, moment.low, moment.automatic, radius.automatic) == ("uniform", 0.0, True, True)
    assert moment.lowest == 0.0
    alone = [joint_priors(on_axis, [name])[0] for name in names]
    assert moment.high >= 0.99 * alone[0].high
    assert radius.low <= 0.99 * alone[1].low


def test_profile_plane_with_a_third_coupling(three: Problem) -> None:
    x, y = (np.linspace(-1, 1, 3) * scale for scale in three.scales[[0, 2]])
    found = profile_plane(three, ("q_numu", "r2_numu"), x, y)
    at = np.stack([v.ravel() for v in np.meshgrid(x / three.scales[0], y / three.scales[2], indexing="ij")])
    one_by_one = [profile_others(three, [0, 2], point[:, None], minima(three, 25.0).couplings)[0] for point in at.T]
    np.testing.assert_allclose(found.delta.ravel(), one_by_one, atol=1e-5)
    assert found.delta.min() == pytest.approx(0, abs=1e-6)


def test_a_free_mass_has_no_such_profile() -> None:
    card = load_experiment("nucleus-10g", ["sterile.m_N_prior={kind='uniform',low=0,high=7}"])
    problem = make_problem(card.with_free_mass(7.0, 8), ["d_nue", "m_N"])
    with pytest.raises(UsageError, match="m_N: a profile over other couplings takes it fixed"):
        with_fixed(problem, [0], np.ones(1))


def test_an_unbounded_coupling_is_said(on_axis: Experiment) -> None:
    """Without any constraint of the flux a moment may do what the flux undoes, or nearly."""
    problem = make_problem(load_experiment("dune-on-axis", ["target.mass_tonnes=1e-6"]), ["q_nue", "r2_nue"])
    with pytest.raises(ConvergenceError, match="do not bound it"):
        joint_ranges(problem, 1e9)


def test_pairs() -> None:
    six = ("mu_nue", "mu_numu", "q_nue", "q_numu", "r2_nue", "r2_numu")
    assert pairs_of(six) == {
        "region_mu": ("mu_nue", "mu_numu"),
        "region_q": ("q_nue", "q_numu"),
        "region_r2": ("r2_nue", "r2_numu"),
    }
    assert pairs_of((*six, "sin2_theta_w")) == pairs_of(six)
    assert pairs_of(("d_nue", "m_N")) == {"region": ("d_nue", "m_N")}
    assert pairs_of(("d_nue", "d_numu", "m_N")) == pairs_of(("q_nue", "r2_nue", "mu_nue")) == {}


def test_density_of_draws_is_that_of_a_normal() -> None:
    draws = np.random.default_rng(1).standard_normal((2, 4, 10_000)) * np.array([1e-31, 2e-33])[:, None, None]
    grid = density_of_draws(("r2_nue", "r2_numu"), draws)
    assert grid.weight.sum() == pytest.approx(1)
    area = float(np.outer(grid.x.widths, grid.y.widths)[grid.density > grid.level(0.9)].sum())
    # π χ²₂(90%) σ₁ σ₂, a little more for the smoothing.
    assert area == pytest.approx(np.pi * 4.605 * 2e-64, rel=0.06)
    assert grid.contains(draws[0], draws[1], 0.9).mean() == pytest.approx(0.9, abs=0.015)
    moments = density_of_draws(("mu_nue", "mu_numu"), np.abs(draws))
    assert moments.x.centres[0] - moments.x.widths[0] / 2 == 0


def normal_draws(
    self: Sampler, problem: Problem, priors: Sequence[Prior], *, draws: int, chains: int, tune: int, seed: int
) -> Draws:
    """Stands in for NUTS: normal about 0 in all couplings, an eighth of the prior wide."""
    rng = np.random.default_rng(seed)
    shape = (chains, draws)
    widths = [(p.high - p.low) / 16 if p.kind == "uniform" else p.sigma for p in priors]
    theta = np.array(widths)[:, None, None] * rng.standard_normal((len(priors), *shape))
    stats = {
        "energy": rng.standard_normal(shape),
        "diverging": np.zeros(shape, dtype=bool),
    }
    pulls = 0.1 * problem.model.widths * rng.standard_normal((*shape, problem.model.widths.size))
    return Draws(problem.couplings, theta, pulls, stats, tune, self.target_accept, seed)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, on_axis: Experiment) -> Run:
    """A finished run with one joint fit of two radii and the mixing angle, without figures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sampler, "sample", normal_draws)
        patch.setattr(intervals, "_REPLICATES", 20)
        arguments = make_arguments(on_axis, ("r2_numu",), 500, 4, 3, [NAMES])
        folder = tmp_path_factory.mktemp("many") / "run"
        return run_fits(on_axis, arguments, folder, notice=lambda _: None, progress=lambda _: None)


@pytest.mark.slow
def test_a_run_of_three(run: Run) -> None:
    (entry,) = run.limits["joint"]
    assert entry["couplings"] == list(NAMES)
    assert entry["region"] is None
    angle = entry["parameters"][2]
    assert angle["prior"] == "normal about 0.2385, sigma 0.0005"
    # Values are those of the angle, not of its difference from the card's.
    ((low, high),) = angle["credible"]["intervals"]
    assert 0.2385 - 0.0010 < low < 0.2385 < high < 0.2385 + 0.0010
    table, correlations = joint_tables(run.limits)
    assert [str(cell) for cell in table.columns[0].cells][2] == "sin2_theta_w"
    assert [str(cell) for cell in table.columns[2].cells][2] == f"[{low:.5f}, {high:.5f}] HDI"
    assert [str(column.header) for column in correlations.columns] == ["correlation of", *NAMES]
    tree = load_posterior(run.folder / "posteriors" / Path("+".join(NAMES) + ".nc"))
    assert tree["posterior"]["sin2_theta_w"].values.mean() == pytest.approx(0.2385, abs=1e-4)
    assert tree["prior"]["sin2_theta_w"].values.mean() == pytest.approx(0.2385, abs=1e-4)
    grid = stored_region(tree, NAMES[:2], "region_r2")
    assert grid.weight.sum() == pytest.approx(1)
    assert tree["region_r2"]["delta_chi2"].values.min() < 0.1
    assert figure_names("+".join(NAMES))[-1] == "region_r2"
    axes = region_figure(tree, NAMES[:2], "region_r2").axes[0]
    # The SM's charge radii, and none.
    assert sum(len(line.get_xdata()) == 1 for line in axes.lines) == 2
