"""Damped Newton steps for -2 ln L in pulls and couplings, compiled with numba: one fit after another, any number.

The variables y of a fit are K free couplings x and P pulls z. Counts are those of `bayesnu.experiment.expectation`,

    λ_o = Σ_c Π_p (1 + σ_p z_p)^k_cp Σ_m Π_k x_k^e_mk A_cmo,

to which the statistics of `bayesnu.inference.likelihood` are added with Σ (z - a)², where a is what the auxiliary
measurement of each pull gave: 0 for a card's own data. All functions release the GIL. They
share a module because numba's cache notices changes of a function's own file alone.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


class Compiler(Protocol):
    """A decorator that keeps the type of a function."""

    def __call__[F](self, function: F) -> F: ...


_maker: Compiler = njit(cache=True, nogil=True, error_model="numpy")
"""For functions that make arrays."""
_kernel: Compiler = njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
"""For those that only write into arrays of their callers: counting who holds them would take as long as the work."""
_reordered: Compiler = njit(cache=True, nogil=True, error_model="numpy", _nrt=False, fastmath={"reassoc", "contract"})
"""For sums, which may be taken in whatever order is fastest."""

POISSON, NORMAL, NEGATIVE_BINOMIAL, MIXED = 0, 1, 2, 3
"""Statistics; of a mixed one an observation is normal where it has a normal variance, else a count."""
RIDGE = 1e-13
"""Added to the unit diagonal of a scaled Hessian: only a degenerate one feels it."""
EDGE = 1e-13
"""A factor 1 + σ z below is as good as 0."""
LEAST_GAIN = 1e-8
"""A fall of -2 ln L, as a fraction of it where it is above 1, that is not worth a step."""
GRAIN = 1e-12
"""Relative rounding of -2 ln L that does not count as a rise."""
SURE = 0.1
"""A full step of Newton's that promises to lower -2 ln L by less is taken without a look at -2 ln L."""
KEPT = 0.25
"""The next step must promise less than this share of what such a step did: where Newton's method is at home, hardly its
square is left."""
NEAR, SERIES = 0.2, 12
"""Counts n and λ closer than this, as (λ - n)/(λ + n), have a series that so many terms give to the last digit."""
ORDER = 2
"""Of the polynomial through pulls of neighbours that predicts those of the next point."""
SAME = 0.01
"""Another start is given up this close to a known minimum, in scaled couplings, and this little above it."""


class Likelihood(NamedTuple):
    """What -2 ln L is made of.

    Attributes
    ----------
    arrays : ndarray, shape (components × monomials, obs)
        Counts per unit of the monomial, those of one component after each other.
    filled : ndarray of bool, shape (components × monomials,)
        Which rows have any counts.
    members : ndarray of int, shape (components, pulls + 1)
        The pulls of each component, until a -1.
    exponents : ndarray of int, shape (monomials, couplings)
    membership, widths, constraint : ndarray, shape (components, pulls), (pulls,), (pulls,)
    code : int
        Of the statistic.
    normal_variance, relative_variance, data : ndarray, shape (obs,)
    centre : ndarray, shape (pulls,)
        What the auxiliary measurements of the pulls gave.
    """

    arrays: Array
    filled: NDArray[np.bool_]
    members: Integers
    exponents: Integers
    membership: Array
    widths: Array
    constraint: Array
    code: int
    normal_variance: Array
    relative_variance: Array
    data: Array
    centre: Array


class Room(NamedTuple):
    """Arrays that a fit writes into, made once for all fits of one size.

    Attributes
    ----------
    mono : ndarray, shape (1 + K + K², monomials)
        Monomials and their derivatives.
    weight, pairing : ndarray, shape (components,), (monomials,)
        Factors of the pulls; Σ_o ∂/∂λ_o A_cmo of one component.
    strength : ndarray, shape (components, obs)
        Counts of the components before pulls.
    work : ndarray, shape (4 + n, obs)
        Expected counts, both derivatives of the statistic, the slopes of the counts, a spare row.
    gradient, scale, step, trial : ndarray, shape (n,)
    gauss, bend, factor : ndarray, shape (n, n)
        The Gauss-Newton Hessian, the rest of the Hessian, its Cholesky factor.
    frozen : ndarray of bool, shape (n,)
        Which variables stay.
    """

    mono: Array
    weight: Array
    pairing: Array
    strength: Array
    work: Array
    gradient: Array
    scale: Array
    step: Array
    trial: Array
    gauss: Array
    bend: Array
    factor: Array
    frozen: NDArray[np.bool_]


