"""The contract of backends: ``poolbar.testing`` holds for the engines that there are, and finds what is wrong with others."""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from conftest import lines as lines_of
from tasks import note

import poolbar
from poolbar import testing
from poolbar.backends import Backend
from poolbar.testing import checks

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from pathlib import Path

ENGINES: dict[str, Callable[[], Executor]] = {
    "threads": lambda: ThreadPoolExecutor(2),
    "processes": lambda: ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")),
    "poolbar": lambda: poolbar.ProgressExecutor(2, backend="process", progress=False),
}
if sys.version_info >= (3, 14):
    from concurrent.futures import InterpreterPoolExecutor

    ENGINES["interpreters"] = lambda: InterpreterPoolExecutor(2)


@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES)
def test_the_contract_holds_for(make: Callable[[], Executor]) -> None:
    with make() as engine:
        testing.check_backend(lambda: engine)


class Threads(Backend):
    """A backend as it should be. Those below are each wrong in one way."""

    name = "threads"

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(2)

    def submit(self, call: Callable[..., Any], /, *args: Any) -> Future[Any]:
        return self.pool.submit(call, *args)

    def slots(self) -> int:
        return 2

    def line(self, deliver: Callable[[str, bytes], None]) -> Callable[[str, bytes], None] | None:
        lines.append(deliver)
        return Line(len(lines) - 1)

    def close(self) -> None:
        self.pool.shutdown()


lines: list[Callable[[str, bytes], None]] = []


class Line:
    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, key: str, data: bytes) -> None:
        lines[self.number](key, data)


class Waits(Threads):
    def submit(self, call: Callable[..., Any], /, *args: Any) -> Future[Any]:
        future = super().submit(call, *args)
        future.exception()
        return future


class LosesErrors(Threads):
    def submit(self, call: Callable[..., Any], /, *args: Any) -> Future[Any]:
        def run() -> Any:
            try:
                return call(*args)
            except Exception as error:
                return error

        return self.pool.submit(run)


class MakesErrorsItsOwn(Threads):
    def submit(self, call: Callable[..., Any], /, *args: Any) -> Future[Any]:
        def run() -> Any:
            try:
                return call(*args)
            except Exception as error:
                raise RuntimeError("a task failed") from error

        return self.pool.submit(run)


class PutsAReference(Threads):
    def put(self, data: bytes) -> Any:
        return [data]


class CountsInFloats(Threads):
    def slots(self) -> int:
        return 2.5  # type: ignore[return-value]


class ForgetsCallbacks(Threads):
    def submit(self, call: Callable[..., Any], /, *args: Any) -> Future[Any]:
        future = super().submit(call, *args)
        future.add_done_callback = lambda _: None  # type: ignore[method-assign]
        return future


class CancelsInWords(Threads):
    def submit(self, call: Callable[..., Any], /, *args: Any) -> Future[Any]:
        future = super().submit(call, *args)
        future.cancel = lambda: True  # type: ignore[method-assign]
        return future


class MixesResults(Threads):
    """Has no lock where it needs one: of two threads that submit, one gets the other's future."""

    def __init__(self) -> None:
        super().__init__()
        self.meeting = threading.Barrier(2)
        self.futures: list[Future[Any]] = []

    def submit(self, call: Callable[..., Any], /, *args: Any) -> Future[Any]:
        future = super().submit(call, *args)
        if threading.current_thread().name.startswith("check"):
            return future
        self.futures.append(future)
        try:
            self.meeting.wait(0.1)
        except threading.BrokenBarrierError:
            self.meeting.reset()
        return self.futures[-1]


class TurnsItsLine(Threads):
    """Delivers later what was sent earlier. That is allowed."""

    def line(self, deliver: Callable[[str, bytes], None]) -> Callable[[str, bytes], None] | None:
        kept: list[tuple[str, bytes]] = []
        turns = threading.Lock()  # two batches may end at the same time

        def send_the_rest() -> None:
            with turns:
                while kept:
                    deliver(*kept.pop())

        self.send_the_rest = send_the_rest

        def later(key: str, data: bytes) -> None:
            kept.append((key, data))
            if len(kept) == 5:
                self.send_the_rest()

        return super().line(later)


class MixesItsLine(Threads):
    def line(self, deliver: Callable[[str, bytes], None]) -> Callable[[str, bytes], None] | None:
        return super().line(lambda key, data: deliver("first", data))


class LosesItsLine(Threads):
    def line(self, deliver: Callable[[str, bytes], None]) -> Callable[[str, bytes], None] | None:
        return super().line(lambda key, data: None if data == b"7" else deliver(key, data))


class LineDoesNotPickle(Threads):
    def line(self, deliver: Callable[[str, bytes], None]) -> Callable[[str, bytes], None] | None:
        return partial(print, file=threading.Lock())


class Hangs(Threads):
    def __init__(self) -> None:
        super().__init__()
        self.future: Future[Any] = Future()

    def submit(self, call: Callable[..., Any], /, *args: Any) -> Future[Any]:
        return self.future


def test_a_backend_as_it_should_be_passes_all_checks() -> None:
    testing.check_backend(Threads)


def test_records_that_come_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    backend = TurnsItsLine()
    backend.submit = lambda call, /, *args: backend.pool.submit(ending, backend, call, args)  # type: ignore[method-assign]
    with poolbar.ProgressExecutor(backend=backend) as executor:
        found = list(executor.map(partial(slowly, str(tmp_path / "ran")), range(60), chunksize=20))
    assert found == list(range(60))
    assert sorted(map(int, lines_of(tmp_path / "ran"))) == list(range(60))  # none was run again


def ending(backend: TurnsItsLine, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    result = call(*args)
    backend.send_the_rest()
    return result


def slowly(path: str, number: int) -> int:
    time.sleep(0.01)
    return note(path, number)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        (Waits, checks.submit_does_not_wait_for_the_call),
        (LosesErrors, checks.an_error_of_a_call_is_its_futures),
        (MakesErrorsItsOwn, checks.an_error_of_a_call_is_its_futures),
        (PutsAReference, checks.what_was_put_arrives_in_its_place),
        (CountsInFloats, checks.slots_is_a_number_that_is_known_at_once),
        (ForgetsCallbacks, checks.a_futures_callback_is_called_once),
        (CancelsInWords, checks.a_cancelled_future_ends),
        (MixesResults, checks.any_thread_may_submit),
        (MixesItsLine, checks.a_line_delivers_what_is_sent),
        (LosesItsLine, checks.a_line_delivers_what_is_sent),
    ],
)
def test_what_is_wrong_with_a_backend_is_found(
    wrong: Callable[[], Backend], check: testing.Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "PATIENCE", 0.5)
    with pytest.raises(AssertionError):
        testing.run_check(check, wrong)
    testing.run_check(check, Threads)


def test_a_line_that_does_not_pickle_is_found() -> None:
    with pytest.raises((AttributeError, TypeError), match="pickle"):
        testing.run_check(checks.a_line_delivers_what_is_sent, LineDoesNotPickle)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(AssertionError, match=r"(?s)checks failed:.*\nan_error_of_a_call_is_its_futures: .*RuntimeError"):
        testing.check_backend(MakesErrorsItsOwn)


def test_a_backend_that_hangs_is_left_alone() -> None:
    backend = Hangs()
    with pytest.raises(AssertionError, match=r"submit_does_not_wait_for_the_call did not end within 0\.2 s"):
        testing.run_check(checks.submit_does_not_wait_for_the_call, lambda: backend, seconds=0.2)
    backend.future.set_result(None)
