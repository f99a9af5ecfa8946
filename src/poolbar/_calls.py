"""Submitted tasks: what waits of them, and how their futures hear of outcomes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from ._batch import Batch
from ._errors import NotUnpicklable
from .inside.pickling import loads

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from ._function import Function
    from .progress import Tally

Call = tuple["Future[Any]", Any]
"""A submitted task: its future and its arguments, in the form that its batch says."""


class Calls:
    """Submitted tasks of one function that follow each other in the backlog."""

    __slots__ = ("form", "function", "tally", "tasks")

    def __init__(self, function: Function, form: int, tally: Tally) -> None:
        self.function = function
        self.form = form
        self.tally = tally
        self.tasks: deque[Call] = deque()

    is_pulling = False

    def available(self) -> int:
        """Return how many tasks wait."""
        return len(self.tasks)

    def take(self, size: int) -> Batch:
        """Take up to ``size`` tasks."""
        tasks = self.tasks
        items = [tasks.popleft() for _ in range(min(size, len(tasks)))]
        return Batch(self, self.function, items, self.form)

    def is_finished(self) -> bool:
        """Tell whether nothing waits here."""
        return not self.tasks

    def starve(self) -> None:
        """Do nothing: more tasks come when somebody submits them."""

    def ended(self, batch: Batch, values: list[Any], pickled: bool, size: int) -> None:
        """Set the futures of the next tasks."""
        done = batch.done
        items = batch.items
        self.tally.ended(len(values))
        for position, value in enumerate(values, done):
            future = items[position][0]
            items[position] = None  # the outcome is delivered: neither it nor the arguments are kept
            if pickled:
                self._set_unpickled(future, value)
            else:
                future.set_result(value)
            del future, value

    def _set_unpickled(self, future: Future[Any], pickled: bytes) -> None:
        try:
            value = loads(pickled)
        except BaseException as error:  # code of the user's runs while unpickling
            future.set_exception(did_not_unpickle("result", self.function.name, error))
        else:
            future.set_result(value)

    def payloads(self, batch: Batch) -> list[Any]:
        """Return the arguments of the tasks."""
        return [call[1] for call in batch.items]

    def failed(self, batch: Batch, error: BaseException) -> None:
        """Set the exception of the next task's future."""
        future = batch.items[batch.done][0]
        batch.items[batch.done] = None
        self.tally.ended(0, 1)
        future.set_exception(error)

    def give_back(self, batch: Batch, items: list[Any], position: int) -> None:
        """Put tasks that were not started before those that wait here."""
        for future, _ in items:
            _unmark_running(future)
        self.tasks.extendleft(reversed(items))

    def cancel(self) -> Callable[[], None]:
        """Cancel what waits."""
        tasks, self.tasks = self.tasks, deque()

        def finish() -> None:
            for future, _ in tasks:
                if future.cancel():
                    future.set_running_or_notify_cancel()
            self.tally.cancelled(len(tasks))

        return finish

    def fail(self, error: Callable[[], BaseException]) -> Callable[[], None]:
        """Fail what waits."""
        tasks, self.tasks = self.tasks, deque()

        def finish() -> None:
            for future, _ in tasks:
                if future.set_running_or_notify_cancel():
                    future.set_exception(error())
            self.tally.ended(0, len(tasks))

        return finish


def did_not_unpickle(what: str, name: str, error: BaseException) -> NotUnpicklable:
    """Return the error for a value that was sent but cannot be rebuilt."""
    made = NotUnpicklable(f"a {what} of {name} does not unpickle: {type(error).__name__}: {error}")
    made.__cause__ = error
    return made


def _unmark_running(future: Future[Any]) -> None:
    # The task was handed to a worker and came back unstarted: it waits again, and can be cancelled again. Future has no
    # public way back; these two names have been the same since Python 3.2.
    with future._condition:
        if future._state == "RUNNING":
            future._state = "PENDING"


def claim(batch: Batch, tally: Tally) -> None:
    """Mark the futures of a batch of calls as running, and leave out those that were cancelled. Called without the lock."""
    kept = [call for call in batch.items if call[0].set_running_or_notify_cancel()]
    if len(kept) < len(batch.items):
        tally.cancelled(len(batch.items) - len(kept))
        batch.items = kept
