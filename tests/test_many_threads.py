"""One executor, many threads: submits, maps, cancels and shutdowns from anywhere, from callbacks and tasks too.

Each task has exactly one outcome and runs exactly once; nobody waits for ever.
"""

from __future__ import annotations

import itertools
import queue
import random
import threading
from collections import Counter
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import pytest
import tasks
from conftest import KINDS, Gate, start, until

import poolbar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Script = Callable[..., list[str]]


def ran(path: Path) -> Counter[int]:
    """Return how often each task ran."""
    return Counter(map(int, path.read_text().split())) if path.exists() else Counter()


def once(numbers: Any) -> Counter[int]:
    return Counter(dict.fromkeys(numbers, 1))


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Make each call in a thread of its own, all at the same time; return what they returned, or raise what one raised."""
    together = threading.Barrier(len(calls))
    outcomes: list[Any] = [None] * len(calls)
    errors: list[BaseException] = []

    def run(position: int) -> None:
        try:
            together.wait(30)
            outcomes[position] = calls[position]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(position,)) for position in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]
    return outcomes


# --- submit and map


def test_many_threads_submit_and_map_at_once(pool: poolbar.ProgressExecutor, tmp_path: Path) -> None:
    path = tmp_path / "ran"
    heard: Counter[int] = Counter()

    def hear(future: poolbar.Future[int]) -> None:
        heard[future.result()] += 1  # of each number there is one, so no two threads write the same

    def submit(base: int) -> None:
        futures = [pool.submit(tasks.note, str(path), base + number) for number in range(200)]
        for future in futures:
            future.add_done_callback(hear)
        assert [future.result(60) for future in futures] == list(range(base, base + 200))

    def run(base: int, options: dict[str, Any]) -> None:
        numbers = range(base, base + 200)
        inputs = iter(numbers) if base % 2000 else numbers
        assert sorted(pool.map(tasks.note, itertools.repeat(str(path)), inputs, **options)) == list(numbers)

    ways: list[dict[str, Any]] = [{}, {"ordered": False}, {"chunksize": 7}, {"buffersize": 3}]
    bases = range(0, 12_000, 1000)
    calls: list[Callable[[], Any]] = [lambda base=base: submit(base) for base in bases[:4]]
    calls += [lambda base=base: run(base, ways[base // 2000 % 4]) for base in bases[4:]]
    at_once(*calls)
    assert ran(path) == once(number for base in bases for number in range(base, base + 200))
    assert until(lambda: sum(heard.values()) == 800)
    assert set(heard.values()) == {1}


def test_futures_that_other_threads_cancel_run_or_are_cancelled(pool: poolbar.ProgressExecutor, tmp_path: Path) -> None:
    path = tmp_path / "ran"
    count = 2000
    heard: Counter[int] = Counter()
    futures = [pool.submit(tasks.note, str(path), number) for number in range(count)]
    for number, future in enumerate(futures):
        future.add_done_callback(lambda _, number=number: heard.update([number]))

    def cancel(seed: int) -> set[int]:
        numbers = random.Random(seed).sample(range(count), count // 3)
        return {number for number in numbers if futures[number].cancel()}

    def watch() -> int:
        return len(list(poolbar.as_completed(futures, timeout=60)))

    *cancelled, seen, also_seen = at_once(*[lambda seed=seed: cancel(seed) for seed in range(3)], watch, watch)
    assert seen == also_seen == count
    assert {number for number, future in enumerate(futures) if future.cancelled()} == set().union(*cancelled)
    kept = [number for number, future in enumerate(futures) if not future.cancelled()]
    assert [futures[number].result() for number in kept] == kept
    assert ran(path) == once(kept)
    assert until(lambda: sum(heard.values()) == count)
    assert heard == once(range(count))


def test_threads_use_the_executor_while_the_main_thread_maps_what_they_send(
    pool: poolbar.ProgressExecutor, tmp_path: Path
) -> None:
    """The input of the map waits for results of tasks that run beside it."""
    path, threads, count = tmp_path / "ran", 4, 100
    results: queue.Queue[int | None] = queue.Queue()

    def feed(base: int) -> None:
        for number in range(base, base + count):
            results.put(pool.submit(tasks.square, number).result(60))
        results.put(None)

    def squares() -> Iterator[int]:
        ended = 0
        while ended < threads:
            item = results.get(timeout=60)
            if item is None:
                ended += 1
            else:
                yield item

    feeders = [threading.Thread(target=feed, args=(thread * count,)) for thread in range(threads)]
    for feeder in feeders:
        feeder.start()
    found = list(pool.map(tasks.note, itertools.repeat(str(path)), squares()))
    for feeder in feeders:
        feeder.join(60)
    assert sorted(found) == [number * number for number in range(threads * count)]
    assert ran(path) == once(found)


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("options", [{}, {"chunksize": 9}, {"buffersize": 11}, {"ordered": False}], ids=str)
def test_a_map_is_read_by_several_threads_one_after_the_other(
    pool: poolbar.ProgressExecutor, tmp_path: Path, options: dict[str, Any], lazy: bool
) -> None:
    path, count = tmp_path / "ran", 300
    numbers = range(count)
    results = pool.map(tasks.note, [str(path)] * count, iter(numbers) if lazy else numbers, **options)
    found = [next(results)]
    for _ in range(9):
        found += at_once(lambda: list(itertools.islice(results, 30)))[0]
    found += at_once(lambda: list(results))[0]
    assert (found if options.get("ordered", True) else sorted(found)) == list(numbers)
    assert ran(path) == once(numbers)


@pytest.mark.parametrize("lazy", [True, False])
def test_a_map_left_halfway_in_another_thread_ends(pool: poolbar.ProgressExecutor, tmp_path: Path, lazy: bool) -> None:
    path = tmp_path / "ran"
    numbers: Any = itertools.count() if lazy else range(100_000)
    results: Any = pool.map(tasks.note, itertools.repeat(str(path)), numbers)
    assert next(results) == 0
    at_once(lambda: (next(results), results.close()))
    with pytest.raises(StopIteration):
        next(results)
    assert until(lambda: "0 tasks waiting, 0 batches running" in repr(pool))
    assert max(ran(path).values()) == 1


def test_executors_that_come_and_go_in_many_threads_share_the_warm_workers() -> None:
    def use(base: int) -> list[int]:
        found = []
        for number in range(10):
            with poolbar.ProcessPoolExecutor(1 + number % 2) as executor:
                found.append(executor.submit(tasks.square, base + number).result(60))
                found += executor.map(tasks.square, [base, base + 1])
        return found

    def clear() -> None:
        for _ in range(10):
            poolbar.shutdown_warm_workers()

    *found, _ = at_once(*[lambda base=base: use(base) for base in (100, 200, 300)], clear)
    wanted = [[(base + number) ** 2, base**2, (base + 1) ** 2] for base in (100, 200, 300) for number in range(10)]
    assert list(itertools.chain(*found)) == list(itertools.chain(*wanted))


# --- from callbacks


def test_callbacks_that_submit_grow_a_tree(pool: poolbar.ProgressExecutor, tmp_path: Path) -> None:
    path, count = tmp_path / "ran", 1000
    ended = threading.Semaphore(0)

    def grow(number: int) -> None:
        if number <= count:
            pool.submit(tasks.note, str(path), number).add_done_callback(more)

    def more(future: poolbar.Future[int]) -> None:
        grow(2 * future.result())
        grow(2 * future.result() + 1)
        ended.release()

    at_once(lambda: grow(1), lambda: list(pool.map(tasks.square, range(1000))))
    assert all(ended.acquire(timeout=30) for _ in range(count))
    assert ran(path) == once(range(1, count + 1))


def test_chains_of_callbacks_run_side_by_side(pool: poolbar.ProgressExecutor, tmp_path: Path) -> None:
    path, chains, length = tmp_path / "ran", 20, 50
    ended: queue.Queue[int] = queue.Queue()

    def follow(future: poolbar.Future[int]) -> None:
        number = future.result()
        if (number + 1) % length:
            pool.submit(tasks.note, str(path), number + 1).add_done_callback(follow)
        else:
            ended.put(number)

    def begin(chain: int) -> None:
        pool.submit(tasks.note, str(path), chain * length).add_done_callback(follow)

    at_once(*[lambda chain=chain: begin(chain) for chain in range(chains)])
    assert sorted(ended.get(timeout=30) for _ in range(chains)) == [(chain + 1) * length - 1 for chain in range(chains)]
    assert ran(path) == once(range(chains * length))


@pytest.mark.parametrize("lazy", [True, False])
def test_callbacks_map_and_others_read(pool: poolbar.ProgressExecutor, tmp_path: Path, lazy: bool) -> None:
    path, count, length = tmp_path / "ran", 20, 50
    maps: queue.Queue[tuple[int, Iterator[int]]] = queue.Queue()

    def begin(future: poolbar.Future[int]) -> None:
        number = future.result()
        numbers = range(number * length, (number + 1) * length)
        maps.put((number, pool.map(tasks.note, itertools.repeat(str(path)), iter(numbers) if lazy else numbers)))

    for number in range(count):
        pool.submit(tasks.same, number).add_done_callback(begin)

    def read() -> list[int]:
        found = []
        for _ in range(count // 4):
            number, results = maps.get(timeout=30)
            assert list(results) == list(range(number * length, (number + 1) * length))
            found.append(number)
        return found

    assert sorted(itertools.chain(*at_once(read, read, read, read))) == list(range(count))
    assert ran(path) == once(range(count * length))


def waits(executor: poolbar.ProgressExecutor, gate: Gate, call: Callable[[], Any]) -> Any:
    """Make a call in a callback of the only worker that works; return what came of it."""
    found: queue.Queue[Any] = queue.Queue()

    def wait(_: Any) -> None:
        try:
            found.put(call())
        except BaseException as error:
            found.put(error)

    gate.hold(executor)[0].add_done_callback(wait)
    gate.open()
    return found.get(timeout=30)


def test_a_callback_may_wait_for_what_another_worker_does(pool: poolbar.ProgressExecutor, gate: Gate) -> None:
    start(pool, 2)
    assert waits(pool, gate, lambda: [pool.submit(tasks.square, 3).result(10), *pool.map(tasks.square, range(100))]) == [
        9, *[number * number for number in range(100)],
    ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_callback_may_wait_for_what_a_worker_does_that_has_not_started(kind: str, gate: Gate) -> None:
    with KINDS[kind](2) as executor:
        assert waits(executor, gate, lambda: executor.submit(tasks.square, 3).result(5)) == 9


# --- from inside tasks


def sum_of_squares(path: str, kinds: list[str], number: int) -> int:
    """Square two numbers in a pool inside of this one, as deep as there are kinds."""
    tasks.note(path, number)
    if not kinds:
        return number * number
    numbers = [2 * number, 2 * number + 1]
    options = {"idle_seconds": 0} if kinds[0] == "process" else {}
    with KINDS[kinds[0]](2, **options) as inner:
        first = inner.submit(sum_of_squares, path, kinds[1:], numbers[0])
        return first.result(60) + sum(inner.map(sum_of_squares, [path], [kinds[1:]], numbers[1:]))


@pytest.mark.parametrize(
    "kinds",
    [["process"] * 3, ["process", "thread", "process"], ["thread", "process", "thread"], ["thread"] * 3],
    ids="-".join,
)
def test_pools_in_pools_in_pools(kinds: list[str], tmp_path: Path) -> None:
    path = tmp_path / "ran"
    with KINDS[kinds[0]](2) as executor:
        futures = [executor.submit(sum_of_squares, str(path), kinds[1:], number) for number in (1, 10)]
        found = [future.result(60) for future in futures]
    assert found == [sum(n * n for n in range(4, 8)), sum(n * n for n in range(40, 44))]
    assert ran(path) == once([1, 2, 3, 4, 5, 6, 7, 10, 20, 21, 40, 41, 42, 43])


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_in_threads_use_another_executor(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "ran"

    def square(number: int) -> int:
        return other.submit(tasks.note, str(path), number).result(60) ** 2

    def squares(base: int) -> list[int]:
        return [number**2 for number in other.map(tasks.note, itertools.repeat(str(path)), range(base, base + 20))]

    with KINDS[kind](2) as other, poolbar.ThreadPoolExecutor(8) as executor:
        singles = executor.map(square, range(300))
        dozens = [executor.submit(squares, base) for base in range(1000, 1200, 20)]
        assert list(singles) == [number * number for number in range(300)]
        found = list(itertools.chain(*[future.result(60) for future in dozens]))
        assert found == [number * number for number in range(1000, 1200)]
    assert ran(path) == once([*range(300), *range(1000, 1200)])


@pytest.mark.parametrize("workers", [1, 3])
def test_tasks_in_threads_submit_to_their_own_executor(workers: int, tmp_path: Path) -> None:
    path, count = tmp_path / "ran", 1000
    ended = threading.Semaphore(0)

    def grow(number: int) -> None:
        tasks.note(str(path), number)
        for child in (2 * number, 2 * number + 1):
            if child <= count:
                executor.submit(grow, child)
        ended.release()

    with poolbar.ThreadPoolExecutor(workers) as executor:
        executor.submit(grow, 1)
        assert all(ended.acquire(timeout=30) for _ in range(count))
    assert ran(path) == once(range(1, count + 1))


def test_tasks_in_threads_map_in_their_own_executor_and_others_read() -> None:
    with poolbar.ThreadPoolExecutor(2) as executor:
        futures = [executor.submit(executor.map, tasks.square, iter(range(base, base + 50))) for base in range(0, 1000, 50)]
        found = list(itertools.chain(*[future.result(30) for future in futures]))
    assert found == [number * number for number in range(1000)]


# --- shutdown


class Submitter:
    """Submits until it is refused."""

    def __init__(self, executor: poolbar.ProgressExecutor, path: Path, base: int) -> None:
        self.executor = executor
        self.path = str(path)
        self.numbers = itertools.count(base)
        self.futures: dict[int, poolbar.Future[int]] = {}

    def __call__(self) -> None:
        for number in self.numbers:
            try:
                self.futures[number] = self.executor.submit(tasks.note, self.path, number)
            except RuntimeError as error:
                assert "shutdown" in str(error)  # noqa: PT017  # what else it could be is another error
                return


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("cancel", [True, False])
def test_what_is_submitted_while_another_thread_shuts_down_is_refused_or_ends(
    kind: str, wait: bool, cancel: bool, tmp_path: Path
) -> None:
    for before in (0, 1, 10, 100, 1000):
        path = tmp_path / str(before)
        executor = KINDS[kind](2)
        submitters = [Submitter(executor, path, base * 1_000_000) for base in range(3)]

        def end(before: int = before, executor: Any = executor, submitters: Any = submitters) -> list[Any]:
            assert until(lambda: sum(len(submitter.futures) for submitter in submitters) >= before)
            executor.shutdown(wait=wait, cancel_futures=cancel)
            return [future for submitter in submitters for future in list(submitter.futures.values()) if not future.done()]

        *_, unfinished = at_once(*submitters, end)
        assert not (wait and unfinished)
        futures = {number: future for submitter in submitters for number, future in submitter.futures.items()}
        assert poolbar.wait(futures.values(), timeout=60).not_done == set()
        kept = [number for number, future in futures.items() if not future.cancelled()]
        assert cancel or len(kept) == len(futures)
        assert [futures[number].result() for number in kept] == kept
        executor.shutdown()
        assert ran(path) == once(kept)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cancel", [True, False])
def test_what_is_mapped_while_another_thread_shuts_down_is_refused_or_ends(kind: str, cancel: bool, tmp_path: Path) -> None:
    for rounds in (1, 3, 10):
        path = tmp_path / str(rounds)
        executor = KINDS[kind](2)
        begun = threading.Semaphore(0)

        def read(base: int, executor: Any = executor, path: Path = path, begun: Any = begun) -> list[int]:
            found: list[int] = []
            for first in itertools.count(base, 40):
                try:
                    results = executor.map(tasks.note, [str(path)] * 40, range(first, first + 40))
                except RuntimeError as error:
                    assert "shutdown" in str(error)  # noqa: PT017
                    return found
                begun.release()
                before = len(found)
                try:
                    found.extend(results)  # what came before an error stays
                except CancelledError:
                    assert cancel
                else:
                    assert len(found) == before + 40
                assert found[before:] == list(range(first, first + len(found) - before))
            return found

        def end(rounds: int = rounds, executor: Any = executor, begun: Any = begun) -> list[int]:
            assert all(begun.acquire(timeout=30) for _ in range(rounds))
            executor.shutdown(cancel_futures=cancel)
            return []

        found = at_once(*[lambda base=base: read(base) for base in (0, 1_000_000, 2_000_000)], end)
        assert ran(path) == once(itertools.chain(*found)) or cancel
        assert set(ran(path).values()) <= {1}


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_submits_and_a_shutdown_at_once(kind: str, tmp_path: Path) -> None:
    for number in range(30):
        path = tmp_path / str(number)
        executor = KINDS[kind](2)

        def submit(number: int, executor: Any = executor, path: Path = path) -> poolbar.Future[int] | None:
            try:
                return executor.submit(tasks.note, str(path), number)  # type: ignore[no-any-return]
            except RuntimeError:
                return None

        outcomes = at_once(lambda executor=executor: executor.shutdown(), *[lambda n=n: submit(n) for n in range(3)])
        accepted = [number for number, future in enumerate(outcomes[1:]) if future is not None]
        assert [outcomes[number + 1].result(60) for number in accepted] == accepted
        assert ran(path) == once(accepted)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("workers", "callback_waits"), [(1, True), (2, False)])
def test_many_threads_and_a_callback_shut_down_at_once(
    kind: str, workers: int, callback_waits: bool, gate: Gate, tmp_path: Path
) -> None:
    path = tmp_path / "ran"
    executor = KINDS[kind](workers)
    held = gate.hold(executor, workers)
    futures = [executor.submit(tasks.note, str(path), number) for number in range(200)]
    ended = threading.Event()
    held[0].add_done_callback(lambda _: (executor.shutdown(wait=callback_waits), ended.set()))

    def end(wait: bool) -> bool:
        executor.shutdown(wait=wait)
        return not wait or all(future.done() for future in futures)

    assert at_once(gate.open, *[lambda wait=wait: end(wait) for wait in (True, True, True, False, False)])[1:] == [True] * 5
    assert ended.wait(30)
    assert [future.result(30) for future in futures] == list(range(200))
    assert ran(path) == once(range(200))


@pytest.mark.parametrize("kind", KINDS)
def test_a_callback_that_drops_what_waits_while_others_submit(kind: str, gate: Gate, tmp_path: Path) -> None:
    path = tmp_path / "ran"
    executor = KINDS[kind](2)
    held = gate.hold(executor)
    ended = threading.Event()
    held[0].add_done_callback(lambda _: (executor.shutdown(wait=False, cancel_futures=True), ended.set()))
    submitters = [Submitter(executor, path, base * 1_000_000) for base in range(3)]
    at_once(gate.open, *submitters)
    assert ended.wait(30)
    executor.shutdown()
    futures = {number: future for submitter in submitters for number, future in submitter.futures.items()}
    assert all(future.done() for future in futures.values())
    kept = [number for number, future in futures.items() if not future.cancelled()]
    assert [futures[number].result() for number in kept] == kept
    assert ran(path) == once(kept)


def test_what_is_submitted_while_another_thread_kills_the_workers_ends(tmp_path: Path) -> None:
    for before in (0, 10, 300):
        path = tmp_path / str(before)
        executor = poolbar.ProcessPoolExecutor(2)
        submitters = [Submitter(executor, path, base * 1_000_000) for base in range(3)]

        def end(before: int = before, executor: Any = executor, submitters: Any = submitters) -> None:
            assert until(lambda: sum(len(submitter.futures) for submitter in submitters) >= before)
            executor.kill_workers()

        at_once(*submitters, end)
        executor.shutdown()
        futures = {number: future for submitter in submitters for number, future in submitter.futures.items()}
        assert all(future.done() for future in futures.values())
        lost = [future for future in futures.values() if not future.cancelled() and future.exception() is not None]
        assert all(isinstance(future.exception(), poolbar.BrokenExecutor) for future in lost)
        assert len(lost) <= 2
        assert set(ran(path).values()) <= {1}
        kept = {number for number, future in futures.items() if not future.cancelled() and future.exception() is None}
        assert kept <= set(ran(path))


# --- shutdowns that meet what is under way

HANG = """
import os, sys, threading, time
import poolbar, tasks

