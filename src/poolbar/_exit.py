"""The end of the process, and its copies: what was asked for is run before the interpreter ends; a fork starts with nothing."""

from __future__ import annotations

import os
import signal
import sys
import threading
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, Any

from . import _crew
from ._interrupts import interrupts_held_off, set_handler
from .progress.painter import painter

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


SIGTERM_SECONDS = 0.5
"""How long SIGTERM waits for the bars to be closed; the workers end with this process in any case."""


before_exit: list[Callable[[], None]] = []
"""What is called at the interpreter's exit before all that was asked for is run."""


class State:
    """Whether the interpreter is ending: then no executor takes tasks any more."""

    exiting = False
    known_to = 0  # the process whose multiprocessing knows of us


def join_before_children() -> None:
    """Let executors end before multiprocessing, at its exit, waits for this process's children: workers have workers too."""
    if State.known_to != os.getpid():
        State.known_to = os.getpid()
        Finalize(None, _at_exit, exitpriority=100)


def _shelf() -> Any:
    warm = sys.modules.get("poolbar.workers.warm")  # not there where no process was ever started
    return None if warm is None else warm.shelf


def _was_interrupted() -> bool:
    # The program ends by a Ctrl-C that nobody caught, perhaps just before or after a ``with`` block of ours.
    return getattr(sys, "last_type", None) is KeyboardInterrupt and not hasattr(sys, "ps1")


def _at_exit() -> None:
    State.exiting = True
    if _was_interrupted():
        with interrupts_held_off():
            _end_all(at_once=True)
        return
    try:
        _end_all(at_once=False)
    except KeyboardInterrupt:
        with interrupts_held_off():
            _end_all(at_once=True)
        raise


def _end_all(*, at_once: bool) -> None:
    if not at_once:
        for act in before_exit:
            act()
    _crew.finish_all(at_once=at_once)
    painter.rest()
    shelf = _shelf()
    if shelf is not None:
        shelf.clear(close=True)


def end_on_sigterm() -> None:
    """From now on, have SIGTERM end the workers and close the bars before it ends this process, as silently as without us.

    Only where nobody else has a say in what SIGTERM does, and from the main thread: Python sets handlers in no other.
    """
    if os.name == "posix" and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        set_handler(signal.SIGTERM, _on_sigterm)


def leave_sigterm() -> None:
    """Leave SIGTERM to the system again, if no executor is at work."""
    if threading.current_thread() is threading.main_thread() and not _crew.any_at_work():
        _give_sigterm_back()


def _give_sigterm_back() -> None:
    if os.name == "posix" and signal.getsignal(signal.SIGTERM) is _on_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _on_sigterm(*_: Any) -> None:
    # The main thread, in which this runs, may hold any lock: another one does the work, and is not waited for in vain. Until it
    # is done the main thread must not go on, or it would tell of tasks whose workers were killed.
    ending = threading.Thread(target=_crew.drop_all, name="poolbar-sigterm", daemon=True)
    ending.start()
    ending.join(SIGTERM_SECONDS)
    # Also where another handler has called this one, as the one that was there before it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(128 + signal.SIGTERM)  # only for process 1 of a container: the system spares it that signal, its workers are gone


def step_aside_for_tracebacks() -> None:
    """From now on, have bars leave the screen to the traceback that ends the program, unless somebody else shows it."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _on_uncaught


def _on_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    is_interactive = sys.flags.interactive or hasattr(sys, "ps1")  # the next statement may use the executor again
    if issubclass(kind, KeyboardInterrupt) and not is_interactive:
        with interrupts_held_off():
            _crew.finish_all(at_once=True)
    else:
        painter.step_aside()  # what was asked for is still run at the exit, and shown
    sys.__excepthook__(kind, error, trace)


def _after_fork_in_child() -> None:
    _give_sigterm_back()
    _crew.forget_all()
    painter.forget()
    shelf = _shelf()
    if shelf is not None:
        shelf.forget()


# As concurrent.futures does: before threads that are not daemons are waited for, which atexit comes after.
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