@_kernel
def _add(factor: float, values: Array, i: int, out: Array, j: int) -> None:
    """Add a multiple of row i of one array to row j of another; views of rows would cost more than this does."""
    for o in range(out.shape[1]):
        out[j, o] += factor * values[i, o]


@_reordered
def _dot(a: Array, i: int, b: Array, j: int) -> float:
    """Return the product of two rows."""
    total = 0.0
    for o in range(a.shape[1]):
        total += a[i, o] * b[j, o]
    return total


@_kernel
def _clear(out: Array, start: int, stop: int) -> None:
    """Write 0 into some rows."""
    for i in range(start, stop):
        for o in range(out.shape[1]):
            out[i, o] = 0.0


@_maker
def strengths(arrays: Array, monomials: Array, floored: bool, out: Array) -> None:
    """Write the counts of each component before pulls at many points.

    Parameters
    ----------
    arrays : shape (components, monomials, obs)
        Counts per unit of the monomial.
    monomials : shape (monomials, points)
    floored : bool
        Whether counts below 0 are cut off.
    out : shape (points, components, obs)
    """
    n_components, n_monomials, n_obs = arrays.shape
    for c in range(n_components):
        for m in range(n_monomials):
            filled = False
            for o in range(n_obs):
                filled = filled or arrays[c, m, o] != 0.0
            for g in range(out.shape[0]):
                factor = monomials[m, g]
                if m == 0:
                    for o in range(n_obs):
                        out[g, c, o] = factor * arrays[c, 0, o]
                elif filled and factor != 0.0:
                    for o in range(n_obs):
                        out[g, c, o] += factor * arrays[c, m, o]
        if floored:
            for g in range(out.shape[0]):
                for o in range(n_obs):
                    out[g, c, o] = max(out[g, c, o], 0.0)


