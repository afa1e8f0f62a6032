"""How many photons tell Dirac from Majorana N, and what that depends on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from emissions import MODEL, Array, load_recoils
from shapes_study import energy_only

from bayesnu.errors import UsageError
from bayesnu.experiment.photons import PhotonTemplates
from bayesnu.experiment.recoil import RecoilExperiment
from bayesnu.experiment.recoil_photons import experiment_photons
from bayesnu.flux.reactor import ENERGY_MAX_MEV
from bayesnu.inference.discrimination import (
    COUNTS,
    TRUTHS,
    EventsNeeded,
    SignalPrior,
    events_needed,
    log_bayes_factor,
    relative_entropy,
    simulate,
)
from bayesnu.report.study import Tables
from bayesnu.results.limits import DEFAULT_SEED

EXPERIMENTS = 10_000
PROBABILITIES = {"median": 0.5, "90%": 0.9}
OBSERVED = ("E_γ", "E_γ and cos θ")
EVENTS = 20
"""Photons of the distributions of log10 B."""
CHIRALITIES = (1.0, 0.75, 0.5, 0.25, 0.0)
BACKGROUNDS = (5, 50)
BACKGROUND_EXPERIMENTS = 2000
MOST_SIGNAL = 300.0
"""End of the uniform prior on the expected signal, where there is a background."""
QUICK = {"energy_nodes": 32, "recoil_nodes": 24, "true_bins": 160}
"""Precise to a percent in each bin: for variants."""


@dataclass(frozen=True)
class Need:
    """Events needed for B > 10 in one case."""

    mass_mev: float
    truth: str
    counts: str
    observed: str
    quantile: str
    needed: EventsNeeded


def generator() -> np.random.Generator:
    """Return a generator; every number of events starts from the same seed, so that cases can be compared."""
    return np.random.default_rng(DEFAULT_SEED)


def needed(templates: PhotonTemplates, truth: str, probability: float, counts: str = "fixed") -> EventsNeeded:
    """Return the events with which B > 10 with the given probability."""
    return events_needed(templates, truth, probability, generator(), counts=counts, experiments=EXPERIMENTS)


def write_needs(templates: dict[float, PhotonTemplates], tables: Tables) -> list[Need]:
    """Write the table of events needed and return it."""
    needs = [
        Need(mass, truth, counts, observed, name, needed(item, truth, probability, counts))
        for mass, both in templates.items()
        for truth in TRUTHS
        for counts in COUNTS
        for observed, item in zip(OBSERVED, (energy_only(both), both), strict=True)
        for name, probability in PROBABILITIES.items()
    ]
    columns = [(counts, observed, name) for counts in COUNTS for observed in OBSERVED for name in PROBABILITIES]
    header = ["m_N [MeV]", "truth", *(f"{counts}, {observed}, {name}" for counts, observed, name in columns)]
    found = {(n.mass_mev, n.truth, n.counts, n.observed, n.quantile): n.needed for n in needs}
    rows: list[list[object]] = []
    for truth in TRUTHS:
        for mass in templates:
            own = [found[mass, truth, *column] for column in columns]
            rows.append([mass, truth, *(f"{n.events} ± {n.error:.1f}" for n in own)])
    title = f"Events for B > 10 in half and in 90% of the experiments, without background ({EXPERIMENTS} simulated)"
    tables.write("events_needed", title, header, rows)
    return needs


def lookup(needs: Sequence[Need], truth: str, counts: str, observed: str, quantile: str) -> tuple[Array, Array]:
    """Return the masses and the events needed of one case."""
    own = [n for n in needs if (n.truth, n.counts, n.observed, n.quantile) == (truth, counts, observed, quantile)]
    return np.array([n.mass_mev for n in own]), np.array([float(n.needed.events) for n in own])


def bayes_factors(
    templates: dict[float, PhotonTemplates], masses: Sequence[float], tables: Tables
) -> dict[tuple[float, str, str], Array]:
    """Simulate log10 B for the truth at `EVENTS` photons; write its quantiles."""
    values: dict[tuple[float, str, str], Array] = {}
    rows: list[list[object]] = []
    for mass in masses:
        for truth in TRUTHS:
            for observed, item in zip(OBSERVED, (energy_only(templates[mass]), templates[mass]), strict=True):
                sample = simulate(item, truth, EVENTS, EXPERIMENTS, generator())
                sign = 1 if truth == "majorana" else -1
                own = sign * log_bayes_factor(sample, item) / math.log(10)
                values[mass, truth, observed] = own
                quantiles = (float(q) for q in np.quantile(own, (0.1, 0.5, 0.9)))
                rows.append([mass, truth, observed, *quantiles, float((own > 1).mean()), float((own < -1).mean())])
    header = ["m_N [MeV]", "truth", "observed", "10%", "median", "90%", "P(B > 10)", "P(B < 1/10): misled"]
    tables.write("bayes_factors", f"log10 B for the truth after {EVENTS} photons", header, rows)
    return values


def write_chirality(masses: Sequence[float], tables: Tables) -> dict[float, list[tuple[float, float]]]:
    """Write and return the events needed (median, Majorana) against the chirality of the moment to N′."""
    curves: dict[float, list[tuple[float, float]]] = {}
    rows: list[list[object]] = []
    for mass in masses:
        for chirality in CHIRALITIES:
            own = load_recoils(MODEL, ["decay.d_NNp=1e-12", f"decay.chirality={chirality}"])
            item = experiment_photons(own, mass, **QUICK)
            try:
                numbers = [needed(item, "majorana", p).events for p in PROBABILITIES.values()]
                curves.setdefault(mass, []).append((chirality, float(numbers[0])))
                text = [str(n) for n in numbers]
            except UsageError:
                text = ["more than 10000"] * 2
            # Without chirality nothing but rounding is left.
            difference = round(float(np.abs(item.majorana - item.dirac).max()), 12)
            rows.append([mass, chirality, round(abs(relative_entropy(item, "majorana")), 12), difference, *text])
    header = ["m_N [MeV]", "chirality", "divergence M‖D", "largest difference of a bin", "median", "90%"]
    title = "Decay to N′ alone, moments of both chiralities: events for B > 10 if N is Majorana (fixed, E_γ and cos θ)"
    tables.write("chirality", title, header, rows)
    return curves


def write_assumptions(masses: Sequence[float], tables: Tables) -> None:
    """Write what the events needed become with a poorer detector, or with a background."""
    lower = load_recoils(MODEL, ["detector.threshold_ev=100", "detector.resolution_ev=20"])
    default = load_recoils(MODEL)
    halves = [-1.0, 0.0, 1.0]
    variants: list[tuple[str, RecoilExperiment, dict[str, Any]]] = [
        ("default", default, {}),
        ("resolution 3%", default, {"energy_resolution": 0.03}),
        ("resolution 30%", default, {"energy_resolution": 0.30}),
        ("only forward or backward", default, {"cosine_edges": halves}),
        ("resolution 30%, only forward or backward", default, {"cosine_edges": halves, "energy_resolution": 0.30}),
        ("recoil threshold 100 eV", lower, {}),
    ]
    rows: list[list[object]] = []
    shapes: list[PhotonTemplates] = []
    for label, experiment, options in variants:
        own = [experiment_photons(experiment, mass, **QUICK, **options) for mass in masses]
        shapes = shapes or own
        numbers = [needed(item, "majorana", p).events for item in own for p in PROBABILITIES.values()]
        rows.append([label, *numbers])
    for background in BACKGROUNDS:
        numbers = []
        for item in shapes:
            flat = np.outer(np.diff(np.minimum(item.energy_edges_mev, ENERGY_MAX_MEV)), np.diff(item.cosine_edges))
            for probability in PROBABILITIES.values():
                found = events_needed(
                    item,
                    "majorana",
                    probability,
                    generator(),
                    experiments=BACKGROUND_EXPERIMENTS,
                    background=background * flat / flat.sum(),
                    prior=SignalPrior(0.0, MOST_SIGNAL),
                )
                numbers.append(found.events)
        rows.append([f"background of {background} photons, flat in E_γ to 8 MeV and in cos θ", *numbers])
    header = ["variant", *(f"{mass:g} MeV, {name}" for mass in masses for name in PROBABILITIES)]
    tables.write("assumptions", "Events for B > 10 if N is Majorana (fixed, E_γ and cos θ)", header, rows)
