"""The standard library's pools replaced by ours, for a program that knows nothing of us (``python -m poolbar SCRIPT``).

What stands in for a class of the standard library is a subclass of ours and of that class, in this order: ours does the work, and
``isinstance`` and ``issubclass`` hold for those who imported the class before it was replaced. Nothing of the standard library's
is called, ``__init__`` neither; no metaclass is needed, so that programs may mix in what they like.
"""

from __future__ import annotations

import concurrent.futures.process
import concurrent.futures.thread
import multiprocessing.managers
import multiprocessing.pool
import os
import sys
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _presets, pool
from ._command import POOL, PROCESSES, THREADS
from ._settings import variable_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

if sys.version_info >= (3, 14):
    import concurrent.futures.interpreter  # its executor is a subclass of ThreadPoolExecutor, and not of ours

_StdProcesses: Any = concurrent.futures.process.ProcessPoolExecutor
_StdThreads: Any = concurrent.futures.thread.ThreadPoolExecutor
_StdPool: Any = multiprocessing.pool.Pool
_StdThreadPool: Any = multiprocessing.pool.ThreadPool

_OF_AN_EVENT_LOOP = "asyncio"
"""What the threads of an event loop's own executor are called; it serves as long as the loop runs: no bar can tell of it."""


class ProcessPoolExecutor(_presets.ProcessPoolExecutor, _StdProcesses):  # type: ignore[misc]
    """Stands in for the standard library's."""

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        **settings: Any,
    ) -> None:
        may_fork = max_tasks_per_child is None and self._fixed_kind is not None
        super().__init__(
            max_workers, _context(mp_context, may_fork=may_fork), initializer, initargs,
            max_tasks_per_child=max_tasks_per_child, **settings,
        )  # fmt: skip

    @property
    def _shutdown_thread(self) -> bool:  # read by programs that make a new executor once this one is shut
        return self._is_shut


class ThreadPoolExecutor(_presets.ThreadPoolExecutor, _StdThreads):  # type: ignore[misc]
    """Stands in for the standard library's, but for an event loop's own."""

    def __new__(cls, *args: Any, **keywords: Any) -> Any:  # of a subclass they may mean anything
        """Make one; the standard library's own for an event loop."""
        if cls is ThreadPoolExecutor and keywords.get("thread_name_prefix") == _OF_AN_EVENT_LOOP:
            return _StdThreads(*args, **keywords)
        return super().__new__(cls)

    @property
    def _work_queue(self) -> _Waiting:  # its length is read by programs that hold back their submits
        return _Waiting(self)

    @property
    def _shutdown(self) -> bool:  # as above
        return self._is_shut


class _Waiting:
    """What waits in an executor."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor

    def qsize(self) -> int:
        """Return how many tasks wait."""
        crew = self._executor._crew
        return 0 if crew is None else crew.backlog.figures()[0]


class Pool(pool.Pool, _StdPool):  # type: ignore[misc]
    """Stands in for the standard library's, but for pools of forks that are replaced after some tasks: those we do not have."""

    _is_kind_open = False

    def __new__(cls, *args: Any, **keywords: Any) -> Any:
        """Make one; the standard library's own where ours would refuse."""
        asked = _PoolArguments(*args, **keywords) if cls is Pool else None
        if asked is not None and asked.maxtasksperchild is not None:
            context = _context(asked.context, may_fork=True)
            if context is not None and context.get_start_method() == "fork":
                return _StdPool(*asked)
        return super().__new__(cls)

    def __init__(
        self,
        processes: int | None = None,
        initializer: Any = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        **settings: Any,
    ) -> None:
        made: Any = self
        if not isinstance(made, Pool):
            # The standard library's ThreadPool, imported before, calls the class that it finds here by its name.
            _StdPool.__init__(made, processes, initializer, initargs, maxtasksperchild, context)
            return
        if self._is_kind_open:
            settings.setdefault("backend", None)  # not given: the variable says it
        chosen = _context(context, may_fork=maxtasksperchild is None and not self._is_kind_open)
        super().__init__(processes, initializer, initargs, maxtasksperchild, chosen, **settings)


class ThreadPool(pool.ThreadPool, Pool, _StdThreadPool):  # type: ignore[misc]
    """Stands in for the standard library's."""

    def __init__(self, processes: int | None = None, initializer: Any = None, initargs: Iterable[Any] = (), **shown: Any) -> None:
        pool.ThreadPool.__init__(self, processes, initializer, initargs, **shown)


class _PoolsOfManagers:
    """Makes the pools in a manager's process: the standard library's own, for a bar of that process would be in the way."""

    def __call__(self, *args: Any) -> Any:
        """Make one."""
        return _StdPool(*args)

    def __reduce__(self) -> Any:
        return resolve_name, (f"{_StdPool.__module__}:{_StdPool.__qualname__}",)  # where nothing is replaced


class _PoolArguments(NamedTuple):
    processes: int | None = None
    initializer: Any = None
    initargs: Iterable[Any] = ()
    maxtasksperchild: int | None = None
    context: Any = None


def _context(given: Any, *, may_fork: bool) -> Any:
    """Return the context for worker processes; None: our own way, or what the variable says.

    Where the program leaves it to the interpreter, and that forks, programs count on what is inherited by forks: so do we.
    Elsewhere nothing is inherited in any case, and our way is the better one.
    """
    is_settled = multiprocessing.get_start_method(allow_none=True) is not None  # else the program may yet set it
    if given is not None and not (is_settled and given is multiprocessing.get_context()):
        return given
    default = multiprocessing.get_context()
    if not may_fork or os.environ.get(variable_of("mp_context")) or default.get_start_method() != "fork":
        return None
    return default


def replace(parts: Iterable[str], *, is_kind_open: bool) -> None:
    """Put ours in the place of the standard library's, in this process and from now on.

    Args:
        parts: which of PARTS.
        is_kind_open: the settings say what takes the place of processes: ``backend`` or ``thread_safe`` was asked for.
    """
    futures: Any = concurrent.futures
    pools: Any = multiprocessing.pool
    if PROCESSES in parts:
        if is_kind_open:
            ProcessPoolExecutor._fixed_kind = None
        futures.ProcessPoolExecutor = futures.process.ProcessPoolExecutor = _named(ProcessPoolExecutor, _StdProcesses)
    if THREADS in parts:
        futures.ThreadPoolExecutor = futures.thread.ThreadPoolExecutor = _named(ThreadPoolExecutor, _StdThreads)
    if POOL in parts:
        Pool._is_kind_open = is_kind_open
        registry = multiprocessing.managers.SyncManager._registry  # type: ignore[attr-defined]
        registry["Pool"] = (_PoolsOfManagers(), *registry["Pool"][1:])
        # The functions and methods called Pool, also those imported before, look the class up here at each call.
        pools.Pool, pools.ThreadPool = _named(Pool, _StdPool), _named(ThreadPool, _StdThreadPool)


def _named(ours: Any, standard: Any) -> Any:
    # By this name it pickles: in a worker process, where nothing is replaced, it is the standard library's own.
    ours.__module__ = standard.__module__
    return ours
