"""Workers that tell how far their list of tasks has come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bayesnu.workers.tasks import Function, Results, Task, Workers


class Watched(Workers):
    """Passes tasks on to other workers, and reports how many are finished.

    Parameters
    ----------
    workers : Workers
    count : callable
        Receives the number of finished tasks and of all tasks of the list, also before the first is finished.
    """

    def __init__(self, workers: Workers, count: Callable[[int, int], None]) -> None:
        self.number, self._workers, self._count = workers.number, workers, count

    def run(self, function: Function, shared: Any, tasks: Sequence[Task]) -> Results:
        running = self._workers.run(function, shared, tasks)
        self._count(0, len(tasks))
        try:
            for finished, result in enumerate(running, start=1):
                self._count(finished, len(tasks))
                yield result
        finally:
            # Of a list that is given up, the workers are to stop.
            running.close()
