"""What all tests share: executors of each kind, scripts in a process of their own, and a look at what a test left behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import tasks

import poolbar
from poolbar._settings import TABLE

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Iterator

pytest.register_assert_rewrite("cluster_laws")

for name in [name for name in os.environ if name.startswith("TQDM_") or name in {setting.variable for setting in TABLE}]:
    del os.environ[name]  # the tests' own business
os.environ["POOLBAR_PROGRESS"] = "off"  # also where the tests run in a terminal; those of the bar turn it on

KINDS: dict[str, Callable[..., poolbar.ProgressExecutor]] = {
    "process": poolbar.ProcessPoolExecutor,
    "thread": poolbar.ThreadPoolExecutor,
}
if sys.version_info >= (3, 14):
    KINDS["interpreter"] = partial(poolbar.ProgressExecutor, backend="interpreter")
PIPED = [kind for kind in KINDS if kind != "thread"]  # of these, workers have copies, and get tasks in batches
TRACKERS = ("resource_tracker", "forkserver", "semaphore_tracker")  # of loky and multiprocessing: they live as long as we do


def until(fact: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait for something that no event tells; return what it returned, true or not."""
    deadline = time.monotonic() + seconds
    while not (found := fact()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return found


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended; one that nobody has waited for yet counts."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def is_tracker(process: psutil.Process) -> bool:
    """Tell whether a process is one of those, or gone."""
    try:
        return any(tracker in " ".join(process.cmdline()) for tracker in TRACKERS)
    except psutil.NoSuchProcess:
        return True


def children() -> set[int]:
    """Return the processes that descend from this one."""
    return {child.pid for child in psutil.Process().children(recursive=True) if not is_tracker(child)}


def files() -> set[str]:
    """Return the temporary files that are ours."""
    places = {tempfile.gettempdir(), "/dev/shm"}
    return {str(path) for place in places if os.path.isdir(place) for path in Path(place).glob(f"poolbar-{os.getpid()}*")}


def pipes() -> int:
    """Return how many ends of pipes and sockets, and memories without a file, are open."""
    if not os.path.isdir("/proc/self/fd"):
        return 0
    count = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{descriptor}").startswith(("pipe:", "socket:", "/memfd:poolbar"))
        except OSError:
            continue
    return count


@pytest.fixture(scope="session", autouse=True)
def _trackers() -> None:
    # They are started with the first worker and keep a pipe open; no test left them behind.
    with poolbar.ProcessPoolExecutor(1) as executor:
        executor.submit(abs, 1).result()
    poolbar.shutdown_warm_workers()
    from multiprocessing import resource_tracker

    from loky.backend import resource_tracker as lokys

    resource_tracker.ensure_running()
    lokys.ensure_running()  # for the tests of its start method


MANY_MODULES = 50
_known_modules = 0  # when what there was by then was last taken out of the collector's sight


def _collect() -> None:
    """Collect what is garbage. What imports have made stays, and is looked at no more: pandas would make each take 0.1 s."""
    global _known_modules
    gc.collect()
    if len(sys.modules) > _known_modules + MANY_MODULES:
        gc.freeze()
        _known_modules = len(sys.modules)


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(_trackers: None) -> Iterator[None]:
    _collect()
    threads, processes, paths, ends = set(threading.enumerate()), children(), files(), pipes()
    yield

    def all_gone() -> bool:
        gc.collect()
        poolbar.shutdown_warm_workers()  # a dropped executor's workers may come to rest only now
        return set(threading.enumerate()) <= threads and children() <= processes and pipes() <= ends

    until(all_gone, 10)
    assert set(threading.enumerate()) - threads == set()
    assert [psutil.Process(pid).cmdline() for pid in children() - processes] == []
    assert files() - paths == set()
    assert pipes() <= ends


@pytest.fixture(scope="module", params=KINDS)
def pool(request: pytest.FixtureRequest) -> Iterator[poolbar.ProgressExecutor]:
    """Two workers of each kind, started, shared by the tests of a module: they must leave it usable."""
    with KINDS[request.param](2) as executor:
        assert executor.choice.kind == request.param
        start(executor, 2)
        yield executor
        assert executor.submit(abs, -1).result(20) == 1
    poolbar.shutdown_warm_workers()


@pytest.fixture(scope="module", params=PIPED)
def piped(request: pytest.FixtureRequest) -> Iterator[poolbar.ProgressExecutor]:
    """Two workers of each kind that is spoken to through pipes, started, shared by the tests of a module."""
    with KINDS[request.param](2) as executor:
        start(executor, 2)
        yield executor
        assert executor.submit(abs, -1).result(20) == 1
    poolbar.shutdown_warm_workers()


@pytest.fixture(scope="module")
def processes() -> Iterator[poolbar.ProcessPoolExecutor]:
    """Two worker processes, started, shared by the tests of a module: they must leave it usable."""
    with poolbar.ProcessPoolExecutor(2) as executor:
        start(executor, 2)
        yield executor
        assert executor.submit(abs, -1).result(20) == 1
    poolbar.shutdown_warm_workers()


def start(executor: poolbar.ProgressExecutor, workers: int) -> None:
    """Let all workers of an executor start: they meet."""
    with tempfile.TemporaryDirectory() as directory:
        for met in [executor.submit(tasks.meet, directory, number, workers) for number in range(workers)]:
            assert met.result(60)


def is_released(watched: weakref.ref[Any]) -> bool:
    """Tell whether an object is gone: at once, or, where Python runs without a GIL, when the collector has helped."""
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        return watched() is None
    return until(lambda: gc.collect() >= 0 and watched() is None, 5)


def lines(path: Path) -> list[str]:
    """Return what tasks have noted in a file: see ``tasks.note``."""
    return path.read_text().split() if path.exists() else []


def kill_now_and_then(
    executor: poolbar.ProgressExecutor, path: Path, futures: list[poolbar.Future[Any]], every: int, most: int
) -> int:
    """Kill a worker, at most so many, each time that so many tasks more have noted that they ran; return how many were killed."""
    killed = 0

    def are_done() -> bool:
        return all(future.done() for future in futures)

    while not are_done():
        known = len(lines(path))
        until(lambda known=known: len(lines(path)) > known + every or are_done(), 30)
        if killed < most and (pids := list(executor._processes)):
            os.kill(pids[killed % len(pids)], signal.SIGKILL)
            killed += 1
    return killed


class Gate:
    """A file that tasks wait for: they run until it is opened."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "gate")
        self.begun = directory / "begun"
        self.begun.mkdir()

    def hold(self, executor: poolbar.ProgressExecutor, workers: int = 1) -> list[poolbar.Future[Any]]:
        """Keep workers busy until the gate opens; return when they are."""
        held = [executor.submit(tasks.wait_for, self.path, str(self.begun / str(number))) for number in range(workers)]
        assert until(lambda: len(list(self.begun.iterdir())) == workers)
        return held

    def open(self) -> None:
        """Let them go."""
        Path(self.path).touch()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path)
    yield made
    made.open()


def environment(**changes: str) -> dict[str, str]:
    """Return an environment for a script, which finds what the tests find."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("POOLBAR_", "TQDM_"))}
    return {**own, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **changes}


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., list[str]]:
    """Run a text as a script, as a user would; return the lines that it printed."""

    def run(
        text: str, *arguments: str, way: str = "file", flags: tuple[str, ...] = (), seconds: float = 60, stderr: str = "",
        **changes: str,
    ) -> list[str]:  # fmt: skip
        path = tmp_path / "script.py"
        path.write_text(text)
        command = {"file": [str(path)], "-c": ["-c", text], "stdin": ["-"]}[way]
        done = subprocess.run(
            [sys.executable, *flags, *command, *arguments], input=text if way == "stdin" else "", capture_output=True, text=True,
            timeout=seconds, cwd=tmp_path, env=environment(**changes),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert stderr in done.stderr
        if not stderr:
            assert done.stderr == ""
        return done.stdout.splitlines()

    return run
