"""dask behind the same executor: a real scheduler and real workers, which come and go and die."""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import tasks
from cluster_laws import *  # noqa: F403  # pytest collects them here
from conftest import Gate, environment, lines, until

import poolbar
from poolbar import testing
from poolbar.backends import BackendError

distributed = pytest.importorskip("distributed", reason="the package distributed is not installed")
from dask_cluster import NO_POOLBAR, Cluster  # noqa: E402

from poolbar.backends.dask import connect  # noqa: E402
from poolbar.backends.packed import settle  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [
    # distributed's own: of a client that is closed, and of sockets of a worker that was killed.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers: tests must leave them alive."""
    with Cluster(tmp_path_factory.mktemp("dask")) as cluster:
        cluster.add_worker()
        cluster.add_worker()
        cluster.await_workers(2)
        with executor_at(cluster) as executor:  # starts threads of distributed's that stay
            assert executor.submit(len, bytes(20 << 20)).result(60) == 20 << 20
        yield cluster


@pytest.fixture
def cluster(shared: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """One of the test's own, without workers."""
    with Cluster(tmp_path) as made:
        yield made


def executor_at(cluster: Cluster, **settings: Any) -> poolbar.ProgressExecutor:
    return poolbar.ProgressExecutor(backend="dask", address=cluster.address, **settings)


@pytest.fixture
def executor(shared: Cluster) -> Iterator[poolbar.ProgressExecutor]:
    with executor_at(shared) as made:
        yield made


# --- as at home


def test_map_keeps_the_order_of_many_tiny_tasks(executor: poolbar.ProgressExecutor) -> None:
    assert list(executor.map(abs, range(-20_000, 0))) == list(range(20_000, 0, -1))
    assert executor.choice.kind == "remote"
    assert executor.choice.workers == 4  # one runs, and one is on its way, for each of two threads
    assert "dask at tcp://" in repr(executor)


def test_equal_calls_are_all_run(executor: poolbar.ProgressExecutor) -> None:
    assert len({executor.submit(draw, 0).result(60) for _ in range(5)}) == 5
    assert len(set(executor.map(draw, [0] * 50))) == 50


def draw(_: int) -> float:
    return random.random()


def test_what_does_not_pickle_fails_alone(executor: poolbar.ProgressExecutor) -> None:
    results = list(executor.map(lambda number: threading.Lock() if number == 3 else number, range(6), errors="collect"))
    assert isinstance(results[3], poolbar.NotPicklable)
    assert results[:3] + results[4:] == [0, 1, 2, 4, 5]
    assert isinstance(executor.submit(tasks.same, threading.Lock()).exception(60), poolbar.NotPicklable)


def test_a_generator_is_pulled_no_further_than_a_window_reaches(executor: poolbar.ProgressExecutor) -> None:
    pulled = itertools.count()
    results = executor.map(lambda _: None, (next(pulled) for _ in itertools.count()), buffersize=10)
    next(results)
    assert next(pulled) <= 12
    del results


def test_large_results_take_no_room_in_the_scheduler(shared: Cluster, executor: poolbar.ProgressExecutor) -> None:
    assert [len(value) for value in executor.map(partial(tasks.nap, 0.06), [bytes(1 << 20)] * 6)] == [1 << 20] * 6
    with distributed.Client(shared.address, set_as_default=False) as client:
        topics = {name: events for name, events in client.get_events().items() if "poolbar" in name}
    sizes = [len(event[1]) for events in topics.values() for _, event in events if isinstance(event, tuple)]
    assert sizes
    assert max(sizes) < 1 << 16


def test_large_arguments_cause_no_warning(executor: poolbar.ProgressExecutor) -> None:
    assert executor.submit(len, bytes(20 << 20)).result(60) == 20 << 20


SCRIPT = """
import os
import poolbar

factor = 3
opened = None


def prepare(value):
    global opened
    opened = value


class Point:
    def __init__(self, x):
        self.x = x


def scale(point):
    return Point(point.x * factor + opened)


with poolbar.ProgressExecutor(initializer=prepare, initargs=(100,)) as executor:
    print(executor.choice.kind)
    print([point.x for point in executor.map(scale, map(Point, range(4)))])
    print(executor.submit(lambda: os.getpid()).result() != os.getpid())
"""


def test_a_script_goes_to_dask_by_two_variables_and_needs_no_guard(shared: Cluster, script: Callable[..., list[str]]) -> None:
    printed = script(SCRIPT, POOLBAR_BACKEND="dask", POOLBAR_ADDRESS=shared.address, POOLBAR_PROGRESS="off")
    assert printed == ["remote", "[100, 103, 106, 109]", "True"]


UNCHANGED = """
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Pool

def parent(number):
    return os.getppid()

if __name__ == "__main__":
    with ProcessPoolExecutor(2) as executor:
        print(os.getpid() not in executor.map(parent, range(3)))
    with Pool(2) as pool:
        print(os.getpid() not in pool.map(parent, range(3)))
"""


def test_the_pools_of_an_unchanged_program_go_to_dask_by_an_option(shared: Cluster, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(UNCHANGED)
    command = [sys.executable, "-m", "poolbar", "--backend", "dask", "--address", shared.address, "script.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment())
    assert (done.returncode, done.stdout) == (0, "True\nTrue\n"), done.stderr


def test_the_client_that_a_program_has_tells_the_address(shared: Cluster) -> None:
    with distributed.Client(shared.address) as client:
        with poolbar.ProgressExecutor(backend="dask") as executor:
            assert executor.submit(abs, -1).result(60) == 1
        assert client.submit(abs, -2).result(60) == 2  # it stays open


def test_bars_inside_tasks_are_shown_while_they_run(shared: Cluster, gate: Gate) -> None:
    seen: list[poolbar.Event] = []

    class Watcher(poolbar.Reporter):
        def event(self, progress: poolbar.Progress, event: poolbar.Event) -> None:
            seen.append(event)
            if event.label == "epochs":
                gate.open()

    with executor_at(shared, progress=Watcher()) as executor:
        assert executor.submit(tasks.train, gate.path).result(60) is None
    assert {event.label for event in seen} == {"epochs"}


def refuse() -> None:
    raise OSError("no database")


def test_an_initializer_that_raises_breaks_the_executor_and_says_why(shared: Cluster) -> None:
    with executor_at(shared, initializer=refuse) as executor:
        error = executor.submit(abs, -1).exception(60)
    assert isinstance(error, poolbar.BrokenExecutor)
    assert "no database" in str(error)


def test_a_heavy_function_is_scattered_once_and_loaded_once_by_each_worker(shared: Cluster, tmp_path: Path) -> None:
    path = str(tmp_path / "loads")
    with executor_at(shared) as executor:
        assert sum(executor.map(tasks.Heavy(path), range(40), chunksize=1)) == sum(range(40))
    assert len(lines(tmp_path / "loads")) <= 2


def test_the_contract_holds(shared: Cluster) -> None:
    testing.check_backend(partial(connect, shared.address))


# --- cancelling and ending


INTERRUPTED = """
import os, signal, sys, threading, time
import poolbar

def nap(path):
    open(path, "w").close()
    time.sleep(60)

def interrupt():
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background, it is ignored
threading.Thread(target=interrupt).start()
with poolbar.ProgressExecutor() as executor:
    list(executor.map(nap, [sys.argv[1]] * 3))
"""


def test_one_interrupt_ends_a_run_whose_tasks_go_on_elsewhere(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add_worker()
    cluster.await_workers(1)
    (tmp_path / "script.py").write_text(INTERRUPTED)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "script.py", str(tmp_path / "begun")], capture_output=True, text=True, timeout=60, cwd=tmp_path,
        env=environment(POOLBAR_BACKEND="dask", POOLBAR_ADDRESS=cluster.address, POOLBAR_PROGRESS="off"),
    )  # fmt: skip
    assert time.monotonic() - began < 30  # the tasks sleep for a minute
    assert done.stderr.count("Traceback") == 1, done.stderr
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")


def test_a_call_that_another_thread_has_cancelled_meanwhile_stays_cancelled() -> None:
    cancelled: poolbar.Future[int] = poolbar.Future()
    assert cancelled.cancel()
    settle(cancelled, 1, None)
    settle(cancelled, None, ValueError())
    assert cancelled.cancelled()


# --- workers that come, go and die


def test_a_run_begins_when_the_first_worker_comes(cluster: Cluster) -> None:
    with executor_at(cluster) as executor:
        future = executor.submit(tasks.Heavy(os.devnull), 1)  # what it has bound waits as well
        cluster.add_worker()
        assert future.result(60) == 1


def test_a_worker_that_joins_in_the_middle_of_a_run_gets_its_share(cluster: Cluster) -> None:
    cluster.add_worker()
    cluster.await_workers(1)
    with executor_at(cluster) as executor:
        assert executor.choice.workers == 2
        with closing(executor.map(lambda _: (time.sleep(0.02), os.getpid())[1], itertools.count(), ordered=False)) as run:
            first = next(run)
            cluster.add_worker()
            assert any(pid != first for pid in run)
        assert until(lambda: executor.choice.workers == 4)


def test_a_worker_that_leaves_in_the_middle_of_a_run_costs_nothing(cluster: Cluster) -> None:
    leaving = cluster.add_worker()
    cluster.add_worker()
    cluster.await_workers(2)
    with executor_at(cluster) as executor:
        run = executor.map(lambda number: (time.sleep(0.02), number)[1], range(60))
        assert next(run) == 0
        leaving.send_signal(signal.SIGTERM)
        assert list(run) == list(range(1, 60))
        assert leaving.wait(60) is not None


def test_a_task_that_kills_its_worker_fails_alone(shared: Cluster, tmp_path: Path) -> None:
    with Cluster(tmp_path, allowed_failures=0) as cluster:
        for _ in range(4):  # a batch and a task of it kill one each; dask may lose one more to each
            cluster.add_worker()
        cluster.await_workers(4)
        with executor_at(cluster, max_workers=2) as executor:
            results = list(executor.map(tasks.die_at_13, range(40), chunksize=20, errors="collect"))
            assert isinstance(results[13], poolbar.WorkerCrashed), results[13]
            assert "die_at_13(13)" in str(results[13])
            assert results[:13] + results[14:] == [*range(13), *range(14, 40)]
            cluster.add_worker()
            assert executor.submit(abs, -1).result(60) == 1


def test_a_worker_that_is_killed_in_the_middle_of_a_run_costs_nothing_that_dask_can_recover(cluster: Cluster) -> None:
    victim = cluster.add_worker()
    cluster.add_worker()
    cluster.await_workers(2)
    with executor_at(cluster) as executor:
        run = executor.map(partial(slow, tasks.Heavy(os.devnull)), range(60))
        assert next(run) == 0
        victim.kill()
        assert list(run) == list(range(1, 60))


def slow(heavy: tasks.Heavy, number: int) -> int:
    time.sleep(0.01)
    return heavy(number)


def test_a_function_is_scattered_again_when_all_that_had_it_are_gone(cluster: Cluster) -> None:
    first = cluster.add_worker()
    cluster.await_workers(1)
    with executor_at(cluster) as executor:
        heavy = tasks.Heavy(os.devnull)
        assert list(executor.map(heavy, range(3))) == [0, 1, 2]
        first.kill()
        futures = [executor.submit(heavy, number) for number in range(3)]
        cluster.add_worker()
        assert [future.result(60) for future in futures] == [0, 1, 2]


def test_a_scheduler_that_dies_breaks_the_executor_and_nothing_hangs(cluster: Cluster, gate: Gate) -> None:
    cluster.add_worker()
    cluster.await_workers(1)
    with executor_at(cluster) as executor:
        held = gate.hold(executor)
        waiting = executor.submit(abs, -1)
        cluster.scheduler.kill()
        assert isinstance(held[0].exception(60), poolbar.WorkerCrashed)
        assert isinstance(waiting.exception(60), poolbar.BrokenExecutor)
        with pytest.raises(poolbar.BrokenExecutor, match="has gone"):
            executor.submit(abs, -1).result(60)


# --- what does not fit


def test_no_scheduler_at_the_address_is_said_within_the_connect_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    import dask

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "300ms"}),
        pytest.raises(BackendError, match=f"127.0.0.1:{port} cannot be reached"),
    ):
        poolbar.ProgressExecutor(backend="dask", address=f"tcp://127.0.0.1:{port}").submit(abs, -1)
    assert time.monotonic() - began < 10


