"""The bar: tqdm's, in a terminal or a notebook. The only module that imports tqdm."""

from __future__ import annotations

import os
import re
import sys
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from . import above

if TYPE_CHECKING:
    from collections.abc import Callable

    from . import Event, Progress

FIRST_SHOWN_SECONDS = 0.5
"""Runs that are shorter than this are silent."""

_EARLY = re.compile(r"100%(?=\||<bar/>)")


def is_shown_by_default() -> bool:
    """Tell whether a bar would be seen: stderr is a terminal, or this is a notebook."""
    return above.is_terminal(sys.stderr) or _cell() is not None


def _cell() -> int | None:
    """Return the number of the notebook's cell that runs; None: this is no notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell.execution_count if shell is not None and getattr(shell, "kernel", None) is not None else None


class Bar:
    """Shows a run as a bar, and the bars inside its tasks below that.

    Args:
        bar_class: a class with tqdm's interface; None: the one that fits the place, a notebook's or a terminal's.
        options: further keywords for it.
    """

    def __init__(self, bar_class: Callable[..., Any] | None, options: dict[str, Any]) -> None:
        self._class = bar_class
        self._options = options
        self._bar: Any = None
        self._make_one: Callable[..., Any] = _drawn  # see _make
        self._inner: dict[tuple[int, int], Any] = {}  # bars inside tasks
        self._events: dict[tuple[int, int], Event] = {}  # the same, before the run has lasted long enough
        self._width: int | None = None  # of the terminal, when it was last drawn
        self._busy_since: float | None = 0.0
        self._cell: int | None = None  # that the bar is for
        self._quiet: Progress | None = None  # as it was when all had ended for the last time
        self._before: Progress | None = None  # what the bars of other cells have shown
        above.watch_input()

    def started(self, progress: Progress) -> None:
        """Draw nothing yet: a run must last a while."""
        self._cell = _cell()

    def added(self, progress: Progress) -> None:
        """Do nothing: ``ended`` comes at the same time."""

    def ended(self, progress: Progress) -> None:
        """Draw, once the run has lasted long enough; leave the screen to others while nothing runs."""
        if progress.is_quiet:
            self._busy_since = None
            self._quiet = progress
            if self._bar is not None:
                self._bar.clear()
            return
        if self._quiet is not None and _cell() != self._cell:
            # What is submitted in another cell of a notebook has a bar of its own there.
            self.finished(self._quiet)
            self._before = self._quiet._replace(seconds=progress.seconds)
            self._cell = _cell()
        self._quiet = None
        progress = self._of_cell(progress)
        if self._bar is None:
            if self._busy_since is None:
                self._busy_since = progress.seconds
            if progress.seconds - self._busy_since < FIRST_SHOWN_SECONDS:
                return
            self._make(progress)
        self._draw(progress)
        if getattr(self._bar, "fault", None) is not None:
            raise self._bar.fault

    def _of_cell(self, progress: Progress) -> Progress:
        before = self._before
        if before is None or progress.total is None or before.total is None:
            return progress
        return progress._replace(
            total=progress.total - before.total, done=progress.done - before.done, failed=progress.failed - before.failed,
            retried=progress.retried - before.retried, seconds=progress.seconds - before.seconds,
        )  # fmt: skip

    def _make(self, progress: Progress) -> None:
        options = {"unit": progress.unit, "miniters": 1, "dynamic_ncols": True, **self._options}
        if progress.desc is not None:
            options.setdefault("desc", self._showable(progress.desc))
        if progress.unit == "task" and "TQDM_UNIT" in os.environ and "unit" not in self._options:
            del options["unit"]
        self._make_one = partial(_drawn, _honest(self._class))
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
        # What the stream would escape by itself is longer than tqdm thinks.
        encoding = getattr(self._options.get("file") or sys.stderr, "encoding", None) or "utf-8"
        return text.encode(encoding, "backslashreplace").decode(encoding)

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
                _close(bar)
            return
        desc = f"  worker {event.worker}: {self._showable(event.label)}"
        if bar is None:
            options = {"desc": desc, "unit": event.unit, "leave": False, "dynamic_ncols": True, **event.details}
            bar = self._inner[event.key] = self._make_one(event.seconds, total=event.total, **options)
        bar.desc = desc + ": " if event.label else desc
        bar.total = event.total
        bar.n = event.done
        for name, value in event.details.items():
            setattr(bar, name, value)  # a postfix changes all the time
        bar.refresh()

    def finished(self, progress: Progress) -> None:
        """Draw the end, on a line of its own."""
        for bar in self._inner.values():
            _close(bar)
        self._inner.clear()
        if self._bar is not None:
            self._draw(self._of_cell(progress))
            _close(self._bar)
            self._bar = None


def _drawn(make: Callable[..., Any], seconds: float, **options: Any) -> Any:
    """Return a bar that began some seconds ago."""
    bar = make(**{"delay": 1e-9, **options})  # the delay keeps it from drawing a 0 first
    if not getattr(bar, "disable", False) and hasattr(bar, "start_t"):
        bar.start_t -= seconds
        bar.last_print_t = bar.start_t
    return bar


def _close(bar: Any) -> None:
    """Close a bar; others in the terminal move into its place."""
    if not getattr(bar, "is_text", False) or bar.disable:
        bar.close()
        return
    with above.between_lines(bar.get_lock()):
        above.end_line()
        screen = _screen()
        others = [other for other in screen.take_off() if other is not bar]
        bar.close()
        screen.move_up(bar)
        screen.put_back(others)
        if not screen.has_own():
            above.leave()


class _Terminal:
    """The bars in a terminal: ours, and those that users make with tqdm themselves. See ``above.Screen``."""

    def __init__(self, tqdm: Any) -> None:
        self._tqdm = tqdm

    @property
    def lock(self) -> Any:
        return self._tqdm.get_lock()  # users may set another

    def is_drawing(self) -> bool:
        return bool(above.thread_lock(self.lock)._is_owned())

    def _bars(self) -> list[Any]:
        return [bar for bar in self._tqdm._instances if not bar.gui and hasattr(bar, "start_t") and above.is_terminal(bar.fp)]

    def has_own(self) -> bool:
        """Tell whether there is a bar of ours."""
        return any(getattr(bar, "is_text", False) for bar in self._bars())

    def close_gaps(self) -> None:
        """Move bars up into the places of users' own that have gone; the cursor may have moved too. The lock is held."""
        bars = sorted((bar for bar in self._bars() if bar.pos >= 0), key=lambda bar: bar.pos)
        if not bars or bars[-1].pos == len(bars) - 1 or not all(hasattr(bar, "start_t") for bar in self._tqdm._instances):
            return  # the last: a bar that is just being made has a place, and is not among these
        up = [bar for bar in bars if getattr(bar, "is_up", True)]
        for row in range(bars[-1].pos + 1):
            bars[-1].moveto(row)
            bars[-1].fp.write("\r" + " " * (bars[-1].ncols or 0) + "\r")
            bars[-1].moveto(-row)
        for place, bar in enumerate(bars):
            bar.pos = place
        self.put_back(up)

    def take_off(self) -> list[Any]:
        self.close_gaps()
        bars = [bar for bar in self._bars() if getattr(bar, "is_up", True)]
        for bar in bars:
            bar.clear(nolock=True)
        return bars

    def put_back(self, bars: list[Any]) -> None:
        for bar in bars:
            if not bar.disable:  # not closed
                bar.refresh(nolock=True)

    def move_up(self, gone: Any) -> None:
        """Close the gap that a bar has left: tqdm itself would leave the next one's old drawing there."""
        for bar in self._bars():
            if bar.pos > gone.pos >= 0:
                bar.pos -= 1


