"""The arguments of a run: sequences are sliced where they lie, iterators are pulled by the caller's thread and by no other."""

from __future__ import annotations

from array import array
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

_AS_THEY_ARE = (range, tuple, str, bytes)
_COPIED: tuple[type, ...] = (
    list,
    deque,
    bytearray,
    array,
    set,
    frozenset,
    dict,
    type({}.keys()),
    type({}.values()),
    type({}.items()),
)


class Inputs(Protocol):
    """Where a run's arguments come from.

    ``ready`` and ``take`` are called with the backlog's lock held, ``pull`` without: it adds to a deque that ``take`` takes from.
    """

    starred: bool  # each item is a tuple of arguments
    pulled: int  # items that were there to be taken so far
    exhausted: bool  # nothing more can be pulled; then ``pulled`` is how many there were
    error: BaseException | None  # what the user's iterator raised

    def ready(self) -> int:
        """Return how many items can be taken now."""

    def take(self, count: int) -> list[Any]:
        """Take ``count`` items."""

    def length(self) -> int | None:
        """Return how many items there are in all, or None where that is not known."""

    def pull(self, count: int) -> None:
        """Pull up to ``count`` items, each ready as soon as it is pulled.

        Fewer are pulled where the iterator ends, or raises: that ``error`` is kept.
        """

    def drop(self) -> None:
        """Let go of what was not taken, and of the iterator."""


class Sliced:
    """Sequences of a builtin type."""

    exhausted = True
    error: BaseException | None = None

    def __init__(self, sequences: list[Any]) -> None:
        self._sequences = sequences
        self._length = self.pulled = min(map(len, sequences))
        self._taken = 0
        self.starred = len(sequences) > 1

    def ready(self) -> int:
        """Return how many items are left."""
        return self._length - self._taken

    def take(self, count: int) -> list[Any]:
        """Slice the next items."""
        begin, end = self._taken, self._taken + count
        slices = [sequence[begin:end] for sequence in self._sequences]
        self._taken = end
        return list(self._joined(slices))

    def _joined(self, slices: list[Any]) -> Iterable[Any]:
        return zip(*slices, strict=True) if self.starred else slices[0]

    def length(self) -> int:
        """Return how many items there are in all."""
        return self._length

    def pull(self, count: int) -> None:
        """Do nothing: all is there already."""

    def drop(self) -> None:
        """Let go of the sequences, if all was taken: else a lane may be taking it."""
        if self._taken == self._length:
            self._sequences = [() for _ in self._sequences]


class Rows(Sliced):
    """A sequence of tuples, each with all the arguments of a call."""

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        super().__init__([rows])
        self.starred = True

    def _joined(self, slices: list[Any]) -> Iterable[Any]:
        return slices[0]  # type: ignore[no-any-return]


class Queued:
    """Items that come when they come: those that are there wait to be taken."""

    def __init__(self, starred: bool) -> None:
        self.starred = starred
        self.pulled = 0
        self.exhausted = False
        self.error: BaseException | None = None
        self._waiting: deque[Any] = deque()

    def ready(self) -> int:
        """Return how many items wait."""
        return len(self._waiting)

    def take(self, count: int) -> list[Any]:
        """Take items."""
        take = self._waiting.popleft
        return [take() for _ in range(count)]


class Pulled(Queued):
    """An iterator, or several in step."""

    def __init__(self, iterables: list[Iterable[Any]]) -> None:
        super().__init__(starred=len(iterables) > 1)
        lengths = [_length_of(iterable) for iterable in iterables]
        self._length = None if None in lengths else min(lengths)  # type: ignore[type-var]
        self._iterator = zip(*iterables, strict=False) if self.starred else iter(iterables[0])

    def length(self) -> int | None:
        """Return what ``len`` of the iterables says."""
        return self._length

    def pull(self, count: int) -> None:
        """Pull items. An error of the user's iterator ends the input, and is raised where its place is among the results."""
        pulled = 0
        add = self._waiting.append
        try:
            for item in islice(self._iterator, count):
                # Ready before the next one is pulled: the iterator may wait for what becomes of it.
                add(item)
                pulled += 1
        except Exception as error:
            self.error = error
        finally:  # a Ctrl-C may come in the user's iterator
            self.pulled += pulled
        if pulled < count:
            self.exhausted = True  # only now: a reader in another thread takes what was pulled for all there is

    def drop(self) -> None:
        """Let go of the iterator, so that its own clean-up runs. What was pulled stays: a lane may be taking it."""
        self.exhausted = True
        self._iterator = iter(())


def _length_of(iterable: Any) -> int | None:
    try:
        return len(iterable)
    except (TypeError, NotImplementedError):
        return None  # it has none, or says so only when it is asked, as a tqdm bar around a generator does


def inputs_of(iterables: tuple[Iterable[Any], ...]) -> Inputs:
    """Return the arguments of a run.

    Sequences and collections of a builtin type are taken now: as they are where they cannot change, else by a shallow
    copy. All else is iterated, step by step.

    Raises:
        TypeError: one of them is not iterable.
    """
    known = [taken_now(iterable) for iterable in iterables]
    if all(sequence is not None for sequence in known):
        return Sliced(known)
    # What is taken now keeps its place beside what is iterated.
    return Pulled([iterable if taken is None else taken for iterable, taken in zip(iterables, known, strict=True)])


def taken_now(iterable: Any) -> Any:
    """Return what a sequence or collection of a builtin type has at the call; None: it is something else, to be iterated."""
    kind = type(iterable)
    if kind in _AS_THEY_ARE:
        return iterable
    if kind in _COPIED:
        return list(iterable)
    return None
