"""The bar: of a run, with those inside its tasks below it."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from . import above
from .drawn import bar_class, close, drawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from . import Event, Progress

FIRST_SHOWN_SECONDS = 0.5
"""Runs that are shorter than this are silent."""

_LINE_ENDS = str.maketrans("\r\n", "  ")


class Bar:
    """Shows a run as a bar, and the bars inside its tasks below that.

    Args:
        wish: a class with tqdm's interface; None: the one that fits the place, a notebook's or a terminal's.
        options: further keywords for it.
    """

    def __init__(self, wish: Callable[..., Any] | None, options: dict[str, Any]) -> None:
        self._class = wish
        self._options = options
        self._bar: Any = None
        self._make_one: Callable[..., Any] = drawn  # see _make
        self._inner: dict[tuple[int, int], Any] = {}  # bars inside tasks
        self._events: dict[tuple[int, int], Event] = {}  # the same, before the run has lasted long enough
        self._width: int | None = None  # of the terminal, when it was last drawn
        self._busy_since: float | None = 0.0
        self._has_advised = False
        above.watch_input()

    def started(self, progress: Progress) -> None:
        """Do nothing: a run must last a while."""

    def added(self, progress: Progress) -> None:
        """Do nothing: ``ended`` comes at the same time."""

    def ended(self, progress: Progress) -> None:
        """Draw, once the run has lasted long enough; leave the screen to others while nothing runs."""
        if progress.is_quiet:
            self._busy_since = None
            if self._bar is not None:
                self._rest(progress)
            return
        if self._bar is None:
            if self._busy_since is None:
                self._busy_since = progress.seconds
            if progress.seconds - self._busy_since < FIRST_SHOWN_SECONDS:
                return
            self._make(progress)
        self._draw(progress)
        self._advise(progress)
        if getattr(self._bar, "fault", None) is not None:
            raise self._bar.fault

    def _advise(self, progress: Progress) -> None:
        if progress.advice is not None and not self._has_advised:
            self._has_advised = True
            file = self._options.get("file") or sys.stderr
            file.write(self._showable(f"{progress.desc or 'poolbar'}: {progress.advice}") + "\n")  # above the bar

    def _rest(self, progress: Progress) -> None:
        # In a terminal the screen is left to others; elsewhere nobody else needs the place.
        if getattr(self._bar, "is_in_terminal", False):
            self._bar.clear()
        else:
            self._draw(progress)

    def _make(self, progress: Progress) -> None:
        options = {"unit": progress.unit, "miniters": 1, "dynamic_ncols": True, **self._options}
        if progress.desc is not None:
            options.setdefault("desc", self._showable(progress.desc))
        if progress.unit == "task" and "TQDM_UNIT" in os.environ and "unit" not in self._options:
            del options["unit"]
        self._make_one = partial(drawn, bar_class(self._class))
        # It is made late, and is to show time and rate from the beginning.
        self._bar = self._make_one(progress.seconds, total=progress.total, **options)
        for event in self._events.values():
            self._show(event)

    def _draw(self, progress: Progress) -> None:
        bar = self._bar
        bar.total = progress.total
        given = self._options.get("postfix")
        counts = {"failed": progress.failed, "retried": progress.retried, "running": progress.running}
        counts = {name: count for name, count in counts.items() if count}
        bar.set_postfix({**given, **counts} if isinstance(given, dict) else counts, refresh=False)
        # A step makes tqdm draw, if it was not drawn a moment ago.
        if not bar.update(progress.done - bar.n):
            bar.refresh()
        width, self._width = self._width, getattr(bar, "ncols", None)
        if width != self._width:  # the terminal has become wider or narrower
            for inner in self._inner.values():
                inner.refresh()

    def _showable(self, text: str) -> str:
        # What the stream would escape by itself is longer than tqdm thinks, and a bar is one line.
        encoding = getattr(self._options.get("file") or sys.stderr, "encoding", None) or "utf-8"
        return text.encode(encoding, "backslashreplace").decode(encoding).translate(_LINE_ENDS)

    def event(self, progress: Progress, event: Event) -> None:
        """Show a bar inside a task on a line of its own."""
        if self._bar is not None:
            self._show(event)
        elif event.is_over:
            self._events.pop(event.key, None)
        else:
            self._events[event.key] = event

    def _show(self, event: Event) -> None:
        bar = self._inner.get(event.key)
        if event.is_over:
            if self._inner.pop(event.key, None) is not None:
                close(bar)
            return
        desc = f"  worker {event.worker}: {self._showable(event.label)}"
        total = event.total
        done = max(0, event.done)
        if total is not None and 0 < done - total < 0.5:
            done = total  # tqdm would warn of it, in the middle of drawing
        if bar is None:
            options = {"desc": desc, "unit": self._showable(event.unit), "leave": False, "dynamic_ncols": True, **event.details}
            bar = self._inner[event.key] = self._make_one(event.seconds, total=total, **options)
        bar.desc = desc + ": " if event.label else desc
        bar.total = total
        bar.n = done
        for name, value in event.details.items():
            setattr(bar, name, value)  # a postfix changes all the time
        bar.refresh()

    def finished(self, progress: Progress) -> None:
        """Draw the end, on a line of its own."""
        for bar in self._inner.values():
            close(bar)
        self._inner.clear()
        if self._bar is not None:
            self._draw(progress)
            self._advise(progress)
            close(self._bar)
            self._bar = None