def watched(run):
    runner = threading.Thread(target=run, daemon=True)
    runner.start()
    runner.join(5)
    print("hangs" if runner.is_alive() else "ends", flush=True)
    os._exit(0)

KIND = {"process": poolbar.ProcessPoolExecutor, "thread": poolbar.ThreadPoolExecutor}[sys.argv[1]]
"""

A_CALLBACK = """
def run():
    executor = KIND(2)
    first, second = [executor.submit(tasks.meet, sys.argv[2], number, 2) for number in range(2)]
    first.add_done_callback(lambda _: executor.shutdown())
    poolbar.wait([first, second])
    executor.shutdown()

watched(run)
"""

A_TASK = """
def run():
    executor = KIND(2)
    def end(number):
        tasks.meet(sys.argv[2], number, 2)
        if number:
            executor.shutdown()
    poolbar.wait([executor.submit(end, number) for number in range(2)])
    executor.shutdown()

watched(run)
"""

NUMBERS = """
def numbers():
    for number in range(200):
        time.sleep(0.0005)
        yield number
"""

PULLED_BY_TWO = (
    NUMBERS
    + """
def run():
    for _ in range(5):
        executor = KIND(2)
        results = executor.map(abs, numbers())
        found = [next(results)]
        reader = threading.Thread(target=lambda: found.extend(results), daemon=True)
        reader.start()
        executor.shutdown()
        reader.join()
        assert found == list(range(200)), found

