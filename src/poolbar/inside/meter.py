"""What the tasks of a batch cost, by the clocks of who runs them: two readings of about 2 us, for batches that take a while."""

from __future__ import annotations

import os
from time import perf_counter, process_time, thread_time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from .._messages import Cost

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

LONG_SECONDS = 0.001
"""A batch that was shorter says nothing of waiting, and two readings would be a good part of it."""

try:
    from resource import RUSAGE_CHILDREN, getrusage
except ImportError:  # Windows: what the tasks' own child processes compute is not known

    def _children_seconds() -> float:
        return 0.0

else:

    def _children_seconds() -> float:
        usage = getrusage(RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime


class _Reading(NamedTuple):
    wall: float
    cpu: float  # of this thread
    elsewhere: float  # CPU time of the process's other threads, and of children that have ended
    queued: float


class _Queue:
    """How long this thread has waited for a CPU; always 0 where the system does not tell. Made and used by one thread.

    On a busy machine a task that computes would else seem to wait for something. The file's second field is the time in
    nanoseconds (Linux, Documentation/scheduler/sched-stats.rst).
    """

    def __init__(self) -> None:
        try:
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, AttributeError):
            self._file = -1

    def seconds(self) -> float:
        if self._file < 0:
            return 0.0
        return int(os.pread(self._file, 64, 0).split()[1]) * 1e-9

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Meter:
    """Measures batches, one after the other. Made and used by the thread that runs the tasks.

    Args:
        elsewhere: returns the seconds that the tasks, and nobody else, compute in other threads and processes.
    """

    def __init__(self, elsewhere: Callable[[], float]) -> None:
        self._elsewhere = elsewhere
        self._queue = _Queue()
        self._start: _Reading | None = None
        self._began = 0.0
        self._moving = 0.0
        self._moving_cpu = 0.0

    def begin(self, was_long: bool) -> None:
        """Begin a batch, which is measured if the last one of its function ``was_long``."""
        self._moving = self._moving_cpu = 0.0
        self._start = self._read() if was_long else None
        self._began = perf_counter()

    def _read(self) -> _Reading:
        return _Reading(perf_counter(), thread_time(), self._elsewhere(), self._queue.seconds())

    def aside(self, act: Callable[[], T]) -> T:
        """Do what is no part of the tasks: pickle, unpickle, or write, which may wait for the reader."""
        wall, cpu = perf_counter(), thread_time()
        try:
            return act()
        finally:
            self._moving += perf_counter() - wall
            self._moving_cpu += thread_time() - cpu

    def is_long(self) -> bool:
        """Tell whether the batch has lasted a while, or moved something large."""
        return self._moving > 0 or perf_counter() - self._began >= LONG_SECONDS

    def cost(self, tasks: int) -> Cost | None:
        """Return what the batch has cost until now, with ``tasks`` tasks; None: it is not measured, or too short."""
        start = self._start
        if start is None or not tasks or not self.is_long():
            return None
        now = self._read()
        cpu = max(0.0, now.cpu - start.cpu - self._moving_cpu)
        return Cost(
            tasks,
            max(cpu, now.wall - start.wall - self._moving),
            cpu,
            max(0.0, now.elsewhere - start.elsewhere),
            max(0.0, now.queued - start.queued),
            self._moving,
        )

    def close(self) -> None:
        """Give back what the system has lent for it."""
        self._queue.close()


def process_meter() -> Meter:
    """Return the meter of a process whose main thread runs tasks: whatever else computes in it does so for them."""

    def elsewhere() -> float:
        return process_time() - thread_time() + _children_seconds()

    return Meter(elsewhere)


def thread_meter() -> Meter:
    """Return the meter of one of many threads: what others compute may be for anybody."""
    return Meter(float)
