"""Dirac or Majorana N: Bayes factors from photon counts, and how many photons decide.

The photon shapes are those of `bayesnu.experiment.photons`, after Bolton et al. (arXiv:2110.02233). Both hypotheses
have the same prior on the expected signal s: one on the moment would prefer a hypothesis by its rate, Γ_M = 2 Γ_D.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesnu.errors import UsageError, unknown_name
from bayesnu.experiment.photons import PhotonTemplates

Array = NDArray[np.float64]
Truth = Literal["majorana", "dirac"]
TRUTHS: tuple[Truth, ...] = get_args(Truth)
Counts = Literal["fixed", "poisson"]
COUNTS: tuple[Counts, ...] = get_args(Counts)

DECISIVE = 10.0
"""Bayes factor asked for: strong evidence on Jeffreys' scale."""
EXPERIMENTS = 10_000
"""Simulated experiments by default."""
MOST_EXPERIMENTS = 100_000
"""No more are kept in memory."""
MOST_EVENTS = 10_000
"""No more signal events are tried."""
BLOCK = 64
"""Events added at once to every simulated experiment."""
PANEL = 0.5
"""Panels of the integral over s, in √s: one standard deviation of √n for Poisson counts n."""
PANEL_NODES = 8


@dataclass(frozen=True)
class SignalPrior:
    """The prior on the expected signal s, the same for both hypotheses.

    Attributes
    ----------
    low, high : float
        Range of s, in events.
    kind : {"uniform", "log-uniform"}
    """

    low: float
    high: float
    kind: Literal["uniform", "log-uniform"] = "uniform"

    def __post_init__(self) -> None:
        """Check the range.

        Raises
        ------
        UsageError
            If it is empty, infinite or negative, or log-uniform from 0, or of an unknown kind.
        """
        if self.kind not in ("uniform", "log-uniform"):
            raise unknown_name("prior", self.kind, ("uniform", "log-uniform"))
        if not (0 <= self.low < self.high < math.inf):
            raise UsageError(f"prior on the signal from {self.low} to {self.high}: needs 0 ≤ low < high, both finite")
        if self.kind == "log-uniform" and self.low == 0:
            raise UsageError("prior on the signal from 0: log-uniform needs low > 0")

    def quadrature(self) -> tuple[Array, Array]:
        """Return nodes s and weights π(s) ds: Gauss-Legendre in panels of √s (and of ln s, if log-uniform)."""
        a, b = math.sqrt(self.low), math.sqrt(self.high)
        edges = np.linspace(a, b, math.ceil((b - a) / PANEL) + 1)
        if self.kind == "log-uniform":
            # The weight 1/s varies by no more than a factor 2 in a panel.
            edges = np.union1d(edges, np.geomspace(a, b, 2 + math.ceil(2 * math.log2(b / a))))
            norm = math.log(self.high / self.low)
        else:
            norm = self.high - self.low
        x, weight = np.polynomial.legendre.leggauss(PANEL_NODES)
        half = np.diff(edges)[:, None] / 2
        root = (edges[:-1, None] + half * (x + 1)).ravel()
        s = root**2
        density = 1 / s if self.kind == "log-uniform" else np.ones_like(s)
        return s, 2 * root * (half * weight).ravel() * density / norm


@dataclass(frozen=True)
class EventsNeeded:
    """The number of signal events from which enough experiments decide for the truth.

    Attributes
    ----------
    events : int
        Their number, or the mean of a Poisson number.
    error : float
        One standard deviation from the finite number of simulated experiments.
    """

    events: int
    error: float


def check_name(what: str, name: str, allowed: tuple[str, ...]) -> None:
    """Raise `UsageError` for a name that is not allowed."""
    if name not in allowed:
        raise unknown_name(what, name, allowed)


def check_events(events: float) -> None:
    """Raise `UsageError` unless there is at least one event, and no more than `MOST_EVENTS`."""
    if not 1 <= events <= MOST_EVENTS:
        raise UsageError(f"events = {events}: must be between 1 and {MOST_EVENTS}")


def check_experiments(experiments: int) -> None:
    """Raise `UsageError` for fewer than 100 simulated experiments, or more than `MOST_EXPERIMENTS`."""
    if not 100 <= experiments <= MOST_EXPERIMENTS:
        raise UsageError(f"experiments = {experiments}: must be between 100 and {MOST_EXPERIMENTS}")


def log_ratio(templates: PhotonTemplates) -> Array:
    """Return ln(f_M/f_D) of each bin, shape (bins,): ±∞ where one is 0, 0 where both are."""
    dirac, majorana = templates.dirac.ravel(), templates.majorana.ravel()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((dirac > 0) | (majorana > 0), np.log(majorana) - np.log(dirac), 0.0)


def relative_entropy(templates: PhotonTemplates, truth: str) -> float:
    """Return the mean ln B for the truth per event, Σ f ln(f/f'): the Kullback-Leibler divergence.

    Raises
    ------
    UsageError
        For an unknown truth.
    """
    sign, shape = _of_truth(templates, truth)
    filled = shape > 0
    return float(shape[filled] @ (sign * log_ratio(templates)[filled]))


