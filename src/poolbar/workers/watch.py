"""What a lane does while its worker shows nothing of a batch: it asks for what there is, and ends a task that is out of time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .._batch import Batch
    from . import Sink

OVERDUE_SECONDS = 0.010
"""No outcome of a batch for this long: a long task runs. The outcomes before it are asked for, and what is not started is asked
back as soon as another worker has nothing to do."""

STOPPED_SECONDS = 1.0
"""A wait that lasts so much longer than it was to was no wait."""

LOOKS = 20
"""A task's time is looked at so many times, so that it is ended at most 5 % late."""

STUCK_SECONDS = 10.0
"""Where tasks have a time limit, so has a worker that was sent a batch and does not begin it: this much more. It is frozen."""

SHORTEST_LOOK_SECONDS = 0.002
LONGEST_LOOK_SECONDS = 0.25


class Asked(Protocol):
    """The worker, as its watch sees it."""

    def ask(self, for_what_is_not_started: bool) -> None:
        """Ask for outcomes that were not sent yet, and for tasks."""


class Watched(Asked, Protocol):
    """A worker that can be ended, as the watch sees it that keeps the time."""

    def running(self) -> int | None:
        """Return the position in the batch of the task that runs; None where none does just now."""

    def has_begun(self) -> bool:
        """Tell whether it has begun the batch."""

    def end_stuck(self) -> None:
        """End the worker, which has not begun."""

    def end_late_task(self, position: int) -> bool:
        """End the worker if this task still runs."""


class Watch:
    """The lane's patience with one batch. Used by its thread alone.

    Args:
        worker: who runs the batch.
        batch: what runs.
        sink: who knows whether others wait for its tasks.
    """

    def __init__(self, worker: Asked, batch: Batch, sink: Sink) -> None:
        self._asked = worker
        self._batch = batch
        self._sink = sink
        self._looks, self._ask_at = 0, 1
        self._is_asked_back = False
        self._wait_ends = time.monotonic()
        self._next_look: float | None = None

    def heard(self) -> None:
        """Hear that an outcome has come."""
        self._looks, self._ask_at = 0, 1
        self._next_look = None

    def heard_events(self) -> None:
        """Hear that something else has come: the task may go on for long, and never be silent."""
        if self._next_look is not None and time.monotonic() >= self._next_look:
            self.look()

    def patience(self) -> float | None:
        """Return for how many seconds to wait for a message before the next look; None: until it comes."""
        look = self._time_to_look()
        if look is None:
            return None
        now = time.monotonic()
        if self._next_look is None:
            self._next_look = now + look
        else:
            look = max(0.0, min(look, self._next_look - now))
        self._wait_ends = now + look
        return look

    def _time_to_look(self) -> float | None:
        return OVERDUE_SECONDS if self._may_ask() else None

    def look(self) -> None:
        """Do what is to be done after so long without an outcome."""
        self._next_look = None
        if self._may_ask():
            self._ask()

    def _may_ask(self) -> bool:
        return not self._is_asked_back and len(self._batch.items) - self._batch.done > 1

    def _ask(self) -> None:
        self._looks += 1
        self._is_asked_back = self._sink.is_awaited()
        if self._is_asked_back:
            self._sink.overdue(OVERDUE_SECONDS)
        if self._is_asked_back or self._looks == self._ask_at:
            # Again after twice the time: the worker may have had nothing to send yet, or not begun.
            self._ask_at = 2 * self._looks
            self._asked.ask(self._is_asked_back)


class TimedWatch(Watch):
    """A watch that ends a task which is out of time.

    Args:
        worker: who runs the batch.
        batch: what runs.
        sink: who knows whether others wait for its tasks.
        limit: seconds that a task may take. Counted from when it was first seen to run: a task is never ended early, and late by
            one look at most, unless the lane is busy with callbacks.
    """

    def __init__(self, worker: Watched, batch: Batch, sink: Sink, limit: float) -> None:
        super().__init__(worker, batch, sink)
        self._worker = worker
        self._limit = max(limit, SHORTEST_LOOK_SECONDS)
        self._is_ended = False  # the worker, from here
        self._seen: int | None = None  # the task that was running at the last look; None: none,
        self._since = self._wait_ends  # and since when that is so

    def _time_to_look(self) -> float | None:
        look = super()._time_to_look()
        if self._is_ended:
            return look
        seconds = min(max(self._limit / LOOKS, SHORTEST_LOOK_SECONDS), LONGEST_LOOK_SECONDS)
        if self._seen is not None:
            seconds = min(seconds, max(0.0, self._since + self._limit - time.monotonic()))
        return seconds if look is None else min(look, seconds)

    def look(self) -> None:
        """Do what is to be done after so long without an outcome."""
        super().look()
        if not self._is_ended:
            self._look_at_the_time()

    def _look_at_the_time(self) -> None:
        running = self._worker.running()
        now = time.monotonic()
        if now - self._wait_ends > STOPPED_SECONDS:
            # This process was stopped (Ctrl-Z, a suspended container), and probably the worker with it: not the task's time.
            self._since += now - self._wait_ends
        if running != self._seen:
            self._seen, self._since = running, now
        elif running is not None:
            # What it has sent is read to the end; then it is buried.
            self._is_ended = now - self._since >= self._limit and self._worker.end_late_task(running)
        elif now - self._since >= self._limit + STUCK_SECONDS and not self._worker.has_begun():
            self._worker.end_stuck()
            self._is_ended = True
