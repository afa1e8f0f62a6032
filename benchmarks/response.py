"""The response matrix to a given statistical error: bayesnu's beside the paper's recipe in vectorised NumPy.

The recipe (arXiv:2111.14884, appendix A): sample true events in each cell, tilt and rotate their directions, smear
their energies, histogram. How many events that takes for the error of bayesnu's matrix is measured: both are compared
with a converged matrix, by the root mean square over the elements of the matrix, or over the bins of the Standard
Model's counts. The error of independent events falls as the root of their number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bayesnu.detector.response import ResponseMatrix, build_response
from bayesnu.detector.settings import ResponseSettings
from bayesnu.experiment.electron import ElectronExperiment
from bayesnu.experiment.setup import load_electron_experiment
from bayesnu.experiment.templates import fold_electromagnetic
from benchmarks.agreement import DisagreementError
from benchmarks.measure import Aim, Contest, Row, seconds_of

Array = NDArray[np.float64]
Norm = Callable[[Array], float]
CARD = "dune-on-axis"
CONVERGED = 4
"""Times as many samples of the converged matrix as of the one that is timed, which has the card's own."""
GOES = 2
"""Matrices of either side whose error is measured."""
PILOT = 400
"""Events per cell of the recipe by which its error is measured, and whose time is scaled."""


@cache
def experiment() -> ElectronExperiment:
    """Return the experiment of the rows."""
    return load_electron_experiment(CARD)


def settings() -> ResponseSettings:
    """Return the card's settings."""
    return experiment().templates.response.settings


@cache
def built(seed: int, times: int = 1) -> Array:
    """Return bayesnu's matrix with another seed, and with as many times the card's samples."""
    return build_response(replace(settings(), seed=seed, samples=settings().samples * times)).values


@cache
def converged() -> Array:
    """Return what both sides are compared with."""
    return built(99, CONVERGED)


@cache
def pilots() -> list[Array]:
    """Return matrices by the recipe whose error is measured; four together are one with four times the events."""
    return [recipe(PILOT, seed) for seed in range(4 * GOES)]


def recipe(events: int, seed: int) -> Array:
    """Return the matrix by the paper's recipe, (energy cells, angle cells, bins), one row of cells at a time."""
    own = settings()
    smearing, energies, angles, bins = own.smearing, own.energy_edges_gev, own.angle_edges_gev, own.bins
    rng, size = np.random.default_rng(seed), (own.angle_cells, events)
    first = np.arange(own.angle_cells)[:, None] * bins
    result = np.empty((own.energy_cells, own.angle_cells, bins))
    for i, (low, high) in enumerate(pairwise(energies)):
        energy = low * (high / low) ** rng.random(size)
        angle = np.sqrt((angles[:-1, None] + np.diff(angles)[:, None] * rng.random(size)) / energy)
        tilt, azimuth = rng.normal(0.0, smearing.tilt, size), 2 * np.pi * rng.random(size)
        cosine = np.cos(angle) * np.cos(tilt) - np.sin(angle) * np.sin(tilt) * np.cos(azimuth)
        measured = energy + smearing.stochastic * np.sqrt(energy) * rng.standard_normal(size)
        value = measured * np.arccos(np.clip(cosine, -1.0, 1.0)) ** 2
        place = np.searchsorted(smearing.edges, value, side="right") - 1
        inside = (measured >= 0) & (place >= 0) & (place < bins)
        result[i] = np.bincount((first + place)[inside], minlength=own.angle_cells * bins).reshape(-1, bins) / events
    return result


def of_elements(values: Array) -> float:
    """Return the root mean square deviation of the matrix's elements."""
    return float(np.sqrt(((values - converged()) ** 2).mean()))


def of_counts(values: Array) -> float:
    """Return the root mean square of the relative deviations of the Standard Model's counts."""
    found, expected = (_counts(array) for array in (values, converged()))
    return float(np.sqrt(((found / expected - 1) ** 2).mean()))


def _counts(values: Array) -> Array:
    matrix = ResponseMatrix(settings(), values, np.zeros_like(values))
    folded = fold_electromagnetic(experiment().card, experiment().flux, matrix)[0]
    return np.asarray(folded[:, :, 0].sum(axis=1))


def contest(norm: Norm, what: str) -> Contest:
    """Find how many events the recipe needs for the error that bayesnu's matrix has, and time both."""
    own = float(np.mean([norm(built(1 + seed)) for seed in range(GOES)]))
    pilot = float(np.mean([norm(matrix) for matrix in pilots()]))
    together = [np.mean(pilots()[4 * k : 4 * k + 4], axis=0) for k in range(GOES)]
    # What is left of the error with four times the events: 1/2, or the recipe is for another matrix.
    left = float(np.mean([norm(matrix) for matrix in together])) / pilot
    if not left < 0.75:
        raise DisagreementError(
            f"response: the recipe's {what} falls to {left:.2f} with four times the events, not 1/2"
        )
    times = (pilot / own) ** 2
    return Contest(
        seconds_of(lambda: build_response(settings())),
        seconds_of(lambda: recipe(PILOT, 1), times),
        f"{what}: bayesnu {own:.2g} with {settings().samples:,} samples, the recipe {pilot:.2g} with {PILOT} events "
        f"per cell; it falls to {left:.2f} with four times as many",
        f"the recipe's time is scaled by {times:.3g}, to {PILOT * times:,.0f} events per cell",
    )


def rows() -> list[Row]:
    """Return the rows."""
    task = "response matrix to the same error of"
    peer = "the paper's recipe in NumPy"
    aims = (Aim(ratio=50.0),)
    return [
        Row(f"{task} its elements", peer, lambda: contest(of_elements, "rms of elements"), aims),
        Row(f"{task} the SM counts", peer, lambda: contest(of_counts, "rms of relative counts"), aims),
    ]
