"""Workers, chunks and resuming: the same numbers whoever runs a study, and whatever is killed meanwhile."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import chores
import numpy as np
import pytest
from distributed import Client

from bayesnu.errors import BayesnuError, DataError, RunError, UsageError
from bayesnu.workers import Chunks, Task, Watched, Workers, cluster, open_workers, run_tasks, task_seed
from bayesnu.workers.chunks import difference
from bayesnu.workers.cluster import DaskWorkers
from bayesnu.workers.patient import Patient
from bayesnu.workers.processes import Processes, _serve, start_method
from bayesnu.workers.tasks import ATTEMPTS, InProcess

COUNT = 12


def digest(results: list[dict[str, np.ndarray]]) -> str:
    """Hash of names, types, shapes and numbers, in order."""
    text = hashlib.sha256()
    for result in results:
        for name, array in sorted(result.items()):
            text.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return text.hexdigest()


@pytest.fixture(scope="module")
def plain() -> Iterator[Processes]:
    with closing(Processes(2)) as workers:
        yield workers


@pytest.fixture(scope="module")
def dask() -> Iterator[Workers]:
    """A local cluster of two processes."""
    with open_workers(number=2) as workers:
        yield workers


@pytest.fixture(scope="module")
def one() -> Iterator[Client]:
    """A client of a cluster with one worker."""
    with cluster.local_cluster(1) as client:
        yield client


@pytest.fixture(scope="module")
def address(one: Client) -> str:
    return str(one.scheduler.address)


@pytest.fixture(params=["plain", "dask"])
def two(request: pytest.FixtureRequest) -> Workers:
    return request.getfixturevalue(request.param)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / "log"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the tasks give one after the other in this process."""
    tasks = chores.tasks(tmp_path_factory.mktemp("log"), COUNT)
    with open_workers(number=1) as workers:
        return digest(run_tasks(chores.draw, chores.SHARED, tasks, workers))


@pytest.fixture
def without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dask", "distributed"):
        monkeypatch.setitem(sys.modules, name, None)


# The same numbers


def test_streams_of_tasks() -> None:
    """By NumPy's own spawning: the third child's second child."""
    child = np.random.SeedSequence(11).spawn(3)[2].spawn(2)[1]
    assert task_seed(11, 2, 1).generate_state(4).tolist() == child.generate_state(4).tolist()


def test_this_process(log: Path) -> None:
    finished: list[tuple[int, int]] = []
    with open_workers(number=1) as workers:
        assert isinstance(workers, InProcess)
        watched = Watched(workers, lambda *done: finished.append(done))
        results = run_tasks(chores.draw, chores.SHARED, chores.tasks(log, 3), watched)
    assert finished == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert chores.processes(log) == {os.getpid()}
    for number, result in enumerate(results):
        rng = np.random.default_rng(np.random.SeedSequence(5).spawn(3)[number])
        product = (rng.normal(size=(5000, 7)) @ rng.normal(size=(7, 300))).sum(axis=0)
        np.testing.assert_allclose(result["product"], product, rtol=1e-10)
        np.testing.assert_array_equal(result["file"], rng.poisson(3, (2, 4)))
        assert result["sum"].shape == ()


def test_threads_of_this_process(log: Path, undisturbed: str) -> None:
    finished: list[tuple[int, int]] = []
    watched = Watched(InProcess(3), lambda *done: finished.append(done))
    assert digest(run_tasks(chores.draw, chores.SHARED, chores.tasks(log, COUNT, 0.05), watched)) == undisturbed
    assert finished == [(done, COUNT) for done in range(COUNT + 1)]
    assert chores.processes(log) == {os.getpid()}


def test_threads_until_it_takes_long(plain: Processes, log: Path, undisturbed: str) -> None:
    """The first task to end has taken more than the time allowed: the others, and the next list, are others' work."""
    patient = Patient(InProcess(1), plain, seconds=1e-9)
    tasks = chores.tasks(log, COUNT)
    assert digest(run_tasks(chores.draw, chores.SHARED, tasks, patient)) == undisturbed
    assert chores.starts(log) == list(range(COUNT))
    assert [path.name.split("_")[0] for path in log.iterdir() if f"_{os.getpid()}_" in path.name] == ["0"]
    again = log / "again"
    again.mkdir()
    run_tasks(chores.draw, chores.SHARED, chores.tasks(again, 2), patient)
    assert os.getpid() not in chores.processes(again)


