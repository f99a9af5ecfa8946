"""Laws 2, 3, 9, 10 and 13, with real processes that wait for each other, die and are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

import pytest
import tasks
from conftest import KINDS, PIPED, Gate, environment, is_gone, kill_now_and_then, lines, start, until

import poolbar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals")


# --- law 2: nobody waits behind a running task while a worker is idle


@pytest.mark.parametrize("kind", PIPED)
@pytest.mark.parametrize("way", ["submit", "map", "submit one by one"])
def test_after_many_tiny_tasks_four_tasks_of_the_same_function_that_meet_meet_at_once(
    kind: str, tmp_path: Path, way: str
) -> None:
    with KINDS[kind](4) as executor:
        if way == "map":
            assert all(executor.map(tasks.meet_or_not, [None] * 5000))
            met = executor.map(tasks.meet_or_not, [(str(tmp_path), number, 4) for number in range(4)])
        else:
            tiny = [executor.submit(tasks.meet_or_not, None) for _ in range(5000)] if way == "submit" else []
            assert all(future.result(60) for future in tiny)
            if not tiny:
                assert all(executor.submit(tasks.meet_or_not, None).result(60) for _ in range(3000))
            futures = [executor.submit(tasks.meet_or_not, (str(tmp_path), number, 4)) for number in range(4)]
            met = iter([future.result(60) for future in futures])
        assert list(met) == [True] * 4


def test_tasks_that_meet_in_a_module_that_takes_long_to_import_meet(script: Callable[..., list[str]], tmp_path: Path) -> None:
    """The request to give tasks back comes while the new worker is still importing."""
    (tmp_path / "slow_import.py").write_text(
        "import time; time.sleep(0.3)\nfrom tasks import meet\ndef call(*a): return meet(*a) if a else True\n"
    )
    (tmp_path / "place").mkdir()
    text = f"""
import sys, os; sys.path.insert(0, {str(tmp_path)!r})
import poolbar, slow_import
with poolbar.ProcessPoolExecutor(4) as executor:
    for number in range(3000):
        executor.submit(slow_import.call).result()
    futures = [executor.submit(slow_import.call, {str(tmp_path / "place")!r}, number, 4) for number in range(4)]
    print([future.result() for future in futures])
