"""Relays what tasks log and warn of to the parent; makes imports of ``logging`` and tqdm, which come late or never, do so too."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

from .. import _messages as messages
from .pickling import dumps
from .shared_main import Side

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, ModuleType

    from .events import Hearer

Levels = dict[str, int]
"""The levels that the parent's loggers were given, by name; of the root logger under the empty name."""


class Relay:
    """Relays what is logged in this process, what it warns of, and tqdm's bars."""

    def __init__(self, events: Hearer, levels: Levels) -> None:
        self._events = events
        self._levels = levels
        warnings.showwarning = self._shower(warnings.showwarning)
        when_imported("logging", self._relay_logging)
        when_imported("tqdm.std", self._relay_tqdm)

    def set_levels(self, levels: Levels) -> None:
        """Give the loggers of this process other levels: those of the next executor's process."""
        gone, self._levels = self._levels.keys() - levels.keys(), levels
        logging = sys.modules.get("logging")
        if logging is not None:
            for name in gone:
                logging.getLogger(name).setLevel(logging.NOTSET)
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)

    # --- logging

    def _relay_logging(self, logging: Any) -> None:
        self.set_levels(self._levels)
        # A forked worker has its parent's handlers. They are the parent's to use.
        inherited = [handler for reference in logging._handlerList if (handler := reference()) is not None]
        call_handlers = logging.Logger.callHandlers
        events = self._events

        def relay(logger: Any, record: Any) -> None:
            # A handler of the task's own, or of an initializer's, is what the user wants here. NullHandlers are libraries'.
            if events.is_off or _has_handler(logging, logger, inherited):
                call_handlers(logger, record)
                return
            try:
                event = _record(logging, record)
            except Exception:  # the message does not fit its arguments: logging tells of it on stderr
                logging.Handler().handleError(record)
            else:
                events.put(event)

        logging.Logger.callHandlers = relay
        configure = logging.basicConfig

        def configure_unless_by_itself(**settings: Any) -> None:
            # logging.info() and the like do it where the root logger has no handler: here the parent's are meant.
            if events.is_off or sys._getframe(1).f_globals is not vars(logging):
                configure(**settings)

        logging.basicConfig = configure_unless_by_itself

    # --- warnings

    def _shower(self, show: Callable[..., None]) -> Callable[..., None]:
        def relay(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
            if self._events.is_off or file is not None:
                show(message, category, filename, lineno, file, line)
                return
            try:
                kind = dumps(category, Side.main_by_value, upward=True)
            except Exception:  # a class that cannot be pickled
                kind = dumps(UserWarning)
            module = _module_at(filename, lineno)
            place = _plain(filename), _plain(lineno)
            self._events.put(messages.Warned(messages.WARNED, _plain(_text_of(message)), kind, *place, module))

        return relay

    # --- tqdm

    def _relay_tqdm(self, tqdm: ModuleType) -> None:
        from .bars import own_lock, relay_bars

        own_lock(tqdm)
        relay_bars(tqdm.tqdm, self._events)


def _has_handler(logging: Any, logger: Any, inherited: list[Any]) -> bool:
    while logger is not None:
        for handler in logger.handlers:
            if not isinstance(handler, logging.NullHandler) and not any(handler is other for other in inherited):
                return True
        logger = logger.parent if logger.propagate else None
    return False


_OWN = frozenset((
    "name", "levelno", "levelname", "pathname", "filename", "module", "lineno", "funcName", "created", "msecs", "relativeCreated",
    "thread", "threadName", "processName", "process", "taskName", "exc_text", "stack_info",
))  # fmt: skip
_LEFT_OUT = _OWN | {"msg", "args", "exc_info", "message", "asctime"}


def _record(logging: Any, record: Any) -> messages.Record:
    fields: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in record.__dict__.items():
        if name in _OWN:
            fields[name] = _plain(value)
        elif name not in _LEFT_OUT:
            extra[name] = value
    fields["msg"] = _plain(record.getMessage())
    if record.exc_info and not record.exc_text:
        fields["exc_text"] = logging.Formatter().formatException(record.exc_info)
    return messages.Record(messages.RECORD, fields, _sealed(extra) if extra else None)


def _plain(value: Any) -> Any:
    """Return what a record that crosses the pipe may have: a level may be of an enum, a text of a class of the user's."""
    if value is None or type(value) in (str, int, float):
        return value
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    return str.__str__(value if isinstance(value, str) else _text_of(value))


def _sealed(extra: dict[str, Any]) -> bytes:
    try:
        return dumps(extra, Side.main_by_value, upward=True)
    except Exception:
        for name, value in extra.items():
            try:
                dumps(value, Side.main_by_value, upward=True)
            except Exception:  # what does not pickle arrives as text
                extra[name] = _text_of(value)
        return dumps(extra, Side.main_by_value, upward=True)


def _text_of(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # a user's __str__ may raise anything
        return f"<{type(value).__name__}>"


def _module_at(filename: str, line: int) -> str | None:
    """Return the name of the module whose code is at a place that runs right now: filters go by it."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == filename and frame.f_lineno == line:
            name = frame.f_globals.get("__name__")
            return name if isinstance(name, str) else None
        frame = frame.f_back
    return None


def when_imported(name: str, act: Callable[[ModuleType], None]) -> None:
    """Call ``act`` with a module: now if it is there, else when it has been imported."""
    module = sys.modules.get(name)
    if module is not None:
        act(module)
    else:
        sys.meta_path.insert(0, _Finder(name, act))


class _Finder:
    """Has other finders find a module, once, and is told when it has been loaded."""

    def __init__(self, name: str, act: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._act = act

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != self._name:
            return None
        try:
            sys.meta_path.remove(self)
        except ValueError:
            return None  # another thread was faster
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                self._follow(spec.loader)
                return spec
        return None

    def _follow(self, loader: Any) -> None:
        load = getattr(loader, "exec_module", None)
        if load is None:
            return  # of an old kind

        def load_and_tell(module: ModuleType) -> None:
            load(module)
            if module.__name__ == self._name:  # a zip file's loader is that of all its modules
                self._act(module)

        loader.exec_module = load_and_tell