def test_short_studies_start_no_processes(log: Path, undisturbed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayesnu.workers.study.cores", lambda: 2)
    with open_workers(patience_s=60.0) as workers:
        assert isinstance(workers, Patient)
        assert workers.number == 2
        assert digest(run_tasks(chores.draw, chores.SHARED, chores.tasks(log, COUNT), workers)) == undisturbed
    assert chores.processes(log) == {os.getpid()}
    with open_workers(number=2, patience_s=60.0) as workers:
        assert not isinstance(workers, Patient)


def test_list_that_is_given_up_in_threads(log: Path) -> None:
    running = InProcess(2).run(chores.draw, chores.SHARED, chores.tasks(log, 40, 0.05))
    next(running)
    running.close()
    begun = len(chores.starts(log))
    assert begun < 10
    time.sleep(0.2)
    assert len(chores.starts(log)) == begun


def test_two_workers(two: Workers, log: Path, undisturbed: str) -> None:
    assert two.number == 2
    tasks = chores.tasks(log, COUNT, 0.1)
    assert digest(run_tasks(chores.draw, chores.SHARED, tasks, two)) == undisturbed
    assert len(chores.processes(log)) == 2
    assert os.getpid() not in chores.processes(log)


def studies_held(client: Client) -> list[str]:
    """What a cluster still holds of studies."""

    def names(dask_scheduler: Any) -> list[str]:
        return [name for name in dask_scheduler.worker_plugins if name.startswith("bayesnu")]

    return client.run_on_scheduler(names)


def test_scheduler_with_one_worker(one: Client, address: str, log: Path, undisturbed: str) -> None:
    with open_workers(address) as workers:
        assert isinstance(workers, DaskWorkers)
        assert workers.number == 1
        assert digest(run_tasks(chores.draw, chores.SHARED, chores.tasks(log, COUNT), workers)) == undisturbed
        assert len(studies_held(one)) == 1
    assert len(chores.processes(log)) == 1
    assert studies_held(one) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "dask"])
def test_eight_workers(kind: str, log: Path, undisturbed: str, request: pytest.FixtureRequest) -> None:
    if kind == "plain":
        request.getfixturevalue("without_dask")
    with open_workers(number=8) as workers:
        assert digest(run_tasks(chores.draw, chores.SHARED, chores.tasks(log, COUNT, 1.0), workers)) == undisturbed
    assert len(chores.processes(log)) == 8


def test_without_dask(without_dask: None, log: Path, undisturbed: str) -> None:
    """Plain processes by default; none is left when they are closed."""
    with open_workers(number=2) as workers:
        assert isinstance(workers, Processes)
        assert digest(run_tasks(chores.draw, chores.SHARED, chores.tasks(log, COUNT), workers)) == undisturbed
    assert_gone(chores.processes(log))


def test_what_starts_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayesnu.workers.study.cores", lambda: 3)
    with open_workers() as workers:
        assert isinstance(workers, DaskWorkers)
        assert workers.number == 3


def test_shared_object_that_has_changed_is_sent_again(plain: Processes, dask: Workers, log: Path) -> None:
    shared = np.ones(3)
    for workers in (plain, dask):
        for factor in (1, 2):
            shared[:] = factor
            (result,) = run_tasks(chores.draw, shared, chores.tasks(log, 1), workers)
            assert float(result["sum"]) == 3 * factor**2


def test_list_that_is_given_up(two: Workers, log: Path, undisturbed: str) -> None:
    """The workers go on with the next list."""
    running = two.run(chores.draw, chores.SHARED, chores.tasks(log, 50, 0.2))
    next(running)
    running.close()
    assert len(chores.starts(log)) < 50
    assert digest(run_tasks(chores.draw, chores.SHARED, chores.tasks(log, COUNT), two)) == undisturbed


