"""Where a probability that is estimated with pseudo-experiments crosses a level, to a stated error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bayesnu.errors import ConvergenceError

Array = NDArray[np.float64]
WINDOW = 0.35
"""Half width of the window about a crossing, in units of the normal quantile of the probability."""
POINTS = 5
LEAST_EVENTS = 60.0
"""Events above the level, in all estimates near a crossing, from which a normal error says what it should."""
BENT_EVENTS = 200.0
"""Events from which the curvature is fitted, too."""


@dataclass(frozen=True)
class Estimate:
    """A probability estimated at one value of a coupling.

    Attributes
    ----------
    value, probability : float
    number : float
        Independent trials that have this binomial error, √(p (1 - p)/number).
    """

    value: float
    probability: float
    number: float

    def differs(self, level: float, sigma: float) -> bool:
        """Return whether the probability differs from a level by some of the standard errors that it has there."""
        return abs(self.probability - level) > sigma * float(np.sqrt(level * (1 - level) / self.number))

    def with_more(self, other: Estimate) -> Estimate:
        """Return both at the same value together."""
        number = self.number + other.number
        share = (self.probability * self.number + other.probability * other.number) / number
        return Estimate(self.value, share, number)


@dataclass(frozen=True)
class Crossing:
    """Where a probability crosses a level.

    Attributes
    ----------
    value, error : float
        And the Monte Carlo standard error of it.
    slope : float
        Of the normal quantile of the probability there.
    """

    value: float
    error: float
    slope: float


@dataclass
class Window:
    """The points near a crossing, on which the next pseudo-experiments are made.

    Attributes
    ----------
    centre, half : float
    level : float
        The probability that is crossed.
    lowest : float
        No point lies below.
    estimates : list of Estimate
        All so far.
    """

    centre: float
    half: float
    level: float
    lowest: float = -np.inf
    estimates: list[Estimate] = field(default_factory=list)

    def points(self) -> Array:
        """Return where to go on."""
        return np.maximum(self.centre + self.half * np.linspace(-1, 1, POINTS), self.lowest)

    def solve(self) -> Crossing | None:
        """Return the crossing and move the window there; None if there is none near, or too little to say so.

        The normal quantile of the probability is a parabola in the coupling (a line while there are few events),
        fitted by maximum likelihood to the estimates within one and a half half-widths. Its error is multiplied by
        √(χ²/ν) where that is above 1, as it is where a discrete probability is no smooth curve.
        """
        from scipy.special import ndtr, ndtri

        near = [e for e in self.estimates if abs(e.value - self.centre) <= 1.5 * self.half]
        x = np.array([(e.value - self.centre) / self.half for e in near])
        p, number = np.array([e.probability for e in near]), np.array([e.number for e in near])
        events = float(number.sum()) * min(self.level, 1 - self.level)
        terms = min(3 if events > BENT_EVENTS else 2, np.unique(x).size)
        basis = np.stack([np.ones_like(x), x, x**2], axis=1)[:, :terms]
        curve = np.full(x.size, float(ndtri(np.clip(np.average(p, weights=number), 1e-3, 1 - 1e-3))))
        for _ in range(25):
            # Weights from the fitted probabilities: those from the estimates would favour the higher ones.
            slope = np.exp(-(curve**2) / 2) / np.sqrt(2 * np.pi)
            fitted = ndtr(curve)
            error = np.sqrt(np.maximum(fitted * (1 - fitted), 1e-12) / number) / np.maximum(slope, 1e-6)
            working = curve + (p - fitted) / np.maximum(slope, 1e-6)
            weighted = basis / error[:, None]
            coefficients, *_ = np.linalg.lstsq(weighted, working / error, rcond=None)
            curve = np.clip(basis @ coefficients, -4.0, 4.0)
        covariance = np.linalg.pinv(weighted.T @ weighted)
        freedom = x.size - basis.shape[1]
        chi2 = float((((working - basis @ coefficients) / error) ** 2).sum())
        inflation = max(1.0, chi2 / freedom) if freedom > 0 else 1.0
        target = float(ndtri(self.level))
        roots = np.polynomial.Polynomial([coefficients[0] - target, *coefficients[1:]]).roots()
        real = [float(r.real) for r in roots if abs(r.imag) < 1e-9]
        root = min(real, key=abs, default=np.nan)
        if not abs(root) <= 3.0:
            # A parabola that misses the level: a straight line tells the direction.
            root = float(np.clip((target - coefficients[0]) / coefficients[1], -1.5, 1.5))
            outside = True
        else:
            outside = abs(root) > 1.2
        steep = float(coefficients[1] + (2 * coefficients[2] * root if coefficients.size > 2 else 0.0))
        powers = root ** np.arange(coefficients.size)
        deviation = float(np.sqrt(powers @ covariance @ powers * inflation)) / abs(steep)
        value, spread = self.centre + self.half * root, self.half * deviation
        self.centre = max(value, self.lowest + 1e-9)
        slope_per_unit = steep / self.half
        width = WINDOW / abs(slope_per_unit)
        self.half = float(np.clip(width, 0.3 * self.half, 1.5 * self.half))
        return None if outside or events < LEAST_EVENTS else Crossing(value, spread, slope_per_unit)


def find_crossings(
    windows: Sequence[Window],
    sample: Callable[[int, Sequence[tuple[int, Array]]], Sequence[Sequence[Estimate]]],
    tolerance: Sequence[float],
    floor: Sequence[float],
    most_rounds: int,
) -> list[Crossing]:
    """Refine crossings by rounds of pseudo-experiments until each error is small enough.

    Parameters
    ----------
    windows : sequence of Window
    sample : callable
        Round, (number of the window, points) of those that go on → estimates at their points.
    tolerance, floor : sequence of float
        The error of each is to be at most its tolerance × its size, or × its floor where it is closer to 0.
    most_rounds : int

    Raises
    ------
    ConvergenceError
        If a crossing is not that well known after ``most_rounds``.
    """

    def relative(k: int, crossing: Crossing) -> float:
        return crossing.error / max(abs(crossing.value), floor[k])

    found: dict[int, Crossing] = {}
    last: dict[int, Crossing | None] = {}
    for number in range(most_rounds):
        open_ones = [k for k in range(len(windows)) if k not in found]
        if not open_ones:
            break
        for k, estimates in zip(open_ones, sample(number, [(k, windows[k].points()) for k in open_ones]), strict=True):
            windows[k].estimates.extend(estimates)
            last[k] = windows[k].solve()
            crossing = last[k]
            if crossing is not None and number > 0 and relative(k, crossing) <= tolerance[k]:
                found[k] = crossing
    for k in range(len(windows)):
        if k not in found:
            known = last.get(k)
            why = "it is not found" if known is None else f"its error is {relative(k, known):.2%}"
            raise ConvergenceError(
                f"a bound is not known to {tolerance[k]:.2%} after {most_rounds} rounds of pseudo-experiments ({why}); "
                "give a larger tolerance"
            )
    return [found[k] for k in range(len(windows))]
