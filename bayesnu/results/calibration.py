"""Calibration of a card's couplings: p-values, a verdict, and what is kept of them on disk."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesnu import __version__
from bayesnu.errors import RunError, UsageError, unknown_name
from bayesnu.experiment.base import Experiment
from bayesnu.inference.calibration import (
    HIGHEST_RANK,
    NutsPosterior,
    Posterior,
    Study,
    constrained,
    quantities,
    run_study,
)
from bayesnu.inference.calibration_grid import LaplacePosterior
from bayesnu.inference.priors import one_coupling
from bayesnu.inference.uniformity import Band, overall, simultaneous_band, uniformity
from bayesnu.resources import write_atomically, write_text
from bayesnu.results.limits import DEFAULT_SEED, check_counts, check_responds
from bayesnu.results.toy_limits import ToyRunner
from bayesnu.shown import Shown

METHODS = {"nuts": (500, 10), "laplace": (10_000, 250)}
"""Method to the default number of simulations, and how many are one task."""
LEVEL = 0.01
"""Probability with which a calibrated program is called not calibrated."""
LEAST_SIMULATIONS, MOST_SIMULATIONS = 20, 1_000_000
BAND = 0.95
COARSE = 0.1
"""Half width of the band from which a remark says how little the test can see."""
RHAT_MAX = 1.05
LEAST_ESS = NutsPosterior.LEAST_PER_RANK * HIGHEST_RANK


@dataclass(frozen=True, repr=False)
class Calibration(Shown):
    """Ranks of the truth in simulated fits of one coupling.

    Attributes
    ----------
    model, coupling, method : str
    prior : str
        In words.
    seed : int
    highest : int
        L; ranks are among L draws.
    quantities : tuple of str
        The coupling, the pulls, the log-likelihood.
    free : tuple of str
        Pulls that are free in fits, and had the normal constraint of their unit width here.
    ranks : ndarray of int, shape (simulations, quantities)
    diagnostics : dict
        Name to values, shape (simulations,).
    seconds : float
        Wall time.
    """

    model: str
    coupling: str
    method: str
    prior: str
    seed: int
    highest: int
    quantities: tuple[str, ...]
    free: tuple[str, ...]
    ranks: NDArray[np.int64]
    diagnostics: dict[str, NDArray[Any]]
    seconds: float

    @cached_property
    def p_values(self) -> NDArray[np.float64]:
        """Probability of ranks as uneven as these if they are uniform; shape (quantities,)."""
        return np.array([uniformity(column, self.highest, self.seed) for column in self.ranks.T])

    @property
    def p_value(self) -> float:
        """Of all quantities together, after Bonferroni."""
        return overall(self.p_values)

    @property
    def verdict(self) -> str:
        """Whether ranks are uniform at `LEVEL`."""
        return "calibrated" if self.p_value >= LEVEL else "not calibrated"

    @cached_property
    def band(self) -> Band:
        """The simultaneous band of each quantity's ranks."""
        return simultaneous_band(len(self.ranks), self.highest, BAND, self.seed)

    @property
    def least_seen(self) -> float:
        """The largest distance of the ranks' distribution from the uniform one that the band lets pass."""
        band = self.band
        return float(np.maximum(band.high - band.places, band.places - band.low).max())

    @property
    def too_few_effective(self) -> int:
        """How many simulations kept fewer effective draws than `LEAST_ESS`."""
        return int((self.diagnostics["ess"] < LEAST_ESS).sum())

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to know beside the p-values."""
        remarks = []
        number = len(self.ranks)
        if self.least_seen > COARSE:
            remarks.append(
                f"{number} simulations: only gross errors would be seen, since a distribution of ranks that is off by "
                f"less than {self.least_seen:.2f} would pass"
            )
        if self.method == "nuts":
            found = self.diagnostics
            remarks.append(
                f"{(found['divergences'] > 0).mean():.1%} of {number} simulations had divergences, "
                f"{(found['rhat'] > RHAT_MAX).mean():.1%} an R-hat above {RHAT_MAX} (worst {found['rhat'].max():.3f}), "
                f"{(found['attempts'] > 1).mean():.1%} were sampled again with more draws"
            )
        if self.too_few_effective:
            remarks.append(
                f"{self.too_few_effective} of {number} simulations have fewer effective draws than the "
                f"{LEAST_ESS:.0f} that ranks need to be nearly independent, however often sampled again (fewest "
                f"{self.diagnostics['ess'].min():.0f}); their ranks count all the same"
            )
        if self.method == "laplace" and (bent := int(self.diagnostics["bent"].sum())):
            remarks.append(
                f"{bent} of {number} simulations have a pull at the edge of its range somewhere, where -ln L has "
                "no minimum: draws take the size of its curvature there, before they are weighted"
            )
        if self.free:
            remarks.append(
                f"{len(self.free)} free pulls ({self.free[0]}, …) have a flat prior, which cannot be drawn from: "
                "here they had the normal constraint of their unit width"
            )
        return tuple(remarks)


def check_arguments(
    experiment: Experiment, couplings: Sequence[str], method: str, simulations: int | None
) -> tuple[list[str], int]:
    """Return the couplings, all by default, and the number of simulations.

    Raises
    ------
    UsageError
        For an unknown method, an unknown coupling or one that no count depends on, or a number of simulations that is
        not allowed.
    """
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    names = [experiment.fitted(name) for name in couplings or experiment.card.couplings]
    number = METHODS[method][0] if simulations is None else simulations
    if not LEAST_SIMULATIONS <= number <= MOST_SIMULATIONS:
        raise UsageError(
            f"simulations = {number}: needs at least {LEAST_SIMULATIONS} for a test of uniformity, and at most "
            f"{MOST_SIMULATIONS}"
        )
    for name in names:
        check_responds(experiment, name)
    return list(dict.fromkeys(names)), number


def calibrate(
    experiment: Experiment,
    coupling: str,
    method: str = "laplace",
    simulations: int | None = None,
    seed: int = DEFAULT_SEED,
    runner: ToyRunner | None = None,
) -> Calibration:
    """Simulate fits of one coupling and rank the truth in each.

    The prior is the card's, with an automatic range found from the card's own data and then kept.

    Parameters
    ----------
    experiment : Experiment
    coupling : str
    method : {"laplace", "nuts"}
    simulations : int, optional
        500 for NUTS, 10,000 for Laplace by default.
    seed : int
    runner : ToyRunner, optional
        Who simulates, this process by default; its folder may hold further couplings and fewer simulations.

    Raises
    ------
    UsageError
        For a coupling, method or number that is not allowed, or a coupling that no count depends on.
    """
    (name,), number = check_arguments(experiment, [coupling], method, simulations)
    check_counts(draws=None, chains=None, seed=seed)
    own, prior = one_coupling(experiment, name)
    problem = constrained(own)
    runner = runner or ToyRunner()
    posterior: Posterior = NutsPosterior(problem, prior) if method == "nuts" else LaplacePosterior(problem, prior)
    # Neither coupling nor number is part of the key: chunks of both have names of their own.
    settings = {"command": "calibrate", "method": method, "seed": seed, "draws_per_rank": HIGHEST_RANK}
    start = time.perf_counter()
    runner.progress(f"{name} by {method}")
    found = run_study(
        Study(problem, prior, posterior, seed),
        number,
        METHODS[method][1],
        runner.workers,
        runner.chunks(experiment, settings),
    )
    ranks = found.pop("ranks")
    return Calibration(
        experiment.card.name,
        name,
        method,
        prior.describe(),
        seed,
        HIGHEST_RANK,
        quantities(problem),
        own.model.free,
        ranks,
        found,
        time.perf_counter() - start,
    )


def calibration_json(result: Calibration) -> dict[str, Any]:
    """Return settings, p-values and diagnostics of a calibration, without its ranks."""
    import platform

    versions = {"bayesnu": __version__, "python": platform.python_version(), "numpy": np.__version__}
    if result.method == "nuts":
        from importlib.metadata import version

        versions |= {name: version(name) for name in ("pymc", "nutpie")}
    found = result.diagnostics
    sampler = {
        "simulations_with_divergences": int((found["divergences"] > 0).sum()),
        "divergences": int(found["divergences"].sum()),
        "largest_rhat": float(found["rhat"].max()),
        f"simulations_with_rhat_above_{RHAT_MAX}": int((found["rhat"] > RHAT_MAX).sum()),
    } if result.method == "nuts" else {
        "simulations_with_own_grid": int(found["own_grid"].sum()),
        "simulations_without_minimum": int(found["bent"].sum()),
        "largest_share_of_one_draw": float(found["heaviest"].max()),
    }  # fmt: skip
    sampler |= {
        "least_ess": float(found["ess"].min()),
        "simulations_with_too_few_effective_draws": result.too_few_effective,
        "simulations_sampled_again": int((found["attempts"] > 1).sum()),
    }
    return {
        "model": result.model,
        "coupling": result.coupling,
        "method": result.method,
        "prior": result.prior,
        "simulations": len(result.ranks),
        "seed": result.seed,
        "draws_per_rank": result.highest,
        "p_values": dict(zip(result.quantities, result.p_values.tolist(), strict=True)),
        "p_value": result.p_value,
        "correction": "Bonferroni",
        "level": LEVEL,
        "verdict": result.verdict,
        "least_deviation_seen": result.least_seen,
        "sampler": sampler,
        "free_pulls_constrained": list(result.free),
        "seconds": round(result.seconds, 1),
        "versions": versions,
    }


def write_calibration(results: Sequence[Calibration], folder: Path) -> None:
    """Write calibration.json and ranks.npz: ``COUPLING.ranks``, ``COUPLING.theta`` (truths) and diagnostics.

    Raises
    ------
    RunError
        If the folder cannot be written.
    """
    arrays: dict[str, Any] = {}
    for result in results:
        arrays[f"{result.coupling}.ranks"] = result.ranks.astype(np.int16)
        arrays[f"{result.coupling}.quantities"] = np.array(result.quantities)
        for name, values in result.diagnostics.items():
            arrays[f"{result.coupling}.{name}"] = values

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    write_atomically(folder / "ranks.npz", write, RunError)
    content = [calibration_json(result) for result in results]
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(folder / "calibration.json", text + "\n", RunError)
