"""What all starts of worker processes share: one at a time, safe against forks and Ctrl-C, and bound to this process's life."""

from __future__ import annotations

import multiprocessing.process
import os
import signal
import threading
import weakref
from typing import TYPE_CHECKING, Any

from ..inside.channel import pipe

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess
    from socket import socket
    from subprocess import Popen

    from ..inside.channel import OwnEnd

starting = threading.RLock()
"""Held while a process is started (about 10 ms), by lanes and by callers of submit. A forked worker must not inherit the
far ends of another's pipes, and multiprocessing's list of children is not made for several threads. A fork of the user's
waits for it too: its child must not find the locks of multiprocessing's trackers held. Reentrant: workers may fork."""

parent_ends: weakref.WeakSet[Connection[Any, Any] | OwnEnd | socket] = weakref.WeakSet()
"""Were these held open in a fork of this process, a worker would not see its parent die."""

processes: weakref.WeakSet[BaseProcess] = weakref.WeakSet()

interpreters: weakref.WeakSet[Popen[bytes]] = weakref.WeakSet()
"""What runs in our workers' processes and templates, as subprocess knows it."""

_life: list[Any] = []


def life() -> Any:
    """Return the reading end of a pipe that ends with this process: nothing is ever written to it. ``starting`` is held."""
    if not _life:
        _life.extend(pipe())
        parent_ends.add(_life[1])
    return _life[0]


def _hold_starts() -> None:
    starting.acquire()


def _let_starts_go() -> None:
    starting.release()


def _after_fork_in_child() -> None:
    global starting
    starting = threading.RLock()
    for end in list(parent_ends):
        end.close()
    _life.clear()
    for run in list(interpreters):
        run.returncode = 0  # they are the parent's: this process must not warn that they still run, nor wait for them
    # At this child's exit multiprocessing would join its parent's children, and fail.
    multiprocessing.process._children.difference_update(processes)  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_hold_starts,
        after_in_parent=_let_starts_go,
        after_in_child=_after_fork_in_child,
    )


class interrupts_blocked:  # noqa: N801  # used as a function
    """Blocks SIGINT in this thread, so that a process started here is born with it blocked and never dies of a Ctrl-C."""

    def __enter__(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            self._before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    def __exit__(self, *_: object) -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
