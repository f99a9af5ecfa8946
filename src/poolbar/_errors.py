"""What users can catch. Each error carries its data as attributes, survives pickling, and has a parent from the stdlib."""

from __future__ import annotations

import pickle
from concurrent.futures.process import BrokenProcessPool
from concurrent.futures.thread import BrokenThreadPool
from typing import Any


class _Rebuilt:
    """Pickles an exception by class, arguments and attributes, whatever its ``__init__`` asks for."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)  # type: ignore[attr-defined]  # mixed into exceptions


def _rebuild(cls: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class SettingError(ValueError):
    """A keyword or a ``POOLBAR_...`` variable has a value that cannot be used."""


class NotPicklable(pickle.PicklingError, TypeError, AttributeError):
    """A function, an argument or a result does not pickle. Only its own task fails.

    The standard library lets through whichever of PicklingError, TypeError and AttributeError the pickling raised,
    so this error is all three.
    """


class NotUnpicklable(_Rebuilt, BrokenProcessPool):
    """A function, an argument or a result was sent but does not unpickle on the other side. Only its own task fails.

    Under the standard library this breaks the whole pool, so code written for it catches BrokenProcessPool.
    """


class RemoteError(_Rebuilt, BrokenProcessPool):
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


class WorkerCrashed(_Rebuilt, BrokenProcessPool):
    """The worker process died while it ran this task. Other tasks are not touched, and the executor stays usable.

    Attributes:
        pid: of the worker.
        exit_code: the process's exit code, negative for a signal, or None where it is not known.
        call: the call in short form.
    """

    def __init__(self, call: str, pid: int | None, exit_code: int | None, how: str) -> None:
        super().__init__(f"{call}: the worker process that ran it (pid {pid}) {how}")
        self.call = call
        self.pid = pid
        self.exit_code = exit_code


class BrokenExecutor(_Rebuilt, BrokenProcessPool, BrokenThreadPool):
    """The executor cannot run tasks any more: its initializer failed, or its workers do not start."""
