"""Fits of several couplings at once, the mass of N among them: posterior, marginal intervals, two-parameter regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import UsageError
from bayesnu.experiment.base import Experiment
from bayesnu.inference.laplace import Cells, GridPosterior2D, cells, laplace_posterior_2d
from bayesnu.inference.likelihood import Problem, make_problem
from bayesnu.inference.priors import Prior, mass_prior, resolve_prior
from bayesnu.inference.profile import delta_chi2_level, profile_grid
from bayesnu.inference.sampling import Sampler
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.results.diagnostics import AGREEMENT_SIGMA, Diagnostics, diagnose, diagnostics_json, worst_verdict
from bayesnu.results.fits import RunArguments, kept_fit, posterior_path, seed_of
from bayesnu.results.intervals import IntervalSet
from bayesnu.results.limits import default_kind, interval_json, nuts_interval
from bayesnu.results.posterior import posterior_tree, save_posterior

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]
TARGET_ACCEPT = 0.98
"""Of the sampler: regions of two parameters are more bent than those of one."""
REGION_CELLS = 96
REGION_TOLERANCE = 0.01
"""How much of the draws a region may hold more or less because its cells are of a finite size."""


def joint_name(couplings: Sequence[str]) -> str:
    """Return the name of a joint fit in files and tables."""
    return "+".join(couplings)


def joint_priors(experiment: Experiment, couplings: Sequence[str]) -> list[Prior]:
    """Return the prior of each coupling of a joint fit.

    Raises
    ------
    UsageError
        If a coupling is unknown, or a prior is left out.
    """
    priors = []
    for name in couplings:
        if name == "m_N":
            priors.append(mass_prior(experiment))
            continue
        card = experiment.card.couplings[experiment.fitted(name)].prior
        if len(couplings) > 1 and card is None:
            raise UsageError(
                f"couplings.{name}.prior: a joint fit needs a prior from the card; the range found with the "
                "other couplings at 0 may cut the joint posterior"
            )
        if len(couplings) > 1 and card is not None and card.kind == "jeffreys":
            raise UsageError(
                f"couplings.{name}.prior.kind = jeffreys: is that of one coupling, the others at 0; a joint fit needs "
                "another prior"
            )
        priors.append(resolve_prior(card, make_problem(experiment, [name])))
    return priors


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
        if name != "m_N":
            experiment.fitted(name)
    if "m_N" in couplings and all(COUPLINGS[name].family not in ("d", "dd") for name in couplings):
        raise UsageError(f"{given}: m_N needs a transition moment beside it; no other count depends on it")
    joint_priors(experiment, couplings)
    return tuple(couplings)


def joint_problem(experiment: Experiment, couplings: Sequence[str]) -> tuple[Problem, list[Prior]]:
    """Return the problem of several couplings, and the prior of each; see `joint_priors`."""
    priors = joint_priors(experiment, couplings)
    masses = [prior for prior in priors if prior.coupling.name == "m_N"]
    free = experiment.with_free_mass(masses[0].high) if masses else experiment
    return make_problem(free, couplings), priors


def fit_jointly(
    experiment: Experiment, couplings: Sequence[str], arguments: RunArguments, sampler: Sampler
) -> xr.DataTree:
    """Sample several couplings at once, each with its card's prior; returns the same groups as a single fit.

    ``m_N`` among the couplings is the mass of N, with its prior ``sterile.m_N_prior``. A fit of two couplings has
    the group ``region`` besides: cell centres, posterior density and Δ(-2 ln L) on a grid that holds the draws.

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
    import xarray as xr

    draws = sampler.sample(
        problem, priors, draws=arguments.draws, chains=arguments.chains, tune=arguments.tune, seed=seed
    )
    tree = posterior_tree(experiment, problem, priors, draws, {"model": experiment.card.name, **attributes})
    if len(priors) == 2:
        grid = region(problem, (priors[0], priors[1]), draws.theta)
        delta = profile_grid(problem, grid.x.centres, grid.y.centres).delta
        axes = dict(zip(grid.couplings, (grid.x, grid.y), strict=True))
        tree["region"] = xr.Dataset(
            {
                "density": (grid.couplings, grid.density, {"long_name": "posterior density, per unit or logarithm"}),
                "weight": (grid.couplings, grid.weight, {"long_name": "posterior probability of each cell"}),
                "delta_chi2": (grid.couplings, delta, {"long_name": "Δ(-2 ln L)"}),
                **{f"width_{name}": (name, axis.widths) for name, axis in axes.items()},
            },
            coords={
                name: (name, axis.centres, {"units": COUPLINGS[name].unit, "logarithmic": int(axis.logarithmic)})
                for name, axis in axes.items()
            },
        )
    return tree


def region(problem: Problem, priors: tuple[Prior, Prior], draws: Array) -> GridPosterior2D:
    """Return the posterior of two couplings on a grid that holds all of some draws, shape (2, chains, draws).

    Cells are equal in the logarithm under a log-uniform prior, in the square root for a coupling that enters squared
    only (whose posterior may be much narrower at some values of the other), else in the coupling.
    """
    axes: list[Cells] = []
    for prior, values in zip(priors, draws, strict=True):
        low, high = float(values.min()), float(values.max())
        if prior.kind == "log-uniform":
            margin = (high / low) ** 0.05
            low, high = max(low / margin, prior.low), min(high * margin, prior.high)
            axes.append(cells(low, high, REGION_CELLS, "log"))
            continue
        margin = 0.05 * (high - low)
        low, high = max(low - margin, prior.low), min(high + margin, prior.high)
        if prior.coupling.squared_only and low < 0.1 * high:
            low = max(prior.low, 0.0)
        bent = prior.coupling.squared_only and prior.coupling.name != "m_N"
        axes.append(cells(low, high, REGION_CELLS, "square" if bent else "linear"))
    return laplace_posterior_2d(problem, priors, axes[0], axes[1])


