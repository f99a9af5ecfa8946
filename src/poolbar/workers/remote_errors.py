"""What a task's error becomes in the parent: the exception itself, or one that stands for it."""

from __future__ import annotations

import os
import signal
from concurrent.futures.process import _RemoteTraceback
from typing import NamedTuple

from .. import _messages as messages
from .._broken import NotUnpicklable, RemoteError, WorkerCrashed
from .._errors import NotPicklable, set_cause, text_of
from ..inside.pickling import loads

_OUR_FRAME = os.path.join("poolbar", "inside", "")


def not_picklable(name: str, error: BaseException) -> BaseException:
    """Return the error for arguments that do not pickle."""
    if not isinstance(error, Exception):
        return error
    made = NotPicklable(f"the arguments of {name} cannot be pickled: {text_of(error)}")
    made.__cause__ = error
    return made


def did_not_unpickle_here(name: str, error: BaseException) -> NotUnpicklable:
    """Return the error for arguments that were pickled and do not unpickle, in this process."""
    made = NotUnpicklable(f"the arguments of {name} do not unpickle: {text_of(error)}")
    made.__cause__ = error
    return made


def rebuilt(failed: messages.Failed, name: str) -> BaseException:
    """Return the exception that a task ended with, its remote traceback as its cause."""
    error: BaseException | None = None
    reason = "the exception does not pickle"
    if failed.error is not None:
        try:
            error = loads(failed.error)
        except BaseException as problem:  # code of the user's runs while unpickling
            reason = f"the exception does not unpickle: {text_of(problem)}"
    if not isinstance(error, BaseException):
        error = RemoteError(failed.type_name, failed.text, failed.traceback, reason)
    told = f"{failed.type_name}: {failed.text}"
    if failed.stage == messages.LOADING_FUNCTION:
        error = NotUnpicklable(f"{name} does not unpickle in the worker: {told}")
    elif failed.stage == messages.LOADING_ARGUMENTS:
        error = NotUnpicklable(f"the arguments of {name} do not unpickle in the worker: {told}")
    elif failed.stage == messages.DUMPING_RESULT and isinstance(error, Exception):
        error = NotPicklable(f"a result of {name} cannot be pickled: {told}")
    set_cause(error, _RemoteTraceback(f'\n"""\n{failed.traceback}"""'))  # type: ignore[arg-type]  # it takes a text
    return error


class Death(NamedTuple):
    """How a worker process died."""

    pid: int | None
    code: int | None  # its exit code, negative for a signal
    trace: str  # what faulthandler wrote
    ordered: bool  # by this process, for all workers
    started: bool  # the task had started; else it was about to be read


def crashed(call: str, death: Death, tries: int) -> WorkerCrashed:
    """Return the error of a task whose worker died."""
    how = describe_exit(death.code, ordered=death.ordered)
    told = f"the worker process that {'ran' if death.started else 'was to run'} it (pid {death.pid}) {how}"
    native = _without_our_frames(death.trace)
    error = WorkerCrashed(f"{call}: {told}", call, death.pid, death.code, tries, native)
    text = native or f"{told}\n"
    error.__cause__ = _RemoteTraceback(f'\n"""\n{text}"""')  # type: ignore[arg-type]  # it takes a text
    return error


def left(call: str, reason: str, tries: int) -> WorkerCrashed:
    """Return the error of a task whose interpreter has ended."""
    return WorkerCrashed(f"{call}: the interpreter that ran it has ended: {reason}", call, None, None, tries, "")


def lost(call: str, name: str, error: BaseException, tries: int) -> WorkerCrashed:
    """Return the error of a task that an engine which is not ours has lost."""
    made = WorkerCrashed(f"{call}: lost by {name}: {text_of(error)}", call, None, None, tries, "")
    made.__cause__ = error
    return made


def _without_our_frames(trace: str) -> str:
    # The most recent call comes first: the frames that called the task come last, and are the same each time.
    shown, is_ours = [], False
    for line in trace.splitlines(keepends=True):
        is_frame = line.startswith("  File ")
        is_ours = is_frame and (is_ours or _OUR_FRAME in line)
        if not is_ours:
            shown.append(line)
    return "".join(shown)


def describe_exit(code: int | None, *, ordered: bool = False) -> str:
    """Say how a process ended, in words that follow "it"."""
    if code is None:
        return "died"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (", perhaps out of memory" if name == "SIGKILL" and not ordered else "")
