"""Objects that an executor shares with its workers: each worker makes one, on memory that it cannot write to."""

from __future__ import annotations

import mmap
from typing import Any

from .memory import mapped
from .pickling import loads

own: dict[str, Any] = {}
"""Those that this process shares with others, by their keys."""

_received: dict[str, Any] = {}
"""In workers: those that were made here."""


def shared_object(key: str, path: str, layout: tuple[tuple[int, int], ...], alive: tuple[str, ...]) -> Any:
    """Return the object with this key: what a handle unpickles to.

    Args:
        key: by which processes know it.
        path: of the memory that it lies in.
        layout: where in it pickle and buffers lie: (offset, length).
        alive: the keys of all that its executor shares; others are let go.
    """
    if key in own:
        return own[key]
    if key not in _received:
        for other in _received.keys() - set(alive):
            del _received[other]
        start, length = layout[-1]
        view = mapped(path, start + length, mmap.ACCESS_READ)
        pickled, *buffers = (view[start : start + length] for start, length in layout)
        _received[key] = loads(pickled, buffers=buffers)
    return _received[key]


def forget() -> None:
    """Let go of what was received: another executor comes."""
    _received.clear()


def start() -> None:
    """Share nothing yet, in a process that may be a fork of one that does."""
    own.clear()
    _received.clear()
