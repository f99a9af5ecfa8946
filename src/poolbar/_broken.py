"""What users catch as a BrokenProcessPool. Loaded with the executors, not when the first one is made.

The standard library's class is in a module that takes 5 ms, and that cannot be imported any more when the interpreter ends.
"""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool
from concurrent.futures.thread import BrokenThreadPool

from ._errors import Rebuilt, times


class NotUnpicklable(Rebuilt, BrokenProcessPool):
    """A function, an argument or a result was sent but does not unpickle on the other side. Only its own task fails.

    Under the standard library this breaks the whole pool, so code written for it catches BrokenProcessPool.
    """


class RemoteError(Rebuilt, BrokenProcessPool):
    """Stands in for an exception of a task that did not survive the trip to the parent.

    Attributes:
        type_name: qualified name of the exception's class.
        text: ``str()`` of the exception.
        traceback: the traceback in the worker, as text.
    """

    def __init__(self, type_name: str, text: str, traceback: str, reason: str) -> None:
        super().__init__(f"{type_name}: {text}  [shown by a stand-in: {reason}]")
        self.type_name = type_name
        self.text = text
        self.traceback = traceback


class WorkerCrashed(Rebuilt, BrokenProcessPool):
    """The worker process died while it ran this task. Other tasks are not touched, and the executor stays usable.

    Attributes:
        call: the call in short form.
        pid: of the worker.
        exit_code: the process's exit code, negative for a signal, or None where it is not known.
        tries: how often the task was tried.
        native_traceback: what faulthandler wrote as the process crashed, as text; empty where it wrote nothing.
    """

    def __init__(self, text: str, call: str, pid: int | None, exit_code: int | None, tries: int, native_traceback: str) -> None:
        super().__init__(text + times(tries))
        self.call = call
        self.pid = pid
        self.exit_code = exit_code
        self.tries = tries
        self.native_traceback = native_traceback


class BrokenExecutor(Rebuilt, BrokenProcessPool, BrokenThreadPool):
    """The executor cannot run tasks any more: its initializer failed, or its workers do not start."""