watched(run)
"""
)

PULLED_BY_MANY_SHUTDOWNS = (
    NUMBERS
    + """
def run():
    for _ in range(5):
        executor = KIND(2)
        results = executor.map(abs, numbers())
        enders = [threading.Thread(target=executor.shutdown, daemon=True) for _ in range(3)]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()
        assert list(results) == list(range(200))

watched(run)
"""
)

SHUT_DOWN_DURING_THE_CALL = """
begun = threading.Event()

def numbers():
    for number in range(1000):
        begun.set()
        time.sleep(0.02 if number < 5 else 0)
        yield number

def run():
    executor = KIND(2)
    executor.submit(abs, 1).result()
    kept = []
    def map_and_keep():
        try:
            kept.append(executor.map(abs, numbers()))
        except RuntimeError:
            pass
    mapper = threading.Thread(target=map_and_keep, daemon=True)
    mapper.start()
    begun.wait()
    executor.shutdown()
    mapper.join()

watched(run)
"""


@pytest.mark.parametrize(("kind", "text"), [("process", A_CALLBACK), ("thread", A_CALLBACK), ("thread", A_TASK)])
def test_a_shutdown_in_a_callback_or_a_task_ends(script: Script, tmp_path: Path, kind: str, text: str) -> None:
    (tmp_path / "place").mkdir()
    assert script(HANG + text, kind, str(tmp_path / "place")) == ["ends"]


@pytest.mark.parametrize(
    "text",
    [PULLED_BY_TWO, PULLED_BY_MANY_SHUTDOWNS, SHUT_DOWN_DURING_THE_CALL],
    ids=["reader and shutdown", "three shutdowns", "during the call"],
)
def test_a_lazy_map_is_pulled_by_one_thread_at_a_time_when_the_executor_is_shut_down(script: Script, text: str) -> None:
    assert script(HANG + text, "thread") == ["ends"]


def test_a_shutdown_waits_for_the_workers_that_were_started_while_it_waited() -> None:
    """A batch of slow tasks is handed back by the only worker, and others are started for it."""
    for _ in range(10):
        executor = poolbar.ProcessPoolExecutor(3, idle_seconds=0)
        executor.submit(tasks.same, 1).result(20)
        executor.map(tasks.nap, [0.05] * 3, chunksize=3)
        executor.shutdown()
        left = len(executor._processes)
        assert left == 0


# --- what several threads share; without a GIL they meet in it all the time

NEW_FUNCTIONS = """
import sys, threading, poolbar

