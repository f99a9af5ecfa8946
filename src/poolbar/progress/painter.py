"""The one thread that draws. It looks at all tallies ten times a second while there are any, and ends when there are none.

``_lock`` guards the list of shows and is held for moments. ``_drawing`` is held while something is drawn: by the painter's
thread, and by whoever closes a tally, who may so wait for a terminal that is slow to take a line. It is reentrant: the
garbage collector may close a tally in the middle of a drawing.
"""

from __future__ import annotations

import threading
import time
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import _thread
    from collections.abc import Callable

    from . import Reporter, Tally

FIRST_SHOWN_SECONDS = 0.5
"""Runs that are shorter than this are silent."""

PERIOD_SECONDS = 0.1
IDLE_PERIODS = 10
"""The thread waits this many times FIRST_SHOWN_SECONDS for another tally before it ends."""


class _Show:
    def __init__(self, tally: Tally, make: Callable[[], Reporter]) -> None:
        self.tally = tally
        self.make = make
        self.since: float | None = None  # when its first task was counted in
        self.reporter: Reporter | None = None
        self.is_broken = False


class Painter:
    """Shows tallies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._drawing = threading.RLock()
        self._shows: list[_Show] = []
        self._thread: threading.Thread | None = None
        self._stop = threading.Lock()  # released to end the thread

    def add(self, tally: Tally, make: Callable[[], Reporter]) -> None:
        """Show a tally until it is closed, once it has lasted for half a second."""
        show = _Show(tally, make)
        tally.on_close = lambda: self._finish(show)
        with self._lock:
            self._shows.append(show)
            if self._thread is None:
                self._stop = threading.Lock()
                self._stop.acquire()
                self._thread = threading.Thread(target=self._paint, args=(self._stop,), name="poolbar-painter", daemon=True)
                self._thread.start()

    def _paint(self, stop: _thread.LockType) -> None:
        idle = 0
        while not stop.acquire(timeout=PERIOD_SECONDS if idle == 0 else FIRST_SHOWN_SECONDS):
            with self._lock:
                shows = list(self._shows)
                idle = 0 if shows else idle + 1
                if idle > IDLE_PERIODS:
                    self._thread = None
                    return
            for show in shows:
                if show.tally.is_over():
                    self._finish(show)
                else:
                    self._look_at(show)

    def _look_at(self, show: _Show) -> None:
        counts = show.tally.counts()
        now = time.monotonic()
        if show.since is None:
            if counts.total == 0:
                return
            show.since = now
        counts.seconds = now - show.since
        quiet = show.tally.is_quiet()
        with self._drawing:
            if show.tally.over or show.is_broken:
                return
            if show.reporter is None:
                if quiet or counts.seconds < FIRST_SHOWN_SECONDS:
                    show.since = None if quiet else show.since
                    return
                self._try(show, lambda: setattr(show, "reporter", show.make()))
            reporter = show.reporter
            if reporter is not None:
                self._try(show, reporter.pause if quiet else lambda: reporter.show(counts))

    def _try(self, show: _Show, act: Callable[[], None]) -> None:
        # A screen that is gone, an option that tqdm does not know: the bar is off, the work goes on.
        try:
            act()
        except Exception as error:
            show.is_broken = True
            show.reporter = None
            warnings.warn(f"poolbar shows no progress: {type(error).__name__}: {error}", RuntimeWarning, stacklevel=1)

    def step_aside(self) -> None:
        """Leave the screen to others until the next look."""
        with self._lock:
            shows = list(self._shows)
        with self._drawing:
            for show in shows:
                if show.reporter is not None:
                    self._try(show, show.reporter.pause)

    def _finish(self, show: _Show) -> None:
        with self._lock:
            if show not in self._shows:
                return
            self._shows.remove(show)
        with self._drawing:
            reporter, show.reporter = show.reporter, None
            if reporter is not None:
                counts = show.tally.counts()
                self._try(show, lambda: reporter.finish(counts))

    def rest(self) -> None:
        """End the thread if there is nothing to show, and wait for it."""
        with self._lock:
            thread = self._thread
            if thread is None or self._shows:
                return
            self._thread = None
            self._stop.release()
        if thread is not threading.current_thread():
            thread.join()

    def forget(self) -> None:
        """Start anew in a forked child: the thread is not there."""
        self.__init__()  # type: ignore[misc]


painter = Painter()
