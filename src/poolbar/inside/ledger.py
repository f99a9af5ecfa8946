"""A few pages of memory shared by one lane and its worker, readable after the worker has died.

The worker notes which task it starts (0.03 us) and keeps the values that it has not sent yet (0.05 to 0.2 us each), so that
the parent knows exactly what a dead worker had done: which task was running, and the values of those before it.

    bytes 0..8    index, in the batch, of the task that runs
    bytes 8..16   index of the first task whose value is kept here
    bytes 16..24  number of the batch; batches count from 1
    bytes 24..32  how values are kept: a stream of pickles, or sealed ones, each behind its length, or a slot of 8 bytes
                  for each task
    bytes 32..    the values

Owned by the worker while it lives; the parent reads it only when the worker is gone.
"""

from __future__ import annotations

import mmap
import os
import pickle
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 256 * 1024
HEAD = 32

PICKLES, SEALED, INTS, FLOATS, NONES = range(5)
_LENGTH = struct.Struct("<Q")


class Ledger:
    """The memory, opened by path on either side.

    Attributes:
        head: the four numbers above.
        log: the memory as a file, which pickles are written to.
        ints: slots for values of type int.
        floats: slots for values of type float.
    """

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self.log = mmap.mmap(file.fileno(), SIZE)
        self._bytes = memoryview(self.log)
        self.head = self._bytes[:HEAD].cast("q")
        self.ints = self._bytes[HEAD:].cast("q")
        self.floats = self._bytes[HEAD:].cast("d")
        self.log.seek(HEAD)

    def begin(self, number: int, kept_as: int) -> None:
        """Start a batch. Called by the worker."""
        head = self.head
        head[0] = head[1] = 0
        head[3] = kept_as
        head[2] = number  # last: until here, the batch has not begun
        self.log.seek(HEAD)

    def sent(self, following: int) -> None:
        """Forget the values: all before task ``following`` are on the pipe. Called by the worker."""
        self.head[1] = following
        self.log.seek(HEAD)

    def running(self, number: int) -> int | None:
        """Return the index of the task that ran last; None if the worker never began this batch."""
        return self.head[0] if self.head[2] == number else None

    def write_sealed(self, pickled: bytes) -> bool:
        """Keep a value that is pickled already. False: it does not fit. Called by the worker."""
        log = self.log
        if log.tell() + _LENGTH.size + len(pickled) > SIZE:
            return False
        log.write(_LENGTH.pack(len(pickled)))
        log.write(pickled)
        return True

    def values(self) -> Iterator[tuple[int, Any, bool]]:
        """Yield the tasks before the last one whose values are kept: index, value, and whether it is pickled."""
        running, first, _, kept_as = self.head
        self.log.seek(HEAD)
        unpickler = pickle.Unpickler(self.log)  # written by our own worker
        for index in range(first, running):
            if kept_as == INTS:
                yield index, self.ints[index], False
            elif kept_as == FLOATS:
                yield index, self.floats[index], False
            elif kept_as == NONES:
                yield index, None, False
            elif kept_as == PICKLES:
                yield index, unpickler.load(), False
            else:
                yield index, self.log.read(_LENGTH.unpack(self.log.read(_LENGTH.size))[0]), True

    def close(self) -> None:
        """Give the memory back."""
        for view in (self.head, self.ints, self.floats, self._bytes):
            view.release()
        self.log.close()


class Place(NamedTuple):
    """Where a ledger lies until the worker has opened it."""

    path: str
    descriptor: int | None  # of memory without a file, which its path goes through; None for a file

    def remove(self) -> None:
        """Let nothing be left but the mappings. Called by the parent, once."""
        if self.descriptor is not None:
            os.close(self.descriptor)
        else:
            try:
                os.unlink(self.path)
            except OSError:
                pass  # the worker has removed it


def create() -> Place:
    """Make the memory that a Ledger lies on. Called by the parent.

    On Linux it is no file: were the parent killed right now, nothing would be left behind.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("poolbar")
        os.ftruncate(descriptor, SIZE)
        path = f"/proc/{os.getpid()}/fd/{descriptor}"
        if os.access(path, os.R_OK | os.W_OK):
            return Place(path, descriptor)
        os.close(descriptor)
    import tempfile

    descriptor, path = tempfile.mkstemp(prefix="poolbar-")
    os.ftruncate(descriptor, SIZE)
    os.close(descriptor)
    return Place(path, None)
