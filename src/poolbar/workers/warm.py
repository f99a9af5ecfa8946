"""Warm workers: idle processes that wait for the next executor.

``_lock`` guards the shelf and is held for moments. The reaper, a thread that lives while there are warm workers, waits on
``_changed`` for the next one's time to come, and ends it. At the interpreter's exit all are ended.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable


class Kept(Protocol):
    """A worker as the shelf knows it."""

    def dismiss(self) -> None:
        """Tell it to end, and do not wait."""

    def await_end(self) -> None:
        """Wait until it has ended, which was told to."""


def end_all(workers: Iterable[Kept]) -> None:
    """End workers, all at the same time: with large modules in it, each takes part of a second."""
    leaving = list(workers)
    for worker in leaving:
        worker.dismiss()
    for worker in leaving:
        worker.await_end()


class Shelf:
    """Warm workers: idle processes, kept for the next executor."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._workers: list[tuple[float, Any, Kept]] = []  # the time to end it, the key, and the worker
        self._reaper: threading.Thread | None = None
        self._closed = False

    def put(self, key: Any, worker: Kept, seconds: float) -> bool:
        """Keep a worker for some seconds. False: the interpreter is about to end."""
        with self._lock:
            if self._closed:
                return False
            self._workers.append((time.monotonic() + seconds, key, worker))
            if self._reaper is None:
                self._reaper = threading.Thread(target=self._reap, name="poolbar-reaper", daemon=True)
                self._reaper.start()
            else:
                self._changed.notify()
        return True

    def take(self, key: Any) -> Any:
        """Return a worker that was kept under this key: the one that came last, for its caches."""
        with self._lock:
            for position in range(len(self._workers) - 1, -1, -1):
                if self._workers[position][1] == key:
                    return self._workers.pop(position)[2]
        return None

    def _reap(self) -> None:
        while True:
            with self._lock:
                if not self._workers:
                    self._reaper = None
                    return
                now = time.monotonic()
                due = [entry for entry in self._workers if entry[0] <= now]
                self._workers = [entry for entry in self._workers if entry[0] > now]
                if not due:
                    self._changed.wait(min(entry[0] for entry in self._workers) - now)
            end_all(entry[2] for entry in due)

    def clear(self, *, close: bool = False) -> None:
        """End all warm workers and wait for them."""
        with self._lock:
            self._closed = self._closed or close
            workers, self._workers = self._workers, []
            reaper = self._reaper
            self._changed.notify()
        end_all(entry[2] for entry in workers)
        if reaper is not None and reaper is not threading.current_thread():
            reaper.join()

    def forget(self) -> None:
        """Start anew in a forked child: the workers are its parent's."""
        self.__init__()  # type: ignore[misc]


shelf = Shelf()
