"""Progress: lanes count, a reporter shows. Counting costs a lane under a microsecond; all drawing is done elsewhere."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Reporter(Protocol):
    """Shows the progress of one tally. Its methods are called by the thread that draws, one at a time."""

    def show(self, counts: Counts) -> None:
        """Show where things stand; the first call makes it visible."""

    def pause(self) -> None:
        """Nothing runs just now: leave the screen to others until the next ``show``."""

    def finish(self, counts: Counts) -> None:
        """Show the end, and leave it there."""


class Counts:
    """A snapshot of a tally: tasks, and the seconds since the first was counted in."""

    __slots__ = ("done", "failed", "seconds", "total")

    def __init__(self, done: int, failed: int, total: int | None) -> None:
        self.done = done
        self.failed = failed
        self.total = total
        self.seconds = 0.0


class Tally:
    """Counts the tasks of a run, or of an executor's submits: how many there are, have ended, have failed.

    ``_lock`` is held for a few additions; nobody waits under it.
    """

    def __init__(self, total: int | None) -> None:
        self._lock = threading.Lock()
        self._total = total
        self._done = 0
        self._failed = 0
        self.over = False  # nobody waits for the end any more, or it has come
        self._over_when_done = False
        self.on_close: Callable[[], None] | None = None  # set by who shows this tally

    def added(self, tasks: int = 1) -> None:
        """Count tasks in. An unknown total stays unknown."""
        with self._lock:
            self._total = (self._total or 0) + tasks

    def set_total(self, total: int) -> None:
        """Set the number of tasks, now that it is known for sure."""
        with self._lock:
            self._total = total

    def ended(self, ok: int, failed: int = 0) -> None:
        """Count tasks that ended."""
        with self._lock:
            self._done += ok + failed
            self._failed += failed

    def cancelled(self, tasks: int) -> None:
        """Count out tasks that will never run."""
        with self._lock:
            if self._total is not None:
                self._total -= tasks

    def counts(self) -> Counts:
        """Return where things stand."""
        with self._lock:
            return Counts(self._done, self._failed, self._total)

    def is_quiet(self) -> bool:
        """Tell whether all tasks that were counted in have ended."""
        with self._lock:
            return self._done == self._total

    def is_over(self) -> bool:
        """Tell whether the end has come."""
        return self.over or (self._over_when_done and self.is_quiet())

    def close_when_done(self) -> None:
        """Let the last task be the end: nobody reads the results."""
        self._over_when_done = True

    def close(self) -> None:
        """Mark the end, and have it shown."""
        self.over = True
        if self.on_close is not None:
            self.on_close()


class Untold(Tally):
    """A tally that nobody looks at: counting costs nothing."""

    def added(self, tasks: int = 1) -> None:
        """Do nothing."""

    def set_total(self, total: int) -> None:
        """Do nothing."""

    def ended(self, ok: int, failed: int = 0) -> None:
        """Do nothing."""

    def cancelled(self, tasks: int) -> None:
        """Do nothing."""
