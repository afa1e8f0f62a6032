"""A task, who runs it, and its random stream."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from bayesnu.errors import RunError, UsageError

Arrays = Mapping[str, NDArray[Any]]
Function = Callable[..., Arrays]
Results = Generator[tuple[int, dict[str, NDArray[Any]]], None, None]

# A task whose worker process ended this many times is not tried again.
ATTEMPTS = 4
# For libraries that a worker has yet to import; those already there are told by threadpoolctl.
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}


@dataclass(frozen=True)
class Task:
    """One chunk of a study.

    Attributes
    ----------
    name : str
        Unique in its study and safe as a file name, as in ``toys-000012``.
    arguments : tuple
        What the study's function receives after what all tasks share; picklable and small.
    """

    name: str
    arguments: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", self.name):
            raise UsageError(f"task name {self.name!r}: must be letters, digits, '.', '_', '+' and '-'")


def task_seed(seed: int, *path: int) -> np.random.SeedSequence:
    """Return the random stream of one task: independent of every other path, whoever runs it.

    Parameters
    ----------
    seed : int
        The study's seed.
    *path : int
        Where the task stands: its number, or the number of its stage and its own.
    """
    return np.random.SeedSequence(seed, spawn_key=path)


def perform(function: Function, shared: Any, arguments: tuple[Any, ...]) -> dict[str, NDArray[Any]]:
    """Run one task; raises TypeError if it returns what a chunk cannot hold."""
    arrays = {name: np.asarray(value) for name, value in function(shared, *arguments).items()}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"{function.__qualname__}: '{name}' holds Python objects; a task returns plain arrays")
    return arrays


class Workers(ABC):
    """What runs tasks.

    Attributes
    ----------
    number : int
        How many tasks run at a time.
    """

    number: int

    @abstractmethod
    def run(self, function: Function, shared: Any, tasks: Sequence[Task]) -> Results:
        """Yield (place in ``tasks``, result) of ``function(shared, *task.arguments)`` as tasks finish, in any order.

        Parameters
        ----------
        function : callable
            Of a module's top level, so that other processes find it; returns named arrays.
        shared : object
            Picklable; sent once to each worker.
        tasks : sequence of Task

        Raises
        ------
        RunError
            If the worker process of a task ended `ATTEMPTS` times.
        """


class InProcess(Workers):
    """Runs one task after the other in this process."""

    number = 1

    def run(self, function: Function, shared: Any, tasks: Sequence[Task]) -> Results:
        threads = ThreadpoolController()
        for place, task in enumerate(tasks):
            with threads.limit(limits=1):
                result = perform(function, shared, task.arguments)
            yield place, result


def lost_task(name: str | None) -> RunError:
    if name is None:
        return RunError(f"{ATTEMPTS} worker processes ended as they started")
    return RunError(f"task '{name}': its worker process ended {ATTEMPTS} times; was there memory enough?")
