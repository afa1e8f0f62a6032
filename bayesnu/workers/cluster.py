"""Workers of a Dask cluster: one on this machine, or one that runs elsewhere."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import re
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bayesnu.errors import RunError, UsageError
from bayesnu.workers.tasks import ATTEMPTS, ONE_THREAD, Function, Results, Task, Workers, lost_task, perform

if TYPE_CHECKING:
    from distributed import Client, Worker, WorkerPlugin

CONNECT_SECONDS = 8
SILENT = logging.CRITICAL + 1


def _study_plugin(study: bytes) -> WorkerPlugin:
    """Return what unpickles a study on each worker as it is told of it, those included that join later."""
    from distributed import WorkerPlugin

    class Study(WorkerPlugin):  # type: ignore[misc]
        def setup(self, worker: Worker) -> None:
            self.function, self.shared = pickle.loads(study)
            threadpool_limits(limits=1)

    return Study()


def _perform_remotely(task: Task, study: str) -> dict[str, NDArray[Any]]:
    from distributed import get_worker

    plugin = get_worker().plugins[study]
    return perform(plugin.function, plugin.shared, task.arguments)


class DaskWorkers(Workers):
    """Runs tasks on a Dask cluster, which is started when it is first needed.

    The study is a plugin of the workers rather than scattered data: data are lost with the workers that hold them,
    and tasks that need them gather where they are, while other workers wait.
    """

    def __init__(self, number: int, connect: Callable[[], Client]) -> None:
        self.number, self._connect = number, connect
        self._client: Client | None = None
        self._study, self._name = b"", ""

    def _hold(self, client: Client, study: bytes) -> None:
        """Have every worker hold a study in place of an earlier one."""
        if study != self._study:
            self._drop(client)
            name = f"bayesnu-{uuid.uuid4().hex}"
            client.register_plugin(_study_plugin(study), name=name)
            self._study, self._name = study, name

    def _drop(self, client: Client) -> None:
        if self._name and client.status == "running":
            client.unregister_worker_plugin(self._name)
        self._study, self._name = b"", ""

    def run(self, function: Function, shared: Any, tasks: Sequence[Task]) -> Results:
        if not tasks:
            return
        from distributed import KilledWorker, as_completed

        self._client = client = self._client or self._connect()
        gone = RunError(f"scheduler {client.scheduler.address}: went away; run the same command again to go on")
        if client.status != "running":
            raise gone
        self._hold(client, pickle.dumps((function, shared)))
        token = uuid.uuid4().hex
        places = {f"{task.name}-{token}": place for place, task in enumerate(tasks)}
        futures = client.map(_perform_remotely, tasks, study=self._name, key=list(places))
        try:
            for future, result in as_completed(futures, client.loop, with_results=True):
                # When the scheduler is lost, every future ends with an error in place of a result.
                if isinstance(result, BaseException):
                    raise gone
                yield places[future.key], result
                future.release()
        except KilledWorker as error:
            raise lost_task(tasks[places[error.task]].name) from None
        finally:
            if client.status == "running":
                client.cancel([future for future in futures if not future.done()])

    def close(self) -> None:
        """Leave nothing of the study on a cluster that goes on."""
        if self._client is not None:
            self._drop(self._client)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Dask's log off the terminal: what matters to the user is raised."""
    handlers = {handler: handler.level for handler in logging.getLogger("distributed").handlers}
    for handler in handlers:
        handler.setLevel(SILENT)
    try:
        yield
    finally:
        for handler, level in handlers.items():
            handler.setLevel(level)


@contextmanager
def _interrupt_later() -> Iterator[None]:
    """Hold Ctrl-C back while a cluster starts, since half a cluster cannot be closed, and keep it from what starts.

    Threads and processes inherit the mask, those too that Dask starts later in place of one that was killed.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # What multiprocessing starts on its own behalf clears the mask.
    resource_tracker.ensure_running()
    interrupts: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        # With the mask comes what was held back, before the handler is that of the caller again.
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if interrupts:
        raise KeyboardInterrupt


@contextmanager
def local_cluster(number: int) -> Iterator[Client]:
    """Start a Dask cluster of some one-thread processes on this machine."""
    import dask
    from distributed import Client, LocalCluster

    # Dask sets these in this process for those that it starts.
    names = ["PYTHONHASHSEED", *dask.config.get("distributed.nanny.pre-spawn-environ")]
    before = {name: os.environ.get(name) for name in names}
    try:
        with quiet(), ExitStack() as stack:
            # By default a worker that takes longer than 15 s to start again, as on a busy machine, never does.
            stack.enter_context(dask.config.set({"distributed.deploy.lost-worker-timeout": "1 day"}))
            with _interrupt_later():
                started = LocalCluster(
                    n_workers=number,
                    threads_per_worker=1,
                    memory_limit=None,
                    # No dashboard; what else the scheduler serves by HTTP, at any free port.
                    scheduler_kwargs={
                        "dashboard": False,
                        "dashboard_address": "127.0.0.1:0",
                        "allowed_failures": ATTEMPTS - 1,
                    },
                    silence_logs=SILENT,
                    env=ONE_THREAD,
                )
                cluster = stack.enter_context(started)
                client = stack.enter_context(Client(cluster, set_as_default=False))
            yield client
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def running_cluster(address: str) -> Iterator[tuple[int, Client]]:
    """Reach the scheduler of a running Dask cluster; yields the threads that it has, and a client."""
    try:
        from distributed import Client
    except ImportError:
        raise UsageError(f"scheduler {address}: needs Dask; pip install 'bayesnu[distributed]'") from None
    if not re.fullmatch(r"(tcp|tls)://[^/\s]+:[0-9]+", address):
        raise UsageError(f"scheduler {address}: must be an address as in tcp://127.0.0.1:8786 or tls://…")
    with quiet(), ThreadPoolExecutor(1) as thread:
        try:
            # Before a client is made: one that never connects is not to be got rid of.
            kind = thread.submit(asyncio.run, _ask(address)).result()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise UsageError(f"scheduler {address}: no Dask scheduler answers there ({reason})") from error
        if kind != "Scheduler":
            raise UsageError(f"scheduler {address}: a Dask {kind} answers there, not a scheduler")
        with Client(address, timeout=CONNECT_SECONDS, set_as_default=False) as client:
            try:
                client.wait_for_workers(1, timeout=CONNECT_SECONDS)
            except TimeoutError:
                how = f"start some with `dask worker {address}`"
                raise UsageError(f"scheduler {address}: has no workers; {how}") from None
            yield sum(client.nthreads().values()), client


async def _ask(address: str) -> str:
    """Return what kind of Dask server answers at an address."""
    from distributed.core import rpc
    from distributed.security import Security

    options = {"timeout": CONNECT_SECONDS, "connection_args": Security().get_connection_args("client")}
    async with asyncio.timeout(CONNECT_SECONDS + 1), rpc(address, **options) as server:
        return str((await server.identity())["type"])
