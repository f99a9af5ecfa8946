"""``Pool`` and ``ThreadPool`` of multiprocessing, on the same lanes as the executors: a facade over ProgressExecutor."""

from __future__ import annotations

import warnings
from concurrent.futures import Future
from functools import partial
from multiprocessing.pool import CLOSE, INIT, RUN, TERMINATE
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from . import _exit
from ._errors import SettingError
from ._executor import ProgressExecutor
from ._gathering import AsyncResult, Calls, Gathered, Gathering, IMapIterator, tell
from ._inputs import Rows, Sliced, inputs_of
from ._living import Living
from ._map import Asked, Run
from ._presets import ProcessPoolExecutor, ThreadPoolExecutor
from ._reading import Bell, next_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from typing_extensions import Self, TypedDict, Unpack

    from ._inputs import Inputs
    from .progress import Reporter

    class Shown(TypedDict, total=False):
        """Keywords of the executors that a pool takes too."""

        progress: bool | str | Reporter | Callable[..., Any] | None
        desc: str | None
        unit: str
        tqdm_options: dict[str, Any] | None

    class Settings(Shown, total=False):
        """Those of ProgressExecutor."""

        backend: str | None
        thread_safe: bool | None
        relay: bool | None
        idle_seconds: float | None
        preload: Sequence[str] | str | None
        retries: int | None
        task_timeout: float | None
        worker_memory_mb: float | None


T = TypeVar("T")
RunT = TypeVar("RunT", bound=Run)

_NO_KEYWORDS: Mapping[str, Any] = MappingProxyType({})


