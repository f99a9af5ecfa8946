"""Users' code at its worst: callbacks that kill and exit, exceptions that raise, tasks that close what is not theirs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import tasks
from conftest import Gate, environment, is_gone, start, until

import poolbar
from poolbar._errors import set_cause, text_of
from poolbar.workers import watch
from poolbar.workers.process import ProcessWorker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and descriptors")
LIMIT = 0.5  # seconds: a task_timeout for tasks that never end


class Unsayable(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise SystemExit("no text")


class Frozen(Exception):
    """Takes no attributes."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class RaisesUnsayable:
    """Does not pickle, and one cannot say why."""

    def __reduce__(self) -> Any:
        raise Unsayable

    def __repr__(self) -> str:
        raise SystemExit("no repr")


class UnpicklesUnsayably:
    """Pickles, and does not unpickle."""

    def __reduce__(self) -> Any:
        return raise_unsayable, ()


def raise_unsayable() -> NoReturn:
    raise Unsayable


def raise_frozen() -> NoReturn:
    raise Frozen(1, 2)


def die(_: Any) -> NoReturn:
    os._exit(3)


def close_everything(seconds: float) -> None:
    os.closerange(3, 1000)
    time.sleep(seconds)


def fork_and_return() -> int:
    """Return twice: in the worker, and in a child of it."""
    if os.fork():
        os.wait()
    return os.getpid()


def leave_a_thread(path: str) -> None:
    thread = threading.Thread(target=tasks.wait_for, args=(path,))
    thread.start()


# --- what cannot be said


def test_an_exception_that_takes_no_attributes_or_has_no_text_costs_its_own_task() -> None:
    with poolbar.ProcessPoolExecutor(1) as executor:
        assert isinstance(executor.submit(raise_frozen).exception(60), Frozen)
        assert isinstance(executor.submit(raise_unsayable).exception(60), Unsayable)
        assert isinstance(executor.submit(tasks.same, RaisesUnsayable()).exception(60), (poolbar.NotPicklable, Unsayable))
        assert isinstance(executor.submit(UnpicklesUnsayably).exception(60), poolbar.NotUnpicklable)
        found = list(executor.map(tasks.same, [RaisesUnsayable(), UnpicklesUnsayably(), 1], errors="collect"))
        assert [type(value) for value in found] == [poolbar.NotPicklable, poolbar.NotUnpicklable, int]
        with pytest.raises(poolbar.WorkerCrashed, match=r"die\(<RaisesUnsayable>\)|die\(<Broken>\)"):
            list(executor.map(die, [Broken()]))
        assert executor.submit(tasks.same, 1).result(60) == 1


class Broken:
    """Its repr ends the interpreter."""

    def __repr__(self) -> str:
        raise SystemExit("no repr")


def test_the_text_and_the_cause_of_any_exception_can_be_dealt_with() -> None:
    assert text_of(Unsayable()) == "Unsayable (its text could not be had: SystemExit)"
    frozen, cause = Frozen(), ValueError()
    set_cause(frozen, cause)
    assert frozen.__cause__ is cause


# --- callbacks


def test_a_callback_that_exits_has_no_say_in_other_tasks(caplog: pytest.LogCaptureFixture, gate: Gate) -> None:
    with poolbar.ProcessPoolExecutor(1) as executor:
        list(executor.map(tasks.same, range(2000)))
        for future in [executor.submit(tasks.same, number) for number in range(2000)]:
            future.result(60)
        gate.hold(executor)
        futures = [executor.submit(tasks.same, number) for number in range(50)]
        for future in futures[::7]:
            future.add_done_callback(lambda _: sys.exit(1))
        gate.open()
        assert [future.result(60) for future in futures] == list(range(50))
        assert executor.submit(tasks.same, 1).result(60) == 1
    assert "exception calling callback" in caplog.text


def test_callbacks_that_kill_each_others_tasks_do_not_wait_for_each_other(tmp_path: Path, gate: Gate) -> None:
    with poolbar.ProcessPoolExecutor(2) as executor:
        for future in [executor.submit(tasks.wait_for, __file__) for _ in range(3000)]:
            future.result(60)
        both = threading.Barrier(2, timeout=20)
        held = gate.hold(executor, 2)
        futures = [executor.submit(tasks.wait_for, str(tmp_path / "never")) for _ in range(20)]

        def kill_the_rest(_: Any) -> None:
            both.wait()
            for future in futures:
                executor.kill(future)

        for future in held:
            future.add_done_callback(kill_the_rest)
        gate.open()
        assert not poolbar.wait([*held, *futures], timeout=50).not_done
        assert all(future.cancelled() for future in futures)
        assert executor.submit(tasks.same, 1).result(60) == 1