def test_info_says_that_there_is_no_scheduler() -> None:
    env = environment(
        POOLBAR_BACKEND="dask", POOLBAR_ADDRESS="tcp://127.0.0.1:1", DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="300ms"
    )
    done = subprocess.run([sys.executable, "-m", "poolbar", "info"], capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 1
    assert done.stdout.startswith("choice  none: dask's scheduler at tcp://127.0.0.1:1 cannot be reached: ")


def test_an_address_that_is_none_is_said(shared: Cluster) -> None:
    with pytest.raises(BackendError, match="nonsense://x:1 cannot be reached"):
        poolbar.ProgressExecutor(backend="dask", address="nonsense://x:1").submit(abs, -1)


def test_where_no_address_is_known_the_error_tells_the_ways_to_give_one() -> None:
    with pytest.raises(BackendError, match=r"address= or POOLBAR_ADDRESS"):
        poolbar.ProgressExecutor(backend="dask").submit(abs, -1)


OTHER_POOLBAR = "import poolbar; poolbar.__version__ = '0.0.1'"


@pytest.mark.parametrize(
    ("start", "words"),
    [(OTHER_POOLBAR, r"there is poolbar 0\.0\.1, and here"), (NO_POOLBAR, "have no poolbar: pip install poolbar there")],
    ids=["another poolbar", "no poolbar"],
)
def test_a_worker_that_does_not_fit_is_told_of(start: str, words: str, cluster: Cluster) -> None:
    cluster.add_worker(PYTHONPATH=cluster.site(start))
    with executor_at(cluster) as executor:
        error = executor.submit(abs, -1).exception(60)
        assert isinstance(error, poolbar.BrokenExecutor)
        with pytest.raises(poolbar.BrokenExecutor, match=words):
            raise error


def test_a_worker_with_another_python_is_told_of() -> None:
    from poolbar.inside import remote

    kind, text = remote.run_batch((remote.version(), (3, 9), *[None] * 8), None, b"", b"")
    assert kind == remote.MISMATCH
    assert f"there is Python {sys.version_info[0]}.{sys.version_info[1]}, and here 3.9" in text


def test_without_the_package_the_error_ends_with_the_line_that_installs_it(script: Callable[..., list[str]]) -> None:
    text = (
        "import sys\nsys.modules['distributed'] = None\nimport poolbar\n"
        "try:\n    poolbar.ProgressExecutor(backend='dask').submit(abs, -1)\n"
        "except poolbar.BackendError as error:\n    print(error)"
    )
    assert "pip install distributed" in script(text)[0]
