"""Large data: it arrives whole and is the task's own, travels no more than it must, and leaves nothing behind."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tasks
from conftest import KINDS, PIPED, environment, is_gone, start, until
from hypothesis import given, settings
from hypothesis import strategies as st

import poolbar
import poolbar.workers.blocks
from poolbar.inside import memory
from poolbar.inside.memory import Arena
from poolbar.inside.pickling import LARGE_BYTES, seal, unseal
from poolbar.workers.blocks import Block, Blocks, unseal_copy

if TYPE_CHECKING:
    from collections.abc import Iterator

np = pytest.importorskip("numpy", reason="numpy has no wheel for this Python")

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc: Linux")
MEGABYTE = 1 << 20
LARGE = MEGABYTE


def numbers(size: int = LARGE, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 255, size, np.uint8)


def checksum(array: Any) -> int:
    return int(np.asarray(array, np.uint8).astype(np.uint64).sum())


def grown(array: Any, by: int = 1) -> Any:
    array += by  # it is the task's own
    return array


def first_two(array: Any, number: int) -> tuple[int, int]:
    """Return what was there, and leave something."""
    was = int(array[0]), int(array[1])
    array[0] = number
    return was


def memories(array: Any, _: int) -> set[str]:
    """Return the inodes of the memories that this process maps for itself alone: one for each array that came so."""
    assert len(array)
    found = set()
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[5].startswith("/memfd:poolbar") and fields[1].endswith("p"):
            found.add(fields[4])
    return found


def is_writable(array: Any) -> bool:
    return bool(array.flags.writeable)


def ours() -> list[str]:
    """Return the memories without a file that this process has opened."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue  # closed meanwhile
    return [link for link in found if "memfd:poolbar" in link]


@pytest.fixture
def two() -> Iterator[poolbar.ProgressExecutor]:
    """Two worker processes."""
    with poolbar.ProcessPoolExecutor(2) as executor:
        start(executor, 2)
        yield executor


# --- whole, and the task's own


