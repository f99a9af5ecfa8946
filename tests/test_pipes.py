"""Big and slow pipes: 60 MB each way at once, readers that hold still, workers that die in the middle of a message.

No deadlock, nothing lost, nothing twice (laws 3 and 9).
"""

from __future__ import annotations

import operator
import os
import random
import signal
import sys
import threading
import zlib
from collections import Counter, deque
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

import pytest
import tasks
from conftest import Gate, kill_now_and_then, lines, start, until

import poolbar
from poolbar import _messages as messages
from poolbar._backlog import Backlog
from poolbar._calls import Calls
from poolbar._function import Function
from poolbar._nature import Nature
from poolbar.inside import pickling
from poolbar.progress import Untold
from poolbar.workers import sending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Script = Callable[..., list[str]]

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and file descriptors")

PIECE = random.Random(5).randbytes(1_000_003)  # a prime: what is out of place by some pipes' length does not match
PIECES = 60
LARGE = 20_000_000  # bytes: no message of these tests is so long but those of 60 MB
MEDIUM = 60_000  # bytes: what is larger goes beside the pipe


@pytest.fixture(scope="module")
def big() -> bytes:
    """60 MB, made once: a hundred times what a pipe holds."""
    return PIECE * PIECES


@pytest.fixture(scope="module")
def checksum(big: bytes) -> int:
    return zlib.crc32(big)


# --- what runs in workers


def made(path: str, number: int, pieces: int) -> bytes:
    """Note that this task ran; return some megabytes."""
    tasks.note(path, number)
    return PIECE * pieces


def filled(path: str, number: int, size: int) -> bytes:
    tasks.note(path, number)
    return bytes([number % 256]) * size


def filled_in_a_list(path: str, number: int, size: int) -> list[bytes]:
    return [filled(path, number, size)]


def measured(path: str, number: int, data: bytes) -> tuple[int, int]:
    tasks.note(path, number)
    return len(data), zlib.crc32(data)


