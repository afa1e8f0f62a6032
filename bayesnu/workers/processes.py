"""Worker processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from bayesnu.errors import BayesnuError
from bayesnu.workers.tasks import ATTEMPTS, ONE_THREAD, Function, Results, Task, Workers, lost_task, perform

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess


def prepare_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def start_method() -> str:
    """Return how processes start: never by a fork of this one, which may run threads."""
    return "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def _load(study: bytes) -> tuple[Function, Any]:
    """Unpickle a study's function and what its tasks share, with its libraries on one thread from here on."""
    function, shared = pickle.loads(study)
    threadpool_limits(limits=1)
    return function, shared


def _serve(pipe: Connection) -> None:
    """Run tasks until the pipe is closed: receive (study or None, arguments), send a result or an error."""
    prepare_worker()
    os.environ.update(ONE_THREAD)
    # A client that is gone, closed or killed, is the end of its worker and no error of it.
    with suppress(EOFError, OSError):
        pipe.send(None)
        while True:
            study, arguments = pipe.recv()
            try:
                if study is not None:
                    function, shared = _load(study)
                outcome: Any = perform(function, shared, pickle.loads(arguments))
            except Exception as error:
                outcome = _sendable(error)
            pipe.send(outcome)


def _sendable(error: Exception) -> Exception:
    """Return an error that is not foreseen with its traceback as a note, or what can be said of it without pickling."""
    if isinstance(error, BayesnuError):
        return error
    error.add_note("in a worker:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("\n".join([f"{type(error).__name__}: {error}", *error.__notes__]))
    return error


@dataclass
class _Process:
    """A worker process: what its pipe leads to, the study it holds, and the place of the task it runs."""

    process: BaseProcess
    pipe: Connection
    study: bytes | None = None
    place: int | None = None
    ready: bool = False

    def give(self, study: bytes, place: int, task: Task) -> None:
        arguments = pickle.dumps(task.arguments)
        self.place = place
        try:
            self.pipe.send((None if self.study == study else study, arguments))
        except OSError:
            # It has ended: its pipe says so to whoever waits for it.
            return
        self.study = study

    def end(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()
        self.process.close()


@dataclass
class Processes(Workers):
    """Runs tasks in processes of this machine, which start when they are first needed.

    A process that ends with a task costs that task alone: another takes its place. (A pool of the standard library
    breaks as a whole, and does not say which of its tasks was the cause.)
    """

    number: int
    _team: list[_Process] = field(default_factory=list)

    def run(self, function: Function, shared: Any, tasks: Sequence[Task]) -> Results:
        if any(worker.place is not None for worker in self._team):
            raise RuntimeError("these workers still run an earlier list of tasks")
        study = pickle.dumps((function, shared))
        waiting, failures, finished = deque(range(len(tasks))), Counter[int | None](), 0
        try:
            while finished < len(tasks):
                while len(self._team) < min(self.number, len(tasks) - finished):
                    self._start()
                for worker in self._team:
                    if waiting and worker.ready and worker.place is None:
                        given = waiting.popleft()
                        worker.give(study, given, tasks[given])
                for pipe in wait([w.pipe for w in self._team if w.place is not None or not w.ready]):
                    worker = next(w for w in self._team if w.pipe is pipe)
                    place = worker.place
                    try:
                        outcome = worker.pipe.recv()
                    except (EOFError, OSError):
                        self._end(worker)
                        failures[place] += 1
                        if failures[place] == ATTEMPTS:
                            raise lost_task(None if place is None else tasks[place].name) from None
                        if place is not None:
                            waiting.appendleft(place)
                        continue
                    worker.ready, worker.place = True, None
                    if isinstance(outcome, Exception):
                        worker.study = None
                        raise outcome
                    if place is not None:
                        finished += 1
                        yield place, outcome
        finally:
            # Of a list that is given up, nobody wants the rest.
            for worker in [w for w in self._team if w.place is not None]:
                self._end(worker)

    def _start(self) -> None:
        context = multiprocessing.get_context(start_method())
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), daemon=True)  # type: ignore[attr-defined]
        process.start()
        theirs.close()
        self._team.append(_Process(process, ours))

    def _end(self, worker: _Process) -> None:
        self._team.remove(worker)
        worker.end()

    def close(self) -> None:
        """End all processes, whatever they do."""
        while self._team:
            self._team.pop().end()
