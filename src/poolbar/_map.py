"""A run of map, from both ends: lanes take its tasks and deliver outcomes, a reader polls for these (see ``_reading``).

    caller's thread                                     lanes
    pull ──▶ inputs (a window of them) ──take──▶ batches in flight ──▶ chunks (unread outcomes) ──▶ poll()
                     ▲                                  │
                     └── returned ◀── not started ──────┘

What is not taken is guarded by the backlog's lock; chunks and counts by the run's own ``_lock``. Where both are
held, the backlog's comes first. A reader that has found nothing is told by the run's bell when to look again.
"""

from __future__ import annotations

import enum
import threading
import time
from collections import deque
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from . import _messages as messages
from ._batch import Batch, Returned
from ._calls import did_not_unpickle
from .inside.pickling import unseal
from .workers.blocks import Blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._backlog import Backlog
    from ._failures import Failures
    from ._function import Function
    from ._inputs import Inputs
    from .progress import Tally

UNREAD_BYTES = 128 << 20
"""Results of a run that nobody has read yet, in bytes as pickled: beyond this, lanes leave the run alone."""

WINDOW_BATCHES = 4
"""A window holds this many batches for each worker: one that runs, one that waits, and room for both to grow."""

FIRST_TASKS = 64
"""For each worker: so many are pulled from an iterator before the first result, be its function known to be as fast as it may."""

WIDEST_WINDOW = 400_000
"""Tasks. A window grows while workers have nothing to do and the caller waits; this bounds it."""

SLOW_PULL_SECONDS = 0.002
"""What an iterator took this long to give is handed to the lanes at once."""

WIDEST_STRIDE = 1024
"""Items pulled in one go from an iterator that is not slow."""


class Asked(NamedTuple):
    """What a run was asked for: see ``ProgressExecutor.map``."""

    chunksize: int | None = None
    buffersize: int | None = None
    ordered: bool = True
    total: int | None = None
    desc: str | None = None
    errors: str = "raise"


class Chunk(NamedTuple):
    """Outcomes of consecutive tasks."""

    start: int
    tasks: int
    values: list[Any]
    pickled: bool
    error: BaseException | None  # then it is one task
    size: int  # in bytes, as pickled


class Nothing(enum.Enum):
    """Why a reader finds no outcomes."""

    YET = "the bell will ring"
    OVER = "all have been read"
    WIDER = "more is to be pulled first: a worker has nothing to do"


class Bell(Protocol):
    """Calls the reader of a run."""

    def ring(self) -> None:
        """Have the reader look again. Called with the run's lock held, by any thread: it must neither wait nor raise."""


