"""A process that has imported what is to be preloaded, and of which workers are forks.

It runs nothing of the user's but those imports, never ``__main__``, and no thread of ours. The parent's orders come through a
socket, one byte each with the descriptors of a worker. How a worker ends only its own parent, this process, learns: it tells
through a pipe for each. When the parent wants no more workers the socket ends, and this process when the last of its workers
has; when the parent is gone, at once.
"""

from __future__ import annotations

import gc
import marshal
import os
import select
import signal
import socket
import struct
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from . import boot as worker
from .channel import End
from .lifeline import end_with, ignore_interrupts

if TYPE_CHECKING:
    from typing import BinaryIO

TOLD = struct.Struct("<q")
"""What is told of a worker: first its pid, then, when it has ended, its exit code, negative for a signal."""

MOST_DESCRIPTORS = 250
"""In one message; the system's limit is 253."""


def main(boot: BinaryIO, descriptors: list[int]) -> None:
    """Run a template, and, in its forks, workers.

    Args:
        boot: what the parent writes: sys.argv, and the names of modules.
        descriptors: that of ``boot``, the socket, and the end of a pipe that ends with the parent.
    """
    ignore_interrupts()
    _, orders, life = descriptors
    end_with(End(life))
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    sys.argv[:], names = marshal.load(boot)
    boot.close()
    for name in names:
        try:
            import_module(name)
        except BaseException:
            break  # a worker tries again, and its parent tells of it
    gc.freeze()
    born = _Births(socket.socket(fileno=orders)).serve()
    if born is not None:
        os.close(life)
        begin = open(born[0], "rb")  # noqa: SIM115  # the worker closes it
        sys.path[:] = marshal.load(begin)
        directory, environment = marshal.load(begin)
        _move(directory, environment)
        worker.main(begin, born)


def _move(directory: str, environment: dict[str, str]) -> None:
    # The parent may have changed these since the template was made.
    if environment != dict(os.environ):
        os.environ.clear()
        os.environ.update(environment)
    if directory:
        os.chdir(directory)


class _Births:
    """The forks, and the pipe for each that lives."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._tells: dict[int, int] = {}  # by pid
        self._deaths, self._deaths_in = os.pipe()  # gets a byte with each SIGCHLD, which ends the wait
        os.set_blocking(self._deaths_in, False)

    def serve(self) -> list[int] | None:
        """Fork when the parent says so. Returns in each fork, with its descriptors; and None here, when all is done."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._deaths_in, warn_on_full_buffer=False)
        news = select.poll()
        news.register(self._orders, select.POLLIN)
        news.register(self._deaths, select.POLLIN)
        is_wanted = True
        while is_wanted or self._tells:
            for descriptor, _ in news.poll():
                if descriptor == self._deaths:
                    os.read(self._deaths, 4096)
                    self._bury()
                    continue
                order, passed, _, _ = socket.recv_fds(self._orders, 1, MOST_DESCRIPTORS)
                if order:
                    born = self._fork(*passed)
                    if born is not None:
                        return born
                else:
                    is_wanted = False
                    news.unregister(self._orders)
        return None

    def _fork(self, tell: int, *passed: int) -> list[int] | None:
        try:
            pid = os.fork()
        except OSError:
            os.close(tell)  # that is how the parent learns
            pid = -1
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._orders.close()
            for descriptor in (tell, self._deaths, self._deaths_in, *self._tells.values()):
                os.close(descriptor)
            return list(passed)
        for descriptor in passed:
            os.close(descriptor)
        if pid > 0:
            self._tells[pid] = tell
            self._tell(tell, pid)
        return None

    def _bury(self) -> None:
        while self._tells:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            tell = self._tells.pop(pid, None)
            if tell is not None:  # else an imported module has started it
                self._tell(tell, os.waitstatus_to_exitcode(status))
                os.close(tell)

    @staticmethod
    def _tell(pipe: int, number: int) -> None:
        try:
            os.write(pipe, TOLD.pack(number))
        except BrokenPipeError:
            pass  # nobody wants to know any more
