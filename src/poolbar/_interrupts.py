"""Ctrl-C at moments when it must not break in. Python runs signal handlers in the main thread alone, of the main interpreter."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOOK_UP_SECONDS = 0.5
"""A Ctrl-C that comes just before a wait begins is acted on when it ends: so no wait of the main thread is longer."""


def set_handler(number: int, handler: Any) -> bool:
    """Set the handler of a signal. False: it is not this thread that gets signals, but the main one of the main interpreter."""
    if threading.current_thread() is not threading.main_thread():
        return False
    try:
        signal.signal(number, handler)
    except ValueError:  # the main thread of another interpreter
        return False
    return True


@contextmanager
def interrupts_held_off() -> Iterator[list[Callable[[], Any]]]:
    """Let no Ctrl-C break in. Yields a list of those that came, each to be called to let it come after all."""
    came: list[Callable[[], Any]] = []
    handler = signal.getsignal(signal.SIGINT)
    if not (callable(handler) and set_handler(signal.SIGINT, lambda *arguments: came.append(partial(handler, *arguments)))):
        yield came
        return
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, handler)


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Have a Ctrl-C break in after what must be done whole: what is half started would be known to nobody."""
    with interrupts_held_off() as came:
        yield
    for interrupt in came[:1]:
        interrupt()
