"""How many tasks go into the next batch: pure arithmetic on measured durations."""

from __future__ import annotations

TARGET_SECONDS = 0.010
"""A batch should take this long, in workers of ours: the round trip of a batch costs 0.05 to 0.2 ms, so 1 to 2 % of it."""

SMALLEST_SHARE = 1 / 20
"""Of what a batch should take: less work than that is not worth splitting over workers. Of ours, waking a second one costs about
0.1 ms."""

GROWTH = 4
"""A batch is at most this many times as large as the last one, so that a fast beginning does not hide a slow task."""

MOST_TASKS = 32_000  # a ledger has 32,762 slots
MOST_BYTES = 1 << 20
"""Arguments of one batch, in bytes as pickled; a single task may be larger."""


class Pace:
    """What is known about the tasks of one function: how long they take and how large their arguments are.

    Measured inside the worker. A slower measurement counts at once (a batch that is too long delays others), a faster one
    by half. Owned by the backlog: its lock is held for each call, but for ``note_bytes``: where two lanes meet in it, a
    measurement may be lost.
    """

    __slots__ = ("bytes", "fixed", "last", "seconds", "target")

    def __init__(self, fixed: int | None = None, target: float = TARGET_SECONDS) -> None:
        self.fixed = fixed  # the user's chunksize
        self.target = target  # what a batch should take, in seconds
        self.seconds: float | None = None
        self.bytes = 0.0
        self.last = 1  # size of the last batch, were it not for the end of a run

    def note(self, tasks: int, seconds: float) -> None:
        """Learn from ``tasks`` tasks that took ``seconds`` together."""
        each = seconds / tasks
        old = self.seconds
        self.seconds = each if old is None or each > old else (old + each) / 2

    def note_bytes(self, tasks: int, size: int) -> None:
        """Learn that the arguments of ``tasks`` tasks took ``size`` bytes together."""
        self.bytes = max(size / tasks, (self.bytes + size / tasks) / 2)

    def batches(self, waiting: int, workers: int) -> int:
        """Return how many batches of the next size ``waiting`` tasks make. Learns nothing."""
        return -(-waiting // self._sizes(waiting, workers)[1])

    def next_size(self, waiting: int, workers: int) -> int:
        """Tasks for the next batch, of ``waiting`` ones that ``workers`` workers share."""
        self.last, size = self._sizes(waiting, workers)
        return size

    def _sizes(self, waiting: int, workers: int) -> tuple[int, int]:
        # The size that time, growth and bytes allow, and what the end of the run leaves of it.
        if self.fixed is not None:
            return self.last, self.fixed
        if self.seconds is None:
            return self.last, 1
        seconds = max(self.seconds, 1e-9)
        size = min(int(self.target / seconds), self.last * GROWTH, MOST_TASKS)
        if self.bytes > 1:  # it comes near 0 where there are none
            size = min(size, int(MOST_BYTES / self.bytes))
        # Two batches for each worker are left at the end of a run, so that they end together.
        share = -(-waiting // (2 * workers))
        return max(1, size), max(1, min(size, max(share, int(SMALLEST_SHARE * self.target / seconds))))