THREADS, EACH = 8, 120
together = threading.Barrier(THREADS)
seen = []

def own(number):
    return eval(f"lambda: {number}"), type(f"Own{number}", (), {})

def submit(base):
    pairs = [own(base + number) for number in range(EACH)]
    together.wait(30)
    futures = [(executor.submit(function), executor.submit(type, kind())) for function, kind in pairs]
    for number, (value, kind) in enumerate(futures):
        seen.append(value.result(60) == base + number and kind.result(60) is pairs[number][1])

with getattr(poolbar, sys.argv[1])(2) as executor:
    threads = [threading.Thread(target=submit, args=(1000 * number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(len(seen), all(seen))
"""


@pytest.mark.parametrize("kind", ["ProcessPoolExecutor", "ThreadPoolExecutor"])
def test_threads_submit_more_functions_and_classes_than_an_executor_remembers(script: Script, kind: str) -> None:
    assert script(NEW_FUNCTIONS, kind) == ["960 True"]


def test_executors_come_and_go_in_several_threads() -> None:
    """The main thread looks at all of them whenever one of its own has ended."""
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            with poolbar.ThreadPoolExecutor(1) as executor:
                assert list(executor.map(abs, [-1])) == [1]

    def watch() -> None:
        try:
            for _ in range(150):
                with poolbar.ThreadPoolExecutor(1) as executor:
                    assert executor.submit(abs, -1).result(20) == 1
        finally:
            over.set()

    others = [threading.Thread(target=come_and_go) for _ in range(4)]
    for other in others:
        other.start()
    watch()
    for other in others:
        other.join(20)