"""
    assert script(text) == ["[True, True, True, True]"]


@pytest.mark.parametrize("kind", PIPED)
def test_a_task_may_wait_for_what_a_later_one_does(kind: str, gate: Gate) -> None:
    with KINDS[kind](2) as executor:
        assert all(executor.map(tasks.stay, [None] * 3000)) is False
        assert list(executor.map(tasks.wait_for, [__file__] * 3000)) == [None] * 3000
        waiting = executor.submit(tasks.wait_for, gate.path, None, "done")
        others = [executor.submit(tasks.wait_for, __file__) for _ in range(20)]
        opener = executor.submit(tasks.write, gate.path)
        assert waiting.result(30) == "done"
        assert opener.result(30) is None
        assert [future.result(30) for future in others] == [None] * 20


@pytest.mark.parametrize("kind", PIPED)
@pytest.mark.parametrize("way", ["submit", "map"])
def test_fast_tasks_do_not_hide_a_slow_one(kind: str, gate: Gate, way: str) -> None:
    """Their results arrive while the slow one that follows them in their batch runs."""
    with KINDS[kind](1) as executor:
        list(executor.map(tasks.wait_for, [__file__] * 3000))
        paths = [*[__file__] * 50, gate.path, *[__file__] * 50]
        if way == "submit":
            futures = [executor.submit(tasks.wait_for, path, None, number) for number, path in enumerate(paths)]
            assert [future.result(30) for future in futures[:50]] == list(range(50))
            assert not futures[50].done()
            gate.open()
            assert [future.result(30) for future in futures] == list(range(101))
        else:
            results = executor.map(tasks.wait_for, paths, [None] * 101, range(101), chunksize=101)
            assert [next(results) for _ in range(50)] == list(range(50))
            gate.open()
            assert list(results) == list(range(50, 101))


@pytest.mark.parametrize("kind", PIPED)
def test_slow_tasks_behind_fast_ones_are_shared_by_all_workers(kind: str, tmp_path: Path) -> None:
    """The skew run: after 2,000 no-ops, the slow tasks at the end run on every worker at once; here they meet.

    One group of them: with several, a worker may start on a later group before an earlier one is complete, as under the
    standard library with a chunksize above 1.
    """
    with KINDS[kind](4) as executor:
        start(executor, 4)
        slow = [(str(tmp_path), number, 4, 10.0) for number in range(4)]
        assert all(executor.map(tasks.meet_or_not, [*[None] * 2000, *slow]))


# --- law 3: outcomes are not kept back


@pytest.mark.parametrize("kind", PIPED)
@pytest.mark.parametrize("way", ["submit", "map", "unordered", "callback"])
def test_the_first_result_of_a_batch_arrives_while_the_second_task_runs(kind: str, gate: Gate, way: str) -> None:
    with KINDS[kind](1) as executor:
        arguments = [[__file__, gate.path], [None] * 2, [0, 1]]
        if way in ("map", "unordered"):
            results = executor.map(tasks.wait_for, *arguments, chunksize=2, ordered=way == "map")
            assert next(results) == 0
            gate.open()
            assert list(results) == [1]
            return
        list(executor.map(tasks.wait_for, [__file__] * 3000))
        for future in [executor.submit(tasks.wait_for, __file__) for _ in range(3000)]:
            future.result(30)
        first, second = [executor.submit(tasks.wait_for, *row) for row in zip(*arguments, strict=True)]
        arrived = threading.Event()
        first.add_done_callback(lambda _: arrived.set())
        assert arrived.wait(30)
        assert not second.done()
        gate.open()
        assert (first.result(), second.result(30)) == (0, 1)


# --- law 9: a dead worker costs one task

DEATHS = ["exit", "kill", "segfault"] if sys.platform != "win32" else ["exit"]


@pytest.mark.parametrize("death", DEATHS)
def test_a_dead_worker_fails_the_task_that_it_ran_and_no_other(tmp_path: Path, death: str) -> None:
    with poolbar.ProcessPoolExecutor(2) as executor:
        futures = [executor.submit(tasks.note_and_act, str(tmp_path / "ran"), n, death if n == 20 else n) for n in range(40)]
        error = futures[20].exception(60)
        assert isinstance(error, poolbar.WorkerCrashed)
        assert isinstance(error, BrokenProcessPool)
        assert "note_and_act" in str(error)
        assert str(error.pid) in str(error)
        how = {"exit": ("exit code 3", 3), "kill": ("SIGKILL", -9), "segfault": ("SIGSEGV", -11)}[death]
        assert (how[0] in str(error), error.exit_code) == (True, how[1])
        assert [future.result(60) for future in futures if future is not futures[20]] == [n for n in range(40) if n != 20]
        assert executor.submit(tasks.same, 1).result(60) == 1
    assert Counter(lines(tmp_path / "ran")) == Counter(map(str, range(40)))


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("place", [0, 1, 30, 98, 99])
def test_in_a_batch_of_microsecond_tasks_exactly_one_fails_and_none_runs_twice(tmp_path: Path, death: str, place: int) -> None:
    path = tmp_path / "ran"
    with poolbar.ProcessPoolExecutor(1) as executor:
        for future in [executor.submit(tasks.note_and_act, str(tmp_path / "other"), 0, 0) for _ in range(1500)]:
            future.result(60)
        gate = Gate(tmp_path)
        gate.hold(executor)
        futures = [executor.submit(tasks.note_and_act, str(path), n, death if n == place else n) for n in range(100)]
        gate.open()
        assert [n for n, future in enumerate(futures) if future.exception(60) is not None] == [place]
        assert isinstance(futures[place].exception(), poolbar.WorkerCrashed)
        assert [future.result() for n, future in enumerate(futures) if n != place] == [n for n in range(100) if n != place]
    assert Counter(lines(path)) == Counter(map(str, range(100)))


@pytest.mark.parametrize("chunksize", [None, 10, 100])
@pytest.mark.parametrize("plain", [True, False])
def test_results_before_a_death_arrive_in_order(tmp_path: Path, chunksize: int | None, plain: bool) -> None:
    values: list[Any] = list(range(50)) if plain else [tasks.Counter(n) for n in range(50)]
    arguments = [*values, "exit", *range(20)]
    with poolbar.ProcessPoolExecutor(1) as executor:
        results = executor.map(tasks.note_and_act, [str(tmp_path / "ran")] * 71, range(71), arguments, chunksize=chunksize)
        found = [next(results) for _ in range(50)]
        assert (found if plain else [counter.count for counter in found]) == list(range(50))
        with pytest.raises(poolbar.WorkerCrashed):
            next(results)
        assert executor.submit(tasks.same, 1).result(60) == 1
    assert max(Counter(lines(tmp_path / "ran")).values()) == 1


def test_many_deaths_in_a_row_cost_one_task_each(tmp_path: Path) -> None:
    with poolbar.ProcessPoolExecutor(2) as executor:
        futures = [executor.submit(tasks.note_and_act, str(tmp_path / "ran"), n, "exit" if n % 7 == 3 else n) for n in range(70)]
        failed = [n for n, future in enumerate(futures) if future.exception(60) is not None]
        assert failed == list(range(3, 70, 7))
    assert Counter(lines(tmp_path / "ran")) == Counter(map(str, range(70)))


def test_a_death_right_after_a_result_that_was_long_in_coming_costs_one_task(tmp_path: Path) -> None:
    """The parent loses patience with a batch, and asks for what is not started, just when its worker dies."""
    before = sys.getswitchinterval()
    busy, over = threading.Event(), threading.Event()

    def turn() -> None:
        while not over.is_set():
            busy.wait()
            while busy.is_set() and not over.is_set():
                pass

    threads = [threading.Thread(target=turn) for _ in range(2)]
    sys.setswitchinterval(0.02)
    for thread in threads:
        thread.start()
    try:
        with poolbar.ProcessPoolExecutor(2) as executor:
            for number in range(8):
                path = tmp_path / str(number)
                rows = [(str(path), 0, 0.0095 + number * 0.0003), (str(path), 1, None), (str(path), 2, 0)]
                busy.set()
                results = executor.map(note_nap_or_die, rows, chunksize=3)
                assert next(results) == 0
                with pytest.raises(poolbar.WorkerCrashed):
                    next(results)
                busy.clear()  # another worker starts in peace
                assert executor.submit(tasks.same, 1).result(60) == 1
                assert max(Counter(lines(path)).values()) == 1
    finally:
        over.set()
        busy.set()
        sys.setswitchinterval(before)
        for thread in threads:
            thread.join()


def note_nap_or_die(row: tuple[str, int, float | None]) -> int:
    path, number, seconds = row
    tasks.note(path, number)
    if seconds is None:
        os._exit(1)
    tasks.nap(seconds)
    return number


def bad_results_then_death(number: int) -> Any:
    if number == 1:
        return tasks.OneWay()
    if number == 2:
        return [b"x" * 100_000, tasks.NoTrip]
    if number == 4:
        os._exit(1)
    return number


def test_a_death_after_results_that_do_not_unpickle_costs_one_task_more() -> None:
    with poolbar.ProcessPoolExecutor(1) as executor:
        futures = [executor.submit(bad_results_then_death, 0) for _ in range(1000)]
        poolbar.wait(futures)
        futures = [executor.submit(bad_results_then_death, number) for number in range(6)]
        errors = [type(future.exception(60)) for future in futures]
        assert errors == [type(None), poolbar.NotUnpicklable, type(None), type(None), poolbar.WorkerCrashed, type(None)]
        results = executor.map(bad_results_then_death, range(6), chunksize=6)
        assert next(results) == 0
        with pytest.raises(poolbar.NotUnpicklable):
            next(results)
        assert executor.submit(tasks.same, 1).result(60) == 1


@POSIX
def test_idle_workers_that_are_killed_cost_nothing() -> None:
    with poolbar.ProcessPoolExecutor(2) as executor:
        start(executor, 2)
        for pid in list(executor._processes):
            os.kill(pid, signal.SIGKILL)
        assert [future.result(60) for future in [executor.submit(tasks.same, n) for n in range(100)]] == list(range(100))
        assert list(executor.map(tasks.same, range(1000))) == list(range(1000))


@POSIX
def test_workers_killed_again_and_again_lose_only_what_they_ran(tmp_path: Path) -> None:
    """Each killing costs one task at most, and no task runs twice."""
    path = tmp_path / "ran"
    with poolbar.ProcessPoolExecutor(2) as executor:
        start(executor, 2)
        futures = [executor.submit(tasks.note_and_nap, str(path), n) for n in range(600)]
        killed = kill_now_and_then(executor, path, futures, every=30, most=8)
        errors = [future.exception() for future in futures if future.exception() is not None]
        assert all(isinstance(error, poolbar.WorkerCrashed) for error in errors)
        assert len(errors) <= killed
    assert max(Counter(lines(path)).values()) == 1


# --- law 10: nobody outlives the parent

PARENT = """
import os, sys, time, poolbar, tasks
executor = poolbar.ProcessPoolExecutor(2)
STATE = sys.argv[1]
place = sys.argv[2]
met = [executor.submit(tasks.meet, place, number, 2) for number in range(2)]
assert all(future.result() for future in met)
print(*executor._processes, flush=True)
if STATE == "busy":
    held = [executor.submit(tasks.nap, 120) for _ in range(20)]
