"""Dead workers, tasks out of time, tasks tried again, killed or collected: each costs its own task and nobody else."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import tasks
from conftest import Gate, environment, is_gone, kill_now_and_then, lines, start, until

import poolbar
from poolbar._shown import call_text, sealed_call_text
from poolbar.inside.pickling import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own means: Linux")
SHORT = 0.25  # seconds: a task_timeout for tasks that never end


def pids_of(executor: poolbar.ProgressExecutor) -> set[int]:
    return set(executor._processes)


# --- what is told of a dead worker


class KillsItsReader:
    """Unpickling it ends the process."""

    def __reduce__(self) -> Any:
        return os._exit, (7,)


class Shown:
    """Has a repr."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def die(*_: Any, **__: Any) -> NoReturn:
    os._exit(3)


def crash(_: Any = None) -> None:
    ctypes.string_at(0)


def test_the_error_shows_the_call_with_its_arguments() -> None:
    with poolbar.ProcessPoolExecutor(2) as executor:
        told = str(executor.submit(die, 1, "two", [3.0] * 100, four={5: None}).exception(60))
        assert "die(1, 'two', [3.0, 3.0, 3.0, 3.0, 3.0, 3.0, ...], four={5: None})" in told
        for inputs in ([7], iter([7])):
            with pytest.raises(poolbar.WorkerCrashed, match=r"^die\(7\): "):
                list(executor.map(die, inputs))
        with pytest.raises(poolbar.WorkerCrashed, match=r"^die\(7, <a raster>\): "):
            list(executor.map(die, [7], [Shown("<a raster>")]))


def test_arguments_that_kill_who_reads_them_kill_no_more_than_their_worker() -> None:
    """The parent shows them without running anything of the user's."""
    with poolbar.ProcessPoolExecutor(1) as executor:
        error = executor.submit(tasks.same, KillsItsReader()).exception(60)
        assert isinstance(error, poolbar.WorkerCrashed)
        assert str(error).startswith("same(<_exit>): ")
        assert error.exit_code == 7
        with pytest.raises(poolbar.WorkerCrashed):
            list(executor.map(tasks.same, [KillsItsReader()]))
        assert executor.submit(tasks.same, 1).result(60) == 1


def test_a_function_that_kills_who_loads_it_costs_its_tasks_alone() -> None:
    class Deadly(KillsItsReader):
        def __call__(self) -> None: ...

    with poolbar.ProcessPoolExecutor(1) as executor:
        futures = [executor.submit(Deadly()) for _ in range(3)]
        assert [type(future.exception(60)) for future in futures] == [poolbar.WorkerCrashed] * 3
        assert executor.submit(tasks.same, 1).result(60) == 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Shown("x"), "<Shown>"),
        (tasks.Counter(3), "<Counter>"),
        ({"a": [tasks.Counter(3)]}, "{'a': [<Counter>]}"),
        ("x" * 500, "'xxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxx'"),
        (b"y" * 100_000, "..."),
        (lambda: 0, "<_make_function>"),
        (KillsItsReader(), "<_exit>"),
    ],
)
def test_pickled_arguments_are_shown_in_short_form(value: object, shown: str) -> None:
    assert sealed_call_text("f", dumps(((value,), {}))) == f"f({shown})"


def test_a_call_of_many_arguments_is_shown_shortened() -> None:
    text = call_text("f", tuple(range(1000)), {})
    assert text.startswith("f(0, 1, 2, ")
    assert text.endswith("...)")
    assert len(text) < 200
    assert sealed_call_text("f", b"no pickle") == "f(...)"


@POSIX
def test_a_native_crash_leaves_its_traceback() -> None:
    with poolbar.ProcessPoolExecutor(1) as executor:
        list(executor.map(tasks.same, range(1000)))
        error = executor.submit(crash).exception(60)
        assert isinstance(error, poolbar.WorkerCrashed)
        assert "SIGSEGV" in str(error)
        assert "Segmentation fault" in error.native_traceback
        assert "in crash" in error.native_traceback
        assert "serve.py" not in error.native_traceback  # the frames that called the task are of no interest
        assert "in crash" in "".join(traceback.format_exception(error))
        quiet = executor.submit(die).exception(60)
        assert isinstance(quiet, poolbar.WorkerCrashed)
        assert quiet.native_traceback == ""


