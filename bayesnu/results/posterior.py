"""One fit's results as a DataTree of ArviZ groups, in memory and on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import RunError
from bayesnu.experiment.base import Experiment
from bayesnu.inference.likelihood import Problem
from bayesnu.inference.negative_binomial import draw_means, negative_binomial_log_density
from bayesnu.inference.priors import Prior
from bayesnu.inference.sampling import Draws
from bayesnu.resources import write_atomically

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]
FORMAT_VERSION = 1
PRIOR_DRAWS = 2000
GROUPS = (
    "posterior",
    "posterior_predictive",
    "prior",
    "prior_predictive",
    "log_likelihood",
    "log_prior",
    "sample_stats",
    "observed_data",
    "constant_data",
)


def expected_draws(problem: Problem, theta: Array, pulls: Array) -> Array:
    """Return the expected counts of draws: theta (couplings, N) in own units, pulls (N, pulls) → (N, obs)."""
    strengths = problem.model.signal_strengths(theta / problem.scales[:, None])
    factors = problem.model.pull_factors(pulls)
    return np.asarray(np.einsum("gc,gco->go", factors, strengths))


def draw_counts(problem: Problem, expected: Array, rng: np.random.Generator) -> Array:
    """Draw data about expected counts: Poisson, about a gamma-distributed mean, or normal with measured errors."""
    if problem.statistic == "chi2":
        return np.asarray(rng.normal(expected, np.sqrt(problem.variance)))
    if problem.statistic == "gamma-poisson":
        expected = draw_means(expected, problem.variance, rng)
    # Expectations beyond NumPy's range (priors far wider than data) stay as they are.
    limit = 1e18
    return np.where(expected < limit, rng.poisson(np.minimum(expected, limit)).astype(float), expected)


def log_likelihood(problem: Problem, expected: Array) -> Array:
    """Return ln p(data | expected), normal, negative binomial or Poisson; broadcast shape."""
    if problem.statistic == "chi2":
        return np.asarray(
            -((problem.data - expected) ** 2 / problem.variance + np.log(2 * np.pi * problem.variance)) / 2
        )
    if problem.statistic == "gamma-poisson":
        return np.asarray(negative_binomial_log_density(problem.data, expected, problem.variance))
    return poisson_log_likelihood(problem.data, expected)


def poisson_log_likelihood(counts: Array, expected: Array) -> Array:
    """Return ln Poisson(n | λ) continued to real n; broadcast shape."""
    from scipy.special import gammaln, xlogy

    return np.asarray(xlogy(counts, expected) - expected - gammaln(counts + 1))


def posterior_tree(
    experiment: Experiment, problem: Problem, priors: Sequence[Prior], draws: Draws, attributes: dict[str, Any]
) -> xr.DataTree:
    """Gather draws, predictive counts, log-likelihood, log-prior, prior and data of one fit.

    Groups: posterior, posterior_predictive, prior, prior_predictive,
    log_likelihood, log_prior, sample_stats, observed_data, constant_data. Counts
    are one flat dimension ``obs`` with exposure, bin and edges as coordinates.

    Parameters
    ----------
    experiment, problem, priors, draws
        The fit.
    attributes : dict
        Provenance for the root: JSON-able values.
    """
    import xarray as xr

    rng = np.random.default_rng([draws.seed, 1])
    names, pull_names = draws.couplings, list(problem.model.pulls)
    chains, n = draws.theta.shape[1:]
    obs = {**experiment.observation_coordinates(), "obs": np.arange(problem.data.size)}
    counts_attrs = {"units": "counts"}

    def parameters(theta: Array, pulls: Array) -> xr.Dataset:
        data = {name: (("chain", "draw"), theta[j], {"units": priors[j].coupling.unit}) for j, name in enumerate(names)}
        return xr.Dataset(
            {**data, "pulls": (("chain", "draw", "pull"), pulls, {"units": "fraction"})},
            coords={"chain": np.arange(theta.shape[1]), "draw": np.arange(theta.shape[2]), "pull": pull_names},
        )

    def over_obs(name: str, values: Array, unit: dict[str, str]) -> xr.Dataset:
        coords = {"chain": np.arange(values.shape[0]), "draw": np.arange(values.shape[1]), **obs}
        return xr.Dataset({name: (("chain", "draw", "obs"), values, unit)}, coords=coords)

    def expectation(theta: Array, pulls: Array) -> Array:
        flat = expected_draws(problem, theta.reshape(len(names), -1), pulls.reshape(-1, len(pull_names)))
        return flat.reshape(theta.shape[1], theta.shape[2], -1)

    widths = problem.model.widths
    prior_theta = np.stack([prior.draw(rng, PRIOR_DRAWS) for prior in priors])[:, None, :]
    prior_pulls, prior_counts = _prior_pulls(problem, prior_theta, rng)
    expected = expectation(draws.theta, draws.pulls)
    constrained = (widths > 0) & (problem.model.constraint > 0)
    standardised = np.where(constrained, draws.pulls / np.where(constrained, widths, 1.0), 0.0)
    log_prior = {name: (("chain", "draw"), priors[j].log_density(draws.theta[j])) for j, name in enumerate(names)}
    normal = -(standardised**2) / 2 - np.log(np.where(constrained, widths, 1.0) * np.sqrt(2 * np.pi))
    tree = xr.DataTree.from_dict(
        {
            "posterior": parameters(draws.theta, draws.pulls),
            "posterior_predictive": over_obs("n", draw_counts(problem, expected, rng), counts_attrs),
            "prior": parameters(prior_theta, prior_pulls),
            "prior_predictive": over_obs("n", draw_counts(problem, prior_counts, rng), counts_attrs),
            "log_likelihood": over_obs("n", log_likelihood(problem, expected), {"units": "1"}),
            "log_prior": xr.Dataset(
                {**log_prior, "pulls": (("chain", "draw", "pull"), np.where(constrained, normal, 0.0))},
                coords={"chain": np.arange(chains), "draw": np.arange(n), "pull": pull_names},
            ),
            "sample_stats": draws.sample_stats,
            "observed_data": xr.Dataset({"n": ("obs", problem.data, counts_attrs)}, coords=obs),
            "constant_data": xr.Dataset(
                {
                    "background": ("obs", experiment.background, counts_attrs),
                    "signal_sm": ("obs", experiment.signal_sm, counts_attrs),
                    "pull_width": ("pull", widths, {"units": "fraction"}),
                },
                coords={**obs, "pull": pull_names},
            ),
        }
    )
    tree.attrs = {
        "format_version": FORMAT_VERSION,
        "couplings": json.dumps(names),
        "priors": json.dumps([prior.describe() for prior in priors]),
        "supports": json.dumps([[finite_or_none(p.low), finite_or_none(p.high)] for p in priors]),
        "tune": draws.tune,
        "target_accept": draws.target_accept,
        "seed": draws.seed,
        **{key: json.dumps(value) if isinstance(value, dict | list) else value for key, value in attributes.items()},
    }
    return tree


def _prior_pulls(problem: Problem, theta: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return prior draws of the pulls, (1, draws, pulls), and the expected counts, (1, draws, obs).

    Where a factor 1 + f or a count would be negative the likelihood has no support: such draws are drawn again.
    A free pull has a flat prior, which cannot be drawn from; it is drawn from the normal of its width instead.
    """
    widths, draws = problem.model.widths, theta.shape[2]
    pulls = widths * rng.standard_normal((draws, widths.size))
    counts = expected_draws(problem, theta[:, 0], pulls)
    while (bad := (pulls <= -1).any(axis=1) | (counts < 0).any(axis=1)).any():
        pulls[bad] = widths * rng.standard_normal((int(bad.sum()), widths.size))
        counts[bad] = expected_draws(problem, theta[:, 0][:, bad], pulls[bad])
    return pulls[None], counts[None]


