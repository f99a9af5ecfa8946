"""What users can catch. Each error carries its data as attributes, survives pickling, and has a parent from the stdlib."""

from __future__ import annotations

import pickle
import sys
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any


class Rebuilt:
    """Pickles an exception by class, arguments and attributes, whatever its ``__init__`` asks for."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)  # type: ignore[attr-defined]  # mixed into exceptions


def _rebuild(cls: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


def text_of(error: BaseException) -> str:
    """Return the type and text of an exception, whatever its ``__str__`` does."""
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException as problem:  # a user's __str__ may raise anything
        return f"{type(error).__name__} (its text could not be had: {type(problem).__name__})"


def set_cause(error: BaseException, cause: BaseException) -> None:
    """Set the cause of an exception, whatever its ``__setattr__`` does."""
    BaseException.__dict__["__cause__"].__set__(error, cause)


class SettingError(ValueError):
    """A keyword or a ``POOLBAR_...`` variable has a value that cannot be used."""


class BackendError(RuntimeError):
    """A backend cannot be used: it is not installed, its engine cannot be reached or has gone, or another version runs there."""


class NotPicklable(pickle.PicklingError, TypeError, AttributeError):
    """A function, an argument or a result does not pickle. Only its own task fails.

    The standard library lets through whichever of PicklingError, TypeError and AttributeError the pickling raised,
    so this error is all three.
    """


def times(tries: int) -> str:
    """Say how often a task was tried, if that was more than once."""
    return "" if tries == 1 else f" (tried {tries} times)"


if sys.version_info >= (3, 11):

    class _TimedOut(TimeoutError):
        """What code that waits for a future catches."""

else:

    class _TimedOut(FutureTimeoutError, TimeoutError):
        """What code that waits for a future catches, by either name."""


class TaskTimeout(Rebuilt, _TimedOut):
    """The task ran longer than ``task_timeout`` and was ended, its worker process with it. Other tasks are not touched.

    Attributes:
        call: the call in short form.
        seconds: what it was allowed.
        pid: of the worker.
        tries: how often the task was tried.
    """

    def __init__(self, call: str, seconds: float, pid: int | None, *, tries: int = 1) -> None:
        super().__init__(
            f"{call}: ended after {seconds:g} s, its task_timeout, with its worker process (pid {pid}){times(tries)}"
        )
        self.call = call
        self.seconds = seconds
        self.pid = pid
        self.tries = tries