@POSIX
def test_native_tracebacks_go_to_stderr_where_the_user_wants_them_there(script: Callable[..., list[str]]) -> None:
    text = (
        "import os, poolbar\n"
        "with poolbar.ProcessPoolExecutor(1) as executor:\n"
        "    print(repr(executor.submit(os.abort).exception().native_traceback))\n"
    )
    assert script(text, stderr="Fatal Python error: Aborted", PYTHONFAULTHANDLER="1") == ["''"]


@POSIX
def test_a_worker_that_was_killed_was_perhaps_out_of_memory() -> None:
    with poolbar.ProcessPoolExecutor(1) as executor:
        told = str(executor.submit(tasks.act, "kill").exception(60))
        assert "was killed by SIGKILL, perhaps out of memory" in told


@POSIX
def test_a_worker_that_was_killed_on_demand_was_not_out_of_memory(gate: Gate) -> None:
    executor = poolbar.ProcessPoolExecutor(1, retries=3)
    held = gate.hold(executor)[0]
    executor.kill_workers()
    error = held.exception(60)
    assert isinstance(error, poolbar.WorkerCrashed)
    assert "was killed by SIGKILL" in str(error)
    assert "memory" not in str(error)
    assert error.tries == 1  # and nobody tries it again


def test_a_worker_that_a_lane_takes_just_as_all_are_killed_is_killed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_worker(plan: object) -> None:  # asked for by the lane, before it makes one itself
        executor.kill_workers()

    monkeypatch.setattr("poolbar.workers.process.warm_worker", no_worker)
    executor = poolbar.ProcessPoolExecutor(1, initializer=time.sleep, initargs=(600,), progress=False)
    future = executor.submit(abs, 1)
    executor.shutdown()  # waits for the lane, which waits for its worker
    assert future.cancelled()


def test_each_future_has_an_exception_of_its_own() -> None:
    with poolbar.ProcessPoolExecutor(2) as executor:
        errors = [future.exception(60) for future in [executor.submit(die, number) for number in range(6)]]
    assert len({id(error) for error in errors}) == 6
    assert len({str(error) for error in errors}) == 6
    assert all(isinstance(error, poolbar.WorkerCrashed) and error.tries == 1 for error in errors)


@POSIX
def test_the_neighbours_of_a_dead_worker_run_on_in_their_own_processes(gate: Gate) -> None:
    with poolbar.ProcessPoolExecutor(3) as executor:
        start(executor, 3)
        before = pids_of(executor)
        held = gate.hold(executor, 2)
        assert isinstance(executor.submit(die).exception(60), poolbar.WorkerCrashed)
        fresh = executor.submit(os.getpid).result(60)
        assert fresh not in before
        assert len(pids_of(executor) & before) == 2
        gate.open()
        assert [future.result(60) for future in held] == [None, None]


def test_an_initializer_that_kills_its_worker_each_time_breaks_the_executor_after_three_tries(tmp_path: Path) -> None:
    path = tmp_path / "tries"
    with poolbar.ProcessPoolExecutor(1, initializer=tasks.note_and_act, initargs=(str(path), 1, "exit")) as executor:
        error = executor.submit(tasks.same, 1).exception(60)
    assert "3 workers in a row" in str(error)
    assert lines(path) == ["1"] * 3


# --- tried again


def die_at_first(path: str, times: int, value: Any = None) -> Any:
    """Die so often, then return; each try appends to a file."""
    tasks.note(path, value)
    with open(path) as file:
        tries = file.read().split().count(str(value))
    if tries <= times:
        os._exit(4)
    return value