def finite_or_none(value: float) -> float | None:
    """Return a finite number, or None for an open end or no value."""
    return float(value) if np.isfinite(value) else None


def save_posterior(tree: xr.DataTree, path: Path) -> None:
    """Write a DataTree as netCDF, aside and renamed.

    Raises
    ------
    RunError
        If the folder cannot be written.
    """
    packing = {"zlib": True, "complevel": 1, "shuffle": True}
    encoding = {
        f"/{node.name}": {name: packing for name in node.data_vars if node[name].ndim > 1}
        for node in tree.children.values()
    }
    write_atomically(path, lambda temporary: tree.to_netcdf(temporary, engine="h5netcdf", encoding=encoding), RunError)


def load_posterior(path: Path, groups: Sequence[str] | None = None) -> xr.DataTree:
    """Read a posterior into memory.

    Parameters
    ----------
    path : Path
    groups : sequence of str, optional
        Only these, which is faster; all by default.

    Raises
    ------
    RunError
        If the file is missing, truncated, lacks a group, or is of another version.
    """
    import h5py
    import xarray as xr

    try:
        with h5py.File(path, "r") as file:
            version = int(np.ravel(file.attrs.get("format_version", 0))[0])
            present = list(file)
        with xr.open_dataset(path, engine="h5netcdf") as root:
            attributes = dict(root.attrs)
        wanted = present if groups is None else [group for group in groups if group in present]
        tree = xr.DataTree.from_dict({name: _load_group(path, name) for name in wanted})
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise RunError(f"{path}: not a posterior file, or truncated ({error})") from error
    if version != FORMAT_VERSION:
        raise RunError(f"{path}: format version {version}; this bayesnu reads {FORMAT_VERSION}")
    missing = [group for group in (groups or GROUPS) if group not in present]
    if missing:
        raise RunError(f"{path}: the group {missing[0]} is missing; the file is incomplete")
    tree.attrs = attributes
    return tree


def _load_group(path: Path, name: str) -> xr.Dataset:
    """Read one group."""
    import xarray as xr

    with xr.open_dataset(path, group=name, engine="h5netcdf") as dataset:
        return dataset.load()
