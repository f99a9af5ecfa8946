"""A backend for joblib, and so for scikit-learn's ``n_jobs``: ``import poolbar.joblib`` registers it as "poolbar".

    import joblib
    import poolbar.joblib

    with joblib.parallel_config(backend="poolbar", n_jobs=-1, desc="search"):
        search.fit(x, y)  # of scikit-learn, or joblib.Parallel()(...)

Each call of a ``Parallel`` has an executor and a bar of its own; its worker processes are warm ones, as soon as there are some.
joblib makes the batches: its own work for each of them, about 100 us here, is what small tasks wait for. The bar counts the tasks
in them, not the batches.

    caller's thread ──▶ Parallel: takes tasks, makes a batch ──submit──▶ executor ──▶ worker process
                            ▲ the next batch                                               │
                            └────── _ended: counts its tasks, then joblib's callback ◀─────┘ in the thread of a lane
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import warnings
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ._errors import SettingError
from ._presets import ProcessPoolExecutor
from .progress import Tally

_NEEDED = "poolbar.joblib needs joblib 1.5 or newer: pip install 'joblib>=1.5'"
try:
    import joblib
    from joblib.parallel import AutoBatchingMixin, FallbackToBackend, ParallelBackendBase, SequentialBackend
except ImportError as error:
    raise ImportError(_NEEDED) from error
if not hasattr(ParallelBackendBase, "submit"):
    raise ImportError(_NEEDED)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._crew import Crew

IDLE_SECONDS = 300.0
"""How long idle workers are kept unless it is said: as long as joblib keeps loky's. They have imported what is slow to import."""

LOOK_SECONDS = 0.01
"""How long joblib sleeps where a result that it wants is not there."""

_OF_OTHERS = ("context", "max_nbytes", "mmap_mode", "prefer", "require", "temp_folder", "verbose")
"""What joblib tells every backend, and what is of no use to this one: large data goes through shared memory by itself."""


class _Tasks(Tally):
    """Counts tasks, of which a batch has many. What lanes count is batches: that is not listened to."""

    def added(self, tasks: int = 1) -> None:
        """Do nothing: how many tasks there will be is known at the start, or when joblib has pulled the last one."""

    def ended(self, ok: int, failed: int = 0) -> None:
        """Do nothing: ``tasks_ended`` counts."""

    def cancelled(self, tasks: int) -> None:
        """Do nothing: joblib drops tasks only where the call ends."""

    def tasks_ended(self, ok: int, failed: int) -> None:
        """Count tasks that ended."""
        super().ended(ok, failed)


class _CallExecutor(ProcessPoolExecutor):
    """Runs the batches of one call of a ``Parallel``.

    ``_quiet`` guards the number of batches that have not ended. The caller's thread waits on it for moments, before it
    reads results; who ends the last batch wakes it.
    """

    _tally_type = _Tasks

    def __init__(self, workers: int, total: int | None, numeric_threads: int | None, **settings: Any) -> None:
        super().__init__(workers, **settings)
        self._options = self._options._replace(numeric_threads=numeric_threads)
        self._total = total
        self.is_read = False  # the caller's thread has submitted what it had to
        self.is_shared = False  # by calls that overlap
        self._is_stopped = False
        self._quiet = threading.Condition()
        self._batches = 0

    def _new_tally(self, crew: Crew, total: int | None, desc: str | None) -> Tally:
        return super()._new_tally(crew, self._total, desc)

    def _follow_cell(self, crew: Crew) -> None:
        """Do nothing: a call has one bar, where it was called."""

    def submit_batch(self, batch: Callable[[], Any]) -> Future[Any]:
        """Submit a batch; ``batch_ended`` is to be called after it.

        Once all was stopped, it is cancelled: a lane may be about to submit the next one.
        """
        with self._quiet:
            self._batches += 1
        try:
            # Not the batch itself: its class has the function, which is sent once.
            return self.submit(type(batch).__call__, batch)
        except RuntimeError:
            if not self._is_stopped:
                raise
        future: Future[Any] = Future()
        future.cancel()
        return future

    def batch_ended(self) -> None:
        """Note that joblib has the results of a batch."""
        with self._quiet:
            self._batches -= 1
            if not self._batches:
                self._quiet.notify_all()

    def wait_until_quiet(self, seconds: float) -> None:
        """Wait until joblib has the results of all batches that there are so far, but no longer than so many seconds."""
        with self._quiet:
            self._quiet.wait_for(lambda: not self._batches, seconds)

    def tasks_ended(self, ok: int, failed: int) -> None:
        """Count tasks that ended."""
        if isinstance(self._tally, _Tasks):  # else nobody looks
            self._tally.tasks_ended(ok, failed)

    def set_total(self, total: int) -> None:
        """Let the bar know how many tasks there are."""
        self._tally.set_total(total)

    def stop(self) -> None:
        """Cancel what waits, end what runs, and wait for that."""
        self._is_stopped = True
        self._stop()


class PoolbarBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]  # joblib has no annotations
    """joblib's tasks in poolbar's worker processes, with poolbar's progress.

    Args:
        nesting_level: joblib's: how many ``Parallel`` are around this one.
        inner_max_num_threads: threads of BLAS and OpenMP in each worker. Default: its share of the CPUs, or what
            ``OMP_NUM_THREADS`` and the like say.
        pre_dispatch: given to each ``Parallel``, in place of its own: with "all" the bar knows at once how many tasks there are,
            also where a library, such as scikit-learn, passes no list but a generator.
        **settings: keywords of ``poolbar.ProcessPoolExecutor``, but for ``max_workers``, which is joblib's ``n_jobs``.

    ``_lock`` is held for a comparison or two, and while an executor is made, which starts no worker; nobody waits under it.

    Raises:
        SettingError: a setting or a variable has a value that cannot be used (a ValueError, also a TypeError for a wrong type).
        TypeError: there is no such setting.
    """

    supports_retrieve_callback = True  # with it joblib takes return_as="generator" and timeout
    supports_inner_max_num_threads = True

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        pre_dispatch: int | str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self._pre_dispatch = pre_dispatch
        self._settings = _checked(settings)
        self._asked = self._settings  # with what the Parallel was given
        self._lock = threading.Lock()
        self._calls = 0  # that go on: those that return generators may overlap
        self._workers = 1
        self._executor: _CallExecutor | None = None
        self.parallel: Any = None

    # --- what joblib asks for at the beginning of a call, and at its end

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many workers ``n_jobs`` stands for: None for one, -1 for one for each CPU, -2 for one less.

        In a daemonic process of multiprocessing it is one, with a warning: such a process may have no children.

        Raises:
            ValueError: it is 0.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        if n_jobs != 1 and multiprocessing.current_process().daemon:
            warnings.warn("a daemonic process may have no children: n_jobs=1", stacklevel=3)
            return 1
        return n_jobs if n_jobs > 0 else max(joblib.cpu_count() + 1 + n_jobs, 1)

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **told: Any) -> int:
        """Get ready for the calls of a ``Parallel``; return how many workers it will have.

        Raises:
            FallbackToBackend: one is enough: then joblib calls the tasks itself.
            SettingError, TypeError: a keyword that ``Parallel`` was given cannot be used.
        """
        workers = self.effective_n_jobs(n_jobs)
        if workers == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        own = {name: value for name, value in told.items() if name not in _OF_OTHERS}
        self._asked = _checked({**self._settings, **own}) if own else self._settings
        self._workers = workers
        self.parallel = parallel
        if self._pre_dispatch is not None and parallel is not None:
            parallel.pre_dispatch = self._pre_dispatch
        return workers

    def start_call(self) -> None:
        """Make the executor of a call. One that is still going on has its own, which serves both."""
        with self._lock:
            self._calls += 1
            if self._calls == 1:
                total = getattr(self.parallel, "n_tasks", None)  # None: its iterable has no length
                self._executor = _CallExecutor(self._workers, total, self.inner_max_num_threads, **_kept_long(self._asked))
            elif self._executor is not None:
                self._executor.is_shared = True

    def stop_call(self) -> None:
        """End the executor of a call. Its workers stay for the next one."""
        with self._lock:
            self._calls -= 1
            if self._calls:
                return
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True, cancel_futures=True)

    def terminate(self) -> None:
        """Forget how long batches took: the next call has other tasks."""
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End all tasks: one has failed, took too long, or Ctrl-C was pressed. Workers that had nothing to do stay."""
        executor = self._executor
        if executor is not None:
            executor.stop()

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Let the first results come: joblib looks for them every 10 ms, which is long for a call of a few small tasks."""
        executor = self._executor
        if executor is not None:
            executor.is_read = True
            _tell_total(executor, self.parallel)
            executor.wait_until_quiet(LOOK_SECONDS)
        yield

    # --- batches

    def submit(self, func: Any, callback: Callable[[Future[Any]], object] | None = None) -> Future[Any]:
        """Have a batch run. joblib calls this in the caller's thread, and in the lanes' as batches end."""
        executor = self._executor
        if executor is None:
            raise RuntimeError("submit() is for joblib, in a call of a Parallel")
        future = executor.submit_batch(func)
        future.add_done_callback(partial(_ended, executor, len(func), callback))
        return future

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """Return the results of a batch, or raise its error."""
        try:
            return out.result()
        except CancelledError:
            raise RuntimeError("the workers were ended: another call of Parallel with the same backend has failed") from None


def _ended(executor: _CallExecutor, tasks: int, callback: Any, future: Future[Any]) -> None:
    """Count the tasks of a batch that has ended, and have joblib take its results and make the next one."""
    if not future.cancelled():
        is_good = future.exception() is None  # else one task has failed, and what became of the others nobody knows
        executor.tasks_ended(tasks if is_good else 0, 0 if is_good else 1)
    if callback is not None:
        callback(future)
        if executor.is_read:
            _tell_total(executor, getattr(callback, "parallel", None))
    executor.batch_ended()


def _tell_total(executor: _CallExecutor, parallel: Any) -> None:
    # joblib tells nobody how many tasks there are, but forgets the iterator that has no more.
    if parallel is not None and not executor.is_shared and getattr(parallel, "_original_iterator", parallel) is None:
        executor.set_total(parallel.n_dispatched_tasks)


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings; raise where an executor could not be made from them."""
    if "max_workers" in settings:
        raise SettingError("max_workers is for joblib to say: n_jobs")
    ProcessPoolExecutor(1, **settings)  # it starts nothing before its first task
    return settings


def _kept_long(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings, with how long idle workers are kept, unless that is said."""
    if os.environ.get("POOLBAR_IDLE_SECONDS"):
        return settings
    return {"idle_seconds": IDLE_SECONDS, **settings}


joblib.register_parallel_backend("poolbar", PoolbarBackend)
