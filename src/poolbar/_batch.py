"""Tasks on their way: what lanes take from the backlog and hand to their workers."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Any, Protocol

from . import _messages as messages
from ._shown import call_text, sealed_call_text
from .workers.blocks import unseal_copy

if TYPE_CHECKING:
    from contextvars import Context

    from ._function import Function
    from .progress import Tally
    from .workers.blocks import Blocks


class Source(Protocol):
    """Where tasks come from and their outcomes go: the submitted calls of a function, or a run of ``map``.

    Attributes:
        tally: counts them.
        context: of who asked for them.
        blocks: finds large arguments that several of them have.
    """

    tally: Tally
    context: Context
    blocks: Blocks

    @property
    def handling_seconds(self) -> float:
        """What each task costs the parent."""

    def ended(self, batch: Batch, values: list[Any], pickled: bool, size: int) -> None:
        """Take the values of the next tasks of ``batch``; as pickles, where ``pickled``. ``size`` is in bytes."""

    def failed(self, batch: Batch, error: BaseException) -> None:
        """Take the error of the next task of ``batch``."""

    def payloads(self, batch: Batch) -> list[Any]:
        """Return what a message says of each task, in the batch's ``form``. The list may be the batch's own."""

    def payload(self, batch: Batch, position: int) -> Any:
        """Return the same of one task whose outcome has not come."""

    def give_back(self, batch: Batch, items: list[Any], position: int) -> None:
        """Take back tasks that were not started, the first of them at ``position``. The backlog's lock is held."""

    def tried(self, batch: Batch, started: bool) -> int:
        """Count a try of the next task of ``batch`` whose worker died; return how many there were.

        Those in which it was ``started`` are counted apart from those in which it was not. The backlog's lock is held.
        """

    def try_again(self, batch: Batch) -> None:
        """Take back the next task of ``batch``, to be taken alone. The backlog's lock is held."""

    def killed(self, batch: Batch) -> None:
        """Hear that the next task of ``batch`` was ended on request."""


class Returned:
    """Tasks of a source that came back, in their old order, whichever lane came first.

    One that waits for another that came before it must not be started in its place. What came back together is a part, and is
    taken by itself. Guarded by the backlog's lock.
    """

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[tuple[int, list[Any]]] = []  # the place of the first task among all, and the tasks

    def __len__(self) -> int:
        parts = self._parts
        return sum(len(items) for _, items in parts) if parts else 0

    def put(self, start: int, items: list[Any]) -> None:
        """Take tasks back, the first of them at place ``start``."""
        bisect.insort(self._parts, (start, items), key=_start_of)

    def take(self, size: int) -> tuple[int, list[Any]]:
        """Return up to ``size`` tasks of the first part, and the place of the first."""
        start, items = self._parts[0]
        if len(items) > size:
            self._parts[0] = (start + size, items[size:])
            return start, items[:size]
        del self._parts[0]
        return start, items

    def drop(self) -> list[Any]:
        """Return all tasks, and keep none."""
        parts, self._parts = self._parts, []
        return [item for _, items in parts for item in items]


def _start_of(part: tuple[int, list[Any]]) -> int:
    return part[0]


class Batch:
    """Some tasks of one function. Owned by the lane that took it.

    Attributes:
        items: what the source needs to know each task by.
        start: index in its run of the first task.
        done: tasks whose outcome has come.
        busy: lanes of the same kind that had something to do when it was taken, this one among them.
    """

    __slots__ = ("busy", "done", "form", "function", "items", "source", "start")

    def __init__(self, source: Source, function: Function, items: list[Any], form: int, start: int = 0) -> None:
        self.source = source
        self.function = function
        self.items = items
        self.form = form
        self.start = start
        self.done = 0
        self.busy = 1

    def arguments(self, position: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what a worker in this process calls the function with."""
        payload = self.source.payload(self, position)
        if self.form == messages.SINGLE:
            return (payload,), {}
        if self.form == messages.STARRED:
            return payload, {}
        pair: tuple[tuple[Any, ...], dict[str, Any]] = unseal_copy(payload) if self.form == messages.SEALED else payload
        return pair

    def next_call(self) -> str:
        """Return the call of the next task in short form."""
        if self.form == messages.SEALED:
            return sealed_call_text(self.function.name, self.source.payload(self, self.done))
        return call_text(self.function.name, *self.arguments(self.done))
