"""Large buffers that many tasks have: they travel once, by memory of their own that every worker maps.

A worker maps it so that what a task writes there is seen by this task alone: each has its own array, as after a plain pickle,
and copies only the pages that it changes. The memory is freed with the last task that refers to it.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

from ..inside import memory
from ..inside.pickling import LARGE_BYTES, Sealed, loads, unseal

if TYPE_CHECKING:
    from collections.abc import Callable

REPEATED_BYTES = 1 << 18
"""Smaller buffers are copied for each task: that takes less than to map them, and to fault their pages in."""

MOST_SEEN = 64
"""Objects that a run remembers to have met."""

MOST_KEPT_BYTES = 512 << 20
"""Blocks that a run keeps, all together; the first may be larger."""


class Block:
    """The content of a buffer, taken when it was made.

    ``_lock`` is held while its memory is made, by the lane that is the first to send it; others that would send it wait for them.
    """

    __slots__ = ("__weakref__", "_lock", "_place", "content", "is_repeated")

    def __init__(self, content: bytes | bytearray, is_repeated: bool) -> None:
        self.content = content
        self.is_repeated = is_repeated  # several tasks have it: it goes by memory of its own
        self._place: memory.Place | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.content)

    def path(self) -> str:
        """Return where its memory lies, for as long as this object lives."""
        with self._lock:
            if self._place is None:
                self._place, _ = memory.filled((self.content,))
            return self._place.path

    def __del__(self) -> None:
        if self._place is not None:
            self._place.remove()


def kept(sealed: Sealed) -> Sealed:
    """Return what was sealed with a copy of its buffers: for a function, which goes to every worker."""
    if isinstance(sealed, bytes):
        return sealed
    pickled, *buffers = sealed
    data = Block(pickled, True) if len(pickled) >= LARGE_BYTES else pickled
    return (data, *[Block(bytearray(buffer), True) for buffer in buffers])


def unseal_copy(sealed: Sealed) -> Any:
    """Unpickle what was sealed, in this process: with buffers of its own each time."""
    if isinstance(sealed, bytes):
        return loads(sealed)
    return unseal(tuple([bytearray(part.content if type(part) is Block else part) for part in sealed]))


def are_equal(kept: Sealed, sealed: Sealed) -> bool:
    """Tell whether ``kept`` was made of the same as was sealed just now."""
    if isinstance(kept, bytes) or isinstance(sealed, bytes):
        return kept == sealed
    return len(kept) == len(sealed) and all(map(_is_same, kept, sealed))


def _is_same(piece: Any, data: Any) -> bool:
    return bool((piece.content if type(piece) is Block else piece) == data)


class Blocks:
    """Finds the buffers that were met before: of the same object, with the same content.

    Compared byte by byte, at 35 GB/s: the object may have been changed since. ``_lock`` guards what was seen; nothing is compared
    or copied under it.

    Args:
        keep: blocks live as long as this does; else as long as tasks refer to them.
    """

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self._lock = threading.Lock()
        self._seen: dict[int, _Seen] = {}  # by the object's id, the oldest first

    def repeated(self, buffer: memoryview) -> Block | None:
        """Return the block of a buffer that was met before; None: it was not, or has changed."""
        seen, is_new = self._look_up(buffer)
        if seen is None or is_new or seen.changes:
            return None
        block = seen.block()
        if block is None:
            if not self._has_room(len(buffer)):
                return None
            block = Block(bytearray(buffer), True)
            seen.hold(block, strongly=self._keep)
        elif not _is_same(block, buffer):
            seen.changes = True
            seen.let_go()
            return None
        return block

    def _has_room(self, size: int) -> bool:
        with self._lock:
            kept = sum(seen.size for seen in self._seen.values() if seen.is_held())
        return not kept or kept + size <= MOST_KEPT_BYTES

    def copied(self, buffer: memoryview) -> Block:
        """Return a block of a buffer's content now: one that was made before, or a new one."""
        seen, _ = self._look_up(buffer)
        block = None if seen is None else seen.block()
        if block is not None and _is_same(block, buffer):
            block.is_repeated = True
            return block
        block = Block(bytearray(buffer), False)
        if seen is not None:
            seen.hold(block, strongly=self._keep)
        return block

    def copied_all(self, sealed: Sealed) -> Sealed:
        """Return what was sealed with the content of its buffers now."""
        if isinstance(sealed, bytes):
            return sealed
        return (sealed[0], *map(self.copied, sealed[1:]))

    def _look_up(self, buffer: memoryview) -> tuple[_Seen | None, bool]:
        owner: Any = buffer.obj
        if len(buffer) < REPEATED_BYTES:
            return None, True
        with self._lock:
            seen = self._seen.get(id(owner))
            if seen is not None and seen.owner() is owner and seen.size == len(buffer):
                return seen, False
            try:
                seen = self._seen[id(owner)] = _Seen(owner, len(buffer))
            except TypeError:  # nothing tells whether it is still the same object
                return None, True
            if len(self._seen) > MOST_SEEN:
                del self._seen[next(iter(self._seen))]
            return seen, True


class _Seen:
    """A buffer's owner, and the block made of it."""

    __slots__ = ("_strong", "block", "changes", "owner", "size")

    def __init__(self, owner: Any, size: int) -> None:
        self.owner = weakref.ref(owner)
        self.size = size
        self.block: Callable[[], Block | None] = _nothing
        self._strong: Block | None = None
        self.changes = False  # it was met with another content: it is not looked for again

    def hold(self, block: Block, *, strongly: bool) -> None:
        self._strong = block if strongly else None
        self.block = weakref.ref(block)

    def let_go(self) -> None:
        self._strong = None
        self.block = _nothing

    def is_held(self) -> bool:
        return self._strong is not None


def _nothing() -> None:
    """Stands for a weak reference to no block."""


no_blocks = Blocks(keep=False)
"""For tasks whose arguments are sealed already: nothing is looked for here."""
