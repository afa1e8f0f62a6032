"""Limits by pseudo-experiments: Feldman and Cousins' intervals and CLs, and the evidence beside them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bayesnu import __version__
from bayesnu.errors import RunError, UsageError, silent, unknown_name
from bayesnu.experiment.base import Experiment
from bayesnu.inference.cls import BAND_SIGMAS, Bound, cls_limit
from bayesnu.inference.feldman_cousins import (
    BACKGROUND_STEPS,
    ToyIntervals,
    feldman_cousins,
    is_one_observation,
    never_falling,
)
from bayesnu.inference.likelihood import Problem, make_problem
from bayesnu.inference.toys import Ensemble
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.resources import program_digest
from bayesnu.results.evidence import ExpectedBound, PseudoExperiments
from bayesnu.results.intervals import IntervalSet, exact
from bayesnu.workers import Chunks, InProcess, Workers

PULLS: dict[str, Ensemble] = {"profiled": "fit", "averaged": "posterior"}
"""How the pulls of pseudo-experiments are chosen at each value of the coupling, and the ensemble of that name."""
DEFAULT_TOLERANCE = 0.01
LEAST_TOLERANCE, MOST_TOLERANCE = 1e-4, 0.2
TOY_BACKGROUND_STEPS = 11
"""Backgrounds that `never_falling` tries where each takes long: all but a single count without pulls."""


def check_pulls(pulls: str) -> Ensemble:
    """Return the ensemble of how pulls are chosen.

    Raises
    ------
    UsageError
        For an unknown name.
    """
    if pulls not in PULLS:
        raise unknown_name("pulls", pulls, PULLS)
    return PULLS[pulls]


@dataclass(frozen=True)
class ToyChoices:
    """What the number that comes out depends on.

    Attributes
    ----------
    seed : int
    pulls : {"profiled", "averaged"}
        At each value of the coupling the pulls of pseudo-experiments are those that fit the data best, or drawn
        from their posterior.
    tolerance : float
        Monte Carlo error of a bound, as a fraction of it.
    never_falling : bool
        Feldman and Cousins' remedy for fewer counts than the background, their section IV B.

    Raises
    ------
    UsageError
        For a value that is not allowed.
    """

    seed: int
    pulls: str = "profiled"
    tolerance: float = DEFAULT_TOLERANCE
    never_falling: bool = False

    def __post_init__(self) -> None:
        check_pulls(self.pulls)
        if not LEAST_TOLERANCE <= self.tolerance <= MOST_TOLERANCE:
            raise UsageError(f"tolerance = {self.tolerance}: must be from {LEAST_TOLERANCE:g} to {MOST_TOLERANCE:g}")

    @property
    def ensemble(self) -> Ensemble:
        """What `bayesnu.inference.toys` calls the pulls."""
        return PULLS[self.pulls]


@dataclass(frozen=True)
class ToyRunner:
    """Who makes pseudo-experiments and where finished ones are kept: no number depends on it.

    Attributes
    ----------
    workers : Workers
        This process by default, its fits in threads.
    folder : Path, optional
        Where chunks are kept, so that a study that was interrupted goes on.
    force : bool
        Overwrite another study in the folder.
    progress, notice : callable
        Receive a phrase for each round, and one-line notices.
    """

    workers: Workers = field(default_factory=InProcess)
    folder: Path | None = None
    force: bool = False
    progress: Callable[[str], None] = silent
    notice: Callable[[str], None] = silent

    def below(self, name: str) -> ToyRunner:
        """Return the runner with a folder of that name below its own."""
        return self if self.folder is None else replace(self, folder=self.folder / name)

    def refuse_loss(self, name: str, lost: Callable[[Any], str]) -> None:
        """Refuse to replace a result of the folder by one that lacks something; chunks of other studies refuse too.

        Parameters
        ----------
        name : str
            Of a JSON file in the folder.
        lost : callable
            Receives its content, and returns in words what would be lost, or "".

        Raises
        ------
        RunError
            If anything would be, or the file cannot be read, unless ``force``.
        """
        path = None if self.folder is None else self.folder / name
        if self.force or path is None or not path.exists():
            return
        try:
            what = lost(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            what = f"something else than this command writes ({type(error).__name__}: {error})"
        if what:
            raise RunError(f"{path}: holds {what}; choose another folder or give --force")

    def chunks(self, experiment: Experiment, study: dict[str, Any], *parts: str) -> Chunks:
        """Return where the chunks of one study are kept, in a folder below the runner's own."""
        folder = None if self.folder is None else self.folder.joinpath(*parts)
        key = study_key(experiment, study)
        found = [mass for name in experiment.card.couplings if (mass := experiment.mass_of(name)) is not None]
        description = {
            "program": f"bayesnu {__version__}, source {program_digest()[:8]}",
            "model": experiment.card.name,
            **({"m_N": found[0]} if found else {}),
            **study,
        }
        return Chunks(folder, key, description, force=self.force, notice=self.notice)