@_kernel
def _sum(a: Array, b: Array, out: Array) -> None:
    """Write the sum of two matrices."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = a[i, j] + b[i, j]


@_kernel
def _structure(arrays: Array, membership: Array, filled: NDArray[np.bool_], members: Integers) -> None:
    """Write which rows have any counts, and the pulls of each component, one after the other until a -1."""
    for row in range(arrays.shape[0]):
        filled[row] = False
        for o in range(arrays.shape[1]):
            if arrays[row, o] != 0.0:
                filled[row] = True
                break
    for c in range(membership.shape[0]):
        number = 0
        for p in range(membership.shape[1]):
            if membership[c, p] != 0.0:
                members[c, number] = p
                number += 1
        members[c, number] = -1


@_kernel
def _is_near(n: float, mean: float) -> bool:
    """Return whether the series of `_near` gives what a count adds to the statistic to the last digit."""
    return abs(mean - n) < NEAR * (mean + n)


@_reordered
def _near(data: Array, expected: Array) -> float:
    """Return the statistic of Poisson counts, without those that are not near what is expected.

    With s = (λ - n)/(λ + n), ln(λ/n) is 2 (s + s³/3 + s⁵/5 + …) and

        λ - n - n ln(λ/n) = (λ - n) s - 2 n s³ (1/3 + s²/5 + …):

    nothing cancels, and a loop without branches or logarithms does many counts at a time.
    """
    value = 0.0
    for o in range(data.size):
        n, mean = data[o], expected[o]
        s = (mean - n) / (mean + n)
        t = s * s
        series = 0.0
        for k in range(SERIES):
            series = 1.0 / (2 * (SERIES - k) + 1) + t * series
        value += (mean - n) * s - 2 * n * (s * t * series) if _is_near(n, mean) else 0.0
    return 2 * value


@_kernel
def _statistic(
    code: int, data: Array, normal_variance: Array, relative_variance: Array, expected: Array
) -> float:
    """Return the statistic; infinite where λ is impossible."""
    value = _near(data, expected) if code == POISSON else 0.0
    for o in range(data.size):
        n, mean = data[o], expected[o]
        if code == POISSON and _is_near(n, mean):
            continue
        if code == NORMAL or (code == MIXED and normal_variance[o] > 0.0):
            residual = mean - n
            value += residual * residual / normal_variance[o]
        elif mean > 0.0:
            # The relative variance of a gamma-distributed mean; at 0 the counts are Poisson.
            v = relative_variance[o] if code >= NEGATIVE_BINOMIAL else 0.0
            away = (mean - n) / n if n > 0.0 else 0.0
            # Near λ, of large counts no more than the difference from it is rounded.
            log_ratio = math.log1p(away) if away > -0.5 else math.log(mean / n)
            if v > 0.0:
                value += 2 * (n + 1 / v) * math.log1p(v * (mean - n) / (1 + v * n)) - 2 * n * log_ratio
            elif n > 0.0:
                value += 2 * n * (away - log_ratio)
            else:
                value += 2 * mean
        elif not (mean == 0.0 and n == 0.0):
            # Nothing expected and nothing seen is possible: a signal without background at coupling 0.
            return math.inf
    return value


@_kernel
def _slopes(
    code: int,
    data: Array,
    normal_variance: Array,
    relative_variance: Array,
    expected: Array,
    first: Array,
    second: Array,
) -> None:
    """Write the two derivatives of the statistic in λ, where it is finite."""
    if code == POISSON:
        for o in range(data.size):
            n, mean = data[o], expected[o]
            inverse = 1.0 / mean if mean > 0.0 else 0.0
            first[o] = 2 * ((mean - n) * inverse) if mean > 0.0 else 2.0
            second[o] = 2 * n * inverse * inverse
        return
    for o in range(data.size):
        n, mean = data[o], expected[o]
        if code == NORMAL or (code == MIXED and normal_variance[o] > 0.0):
            first[o], second[o] = 2 * (mean - n) / normal_variance[o], 2 / normal_variance[o]
        elif mean > 0.0:
            v = relative_variance[o] if code >= NEGATIVE_BINOMIAL else 0.0
            first[o] = 2 * ((mean - n) / mean) / (1 + v * mean)
            second[o] = 2 * (n / mean / mean - v * (1 + v * n) / (1 + v * mean) ** 2)
        else:
            first[o], second[o] = 2.0, 0.0


@_kernel
def _monomials(exponents: Integers, x: Array, mono: Array) -> None:
    """Write Π x_k^e_mk, its gradient and its second derivatives: rows 0, 1 + k and 1 + K + k K + l of ``mono``."""
    number, k_all = exponents.shape
    for m in range(number):
        value = 1.0
        for k in range(k_all):
            value *= x[k] ** exponents[m, k]
        mono[0, m] = value
        for k in range(k_all):
            slope = 0.0 if exponents[m, k] == 0 else exponents[m, k] * x[k] ** (exponents[m, k] - 1)
            for j in range(k_all):
                if j != k:
                    slope *= x[j] ** exponents[m, j]
            mono[1 + k, m] = slope
            for i in range(k_all):
                bend = 1.0
                for j in range(k_all):
                    e = exponents[m, j]
                    times = (1 if j == k else 0) + (1 if j == i else 0)
                    if times == 0:
                        bend *= x[j] ** e
                    elif e < times:
                        bend = 0.0
                    elif times == 1:
                        bend *= e * x[j] ** (e - 1)
                    else:
                        bend *= e * (e - 1) * x[j] ** (e - 2)
                mono[1 + k_all + k * k_all + i, m] = bend


@_kernel
def _factors(members: Integers, membership: Array, widths: Array, z: Array, weight: Array) -> bool:
    """Write Π (1 + σ z)^k of each component; False where a factor 1 + σ z is not positive."""
    for p in range(z.size):
        if not 1 + widths[p] * z[p] > 0.0:
            return False
    for c in range(weight.size):
        value = 1.0
        for i in range(members.shape[1]):
            p = members[c, i]
            if p < 0:
                break
            k = membership[c, p]
            value *= 1 + widths[p] * z[p] if k == 1.0 else (1 + widths[p] * z[p]) ** k
        weight[c] = value
    return True


@_maker
def room(n_components: int, n_monomials: int, n_couplings: int, n_pulls: int, n_obs: int) -> Room:
    """Return the arrays of fits of one size."""
    n = n_couplings + n_pulls
    return Room(
        np.empty((1 + n_couplings + n_couplings * n_couplings, n_monomials)),
        np.empty(n_components),
        np.empty(n_monomials),
        np.empty((n_components, n_obs)),
        np.empty((4 + n, n_obs)),
        np.empty(n),
        np.empty(n),
        np.empty(n),
        np.empty(n),
        np.empty((n, n)),
        np.empty((n, n)),
        np.empty((n, n)),
        np.zeros(n, dtype=np.bool_),
    )


@_kernel
def _counts(given: Likelihood, y: Array, own: Room) -> bool:
    """Write the expected counts at y and what they are made of; False where a factor 1 + σ z is not positive."""
    n_monomials, k_all = given.exponents.shape
    arrays, filled, mono, weight, strength, work = (
        given.arrays, given.filled, own.mono, own.weight, own.strength, own.work
    )  # fmt: skip
    if not _factors(given.members, given.membership, given.widths, y[k_all:], weight):
        return False
    _clear(work, 0, 1)
    if k_all == 0:
        # There is the constant alone: its arrays are the counts of the components.
        for c in range(weight.size):
            if filled[c]:
                _add(weight[c], arrays, c, work, 0)
        return True
    _monomials(given.exponents, y[:k_all], mono)
    _clear(strength, 0, strength.shape[0])
    for c in range(weight.size):
        for m in range(n_monomials):
            row = c * n_monomials + m
            if filled[row] and mono[0, m] != 0.0:
                _add(mono[0, m], arrays, row, strength, c)
        _add(weight[c], strength, c, work, 0)
    return True


@_kernel
def _possible(given: Likelihood, expected: Array) -> bool:
    """Return whether the statistic is finite."""
    for o in range(expected.size):
        n, mean = given.data[o], expected[o]
        if not (mean > 0.0 or (mean == 0.0 and n == 0.0)):
            normal = given.code == NORMAL or (given.code == MIXED and given.normal_variance[o] > 0.0)
            if not normal:
                return False
    return True


@_kernel
def _deviance(given: Likelihood, y: Array, own: Room) -> float:
    """Return -2 ln L at y, whose counts are written."""
    value = _statistic(given.code, given.data, given.normal_variance, given.relative_variance, own.work[0])
    k_all = given.exponents.shape[1]
    for p in range(y.size - k_all):
        value += given.constraint[p] * (y[k_all + p] - given.centre[p]) ** 2
    return float(value)


@_kernel
def _value(given: Likelihood, y: Array, own: Room) -> float:
    """Return -2 ln L at y, and write its counts."""
    return _deviance(given, y, own) if _counts(given, y, own) else math.inf


@_kernel
def _derivatives(given: Likelihood, y: Array, own: Room) -> None:
    """Write the gradient of -2 ln L at y, whose counts are written, its Gauss-Newton Hessian and the rest of it."""
    arrays, filled, members, membership, widths = (
        given.arrays, given.filled, given.members, given.membership, given.widths
    )  # fmt: skip
    mono, weight, pairing, work = own.mono, own.weight, own.pairing, own.work
    gradient, gauss, bend = own.gradient, own.gauss, own.bend
    n_components, n_obs = weight.size, arrays.shape[1]
    n_monomials, k_all = given.exponents.shape
    n_pulls = y.size - k_all
    z = y[k_all:]
    if k_all == 0:
        strength = arrays
        mono[0, 0] = 1.0
    else:
        strength = own.strength
    spare = 3 + y.size
    _clear(work, 3, spare)
    for c in range(n_components):
        for k in range(k_all):
            for m in range(n_monomials):
                row = c * n_monomials + m
                if filled[row] and mono[1 + k, m] != 0.0:
                    _add(weight[c] * mono[1 + k, m], arrays, row, work, 3 + k)
        for i in range(members.shape[1]):
            p = members[c, i]
            if p < 0:
                break
            unit = widths[p] / (1 + widths[p] * z[p])
            _add(weight[c] * membership[c, p] * unit, strength, c, work, 3 + k_all + p)
    _slopes(given.code, given.data, given.normal_variance, given.relative_variance, work[0], work[1], work[2])
    for a in range(y.size):
        gradient[a] = _dot(work, 3 + a, work, 1)
    for p in range(n_pulls):
        gradient[k_all + p] += 2 * given.constraint[p] * (z[p] - given.centre[p])
    for a in range(y.size):
        for o in range(n_obs):
            work[spare, o] = work[3 + a, o] * work[2, o]
        for b in range(a + 1):
            gauss[a, b] = gauss[b, a] = _dot(work, spare, work, 3 + b)
    for p in range(n_pulls):
        gauss[k_all + p, k_all + p] += 2 * given.constraint[p]
    # Σ_o ∂/∂λ_o A_cmo: what second derivatives of the counts are multiplied with.
    _clear(bend, 0, bend.shape[0])
    for c in range(n_components):
        whole = 0.0
        for m in range(n_monomials):
            row = c * n_monomials + m
            pairing[m] = _dot(work, 1, arrays, row) if filled[row] else 0.0
            whole += mono[0, m] * pairing[m]
        for k in range(k_all):
            slope = 0.0
            for m in range(n_monomials):
                slope += mono[1 + k, m] * pairing[m]
            for i in range(k_all):
                second_slope = 0.0
                for m in range(n_monomials):
                    second_slope += mono[1 + k_all + k * k_all + i, m] * pairing[m]
                bend[k, i] += weight[c] * second_slope
            for i in range(members.shape[1]):
                p = members[c, i]
                if p < 0:
                    break
                mixed = weight[c] * slope * membership[c, p] * widths[p] / (1 + widths[p] * z[p])
                bend[k, k_all + p] += mixed
                bend[k_all + p, k] += mixed
        for i in range(members.shape[1]):
            p = members[c, i]
            if p < 0:
                break
            power = membership[c, p]
            unit = widths[p] / (1 + widths[p] * z[p])
            bend[k_all + p, k_all + p] += weight[c] * whole * power * (power - 1) * unit * unit
            for j in range(i):
                q = members[c, j]
                mixed = weight[c] * whole * power * unit * membership[c, q] * widths[q] / (1 + widths[q] * z[q])
                bend[k_all + p, k_all + q] += mixed
                bend[k_all + q, k_all + p] += mixed


@_kernel
def _solve(matrix: Array, gradient: Array, frozen: NDArray[np.bool_], factor: Array, scale: Array, step: Array) -> bool:
    """Solve H s = -g by Cholesky's method with H scaled to unit diagonal; False if it is not positive definite."""
    n = gradient.size
    for a in range(n):
        if not frozen[a] and not (matrix[a, a] > 0.0 and matrix[a, a] < math.inf):
            return False
        scale[a] = 0.0 if frozen[a] else 1 / math.sqrt(matrix[a, a])
    for a in range(n):
        for b in range(a + 1):
            if frozen[a] or frozen[b]:
                total = 1.0 if a == b else 0.0
            else:
                total = matrix[a, b] * scale[a] * scale[b] + (RIDGE if a == b else 0.0)
            for k in range(b):
                total -= factor[a, k] * factor[b, k]
            if a == b:
                # Below the rounding of a sum of ones, a pivot is no sign of a definite matrix.
                if not total > 1e-15:
                    return False
                factor[a, a] = math.sqrt(total)
            else:
                factor[a, b] = total / factor[b, b]
    for a in range(n):
        total = -gradient[a] * scale[a]
        for k in range(a):
            total -= factor[a, k] * step[k]
        step[a] = total / factor[a, a]
    for a in range(n - 1, -1, -1):
        total = step[a]
        for k in range(a + 1, n):
            total -= factor[k, a] * step[k]
        step[a] = total / factor[a, a]
    for a in range(n):
        step[a] *= scale[a]
    return True


