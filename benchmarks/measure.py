"""What a row of the benchmark is, and how it is measured: both sides in alternation, medians with their quartiles.

A row prepares both sides and checks that they compute the same thing (`benchmarks.agreement`); what it returns is
measured. Machines are noisy, so that the ratio of a row is the median of the ratios of goes that follow each other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

CHECKOUT = Path(__file__).resolve().parent.parent
LONG = 10.0
"""Seconds of one go above which a side is measured once."""
LEAST = 0.05
"""Seconds that a go lasts at least: short work is repeated within it."""

Figures = Mapping[str, float]
"""What one go of a side gives: figures by name; "seconds" is one of them."""
Side = Callable[[], Figures]


@dataclass(frozen=True)
class Aim:
    """What one figure of a row is to reach.

    Attributes
    ----------
    figure : str
        Its name in what the sides return.
    unit : str
    ratio : float, optional
        By how much the peer is to be surpassed at least.
    bound : float, optional
        The highest value that bayesnu's own side is to have.
    more : bool
        Whether a higher figure is the better one.
    """

    figure: str = "seconds"
    unit: str = "s"
    ratio: float | None = None
    bound: float | None = None
    more: bool = False

    @property
    def text(self) -> str:
        """Return what is aimed at, in words."""
        parts = [] if self.ratio is None else [f"{self.ratio:g} ×"]
        if self.bound is not None:
            parts.append(f"{'at least' if self.more else 'at most'} {self.bound:g} {self.unit}".strip())
        return ", ".join(parts) or "–"

    def reached(self, own: float, ratio: float | None) -> bool | None:
        """Return whether medians reach it; None where nothing is aimed at."""
        if self.ratio is None and self.bound is None:
            return None
        surpassed = self.ratio is None or (ratio is not None and ratio >= self.ratio)
        within = self.bound is None or (own >= self.bound if self.more else own <= self.bound)
        return surpassed and within


@dataclass(frozen=True)
class Contest:
    """Both sides of a row, ready to be measured.

    Attributes
    ----------
    own : callable
        One go of bayesnu; returns figures.
    peer : callable, optional
        One go of the peer.
    agreement : str
        What was found when both sides were compared.
    note : str
        What a reader has to know, such as by how much the peer's work was scaled.
    """

    own: Side
    peer: Side | None = None
    agreement: str = ""
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One task of the benchmark.

    Attributes
    ----------
    task : str
    peer : str
        Who else does it, and how; empty where bayesnu is alone.
    prepare : callable
        Checks that both sides agree, and returns them with everything loaded and compiled that is not measured.
    aims : tuple of Aim
        One line of the table each.
    reason : str
        Why an aim is not reached, where that is known.
    alone : bool
        Whether it stands in the second table, of bayesnu beside a process that only starts.
    """

    task: str
    peer: str
    prepare: Callable[[], Contest]
    aims: tuple[Aim, ...]
    reason: str = ""
    alone: bool = False


@dataclass(frozen=True)
class Spread:
    """The median of some goes and their quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return that of some values."""
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
        return cls(middle, low, high)


@dataclass(frozen=True)
class Measured:
    """One figure of a row, measured.

    Attributes
    ----------
    row : Row
    aim : Aim
    own, peer, ratio : Spread
        The ratio is above 1 where bayesnu is the better one.
    goes : int
    contest : Contest
    """

    row: Row
    aim: Aim
    own: Spread
    peer: Spread | None
    ratio: Spread | None
    goes: int
    contest: Contest = field(repr=False)

    @property
    def reached(self) -> bool | None:
        """Whether the aim is reached; None if there is none."""
        return self.aim.reached(self.own.median, None if self.ratio is None else self.ratio.median)

    @property
    def content(self) -> dict[str, Any]:
        """What is written to JSON."""
        spreads = {name: getattr(self, name) for name in ("own", "peer", "ratio")}
        return {
            "task": self.row.task,
            "against": self.row.peer,
            "figure": self.aim.figure,
            "unit": self.aim.unit,
            **{name: None if s is None else vars(s) for name, s in spreads.items()},
            "aim": {"ratio": self.aim.ratio, "bound": self.aim.bound},
            "reached": self.reached,
            "goes": self.goes,
            "agreement": self.contest.agreement,
            "note": self.contest.note,
            "reason": self.row.reason if self.reached is False else "",
            "alone": self.row.alone,
        }


def alternate(row: Row, repeats: int, always: bool) -> list[Measured]:
    """Measure a row: the peer and bayesnu in turn, ``repeats`` times, one `Measured` for each aim.

    A side that takes longer than `LONG` is measured once unless ``always``.
    """
    contest = row.prepare()
    own: list[Figures] = []
    peer: list[Figures] = []
    for _ in range(repeats):
        start = time.perf_counter()
        if contest.peer is not None:
            peer.append(contest.peer())
        middle = time.perf_counter()
        own.append(contest.own())
        if not always and max(middle - start, time.perf_counter() - middle) > LONG:
            break
    found = []
    for aim in row.aims:
        ours, theirs = ([figures[aim.figure] for figures in side if aim.figure in figures] for side in (own, peer))
        # Of counts that may be 0 there is no ratio.
        ratio = [a / b if aim.more else b / a for a, b in zip(ours, theirs, strict=False) if a and b]
        spreads = [Spread.of(values) if values else None for values in (theirs, ratio)]
        found.append(Measured(row, aim, Spread.of(ours), spreads[0], spreads[1], len(ours), contest))
    return found


def seconds_of(work: Callable[[], object], times: float = 1.0, least: float = LEAST) -> Side:
    """Return a side that does some work in this process: the seconds of one call.

    Short work is repeated until ``least`` seconds have passed. ``times`` scales the seconds, where the work is a
    known part of the whole.
    """

    def go() -> Figures:
        calls, start = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - start < least:
            work()
            calls += 1
        return {"seconds": (time.perf_counter() - start) / calls * times}

    return go


@dataclass(frozen=True)
class Finished:
    """A process that has ended.

    Attributes
    ----------
    seconds : float
        Wall time from its start to its end.
    peak_mib : float
        The most memory that it, or a process that it waited for, has had resident.
    output : str
    """

    seconds: float
    peak_mib: float
    output: str


def fresh(command: Sequence[str], **environment: str) -> Finished:
    """Run a command in a process of its own, which keeps and reads bytecode.

    Raises
    ------
    RuntimeError
        If it fails, with what it said.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=CHECKOUT, env={**inherited, **environment}, stdout=out, stderr=err)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {err.read()[-2000:]}")
        return Finished(seconds, used.ru_maxrss / (1024.0 if sys.platform != "darwin" else 1024.0**2), out.read())


def process_of(command: Sequence[str], **environment: str) -> Side:
    """Return a side that is a fresh process: its wall seconds and its ``peak_mib``."""

    def go() -> Figures:
        done = fresh(command, **environment)
        return {"seconds": done.seconds, "peak_mib": done.peak_mib}

    return go
