"""map: lazy, bounded, in order or not; nothing is lost to laziness (laws 5 and 6)."""

from __future__ import annotations

import array
import collections
import gc
import itertools
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import tasks
from conftest import KINDS, Gate, is_released, lines, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import poolbar
import poolbar._map
from poolbar._inputs import inputs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LAW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


class Source:
    """An iterator that counts, and notes who pulls it."""

    def __init__(self, length: int | None = None) -> None:
        self.pulled = 0
        self.length = length
        self.threads: set[int] = set()

    def __iter__(self) -> Source:
        return self

    def __next__(self) -> int:
        if self.pulled == self.length:
            raise StopIteration
        self.threads.add(threading.get_ident())
        self.pulled += 1
        return self.pulled - 1


# --- which inputs


LISTS = st.lists(st.lists(st.integers(-1000, 1000), max_size=40), min_size=1, max_size=3)
FORMS = st.sampled_from([list, tuple, iter, collections.deque, lambda items: (item for item in items)])


@LAW
@given(
    lists=LISTS,
    form=FORMS,
    chunksize=st.none() | st.integers(1, 50),
    ordered=st.booleans(),
    buffersize=st.none() | st.integers(1, 9),
)
def test_a_map_is_what_the_builtin_map_is(
    piped: poolbar.ProgressExecutor,
    lists: list[list[int]], form: Callable[..., Any], chunksize: int | None, ordered: bool, buffersize: int | None,
) -> None:  # fmt: skip
    inputs = [form(items) for items in lists]
    results = list(piped.map(tasks.add, *inputs, chunksize=chunksize, ordered=ordered, buffersize=buffersize))
    wanted = list(map(tasks.add, *lists))
    assert results == wanted if ordered else sorted(results) == sorted(wanted)