class Run:
    """The tasks of one ``map``."""

    def __init__(
        self,
        backlog: Backlog,
        function: Function,
        inputs: Inputs,
        tally: Tally,
        *,
        bell: Bell,
        ordered: bool,
        buffersize: int | None,
        failures: Failures | None,
        stop: Callable[[Run], None],
    ) -> None:
        self.function = function
        self.order = 0
        self.tally = tally
        self.context = tally.context
        self._backlog = backlog
        self._inputs = inputs
        self._ordered = ordered
        self._buffersize = buffersize
        self._stop = stop  # ends tasks of the run that have started
        self.failures = failures  # where errors are values; None: the first one read is raised
        self.blocks = Blocks(keep=True)
        # guarded by the backlog's lock
        self._returned = Returned()
        self._next_index = 0  # of the next task to take from the inputs
        self._tries: dict[tuple[int, bool], int] = {}  # of tasks whose worker died: started or not, how often
        # guarded by _lock
        self._lock = threading.Lock()
        self._bell = bell
        self._is_waited_for = False
        self._in_order: dict[int, Chunk] = {}
        self._as_they_came: deque[Chunk] = deque()
        self._in_flight = 0  # tasks
        self._unread_bytes = 0
        self._has_come = False  # the first outcome
        self._hungry = False
        self._end: Callable[[], BaseException] | None = None  # why the tasks that were not started never will be
        # the caller's own
        self.is_pulling = False
        # Held while the iterator is pulled, for as long as it takes: by a reader, or by who shuts the executor down. Reentrant:
        # an iterator that reads its own results is told by Python that this cannot be.
        self._one_pulls = threading.RLock()
        self._read = 0
        self._stride = 1
        self._owner = threading.get_ident()
        self._window = 0
        # flags that go from False to True, from any thread
        self._unbounded = False  # the executor is shutting down: all that was asked for is run
        self.cancelled = False  # the iterator was dropped halfway: what has not started is not started
        self.unwatched = False  # the iterator was dropped unread: tasks run, results go nowhere

    @property
    def handling_seconds(self) -> float:
        """What each task costs the parent: more where its arguments are pickled one by one."""
        return 0.3e-6 if self.function.takes_atoms else 4e-6

    # --- the backlog's side: its lock is held

    def available(self) -> int:
        """Return how many tasks could be taken now."""
        if self.cancelled:
            return 0
        count = len(self._returned)
        if self._unread_bytes > UNREAD_BYTES and not self._unbounded:
            return count
        ready = self._inputs.ready()
        if self._buffersize is not None and not self._unbounded:
            ready = min(ready, self._read + self._buffersize - self._next_index)
        return count + max(0, ready)

    def take(self, size: int) -> Batch:
        """Take up to ``size`` tasks: those that came back first."""
        if self._returned:
            start, items = self._returned.take(size)
        else:
            start = self._next_index
            items = self._inputs.take(min(size, self.available()))
            self._next_index += len(items)
        with self._lock:
            self._in_flight += len(items)
        return Batch(self, self.function, items, messages.STARRED if self._inputs.starred else messages.SINGLE, start)

    def is_finished(self) -> bool:
        """Tell whether all tasks have been taken."""
        return self.cancelled or (self._inputs.exhausted and not self._returned and not self._inputs.ready())

    def starve(self) -> None:
        """Let the caller know that a lane has nothing to do, should it be waiting."""
        if not self._inputs.exhausted:
            with self._lock:
                self._hungry = True
                self._ring()

    def give_back(self, batch: Batch, items: list[Any], position: int) -> None:
        """Take back tasks that were not started."""
        self._returned.put(batch.start + position, items)
        with self._lock:
            self._in_flight -= len(items)
            self._ring()

    def tried(self, batch: Batch, started: bool) -> int:
        """Count a try of the next task."""
        key = batch.start + batch.done, started
        self._tries[key] = tries = self._tries.get(key, 0) + 1
        return tries

    def try_again(self, batch: Batch) -> None:
        """Take the next task back: it comes as a part of its own, and is taken alone."""
        self.give_back(batch, [batch.items[batch.done]], batch.done)

    def cancel(self) -> Callable[[], None]:
        """Drop what was not started; the caller meets CancelledError in its place."""
        return self.fail(CancelledError)

    def fail(self, error: Callable[[], BaseException]) -> Callable[[], None]:
        """Drop what was not started; the caller meets an error in its place."""
        self._returned.drop()
        self._inputs.take(self._inputs.ready())
        with self._lock:
            self._end = error
            self._ring()
        return lambda: None

    # --- a lane's side

    def ended(self, batch: Batch, values: list[Any], pickled: bool, size: int) -> None:
        """Take the values of the next tasks."""
        self._deliver(Chunk(batch.start + batch.done, len(values), values, pickled, None, size))

    def payloads(self, batch: Batch) -> list[Any]:
        """Return the arguments of the tasks."""
        return batch.items

    def payload(self, batch: Batch, position: int) -> Any:
        """Return the arguments of one task."""
        return batch.items[position]

    def killed(self, batch: Batch) -> None:
        """Do nothing: a task of a run has no future by which it could be killed."""

    def failed(self, batch: Batch, error: BaseException) -> None:
        """Take the error of the next task."""
        if self.failures is not None:
            self.failures.note(error, batch.start + batch.done, batch.next_call)
        self._deliver(Chunk(batch.start + batch.done, 1, [], False, error, 0))

    def _deliver(self, chunk: Chunk) -> None:
        failed = chunk.error is not None
        self.tally.ended(chunk.tasks - failed, failed)
        self._has_come = True
        with self._lock:
            self._in_flight -= chunk.tasks
            if not (self.unwatched or self.cancelled):
                self._unread_bytes += chunk.size
                if self._ordered:
                    self._in_order[chunk.start] = chunk
                else:
                    self._as_they_came.append(chunk)
            self._ring()

    # --- the caller's side

    def start(self) -> bool:
        """Put the run into the backlog and pull the first window; False: the backlog is closed.

        Called once, by the thread that calls ``map``.
        """
        with self._backlog.lock:
            if self._backlog.closed:
                return False
            self._backlog.put_run(self)
        self.top_up()
        return True

    def pull_the_rest(self) -> None:
        """Pull all that is left: nobody will read it, or the executor shuts down."""
        self._unbounded = True
        self.offer()
        while not (self._inputs.exhausted or self.cancelled or self._end is not None):
            self._pull(self._stride)

    def _pull(self, count: int) -> None:
        inputs = self._inputs
        backlog = self._backlog
        with self._one_pulls:
            if inputs.exhausted:
                return  # another thread has pulled the last
            self.is_pulling = True
            if backlog.has_idle_lanes(self.function):
                backlog.watch(self)
            try:
                inputs.pull(count)
            finally:
                self.is_pulling = False
                self.offer()
            if self._inputs.exhausted:
                self.tally.set_total(inputs.pulled)

    def offer(self) -> None:
        """Let lanes see that tasks have become available."""
        with self._backlog.lock:
            self._backlog.came(self)

    def room(self) -> int:
        """Return how many more items the window has room for."""
        if self._buffersize is not None:
            return self._read + self._buffersize - self._inputs.pulled
        if self._unread_bytes > UNREAD_BYTES:
            return 0
        tasks = WINDOW_BATCHES * self.function.pace.last
        if not self._has_come:
            tasks = min(tasks, FIRST_TASKS)
        self._window = max(self._window, tasks * self._backlog.most_lanes(self.function))
        return self._read + self._window - self._inputs.pulled

    def top_up(self) -> None:
        """Pull what the window has room for, but not while the first result waits to be read."""
        while not self._inputs.exhausted and (room := self.room()) > 0:
            if not self._read and self._has_come and self._is_there():
                return
            began = time.perf_counter()
            self._pull(min(room, self._stride))
            if time.perf_counter() - began > SLOW_PULL_SECONDS:
                self._stride = max(1, self._stride // 2)
                if self._is_there():
                    return  # a result is there: it does not wait for a slow input
            else:
                self._stride = min(self._stride * 2, WIDEST_STRIDE)

    def _is_there(self) -> bool:
        return bool(self._as_they_came) or self._read in self._in_order

    def poll(self) -> Chunk | Nothing:
        """Return the next outcomes, or why there are none.

        Raises:
            CancelledError: the rest was dropped.
            BrokenProcessPool: no worker can run the rest.
        """
        with self._lock:
            chunk = self._pop()
            if chunk is None:
                nothing = self._why_nothing()
                self._is_waited_for = nothing is Nothing.YET
                return nothing
            self._is_waited_for = False
        self._account(chunk)
        return chunk

    def _why_nothing(self) -> Nothing:
        if self._is_over():
            return Nothing.OVER
        return Nothing.WIDER if self._hungry and self._widen() else Nothing.YET

    def _widen(self) -> bool:
        # A worker has nothing to do while the caller waits for one that is slow: ask for more than a window, in bounds.
        self._hungry = False
        wider = min(2 * self._window, WIDEST_WINDOW)
        if self._inputs.exhausted or self._buffersize is not None or wider == self._window:
            return False
        self._window = wider
        return True

    def _ring(self) -> None:
        # The lock is held.
        if self._is_waited_for:
            self._is_waited_for = False
            self._bell.ring()

    def _pop(self) -> Chunk | None:
        if self._ordered:
            return self._in_order.pop(self._read, None)
        return self._as_they_came.popleft() if self._as_they_came else None

    def _is_over(self) -> bool:
        if self._end is not None and not self._in_flight:
            raise self._end()
        return self._is_all_read()

    def _is_all_read(self) -> bool:
        return self._inputs.exhausted and self._read == self._inputs.pulled

    def _forget_results(self) -> None:
        self._in_order.clear()
        self._as_they_came.clear()

    def _account(self, chunk: Chunk) -> None:
        with self._lock:
            was_full = self._unread_bytes > UNREAD_BYTES
            self._unread_bytes -= chunk.size
        if self._buffersize is None:
            self._read += chunk.tasks
        if was_full:
            self.offer()

    def read_one(self) -> None:
        """Note that the reader has taken one more of a chunk's outcomes."""
        if self._buffersize is not None:  # else all of a chunk counts as read when it is taken
            self._read += 1
            self.top_up()
            self.offer()

    def load(self, value: Any, pickled: bool) -> Any:
        """Return what the reader gets for a value of a chunk, its error where errors are values."""
        self.read_one()
        if pickled:
            try:
                return unseal(value)
            except BaseException as problem:
                error = did_not_unpickle("result", self.function.name, problem)
            if self.failures is None:
                raise error
            self.failures.note(error, self._read, lambda: self.function.name)
            return error
        return value

    def values(self, chunk: Chunk) -> Iterator[Any]:
        """Return an iterator over what the reader gets of a chunk. Its error is raised, unless errors are values."""
        _, _, values, pickled, error, _ = chunk
        del chunk
        if error is not None and self.failures is None:
            try:
                raise error
            finally:
                del error  # it refers to this frame through its traceback
        if error is not None:
            self.read_one()
            yield error
        values.reverse()
        while values:
            yield self.load(values.pop(), pickled)

    @property
    def is_read_one_by_one(self) -> bool:
        """Whether the window moves with each value that the reader takes, not with each chunk."""
        return self._buffersize is not None

    def finish(self) -> None:
        """Do what follows the last outcome: tell what failed, raise what the user's iterator raised."""
        if self.failures is not None:
            self.tally.close()  # the bar first
            self.failures.tell(self._inputs.pulled)
        if self._inputs.error is not None:
            raise self._inputs.error

    def stop(self) -> None:
        """End the run, with what it has started in worker processes."""
        self.cancelled = True
        self._stop(self)

    def leave(self) -> None:
        """Let go of the run: what has not started is not started. May run in any thread, in the garbage collector too."""
        is_complete = self._is_all_read()
        self.cancelled = True
        self._forget_results()
        self._inputs.drop()
        if not is_complete:
            self._backlog.nudge()
        self.tally.close()

    def drop_unread(self) -> None:
        """Run all tasks, as the standard library does, and keep no results. What is not pulled yet is pulled here."""
        self.unwatched = True
        self._forget_results()
        self.tally.close_when_done()
        self._unbounded = True
        lock = self._backlog.lock
        if self._inputs.exhausted or threading.get_ident() != self._owner:
            self._backlog.nudge()
            return  # another thread than the one that called map must not pull: shutdown does
        if not lock.acquire(timeout=1.0):
            return  # the garbage collector runs this while this very thread holds the lock
        lock.release()
        self.pull_the_rest()
        if self._inputs.error is not None:
            raise self._inputs.error
