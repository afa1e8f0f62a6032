"""Fits of several couplings at once, the mass of N among them: posterior, marginal intervals, two-parameter regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import UsageError
from bayesnu.experiment.base import Experiment
from bayesnu.inference.laplace import Cells, GridPosterior2D, cells, laplace_posterior_2d
from bayesnu.inference.likelihood import Problem, make_problem, with_measurement
from bayesnu.inference.priors import AUTOMATIC_RANGE, Prior, mass_prior, mixing_angle_prior, resolve_prior
from bayesnu.inference.profile import delta_chi2_level, joint_ranges, profile_grid, profile_plane
from bayesnu.inference.sampling import Sampler
from bayesnu.physics.couplings import COUPLINGS, FREE_TOGETHER
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
TARGET_ACCEPT_OF_MANY = 0.9
"""With more than two couplings: short steps would cross between second solutions less often."""
REGION_CELLS = 96
PLANE_CELLS = 48
"""Along each coupling of a pair among more, whose density is that of draws."""
FAMILIES = ("mu", "q", "r2", "d")
REGION_TOLERANCE = 0.01
"""How much of the draws a region may hold more or less because its cells are of a finite size."""


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


def region_dataset(grid: GridPosterior2D, delta: Array, origins: Sequence[float]) -> xr.Dataset:
    """Return the region of two couplings as it is stored; values are shown from the origins of their priors."""
    import xarray as xr

    axes = dict(zip(grid.couplings, zip((grid.x, grid.y), origins, strict=True), strict=True))
    return xr.Dataset(
        {
            "density": (grid.couplings, grid.density, {"long_name": "posterior density, per unit or logarithm"}),
            "weight": (grid.couplings, grid.weight, {"long_name": "posterior probability of each cell"}),
            "delta_chi2": (grid.couplings, delta, {"long_name": "Δ(-2 ln L)"}),
            **{f"width_{name}": (name, axis.widths) for name, (axis, _) in axes.items()},
        },
        coords={
            name: (name, axis.centres + origin, {"units": COUPLINGS[name].unit, "logarithmic": int(axis.logarithmic)})
            for name, (axis, origin) in axes.items()
        },
    )


def density_of_draws(pair: tuple[str, str], draws: Array) -> GridPosterior2D:
    """Return the density of draws, shape (2, chains, draws), on a grid: a histogram, smoothed over a cell.

    Where a coupling enters squared only the grid begins at 0, and the density is smooth across it.
    """
    from scipy.ndimage import gaussian_filter

    axes = []
    for name, values in zip(pair, draws, strict=True):
        low, high = float(values.min()), float(values.max())
        margin = 0.03 * (high - low)
        low = 0.0 if COUPLINGS[name].squared_only and low < 0.1 * high else low - margin
        axes.append(cells(low, high + margin, PLANE_CELLS, "linear"))
    edges = [np.append(c.centres - c.widths / 2, c.centres[-1] + c.widths[-1] / 2) for c in axes]
    histogram = np.histogram2d(draws[0].ravel(), draws[1].ravel(), bins=edges)[0]
    weight = gaussian_filter(histogram / histogram.sum(), 1.0, mode="reflect")
    weight /= weight.sum()
    x, y = axes
    return GridPosterior2D(pair, x, y, weight / (x.widths[:, None] * y.widths[None, :]), weight)


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


def stored_region(tree: xr.DataTree, couplings: Sequence[str], group: str = "region") -> GridPosterior2D:
    """Return the grid posterior of two couplings that a fit stored; ``group`` is a name of `pairs_of`."""
    stored = tree[group].to_dataset().transpose(*couplings, ...)
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
