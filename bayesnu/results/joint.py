"""Fits of several couplings at once, the mass of N among them: which may be, with what priors, and their posterior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from bayesnu.errors import UsageError
from bayesnu.experiment.base import Experiment
from bayesnu.inference.likelihood import Problem, make_problem, with_measurement
from bayesnu.inference.priors import AUTOMATIC_RANGE, Prior, mass_prior, mixing_angle_prior, resolve_prior
from bayesnu.inference.profile import joint_ranges, profile_grid, profile_plane
from bayesnu.inference.sampling import Sampler
from bayesnu.physics.couplings import COUPLINGS, FREE_TOGETHER
from bayesnu.results.fits import RunArguments, kept_fit, posterior_path, seed_of
from bayesnu.results.joint_region import density_of_draws, region, region_dataset
from bayesnu.results.posterior import posterior_tree, save_posterior

if TYPE_CHECKING:
    import xarray as xr

TARGET_ACCEPT = 0.98
"""Of the sampler: regions of two parameters are more bent than those of one."""
TARGET_ACCEPT_OF_MANY = 0.9
"""With more than two couplings: short steps would cross between second solutions less often."""
FAMILIES = ("mu", "q", "r2", "d")


def joint_name(couplings: Sequence[str]) -> str:
    """Return the name of a joint fit in files and tables."""
    return "+".join(couplings)


def pairs_of(couplings: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the regions of a joint fit: "region" of two couplings; of more, one for each pair of one family.

    Name of the region to the pair.
    """
    if len(couplings) == 2:
        return {"region": (couplings[0], couplings[1])}
    found: dict[str, tuple[str, str]] = {}
    for first, second in combinations(couplings, 2):
        family = COUPLINGS[first].family
        if family == COUPLINGS[second].family and family in FAMILIES and "m_N" not in couplings:
            found.setdefault(f"region_{family}", (first, second))
    return found


def joint_priors(experiment: Experiment, couplings: Sequence[str]) -> list[Prior]:
    """Return the prior of each coupling of a joint fit.

    A coupling without a prior in the card gets a uniform one over the range outside which Δχ², all other couplings
    profiled, exceeds `AUTOMATIC_RANGE`.

    Raises
    ------
    UsageError
        If a coupling is unknown, or a prior is left out of a fit in which the mass of N is free.
    """
    special: dict[str, Callable[[Experiment], Prior]] = {"m_N": mass_prior, "sin2_theta_w": mixing_angle_prior}
    check_priors(experiment, couplings)
    listed = [name for name in couplings if name not in special]
    cards = {name: experiment.card.couplings[name].prior for name in listed}
    ranges = {}
    if len(couplings) > 1 and None in cards.values():
        free = experiment.with_free_mixing_angle() if "sin2_theta_w" in couplings else experiment
        problem = with_known_angle(make_problem(free, couplings), experiment)
        found = joint_ranges(problem, AUTOMATIC_RANGE) * problem.scales[:, None]
        ranges = dict(zip(couplings, found.tolist(), strict=True))
    priors = []
    for name in couplings:
        if name in special:
            priors.append(special[name](experiment))
        elif cards[name] is None and name in ranges:
            low, high = ranges[name]
            priors.append(Prior(COUPLINGS[name], "uniform", low, high, automatic=True))
        else:
            priors.append(resolve_prior(cards[name], make_problem(experiment, [name])))
    return priors


def with_known_angle(problem: Problem, experiment: Experiment) -> Problem:
    """Return the problem with what is known of the mixing angle, if it is free, as a measurement: for profiles."""
    if "sin2_theta_w" not in problem.couplings or experiment.sin2_theta_w[1] is None:
        return problem
    return with_measurement(problem, "sin2_theta_w", experiment.sin2_theta_w[1])


def check_priors(experiment: Experiment, couplings: Sequence[str]) -> None:
    """Check that a joint fit has priors with which its posterior is one.

    Raises
    ------
    UsageError
        See `joint_priors`; and if the mixing angle is free beside all charge radii without a prior.
    """
    for name in couplings:
        if name == "m_N":
            mass_prior(experiment)
        if name in FREE_TOGETHER:
            continue
        card = experiment.card.couplings[experiment.fitted(name)].prior
        if "m_N" in couplings and card is None:
            raise UsageError(
                f"couplings.{name}.prior: a joint fit with m_N needs a prior from the card; the range found with the "
                "other couplings at 0 may cut the joint posterior"
            )
        if len(couplings) > 1 and card is not None and card.kind == "jeffreys":
            raise UsageError(
                f"couplings.{name}.prior.kind = jeffreys: is that of one coupling, the others at 0; a joint fit needs "
                "another prior"
            )
    if "sin2_theta_w" in couplings and mixing_angle_prior(experiment).kind == "uniform":
        radii = [n for n in experiment.model.couplings if COUPLINGS[n].family == "r2" and experiment.responds(n)]
        if all(name in couplings for name in radii):
            raise UsageError(
                f"{experiment.loaded.where}: physics.sin2_theta_w_error = 'none': without a prior sin2_theta_w is "
                f"exactly degenerate with {' = '.join(radii)}; give it an error, or take one of these out of the fit"
            )


