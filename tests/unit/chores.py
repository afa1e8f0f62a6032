"""Tasks for the tests of workers: functions that other processes can import. Each notes that it was started."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from bayesnu.errors import DataError
from bayesnu.workers import Task, task_seed

SHARED = np.linspace(0, 1, 1000)


def tasks(folder: Path, count: int, *more: Any) -> list[Task]:
    return [Task(f"toys-{number:03d}", (str(folder), number, *more)) for number in range(count)]


def note(folder: str, number: int) -> None:
    """Leave a file that names task, process and moment."""
    (Path(folder) / f"{number}_{os.getpid()}_{time.monotonic_ns()}").touch()


def starts(folder: Path) -> list[int]:
    """The numbers of the tasks that were started, one for each start."""
    return sorted(int(path.name.split("_")[0]) for path in folder.iterdir() if "_" in path.name)


def processes(folder: Path) -> set[int]:
    return {int(path.name.split("_")[1]) for path in folder.iterdir() if "_" in path.name}


def draw(shared: np.ndarray, folder: str, number: int, pause: float = 0.0) -> dict[str, Any]:
    """Random numbers, and a product of matrices that two threads of OpenBLAS sum in another order than one."""
    note(folder, number)
    time.sleep(pause)
    rng = np.random.default_rng(task_seed(5, number))
    left, right = rng.normal(size=(5000, 7)), rng.normal(size=(7, 300))
    return {"product": (left @ right).sum(axis=0), "file": rng.poisson(3, (2, 4)), "sum": float(shared @ shared)}


def draw_and_die(shared: np.ndarray, folder: str, number: int, chunks: str, times: int) -> dict[str, Any]:
    """As `draw`, but the process of task 6 ends some times; notes which chunks there were the first time."""
    marks = Path(folder) / "deaths"
    marks.mkdir(exist_ok=True)
    deaths = len(list(marks.iterdir()))
    if number == 6 and deaths < times:
        note(folder, number)
        written = sorted(path.stem for path in Path(chunks).glob("chunks/toys-*.npz"))
        (marks / str(deaths)).write_text(" ".join(written))
        os.kill(os.getpid(), signal.SIGKILL)
    return draw(shared, folder, number, 0.02)


def fail(_: np.ndarray, number: int) -> dict[str, Any]:
    raise DataError(f"task {number} has no data")


class TwoWordError(Exception):
    """Cannot be made again from its message: pickle fails to read it."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def fail_strangely(_: np.ndarray, number: int) -> dict[str, Any]:
    raise TwoWordError("not", "foreseen")


def give_objects(_: np.ndarray, number: int) -> dict[str, Any]:
    return {"objects": np.array([None, number])}
