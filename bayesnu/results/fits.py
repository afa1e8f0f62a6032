"""Fit couplings one at a time: deterministically, and by NUTS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bayesnu.errors import RunError
from bayesnu.experiment.base import Experiment
from bayesnu.inference.laplace import GridPosterior, laplace_posterior
from bayesnu.inference.likelihood import Problem, make_problem
from bayesnu.inference.marginal import marginal_likelihood
from bayesnu.inference.priors import Prior, one_coupling
from bayesnu.inference.profile import ProfileCurve, profile_curve
from bayesnu.inference.sampling import Sampler
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.results.limits import DEFAULT_CHAINS, DEFAULT_DRAWS, DEFAULT_SEED, TUNE, default_kind
from bayesnu.results.posterior import load_posterior, posterior_tree, save_posterior
from bayesnu.results.prior_study import PriorStudy, study_priors

if TYPE_CHECKING:
    import xarray as xr

CREDIBILITY = 0.90


@dataclass(frozen=True)
class RunArguments:
    """What a run was asked for; with the experiment's digest it makes the run's hash."""

    couplings: tuple[str, ...]
    draws: int = DEFAULT_DRAWS
    chains: int = DEFAULT_CHAINS
    seed: int = DEFAULT_SEED
    tune: int = TUNE
    credibility: float = CREDIBILITY
    joint: tuple[tuple[str, ...], ...] = ()
    """Couplings that are fitted together, ``m_N`` among them."""


def posterior_path(folder: Path, fit: str) -> Path:
    """Return where the fit of a coupling, or a joint fit, is kept."""
    return folder / "posteriors" / f"{fit}.nc"


@dataclass(frozen=True)
class Deterministic:
    """What is computed of one coupling without sampling, once; ``chi2`` is ``problem`` where χ² has no variance."""

    problem: Problem
    chi2: Problem
    prior: Prior
    grid: GridPosterior
    curve: ProfileCurve
    priors: PriorStudy


def deterministic(experiment: Experiment, coupling: str) -> Deterministic:
    """Return the prior, the Laplace grid posterior, the profile curve and the limits under other priors.

    One marginal likelihood serves the posterior under every prior.
    """
    problem, prior = one_coupling(experiment, coupling)
    marginal = marginal_likelihood(problem, prior.reach)
    grid = laplace_posterior(problem, prior, marginal=marginal)
    study = study_priors(problem, prior, CREDIBILITY, default_kind(coupling), marginal)
    chi2 = make_problem(experiment, [coupling], "chi2") if experiment.variances else problem
    return Deterministic(problem, chi2, prior, grid, profile_curve(chi2), study)


def seed_of(seed: int, *couplings: str) -> int:
    """Return the seed of one fit, so that a run of fewer fits gives the same numbers."""
    places = [list(COUPLINGS).index(coupling) for coupling in couplings]
    return int(np.random.SeedSequence([seed, *places]).generate_state(1)[0])


def kept_fit(path: Path, run: str, notice: Callable[[str], None]) -> xr.DataTree | None:
    """Return the fit that an earlier start of the same run stored, or None; one that is not whole is said."""
    if not path.exists():
        return None
    try:
        tree = load_posterior(path)
    except RunError as problem:
        notice(f"{problem}; fitting again")
        return None
    if tree.attrs.get("run_hash") == run:
        return tree
    notice(f"{path}: belongs to another run; fitting again")
    return None


def fit_coupling(
    experiment: Experiment,
    arguments: RunArguments,
    inputs: Deterministic,
    folder: Path,
    name: str,
    sampler: Sampler,
    notice: Callable[[str], None],
) -> tuple[xr.DataTree, bool]:
    """Return the posterior of one coupling: kept from an earlier start of the same run, or sampled and stored."""
    import xarray as xr

    coupling = inputs.prior.coupling.name
    path = posterior_path(folder, coupling)
    kept = kept_fit(path, name, notice)
    if kept is not None:
        return kept, True
    draws = sampler.sample(
        inputs.problem,
        [inputs.prior],
        draws=arguments.draws,
        chains=arguments.chains,
        tune=arguments.tune,
        seed=seed_of(arguments.seed, coupling),
    )
    attributes = {"run_hash": name, "model": experiment.card.name}
    tree = posterior_tree(experiment, inputs.problem, [inputs.prior], draws, attributes)
    unit, grid, curve = {"units": inputs.prior.coupling.unit}, inputs.grid, inputs.curve
    tree["laplace_grid"] = xr.Dataset(
        {
            "density": (coupling, grid.density, {"long_name": "posterior density per unit"}),
            "prior_density": (coupling, np.exp(inputs.prior.log_density(grid.values))),
        },
        coords={coupling: (coupling, grid.values, unit)},
    )
    tree["profile_curve"] = xr.Dataset(
        {"delta_chi2": (coupling, curve.delta)}, coords={coupling: (coupling, curve.values, unit)}
    )
    save_posterior(tree, path)
    return tree, False
