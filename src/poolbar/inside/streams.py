"""sys.stdout and sys.stderr of a worker: what is printed there goes to the parent, in whole lines."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

from .. import _messages as messages

if TYPE_CHECKING:
    from .events import Events

LONGEST_PART = 65536
"""Bytes: an unfinished line that grows longer is sent as it is."""


class _Lines(io.RawIOBase):
    """Takes bytes, and sends them when a line is complete."""

    def __init__(self, events: Events, is_error: bool) -> None:
        self._events = events
        self._is_error = is_error
        self._part = b""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """Return the descriptor of the stream that this stands for: for processes that a task starts, and for C code."""
        return 2 if self._is_error else 1

    def write(self, data: Any) -> int:
        text = bytes(data)
        end = text.rfind(b"\n") + 1
        if end == 0 and len(self._part) < LONGEST_PART:
            self._part += text
        else:
            end = end or len(text)
            whole, self._part = self._part + text[:end], text[end:]
            self._send(whole)
        return len(text)

    def end_line(self) -> None:
        """Send an unfinished line: the task is over."""
        if self._part:
            whole, self._part = self._part + b"\n", b""
            self._send(whole)

    def _send(self, whole: bytes) -> None:
        self._events.put(messages.Text(messages.TEXT, self._is_error, whole.decode("utf-8", "backslashreplace")))


class Streams:
    """The two streams of a worker."""

    def __init__(self, events: Events) -> None:
        self._lines = [_Lines(events, is_error) for is_error in (False, True)]
        self._before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(lines, "utf-8", "backslashreplace", newline="\n", write_through=True)  # type: ignore[type-var]
            for lines in self._lines
        )
        self.own = sys.stdout, sys.stderr

    def end_lines(self) -> None:
        """Send unfinished lines."""
        for lines in self._lines:
            lines.end_line()

    def let_go(self) -> None:
        """In a child that a task has forked: it prints for itself."""
        sys.stdout, sys.stderr = self._before