@_kernel
def minimise(
    given: Likelihood,
    lower: Array,
    iterations: int,
    tolerance: float,
    promise: float,
    known: Array,
    y: Array,
    own: Room,
    hessian: Array,
) -> tuple[float, bool]:
    """Minimise -2 ln L from y, in place; returns its value there and whether the steps have stopped.

    A step takes no factor 1 + σ z to less than a tenth of what it is, ends where a coupling meets its lower bound,
    and is halved until -2 ln L does not rise. Where the Hessian is not positive definite it goes to that of Gauss and
    Newton until it is. Steps below ``tolerance`` (relative for couplings above 1) end it, after they are taken; and so
    does a full step of Newton's that promises to lower -2 ln L by less than ``promise``: hardly its square is left.

    Full steps that promise little (`SURE`) are taken without a look at -2 ln L, whose logarithms cost as much as its
    slopes, as long as the counts stay possible and each keeps its promise: what the next one promises is far less.

    ``known`` holds minima found before, rows of -2 ln L and couplings: close above one of them (`SAME`) it ends, too.
    ``hessian`` receives the second derivatives of -2 ln L at the end, if ``promise`` is 0.
    """
    k_all, n = given.exponents.shape[1], y.size
    widths = given.widths
    gradient, scale, step, trial = own.gradient, own.scale, own.step, own.trial
    gauss, bend, factor, frozen = own.gauss, own.bend, own.factor, own.frozen
    for a in range(n):
        frozen[a] = False
    if not _counts(given, y, own):
        return math.inf, False
    # -2 ln L at y, where it has been asked for; and what the last step promised that was taken without.
    value, measured, sure = 0.0, False, SURE / KEPT
    if not _possible(given, own.work[0]):
        value, measured = math.inf, True
    converged = False
    for _ in range(iterations):
        _derivatives(given, y, own)
        for k in range(k_all):
            frozen[k] = y[k] <= lower[k] and gradient[k] > 0.0
        for a in range(k_all, n):
            # Data that want a negative factor: its infimum is at 0, where there is nothing beyond.
            frozen[a] = 1 + widths[a - k_all] * y[a] < EDGE and gradient[a] > 0.0
        _sum(gauss, bend, hessian)
        missing, shift = 0.0, 0.0
        while True:
            if not _solve(hessian, gradient, frozen, factor, scale, step):
                # Less and less of the bend: near a saddle point a step with none of it would hardly move.
                if missing < 1.0:
                    missing = min(max(4 * missing, 0.01), 1.0)
                else:
                    # A coupling without effect to first order needs a little more.
                    shift = max(10 * shift, 1e-3)
                if shift > 1e12:
                    return value if measured else _value(given, y, own), False
                for a in range(n):
                    for b in range(n):
                        hessian[a, b] = gauss[a, b] + (1 - missing) * bend[a, b] + (shift if a == b else 0.0)
                continue
            # The pulls may drive a coupling at its bound further out: it stays there for this step.
            again = False
            for a in range(n):
                at_end = y[a] <= lower[a] if a < k_all else 1 + widths[a - k_all] * y[a] < EDGE
                if not frozen[a] and at_end and step[a] < 0.0:
                    frozen[a] = again = True
            if not again:
                break
        length = 1.0
        for p in range(n - k_all):
            shrink = -widths[p] * step[k_all + p] / (1 + widths[p] * y[k_all + p])
            length = min(length, 0.9 / max(shrink, 0.9))
        met = -1
        for k in range(k_all):
            if y[k] + length * step[k] < lower[k]:
                length, met = (lower[k] - y[k]) / step[k], k
        # The gain of a full step is half of -g · s.
        gain, largest = 0.0, 0.0
        for a in range(n):
            gain -= gradient[a] * step[a] / 2
            size = abs(step[a]) / (max(1.0, abs(y[a])) if a < k_all else 1.0)
            largest = max(largest, size)
            trial[a] = y[a] + length * step[a]
        full = missing == 0.0 and length == 1.0 and met < 0
        small = full and gain < KEPT * sure and value < math.inf
        if small and _counts(given, trial, own) and _possible(given, own.work[0]):
            for a in range(n):
                y[a] = trial[a]
            sure, measured = gain, False
            if gain < promise or largest < tolerance:
                converged = True
                break
            continue
        if not measured:
            value, measured = _value(given, y, own), True
        limit = value + GRAIN * (1 + abs(value))
        attempt = math.inf
        for halving in range(41):
            for a in range(n):
                trial[a] = y[a] + length * step[a]
            if met >= 0:
                trial[met] = lower[met]
            attempt = _value(given, trial, own)
            if attempt <= limit or halving == 40:
                break
            length /= 2
            met = -1
        accepted = attempt <= limit
        if accepted:
            for a in range(n):
                y[a] = trial[a]
            value = attempt
        if accepted and full and length == 1.0 and gain < promise:
            converged = True
            break
        for s in range(known.shape[0]):
            near = known[s, 0] <= value < known[s, 0] + SAME
            for k in range(k_all):
                near = near and abs(y[k] - known[s, 1 + k]) < SAME
            if near:
                return value, True
        # A whole step that is small is the last one; a large one cut short, by a bound or by halving, is not.
        if largest < tolerance or not accepted:
            # Where rounding hides the fall that the step promises, there is nothing more to find.
            converged = accepted or gain < LEAST_GAIN * (1 + abs(value))
            break
    if not measured:
        value = _deviance(given, y, own)
    if promise == 0.0:
        _counts(given, y, own)
        _derivatives(given, y, own)
        _sum(gauss, bend, hessian)
    return value, converged and value < math.inf


