"""asyncio: futures and run_in_executor work as they are; amap is map for a loop that must not block, and so is ``async with``."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import tasks
from conftest import KINDS, environment, is_gone, is_released, lines, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import poolbar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from conftest import Gate

LAW = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


class Source:
    """An asynchronous iterator that counts, and notes who pulls it."""

    def __init__(self, items: Any) -> None:
        self.items = iter(items)
        self.pulled = 0
        self.threads: set[int] = set()

    def __aiter__(self) -> Source:
        return self

    async def __anext__(self) -> Any:
        await asyncio.sleep(0)
        self.threads.add(threading.get_ident())
        for item in self.items:
            self.pulled += 1
            return item
        raise StopAsyncIteration


async def generated(items: Any) -> AsyncIterator[Any]:
    for item in items:
        yield item


async def all_of(results: AsyncIterator[Any]) -> list[Any]:
    return [value async for value in results]


async def some_of(results: AsyncIterator[Any], count: int, found: list[Any] | None = None) -> list[Any]:
    found = [] if found is None else found
    async for value in results:
        found.append(value)
        if len(found) == count:
            break
    return found


async def eventually(fact: Callable[[], Any], seconds: float = 20.0) -> Any:
    """As ``until``, while the loop goes on."""
    deadline = time.monotonic() + seconds
    while not (found := fact()) and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    return found


def nothing_waits(executor: poolbar.ProgressExecutor) -> bool:
    return executor._crew is not None and all(entry.is_finished() for entry in executor._crew.backlog._entries)


def run(main: Awaitable[Any]) -> Any:
    async def limited() -> Any:
        return await asyncio.wait_for(main, 60)

    return asyncio.run(limited())


# --- what works as it is


def test_a_loop_runs_calls_in_an_executor_and_awaits_its_futures(pool: poolbar.ProgressExecutor) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(pool, tasks.add, 1, 2) == 3
        futures = [asyncio.wrap_future(pool.submit(tasks.square, number)) for number in range(100)]
        assert await asyncio.gather(*futures) == [number * number for number in range(100)]
        with pytest.raises(ValueError, match="as asked"):
            await asyncio.wrap_future(pool.submit(tasks.fail))

    run(main())


# --- amap is map


@LAW
@given(
    lists=st.lists(st.lists(st.integers(-1000, 1000), max_size=40), min_size=1, max_size=3),
    forms=st.lists(st.sampled_from([list, iter, generated, Source]), min_size=3, max_size=3),
    chunksize=st.none() | st.integers(1, 50),
    ordered=st.booleans(),
    buffersize=st.none() | st.integers(1, 9),
)
def test_amap_gives_what_the_builtin_map_gives(
    piped: poolbar.ProgressExecutor, lists: list[list[int]], forms: list[Callable[..., Any]],
    chunksize: int | None, ordered: bool, buffersize: int | None,
) -> None:  # fmt: skip
    inputs = [form(items) for form, items in zip(forms, lists, strict=False)]
    results = run(all_of(piped.amap(tasks.add, *inputs, chunksize=chunksize, ordered=ordered, buffersize=buffersize)))
    wanted = list(map(tasks.add, *lists))
    assert results == wanted if ordered else sorted(results) == sorted(wanted)


@pytest.mark.parametrize("form", [list, iter, generated])
def test_many_tiny_tasks_come_in_order(pool: poolbar.ProgressExecutor, form: Callable[..., Any]) -> None:
    assert run(all_of(pool.amap(tasks.same, form(range(20_000))))) == list(range(20_000))


def test_several_amaps_at_once_share_the_loop(pool: poolbar.ProgressExecutor) -> None:
    async def main() -> list[Any]:
        return await asyncio.gather(*[all_of(pool.amap(tasks.same, generated(range(size)))) for size in range(0, 3000, 300)])

    assert run(main()) == [list(range(size)) for size in range(0, 3000, 300)]


def test_results_come_as_tasks_end_where_that_is_asked_for(processes: poolbar.ProgressExecutor, gate: Gate) -> None:
    async def main() -> None:
        results = processes.amap(tasks.wait_for, [gate.path, os.devnull], [None] * 2, ["late", "early"], ordered=False)
        assert await anext(results) == "early"
        gate.open()
        assert await all_of(results) == ["late"]

    run(main())


# --- laziness


@pytest.mark.parametrize("is_asynchronous", [True, False])
def test_inputs_are_pulled_by_the_loop_as_far_as_the_window_reaches(
    pool: poolbar.ProgressExecutor, is_asynchronous: bool
) -> None:
    threads: set[int] = set()

    def count() -> Iterator[int]:
        for number in itertools.count():
            threads.add(threading.get_ident())
            pulled.append(number)
            yield number

    pulled: list[int] = []
    items: Any = generated(count()) if is_asynchronous else count()

    async def main() -> None:
        results = pool.amap(tasks.same, items, buffersize=5)
        assert pulled == []
        for read in range(1, 50):
            assert await anext(results) == read - 1
            await asyncio.sleep(0)
            assert len(pulled) <= read + 5
        await results.aclose()
        before = len(pulled)
        assert await all_of(pool.amap(tasks.same, [1])) == [1]
        assert len(pulled) == before

    run(main())
    assert threads == {threading.get_ident()}


def test_an_asynchronous_source_that_is_silent_holds_up_no_result(pool: poolbar.ProgressExecutor) -> None:
    async def main() -> None:
        more = asyncio.Event()

        async def hesitant() -> AsyncIterator[int]:
            yield 1
            await more.wait()
            yield 2

        results = pool.amap(tasks.same, hesitant())
        assert await anext(results) == 1
        more.set()
        assert await all_of(results) == [2]

    run(main())


def test_the_loop_goes_on_while_tasks_run_and_no_thread_waits(processes: poolbar.ProgressExecutor, gate: Gate) -> None:
    async def main() -> None:
        before = set(threading.enumerate())
        reading = asyncio.create_task(all_of(processes.amap(tasks.wait_for, [gate.path] * 4)))
        for _ in range(100):  # turns of the loop, which it would not take were it blocked
            await asyncio.sleep(0)
        assert set(threading.enumerate()) <= before
        assert not reading.done()
        gate.open()
        assert await reading == [None] * 4

    run(main())


def test_results_that_are_always_there_leave_others_their_turn(pool: poolbar.ProgressExecutor) -> None:
    async def main() -> int:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(others())
        async for _ in pool.amap(tasks.same, range(2000), chunksize=1):
            pass
        other.cancel()
        return turns

    assert run(main()) > 100


def test_amap_that_is_never_asked_runs_nothing(pool: poolbar.ProgressExecutor, tmp_path: Path) -> None:
    path = str(tmp_path / "notes")
    pool.amap(tasks.note, [path], [1])
    assert list(pool.map(abs, [-1])) == [1]
    assert lines(tmp_path / "notes") == []


def test_no_reference_to_results_is_kept(pool: poolbar.ProgressExecutor) -> None:
    async def main() -> None:
        results = pool.amap(tasks.tracked, range(3), chunksize=3)
        for _ in range(3):
            alive = weakref.ref(await anext(results))
            assert is_released(alive)
        await results.aclose()

    run(main())


# --- errors, and leaving early


@pytest.mark.parametrize("form", [list, generated])
def test_an_error_is_raised_in_its_place_and_ends_the_iteration(pool: poolbar.ProgressExecutor, form: Callable[..., Any]) -> None:
    async def main() -> None:
        results = pool.amap(tasks.fail_odd, form([0, 2, 3, 4]))
        assert [await anext(results), await anext(results)] == [0, 2]
        with pytest.raises(ValueError, match="3"):
            await anext(results)
        with pytest.raises(StopAsyncIteration):
            await anext(results)

    run(main())


def test_errors_are_values_where_that_is_asked_for(pool: poolbar.ProgressExecutor, caplog: pytest.LogCaptureFixture) -> None:
    found = run(all_of(pool.amap(tasks.fail_odd, generated(range(4)), errors="collect")))
    assert [type(value) for value in found] == [int, ValueError, int, ValueError]
    assert "2 of 4 tasks of fail_odd failed" in caplog.text


@pytest.mark.parametrize("is_asynchronous", [True, False])
def test_a_source_that_raises_does_so_after_the_results_before(pool: poolbar.ProgressExecutor, is_asynchronous: bool) -> None:
    def three() -> Iterator[int]:
        yield from range(3)
        raise LookupError("no more")

    async def main() -> None:
        results = pool.amap(tasks.same, generated(three()) if is_asynchronous else three())
        assert await some_of(results, 3) == [0, 1, 2]
        with pytest.raises(LookupError, match="no more"):
            await anext(results)

    run(main())


def test_a_wait_that_lasts_too_long_ends_in_a_timeout(pool: poolbar.ProgressExecutor, gate: Gate) -> None:
    async def main() -> None:
        results = pool.amap(tasks.wait_for, [gate.path], timeout=0.05)
        with pytest.raises(poolbar.TimeoutError):
            await anext(results)
        gate.open()

    run(main())


@pytest.mark.parametrize("way", ["break", "close", "cancel", "timeout"])
def test_leaving_early_drops_what_has_not_started(
    processes: poolbar.ProgressExecutor, gate: Gate, tmp_path: Path, way: str
) -> None:
    path = tmp_path / "notes"

    def items() -> Iterator[Any]:
        yield str(path), 0, "first"
        for number in itertools.count(1):
            yield str(path), number, number

    async def read() -> None:
        results = processes.amap(lambda row: tasks.note_and_act(*row), items(), buffersize=3)
        assert await anext(results) == "first"
        held = gate.hold(processes, 2)
        if way == "break":
            async for _ in results:
                break
            del results
        elif way == "close":
            await results.aclose()
        else:
            while True:
                await anext(results)
        assert await eventually(lambda: nothing_waits(processes))
        gate.open()
        await asyncio.gather(*map(asyncio.wrap_future, held))

    async def main() -> None:
        reading = asyncio.create_task(read())
        if way in {"cancel", "timeout"}:
            await eventually(lambda: len(list(gate.begun.iterdir())) == 2)
            if way == "cancel":
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
            else:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(reading, 0.05)
            gate.open()
        else:
            await reading
        ran = lines(path)
        await asyncio.wrap_future(processes.submit(abs, -1))
        assert await all_of(processes.amap(abs, [-1] * 50)) == [1] * 50
        assert lines(path) == ran
        assert len(ran) < 20

    run(main())


def test_without_an_event_loop_an_error_says_what_to_do(pool: poolbar.ProgressExecutor) -> None:
    for step, what in (pool.amap(abs, [1]).__anext__(), "amap"), (pool.__aenter__(), "async with"):
        with pytest.raises(RuntimeError, match=f"{what} needs a running asyncio event loop; elsewhere, let a thread wait"):
            step.send(None)
    for wrong in (lambda: pool.amap(abs), lambda: pool.amap(1, [1]), lambda: pool.amap(abs, 1)):  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            wrong()


# --- async with


@pytest.mark.parametrize("kind", KINDS)
def test_leaving_an_async_block_waits_and_lets_the_loop_go_on(kind: str, gate: Gate, tmp_path: Path) -> None:
    async def main() -> None:
        ticked = asyncio.Event()

        async def tick() -> None:
            await entered.wait()
            ticked.set()
            gate.open()

        entered = asyncio.Event()
        ticking = asyncio.create_task(tick())
        async with KINDS[kind](1) as executor:
            held = executor.submit(tasks.wait_for, gate.path, None, 5)
            unread = executor.map(tasks.note, iter([str(tmp_path / "notes")] * 3), range(3))
            entered.set()
        assert ticked.is_set()
        assert held.result(0) == 5
        assert lines(tmp_path / "notes") == ["0", "1", "2"]
        assert list(unread) == [0, 1, 2]
        with pytest.raises(RuntimeError):
            executor.submit(abs, 1)
        await ticking

    run(main())


def test_an_error_in_an_async_block_drops_what_has_not_started(gate: Gate) -> None:
    async def block(known: list[poolbar.Future[Any]]) -> None:
        async with poolbar.ProcessPoolExecutor(1) as executor:
            known += gate.hold(executor)
            known.append(executor.submit(abs, -1))
            known[1].add_done_callback(lambda _: gate.open())  # when it is cancelled, what runs can end
            raise LookupError

    async def main() -> None:
        known: list[poolbar.Future[Any]] = []
        with pytest.raises(LookupError):
            await block(known)
        held, waiting = known
        assert held.result(0) is None
        assert waiting.cancelled()

    run(main())


@pytest.mark.parametrize("where", ["inside", "at the end"])
def test_a_cancel_of_an_async_block_ends_what_runs(gate: Gate, where: str) -> None:
    async def main() -> None:
        known: dict[str, Any] = {}

        async def block() -> None:
            async with poolbar.ProcessPoolExecutor(1) as executor:
                known["held"] = gate.hold(executor)[0]
                known["waiting"] = executor.submit(abs, -1)
                known["pids"] = list(executor._processes)
                if where == "inside":
                    async for _ in executor.amap(abs, generated(range(3))):
                        pass

        blocked = asyncio.create_task(block())
        assert await eventually(lambda: "pids" in known)
        await asyncio.sleep(0)
        blocked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await blocked
        assert await eventually(lambda: all(map(is_gone, known["pids"])))
        assert isinstance(known["held"].exception(0), poolbar.WorkerCrashed)
        assert known["waiting"].cancelled()

    run(main())


def test_a_shutdown_breaks_off_an_amap_that_is_read_no_further(tmp_path: Path) -> None:
    async def main() -> None:
        for items in itertools.count(), generated(itertools.count()):
            async with poolbar.ProcessPoolExecutor(2) as executor:
                results = executor.amap(tasks.same, items, buffersize=4)
                assert await anext(results) == 0
            found: list[int] = []
            with pytest.raises(RuntimeError, match="shut down"):
                await some_of(results, 100, found)
            assert found == list(range(1, len(found) + 1))
            assert len(found) <= 5
            with pytest.raises(RuntimeError, match="shutdown"):
                await anext(executor.amap(abs, [1]))

    run(main())


def test_one_ctrl_c_ends_an_async_block(script: Callable[..., list[str]]) -> None:
    text = """
import asyncio, os, signal, threading, time, poolbar

async def main():
    async with poolbar.ProcessPoolExecutor(2) as executor:
        assert [value async for value in executor.amap(abs, [-1])] == [1]
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        async for _ in executor.amap(time.sleep, [60] * 4):
            pass

began = time.monotonic()
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - began < 10)
"""
    assert script(text) == ["interrupted True"]


def test_a_loop_that_ends_in_the_middle_leaves_nothing(processes: poolbar.ProgressExecutor) -> None:
    kept = []

    async def main() -> None:
        kept.append(processes.amap(tasks.same, generated(itertools.count())))
        assert await anext(kept[0]) == 0

    run(main())
    assert until(lambda: nothing_waits(processes))


def test_asyncio_is_not_loaded_unless_it_is_used() -> None:
    text = "import sys, poolbar\nwith poolbar.ThreadPoolExecutor(1) as executor: list(executor.map(abs, [1]))\n"
    text += "print('asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout == "False\n"