def test_two_lists_at_a_time(plain: Processes, log: Path) -> None:
    with closing(plain.run(chores.draw, chores.SHARED, chores.tasks(log, 5, 0.1))) as running:
        next(running)
        with pytest.raises(RuntimeError, match="earlier list"):
            run_tasks(chores.draw, chores.SHARED, chores.tasks(log, 1), plain)


# Something is killed


def in_group(process: int, group: int) -> bool:
    try:
        return os.getpgid(process) == group
    except ProcessLookupError:
        return False


def assert_gone(processes: set[int]) -> None:
    """All of these end within some seconds."""
    deadline = time.monotonic() + 20
    while left := [process for process in processes if Path(f"/proc/{process}").exists()]:
        if time.monotonic() > deadline:
            raise AssertionError(f"still there: {left}")
        time.sleep(0.02)


@pytest.mark.parametrize("two", ["plain", pytest.param("dask", marks=pytest.mark.slow)], indirect=True)
def test_killed_worker(two: Workers, log: Path, tmp_path: Path, undisturbed: str) -> None:
    """The chunks that run again had not been written when the worker was killed.

    With plain processes that is the one that it ran; a Dask worker also holds results that are yet to be fetched.
    """
    study = tmp_path / "study"
    tasks = chores.tasks(log, COUNT, str(study), 1)
    results = run_tasks(chores.draw_and_die, chores.SHARED, tasks, two, Chunks(study, "key"))
    assert digest(results) == undisturbed
    written = (log / "deaths" / "0").read_text().split()
    again = [f"toys-{number:03d}" for number, count in Counter(chores.starts(log)).items() if count > 1]
    assert "toys-006" in again
    assert not set(again) & set(written)
    if isinstance(two, Processes):
        assert again == ["toys-006"]


def test_task_that_kills_every_worker(plain: Processes, log: Path, undisturbed: str) -> None:
    tasks = chores.tasks(log, COUNT, str(log), 99)
    with pytest.raises(RunError, match=f"task 'toys-006': its worker process ended {ATTEMPTS} times"):
        run_tasks(chores.draw_and_die, chores.SHARED, tasks, plain)
    assert Counter(chores.starts(log))[6] == ATTEMPTS
    # The workers are none the worse.
    assert digest(run_tasks(chores.draw, chores.SHARED, chores.tasks(log, COUNT), plain)) == undisturbed


@pytest.mark.slow
def test_task_that_kills_every_dask_worker(dask: Workers, log: Path, undisturbed: str) -> None:
    with pytest.raises(RunError, match=rf"task 'toys-\d+': its worker process ended {ATTEMPTS} times"):
        run_tasks(chores.draw_and_die, chores.SHARED, chores.tasks(log, COUNT, str(log), 99), dask)
    assert digest(run_tasks(chores.draw, chores.SHARED, chores.tasks(log, COUNT), dask)) == undisturbed


def test_workers_that_never_start(monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    """As in a script without the guard of its main part."""
    monkeypatch.setattr("bayesnu.workers.processes._serve", sys.exit)
    with closing(Processes(2)) as workers, pytest.raises(RunError, match="ended as they started; a script needs"):
        run_tasks(chores.draw, chores.SHARED, chores.tasks(log, 3), workers)


def test_client_that_goes_away(log: Path) -> None:
    """Its worker, with a result that nobody takes, ends without an error."""
    context = multiprocessing.get_context(start_method())
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,))
    process.start()
    theirs.close()
    assert ours.recv() is None
    ours.send((pickle.dumps((chores.draw, chores.SHARED)), pickle.dumps((str(log), 0, 0.3))))
    while not chores.starts(log) and process.is_alive():
        time.sleep(0.01)
    ours.close()
    process.join(20)
    assert process.exitcode == 0


CLIENT = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
if {kind!r} == "plain":
    sys.modules["distributed"] = None
import chores
from bayesnu.workers import Chunks, open_workers, run_tasks
with open_workers(number=2) as workers:
    chunks = Chunks(Path({study!r}), "key")
    run_tasks(chores.draw, chores.SHARED, chores.tasks(Path({log!r}), {count}, 0.1), workers, chunks)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
