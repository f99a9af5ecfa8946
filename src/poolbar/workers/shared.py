"""One object for all tasks of an executor: pickled once, and lying in memory once, however many workers and tasks have it."""

from __future__ import annotations

import itertools
import os
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..inside import memory
from ..inside import shared as inside
from ..inside.pickling import seal

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_numbers = itertools.count()


class Shared(Generic[T]):
    """Stands for an object that ``ProgressExecutor.share`` was given: a task that is given this gets the object.

    Attributes:
        value: the object itself.
    """

    __slots__ = ("__weakref__", "_key", "_layout", "_others", "_place", "value")

    def __init__(self, value: T, others: list[Shared[Any]], main_by_value: bool | None) -> None:
        """Copy ``value`` to memory that workers can read.

        Args:
            value: the object.
            others: all that the same executor shares.
            main_by_value: see ``inside.pickling.dumps``; None: it is never pickled, for all workers are threads.
        """
        self.value = value
        self._key = f"{os.getpid()}-{next(_numbers)}"
        self._others = others
        self._place: memory.Place | None = None
        self._layout: tuple[tuple[int, int], ...] = ()
        if main_by_value is not None:
            sealed = seal(value, main_by_value)
            self._place, self._layout = memory.filled((sealed,) if isinstance(sealed, bytes) else sealed)
            inside.own[self._key] = value

    def __reduce__(self) -> tuple[Any, ...]:
        if self._place is None:
            raise RuntimeError("this shared object was freed, perhaps with its executor")
        alive = tuple(other._key for other in list(self._others))
        return inside.shared_object, (self._key, self._place.path, self._layout, alive)

    def free(self) -> None:
        """Free the memory: no task will ask for the object any more. Workers that have it keep theirs until they meet another."""
        place, self._place = self._place, None
        if self in self._others:
            self._others.remove(self)
        inside.own.pop(self._key, None)
        if place is not None:
            place.remove()

    __del__ = free

    def __repr__(self) -> str:
        return f"<Shared {type(self.value).__name__}>"


def in_place(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments with shared objects in the place of what stands for them: for tasks that run in this process."""
    if any(type(value) is Shared for value in arguments):
        arguments = tuple([value.value if type(value) is Shared else value for value in arguments])
    if keywords and any(type(value) is Shared for value in keywords.values()):
        keywords = {name: value.value if type(value) is Shared else value for name, value in keywords.items()}
    return arguments, keywords


def bound_in_place(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a callable with shared objects that ``functools.partial`` has bound in their place."""
    if type(call) is not partial:
        return call
    arguments, keywords = in_place(call.args, call.keywords)
    if arguments is call.args and keywords is call.keywords:
        return call
    return partial(call.func, *arguments, **keywords)
