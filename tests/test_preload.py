"""Modules that worker processes have imported before their first task: by a template, of which they are forks."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import tasks
from conftest import environment, is_gone, until

import poolbar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Script = Callable[..., list[str]]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there are no forks")


def family(_: Any = None) -> tuple[int, int, bool, bool]:
    return os.getpid(), os.getppid(), "colorsys" in sys.modules, signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def template_of(executor: poolbar.ProgressExecutor) -> int:
    pid, parent, is_loaded, is_deaf = executor.submit(family).result(60)
    assert is_loaded
    assert is_deaf
    assert parent != os.getpid() != pid
    return parent


@pytest.mark.parametrize("method", ["poolbar", "loky", "spawn", "fork"])
def test_modules_are_there_before_the_first_task(method: str) -> None:
    with poolbar.ProcessPoolExecutor(1, mp_context=method, preload=["colorsys"], idle_seconds=0) as executor:
        assert executor.submit(family).result(60)[2]


def test_workers_are_forks_of_one_process_which_ends_with_the_executor() -> None:
    with poolbar.ProcessPoolExecutor(2, preload="colorsys", idle_seconds=0) as executor:
        template = template_of(executor)
        assert {parent for _, parent, _, _ in executor.map(family, range(20))} == {template}
    assert until(lambda: is_gone(template))


def test_the_next_executor_has_the_same_template_and_none_with_other_modules() -> None:
    found = []
    for modules in ("colorsys", "colorsys", "colorsys,json"):
        with poolbar.ProcessPoolExecutor(1, preload=modules) as executor:
            found.append(template_of(executor))
            executor.submit(os._exit, 3).exception(60)  # what follows is a new worker
            assert template_of(executor) == found[-1]
    assert found[0] == found[1] != found[2]
    poolbar.shutdown_warm_workers()
    assert until(lambda: all(map(is_gone, found)))


@pytest.mark.parametrize("name", ["colorsys, nothing_of_ours", "nothing_of_ours"])
@pytest.mark.parametrize("method", ["poolbar", "loky"])
def test_a_module_that_cannot_be_imported_is_an_error_that_names_it(method: str, name: str) -> None:
    executor = poolbar.ProcessPoolExecutor(1, mp_context=method, preload=name)
    with executor, pytest.raises(poolbar.BrokenExecutor, match=r"POOLBAR_PRELOAD.*'nothing_of_ours'.*ModuleNotFoundError"):
        executor.submit(abs, 1).result(60)


@pytest.mark.parametrize("names", ["json,", "no name", "a..b", 3, [1]])
def test_what_is_no_name_of_a_module_is_refused(names: Any) -> None:
    with pytest.raises(poolbar.SettingError, match="preload must be names of modules"):
        poolbar.ProcessPoolExecutor(1, preload=names)


def test_how_a_worker_ended_is_known() -> None:
    with poolbar.ProcessPoolExecutor(1, preload="colorsys", idle_seconds=0) as executor:
        for call, code in ((lambda: os._exit(7), 7), (lambda: os.kill(os.getpid(), signal.SIGKILL), -9)):
            error = executor.submit(call).exception(60)
            assert isinstance(error, poolbar.WorkerCrashed)
            assert error.exit_code == code


def test_tasks_can_be_killed_and_run_out_of_time() -> None:
    with poolbar.ProcessPoolExecutor(1, preload="colorsys", task_timeout=0.5, idle_seconds=0) as executor:
        assert isinstance(executor.submit(tasks.nap, 60).exception(60), poolbar.TaskTimeout)
    with poolbar.ProcessPoolExecutor(1, preload="colorsys", idle_seconds=0) as executor:
        future = executor.submit(tasks.nap, 60)
        assert until(future.running)
        assert executor.kill(future)
        assert executor.submit(abs, -1).result(60) == 1


def test_a_template_that_dies_is_replaced() -> None:
    with poolbar.ProcessPoolExecutor(1, preload="colorsys", idle_seconds=0) as executor:
        template = template_of(executor)
        os.kill(template, signal.SIGKILL)
        assert until(lambda: is_gone(template))
        assert executor.submit(abs, -1).result(60) == 1  # its worker lives
        assert isinstance(executor.submit(os._exit, 3).exception(60), poolbar.WorkerCrashed)
        assert executor.submit(abs, -1).result(60) == 1


HELD = """
import os, sys, time, tasks, poolbar
with poolbar.ProcessPoolExecutor(2, preload="colorsys") as executor:
    executor.map(tasks.note_and_nap, [sys.argv[1]] * 4, range(4))
    while len(open(sys.argv[1]).read().split()) < 2: time.sleep(0.01)
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they end when they next look")
def test_a_killed_parent_leaves_neither_workers_nor_template(tmp_path: Path) -> None:
    (tmp_path / "noted").touch()
    with psutil.Popen([sys.executable, "-c", HELD, str(tmp_path / "noted")], stdout=-1, env=environment()) as program:
        assert program.stdout.readline()
        left = program.children(recursive=True)
        assert len([child for child in left if "tracker" not in " ".join(child.cmdline())]) == 3
        program.kill()
        assert until(lambda: all(is_gone(child.pid) for child in left))


def test_a_script_needs_no_guard_and_is_not_run_again(script: Script) -> None:
    text = """
import poolbar
print("once")
def double(number): return 2 * number
with poolbar.ProcessPoolExecutor(2) as executor: print(list(executor.map(double, [1, 2])))
"""
    for way in ("file", "-c", "stdin"):
        assert script(text, way=way, POOLBAR_PRELOAD="colorsys,json") == ["once", "[2, 4]"]


def test_numeric_libraries_have_their_limits_when_they_are_loaded(script: Script) -> None:
    pytest.importorskip("numpy")
    text = """
import os, poolbar
def limit(): return os.environ.get("OPENBLAS_NUM_THREADS")
with poolbar.ProcessPoolExecutor(64) as executor: print(executor.submit(limit).result(60))
def threads(): return len(os.listdir("/proc/self/task")), len(os.listdir(f"/proc/{os.getppid()}/task"))
with poolbar.ProcessPoolExecutor(64) as executor: print(executor.submit(threads).result(60)[1])
"""
    assert script(text, POOLBAR_PRELOAD="numpy") == ["1", "1"]
