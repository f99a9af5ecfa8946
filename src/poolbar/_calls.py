"""Submitted tasks: what waits of them, and how their futures hear of outcomes."""

from __future__ import annotations

from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from ._batch import Batch, Returned
from ._errors import NotUnpicklable, text_of
from .inside.pickling import unseal
from .workers.blocks import no_blocks

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from ._function import Function
    from .inside.pickling import Sealed
    from .progress import Tally

Call = tuple["Future[Any]", Any]
"""A submitted task: its future and its arguments, in the form that its batch says."""


class Calls:
    """Submitted tasks of one function that follow each other in the backlog."""

    __slots__ = ("_returned", "_taken", "_tries", "blocks", "context", "form", "function", "order", "tally", "tasks")

    def __init__(self, function: Function, form: int, tally: Tally) -> None:
        self.function = function
        self.form = form
        self.tally = tally
        self.context = tally.context = copy_context()
        self.tasks: deque[Call] = deque()
        self.order = 0
        self._returned = Returned()
        self._taken = 0  # tasks that were taken from ``tasks``
        self.blocks = no_blocks  # what these tasks share was found when they were submitted
        self._tries: dict[tuple[Future[Any], bool], int] = {}  # of tasks whose worker died: started or not, how often

    is_pulling = False
    handling_seconds = 8e-6  # what each of them costs the parent

    def available(self) -> int:
        """Return how many tasks wait."""
        return len(self.tasks) + len(self._returned)

    def take(self, size: int) -> Batch:
        """Take up to ``size`` tasks: those that came back first."""
        if self._returned:
            start, items = self._returned.take(size)
        else:
            tasks, start = self.tasks, self._taken
            items = [tasks.popleft() for _ in range(min(size, len(tasks)))]
            self._taken += len(items)
        return Batch(self, self.function, items, self.form, start)

    def is_finished(self) -> bool:
        """Tell whether nothing waits here."""
        return not (self.tasks or self._returned)

    def starve(self) -> None:
        """Do nothing: more tasks come when somebody submits them."""

    def ended(self, batch: Batch, values: list[Any], pickled: bool, size: int) -> None:
        """Set the futures of the next tasks."""
        done = batch.done
        items = batch.items
        self.tally.ended(len(values))
        for position, value in enumerate(values, done):
            future = items[position][0]
            try:
                if pickled:
                    self._set_unpickled(future, value)
                else:
                    future.set_result(value)
            except BaseException as problem:
                _after(future, problem)
            items[position] = None  # the outcome is delivered: neither it nor the arguments are kept
            del future, value
        if self._tries:
            self._forget_tries()

    def _set_unpickled(self, future: Future[Any], pickled: Sealed) -> None:
        try:
            value = unseal(pickled)
        except BaseException as error:  # code of the user's runs while unpickling
            future.set_exception(did_not_unpickle("result", self.function.name, error))
        else:
            future.set_result(value)

    def payloads(self, batch: Batch) -> list[Any]:
        """Return the arguments of the tasks."""
        return [call[1] for call in batch.items]

    def payload(self, batch: Batch, position: int) -> Any:
        """Return the arguments of one task."""
        return batch.items[position][1]

    def failed(self, batch: Batch, error: BaseException) -> None:
        """Set the exception of the next task's future."""
        future = batch.items[batch.done][0]
        self.tally.ended(0, 1)
        try:
            future.set_exception(error)
        except BaseException as problem:
            _after(future, problem)
        batch.items[batch.done] = None
        if self._tries:
            self._forget_tries()

    def killed(self, batch: Batch) -> None:
        """Cancel the future of the next task, which was running."""
        future = batch.items[batch.done][0]
        batch.items[batch.done] = None
        self.tally.cancelled(1)
        try:
            _unmark_running(future)
            future.cancel()
            future.set_running_or_notify_cancel()
        except BaseException as problem:
            _after(future, problem)

    def tried(self, batch: Batch, started: bool) -> int:
        """Count a try of the next task."""
        key = batch.items[batch.done][0], started
        self._tries[key] = tries = self._tries.get(key, 0) + 1
        return tries

    def _forget_tries(self) -> None:
        # One by one: another lane may count a try just now.
        for key in list(self._tries):
            if key[0].done():
                self._tries.pop(key, None)

    def try_again(self, batch: Batch) -> None:
        """Take the next task back: it comes as a part of its own, and is taken alone."""
        self.give_back(batch, [batch.items[batch.done]], batch.done)
        batch.items[batch.done] = None

    def place_of(self, batch: Batch, future: Future[Any]) -> int | None:
        """Return where in a batch a task is whose outcome has not come; None: it is not there. From any thread."""
        for position, call in enumerate(list(batch.items)):
            if call is not None and call[0] is future:
                return position
        return None

    def give_back(self, batch: Batch, items: list[Any], position: int) -> None:
        """Put tasks that were not started before those that wait here."""
        for future, _ in items:
            _unmark_running(future)
        self._returned.put(batch.start + position, items)

    def cancel(self) -> Callable[[], None]:
        """Cancel what waits."""
        tasks = self._drop()

        def finish() -> None:
            for future, _ in tasks:
                if future.cancel():
                    future.set_running_or_notify_cancel()
            self.tally.cancelled(len(tasks))

        return finish

    def fail(self, error: Callable[[], BaseException]) -> Callable[[], None]:
        """Fail what waits."""
        tasks = self._drop()

        def finish() -> None:
            for future, _ in tasks:
                if future.set_running_or_notify_cancel():
                    future.set_exception(error())
            self.tally.ended(0, len(tasks))

        return finish

    def _drop(self) -> list[Call]:
        tasks = [*self._returned.drop(), *self.tasks]
        self.tasks.clear()
        return tasks


def did_not_unpickle(what: str, name: str, error: BaseException) -> NotUnpicklable:
    """Return the error for a value that was sent but cannot be rebuilt."""
    made = NotUnpicklable(f"a {what} of {name} does not unpickle: {text_of(error)}")
    made.__cause__ = error
    return made


def _unmark_running(future: Future[Any]) -> None:
    # The task was handed to a worker and came back unstarted: it waits again, and can be cancelled again. Future has no
    # public way back; these two names have been the same since Python 3.2.
    with future._condition:
        if future._state == "RUNNING":
            future._state = "PENDING"


def _after(future: Future[Any], problem: BaseException) -> None:
    """Go on after what came up while a future's outcome was set.

    A callback raised what Future does not catch, SystemExit say, or somebody else has set the outcome: that has no say in what
    becomes of others' tasks.
    """
    import logging

    logging.getLogger("concurrent.futures").error("exception calling callback for %r", future, exc_info=problem)


def claim(batch: Batch, tally: Tally) -> None:
    """Mark the futures of a batch of calls as running, and leave out those that were cancelled. Called without the lock."""
    kept = [call for call in batch.items if call[0].set_running_or_notify_cancel()]
    if len(kept) < len(batch.items):
        tally.cancelled(len(batch.items) - len(kept))
        batch.items = kept
