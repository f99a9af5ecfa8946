"""Ray behind the same executor: a real cluster on this host."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tasks
from cluster_laws import *  # noqa: F403  # pytest collects them here
from conftest import Gate, environment, lines, until

import poolbar
from poolbar import testing
from poolbar.backends import BackendError

ray = pytest.importorskip("ray", reason="the package ray is not installed: it has no wheel for some interpreters")

from poolbar.backends.ray import connect  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    # Ray's own: of sockets and processes that it leaves to the garbage collector, and of what it has deprecated itself.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> None:
    """Take the place of the other tests' check: Ray has threads and files of its own until it ends."""


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    """The Ray of this program, which tests must leave running."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([environment()["PYTHONPATH"], str(Path(__file__).parent)]))
        ray.init(num_cpus=2, logging_level="error", include_dashboard=False)
        yield
        ray.shutdown()


@pytest.fixture
def executor() -> Iterator[poolbar.ProgressExecutor]:
    with poolbar.ProgressExecutor(backend="ray") as made:
        yield made
    assert ray.is_initialized()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("poolbar-ray")]


def test_the_contract_holds() -> None:
    testing.check_backend(partial(connect, None))


def test_map_keeps_the_order_of_many_tiny_tasks(executor: poolbar.ProgressExecutor) -> None:
    assert list(executor.map(abs, range(-5000, 0))) == list(range(5000, 0, -1))
    assert executor.choice.kind == "remote"
    assert executor.choice.workers == 4  # one runs, and one is on its way, for each of two CPUs
    assert "Ray at " in repr(executor)


def test_bars_inside_tasks_are_shown_while_they_run(gate: Gate) -> None:
    seen: list[poolbar.Event] = []

    class Watcher(poolbar.Reporter):
        def event(self, progress: poolbar.Progress, event: poolbar.Event) -> None:
            seen.append(event)
            if event.label == "epochs":
                gate.open()

    with poolbar.ProgressExecutor(backend="ray", progress=Watcher()) as executor:
        assert executor.submit(tasks.train, gate.path).result(60) is None
    assert {event.label for event in seen} == {"epochs"}


def test_a_heavy_function_is_loaded_once_by_each_worker(executor: poolbar.ProgressExecutor, tmp_path: Path) -> None:
    assert sum(executor.map(tasks.Heavy(str(tmp_path / "loads")), range(40), chunksize=1)) == sum(range(40))
    loads = lines(tmp_path / "loads")
    assert len(loads) == len(set(loads))


def test_large_arguments_and_results_arrive(executor: poolbar.ProgressExecutor) -> None:
    assert executor.submit(tasks.same, bytes(20 << 20)).result(60) == bytes(20 << 20)


def test_a_task_that_kills_its_worker_fails_alone(executor: poolbar.ProgressExecutor) -> None:
    results = list(executor.map(tasks.die_at_13, range(40), chunksize=20, errors="collect"))
    assert isinstance(results[13], poolbar.WorkerCrashed), results[13]
    assert "die_at_13(13)" in str(results[13])
    assert results[:13] + results[14:] == [*range(13), *range(14, 40)]


def test_a_worker_that_is_killed_during_a_run_costs_nothing(executor: poolbar.ProgressExecutor, tmp_path: Path) -> None:
    run = executor.map(partial(slow, str(tmp_path / "pids")), range(200))
    assert next(run) == 0
    os.kill(int(lines(tmp_path / "pids")[0]), signal.SIGKILL)
    assert list(run) == list(range(1, 200))


def slow(path: str, number: int) -> int:
    if not number:
        tasks.note(path, os.getpid())
    time.sleep(0.02)
    return number


def test_another_address_than_that_of_the_programs_ray_is_refused() -> None:
    with pytest.raises(BackendError, match=r"uses the Ray at .* already; there can be no other at 127\.0\.0\.1:1"):
        poolbar.ProgressExecutor(backend="ray", address="127.0.0.1:1").submit(abs, -1)


# --- programs that start Ray, or do not


def run(code: str, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, env=environment(POOLBAR_PROGRESS="off", **changes)
    )


SCRIPT = """
import ray, sys
import poolbar

class Point:
    def __init__(self, x):
        self.x = x

with poolbar.ProgressExecutor() as first, poolbar.ProgressExecutor() as second:
    print([point.x for point in first.map(lambda x: Point(x * 3), range(4))])
    print(second.submit(lambda: "there").result())
    session = ray._private.worker.global_worker.node.get_session_dir_path()
print(ray.is_initialized())
print(session, file=sys.stderr)
"""


def test_where_no_ray_runs_one_is_started_and_ends_with_the_last_executor() -> None:
    done = run(SCRIPT, POOLBAR_BACKEND="ray", RAY_ADDRESS="local")
    assert done.stdout.splitlines()[:3] == ["[0, 3, 6, 9]", "there", "False"], done.stderr
    session = done.stderr.splitlines()[-1]
    assert until(lambda: not processes_of(session)), processes_of(session)


def processes_of(session: str) -> list[str]:
    found = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in found if session in line]


def test_a_second_program_goes_to_the_ray_at_an_address() -> None:
    address = ray.get_runtime_context().gcs_address
    done = run(SCRIPT, POOLBAR_BACKEND="ray", POOLBAR_ADDRESS=address)
    assert done.stdout.splitlines()[:3] == ["[0, 3, 6, 9]", "there", "False"], done.stderr
    assert ray.is_initialized()


FAILS = """
import sys, time
import poolbar
began = time.monotonic()
try:
    poolbar.ProgressExecutor(backend="ray").submit(abs, -1).result()
except (poolbar.BackendError, poolbar.BrokenExecutor) as error:
    print(error)
    print(time.monotonic() - began)
"""


def test_no_ray_at_the_address_is_said_soon() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    told, seconds = run(FAILS, POOLBAR_ADDRESS=address).stdout.splitlines()
    assert told.startswith(f"Ray at {address} cannot be reached: ")
    assert float(seconds) < 30


@pytest.mark.parametrize("address", ["nonsense", "host:port"])
def test_an_address_that_is_none_is_said(address: str) -> None:
    assert "cannot be reached" in run(FAILS, POOLBAR_ADDRESS=address).stdout


def test_without_the_package_the_error_names_the_line_that_installs_it() -> None:
    assert "pip install ray" in run("import sys; sys.modules['ray'] = None\n" + FAILS).stdout


SHUT_DOWN = """
import time
import ray
import poolbar
ray.init(num_cpus=1, logging_level="error", include_dashboard=False)
with poolbar.ProgressExecutor(backend="ray") as executor:
    futures = [executor.submit(time.sleep, 600), executor.submit(abs, -1)]
    assert executor.submit(abs, -2).cancel()
    while not futures[0].running():
        time.sleep(0.01)
    ray.shutdown()
    for future in futures:
        error = future.exception(60)
        print(isinstance(error, poolbar.BrokenExecutor), "ray.shutdown was called" in str(error))
"""


def test_a_program_that_shuts_its_ray_down_during_a_run_has_errors_and_nothing_hangs() -> None:
    assert run(SHUT_DOWN).stdout.splitlines() == ["True True", "True True"]


NO_POOLBAR = """
import sys
if any("default_worker" in name for name in sys.orig_argv):
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "poolbar" or name.startswith("poolbar."):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    sys.meta_path.insert(0, Finder())
"""


def test_workers_without_poolbar_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_POOLBAR)
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    done = run(FAILS, PYTHONPATH=path, RAY_ADDRESS="local")
    assert "have no poolbar: pip install poolbar there" in done.stdout, done.stderr
