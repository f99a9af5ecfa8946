"""Progress: lanes count, a reporter shows. Counting costs a lane under a microsecond; all drawing is done elsewhere."""

from __future__ import annotations

import contextvars
import itertools
import threading
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._choice import Choice


class Progress(NamedTuple):
    """Where a run stands: one ``map``, or all that is submitted to an executor.

    Attributes:
        run: its number in this process.
        desc: what it is called; None: it has no name.
        unit: what is counted.
        total: tasks that there are so far; None: not known yet.
        done: tasks that have ended, those that failed among them.
        failed: tasks that ended with an error.
        retried: tries of tasks after their first.
        cancelled: tasks that were dropped before they ran; they are in no other number.
        running: tasks that run now.
        seconds: time since the first task was counted in.
        choice: what kind of worker was taken, and why; None: not known.
        advice: what would be faster, in words; given once in the life of an executor, in this run; None: nothing so far.
    """

    run: int
    desc: str | None
    unit: str
    total: int | None
    done: int
    failed: int
    retried: int
    cancelled: int
    running: int
    seconds: float
    choice: Choice | None = None
    advice: str | None = None

    @property
    def rate(self) -> float | None:
        """Tasks per second so far; None before the first has ended."""
        return self.done / self.seconds if self.done and self.seconds > 1e-6 else None

    @property
    def eta(self) -> float | None:
        """Seconds that the rest will take at this rate; None where that cannot be known."""
        rate = self.rate
        return None if rate is None or self.total is None else (self.total - self.done) / rate

    @property
    def is_quiet(self) -> bool:
        """Whether all tasks that there are so far have ended."""
        return self.done == self.total


class Event(NamedTuple):
    """News of a bar inside a task: of tqdm's, or of ``poolbar.report``.

    Attributes:
        key: what the bar is known by, as long as it lives.
        worker: the worker's number in its executor, from 1.
        label: the bar's own description; else the name of the task's function.
        done: how far it is.
        total: where it ends; None: not known.
        unit: what it counts.
        seconds: since it began.
        is_over: it is gone; the other fields say where it stood.
        details: more that tqdm takes as keywords, such as ``unit_scale``.
    """

    key: tuple[int, int]
    worker: int
    label: str
    done: float
    total: float | None
    unit: str
    seconds: float
    is_over: bool
    details: dict[str, object]


class Reporter(Protocol):
    """Shows how runs progress. Give an instance as ``progress=``; inherit from this class to leave out what you do not need.

    The methods are called one at a time, by a thread that looks ten times a second, or by the one that ends the run; never in
    the way of the tasks. A reporter whose method raises is not called again for that run, and a RuntimeWarning says why.
    """

    def started(self, progress: Progress) -> None:
        """Hear that a run has its first tasks."""

    def added(self, progress: Progress) -> None:
        """Hear that ``total`` has changed: tasks were added or dropped, or the end of the input was found."""

    def ended(self, progress: Progress) -> None:
        """Hear that tasks have ended, failed, been tried again or cancelled, or others run; or that half a second has gone by."""

    def event(self, progress: Progress, event: Event) -> None:
        """Hear of a bar inside a task."""

    def finished(self, progress: Progress) -> None:
        """Hear that the run is over: it ended, failed or was dropped. Nothing follows."""


_numbers = itertools.count(1)


class Tally:
    """Counts the tasks of a run, or of an executor's submits: how many there are, have ended, have failed.

    ``_lock`` is held for a few additions; nobody waits under it.

    Attributes:
        context: of who asked for the tasks: Jupyter tells by it to which cell an output belongs.
        running: tells how many tasks run right now.
        on_close: set by who shows this tally.
    """

    def __init__(
        self,
        total: int | None,
        desc: str | None,
        unit: str,
        running: Callable[[Tally], int],
        choice: Callable[[], Choice | None] = lambda: None,
    ) -> None:
        self._lock = threading.Lock()
        self._desc = desc
        self._unit = unit
        self._running = running
        self._choice = choice
        self._advice: str | None = None
        self._number = next(_numbers)
        self._total = total
        self._done = 0
        self._failed = 0
        self._retried = 0
        self._cancelled = 0
        self._bars: dict[tuple[int, int], Event] = {}  # inside tasks
        self._news: dict[tuple[int, int], Event] = {}  # of these bars; not shown yet
        self._began: float | None = None if total == 0 else monotonic()  # when the first task was counted in
        self.context = contextvars.copy_context()
        self.over = False  # nobody waits for the end any more, or it has come
        self._over_when_done = False
        self.on_close: Callable[[], None] | None = None

    def added(self, tasks: int = 1) -> None:
        """Count tasks in. An unknown total stays unknown."""
        with self._lock:
            if self._began is None:
                self._began = monotonic()
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

    def retried(self) -> None:
        """Count a task that is tried again."""
        with self._lock:
            self._retried += 1

    def cancelled(self, tasks: int) -> None:
        """Count out tasks that will never run."""
        with self._lock:
            self._cancelled += tasks
            if self._total is not None:
                self._total -= tasks

    def bar(self, event: Event) -> None:
        """Note news of a bar inside a task."""
        with self._lock:
            if not event.is_over:
                self._bars[event.key] = event
            elif self._bars.pop(event.key, None) is None:
                return
            self._news[event.key] = event

    def advise(self, advice: str) -> bool:
        """Have it shown what would be faster. False: the end has come, and nobody will see it."""
        # Without the lock: ``close``, which the garbage collector may call anywhere, takes none.
        self._advice = advice
        return not self.over

    def bars_over(self, worker: int) -> None:
        """Note that the task which a worker ran is over, and all its bars."""
        if not self._bars:
            return  # as nearly always: read without the lock, for only this worker's lane adds bars of its tasks
        with self._lock:
            for key, event in list(self._bars.items()):
                if event.worker == worker:
                    del self._bars[key]
                    self._news[key] = event._replace(is_over=True)

    def news(self) -> list[Event]:
        """Return the last of each bar inside a task of which there are news, and forget them."""
        if not self._news:
            return []
        with self._lock:
            news, self._news = list(self._news.values()), {}
        return news

    def progress(self) -> Progress | None:
        """Return where things stand; None before there is a task."""
        if self._began is None:
            return None
        running = 0 if self.over else self._running(self)
        with self._lock:
            return Progress(
                self._number, self._desc, self._unit, self._total, self._done, self._failed, self._retried, self._cancelled,
                0 if self._done == self._total else running, monotonic() - self._began, self._choice(), self._advice,
            )  # fmt: skip

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

    def __init__(self) -> None:
        super().__init__(None, None, "", lambda _: 0)

    def added(self, tasks: int = 1) -> None:
        """Do nothing."""

    def set_total(self, total: int) -> None:
        """Do nothing."""

    def ended(self, ok: int, failed: int = 0) -> None:
        """Do nothing."""

    def retried(self) -> None:
        """Do nothing."""

    def cancelled(self, tasks: int) -> None:
        """Do nothing."""

    def bar(self, event: Event) -> None:
        """Do nothing."""
