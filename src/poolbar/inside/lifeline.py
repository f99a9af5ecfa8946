"""What binds a worker process to its parent: it ends with it, and by nothing that is meant for it alone."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from .channel import End


def ignore_interrupts() -> None:
    """Ignore SIGINT from now on."""
    # A terminal and Jupyter signal the whole process group; Ctrl-C is the parent's to act on. The parent started this
    # process with SIGINT blocked, so there was no moment before this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def end_with(life: Connection[Any, Any] | End) -> None:
    """Have the kernel kill this process when the far end of ``life`` is closed: when the parent is gone, whatever killed it.

    The control thread does the same, but not while C code holds the GIL. Linux sends a signal of choice to the owner of a
    descriptor on which something happens (fcntl(2): F_SETSIG, F_SETOWN, O_ASYNC). Unlike PR_SET_PDEATHSIG it does not depend on
    which thread of the parent started this process, and needs no ctypes.
    """
    if sys.platform != "linux":
        return
    import fcntl
    import select

    try:
        # Opened anew: owner and signal belong to the open file, which all workers would share.
        descriptor = os.open(f"/proc/self/fd/{life.fileno()}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return  # no /proc
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    ended = select.poll()
    ended.register(descriptor, select.POLLIN)
    if ended.poll(0):
        os._exit(1)  # it was gone before


def let_go(*pipes: Connection[Any, Any] | End) -> None:
    """In a child that a task forks: it must not hold these pipes open when the worker dies, nor leave a traceback for it."""
    import faulthandler

    for pipe in pipes:
        pipe.close()
    faulthandler.disable()
