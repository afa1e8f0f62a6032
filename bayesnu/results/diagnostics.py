"""Sampler diagnostics of a fit, with a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesnu.results.intervals import IntervalSet, relative_error

if TYPE_CHECKING:
    import xarray as xr

RHAT_MAX = 1.01
ESS_MIN = 400.0
ESS_GOOD = 1000.0
EBFMI_MIN = 0.3
ERROR_MAX = 0.02
AGREEMENT_SIGMA = 4.0


@dataclass(frozen=True)
class Diagnostics:
    """Diagnostics of the couplings of one fit (never of the signed variable that NUTS moves in).

    Attributes
    ----------
    coupling : str
    rhat : float
        Rank-normalised split R-hat.
    ess_bulk, ess_tail : float
        Effective sample sizes; the tail at the 5% and 95% quantiles.
    pull_rhat_max, pull_ess_min : float
        The worst pull.
    divergences : int
    ebfmi_min : float
        Lowest energy Bayesian fraction of missing information of a chain.
    error_relative : float
        Largest Monte Carlo error of a quoted bound, as a fraction of it (`relative_error`).
    laplace_sigma : float
        Largest distance between NUTS and the Laplace grid, in Monte Carlo errors; NaN where there is no grid.
    verdict : {"pass", "warn", "fail"}
    reasons : tuple of str
        Why it is not "pass".
    """

    coupling: str
    rhat: float
    ess_bulk: float
    ess_tail: float
    pull_rhat_max: float
    pull_ess_min: float
    divergences: int
    ebfmi_min: float
    error_relative: float
    laplace_sigma: float
    verdict: str
    reasons: tuple[str, ...]


def worst_verdict(verdicts: Sequence[str]) -> str:
    """Return the worst of "pass", "warn" and "fail"."""
    return max(verdicts, key=["pass", "warn", "fail"].index)


def _chain_stats(draws: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return R-hat, bulk and tail ESS of draws, shape (chains, draws)."""
    from arviz_stats.base import array_stats

    axes = {"chain_axis": 0, "draw_axis": 1}
    return (
        float(array_stats.rhat(draws, **axes)),
        float(array_stats.ess(draws, method="bulk", **axes)),
        float(array_stats.ess(draws, method="tail", prob=(0.05, 0.95), **axes)),
    )


def disagreement(nuts: IntervalSet, grid: IntervalSet) -> float:
    """Return the largest |NUTS bound - grid bound| in Monte Carlo errors; infinite if the pieces differ in number."""
    if len(nuts.intervals) != len(grid.intervals):
        return float("inf")
    distance = np.abs(np.array(nuts.intervals) - np.array(grid.intervals))
    error = np.array(nuts.mc_error)
    known = np.isfinite(error) & (error > 0)
    return float((distance[known] / error[known]).max()) if known.any() else 0.0


def diagnose(tree: xr.DataTree, coupling: str, quoted: IntervalSet, grid: IntervalSet | None) -> Diagnostics:
    """Diagnose one coupling of a fit.

    Parameters
    ----------
    tree : DataTree
        Of `posterior_tree`.
    coupling : str
    quoted : IntervalSet
        The interval that is quoted from the draws.
    grid : IntervalSet or None
        The same interval from the Laplace grid, for one-coupling fits.
    """
    draws = np.asarray(tree["posterior"][coupling].values)
    rhat, bulk, tail = _chain_stats(draws)
    pulls = np.asarray(tree["posterior"]["pulls"].values)
    moving = [p for p in range(pulls.shape[2]) if np.ptp(pulls[:, :, p]) > 0]
    stats = [_chain_stats(pulls[:, :, p]) for p in moving]
    pull_rhat = max((r for r, _, _ in stats), default=1.0)
    pull_ess = min((min(b, t) for _, b, t in stats), default=bulk)
    divergences = int(np.asarray(tree["sample_stats"]["diverging"].values).sum())
    ebfmi = float(_bfmi(np.asarray(tree["sample_stats"]["energy"].values)).min())
    error = relative_error(quoted)
    sigma = disagreement(quoted, grid) if grid is not None else float("nan")
    fails = [
        (rhat > RHAT_MAX or pull_rhat > RHAT_MAX, f"R-hat {max(rhat, pull_rhat):.3f} above {RHAT_MAX}"),
        (min(bulk, tail, pull_ess) < ESS_MIN, f"ESS {min(bulk, tail, pull_ess):.0f} below {ESS_MIN:.0f}"),
        (divergences > 0, f"{divergences} divergences"),
        (ebfmi < EBFMI_MIN, f"E-BFMI {ebfmi:.2f} below {EBFMI_MIN}"),
        (sigma > AGREEMENT_SIGMA, f"NUTS and the Laplace grid differ by {sigma:.1f} Monte Carlo errors"),
    ]
    warns = [
        (ESS_MIN <= min(bulk, tail) < ESS_GOOD, f"ESS {min(bulk, tail):.0f} below {ESS_GOOD:.0f}"),
        (error > ERROR_MAX, f"Monte Carlo error of a bound is {error:.1%} of it"),
    ]
    failed = [reason for bad, reason in fails if bad]
    warned = [reason for bad, reason in warns if bad]
    verdict = "fail" if failed else "warn" if warned else "pass"
    return Diagnostics(
        coupling, rhat, bulk, tail, pull_rhat, pull_ess, divergences, ebfmi, error, sigma, verdict, (*failed, *warned)
    )


def draws_problems(draws: NDArray[np.float64], divergences: int) -> list[str]:
    """Return what is wrong with the draws of a coupling, shape (chains, draws); empty if nothing is."""
    rhat, bulk, tail = _chain_stats(draws)
    checks = [
        (rhat > RHAT_MAX, f"R-hat {rhat:.3f} above {RHAT_MAX}"),
        (min(bulk, tail) < ESS_MIN, f"ESS {min(bulk, tail):.0f} below {ESS_MIN:.0f}"),
        (divergences > 0, f"{divergences} divergences"),
    ]
    return [reason for bad, reason in checks if bad]


def _bfmi(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the E-BFMI of each chain."""
    from arviz_stats.base import array_stats

    return np.atleast_1d(np.asarray(array_stats.bfmi(energy, chain_axis=0, draw_axis=1)))
