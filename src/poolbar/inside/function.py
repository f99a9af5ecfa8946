"""A function in a worker, and how each of its tasks calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from .. import _messages as messages
from .outbox import UNKNOWN
from .pickling import LARGE_BYTES, loads, unseal

if TYPE_CHECKING:
    from collections.abc import Callable


class Aside(Protocol):
    """Does what is no part of a task, and perhaps measures it."""

    def aside(self, act: Callable[[], Any]) -> Any:
        """Call ``act`` and return what it returns."""


class BadArguments(Exception):
    """The arguments of a task did not unpickle; the reason is its cause."""


class BadFunction(Exception):
    """The function of a task did not unpickle; the reason is its cause."""


class Function:
    """A function that this worker has, and how each of its tasks calls it.

    Args:
        stored: what a message says of its pickle.
        fresh: each task gets a copy of its own.
        opened: makes something sealed of what a message says of it.

    Attributes:
        was_long: its last batch took a while, or there was none: the next one is measured.
    """

    def __init__(self, stored: Any, fresh: bool, opened: Callable[[Any], Any]) -> None:
        self._stored = stored
        self._opened = opened
        self.fresh = fresh
        self.manner = UNKNOWN  # what it has returned so far
        self.expected: type = type(None)
        self.was_long = True
        self.loaded: Callable[..., Any] | None = None

    def load(self) -> Callable[..., Any]:
        """Return the function: a copy of its own for each call, where it is ``fresh``."""
        if self.fresh:
            return self._unsealed()  # type: ignore[no-any-return]
        if self.loaded is None:
            self.loaded = self._unsealed()
        return self.loaded

    def _unsealed(self) -> Any:
        return unseal(self._opened(self._stored))

    def caller(self, form: int, meter: Aside) -> Callable[[Any], Any]:
        """Return what runs one task, given its item. Raises what unpickling the function raises."""
        load = self.load
        function = load()

        def starred(item: Any) -> Any:
            return function(*item)

        def starred_fresh(item: Any) -> Any:
            return load()(*item)

        opened = self._opened

        def sealed(item: Any) -> Any:
            arguments, keywords = _unsealed(item, meter, opened)
            return function(*arguments, **keywords)

        def sealed_fresh(item: Any) -> Any:
            arguments, keywords = _unsealed(item, meter, opened)
            return load()(*arguments, **keywords)

        if form == messages.SINGLE:
            return function  # a run's: never fresh
        if form == messages.STARRED:
            return starred_fresh if self.fresh else starred
        return sealed_fresh if self.fresh else sealed


def _unsealed(item: Any, meter: Aside, opened: Callable[[Any], Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        if type(item) is bytes and len(item) < LARGE_BYTES:
            return loads(item)  # type: ignore[no-any-return]
        return meter.aside(lambda: unseal(opened(item)))  # type: ignore[no-any-return]
    except BaseException as error:
        raise BadArguments from error


def raiser(error: BaseException) -> Callable[[Any], Any]:
    """Return what every task of a function that does not unpickle calls."""

    def fail(item: Any) -> Any:
        raise BadFunction from error

    return fail
