"""What workers print, log and warn of, in this process: on its streams, in its loggers, by its filters."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import TYPE_CHECKING, Any

from .. import _messages as messages
from .._errors import text_of
from ..inside.pickling import loads

if TYPE_CHECKING:
    from contextvars import Context

    from ..inside.relay import Levels

_seen: dict[str, dict[Any, Any]] = {}
"""For each file, the warnings that were shown: a registry as modules have one."""


def levels() -> Levels:
    """Return the levels that loggers of this process were given."""
    loggers = [logger for logger in list(logging.root.manager.loggerDict.values()) if isinstance(logger, logging.Logger)]
    return {"": logging.root.level, **{logger.name: logger.level for logger in loggers if logger.level}}


def deliver(events: list[tuple[Any, ...]], context: Context | None) -> list[messages.Bar]:
    """Do in this process what was done in a worker. Returns those events that are for the display.

    Args:
        events: as they came.
        context: of who asked for the tasks: Jupyter tells by it to which cell an output belongs.
    """
    bars = []
    for event in events:
        kind = event[0]
        if kind == messages.BAR:
            bars.append(messages.Bar._make(event))
            continue
        try:
            if context is None:
                _DELIVER[kind](event)
            else:
                context.copy().run(_DELIVER[kind], event)
        except Exception as error:
            # A stream that is closed, a filter that raises: it must not end the lane.
            _complain(f"poolbar cannot show what a worker said: {text_of(error)}")
    return bars


def _complain(text: str) -> None:
    try:
        warnings.warn(text, RuntimeWarning, stacklevel=1)
    except Exception:  # warnings are errors here
        logging.getLogger("poolbar").warning("%s", text)


def _print(event: tuple[Any, ...]) -> None:
    _, is_error, text = event
    stream = sys.stderr if is_error else sys.stdout
    if stream is None:
        return  # a program without a console
    try:
        stream.write(text)
    except UnicodeEncodeError:
        stream.write(text.encode(stream.encoding, "backslashreplace").decode(stream.encoding))


def _log(event: tuple[Any, ...]) -> None:
    _, fields, extra = event
    record = logging.makeLogRecord(fields if extra is None else {**loads(extra), **fields})
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def _warn(event: tuple[Any, ...]) -> None:
    _, text, category, filename, line, module = event
    registry = _seen.setdefault(filename, {})
    warnings.warn_explicit(text, loads(category), filename, line, module, registry)


_DELIVER = {messages.TEXT: _print, messages.RECORD: _log, messages.WARNED: _warn}
