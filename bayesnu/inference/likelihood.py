"""-2 ln L with its pulls minimised, for many values of the couplings at once.

Four statistics share the expected counts λ of `bayesnu.experiment.expectation`:

    poisson        2 Σ [λ - n + n ln(n/λ)] + Σ z²
    gamma-poisson  2 Σ [n ln(n/λ) + (n + 1/v) ln((1 + vλ)/(1 + vn))] + Σ z², v the relative variance of λ
    mixed          gamma-poisson (v may be 0) for counts, (n - λ)²/V for measurements with normal errors, bin by bin
    chi2           Σ (n - λ)²/V + Σ z², (3.1): V is N_SM, or N_SM + B; with v, + v λ² of the SM

with pulls f = σ z; free pulls have no z² term. In (3.1) the data are N_SM without background and only α B
enters; adding the nominal B to both leaves n - λ as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError, UsageError
from bayesnu.experiment.base import Experiment, Variance
from bayesnu.experiment.expectation import CountModel
from bayesnu.physics.couplings import COUPLINGS

Array = NDArray[np.float64]
Statistic = Literal["poisson", "gamma-poisson", "chi2", "mixed"]
LEAST_COUNTS = 1e-3
"""Expected counts below are as good as none for the scale of a coupling."""
RIPPLE = 1e-4
"""Depth in -2 ln L of a minimum that is not worth refining."""
FAR = 200.0
"""Δ(-2 ln L) above which a value is excluded whatever the question."""


@dataclass(frozen=True)
class Problem:
    """Data, expected counts of some free couplings in units of their scales, and a statistic.

    Attributes
    ----------
    couplings : tuple of str
        Free couplings; the others are 0.
    scales : ndarray, shape (couplings,)
        Unit of each coupling inside: value = scale × scaled value.
    model : CountModel
        Expected counts in scaled couplings.
    data : ndarray, shape (obs,)
    normal_variance : ndarray, shape (obs,)
        V of a normal observation: that of (3.1), or the square of a measured error; 0 of counts.
    relative_variance : ndarray, shape (obs,)
        Of the gamma-distributed mean of counts; 0 where they are Poisson, and of normal observations.
    few : bool
        Whether its fits are so few that NumPy has done them (`bayesnu.inference.steps`) before compiled code is loaded.
    """

    couplings: tuple[str, ...]
    scales: Array
    model: CountModel
    data: Array
    normal_variance: Array
    relative_variance: Array
    few: bool = False

    @cached_property
    def normal(self) -> NDArray[np.bool_]:
        """Which observations are normal, shape (obs,); the others are counts."""
        return self.normal_variance > 0

    @cached_property
    def statistic(self) -> Statistic:
        """What the observations are together: "mixed" where some are normal and some counts."""
        if self.normal.all():
            return "chi2"
        if self.normal.any():
            return "mixed"
        return "gamma-poisson" if self.relative_variance.any() else "poisson"

    @cached_property
    def wide_scan(self) -> tuple[Array, Array]:
        """Scaled values of a single coupling over many decades, minima refined, and the profiled -2 ln L there.

        Points at which the minimisation fails, as it may at absurdly large values, are left out.
        """
        near, far = np.geomspace(1e-2, 1e3, 121), np.geomspace(1.1e3, 1e6, 72)
        if squared_only(self)[0]:
            # Counts only grow with the square: one minimum, and far values matter where near ones do not bound it.
            points, value = self._scanned(np.append(0.0, near[::2]))
            if value[-1] - value.min() < FAR:
                beyond = self._scanned(far)
                points, value = np.append(points, beyond[0]), np.append(value, beyond[1])
        else:
            reach = np.append(near, far)
            points, value = self._scanned(np.concatenate([-reach[::-1], [0.0], reach]))
        # The lowest three: the best fit and a second solution are among them. Ripples on far plateaus are none.
        padded = np.pad(value, 1, mode="edge")
        deep = [k for k in local_minima(self, points, value) if max(padded[k], padded[k + 2]) > value[k] + RIPPLE]
        lowest = sorted(deep, key=value.__getitem__)[:3]
        refined = [refined_minimum(self, *bracket(points, k)) for k in lowest]
        return merged(points, value, refined)

    def _scanned(self, points: Array) -> tuple[Array, Array]:
        profiled = minimise_pulls(self, points[None, :])
        if not profiled.converged.any():
            raise ConvergenceError(
                f"{self.couplings[0]}: the minimisation over pulls failed at every value; check counts and pulls"
            )
        return points[profiled.converged], profiled.value[profiled.converged]


@dataclass(frozen=True)
class Profiled:
    """-2 ln L minimised over the pulls at each point.

    Attributes
    ----------
    value : ndarray, shape (points,)
    pulls : ndarray, shape (points, pulls)
        The minimising z, in units of the widths.
    hessian : ndarray, shape (points, pulls, pulls)
        Second derivatives of -ln L in z there.
    converged : ndarray of bool, shape (points,)
    """

    value: Array
    pulls: Array
    hessian: Array
    converged: NDArray[np.bool_]

    def require(self, problem: Problem, within: float) -> None:
        """Check that every point within ``within`` of the lowest converged; those far above do not matter.

        Raises
        ------
        ConvergenceError
            Otherwise.
        """
        failed = ~self.converged & (self.value - np.nanmin(self.value) < within)
        if failed.any() or not self.converged.any():
            names = ", ".join(problem.couplings)
            raise ConvergenceError(
                f"{names}: the minimisation over pulls failed at {(~self.converged).sum()} of {failed.size} values; "
                "choose a prior, counts and pulls nearer to each other"
            )


def coupling_scale(model: CountModel, coupling: str) -> float:
    """Return the value of a coupling that changes χ² by about 1 with pulls fixed: the unit used inside.

    1 MeV for m_N; with m_N free, that of another coupling is the least over the masses.

    Raises
    ------
    ConvergenceError
        If the counts do not depend on the coupling.
    """
    if coupling == "m_N":
        return 1.0
    j = model.couplings.index(coupling)
    reference = model.expected()
    unit = []
    masses = [0.0] if model.masses is None else model.masses.nodes[::8].tolist()
    for power, mass in itertools.product((1, 2, 4), masses):
        change = model.change(j, power, mass)
        if change.any():
            size = float((change**2 / np.maximum(reference, LEAST_COUNTS)).sum())
            if size > 0:
                unit.append(size ** (-0.5 / power))
    if not unit:
        raise ConvergenceError(f"{coupling}: the expected counts do not depend on it; check the flux of its flavour")
    return float(min(unit))


def make_problem(
    experiment: Experiment,
    couplings: Sequence[str],
    statistic: Statistic = "poisson",
    variance: Variance | None = None,
) -> Problem:
    """Gather what a fit of some couplings needs; data with measured errors are normal, by either statistic.

    Parameters
    ----------
    experiment : Experiment
    couplings : sequence of str
        Those that are free.
    statistic : {"poisson", "chi2"}
    variance : {"sm", "sm+background"}, optional
        V of (3.1); the experiment's first by default.

    Raises
    ------
    UsageError
        For a coupling that the card does not fit, or a variance of 0 in some bin.
    """
    names = tuple(experiment.fitted(name) for name in couplings)
    scales = np.array([coupling_scale(experiment.model, name) for name in names])
    normal, relative = experiment.normal_variance, experiment.relative_variance
    # Measured errors make the data normal: one likelihood, whatever it is called.
    if statistic == "chi2" and experiment.errors is None:
        if not experiment.variances:
            raise UsageError(f"{experiment.card.name}: some bins expect no counts, χ² has no variance; use poisson")
        normal, relative = experiment.chi2_variance(variance or experiment.variances[0]), None
    spread = np.zeros(experiment.data.size) if relative is None else relative
    return Problem(names, scales, experiment.model.restrict(names, scales.tolist()), experiment.data, normal, spread)


def with_measurement(problem: Problem, coupling: str, error: float) -> Problem:
    """Return the problem with one more observation, normal: a coupling was measured to be 0 ± ``error``.

    1 is observed with the error 1 where 1 + θ/error is expected.

    Parameters
    ----------
    problem : Problem
    coupling : str
    error : float
        In the coupling's own unit.
    """
    model, j = problem.model, problem.couplings.index(coupling)
    own = np.zeros((1, len(model.monomials), problem.data.size + 1))
    own[0, model.monomials.index(()), -1] = 1.0
    own[0, model.monomials.index(((j, 1),)), -1] = problem.scales[j] / error
    more = replace(
        model,
        components=(*model.components, ()),
        component_names=(*model.component_names, f"{coupling}, measured"),
        arrays=np.concatenate([np.pad(model.arrays, ((0, 0), (0, 0), (0, 1))), own]),
        signed=True,
    )
    return replace(
        problem,
        model=more,
        data=np.append(problem.data, 1.0),
        normal_variance=np.append(problem.normal_variance, 1.0),
        relative_variance=np.append(problem.relative_variance, 0.0),
    )


def squared_only(problem: Problem) -> NDArray[np.bool_]:
    """Return for each free coupling whether it enters squared only."""
    return np.array([COUPLINGS[name].squared_only for name in problem.couplings])


def minimise_pulls(
    problem: Problem,
    couplings: Array,
    *,
    data: Array | None = None,
    centre: Array | None = None,
    iterations: int = 400,
    tolerance: float = 1e-8,
    promise: float = 0.0,
    first: Array | None = None,
) -> Profiled:
    """Minimise -2 ln L over the pulls at many points by damped Newton steps (`bayesnu.inference.newton`).

    Where a problem wants ``few`` fits, of its own data, NumPy does them if all of them end.

    Parameters
    ----------
    problem : Problem
    couplings : ndarray, shape (couplings, points)
        Scaled values.
    data : ndarray, shape (sets, obs), optional
        Many data sets in the place of the problem's own; results then have a first axis of this length.
    centre : ndarray, shape (sets, pulls), optional
        What the auxiliary measurements of the pulls gave in each data set; 0 by default.
    iterations, tolerance : int, float
        A step below ``tolerance`` in every pull is the last one; what is left is quadratic in it.
    promise : float
        So is a step of Newton's that promises to lower -2 ln L by less; the Hessian, which takes one more evaluation,
        is then left out (an empty array).
    first : ndarray, shape (sets, pulls), optional
        Where the pulls of each data set start; 0 by default.

    Returns
    -------
    Profiled
    """
    model = problem.model
    if problem.few and data is centre is None and (found := _few_fits(problem, couplings, tolerance, first)):
        return found
    from bayesnu.inference import newton

    monomials = model.monomial_values(np.atleast_2d(couplings))
    strengths = np.empty((monomials.shape[1], len(model.components), model.arrays.shape[2]))
    newton.strengths(np.ascontiguousarray(model.arrays), monomials, model.floored, strengths)
    sets = problem.data[None, :] if data is None else data
    n_pulls, shape = len(model.pulls), (sets.shape[0], strengths.shape[0])
    nowhere = np.zeros((shape[0], n_pulls))
    measured = nowhere if centre is None else centre
    value, pulls, converged = np.empty(shape), np.empty((*shape, n_pulls)), np.zeros(shape, dtype=np.bool_)
    hessian = np.empty((*(shape if promise == 0 else (0, 1)), n_pulls, n_pulls))
    newton.fit_points(
        strengths,
        model.membership,
        model.widths,
        model.constraint,
        statistic_code(problem),
        problem.normal_variance,
        problem.relative_variance,
        np.ascontiguousarray(sets, dtype=float),
        np.ascontiguousarray(measured),
        iterations,
        tolerance,
        promise,
        nowhere if first is None else np.ascontiguousarray(first),
        value,
        pulls,
        hessian,
        converged,
    )
    if data is None:
        return Profiled(value[0], pulls[0], hessian[0] if promise == 0 else hessian[:, 0], converged[0])
    return Profiled(value, pulls, hessian, converged)


def few_fits(problem: Problem) -> Problem:
    """Return the problem for a caller that needs few fits of its own data: `Problem.few`."""
    return replace(problem, few=True)


def _few_fits(problem: Problem, couplings: Array, tolerance: float, first: Array | None) -> Profiled | None:
    """Return fits by NumPy; None if one of them does not end, or the statistic is none that it knows."""
    from bayesnu.inference.steps import minimised

    model = problem.model
    if problem.statistic not in ("poisson", "chi2") or model.membership.max(initial=0.0) > 1:
        # A morph of the response has several minima.
        return None
    variance = problem.normal_variance if problem.statistic == "chi2" else None
    strengths = model.signal_strengths(np.atleast_2d(couplings))
    start = None if first is None else first[0]
    found = Profiled(
        *minimised(
            strengths, model.membership, model.widths, model.constraint, problem.data, variance, tolerance, start
        )
    )
    return found if found.converged.all() else None


def statistic_code(problem: Problem) -> int:
    """Return the number by which `bayesnu.inference.newton` knows the statistic."""
    from bayesnu.inference import newton

    codes = {"poisson": newton.POISSON, "chi2": newton.NORMAL, "gamma-poisson": newton.NEGATIVE_BINOMIAL}
    codes["mixed"] = newton.MIXED
    return codes[problem.statistic]


def local_minima(problem: Problem, points: Array, value: Array) -> list[int]:
    """Return the indices of the local minima of a scan that are worth refining.

    0 itself is a minimum to the last digit where a coupling enters squared only: there the slope in it vanishes.
    """
    padded = np.concatenate([[np.inf], value, [np.inf]])
    found = np.flatnonzero((padded[1:-1] <= padded[:-2]) & (padded[1:-1] <= padded[2:])).tolist()
    return [k for k in found if not (points[k] == 0 and squared_only(problem)[0])]


def bracket(points: Array, k: int) -> tuple[float, float]:
    """Return the neighbours of a point of a scan."""
    return float(points[max(k - 1, 0)]), float(points[min(k + 1, points.size - 1)])


def merged(points: Array, value: Array, refined: Sequence[tuple[float, float]]) -> tuple[Array, Array]:
    """Return a scan with refined minima put in at their places."""
    points = np.concatenate([points, [t for t, _ in refined]])
    value = np.concatenate([value, [v for _, v in refined]])
    points, first = np.unique(points, return_index=True)
    return points, value[first]


def refined_minimum(problem: Problem, low: float, high: float) -> tuple[float, float]:
    """Return where -2 ln L of a one-coupling problem is least in a bracket of one minimum, and its value there.

    Five grids, each an eighth as wide as the one before: the error in -2 ln L is quadratic in the last step.
    """
    for _ in range(5):
        between = np.linspace(low, high, 17)
        inner = minimise_pulls(problem, between[None, :]).value
        best = int(np.argmin(inner))
        low, high = between[max(best - 1, 0)], between[min(best + 1, 16)]
    return float(between[best]), float(inner[best])


def likelihood_range(problem: Problem, threshold: float, *, exact: bool = True) -> tuple[float, float]:
    """Return the scaled range of a one-coupling problem outside which Δ(-2 ln L) exceeds ``threshold``.

    Δ counts from the best fit. The outermost crossings count, so that a second
    solution is inside. For a coupling that enters squared only the lower end is
    0 unless the data exclude it. An end is infinite where no value tried lies
    above the threshold (very wide pulls can absorb any coupling). Without ``exact`` the range may be some per cent
    wider, which takes less time.
    """
    points, value = problem.wide_scan
    lowest = float(value.min())
    inside = np.flatnonzero(value - lowest <= threshold)

    def edge(inner: float, outer: float) -> float:
        for _ in range(6 if exact else 0):
            between = np.linspace(inner, outer, 18)
            above = minimise_pulls(problem, between[None, 1:-1]).value - lowest > threshold
            first = int(np.argmax(above)) if above.any() else above.size
            inner, outer = between[first], between[first + 1]
        return outer

    last, first = int(inside[-1]), int(inside[0])
    high = edge(points[last], points[last + 1]) if last + 1 < points.size else np.inf
    if first > 0:
        return edge(points[first], points[first - 1]), high
    return 0.0 if squared_only(problem)[0] else -np.inf, high


def bounded_range(problem: Problem, threshold: float, *, exact: bool = True) -> tuple[float, float]:
    """Return `likelihood_range` where both ends are finite.

    Raises
    ------
    ConvergenceError
        Otherwise.
    """
    low, high = likelihood_range(problem, threshold, exact=exact)
    if not np.isfinite(high - low):
        raise ConvergenceError(
            f"{problem.couplings[0]}: Δχ² stays below {threshold:g} at any value, so the data do not bound it; "
            "choose narrower pulls or give it a prior with bounds"
        )
    return low, high
