"""Opens workers, and runs the tasks of a study that are not done yet."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from numpy.typing import NDArray

from bayesnu.errors import UsageError
from bayesnu.workers.chunks import Chunks
from bayesnu.workers.patient import Patient
from bayesnu.workers.tasks import Function, InProcess, Task, Workers, cores


@contextmanager
def open_workers(
    scheduler: str | None = None, number: int | None = None, patience_s: float = 0.0
) -> Iterator[Workers]:
    """Open what runs tasks; all of its processes have ended when the context has.

    Parameters
    ----------
    scheduler : str, optional
        Address of a running Dask cluster, as in ``tcp://127.0.0.1:8786``. Without one: a local Dask cluster where
        ``dask.distributed`` is installed, plain processes otherwise.
    number : int, optional
        Of local worker processes, each of one thread; one per core by default. 1 is this process itself.
    patience_s : float
        Seconds of work that threads of this process do before a local cluster or processes are started; for a
        number that is given, none.

    Raises
    ------
    UsageError
        If no scheduler answers at the address, it has no workers, or Dask is not installed; if ``number`` is not
        positive, or is given for a cluster that has workers of its own.
    """
    if number is not None and scheduler is not None:
        raise UsageError(f"workers = {number}: scheduler {scheduler} has workers of its own; give one of the two")
    if number is not None and number < 1:
        raise UsageError(f"workers = {number}: must be at least 1")
    patience_s = patience_s if number is None else 0.0
    number = number or cores()

    def patient(workers: Workers) -> Workers:
        return Patient(InProcess(number), workers, patience_s) if patience_s else workers

    with ExitStack() as stack:
        if scheduler is not None:
            from bayesnu.workers.cluster import DaskWorkers, running_cluster

            number, client = stack.enter_context(running_cluster(scheduler))
            yield stack.enter_context(closing(DaskWorkers(number, lambda: client)))
        elif number == 1:
            yield InProcess(1)
        elif importlib.util.find_spec("distributed") is not None:
            from bayesnu.workers.cluster import DaskWorkers, local_cluster

            yield patient(DaskWorkers(number, lambda: stack.enter_context(local_cluster(number))))
        else:
            from bayesnu.workers.processes import Processes

            yield patient(stack.enter_context(closing(Processes(number))))


def run_tasks(
    function: Function,
    shared: Any,
    tasks: Sequence[Task],
    workers: Workers,
    chunks: Chunks | None = None,
) -> list[dict[str, NDArray[Any]]]:
    """Run what the folder does not hold yet; returns the results in the order of the tasks.

    Parameters
    ----------
    function, shared, tasks
        See `Workers.run`; random numbers come from `task_seed`, so that a result does not depend on who makes it.
    workers : Workers
    chunks : Chunks, optional
        Where finished chunks are, and where each new one is written as it finishes.

    Raises
    ------
    UsageError
        If two tasks have one name.
    RunError
        If a chunk cannot be written, or a task's worker process ended `ATTEMPTS` times.
    """
    twice = [name for name, count in Counter(task.name for task in tasks).items() if count > 1]
    if twice:
        raise UsageError(f"task name '{twice[0]}': given to more than one task of the study")
    chunks = chunks or Chunks(None, "")
    results = {place: chunk for place, task in enumerate(tasks) if (chunk := chunks.read(task.name)) is not None}
    missing = [place for place in range(len(tasks)) if place not in results]
    with closing(workers.run(function, shared, [tasks[place] for place in missing])) as running:
        for number, result in running:
            chunks.write(tasks[missing[number]].name, result)
            results[missing[number]] = result
    return [results[place] for place in range(len(tasks))]