@pytest.mark.parametrize("way", ["submit", "map", "unordered"])
def test_a_task_that_kills_its_worker_is_tried_again(tmp_path: Path, way: str) -> None:
    path = tmp_path / "ran"
    with poolbar.ProcessPoolExecutor(2, retries=2) as executor:
        deaths = [2 if number in {0, 30, 31, 59} else 0 for number in range(60)]
        rows: list[Any] = [[str(path)] * 60, deaths, list(range(60))]
        if way == "submit":
            values = [future.result(60) for future in [executor.submit(die_at_first, *row) for row in zip(*rows, strict=True)]]
        else:
            values = list(executor.map(die_at_first, *rows, ordered=way == "map"))
    assert (sorted(values) if way == "unordered" else values) == list(range(60))
    assert Counter(lines(path)) == {str(number): 3 if deaths[number] else 1 for number in range(60)}


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_poison_task_costs_its_workers_and_no_one_else(tmp_path: Path, retries: int) -> None:
    path = tmp_path / "ran"
    with poolbar.ProcessPoolExecutor(1, retries=retries) as executor:
        for future in [executor.submit(tasks.note_and_act, str(tmp_path / "other"), 0, 0) for _ in range(1500)]:
            future.result(60)
        gate = Gate(tmp_path)
        gate.hold(executor)
        futures = [executor.submit(tasks.note_and_act, str(path), n, "exit" if n == 40 else n) for n in range(100)]
        gate.open()
        error = futures[40].exception(60)
        assert isinstance(error, poolbar.WorkerCrashed)
        assert error.tries == retries + 1
        assert (f"tried {retries + 1} times" in str(error)) == (retries > 0)
        assert [future.result(60) for n, future in enumerate(futures) if n != 40] == [n for n in range(100) if n != 40]
    assert Counter(lines(path)) == {str(n): retries + 1 if n == 40 else 1 for n in range(100)}


def test_the_variable_sets_retries_and_a_task_that_raises_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POOLBAR_RETRIES", "1")
    with poolbar.ProcessPoolExecutor(1) as executor:
        assert executor.submit(die_at_first, str(tmp_path / "ran"), 1, 5).result(60) == 5
        with pytest.raises(ValueError, match="as asked"):
            executor.submit(tasks.note_and_act, str(tmp_path / "raised"), 0, "raise").result(60)
    assert lines(tmp_path / "raised") == ["0"]


def test_a_task_that_is_to_be_tried_again_can_be_cancelled_while_it_waits(tmp_path: Path, gate: Gate) -> None:
    """It waits because its only worker died, and the next one cannot start before the gate opens."""
    first = tmp_path / "first"
    with poolbar.ProcessPoolExecutor(1, retries=5, initializer=wait_unless_first, initargs=(str(first), gate.path)) as executor:
        future = executor.submit(die)
        assert until(lambda: first.exists() and is_gone_after(first), 30)
        assert until(future.cancel, 30)
        gate.open()
        assert future.cancelled()
        assert executor.submit(tasks.same, 1).result(60) == 1


def wait_unless_first(first: str, gate: str) -> None:
    if not os.path.exists(first):
        tasks.write(first)
        with open(first, "w") as file:
            file.write(str(os.getpid()))
    else:
        tasks.wait_for(gate)


def is_gone_after(first: Path) -> bool:
    text = first.read_text()
    return bool(text) and is_gone(int(text))


@POSIX
def test_workers_killed_from_outside_lose_nothing_where_retries_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "ran"
    with poolbar.ProcessPoolExecutor(2, retries=20) as executor:
        start(executor, 2)
        futures = [executor.submit(tasks.note_and_nap, str(path), n) for n in range(400)]
        killed = kill_now_and_then(executor, path, futures, every=40, most=400)
        assert [future.result() for future in futures] == list(range(400))
    assert sum(Counter(lines(path)).values()) <= 400 + killed


# --- out of time


def note_and_stay(path: str, number: int, seconds: float | None) -> int:
    tasks.note(path, number)
    if seconds is not None:
        time.sleep(seconds)
    return number


def test_a_task_out_of_time_fails_alone_and_names_the_call_and_the_time() -> None:
    with poolbar.ProcessPoolExecutor(2, task_timeout=SHORT) as executor:
        futures = [executor.submit(tasks.nap, seconds, seconds) for seconds in (0, 600, 0.01, 0)]
        error = futures[1].exception(60)
        assert isinstance(error, poolbar.TaskTimeout)
        assert isinstance(error, TimeoutError)
        assert isinstance(error, FutureTimeoutError)
        assert "nap(600, 600)" in str(error)
        assert "0.25 s" in str(error)
        assert (error.seconds, error.tries) == (SHORT, 1)
        assert error.pid is not None
        assert is_gone(error.pid)
        assert [future.result(60) for future in futures if future is not futures[1]] == [0, 0.01, 0]