# --- kill, again


@POSIX
def test_killing_what_lies_behind_a_task_that_holds_the_gil_does_not_keep_that_from_being_killed(gate: Gate) -> None:
    """Its worker cannot read what it is asked for."""
    from test_faults import hold_the_gil

    with poolbar.ProcessPoolExecutor(1) as executor:
        for future in [executor.submit(hold_the_gil, 0) for _ in range(3000)]:
            future.result(60)
        gate.hold(executor)
        hanging = executor.submit(hold_the_gil, 600)
        behind = executor.submit(hold_the_gil, 0)
        gate.open()
        assert until(hanging.running)
        killing = threading.Thread(target=executor.kill, args=(behind,))
        killing.start()
        killing.join(1)  # it goes on for as long as the task before it holds the GIL, or has come back at once
        assert executor.kill(hanging) is True
        killing.join(60)
        assert not killing.is_alive()
        assert behind.cancelled()
        assert executor.submit(tasks.same, 1).result(60) == 1


@POSIX
def test_a_kill_that_was_interrupted_can_be_done_again(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    from poolbar.workers import process

    with poolbar.ProcessPoolExecutor(1) as executor:
        held = gate.hold(executor)[0]
        with monkeypatch.context() as patch:
            patch.setattr(process, "descendants", interrupt)
            with pytest.raises(KeyboardInterrupt):
                executor.kill(held)
        assert executor.kill(held) is True
        assert executor.submit(tasks.same, 1).result(60) == 1


def interrupt(_: Any) -> NoReturn:
    raise KeyboardInterrupt


# --- workers that do not end, or are not there yet


@POSIX
def test_workers_can_be_killed_while_they_are_being_ended(tmp_path: Path) -> None:
    """A task has left a thread, for which the worker waits at its end."""
    executor = poolbar.ProcessPoolExecutor(1, max_tasks_per_child=1)
    executor.submit(leave_a_thread, str(tmp_path / "never")).result(60)
    pids = list(executor._processes)
    ending = threading.Thread(target=executor.shutdown)
    ending.start()
    executor.kill_workers()
    ending.join(20)
    assert not ending.is_alive()
    assert all(is_gone(pid) for pid in pids)


@pytest.mark.parametrize("method", ["poolbar", "fork"])
@POSIX
def test_workers_can_be_killed_before_they_have_started(tmp_path: Path, method: str) -> None:
    executor = poolbar.ProcessPoolExecutor(4, mp_context=method, initializer=tasks.wait_for, initargs=(str(tmp_path / "never"),))
    futures = [executor.submit(tasks.same, number) for number in range(4)]
    executor.kill_workers()
    executor.shutdown()
    assert all(future.done() for future in futures)
    assert list(executor._processes) == []


def test_workers_that_fail_to_start_side_by_side_count_as_one(tmp_path: Path) -> None:
    """Each initializer fails at its first try in a process slot; the second round of starts would do."""
    with poolbar.ProcessPoolExecutor(4, initializer=fail_the_first, initargs=(str(tmp_path / "tries"), 4)) as executor:
        (tmp_path / "met").mkdir()
        met = [executor.submit(tasks.meet, str(tmp_path / "met"), number, 4) for number in range(4)]
        assert all(future.result(60) for future in met)


def fail_the_first(path: str, count: int) -> None:
    """Die, all of the first ones together."""
    tasks.note(path, os.getpid())
    with open(path) as file:
        tries = len(file.read().split())
    if tries <= count:
        limit = time.monotonic() + 20
        while tries < count and time.monotonic() < limit:
            time.sleep(0.005)
            with open(path) as file:
                tries = len(file.read().split())
        os._exit(3)


# --- tasks that close, fork and freeze


@POSIX
def test_a_task_that_closes_all_descriptors_and_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProcessWorker._bury, "__defaults__", (0.5,))  # how long it is waited for when its pipe has ended
    with poolbar.ProcessPoolExecutor(1, task_timeout=LIMIT) as executor:
        error = executor.submit(close_everything, 600).exception(60)
        assert isinstance(error, (poolbar.WorkerCrashed, poolbar.TaskTimeout))
        assert executor.submit(tasks.same, 1).result(60) == 1