ARRAYS = {
    "one row": numbers(),
    "a matrix by columns": np.asfortranarray(numbers().reshape(1024, -1)),
    "with gaps": numbers()[::2],
    "a slice": numbers()[MEGABYTE // 2 :],
    "read only": np.frombuffer(bytes(LARGE), np.uint8),
    "empty": numbers(0),
    "records": np.zeros(1 << 18, [("a", "i4"), ("b", "f8")]),
    "objects": np.array([{1: 2}] * 100_000, object),
    "just below the threshold": numbers(LARGE_BYTES - 1),
    "at the threshold": numbers(LARGE_BYTES),
    "just above": numbers(LARGE_BYTES + 1),
}


def test_an_array_goes_to_a_worker_and_comes_back_as_from_a_plain_pickle(two: poolbar.ProgressExecutor) -> None:
    for name, array in ARRAYS.items():
        expected = pickle.loads(pickle.dumps(array, 5))
        for came in (two.submit(tasks.same, array).result(20), next(two.map(tasks.same, [array]))):
            assert came.dtype == expected.dtype, name
            assert came.shape == expected.shape, name
            assert came.flags.writeable == expected.flags.writeable, name
            assert came.flags.f_contiguous == expected.flags.f_contiguous, name
            assert (came == expected).all(), name
        assert two.submit(is_writable, array).result(20) == expected.flags.writeable, name


def test_a_table_goes_to_a_worker_and_comes_back(two: poolbar.ProgressExecutor) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas has no wheel for this Python")
    pytest.importorskip("pyarrow", reason="pyarrow has no wheel for this Python")
    frame = pandas.DataFrame({"n": range(300_000), "x": 0.5, "text": "some text"})
    tables = [
        frame,
        pandas.DataFrame({"n": pandas.Categorical(list("abc") * 40_000)}),
        pandas.Series(pandas.date_range("2026", periods=200_000, freq="min")),
        frame[["n", "text"]].astype({"n": "int64[pyarrow]", "text": "string[pyarrow]"}),
    ]
    for table in tables:
        back = two.submit(tasks.same, table).result(20)
        (pandas.testing.assert_series_equal if table.ndim == 1 else pandas.testing.assert_frame_equal)(back, table)
        assert next(two.map(tasks.same, [table])).equals(table)
    back = two.submit(tasks.same, frame).result(20)
    back.loc[0, "n"] = 7  # it can be written to
    assert back["n"].iloc[0] == 7


def test_a_tensor_goes_to_a_worker_and_comes_back(two: poolbar.ProgressExecutor) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: its wheel is far larger than all the rest")
    tensor = torch.arange(1 << 20)
    came = two.submit(tasks.same, tensor).result(20)
    came[0] = 7
    assert came[1:].equal(tensor[1:])


def test_what_is_large_without_being_an_array_arrives_too(two: poolbar.ProgressExecutor) -> None:
    for value in (bytes(LARGE), bytearray(LARGE), "text" * LARGE, list(range(300_000)), {"deep": [numbers()]}):
        came = two.submit(tasks.same, value).result(20)
        assert type(came) is type(value)
        assert repr(came) == repr(value)
        assert repr(next(two.map(tasks.same, [value]))) == repr(value)


@pytest.mark.parametrize("kind", PIPED)
def test_large_values_of_a_fixed_batch_all_arrive(kind: str) -> None:
    # More than its worker's memory takes in one batch: the rest goes through the pipe.
    with poolbar.ProgressExecutor(1, backend=kind) as executor:
        results = executor.map(tasks.payload, [6 * MEGABYTE] * 16, chunksize=16)
        assert [len(result) for result in results] == [6 * MEGABYTE] * 16


def test_a_task_may_write_to_its_array_and_nobody_sees_it(two: poolbar.ProgressExecutor) -> None:
    array = numbers()
    array[:2] = 1, 2
    ends = [(1, 2)] * 20
    assert list(two.map(first_two, repeat(array), range(20))) == ends
    assert [future.result(20) for future in [two.submit(first_two, array, number) for number in range(20)]] == ends
    assert array[:2].tolist() == [1, 2]


def test_what_changes_between_submits_is_seen_as_it_was(two: poolbar.ProgressExecutor) -> None:
    array = numbers()
    futures = []
    for number in range(10):
        array[0] = number
        futures.append(two.submit(first_two, array, 0))
        futures.append(two.submit(first_two, array, 0))
    array[:] = 0
    assert [future.result(20)[0] for future in futures] == [number for number in range(10) for _ in range(2)]


def test_what_a_function_has_bound_is_seen_as_it_was_at_each_submit(two: poolbar.ProgressExecutor) -> None:
    array = numbers()
    futures = []
    for number in range(6):
        array[0] = number
        futures += [two.submit(partial(first_two, array), 77) for _ in range(2)]
    assert [future.result(20)[0] for future in futures] == [number for number in range(6) for _ in range(2)]


def test_an_iterator_that_fills_one_array_again_and_again_is_not_taken_for_one_that_repeats_it() -> None:
    array = numbers()
    with poolbar.ProcessPoolExecutor(1) as executor:

        def contents() -> Iterator[Any]:
            for number in range(8):
                array[0] = number
                yield array

        came = [int(value[0]) for value in executor.map(tasks.same, contents(), buffersize=1)]
    assert came == list(range(8))


class Changes:
    """Its pickling changes an array."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __reduce__(self) -> Any:
        self.array[0] += 1
        return int, (0,)


def test_what_a_batch_refers_to_stays_though_the_run_lets_go_of_it_before_the_batch_is_read() -> None:
    array = numbers()
    array[0] = 1
    with poolbar.ProcessPoolExecutor(1) as executor:
        others = [0, 0, Changes(array), 0]
        came = list(executor.map(first_two, [array] * 4, others, chunksize=4))
    assert [first for first, _ in came] == [1, 1, 2, 2]


def test_a_large_value_is_the_callers_own(two: poolbar.ProgressExecutor) -> None:
    kept = list(two.map(grown, [numbers(seed=seed) for seed in range(8)]))
    for seed, array in enumerate(kept):
        assert (array == numbers(seed=seed) + 1).all()  # no later value lies in its place
        array[:] = 0


def test_an_error_with_a_large_array_arrives(two: poolbar.ProgressExecutor) -> None:
    with pytest.raises(ValueError) as caught:
        two.submit(tasks.raise_it, ValueError(numbers())).result(20)
    assert (caught.value.args[0] == numbers()).all()


def test_a_value_that_fails_to_pickle_behind_a_large_array_fails_its_own_task(two: poolbar.ProgressExecutor) -> None:
    with pytest.raises(poolbar.NotPicklable, match="lock"):
        two.submit(lock_beside, LARGE).result(20)
    assert two.submit(checksum, numbers()).result(20) == checksum(numbers())


def lock_beside(size: int) -> Any:
    return numbers(size), threading.Lock()


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.integers(0, 3 * LARGE_BYTES).map(numbers) | st.binary(max_size=100) | st.integers(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
        max_leaves=8,
    )
)
def test_what_is_sealed_unseals_to_the_same(value: Any) -> None:
    sealed = seal(value)
    assert repr(unseal_copy(sealed)) == repr(value)
    assert repr(unseal_copy(Blocks(keep=False).copied_all(sealed))) == repr(value)
    place = memory.create(0)
    one, other = Arena(place.path), Arena(place.path)
    place.remove()
    try:
        stored = sealed if isinstance(sealed, bytes) else tuple(one.put(part) for part in sealed)
        assert repr(unseal(memory.opened(stored, other))) == repr(value)
    finally:
        one.close()
        other.close()


# --- no more than it must


@LINUX
def test_one_array_for_many_tasks_of_a_run_travels_once(two: poolbar.ProgressExecutor) -> None:
    array = numbers()
    found = list(two.map(memories, repeat(array), range(40), chunksize=1))
    assert len(set().union(*found)) == 1
    assert sum(bool(maps) for maps in found) >= 38  # each worker's first at most came without


@LINUX
def test_one_array_in_many_submits_travels_once(two: poolbar.ProgressExecutor) -> None:
    array = numbers()
    found = [future.result(20) for future in [two.submit(memories, array, number) for number in range(40)]]
    assert len(set().union(*found)) == 1


@LINUX
def test_a_function_with_a_large_array_travels_once_with_submit_too(two: poolbar.ProgressExecutor) -> None:
    array = numbers()
    found = [future.result(20) for future in [two.submit(partial(memories, array), number) for number in range(40)]]
    assert len(set().union(*found)) == 1
    assert all(found)


def test_a_function_that_binds_nothing_that_can_change_is_pickled_once() -> None:
    bound = bytes(LARGE)
    with poolbar.ProcessPoolExecutor(1) as executor:
        executor.submit(tasks.same, 1).result(20)
        functions = executor._functions
        found = {functions.get(partial(tasks.same, bound)).id for _ in range(5)}
        assert len(found) == 1
        assert functions.get(partial(tasks.same, bytes(LARGE + 1))).id not in found
        assert functions.get(partial(tasks.same, [1])).fresh


offset = 0


def test_so_is_one_that_goes_by_value_until_what_it_refers_to_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    def size(data: bytes) -> int:
        return len(data) + offset

    bound = bytes(LARGE)
    with poolbar.ProcessPoolExecutor(1) as executor:
        assert executor.submit(partial(size, bound)).result(20) == LARGE
        functions = executor._functions
        assert len({functions.get(partial(size, bound)).id for _ in range(5)}) == 1
        monkeypatch.setitem(globals(), "offset", 1)
        assert executor.submit(partial(size, bound)).result(20) == LARGE + 1


@LINUX
def test_what_a_run_has_sent_is_freed_with_it() -> None:
    with poolbar.ProcessPoolExecutor(1) as executor:
        start(executor, 1)
        before = len(ours())
        array = numbers()
        results = executor.map(first_two, repeat(array, 10), range(10))
        list(results)
        del results
        futures = [executor.submit(first_two, array, number) for number in range(10)]
        for future in futures:
            future.result(20)
        assert until(lambda: gc.collect() >= 0 and len(ours()) <= before + 2)  # an arena that is in use is open twice


@LINUX
def test_a_worker_that_rests_has_given_the_memory_back() -> None:
    with poolbar.ProcessPoolExecutor(1) as executor:
        assert checksum(executor.submit(tasks.same, numbers()).result(20)) == checksum(numbers())
        (worker,) = [lane.worker for lane in executor._crew.lanes]
        descriptors = [worker._arguments._descriptor, worker._values._descriptor]
        assert until(lambda: all(os.fstat(number).st_size == 0 for number in descriptors))
        # and takes some again
        assert checksum(executor.submit(tasks.same, numbers()).result(20)) == checksum(numbers())


# --- where there is none of that memory


def test_where_there_is_no_room_the_pipe_takes_it(two: poolbar.ProgressExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Arena, "put", full)
    monkeypatch.setattr(Block, "path", full)
    array = numbers()
    assert list(two.map(checksum, repeat(array, 4))) == [checksum(array)] * 4
    assert [future.result(20) for future in [two.submit(checksum, array) for _ in range(4)]] == [checksum(array)] * 4
    assert two.submit(partial(checksum, array)).result(20) == checksum(array)


@pytest.mark.parametrize("is_there", [True, False])
def test_where_there_is_no_memory_without_a_file_there_are_temporary_files(
    is_there: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(*_: Any) -> int:
        raise PermissionError("not here")

    if is_there:
        monkeypatch.setattr(os, "memfd_create", refused, raising=False)
    else:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    array = numbers()
    with poolbar.ProcessPoolExecutor(1, idle_seconds=0) as executor:
        shared = executor.share(array)
        assert executor.submit(checksum, shared).result(20) == checksum(array)
        assert list(executor.map(checksum, repeat(array, 6))) == [checksum(array)] * 6
        assert (executor.submit(tasks.same, array).result(20) == array).all()
        assert list(tmp_path.iterdir())
    del shared
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_a_run_keeps_only_so_much_of_what_it_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poolbar.workers.blocks, "MOST_KEPT_BYTES", 5 * LARGE // 2)
    arrays = [numbers(seed=seed) for seed in range(4)]
    blocks = Blocks(keep=True)
    buffers = [pickle.PickleBuffer(array).raw() for array in arrays]
    assert [blocks.repeated(buffer) for buffer in buffers] == [None] * 4
    assert [blocks.repeated(buffer) is not None for buffer in buffers] == [True, True, False, False]
    arrays[0][0] += 1
    assert blocks.repeated(buffers[0]) is None  # it changes: there is room again
    assert [blocks.repeated(buffer) is not None for buffer in buffers] == [False, True, True, False]


# --- when workers die


def die_now_and_then(array: Any, number: int) -> int:
    if number % 10 == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return int(array[0]) + number


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_worker_that_dies_of_a_task_with_a_large_array_costs_that_task() -> None:
    arrays = [numbers(seed=seed) for seed in range(30)]
    with poolbar.ProcessPoolExecutor(2) as executor:
        futures = [executor.submit(die_now_and_then, array, number) for number, array in enumerate(arrays)]
        for number, future in enumerate(futures):
            if number % 10 == 3:
                with pytest.raises(poolbar.WorkerCrashed, match=r"die_now_and_then\(<.*>, \d+\)"):
                    future.result(30)
            else:
                assert future.result(30) == int(arrays[number][0]) + number


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_values_that_were_delivered_before_a_death_are_whole() -> None:
    with poolbar.ProcessPoolExecutor(1, retries=1) as executor:
        for round_number in range(5):
            results = executor.map(tasks.same, [numbers(seed=seed) for seed in range(10)])
            for seed, value in enumerate(results):
                assert (value == numbers(seed=seed)).all()
                if seed == round_number:
                    os.kill(next(iter(executor._processes)), signal.SIGKILL)


KILLED = """
import os, signal, sys
import numpy as np
import poolbar, tasks
executor = poolbar.ProcessPoolExecutor(2, progress=False)
shared = executor.share(np.ones(1 << 22))
array = np.zeros(1 << 22)
results = executor.map(tasks.same, [array, array.copy()] * 20)
futures = [executor.submit(tasks.same, array) for _ in range(4)] + [executor.submit(tasks.same, shared)]
next(results)
print(*executor._processes, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@LINUX
def test_a_program_killed_among_large_data_leaves_nothing(tmp_path: Path) -> None:
    def left() -> set[str]:
        # Those of multiprocessing's shared memory, too; other programs have others there.
        return {str(path) for place in ("/dev/shm", tempfile.gettempdir()) for path in Path(place).glob("p*[_-]*")}

    before = left()
    path = tmp_path / "script.py"
    path.write_text(KILLED)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=60, env=environment(), check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    assert until(lambda: all(map(is_gone, pids)))
    assert {path for path in left() - before if Path(path).name.startswith(("poolbar-", "psm_"))} == set()


# --- shared objects


@pytest.mark.parametrize("kind", KINDS)
def test_a_shared_object_is_what_its_tasks_get_in_every_kind_of_worker(kind: str) -> None:
    words = {str(number): number for number in range(10_000)}
    with KINDS[kind](2) as pool:
        gets_what_is_shared(pool, words)


def gets_what_is_shared(pool: poolbar.ProgressExecutor, words: dict[str, int]) -> None:
    shared = pool.share(words)
    assert list(pool.map(dict.__getitem__, repeat(shared), ["7", "8"])) == [7, 8]
    assert pool.submit(dict.__getitem__, shared, "9").result(20) == 9
    assert pool.submit(sorted, shared).result(20)[:2] == ["0", "1"]
    assert pool.submit(partial(dict.__getitem__, shared), "5").result(20) == 5
    assert list(pool.map(partial(dict.__getitem__, shared), ["3"])) == [3]
    assert shared.value is words


def described(array: Any, _: int) -> tuple[bool, int, int]:
    return is_writable(array), checksum(array), id(array)


def test_a_shared_array_is_read_only_in_workers_and_made_once_in_each(two: poolbar.ProgressExecutor) -> None:
    array = numbers()
    shared = two.share(array)
    array[:] = 0  # what is shared was taken when it was
    found = set(two.map(described, repeat(shared), range(40), chunksize=1))
    assert {(writable, total) for writable, total, _ in found} == {(False, checksum(numbers()))}
    assert len(found) <= 2


@LINUX
def test_a_shared_object_is_freed_with_its_executor_not_before_its_tasks_are_done() -> None:
    before = len(ours())
    executor = poolbar.ProcessPoolExecutor(1, idle_seconds=0)
    futures = [executor.submit(described, executor.share(numbers()), number) for number in range(20)]
    executor.shutdown(wait=False)
    assert {future.result(20)[1] for future in futures} == {checksum(numbers())}
    assert until(lambda: len(ours()) <= before)


def test_a_shared_object_that_was_freed_is_refused() -> None:
    with poolbar.ProcessPoolExecutor(1) as executor:
        shared = executor.share(numbers())
        assert executor.submit(checksum, shared).result(20) == checksum(numbers())
        shared.free()
        with pytest.raises(poolbar.NotPicklable, match="was freed"):
            executor.submit(checksum, shared).result(20)
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.share(numbers())


def test_what_cannot_be_pickled_cannot_be_shared_but_with_threads() -> None:
    lock = threading.Lock()
    with poolbar.ProcessPoolExecutor(1) as executor, pytest.raises(poolbar.NotPicklable, match="lock cannot be shared"):
        executor.share(lock)
    with poolbar.ThreadPoolExecutor(1) as executor:
        assert executor.submit(tasks.same, executor.share(lock)).result(20) is lock


def test_workers_let_go_of_what_is_shared_no_more() -> None:
    with poolbar.ProcessPoolExecutor(1) as executor:
        for seed in range(5):
            shared = executor.share(numbers(seed=seed))
            assert executor.submit(checksum, shared).result(20) == checksum(numbers(seed=seed))
            shared.free()
            other = executor.share(1)
            assert executor.submit(received, other).result(20) <= 2
            other.free()


def received(_: int) -> int:
    from poolbar.inside import shared

    return len(shared._received)


# --- in the parts


def test_a_block_is_made_once_for_an_object_that_stays_the_same() -> None:
    array = numbers()
    blocks = Blocks(keep=True)
    buffer = pickle.PickleBuffer(array).raw()
    assert blocks.repeated(buffer) is None
    block = blocks.repeated(buffer)
    assert isinstance(block, Block)
    assert blocks.repeated(buffer) is block
    array[0] += 1
    assert blocks.repeated(buffer) is None
    assert blocks.repeated(buffer) is None  # it changes: nobody looks again
    assert blocks.repeated(memoryview(b"small")) is None


def test_an_arena_gives_memory_back_and_takes_it_again() -> None:
    place = memory.create(0)
    writer, reader = Arena(place.path), Arena(place.path)
    place.remove()
    try:
        for size in (10, MEGABYTE, 5 * MEGABYTE, 100):
            writer.rewind()
            data = [numbers(size, seed).tobytes() for seed in range(3)]
            places = [writer.put(part) for part in data]
            assert [bytes(reader.get(*where)) for where in places] == data
            reader.shrink()  # the parent does so, whichever end it has
            assert os.fstat(writer._descriptor).st_size == 0
    finally:
        writer.close()
        reader.close()