@pytest.mark.parametrize("way", ["submit", "map", "chunks"])
def test_in_a_batch_only_the_task_out_of_time_fails_and_none_runs_twice(tmp_path: Path, way: str) -> None:
    path = tmp_path / "ran"
    with poolbar.ProcessPoolExecutor(1, task_timeout=SHORT) as executor:
        list(executor.map(note_and_stay, [str(tmp_path / "other")] * 2000, range(2000), [None] * 2000))
        rows = [[str(path)] * 100, list(range(100)), [600.0 if number == 50 else None for number in range(100)]]
        if way == "submit":
            futures = [executor.submit(note_and_stay, *row) for row in zip(*rows, strict=True)]
            found = [future.exception(60) or future.result() for future in futures]
        else:
            chunksize = 100 if way == "chunks" else None
            found = list(executor.map(note_and_stay, *rows, chunksize=chunksize, errors="collect"))
    assert isinstance(found[50], poolbar.TaskTimeout)
    assert [*found[:50], *found[51:]] == [*range(50), *range(51, 100)]
    assert Counter(lines(path)) == Counter(map(str, range(100)))


def hold_the_gil(seconds: float) -> None:
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


@POSIX
def test_a_task_that_holds_the_gil_in_c_code_is_ended_in_time() -> None:
    with poolbar.ProcessPoolExecutor(1, task_timeout=SHORT) as executor:
        futures = [executor.submit(hold_the_gil, 600), executor.submit(tasks.same, 1)]
        assert isinstance(futures[0].exception(60), poolbar.TaskTimeout)
        assert futures[1].result(60) == 1


def test_time_is_counted_from_a_tasks_own_start(gate: Gate) -> None:
    """Neither what a task waits for a worker, nor the start of that worker and the import of its function count."""
    with poolbar.ProcessPoolExecutor(1, task_timeout=1.0, initializer=tasks.nap, initargs=(1.2,)) as executor:
        assert [future.result(60) for future in [executor.submit(tasks.nap, 0.3, n) for n in range(5)]] == list(range(5))


def test_an_import_that_takes_long_is_not_the_tasks_time(tmp_path: Path, script: Callable[..., list[str]]) -> None:
    (tmp_path / "slow_module.py").write_text("import time\ntime.sleep(1.2)\ndef call(value): return value\n")
    text = (
        "import poolbar\n"
        "import slow_module\n"
        "with poolbar.ProcessPoolExecutor(1, task_timeout=0.5) as executor:\n"
        "    print(executor.submit(slow_module.call, 1).result())\n"
    )
    assert script(text) == ["1"]


def test_a_task_out_of_time_is_tried_again_as_often_as_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "ran"
    with poolbar.ProcessPoolExecutor(2, task_timeout=SHORT, retries=2) as executor:
        futures = [executor.submit(note_and_stay, str(path), n, 600 if n == 3 else None) for n in range(20)]
        error = futures[3].exception(60)
        assert isinstance(error, poolbar.TaskTimeout)
        assert error.tries == 3
        assert "tried 3 times" in str(error)
        assert [future.result(60) for n, future in enumerate(futures) if n != 3] == [n for n in range(20) if n != 3]
    assert Counter(lines(path)) == {str(n): 3 if n == 3 else 1 for n in range(20)}


def spin(path: str, number: int, seconds: float) -> int:
    tasks.note(path, number)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    return number


def test_tasks_near_their_limit_have_one_outcome_each_and_no_neighbour_is_hit(tmp_path: Path) -> None:
    path, limit = tmp_path / "ran", 0.02
    seconds = [(0, 0, 0.0005, 0.0012, 0, 0.0195, 0.02, 0.0205, 0, 0.03)[number % 10] for number in range(120)]
    with poolbar.ProcessPoolExecutor(2, task_timeout=limit) as executor:
        errors = [executor.submit(spin, str(path), number, took) for number, took in enumerate(seconds)]
        found = [future.exception(60) for future in errors]
    assert {type(error) for error in found} <= {type(None), poolbar.TaskTimeout}
    assert Counter(lines(path)) == Counter(map(str, range(120)))
    # Not each of them: on a busy machine a look may come too late.
    assert any(isinstance(error, poolbar.TaskTimeout) for error, took in zip(found, seconds, strict=True) if took == 0.03)


