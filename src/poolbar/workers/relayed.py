"""What workers print, log and warn of, in this process: on its streams, in its loggers, by its filters."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from functools import lru_cache, partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from .. import _messages as messages
from .._errors import text_of
from ..inside.pickling import loads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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
    streams = set()
    for event in _joined(events):
        kind = event[0]
        if kind == messages.BAR:
            bars.append(messages.Bar._make(event))
            continue
        if kind == messages.TEXT:
            streams.add(sys.stderr if event[1] else sys.stdout)
        if context is None:
            _attempt(_DELIVER[kind], event)
        else:
            _attempt(context.copy().run, _DELIVER[kind], event)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            # Into a pipe or a file, too: what the task has flushed is not kept back here.
            _attempt(_flush, stream)
    return bars


def _joined(events: list[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Make one of prints that follow each other: each write to a terminal has all bars drawn again."""
    for (kind, is_error), group in groupby(events, lambda event: event[:2] if event[0] == messages.TEXT else (event[0], None)):
        if kind == messages.TEXT:
            yield kind, is_error, "".join([text for _, _, text in group])
        else:
            yield from group


def _attempt(act: Callable[..., None], *arguments: Any) -> None:
    try:
        act(*arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # A stream that is closed, a filter that raises, a handler that wants to exit: it must not end the lane.
        _complain(f"poolbar cannot show what a worker said: {text_of(error)}")


def _complain(text: str) -> None:
    try:
        warnings.warn(text, RuntimeWarning, stacklevel=1)
    except Exception:  # warnings are errors here
        try:
            logging.getLogger("poolbar").warning("%s", text)
        except BaseException:  # and a handler is what has failed
            pass


def _flush(stream: io.TextIOWrapper) -> None:
    if not stream.closed:
        stream.flush()


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
    _, fields, sealed = event
    try:
        extra = {} if sealed is None else loads(sealed)
    except Exception:  # it does not unpickle here: the record is worth more than that
        extra = {}
    record = logging.makeLogRecord({**extra, **fields})
    if record.levelname == f"Level {record.levelno}":
        record.levelname = logging.getLevelName(record.levelno)  # it may have a name here
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def _warn(event: tuple[Any, ...]) -> None:
    _, text, category, filename, line, module = event
    registry = _seen.setdefault(filename, {})
    warning = _warning(loads(category), text)
    if module is None:
        module = filename.removesuffix(".py")  # as Python does where no code is known to have warned; None would be silence
    warnings.warn_explicit(warning, type(warning), filename, line, module, registry)


def _warning(category: type[Warning], text: str) -> Warning:
    for make in (category, partial(category.__new__, category)):  # the second: its __init__ takes something else than the text
        try:
            warning = make(text)
            if str(warning) == text:
                return warning
        except Exception:
            continue
    as_any: Any = category
    kind = _kind_with_text(as_any, text)
    return kind.__new__(kind, text)


@lru_cache(maxsize=256)
def _kind_with_text(category: Any, text: str) -> type[Warning]:
    """Return a subclass whose objects have this text, whatever their ``__str__`` needs that is not here."""
    made: type[Warning] = type(category.__name__, (category,), {"__str__": lambda _: text, "__module__": category.__module__})
    return made


_DELIVER = {messages.TEXT: _print, messages.RECORD: _log, messages.WARNED: _warn}