def medium(path: str | None, number: int) -> bytes:
    """Return 64 KB, at once or when there is a file."""
    if path is not None:
        tasks.wait_for(path)
    return number.to_bytes(8, "big") * (MEDIUM // 8)


# --- large arguments and results


@pytest.mark.parametrize("workers", [1, 2])
def test_large_arguments_and_results_pass_each_other(workers: int, big: bytes, checksum: int) -> None:
    """While a result is read, the next argument waits to be written to the same worker, or is being written to the other."""
    calls: deque[tuple[Any, ...]] = deque([(operator.mul, PIECE, PIECES), (tasks.same, big), (zlib.crc32, big)])
    running: set[poolbar.Future[Any]] = set()
    found: list[int] = []
    with poolbar.ProcessPoolExecutor(workers) as executor:
        while calls or running:
            while calls and len(running) < 2:
                running.add(executor.submit(*calls.popleft()))
            done, running = poolbar.wait(running, timeout=60, return_when=poolbar.FIRST_COMPLETED)
            assert done
            while done:
                value = done.pop().result()
                found.append(value if isinstance(value, int) else zlib.crc32(value))
                del value
    assert found == [checksum] * 3


def test_large_arguments_and_results_of_a_map_pass_each_other(big: bytes, checksum: int) -> None:
    with poolbar.ProcessPoolExecutor(2) as executor:
        assert [zlib.crc32(value) for value in executor.map(tasks.same, [big] * 3)] == [checksum] * 3


def test_large_results_of_one_batch_follow_each_other(checksum: int) -> None:
    with poolbar.ProcessPoolExecutor(2) as executor:
        results = executor.map(operator.mul, iter([PIECE] * 3), iter([PIECES] * 3), chunksize=3, ordered=False)
        assert [zlib.crc32(value) for value in results] == [checksum] * 3


def test_a_large_error_arrives_whole(piped: poolbar.ProgressExecutor) -> None:
    text = "x" * 30_000_000
    error = piped.submit(tasks.fail, text).exception(60)
    assert isinstance(error, ValueError)
    assert error.args == (text,)


# --- readers that hold still


@pytest.mark.parametrize(("ordered", "lazy"), [(True, False), (False, True)])
def test_a_map_whose_reader_holds_still_stands_and_the_rest_of_the_executor_does_not(
    tmp_path: Path, ordered: bool, lazy: bool
) -> None:
    """Results of 200 MB in all; when 128 MB are there that nobody has read, no more is begun."""
    path, count = tmp_path / "ran", 40
    numbers = range(count)
    buffersize = count if lazy else None  # the window alone would hold fewer
    wanted = zlib.crc32(PIECE * 5)
    with poolbar.ProcessPoolExecutor(2) as executor:
        start(executor, 2)
        inputs = [str(path)] * count, iter(numbers) if lazy else numbers, [5] * count
        results = executor.map(made, *inputs, ordered=ordered, buffersize=buffersize)

        def stands() -> bool:
            return "0 tasks waiting, 0 batches running" in repr(executor)

        def others_get_through() -> None:
            assert [executor.submit(tasks.same, number).result(30) for number in range(100)] == list(range(100))
            assert list(executor.map(tasks.square, range(1000))) == [number * number for number in range(1000)]
            start(executor, 2)

        assert until(lambda: len(lines(path)) > 25 and stands())
        others_get_through()
        assert 128 << 20 <= 5 * len(PIECE) * len(lines(path)) <= 160 << 20
        read = [zlib.crc32(next(results)) for _ in range(10)]
        assert until(lambda: len(lines(path)) > 35 and stands())
        others_get_through()
        assert len(executor.submit(operator.mul, PIECE, 15).result(60)) == 15 * len(PIECE)
        read += [zlib.crc32(value) for value in results]
        assert read == [wanted] * count
    assert sorted(map(int, lines(path))) == list(numbers)


def test_a_callback_that_blocks_holds_up_its_own_worker_only(piped: poolbar.ProgressExecutor, gate: Gate) -> None:
    blocks, free = threading.Event(), threading.Event()

    def block(_: Any) -> None:
        blocks.set()
        free.wait(60)

    try:
        held = gate.hold(piped)[0]
        held.add_done_callback(block)
        gate.open()
        assert blocks.wait(20)
        futures = [piped.submit(operator.mul, PIECE, 15) for _ in range(4)]
        assert {len(future.result(60)) for future in futures} == {15 * len(PIECE)}
        del futures
        assert [len(value) for value in piped.map(operator.mul, [PIECE], [PIECES])] == [PIECES * len(PIECE)]
    finally:
        free.set()
    start(piped, 2)


@pytest.mark.parametrize(("workers", "way"), [(1, "submit"), (1, "map in batches"), (2, "submit"), (2, "map")])
def test_many_medium_results_come_in_the_middle_of_long_tasks(tmp_path: Path, workers: int, way: str) -> None:
    """Every hundredth task ends when all results before its own are here: they are asked for while it runs."""
    count = 2000
    paths = [str(tmp_path / str(number)) if number % 100 == 70 else None for number in range(count)]
    with poolbar.ProcessPoolExecutor(workers) as executor:
        results: Iterator[bytes]
        if way == "submit":
            futures = deque(executor.submit(medium, path, number) for number, path in enumerate(paths))
            results = (futures.popleft().result(30) for _ in range(count))
        else:
            results = executor.map(medium, paths, range(count), chunksize=150 if way == "map in batches" else None)
        try:
            for number, path in enumerate(paths):
                if path is not None:
                    tasks.write(path)
                value = next(results)
                assert len(value) == MEDIUM
                assert value[:8] == value[-8:] == number.to_bytes(8, "big")
            assert next(results, None) is None
        finally:
            for path in filter(None, paths):
                tasks.write(path)  # should one be missing, the others do not wait for it


def test_submitted_tasks_that_two_workers_hand_back_are_begun_in_their_old_order() -> None:
    """Else one that waits for an earlier one may keep it from being begun: the standard library begins them in order."""
    backlog = Backlog({"process": 2}, lambda hands: None)
    calls = Calls(Function(Nature("process"), None, "abs", b"sealed"), messages.STARRED, Untold())
    calls.tasks.extend((poolbar.Future(), (number,)) for number in range(10))
    batches = [calls.take(3), calls.take(3)]
    for batch in batches:
        backlog.give_back(batch, 2)
    order = []
    while not calls.is_finished():
        order += [payload for _, payload in calls.take(3).items]
    assert order == [(number,) for number in (1, 2, 4, 5, 6, 7, 8, 9)]


def learn(executor: poolbar.ProgressExecutor, function: Callable[..., Any], other: Path) -> None:
    """Run a function often enough that its tasks go in large batches."""
    assert poolbar.wait([executor.submit(function, str(other), 0, 1) for _ in range(2000)], timeout=60).not_done == set()


@pytest.mark.parametrize("is_killed", [pytest.param(True, marks=POSIX), False])
@pytest.mark.parametrize("function", [filled, filled_in_a_list])
def test_a_worker_whose_pipe_is_full_waits_and_if_it_is_killed_one_task_fails(
    tmp_path: Path, gate: Gate, function: Callable[..., Any], is_killed: bool
) -> None:
    """Its lane is in a callback, and reads nothing."""
    path, count = tmp_path / "ran", 60
    blocks, free = threading.Event(), threading.Event()

    def block(_: Any) -> None:
        blocks.set()
        free.wait(60)

    with poolbar.ProcessPoolExecutor(1) as executor:
        learn(executor, function, tmp_path / "other")
        pid = executor.submit(os.getpid).result(20)
        held = gate.hold(executor)
        futures = [executor.submit(function, str(path), number, MEDIUM) for number in range(count)]
        futures[0].add_done_callback(block)
        try:
            gate.open()
            assert blocks.wait(30)
            assert until(lambda: len(lines(path)) >= 8)  # as many as a pipe of 512 KB holds
            if is_killed:
                os.kill(pid, signal.SIGKILL)
            assert len(lines(path)) < count
        finally:
            free.set()
        errors = [future.exception(60) for future in futures]
        failed = [error for error in errors if error is not None]
        assert all(isinstance(error, poolbar.WorkerCrashed) for error in failed)
        assert len(failed) <= is_killed
        for number, future in enumerate(futures):
            if errors[number] is None:
                value = future.result() if function is filled else future.result()[0]
                assert value == bytes([number]) * MEDIUM
        assert held[0].result() is None
    assert max(Counter(lines(path)).values()) == 1


# --- workers that die in the middle of a message


def never_beside() -> None:
    """Have everything go through pipes, as errors do, and what finds no room in the memory beside them."""
    from poolbar.inside import outbox, pickling
    from poolbar.workers import sending

    for module in (pickling, outbox, sending):
        vars(module)["LARGE_BYTES"] = 1 << 60


class FirstLarge:
    """Notices the first large message that is read or written by this process, and acts when it is on its way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._readv, self._writev = os.readv, os.writev
        self._read = 0
        self.stop: int | None = None  # a worker to be stopped when the first half of a large result has come
        self.is_half_read = threading.Event()
        self.written_to: int | None = None  # the pipe into which a large argument is being written
        monkeypatch.setattr(os, "readv", self._note_read)
        monkeypatch.setattr(os, "writev", self._note_write)
        for module in (pickling, sending):
            monkeypatch.setattr(module, "LARGE_BYTES", 1 << 60)

    def _note_read(self, descriptor: int, buffers: Any) -> int:
        is_large = len(buffers[0]) > LARGE
        count = self._readv(descriptor, buffers)
        if is_large and not self.is_half_read.is_set():
            self._read += count
            if self._read > LARGE and self.stop is not None:
                os.kill(self.stop, signal.SIGSTOP)
                self.is_half_read.set()
        return count

    def _note_write(self, descriptor: int, buffers: Any) -> int:
        if len(buffers[-1]) > LARGE and self.written_to is None:
            self.written_to = descriptor
        return self._writev(descriptor, buffers)

    def is_half_written(self) -> bool:
        """Tell whether a large argument fills a pipe, and its writer waits."""
        import fcntl
        import struct
        import termios

        if self.written_to is None:
            return False
        (waiting,) = struct.unpack("i", fcntl.ioctl(self.written_to, termios.FIONREAD, b"\0" * 4))
        return bool(waiting >= 4096)


@pytest.fixture
def first_large(monkeypatch: pytest.MonkeyPatch) -> FirstLarge:
    return FirstLarge(monkeypatch)


@POSIX
@pytest.mark.parametrize(("function", "way"), [(filled, "submit"), (filled_in_a_list, "submit"), (filled, "map")])
def test_a_worker_killed_while_it_writes_a_large_result_fails_that_task_alone(
    tmp_path: Path, gate: Gate, first_large: FirstLarge, function: Callable[..., Any], way: str
) -> None:
    """It is the 21st of a batch of 40."""
    path, count, place = tmp_path / "ran", 40, 20
    sizes = [PIECES * len(PIECE) if number == place else 100 for number in range(count)]
    with poolbar.ProcessPoolExecutor(2, initializer=never_beside) as executor:
        learn(executor, function, tmp_path / "other")
        held = gate.hold(executor)
        pid = executor.submit(os.getpid).result(20)
        first_large.stop = pid
        if way == "submit":
            futures = [executor.submit(function, str(path), number, size) for number, size in enumerate(sizes)]
        else:
            results = executor.map(function, [str(path)] * count, range(count), sizes, chunksize=count)
        assert first_large.is_half_read.wait(60)
        if way == "submit":
            assert not any(future.done() for future in futures[place:])
        os.kill(pid, signal.SIGKILL)
        small = [bytes([number]) * 100 if function is filled else [bytes([number]) * 100] for number in range(count)]
        if way == "submit":
            assert isinstance(futures[place].exception(60), poolbar.WorkerCrashed)
            assert [future.result(60) for future in futures[:place]] == small[:place]
            assert [future.result(60) for future in futures[place + 1 :]] == small[place + 1 :]
        else:
            assert [next(results) for _ in range(place)] == small[:place]
            with pytest.raises(poolbar.WorkerCrashed):
                next(results)
        assert not held[0].done()
        gate.open()
        assert held[0].result(20) is None
        start(executor, 2)
        assert len(executor.submit(operator.mul, PIECE, 15).result(60)) == 15 * len(PIECE)
    ran = Counter(lines(path))
    assert set(ran) >= set(map(str, range(count if way == "submit" else place + 1)))
    assert max(ran.values()) == 1


@POSIX
@pytest.mark.parametrize("way", ["submit", "map"])
def test_a_large_argument_whose_reader_is_killed_goes_to_another_worker(
    tmp_path: Path, gate: Gate, first_large: FirstLarge, big: bytes, checksum: int, way: str
) -> None:
    path = tmp_path / "ran"
    with poolbar.ProcessPoolExecutor(2, initializer=never_beside) as executor:
        executor.submit(measured, str(tmp_path / "other"), 0, b"").result(30)
        held = gate.hold(executor)
        pid = executor.submit(os.getpid).result(20)
        os.kill(pid, signal.SIGSTOP)
        try:
            if way == "submit":
                results = iter([executor.submit(measured, str(path), 0, big)])
            else:
                results = executor.map(measured, [str(path)], [0], [big])
            assert until(first_large.is_half_written)
            others = [executor.submit(tasks.same, number) for number in range(100)]
            gate.open()
            assert [future.result(30) for future in [*held, *others]] == [None, *range(100)]
        finally:
            os.kill(pid, signal.SIGKILL)
        found: Any = next(results)
        assert (found if way == "map" else found.result(60)) == (len(big), checksum)
        start(executor, 2)
    assert lines(path) == ["0"]


@POSIX
def test_workers_killed_by_the_executor_in_the_middle_of_large_messages_end_their_lanes(
    tmp_path: Path, gate: Gate, first_large: FirstLarge, big: bytes
) -> None:
    """One has stopped writing a result, the other does not read its argument."""
    executor = poolbar.ProcessPoolExecutor(2, initializer=never_beside)
    held = gate.hold(executor)
    writer = first_large.stop = executor.submit(os.getpid).result(20)
    result = executor.submit(filled, str(tmp_path / "ran"), 0, len(big))
    assert first_large.is_half_read.wait(60)
    gate.open()
    assert held[0].result(20) is None
    (reader,) = set(executor._processes) - {writer}
    os.kill(reader, signal.SIGSTOP)
    argument = executor.submit(measured, str(tmp_path / "ran"), 1, big)
    assert until(first_large.is_half_written)
    executor.kill_workers()
    assert isinstance(result.exception(20), BrokenProcessPool)
    assert poolbar.wait([argument], timeout=20).not_done == set()
    assert argument.cancelled()
    executor.shutdown()
    assert lines(tmp_path / "ran") == ["0"]


@POSIX
@pytest.mark.parametrize("function", [filled, filled_in_a_list])
def test_workers_killed_again_and_again_while_medium_results_flow_lose_only_what_they_ran(
    tmp_path: Path, function: Callable[..., Any]
) -> None:
    path, count = tmp_path / "ran", 600
    with poolbar.ProcessPoolExecutor(2) as executor:
        learn(executor, function, tmp_path / "other")
        futures = [executor.submit(function, str(path), number, MEDIUM) for number in range(count)]
        killed = kill_now_and_then(executor, path, futures, every=40, most=8)
        errors = [future.exception() for future in futures]
        assert all(error is None or isinstance(error, poolbar.WorkerCrashed) for error in errors)
        assert sum(error is not None for error in errors) <= killed
        for number, future in enumerate(futures):
            if errors[number] is None:
                value = future.result() if function is filled else future.result()[0]
                assert value == bytes([number % 256]) * MEDIUM
    ran = Counter(lines(path))
    assert max(ran.values()) == 1
    assert {number for number in range(count) if errors[number] is None} <= set(map(int, ran))


# --- what is unread when the executor ends

LEAVE = """
import os, sys, threading, time
import poolbar, tasks

done = []

def run():
    with poolbar.ProcessPoolExecutor(2) as executor:
        results = executor.map(bytes, [8 << 20] * 24{options})
        while "0 tasks waiting, 0 batches running" not in repr(executor):
            time.sleep(0.01)
        {then}
    done.append(executor)

runner = threading.Thread(target=run, daemon=True)
runner.start()
runner.join(8)
print(len(done), *[repr(executor).split(", ")[-1] for executor in done], flush=True)
os._exit(0)  # it would hang
"""


@pytest.mark.parametrize("options", ["", ", buffersize=4"])
@pytest.mark.parametrize("then", ["pass", "del results"])
def test_leaving_the_with_block_runs_what_was_held_up_by_a_reader_that_held_still(
    script: Script, options: str, then: str
) -> None:
    assert script(LEAVE.format(options=options, then=then)) == ["1 24 tasks done>"]