@pytest.mark.parametrize("kind", ["plain", pytest.param("dask", marks=pytest.mark.slow)])
def test_killed_client(kind: str, how: signal.Signals, log: Path, tmp_path: Path, undisturbed: str) -> None:
    """Its workers end, and the same command goes on from the chunks that were finished."""
    study = tmp_path / "study"
    code = CLIENT.format(here=str(Path(__file__).parent), kind=kind, study=str(study), log=str(log), count=COUNT)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as client:
        while len(list(study.glob("chunks/*.npz"))) < 3 and client.poll() is None:
            time.sleep(0.01)
        # Ctrl-C reaches every process of the terminal's group.
        os.killpg(client.pid, how) if how == signal.SIGINT else client.kill()
        _, errors = client.communicate()
    assert client.returncode == -how
    assert errors.count("Traceback") == (how == signal.SIGINT)
    assert_gone(chores.processes(log))
    kept = {path.stem: path.stat().st_mtime_ns for path in study.glob("chunks/*.npz")}
    assert 3 <= len(kept) < COUNT
    before = len(chores.starts(log))
    finished: list[int] = []
    with open_workers(number=1) as workers:
        watched = Watched(workers, lambda done, total: finished.append(total - done))
        results = run_tasks(chores.draw, chores.SHARED, chores.tasks(log, COUNT), watched, Chunks(study, "key"))
    assert digest(results) == undisturbed
    assert finished == list(range(COUNT - len(kept), -1, -1))
    assert len(chores.starts(log)) - before == COUNT - len(kept)
    assert all((study / "chunks" / f"{name}.npz").stat().st_mtime_ns == stamp for name, stamp in kept.items())
    assert not list(study.rglob("*.part"))


def test_interrupt_waits_for_the_start_of_a_cluster() -> None:
    before = signal.getsignal(signal.SIGINT), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    steps = []

    def start() -> None:
        with cluster._interrupt_later():
            steps.append("half")
            os.kill(os.getpid(), signal.SIGINT)
            steps.append("whole")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert steps == ["half", "whole"]
    assert before == (signal.getsignal(signal.SIGINT), signal.pthread_sigmask(signal.SIG_BLOCK, ()))


@pytest.mark.slow
def test_ctrl_c_while_a_cluster_starts() -> None:
    """One traceback, of Python's own, and no process left."""
    code = """
import os, threading, time
from bayesnu.workers import cluster
def interrupt():
    while not any(t.name == "IO loop" for t in threading.enumerate()):
        time.sleep(0.01)
    time.sleep(0.3)
    os.killpg(0, 2)
threading.Thread(target=interrupt, daemon=True).start()
with cluster.local_cluster(2):
    print("started")
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as client:
        output, errors = client.communicate()
    assert client.returncode == -signal.SIGINT
    assert output == ""
    assert errors.count("Traceback") == 1
    assert errors.strip().endswith("KeyboardInterrupt")
    assert_gone({int(path.name) for path in Path("/proc").glob("[0-9]*") if in_group(int(path.name), client.pid)})


@pytest.mark.slow
def test_scheduler_that_goes_away(log: Path) -> None:
    with cluster.local_cluster(1) as client, open_workers(client.scheduler.address) as workers:
        running = workers.run(chores.draw, chores.SHARED, chores.tasks(log, 50, 0.2))
        next(running)
        client.cluster.close()
        with pytest.raises(RunError, match=r"went away.*same command again"):
            list(running)


# Errors


@pytest.mark.parametrize("kind", ["here", "threads", "plain", "dask"])
def test_error_in_a_task(kind: str, request: pytest.FixtureRequest) -> None:
    local = {"here": InProcess(1), "threads": InProcess(2)}
    workers = local[kind] if kind in local else request.getfixturevalue(kind)
    with pytest.raises(DataError, match=r"^task 3 has no data$"):
        run_tasks(chores.fail, chores.SHARED, [Task("only", (3,)), Task("same", (3,))], workers)
    with pytest.raises(TypeError, match="'objects' holds Python objects"):
        run_tasks(chores.give_objects, chores.SHARED, [Task("only", (3,))], workers)


def test_error_that_cannot_be_pickled(plain: Processes) -> None:
    with pytest.raises(RuntimeError, match="TwoWordError: not foreseen") as caught:
        run_tasks(chores.fail_strangely, chores.SHARED, [Task("only", (3,))], plain)
    assert "in fail_strangely" in str(caught.value)


def test_error_of_the_program_shows_where(plain: Processes) -> None:
    with pytest.raises(TypeError) as caught:
        run_tasks(chores.fail, chores.SHARED, [Task("only", ())], plain)
    assert "in a worker" in caught.value.__notes__[0]


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ("here", "must be an address as in tcp://127.0.0.1:8786"),
        ("http://127.0.0.1:8786", "must be an address"),
        ("tcp://no.such.host.invalid:8786", "no Dask scheduler answers there"),
        ("tls://127.0.0.1:8786", "no Dask scheduler answers there"),
        (None, "no Dask scheduler answers there"),
    ],
)
def test_scheduler_that_is_not_there(scheduler: str | None, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cluster.CONNECT_SECONDS <= 10
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    scheduler = scheduler or f"tcp://127.0.0.1:{closed_port()}"
    with pytest.raises(UsageError, match=message), open_workers(scheduler):
        pass


def test_something_else_at_the_address(one: Client) -> None:
    """A web server; a worker in place of its scheduler."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        port = server.getsockname()[1]
        with pytest.raises(UsageError, match="no Dask scheduler answers there"), open_workers(f"tcp://127.0.0.1:{port}"):
            pass
    (worker,) = one.scheduler_info()["workers"]
    with pytest.raises(UsageError, match="a Dask Worker answers there, not a scheduler"), open_workers(worker):
        pass


