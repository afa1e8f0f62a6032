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
from bayesnu.inference.priors import Prior
from bayesnu.inference.sampling import Draws
from bayesnu.inference.toys import draw_counts, draw_prior_pulls, expected_draws, log_likelihood
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
        data = {
            name: (("chain", "draw"), theta[j] + priors[j].origin, {"units": priors[j].coupling.unit})
            for j, name in enumerate(names)
        }
        return xr.Dataset(
            {**data, "pulls": (("chain", "draw", "pull"), pulls, {"units": "fraction"})},
            coords={"chain": np.arange(theta.shape[1]), "draw": np.arange(theta.shape[2]), "pull": pull_names},
        )

    def over_obs(name: str, values: Array, unit: dict[str, str]) -> xr.Dataset:
        coords = {"chain": np.arange(values.shape[0]), "draw": np.arange(values.shape[1]), **obs}
        return xr.Dataset({name: (("chain", "draw", "obs"), values, unit)}, coords=coords)

    def expectation(theta: Array, pulls: Array) -> Array:
        flat = expected_draws(problem, theta.reshape(len(names), -1), pulls.reshape(theta[0].size, len(pull_names)))
        return flat.reshape(theta.shape[1], theta.shape[2], -1)

    widths = problem.model.widths
    prior_theta = np.stack([prior.draw(rng, PRIOR_DRAWS) for prior in priors])
    prior_pulls, prior_counts = draw_prior_pulls(problem, prior_theta, rng)
    expected = expectation(draws.theta, draws.pulls)
    constrained = (widths > 0) & (problem.model.constraint > 0)
    standardised = np.where(constrained, draws.pulls / np.where(constrained, widths, 1.0), 0.0)
    log_prior = {name: (("chain", "draw"), priors[j].log_density(draws.theta[j])) for j, name in enumerate(names)}
    normal = -(standardised**2) / 2 - np.log(np.where(constrained, widths, 1.0) * np.sqrt(2 * np.pi))
    tree = xr.DataTree.from_dict(
        {
            "posterior": parameters(draws.theta, draws.pulls),
            "posterior_predictive": over_obs("n", draw_counts(problem, expected, rng), counts_attrs),
            "prior": parameters(prior_theta[:, None], prior_pulls[None]),
            "prior_predictive": over_obs("n", draw_counts(problem, prior_counts[None], rng), counts_attrs),
            "log_likelihood": over_obs("n", log_likelihood(problem, expected), {"units": "1"}),
            "log_prior": xr.Dataset(
                {**log_prior, "pulls": (("chain", "draw", "pull"), np.where(constrained, normal, 0.0))},
                coords={"chain": np.arange(chains), "draw": np.arange(n), "pull": pull_names},
            ),
            "sample_stats": xr.Dataset(
                {name: (("chain", "draw"), values) for name, values in draws.sample_stats.items()},
                coords={"chain": np.arange(chains), "draw": np.arange(n)},
            ),
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
        "supports": json.dumps([[finite_or_none(p.low + p.origin), finite_or_none(p.high + p.origin)] for p in priors]),
        "tune": draws.tune,
        "target_accept": draws.target_accept,
        "seed": draws.seed,
        **{key: json.dumps(value) if isinstance(value, dict | list) else value for key, value in attributes.items()},
    }
    return tree


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
        if version != FORMAT_VERSION:
            raise RunError(f"{path}: format version {version}; this bayesnu reads {FORMAT_VERSION}")
        missing = [group for group in (groups or GROUPS) if group not in present]
        if missing:
            raise RunError(f"{path}: the group {missing[0]} is missing; the file is incomplete")
        with xr.open_dataset(path, engine="h5netcdf") as root:
            attributes = dict(root.attrs)
        wanted = present if groups is None else groups
        tree = xr.DataTree.from_dict({name: _load_group(path, name) for name in wanted})
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise RunError(f"{path}: not a posterior file, or truncated ({error})") from error
    tree.attrs = attributes
    return tree


def _load_group(path: Path, name: str) -> xr.Dataset:
    """Read one group."""
    import xarray as xr

    with xr.open_dataset(path, group=name, engine="h5netcdf") as dataset:
        return dataset.load()


def release(tree: xr.DataTree) -> None:
    """Give back the memory of a posterior that is done with; its nodes, which refer to each other, keep it else."""
    for node in list(tree.children.values()):
        node.orphan()
