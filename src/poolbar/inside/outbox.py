"""The way back: outcomes of a batch, kept in the ledger until they are written to the pipe."""

from __future__ import annotations

import pickle
from collections import deque
from threading import RLock
from time import perf_counter
from typing import TYPE_CHECKING, Any

from .. import _messages as messages
from . import ledger as ledgers
from .errors import described, summary
from .events import Events
from .locks import holding, holding_if_free
from .names import PROTOCOL
from .pickling import ATOMS, LARGE_BYTES, seal
from .shared_main import Side

if TYPE_CHECKING:
    from collections.abc import Callable

    from .channel import ConnectionSender, Sender
    from .ledger import Ledger
    from .memory import Arena
    from .meter import Meter

PROMPT_SECONDS = 0.001
"""The outcome of a task that took this long is sent at once."""

FLUSH_SECONDS = 0.004
"""Outcomes of shorter tasks are sent this often: a message costs the parent about 20 us."""


MOST_ARENA_BYTES = 64 << 20
"""Where so much of a batch's values lies in the arena, further ones go through the pipe."""


# How the values of a function are kept until they are sent, by what it has returned so far.
UNKNOWN = "unknown"
SLOTS = "slots"  # all of one type that has slots in the ledger
MIXED = "mixed"  # atoms
PICKLED = "pickled"  # anything: each is pickled at once, for it may change


def _do_nothing() -> None:
    pass


def _no_note(index: int, value: Any) -> None:
    """Keep a None: its place says it all."""


class _Line:
    """The pipe, for events: any thread sends them."""

    def __init__(self, pipe: Sender | ConnectionSender, lock: Any) -> None:
        self._pipe = pipe
        self._lock = lock

    def is_writing(self) -> bool:
        """Tell whether this thread is in the middle of writing."""
        return bool(self._lock._is_owned())

    def send(self, data: bytes) -> None:
        """Write a message; wait while the pipe is full."""
        holding(self._lock, self._pipe.send, data)

    def send_if_there_is_room(self, data: bytes) -> bool:
        """Write a message if nobody is writing and it need not be waited for. Tells whether it was."""
        return not self.is_writing() and holding_if_free(self._lock, self._pipe.send_if_there_is_room, data)


class NoType:
    """The type of no value."""


