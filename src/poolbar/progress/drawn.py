"""Bars as they are drawn: tqdm's, in a terminal or a notebook. The only module that imports tqdm."""

from __future__ import annotations

import os
import re
import sys
from contextlib import nullcontext
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from . import above
from .place import cell, is_terminal

if TYPE_CHECKING:
    from collections.abc import Callable

_EARLY = re.compile(r"100%(?=\||<bar/>)")


def drawn(make: Callable[..., Any], seconds: float, **options: Any) -> Any:
    """Return a bar that began some seconds ago."""
    bar = make(**{"delay": 1e-9, **options})  # the delay keeps it from drawing a 0 first
    if not getattr(bar, "disable", False) and hasattr(bar, "start_t"):
        bar.start_t -= seconds
        bar.last_print_t = bar.start_t
    return bar


def close(bar: Any) -> None:
    """Close a bar; others in the terminal move into its place."""
    if not getattr(bar, "is_in_terminal", False) or bar.disable:
        bar.close()
        return
    with above.between_lines(bar.get_lock()):
        if bar.leave:
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
        lock = above.thread_lock(self.lock)
        ask = getattr(lock, "_is_owned", None) or getattr(getattr(lock, "_semlock", None), "_is_mine", None)
        return ask is None or bool(ask())  # a lock that does not tell may be this thread's

    def _bars(self) -> list[Any]:
        # What a bar has last is asked for first: one that another thread is making has nothing yet.
        return [bar for bar in self._tqdm._instances if hasattr(bar, "start_t") and not bar.gui and is_terminal(bar.fp)]

    def has_own(self) -> bool:
        """Tell whether there is a bar of ours."""
        return any(getattr(bar, "is_in_terminal", False) for bar in self._bars())

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


def bar_class(wish: Callable[..., Any] | None) -> Callable[..., Any]:
    """Return a class of bars that are drawn as ours are. One without tqdm in it is returned as it is.

    Args:
        wish: a class with tqdm's interface; None: the one that fits the place.
    """
    from tqdm.std import tqdm

    base = _fitting() if wish is None else wish
    return _honest(base) if isinstance(base, type) and issubclass(base, tqdm) else base


def _fitting() -> Any:
    if cell() is not None:
        try:
            import ipywidgets  # noqa: F401  # else tqdm would warn, and draw text
        except ImportError:
            pass
        else:
            from tqdm.notebook import tqdm as widget

            return widget
    from tqdm.std import tqdm

    return tqdm


@lru_cache(maxsize=8)
def _honest(base: Any) -> Callable[..., Any]:
    from tqdm.std import tqdm

    class HonestBar(base):  # type: ignore[misc]
        """Rounds 99.6 % down, and starts no monitor thread: the painter redraws."""

        monitor_interval = 0

        fault: Exception | None = None
        is_up = False
        dynamic_ncols: Any = None  # a bar that is turned off has none of its own

        if base.status_printer is tqdm.status_printer:
            status_printer = staticmethod(_line_printer)

            def __init__(self, **options: Any) -> None:
                super().__init__(**{"file": above.Console() if is_terminal(sys.stderr) else None, **options})
                if self.dynamic_ncols:
                    self.dynamic_ncols = partial(_shape, self.dynamic_ncols)

        @property
        def is_in_terminal(self) -> bool:
            """Whether it is drawn as a line of a terminal."""
            return not self.gui and is_terminal(self.fp)

        def display(self, *args: Any, **kwargs: Any) -> Any:
            # tqdm holds its lock here, and does not let it go when drawing fails.
            if self.is_in_terminal:
                if above.is_mid_line() and not (self.disable and self.leave):  # but the end of a bar is drawn
                    return False
                above.enter(_screen())  # first: who prints as soon as the bar is seen waits for the lock
                if not self.disable:  # it is not being closed
                    _screen().close_gaps()
            try:
                if self.is_in_terminal and not args and kwargs.get("msg") is None:
                    kwargs["msg"] = str(self)  # it may fail: before the cursor is elsewhere
                drawn = super().display(*args, **kwargs)
            except Exception as error:
                self.fault = error
                return None
            self.is_up = True
            return drawn

        def clear(self, nolock: bool = False) -> None:
            if self.disable or not self.is_in_terminal:
                super().clear(nolock)
                self.is_up = False
                return
            with nullcontext() if nolock else self.get_lock():
                if above.is_mid_line():  # it is off, and stays so; the line is somebody's
                    above.leave_off(self)
                elif self.is_up:
                    super().clear(nolock=True)
                self.is_up = False

        @staticmethod
        def format_meter(n: float, total: float | None, *args: Any, **kwargs: Any) -> str:
            text: str = tqdm.format_meter(n, total, *args, **kwargs)
            return _EARLY.sub(" 99%", text) if total and n < total else text

    return HonestBar


def _shape(ask: Callable[[Any], tuple[int | None, int | None]], stream: Any) -> tuple[int | None, int | None]:
    """Return the columns and rows of a terminal for tqdm; None for those that it does not tell, as under ``script`` or docker."""
    columns, rows = ask(stream)
    return columns if columns and columns > 0 else None, rows if rows and rows > 0 else None


def _line_printer(stream: Any) -> Callable[[str], None]:
    """Return what writes a bar over what stands in its line.

    tqdm wipes the rest of that with blanks. In a terminal that has become narrower they would reach into the next line.
    """
    if not is_terminal(stream) or sys.platform == "win32" or os.environ.get("TERM") == "dumb":
        from tqdm.std import tqdm

        return tqdm.status_printer(stream)  # type: ignore[no-any-return]

    def write(text: str) -> None:
        stream.write(f"\r{text}\x1b[K")
        stream.flush()

    return write
