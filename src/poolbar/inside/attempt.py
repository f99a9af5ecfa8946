"""A batch that runs in an engine that is not ours: what its tasks come to, on its way to the parent.

Records leave at once where there is a line, in the middle of a batch; without one they come with the result. A clock sends
outcomes that have waited for long, and hands back what a batch over its budget has not started: no task waits for a slow one.
"""

from __future__ import annotations

import contextvars
import pickle
import threading
import uuid
from collections import deque
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _messages as messages
from .errors import described
from .events import Events
from .locks import holding, holding_if_free
from .names import PROTOCOL
from .pickling import ATOMS, seal

if TYPE_CHECKING:
    from collections.abc import Callable

    from .relay import Levels

CLOCK_SECONDS = 0.010
"""How often batches that run are looked at: the errors of their budgets, and of when outcomes are sent."""


class Head(NamedTuple):
    """What a batch comes with beside its tasks. The first two are compared before the rest is looked at."""

    poolbar: str  # version
    python: tuple[int, int]
    session: str  # which executor's, anywhere in the world
    batch: str
    function: int
    fresh: bool
    form: int
    budget: float  # seconds
    levels: Levels | None  # of the parent's loggers; None: nothing is relayed
    line: Callable[[str, bytes], None] | None  # sends records of a batch while it runs


class Record(NamedTuple):
    """Something that became of a batch."""

    start: int  # in the batch: of the task whose outcome comes first; of the first that is not started
    message: Any  # of ``_messages``, as a tuple; or, of events, already pickled


class Attempt:
    """A batch as it runs here. Its thread runs tasks; the clock's sends outcomes, and what is not started back.

    ``_lock`` is held while outcomes are added and records leave, so that these are in order; the engine's line is used under
    it, by either thread, and a line does not wait.
    """

    def __init__(self, head: Head, items: list[Any]) -> None:
        self._kept = len(items)  # tasks that are not handed back
        self.todo = deque(items)  # taken from by two threads, at its two ends, each by one atomic call
        self.ended = 0
        self.id = uuid.uuid4().hex
        self.records: list[Record] = []  # for the result
        self.sent = 0  # records that took the line
        self.events = Events(self)
        self.began = self.flushed_at = perf_counter()
        self._head = head
        self._line = head.line
        self._context = contextvars.copy_context()  # an engine knows its own by it; the clock's thread has none
        self._lock: Any = threading.RLock()
        self._values: list[Any] = []
        self._is_plain = True
        self.events.listen(self._line is not None)

    # --- the way to the parent, for events

    def is_writing(self) -> bool:
        """Tell whether this thread is in the middle of writing."""
        return bool(self._lock._is_owned())

    def send(self, data: bytes) -> None:
        """Write a message of events."""
        holding(self._lock, self._leave_now, data)

    def _leave_now(self, data: bytes) -> bool:
        self._leave(Record(self.ended, data))
        return True

    def send_if_there_is_room(self, data: bytes) -> bool:
        """Write a message of events, if nobody else is writing. Tells whether it was."""
        return not self.is_writing() and holding_if_free(self._lock, self._leave_now, data)

    def _leave(self, record: Record) -> None:
        if self._line is not None:
            data = pickle.dumps((self.id, self.sent, tuple(record)), PROTOCOL)
            try:
                self._context.run(self._line, self._head.batch, data)
            except Exception:  # the engine's: what it does not take now, the result takes
                self._line = None
            else:
                self.sent += 1
                return
        self.records.append(record)

    # --- outcomes

    def add(self, value: Any) -> None:
        """Add the value of the next task. May raise what pickling it raises; then nothing was added."""
        is_plain = type(value) in ATOMS
        kept = value if is_plain else _sealed(value)
        with self._lock:
            if is_plain is not self._is_plain:
                self._flush()
                self._is_plain = is_plain
            self._values.append(kept)
            self.ended += 1

    def fail(self, stage: int, error: BaseException) -> None:
        """Add the error of the next task."""
        told = described(error, stage)
        with self._lock:
            self._flush()
            failed = messages.Failed(messages.FAILED, 0, stage, *told, self._elapsed(), False)
            self._leave(Record(self.ended, tuple(failed)))
            self.ended += 1

    def flush(self) -> None:
        """Have what was added leave."""
        self.events.flush()
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        values, self._values = self._values, []
        if values:
            kind = messages.VALUES if self._is_plain else messages.PICKLED
            self._leave(Record(self.ended - len(values), (kind, 0, values, self._elapsed(), False)))

    def _elapsed(self) -> float:
        now = perf_counter()
        seconds, self.flushed_at = now - self.flushed_at, now
        return seconds

    # --- the clock's

    def look(self) -> None:
        """Send what was added, if it has waited for long; hand back what is not started, if the batch is over its budget."""
        now = perf_counter()
        if now - self.flushed_at >= self._head.budget / 2 and self._values:
            self.flush()
        if now - self.began >= self._head.budget and self.todo:
            self._hand_back()

    def _hand_back(self) -> None:
        kept = self._kept
        while True:
            try:
                self.todo.pop()
            except IndexError:
                break
            self._kept -= 1
        if self._kept < kept:
            with self._lock:
                self._leave(Record(self._kept, (messages.GIVEN_BACK,)))

    def end(self) -> None:
        """Have all leave that is left, with the result, which would have to wait for what takes the line."""
        with self._lock:
            self._line = None
        self.events.listen(True)
        self.events.end_thread()
        with self._lock:
            self._flush()


def _sealed(value: Any) -> Any:
    sealed = seal(value, upward=True)
    return sealed if type(sealed) is bytes else tuple([bytes(part) for part in sealed])


class _Clock:
    """Looks at the batches that run in this process and have a line. Its thread lives while there are some.

    ``_lock`` is held while a batch comes or goes, and guards whether there is a thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches: set[Attempt] = set()
        self._runs = False

    def add(self, batch: Attempt) -> None:
        with self._lock:
            self._batches.add(batch)
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, name="poolbar-clock", daemon=True).start()

    def remove(self, batch: Attempt) -> None:
        with self._lock:
            self._batches.discard(batch)

    def _run(self) -> None:
        while True:
            sleep(CLOCK_SECONDS)
            with self._lock:
                batches = list(self._batches)
                if not batches:
                    self._runs = False
                    return
            for batch in batches:
                batch.look()


clock = _Clock()
