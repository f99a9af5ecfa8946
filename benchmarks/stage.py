"""Where a contender acts: its warm pool, sizes that suit its pace, clocks and memory."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tasks
from contenders import CONTENDERS, MAPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from contenders import Contender

WORKERS = 2


class Stage:
    """One contender in its process.

    Args:
        name: The contender's.
        quick: Whether less is measured.
    """

    def __init__(self, name: str, quick: bool) -> None:
        self.name = name
        self.quick = quick
        self._pool: Contender | None = None
        self._sizes: dict[str, int] = {}

    @property
    def pool(self) -> Contender:
        """The pool of two workers that all warm rows share."""
        if self._pool is None:
            self._pool = CONTENDERS[self.name](WORKERS)
            if self.name in MAPS:
                assert sum(self._pool.map(tasks.noop, range(2000))) == sum(range(2000))
        return self._pool

    @contextlib.contextmanager
    def fresh(self, workers: int | None, started: bool = True) -> Iterator[Contender]:
        """Yield a pool of its own, with all its workers started; it is ended, and nothing of it is kept."""
        pool = CONTENDERS[self.name](workers)
        try:
            if started:
                count = 4 * (workers or 8)
                for future in [pool.submit(tasks.nap, 0.02) for _ in range(count)]:
                    assert pool.read(future) == 0.02
            yield pool
        finally:
            pool.close()
            pool.forget()

    def size(self, key: str, most: int, seconds_of: Callable[[int], float]) -> int:
        """Return how many tasks a round has: ten times more as long as that should take under four seconds, and ``most``."""
        if key not in self._sizes:
            size = min(most, 2000)
            while size < most and 10 * seconds_of(size) <= (1.5 if self.quick else 4):
                size = min(most, 10 * size)
            self._sizes[key] = size
        return self._sizes[key]

    def close(self) -> None:
        """End the pool."""
        if self._pool is not None:
            self._pool.close()
            self._pool.forget()


def seconds(act: Callable[[], Any]) -> float:
    """Return how long a call takes."""
    gc.collect()
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def peak_megabytes(reset: bool = False) -> float:
    """Return the most memory that this process has had at once, on Linux since the last reset."""
    status = Path("/proc/self/status")
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextlib.contextmanager
def one_cpu() -> Iterator[None]:
    """Keep this process, and those that it starts, on one CPU; where the system has no means for that, do nothing."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def busy() -> float:
    """Return what share of the CPUs others use while nothing is measured; 0 where the system does not tell."""
    stat = Path("/proc/stat")

    def idle_and_all() -> tuple[int, int]:
        ticks = [int(field) for field in stat.read_text().splitlines()[0].split()[1:]]
        return ticks[3] + ticks[4], sum(ticks)

    if not stat.exists():
        return 0.0
    idle, everything = idle_and_all()
    time.sleep(0.2)
    idle_then, everything_then = idle_and_all()
    return 1 - (idle_then - idle) / max(1, everything_then - everything)