class Pool:
    """A drop-in for ``multiprocessing.Pool``, with what ProgressExecutor has: progress, batches that size themselves, and more.

    Args:
        processes: workers at most. Default: the CPUs that this process may use.
        initializer: called in each worker before its first task.
        initargs: the initializer's arguments.
        maxtasksperchild: tasks after which a worker process is replaced.
        context: a multiprocessing context or the name of a start method; default poolbar's own.
        **settings: keywords of ProgressExecutor. Workers are processes, unless ``backend`` or ``thread_safe`` is given.

    As there, leaving the ``with`` block terminates the pool, and so does the interpreter's exit. A task whose worker dies fails
    with WorkerCrashed.

    Raises:
        ValueError, TypeError: an argument or a variable has a value that cannot be used.
    """

    _state = INIT

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        **settings: Unpack[Settings],
    ) -> None:
        if maxtasksperchild is not None and not isinstance(maxtasksperchild, int):
            raise SettingError(f"maxtasksperchild must be a positive int or None, not {maxtasksperchild!r}")
        make: Any = ProgressExecutor if settings.keys() & {"backend", "thread_safe"} else ProcessPoolExecutor
        self._begin(make(processes, context, initializer, tuple(initargs), max_tasks_per_child=maxtasksperchild, **settings))

    def _begin(self, executor: ProgressExecutor) -> None:
        self._executor = executor
        self._calls = Calls()
        self._state = RUN
        _pools.add(self)

    # --- one call

    def apply(self, func: Callable[..., T], args: Iterable[Any] = (), kwds: Mapping[str, Any] = _NO_KEYWORDS) -> T:
        """Return ``func(*args, **kwds)``, called in a worker."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = _NO_KEYWORDS,
        callback: Callable[[T], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[T]:
        """Have ``func(*args, **kwds)`` called in a worker. The arguments are pickled here.

        Args:
            func: what to call.
            args: its arguments.
            kwds: its keyword arguments.
            callback: called with the result, in a thread that all callbacks of the pool share, before the result is ready.
            error_callback: called with the error.

        Raises:
            ValueError: the pool is not running.
        """
        self._check_running()
        return AsyncResult(self._told(self._executor.submit(func, *args, **kwds), callback, error_callback))

    # --- many, at once

    def map(self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int | None = None) -> list[T]:
        """Return the results of ``func`` for all items. If some fail, the others run all the same, and the first error is raised.

        Args:
            func: called with one item.
            iterable: pulled by this thread, only as far ahead as a window reaches.
            chunksize: tasks in a batch; default: what takes about 10 ms, by measuring.

        Raises:
            ValueError: the pool is not running.
        """
        return self._gathered(func, inputs_of((iterable,)), chunksize)

    def starmap(self, func: Callable[..., T], iterable: Iterable[Iterable[Any]], chunksize: int | None = None) -> list[T]:
        """As ``map``, but each item has all the arguments of a call. All items are taken at once."""
        return self._gathered(func, Rows(_rows(iterable)), chunksize)

    def _gathered(self, func: Callable[..., T], inputs: Inputs, chunksize: int | None) -> list[T]:
        bell = Bell()
        run = self._run(func, inputs, self._asked(func, chunksize), partial(Run, bell=bell))
        gathered = Gathered()
        try:
            while (chunk := next_chunk(run, bell, None)) is not None:
                gathered.take(run, chunk)
                del chunk
            run.finish()
        finally:
            run.leave()
        return gathered.result()

    def map_async(
        self,
        func: Callable[[Any], T],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[list[T]]:
        """As ``map``, but do not wait for the results. All items are taken here; for the callbacks see ``apply_async``."""
        return self._map_async(func, Sliced([list(iterable)]), chunksize, callback, error_callback)

    def starmap_async(
        self,
        func: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[list[T]]:
        """As ``map_async``, but each item has all the arguments of a call."""
        return self._map_async(func, Rows(_rows(iterable)), chunksize, callback, error_callback)

    def _map_async(
        self, func: Callable[..., T], inputs: Inputs, chunksize: int | None, callback: Any, error_callback: Any
    ) -> AsyncResult[list[T]]:
        gathering = Gathering(self._calls)
        gathering.begin(self._run(func, inputs, self._asked(func, chunksize), partial(Run, bell=gathering)))
        return AsyncResult(self._told(gathering.future, callback, error_callback))

    # --- many, one after the other

    def imap(self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int | None = None) -> IMapIterator[T]:
        """Return an iterator over the results, which pulls the iterable only as far ahead as a window reaches.

        An error is raised in its place, and does not end the iteration.

        Args:
            func: called with one item.
            iterable: pulled by the thread that reads the results.
            chunksize: tasks in a batch; default: what takes about 10 ms, by measuring.

        Raises:
            ValueError: the pool is not running.
        """
        return self._imap(func, iterable, Asked(chunksize))

    def imap_unordered(self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int | None = None) -> IMapIterator[T]:
        """As ``imap``, but results come as tasks end."""
        return self._imap(func, iterable, Asked(chunksize, ordered=False))

    def _imap(self, func: Callable[[Any], T], iterable: Iterable[Any], asked: Asked) -> IMapIterator[T]:
        self._check_running()
        asked = self._executor._checked(func, (iterable,), asked)
        bell = Bell()
        return IMapIterator(self._run(func, inputs_of((iterable,)), asked, partial(Run, bell=bell)), bell)

    # --- how

    def _run(self, func: Callable[..., T], inputs: Inputs, asked: Asked, make: Callable[..., RunT]) -> RunT:
        self._check_running()
        return self._executor._run(func, inputs, asked, make)

    def _asked(self, func: Callable[..., Any], chunksize: int | None) -> Asked:
        # Whoever gathers all results needs no window.
        return self._executor._checked(func, ((),), Asked(chunksize))._replace(buffersize=None)

    def _told(self, future: Future[T], callback: Any, error_callback: Any) -> Future[T]:
        """Return a future that ends as another does, after the callback has been told."""
        if callback is None and error_callback is None:
            return future
        told: Future[T] = Future()
        told.set_running_or_notify_cancel()
        calls = self._calls
        future.add_done_callback(lambda done: calls.put(lambda: tell(done, told, callback, error_callback)))
        return told

    def _check_running(self) -> None:
        if self._state != RUN:
            raise ValueError("Pool not running")

    # --- the end

    def close(self) -> None:
        """Take no more tasks."""
        if self._state == RUN:
            self._state = CLOSE
            self._executor._close()

    def terminate(self) -> None:
        """Cancel what waits, end the worker processes that run something, and wait for what runs in threads.

        ``get`` of a result that will never come raises CancelledError, or WorkerCrashed where the task had started.
        """
        self._state = TERMINATE
        self._executor._stop()
        self._calls.end()

    def join(self) -> None:
        """Wait until all is done, and all callbacks have been called. ``close`` or ``terminate`` comes first.

        What iterators given to ``imap`` have not been asked for yet is pulled here, in this thread.

        Raises:
            ValueError: the pool is still running.
        """
        if self._state == RUN:
            raise ValueError("Pool is still running")
        self._executor.shutdown(wait=True)
        self._calls.end()
        self._calls.join()

    def __enter__(self) -> Self:
        self._check_running()
        return self

    def __exit__(self, *_: object) -> None:
        self.terminate()

    def __del__(self, _warn: Callable[..., None] = warnings.warn, _run: str = RUN, _init: str = INIT) -> None:
        if self._state == _run:
            _warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self)
        if self._state != _init:
            self._calls.end()

    def __reduce__(self) -> NoReturn:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    # --- what is read by those who look inside of multiprocessing's

    @property
    def _processes(self) -> int:
        return self._executor.choice.workers

    @property
    def _pool(self) -> list[Any]:
        return list(self._executor._processes.values())

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} state={self._state} {self._executor!r}>"


class ThreadPool(Pool):
    """A drop-in for ``multiprocessing.pool.ThreadPool``: as Pool, with threads as workers.

    Args:
        processes: threads at most. Default: 4 more than there are CPUs, at most 32.
        initializer: called in each thread before its first task.
        initargs: the initializer's arguments.
        **settings: keywords of ThreadPoolExecutor: ``progress``, ``desc``, ``unit``, ``tqdm_options``.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        **settings: Unpack[Shown],
    ) -> None:
        self._begin(ThreadPoolExecutor(processes, "", initializer, tuple(initargs), **settings))


def _rows(iterable: Iterable[Iterable[Any]]) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in iterable]


_pools: Living[Pool] = Living()


def _terminate_all() -> None:
    for pool in _pools:
        if pool._state != TERMINATE:
            pool.terminate()


_exit.before_exit.append(_terminate_all)
