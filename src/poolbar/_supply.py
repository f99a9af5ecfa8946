"""Where the lanes of one kind have their workers from, and how long they keep them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._memory import Memory
    from .workers import Worker


class Supply:
    """Makes workers of one kind.

    Args:
        make: makes one, or finds one that is warm.
        most: workers at most, to begin with.
        one_at_a_time: batches are single tasks.
        tasks_per_worker: after so many a worker is replaced; None: never.
        memory: tells when a worker has outgrown its memory; None: nobody asked for that.
        spares: workers that were started ahead of their lanes.
        at_end: called when there are no lanes any more; there may be others later.
    """

    def __init__(
        self,
        make: Callable[[], Worker],
        most: int,
        *,
        one_at_a_time: bool = False,
        tasks_per_worker: int | None = None,
        memory: Memory | None = None,
        spares: list[Worker] | None = None,
        at_end: Callable[[], None] | None = None,
    ) -> None:
        self._make = make
        self.most = most
        self._tasks_per_worker = tasks_per_worker
        self._most_tasks = 1 if one_at_a_time else tasks_per_worker
        self._memory = memory
        self.spares = spares or []
        self._at_end = at_end

    def new_worker(self) -> Worker:
        """Return a worker for a lane; it may have been started already."""
        try:
            return self.spares.pop()
        except IndexError:
            return self._make()

    def end(self) -> None:
        """End the workers that no lane has taken, and what all were made with."""
        while self.spares:
            self.spares.pop().end(spent=True)
        if self._at_end is not None:
            self._at_end()

    def first_limit(self) -> int | None:
        """Return how many tasks at most a new worker's first batch has; None: as many as fit."""
        # Memory is compared with that after the first task: so that is sent alone.
        return self._most_tasks if self._memory is None else 1

    def limit(self, worker: Worker) -> int | None:
        """Return the same of its next batch; 0: the worker is to be replaced."""
        limit = self._most_tasks if self._tasks_per_worker is None else self._tasks_per_worker - worker.ran
        if limit is not None and limit <= 0:
            return 0
        if self._memory is not None and worker.ran > 0 and self._memory.is_outgrown(worker):
            return 0
        return limit
