"""The end of the process, and its copies: what was asked for is run before the interpreter ends; a fork starts with nothing."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from . import _lane
from .progress.painter import painter


class State:
    """Whether the interpreter is ending: then no executor takes tasks any more."""

    exiting = False


def _shelf() -> Any:
    warm = sys.modules.get("poolbar.workers.warm")  # not there where no process was ever started
    return None if warm is None else warm.shelf


def _at_exit() -> None:
    State.exiting = True
    _lane.finish_all()
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
