"""bayesnu's commands in fresh processes, each beside a process that only imports what most of them need."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Aim, Contest, Figures, Row, fresh, process_of

BAYESNU = (sys.executable, "-m", "bayesnu.cli")
TOYS = (sys.executable, "-m", "benchmarks.toys")
"""Prints the seconds that count, without those of starting."""
REFERENCE = (sys.executable, "-c", "import numpy, scipy.optimize, xarray")


@dataclass(frozen=True)
class Task:
    """A command.

    Attributes
    ----------
    name : str
    arguments : tuple of str
        After ``bayesnu``, or after ``benchmarks.toys``.
    aim : float
        Seconds on two idle cores.
    warm : tuple of str, optional
        A shorter command for one that takes long: it fills the caches of bytecode and, if it fits, of compilation.
    toys : bool
        Whether it is one of `benchmarks.toys`.
    """

    name: str
    arguments: tuple[str, ...]
    aim: float
    warm: tuple[str, ...] = ()
    toys: bool = False


def _limit(card: str, coupling: str, *more: str) -> tuple[str, ...]:
    return ("limit", card, "--coupling", coupling, *more)


def _feldman_cousins(card: str, coupling: str) -> Task:
    return Task(f"Feldman-Cousins to 1%, {card} {coupling}", ("limit", card, coupling), 10.0, toys=True)


TASKS = (
    Task("bayesnu --help", ("--help",), 0.4),
    Task("predict dune-on-axis", ("predict", "dune-on-axis", "--format", "json"), 1.5),
    Task("predict dune-prism", ("predict", "dune-prism", "--format", "json"), 1.5),
    Task("limit --method chi2", _limit("dune-on-axis", "mu_numu"), 2.0),
    Task("limit --method laplace", _limit("dune-on-axis", "mu_numu", "--method", "laplace"), 2.0),
    Task(
        "limit --scan, 24 masses, nucleus-10g",
        _limit("nucleus-10g", "d_nue", "--method", "poisson", "--scan", "m_N=0.1:7.5:24:log", "--format", "json"),
        3.0,
    ),
    Task(
        "discriminate nucleus-10g-radiative",
        ("discriminate", "nucleus-10g-radiative", "--m-N", "1", "--events", "20"),
        10.0,
    ),
    Task("10,000 toys with two fits, dune-prism mu_numu", ("batch", "dune-prism", "mu_numu"), 1.0, toys=True),
    _feldman_cousins("dune-on-axis", "mu_nue"),
    _feldman_cousins("dune-on-axis", "q_nue"),
    _feldman_cousins("dune-prism", "r2_nue"),
    _feldman_cousins("coherent-csi-2017", "d_nue"),
    Task(
        "region of 40 × 40 to 3%, dune-on-axis mu_nue, mu_numu",
        ("region", "dune-on-axis", "--couplings", "mu_nue,mu_numu"),
        120.0,
        ("region", "dune-on-axis", "--couplings", "mu_nue,mu_numu", "--points", "6"),
    ),
    Task(
        "calibrate, 10,000 by laplace, dune-on-axis mu_numu",
        ("calibrate", "dune-on-axis", "--coupling", "mu_numu"),
        30.0,
        ("calibrate", "dune-on-axis", "--coupling", "mu_numu", "--n", "100"),
    ),
    Task(
        "calibrate, 500 by nuts, dune-on-axis mu_numu",
        ("calibrate", "dune-on-axis", "--coupling", "mu_numu", "--method", "nuts"),
        60.0,
        ("calibrate", "dune-on-axis", "--coupling", "mu_numu", "--method", "nuts", "--n", "20"),
    ),
    Task(
        "response at 5e6 events, empty cache",
        ("response", "dune-on-axis", "--samples", "5000000", "--seed", "1"),
        10.0,
    ),
    Task(
        "run dune-on-axis", ("run", "dune-on-axis", "--force", "--out", "{out}"), 40.0, ("run", "--help")
    ),
)


def rows(folder: Path) -> list[Row]:
    """Return a row for each command."""
    return [_row(task, folder) for task in TASKS]


def _row(task: Task, folder: Path) -> Row:
    start = TOYS if task.toys else BAYESNU

    def run(arguments: Sequence[str]) -> Figures:
        # Each with an empty response cache and no earlier run.
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            out = folder / "run"
            shutil.rmtree(out, ignore_errors=True)
            done = fresh([*start, *(argument.format(out=out) for argument in arguments)], BAYESNU_CACHE=cache)
        return {"seconds": float(done.output) if task.toys else done.seconds}

    def prepare() -> Contest:
        run(task.warm or task.arguments)
        return Contest(lambda: run(task.arguments), process_of(REFERENCE))

    return Row(task.name, "", prepare, (Aim(bound=task.aim),), alone=True)