def log_bayes_factor(
    counts: ArrayLike,
    templates: PhotonTemplates,
    background: ArrayLike | None = None,
    prior: SignalPrior | None = None,
) -> Array:
    """Return ln B of Majorana over Dirac for photon counts.

    B = ∫ds π(s) Π Pois(n_i | s f_M,i + b_i) / ∫ds π(s) Π Pois(n_i | s f_D,i + b_i). Without background
    the integrals over s cancel for every prior: ln B = Σ n_i ln(f_M,i/f_D,i).

    Parameters
    ----------
    counts : array_like, shape (..., n, k)
        Photons in the bins of the templates.
    templates : PhotonTemplates
    background : array_like, shape (n, k), optional
        Expected background counts.
    prior : SignalPrior, optional
        Of s, in events inside the bins; needed with a background, else without effect.

    Returns
    -------
    ndarray, shape (...)
        ±∞ where one hypothesis cannot give the counts.

    Raises
    ------
    UsageError
        For wrong shapes, counts or backgrounds that are negative or not finite, a background without a prior,
        or a count where neither hypothesis nor background gives one.
    """
    n = np.asarray(counts, dtype=float)
    shape = templates.dirac.shape
    if n.ndim < 2 or n.shape[-2:] != shape:
        raise UsageError(f"counts have shape {n.shape}: the templates have {shape}")
    if not (np.isfinite(n).all() and (n >= 0).all()):
        raise UsageError("counts: must be finite and at least 0")
    flat = n.reshape(-1, math.prod(shape))
    b = _background(background, templates)
    possible = [(f.ravel() > 0) | (b > 0) for f in (templates.majorana, templates.dirac)]
    if (flat[:, ~possible[0] & ~possible[1]] > 0).any():
        raise UsageError("counts: a bin is filled where neither hypothesis nor background gives a count")
    excluded = [(flat[:, ~p] > 0).any(axis=1) for p in possible]
    if not b.any():
        ratio = log_ratio(templates)
        value = flat @ np.where(np.isfinite(ratio), ratio, 0.0)
    elif prior is None:
        raise UsageError("prior = None: with a background the prior on the signal is needed")
    else:
        value = _log_evidence(flat, templates.majorana, b, prior) - _log_evidence(flat, templates.dirac, b, prior)
    value = np.where(excluded[0], -math.inf, np.where(excluded[1], math.inf, value))
    if (excluded[0] & excluded[1]).any():
        raise UsageError("counts: each hypothesis leaves a bin empty that is filled")
    return np.asarray(value.reshape(n.shape[:-2]))


def _background(background: ArrayLike | None, templates: PhotonTemplates) -> Array:
    """Return the expected background, shape (bins,), after checks."""
    b = np.zeros(templates.dirac.shape) if background is None else np.asarray(background, dtype=float)
    if b.shape != templates.dirac.shape:
        raise UsageError(f"background has shape {b.shape}: the templates have {templates.dirac.shape}")
    if not (np.isfinite(b).all() and (b >= 0).all()):
        raise UsageError("background: must be finite and at least 0")
    return b.ravel()


def _log_evidence(counts: Array, shape: Array, background: Array, prior: SignalPrior) -> Array:
    """Return ln ∫ds π(s) exp(-s) Π (s f_i + b_i)^n_i of each row; what is common to all hypotheses is left out."""
    from scipy.special import logsumexp

    s, weight = prior.quadrature()
    rate = np.outer(shape.ravel(), s) + background[:, None]
    exponent = counts @ np.log(np.where(rate > 0, rate, 1.0)) - s * shape.sum()
    return np.asarray(logsumexp(exponent, b=weight, axis=1))


def _of_truth(templates: PhotonTemplates, truth: str) -> tuple[float, Array]:
    """Return the sign of ln B_MD in favour of the truth, and its shape (bins,)."""
    check_name("truth", truth, TRUTHS)
    return (1.0, templates.majorana.ravel()) if truth == "majorana" else (-1.0, templates.dirac.ravel())


def simulate(
    templates: PhotonTemplates,
    truth: str,
    events: float,
    experiments: int,
    rng: np.random.Generator,
    *,
    counts: str = "fixed",
    background: ArrayLike | None = None,
) -> NDArray[np.int64]:
    """Return simulated photon counts, shape (experiments, n, k).

    Parameters
    ----------
    templates : PhotonTemplates
    truth : {"majorana", "dirac"}
    events : float
        Signal events of every experiment, or their mean.
    experiments : int
    rng : numpy Generator
    counts : {"fixed", "poisson"}
        Whether each experiment has that number of signal events, or a Poisson number.
    background : array_like, shape (n, k), optional
        Expected background counts; always Poisson.

    Raises
    ------
    UsageError
        For an unknown name, fewer than one event, or a fixed number that is not whole.
    """
    _, shape = _of_truth(templates, truth)
    check_name("counts", counts, COUNTS)
    check_events(events)
    check_experiments(experiments)
    size = (experiments, shape.size)
    if counts == "poisson":
        sample = rng.poisson(events * shape, size=size)
    elif events == int(events):
        sample = rng.multinomial(int(events), shape, size=experiments)
    else:
        raise UsageError(f"events = {events}: must be whole, or counts poisson")
    if background is not None:
        sample = sample + rng.poisson(_background(background, templates), size=size)
    return np.asarray(sample.reshape(experiments, *templates.dirac.shape), dtype=np.int64)