@lru_cache(maxsize=1)
def _screen() -> _Terminal:
    from tqdm.std import tqdm

    return _Terminal(tqdm)


@lru_cache(maxsize=8)
def _honest(wish: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Return a class of bars that are drawn as ours are; one without tqdm in it is returned as it is."""
    from tqdm import auto
    from tqdm.std import tqdm

    bar_class: Any = auto.tqdm if wish is None else wish
    if not isinstance(bar_class, type) or not issubclass(bar_class, tqdm):
        made: Callable[..., Any] = bar_class
        return made

    class HonestBar(bar_class):  # type: ignore[misc]
        """Rounds 99.6 % down, and starts no monitor thread: the painter redraws."""

        monitor_interval = 0

        fault: Exception | None = None
        is_up = False

        if bar_class.status_printer is tqdm.status_printer:
            status_printer = staticmethod(_line_printer)

        @property
        def is_text(self) -> bool:
            """Whether it is drawn as a line of text."""
            return not self.gui

        def display(self, *args: Any, **kwargs: Any) -> Any:
            # tqdm holds its lock here, and does not let it go when drawing fails.
            if self.is_text and above.is_mid_line():
                return False
            if self.is_text and above.is_terminal(self.fp):
                above.enter(_screen())  # first: who prints as soon as the bar is seen waits for the lock
                if not self.disable:  # it is not being closed
                    _screen().close_gaps()
            try:
                drawn = super().display(*args, **kwargs)
            except Exception as error:
                self.fault = error
                return None
            self.is_up = self.is_text
            return drawn

        def clear(self, *args: Any, **kwargs: Any) -> None:
            super().clear(*args, **kwargs)
            self.is_up = False

        @staticmethod
        def format_meter(n: float, total: float | None, *args: Any, **kwargs: Any) -> str:
            text: str = tqdm.format_meter(n, total, *args, **kwargs)
            return _EARLY.sub(" 99%", text) if total and n < total else text

    return HonestBar


def _line_printer(stream: Any) -> Callable[[str], None]:
    """Return what writes a bar over what stands in its line.

    tqdm wipes the rest of that with blanks. In a terminal that has become narrower they would reach into the next line.
    """
    if not above.is_terminal(stream) or sys.platform == "win32" or os.environ.get("TERM") == "dumb":
        from tqdm.std import tqdm

        return tqdm.status_printer(stream)  # type: ignore[no-any-return]

    def write(text: str) -> None:
        stream.write(f"\r{text}\x1b[K")
        stream.flush()

    return write
