"""What still lives of the objects that threads have added. A WeakSet fails if one is added while another thread iterates."""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


class Living(Generic[T]):
    """Objects that are there until nobody else has them. Each step here is a single one of a dict's: no lock is needed."""

    def __init__(self) -> None:
        self._references: dict[int, weakref.ref[T]] = {}
        self._numbers = itertools.count()

    def add(self, item: T) -> None:
        """Add an object."""
        number, references = next(self._numbers), self._references
        references[number] = weakref.ref(item, lambda _: references.pop(number, None))

    def __iter__(self) -> Iterator[T]:
        """Return an iterator over those that are there now."""
        found = [reference() for reference in list(self._references.values())]
        return iter([item for item in found if item is not None])

    def clear(self) -> None:
        """Forget all."""
        self._references.clear()
