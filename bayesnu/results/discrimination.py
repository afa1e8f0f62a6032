"""Dirac or Majorana N at a reactor card: what a number of photons tells, and how many are needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bayesnu.errors import UsageError, silent
from bayesnu.experiment.base import Experiment
from bayesnu.experiment.recoil_photons import experiment_photons
from bayesnu.inference.discrimination import (
    COUNTS,
    EXPERIMENTS,
    TRUTHS,
    EventsNeeded,
    check_events,
    check_experiments,
    check_name,
    events_needed,
    log_bayes_factor,
    simulate,
)
from bayesnu.physics.couplings import check_values
from bayesnu.results.limits import DEFAULT_SEED, check_counts
from bayesnu.shown import Shown

QUANTILES = (0.5, 0.1, 0.9)
STEPS = ("photon spectra", "simulated experiments", "events for half of them", "events for 90% of them")


@dataclass(frozen=True, repr=False)
class Discrimination(Shown):
    """How well photons tell Dirac from Majorana N, without background and with m_N known.

    Attributes
    ----------
    model : str
        Name of the card.
    m_N : float
        In MeV.
    events : int
        Photons of each simulated experiment.
    truth, counts : str
        As in `bayesnu.inference.discrimination.simulate`.
    experiments : int
        Simulated experiments.
    median, q10, q90 : float
        Of log10 B, the true hypothesis over the other.
    for_median_10, for_90_percent : EventsNeeded
        Events with which B > 10 in half, and in 90%, of the experiments.
    """

    model: str
    m_N: float
    events: int
    truth: str
    counts: str
    experiments: int
    median: float
    q10: float
    q90: float
    for_median_10: EventsNeeded
    for_90_percent: EventsNeeded


def discriminate(
    experiment: Experiment,
    m_N: float,
    events: int,
    truth: str = "majorana",
    counts: str = "fixed",
    experiments: int = EXPERIMENTS,
    seed: int = DEFAULT_SEED,
    moments: Mapping[str, float] | None = None,
    progress: Callable[[str], None] = silent,
) -> Discrimination:
    """Simulate experiments at a reactor card and return the Bayes factors for the truth.

    Where the card's N decays to a lighter N′ too, the photons are those of all decays.

    Parameters
    ----------
    experiment : Experiment
        A card of nuclear recoils at a reactor.
    m_N : float
        In MeV.
    events : int
    truth : {"majorana", "dirac"}
    counts : {"fixed", "poisson"}
    experiments : int
    seed : int
    moments : mapping of str to float, optional
        d_nue, d_numu and d_nutau in μ_B, others 0; they matter only beside the card's d_NNp.
    progress : callable, optional
        Receives one phrase for each of `STEPS`.

    Raises
    ------
    UsageError
        For a value or name that is not allowed, or another kind of card.
    """
    check_name("truth", truth, TRUTHS)
    check_name("counts", counts, COUNTS)
    check_events(events)
    check_experiments(experiments)
    check_counts(draws=None, chains=None, seed=seed)
    progress(STEPS[0])
    values = check_values(moments or {}, ("d_nue", "d_numu", "d_nutau"))
    templates = experiment_photons(experiment, m_N, moment_mu_b=math.hypot(*values.values()))
    rng = np.random.default_rng(seed)
    progress(STEPS[1])
    sample = simulate(templates, truth, events, experiments, rng, counts=counts)
    sign = 1 if truth == "majorana" else -1
    log10_b = sign * log_bayes_factor(sample, templates) / math.log(10)
    if not np.isfinite(log10_b).all():
        raise UsageError(f"m_N = {m_N}: one hypothesis leaves bins empty that the other fills; choose wider bins")
    median, q10, q90 = (float(q) for q in np.quantile(log10_b, QUANTILES))
    needed = []
    for step, probability in zip(STEPS[2:], (0.5, 0.9), strict=True):
        progress(step)
        needed.append(events_needed(templates, truth, probability, rng, counts=counts, experiments=experiments))
    half, most = needed
    return Discrimination(experiment.card.name, m_N, events, truth, counts, experiments, median, q10, q90, half, most)


def discrimination_json(result: Discrimination) -> dict[str, object]:
    """Return the result as JSON-able values."""
    return {
        "model": result.model,
        "m_N": result.m_N,
        "events": result.events,
        "truth": result.truth,
        "log10_bayes_factor": {"median": result.median, "q10": result.q10, "q90": result.q90},
        "events_for_median_10": result.for_median_10.events,
        "events_for_90_percent": result.for_90_percent.events,
    }
