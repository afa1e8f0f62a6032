"""Workers that start others only for what takes long."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from bayesnu.workers.tasks import Function, Results, Task, Workers


class Patient(Workers):
    """Runs tasks on some workers, and after so many seconds of it what is left on others.

    A study that threads finish in seconds does not wait for processes to start. The change comes when a task ends;
    those that are running then are run again.

    Parameters
    ----------
    first, then : Workers
    seconds : float
        Of work, over all lists of tasks.
    """

    def __init__(self, first: Workers, then: Workers, seconds: float) -> None:
        self.number, self._first, self._then, self._seconds = then.number, first, then, seconds

    def run(self, function: Function, shared: Any, tasks: Sequence[Task]) -> Results:
        left, began = dict(enumerate(tasks)), time.monotonic()
        if self._seconds > 0:
            try:
                with closing(self._first.run(function, shared, tasks)) as running:
                    for place, result in running:
                        del left[place]
                        yield place, result
                        # The last ones are running already.
                        if len(left) > self._first.number and time.monotonic() - began >= self._seconds:
                            break
            finally:
                self._seconds -= time.monotonic() - began
        if left:
            places = list(left)
            with closing(self._then.run(function, shared, list(left.values()))) as running:
                for number, result in running:
                    yield places[number], result
