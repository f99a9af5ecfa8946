"""The parent's side of a template: a process that has imported what is to be preloaded, and of which workers are forks.

A template is owned by the plan whose workers it bears; between two executors it lies on the shelf, as idle workers do.
"""

from __future__ import annotations

import marshal
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from ..inside.channel import OwnEnd, pipe
from ..inside.template import TOLD
from . import starting
from .own import new_python, path_here, write

if TYPE_CHECKING:
    from collections.abc import Sequence

LOST = 255
"""The exit code of a worker whose template is gone, and with it who could know: that of the standard library's forkserver."""

END_SECONDS = 5.0


class Birth:
    """A worker that a template bears, with what subprocess.Popen has for one.

    ``_lock`` is held for moments, by whoever looks, and by the lane that waits for the pid; nobody else knows of the worker then.
    """

    def __init__(self, template: Template, told: OwnEnd) -> None:
        self.pid: int | None = None
        self.returncode: int | None = None
        self._template = template
        self._told = told
        self._lock = threading.Lock()

    def await_pid(self) -> int:
        """Wait until it is there; return its pid. Raises OSError: it will never be, the template is gone."""
        pid = self._hear()
        if pid is None:
            self._end(LOST)
            raise OSError("the process that preloads modules (preload, POOLBAR_PRELOAD) has ended")
        self.pid = pid
        return pid

    def _hear(self) -> int | None:
        data = os.read(self._told.fileno(), TOLD.size)
        return TOLD.unpack(data)[0] if data else None

    def _end(self, code: int) -> None:
        self.returncode = code
        self._told.close()
        self._template.buried(self)

    def poll(self) -> int | None:
        """Return the exit code; None: it runs."""
        with self._lock:
            if self.returncode is None and self.pid is not None and self._is_told(0):
                code = self._hear()
                self._end(LOST if code is None else code)
            return self.returncode

    def _is_told(self, seconds: float | None) -> bool:
        news = select.poll()
        news.register(self._told, select.POLLIN)
        return bool(news.poll(None if seconds is None else 1e3 * seconds))

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end; return the exit code, or None."""
        if self.returncode is None and self.pid is not None:
            self._is_told(timeout)
        return self.poll()

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it is there."""
        if self.poll() is None and self.pid is not None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass  # it ends just now

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Template:
    """A template. ``starting.starting`` is held while it is made and asked for workers.

    Args:
        modules: names of what it imports.
        environment: its own, with the limits for numeric libraries, which read them when they are loaded.
    """

    def __init__(self, modules: Sequence[str], environment: dict[str, str]) -> None:
        orders, theirs = socket.socketpair()
        self._orders = orders
        starting.parent_ends.add(orders)
        boot, boot_in = pipe()
        self._lock = threading.Lock()  # held for moments, by who adds, buries, dismisses or waits
        self._born: set[Birth] = set()
        self._is_dismissed = False
        try:
            passed = [boot.fileno(), theirs.fileno(), starting.life().fileno()]
            self._run = new_python("template", passed, environment)
        finally:
            theirs.close()
            boot.close()
        write(boot_in, marshal.dumps(path_here()) + marshal.dumps((list(map(str, sys.argv)), list(modules))))

    def is_alive(self) -> bool:
        """Tell whether it can bear workers."""
        return self._run.poll() is None

    def bear(self, passed: list[int]) -> Birth:
        """Have a worker made that gets these descriptors. Raises OSError: the template is gone."""
        told, told_in = pipe()
        try:
            socket.send_fds(self._orders, [b"+"], [told_in.fileno(), *passed])
        finally:
            told_in.close()
        birth = Birth(self, told)
        with self._lock:
            self._born.add(birth)
        return birth

    def buried(self, birth: Birth) -> None:
        """Hear that a worker has ended."""
        with self._lock:
            self._born.discard(birth)
            is_last = self._is_dismissed and not self._born
        if is_last:
            self._await_end()

    def retire(self) -> None:
        """End it, and wait for that, unless it has workers."""
        self.dismiss()
        self.await_end()

    def dismiss(self) -> None:
        """Tell it to end, which it does with the last of its workers."""
        with self._lock:
            self._is_dismissed = True
        self._orders.close()

    def await_end(self) -> None:
        """Wait until it has ended, which was told to; unless it has workers: then who buries the last of these waits."""
        with self._lock:
            is_last = not self._born
        if is_last:
            self._await_end()

    def _await_end(self) -> None:
        try:
            self._run.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._run.kill()  # a module that it imports does not let it go
            self._run.wait()
