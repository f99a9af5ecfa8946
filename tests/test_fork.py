"""Forks: of the program that has executors, and workers that are forks.

In a file of their own: until 3.15, at least, Python crashes in the child of any fork while there is a sub-interpreter, and other
tests have such workers as long as their module runs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

import psutil
import pytest
import tasks
from conftest import Gate, environment, is_gone, until

import poolbar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Script = Callable[..., list[str]]


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def reaped(pid: int) -> int | None:
    """Wait for a child; return its exit code, None where it hangs."""
    if not until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, 30):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return None
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["ProcessPoolExecutor", "ThreadPoolExecutor"])
def test_a_fork_of_the_parent_exits_cleanly_and_the_parent_goes_on(script: Script, kind: str) -> None:
    text = f"""
import os, sys, warnings, poolbar
warnings.simplefilter("ignore")
executor = poolbar.{kind}(2)
futures = [executor.submit(abs, -number) for number in range(100)]
pid = os.fork()
if pid == 0:
    try:
        executor.submit(abs, 1)
    except poolbar.BrokenExecutor as error:
        assert "another process" in str(error), error
    else:
        os._exit(7)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # multiprocessing complains of a tracker that is not its own
    sys.exit(5)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(sum(future.result(20) for future in futures), executor.submit(abs, -1).result(20))
"""
    assert script(text) == ["5", "4950 1"]


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_while_workers_are_starting_can_make_an_executor_of_its_own() -> None:
    for number in range(8):
        with poolbar.ProcessPoolExecutor(2, idle_seconds=0) as executor:
            futures = [executor.submit(tasks.same, number) for number in range(4)]
            threading.Event().wait(number * 0.004)  # at different points of the start
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    signal.alarm(20)
                    with poolbar.ProcessPoolExecutor(1, idle_seconds=0) as own:
                        code = 0 if own.submit(tasks.square, 3).result(15) == 9 else 2
                finally:
                    os._exit(code)
            assert reaped(pid) == 0
            assert [future.result(20) for future in futures] == [0, 1, 2, 3]


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_does_not_keep_the_parents_workers_alive(script: Script, tmp_path: Path) -> None:
    text = """
import os, signal, sys, time, warnings, poolbar
warnings.simplefilter("ignore")
executor = poolbar.ProcessPoolExecutor(1)
worker = executor.submit(os.getpid).result()
child = os.fork()
if child == 0:
    os.close(1); os.close(2)
    time.sleep(60)
    os._exit(0)
print(worker, child, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "script.py"
    path.write_text(text)
    with subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        worker, child = map(int, process.stdout.readline().split())
        process.wait(20)
    try:
        assert until(lambda: is_gone(worker), 5)
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("how", ["terminate_workers", "kill_workers"])
@pytest.mark.parametrize("method", ["poolbar", "loky", "spawn", "fork"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_workers_can_be_ended_at_once(gate: Gate, how: str, method: str) -> None:
    executor = poolbar.ProcessPoolExecutor(2, mp_context=method)
    held = gate.hold(executor, 2)
    pids = list(executor._processes)
    assert len(pids) == 2
    waiting = [executor.submit(tasks.same, number) for number in range(10)]
    getattr(executor, how)()
    for future in held:
        assert isinstance(future.exception(10), BrokenProcessPool)
    assert all(future.cancelled() or future.exception(10) is not None for future in waiting)
    assert until(lambda: all(is_gone(pid) for pid in pids), 10)
    with pytest.raises(RuntimeError):
        executor.submit(tasks.same, 1)
    executor.shutdown()
