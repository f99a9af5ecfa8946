"""Pool and ThreadPool: multiprocessing's, on the same lanes, where nothing hangs and inputs are pulled lazily."""

from __future__ import annotations

import itertools
import multiprocessing
import multiprocessing.pool
import operator
import os
import pickle
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import tasks
from conftest import Gate, is_gone, is_released, lines, start, until

import poolbar
from poolbar._gathering import ResultNotPicklable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

POOLS: dict[str, Any] = {"process": poolbar.Pool, "thread": poolbar.ThreadPool}


@pytest.fixture(scope="module", params=POOLS)
def own(request: pytest.FixtureRequest) -> Iterator[poolbar.Pool]:
    """A pool of two workers, shared by the tests of this module: they must leave it usable."""
    with POOLS[request.param](2) as pool:
        assert pool._executor.choice.kind == request.param
        start(pool._executor, 2)
        assert pool.apply_async(abs, (-1,), callback=int).get(20) == 1  # the thread of the callbacks is there from now on
        yield pool
        assert pool.apply(abs, (-1,)) == 1
    pool.join()
    poolbar.shutdown_warm_workers()


@pytest.fixture
def made() -> Iterator[Callable[..., poolbar.Pool]]:
    """Make pools that are terminated when the test ends, however it does."""
    pools: list[poolbar.Pool] = []

    def make(*arguments: Any, kind: str = "process", **keywords: Any) -> poolbar.Pool:
        pools.append(POOLS[kind](*arguments, **keywords))
        return pools[-1]

    yield make
    for pool in pools:
        pool.terminate()
        pool.join()


def odd(number: int) -> int:
    return tasks.fail_odd(number)


# --- results


def test_apply_calls_with_arguments_and_keywords(own: poolbar.Pool) -> None:
    assert own.apply(tasks.add, (1, 2), {"three": 3}) == 6
    assert own.apply_async(tasks.add).get(20) == 0


@pytest.mark.parametrize("form", [list, tuple, iter, set])
@pytest.mark.parametrize("chunksize", [None, 1, 7])
def test_all_maps_give_what_the_builtin_gives(own: poolbar.Pool, form: Callable[..., Any], chunksize: int | None) -> None:
    wanted = [number * number for number in range(100)]
    results = own.map(tasks.square, form(range(100)), chunksize)
    assert isinstance(results, list)
    assert sorted(results) == wanted
    assert sorted(own.map_async(tasks.square, form(range(100)), chunksize).get(20)) == wanted
    assert sorted(own.imap(tasks.square, form(range(100)), chunksize)) == wanted
    assert sorted(own.imap_unordered(tasks.square, form(range(100)), chunksize)) == wanted
    if form is not set:
        assert results == wanted == list(own.imap(tasks.square, form(range(100)), chunksize))


def test_starmap_takes_all_arguments_of_a_call_from_each_item(own: poolbar.Pool) -> None:
    rows = [[1], (2, 3), iter((4, 5, 6)), []]
    assert own.starmap(tasks.add, rows[:2]) == [1, 5]
    assert own.starmap_async(tasks.add, rows).get(20) == [1, 5, 15, 0]
    assert own.starmap(operator.mul, zip(range(50), range(50), strict=True), 7) == [number**2 for number in range(50)]


def test_nothing_to_do_is_done_at_once(own: poolbar.Pool) -> None:
    assert own.map(abs, []) == own.starmap(abs, []) == list(own.imap(abs, [])) == own.map_async(abs, []).get(20) == []


