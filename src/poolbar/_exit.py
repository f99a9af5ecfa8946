"""The end of the process, and its copies: what was asked for is run before the interpreter ends; a fork starts with nothing."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, Any

from . import _lane
from .progress.painter import painter

if TYPE_CHECKING:
    from collections.abc import Iterator


class State:
    """Whether the interpreter is ending: then no executor takes tasks any more."""

    exiting = False
    known_to = 0  # the process whose multiprocessing knows of us


def join_before_children() -> None:
    """Let executors end before multiprocessing, at its exit, waits for this process's children: workers have workers too."""
    if State.known_to != os.getpid():
        State.known_to = os.getpid()
        Finalize(None, _at_exit, exitpriority=100)


@contextmanager
def interrupts_held_off() -> Iterator[None]:
    """Let no second Ctrl-C break into what ends the run."""
    if threading.current_thread() is not threading.main_thread() or not callable(signal.getsignal(signal.SIGINT)):
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _shelf() -> Any:
    warm = sys.modules.get("poolbar.workers.warm")  # not there where no process was ever started
    return None if warm is None else warm.shelf


def _was_interrupted() -> bool:
    # The program ends by a Ctrl-C that nobody caught, perhaps just before or after a ``with`` block of ours.
    return getattr(sys, "last_type", None) is KeyboardInterrupt and not hasattr(sys, "ps1")


def _at_exit() -> None:
    State.exiting = True
    try:
        _lane.finish_all(at_once=_was_interrupted())
    except KeyboardInterrupt:
        _lane.finish_all(at_once=True)
        raise
    painter.rest()
    shelf = _shelf()
    if shelf is not None:
        shelf.clear(close=True)


def _after_fork_in_child() -> None:
    _lane.forget_all()
    painter.forget()
    shelf = _shelf()
    if shelf is not None:
        shelf.forget()


# As concurrent.futures does: before threads that are not daemons are waited for, which atexit comes after.
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
