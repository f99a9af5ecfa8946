"""Reads the results of a run in the caller's thread, which waits where there are none."""

from __future__ import annotations

import threading
import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any

from ._interrupts import LOOK_UP_SECONDS
from ._map import Nothing

if TYPE_CHECKING:
    from collections.abc import Generator

    from ._map import Chunk, Run


class Bell:
    """A lock that lanes and the backlog release, and one reader waits for. Held, but for a moment after a ring.

    A Condition would do, were it not for Ctrl-C: a signal in the middle of its Python code leaves it locked.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Let the reader go on, or its next wait end at once."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it has been rung already, and nobody was there any more

    def wait(self, deadline: float | None) -> None:
        """Wait for a ring, or for half a second: a Ctrl-C that comes just before the wait begins is acted on when it ends.

        Raises:
            TimeoutError: of concurrent.futures: the deadline is over.
        """
        seconds = LOOK_UP_SECONDS
        if deadline is not None:
            seconds = min(seconds, deadline - time.monotonic())
            if seconds <= 0:
                raise FutureTimeoutError
        self._lock.acquire(timeout=seconds)


def next_chunk(run: Run, bell: Bell, deadline: float | None) -> Chunk | None:
    """Return the next outcomes of a run as soon as they come; None: all have been read. Pulls what the window has room for.

    Raises:
        TimeoutError: of concurrent.futures: the deadline is over.
    """
    try:
        while True:
            run.top_up()
            found = run.poll()
            if found is Nothing.YET:
                bell.wait(deadline)
            elif found is Nothing.OVER:
                return None
            elif not isinstance(found, Nothing):
                return found
    except KeyboardInterrupt:
        # The run is over. What it has started would keep workers from what the user does next, in a notebook or a REPL.
        run.stop()
        raise


def results(run: Run, bell: Bell, deadline: float | None) -> Generator[Any, None, None]:
    """Return the iterator over the results of a run; it keeps no reference to them."""
    generator = _results(run, bell, deadline)
    next(generator)  # into its ``try``: from here on, dropping it is noticed
    return generator


def _results(run: Run, bell: Bell, deadline: float | None) -> Generator[Any, None, None]:
    is_read = False
    try:
        yield
        is_read = True
        while (chunk := next_chunk(run, bell, deadline)) is not None:
            _, _, values, pickled, error, _ = chunk
            if pickled or error is not None or run.is_read_one_by_one:
                outcomes = run.values(chunk)
                del chunk, values, error
                yield from outcomes
                del outcomes
            else:
                del chunk
                values.reverse()
                take = values.pop
                while values:
                    yield take()
        run.finish()
    finally:
        if is_read:
            run.leave()
        else:
            run.drop_unread()
