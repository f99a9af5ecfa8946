"""What worker processes of an executor are made from, and the warm ones that wait for the next executor.

Warm workers: ``_lock`` guards the shelf and is held for moments. The reaper, a thread that lives while there are warm workers,
waits on ``_changed`` for the next one's time to come, and ends it. At the interpreter's exit all are ended.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from ..inside.pickling import dumps
from ..inside.serve import Initializer, Main

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess

    from .process import ProcessWorker

LIMITS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS",
)  # fmt: skip
"""Variables that say how many threads a numeric library may start."""

_OWN_MAIN = ("loky",)  # start methods that leave in __main__ what started the process
_BY_VALUE = ("loky", "loky_init_main")


def context_of(wish: Any) -> Any:
    """Return the multiprocessing context for a start method's name; a context itself is returned as it is."""
    if not isinstance(wish, str):
        return wish
    if wish.startswith("loky"):
        from loky.backend.context import get_context

        return get_context(wish)
    import multiprocessing

    return multiprocessing.get_context(wish)


def cpu_count() -> int:
    """Return how many CPUs this process may use: affinity and cgroups count."""
    from loky import cpu_count as count

    return int(count())


class Plan:
    """How to make a worker process."""

    def __init__(
        self,
        context: Any,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        workers: int,
        idle_seconds: float,
    ) -> None:
        self.context = context
        self.method = context.get_start_method()
        self.main = Main(by_value=self.method in _BY_VALUE, empty=self.method in _OWN_MAIN)
        self.initializer = None if initializer is None else self._initializer(initializer, initargs)
        self.limits = _thread_limits(workers)
        self._idle_seconds = idle_seconds if self._can_be_warm() else 0.0
        self._key = self._make_key() if self._idle_seconds else None

    def _initializer(self, call: Callable[..., object], arguments: tuple[Any, ...]) -> Initializer:
        if self.main.by_value:
            try:
                return Initializer(dumps((call, arguments)), None)
            except (RuntimeError, TypeError):
                pass  # a lock or a pipe of multiprocessing's: it travels only while a process is started, with its arguments
        return Initializer(None, (call, arguments))

    def _can_be_warm(self) -> bool:
        # Only where __main__ can be made as good as new, and the initializer can be compared with the next executor's.
        return self.main.empty and (self.initializer is None or self.initializer.sealed is not None)

    def _make_key(self) -> tuple[Any, ...]:
        sealed = None if self.initializer is None else self.initializer.sealed
        return self.method, sealed, tuple(self.limits.items()), dict(os.environ), os.getcwd(), tuple(sys.path), tuple(sys.argv)

    def start_trackers(self) -> None:
        """Start the resource trackers, loky's and multiprocessing's: these unblock SIGINT in the thread that starts them."""
        if os.name == "posix" and self.method != "fork":
            from multiprocessing.resource_tracker import ensure_running

            ensure_running()
            if self.method.startswith("loky"):
                from loky.backend.resource_tracker import ensure_running as ensure_lokys

                ensure_lokys()

    def process(self, target: Callable[..., object], arguments: tuple[Any, ...]) -> BaseProcess:
        """Return a process, not started."""
        keywords: dict[str, Any] = {"env": self.limits} if self.method == "loky" else {}
        made: BaseProcess = self.context.Process(target=target, args=arguments, **keywords)
        return made

    def keep(self, worker: ProcessWorker) -> bool:
        """Put a worker on the shelf of warm ones. False: it is not to be kept."""
        if self._key is None:
            return False
        return shelf.put(self._key, worker, self._idle_seconds)

    def warm_worker(self) -> ProcessWorker | None:
        """Take a worker from the shelf that is as good as one made from this plan."""
        if self._key is None:
            return None
        worker = shelf.take(self._key)
        if worker is not None and self.initializer is None:
            try:
                worker.reset()
            except OSError:
                worker.retire()
                return None
        return worker


def _thread_limits(workers: int) -> dict[str, str]:
    threads = str(max(1, cpu_count() // workers))
    return {name: threads for name in LIMITS if name not in os.environ}


class Shelf:
    """Warm workers: idle processes, kept for the next executor."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._workers: list[tuple[float, Any, ProcessWorker]] = []  # the time to end it, the key, and the worker
        self._reaper: threading.Thread | None = None
        self._closed = False

    def put(self, key: Any, worker: ProcessWorker, seconds: float) -> bool:
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

    def take(self, key: Any) -> ProcessWorker | None:
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
            while due:
                due.pop()[2].retire()

    def clear(self, *, close: bool = False) -> None:
        """End all warm workers and wait for them."""
        with self._lock:
            self._closed = self._closed or close
            workers, self._workers = self._workers, []
            reaper = self._reaper
            self._changed.notify()
        for _, _, worker in workers:
            worker.retire()
        if reaper is not None and reaper is not threading.current_thread():
            reaper.join()

    def forget(self) -> None:
        """Start anew in a forked child: the workers are its parent's."""
        self.__init__()  # type: ignore[misc]


shelf = Shelf()