def test_scheduler_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with (
        cluster.local_cluster(0) as client,
        pytest.raises(UsageError, match="has no workers; start some with `dask worker tcp://"),
        open_workers(client.scheduler.address),
    ):
        pass


def test_scheduler_needs_dask(without_dask: None) -> None:
    with pytest.raises(UsageError, match=r"needs Dask; pip install 'bayesnu\[distributed\]'"), open_workers("tcp://a:1"):
        pass


def test_number_of_workers() -> None:
    for number in (0, -1):
        with pytest.raises(UsageError, match=f"workers = {number}: must be at least 1"), open_workers(None, number):
            pass
    with pytest.raises(UsageError, match="has workers of its own"), open_workers("tcp://127.0.0.1:8786", 2):
        pass


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "a\n"])
def test_task_name_is_a_file_name(name: str) -> None:
    with pytest.raises(UsageError, match="task name"):
        Task(name, ())


def test_task_name_is_unique() -> None:
    with pytest.raises(UsageError, match="'a': given to more than one task"):
        run_tasks(chores.draw, chores.SHARED, [Task("a", ()), Task("b", ()), Task("a", ())], InProcess())


@pytest.mark.slow
def test_dask_leaves_the_environment_alone() -> None:
    before = dict(os.environ)
    with cluster.local_cluster(1):
        assert os.environ["MALLOC_TRIM_THRESHOLD_"]
    assert dict(os.environ) == before


# Chunks


Study = Callable[..., str]


@pytest.fixture
def tossed(tmp_path: Path) -> str:
    """What the study gives without a folder."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return digest(run_tasks(chores.toss, chores.SHARED, chores.tasks(folder, COUNT), InProcess()))


@pytest.fixture
def finish(log: Path, tmp_path: Path) -> Study:
    """Run a study in this process in the folder ``study``; returns the digest of its results."""

    def run(key: str = "key", **options: Any) -> str:
        for path in log.iterdir():
            path.unlink()
        chunks = Chunks(tmp_path / "study", key, {"model": "a toy"}, **options)
        return digest(run_tasks(chores.toss, chores.SHARED, chores.tasks(log, COUNT), InProcess(), chunks))

    return run


def test_finished_study_is_read(finish: Study, log: Path, tmp_path: Path, tossed: str) -> None:
    assert finish() == tossed
    assert len(chores.starts(log)) == COUNT
    assert finish() == tossed
    assert chores.starts(log) == []
    record = json.loads((tmp_path / "study" / "study.json").read_text())
    assert (record["key"], record["description"]) == ("key", {"model": "a toy"})


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    """Change one byte of an array."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def swap(path: Path) -> None:
    path.write_bytes(path.with_name("toys-001.npz").read_bytes())


