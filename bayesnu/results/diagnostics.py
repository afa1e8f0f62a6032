"""Sampler diagnostics of a fit, with a verdict: pass, warn, or fail, on which no limit is shown (`results.verdict`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.inference.laplace import GridPosterior
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.results.intervals import IntervalSet, relative_error
from bayesnu.results.modes import find_modes, missed, visits

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
    ess_limit : float
        The least one at the quantiles that are the bounds of the quoted interval (`ess_at_bounds`).
    pull_rhat_max, pull_ess_min : float
        The worst pull.
    divergences : int
    ebfmi_min : float
        Lowest energy Bayesian fraction of missing information of a chain.
    error_relative : float
        Largest Monte Carlo error of a quoted bound, as a fraction of it (`relative_error`).
    laplace_sigma : float
        Largest distance between NUTS and the Laplace grid, in Monte Carlo errors; NaN where there is no grid.
    mode_peaks, mode_shares : tuple of float
        Where the modes of the Laplace grid peak, and how much of it they hold; empty where there is one or no grid.
    mode_visits : tuple of tuple of float
        The share of each chain's draws in each of them.
    verdict : {"pass", "warn", "fail"}
    reasons : tuple of str
        Why it is not "pass".
    hint : str
        What to do about a "fail".
    """

    coupling: str
    rhat: float
    ess_bulk: float
    ess_tail: float
    ess_limit: float
    pull_rhat_max: float
    pull_ess_min: float
    divergences: int
    ebfmi_min: float
    error_relative: float
    laplace_sigma: float
    mode_peaks: tuple[float, ...]
    mode_shares: tuple[float, ...]
    mode_visits: tuple[tuple[float, ...], ...]
    verdict: str
    reasons: tuple[str, ...]
    hint: str


@dataclass(frozen=True, eq=False)
class CouplingDraws:
    """What is diagnosed.

    Attributes
    ----------
    coupling : str
    theta : ndarray, shape (chains, draws)
    pulls : ndarray, shape (chains, draws, pulls)
    pull_names : tuple of str
    diverging : ndarray of bool, shape (chains, draws)
    energy : ndarray, shape (chains, draws)
    """

    coupling: str
    theta: NDArray[np.float64]
    pulls: NDArray[np.float64]
    pull_names: tuple[str, ...]
    diverging: NDArray[np.bool_]
    energy: NDArray[np.float64]


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
    with np.errstate(invalid="ignore"):
        # Both are open below where the prior is.
        distance = np.abs(np.array(nuts.intervals) - np.array(grid.intervals))
    error = np.array(nuts.mc_error)
    known = np.isfinite(error) & (error > 0)
    return float((distance[known] / error[known]).max()) if known.any() else 0.0