def study_key(experiment: Experiment, study: dict[str, Any]) -> str:
    """Return the hash of all that a study depends on: source, card, data, expected counts, arguments."""
    text = __version__ + program_digest() + experiment.digest + json.dumps(study, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def feldman_cousins_interval(
    experiment: Experiment, coupling: str, cl: float, choices: ToyChoices, runner: ToyRunner
) -> IntervalSet:
    """Return Feldman and Cousins' set; see `bayesnu.inference.feldman_cousins`.

    Raises
    ------
    UsageError
        For ``never_falling`` and a coupling of either sign.
    ConvergenceError
        If the data do not bound the coupling, or the tolerance is not reached.
    """
    if choices.never_falling and not COUPLINGS[coupling].squared_only:
        raise UsageError(f"never_falling: is for upper limits, and {coupling} may have either sign")
    problem = make_problem(experiment, [coupling])
    found: list[ToyIntervals] = []

    def construct(here: Problem) -> float:
        """Return the upper limit at one background; the same seed at each, so that they differ by it alone."""
        step = f"background-{len(found):02d}" if choices.never_falling else "nominal"
        study = {
            "command": "limit", "method": "feldman-cousins", "coupling": coupling, "cl": cl, **asdict(choices),
            "step": step,
        }  # fmt: skip
        found.append(
            feldman_cousins(
                here,
                cl,
                runner.workers,
                seed=choices.seed,
                tolerance=choices.tolerance,
                ensemble=choices.ensemble,
                chunks=runner.chunks(experiment, study, *([step] if choices.never_falling else [])),
                progress=lambda text: runner.progress(f"{step}, {text}" if choices.never_falling else text),
            )
        )
        return found[-1].intervals[-1][1]

    if choices.never_falling:
        summed = is_one_observation(problem) and problem.statistic == "poisson"
        steps = BACKGROUND_STEPS if summed else TOY_BACKGROUND_STEPS
        never_falling(problem, construct, steps)
    else:
        construct(problem)
    highest = max(found, key=lambda item: item.intervals[-1][1])
    intervals = (*found[0].intervals[:-1], (found[0].intervals[-1][0], highest.intervals[-1][1]))
    errors = (*found[0].mc_error[:-1], (found[0].mc_error[-1][0], highest.mc_error[-1][1]))
    return IntervalSet(
        coupling,
        COUPLINGS[coupling].unit,
        cl,
        "feldman_cousins",
        "feldman-cousins",
        intervals,
        errors,
        toys=PseudoExperiments(
            sum(item.toys for item in found), choices.pulls, choices.seed, choices.never_falling
        ),
    )


def cls_interval(
    experiment: Experiment, coupling: str, cl: float, choices: ToyChoices | None, runner: ToyRunner
) -> IntervalSet:
    """Return the values that CLs does not exclude, with the expected bands; see `bayesnu.inference.cls`.

    Without ``choices`` it is asymptotic.

    Raises
    ------
    ConvergenceError
        If the data do not bound the coupling, or the tolerance is not reached.
    """
    problem = make_problem(experiment, [coupling])
    if choices is None:
        found, toys = cls_limit(problem, cl), None
    else:
        study = {"command": "limit", "method": "cls", "coupling": coupling, "cl": cl, **asdict(choices)}
        found = cls_limit(
            problem,
            cl,
            runner.workers,
            seed=choices.seed,
            tolerance=choices.tolerance,
            ensemble=choices.ensemble,
            chunks=runner.chunks(experiment, study),
            progress=runner.progress,
        )
        toys = PseudoExperiments(found.toys, choices.pulls, choices.seed)
    low, low_error = (0.0, math.nan) if found.lower is None else (found.lower.observed, found.lower.error)
    intervals = ((low, found.upper.observed),)
    expected = [] if found.lower is None else [_expected("lower", found.lower)]
    return IntervalSet(
        coupling,
        COUPLINGS[coupling].unit,
        cl,
        "cls",
        "cls",
        intervals,
        exact(intervals) if toys is None else ((low_error, found.upper.error),),
        toys=toys,
        expected=(*expected, _expected("upper", found.upper)),
    )


def _expected(side: str, bound: Bound) -> ExpectedBound:
    return ExpectedBound(side, BAND_SIGMAS, bound.expected, bound.expected_error)
