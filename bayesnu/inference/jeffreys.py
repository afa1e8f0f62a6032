"""Jeffreys' prior of one coupling: the square root of the expected Fisher information that a card's counts hold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError
from bayesnu.inference.likelihood import Problem, squared_only

Array = NDArray[np.float64]
CELLS = 1024
BLOCK = 64
LEAST_SHARE = 1e-12
"""Of the highest information: below, the table stays there, since a spline cannot tell it from 0."""


def fisher_information(problem: Problem, theta: Array) -> Array:
    """Return the expected Fisher information about one coupling, the pulls marginalised.

    I(θ) = I_θθ - I_θz (I_zz + C)⁻¹ I_zθ, the Schur complement of I_ab = Σ_i ∂_a λ_i ∂_b λ_i / V_i at the
    expectation λ(θ, z = 0), with C = 1 for a pull with a normal constraint and 0 for a free one; V_i = λ_i for Poisson
    counts, λ_i + v λ_i² about a gamma-distributed mean, the variance for normal data (H. Jeffreys, Proc. R. Soc. A
    186 (1946) 453).

    Parameters
    ----------
    problem : Problem
        With one coupling.
    theta : ndarray, shape (points,)
        Scaled values.

    Returns
    -------
    ndarray, shape (points,)
        Per unit of the scaled coupling squared; infinite where a count of 0 begins to grow linearly.

    Raises
    ------
    ConvergenceError
        If a count is negative, or pulls are degenerate.
    """
    theta = np.asarray(theta, dtype=float)
    blocks = [_information(problem, theta[k : k + BLOCK]) for k in range(0, theta.size, BLOCK)]
    return np.concatenate(blocks)


def _information(problem: Problem, theta: Array) -> Array:
    model = problem.model
    powers = np.array([sum(n for _, n in monomial) for monomial in model.monomials])
    # Products of the pulls' factors at z = 0 are 1, and their slopes the widths.
    slopes = np.concatenate([np.ones((1, len(model.components))), model.widths[:, None] * model.membership.T])
    counts = np.einsum("pc,cmo->pmo", slopes, model.arrays)

    def derivative(order: int) -> Array:
        factor = np.prod([np.maximum(powers - k, 0) for k in range(order)], axis=0) * np.ones(powers.size)
        return np.asarray(factor * theta[:, None] ** np.maximum(powers - order, 0))

    by_pull = np.einsum("gm,pmo->gpo", derivative(0), counts)
    expected = by_pull[:, 0]
    slope, bend = (np.einsum("gm,mo->go", derivative(order), counts[0]) for order in (1, 2))
    counted = ~problem.normal
    if (expected[:, counted] < 0).any():
        worst = theta[np.unravel_index(int(expected.argmin()), expected.shape)[0]] * problem.scales[0]
        raise ConvergenceError(
            f"{problem.couplings[0]} = {worst:.4g}: a count is negative there, so that it holds no Fisher "
            "information; give the Jeffreys prior a narrower range"
        )
    empty = (expected == 0) & counted
    spread = np.where(counted, expected + problem.relative_variance * expected**2, problem.normal_variance)
    weight = np.where(empty, 0.0, 1 / np.where(empty, 1.0, spread))
    gradients = np.concatenate([slope[:, None], by_pull[:, 1:]], axis=1)
    matrix = np.einsum("gao,gbo,go->gab", gradients, gradients, weight)
    # Where nothing is expected, λ ≈ λ'' θ²/2 gives λ'²/λ = 2 λ'', and a λ that is linear gives infinity.
    limit = np.where(empty & (slope == 0), 2 * bend, np.where(empty, np.inf, 0.0)).sum(axis=1)
    pulls = matrix[:, 1:, 1:] + np.diag(model.constraint)
    try:
        known = np.linalg.solve(pulls, matrix[:, 1:, :1])[:, :, 0]
    except np.linalg.LinAlgError as error:
        raise ConvergenceError(
            f"{problem.couplings[0]}: the counts do not determine the free pulls; no Jeffreys prior"
        ) from error
    own = matrix[:, 0, 0] - (matrix[:, 0, 1:] * known).sum(axis=1)
    # What is left of an information that is 0 may be negative by rounding.
    return np.asarray(np.maximum(own, 0.0) + limit)


@dataclass(frozen=True)
class JeffreysTable:
    """p(θ) ∝ √I(θ) between two values: θ^``power`` √K(θ), with K = I/θ^(2 ``power``) a cubic spline in equal steps.

    One function serves the grid and, by its ``library``, NUTS. In θ² (``power`` 1) the density is √K alone.

    Attributes
    ----------
    low, high : float
        Range, in the coupling's own unit.
    values : tuple of float
        K at the ends of the cells, over its highest.
    power : int
        1 for a coupling from 0 whose information begins as θ², else 0.
    """

    low: float
    high: float
    values: tuple[float, ...]
    power: int

    @cached_property
    def pieces(self) -> Array:
        """Coefficients of each cell's cubic, highest power first, in the share of the cell; shape (cells, 4)."""
        from scipy.interpolate import CubicSpline

        return np.ascontiguousarray(CubicSpline(np.arange(len(self.values)), self.values).c.T)

    @cached_property
    def log_norm(self) -> float:
        """Logarithm of the integral of θ^power √K over the range."""
        x, w = np.polynomial.legendre.leggauss(4)
        cells = len(self.values) - 1
        share = (np.arange(cells)[:, None] + (x + 1) / 2) / cells
        theta = self.low + share * (self.high - self.low)
        integrand = theta**self.power * np.exp(self.log_root(share))
        return float(np.log((integrand * w / 2).sum() / cells * (self.high - self.low)))

    def log_density(self, theta: Array) -> Array:
        """Return ln p(θ) inside the range, normalised, per unit of the coupling."""
        share = (theta - self.low) / (self.high - self.low)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.log(np.abs(theta)) if self.power else 0.0
        return np.asarray(self.log_root(share) + factor - self.log_norm)

    def log_root(self, share: Any, pieces: Any = None, library: Any = np) -> Any:
        """Return ln √K at shares of the range in [0, 1]; ``library`` is NumPy or ``pytensor.tensor``."""
        pieces = self.pieces if pieces is None else pieces
        cells = len(self.values) - 1
        place = share * cells
        k = library.clip(library.floor(place), 0, cells - 1).astype("int64")
        u, c = place - k, pieces[k]
        value = ((c[..., 0] * u + c[..., 1]) * u + c[..., 2]) * u + c[..., 3]
        return library.log(library.maximum(value, LEAST_SHARE)) / 2

    def draw(self, rng: np.random.Generator, size: int) -> Array:
        """Return independent draws, from the integral of the density over eighths of cells."""
        theta = np.linspace(self.low, self.high, 8 * (len(self.values) - 1) + 1)
        density = np.exp(self.log_density(theta))
        cumulative = np.append(0.0, np.cumsum(density[1:] + density[:-1]))
        return np.asarray(np.interp(rng.random(size), cumulative / cumulative[-1], theta))


def jeffreys_table(problem: Problem, low: float, high: float) -> JeffreysTable:
    """Return the table of a one-coupling problem between two values in the coupling's own unit.

    Raises
    ------
    ConvergenceError
        See `fisher_information`; or if the information is infinite, or 0 everywhere.
    """
    scale = float(problem.scales[0])
    theta = np.linspace(low, high, CELLS + 1) / scale
    information = fisher_information(problem, theta)
    power = int(squared_only(problem)[0] and low == 0 and information[0] < LEAST_SHARE * information.max())
    if power:
        # Where θ² would divide 0 by 0, a point so near that nothing has changed.
        near = np.array([0.01 * theta[1]])
        information[0], theta[0] = fisher_information(problem, near)[0], near[0]
        information = information / theta**2
    highest = float(information.max())
    if not (np.isfinite(highest) and highest > 0):
        what = "is infinite" if highest > 0 else "is 0 everywhere"
        raise ConvergenceError(
            f"{problem.couplings[0]}: the Fisher information between {low:.4g} and {high:.4g} {what}; "
            "choose another range, or another prior than jeffreys"
        )
    return JeffreysTable(low, high, tuple((information / highest).tolist()), power)
