"""What a task's error is told as: the exception itself, where it pickles, and what is known of it in any case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _messages as messages
from .pickling import dumps
from .shared_main import Side

if TYPE_CHECKING:
    from types import TracebackType


def described(error: BaseException, stage: int) -> tuple[bytes | None, str, str, str]:
    """Return the pickle of an exception, None where it does not pickle; its type's name, its text, and its traceback as text.

    Args:
        error: the exception; its traceback is dropped.
        stage: where in a task's life it came up: one of ``_messages``.
    """
    trace = _traceback_text(error, stage)
    try:
        pickled = dumps(error.with_traceback(None), Side.main_by_value, upward=True)
    except BaseException:  # the parent makes a stand-in of type and text
        pickled = None
    return pickled, _type_name(error), _text_of(error), trace


def _type_name(error: BaseException) -> str:
    cls = type(error)
    return cls.__qualname__ if cls.__module__ in ("builtins", "__main__") else f"{cls.__module__}.{cls.__qualname__}"


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as broken:  # a user's __str__ may raise anything
        return f"<its text could not be had: {type(broken).__name__}>"


def summary(error: BaseException) -> str:
    """Return an exception's type and text."""
    return f"{_type_name(error)}: {_text_of(error)}"


def _traceback_text(error: BaseException, stage: int) -> str:
    trace: TracebackType | None = error.__traceback__
    if stage == messages.RAISED and trace is not None:
        trace = trace.tb_next or trace  # without the worker's own frame
    import traceback  # 10 ms, which a worker that starts has no use for

    try:
        return "".join(traceback.format_exception(type(error), error, trace))
    except BaseException:  # a user's __str__ may raise anything
        return summary(error)
