"""Weighted draws of the posterior of one coupling and the pulls, without a chain, and whether to trust them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import RunError, UnconvergedError, silent
from bayesnu.experiment.base import Experiment
from bayesnu.inference.importance import laplace_draws
from bayesnu.inference.priors import one_coupling
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.resources import write_text
from bayesnu.results.intervals import (
    IntervalSet,
    check_kind,
    check_probability,
    exact,
    grid_interval,
)
from bayesnu.results.limits import DEFAULT_SEED, check_counts, check_responds, default_kind, interval_json, naming
from bayesnu.shown import Shown

Array = NDArray[np.float64]
DEFAULT_DRAWS = 4000
PARETO_K_MAX = 0.5
"""Shape of the weights' tail from which on their variance is infinite."""


@dataclass(frozen=True, repr=False, eq=False)
class WeightedPosterior(Shown):
    """Independent draws of the posterior with importance weights.

    Attributes
    ----------
    model, coupling, unit : str
    pull_names : tuple of str
    theta : ndarray, shape (draws,)
        The coupling in its own unit.
    pulls : ndarray, shape (draws, pulls)
        Pulls as fractions.
    weight : ndarray, shape (draws,)
        Their sum is 1: an average over the posterior is Σ w f.
    pareto_k : float
        Shape of the weights' tail; below 0.5 averages converge as they should.
    effective : float
        How many equally weighted draws they are worth.
    interval : IntervalSet
        The credible interval on the grid that the coupling is drawn from; deterministic.
    prior : str
    seed : int
    reasons : tuple of str
        Why the verdict is "fail"; empty for "pass".
    m_N : float, optional
        Mass of N in MeV at which a transition moment acts.
    """

    model: str
    coupling: str
    unit: str
    pull_names: tuple[str, ...]
    theta: Array
    pulls: Array
    weight: Array
    pareto_k: float
    effective: float
    interval: IntervalSet
    prior: str
    seed: int
    reasons: tuple[str, ...] = ()
    m_N: float | None = None

    @property
    def verdict(self) -> str:
        """ "pass" or "fail"."""
        return "fail" if self.reasons else "pass"

    def resampled(self, number: int, seed: int) -> tuple[Array, Array]:
        """Return equally weighted draws of the coupling, (number,), and of the pulls, (number, pulls).

        Systematic: each draw is taken as often as its weight asks for, to within one.
        """
        rng = np.random.default_rng(seed)
        place = (np.arange(number) + rng.random()) / number
        chosen = rng.permutation(np.minimum(np.searchsorted(np.cumsum(self.weight), place), self.weight.size - 1))
        return self.theta[chosen], self.pulls[chosen]

    def save(self, path: Path | str) -> None:
        """Write the draws as CSV: the coupling in its unit, the pulls as fractions, and the weight.

        Raises
        ------
        RunError
            If the file cannot be written.
        """
        text = io.StringIO()
        header = ",".join((self.coupling, *self.pull_names, "weight"))
        columns = np.column_stack([self.theta, self.pulls, self.weight])
        np.savetxt(text, columns, fmt="%.10g", delimiter=",", header=header, comments="")
        write_text(Path(path), text.getvalue(), RunError)


def draw(
    experiment: Experiment,
    coupling: str,
    *,
    draws: int | None = None,
    cl: float = 0.90,
    kind: str | None = None,
    seed: int | None = None,
    allow_unconverged: bool = False,
    notice: Callable[[str], None] = silent,
) -> WeightedPosterior:
    """Draw from the posterior of one coupling and the pulls, the other couplings held at 0, by weighted draws.

    From the Laplace grid, with weights that make up for what it approximates: what NUTS takes seconds for.

    Parameters
    ----------
    experiment : Experiment
    coupling : str
    draws : int, optional
        4000 by default.
    cl : float
        Credibility of the interval that stands beside the draws.
    kind : {"hdi", "eti", "upper"}, optional
        As `bayesnu.limit` has it.
    seed : int, optional
    allow_unconverged : bool
        Return the draws although their weights say that they cannot be trusted.
    notice : callable, optional
        Receives the reason then.

    Raises
    ------
    UnconvergedError
        If Pareto's k of the weights is 0.5 or more, unless ``allow_unconverged``.
    UsageError
        For an unknown coupling or kind, one that no count depends on, or a number that is not allowed.
    """
    check_responds(experiment, coupling)
    check_probability(cl)
    check_counts(draws=draws, chains=None, seed=seed)
    chosen = check_kind(kind) if kind is not None else default_kind(coupling)
    number, own_seed = DEFAULT_DRAWS if draws is None else draws, DEFAULT_SEED if seed is None else seed
    unit = COUPLINGS[coupling].unit
    with naming(experiment, coupling):
        problem, prior = one_coupling(experiment, coupling, few=True)
        found = laplace_draws(problem, prior, number, own_seed)
    grid, logarithmic = found.grid, prior.kind == "log-uniform"
    pieces = grid_interval(grid.values, grid.density, cl, chosen, prior.lowest, logarithmic)
    reasons: tuple[str, ...] = ()
    if not found.pareto_k < PARETO_K_MAX:
        reasons = (f"Pareto's k of the weights is {found.pareto_k:.2f}, not below {PARETO_K_MAX}",)
        advice = "bayesnu limit --method nuts samples it"
        if not allow_unconverged:
            raise UnconvergedError(f"{coupling}: the draws are withheld: {reasons[0]}; {advice}")
        notice(f"{coupling}: {reasons[0]}; {advice}")
    return WeightedPosterior(
        experiment.card.name,
        coupling,
        unit,
        problem.model.pulls,
        found.theta,
        found.pulls,
        found.weight,
        found.pareto_k,
        found.effective,
        IntervalSet(coupling, unit, cl, chosen, "laplace", pieces, exact(pieces)),
        prior.describe(),
        own_seed,
        reasons,
        experiment.mass_of(coupling),
    )


def moments(found: WeightedPosterior) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of the coupling and of each pull, by name."""
    columns = np.column_stack([found.theta, found.pulls])
    # Couplings of 1e-33 have no squares.
    scale = np.maximum(np.abs(columns).max(axis=0), np.finfo(float).tiny)
    mean = found.weight @ (columns / scale)
    deviation = np.sqrt(found.weight @ (columns / scale - mean) ** 2)
    names = (found.coupling, *found.pull_names)
    return {n: (float(m), float(s)) for n, m, s in zip(names, mean * scale, deviation * scale, strict=True)}


def weighted_json(found: WeightedPosterior) -> dict[str, Any]:
    """Return what is known of the draws as JSON-able values; the draws themselves stay in the file."""
    mass = {} if found.m_N is None else {"m_N": found.m_N}
    return {
        "model": found.model,
        "coupling": found.coupling,
        "unit": found.unit,
        **mass,
        "prior": found.prior,
        "draws": found.theta.size,
        "seed": found.seed,
        "pareto_k": found.pareto_k if np.isfinite(found.pareto_k) else None,
        "effective": found.effective,
        "verdict": found.verdict,
        "reasons": list(found.reasons),
        "limit": interval_json(found.model, found.interval),
        "parameters": {name: {"mean": m, "standard_deviation": s} for name, (m, s) in moments(found).items()},
    }
