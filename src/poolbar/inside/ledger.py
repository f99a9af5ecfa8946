"""A few pages of memory shared by one lane and its worker, readable after the worker has died.

The worker notes which task it starts (0.03 us) and keeps the values that it has not sent yet (0.05 to 0.2 us each), so that
the parent knows exactly what a dead worker had done: which task was running, and the values of those before it.

    bytes 0..8    index, in the batch, of the task that runs
    bytes 8..16   index of the first task whose value is kept here
    bytes 16..24  number of the batch; batches count from 1, -1 stands for the initializer
    bytes 24..32  how values are kept: a stream of pickles, or sealed ones, each behind its length, or a slot of 8 bytes
                  for each task
    bytes 32..40  what the worker does: LOADING the function, RUNNING a task, or RESTING between two tasks
    bytes 40..48  1 while the parent holds the worker: it does not go on from a rest. Written by the parent
    bytes 48..    the values
    at the end    what faulthandler writes when the process crashes

Owned by the worker while it lives, but for the hold. The parent may look at the numbers at any time, and at the rest when the
worker is gone.

The hold lets the parent end a task and no other. A worker rests after each task that took PROMPT_SECONDS or more: it says so,
and only then looks whether it is held. The parent holds it, and only then looks again: if the task still runs, the worker cannot
get beyond it; if not, the parent lets go. Each side writes its word before it reads the other's, with a memory barrier in
between, so that one of the two sees the other's (Dekker's algorithm for mutual exclusion, 1965).
"""

from __future__ import annotations

import mmap
import pickle
import struct
from threading import Lock
from time import sleep
from typing import TYPE_CHECKING, Any

from . import memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .memory import Place

SIZE = 256 * 1024
HEAD = 48
TRACE_BYTES = 16 * 1024
"""Room for a native traceback, behind the values."""

PICKLES, SEALED, INTS, FLOATS, NONES = range(5)
INITIALIZER = -1
LOADING, RUNNING, RESTING = range(3)
HELD_SECONDS = 0.001
"""A held worker looks again after this time."""

_LENGTH = struct.Struct("<Q")


class Ledger:
    """The memory, opened by path on either side.

    Attributes:
        head: the six numbers above.
        log: the memory as a file, which pickles are written to.
        ints: slots for values of type int.
        floats: slots for values of type float.
    """

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self.log = mmap.mmap(file.fileno(), SIZE)
            self._trace = mmap.mmap(file.fileno(), TRACE_BYTES, offset=SIZE)
        self._bytes = memoryview(self.log)
        self.head = self._bytes[:HEAD].cast("q")
        self.ints = self._bytes[HEAD:SIZE].cast("q")
        self.floats = self._bytes[HEAD:SIZE].cast("d")
        self.log.seek(HEAD)
        self._barrier = Lock()

    def _put_out(self) -> None:
        # What was written is seen by other processes before what follows is read: to take a lock is an atomic exchange.
        with self._barrier:
            pass

    # --- the worker's side

    def catch_traces(self, path: str) -> None:
        """Let a crash of this process leave a native traceback here, that of the thread which crashed."""
        import faulthandler

        self._file = open(path, "r+b", buffering=0)  # noqa: SIM115  # faulthandler keeps its descriptor
        self._file.seek(SIZE)
        faulthandler.enable(self._file, all_threads=False)

    def begin(self, number: int, kept_as: int) -> None:
        """Start a batch: its function is about to be loaded."""
        head = self.head
        head[0] = head[1] = 0
        head[3] = kept_as
        head[4] = LOADING
        head[2] = number  # last: until here, the batch has not begun
        self.log.seek(HEAD)

    def run_from(self, index: int) -> None:
        """Note that task ``index`` is about to start."""
        head = self.head
        head[0] = index  # first: no look from outside takes the task before for a running one
        head[4] = RUNNING

    def initialize(self) -> None:
        """Note that the initializer is about to run."""
        self.head[2] = INITIALIZER

    def rest(self) -> None:
        """Note that no task runs; the outcomes of all that ran are on the pipe. Wait while the parent holds the worker."""
        head = self.head
        head[4] = RESTING
        self._put_out()
        while head[5]:
            sleep(HELD_SECONDS)

    def sent(self, following: int) -> None:
        """Forget the values: all before task ``following`` are on the pipe."""
        self.head[1] = following
        self.log.seek(HEAD)

    def write_sealed(self, pickled: bytes) -> bool:
        """Keep a value that is pickled already. False: it does not fit."""
        log = self.log
        if log.tell() + _LENGTH.size + len(pickled) > SIZE:
            return False
        log.write(_LENGTH.pack(len(pickled)))
        log.write(pickled)
        return True

    # --- both sides

    def has_begun(self, number: int) -> bool:
        """Tell whether the worker has begun this batch."""
        return bool(self.head[2] == number)

    # --- the parent's side

    def hold(self, held: bool) -> None:
        """Keep the worker from going on after the task that it runs, or let it."""
        self.head[5] = held
        self._put_out()

    def is_initializing(self) -> bool:
        """Tell whether the initializer ran last."""
        return bool(self.head[2] == INITIALIZER)

    def running(self, number: int) -> int | None:
        """Return the index of the task of this batch that runs; None if none does."""
        state, index = self.head[4], self.head[0]  # in this order
        return index if state == RUNNING and self.head[2] == number else None

    def started(self, number: int) -> int:
        """Return how many tasks of this batch a worker, now dead, had started. The loading of the function is the first one's."""
        if self.head[2] != number:
            return 0
        return self.head[0] + (self.head[4] != RESTING)

    def values(self) -> Iterator[tuple[int, Any, bool]]:
        """Yield the tasks before the last one whose values are kept: index, value, and whether it is pickled."""
        running, first, _, kept_as, _, _ = self.head
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

    def trace(self) -> str:
        """Return what faulthandler wrote; empty where it wrote nothing."""
        return self._trace[:].rstrip(b"\0").decode("utf-8", "backslashreplace")

    def close(self) -> None:
        """Give the memory back."""
        for view in (self.head, self.ints, self.floats, self._bytes):
            view.release()
        self.log.close()
        self._trace.close()


def create() -> Place:
    """Make the memory that a Ledger lies on. Called by the parent."""
    return memory.create(SIZE + TRACE_BYTES)
