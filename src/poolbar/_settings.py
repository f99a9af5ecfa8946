"""Settings: keyword, else environment, else default. One table, which also makes the README's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from ._errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BACKENDS = ("auto", "process", "thread", "interpreter")
"""Backends that are built in."""

BACKENDS_GROUP = "poolbar.backends"
"""The entry points that are others: see ``backends``."""

OWN = "poolbar"
"""The start method that is ours."""

START_METHODS = (OWN, "loky", "loky_init_main", "spawn", "forkserver", "fork")
BY_VALUE = (OWN, "loky", "loky_init_main")
"""Start methods with which what ``__main__`` defines goes to workers by value: they do not run it again."""


def _whole_number(value: Any) -> int:
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError
    return int(value)


def _positive(value: Any) -> int:
    number = _whole_number(value)
    if number < 1:
        raise ValueError
    return number


def _seconds(value: Any) -> float:
    number = _number(value)
    if not 0 <= number < float("inf"):
        raise ValueError
    return number


def _number(value: Any) -> float:
    if isinstance(value, (bool, str, bytes, bytearray)):
        raise TypeError
    return float(value)


def _count(value: Any) -> int:
    number = _whole_number(value)
    if number < 0:
        raise ValueError
    return number


def _above_zero(value: Any) -> float:
    number = _number(value)
    if not number > 0:
        raise ValueError
    return number


_SWITCH = {"on": True, "1": True, "true": True, "yes": True, "off": False, "0": False, "false": False, "no": False}

PROGRESS_WORDS = ("auto", "bar", "log", "off", "json")
REPORTER_METHODS = ("started", "added", "ended", "event", "finished")


def is_reporter(value: Any) -> bool:
    """Tell whether an object, not a class, has a reporter's methods."""
    return not isinstance(value, type) and all(callable(getattr(value, name, None)) for name in REPORTER_METHODS)


def _switch(value: Any) -> bool:
    return value if isinstance(value, bool) else _SWITCH[value.lower()]


