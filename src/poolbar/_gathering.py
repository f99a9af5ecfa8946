"""What the methods of a pool return, and what these read: results that callbacks hear of, and iterators that wait."""

from __future__ import annotations

import queue
import sys
import threading
import time
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from multiprocessing import TimeoutError
from multiprocessing.pool import MaybeEncodingError, RemoteTraceback  # type: ignore[attr-defined]  # typeshed has not all
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._errors import NotPicklable, set_cause
from ._interrupts import interrupts_deferred
from ._map import Nothing, Run
from ._reading import Bell, next_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._map import Chunk

T = TypeVar("T")


class ResultNotPicklable(NotPicklable, MaybeEncodingError):  # type: ignore[misc]  # its type is not known
    """A result does not pickle. Only its own task fails."""

    def __init__(self, text: str) -> None:
        Exception.__init__(self, text)
        self.value, _, self.exc = text.partition(": ")

    __str__ = BaseException.__str__
    __repr__ = BaseException.__repr__


class AsyncResult(Generic[T]):
    """What a call, or a map, will have come to."""

    def __init__(self, future: Future[T]) -> None:
        self._future = future

    def get(self, timeout: float | None = None) -> T:
        """Return the result, or raise the error.

        Raises:
            TimeoutError: of multiprocessing: it is not there after ``timeout`` seconds.
            CancelledError: of concurrent.futures: the pool was terminated first.
        """
        self.wait(timeout)
        if not self.ready():
            raise TimeoutError
        error = error_of(self._future)
        if error is None:
            return self._future.result()
        try:
            raise error
        finally:
            del error  # it refers to this frame through its traceback

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the result, ``timeout`` seconds at most."""
        try:
            self._future.exception(timeout)
        except (FutureTimeoutError, CancelledError):  # of the wait: the task's own error is returned
            pass

    def ready(self) -> bool:
        """Tell whether the result is there."""
        return self._future.done()

    def successful(self) -> bool:
        """Tell whether there was no error.

        Raises:
            ValueError: the result is not there yet.
        """
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return error_of(self._future) is None


class IMapIterator(Generic[T]):
    """The results of ``imap``. One thread reads at a time: it holds ``_lock``, also while it waits; others wait for that."""

    def __init__(self, run: Run, bell: Bell) -> None:
        self._run = run
        self._bell = bell
        self._lock = threading.Lock()
        self._values: list[Any] = []  # of the chunk that is being read; the next is the last
        self._are_pickled = False
        self._is_read = self._is_over = False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return self.next()

    def next(self, timeout: float | None = None) -> T:
        """Return the next result, or raise the error in its place.

        Raises:
            TimeoutError: of multiprocessing: it is not there after ``timeout`` seconds.
            StopIteration: there are no more.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._lock.acquire(timeout=-1 if timeout is None else min(max(timeout, 0), threading.TIMEOUT_MAX)):
            raise TimeoutError
        try:
            self._is_read = True
            if not self._values:
                self._take_chunk(deadline)
            value: T = self._run.load(self._values.pop(), self._are_pickled)
            return value
        finally:
            self._lock.release()

    def _take_chunk(self, deadline: float | None) -> None:
        if self._is_over:
            raise StopIteration
        try:
            chunk = next_chunk(self._run, self._bell, deadline)
        except FutureTimeoutError:
            raise TimeoutError from None
        if chunk is None:
            self._is_over = True
            self._run.leave()
            self._run.finish()
            raise StopIteration
        if chunk.error is not None:
            self._run.read_one()
            raise as_there(chunk.error)
        self._values, self._are_pickled = chunk.values, chunk.pickled
        self._values.reverse()

    def __del__(self, _is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if _is_finalizing():
            return  # no lane is left, and modules are half gone
        if self._is_read:
            self._run.leave()
        else:
            self._run.drop_unread()


class Gathered:
    """All values of a run, or the first error."""

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._error: BaseException | None = None

    def take(self, run: Run, chunk: Chunk) -> None:
        """Take the next outcomes."""
        if self._error is not None:
            return
        if not (chunk.pickled or chunk.error):
            self._values += chunk.values
            return
        try:
            self._values += run.values(chunk)
        except BaseException as error:  # a task may have ended with whatever
            self._error = error

    def result(self) -> list[Any]:
        """Return the values, or raise the error."""
        if self._error is None:
            return self._values
        try:
            raise as_there(self._error)
        finally:
            self._error = None  # it refers to this frame through its traceback


class Gathering:
    """Reads a run to its end, in the thread of the callbacks: the bell of that run has it look again."""

    def __init__(self, calls: Calls) -> None:
        self.future: Future[Any] = Future()
        self.future.set_running_or_notify_cancel()
        self._calls = calls
        self._gathered = Gathered()
        self._run: Run | None = None

    def begin(self, run: Run) -> None:
        """Read a run, all whose items are there."""
        self._run = run
        self.ring()

    def ring(self) -> None:
        """Look again. From any thread."""
        self._calls.put(self._read)

    def _read(self) -> None:
        run = self._run
        if run is None:
            return  # it was rung once more than there was something to read
        try:
            while not isinstance(found := run.poll(), Nothing):
                self._gathered.take(run, found)
            if found is not Nothing.OVER:
                return
            values = self._gathered.result()
        except BaseException as error:  # a task's, or the pool was terminated
            self.future.set_exception(error)
        else:
            self.future.set_result(values)
        run.leave()
        self._run = None


class Calls:
    """What is called in a thread of its own, one after the other: users' callbacks, and what these wait for.

    The thread starts with the first of them, waits for ``_queue`` alone, and does not keep the program from ending. Anybody puts
    into that queue without waiting; ``_starting`` is held while the thread is started, or finds that it can end.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._has_ended = False

    def put(self, call: Callable[[], object]) -> None:
        """Have something called."""
        with self._starting:
            self._queue.put(call)
            if self._has_ended:
                self._queue.put(None)
            if self._thread is None:
                with interrupts_deferred():  # a thread that is half started would never call anything
                    self._thread = threading.Thread(target=self._call_all, name="poolbar-callbacks", daemon=True)
                    self._thread.start()

    def _call_all(self) -> None:
        while True:
            call = self._queue.get()
            if call is not None:
                call()
                continue
            with self._starting:
                if self._queue.empty():
                    self._thread = None
                    return

    def end(self) -> None:
        """Let the thread end after all that was put. From anywhere, the garbage collector too: no lock is taken."""
        self._has_ended = True
        self._queue.put(None)

    def join(self) -> None:
        """Wait for the thread's end, unless this is called by what it calls."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()


def tell(done: Future[T], told: Future[T], callback: Any, error_callback: Any) -> None:
    """Call the callback that a result asks for, then set the future that waits for that."""
    error = error_of(done)
    callback = callback if error is None else error_callback
    try:
        if callback is not None and not isinstance(error, CancelledError):
            callback(done.result() if error is None else error)
    except BaseException as problem:  # that must not keep others' results from coming
        import logging

        logging.getLogger("poolbar").error("exception calling callback %r", callback, exc_info=problem)
    finally:
        if error is None:
            told.set_result(done.result())
        else:
            told.set_exception(error)
        del error


def error_of(future: Future[Any]) -> BaseException | None:
    """Return the error of a future that is done."""
    if future.cancelled():
        return CancelledError("the pool was terminated before this task began")
    error = future.exception()
    return None if error is None else as_there(error)


def as_there(error: BaseException) -> BaseException:
    """Return what multiprocessing has for an error: its own class for the remote traceback, and for what does not pickle."""
    trace = getattr(error.__cause__, "tb", None)
    if not isinstance(trace, str) or isinstance(error.__cause__, RemoteTraceback):
        return error
    if type(error) is NotPicklable:  # in the worker, or there were no remote traceback
        error = ResultNotPicklable(str(error))
    set_cause(error, RemoteTraceback(trace))
    return error