def test_a_map_of_large_results_comes_whole_with_a_small_buffer(
    made: Callable[..., poolbar.Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POOLBAR_BUFFERSIZE", "2")
    monkeypatch.setattr("poolbar._map.UNREAD_BYTES", 1 << 20)
    pool = made(2)
    sizes = [300_000] * 20
    assert [len(data) for data in pool.map(bytes, sizes)] == sizes
    assert [len(data) for data in pool.map_async(bytes, sizes).get(20)] == sizes
    assert [len(data) for data in pool.imap(bytes, sizes)] == sizes


# --- errors


def test_the_first_error_of_a_map_is_raised_and_the_others_run(own: poolbar.Pool, tmp_path: Path) -> None:
    for number, run in enumerate([own.starmap, lambda *asked: own.starmap_async(*asked).get(20)]):
        path = tmp_path / str(number)
        whats = ["raise" if index in {3, 7} else index for index in range(10)]
        with pytest.raises(ValueError, match="as asked"):
            run(tasks.note_and_act, [(str(path), index, what) for index, what in enumerate(whats)])
        assert sorted(map(int, lines(path))) == list(range(10))


def test_an_error_does_not_end_imap(own: poolbar.Pool) -> None:
    results = own.imap(odd, range(4), chunksize=4)
    assert next(results) == 0
    with pytest.raises(ValueError, match="1"):
        next(results)
    assert results.next() == 2
    with pytest.raises(ValueError, match="3"):
        results.next(20)
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(results)


def test_an_iterable_that_raises_does_so_where_it_did(own: poolbar.Pool) -> None:
    def three() -> Iterator[int]:
        yield from range(3)
        raise LookupError("no more")

    results = own.imap(tasks.same, three())
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LookupError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)
    for run in own.map, own.map_async, lambda fn, items: list(own.imap_unordered(fn, items)):
        with pytest.raises(LookupError, match="no more"):
            run(tasks.same, three())


def test_a_result_that_does_not_unpickle_fails_alone(made: Callable[..., poolbar.Pool]) -> None:
    pool = made(1)
    results = pool.imap(tasks.act, [1, "result that does not unpickle", 2], chunksize=3)
    assert next(results) == 1
    with pytest.raises(poolbar.NotUnpicklable):
        next(results)
    assert next(results) == 2


def test_errors_are_those_that_multiprocessing_has(made: Callable[..., poolbar.Pool]) -> None:
    pool = made(1)
    for ask in (
        lambda: pool.apply(tasks.fail),
        lambda: pool.map(tasks.fail, ["as asked"]),
        lambda: next(pool.imap(tasks.fail, ["as asked"])),
        lambda: pool.map_async(tasks.fail, ["as asked"]).get(20),
    ):
        with pytest.raises(ValueError, match="as asked") as caught:
            ask()
        assert type(caught.value.__cause__) is multiprocessing.pool.RemoteTraceback
        assert "tasks.py" in str(caught.value.__cause__)
    with pytest.raises(multiprocessing.pool.MaybeEncodingError) as caught_too:
        pool.apply(tasks.act, ("result that does not pickle",))
    error = caught_too.value
    assert isinstance(error, poolbar.NotPicklable)
    assert "act" in error.value
    assert "stays where it is" in error.exc
    copy = pickle.loads(pickle.dumps(ResultNotPicklable("a result: why")))
    assert (str(copy), copy.value, copy.exc) == ("a result: why", "a result", "why")


def test_threads_raise_their_own_error_not_a_copy(made: Callable[..., poolbar.Pool]) -> None:
    error = ValueError("itself")
    with pytest.raises(ValueError) as caught:
        made(1, kind="thread").apply(tasks.raise_it, (error,))
    assert caught.value is error
    assert error.__cause__ is None


def test_a_task_whose_worker_dies_fails_where_multiprocessing_would_hang(made: Callable[..., poolbar.Pool]) -> None:
    pool = made(2)
    dead = pool.apply_async(os._exit, (3,))
    results = pool.imap(tasks.act, ["fine", "kill", "fine too"])
    assert next(results) == "fine"
    with pytest.raises(poolbar.WorkerCrashed):
        next(results)
    assert next(results) == "fine too"
    with pytest.raises(poolbar.WorkerCrashed):
        dead.get(20)
    assert not dead.successful()


# --- waiting


def test_waiting_for_a_result_ends_in_time(own: poolbar.Pool, tmp_path: Path) -> None:
    path = str(tmp_path / "gate")
    result = own.apply_async(tasks.wait_for, (path, None, 5))
    results = own.imap(tasks.wait_for, [path])
    assert not result.ready()
    for ask in (lambda: result.get(0.01), lambda: results.next(0.01), lambda: results.next(0)):
        with pytest.raises(multiprocessing.TimeoutError):
            ask()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    result.wait(0.01)
    tasks.write(path)
    assert (result.get(20), result.ready(), result.successful()) == (5, True, True)
    assert results.next(20) is None


def test_a_timeout_of_the_task_itself_is_not_that_of_the_wait(own: poolbar.Pool) -> None:
    with pytest.raises(TimeoutError, match="mine"):
        own.apply_async(tasks.raise_it, (TimeoutError("mine"),)).get(20)
    with pytest.raises(TimeoutError, match="mine"):
        own.imap(tasks.raise_it, [TimeoutError("mine")]).next(20)


def test_several_threads_share_the_results_of_one_imap(own: poolbar.Pool) -> None:
    results = own.imap(tasks.same, range(5000))
    found: list[list[int]] = [[] for _ in range(4)]
    readers = [threading.Thread(target=part.extend, args=(results,)) for part in found]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert sorted(itertools.chain(*found)) == list(range(5000))


# --- callbacks


def test_callbacks_hear_of_results_in_one_thread_before_these_are_ready(own: poolbar.Pool) -> None:
    heard: list[tuple[Any, int]] = []

    def hear(value: Any) -> None:
        heard.append((value, threading.get_ident()))

    def never(value: Any) -> None:
        raise AssertionError(value)

    assert own.apply_async(abs, (-1,), callback=hear, error_callback=never).get(20) == 1
    assert own.map_async(abs, [-2, -3], None, hear, never).get(20) == [2, 3]
    assert own.starmap_async(divmod, [(7, 2)], callback=hear, error_callback=never).get(20) == [(3, 1)]
    own.apply_async(tasks.fail, callback=never, error_callback=hear).wait(20)
    own.map_async(odd, [0, 1, 2], callback=never, error_callback=hear).wait(20)
    assert [value for value, _ in heard[:3]] == [1, [2, 3], [(3, 1)]]
    assert [type(value) for value, _ in heard[3:]] == [ValueError, ValueError]
    (thread,) = {thread for _, thread in heard}
    assert thread != threading.get_ident()


def test_a_callback_that_raises_stops_nobody(own: poolbar.Pool, caplog: pytest.LogCaptureFixture) -> None:
    assert own.apply_async(abs, (-1,), callback=tasks.fail).get(20) == 1
    assert own.apply_async(abs, (-2,), callback=int).get(20) == 2
    assert "exception calling callback" in caplog.text


def test_a_callback_may_use_the_pool_and_end_it(made: Callable[..., poolbar.Pool]) -> None:
    for kind in POOLS:
        pool = made(2, kind=kind)
        found: list[Any] = []

        def first(value: int, pool: poolbar.Pool = pool, found: list[Any] = found) -> None:
            found.append(pool.map(abs, [-value]))
            pool.terminate()

        pool.apply_async(abs, (-5,), callback=first).wait(20)
        pool.join()
        assert found == [[5]]
        with pytest.raises(ValueError, match="Pool not running"):
            pool.apply_async(abs, (1,))


# --- laziness


def test_imap_pulls_as_far_as_a_window_reaches_in_the_readers_thread(own: poolbar.Pool) -> None:
    pulled: list[int] = []

    def count() -> Iterator[int]:
        for number in itertools.count():
            pulled.append(threading.get_ident())
            yield number

    results = own.imap(tasks.same, count())
    assert list(itertools.islice(results, 100)) == list(range(100))
    assert len(pulled) < 400_000
    assert set(pulled) == {threading.get_ident()}
    del results


def test_imap_whose_results_nobody_reads_runs_every_task(own: poolbar.Pool, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    own.imap(lambda number: tasks.note(str(path), number), iter(range(50)))
    assert until(lambda: sorted(map(int, lines(path))) == list(range(50)))


def test_leaving_imap_early_lets_go_of_the_iterable(own: poolbar.Pool) -> None:
    watched = tasks.Tracked()
    alive = weakref.ref(watched)

    def endless(kept: Any) -> Iterator[int]:
        while kept:
            yield 1

    for value in own.imap(tasks.same, endless(watched)):
        assert value == 1
        break
    del watched
    assert is_released(alive)


# --- the end


def test_leaving_the_block_ends_what_runs_and_drops_what_waits(gate: Gate) -> None:
    with poolbar.Pool(2) as pool:
        running = [
            pool.apply_async(tasks.wait_for, (gate.path, str(gate.begun / str(number)))) for number in range(2)
        ]  # fmt: skip
        waiting = pool.apply_async(abs, (1,), callback=tasks.fail, error_callback=tasks.fail)
        mapped = pool.map_async(tasks.nap, [60] * 10)
        lazy = pool.imap(tasks.nap, itertools.repeat(60))
        assert until(lambda: len(list(gate.begun.iterdir())) == 2)
        pids = [process.pid for process in pool._pool]
        assert len(pids) == 2
    assert until(lambda: all(map(is_gone, pids)))
    for result in running:
        with pytest.raises(poolbar.WorkerCrashed):
            result.get(20)
    for dropped in waiting, mapped:
        with pytest.raises(poolbar.CancelledError):
            dropped.get(20)
    with pytest.raises(poolbar.CancelledError):
        next(lazy)
    pool.join()


def test_workers_with_nothing_to_do_are_kept_for_the_next_pool() -> None:
    with poolbar.Pool(1) as pool:
        first = pool.apply(tasks.pid_of)
    with poolbar.Pool(1) as pool:
        assert pool.apply(tasks.pid_of) == first


def test_threads_are_waited_for(gate: Gate) -> None:
    with poolbar.ThreadPool(1) as pool:
        running = pool.apply_async(tasks.wait_for, (gate.path, str(gate.begun / "0"), 5))
        assert until(lambda: list(gate.begun.iterdir()))
        waiting = pool.apply_async(abs, (1,))
        gate.open()
    assert running.get(0) == 5
    with pytest.raises(poolbar.CancelledError):
        waiting.get(0)


@pytest.mark.parametrize("kind", POOLS)
def test_close_and_join_run_all_that_was_asked_for(made: Callable[..., poolbar.Pool], kind: str) -> None:
    pool = made(2, kind=kind)
    heard: list[int] = []
    results = [pool.apply_async(tasks.nap, (0.001, number), callback=heard.append) for number in range(50)]
    mapped = pool.map_async(tasks.square, range(1000))
    lazy = pool.imap(tasks.square, iter(range(1000)))
    assert next(lazy) == 0
    with pytest.raises(ValueError, match="still running"):
        pool.join()
    pool.close()
    for ask in pool.apply, pool.apply_async, pool.map, pool.map_async, pool.imap, pool.imap_unordered, pool.starmap:
        with pytest.raises(ValueError, match="Pool not running"):
            ask(abs, [])
    with pytest.raises(ValueError, match="Pool not running"):
        pool.__enter__()
    assert next(lazy) == 1
    pool.join()
    assert sorted(heard) == [result.get(0) for result in results] == list(range(50))
    assert len(mapped.get(0)) == 1000
    assert list(lazy) == [number * number for number in range(2, 1000)]


def test_a_closed_pool_that_did_nothing_is_joined_at_once(made: Callable[..., poolbar.Pool]) -> None:
    pool = made(2)
    pool.close()
    pool.close()
    pool.join()
    pool.terminate()


def test_the_program_ends_with_a_pool_that_nobody_has_closed(script: Callable[..., list[str]]) -> None:
    text = "import itertools, os, time, poolbar\npool = poolbar.Pool(2)\nprint(pool.apply(abs, (-1,)))\n"
    text += "results = pool.imap(time.sleep, itertools.repeat(60))\nlost = pool.apply_async(time.sleep, (60,))"
    assert script(text, seconds=30) == ["1"]


def test_a_ctrl_c_in_a_map_ends_the_block_at_once(script: Callable[..., list[str]]) -> None:
    text = """
import os, signal, threading, time, poolbar
try:
    with poolbar.Pool(2) as pool:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        pool.map(time.sleep, [60] * 4)
except KeyboardInterrupt:
    print("interrupted")
"""
    began = time.monotonic()
    assert script(text) == ["interrupted"]
    assert time.monotonic() - began < 20


def test_a_pool_that_is_dropped_says_so_and_leaves_nothing() -> None:
    pool = poolbar.Pool(1)
    assert pool.apply_async(abs, (-1,), callback=int).get(20) == 1
    with pytest.warns(ResourceWarning, match="unclosed running multiprocessing pool") as told:
        del pool
    assert len(told) == 1


def test_tasks_keep_no_reference_to_arguments_and_results(own: poolbar.Pool) -> None:
    items = [tasks.Tracked() for _ in range(5)]
    alive = [weakref.ref(item) for item in items]
    results = own.map(tasks.same, items)
    alive += [weakref.ref(result) for result in results]
    del items, results
    assert all(map(is_released, alive))


# --- how it is made


def test_wrong_arguments_are_refused_as_multiprocessing_refuses_them() -> None:
    for kind in POOLS.values():
        for processes in 0, -1:
            with pytest.raises(ValueError):
                kind(processes)
        with pytest.raises(TypeError):
            kind(1, initializer=1)
        with pytest.raises(TypeError):
            kind(1, no_such_keyword=1)
    for tasks_per_child in 0, -1, 0.5, "12":
        with pytest.raises(ValueError):
            poolbar.Pool(3, maxtasksperchild=tasks_per_child)
    with poolbar.Pool(1) as pool, pytest.raises(NotImplementedError):
        pickle.dumps(pool)


def test_initializer_context_and_settings_reach_the_workers(made: Callable[..., poolbar.Pool]) -> None:
    pool = made(1, tasks.remember, ["set"], 2, multiprocessing.get_context("spawn"), desc="named", unit="row", retries=1)
    assert pool.apply(tasks.recall) == ["set"]
    assert len({pool.apply(tasks.pid_of) for _ in range(4)}) > 1
    assert (pool._processes, pool._executor._options.unit, pool._executor._options.retries) == (1, "row", 1)
    assert made(2, backend="thread")._executor.choice.kind == "thread"
    assert made(2)._executor.choice.reason == "the executor's class says so"
    assert made(2, thread_safe=True)._executor._options.is_auto
    assert "state=RUN" in repr(pool)


def test_a_bar_counts_what_a_pool_does(made: Callable[..., poolbar.Pool]) -> None:
    class Last(poolbar.Reporter):
        def __init__(self) -> None:
            self.ends: list[tuple[str | None, int | None, int, int]] = []

        def finished(self, progress: poolbar.Progress) -> None:
            self.ends.append((progress.desc, progress.total, progress.done, progress.failed))

    last = Last()
    pool = made(2, progress=last, desc="numbers")
    pool.map(tasks.square, range(100))
    with pytest.raises(ValueError):
        pool.map_async(odd, range(10)).get(20)
    list(pool.imap(tasks.square, iter(range(30))))
    assert until(lambda: len(last.ends) == 3)
    assert last.ends == [("numbers", 100, 100, 0), ("numbers", 10, 10, 5), ("numbers", 30, 30, 0)]