@POSIX
def test_what_a_task_out_of_time_has_started_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with poolbar.ProcessPoolExecutor(1, task_timeout=1.0) as executor:
        future = executor.submit(start_and_wait, str(path))
        assert isinstance(future.exception(60), poolbar.TaskTimeout)
        assert until(lambda: is_gone(int(path.read_text())), 10)


def start_and_wait(path: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
        tasks.note(path, child.pid)
        child.wait()


def test_the_variable_sets_the_time_and_threads_refuse_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="task_timeout needs worker processes"):
        poolbar.ProgressExecutor(backend="thread", task_timeout=1)
    assert poolbar.ProgressExecutor(1, task_timeout=1).choice.kind == "process"
    monkeypatch.setenv("POOLBAR_TASK_TIMEOUT", "0.25")
    with pytest.raises(ValueError, match="POOLBAR_TASK_TIMEOUT needs worker processes"):
        poolbar.ProgressExecutor(1, backend="thread")
    with poolbar.ProgressExecutor(1) as executor:
        assert isinstance(executor.submit(tasks.nap, 600).exception(60), poolbar.TaskTimeout)


def test_a_warm_worker_keeps_to_the_time_of_the_executor_that_it_serves() -> None:
    pids = []
    for limit in (None, SHORT, None):
        with poolbar.ProcessPoolExecutor(1, task_timeout=limit) as executor:
            pids.append(executor.submit(os.getpid).result(60))
            if limit is None:
                assert executor.submit(tasks.nap, 2 * SHORT, 1).result(60) == 1
            else:
                assert isinstance(executor.submit(tasks.nap, 600).exception(60), poolbar.TaskTimeout)
    assert pids[0] == pids[1] != pids[2]


# --- killed


@pytest.mark.parametrize("how", [tasks.wait_for, hold_the_gil])
def test_a_running_task_can_be_killed_and_its_future_is_cancelled(gate: Gate, how: Any) -> None:
    with poolbar.ProcessPoolExecutor(2) as executor:
        start(executor, 2)
        held = gate.hold(executor)[0] if how is tasks.wait_for else executor.submit(how, 600)
        assert until(held.running)
        called = []
        held.add_done_callback(called.append)
        others = [executor.submit(tasks.same, number) for number in range(100)]
        assert executor.kill(held) is True
        assert held.cancelled()
        assert called == [held]
        with pytest.raises(CancelledError):
            held.result(0)
        assert list(poolbar.as_completed([held], timeout=10)) == [held]
        assert [future.result(60) for future in others] == list(range(100))
        assert executor.kill(held) is True  # again: it is cancelled


def test_killing_what_waits_cancels_it_and_killing_what_has_ended_does_nothing(gate: Gate, tmp_path: Path) -> None:
    with poolbar.ProcessPoolExecutor(1) as executor:
        ended = executor.submit(tasks.same, 1)
        assert ended.result(60) == 1
        before = pids_of(executor)
        gate.hold(executor)
        waiting = executor.submit(tasks.note, str(tmp_path / "ran"), 1)
        assert executor.kill(ended) is False
        assert executor.kill(waiting) is True
        gate.open()
        assert executor.submit(tasks.same, 2).result(60) == 2
        assert pids_of(executor) == before
    assert lines(tmp_path / "ran") == []