@_kernel
def _difference(differences: Array, neighbours: int, z: Array) -> None:
    """Replace the backward differences of a sequence by those at its next value, before which it had ``neighbours``."""
    for p in range(z.size):
        new = z[p]
        for k in range(min(neighbours + 1, differences.shape[0])):
            last = differences[k, p]
            differences[k, p] = new
            new -= last


@_kernel
def _predict(differences: Array, neighbours: int, widths: Array, z: Array) -> None:
    """Write the next value of a sequence, by the order that would have predicted the last one best.

    The difference of order k + 1 is by how much order k missed it. Where the prediction is none that can be, the last
    value is taken.
    """
    best, least = 0, math.inf
    for k in range(min(neighbours - 1, ORDER + 1)):
        missed = 0.0
        for p in range(z.size):
            missed += differences[k + 1, p] ** 2
        if missed < least:
            best, least = k, missed
    for order in (best, 0):
        possible = True
        for p in range(z.size):
            z[p] = 0.0
            for k in range(order + 1):
                z[p] += differences[k, p]
            possible = possible and 1 + widths[p] * z[p] > EDGE
        if possible:
            return


@_maker
def fit_points(
    strengths: Array,
    membership: Array,
    widths: Array,
    constraint: Array,
    code: int,
    normal_variance: Array,
    relative_variance: Array,
    data: Array,
    centre: Array,
    iterations: int,
    tolerance: float,
    promise: float,
    first: Array,
    value: Array,
    pulls: Array,
    hessian: Array,
    converged: NDArray[np.bool_],
) -> None:
    """Minimise over the pulls of every data set (row) at every point, where the counts are known.

    Parameters
    ----------
    strengths : shape (points, components, obs)
        Counts of each component before pulls.
    data, centre : shape (sets, obs), (sets, pulls)
    tolerance, promise : float
        See `minimise`; the Hessian is wanted if ``promise`` is 0.
    first : shape (sets, pulls)
        Where fits start.
    value, pulls, hessian, converged : shape (sets, points), (…, pulls), (…, pulls, pulls), (sets, points)
        Written: -2 ln L, the pulls, the second derivatives of -ln L, and whether the fit is good. Without the
        Hessian, ``hessian`` is left as it is.
    """
    none = np.empty((1, 0), dtype=np.int64)
    lower = np.empty(0)
    known = np.empty((0, 1))
    n = widths.size
    y, own = np.empty(n), np.empty((n, n))
    filled = np.empty((strengths.shape[0], strengths.shape[1]), dtype=np.bool_)
    members = np.empty((membership.shape[0], n + 1), dtype=np.int64)
    for g in range(strengths.shape[0]):
        _structure(strengths[g], membership, filled[g], members)
    space = room(strengths.shape[1], 1, 0, n, strengths.shape[2])
    morphs = (membership > 1.0).any()
    # Backward differences of the pulls of the last points; their sums up to each order are predictions of the next.
    differences = np.zeros((ORDER + 2, n))
    for t in range(data.shape[0]):
        neighbours = 0
        for g in range(strengths.shape[0]):
            given = Likelihood(
                strengths[g], filled[g], members, none, membership, widths, constraint, code, normal_variance,
                relative_variance, data[t], centre[t],
            )  # fmt: skip
            # The neighbours' pulls lead nearly here; where they lead nowhere, the first ones may. A morph of the
            # response makes more than one minimum, so that both are tried.
            for attempt in range(2 if neighbours else 1):
                for p in range(n):
                    y[p] = first[t, p]
                if neighbours and attempt == 0:
                    _predict(differences, neighbours, widths, y)
                least, good = minimise(given, lower, iterations, tolerance, promise, known, y, space, own)
                if attempt == 0 or (good and (least < value[t, g] or not converged[t, g])):
                    value[t, g], converged[t, g] = least, good
                    for p in range(n):
                        pulls[t, g, p] = y[p]
                        if promise == 0.0:
                            for q in range(n):
                                hessian[t, g, p, q] = own[p, q] / 2
                if good and not morphs:
                    break
            if converged[t, g]:
                _difference(differences, neighbours, pulls[t, g])
            neighbours = neighbours + 1 if converged[t, g] else 0


