"""Memory that two processes share, without a name that could be left behind.

An arena is where large data lies while word of it goes through a pipe: one side copies it in, the other copies it out. Its
pages are used again for the next batch, which is the point: a pipe moves 0.5 to 1 GB/s, new pages 1.4, used ones 27 (measured
with arrays of 8 MB).
"""

from __future__ import annotations

import mmap
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

ALIGNMENT = 64
"""Bytes: arrays begin at multiples of it, as numeric libraries like it."""

SMALLEST_ARENA = 1 << 20
KEPT_ARENA = 256 << 20
"""Bytes: what an arena keeps from batch to batch."""

HUGE_BYTES = 4 << 20
"""From here on numpy asks for huge pages."""

_NO_DESCRIPTOR: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) and os.name == "posix" else {}
"""A mapping needs none of its own; before Python 3.13 each has one."""


class Place(NamedTuple):
    """Where memory lies, by a path that works while the maker keeps it."""

    path: str
    descriptor: int | None  # of memory without a file, which its path goes through; None for a file

    def remove(self) -> None:
        """Let nothing be left but what has been opened. Called by the maker, once."""
        if self.descriptor is not None:
            os.close(self.descriptor)
        else:
            try:
                os.unlink(self.path)
            except OSError:
                pass  # the other side has removed it


def create(size: int) -> Place:
    """Make memory of ``size`` bytes, all 0.

    On Linux it is no file: were this process killed right now, nothing would be left behind.
    """
    if hasattr(os, "memfd_create"):
        place = _without_file(size)
        if place is not None:
            return place
    import tempfile

    descriptor, path = tempfile.mkstemp(prefix="poolbar-")
    os.ftruncate(descriptor, size)
    os.close(descriptor)
    return Place(path, None)


def _without_file(size: int) -> Place | None:
    try:
        descriptor = os.memfd_create("poolbar")
    except OSError:
        return None  # a sandbox that does not allow it, perhaps; if there is no room for descriptors, a file will say so
    os.ftruncate(descriptor, size)
    path = f"/proc/{os.getpid()}/fd/{descriptor}"
    # A process that has dropped its privileges may open this itself, and its children may not: it is root's then.
    if os.access(path, os.R_OK | os.W_OK) and os.stat(f"/proc/{os.getpid()}/fd").st_uid == os.geteuid():
        return Place(path, descriptor)
    os.close(descriptor)
    return None


def filled(parts: Iterable[Any]) -> tuple[Place, tuple[tuple[int, int], ...]]:
    """Make memory with these bytes in it; return also where in it each part lies: (offset, length)."""
    layout = []
    place = create(0)
    try:
        with open(place.path, "r+b", buffering=0) as file:
            for part in parts:
                start = file.seek(-(-file.tell() // ALIGNMENT) * ALIGNMENT)
                view = memoryview(part)
                layout.append((start, len(view)))
                while view:
                    view = view[file.write(view) :]
    except BaseException:
        place.remove()
        raise
    return place, tuple(layout)


class Arena:
    """One end of an arena. ``put`` and ``rewind`` are for the side that writes, ``get`` for the other, ``shrink`` for the parent.

    Nobody locks: what is written is read before the writer rewinds, for one batch is in flight at a time; and the parent
    shrinks it only when none is. A mapping may then reach beyond the file's end, where nothing must be touched: the writer
    looks at the file before it writes. When either side dies, the other's descriptor keeps the memory, and what was told of it.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
        self._map: mmap.mmap | None = None
        self._view = memoryview(b"")
        self.used = 0  # bytes, since the last rewind

    def put(self, data: Any) -> tuple[int, int]:
        """Copy bytes in; return where they lie: (offset, length)."""
        size = len(data)
        start = self.used
        self.used = end = start + -(-size // ALIGNMENT) * ALIGNMENT
        if os.fstat(self._descriptor).st_size < end:
            os.ftruncate(self._descriptor, max(SMALLEST_ARENA, 1 << (end - 1).bit_length()))
        if len(self._view) < end:
            self._remap()
        self._view[start : start + size] = data
        return start, size

    def get(self, start: int, size: int) -> Any:
        """Return a copy of bytes that the other side has put there: something with a writable buffer."""
        if len(self._view) < start + size:
            self._remap()
        return _copy(self._view[start : start + size])

    def rewind(self) -> None:
        """Begin anew: all that was put here has been read."""
        self.used = 0
        if len(self._view) > KEPT_ARENA:
            self._cut(KEPT_ARENA)

    def shrink(self) -> None:
        """Give all memory back, until the next use."""
        if os.fstat(self._descriptor).st_size:
            self._cut(0)

    def close(self) -> None:
        """Let go of it."""
        self._unmap()
        os.close(self._descriptor)

    def _cut(self, size: int) -> None:
        self._unmap()
        try:
            os.ftruncate(self._descriptor, size)
        except OSError:
            pass  # Windows, where the other side has it mapped: it stays as large as it is

    def _remap(self) -> None:
        self._unmap()
        self._map = mmap.mmap(self._descriptor, 0, **_NO_DESCRIPTOR)
        self._view = memoryview(self._map)

    def _unmap(self) -> None:
        self._view.release()
        self._view = memoryview(b"")
        if self._map is not None:
            self._map.close()
            self._map = None


def _copy(view: memoryview) -> Any:
    # numpy asks for huge pages: new memory takes half the time. It is used where it is loaded, as it is where arrays are.
    make = getattr(sys.modules.get("numpy"), "empty", None) if len(view) >= HUGE_BYTES else None
    if make is None:
        return bytearray(view)
    array = make(len(view), "u1")
    memoryview(array)[:] = view
    return array


def opened(stored: Any, arena: Arena) -> Any:
    """Return what was sealed on the other side, given what the message says of it.

    What lies in the arena is copied: it will be written over. What lies in memory of its own is mapped, writable here alone.

    Args:
        stored: the pickle itself; or a tuple of a part for each of pickle and buffers: its bytes, (offset, length) in the
            arena, or (path, length).
        arena: of the other side.
    """
    if type(stored) is not tuple:
        return stored
    return tuple([_part(part, arena) for part in stored])


def _part(part: Any, arena: Arena) -> Any:
    if type(part) is not tuple:
        return part
    place, size = part
    return mapped(place, size, mmap.ACCESS_COPY) if type(place) is str else arena.get(place, size)


def mapped(path: str, size: int, access: int) -> memoryview:
    """Return the bytes at a path, as they lie there.

    Args:
        path: of a Place.
        size: how many bytes.
        access: ``mmap.ACCESS_COPY``: writable, and what is written is seen here alone; ``mmap.ACCESS_READ``: not writable.
    """
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        return memoryview(mmap.mmap(descriptor, size, access=access, **_NO_DESCRIPTOR))
    finally:
        os.close(descriptor)
