"""A function in a worker, and how each of its tasks calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _messages as messages
from .meter import LARGE_BYTES
from .outbox import UNKNOWN
from .pickling import loads

if TYPE_CHECKING:
    from collections.abc import Callable

    from .meter import Meter


class BadArguments(Exception):
    """The arguments of a task did not unpickle; the reason is its cause."""


class BadFunction(Exception):
    """The function of a task did not unpickle; the reason is its cause."""


class Function:
    """A function that this worker has, and how each of its tasks calls it.

    Attributes:
        was_long: its last batch took a while, or there was none: the next one is measured.
    """

    def __init__(self, sealed: bytes, fresh: bool) -> None:
        self.sealed = sealed
        self.fresh = fresh
        self.manner = UNKNOWN  # what it has returned so far
        self.expected: type = type(None)
        self.was_long = True
        self.loaded: Callable[..., Any] | None = None

    def load(self) -> Callable[..., Any]:
        """Return the function: a copy of its own for each call, where it is ``fresh``."""
        if self.fresh:
            return loads(self.sealed)  # type: ignore[no-any-return]
        if self.loaded is None:
            self.loaded = loads(self.sealed)
        return self.loaded

    def caller(self, form: int, meter: Meter) -> Callable[[Any], Any]:
        """Return what runs one task, given its item. Raises what unpickling the function raises."""
        load = self.load
        function = load()

        def starred(item: Any) -> Any:
            return function(*item)

        def starred_fresh(item: Any) -> Any:
            return load()(*item)

        def sealed(item: bytes) -> Any:
            arguments, keywords = _unsealed(item, meter)
            return function(*arguments, **keywords)

        def sealed_fresh(item: bytes) -> Any:
            arguments, keywords = _unsealed(item, meter)
            return load()(*arguments, **keywords)

        if form == messages.SINGLE:
            return function  # a run's: never fresh
        if form == messages.STARRED:
            return starred_fresh if self.fresh else starred
        return sealed_fresh if self.fresh else sealed


def _unsealed(item: bytes, meter: Meter) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        if len(item) < LARGE_BYTES:
            return loads(item)  # type: ignore[no-any-return]
        return meter.aside(lambda: loads(item))  # type: ignore[no-any-return]
    except BaseException as error:
        raise BadArguments from error


def raiser(error: BaseException) -> Callable[[Any], Any]:
    """Return what every task of a function that does not unpickle calls."""

    def fail(item: Any) -> Any:
        raise BadFunction from error

    return fail
