"""The DataTree of a fit: its groups, predictive draws, and the way to disk and back."""

import gc
import json
import math
import shutil
import weakref
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bayesnu.errors import RunError
from bayesnu.experiment.setup import Experiment, load_experiment
from bayesnu.inference.likelihood import make_problem
from bayesnu.inference.priors import Prior
from bayesnu.inference.sampling import Draws
from bayesnu.inference.toys import expected_draws, poisson_log_likelihood
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.results.posterior import (
    GROUPS,
    PRIOR_DRAWS,
    finite_or_none,
    load_posterior,
    posterior_tree,
    release,
    save_posterior,
)

PRIOR = Prior(COUPLINGS["q_numu"], "uniform", -4e-9, 4e-9)


def make_tree(experiment: Experiment, prior: Prior = PRIOR, seed: int = 1, draws: int = 400) -> xr.DataTree:
    rng = np.random.default_rng(seed)
    problem = make_problem(experiment, [prior.coupling.name])
    theta = rng.uniform(-1e-9, 1e-9, (1, 2, draws))
    pulls = problem.model.widths * rng.normal(0, 0.3, (2, draws, problem.model.widths.size))
    sampled = {"energy": rng.normal(size=(2, draws))}
    result = Draws(problem.couplings, theta, pulls, sampled, 500, 0.95, seed)
    return posterior_tree(experiment, problem, [prior], result, {"run_hash": "abc", "extra": {"a": [1]}})


@pytest.fixture(scope="module")
def tree(on_axis: Experiment) -> xr.DataTree:
    return make_tree(on_axis)