def diagnose(
    tree: xr.DataTree,
    coupling: str,
    quoted: IntervalSet,
    grid: IntervalSet | None,
    posterior: GridPosterior | None = None,
) -> Diagnostics:
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
    posterior : GridPosterior, optional
        The Laplace grid, whose modes every chain should have visited.
    """
    own, stats = tree["posterior"], tree["sample_stats"]
    names = own["pull"].values.tolist() if "pull" in own.coords else range(own["pulls"].shape[2])
    draws = CouplingDraws(
        coupling,
        np.asarray(own[coupling].values),
        np.asarray(own["pulls"].values),
        tuple(map(str, names)),
        np.asarray(stats["diverging"].values, dtype=bool),
        np.asarray(stats["energy"].values),
    )
    return judge(draws, quoted, grid, posterior)


def judge(
    draws: CouplingDraws, quoted: IntervalSet, grid: IntervalSet | None, posterior: GridPosterior | None = None
) -> Diagnostics:
    """Diagnose draws of one coupling; see `diagnose`."""
    rhat, bulk, tail = _chain_stats(draws.theta)
    moving = [p for p in range(draws.pulls.shape[2]) if np.ptp(draws.pulls[:, :, p]) > 0]
    stats = [_chain_stats(draws.pulls[:, :, p]) for p in moving]
    pull_rhat = max((r for r, _, _ in stats), default=1.0)
    pull_ess = min((min(b, t) for _, b, t in stats), default=bulk)
    at_limit = ess_at_bounds(draws.theta, quoted)
    divergences, ebfmi = int(draws.diverging.sum()), float(_bfmi(draws.energy).min())
    error = relative_error(quoted)
    sigma = disagreement(quoted, grid) if grid is not None else float("nan")
    modes = find_modes(posterior) if posterior is not None else ()
    unseen = missed(draws.theta, modes) if len(modes) > 1 else ()
    own, least = min(bulk, tail, at_limit), min(bulk, tail, at_limit, pull_ess)
    n = draws.theta.shape[1]
    # As many draws as the least effective size asks for, half of them more, to two digits.
    enough = float(f"{n * max(2.0, 1.5 * ESS_MIN / max(least, 1.0)):.1e}")
    more = f"give --draws {enough:.0f} or more"
    checks = [
        (rhat > RHAT_MAX or pull_rhat > RHAT_MAX, f"R-hat {max(rhat, pull_rhat):.3f} above {RHAT_MAX}", more),
        (least < ESS_MIN, f"ESS {least:.0f} below {ESS_MIN:.0f}", more),
        (divergences > 0, f"{divergences} divergences{where_divergent(draws)}", "choose prior or pulls away from them"),
        (ebfmi < EBFMI_MIN, f"E-BFMI {ebfmi:.2f} below {EBFMI_MIN}", more),
        (sigma > AGREEMENT_SIGMA, f"NUTS and the Laplace grid differ by {sigma:.1f} Monte Carlo errors", more),
        *((True, reason, "a limit by --method chi2 needs no sampler") for reason in unseen),
    ]
    warns = [
        (ESS_MIN <= own < ESS_GOOD, f"ESS {own:.0f} below {ESS_GOOD:.0f}"),
        (error > ERROR_MAX, f"Monte Carlo error of a bound is {error:.1%} of it"),
    ]
    failed = [(reason, remedy) for bad, reason, remedy in checks if bad]
    warned = [reason for bad, reason in warns if bad]
    return Diagnostics(
        draws.coupling,
        rhat,
        bulk,
        tail,
        at_limit,
        pull_rhat,
        pull_ess,
        divergences,
        ebfmi,
        error,
        sigma,
        tuple(mode.peak for mode in modes) if len(modes) > 1 else (),
        tuple(mode.share for mode in modes) if len(modes) > 1 else (),
        tuple(map(tuple, visits(draws.theta, modes).tolist())) if len(modes) > 1 else (),
        "fail" if failed else "warn" if warned else "pass",
        (*(reason for reason, _ in failed), *warned),
        "; ".join(dict.fromkeys(remedy for _, remedy in failed)),
    )


def ess_at_bounds(theta: NDArray[np.float64], quoted: IntervalSet) -> float:
    """Return the least effective sample size at the quantiles that are bounds of an interval.

    Of the indicator θ ≤ bound (ArviZ's method "quantile"), since that is what the error of a quantile follows from;
    "local" is about probabilities between two quantiles. Bounds at the edge of a prior have no error and do not count.
    """
    from arviz_stats.base import array_stats

    bounds, errors = np.array(quoted.intervals).ravel(), np.array(quoted.mc_error).ravel()
    levels = [float((theta <= bound).mean()) for bound in bounds[np.isfinite(errors)]]
    sizes = [
        float(array_stats.ess(theta, method="quantile", prob=level, chain_axis=0, draw_axis=1))
        for level in levels
        if 0 < level < 1
    ]
    return min(sizes, default=float(theta.size))


def where_divergent(draws: CouplingDraws) -> str:
    """Return where divergences lie: the range of the coupling, and the pull in which they differ most from the rest."""
    bad = draws.diverging
    if not bad.any() or bad.all():
        return ""
    theta, unit = draws.theta[bad], COUPLINGS[draws.coupling].unit
    place = f" at {draws.coupling} {theta.min():.3g} to {theta.max():.3g} {unit}"
    spread = draws.pulls.std(axis=(0, 1))
    distance = (draws.pulls[bad].mean(axis=0) - draws.pulls[~bad].mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    if not (spread > 0).any():
        return place
    p = int(np.abs(distance).argmax())
    side = "above" if distance[p] > 0 else "below"
    return f"{place}, with {draws.pull_names[p]} {abs(distance[p]):.1f} standard deviations {side} the other draws"


def diagnostics_json(found: Diagnostics) -> dict[str, Any]:
    """Return diagnostics as JSON-able values: null for what is not known."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        return (value if math.isfinite(value) else None) if isinstance(value, float) else value

    return {key: plain(value) for key, value in asdict(found).items()}


def _bfmi(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the E-BFMI of each chain."""
    from arviz_stats.base import array_stats

    return np.atleast_1d(np.asarray(array_stats.bfmi(energy, chain_axis=0, draw_axis=1)))