@_maker
def fit_couplings(
    arrays: Array,
    exponents: Integers,
    lower: Array,
    membership: Array,
    widths: Array,
    constraint: Array,
    code: int,
    normal_variance: Array,
    relative_variance: Array,
    data: Array,
    centre: Array,
    starts: Array,
    first: Array,
    iterations: int,
    tolerance: float,
    promise: float,
    value: Array,
    found: Array,
    converged: NDArray[np.bool_],
) -> None:
    """Minimise over couplings and pulls of every data set, from several starts; the lowest minimum counts.

    A coupling whose bound has a -2 ln L higher by less than ``promise`` is at it: the fit cannot tell them apart.

    Parameters
    ----------
    arrays : shape (components × monomials, obs)
        Counts per unit of the monomial, those of one component after each other.
    starts : shape (sets, starts, couplings)
    first : shape (sets, pulls)
        Where the pulls start.
    tolerance, promise : float
        See `minimise`.
    value, found, converged : shape (sets,), (sets, couplings + pulls), (sets,)
        Written.
    """
    k_all, n = exponents.shape[1], found.shape[1]
    y, hessian = np.empty(n), np.empty((n, n))
    known = np.empty((starts.shape[1], 1 + k_all))
    filled = np.empty(arrays.shape[0], dtype=np.bool_)
    members = np.empty((membership.shape[0], membership.shape[1] + 1), dtype=np.int64)
    _structure(arrays, membership, filled, members)
    own = room(membership.shape[0], exponents.shape[0], k_all, n - k_all, arrays.shape[1])
    for t in range(data.shape[0]):
        given = Likelihood(
            arrays, filled, members, exponents, membership, widths, constraint, code, normal_variance,
            relative_variance, data[t], centre[t],
        )  # fmt: skip
        value[t] = math.inf
        converged[t] = False
        for s in range(starts.shape[1]):
            for a in range(n):
                y[a] = starts[t, s, a] if a < k_all else first[t, a - k_all]
            least, good = minimise(given, lower, iterations, tolerance, promise, known[:s], y, own, hessian)
            known[s, 0] = least if good else -math.inf
            for k in range(k_all):
                known[s, 1 + k] = y[k]
            if least < value[t]:
                value[t], converged[t] = least, good
                for a in range(n):
                    found[t, a] = y[a]
        for k in range(k_all):
            if lower[k] < found[t, k] < math.inf and converged[t]:
                inside, found[t, k] = found[t, k], lower[k]
                if not _value(given, found[t], own) < value[t] + promise:
                    found[t, k] = inside


