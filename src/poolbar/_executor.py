"""The executors: a drop-in for ``concurrent.futures``, with progress. Wires the parts; decides nothing itself."""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from concurrent.futures import Executor, Future
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from . import _crew
from . import _messages as messages
from ._broken import BrokenExecutor
from ._crews import crew_of
from ._errors import NotPicklable, SettingError, text_of
from ._exit import State, end_on_sigterm, join_before_children, leave_sigterm, step_aside_for_tracebacks
from ._failures import Failures
from ._function import Functions, name_of
from ._future import new_future
from ._inputs import inputs_of
from ._interrupts import interrupts_deferred, interrupts_held_off
from ._judge import AutoJudge, FixedJudge
from ._map import Asked, Run
from ._options import options
from ._reading import Bell
from ._reading import results as results_of
from ._settings import resolve
from .inside.names import ModuleIsBeingImported
from .inside.pickling import seal
from .inside.shared_main import Side
from .progress import Tally, Untold
from .progress.choice import reporter_maker
from .progress.painter import painter
from .progress.place import cell
from .workers.blocks import Blocks
from .workers.shared import Shared

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Sequence

    from typing_extensions import Self

    from ._choice import Choice
    from ._inputs import Inputs
    from ._judge import Judge
    from ._remote import Remote
    from .backends import Backend
    from .progress import Reporter

T = TypeVar("T")
RunT = TypeVar("RunT", bound=Run)

_numbers = itertools.count()