@POSIX
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_task_that_forks_and_returns_in_the_child_has_one_outcome(capfd: pytest.CaptureFixture[str]) -> None:
    with poolbar.ProcessPoolExecutor(1) as executor:
        pid = executor.submit(os.getpid).result(60)
        futures = [executor.submit(fork_and_return) for _ in range(5)]
        assert [future.result(60) for future in futures] == [pid] * 5
    assert "Traceback" not in capfd.readouterr().err


@POSIX
@pytest.mark.parametrize("size", [10, 4 << 20])
def test_a_frozen_worker_is_replaced_where_tasks_have_a_time_limit(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "STUCK_SECONDS", 0.5)
    with poolbar.ProcessPoolExecutor(1, task_timeout=LIMIT) as executor:
        start(executor, 1)
        (pid,) = executor._processes
        os.kill(pid, signal.SIGSTOP)
        assert executor.submit(len, b"x" * size).result(60) == size
        assert is_gone(pid)


STOPPED = """
import os, signal, time, poolbar
with poolbar.ProcessPoolExecutor(1, task_timeout=1.0) as executor:
    executor.submit(abs, 1).result()
    future = executor.submit(time.sleep, 0.5)
    print("ready", flush=True)
    print(future.exception())
"""


@POSIX
def test_a_stop_of_the_whole_program_is_not_a_tasks_time() -> None:
    """As by Ctrl-Z and fg."""
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True, env=environment(), start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(2)  # that is what is tested: the time passes
        os.killpg(process.pid, signal.SIGCONT)
        assert process.stdout.readline() == "None\n"


# --- the program's own signals and rights

CHAINED = """
import os, signal, poolbar
with poolbar.ProcessPoolExecutor(1) as executor:
    executor.submit(abs, 1).result()
    def mine(*arguments):
        print("mine", flush=True)
        before(*arguments)
    before = signal.signal(signal.SIGTERM, mine)
    os.kill(os.getpid(), signal.SIGTERM)
    print("still here", flush=True)
"""


@POSIX
def test_a_handler_of_sigterm_may_call_the_one_before_it() -> None:
    done = subprocess.run([sys.executable, "-c", CHAINED], capture_output=True, text=True, timeout=60, env=environment())
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "mine\n")


DROPPED = """
import os, poolbar
for drop in (False, True):  # what is imported in the first round may be out of reach in the second
    if drop:
        os.setgid(65534)
        os.setuid(65534)
    with poolbar.ProcessPoolExecutor(1, mp_context="fork") as executor:
        print(executor.submit(os.getuid).result())
"""


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can give up its rights")
def test_a_program_that_has_given_up_its_rights_can_start_workers(script: Callable[..., list[str]]) -> None:
    assert script(DROPPED) == ["0", "65534"]


# --- limits


def test_inf_is_no_limit_and_threads_by_class_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLBAR_TASK_TIMEOUT", "0.2")
    monkeypatch.setenv("POOLBAR_WORKER_MEMORY_MB", "1")
    with poolbar.ThreadPoolExecutor(1) as threads:
        assert threads.submit(tasks.nap, 0.4, 1).result(60) == 1
    with poolbar.ProcessPoolExecutor(1, task_timeout=float("inf"), worker_memory_mb=float("inf")) as executor:
        assert executor.submit(tasks.nap, 0.4, 1).result(60) == 1
    assert poolbar.ProgressExecutor(1, backend="thread", task_timeout=float("inf"), worker_memory_mb=float("inf"))


@pytest.mark.parametrize("value", [0, -1, float("nan"), "5", b"5", True, [1]])
@pytest.mark.parametrize("keyword", ["task_timeout", "worker_memory_mb"])
def test_a_limit_that_is_no_number_above_zero_is_an_error(keyword: str, value: Any) -> None:
    with pytest.raises(poolbar.SettingError, match=f"{keyword} must be a number"):
        poolbar.ProcessPoolExecutor(1, **{keyword: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [-1, 1.5, "2", True])
def test_retries_are_a_whole_number(value: Any) -> None:
    with pytest.raises(poolbar.SettingError, match="retries"):
        poolbar.ProcessPoolExecutor(1, retries=value)


def test_absurd_numbers_are_errors_that_name_them() -> None:
    with pytest.raises(poolbar.SettingError, match="task_timeout"):
        poolbar.ProcessPoolExecutor(1, task_timeout=10**400)
    with poolbar.ProcessPoolExecutor(1) as executor, pytest.raises(poolbar.SettingError, match="errors"):
        executor.map(tasks.same, [1], errors=["collect"])  # type: ignore[arg-type]
