"""submit, futures, shutdown, workers' lives: as the standard library's, batched or not."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import functools
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

import pytest
import tasks
from conftest import KINDS, Gate, environment, is_gone, is_released, lines, until

import poolbar

if TYPE_CHECKING:
    from pathlib import Path

Script = Callable[..., list[str]]


def learn(executor: poolbar.ProgressExecutor, function: Callable[..., Any], *arguments: Any) -> None:
    """Run a function often enough that its tasks go in large batches."""
    for future in [executor.submit(function, *arguments) for _ in range(2000)]:
        future.result(20)


# --- futures


def test_futures_are_the_standard_librarys(pool: poolbar.ProgressExecutor) -> None:
    future = pool.submit(tasks.add, 1, 2, three=3)
    assert type(future) is concurrent.futures.Future
    assert isinstance(pool, concurrent.futures.Executor)
    assert future.result(20) == 6
    assert future.done()
    assert not future.running()
    assert not future.cancel()


def test_keywords_named_as_submits_own_reach_the_function(pool: poolbar.ProgressExecutor) -> None:
    assert pool.submit(dict, fn=1, self=2, timeout=3).result(20) == {"fn": 1, "self": 2, "timeout": 3}


def test_a_running_task_is_running_and_cannot_be_cancelled(pool: poolbar.ProgressExecutor, gate: Gate) -> None:
    held = gate.hold(pool, 2)
    assert all(future.running() and not future.cancel() for future in held)
    gate.open()


def test_a_waiting_task_can_be_cancelled_and_never_runs(pool: poolbar.ProgressExecutor, gate: Gate, tmp_path: Path) -> None:
    gate.hold(pool, 2)
    futures = [pool.submit(tasks.note, str(tmp_path / "ran"), number) for number in range(100)]
    assert not any(future.running() or future.done() for future in futures)
    assert all(future.cancel() for future in futures[::2])
    gate.open()
    assert [future.result(20) for future in futures[1::2]] == list(range(1, 100, 2))
    done, rest = poolbar.wait(futures, timeout=20)
    assert (len(done), len(rest)) == (100, 0)
    assert all(future.cancelled() for future in futures[::2])
    assert sorted(map(int, (tmp_path / "ran").read_text().split())) == list(range(1, 100, 2))


def test_tasks_that_were_handed_over_and_given_back_can_be_cancelled_again(gate: Gate, tmp_path: Path) -> None:
    """Law 4: they went with a batch whose first task turned out to be slow, and came back."""
    with poolbar.ProcessPoolExecutor(2) as executor:
        learn(executor, tasks.wait_for, str(tmp_path))
        waiting = Gate(tmp_path / "two") if (tmp_path / "two").mkdir() is None else None
        assert waiting is not None
        held = waiting.hold(executor, 2)
        first = executor.submit(tasks.wait_for, gate.path)
        second = executor.submit(tasks.wait_for, gate.path)
        rest = [executor.submit(tasks.wait_for, gate.path) for _ in range(50)]
        waiting.open()
        for future in held:
            future.result(20)
        assert until(lambda: first.running() and second.running() and not any(future.running() for future in rest))
        assert all(future.cancel() for future in rest)
        gate.open()
        assert (first.result(20), second.result(20)) == (None, None)


def test_wait_and_as_completed_see_tasks_end_one_by_one(pool: poolbar.ProgressExecutor, gate: Gate) -> None:
    slow = gate.hold(pool)[0]
    fast = [pool.submit(tasks.same, number) for number in range(20)]
    done, rest = poolbar.wait([slow, *fast], timeout=20, return_when=poolbar.FIRST_COMPLETED)
    assert slow in rest
    assert done
    assert {future.result() for future in poolbar.as_completed(fast, timeout=20)} == set(range(20))
    failed = pool.submit(tasks.fail)
    done, rest = poolbar.wait([slow, failed], timeout=20, return_when=poolbar.FIRST_EXCEPTION)
    assert (done, rest) == ({failed}, {slow})
    with pytest.raises(poolbar.TimeoutError):
        list(poolbar.as_completed([slow], timeout=0.05))
    gate.open()
    assert poolbar.wait([slow], timeout=20, return_when=poolbar.ALL_COMPLETED).done == {slow}


@pytest.mark.parametrize("kind", KINDS)
def test_asyncio_runs_in_it(kind: str) -> None:
    async def main(executor: Any) -> list[Any]:
        loop = asyncio.get_running_loop()
        futures = [loop.run_in_executor(executor, tasks.square, number) for number in range(200)]
        wrapped = asyncio.wrap_future(executor.submit(tasks.add, 1, 2))
        with pytest.raises(ValueError, match="as asked"):
            await loop.run_in_executor(executor, tasks.fail)
        return [await asyncio.gather(*futures), await wrapped]

    with KINDS[kind](2) as executor:
        assert asyncio.run(main(executor)) == [[number * number for number in range(200)], 3]


def test_cancelling_an_asyncio_task_cancels_a_waiting_future(pool: poolbar.ProgressExecutor, gate: Gate) -> None:
    gate.hold(pool, 2)
    future = pool.submit(tasks.same, 1)

    async def main() -> None:
        wrapped = asyncio.wrap_future(future)
        wrapped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wrapped

    asyncio.run(main())
    assert future.cancelled()
    gate.open()


def test_a_callback_may_submit_more(pool: poolbar.ProgressExecutor) -> None:
    ended, results = threading.Event(), []

    def more(future: poolbar.Future[int]) -> None:
        results.append(future.result())
        if len(results) < 100:
            pool.submit(tasks.add, future.result(), 1).add_done_callback(more)
        else:
            ended.set()

    pool.submit(tasks.same, 0).add_done_callback(more)
    assert ended.wait(20)
    assert results == list(range(100))


def test_a_callback_that_raises_is_logged_and_harms_nobody(
    pool: poolbar.ProgressExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    future = pool.submit(tasks.nap, 0.02, 5)
    future.add_done_callback(lambda _: 1 / 0)
    assert future.result(20) == 5
    assert pool.submit(tasks.same, 1).result(20) == 1
    assert until(lambda: "exception calling callback" in caplog.text)


def test_a_callback_may_map_in_the_same_executor_without_reading(pool: poolbar.ProgressExecutor) -> None:
    ended, found = threading.Event(), []

    def more(_: Any) -> None:
        found.append(pool.map(tasks.square, range(10)))
        ended.set()

    pool.submit(tasks.same, 0).add_done_callback(more)
    assert ended.wait(20)
    assert list(found[0]) == [number * number for number in range(10)]


def test_many_threads_submit_at_once(pool: poolbar.ProgressExecutor) -> None:
    wrong: list[int] = []

    def submit(base: int) -> None:
        futures = [pool.submit(tasks.square, base + number) for number in range(500)]
        wrong.extend(base for number, future in enumerate(futures) if future.result(60) != (base + number) ** 2)

    threads = [threading.Thread(target=submit, args=(base * 1000,)) for base in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert wrong == []


def test_tasks_of_many_functions_mix(pool: poolbar.ProgressExecutor) -> None:
    """More of them than a worker or an executor remembers."""
    functions = [eval(f"lambda x: x + {number}") for number in range(700)]
    for _ in range(2):
        futures = [pool.submit(function, 1) for function in functions]
        assert [future.result(60) for future in futures] == [number + 1 for number in range(700)]


def test_results_and_arguments_are_released_with_their_future(pool: poolbar.ProgressExecutor) -> None:
    argument = tasks.Tracked()
    watched = weakref.ref(argument)
    future = pool.submit(type, argument)
    assert future.result(20).__name__ == "Tracked"
    del argument
    assert until(lambda: is_released(watched), 5)
    other = pool.submit(tasks.tracked)
    result = weakref.ref(other.result(20))
    del other
    assert until(lambda: is_released(result), 5)


# --- what submit takes with it


def test_arguments_are_taken_as_they_are_at_submit(piped: poolbar.ProgressExecutor, gate: Gate) -> None:
    gate.hold(piped, 2)
    items, mapping = [1], {"numbers": [1]}
    futures = [
        piped.submit(tasks.same, items),
        piped.submit(tasks.same, value=mapping),
        piped.submit(tasks.same, [items]),
    ]
    items.append(2)
    mapping["numbers"].append(2)
    gate.open()
    assert [future.result(20) for future in futures] == [[1], {"numbers": [1]}, [[1]]]


def test_state_of_a_callable_counts_as_it_is_at_submit_and_each_task_gets_a_fresh_copy(
    piped: poolbar.ProgressExecutor, gate: Gate
) -> None:
    gate.hold(piped, 2)
    counter, items = tasks.Counter(10), [1]

    def closure() -> list[int]:
        items.append(0)
        return items

    partial = functools.partial(tasks.append, items)
    calls = [counter, counter.increase, partial, closure, *[counter] * 50]
    futures = [piped.submit(call) for call in calls]
    counter.count = 20
    items.append(2)
    late = [piped.submit(call) for call in calls]
    gate.open()
    assert [future.result(20) for future in futures] == [11, 11, 2, [1, 0], *[11] * 50]
    assert [future.result(20) for future in late] == [21, 21, 3, [1, 2, 0], *[21] * 50]
    assert (counter.count, items) == (20, [1, 2])


def test_an_argument_that_a_task_changes_is_changed_for_no_other_task(piped: poolbar.ProgressExecutor) -> None:
    items: list[int] = []
    assert {future.result(20) for future in [piped.submit(tasks.append, items) for _ in range(3000)]} == {1}


def test_a_result_that_a_later_task_changes_arrives_as_it_was() -> None:
    with poolbar.ProcessPoolExecutor(1, idle_seconds=0) as executor:
        futures = [executor.submit(tasks.grow, number) for number in range(2000)]
        assert [len(future.result(20)) for future in futures] == list(range(1, 2001))


# --- shutdown


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_shutdown_submit_and_map_raise(kind: str) -> None:
    executor = KINDS[kind](1)
    assert executor.submit(abs, -1).result(20) == 1
    executor.shutdown()
    for call in (lambda: executor.submit(abs, -1), lambda: executor.map(abs, [1])):
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            call()
    executor.shutdown()
    executor.shutdown(wait=False, cancel_futures=True)


@pytest.mark.parametrize("kind", KINDS)
def test_an_executor_that_was_never_used_can_be_shut_down(kind: str) -> None:
    executor = KINDS[kind](1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(abs, -1)


@pytest.mark.parametrize("kind", KINDS)
def test_shutdown_waits_for_all_that_was_submitted(kind: str) -> None:
    executor = KINDS[kind](2)
    futures = [executor.submit(tasks.nap, 0.001, number) for number in range(100)]
    executor.shutdown()
    assert [future.done() for future in futures] == [True] * 100
    assert [future.result() for future in futures] == list(range(100))


@pytest.mark.parametrize("kind", KINDS)
def test_shutdown_without_waiting_runs_what_is_pending(kind: str, gate: Gate) -> None:
    executor = KINDS[kind](1)
    gate.hold(executor)
    futures = [executor.submit(tasks.square, number) for number in range(50)]
    executor.shutdown(wait=False)
    assert not futures[0].done()
    gate.open()
    assert [future.result(20) for future in futures] == [number * number for number in range(50)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wait", [True, False])
def test_shutdown_can_cancel_what_is_pending(kind: str, gate: Gate, wait: bool) -> None:
    executor = KINDS[kind](1)
    held = gate.hold(executor)
    futures = [executor.submit(tasks.square, number) for number in range(50)]
    opener = threading.Timer(0.1, gate.open)
    opener.start()
    executor.shutdown(wait=wait, cancel_futures=True)
    assert held[0].result(20) is None
    assert sum(future.cancelled() for future in futures) >= 48
    poolbar.wait(futures, timeout=20)
    assert all(future.done() for future in futures)
    executor.shutdown()
    opener.join()


@pytest.mark.parametrize("kind", KINDS)
def test_a_callback_may_shut_the_executor_down(kind: str) -> None:
    executor = KINDS[kind](1)
    done = threading.Event()
    future = executor.submit(tasks.nap, 0.02)
    future.add_done_callback(lambda _: (executor.shutdown(), done.set()))
    assert done.wait(20)
    executor.shutdown()


@pytest.mark.parametrize("kind", KINDS)
def test_an_executor_dropped_without_a_shutdown_runs_what_is_pending_and_ends(kind: str, gate: Gate) -> None:
    executor: Any = KINDS[kind](2)
    gate.hold(executor, 2)
    futures = [executor.submit(tasks.square, number) for number in range(50)]
    threads = [lane.thread for lane in executor._crew.lanes]
    del executor
    gc.collect()
    gate.open()
    assert [future.result(20) for future in futures] == [number * number for number in range(50)]
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.parametrize("kind", KINDS)
def test_a_dropped_idle_executor_ends(kind: str) -> None:
    executor: Any = KINDS[kind](2)
    assert executor.submit(tasks.square, 3).result(20) == 9
    threads = [lane.thread for lane in executor._crew.lanes]
    del executor
    gc.collect()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.parametrize("kind", KINDS)
def test_many_short_executors_leave_nothing(kind: str) -> None:
    for number in range(30):
        with KINDS[kind](2) as executor:
            assert executor.submit(tasks.square, number).result(20) == number * number


# --- the interpreter's end


@pytest.mark.parametrize("kind", ["ProcessPoolExecutor", "ThreadPoolExecutor"])
def test_work_pending_at_the_interpreters_exit_is_done(script: Script, kind: str, tmp_path: Path) -> None:
    text = f"""
