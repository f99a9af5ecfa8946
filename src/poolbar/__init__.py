"""poolbar: run Python work in parallel and see it happen.

A drop-in for ``concurrent.futures`` and ``multiprocessing.Pool``: change the import, and the program shows progress, takes its
inputs lazily, runs tiny tasks in batches that size themselves, and survives a dead worker.
"""

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False  # type checkers take it for typing's; importing typing would double the time of this import
if TYPE_CHECKING:
    from concurrent.futures import ALL_COMPLETED as ALL_COMPLETED
    from concurrent.futures import FIRST_COMPLETED as FIRST_COMPLETED
    from concurrent.futures import FIRST_EXCEPTION as FIRST_EXCEPTION
    from concurrent.futures import BrokenExecutor as BrokenExecutor
    from concurrent.futures import CancelledError as CancelledError
    from concurrent.futures import Executor as Executor
    from concurrent.futures import Future as Future
    from concurrent.futures import InvalidStateError as InvalidStateError
    from concurrent.futures import TimeoutError as TimeoutError
    from concurrent.futures import as_completed as as_completed
    from concurrent.futures import wait as wait
    from typing import Any

    from ._broken import NotUnpicklable as NotUnpicklable
    from ._broken import RemoteError as RemoteError
    from ._broken import WorkerCrashed as WorkerCrashed
    from ._choice import Choice as Choice
    from ._errors import BackendError as BackendError
    from ._errors import NotPicklable as NotPicklable
    from ._errors import SettingError as SettingError
    from ._errors import TaskTimeout as TaskTimeout
    from ._executor import ProgressExecutor as ProgressExecutor
    from ._executor import shutdown_warm_workers as shutdown_warm_workers
    from ._presets import ProcessPoolExecutor as ProcessPoolExecutor
    from ._presets import ThreadPoolExecutor as ThreadPoolExecutor
    from ._thread_safe import thread_safe as thread_safe
    from .inside.bars import report as report
    from .pool import Pool as Pool
    from .pool import ThreadPool as ThreadPool
    from .progress import Event as Event
    from .progress import Progress as Progress
    from .progress import Reporter as Reporter
    from .workers.shared import Shared as Shared

__version__ = "0.1.0.dev0"

# Each public name and the module that has it, loaded when the name is first used: ``import poolbar`` imports nothing else.
_PLACES = {
    "ProgressExecutor": "poolbar._executor",
    "ProcessPoolExecutor": "poolbar._presets",
    "ThreadPoolExecutor": "poolbar._presets",
    "Pool": "poolbar.pool",
    "ThreadPool": "poolbar.pool",
    "shutdown_warm_workers": "poolbar._executor",
    "thread_safe": "poolbar._thread_safe",
    "report": "poolbar.inside.bars",
    "Reporter": "poolbar.progress",
    "Progress": "poolbar.progress",
    "Event": "poolbar.progress",
    "Shared": "poolbar.workers.shared",
    "Choice": "poolbar._choice",
    "BackendError": "poolbar._errors",
    "NotPicklable": "poolbar._errors",
    "NotUnpicklable": "poolbar._broken",
    "RemoteError": "poolbar._broken",
    "SettingError": "poolbar._errors",
    "TaskTimeout": "poolbar._errors",
    "WorkerCrashed": "poolbar._broken",
    "ALL_COMPLETED": "concurrent.futures",
    "FIRST_COMPLETED": "concurrent.futures",
    "FIRST_EXCEPTION": "concurrent.futures",
    "BrokenExecutor": "concurrent.futures",
    "CancelledError": "concurrent.futures",
    "Executor": "concurrent.futures",
    "Future": "concurrent.futures",
    "InvalidStateError": "concurrent.futures",
    "TimeoutError": "concurrent.futures",
    "as_completed": "concurrent.futures",
    "wait": "concurrent.futures",
}

if sys.version_info >= (3, 14):
    _PLACES["InterpreterPoolExecutor"] = "concurrent.futures"  # the standard library's own

__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(place), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