def foreign(path: Path) -> None:
    np.savez(path, study="other", task=path.stem, **{"result.tosses": np.zeros(1)})


def unsigned(path: Path) -> None:
    np.savez(path, tosses=np.zeros(1))


def pickled(path: Path) -> None:
    np.savez(path, study="key", task=path.stem, **{"result.tosses": np.array([None])})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "damaged"),
        (flip, "damaged"),
        (empty, "damaged"),
        (unsigned, "damaged"),
        (pickled, "damaged"),
        (swap, "is task toys-001 of study key"),
        (foreign, "is task toys-004 of study other"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_chunk_that_is_not_used(
    finish: Study, log: Path, tmp_path: Path, tossed: str, damage: Callable[[Path], None], message: str
) -> None:
    finish()
    damage(tmp_path / "study" / "chunks" / "toys-004.npz")
    notices: list[str] = []
    assert finish(notice=notices.append) == tossed
    assert chores.starts(log) == [4]
    assert len(notices) == 1
    assert "toys-004.npz" in notices[0]
    assert message in notices[0]
    assert finish(notice=notices.append) == tossed
    assert len(notices) == 1


def test_folder_of_another_study(finish: Study, log: Path, tmp_path: Path, tossed: str) -> None:
    finish("other")
    (tmp_path / "study" / "figure.png").write_bytes(b"kept")
    with pytest.raises(RunError, match=r"holds another study \(other, not key\).*--force"):
        finish()
    assert finish(force=True) == tossed
    assert len(chores.starts(log)) == COUNT
    assert (tmp_path / "study" / "figure.png").exists()


def test_what_another_study_is_is_said() -> None:
    found = {"command": "toys", "model": "a", "seed": 1, "truth": {"mu_nue": 0.0}}
    assert difference(found, found) == ""
    assert difference(found, {**found, "seed": 2, "truth": {"q_nue": 0.0}}) == (
        "seed = 1, not 2; truth = {'mu_nue': 0.0}, not {'q_nue': 0.0}"
    )
    assert difference(found, {"command": "coverage", "truths": [1.0]}) == "command = toys, not coverage"
    assert difference({"truths": [0.0, 1.0]}, {"truths": (0.0, 1.0)}) == ""
    assert difference("a sentence of an earlier version", found) == ""


def test_force_does_not_undo_the_same_study(finish: Study, log: Path) -> None:
    finish()
    finish(force=True)
    assert chores.starts(log) == []


def test_folder_of_something_else(finish: Study, tmp_path: Path, tossed: str) -> None:
    (tmp_path / "study").write_text("a file")
    with pytest.raises(RunError, match="is a file"):
        finish()
    (tmp_path / "study").unlink()
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="is not empty and holds no study"):
        finish()
    assert finish(force=True) == tossed
    assert (tmp_path / "study" / "thesis.tex").exists()


@pytest.mark.parametrize("text", ["{", "[]", "{}", "\xff"])
def test_damaged_record_of_a_study(finish: Study, tmp_path: Path, tossed: str, text: str) -> None:
    finish()
    (tmp_path / "study" / "study.json").write_text(text, encoding="latin-1")
    with pytest.raises(RunError, match=r"study\.json: cannot be read, or is no record"):
        finish()
    assert finish(force=True) == tossed


def test_chunk_that_cannot_be_written(finish: Study, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    chunks = Chunks(tmp_path / "study", "key")
    (tmp_path / "study" / "chunks").write_text("in the way")
    with pytest.raises(BayesnuError, match="cannot be written"):
        chunks.write("toys-000", {"sum": np.zeros(1)})


def test_no_folder_keeps_nothing() -> None:
    chunks = Chunks(None, "key")
    chunks.write("toys-000", {"sum": np.zeros(1)})
    assert chunks.read("toys-000") is None


def test_dask_is_here() -> None:
    """The development environment has the extra, so that the tests above are of Dask."""
    assert importlib.util.find_spec("distributed") is not None