import poolbar, sys

def touch(path):
    open(path, "w").close()

def show(future):
    sys.stdout.write(f"{{future.result()}}\\n")

executor = poolbar.{kind}(2)
for number in range(5):
    executor.submit(pow, number, 2).add_done_callback(show)
executor.map(touch, iter(["made"]))
"""
    assert sorted(script(text)) == ["0", "1", "16", "4", "9"]
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("kind", ["ProcessPoolExecutor", "ThreadPoolExecutor"])
def test_a_submit_after_the_interpreters_shutdown_is_refused(script: Script, kind: str) -> None:
    text = f"""
import atexit, poolbar

@atexit.register
def late():
    for make in (lambda: executor, lambda: poolbar.{kind}(1)):
        try:
            make().submit(abs, 1)
        except RuntimeError as error:
            print(error)

executor = poolbar.{kind}(1)
print(executor.submit(abs, -1).result())
"""
    assert script(text) == ["1", *["cannot schedule new futures after interpreter shutdown"] * 2]


def test_an_exception_in_the_script_still_ends_everything(tmp_path: Path) -> None:
    text = "import poolbar, os\nex = poolbar.ProcessPoolExecutor(2)\nprint(ex.submit(os.getpid).result())\nraise SystemExit(3)\n"
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=60, env=environment(), cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert until(lambda: is_gone(int(done.stdout)))


# --- futures


def test_a_future_is_the_standard_librarys_with_the_same_attributes_and_methods_of_its_condition() -> None:
    with poolbar.ThreadPoolExecutor(1) as executor:
        future = executor.submit(abs, -1)
        assert future.result(20) == 1
    plain: concurrent.futures.Future[int] = concurrent.futures.Future()
    assert poolbar._future.new_future is poolbar._future._made, "futures of this Python have other attributes"
    plain.set_running_or_notify_cancel()
    plain.set_result(1)
    ours, theirs = vars(future), vars(plain)
    assert {name: value for name, value in ours.items() if name != "_condition"} == {
        name: value for name, value in theirs.items() if name != "_condition"
    }
    for name in (*vars(theirs["_condition"]), *vars(threading.Condition)):
        assert getattr(ours["_condition"], name, None) is not None or getattr(theirs["_condition"], name) is None, name


def test_many_threads_wait_for_one_future_and_all_are_told(tmp_path: Path) -> None:
    with poolbar.ThreadPoolExecutor(1) as executor:
        future = executor.submit(tasks.wait_for, str(tmp_path / "go"), None, 7)
        with pytest.raises(concurrent.futures.TimeoutError):
            future.result(0.01)
        found: list[int] = []
        waiting = [threading.Thread(target=lambda: found.append(future.result(20))) for _ in range(8)]
        for thread in waiting:
            thread.start()
        assert until(lambda: len(future._condition._waiters) == 8)  # type: ignore[attr-defined]
        tasks.write(str(tmp_path / "go"))
        for thread in waiting:
            thread.join(20)
        assert found == [7] * 8


# --- workers


def test_no_more_workers_start_than_there_are_tasks() -> None:
    with poolbar.ProcessPoolExecutor(8) as executor:
        for number in range(20):
            assert executor.submit(tasks.square, number).result(20) == number * number
        assert len(executor._processes) == 1


def test_a_pool_inside_a_worker_works() -> None:
    """The workers that it keeps warm end with it, not after their idle time."""
    with poolbar.ProcessPoolExecutor(1) as executor:
        assert executor.submit(tasks.run_inner, 2, [1, 2, 3], idle_seconds=15).result(60) == [1, 4, 9]
    ending = threading.Thread(target=poolbar.shutdown_warm_workers)
    ending.start()
    ending.join(7)
    assert not ending.is_alive()


def test_an_initializer_runs_once_in_each_worker_before_its_tasks(tmp_path: Path) -> None:
    with poolbar.ProcessPoolExecutor(2, initializer=tasks.remember_and_note, initargs=(str(tmp_path / "ran"), 5)) as executor:
        (tmp_path / "met").mkdir()
        met = [executor.submit(tasks.meet, str(tmp_path / "met"), number, 2) for number in range(2)]
        assert all(future.result(30) for future in met)
        assert {tuple(found) for found in executor.map(tasks.recall, range(500))} == {(5,)}
        pids = {executor.submit(os.getpid).result() for _ in range(20)}
    noted = [int(line) for line in (tmp_path / "ran").read_text().split()]
    assert len(noted) == len(set(noted)) == 2
    assert pids <= set(noted)


def test_an_initializer_runs_once_in_each_thread() -> None:
    seen = []
    barrier = threading.Barrier(3)
    with poolbar.ThreadPoolExecutor(
        3, initializer=lambda mark: seen.append((mark, threading.get_ident())), initargs=(1,)
    ) as executor:
        idents = {
            future.result(20)
            for future in [executor.submit(lambda: (barrier.wait(20), threading.get_ident())[1]) for _ in range(3)]
        }
    assert {ident for _, ident in seen} == idents
    assert len(seen) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_an_initializer_that_fails_breaks_the_executor_with_the_reason(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL + 1, "concurrent.futures")
    with KINDS[kind](2, initializer=tasks.fail, initargs=("no database",)) as executor:
        errors: list[BaseException | None] = []
        for number in range(5):
            try:
                future = executor.submit(tasks.same, number)
            except concurrent.futures.BrokenExecutor as error:
                errors.append(error)  # it is known already
            else:
                errors.append(future.exception(30))
        assert all(isinstance(error, concurrent.futures.BrokenExecutor) and "no database" in str(error) for error in errors)
        assert len({id(error) for error in errors}) == 5
        with pytest.raises(concurrent.futures.BrokenExecutor, match="no database"):
            executor.submit(tasks.same, 1)
        with pytest.raises(concurrent.futures.BrokenExecutor, match="no database"):
            list(executor.map(tasks.same, [1]))
        assert "broken" in repr(executor)


def test_a_map_in_flight_meets_an_initializer_that_fails() -> None:
    with (
        poolbar.ProcessPoolExecutor(1, initializer=tasks.fail) as executor,
        pytest.raises(BrokenProcessPool, match="initializer"),
    ):
        list(executor.map(tasks.same, iter(range(1000))))


def test_an_initializer_that_ends_its_process_breaks_the_executor() -> None:
    with (
        poolbar.ProcessPoolExecutor(2, initializer=os._exit, initargs=(9,)) as executor,
        pytest.raises(BrokenProcessPool, match="exit code 9"),
    ):
        executor.submit(tasks.same, 1).result(60)


def test_an_initializer_that_does_not_pickle_or_unpickle_is_a_clear_error() -> None:
    for initializer in (tasks.NoTrip(), tasks.OneWay()):
        try:
            with poolbar.ProcessPoolExecutor(1, initializer=initializer) as executor:
                error = executor.submit(tasks.same, 1).exception(30)
        except Exception as raised:  # at the submit is as good
            error = raised
        assert error is not None
        assert "stays where it is" in str(error) or "cannot be rebuilt" in str(error)


@pytest.mark.parametrize("most", [1, 3])
def test_max_tasks_per_child_is_exact(most: int, tmp_path: Path) -> None:
    with poolbar.ProcessPoolExecutor(2, max_tasks_per_child=most) as executor:
        pids = [future.result(30) for future in [executor.submit(tasks.pid_of) for _ in range(4 * most)]]
        pids += list(executor.map(tasks.pid_of, range(4 * most)))
        pids += list(executor.map(tasks.pid_of, range(4 * most), chunksize=2))
    counts = [pids.count(pid) for pid in set(pids)]
    assert max(counts) <= most
    assert sum(count < most for count in counts) <= 2  # the last ones


def test_max_tasks_per_child_is_exact_after_a_crash_and_after_what_did_not_run() -> None:
    with poolbar.ProcessPoolExecutor(1, max_tasks_per_child=3) as executor:
        pids = [executor.submit(os.getpid).result(20)]
        assert isinstance(executor.submit(os._exit, 1).exception(20), poolbar.WorkerCrashed)
        pids += [executor.submit(os.getpid).result(20)]
        with pytest.raises(poolbar.NotPicklable):
            list(executor.map(tasks.same, [tasks.NoTrip()]))
        pids += [executor.submit(os.getpid).result(20) for _ in range(5)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [1, 3, 3]


def test_ending_the_workers_of_an_idle_or_unused_executor_is_no_trouble() -> None:
    for use in (True, False):
        executor = poolbar.ProcessPoolExecutor(1)
        if use:
            executor.submit(tasks.same, 1).result(20)
        executor.kill_workers()
        executor.terminate_workers()
        executor.shutdown()


# --- what can be read


def test_the_repr_says_what_runs_and_why(gate: Gate) -> None:
    executor = poolbar.ProgressExecutor(2)
    assert repr(executor) == "<ProgressExecutor: not started>"
    gate.hold(executor, 2)
    waiting = [executor.submit(tasks.same, number) for number in range(5)]
    shown = repr(executor)
    assert executor.choice.kind in shown
    assert executor.choice.reason in shown
    assert "open" in shown
    assert "5 tasks waiting" in shown
    assert "2 batches running" in shown
    gate.open()
    poolbar.wait(waiting)
    executor.shutdown()
    assert "shut down" in repr(executor)
    assert "7 tasks done" in repr(executor)
    unused = poolbar.ProgressExecutor(2)
    unused.shutdown()
    assert repr(unused) == "<ProgressExecutor: shut down>"


@pytest.mark.parametrize(("backend", "kind"), [("process", "process"), ("thread", "thread")])
def test_the_choice_says_what_was_asked_for(backend: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choice = poolbar.ProgressExecutor(3, backend=backend).choice
    assert (choice.kind, choice.workers) == (kind, 3)
    assert "asked for" in choice.reason
    monkeypatch.setenv("POOLBAR_BACKEND", backend)
    assert poolbar.ProgressExecutor(3).choice == choice
    assert poolbar.ProcessPoolExecutor(3).choice.kind == "process"
    assert poolbar.ThreadPoolExecutor(3).choice.kind == "thread"


def test_auto_takes_processes_where_there_is_a_gil_and_threads_where_there_is_none() -> None:
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    choice = poolbar.ProgressExecutor().choice
    assert choice.kind == ("process" if gil else "thread")
    assert choice.workers >= 1
    assert poolbar.ProgressExecutor(max_tasks_per_child=3).choice.kind == "process"


def test_max_workers_is_there_for_those_who_read_it() -> None:
    assert poolbar.ProcessPoolExecutor(3)._max_workers == 3
    assert poolbar.ThreadPoolExecutor(3)._max_workers == 3
    assert poolbar.ProcessPoolExecutor(100)._max_workers == 100
    assert poolbar.ThreadPoolExecutor()._max_workers == concurrent.futures.ThreadPoolExecutor()._max_workers  # type: ignore[attr-defined]


def test_threads_have_the_name_that_was_asked_for() -> None:
    with poolbar.ThreadPoolExecutor(1, "mine") as executor:
        assert executor.submit(lambda: threading.current_thread().name).result(20).startswith("mine_")


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signal masks here")
def test_a_task_in_a_thread_has_the_signal_mask_of_its_process() -> None:
    """What it starts must be open to Ctrl-C."""
    with poolbar.ThreadPoolExecutor(1) as executor:
        assert executor.submit(signal.pthread_sigmask, signal.SIG_BLOCK, []).result(20) == signal.pthread_sigmask(
            signal.SIG_BLOCK, []
        )


# --- warm workers


def pid_in(executor: poolbar.ProgressExecutor) -> int:
    with executor:
        return executor.submit(os.getpid).result(20)


def test_a_warm_worker_serves_the_next_executor() -> None:
    first = pid_in(poolbar.ProcessPoolExecutor(1))
    assert pid_in(poolbar.ProcessPoolExecutor(1)) == first
    poolbar.shutdown_warm_workers()
    assert is_gone(first)
    assert pid_in(poolbar.ProcessPoolExecutor(1)) != first


def test_a_warm_worker_is_not_reused_with_another_initializer_environment_or_context(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plain = pid_in(poolbar.ProcessPoolExecutor(1))
    five = pid_in(poolbar.ProcessPoolExecutor(1, initializer=tasks.remember, initargs=(5,)))
    six = pid_in(poolbar.ProcessPoolExecutor(1, initializer=tasks.remember, initargs=(6,)))
    assert len({plain, five, six}) == 3
    with poolbar.ProcessPoolExecutor(1, initializer=tasks.remember, initargs=(5,)) as executor:
        assert executor.submit(tasks.pid_of).result(20) == five
        assert executor.submit(tasks.recall).result(20) == [5]
    assert pid_in(poolbar.ProcessPoolExecutor(1, mp_context="spawn")) not in (plain, five, six)
    monkeypatch.setenv("TESTS_OWN", "1")
    other = pid_in(poolbar.ProcessPoolExecutor(1))
    assert other not in (plain, five, six)
    monkeypatch.delenv("TESTS_OWN")
    monkeypatch.chdir(tmp_path)
    assert pid_in(poolbar.ProcessPoolExecutor(1)) not in (plain, other)


def test_a_warm_worker_does_not_keep_the_directory_or_the_variables_that_a_task_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with poolbar.ProcessPoolExecutor(1) as executor:
        executor.submit(os.chdir, "/").result(20)
        executor.submit(exec, "import os; os.environ['TESTS_OWN'] = '1'").result(20)
    with poolbar.ProcessPoolExecutor(1) as executor:
        assert executor.submit(os.getcwd).result(20) == os.getcwd()
        assert executor.submit(tasks.variables, "TESTS_OWN").result(20) == [None]


def test_idle_seconds_of_zero_keep_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    first = pid_in(poolbar.ProcessPoolExecutor(1, idle_seconds=0))
    assert is_gone(first)
    monkeypatch.setenv("POOLBAR_IDLE_SECONDS", "0")
    assert is_gone(pid_in(poolbar.ProcessPoolExecutor(1)))


def test_a_warm_worker_ends_after_its_idle_time() -> None:
    pid = pid_in(poolbar.ProcessPoolExecutor(1, idle_seconds=0.3))
    assert not is_gone(pid)
    assert until(lambda: is_gone(pid), 10)


def meet_now_and_at_exit(path: str, number: int) -> None:
    tasks.meet(f"{path}/in", number, 3)
    atexit.register(lambda: tasks.note(f"{path}/met", tasks.meet(f"{path}/out", number, 3, 10)))


def test_warm_workers_end_all_at_the_same_time(tmp_path: Path) -> None:
    """Each takes its time where large modules are loaded: one after the other, many workers would take many times that."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    with poolbar.ProcessPoolExecutor(3) as executor:
        for future in [executor.submit(meet_now_and_at_exit, str(tmp_path), number) for number in range(3)]:
            future.result(60)
    poolbar.shutdown_warm_workers()
    assert lines(tmp_path / "met") == ["True"] * 3