elif STATE == "spinning":
    held = [executor.submit(exec, "while True: pass") for _ in range(2)]
elif STATE == "warm":
    executor.shutdown()
print("ready", flush=True)
time.sleep(120)
"""


@POSIX
@pytest.mark.parametrize("state", ["idle", "busy", "spinning", "warm"])
def test_workers_are_gone_two_seconds_after_their_parent_was_killed(tmp_path: Path, state: str) -> None:
    (tmp_path / "place").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, state, str(tmp_path / "place")], stdout=subprocess.PIPE, text=True, env=environment()
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert parent.stdout.readline() == "ready\n"
        parent.kill()
        parent.wait()
        assert until(lambda: all(is_gone(pid) for pid in pids), 2)


INTERRUPTED = """
import os, signal, sys, threading, time, poolbar, tasks
caught = 0

def on_interrupt(*_):
    global caught
    caught += 1

signal.signal(signal.SIGINT, on_interrupt)
executor = poolbar.ProcessPoolExecutor(2)
early = [executor.submit(tasks.slow_pid, 0.3) for _ in range(2)]  # workers are starting
for _ in range(30):
    os.killpg(0, signal.SIGINT)
    time.sleep(0.02)
pids = {future.result() for future in early}
os.killpg(0, signal.SIGINT)  # workers are idle
time.sleep(0.1)
print(executor.submit(os.getpid).result() in pids, len(pids), caught >= 1)
"""


@POSIX
def test_an_interrupt_of_the_whole_group_kills_no_worker(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60, env=environment(), start_new_session=True
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "True 2 True\n")


CTRL_C = """
import sys, time, poolbar, tasks
place = sys.argv[1]
with poolbar.ProcessPoolExecutor(2) as executor:
    met = [executor.submit(tasks.meet, place, number, 2) for number in range(2)]
    assert all(future.result() for future in met)
    print(*executor._processes, flush=True)
    held = [executor.submit(tasks.nap, 100) for _ in range(4)]
    print("ready", flush=True)
    HOW
