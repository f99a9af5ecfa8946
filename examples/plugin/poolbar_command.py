"""A plug-in for poolbar: tasks run at the other end of a command that starts Python, on another host or in a container.

    POOLBAR_BACKEND=command POOLBAR_ADDRESS="ssh host python3" python script.py

Python there needs poolbar and this module. A backend need not have more than this one: ``submit``, ``slots`` and ``close``, and a
function that opens it, which pyproject.toml names.
"""

from __future__ import annotations

import os
import pickle
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from poolbar.backends import Backend, BackendError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future


def connect(address: str | None) -> CommandBackend:
    """Return the backend: what the entry point calls.

    Args:
        address: a command that starts Python; None: this Python.

    Raises:
        BackendError: it does not start one that has this module.
    """
    backend = CommandBackend(address or shlex.quote(sys.executable))
    try:
        backend.submit(abs, -1).result(timeout=60)
    except (OSError, EOFError, TimeoutError) as error:
        backend.close()
        raise BackendError(f"{address} starts no Python that can run tasks: {error}") from error
    return backend


class CommandBackend(Backend):
    """Has a Python for each CPU of this machine.

    Args:
        command: that starts one.
    """

    def __init__(self, command: str) -> None:
        self.name = f"the command {command!r}"
        self._command = [*shlex.split(command), "-m", "poolbar_command"]
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._threads = ThreadPoolExecutor(self.slots(), thread_name_prefix="poolbar-command")

    def submit(self, call: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Have a thread send it to a Python that is idle, or a new one."""
        return self._threads.submit(self._run, pickle.dumps((call, args)))

    def _run(self, data: bytes) -> Any:
        try:
            process = self._idle.get_nowait()
        except Empty:
            process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            process.stdin.write(data)
            process.stdin.flush()
            is_value, outcome = pickle.load(process.stdout)
        except BaseException:  # poolbar lets the batch's tasks fail, or tries them again
            process.kill()
            process.communicate()
            raise
        self._idle.put(process)
        if is_value:
            return outcome
        raise outcome

    def slots(self) -> int:
        """Return how many batches run at a time."""
        return os.cpu_count() or 1

    def close(self) -> None:
        """Let the threads and processes end: none has anything to do."""
        self._threads.shutdown()
        while not self._idle.empty():
            self._idle.get().communicate()


def serve() -> None:
    """Run calls that come by stdin, at the other end."""
    to_parent = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is written to stdout is not for the parent
    while sys.stdin.buffer.peek(1):
        outcome: tuple[bool, Any]
        try:
            call, args = pickle.load(sys.stdin.buffer)
            outcome = True, call(*args)
        except Exception as error:
            outcome = False, error
        pickle.dump(outcome, to_parent)
        to_parent.flush()


if __name__ == "__main__":
    serve()
