"""A task, who runs it, and its random stream."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
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
    """Runs tasks in threads of this process, which pays where tasks release the GIL, as compiled fits do.

    Parameters
    ----------
    number : int, optional
        Of threads; one per core by default. With 1, tasks run one after the other in the caller's own.
    """

    def __init__(self, number: int | None = None) -> None:
        self.number = number or cores()

    def run(self, function: Function, shared: Any, tasks: Sequence[Task]) -> Results:
        if min(self.number, len(tasks)) < 2:
            libraries = ThreadpoolController()
            for place, task in enumerate(tasks):
                with libraries.limit(limits=1):
                    result = perform(function, shared, task.arguments)
                yield place, result
            return
        with ThreadpoolController().limit(limits=1), ThreadPoolExecutor(self.number) as pool:
            running = {pool.submit(perform, function, shared, task.arguments): k for k, task in enumerate(tasks)}
            try:
                for future in as_completed(running):
                    yield running[future], future.result()
            finally:
                # Of a list that is given up, nobody wants the rest.
                pool.shutdown(cancel_futures=True)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def lost_task(name: str | None) -> RunError:
    if name is None:
        return RunError(
            f"{ATTEMPTS} worker processes ended as they started; a script needs `if __name__ == '__main__':` around"
            " what opens workers"
        )
    return RunError(f"task '{name}': its worker process ended {ATTEMPTS} times; was there memory enough?")