def test_killing_a_task_that_lies_in_a_worker_behind_another_ends_only_itself(tmp_path: Path, gate: Gate) -> None:
    path = tmp_path / "ran"
    with poolbar.ProcessPoolExecutor(1) as executor:
        for future in [executor.submit(wait_and_note, __file__, str(tmp_path / "other"), 0) for _ in range(2000)]:
            future.result(60)
        first = gate.hold(executor)[0]
        futures = [executor.submit(wait_and_note, gate.path + "2", str(path), number) for number in range(50)]
        gate.open()
        assert first.result(60) is None
        assert until(futures[20].running, 20) in {True, False}  # handed out with the others, or already back
        assert executor.kill(futures[20]) is True
        tasks.write(gate.path + "2")
        assert [future.result(60) for number, future in enumerate(futures) if number != 20] == [n for n in range(50) if n != 20]
    assert Counter(lines(path)) == Counter(str(number) for number in range(50) if number != 20)


def wait_and_note(gate: str, path: str, number: int) -> int:
    tasks.wait_for(gate)
    return tasks.note(path, number)  # type: ignore[no-any-return]


def test_killing_from_a_callback_works(gate: Gate) -> None:
    """Also of a task in the very batch whose outcome is being delivered."""
    with poolbar.ProcessPoolExecutor(1) as executor:
        for future in [executor.submit(tasks.wait_for, __file__) for _ in range(2000)]:
            future.result(60)
        held = gate.hold(executor)[0]
        first = executor.submit(tasks.wait_for, __file__)
        rest = [executor.submit(tasks.wait_for, gate.path + "never") for _ in range(5)]
        done = threading.Event()
        killed: list[bool] = []

        def kill_all(_: Any) -> None:
            killed.extend(executor.kill(future) for future in rest)
            done.set()

        first.add_done_callback(kill_all)
        gate.open()
        assert held.result(60) is None
        assert done.wait(60)
        assert killed == [True] * 5
        assert until(lambda: all(future.cancelled() for future in rest), 30)
        assert executor.submit(tasks.same, 1).result(60) == 1


def test_killing_many_tasks_at_random_hits_no_other(tmp_path: Path) -> None:
    path = tmp_path / "ran"
    seconds = [(0, 0, 0.0005, 0.0012, 0.003, 0.01)[number % 6] for number in range(300)]
    with poolbar.ProcessPoolExecutor(2) as executor:
        futures = [executor.submit(spin, str(path), number, took) for number, took in enumerate(seconds)]
        killed = {number for number in range(0, 300, 7) if executor.kill(futures[number])}
        for number, future in enumerate(futures):
            if number in killed:
                assert future.cancelled()
            else:
                assert future.result(60) == number
    assert max(Counter(lines(path)).values()) == 1


def test_a_killed_task_is_not_tried_again(gate: Gate, tmp_path: Path) -> None:
    with poolbar.ProcessPoolExecutor(1, retries=5) as executor:
        held = gate.hold(executor)[0]
        assert executor.kill(held) is True
        assert executor.submit(tasks.same, 1).result(60) == 1
        assert len(list(gate.begun.iterdir())) == 1


def test_a_thread_cannot_be_killed_and_says_so(gate: Gate) -> None:
    with poolbar.ThreadPoolExecutor(1) as executor:
        held = gate.hold(executor)[0]
        waiting = executor.submit(tasks.same, 1)
        with pytest.raises(RuntimeError, match="thread"):
            executor.kill(held)
        assert executor.kill(waiting) is True
        gate.open()
        assert held.result(60) is None


def test_a_future_of_another_executor_cannot_be_killed() -> None:
    foreign: poolbar.Future[int] = poolbar.Future()
    foreign.set_running_or_notify_cancel()
    with poolbar.ProcessPoolExecutor(1) as executor:
        with pytest.raises(ValueError, match="not of this executor"):
            executor.kill(foreign)
        executor.submit(tasks.same, 1).result(60)
        with pytest.raises(ValueError, match="not of this executor"):
            executor.kill(foreign)
        with pytest.raises(TypeError, match="takes a future"):
            executor.kill("task 1")  # type: ignore[arg-type]


# --- collected