def _progress(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("json:") and value != "json:":
        return value
    if isinstance(value, (bool, str)):
        word = value.lower() if isinstance(value, str) and value.lower() in PROGRESS_WORDS else None
        return word or ("bar" if _switch(value) else "off")
    if not (is_reporter(value) or callable(value)):
        raise TypeError
    return value


def _word_of(words: tuple[str, ...]) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    return parse


def installed_backends() -> dict[str, Any]:
    """Return the entry points of backends that are installed, by name."""
    from importlib.metadata import entry_points  # 20 ms: for those who ask for one

    return {entry.name: entry for entry in entry_points(group=BACKENDS_GROUP)}


def _backend(value: Any) -> Any:
    if isinstance(value, str):
        if value not in BACKENDS and value not in installed_backends():
            raise ValueError
    elif isinstance(value, type) or not callable(getattr(value, "submit", None)):
        raise TypeError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _modules(value: Any) -> tuple[str, ...]:
    names = tuple(name.strip() for name in (value.split(",") if isinstance(value, str) else value))
    if not all(part.isidentifier() for name in names for part in name.split(".")):
        raise ValueError
    return names


_FROM_TEXT: dict[Callable[[Any], Any], Callable[[str], Any]] = {
    _positive: int,
    _count: int,
    _seconds: float,
    _above_zero: float,
}
"""How a variable's text becomes what its parser takes."""


class Setting(NamedTuple):
    """A row of the table."""

    keyword: str
    variable: str
    default: Any
    parse: Callable[[Any], Any]
    rule: str  # completes "KEYWORD must be ..."; the standard library's words where it has some
    allowed: str
    meaning: str


TABLE = (
    Setting(
        "max_workers", "POOLBAR_MAX_WORKERS", None, _positive, "greater than 0", "a whole number greater than 0",
        "Workers at most. Default: the CPUs that this process may use, and with `backend=auto` more for tasks that wait; for "
        "threads 4 more, at most 32.",
    ),
    Setting(
        "backend", "POOLBAR_BACKEND", "auto", _backend, "the name of a backend, an Executor or a Backend",
        "auto, process, thread, interpreter (Python 3.14 or newer), dask, ray, or the name of an installed plug-in",
        "What `ProgressExecutor` runs tasks in. `auto`: processes; threads where Python runs without a GIL, and where they are "
        "allowed and faster. As a keyword also any `concurrent.futures.Executor`.",
    ),
    Setting(
        "address", "POOLBAR_ADDRESS", None, _text, "a text", "a text, such as tcp://host:8786",
        "Where the engine of a backend is: dask's scheduler, Ray's head. Default: what the engine's own configuration says.",
    ),
    Setting(
        "thread_safe", "POOLBAR_THREAD_SAFE", None, _switch, "True or False", "on or off (also 1, 0, true, false, yes, no)",
        "Whether `backend=auto` may run tasks in threads of this process, where that is faster. Default: those of functions "
        "with the decorator `poolbar.thread_safe`.",
    ),
    Setting(
        "progress", "POOLBAR_PROGRESS", "auto", _progress, "True, False, a word, a tqdm class or a Reporter",
        "auto, bar (also on, 1, true, yes), log, off (also 0, false, no), json or json:PATH",
        "What shows progress. `auto`: the bar where stderr is a terminal or a notebook, else the log.",
    ),
    Setting(
        "relay", "POOLBAR_RELAY", True, _switch, "True or False", "on or off (also 1, 0, true, false, yes, no)",
        "Whether what tasks in worker processes and interpreters print, log and warn of, and their tqdm bars, is shown here.",
    ),
    Setting(
        "chunksize", "POOLBAR_CHUNKSIZE", None, _positive, ">= 1", "a whole number greater than 0",
        "Tasks of `map` in a batch. Default: what takes about 10 ms, by measuring.",
    ),
    Setting(
        "buffersize", "POOLBAR_BUFFERSIZE", None, _positive, "None or > 0", "a whole number greater than 0",
        "Tasks of `map` that are asked for and not yet read, at most. Default: a window that follows the pace.",
    ),
    Setting(
        "mp_context", "POOLBAR_START_METHOD", OWN, _word_of(START_METHODS), "a start method or a multiprocessing context",
        "poolbar, loky, loky_init_main, spawn, forkserver or fork",
        "How worker processes start. `poolbar`: as with loky, nothing of the parent's memory is inherited and `__main__` is not "
        "run again, but faster; on Windows it is loky.",
    ),
    Setting(
        "idle_seconds", "POOLBAR_IDLE_SECONDS", 10.0, _seconds, "a number of seconds, 0 or more", "seconds, 0 or more",
        "How long idle worker processes are kept for the next executor; 0: not at all.",
    ),
    Setting(
        "retries", "POOLBAR_RETRIES", 0, _count, "0 or more", "a whole number, 0 or more",
        "How often a task is tried again whose worker died, or that ran out of time.",
    ),
    Setting(
        "task_timeout", "POOLBAR_TASK_TIMEOUT", None, _above_zero, "a number of seconds greater than 0",
        "seconds, more than 0 (inf: no limit)",
        "How long a task may run; then it fails with `TaskTimeout` and its worker process is replaced. Default: for ever.",
    ),
    Setting(
        "worker_memory_mb", "POOLBAR_WORKER_MEMORY_MB", None, _above_zero, "a number of megabytes greater than 0",
        "megabytes, more than 0 (inf: no limit)",
        "A worker process that has grown by more than this since its first task is replaced between tasks. Default: never.",
    ),
    Setting(
        "preload", "POOLBAR_PRELOAD", None, _modules, "names of modules", "names of modules, separated by commas",
        "Modules that worker processes have imported before their first task. With `mp_context=poolbar` one process imports "
        "them, and workers are forks of it; else each worker does. Default: none.",
    ),
    Setting("desc", "POOLBAR_DESC", None, _text, "a text", "a text", "What stands before the bar."),
)  # fmt: skip

_BY_KEYWORD = {setting.keyword: setting for setting in TABLE}


def resolve(keyword: str, given: Any, environment: Mapping[str, str] | None = None) -> Any:
    """Return the value of a setting: what was given, else the environment's, else the default.

    Args:
        keyword: the setting's name in the table.
        given: the keyword argument; None where it was not given.
        environment: the environment variables; None for the process's own.

    Raises:
        SettingError: the value cannot be used; names where it came from, the value, and what is allowed.
    """
    setting = _BY_KEYWORD[keyword]
    source, value = keyword, given
    if given is None:
        source, value = setting.variable, (os.environ if environment is None else environment).get(setting.variable, "")
        if value == "":
            return setting.default
    try:
        convert = _FROM_TEXT.get(setting.parse) if given is None else None
        return setting.parse(value if convert is None else convert(value))
    except TypeError:
        raise WrongTypeError(_complaint(setting, source, value, wrong_type=True)) from None
    except (ValueError, OverflowError, KeyError, AttributeError):
        raise SettingError(_complaint(setting, source, value, wrong_type=False)) from None


def variable_of(keyword: str) -> str:
    """Return the name of a setting's environment variable."""
    return _BY_KEYWORD[keyword].variable


def source_of(keyword: str, given: Any) -> str:
    """Return what a setting is called where it was set: its keyword, or its variable."""
    return keyword if given is not None else _BY_KEYWORD[keyword].variable


def _complaint(setting: Setting, source: str, value: Any, *, wrong_type: bool) -> str:
    rule = "an integer or None" if wrong_type and setting.parse in {_positive, _count} else setting.rule
    return f"{setting.keyword} must be {rule}: {source}={value!r} cannot be used; allowed: {setting.allowed}"


class WrongTypeError(SettingError, TypeError):
    """A setting's value is of the wrong type."""


def markdown_table() -> str:
    """Return the README's table of environment variables."""
    rows = ["| variable | keyword | default | allowed | meaning |", "|---|---|---|---|---|"]
    for setting in TABLE:
        default = {None: "", 10.0: "10", True: "on"}.get(setting.default, setting.default)
        rows.append(f"| `{setting.variable}` | `{setting.keyword}` | {default} | {setting.allowed} | {setting.meaning} |")
    return "\n".join(rows)