def test_a_warm_worker_that_died_is_not_missed() -> None:
    pid = pid_in(poolbar.ProcessPoolExecutor(1))
    os.kill(pid, signal.SIGKILL)
    assert pid_in(poolbar.ProcessPoolExecutor(1)) != pid


def test_a_worker_that_reached_its_limit_is_not_kept() -> None:
    pid = pid_in(poolbar.ProcessPoolExecutor(1, max_tasks_per_child=5))
    assert is_gone(pid)


def test_a_warm_worker_with_a_pending_second_executor_serves_it_after_the_first(gate: Gate) -> None:
    with poolbar.ProcessPoolExecutor(1) as first:
        pid = first.submit(os.getpid).result(20)
        with poolbar.ProcessPoolExecutor(1) as second:
            assert second.submit(os.getpid).result(20) != pid


LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def test_workers_get_thread_limits_unless_the_user_set_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LIMITS:
        monkeypatch.delenv(name, raising=False)
    with poolbar.ProcessPoolExecutor(100, idle_seconds=0) as executor:
        assert executor.submit(tasks.variables, *LIMITS).result(20) == ["1", "1", "1"]
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with poolbar.ProcessPoolExecutor(100, idle_seconds=0) as executor:
        assert executor.submit(tasks.variables, *LIMITS).result(20) == ["7", "1", "1"]
    assert os.environ.get("MKL_NUM_THREADS") is None


def test_workers_killed_while_they_start_take_nobody_along() -> None:
    """Before it has started, a process has no pid; a signal to none would go to the whole group, the caller too."""
    script = """
import poolbar
for _ in range(20):
    executor = poolbar.ProcessPoolExecutor(2, idle_seconds=0)
    futures = [executor.submit(abs, -1), executor.submit(abs, -1)]
    executor.kill_workers()
    for future in futures:
        assert future.cancelled() or future.exception() is not None or future.result() == 1
    executor.shutdown()
print("alive")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, start_new_session=True, env=environment()
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "alive\n", "")


def test_after_a_shutdown_a_submit_is_refused_even_if_it_does_not_pickle() -> None:
    executor = poolbar.ProcessPoolExecutor(1)
    assert executor.submit(abs, -1).result(60) == 1
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, threading.Lock())
