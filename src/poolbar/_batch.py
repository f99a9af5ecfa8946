"""Tasks on their way: what lanes take from the backlog and hand to their workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from . import _messages as messages

if TYPE_CHECKING:
    from ._function import Function


class Source(Protocol):
    """Where tasks come from and their outcomes go: the submitted calls of a function, or a run of ``map``."""

    def ended(self, batch: Batch, values: list[Any], pickled: bool, size: int) -> None:
        """Take the values of the next tasks of ``batch``; as pickles, where ``pickled``. ``size`` is in bytes."""

    def failed(self, batch: Batch, error: BaseException) -> None:
        """Take the error of the next task of ``batch``."""

    def payloads(self, batch: Batch) -> list[Any]:
        """Return what a message says of each task, in the batch's ``form``. The list may be the batch's own."""

    def give_back(self, batch: Batch, items: list[Any], position: int) -> None:
        """Take back tasks that were not started, the first of them at ``position``. The backlog's lock is held."""


class Batch:
    """Some tasks of one function. Owned by the lane that took it.

    Attributes:
        items: what the source needs to know each task by.
        start: index in its run of the first task.
        done: tasks whose outcome has come.
    """

    __slots__ = ("done", "form", "function", "items", "source", "start")

    def __init__(self, source: Source, function: Function, items: list[Any], form: int, start: int = 0) -> None:
        self.source = source
        self.function = function
        self.items = items
        self.form = form
        self.start = start
        self.done = 0

    def arguments(self, position: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what a worker in this process calls the function with."""
        payload = self.source.payloads(self)[position]
        if self.form == messages.SINGLE:
            return (payload,), {}
        if self.form == messages.STARRED:
            return payload, {}
        pair: tuple[tuple[Any, ...], dict[str, Any]] = payload
        return pair
