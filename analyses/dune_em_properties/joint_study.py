"""All couplings at once, sin²θ_W with them: 90% intervals beside those of one coupling at a time, and every plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from limits_study import UNITS
from numpy.typing import NDArray

from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.inference.laplace import GridPosterior2D
from bayesnu.inference.profile import ProfileGrid
from bayesnu.inference.sampling import Sampler
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.report.study import Tables, union
from bayesnu.results.fits import RunArguments
from bayesnu.results.intervals import IntervalSet
from bayesnu.results.joint import TARGET_ACCEPT_OF_MANY, fit_jointly, joint_priors, pairs_of
from bayesnu.results.joint_region import density_of_draws, stored_region
from bayesnu.results.joint_summary import JointResult, summarise_joint
from bayesnu.results.limits import DEFAULT_CHAINS, DEFAULT_SEED, limit

PROBABILITY = 0.90
DRAWS = 32000
"""Of each chain; with half as many the Monte Carlo error of a bound of r2_nue is 2% to 3% of it: "warn"."""

Pair = tuple[str, str]


@dataclass(frozen=True)
class AllCouplings:
    """The fit of all couplings in one scenario.

    Attributes
    ----------
    scenario : str
    joint : JointResult
        Marginal intervals, diagnostics and correlations.
    alone : dict
        Coupling to its credible interval with the others 0 (Laplace grid, the card's prior).
    draws : dict
        Coupling to its draws, all chains, in its own unit.
    planes : dict
        Pair of couplings to the density of its draws.
    profiles : dict
        Pair of one family to Δ(-2 ln L) with the other couplings and the pulls profiled.
    """

    scenario: str
    joint: JointResult
    alone: dict[str, IntervalSet]
    draws: dict[str, NDArray[np.float64]]
    planes: dict[Pair, GridPosterior2D]
    profiles: dict[Pair, ProfileGrid]


def fit_all(scenario: str, experiment: ElectronExperiment, draws: int = DRAWS) -> AllCouplings:
    """Fit all couplings of a card and sin²θ_W together.

    Raises
    ------
    RuntimeError
        If the sampler's verdict is not "pass".
    """
    listed = tuple(experiment.card.couplings)
    names = (*listed, "sin2_theta_w")
    arguments = RunArguments(names, draws=draws, chains=DEFAULT_CHAINS, seed=DEFAULT_SEED)
    tree = fit_jointly(experiment, names, arguments, Sampler(TARGET_ACCEPT_OF_MANY))
    joint = summarise_joint(tree, joint_priors(experiment, names), PROBABILITY)
    if joint.verdict != "pass":
        raise RuntimeError(f"{scenario}: all couplings together: {joint.verdict}: {'; '.join(joint.reasons)}")
    values = {name: np.asarray(tree["posterior"][name].values) for name in names}
    planes, profiles = {}, {}
    for group, (first, second) in pairs_of(names).items():
        grid = stored_region(tree, (first, second), group)
        delta = tree[group].to_dataset().transpose(first, second, ...)["delta_chi2"].values
        profiles[first, second] = ProfileGrid((first, second), grid.x.centres, grid.y.centres, delta)
    for first, second in combinations(names, 2):
        planes[first, second] = density_of_draws((first, second), np.stack([values[first], values[second]]))
    alone = {name: limit(experiment, name, method="laplace", cl=PROBABILITY) for name in listed}
    return AllCouplings(scenario, joint, alone, {n: v.ravel() for n, v in values.items()}, planes, profiles)


def write_joint(results: Sequence[AllCouplings], tables: Tables) -> None:
    """Tabulate the intervals of the joint fits beside those of one coupling at a time, and the correlations."""
    rows = []
    for result in results:
        for name, together, diagnostics in zip(
            result.joint.couplings, result.joint.intervals, result.joint.diagnostics, strict=True
        ):
            unit, coupling = UNITS.get(name, 1.0), COUPLINGS[name]
            digits = 3 if name in UNITS else 5
            alone = result.alone.get(name)
            errors = [error / unit for pair in together.mc_error for error in pair if np.isfinite(error)]
            ratio = width(together) / width(alone) if alone else float("nan")
            rows.append(
                [
                    result.scenario,
                    name,
                    "" if coupling.unit == "1" else f"{unit:.0e} {coupling.unit}",
                    union(together.intervals, unit, digits, coupling.squared_only),
                    ", ".join(f"{error:.2g}" for error in errors),
                    union(alone.intervals, unit, digits, coupling.squared_only) if alone else "",
                    ratio,
                    round(diagnostics.ess_bulk),
                    f"{diagnostics.rhat:.4f}",
                ]
            )
    header = ["scenario", "coupling", "unit", "all free", "MC error", "alone", "ratio of widths", "bulk ESS", "R-hat"]
    draws = DEFAULT_CHAINS * DRAWS
    title = f"90% credible intervals: six couplings and sin²θ_W free ({draws:,} NUTS draws), and one alone (Laplace)"
    tables.write("all_couplings", title, header, rows)
    correlations = []
    for result in results:
        names = result.joint.couplings
        for name, row in zip(names, result.joint.correlation, strict=True):
            correlations.append([result.scenario, name, *(f"{value:.2f}" for value in row)])
    names = results[0].joint.couplings
    tables.write(
        "all_couplings_correlations", "Correlations of the draws", ["scenario", "coupling", *names], correlations
    )


def width(interval: IntervalSet) -> float:
    """Return the sum of the lengths of the pieces of an interval set."""
    return sum(high - low for low, high in interval.intervals)
