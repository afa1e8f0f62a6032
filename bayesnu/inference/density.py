"""The log-density of the PyMC model with its gradient, compiled once for all models: what NUTS calls.

PyMC's model (`bayesnu.inference.model`) is the definition; tests hold the two equal to 1e-10. Compiling that one takes
three to ten seconds in each process, this one is read from numba's cache. With u the unconstrained values of the
sampled variables and w the pulls' frame (`bayesnu.inference.frame`),

    ln p(u, w) = Σ_i ln p(n_i | λ_i) + Σ_j ln p(v_j) |dv_j/du_j| - Σ_p c_p z_p²/2 - (P/2) ln 2π,

λ the counts of `bayesnu.experiment.expectation`, c_p 1 for a pull with a constraint.

Functions that call each other share this module, since numba's cache notices changes of a function's own file alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types
from numpy.typing import NDArray

from bayesnu.errors import UsageError
from bayesnu.inference.frame import DEGREE, KNEE_DEGREE, PullFrame
from bayesnu.inference.jeffreys import LEAST_SHARE
from bayesnu.inference.likelihood import Problem
from bayesnu.inference.model import model_inputs
from bayesnu.inference.negative_binomial import LEAST_VARIANCE, negative_binomial_log_density
from bayesnu.inference.priors import SampledVariable

Array = NDArray[np.float64]
HEAD = 16
"""Numbers before the arrays in `density_inputs`."""
STATISTICS = ("poisson", "chi2", "gamma-poisson", "mixed")
POISSON, NORMAL, NEGATIVE_BINOMIAL, MIXED = range(4)
KINDS = ("uniform", "normal", "half-normal")
UNIFORM, GAUSSIAN, HALF_GAUSSIAN = range(3)
MAPS = ("identity", "folded", "square-root", "exponential")
IDENTITY, FOLDED, SQUARE_ROOT, EXPONENTIAL = range(4)
LOG_TWO_PI = math.log(2 * math.pi)
NOT_FINITE_GRADIENT, NOT_FINITE = 3, 4
"""What a callback returns where there is no density: nutpie then ends the trajectory as a divergence."""


def density_inputs(problem: Problem, variables: Sequence[SampledVariable], frame: PullFrame) -> Array:
    """Return everything that the density of a problem depends on, as one vector.

    Parameters
    ----------
    problem : Problem
        Statistic "poisson" or "gamma-poisson", or "chi2" with the variances of measured errors.
    variables : sequence of SampledVariable
        One for each coupling of the problem.
    frame : PullFrame

    Raises
    ------
    UsageError
        For a Jeffreys prior beside other couplings.
    """
    if len(variables) > 1 and any(variable.table is not None for variable in variables):
        raise UsageError("a Jeffreys prior is that of one coupling alone; give a fit of several another kind")
    model, values = problem.model, model_inputs(problem, variables, frame)
    n_couplings, n_components = len(variables), len(model.components)
    mass = model.couplings.index("m_N") if model.masses is not None else -1
    moment = 1 - mass if values["mass_frame"].size else -1
    exponents = np.zeros((len(model.monomials), n_couplings))
    splines = np.full(len(model.monomials), -1.0)
    for m, monomial in enumerate(model.monomials):
        for j, power in monomial:
            if j == mass:
                splines[m] = power
            else:
                exponents[m, j] = power
    statistic = STATISTICS.index(problem.statistic)
    breaks, cells = (model.masses.breaks, model.masses.cells) if model.masses is not None else ((), ())
    arrays = [
        np.array([KINDS.index(v.kind) for v in variables]),
        np.array([MAPS.index(v.map) for v in variables]),
        values["bounds"],
        exponents,
        splines,
        model.membership,
        model.widths,
        model.constraint,
        model.arrays,
        # Rows without any counts are passed over.
        model.arrays.any(axis=2),
        problem.data,
        problem.normal_variance,
        problem.relative_variance,
        _constant_terms(problem),
        frame.centre,
        frame.spread,
        values["frame_range"],
        values["mass_frame"],
        np.array(breaks),
        np.array(cells),
        values["jeffreys_range"],
        values["jeffreys"],
    ]
    flat = np.concatenate([np.ravel(array).astype(float) for array in arrays])
    head = np.zeros(HEAD)
    head[1:] = (
        n_couplings,
        len(model.pulls),
        n_components,
        len(model.monomials),
        problem.data.size,
        statistic,
        model.floored,
        moment,
        mass,
        len(cells),
        len(values["jeffreys"]),
        # Constants of other modules, whose change numba's cache would not notice.
        DEGREE,
        KNEE_DEGREE,
        LEAST_SHARE,
        LEAST_VARIANCE,
    )
    head[0] = head.size + flat.size
    return np.concatenate([head, flat])


def _constant_terms(problem: Problem) -> Array:
    """Return what of ln p(n | λ) does not depend on λ, shape (obs,)."""
    from scipy.special import gammaln

    counts = problem.data.astype(float)
    if problem.statistic == "poisson":
        return np.asarray(-gammaln(counts + 1))
    normal = problem.normal
    counts = np.where(normal, 1.0, counts)
    # At λ = 1, where ln λ is 0, less the one term that is left.
    v = np.maximum(problem.relative_variance, LEAST_VARIANCE)
    constant = negative_binomial_log_density(counts, np.ones(counts.size), v) + (counts + 1 / v) * np.log1p(v)
    return np.where(normal, -(np.log(np.where(normal, problem.normal_variance, 1.0)) + LOG_TWO_PI) / 2, constant)


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _variable(kind: float, first: float, second: float, u: float) -> tuple[float, float, float, float]:
    """Return v at an unconstrained u, dv/du, ln p(v) |dv/du| and its derivative in u."""
    if kind == UNIFORM:
        small = math.exp(-abs(u))
        share = (1.0 if u >= 0 else small) / (1 + small)
        slope = small / (1 + small) ** 2
        width = second - first
        return first + width * share, width * slope, -abs(u) - 2 * math.log1p(small), 1 - 2 * share
    norm = -math.log(second) - LOG_TWO_PI / 2
    if kind == GAUSSIAN:
        return u, 1.0, norm - (u / second) ** 2 / 2, -u / second**2
    v = math.exp(u)
    return v, v, norm + math.log(2.0) + u - (v / second) ** 2 / 2, 1 - (v / second) ** 2


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _splines(inputs: Array, breaks: int, cells: int, n_cells: int, mass: float, basis: Array, slopes: Array) -> None:
    """Write the B-splines of `MassSpline` at a mass, and their derivatives; breaks and cells begin at two places."""
    basis[:] = 0.0
    slopes[:] = 0.0
    m, start = abs(mass), 0
    for s in range(n_cells):
        n = int(inputs[cells + s])
        a, b = inputs[breaks + s], inputs[breaks + s + 1]
        if m >= a and (m < b or (s == n_cells - 1 and m <= b)):
            x = 1 - 2 * (m - a) / (b - a)
            clipped = min(max(x, -1 + 1e-12), 1 - 1e-12)
            place = math.acos(clipped) * (n / math.pi)
            slope = 0.0
            if clipped == x:
                slope = n / math.pi / math.sqrt(1 - x * x) * 2 / (b - a) * (1.0 if mass > 0 else -1.0)
            for k in range(n + 3):
                away = place - (k - 1)
                outer, inner = max(2 - abs(away), 0.0), max(1 - abs(away), 0.0)
                basis[start + k] = (outer**3 - 4 * inner**3) / 6
                slopes[start + k] = (12 * inner**2 - 3 * outer**2) / 6 * (1.0 if away > 0 else -1.0) * slope
        start += n + 3


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _jeffreys(inputs: Array, start: int, cells: int, kind: float, least: float, v: float) -> tuple[float, float]:
    """Return ln √K of `JeffreysTable` at v, and its derivative; its range and pieces begin at a place."""
    low, high = inputs[start], inputs[start + 1]
    t, slope = v, 1.0
    if kind == SQUARE_ROOT:
        t = math.sqrt(abs(v))
        slope = math.copysign(0.5, v) / t
    elif kind != IDENTITY:
        t, slope = abs(v), math.copysign(1.0, v)
    share = (t - low) / (high - low)
    inside = 0.0 <= share <= 1.0
    place = min(max(share, 0.0), 1.0) * cells
    k = min(int(place), cells - 1)
    r = place - k
    at = start + 2 + 4 * k
    value = ((inputs[at] * r + inputs[at + 1]) * r + inputs[at + 2]) * r + inputs[at + 3]
    if value <= least:
        return math.log(least) / 2, 0.0
    bend = (3 * inputs[at] * r + 2 * inputs[at + 1]) * r + inputs[at + 2]
    return math.log(value) / 2, bend / value / 2 * cells / (high - low) * slope if inside else 0.0


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _observe(inputs: Array, code: int, least: float, data: int, expected: Array, slopes: Array) -> float:
    """Return Σ ln p(n | λ) and write its derivatives in λ; -inf where λ is impossible.

    Counts, normal and relative variances and constant terms follow each other from a place on.
    """
    total, size = 0.0, expected.size
    for o in range(size):
        n, mean = inputs[data + o], expected[o]
        normal, constant = inputs[data + size + o], inputs[data + 3 * size + o]
        if code == NORMAL or (code == MIXED and normal > 0):
            away = (n - mean) / normal
            total += constant - away * (n - mean) / 2
            slopes[o] = away
        elif mean > 0:
            if code >= NEGATIVE_BINOMIAL:
                v = max(inputs[data + 2 * size + o], least)
                total += constant + n * math.log(mean) - (n + 1 / v) * math.log1p(v * mean)
                slopes[o] = n / mean - (n * v + 1) / (1 + v * mean)
            else:
                total += constant + n * math.log(mean) - mean
                slopes[o] = n / mean - 1
        elif mean == 0 and n == 0:
            # Nothing expected and nothing seen is certain.
            slopes[o] = 0.0 if code >= NEGATIVE_BINOMIAL else -1.0
        else:
            return -math.inf
    return total


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def log_density(u: Array, inputs: Array, gradient: Array) -> float:
    """Return ln p at unconstrained values, shape (couplings + pulls,), and write its gradient; see `density_inputs`."""
    n_k, n_p, n_c, n_m, n_o = int(inputs[1]), int(inputs[2]), int(inputs[3]), int(inputs[4]), int(inputs[5])
    statistic, floored, moment, mass = int(inputs[6]), inputs[7] > 0, int(inputs[8]), int(inputs[9])
    n_cells, n_jeffreys, degree, knee_degree = int(inputs[10]), int(inputs[11]), int(inputs[12]), int(inputs[13])
    # Where each array begins: views would take longer to compile than all the rest.
    kinds = HEAD
    maps = kinds + n_k
    bounds = maps + n_k
    exponents = bounds + 2 * n_k
    splines = exponents + n_m * n_k
    membership = splines + n_m
    widths = membership + n_c * n_p
    constraint = widths + n_p
    arrays = constraint + n_p
    filled = arrays + n_c * n_m * n_o
    data = filled + n_c * n_m
    centre = data + 4 * n_o
    spread = centre + n_p * (degree + 1)
    middle = spread + n_p * n_p
    bent = middle + 2
    breaks = bent + (5 + knee_degree if moment >= 0 else 0)
    cells = breaks + (n_cells + 1 if n_cells else 0)
    jeffreys = cells + n_cells
    if jeffreys + (2 + 4 * n_jeffreys if n_jeffreys else 0) != inputs.size:
        # Written for another layout, or with another problem's frame.
        return math.nan

    # The sampled variables, x of the monomials, and what leads from a slope in x back to u.
    v, back, x, by_v = np.empty(n_k), np.empty(n_k), np.empty(n_k), np.empty(n_k)
    total = 0.0
    for j in range(n_k):
        first, second = (0.0, 1.0) if j == moment else (inputs[bounds + 2 * j], inputs[bounds + 2 * j + 1])
        v[j], back[j], density, slope = _variable(inputs[kinds + j], first, second, u[j])
        total += density
        gradient[j] = slope
        by_v[j] = 0.0
    if n_jeffreys:
        density, slope = _jeffreys(inputs, jeffreys, n_jeffreys, inputs[maps], inputs[14], v[0])
        total += density
        gradient[0] += slope * back[0]
    share, k, wide, mass_slope = 0.0, 0.0, 0.0, 0.0
    if moment >= 0:
        # The bend of `MassFrame`.
        t, logit, logit_slope = (v[mass] - inputs[bent]) / inputs[bent + 1], 0.0, 0.0
        for n in range(knee_degree, -1, -1):
            logit_slope = logit_slope * t + logit
            logit = logit * t + inputs[bent + 4 + n]
        share = v[moment]
        k = 1 / (1 + math.exp(-logit))
        wide = k * share + (1 - k) * (1 - share)
        mass_slope = k * (1 - k) * logit_slope / inputs[bent + 1]
        total += math.log(k * (1 - k)) - 2 * math.log(wide)
        gradient[moment] -= 2 * (2 * k - 1) / wide * back[moment]
        gradient[mass] += ((1 - 2 * k) / (k * (1 - k)) - 2 * (2 * share - 1) / wide) * mass_slope * back[mass]
        v[moment] = inputs[bent + 2] + k * share / wide * (inputs[bent + 3] - inputs[bent + 2])
    for j in range(n_k):
        if inputs[maps + j] == SQUARE_ROOT:
            x[j] = math.sqrt(abs(v[j]))
        elif inputs[maps + j] == EXPONENTIAL:
            x[j] = math.exp(v[j])
        else:
            x[j] = v[j]

    # The pulls.
    z_slope, by_z, factor = np.empty(n_p), np.empty(n_p), np.empty(n_p)
    t = ((v[0] if n_k == 1 else 0.0) - inputs[middle]) / inputs[middle + 1]
    moves = n_k == 1 and -1 <= t <= 1
    t = min(max(t, -1.0), 1.0)
    for p in range(n_p):
        value, slope = 0.0, 0.0
        for n in range(degree, -1, -1):
            slope = slope * t + value
            value = value * t + inputs[centre + p * (degree + 1) + n]
        for q in range(n_p):
            value += inputs[spread + p * n_p + q] * u[n_k + q]
        z_slope[p] = slope / inputs[middle + 1] if moves else 0.0
        total -= inputs[constraint + p] * value * value / 2
        by_z[p] = -inputs[constraint + p] * value
        factor[p] = 1 + inputs[widths + p] * value
    total -= n_p * LOG_TWO_PI / 2

    # The expected counts.
    weight, mono, expected, slopes = np.empty(n_c), np.empty(n_m), np.empty(n_o), np.empty(n_o)
    expected[:] = 0.0
    n_splines = 0
    for s in range(n_cells):
        n_splines += int(inputs[cells + s]) + 3
    basis, basis_slope = np.empty(n_splines), np.empty(n_splines)
    if mass >= 0:
        _splines(inputs, breaks, cells, n_cells, x[mass], basis, basis_slope)
    for m in range(n_m):
        value = 1.0 if inputs[splines + m] < 0 else basis[int(inputs[splines + m])]
        for j in range(n_k):
            for _ in range(int(inputs[exponents + m * n_k + j])):
                value *= x[j]
        mono[m] = value
    counts = np.empty(n_c * n_o if floored else 0)
    counts[:] = 0.0
    for c in range(n_c):
        weight[c] = 1.0
        for p in range(n_p):
            power = inputs[membership + c * n_p + p]
            if power == 1:
                weight[c] *= factor[p]
            elif power != 0:
                weight[c] *= factor[p] ** power
        for m in range(n_m):
            if inputs[filled + c * n_m + m] == 0 or mono[m] == 0:
                continue
            row = arrays + (c * n_m + m) * n_o
            if floored:
                for o in range(n_o):
                    counts[c * n_o + o] += mono[m] * inputs[row + o]
            else:
                factors = weight[c] * mono[m]
                for o in range(n_o):
                    expected[o] += factors * inputs[row + o]
        if floored:
            for o in range(n_o):
                expected[o] += weight[c] * max(counts[c * n_o + o], 0.0)
    total += _observe(inputs, statistic, inputs[15], data, expected, slopes)
    if not total > -math.inf:
        return float(total)

    # Back to the pulls and to the couplings.
    by_mono, own = np.empty(n_m), np.empty(n_o)
    by_mono[:] = 0.0
    for c in range(n_c):
        whole = 0.0
        for o in range(n_o):
            own[o] = 0.0 if floored and counts[c * n_o + o] <= 0 else slopes[o]
        for m in range(n_m):
            if inputs[filled + c * n_m + m] == 0 or (inputs[splines + m] >= 0 and basis[int(inputs[splines + m])] == 0):
                continue
            row, pairing = arrays + (c * n_m + m) * n_o, 0.0
            for o in range(n_o):
                pairing += inputs[row + o] * own[o]
            by_mono[m] += weight[c] * pairing
            whole += mono[m] * pairing
        for p in range(n_p):
            power = inputs[membership + c * n_p + p]
            if power != 0:
                by_z[p] += weight[c] * whole * power * inputs[widths + p] / factor[p]
    for m in range(n_m):
        if by_mono[m] == 0:
            continue
        for j in range(n_k):
            slope = 1.0 if inputs[splines + m] < 0 else basis[int(inputs[splines + m])]
            if j == mass:
                slope = 0.0 if inputs[splines + m] < 0 else basis_slope[int(inputs[splines + m])]
            else:
                slope *= inputs[exponents + m * n_k + j]
            if slope != 0:
                for i in range(n_k):
                    for _ in range(int(inputs[exponents + m * n_k + i]) - (1 if i == j and j != mass else 0)):
                        slope *= x[i]
                by_v[j] += by_mono[m] * slope
    for j in range(n_k):
        if inputs[maps + j] == SQUARE_ROOT:
            by_v[j] *= math.copysign(0.5, v[j]) / x[j]
        elif inputs[maps + j] == EXPONENTIAL:
            by_v[j] *= x[j]
    if moment >= 0:
        reach = inputs[bent + 3] - inputs[bent + 2]
        gradient[mass] += by_v[moment] * reach * share * (1 - share) / wide**2 * mass_slope * back[mass]
        by_v[moment] *= reach * k * (1 - k) / wide**2
    for p in range(n_p):
        by_v[0] += by_z[p] * z_slope[p]
    for j in range(n_k):
        gradient[j] += by_v[j] * back[j]
    for q in range(n_p):
        slope = 0.0
        for p in range(n_p):
            slope += inputs[spread + p * n_p + q] * by_z[p]
        gradient[n_k + q] = slope
    return float(total)


def _density_callback(size: Any, u: Any, gradient: Any, value: Any, inputs: Any) -> Any:
    """What nutpie calls for ln p and its gradient, by address."""
    head = carray(inputs, 1)
    slopes = carray(gradient, size)
    result = log_density(carray(u, size), carray(inputs, int(head[0])), slopes)
    carray(value, 1)[0] = result
    if not math.isfinite(result):
        return NOT_FINITE
    for a in range(size):
        if not math.isfinite(slopes[a]):
            return NOT_FINITE_GRADIENT
    return 0


def _draw_callback(size: Any, stored: Any, u: Any, draw: Any, inputs: Any) -> Any:
    """What nutpie calls for what it keeps of a draw: v and w."""
    head = carray(inputs, HEAD)
    n_k, moment = int(head[1]), int(head[8])
    values = carray(inputs, HEAD + 4 * n_k)
    unconstrained, kept = carray(u, size), carray(draw, stored)
    for j in range(n_k):
        at = HEAD + 2 * n_k + 2 * j
        first, second = (0.0, 1.0) if j == moment else (values[at], values[at + 1])
        kept[j] = _variable(values[HEAD + j], first, second, unconstrained[j])[0]
    for a in range(n_k, size):
        kept[a] = unconstrained[a]
    return 0


@cache
def callbacks() -> tuple[Any, Any]:
    """Return the compiled callbacks for the density and for a draw; read from numba's cache where they are there."""
    numbers, size = types.CPointer(types.float64), types.uint64
    density = cfunc(types.int64(size, numbers, numbers, numbers, numbers), cache=True)(_density_callback)
    draw = cfunc(types.int64(size, size, numbers, numbers, numbers), cache=True)(_draw_callback)
    return density, draw
