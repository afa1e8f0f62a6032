"""The kernels of Appendix A of arXiv:2111.14884, compiled with numba.

A true direction θ_t is tilted by θ_1 ~ N(0, σ_θ) about a random azimuth
φ_2 ~ U(0, 2π); the measured angle obeys (A.4)

    cos θ = cos θ_t cos θ_1 - sin θ_t sin θ_1 cos φ_2

and the measured energy is E_e ~ N(E_e^t, Σ), Σ = k √(E_e^t GeV), (A.3), with two
more terms (`energy_resolution`) and a σ_θ that may fall with energy
(`angular_resolution`). An event with E_e < 0, or outside the bins in E_e θ² or
in E_e and θ, is lost. All energies in GeV.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from bayesnu.detector.settings import Smearing

Array = NDArray[np.float64]

_SQRT_HALF = math.sqrt(0.5)
# Kronecker sequences of the generalised golden ratio: in four dimensions 1/g, …, 1/g⁴ with g⁵ = g + 1, in three with
# g⁴ = g + 1.
_GOLDEN = 1.1673039782614187
STEPS = (1 / _GOLDEN, 1 / _GOLDEN**2, 1 / _GOLDEN**3, 1 / _GOLDEN**4)
_GOLDEN_3 = 1.2207440846057596
STEPS_3 = (1 / _GOLDEN_3, 1 / _GOLDEN_3**2, 1 / _GOLDEN_3**3)
PART = 0.06
"""Largest part of a true cell, in ln E_e, that its middle energy stands for: 1e-5 of an element."""
SPACING, LARGEST_SPACING = 0.05, 0.01
"""Of a table in ln sin²(θ/2): in units of the energy resolution Σ/E_e, and at most. Read between its rows it is right
to 2e-4 at any angle, and to some 1e-6 averaged over tilts of a degree."""
FARTHEST = 8.6
"""Beyond as many standard deviations no tilt is drawn."""


def energy_resolution(energy: Array, detector: Smearing) -> Array:
    """Return Σ = √(stochastic² E_e GeV + noise² + constant² E_e²) in GeV."""
    return np.hypot(np.hypot(detector.stochastic * np.sqrt(energy), detector.noise), detector.constant * energy)


def angular_resolution(energy: Array, detector: Smearing) -> Array:
    """Return σ_θ = √(tilt² + tilt_falling² GeV/E_e) in rad."""
    return np.hypot(detector.tilt, detector.tilt_falling / np.sqrt(energy))


# The same for single numbers, inside the kernels.
_energy_resolution = njit(cache=True)(energy_resolution)
_angular_resolution = njit(cache=True)(angular_resolution)


@njit(cache=True)  # type: ignore[untyped-decorator]
def number_of_bins(detector: Smearing) -> int:
    """Return the number of bins, both dimensions together."""
    return (detector.edges.size - 1) * max(1, detector.angle2_edges.size - 1)


@njit(cache=True)  # type: ignore[untyped-decorator]
def measured_cosine(angle_true: float, tilt: float, azimuth: float) -> float:
    """Return cos θ of the measured direction, (A.4)."""
    return math.cos(angle_true) * math.cos(tilt) - math.sin(angle_true) * math.sin(tilt) * math.cos(azimuth)


@njit(cache=True)  # type: ignore[untyped-decorator]
def measured_angle2(angle_true: float, tilt: float, azimuth: float) -> float:
    """Return θ² of the measured direction."""
    return math.acos(min(1.0, max(-1.0, measured_cosine(angle_true, tilt, azimuth)))) ** 2


@njit(cache=True)  # type: ignore[untyped-decorator]
def find_bin(value: float, edges: Array) -> int:
    """Return the bin of ``value``, or -1 outside; bins are half open."""
    if value < edges[0] or value >= edges[-1]:
        return -1
    return int(np.searchsorted(edges, value, side="right")) - 1


@njit(cache=True)  # type: ignore[untyped-decorator]
def add_bin_probabilities(energy_true: float, detector: Smearing, angle2: float, weight: float, out: Array) -> None:
    """Add ``weight`` × P(bin | E_e^t, θ) to ``out``: differences of normal CDFs in E_e, E_e < 0 left out.

    A bin in E_e θ² is one in E_e, θ being known; of bins in E_e and θ only those at this θ get anything.
    """
    edges, width = detector.edges, _energy_resolution(energy_true, detector)
    columns = max(1, detector.angle2_edges.size - 1)
    column, scale = 0, angle2
    if detector.angle2_edges.size > 0:
        column, scale = find_bin(angle2, detector.angle2_edges), 1.0
        if column < 0:
            return
    below = 0.0
    for k in range(edges.size):
        if scale > 0.0:
            z = (edges[k] / scale - energy_true) / width
        elif edges[k] > 0.0:
            z = 40.0
        else:
            z = -energy_true / width
        cdf = 0.5 * math.erfc(-z * _SQRT_HALF) if z < 8.0 else 1.0
        if k > 0:
            out[(k - 1) * columns + column] += weight * (cdf - below)
        below = cdf


@njit(cache=True)  # type: ignore[untyped-decorator]
def tilt_and_weight(uniform: float) -> tuple[float, float]:
    """Return |θ_1|/σ = √(-2 ln(1 - u²)), close to half-normal, and 2u σ/|θ_1|, the exact ratio of densities."""
    tilt = math.sqrt(-2.0 * math.log1p(-uniform * uniform)) + 1e-300
    return tilt, 2.0 * uniform / tilt


@njit(cache=True)  # type: ignore[untyped-decorator]
def add_points(energies: Array, angles: Array, detector: Smearing, points: int, shift: Array, out: Array) -> float:
    """Add the weighted bin probabilities of one shifted sequence in the cell with these edges; return their weight."""
    total = 0.0
    for n in range(points):
        u0 = (shift[0] + n * STEPS[0]) % 1.0
        u1 = (shift[1] + n * STEPS[1]) % 1.0
        u2 = (shift[2] + n * STEPS[2]) % 1.0
        u3 = (shift[3] + n * STEPS[3]) % 1.0
        energy = energies[0] * (energies[1] / energies[0]) ** u0
        angle = math.sqrt((angles[0] + u1 * (angles[1] - angles[0])) / energy)
        tilt, weight = tilt_and_weight(u2)
        total += weight
        angle2 = measured_angle2(angle, _angular_resolution(energy, detector) * tilt, math.pi * u3)
        add_bin_probabilities(energy, detector, angle2, weight, out)
    return total


@njit(cache=True)  # type: ignore[untyped-decorator]
def table_axis(energy: float, largest_angle: float, detector: Smearing) -> tuple[float, float, int]:
    """Return where a table in v = ln sin²(θ/2) of the bins of E_e θ² begins, its spacing and its number of rows.

    Below, the probabilities are those of its first row; above, they vanish or no angle is reached.
    """
    width, edges = _energy_resolution(energy, detector), detector.edges
    # In eight standard deviations of the energy neither the lowest edge above 0 nor the highest one is crossed.
    lowest = math.sqrt((edges[0] if edges[0] > 0.0 else edges[1]) / (energy + 8.0 * width))
    highest = min(math.pi, largest_angle + FARTHEST * _angular_resolution(energy, detector))
    if energy > 8.0 * width:
        highest = min(highest, math.sqrt(edges[-1] / (energy - 8.0 * width)))
    first = 2.0 * math.log(math.sin(0.5 * min(lowest, math.pi)))
    length = max(2.0 * math.log(math.sin(0.5 * highest)) - first, LARGEST_SPACING)
    intervals = math.ceil(length / min(SPACING * width / energy, LARGEST_SPACING))
    return first, length / intervals, int(intervals) + 1


@njit(cache=True)  # type: ignore[untyped-decorator]
def bins_by_angle(energy: float, axis: tuple[float, float, int], detector: Smearing) -> Array:
    """Tabulate the probability of each bin of E_e θ² on this axis, shape (rows, bins)."""
    first, step, rows = axis
    table = np.zeros((rows, detector.edges.size - 1))
    for k in range(rows):
        angle = 2.0 * math.asin(min(1.0, math.exp(0.5 * (first + k * step))))
        add_bin_probabilities(energy, detector, angle**2, 1.0, table[k])
    return table


@njit(cache=True)  # type: ignore[untyped-decorator]
def add_tabulated_points(
    energy: float,
    angles: Array,
    detector: Smearing,
    axis: tuple[float, float, int],
    table: Array,
    points: tuple[int, int],
    shift: Array,
    out: Array,
) -> float:
    """Add the points [from, to) of one shifted sequence at one true energy; return their weight."""
    first, step, rows = axis
    sigma, total = _angular_resolution(energy, detector), 0.0
    for n in range(points[0], points[1]):
        u0 = (shift[0] + n * STEPS_3[0]) % 1.0
        u1 = (shift[1] + n * STEPS_3[1]) % 1.0
        u2 = (shift[2] + n * STEPS_3[2]) % 1.0
        angle = math.sqrt((angles[0] + u0 * (angles[1] - angles[0])) / energy)
        tilt, weight = tilt_and_weight(u1)
        total += weight
        cosine = measured_cosine(angle, sigma * tilt, math.pi * u2)
        place = (math.log(max(0.5 * (1.0 - cosine), 1e-300)) - first) / step
        if place >= rows - 1:
            continue
        k = int(max(place, 0.0))
        part = max(place - k, 0.0)
        for b in range(out.size):
            out[b] += weight * (table[k, b] + part * (table[k + 1, b] - table[k, b]))
    return total


@njit(cache=True)  # type: ignore[untyped-decorator]
def parts_of(energies: Array) -> int:
    """Return in how many parts a cell of true energy is cut, each of which its middle stands for."""
    return 1 + int(math.log(energies[1] / energies[0]) / PART)


@njit(cache=True)  # type: ignore[untyped-decorator]
def worth_a_table(energies: Array, angles: Array, detector: Smearing, points: int) -> bool:
    """Return whether tables for this row of cells have fewer rows than it has points; none serve bins of E_e by θ."""
    if detector.angle2_edges.size > 0:
        return False
    rows: int = table_axis(energies[1], math.sqrt(angles[-1] / energies[1]), detector)[2]
    fewer: bool = rows * parts_of(energies) <= points
    return fewer


@njit(cache=True)  # type: ignore[untyped-decorator]
def add_row_by_table(
    energies: Array, angles: Array, detector: Smearing, points: int, shifts: Array, sums: Array, weights: Array
) -> None:
    """Add the points of all cells of one true energy to ``sums`` (cells, replicates, bins), and their weight."""
    parts = parts_of(energies)
    each = max(1, points // parts)
    for part in range(parts):
        energy = energies[0] * (energies[1] / energies[0]) ** ((part + 0.5) / parts)
        axis = table_axis(energy, math.sqrt(angles[-1] / energy), detector)
        table = bins_by_angle(energy, axis, detector)
        own = part * each, (part + 1) * each
        for j in range(weights.shape[0]):
            cell = angles[j : j + 2]
            for r in range(weights.shape[1]):
                shift, out = shifts[j, r], sums[j, r]
                weights[j, r] += add_tabulated_points(energy, cell, detector, axis, table, own, shift, out)


@njit(parallel=True, cache=True)  # type: ignore[untyped-decorator]
def variance_reduced(
    energy_edges: Array, angle_edges: Array, detector: Smearing, points: int, shifts: Array
) -> tuple[Array, Array]:
    """Integrate every true cell with quasi-random points and exact energy smearing.

    Given E_e^t and the measured angle the probability of a bin of E_e θ² is exact and
    smooth: at each true energy (one for every `PART` of a cell) it is tabulated for
    all cells of that energy, and (θ_t, θ_1, φ_2) are sampled. Where a table would
    have more rows than there are points, and of bins of E_e by θ, the true energy is
    sampled as well. The points are a Kronecker sequence with an independent random
    shift for each cell and replicate. Its weighted sums, divided by their weights,
    are the response.

    Parameters
    ----------
    energy_edges, angle_edges : ndarray
        Of the true E_e and E_e θ² in GeV.
    detector : Smearing
    points : int
        Points per cell and replicate (at least one for each part of the cell).
    shifts : ndarray, shape (cells_e, cells_x, replicates, 4)
        Random shifts in [0, 1).

    Returns
    -------
    sums : ndarray, shape (cells_e, cells_x, bins, replicates)
    weights : ndarray, shape (cells_e, cells_x, replicates)
    """
    n_energy, n_angle, replicates = shifts.shape[:3]
    n_bins = number_of_bins(detector)
    sums = np.zeros((n_energy, n_angle, replicates, n_bins))
    weights = np.zeros((n_energy, n_angle, replicates))
    for i in prange(n_energy):
        energies = energy_edges[i : i + 2]
        if worth_a_table(energies, angle_edges, detector, points * n_angle * replicates):
            add_row_by_table(energies, angle_edges, detector, points, shifts[i], sums[i], weights[i])
            continue
        for j in range(n_angle):
            angles = angle_edges[j : j + 2]
            for r in range(replicates):
                weights[i, j, r] = add_points(energies, angles, detector, points, shifts[i, j, r], sums[i, j, r])
    return sums.transpose(0, 1, 3, 2), weights


@njit(cache=True)  # type: ignore[untyped-decorator]
def smear_event(energy: float, angle: float, detector: Smearing) -> int:
    """Smear one event with plain random numbers as in (A.1)-(A.4); return its reconstructed bin or -1."""
    tilt = _angular_resolution(energy, detector) * np.random.normal()
    azimuth = 2.0 * math.pi * np.random.random()
    energy_reco = energy + _energy_resolution(energy, detector) * np.random.normal()
    if energy_reco < 0.0:
        return -1
    angle2 = measured_angle2(angle, tilt, azimuth)
    if detector.angle2_edges.size == 0:
        found: int = find_bin(energy_reco * angle2, detector.edges)
        return found
    row, column = find_bin(energy_reco, detector.edges), find_bin(angle2, detector.angle2_edges)
    return row * (detector.angle2_edges.size - 1) + column if row >= 0 and column >= 0 else -1


@njit(parallel=True, cache=True)  # type: ignore[untyped-decorator]
def sample_and_histogram(
    energy_edges: Array, angle_edges: Array, detector: Smearing, events: int, seeds: Array
) -> tuple[Array, Array]:
    """Fill every true cell with ``events`` random events, smear each and histogram it; error is binomial.

    ``seeds`` (one per row of true energy) seed numba's generator for the row, so
    that the numbers do not depend on how rows are shared between threads.

    Returns
    -------
    matrix, error : ndarray, shape (cells_e, cells_x, bins)
    """
    n_energy, n_angle, n_bins = energy_edges.size - 1, angle_edges.size - 1, number_of_bins(detector)
    matrix = np.zeros((n_energy, n_angle, n_bins))
    error = np.zeros((n_energy, n_angle, n_bins))
    for i in prange(n_energy):
        np.random.seed(seeds[i])
        for j in range(n_angle):
            for _ in range(events):
                energy = energy_edges[i] * (energy_edges[i + 1] / energy_edges[i]) ** np.random.random()
                x = angle_edges[j] + np.random.random() * (angle_edges[j + 1] - angle_edges[j])
                b = smear_event(energy, math.sqrt(x / energy), detector)
                if b >= 0:
                    matrix[i, j, b] += 1.0
            for b in range(n_bins):
                p = matrix[i, j, b] / events
                matrix[i, j, b] = p
                error[i, j, b] = math.sqrt(p * (1.0 - p) / events)
    return matrix, error


@njit(cache=True)  # type: ignore[untyped-decorator]
def histogram_events(energies: Array, angles: Array, detector: Smearing, seeds: Array) -> Array:
    """Smear a list of true events and histogram them: the recipe of Appendix A; counts by bin, the lost ones last.

    ``seeds`` holds one seed per block of events; blocks are equal shares of the list.
    """
    n_bins, blocks, n = number_of_bins(detector), seeds.size, energies.size
    counts = np.zeros(n_bins + 1)
    for block in range(blocks):
        np.random.seed(seeds[block])
        for k in range(n * block // blocks, n * (block + 1) // blocks):
            b = smear_event(energies[k], angles[k], detector)
            counts[b if b >= 0 else n_bins] += 1.0
    return counts


@njit(parallel=True, cache=True)  # type: ignore[untyped-decorator]
def quadrature(energy_edges: Array, angle_edges: Array, detector: Smearing, tilts: int, azimuths: int) -> Array:
    """Integrate every true cell deterministically: 2 × 2 Gauss points in (ln E_e, E_e θ²), midpoints in |θ_1| and φ_2.

    |θ_1| runs to 5.5 σ with normalised weights exp(-θ_1²/2σ²), φ_2 from 0 to π.
    (Gauss-Hermite nodes in θ_1 fail: the edge of a bin is sharp in angle. For bins in θ itself even midpoints
    converge no faster than their spacing.)
    """
    n_energy, n_angle, n_bins = energy_edges.size - 1, angle_edges.size - 1, number_of_bins(detector)
    matrix = np.zeros((n_energy, n_angle, n_bins))
    gauss = (0.5 - 0.5 / math.sqrt(3.0), 0.5 + 0.5 / math.sqrt(3.0))
    nodes, weights, total = np.zeros(tilts), np.zeros(tilts), 0.0
    for t in range(tilts):
        nodes[t] = (t + 0.5) * (5.5 / tilts)
        weights[t] = math.exp(-0.5 * nodes[t] ** 2)
        total += weights[t]
    for t in range(tilts):
        weights[t] /= total
    for cell in prange(n_energy * n_angle):
        i, j = cell // n_angle, cell % n_angle
        for a in range(2):
            for c in range(2):
                energy = energy_edges[i] * (energy_edges[i + 1] / energy_edges[i]) ** gauss[a]
                x = angle_edges[j] + gauss[c] * (angle_edges[j + 1] - angle_edges[j])
                angle, sigma = math.sqrt(x / energy), _angular_resolution(energy, detector)
                for t in range(tilts):
                    for p in range(azimuths):
                        angle2 = measured_angle2(angle, sigma * nodes[t], math.pi * (p + 0.5) / azimuths)
                        weight = 0.25 * weights[t] / azimuths
                        add_bin_probabilities(energy, detector, angle2, weight, matrix[i, j])
    return matrix


@njit(parallel=True, cache=True)  # type: ignore[untyped-decorator]
def fold_measured(energies: Array, angles2: Array, weights: Array, detector: Smearing) -> Array:
    """Fold points of true energy and measured θ², each with several weights, to bins.

    Arrays (groups, points), weights (kinds, groups, points) → (kinds, groups, bins).
    """
    kinds, groups, n = weights.shape
    out = np.zeros((kinds, groups, number_of_bins(detector)))
    for g in prange(groups):
        own = np.zeros(out.shape[2])
        for k in range(n):
            own[:] = 0.0
            add_bin_probabilities(energies[g, k], detector, angles2[g, k], 1.0, own)
            for kind in range(kinds):
                for b in range(own.size):
                    out[kind, g, b] += weights[kind, g, k] * own[b]
    return out
