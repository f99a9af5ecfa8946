"""The one thread that draws. It looks at all tallies ten times a second while there are any, and ends when there are none.

``_lock`` guards the list of shows and is held for moments. ``_drawing`` is held while a reporter is called: by the painter's
thread, and by whoever closes a tally, who may so wait for a terminal that is slow to take a line. It is reentrant: the
garbage collector may close a tally in the middle of a drawing. It may also do so in a thread that holds tqdm's own lock,
for which a drawing waits: so who closes a tally waits for a second at most, and leaves the rest to the painter's thread.
"""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING

from . import above

if TYPE_CHECKING:
    import _thread
    from collections.abc import Callable

    from . import Progress, Reporter, Tally

PERIOD_SECONDS = 0.1
CLOCK_SECONDS = 0.5
"""Without news a reporter is called this often: its clock goes on."""

IDLE_SECONDS = 5.0
"""How long the thread waits for another tally before it ends."""

CLOSING_SECONDS = 1.0


class _Show:
    """What a reporter is to hear of a tally. Its methods are called with ``_drawing`` held."""

    def __init__(self, tally: Tally, reporter: Reporter) -> None:
        self.tally = tally
        self.reporter: Reporter | None = reporter
        self.told: Progress | None = None  # what the reporter was told last
        self.told_at = 0.0

    def look(self) -> None:
        """Tell the reporter what is new."""
        reporter = self.reporter
        progress = None if reporter is None else self.tally.progress()
        if reporter is None or progress is None:
            return
        told, self.told = self.told, progress
        if told is None:
            reporter.started(progress)
        elif told.total != progress.total:
            reporter.added(progress)
        for event in self.tally.news():
            reporter.event(progress, event)
        is_news = told is None or told._replace(seconds=progress.seconds, choice=progress.choice) != progress
        if not is_news and (progress.is_quiet or progress.seconds - self.told_at < CLOCK_SECONDS):
            return
        self.told_at = progress.seconds
        reporter.ended(progress)

    def finish(self) -> None:
        """Tell the reporter the last."""
        self.look()
        reporter, self.reporter = self.reporter, None
        if reporter is not None and self.told is not None:
            reporter.finished(self.told)

    def attempt(self, act: Callable[[], None]) -> None:
        """Do one of these in the context of who asked for the tasks."""
        # A screen that is gone, an option that tqdm does not know: the bar is off, the work goes on.
        try:
            self.tally.context.copy().run(act)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # one that wants to exit would end the painter's thread, and no bar would be drawn again
            self.reporter = None
            warnings.warn(f"poolbar shows no progress: {type(error).__name__}: {error}", RuntimeWarning, stacklevel=1)


class Painter:
    """Shows tallies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._drawing = threading.RLock()
        self._shows: list[_Show] = []
        self._thread: threading.Thread | None = None
        self._bell = threading.Lock()  # of this thread; released to have it look now: there is a new tally, or it is to end
        self._is_idle = False

    def add(self, tally: Tally, reporter: Reporter) -> None:
        """Have a reporter told of a tally until that is closed."""
        show = _Show(tally, reporter)
        tally.on_close = lambda: self._finish(show, CLOSING_SECONDS)
        with self._lock:
            self._shows.append(show)
            if self._thread is None:
                self._is_idle = False  # as the one before may have been when it ended
                self._bell = threading.Lock()
                self._bell.acquire()
                try:
                    self._thread = threading.Thread(target=self._paint, args=(self._bell,), name="poolbar-painter", daemon=True)
                    self._thread.start()
                except RuntimeError:  # a sub-interpreter has no daemons: who closes the tally tells of the end
                    self._thread = None
            elif self._is_idle:
                self._ring()

    def _ring(self) -> None:
        if self._bell.locked():
            self._bell.release()

    def _paint(self, bell: _thread.LockType) -> None:
        while True:
            bell.acquire(timeout=IDLE_SECONDS if self._is_idle else PERIOD_SECONDS)
            with self._lock:
                if self._thread is not threading.current_thread():
                    return  # see ``rest``
                shows = list(self._shows)
                if self._is_idle and not shows:
                    self._thread = None
                    return
                self._is_idle = not shows
            for show in shows:
                if show.tally.is_over():
                    self._finish(show, -1)
                else:
                    with self._drawing:
                        show.attempt(show.look)

    def step_aside(self) -> None:
        """Leave the screen to others until the next look."""
        with self._drawing:
            above.clear()

    def _finish(self, show: _Show, seconds: float) -> None:
        if not self._drawing.acquire(timeout=seconds):
            return  # the painter's thread sees that it is over
        try:
            with self._lock:
                if show not in self._shows:
                    return
                self._shows.remove(show)
            show.attempt(show.finish)
        finally:
            self._drawing.release()

    def rest(self) -> None:
        """End the thread if there is nothing to show, and wait for it."""
        with self._lock:
            thread = self._thread
            if thread is None or self._shows:
                return
            self._thread = None
            self._ring()
        if thread is not threading.current_thread():
            thread.join()

    def forget(self) -> None:
        """Start anew in a forked child: the thread is not there."""
        self.__init__()  # type: ignore[misc]
        above.forget()


painter = Painter()