def events_needed(
    templates: PhotonTemplates,
    truth: str,
    probability: float,
    rng: np.random.Generator,
    *,
    counts: str = "fixed",
    experiments: int = EXPERIMENTS,
    background: ArrayLike | None = None,
    prior: SignalPrior | None = None,
    decisive: float = DECISIVE,
) -> EventsNeeded:
    """Return the least number of signal events with which B for the truth exceeds 10 with some probability.

    The probability 0.5 asks for the median of B, 0.9 for its 10% quantile. Without background every simulated
    experiment is a walk of ln B, one step per event, and a Poisson number of events is summed exactly,
    Σ_n Pois(n|ν) P(B > 10 | n); with one, experiments are simulated anew at each number of a bisection.

    Parameters
    ----------
    templates : PhotonTemplates
    truth : {"majorana", "dirac"}
    probability : float
    rng : numpy Generator
    counts : {"fixed", "poisson"}
    experiments : int
    background, prior : optional
        As in `log_bayes_factor`.
    decisive : float
        The Bayes factor asked for.

    Returns
    -------
    EventsNeeded
        Its error is √(P(1 - P)/experiments)/(dP/dn).

    Raises
    ------
    UsageError
        For an unknown name, a probability outside (0, 1), or if `MOST_EVENTS` do not suffice.
    """
    sign, shape = _of_truth(templates, truth)
    check_name("counts", counts, COUNTS)
    check_experiments(experiments)
    if not 0 < probability < 1:
        raise UsageError(f"probability = {probability}: must be between 0 and 1")
    if not (math.isfinite(decisive) and decisive > 1):
        raise UsageError(f"decisive = {decisive}: must be greater than 1")
    # The mean of ln B is an order of magnitude: hopeless cases are not simulated.
    if relative_entropy(templates, truth) * MOST_EVENTS < math.log(decisive):
        raise _too_alike(templates, truth)

    if _background(background, templates).any():

        def success(events: int) -> float:
            sample = simulate(templates, truth, events, experiments, rng, counts=counts, background=background)
            value = sign * log_bayes_factor(sample, templates, background, prior)
            return float((value > math.log(decisive)).mean())

    else:
        walk = _Walk(sign * log_ratio(templates), shape, experiments, math.log(decisive), rng)

        def success(events: int) -> float:
            return walk.fixed(events) if counts == "fixed" else walk.poisson(events)

    events = _least(success, probability)
    if events is None:
        raise _too_alike(templates, truth)
    low, high = max(1, events - max(1, events // 8)), events + max(1, events // 8)
    slope = (success(high) - success(low)) / (high - low)
    noise = math.sqrt(probability * (1 - probability) / experiments)
    return EventsNeeded(events, noise / slope if slope > 0 else math.inf)


def _too_alike(templates: PhotonTemplates, truth: str) -> UsageError:
    where = f"m_N = {templates.mass_mev:g}, truth = {truth}"
    return UsageError(f"{where}: the shapes are so alike that {MOST_EVENTS} events do not decide")


def _least(success: Callable[[int], float], probability: float) -> int | None:
    """Return the least number of events with a probability of success, which grows; None beyond `MOST_EVENTS`."""
    low, high = 0, 1
    while success(high) < probability:
        low, high = high, 2 * high
        if high > MOST_EVENTS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if success(middle) < probability:
            low = middle
        else:
            high = middle
    return high


class _Walk:
    """Walks of ln B of many experiments, one step per event, taken as far as asked."""

    def __init__(self, steps: Array, shape: Array, experiments: int, goal: float, rng: np.random.Generator) -> None:
        self.steps, self.shape, self.experiments, self.goal, self.rng = steps, shape, experiments, goal, rng
        self.position = np.zeros(experiments)
        self.reached = [np.zeros(1)]

    def share(self, events: int) -> Array:
        """Return the share of experiments above the goal after 0, 1, … events; at least up to the number given."""
        while sum(map(len, self.reached)) <= events:
            bins = self.rng.choice(self.shape.size, p=self.shape, size=(BLOCK, self.experiments))
            path = self.position + np.cumsum(self.steps[bins], axis=0)
            self.position = path[-1]
            self.reached.append((path > self.goal).mean(axis=1))
        return np.concatenate(self.reached)

    def fixed(self, events: int) -> float:
        """Return the share of experiments above the goal after a fixed number of events."""
        return float(self.share(events)[events])

    def poisson(self, mean: int) -> float:
        """Return the share of experiments above the goal after a Poisson number of events."""
        from scipy.stats import poisson

        # Beyond ν + 8√ν + 20 lies less than 1e-9.
        top = mean + math.ceil(8 * math.sqrt(mean)) + 20
        return float(poisson.pmf(np.arange(top + 1), mean) @ self.share(top)[: top + 1])
