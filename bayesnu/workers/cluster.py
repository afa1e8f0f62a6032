"""Workers of a Dask cluster: one on this machine, or one that runs elsewhere."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import re
import signal
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bayesnu.errors import RunError, UsageError
from bayesnu.workers.tasks import ATTEMPTS, ONE_THREAD, Function, Results, Task, Workers, lost_task, perform

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 8
SILENT = logging.CRITICAL + 1


def dask_setup(_: object) -> None:
    """Leave Ctrl-C to the parent: a local Dask cluster calls this, by its name, in each process that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _perform_remotely(task: Task, study: tuple[Function, Any]) -> dict[str, NDArray[Any]]:
    threadpool_limits(limits=1)
    return perform(*study, task.arguments)


class DaskWorkers(Workers):
    """Runs tasks on a Dask cluster, which is started when it is first needed.

    The study is a task of the cluster too, not data scattered to it: if all workers that hold it end, the scheduler
    makes it again.
    """

    def __init__(self, number: int, connect: Callable[[], Client]) -> None:
        self.number, self._connect = number, cache(connect)

    def run(self, function: Function, shared: Any, tasks: Sequence[Task]) -> Results:
        if not tasks:
            return
        from distributed import as_completed
        from distributed.scheduler import KilledWorker

        client, token = self._connect(), uuid.uuid4().hex
        places = {f"{task.name}-{token}": place for place, task in enumerate(tasks)}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sending large graph")
            study = client.submit(pickle.loads, pickle.dumps((function, shared)), key=f"study-{token}")
        futures = client.map(_perform_remotely, tasks, study=study, key=list(places))
        try:
            for future, result in as_completed(futures, client.loop, with_results=True):
                # When the scheduler is lost, every future ends with an error in place of a result.
                if isinstance(result, BaseException):
                    address = client.scheduler.address
                    raise RunError(f"scheduler {address}: went away; run the same command again to go on")
                yield places[future.key], result
                future.release()
        except KilledWorker as error:
            raise lost_task(tasks[places[error.task]].name if error.task in places else None) from None
        finally:
            if client.status == "running":
                client.cancel([future for future in futures if not future.done()])


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
def local_cluster(number: int) -> Iterator[Client]:
    """Start a Dask cluster of some one-thread processes on this machine."""
    import dask
    from distributed import Client, LocalCluster

    # Dask sets these in this process for those that it starts.
    names = ["PYTHONHASHSEED", *dask.config.get("distributed.nanny.pre-spawn-environ")]
    before = {name: os.environ.get(name) for name in names}
    try:
        with (
            quiet(),
            LocalCluster(
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
                preload=[__name__],
                env=ONE_THREAD,
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
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