def check_joint(experiment: Experiment, couplings: Sequence[str]) -> tuple[str, ...]:
    """Return the couplings of a joint fit if they can be fitted together.

    Raises
    ------
    UsageError
        If there are fewer than two, one is given twice, or ``m_N`` stands without a moment to N; see `joint_priors`.
    """
    given = f"joint = {','.join(couplings)}"
    if len(couplings) < 2 or len(set(couplings)) < len(couplings):
        raise UsageError(f"{given}: needs two different couplings or more, as in d_nue,m_N")
    for name in couplings:
        if name not in FREE_TOGETHER:
            experiment.fitted(name)
    if "sin2_theta_w" in couplings:
        experiment.with_free_mixing_angle()
    if all(name in FREE_TOGETHER for name in couplings):
        raise UsageError(f"{given}: needs a coupling of the card beside them")
    if "m_N" in couplings and all(COUPLINGS[name].family not in ("d", "dd") for name in couplings):
        raise UsageError(f"{given}: m_N needs a transition moment beside it; no other count depends on it")
    check_priors(experiment, couplings)
    return tuple(couplings)


def joint_problem(experiment: Experiment, couplings: Sequence[str]) -> tuple[Problem, list[Prior]]:
    """Return the problem of several couplings, and the prior of each; see `joint_priors`."""
    priors = joint_priors(experiment, couplings)
    masses = [prior for prior in priors if prior.coupling.name == "m_N"]
    free = experiment.with_free_mass(masses[0].high) if masses else experiment
    free = free.with_free_mixing_angle() if "sin2_theta_w" in couplings else free
    return make_problem(free, couplings), priors


def fit_jointly(
    experiment: Experiment, couplings: Sequence[str], arguments: RunArguments, sampler: Sampler
) -> xr.DataTree:
    """Sample several couplings at once, each with its card's prior; returns the same groups as a single fit.

    ``m_N`` among the couplings is the mass of N, with its prior ``sterile.m_N_prior``; ``sin2_theta_w`` the weak
    mixing angle, with a normal prior of the width ``physics.sin2_theta_w_error`` about the card's value. A fit of two
    couplings has the group ``region`` besides: cell centres, posterior density and Δ(-2 ln L) on a grid that holds the
    draws, all other couplings 0. One of more has such a group for each pair of a family (`pairs_of`): the density of
    the draws, and Δ(-2 ln L) with the fit's other couplings profiled.

    Raises
    ------
    UsageError
        See `joint_priors`.
    """
    return _sample(experiment, *joint_problem(experiment, couplings), arguments, arguments.seed, sampler, {})


def _sample(
    experiment: Experiment,
    problem: Problem,
    priors: list[Prior],
    arguments: RunArguments,
    seed: int,
    sampler: Sampler,
    attributes: dict[str, str],
) -> xr.DataTree:
    draws = sampler.sample(
        problem, priors, draws=arguments.draws, chains=arguments.chains, tune=arguments.tune, seed=seed
    )
    tree = posterior_tree(experiment, problem, priors, draws, {"model": experiment.card.name, **attributes})
    names = [prior.coupling.name for prior in priors]
    known = with_known_angle(problem, experiment)
    for group, pair in pairs_of(names).items():
        places = [names.index(name) for name in pair]
        if len(priors) == 2:
            grid = region(problem, (priors[0], priors[1]), draws.theta)
            delta = profile_grid(known, grid.x.centres, grid.y.centres).delta
        else:
            grid = density_of_draws(pair, draws.theta[places])
            delta = profile_plane(known, pair, grid.x.centres, grid.y.centres).delta
        origins = [priors[j].origin for j in places]
        tree[group] = region_dataset(grid, delta, origins)
    return tree


def fit_joint(
    experiment: Experiment,
    arguments: RunArguments,
    couplings: tuple[str, ...],
    folder: Path,
    run: str,
    sampler: Sampler,
    notice: Callable[[str], None],
) -> tuple[xr.DataTree, list[Prior], bool]:
    """Return one joint fit of a run, its priors, and whether it is kept from an earlier start of the same run."""
    path = posterior_path(folder, joint_name(couplings))
    kept = kept_fit(path, run, notice)
    if kept is not None:
        return kept, joint_priors(experiment, couplings), True
    problem, priors = joint_problem(experiment, couplings)
    seed = seed_of(arguments.seed, *couplings)
    tree = _sample(experiment, problem, priors, arguments, seed, sampler, {"run_hash": run})
    save_posterior(tree, path)
    return tree, priors, False
