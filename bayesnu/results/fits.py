"""Fit couplings: deterministically, by NUTS one at a time, and jointly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bayesnu.errors import RunError, UsageError
from bayesnu.experiment.base import Experiment
from bayesnu.inference.laplace import GridPosterior, laplace_posterior
from bayesnu.inference.likelihood import Problem, make_problem
from bayesnu.inference.priors import Prior, mass_prior, one_coupling, resolve_prior
from bayesnu.inference.profile import ProfileCurve, profile_curve
from bayesnu.inference.sampling import Sampler
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.results.limits import DEFAULT_CHAINS, DEFAULT_DRAWS, DEFAULT_SEED, TUNE
from bayesnu.results.posterior import load_posterior, posterior_tree, save_posterior

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


def posterior_path(folder: Path, coupling: str) -> Path:
    """Return where the fit of a coupling is kept."""
    return folder / "posteriors" / f"{coupling}.nc"


@dataclass(frozen=True)
class Deterministic:
    """What is computed of one coupling without sampling, once; ``chi2`` is ``problem`` where χ² has no variance."""

    problem: Problem
    chi2: Problem
    prior: Prior
    grid: GridPosterior
    curve: ProfileCurve


def deterministic(experiment: Experiment, coupling: str) -> Deterministic:
    """Return the prior, the Laplace grid posterior and the profile curve of one coupling."""
    problem, prior = one_coupling(experiment, coupling)
    chi2 = make_problem(experiment, [coupling], "chi2") if experiment.variances else problem
    return Deterministic(problem, chi2, prior, laplace_posterior(problem, prior), profile_curve(chi2))


def coupling_seed(seed: int, coupling: str) -> int:
    """Return the seed of one coupling's fit, so that a run of fewer couplings gives the same numbers."""
    return int(np.random.SeedSequence([seed, list(COUPLINGS).index(coupling)]).generate_state(1)[0])


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
    if path.exists():
        try:
            tree = load_posterior(path)
            if tree.attrs.get("run_hash") == name:
                return tree, True
            notice(f"{path}: belongs to another run; fitting again")
        except RunError as problem:
            notice(f"{problem}; fitting again")
    draws = sampler.sample(
        inputs.problem,
        [inputs.prior],
        draws=arguments.draws,
        chains=arguments.chains,
        tune=arguments.tune,
        seed=coupling_seed(arguments.seed, coupling),
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


def joint_problem(experiment: Experiment, couplings: Sequence[str]) -> tuple[Problem, list[Prior]]:
    """Return the problem of several couplings, and the prior of each.

    Raises
    ------
    UsageError
        If a prior is left out.
    """
    priors, free = [], experiment
    for coupling in couplings:
        if coupling == "m_N":
            prior = mass_prior(experiment)
            free = experiment.with_free_mass(prior.high)
        else:
            card = experiment.card.couplings[experiment.fitted(coupling)].prior
            if len(couplings) > 1 and card is None:
                raise UsageError(
                    f"couplings.{coupling}.prior: a joint fit needs a prior from the card; the range found with the "
                    "other couplings at 0 may cut the joint posterior"
                )
            prior = resolve_prior(card, make_problem(experiment, [coupling]))
        priors.append(prior)
    return make_problem(free, couplings), priors


def fit_jointly(
    experiment: Experiment, couplings: Sequence[str], arguments: RunArguments, sampler: Sampler
) -> xr.DataTree:
    """Sample several couplings at once, each with its card's prior; returns the same groups as a single fit.

    ``m_N`` among the couplings is the mass of N, with its prior ``sterile.m_N_prior``.

    Raises
    ------
    UsageError
        If a prior is left out: the range that is found with the other couplings at 0 may cut the joint posterior.
    """
    problem, priors = joint_problem(experiment, couplings)
    draws = sampler.sample(
        problem,
        priors,
        draws=arguments.draws,
        chains=arguments.chains,
        tune=arguments.tune,
        seed=arguments.seed,
    )
    return posterior_tree(experiment, problem, priors, draws, {"model": experiment.card.name})