@pytest.mark.parametrize("kind", ["process", "thread"])
@pytest.mark.parametrize("ordered", [True, False])
def test_collected_errors_are_values_in_their_place_and_told_at_the_end(
    kind: str, ordered: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with poolbar.ProgressExecutor(2, backend=kind) as executor:
        found = list(executor.map(tasks.fail_odd, iter(range(20)), ordered=ordered, errors="collect"))
    assert len(found) == 20
    if ordered:
        assert [value for value in found if not isinstance(value, Exception)] == list(range(0, 20, 2))
        assert [error.args for error in found[1::2]] == [(number,) for number in range(1, 20, 2)]
    told = [record.getMessage() for record in caplog.records if record.name == "poolbar"]
    assert len(told) == 1
    assert told[0].splitlines()[0] == "10 of 20 tasks of fail_odd failed"
    assert "10 x ValueError in fail_odd (tasks.py:" in told[0]
    assert "first: fail_odd(" in told[0]


def fail_in_many_ways(number: int) -> Any:
    if number == 3:
        os._exit(3)
    if number == 4:
        return tasks.NoTrip()
    if number == 5:
        return tasks.OneWay()
    if number == 6:
        raise SystemExit(4)
    if number in {7, 8}:
        raise KeyError(number)
    return number


def test_the_first_failure_of_the_input_stands_for_its_kind_whichever_came_first(caplog: pytest.LogCaptureFixture) -> None:
    with poolbar.ThreadPoolExecutor(2) as executor:
        list(executor.map(late_at_first, [0, 1, 2], errors="collect"))
    assert "3 x KeyError" in caplog.text
    assert "first: late_at_first(0)" in caplog.text


_second_failed = threading.Event()


def late_at_first(number: int) -> NoReturn:
    if number == 0:
        assert _second_failed.wait(20)
    else:
        _second_failed.set()
    raise KeyError("same")


def test_whatever_fails_a_task_can_be_collected(caplog: pytest.LogCaptureFixture) -> None:
    with poolbar.ProcessPoolExecutor(1) as executor:
        found = list(executor.map(fail_in_many_ways, range(10), chunksize=10, errors="collect"))
    kinds = [
        int,
        int,
        int,
        poolbar.WorkerCrashed,
        poolbar.NotPicklable,
        poolbar.NotUnpicklable,
        SystemExit,
        KeyError,
        KeyError,
        int,
    ]
    assert [type(value) for value in found] == kinds
    (told,) = [record.getMessage() for record in caplog.records if record.name == "poolbar"]
    assert told.splitlines()[0] == "6 of 10 tasks of fail_in_many_ways failed"
    assert told.splitlines()[1].startswith("  2 x KeyError in fail_in_many_ways (")
    assert len(told.splitlines()) == 6


def test_a_run_without_failures_tells_nothing_and_an_input_that_raises_still_raises(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("no more")

    with poolbar.ProcessPoolExecutor(1) as executor:
        assert list(executor.map(tasks.same, range(5), errors="collect")) == list(range(5))
        results = executor.map(tasks.same, broken(), errors="collect")
        assert next(results) == 1
        with pytest.raises(OSError, match="no more"):
            next(results)
        with pytest.raises(ValueError, match="errors must be 'raise' or 'collect', not 'ignore'"):
            executor.map(tasks.same, [1], errors="ignore")  # type: ignore[arg-type]
    assert [record for record in caplog.records if record.name == "poolbar"] == []


def test_a_summary_of_very_many_kinds_of_failures_stays_short(caplog: pytest.LogCaptureFixture) -> None:
    with poolbar.ThreadPoolExecutor(1) as executor:
        list(executor.map(raise_a_kind, range(100), errors="collect"))
    (told,) = [record.getMessage() for record in caplog.records if record.name == "poolbar"]
    assert len(told.splitlines()) == 22
    assert told.splitlines()[-1] == "  80 of other kinds"


def raise_a_kind(number: int) -> NoReturn:
    raise type(f"Error{number}", (Exception,), {})("text")


# --- too large


HOARD: list[bytearray] = []


def hoard(megabytes: int) -> int:
    HOARD.append(bytearray(megabytes << 20))
    return os.getpid()


@LINUX
def test_a_worker_that_has_grown_too_much_is_replaced_between_tasks_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POOLBAR_WORKER_MEMORY_MB", "50")
    with poolbar.ProcessPoolExecutor(1) as executor:
        pids = [executor.submit(hoard, 20).result(60) for _ in range(20)]
        pids += list(executor.map(hoard, [20] * 20))
    counts = list(Counter(pids).values())
    assert len(counts) >= 5
    assert all(3 <= count <= 8 for count in counts[:-1])  # a batch of small tasks may go a little too far
    told = [record.getMessage() for record in caplog.records if record.name == "poolbar"]
    assert len(told) == 1
    assert "MB after its first task" in told[0]
    assert f"worker process {pids[0]}" in told[0]


@LINUX
def test_a_worker_that_was_large_from_the_beginning_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "poolbar")
    with poolbar.ProcessPoolExecutor(1, worker_memory_mb=50, initializer=hoard, initargs=(100,)) as executor:
        assert len({executor.submit(hoard, 100).result(60), *[executor.submit(hoard, 1).result(60) for _ in range(20)]}) == 1
        list(executor.map(tasks.same, range(10_000)))
    assert [record for record in caplog.records if record.name == "poolbar"] == []


def test_threads_refuse_to_watch_their_memory() -> None:
    with pytest.raises(ValueError, match="worker_memory_mb needs worker processes"):
        poolbar.ProgressExecutor(backend="thread", worker_memory_mb=1)


# --- the parent ends

PARENT = """
import ctypes, os, sys, time, poolbar, tasks
import signal
executor = poolbar.ProcessPoolExecutor(2, progress=False)
place, how = sys.argv[1:]
met = [executor.submit(tasks.meet, place, number, 2) for number in range(2)]
assert all(future.result() for future in met)
print(*executor._processes, flush=True)
def hold_the_gil(path):
    tasks.write(path)
    ctypes.PyDLL(None).sleep(600)
held = [executor.submit(hold_the_gil, os.path.join(place, "begun" + str(number))) for number in range(2)]
while not all(os.path.exists(os.path.join(place, "begun" + str(number))) for number in range(2)):
    time.sleep(0.005)
print("ready", flush=True)
if how == "wait":
    held[0].result()
elif how == "map":
    list(executor.map(tasks.nap, [600] * 10))
else:
    while True:
        time.sleep(0.01)
"""


def parent(tmp_path: Path, how: str) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a process whose workers sit in C code that holds the GIL."""
    (tmp_path / "place").mkdir()
    started = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "place"), how],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True,
    )  # fmt: skip
    assert started.stdout is not None
    pids = [int(pid) for pid in started.stdout.readline().split()]
    assert len(pids) == 2
    assert started.stdout.readline() == "ready\n"
    return started, pids


@LINUX
def test_workers_that_hold_the_gil_are_gone_two_seconds_after_their_parent_was_killed(tmp_path: Path) -> None:
    process, pids = parent(tmp_path, "wait")
    with process:
        process.kill()
        process.wait()
        assert until(lambda: all(is_gone(pid) for pid in pids), 2)


@POSIX
@pytest.mark.parametrize("how", ["wait", "map", "loop"])
def test_sigterm_ends_the_parent_and_its_workers_silently(tmp_path: Path, how: str) -> None:
    process, pids = parent(tmp_path, how)
    with process:
        process.terminate()
        stdout, stderr = process.communicate(timeout=20)
        assert (process.returncode, stdout, stderr) == (-signal.SIGTERM, "", "")
        assert until(lambda: all(is_gone(pid) for pid in pids), 2)


@POSIX
def test_sigterm_is_left_as_it_was(script: Callable[..., list[str]]) -> None:
    text = """
import os, signal, poolbar
print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
with poolbar.ProcessPoolExecutor(1) as executor:
    executor.submit(abs, 1).result()
    print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, executor.submit(signal.getsignal, signal.SIGTERM).result().name)
    with poolbar.ProcessPoolExecutor(1, mp_context="fork") as other:
        print(other.submit(signal.getsignal, signal.SIGTERM).result().name)
    print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
def mine(*_): print("mine")
signal.signal(signal.SIGTERM, mine)
with poolbar.ProcessPoolExecutor(1) as executor:
    executor.submit(abs, 1).result()
    os.kill(os.getpid(), signal.SIGTERM)
print(signal.getsignal(signal.SIGTERM) is mine)
"""
    assert script(text) == ["True", "False SIG_DFL", "SIG_DFL", "False", "True", "mine", "True"]