class ProgressExecutor(Executor):
    """Runs calls in worker processes, threads or interpreters, and shows how far they are.

    Args:
        max_workers: workers at most. Default: the CPUs that this process may use, and with "auto" more for tasks that wait; for
            threads 4 more, at most 32.
        mp_context: a multiprocessing context or the name of a start method; default "poolbar", which needs no
            ``if __name__ == "__main__"`` guard.
        initializer: called in each worker before its first task.
        initargs: the initializer's arguments.
        max_tasks_per_child: tasks after which a worker process is replaced.
        backend: what provides workers: "auto", "process", "thread", or "interpreter": sub-interpreters in this process, each
            with a GIL of its own, from Python 3.14 on; they start faster than processes, and cannot import all extension modules.
            Default "auto": processes, or threads where Python runs without a GIL; tasks are measured as they run, and what would
            be faster is said, or done, where ``thread_safe`` allows it. Or "dask", "ray", or the name of another backend that is
            installed; or any ``concurrent.futures.Executor``, which stays open: see ``poolbar.backends``.
        address: where the engine of such a backend is; default: what its own configuration says.
        thread_safe: whether "auto" may run tasks in threads of this process. Default: those of functions with the decorator
            ``poolbar.thread_safe``. What they change in this process, they change for all.
        progress: what shows it: True or "bar", "log", False or "off", "json", "json:PATH", a class with tqdm's interface, or a
            Reporter. Default "auto": the bar where stderr is a terminal or a notebook, else the log.
        relay: whether what tasks in worker processes and interpreters print, log and warn of, and their tqdm bars, is shown here.
        desc: what stands before the bar.
        unit: what the bar counts.
        tqdm_options: further keywords for tqdm.
        idle_seconds: how long idle worker processes are kept for the next executor; 0: not at all.
        preload: names of modules that worker processes have imported before their first task. With the default start method one
            process imports them, and workers are forks of it.
        retries: how often a task is tried again, alone, whose worker died or that ran out of time.
        task_timeout: seconds that a task may run, from its own start in the worker; then its worker process is replaced and
            it fails with TaskTimeout.
        worker_memory_mb: a worker process that has grown by more than this since its first task is replaced between tasks.

    Each keyword that is None comes from its ``POOLBAR_...`` variable, if that is set.

    Raises:
        SettingError: a keyword or a variable has a value that cannot be used (a ValueError, also a TypeError for a wrong type).
    """

    _fixed_kind: str | None = None
    _tally_type: type[Tally] = Tally

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        backend: str | Executor | Backend | None = None,
        address: str | None = None,
        thread_safe: bool | None = None,
        progress: bool | str | Reporter | Callable[..., Any] | None = None,
        relay: bool | None = None,
        desc: str | None = None,
        unit: str = "task",
        tqdm_options: dict[str, Any] | None = None,
        idle_seconds: float | None = None,
        preload: Sequence[str] | str | None = None,
        retries: int | None = None,
        task_timeout: float | None = None,
        worker_memory_mb: float | None = None,
        thread_name_prefix: str = "",
    ) -> None:
        asked = {name: value for name, value in locals().items() if name != "self"}
        self._options = options(self._fixed_kind, asked)
        self._number = next(_numbers)
        self._thread_name_prefix = thread_name_prefix or f"{type(self).__name__}-{self._number}"
        # Made when they are first wanted; _making keeps two callers from making two.
        self._making = threading.RLock()
        self._judge: Judge | None = None
        self._crew: _crew.Crew | None = None
        self._main_by_value = self._options.is_main_by_value
        self._tally: Tally = Untold()
        self._blocks = Blocks(keep=False)
        self._cell: int | None = None  # of a notebook, in which these tasks were submitted
        self._is_shut = False

    # --- what runs

    @property
    def choice(self) -> Choice:
        """What kind of worker was taken, how many at most, and why."""
        if self._options.is_remote:
            self._start()  # what there is, the engine tells
        return self._the_judge().choice

    def _the_judge(self) -> Judge:
        with self._making:
            if self._judge is None:
                asked = self._options
                self._judge = AutoJudge(asked) if asked.is_auto else FixedJudge(asked.choose())
            return self._judge

    @property
    def _max_workers(self) -> int:  # dask, joblib and others read it
        return self.choice.workers

    @property
    def _mp_context(self) -> Any:
        from .workers.plan import context_of

        return context_of(self._options.start_method)

    @property
    def _processes(self) -> dict[int, Any]:  # read by those who kill workers themselves
        workers: list[Any] = [lane.worker for lane in self._crew.lanes] if self._crew is not None else []
        processes = [worker.process for worker in workers if worker is not None and worker.pid is not None]
        return {process.pid: process for process in processes if process is not None}

    @property
    def _threads(self) -> set[threading.Thread]:
        return {lane.thread for lane in self._crew.lanes} if self._crew is not None else set()

    @property
    def _broken(self) -> str | bool:
        return (self._crew is not None and self._crew.backlog.broken) or False

    def _start(self) -> _crew.Crew:
        """Make the crew. No worker is started yet, but for those that fork."""
        remote = self._opened()
        with interrupts_deferred(), self._making:
            if self._crew is not None:
                if remote is not None:
                    remote.close()  # another thread was faster
            else:
                if State.exiting or self._is_shut:
                    raise self._refusal()
                join_before_children()
                end_on_sigterm()
                step_aside_for_tracebacks()
                if remote is not None:
                    self._judge = FixedJudge(remote.choice(), remote.batch_seconds)
                judge = self._the_judge()
                self._functions = Functions(self._main_by_value, judge)
                crew = crew_of(self._options, judge, self._thread_name_prefix, remote)
                # Not a finalizer: it must not keep the interpreter's exit waiting.
                crew.owner = weakref.ref(self, lambda _: crew.abandon())
                self._tally = crew.calls_tally = self._new_tally(crew, 0, self._options.desc)
                self._cell = cell()
                self._crew = crew
            return self._crew

    def _opened(self) -> Remote | None:
        """Open the backend, where it is not built in. That may wait for a network: a Ctrl-C comes through."""
        if not self._options.is_remote or self._crew is not None or self._is_shut or State.exiting:
            return None
        from ._remote import Remote

        return Remote(self._options)

    def _open_crew(self) -> _crew.Crew:
        crew = self._crew
        if crew is None:
            return self._start()
        if crew.backlog.closed or State.exiting:
            raise self._refusal()
        return crew

    def _refusal(self) -> RuntimeError:
        broken = self._broken
        if isinstance(broken, str):
            return BrokenExecutor(broken)
        return RuntimeError(f"cannot schedule new futures after {'interpreter ' if State.exiting else ''}shutdown")

    # --- submit and map

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Schedule the call ``fn(*args, **kwargs)`` and return a future for it.

        The arguments are pickled here, so later changes do not leak in. What does not pickle is the future's exception.

        Raises:
            TypeError: ``fn`` is not callable.
            RuntimeError: the executor was shut down, or the module of ``fn`` is still being imported.
            BrokenProcessPool: no worker can be started.
        """
        crew = self._crew or self._start()  # whether it is open is seen below, under the lock
        if not callable(fn):
            raise TypeError(f"submit() takes a callable, not {fn!r}")
        future: Future[T] = new_future()
        payload: Any
        form = messages.SEALED
        crew.judge.look()
        if crew.judge.is_in_thread(fn):
            function, form, payload = self._functions.in_thread(fn), messages.PAIRED, (args, kwargs)
        else:
            try:
                function = self._functions.get(fn)
                if not kwargs and _are_atoms(args):
                    form, payload = messages.STARRED, args
                else:
                    payload = self._blocks.copied_all(seal((args, kwargs), self._main_by_value))
            except (KeyboardInterrupt, ModuleIsBeingImported):
                raise
            except BaseException as error:  # code of the user's runs while pickling
                self._open_crew()  # after a shutdown that is what is wrong
                return self._failed(future, fn, error)
        backlog = crew.backlog
        if self._cell is not None:
            self._follow_cell(crew)
        tally = self._tally
        tally.added()
        with backlog.lock:
            if not backlog.closed:
                backlog.put_call(function, form, (future, payload), tally)
                return future
        tally.cancelled(1)
        raise self._refusal()

    def _failed(self, future: Future[T], fn: Any, error: BaseException) -> Future[T]:
        from .workers.remote_errors import not_picklable

        self._tally.added()
        self._tally.ended(0, 1)
        future.set_running_or_notify_cancel()
        future.set_exception(not_picklable(name_of(fn), error))
        return future

    def map(  # the standard library's, and more
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        total: int | None = None,
        desc: str | None = None,
        errors: Literal["raise", "collect"] = "raise",
    ) -> Iterator[T]:
        """Return an iterator over ``fn(*items)`` for the items of the iterables, taken in step.

        Sequences are taken at the call. An iterator is pulled by the calling thread, only as far ahead as a window reaches.

        Args:
            fn: called with as many arguments as there are iterables.
            *iterables: at least one.
            timeout: seconds from this call after which waiting for a result raises TimeoutError.
            chunksize: tasks in a batch; default: what takes about 10 ms, by measuring.
            buffersize: tasks that are asked for and not yet read, at most.
            ordered: False yields results as tasks end.
            total: how many tasks there will be, for the bar, where the iterables do not know.
            desc: what stands before the bar of this run.
            errors: "raise": the error of a task is raised in its place, and ends the iteration. "collect": it is yielded in its
                place, the run goes on, and a summary of what failed is logged at the end (logger "poolbar").

        Raises:
            TypeError: no iterable was given, or one is not iterable, or ``fn`` is not callable.
            SettingError: ``chunksize``, ``buffersize`` or ``errors`` cannot be used.
            NotPicklable: ``fn`` cannot be pickled.
            RuntimeError: the executor was shut down, or the module of ``fn`` is still being imported.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        asked = self._checked(fn, iterables, Asked(chunksize, buffersize, ordered, total, desc, errors))
        self._open_crew()
        bell = Bell()
        return results_of(self._run(fn, inputs_of(iterables), asked, partial(Run, bell=bell)), bell, deadline)

    def amap(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        total: int | None = None,
        desc: str | None = None,
        errors: Literal["raise", "collect"] = "raise",
    ) -> AsyncGenerator[T, None]:
        """Return an asynchronous iterator over what ``map`` gives: ``async for value in executor.amap(fn, items)``.

        It takes what ``map`` takes, and asynchronous iterables. It needs a running asyncio event loop, blocks neither that nor
        another thread while it waits, and begins when the first result is asked for. The loop's own thread pulls the iterables,
        only as far ahead as a window reaches: one that blocks blocks the loop. Leaving the loop, or cancelling its task, drops
        what has not started. A shutdown breaks off what has not been pulled: the reader then meets a RuntimeError.

        Raises:
            TypeError, SettingError, NotPicklable, RuntimeError: as ``map`` does; the last two with the first result, as the
                RuntimeError where there is no event loop.
        """
        from ._amap import results

        deadline = None if timeout is None else time.monotonic() + timeout
        asked = self._checked(fn, iterables, Asked(chunksize, buffersize, ordered, total, desc, errors))
        return results(lambda inputs, make: self._run(fn, inputs, asked, make), iterables, deadline)

    def _checked(self, fn: Callable[..., T], iterables: tuple[Any, ...], asked: Asked) -> Asked:
        """Return what a run was asked for, completed from the settings. Raises as ``map`` does."""
        chunksize = self._options.chunksize if asked.chunksize is None else resolve("chunksize", asked.chunksize)
        buffersize = self._options.buffersize if asked.buffersize is None else resolve("buffersize", asked.buffersize)
        if not iterables:
            raise TypeError("map() takes at least one iterable")
        if not callable(fn):
            raise TypeError(f"map() takes a callable, not {fn!r}")
        if asked.errors not in ("raise", "collect"):  # it may be of any type
            raise SettingError(f"errors must be 'raise' or 'collect', not {asked.errors!r}")
        desc = self._options.desc if asked.desc is None else asked.desc
        return asked._replace(chunksize=chunksize, buffersize=buffersize, desc=desc)

    def _run(self, fn: Callable[..., T], inputs: Inputs, asked: Asked, make: Callable[..., RunT]) -> RunT:
        """Start a run. Raises as ``map`` does."""
        crew = self._open_crew()
        crew.judge.look()
        function = self._functions.get_for_run(fn)
        if asked.chunksize is not None:
            function = function.in_batches_of(asked.chunksize)
        length = inputs.length()
        tally = self._new_tally(crew, asked.total if length is None else length, asked.desc)
        run = make(
            crew.backlog, function, inputs, tally, ordered=asked.ordered, buffersize=asked.buffersize,
            failures=Failures(function.name) if asked.errors == "collect" else None, stop=crew.end_run,
        )  # fmt: skip
        crew.keep(run)
        try:
            is_open = run.start()
        except BaseException:
            run.leave()
            raise
        if not is_open:
            run.leave()
            raise self._refusal()
        return run

    def share(self, obj: T) -> Shared[T]:
        """Return what stands for one large object that many tasks have: a task that gets it as an argument gets the object.

        The object is pickled once, here, and lies in memory that all workers read: arrays in it cannot be written to there. As an
        argument of its own, or bound by ``functools.partial``, it works in every kind of worker; deeper inside of other
        arguments in all but threads. It is freed with the executor, or by its ``free()``.

        Raises:
            NotPicklable: it cannot be pickled.
            RuntimeError: the executor was shut down.
        """
        crew = self._open_crew()
        try:
            shared = Shared(obj, crew.shared, None if crew.judge.is_for_threads() else self._main_by_value)
        except Exception as error:
            raise NotPicklable(f"{type(obj).__name__} cannot be shared, for it cannot be pickled: {text_of(error)}") from error
        crew.shared.append(shared)
        return shared

    # --- progress

    def _new_tally(self, crew: _crew.Crew, total: int | None, desc: str | None) -> Tally:
        asked = self._options
        make = reporter_maker(asked.progress, asked.tqdm_options, inside_worker=Side.inside_worker)
        if make is None:
            return Untold()
        tally = self._tally_type(total, desc, asked.unit, crew.running, lambda: crew.judge.choice)
        painter.add(tally, make())
        crew.tallies.add(tally)
        return tally

    def _follow_cell(self, crew: _crew.Crew) -> None:
        # What is submitted in another cell of a notebook is a run of its own, with a bar there.
        now = cell()
        with interrupts_deferred(), self._making:
            if self._cell != now:
                self._cell = now
                self._tally.close_when_done()
                self._tally = crew.calls_tally = self._new_tally(crew, 0, self._options.desc)

    # --- the end

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks, and free what the workers hold when all that was asked for is done.

        What iterators given to ``map`` have not been asked for yet is pulled here, in this thread.

        Args:
            wait: return only when all is done.
            cancel_futures: drop what has not started.
        """
        with self._making:
            self._is_shut = True
        crew = self._crew
        if crew is None:
            return
        self._functions.forget()
        try:
            crew.finish(wait=wait, cancel=cancel_futures)
        except KeyboardInterrupt:
            with interrupts_held_off():
                crew.kill(hard=True)
                crew.join()
                crew.close_tallies()
            raise
        if wait:
            crew.close_tallies()
            painter.rest()
            leave_sigterm()
        self._tally.close_when_done()

    def kill(self, future: Future[Any]) -> bool:
        """End a submitted task, even if it runs: its worker process is killed and replaced, and the future is cancelled.

        A task that waits is cancelled, no more. Returns when all is done; from a callback of a future it may return at once,
        and the task is ended as soon as the callback returns. True: the future is cancelled; False: the task had ended by itself.

        Raises:
            RuntimeError: the task runs in a thread or an interpreter, which cannot be stopped.
            ValueError: the future is running, and not of this executor.
        """
        if not isinstance(future, Future):
            raise TypeError(f"kill() takes a future, not {future!r}")
        if future.cancel():
            return True
        if future.done():
            return future.cancelled()
        if self._crew is None:
            raise ValueError(f"{future!r} is not of this executor")
        return self._crew.kill_task(future)

    def terminate_workers(self) -> None:
        """Cancel what waits and end the worker processes by SIGTERM; do not wait for them. Running tasks fail."""
        self._force(hard=False)

    def kill_workers(self) -> None:
        """Cancel what waits and end the worker processes by SIGKILL; do not wait for them. Running tasks fail."""
        self._force(hard=True)

    def _force(self, *, hard: bool) -> None:
        with self._making:
            self._is_shut = True
        if self._crew is not None:
            self._crew.kill(hard=hard)
            self._tally.close_when_done()

    def _close(self) -> None:
        """Take no more tasks; wait for nothing, and pull nothing from iterators: their readers do."""
        with self._making:
            self._is_shut = True
        if self._crew is not None:
            self._crew.close()

    def _stop(self) -> None:
        """Cancel what waits, end what runs in processes, and wait for what cannot be ended."""
        with interrupts_held_off():  # for a second at most
            self._close()
            if self._crew is not None:
                self._crew.stop()
        self.shutdown(wait=True, cancel_futures=True)

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> bool | None:
        try:
            if exc_type is None or not issubclass(exc_type, KeyboardInterrupt):
                self.shutdown(wait=True)
                return None
        except KeyboardInterrupt:
            self._end_now()
            raise
        self._end_now()
        return None

    async def __aenter__(self) -> Self:
        from ._amap import running_loop

        running_loop("async with")  # or its end could not be awaited
        return self

    async def __aexit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        """As ``__exit__``, but the event loop goes on meanwhile, and an error drops what has not started. A cancel means: now."""
        from ._amap import wait_apart

        if exc_type is not None and not issubclass(exc_type, Exception):
            self.kill_workers()
        elif exc_type is None and self._crew is not None:
            self._crew.finish_runs()  # what this thread has given to ``map``, it pulls
        await wait_apart(partial(self.shutdown, wait=True, cancel_futures=exc_type is not None), self.kill_workers)
        leave_sigterm()  # the thread that waited could not

    def _end_now(self) -> None:
        # Ctrl-C means: now.
        with interrupts_held_off():
            self.kill_workers()
            self.shutdown(wait=True, cancel_futures=True)

    def __repr__(self) -> str:
        name = type(self).__name__
        if self._crew is None:
            return f"<{name}: not started>" if not self._is_shut else f"<{name}: shut down>"
        choice = self.choice
        backlog = self._crew.backlog
        waiting, running, done = backlog.figures()
        state = f"broken ({backlog.broken})" if backlog.broken else "shut down" if backlog.closed else "open"
        return (
            f"<{name}: {state}, {backlog.hands[choice.kind].lanes} of {choice.workers} {choice.kind} workers ({choice.reason}), "
            f"{waiting} tasks waiting, {running} batches running, {done} tasks done>"
        )


_ATOMS = frozenset((int, float, bool, type(None), complex))
_SHORT = 256


def _are_atoms(args: tuple[Any, ...]) -> bool:
    """Tell whether arguments cannot change and are small, so that they need no pickle of their own."""
    for arg in args:
        kind = type(arg)
        if kind not in _ATOMS and not ((kind is str or kind is bytes) and len(arg) <= _SHORT):
            return False
    return True


def shutdown_warm_workers() -> None:
    """End the idle worker processes that are kept for the next executor, and wait for them."""
    from .workers.warm import shelf

    shelf.clear()
