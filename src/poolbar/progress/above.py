"""Keeps what this process writes to a terminal above the bars there.

While there are bars, ``write`` of sys.stdout and sys.stderr is ours, on the very objects that logging handlers and others hold:
it takes the bars off the screen, writes, and puts them back when the line is complete. In the middle of a line they stay off.
So they do while ``input`` waits for its line, which a person types behind the prompt.

All of that happens with the lock held that tqdm holds while it draws, ours or a user's own bar. So who draws is told by that
lock from who writes. No code waits under it for anything but the terminal.
"""

from __future__ import annotations

import builtins
import io
import os
import sys
import threading
from contextlib import contextmanager
from functools import wraps
from threading import get_ident
from time import monotonic, sleep
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any, Protocol

from .place import is_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


PIECES_SECONDS = 0.02
"""How long others wait for the rest of a line: ``print`` writes one in pieces."""


class Screen(Protocol):
    """The bars in a terminal."""

    @property
    def lock(self) -> Any:
        """What is held by who draws; reentrant."""

    def is_drawing(self) -> bool:
        """Tell whether this thread holds the lock."""

    def take_off(self) -> list[Any]:
        """Take all bars off the screen; return those that were there. The lock is held."""

    def put_back(self, bars: list[Any]) -> None:
        """Draw these bars again, if they are still wanted. The lock is held."""


class _Streams:
    """What is replaced, and what is off the screen; guarded by the screen's lock."""

    screen: Screen | None = None
    replaced: list[Any] = []  # noqa: RUF012  # there is one of these
    off: list[Any] = []  # noqa: RUF012
    unfinished: Any = None  # the stream in the middle of whose line the cursor stands
    writer = 0  # the thread that has begun that line, and when
    begun_at = 0.0
    prompts = 0  # that wait for a line to be typed


def enter(screen: Screen) -> None:
    """Have writes go above the bars from now on. The lock is held."""
    _Streams.screen = screen
    for stream in dict.fromkeys((sys.stdout, sys.stderr)):
        if getattr(getattr(stream, "write", None), "is_above", False):
            continue
        if is_terminal(stream):  # also again: IPython replaces it for each cell
            ours = _writer(screen, stream, stream.write)
            before = vars(stream).get("write") if hasattr(stream, "__dict__") else None
            try:
                stream.write = ours  # type: ignore[method-assign]
            except AttributeError:
                continue  # it has a write that cannot be replaced
            _Streams.replaced.append((stream, ours, before))
            _let_writes_end(stream)


def _let_writes_end(stream: Any) -> None:
    """Wait for what another thread writes by the stream's own ``write``: behind a bar it would stand in the bar's line."""
    buffer = getattr(stream, "buffer", None)
    if isinstance(buffer, io.BufferedWriter):
        # It is locked while it writes. The stream itself is not flushed: it may hold the first pieces of a line.
        _flush(buffer)


def leave() -> None:
    """Leave the streams alone: there is no bar any more. The lock is held."""
    _Streams.screen = None
    _Streams.off.clear()
    _Streams.unfinished = None
    while _Streams.replaced:
        stream, ours, before = _Streams.replaced.pop()
        if vars(stream).get("write") is not ours:
            continue  # somebody else has replaced it since
        if before is None:
            del stream.write
        else:
            stream.write = before


def forget() -> None:
    """In a forked child: the bars are its parent's, and the lock may be held by a thread that is not here."""
    leave()
    _Streams.prompts = 0
    tqdm: Any = sys.modules.get("tqdm.std")
    default = getattr(tqdm, "TqdmDefaultWriteLock", None)
    if default is not None:
        default.th_lock = threading.RLock()
        if isinstance(getattr(tqdm.tqdm, "_lock", None), default):
            tqdm.tqdm.set_lock(default())


def thread_lock(lock: Any) -> Any:
    """Return the part of tqdm's lock that is for this process; the other part is for all, and after a fork too."""
    return getattr(lock, "th_lock", lock)


DRAWING_SECONDS = 0.5
"""A fork waits so long for another thread to end a drawing, which may hold locks of the streams too."""


def _hold_drawings() -> None:
    tqdm = sys.modules.get("tqdm.std")
    # It has its lock from the first bar on; while that is made, the part for this process is held already.
    lock = getattr(getattr(tqdm, "tqdm", None), "_lock", None) or getattr(tqdm, "TqdmDefaultWriteLock", None)
    held = None if lock is None else thread_lock(lock)
    if not hasattr(held, "_is_owned"):
        held = None  # of multiprocessing's, set by the user: both sides would let it go
    _held.append(held if held is not None and held.acquire(timeout=DRAWING_SECONDS) else None)


