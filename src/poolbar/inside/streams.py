"""sys.stdout and sys.stderr of a worker: what is printed there goes to the parent, in whole lines."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Any

from .. import _messages as messages

if TYPE_CHECKING:
    from .events import Events

LONGEST_PART = 65536
"""Bytes: an unfinished line that grows longer is sent as it is."""


class Lines(io.RawIOBase):
    """Takes bytes, and sends them when a line is complete."""

    mode = "wb"

    def __init__(self, events: Events, *, is_error: bool) -> None:
        self._events = events
        self._is_error = is_error
        self._part = b""
        self._is_off = False
        self.name = "<stderr>" if is_error else "<stdout>"
        # Whoever prints a line makes one write of it here, not one for each of its parts.
        text: Any = io.TextIOWrapper(self, "utf-8", "backslashreplace", newline="\n", line_buffering=True)
        text.mode = "w"
        self.text: io.TextIOWrapper = text

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor of the stream that this stands for: for processes that a task starts, and for C code."""
        return 2 if self._is_error else 1

    def write(self, data: Any) -> int:
        """Take bytes."""
        text = bytes(data)
        if self._is_off:
            return os.write(self.fileno(), text)
        end = text.rfind(b"\n") + 1
        if end == 0 and len(self._part) < LONGEST_PART:
            self._part += text
        else:
            end = end or len(text)
            whole, self._part = self._part + text[:end], text[end:]
            self._send(whole)
        return len(text)

    def take_in(self) -> None:
        """Have here what was printed of an unfinished line."""
        try:
            self.text.flush()
        except ValueError:
            pass  # it was closed, or detached from this

    def end_line(self) -> None:
        """Send an unfinished line: the task is over."""
        self.take_in()
        if self._part:
            self.send_part()

    def send_part(self) -> None:
        """Send an unfinished line, of which this has a part."""
        if self._part:
            whole, self._part = self._part + b"\n", b""
            self._send(whole)

    def _send(self, whole: bytes) -> None:
        try:
            text = whole.decode(self.text.encoding, "backslashreplace")
        except (LookupError, ValueError):  # it was detached from this
            text = whole.decode("utf-8", "backslashreplace")
        self._events.put(messages.Text(messages.TEXT, self._is_error, text))

    def renewed(self) -> Lines:
        """Undo what tasks of another executor did to the stream; return what is to be used."""
        try:
            self.text.reconfigure(
                encoding="utf-8", errors="backslashreplace", newline="\n", line_buffering=True, write_through=False
            )
        except ValueError:  # it was closed, or detached from this
            return Lines(self._events, is_error=self._is_error)
        return self

    def let_go(self) -> None:
        """In a child that a task has forked: from now on it prints for itself; what was not sent is its parent's to send."""
        self._part = b""
        self._is_off = True


class Streams:
    """The two streams of a worker."""

    def __init__(self, events: Events) -> None:
        self._before = sys.stdout, sys.stderr
        for stream in self._before:
            if isinstance(stream, io.TextIOWrapper):
                # A task may print to sys.__stdout__, and nobody flushes that when the process ends.
                stream.reconfigure(line_buffering=True)
        self._use([Lines(events, is_error=is_error) for is_error in (False, True)])

    def _use(self, lines: list[Lines]) -> None:
        self._lines = lines
        sys.stdout, sys.stderr = (line.text for line in lines)

    def end_lines(self) -> None:
        """Send unfinished lines."""
        for lines in self._lines:
            lines.end_line()

    def end(self) -> None:
        """Send unfinished lines; from now on whenever a stream is flushed, which is the last that Python does with it."""
        for lines in self._lines:
            lines.end_line()
            lines.flush = lines.send_part  # type: ignore[method-assign]

    def take_in(self) -> None:
        """Have here what was printed of unfinished lines: this process is about to be forked.

        Not in the child: there, where Python runs without a GIL, a thread that is gone may hold the lock of such a stream.
        """
        for lines in self._lines:
            lines.take_in()

    def renew(self) -> None:
        """Make them as good as new."""
        self._use([lines.renewed() for lines in self._lines])

    def let_go(self) -> None:
        """In a child that a task has forked: it prints for itself."""
        out, err = self._lines
        for lines in self._lines:
            lines.let_go()
        if sys.stdout is out.text:
            sys.stdout = self._before[0]
        if sys.stderr is err.text:
            sys.stderr = self._before[1]


def are_ours(stream: Any) -> bool:
    """Tell whether what is written to a stream goes to the parent."""
    try:
        return isinstance(stream.buffer, Lines)
    except (AttributeError, ValueError):  # it has none, or has been detached from it
        return False
