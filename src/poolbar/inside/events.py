"""What happens in a worker beside outcomes: prints, log records, warnings, bars. Here it waits until it is sent."""

from __future__ import annotations

from threading import Lock, Thread, get_ident
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .. import _messages as messages

PERIOD_SECONDS = 0.05
"""Where more comes than can be sent one by one, what comes in this time is sent together."""

MOST_AT_ONCE = 100
"""Events sent in a period one by one, as they come: what a task prints just before it dies is not lost."""

MOST_WAITING = 10_000
"""Events kept while nobody reads; the oldest are dropped."""


class Events:
    """Events on their way to the parent.

    Any thread of the worker may add some. ``_lock`` is held to add them and while they are written, so that they leave in order;
    it is held while the pipe is full, and nothing else is waited for under it. Code of the user's may run in a thread that
    holds it, and print: a finalizer, a signal handler. What that adds waits for the next.

    The parent reads while a batch runs: between batches events wait here, for a full pipe would stop the thread that prints.

    Args:
        send: writes a message with these events. False: not now, for this thread is in the middle of writing another.
    """

    def __init__(self, send: Callable[[list[tuple[Any, ...]]], bool]) -> None:
        self._send = send
        self._lock = Lock()
        self._holder = 0  # the thread that holds it
        self._waiting: list[tuple[Any, ...]] = []
        self._bars: dict[int, messages.Bar] = {}  # the last of each bar that was not sent
        self._known_bars: set[int] = set()  # that the parent has seen
        self._period_ends = 0.0
        self._sent = 0  # in this period
        self._is_heard = True  # the parent reads
        self._thread: Thread | None = None  # sends what waits, at the end of a period
        self._wake = Lock()
        self._wake.acquire()
        self.is_off = False  # in a child that a task has forked: nothing it says is for the parent

    def put(self, event: tuple[Any, ...]) -> None:
        """Send an event, or have it sent soon."""
        here = get_ident()
        if self._holder == here:
            self._waiting.append(tuple(event))
            return
        with self._lock:
            self._holder = here
            self._waiting.append(tuple(event))
            if len(self._waiting) > MOST_WAITING:
                del self._waiting[0]
            self._send_or_wait(MOST_AT_ONCE)
            self._holder = 0

    def put_bar(self, bar: messages.Bar) -> None:
        """Have the state of a bar sent, if no later one comes before that. One that begins and ends in a moment is left out."""
        here = get_ident()
        if self._holder == here:
            return
        with self._lock:
            self._holder = here
            if bar.is_over and bar.number not in self._known_bars:
                self._bars.pop(bar.number, None)
            else:
                self._bars[bar.number] = bar
                self._send_or_wait(1)
            self._holder = 0

    def _send_or_wait(self, most: int) -> None:
        if not self._is_heard:
            return
        now = monotonic()
        if now >= self._period_ends:
            self._period_ends = now + PERIOD_SECONDS
            self._sent = 0
        if self._sent < most:
            self._sent += 1
            self._write()
        elif self._thread is None:
            self._thread = Thread(target=self._send_later, name="poolbar-events", daemon=True)
            self._thread.start()
        elif self._wake.locked():
            self._wake.release()

    def _send_later(self) -> None:
        while True:
            while (rest := self._period_ends - monotonic()) > 0:
                sleep(rest)
            self.flush()
            self._wake.acquire()

    def _write(self) -> None:
        events = [*self._waiting, *map(tuple, self._bars.values())]
        if events and self._send(events):
            del self._waiting[: len(events) - len(self._bars)]
            for number, bar in self._bars.items():
                (self._known_bars.discard if bar.is_over else self._known_bars.add)(number)
            self._bars.clear()

    def flush(self) -> None:
        """Send what waits, if the parent reads."""
        here = get_ident()
        if (self._waiting or self._bars) and self._holder != here:
            with self._lock:
                self._holder = here
                if self._is_heard:
                    self._write()
                self._holder = 0

    def listen(self, is_heard: bool) -> None:
        """Hear whether the parent reads from now on: a batch begins, or ends."""
        self._is_heard = is_heard
        if is_heard:
            self._known_bars.clear()  # those that were left open ended with their tasks
            self.flush()