class Outbox:
    """Sends what came of the tasks of a batch, in their order; and before that, what else happened in them.

    The main thread of the worker adds outcomes, without a lock, and flushes them; the control thread flushes in the middle
    of a long task, so that no outcome waits for it. ``_lock`` is held to take outcomes and write them, so that they leave
    in order and messages do not mix on the pipe. It is held while the pipe is full; the parent always reads, and when
    the parent is gone the write fails or the control thread ends the process. A finalizer or a signal handler may run in
    the thread that holds it.

    Attributes:
        values: what is not sent yet.
        ended: outcomes of this batch that were added. The worker's loop, which adds a value of the expected type by itself
            (``note`` it, append it to ``values``), counts them here before it flushes.
        expected: the type of value that is kept in slots; nothing has the type that stands here otherwise.
        note: keeps such a value in the ledger; may raise ValueError or OverflowError.
    """

    def __init__(self, pipe: Sender | ConnectionSender, ledger: Ledger, arena: Arena, meter: Meter) -> None:
        self._pipe = pipe
        self._ledger = ledger
        self._arena = arena  # the main thread's: it puts a value there before it sends word of it
        self.meter = meter
        self._lock: Any = RLock()
        self.events = Events(_Line(pipe, self._lock))
        self.end_lines: Callable[[], None] = _do_nothing  # sends unfinished lines that the task has printed
        self._pickler = pickle.Pickler(ledger.log, PROTOCOL)
        self._kinds: dict[type, tuple[int, Callable[[int, Any], None]]] = {
            int: (ledgers.INTS, ledger.ints.__setitem__),
            float: (ledgers.FLOATS, ledger.floats.__setitem__),
            type(None): (ledgers.NONES, _no_note),
        }
        self.values: deque[Any] = deque()
        self._was_large = False  # the last of them that was pickled
        self.number = 0
        self.ended = 0
        self.manner = UNKNOWN
        self.expected: type = NoType
        self.note: Callable[[int, Any], None] = _no_note
        self.closed = False  # the last message of the batch is sent
        self.flushed_at = 0.0

    def begin(self, number: int, manner: str, expected: type) -> None:
        """Start a batch of a function that has returned values of this manner."""
        self.number = number
        self.ended = 0
        self.closed = False
        self._arena.rewind()  # a new batch has come, so the parent has what was there
        self._keep(manner, expected)
        self._ledger.begin(number, self._kept_as())
        self.events.listen(True)
        self.flushed_at = perf_counter()

    def _keep(self, manner: str, expected: type) -> None:
        self.manner = manner
        self.expected = expected if manner is SLOTS else NoType
        if manner is SLOTS:
            self.note = self._kinds[expected][1]

    def _change(self, manner: str, expected: type = NoType) -> None:
        self.flush(last=False)
        self._keep(manner, expected)
        self._ledger.head[1] = self.ended
        self._ledger.head[3] = self._kept_as()

    def _kept_as(self) -> int:
        if self.manner is SLOTS:
            return self._kinds[self.expected][0]
        return ledgers.SEALED if self.manner is PICKLED else ledgers.PICKLES

    def add(self, value: Any) -> None:
        """Add the value of the next task. May raise what pickling it raises; then nothing was added."""
        kind = type(value)
        if self.manner is UNKNOWN and kind in self._kinds:
            self._change(SLOTS, kind)
        if kind is self.expected:
            try:
                self.note(self.ended, value)
            except (ValueError, OverflowError, IndexError):
                pass  # an int of more than 64 bits, or a batch of more tasks than there are slots
            else:
                self.values.append(value)
                self.ended += 1
                return
        if self.manner is not PICKLED and not (kind in ATOMS and self._log(value)):
            self._change(PICKLED)
        if self.manner is PICKLED:
            self._add_pickled(value)

    def _log(self, value: Any) -> bool:
        if self.manner is not MIXED:
            self._change(MIXED)
        for _ in range(2):
            try:
                self._pickler.dump(value)
            except ValueError:  # the ledger is full: of earlier values, or of this one alone
                self.flush(last=False)
                self._ledger.sent(self.ended)
                self._pickler.clear_memo()
            else:
                self.values.append(value)
                self.ended += 1
                return True
        return False

    def _add_pickled(self, value: Any) -> None:
        # If the last one was large, this one probably is.
        sealed = self.meter.aside(lambda: self._stored(value)) if self._was_large else self._stored(value)
        self._was_large = type(sealed) is not bytes
        is_kept = not self._was_large and self._ledger.write_sealed(sealed)
        self.values.append(sealed)
        self.ended += 1
        if not is_kept:
            self.flush(last=False)

    def _stored(self, value: Any) -> Any:
        """Return the value's pickle; or what the message says of it, if it is large."""
        sealed = seal(value, Side.main_by_value, upward=True)
        return sealed if type(sealed) is bytes else tuple([self._part(part) for part in sealed])

    def _part(self, part: Any) -> Any:
        if len(part) < LARGE_BYTES:
            return part
        return self._arena.put(part) if self._arena.used < MOST_ARENA_BYTES else bytes(part)

    def fail(self, stage: int, error: BaseException, *, last: bool) -> None:
        """Add the error of the next task, and send it at once."""
        self.flush(last=False)
        told = described(error, stage)
        seconds = self._elapsed()
        self.ended += 1
        if last:
            self.events.listen(False)
        cost = self._cost(last)
        self._send(messages.Failed(messages.FAILED, self.number, stage, *told, seconds, last, cost))
        self._ledger.sent(self.ended)
        self.closed = last

    def flush(self, *, last: bool) -> None:
        """Send what was added since the last time."""
        self.end_lines()
        self.events.flush()
        if last:
            self.events.listen(False)
        with self._lock:  # also where nothing is left: the control thread may be about to write it
            values = list(self.values)
            self.values.clear()
            if values or last:
                self._write_values(self._message(values, self._elapsed(), last, self._cost(last)))
        self._ledger.sent(self.ended)
        self._pickler.clear_memo()
        self.closed = last

    def flush_early(self) -> None:
        """Send what was added, while a task runs. Called by the control thread: the ledger stays the main thread's."""
        # What these tasks have said is sent before their values; a later one may end meanwhile, and have said more.
        flushed_at, count = self.flushed_at, len(self.values)
        self.events.flush()
        with self._lock:
            if self.flushed_at != flushed_at:
                return  # the main thread has just sent them
            values = [self.values.popleft() for _ in range(min(count, len(self.values)))]
            if values:
                # No time is given: the main thread counts it with the tasks to come.
                self._write(self._message(values, 0.0, False, None))

    def _message(self, values: list[Any], seconds: float, last: bool, cost: tuple[Any, ...] | None) -> messages.Values:
        kind = messages.VALUES
        if self.manner is PICKLED:
            kind = messages.PICKLED if all(type(value) is bytes for value in values) else messages.STORED
        return messages.Values(kind, self.number, values, seconds, last, cost)

    def _write_values(self, message: messages.Values) -> None:
        if self._was_large:
            self.meter.aside(lambda: self._write(message))
        else:
            self._write(message)

    def _cost(self, last: bool) -> tuple[Any, ...] | None:
        cost = self.meter.cost(self.ended) if last else None
        return None if cost is None else tuple(cost)

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

    def end(self) -> None:
        """Say what is left to say: the worker is about to end, and the parent reads until it has."""
        self.events.end()

    def close(self) -> None:
        """Give back what the system has lent for it."""
        self._arena.close()
        self.meter.close()

    def ready(self, pid: int) -> None:
        """Say that the worker has started."""
        self.end_lines()
        self.events.flush()
        self.events.listen(False)
        self._send(messages.Ready(messages.READY, pid))

    def refuse(self, what: str, error: BaseException) -> None:
        """Say that no task can run here: ``what`` has raised."""
        self.end_lines()
        self.events.flush()
        self._send(messages.Refused(messages.REFUSED, f"{what} {summary(error)}"))

    def give_back(self, number: int, count: int) -> None:
        """Say that the last tasks of a batch will not be started here. Called by the control thread."""
        self._send(messages.GivenBack(messages.GIVEN_BACK, number, count))
