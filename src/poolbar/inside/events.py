"""What happens in a worker beside outcomes: prints, log records, warnings, bars. Here it waits until it is sent."""

from __future__ import annotations

import _thread
import pickle
from threading import Lock, RLock
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Protocol

from .. import _messages as messages
from .locks import holding
from .names import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Callable

PERIOD_SECONDS = 0.05
"""Where more comes than can be sent one by one, what comes in this time is sent together."""

MOST_AT_ONCE, MOST_PER_SECOND = 1000, 500
"""Events sent one by one, as they come: what a task prints just before it dies is not lost."""

MOST_TOGETHER = 1000
"""So many are sent by who adds the last of them: a task that prints faster than the parent can take it waits for the parent."""

MOST_WAITING, DROPPED = 10_000, 1000
"""Events kept while nobody reads; of more than that, the oldest are dropped."""


class Line(Protocol):
    """The way to the parent."""

    def is_writing(self) -> bool:
        """Tell whether this thread is in the middle of writing."""

    def send(self, data: bytes) -> None:
        """Write a message."""

    def send_if_there_is_room(self, data: bytes) -> bool:
        """Write a message if nobody else is writing and it need not be waited for. Tells whether it was."""


class Hearer(Protocol):
    """Takes events."""

    @property
    def is_off(self) -> bool:
        """Tell whether what this thread says is not for the parent."""

    def put(self, event: tuple[Any, ...]) -> None:
        """Take an event."""

    def put_bar(self, bar: messages.Bar) -> None:
        """Take the state of a bar."""


class Events:
    """Events on their way to the parent.

    Any thread of the worker may add some. ``_lock`` is held to add them and while they are written, so that they leave in order;
    it is held while the pipe is full, and nothing else is waited for under it. Code of the user's may run in a thread that
    holds it, and print: a finalizer, a signal handler. What that adds is sent next. A signal handler may also raise there: what
    waits is taken off in the moment in which the line has it.

    Bars are added without the lock, and without waiting for a full pipe: who draws one holds tqdm's own lock, which a finalizer
    may want, or another process that shares it. Each operation on ``_bars`` is a single one.

    The parent reads while a batch runs: between batches events wait here, for a full pipe would stop the thread that prints.

    Attributes:
        is_off: this is a child that a task has forked: nothing it says is for the parent.
        start_thread: starts the thread that sends what waits; may raise RuntimeError.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._lock: Any = RLock()
        self._waiting: list[tuple[Any, ...]] = []
        self._bars: dict[int, messages.Bar] = {}  # the last of each bar that was not sent
        self._known_bars: set[int] = set()  # that the parent has seen
        self._bars_sent_at = 0.0
        self._credit = float(MOST_AT_ONCE)
        self._credited_at = monotonic()
        self._is_heard = True  # the parent reads
        self._is_ending = False
        self._has_thread = False  # that sends what waits, after a period
        self._wake = Lock()
        self._wake.acquire()
        self._has_ended = False  # that thread, or it is about to
        self.start_thread: Callable[[Callable[[], None]], object] = _start_thread
        self.is_off = False

    def put(self, event: tuple[Any, ...]) -> None:
        """Send an event, or have it sent soon."""
        if self.is_off:
            return
        if self._lock._is_owned() or self._line.is_writing():
            self._waiting.append(tuple(event))
            self._send_soon()
        else:
            holding(self._lock, self._put, event)

    def _put(self, event: tuple[Any, ...]) -> None:
        self._waiting.append(tuple(event))
        if not self._is_heard:
            if len(self._waiting) > MOST_WAITING:
                del self._waiting[:DROPPED]
        elif self._is_ending or len(self._waiting) >= MOST_TOGETHER or self._has_credit():
            self._write()
        else:
            self._send_soon()

    def _has_credit(self) -> bool:
        now = monotonic()
        self._credit = min(MOST_AT_ONCE, self._credit + (now - self._credited_at) * MOST_PER_SECOND)
        self._credited_at = now
        if self._credit < 1:
            return False
        self._credit -= 1
        return True

    def put_bar(self, bar: messages.Bar) -> None:
        """Have the state of a bar sent, if no later one comes before that. One that begins and ends in a moment is left out."""
        if self.is_off:
            return
        if bar.is_over and bar.number not in self._known_bars:
            self._bars.pop(bar.number, None)
            return
        self._bars[bar.number] = bar
        now = monotonic()
        if not self._is_heard:
            return
        if now - self._bars_sent_at >= PERIOD_SECONDS:
            self._bars_sent_at = now
            # Now, if that is possible: C code that follows may not let another thread run for long.
            if self._send_bars_now():
                return
        self._send_soon()

    def _send_bars_now(self) -> bool:
        bars = self._take_bars()
        if bars and self._line.send_if_there_is_room(_packed(bars)):
            return True
        for bar in bars:
            self._bars.setdefault(bar[1], messages.Bar._make(bar))
        return False

    def _take_bars(self) -> list[tuple[Any, ...]]:
        bars: list[tuple[Any, ...]] = []
        while self._bars:
            try:
                number, bar = self._bars.popitem()
            except KeyError:
                break  # another thread was faster
            (self._known_bars.discard if bar.is_over else self._known_bars.add)(number)
            bars.append(tuple(bar))
        bars.reverse()
        return bars

    def _send_soon(self) -> None:
        if not self._has_thread:
            self._has_thread = True
            try:
                self.start_thread(self._send_later)
            except RuntimeError:
                self._has_thread = False  # there can be no more: it is sent with the task's outcome
        else:
            self._rouse_thread()

    def _rouse_thread(self) -> None:
        if self._wake.locked():
            try:
                self._wake.release()
            except RuntimeError:
                pass  # another thread was faster

    def end_thread(self) -> None:
        """Let the thread that sends what waits end, within a period."""
        self._has_ended = True
        self._rouse_thread()

    def _send_later(self) -> None:
        while not self._has_ended:
            sleep(PERIOD_SECONDS)
            try:
                self.flush()
            except OSError:
                return  # the parent is gone
            self._wake.acquire()

    def _write(self) -> None:
        while (self._waiting or self._bars) and not self._line.is_writing():
            bars = self._take_bars()
            count = len(self._waiting)
            data = _packed(self._waiting[:count] + bars)
            del self._waiting[:count]
            self._line.send(data)

    def flush(self) -> None:
        """Send what waits, if the parent reads."""
        if (self._waiting or self._bars) and not self.is_off and not self._lock._is_owned():
            holding(self._lock, self._write_if_heard)

    def _write_if_heard(self) -> None:
        if self._is_heard:
            self._write()

    def listen(self, is_heard: bool) -> None:
        """Hear whether the parent reads from now on: a batch begins, or ends."""
        self._is_heard = is_heard
        if is_heard:
            self._known_bars.clear()  # those that were left open ended with their tasks
            self.flush()

    def end(self) -> None:
        """Send all at once from now on: the process is about to end, and no other thread sends anything then."""
        self._is_ending = True
        self.listen(True)


def _start_thread(act: Callable[[], None]) -> None:
    # Not threading's, which takes locks that this thread may hold: it may have been interrupted anywhere.
    _thread.start_new_thread(act, ())


def _packed(events: list[tuple[Any, ...]]) -> bytes:
    return pickle.dumps((messages.EVENTS, events), PROTOCOL)
