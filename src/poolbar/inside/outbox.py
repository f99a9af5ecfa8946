"""The way back: outcomes of a batch, kept in the ledger until they are written to the pipe."""

from __future__ import annotations

import pickle
import traceback
from collections import deque
from threading import Lock
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .. import _messages as messages
from .pickling import PROTOCOL, RefusingPickler, dumps
from .shared_main import Side

if TYPE_CHECKING:
    from .channel import ConnectionSender, Sender
    from .ledger import Ledger

PROMPT_SECONDS = 0.001
"""The outcome of a task that took this long is sent at once."""

FLUSH_SECONDS = 0.004
"""Outcomes of shorter tasks are sent this often: a message costs the parent about 20 us."""


class Outbox:
    """Sends what came of the tasks of a batch, in their order.

    The main thread of the worker adds outcomes, without a lock, and flushes them; the control thread flushes in the middle
    of a long task, so that no outcome waits for it. ``_lock`` is held to take outcomes and write them, so that they leave
    in order and messages do not mix on the pipe. It is held while the pipe is full; the parent always reads, and when
    the parent is gone the write fails or the control thread ends the process.
    """

    def __init__(self, pipe: Sender | ConnectionSender, ledger: Ledger) -> None:
        self._pipe = pipe
        self._ledger = ledger
        self._lock = Lock()
        self._values: deque[Any] = deque()
        self._kind = messages.VALUES
        self._plain_pickler = RefusingPickler(ledger.log, PROTOCOL)
        self.number = 0
        self.ended = 0  # outcomes of this batch that were added
        self.plain = True  # this function has returned plain data so far
        self.closed = False  # the last message of the batch is sent
        self.flushed_at = 0.0

    def begin(self, number: int, plain: bool) -> None:
        """Start a batch."""
        self._ledger.begin(number)
        self.number = number
        self.ended = 0
        self.plain = plain
        self._kind = messages.VALUES if plain else messages.PICKLED
        self.closed = False
        self.flushed_at = perf_counter()

    def add(self, value: Any) -> None:
        """Add the value of the next task. May raise what pickling it raises; then nothing was added."""
        if self.plain and self._log_plain(value):
            self._values.append(value)
            self.ended += 1
        else:
            if self.plain:
                self.flush(last=False)
                self.plain = False
                self._kind = messages.PICKLED
            self._add_pickled(value)

    def _log_plain(self, value: Any) -> bool:
        # False: it is not plain data, it is larger than the log, or it does not pickle; the other way finds out which.
        for _ in range(2):
            try:
                self._plain_pickler.dump(value)
                self._plain_pickler.clear_memo()
            except ValueError:  # the log is full, of earlier values or of this one alone
                self._plain_pickler.clear_memo()
                if not self._values:
                    return False
                self.flush(last=False)
            except Exception:  # noqa: BLE001  # NotPlain, or what a builtin type's pickling raises
                self._plain_pickler.clear_memo()
                return False
            else:
                return True
        return False

    def _add_pickled(self, value: Any) -> None:
        pickled = dumps(value, Side.main_by_value)
        log = self._ledger.log
        fits = log.tell() + len(pickled) <= len(log)
        if fits:
            log.write(pickled)
        self._values.append(pickled)
        self.ended += 1
        if not fits:
            self.flush(last=False)

    def fail(self, stage: int, error: BaseException, *, last: bool) -> None:
        """Add the error of the next task, and send it at once."""
        self.flush(last=False)
        text = _traceback_text(error, stage)
        try:
            pickled = dumps(error.with_traceback(None), Side.main_by_value)
        except BaseException:  # noqa: BLE001  # the parent makes a stand-in of type and text
            pickled = None
        seconds = self._elapsed()
        self._send(
            messages.Failed(
                messages.FAILED, self.number, stage, pickled, _type_name(error), _text_of(error), text, seconds, last
            )
        )
        self.ended += 1
        self._ledger.sent(self.ended)
        self.closed = last

    def flush(self, *, last: bool) -> None:
        """Send what was added since the last time."""
        if self._values or last:
            seconds = self._elapsed()
            with self._lock:
                values = list(self._values)
                self._values.clear()
                self._write(messages.Values(self._kind, self.number, values, seconds, last))
            self._ledger.sent(self.ended)
            self.closed = last

    def flush_early(self) -> None:
        """Send what was added, while a task runs. Called by the control thread: the ledger stays the main thread's."""
        with self._lock:
            values = [self._values.popleft() for _ in range(len(self._values))]
            if values:
                # No time is given: the main thread counts it with the tasks to come.
                self._write(messages.Values(self._kind, self.number, values, 0.0, False))

    def _elapsed(self) -> float:
        now = perf_counter()
        seconds = now - self.flushed_at
        self.flushed_at = now
        return seconds

    def _send(self, message: Any) -> None:
        with self._lock:
            self._write(message)

    def _write(self, message: Any) -> None:
        self._pipe.send(pickle.dumps(tuple(message), PROTOCOL))

    def ready(self, pid: int) -> None:
        """Say that the worker has started."""
        self._send(messages.Ready(messages.READY, pid))

    def initializer_failed(self, error: BaseException) -> None:
        """Say that the initializer raised."""
        self._send(messages.InitializerFailed(messages.INITIALIZER_FAILED, _summary(error), _traceback_text(error, 0)))

    def give_back(self, number: int, count: int) -> None:
        """Say that the last tasks of a batch will not be started here. Called by the control thread."""
        self._send(messages.GivenBack(messages.GIVEN_BACK, number, count))


def _type_name(error: BaseException) -> str:
    cls = type(error)
    return cls.__qualname__ if cls.__module__ in ("builtins", "__main__") else f"{cls.__module__}.{cls.__qualname__}"


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as broken:  # noqa: BLE001  # a user's __str__ may raise anything
        return f"<its text could not be had: {type(broken).__name__}>"


def _summary(error: BaseException) -> str:
    return f"{_type_name(error)}: {_text_of(error)}"


def _traceback_text(error: BaseException, stage: int) -> str:
    trace: TracebackType | None = error.__traceback__
    if stage == messages.RAISED and trace is not None:
        trace = trace.tb_next or trace  # without the worker's own frame
    try:
        return "".join(traceback.format_exception(type(error), error, trace))
    except BaseException:  # noqa: BLE001  # a user's __str__ may raise anything
        return _summary(error)