@LAW
@given(lists=LISTS, forms=st.lists(FORMS, min_size=3, max_size=3), steps=st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_inputs_are_sliced_as_zip_pairs_them(lists: list[list[int]], forms: list[Callable[..., Any]], steps: list[int]) -> None:
    inputs = inputs_of(tuple(form(items) for form, items in zip(forms, lists, strict=False)))
    found: list[Any] = []
    for step in itertools.cycle(steps):
        if not inputs.exhausted:
            inputs.pull(step)
        found += inputs.take(min(step, inputs.ready()))
        if inputs.exhausted and not inputs.ready():
            break
    assert found == (list(zip(*lists, strict=False)) if len(lists) > 1 else lists[0])


@pytest.mark.parametrize(
    "collection",
    [range(5), (1, 2, 3), [1, 2, 3], {1, 2, 3}, frozenset({1, 2}), {1: 2, 3: 4}, {1: 2}.keys(), {1: 2}.values(), {1: 2}.items(),
     "abc", b"abc", bytearray(b"abc"), array.array("d", [1.0, 2.0]), collections.deque([1, 2]),
     memoryview(b"abc"), collections.Counter("aab"),
     [], (), range(0), {}],
    ids=lambda collection: type(collection).__name__,
)  # fmt: skip
def test_every_builtin_collection_is_taken_as_map_takes_it(pool: poolbar.ProgressExecutor, collection: Any) -> None:
    assert list(pool.map(tasks.same, collection)) == list(collection)


def test_arrays_and_subclasses_are_iterated_by_their_own_rules(pool: poolbar.ProgressExecutor) -> None:
    class Backwards(list):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[Any]:
            return reversed(self)

        def __getitem__(self, _: Any) -> Any:
            raise AssertionError

    class Getter:
        def __getitem__(self, index: int) -> int:
            return [5, 6, 7][index]

    assert list(pool.map(tasks.same, Backwards([1, 2, 3]))) == [3, 2, 1]
    assert list(pool.map(tasks.same, Getter())) == [5, 6, 7]  # type: ignore[arg-type]


def test_a_list_is_copied_at_the_call(pool: poolbar.ProgressExecutor, gate: Gate) -> None:
    gate.hold(pool, 2)
    items, mapping = list(range(100)), {number: number for number in range(100)}
    first, second, third = (
        pool.map(tasks.same, items),
        pool.map(tasks.same, mapping.values()),
        pool.map(tasks.add, items, iter(items[:3])),
    )
    items.clear()
    mapping[5] = 7
    mapping[1000] = 1
    gate.open()
    assert list(first) == list(second) == list(range(100))
    assert list(third) == [0, 2, 4]


def test_a_long_range_costs_nothing_at_the_call(pool: poolbar.ProgressExecutor) -> None:
    results = pool.map(tasks.same, range(10**15))
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    results.close()  # type: ignore[attr-defined]


def test_endless_and_short_inputs_end_with_the_shortest(pool: poolbar.ProgressExecutor) -> None:
    assert list(pool.map(tasks.add, itertools.count(), [1, 2, 3], range(10**12))) == [1, 4, 7]


def test_one_map_may_be_the_input_of_another(pool: poolbar.ProgressExecutor) -> None:
    inner = pool.map(tasks.square, range(3000))
    assert list(pool.map(tasks.add, inner, itertools.repeat(1))) == [number * number + 1 for number in range(3000)]


def test_two_maps_are_read_in_turn(pool: poolbar.ProgressExecutor) -> None:
    first, second = pool.map(tasks.same, Source(2000)), pool.map(tasks.square, Source(2000))
    assert list(zip(first, second, strict=True)) == [(number, number * number) for number in range(2000)]


def test_maps_of_several_threads_do_not_mix(pool: poolbar.ProgressExecutor) -> None:
    found: dict[int, list[int]] = {}

    def read(base: int) -> None:
        found[base] = list(pool.map(tasks.same, (base + number for number in range(2000))))

    threads = [threading.Thread(target=read, args=(base,)) for base in range(0, 80_000, 10_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {base: list(range(base, base + 2000)) for base in range(0, 80_000, 10_000)}


# --- law 5: how far ahead


def test_a_generator_is_pulled_only_by_the_thread_that_asked(pool: poolbar.ProgressExecutor) -> None:
    source = Source(5000)
    assert list(pool.map(tasks.same, source)) == list(range(5000))
    assert source.threads == {threading.get_ident()}


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_end_of_the_with_block_the_rest_is_pulled_by_the_calling_thread(kind: str, tmp_path: Path) -> None:
    source = Source(500)
    with KINDS[kind](2) as executor:
        results = executor.map(tasks.note, itertools.repeat(str(tmp_path / "ran")), source)
    assert source.threads == {threading.get_ident()}
    assert len(lines(tmp_path / "ran")) == 500
    assert list(results) == list(range(500))


def test_an_endless_generator_is_pulled_a_window_ahead(pool: poolbar.ProgressExecutor) -> None:
    source = Source()
    results = pool.map(tasks.nap, itertools.repeat(0.005), source)
    assert source.pulled <= 16
    for read in range(60):
        assert next(results) == read
        assert source.pulled - read <= 256
    results.close()  # type: ignore[attr-defined]


def test_fast_tasks_of_an_endless_generator_are_pulled_a_bounded_window_ahead(pool: poolbar.ProgressExecutor) -> None:
    source, read = Source(), 0
    results = pool.map(tasks.same, source)
    for read in range(40_000):
        assert next(results) == read
        assert source.pulled - read <= poolbar._map.WIDEST_WINDOW
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("ordered", [True, False])
def test_buffersize_n_pulls_exactly_n_and_after_k_reads_exactly_n_more_than_k(
    pool: poolbar.ProgressExecutor, size: int, ordered: bool
) -> None:
    source = Source()
    results = pool.map(tasks.same, source, buffersize=size, ordered=ordered)
    assert source.pulled == size
    for read in range(1, 30):
        next(results)
        assert source.pulled == size + read
    results.close()  # type: ignore[attr-defined]


def test_buffersize_of_a_short_input_is_no_trouble(pool: poolbar.ProgressExecutor) -> None:
    assert list(pool.map(tasks.same, Source(3), buffersize=100)) == [0, 1, 2]
    assert list(pool.map(tasks.same, range(3), buffersize=100, chunksize=7)) == [0, 1, 2]
    assert list(pool.map(tasks.same, range(30), buffersize=2, chunksize=7)) == list(range(30))


def test_buffersize_bounds_what_is_run_of_a_sequence(pool: poolbar.ProgressExecutor, tmp_path: Path) -> None:
    path = tmp_path / "ran"
    results = pool.map(tasks.note, [str(path)] * 20, range(20), buffersize=3)
    for future in [pool.submit(tasks.same, 0) for _ in range(10)]:
        future.result(20)
    assert until(lambda: len(lines(path)) == 3)
    assert next(results) == 0
    for future in [pool.submit(tasks.same, 0) for _ in range(10)]:
        future.result(20)
    assert until(lambda: len(lines(path)) == 4)
    assert list(results) == list(range(1, 20))


@pytest.mark.parametrize("kind", KINDS)
def test_the_variables_set_buffersize_and_chunksize(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLBAR_BUFFERSIZE", "3")
    monkeypatch.setenv("POOLBAR_CHUNKSIZE", "2")
    with KINDS[kind](1) as executor:
        source, own = Source(20), Source(20)
        results, others = executor.map(tasks.same, source), executor.map(tasks.same, own, buffersize=7)
        assert (source.pulled, own.pulled) == (3, 7)
        assert list(results) == list(others) == list(range(20))


def blob(size: int, path: str, number: int) -> bytes:
    tasks.note(path, number)
    return bytes(size)


@pytest.mark.parametrize("ordered", [True, False])
def test_unread_results_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ordered: bool) -> None:
    monkeypatch.setattr(poolbar._map, "UNREAD_BYTES", 1_000_000)
    path = tmp_path / "ran"
    with poolbar.ProcessPoolExecutor(2) as executor:
        results = executor.map(blob, itertools.repeat(100_000), itertools.repeat(str(path)), range(200), ordered=ordered)
        assert until(lambda: len(lines(path)) >= 8)
        assert until(lambda: " 0 batches running" in repr(executor))
        assert len(lines(path)) <= 40
        assert len(list(results)) == 200
        assert len(lines(path)) == 200


# --- when what arrives


def test_unordered_results_come_as_tasks_end(pool: poolbar.ProgressExecutor, gate: Gate, tmp_path: Path) -> None:
    paths = [gate.path, *[str(tmp_path)] * 9]
    results = pool.map(tasks.wait_for, paths, itertools.repeat(None), range(10), ordered=False)
    assert sorted(next(results) for _ in range(9)) == list(range(1, 10))
    gate.open()
    assert list(results) == [0]


@pytest.mark.parametrize("ordered", [True, False])
def test_each_task_runs_once_however_soon_its_result_is_read(
    pool: poolbar.ProgressExecutor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ordered: bool
) -> None:
    """The reader takes the values before the lane that has delivered them goes on."""
    deliver = poolbar._map.Run.ended

    def deliver_and_wait(run: poolbar._map.Run, batch: Any, values: list[Any], *others: Any) -> None:
        deliver(run, batch, values, *others)
        assert until(lambda: not values)

    monkeypatch.setattr(poolbar._map.Run, "ended", deliver_and_wait)
    path = tmp_path / "ran"
    results = list(pool.map(tasks.note, [str(path)] * 20, range(20), ordered=ordered, chunksize=5, timeout=20))
    assert sorted(results) == list(range(20))
    assert sorted(map(int, lines(path))) == list(range(20))


def test_ordered_results_wait_for_the_first(pool: poolbar.ProgressExecutor, gate: Gate, tmp_path: Path) -> None:
    paths = [gate.path, *[str(tmp_path)] * 9]
    results = pool.map(tasks.wait_for, paths, itertools.repeat(None), range(10), timeout=0.3)
    with pytest.raises(poolbar.TimeoutError):
        next(results)


def test_each_item_of_a_slow_generator_is_handed_over_at_once(pool: poolbar.ProgressExecutor, tmp_path: Path) -> None:
    def slow() -> Iterator[str]:
        for number in range(6):
            yield str(tmp_path / str(number))
            assert until((tmp_path / str(number)).exists, 20), "the task of the last item does not run"

    assert list(pool.map(tasks.write, slow())) == [None] * 6


def test_a_result_that_is_there_does_not_wait_for_a_slow_generator(pool: poolbar.ProgressExecutor) -> None:
    """A generator that is slow steadily delays a result by one of its items, not by a window of them."""
    pulled = 0

    def slow() -> Iterator[int]:
        nonlocal pulled
        for pulled in range(40):
            time.sleep(0.02)
            yield pulled

    results = pool.map(tasks.same, slow())
    before = pulled
    for number in range(40):
        assert next(results) == number
        if before < number:
            assert pulled - number <= 3


def test_a_timeout_counts_from_the_call_and_cancels_the_rest(pool: poolbar.ProgressExecutor, gate: Gate, tmp_path: Path) -> None:
    gate.hold(pool, 2)
    began = time.monotonic()
    results = pool.map(tasks.note, [str(tmp_path / "ran")] * 50, range(50), timeout=0.2)
    with pytest.raises(poolbar.TimeoutError):
        next(results)
    assert 0.15 < time.monotonic() - began < 10
    gate.open()
    pool.submit(tasks.same, 1).result(20)
    assert lines(tmp_path / "ran") == []


def test_a_timeout_of_zero_lets_what_is_there_through(pool: poolbar.ProgressExecutor) -> None:
    results = pool.map(tasks.same, [1, 2, 3], timeout=60)
    assert list(results) == [1, 2, 3]
    with pytest.raises(poolbar.TimeoutError):
        list(pool.map(tasks.nap, [1], timeout=0))


def test_an_error_stands_at_its_place_and_ends_the_iteration(pool: poolbar.ProgressExecutor) -> None:
    results = pool.map(tasks.fail_odd, [0, 2, 4, 5, 6, 7])
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    with pytest.raises(ValueError, match="5"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_what_follows_an_error_is_not_started(pool: poolbar.ProgressExecutor, gate: Gate, tmp_path: Path) -> None:
    """As under the standard library: the error ends the iterator, which cancels what has not started."""

    def paths() -> Iterator[str]:
        yield str(tmp_path)
        yield str(tmp_path / "no" / "such")  # its "begun" cannot be written
        yield from [gate.path] * 50

    begun = [str(tmp_path / "no" / "file"), *[str(gate.begun / str(number)) for number in range(51)]]
    results = pool.map(tasks.wait_for, [str(tmp_path), *[gate.path] * 51], begun, chunksize=1)
    with pytest.raises(FileNotFoundError):
        next(results)
    gate.open()
    for future in [pool.submit(tasks.same, 1) for _ in range(10)]:
        future.result(20)
    assert len(list(gate.begun.iterdir())) <= 8


# --- law 6: nothing is lost


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("count", [1, 1000])
def test_a_map_whose_result_is_thrown_away_runs_every_task(
    pool: poolbar.ProgressExecutor, tmp_path: Path, count: int, lazy: bool
) -> None:
    path = tmp_path / "ran"
    pool.map(tasks.note, itertools.repeat(str(path)), iter(range(count)) if lazy else range(count))
    assert until(lambda: len(lines(path)) == count)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["thrown away", "kept", "only iter()"])
@pytest.mark.parametrize("lazy", [True, False])
def test_leaving_the_with_block_runs_all_that_was_asked_for(kind: str, tmp_path: Path, how: str, lazy: bool) -> None:
    path = tmp_path / "ran"
    with KINDS[kind](2) as executor:
        kept: Any = executor.map(tasks.note, itertools.repeat(str(path)), iter(range(700)) if lazy else range(700))
        if how == "thrown away":
            kept = None
        elif how == "only iter()":
            kept = iter(kept)
    assert sorted(map(int, lines(path))) == list(range(700))
    assert kept is None or list(kept) == list(range(700))


@pytest.mark.parametrize("kind", KINDS)
def test_shutdown_without_waiting_runs_all_that_was_asked_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "ran"
    executor = KINDS[kind](2)
    results = executor.map(tasks.note, itertools.repeat(str(path)), iter(range(700)))
    executor.shutdown(wait=False)
    with pytest.raises(RuntimeError):
        executor.map(tasks.same, [1])
    assert list(results) == list(range(700))
    executor.shutdown()


@pytest.mark.parametrize("kind", KINDS)
def test_shutdown_that_cancels_ends_the_iteration_with_cancelled_error(kind: str, gate: Gate, tmp_path: Path) -> None:
    path = tmp_path / "ran"
    executor = KINDS[kind](1)
    gate.hold(executor)
    results = executor.map(tasks.note, itertools.repeat(str(path)), range(100))
    executor.shutdown(wait=False, cancel_futures=True)
    gate.open()
    with pytest.raises(poolbar.CancelledError):
        list(results)
    executor.shutdown()
    assert len(lines(path)) <= 1


@pytest.mark.parametrize("how", ["close", "drop"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lazy", [True, False])
def test_an_iterator_left_halfway_cancels_what_has_not_started(
    kind: str, gate: Gate, tmp_path: Path, how: str, lazy: bool
) -> None:
    with KINDS[kind](1) as executor:
        paths = [str(tmp_path), *[gate.path] * 99]
        begun = (str(gate.begun / str(number)) for number in range(100))
        results: Any = executor.map(tasks.wait_for, iter(paths) if lazy else paths, begun if lazy else list(begun))
        assert next(results) is None
        if how == "close":
            results.close()
        del results
        gate.open()
    assert len(list(gate.begun.iterdir())) <= 16  # those of a batch that the worker has already


@pytest.mark.parametrize("lazy", [True, False])
def test_maps_that_are_left_early_again_and_again_harm_nobody(pool: poolbar.ProgressExecutor, lazy: bool) -> None:
    """A lane may take of a run in the very moment in which its reader leaves."""
    for number in range(200):
        results: Any = pool.map(tasks.same, iter(range(10**5)) if lazy else range(10**5))
        for _ in range(number % 7 + 1):
            next(results)
        results.close()
    assert " 2 of 2 " in repr(pool)
    assert list(pool.map(tasks.square, range(100))) == [number * number for number in range(100)]


@pytest.mark.parametrize("end", ["cancel", "kill", "terminate"])
@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("starred", [True, False])
def test_an_end_by_force_after_a_map_was_left_halfway_is_no_trouble(gate: Gate, end: str, lazy: bool, starred: bool) -> None:
    executor = poolbar.ProcessPoolExecutor(1)
    gate.hold(executor)
    inputs = [[__file__] * 100, [None] * 100] if starred else [[__file__] * 100]
    results: Any = executor.map(tasks.wait_for, *(map(iter, inputs) if lazy else inputs), timeout=0.01)
    with pytest.raises(poolbar.TimeoutError):
        next(results)
    if end == "cancel":
        gate.open()
        executor.shutdown(cancel_futures=True)
    else:
        executor.kill_workers() if end == "kill" else executor.terminate_workers()
    executor.shutdown()


def test_an_iterator_closed_before_the_first_result_is_as_good_as_thrown_away(
    pool: poolbar.ProgressExecutor, tmp_path: Path
) -> None:
    """Under the standard library too: a generator that was not started has nothing to clean up."""
    path = tmp_path / "ran"
    results: Any = pool.map(tasks.note, itertools.repeat(str(path)), iter(range(50)))
    results.close()
    del results
    assert until(lambda: len(lines(path)) == 50)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lazy", [True, False])
def test_an_executor_dropped_while_its_results_are_read_goes_on_and_then_ends(kind: str, lazy: bool) -> None:
    executor: Any = KINDS[kind](2)
    results = executor.map(tasks.same, iter(range(3000)) if lazy else range(3000))
    assert next(results) == 0
    del executor
    gc.collect()
    assert list(results) == list(range(1, 3000))


@pytest.mark.parametrize("kind", KINDS)
def test_a_dropped_executor_ends_when_a_slow_generator_turns_out_to_be_empty(kind: str, tmp_path: Path) -> None:
    """Its last task is long done by then: somebody has to tell the sleeping lanes."""

    def slow() -> Iterator[str]:
        yield str(tmp_path / "ran")
        assert until((tmp_path / "ran").exists)
        assert until(lambda: " 0 batches running" in repr_of(crew))

    executor: Any = KINDS[kind](1)
    executor.submit(tasks.same, 1).result(20)
    crew = executor._crew

    def repr_of(crew: Any) -> str:
        return f" {crew.backlog.figures()[1]} batches running"

    results = executor.map(tasks.write, slow())
    threads = [lane.thread for lane in crew.lanes]
    del executor
    gc.collect()
    assert list(results) == [None]
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_a_closed_map_lets_go_of_its_input(pool: poolbar.ProgressExecutor) -> None:
    """A cursor or a file behind it is closed now, and not when the executor ends."""
    ended = []

    def source() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            ended.append(True)

    results: Any = pool.map(tasks.same, source())
    assert next(results) == 0
    results.close()
    del results
    gc.collect()
    assert ended == [True]


# --- what is kept


def test_results_are_released_as_they_are_read(pool: poolbar.ProgressExecutor) -> None:
    results = pool.map(tasks.tracked, range(20), chunksize=5)
    for result in results:
        watched = weakref.ref(result)
        del result
        assert until(lambda watched=watched: gc.collect() is not None and watched() is None, 5)


def test_arguments_are_released_when_their_results_are_read(pool: poolbar.ProgressExecutor) -> None:
    watched: list[weakref.ref[Any]] = []

    def source() -> Iterator[tasks.Tracked]:
        for _ in range(20):
            made = tasks.Tracked()
            watched.append(weakref.ref(made))
            yield made
            del made

    results = pool.map(type, source())
    assert len(list(results)) == 20
    assert until(lambda: gc.collect() is not None and [ref for ref in watched if ref() is not None] == [], 5)
    del results


def test_an_exception_is_released_when_it_was_raised(pool: poolbar.ProgressExecutor) -> None:
    def run() -> weakref.ref[BaseException]:
        results = pool.map(tasks.raise_watched, [0])
        try:
            next(results)
        except tasks.Watched as error:
            return weakref.ref(error)
        raise AssertionError

    watched = run()
    assert is_released(watched)  # no cycle: a traceback through the iterator does not keep it


# --- each task has values of its own


def test_an_argument_that_a_task_changes_is_changed_for_no_other_task(piped: poolbar.ProgressExecutor) -> None:
    items: list[int] = []
    assert set(piped.map(tasks.append, [items] * 3000)) == {1}
    assert set(piped.map(tasks.append, [items] * 3000, chunksize=100)) == {1}
    assert set(piped.map(tasks.append, (items for _ in range(3000)))) == {1}
    assert items == []


@pytest.mark.parametrize("chunksize", [None, 100])
def test_a_result_that_a_later_task_changes_arrives_as_it_was(chunksize: int | None) -> None:
    with poolbar.ProcessPoolExecutor(1, idle_seconds=0) as executor:
        assert [len(found) for found in executor.map(tasks.grow, range(2000), chunksize=chunksize)] == list(range(1, 2001))


def test_no_two_results_are_one_object(piped: poolbar.ProgressExecutor) -> None:
    results = list(piped.map(tasks.recall, range(1000), chunksize=100))
    assert len({id(result) for result in results}) == 1000
    nested = list(piped.map(tasks.same, [[[1]]] * 1000, chunksize=100))
    assert len({id(result[0]) for result in nested}) == 1000


@pytest.mark.parametrize("ordered", [True, False])
def test_an_error_that_is_yielded_makes_room_in_a_buffer_as_a_value_does(pool: poolbar.ProgressExecutor, ordered: bool) -> None:
    for inputs in (range(6), iter(range(6))):
        results = pool.map(tasks.fail_odd, inputs, buffersize=1, ordered=ordered, errors="collect")
        assert [result if isinstance(result, int) else "failed" for result in results] == [0, "failed", 2, "failed", 4, "failed"]


@pytest.mark.parametrize("form", [list, iter])
def test_a_map_that_was_read_keeps_no_arguments(pool: poolbar.ProgressExecutor, form: Callable[..., Any]) -> None:
    items = [tasks.Tracked() for _ in range(5)]
    alive = [weakref.ref(item) for item in items]
    for _ in pool.map(id, form(items)):
        pass
    del items
    assert all(map(is_released, alive))


def test_what_a_shutdown_has_dropped_the_next_does_not_pull(gate: Gate) -> None:
    with poolbar.ProcessPoolExecutor(1) as executor:
        gate.hold(executor)
        endless = executor.map(abs, itertools.count())
        gate.open()
        executor.shutdown(wait=True, cancel_futures=True)
    with pytest.raises(poolbar.CancelledError):
        collections.deque(endless, maxlen=0)


def test_the_first_result_of_a_function_known_to_be_fast_does_not_wait_for_a_window_of_inputs() -> None:
    pulled = 0

    def endless() -> Iterator[int]:
        nonlocal pulled
        while True:
            pulled += 1
            yield pulled

    with poolbar.ProcessPoolExecutor(2) as executor:
        assert sum(executor.map(tasks.same, range(200_000))) == sum(range(200_000))  # from here on the window is 256,000
        results = executor.map(tasks.same, endless())
        assert pulled <= 2 * poolbar._map.FIRST_TASKS
        assert next(results) == 1
        assert list(itertools.islice(results, 100_000)) == list(range(2, 100_002))
        results.close()  # type: ignore[attr-defined]