def fit_joint(
    experiment: Experiment,
    arguments: RunArguments,
    couplings: tuple[str, ...],
    folder: Path,
    run: str,
    sampler: Sampler,
    notice: Callable[[str], None],
) -> tuple[xr.DataTree, bool]:
    """Return one joint fit of a run: kept from an earlier start of the same run, or sampled and stored."""
    path = posterior_path(folder, joint_name(couplings))
    kept = kept_fit(path, run, notice)
    if kept is not None:
        return kept, True
    problem, priors = joint_problem(experiment, couplings)
    seed = seed_of(arguments.seed, *couplings)
    tree = _sample(experiment, problem, priors, arguments, seed, sampler, {"run_hash": run})
    save_posterior(tree, path)
    return tree, False


@dataclass(frozen=True)
class RegionCheck:
    """How much of the draws lies in the highest-density region of the grid, with its Monte Carlo error."""

    probability: float
    fraction: float
    error: float

    @property
    def problem(self) -> str | None:
        """What is wrong, if something is."""
        distance = abs(self.fraction - self.probability)
        if distance <= AGREEMENT_SIGMA * self.error + REGION_TOLERANCE:
            return None
        return f"the grid's {self.probability:.0%} region holds {self.fraction:.1%} ± {self.error:.1%} of the draws"


@dataclass(frozen=True)
class JointResult:
    """What a joint fit says of each of its couplings.

    Attributes
    ----------
    couplings, priors : tuple of str
    intervals : tuple of IntervalSet
        Marginal credible intervals.
    diagnostics : tuple of Diagnostics
    correlation : ndarray, shape (couplings, couplings)
        Of the draws.
    region : RegionCheck or None
        For two couplings.
    """

    couplings: tuple[str, ...]
    priors: tuple[str, ...]
    intervals: tuple[IntervalSet, ...]
    diagnostics: tuple[Diagnostics, ...]
    correlation: Array
    region: RegionCheck | None

    @property
    def verdict(self) -> str:
        """The worst verdict."""
        region = ["fail"] if self.region is not None and self.region.problem else []
        return worst_verdict([*(item.verdict for item in self.diagnostics), *region])

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not "pass"."""
        found = [f"{item.coupling}: {reason}" for item in self.diagnostics for reason in item.reasons]
        if self.region is not None and self.region.problem:
            found.append(self.region.problem)
        return tuple(dict.fromkeys(found))


def stored_region(tree: xr.DataTree, couplings: Sequence[str]) -> GridPosterior2D:
    """Return the grid posterior that a fit of two couplings stored."""
    stored = tree["region"].to_dataset().transpose(*couplings, ...)
    x, y = (
        Cells(stored[name].values, stored[f"width_{name}"].values, bool(stored[name].attrs["logarithmic"]))
        for name in couplings
    )
    return GridPosterior2D((couplings[0], couplings[1]), x, y, stored["density"].values, stored["weight"].values)


def check_region(tree: xr.DataTree, couplings: tuple[str, ...], probability: float) -> RegionCheck | None:
    """Compare the draws of a two-coupling fit with the grid's highest-density region; None for more couplings."""
    from arviz_stats.base import array_stats

    if "region" not in tree.children:
        return None
    grid = stored_region(tree, couplings)
    draws = [np.asarray(tree["posterior"][name].values) for name in couplings]
    inside = grid.contains(draws[0], draws[1], probability).astype(float)
    fraction = float(inside.mean())
    # An indicator that never changes has no effective sample size.
    varies = 0 < fraction < 1
    ess = float(array_stats.ess(inside, chain_axis=0, draw_axis=1)) if varies else float(inside.size)
    return RegionCheck(probability, fraction, float(np.sqrt(fraction * (1 - fraction) / ess)))


def summarise_joint(tree: xr.DataTree, priors: Sequence[Prior], credibility: float) -> JointResult:
    """Return the marginal intervals and diagnostics of a joint fit."""
    names = tuple(prior.coupling.name for prior in priors)
    draws = [np.asarray(tree["posterior"][name].values) for name in names]
    intervals = [
        nuts_interval(own, prior, credibility, default_kind(name))
        for name, prior, own in zip(names, priors, draws, strict=True)
    ]
    return JointResult(
        names,
        tuple(prior.describe() for prior in priors),
        tuple(intervals),
        tuple(diagnose(tree, name, interval, None) for name, interval in zip(names, intervals, strict=True)),
        np.corrcoef(np.stack([own.ravel() for own in draws])),
        check_region(tree, names, credibility),
    )


def joint_json(model: str, result: JointResult) -> dict[str, Any]:
    """Return the entry of a joint fit in limits.json."""
    parameters = []
    for k, name in enumerate(result.couplings):
        parameters.append(
            {
                "coupling": name,
                "unit": COUPLINGS[name].unit,
                "prior": result.priors[k],
                "credible": interval_json(model, result.intervals[k]),
                "diagnostics": diagnostics_json(result.diagnostics[k]),
            }
        )
    region_entry = None
    if result.region is not None:
        region_entry = asdict(result.region) | {"delta_chi2_level": delta_chi2_level(result.region.probability, 2)}
    return {
        "name": joint_name(result.couplings),
        "couplings": list(result.couplings),
        "parameters": parameters,
        "correlation": result.correlation.tolist(),
        "region": region_entry,
        "verdict": result.verdict,
        "reasons": list(result.reasons),
    }
