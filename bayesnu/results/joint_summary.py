"""What a joint fit says of each of its couplings: marginal intervals, diagnostics, its entry in limits.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.inference.priors import Prior
from bayesnu.inference.profile import delta_chi2_level
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.results.diagnostics import AGREEMENT_SIGMA, Diagnostics, diagnose, diagnostics_json, worst_verdict
from bayesnu.results.intervals import IntervalSet
from bayesnu.results.joint import joint_name
from bayesnu.results.joint_region import stored_region
from bayesnu.results.limits import default_kind, interval_json, nuts_interval

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]
REGION_TOLERANCE = 0.01
"""How much of the draws a region may hold more or less because its cells are of a finite size."""


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
