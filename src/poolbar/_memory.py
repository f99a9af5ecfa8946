"""When a worker's memory has grown too much: it is replaced between two tasks, and that is said once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .workers import Worker


class Memory:
    """How far workers of an executor may grow over what they occupied after their first task.

    ``_lock`` is held for a comparison: lanes of several workers may find them too large at the same time.
    """

    def __init__(self, most: float) -> None:
        self.most = most  # megabytes
        self._lock = threading.Lock()
        self._is_said = False

    def is_outgrown(self, worker: Worker) -> bool:
        """Tell whether a worker that has just run tasks is to be replaced."""
        now = worker.megabytes()
        if now is None:
            return False
        if worker.first_megabytes is None:
            worker.first_megabytes = now
        if now - worker.first_megabytes <= self.most:
            return False
        with self._lock:
            was_said, self._is_said = self._is_said, True
        if not was_said:
            self._say(worker, worker.first_megabytes, now)
        return True

    def _say(self, worker: Worker, first: float, now: float) -> None:
        import logging

        logging.getLogger("poolbar").warning(
            "worker process %s is replaced: it occupied %.0f MB after its first task and %.0f MB after %d, "
            "and may grow by %g MB (worker_memory_mb); further ones are replaced without a word",
            worker.pid, first, now, worker.ran, self.most,
        )  # fmt: skip