"""


@POSIX
@pytest.mark.parametrize(
    "how",
    [
        "while True: poolbar.wait(held, timeout=0.01)",
        "pass",
        "list(executor.map(tasks.nap, [100] * 4))",
        "while True: time.sleep(0.01)",
    ],
)
def test_ctrl_c_ends_the_run_and_its_workers(tmp_path: Path, how: str) -> None:
    (tmp_path / "place").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", CTRL_C.replace("HOW", how), str(tmp_path / "place")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert parent.stdout.readline() == "ready\n"
        os.killpg(parent.pid, signal.SIGINT)
        try:
            _, stderr = parent.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(parent.pid, signal.SIGKILL)
            raise
        assert parent.returncode in (1, -signal.SIGINT, 130)
        assert stderr.strip().endswith("KeyboardInterrupt")
        assert until(lambda: all(is_gone(pid) for pid in pids), 5)


# --- law 13: the count


def test_the_count_is_of_tasks_that_ended_and_cancelled_ones_are_taken_off(tmp_path: Path) -> None:
    with poolbar.ProcessPoolExecutor(1, progress=True) as executor:
        gate = Gate(tmp_path)
        gate.hold(executor)
        futures = [executor.submit(tasks.fail_odd, number) for number in range(10)]
        assert futures[8].cancel()
        counts = executor._tally.progress()
        assert (counts.done, counts.failed, counts.total) == (0, 0, 11)
        gate.open()
        poolbar.wait(futures)
        assert until(lambda: executor._tally.progress().done == 10)
        counts = executor._tally.progress()
        assert (counts.failed, counts.total) == (5, 10)
