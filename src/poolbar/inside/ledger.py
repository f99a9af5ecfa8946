"""A few pages of memory shared by one lane and its worker, readable after the worker has died.

The worker notes which task it starts (0.03 us) and keeps the results that it has not sent yet (0.2 us each), so that
the parent knows exactly what a dead worker had done: which task was running, and the results of those before it.

    bytes 0..8    index, in the batch, of the task that runs
    bytes 8..16   index of the first task whose result is in the log
    bytes 16..24  number of the batch; batches count from 1
    bytes 24..    the log: one pickle after the other

Owned by the worker while it lives; the parent reads it only when the worker is gone.
"""

from __future__ import annotations

import mmap
import os
from typing import BinaryIO

SIZE = 256 * 1024
HEAD = 24


class Ledger:
    """The memory, opened by path on either side. The worker removes the path as soon as it has opened it."""

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self.log = mmap.mmap(file.fileno(), SIZE)
        self._bytes = memoryview(self.log)
        self.head = self._bytes[:HEAD].cast("q")
        self.log.seek(HEAD)

    def begin(self, number: int) -> None:
        """Start a batch. Called by the worker."""
        head = self.head
        head[0] = head[1] = 0
        head[2] = number
        self.log.seek(HEAD)

    def sent(self, following: int) -> None:
        """Forget the log: all results before task ``following`` are on the pipe. Called by the worker."""
        # The first task in the log is noted first: a death between the two lines leaves an empty log, not a wrong one.
        self.head[1] = following
        self.log.seek(HEAD)

    def read(self, number: int) -> tuple[int, int, BinaryIO] | None:
        """Return the running task, the first task in the log and the log; None if the worker never began this batch."""
        if self.head[2] != number:
            return None
        self.log.seek(HEAD)
        return self.head[0], self.head[1], self.log  # type: ignore[return-value]  # mmap reads like a file

    def close(self) -> None:
        """Give the memory back."""
        self.head.release()
        self._bytes.release()
        self.log.close()


def create(directory: str | None, name: str) -> str:
    """Make the file that a Ledger lies on, and return its path. Called by the parent."""
    import tempfile

    descriptor, path = tempfile.mkstemp(prefix=f"poolbar-{name}-", dir=directory)
    try:
        os.ftruncate(descriptor, SIZE)
    finally:
        os.close(descriptor)
    return path