@pytest.fixture(scope="module")
def saved(tree: xr.DataTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree on disk; not to be changed."""
    path = tmp_path_factory.mktemp("saved") / "deep" / "q_numu.nc"
    save_posterior(tree, path)
    return path


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    """A copy of the file, to be damaged."""
    return Path(shutil.copy(saved, tmp_path / "x.nc"))


def test_groups_dimensions_and_coordinates(tree: xr.DataTree, on_axis: Experiment) -> None:
    assert set(tree.children) == set(GROUPS)
    assert tree["posterior"]["q_numu"].dims == ("chain", "draw")
    assert tree["posterior"]["q_numu"].attrs["units"] == "e"
    assert tree["posterior"]["pull"].values.tolist() == list(on_axis.model.pulls)
    for group in ("posterior_predictive", "prior_predictive", "log_likelihood"):
        assert tree[group]["n"].dims == ("chain", "draw", "obs")
    assert tree["observed_data"]["n"].dims == ("obs",)
    assert set(tree["observed_data"]["exposure"].values) == {"neutrino 0 m", "antineutrino 0 m"}
    np.testing.assert_array_equal(tree["observed_data"]["n"], on_axis.data)
    np.testing.assert_allclose(tree["constant_data"]["background"] + tree["constant_data"]["signal_sm"], on_axis.data)


def test_log_likelihood_is_the_poisson_density_of_the_expectation(tree: xr.DataTree, on_axis: Experiment) -> None:
    posterior = tree["posterior"]
    for chain, draw in ((0, 0), (1, 17)):
        theta = float(posterior["q_numu"][chain, draw])
        pulls = dict(zip(on_axis.model.pulls, posterior["pulls"].values[chain, draw], strict=True))
        expected = on_axis.model.expected({"q_numu": theta}, pulls)
        n = on_axis.data
        written = n * np.log(expected) - expected - np.array([math.lgamma(v + 1) for v in n])
        np.testing.assert_allclose(tree["log_likelihood"]["n"].values[chain, draw], written, rtol=1e-9)


def test_poisson_log_likelihood_of_integers_is_scipys() -> None:
    counts, expected = np.array([0.0, 3.0, 2600.0]), np.array([1.5, 2.5, 2612.7])
    np.testing.assert_allclose(
        poisson_log_likelihood(counts, expected), stats.poisson(expected).logpmf(counts), rtol=1e-11
    )


def test_log_prior_is_normalised(tree: xr.DataTree, on_axis: Experiment) -> None:
    np.testing.assert_allclose(tree["log_prior"]["q_numu"], -math.log(8e-9))
    pulls = tree["posterior"]["pulls"].values
    np.testing.assert_allclose(tree["log_prior"]["pulls"], stats.norm(0, on_axis.model.widths).logpdf(pulls))


def test_pull_of_width_zero_has_no_prior_density() -> None:
    fixed = load_experiment("dune-on-axis", ["pulls.ccqe=0"])
    tree = make_tree(fixed)
    np.testing.assert_array_equal(tree["log_prior"]["pulls"].sel(pull="ccqe"), 0)
    assert np.isfinite(tree["log_prior"]["pulls"]).all()
    np.testing.assert_array_equal(tree["prior"]["pulls"].sel(pull="ccqe"), 0)


def test_predictive_counts_are_poisson_about_the_expectation(tree: xr.DataTree, on_axis: Experiment) -> None:
    problem = make_problem(on_axis, ["q_numu"])
    posterior = tree["posterior"]
    theta, pulls = posterior["q_numu"].values.reshape(1, -1), posterior["pulls"].values.reshape(-1, 5)
    expected = expected_draws(problem, theta, pulls)
    counts = tree["posterior_predictive"]["n"].values.reshape(expected.shape)
    assert (counts == np.round(counts)).all()
    standard = (counts - expected) / np.sqrt(expected)
    assert abs(standard.mean()) < 4.5 / math.sqrt(standard.size)
    assert standard.var() == pytest.approx(1, abs=0.05)


def test_prior_draws_fill_the_prior_and_give_possible_counts(tree: xr.DataTree) -> None:
    prior = tree["prior"]
    assert prior["q_numu"].shape == (1, PRIOR_DRAWS)
    assert stats.kstest(prior["q_numu"].values.ravel(), stats.uniform(-4e-9, 8e-9).cdf).pvalue > 1e-3
    assert (tree["prior_predictive"]["n"] >= 0).all()


def test_wide_pulls_never_make_prior_counts_negative() -> None:
    wide = load_experiment("dune-on-axis", [f"pulls.{name}=1.0" for name in ("flux_norm", "ccqe", "pi0")])
    tree = make_tree(wide, draws=20)
    assert (tree["prior"]["pulls"] > -1).all()
    assert (tree["prior_predictive"]["n"] >= 0).all()


def test_priors_far_wider_than_the_data_do_not_overflow(on_axis: Experiment) -> None:
    tree = make_tree(on_axis, Prior(COUPLINGS["q_numu"], "normal", -math.inf, math.inf, 1.0), draws=20)
    assert np.isfinite(tree["prior_predictive"]["n"]).all()
    assert json.loads(tree.attrs["supports"]) == [[None, None]]


def test_the_seed_fixes_predictive_draws(on_axis: Experiment, tree: xr.DataTree) -> None:
    again, other = make_tree(on_axis), make_tree(on_axis, seed=2)
    for group in ("posterior_predictive", "prior", "prior_predictive"):
        assert again[group].equals(tree[group])
        assert not other[group].equals(tree[group])


def test_round_trip(tree: xr.DataTree, saved: Path) -> None:
    assert [p.name for p in saved.parent.iterdir()] == ["q_numu.nc"]
    loaded = load_posterior(saved)
    assert set(loaded.children) == set(GROUPS)
    for group in GROUPS:
        assert loaded[group].to_dataset().equals(tree[group].to_dataset()), group
    assert loaded["posterior"]["q_numu"].attrs["units"] == "e"
    assert loaded.attrs["run_hash"] == "abc"
    assert json.loads(loaded.attrs["extra"]) == {"a": [1]}
    assert json.loads(loaded.attrs["couplings"]) == ["q_numu"]
    assert json.loads(loaded.attrs["supports"]) == [[-4e-9, 4e-9]]
    assert (loaded.attrs["tune"], loaded.attrs["target_accept"], loaded.attrs["seed"]) == (500, 0.95, 1)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98])
def test_truncated_file(copied: Path, share: float) -> None:
    copied.write_bytes(copied.read_bytes()[: int(share * copied.stat().st_size)])
    with pytest.raises(RunError, match=r"x\.nc: ") as caught:
        load_posterior(copied)
    assert "\n" not in str(caught.value)


def test_file_that_is_missing_or_something_else(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"none\.nc"):
        load_posterior(tmp_path / "none.nc")
    (tmp_path / "text.nc").write_text("no netCDF")
    with pytest.raises(RunError, match=r"text\.nc"):
        load_posterior(tmp_path / "text.nc")


def test_other_version(copied: Path) -> None:
    with h5py.File(copied, "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(RunError, match=r"x\.nc: .*version 99"):
        load_posterior(copied)


@pytest.mark.parametrize("group", GROUPS)
def test_missing_group(copied: Path, group: str) -> None:
    with h5py.File(copied, "r+") as file:
        del file[group]
    with pytest.raises(RunError, match=rf"x\.nc: the group {group} is missing"):
        load_posterior(copied)


def test_place_that_cannot_be_written(tree: xr.DataTree, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="cannot be written"):
        save_posterior(tree, tmp_path / "file" / "x.nc")


def test_finite_or_none() -> None:
    assert [finite_or_none(v) for v in (1.5, math.inf, -math.inf, math.nan)] == [1.5, None, None, None]


def test_a_released_tree_leaves_memory_at_once(saved: Path) -> None:
    tree = load_posterior(saved)
    kept = weakref.ref(tree["posterior"]["pulls"].values)
    collecting = gc.isenabled()
    gc.disable()
    try:
        assert kept() is not None
        release(tree)
        del tree
        assert kept() is None
    finally:
        if collecting:
            gc.enable()