def _let_drawings_go() -> None:
    held = _held.pop()
    if held is not None:
        held.release()


_held: list[Any] = []  # one for each fork that is under way

if hasattr(os, "register_at_fork"):
    # Hooks before a fork run last in, first out. This one comes early, so that it runs late.
    os.register_at_fork(before=_hold_drawings, after_in_parent=_let_drawings_go, after_in_child=_let_drawings_go)


def is_mid_line() -> bool:
    """Tell whether somebody has written a part of a line, or types one: then no bar may be drawn."""
    return _Streams.unfinished is not None or _Streams.prompts > 0


def end_line() -> None:
    """Complete the line in whose middle the cursor stands. The lock is held."""
    stream, _Streams.unfinished = _Streams.unfinished or (sys.stdout if _Streams.prompts else None), None
    if stream is not None:
        stream.write("\n")
        stream.flush()


def clear() -> None:
    """Take all bars off the screen, until they are drawn the next time."""
    screen = _Streams.screen
    if screen is not None:
        with screen.lock:
            if is_mid_line():
                _Streams.off.clear()
            else:
                screen.take_off()


def leave_off(gone: Any) -> None:
    """Do not put a bar back that is off the screen. The lock is held."""
    _Streams.off[:] = [bar for bar in _Streams.off if bar is not gone]


@contextmanager
def between_lines(lock: Any) -> Iterator[None]:
    """Hold the screen's lock, and not just when another thread has written a part of a line and is about to write the rest."""
    lock.acquire()
    try:
        while _Streams.unfinished is not None and _Streams.writer != get_ident():
            if monotonic() >= _Streams.begun_at + PIECES_SECONDS:
                break
            lock.release()
            try:
                sleep(0.001)
            finally:
                lock.acquire()
        yield
    finally:
        lock.release()


def _end_of_line(screen: Screen) -> None:
    _Streams.unfinished = None
    if not is_mid_line():
        bars, _Streams.off = _Streams.off, []
        screen.put_back(bars)


def watch_input() -> None:
    """From now on, have no bar drawn while ``input`` waits. It may be called before there is a bar."""
    # Somebody else's, such as a notebook's or an IDE's, has no terminal to read from.
    if isinstance(builtins.input, BuiltinFunctionType) and is_terminal(sys.stderr):
        builtins.input = _reader(builtins.input)


def _reader(read: Callable[..., str]) -> Callable[..., str]:
    @wraps(read)
    def read_line(*prompt: object) -> str:
        if not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
            return read(*prompt)  # the prompt is written as any other text
        if (screen := _Streams.screen) is not None:
            with screen.lock:
                _Streams.off += [] if is_mid_line() else screen.take_off()
                _Streams.prompts += 1
        else:
            _Streams.prompts += 1
        line = None
        try:
            line = read(*prompt)
        finally:
            _Streams.prompts -= 1
            if (screen := _Streams.screen) is not None:
                with screen.lock:
                    if line is not None:
                        _end_of_line(screen)
                    else:
                        _Streams.unfinished = sys.stdout  # Ctrl-C or Ctrl-D end no line
        return line

    return read_line


def _flush(stream: Any) -> None:
    try:
        stream.flush()
    except (AttributeError, OSError, ValueError):  # it has none; what is wrong with it, its next use will tell
        pass
    except RuntimeError:  # this very thread is in the middle of a write, from which a signal or the collector has come here
        pass


def _writer(screen: Screen, stream: Any, write: Callable[[str], int]) -> Callable[[str], int]:
    def write_above(text: str) -> int:
        if screen.is_drawing() or not isinstance(text, str):
            return write(text)
        with between_lines(screen.lock):
            if _Streams.screen is not screen or not text:
                return write(text)
            if not is_mid_line():  # then they are off, and to clear them again would clear the line
                _Streams.off += screen.take_off()
            try:
                return write(text)
            finally:
                if text.endswith("\n"):
                    _end_of_line(screen)
                else:
                    if _Streams.unfinished is None:
                        _Streams.writer, _Streams.begun_at = get_ident(), monotonic()
                    _Streams.unfinished = stream
                    _flush(stream)  # else it would come later, when there is a bar again

    write_above.is_above = True  # type: ignore[attr-defined]
    return write_above


class Console:
    """sys.stderr as it is at each call: tqdm keeps the ``write`` that it finds, which in IPython is one cell's."""

    def __init__(self) -> None:
        self._stream = sys.stderr

    def write(self, text: str) -> int:
        """Write."""
        return self._stream.write(text)

    def __eq__(self, other: object) -> bool:
        return other is self or other is self._stream  # tqdm.write takes off the bars of its own stream

    def __hash__(self) -> int:
        return hash(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