@_maker
def statistics(
    arrays: Array,
    membership: Array,
    widths: Array,
    code: int,
    normal_variance: Array,
    relative_variance: Array,
    data: Array,
    monomials: Array,
    pulls: Array,
    value: Array,
) -> None:
    """Evaluate the statistic, without the constraints, of one data set at many points.

    Parameters
    ----------
    arrays : shape (components × monomials, obs)
        Counts per unit of the monomial, those of one component after each other.
    data : shape (obs,)
    monomials : shape (points, monomials)
    pulls : shape (points, pulls)
        z.
    value : shape (points,)
        Written; infinite where a factor 1 + σ z is not positive, or a count negative.
    """
    filled = np.empty(arrays.shape[0], dtype=np.bool_)
    members = np.empty((membership.shape[0], membership.shape[1] + 1), dtype=np.int64)
    _structure(arrays, membership, filled, members)
    weight, work = np.empty(membership.shape[0]), np.empty((1, arrays.shape[1]))
    for t in range(value.size):
        value[t] = math.inf
        if not _factors(members, membership, widths, pulls[t], weight):
            continue
        work[0, :] = 0.0
        row = 0
        for c in range(weight.size):
            for m in range(monomials.shape[1]):
                factor = weight[c] * monomials[t, m]
                if filled[row] and factor != 0.0:
                    _add(factor, arrays, row, work, 0)
                row += 1
        possible = True
        for o in range(work.shape[1]):
            possible = possible and work[0, o] >= 0.0
        if possible:
            value[t] = _statistic(code, data, normal_variance, relative_variance, work[0])
