"""What tasks print, log and warn of where several run side by side in one process, which is not ours alone.

``sys.stdout``, the loggers and tqdm are the process's. Each is taken over once, by something that looks which thread asks: what a
thread does that runs tasks of ours goes to the parent of these; all else goes where it went before.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from .relay import Relay
from .streams import Lines

if TYPE_CHECKING:
    from .. import _messages as messages
    from .events import Events
    from .relay import Levels


class _Here(threading.local):
    """Of a thread that runs tasks of ours right now."""

    events: Events | None = None
    streams: tuple[Lines, Lines] | None = None  # stdout, stderr


_here = _Here()


class _Stream:
    """sys.stdout or sys.stderr: for each thread its own."""

    def __init__(self, before: Any, number: int) -> None:
        self._before = before
        self._number = number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own(), name)

    def _own(self) -> Any:
        streams = _here.streams
        return self._before if streams is None else streams[self._number].text

    def write(self, text: str) -> Any:
        return self._own().write(text)


class _Events:
    """The events of the thread that asks. Between tasks, or in another thread, there are none."""

    @property
    def is_off(self) -> bool:
        return _here.events is None or _here.events.is_off

    def put(self, event: tuple[Any, ...]) -> None:
        if _here.events is not None:
            _here.events.put(event)

    def put_bar(self, bar: messages.Bar) -> None:
        if _here.events is not None:
            _here.events.put_bar(bar)


_lock = threading.Lock()
"""Held while the process's streams and loggers are taken over, by the thread that runs the first batch; nothing is waited for."""

_relay: Relay | None = None


class Routes:
    """What a thread that runs tasks says, until ``leave``.

    Args:
        events: where it goes.
        levels: of the parent's loggers, which those of this process are given.
    """

    def __init__(self, events: Events, levels: Levels) -> None:
        self._events = events
        self._levels = levels
        self._streams = (Lines(events, is_error=False), Lines(events, is_error=True))

    def enter(self) -> None:
        """Begin: what this thread says from now on is for the parent."""
        global _relay
        with _lock:
            if _relay is None:
                _relay = Relay(_Events(), self._levels)
                sys.stdout, sys.stderr = _Stream(sys.stdout, 0), _Stream(sys.stderr, 1)
            else:
                _relay.set_levels(self._levels)
        _here.events, _here.streams = self._events, self._streams

    def leave(self) -> None:
        """End."""
        self.end_lines()
        _here.events = _here.streams = None

    def end_lines(self) -> None:
        """Send unfinished lines: a task is over."""
        for lines in self._streams:
            lines.end_line()
