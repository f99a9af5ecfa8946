"""What an executor was asked for: checked, completed from the environment, and free of contradictions."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _choice
from ._errors import SettingError
from ._settings import BACKENDS, BY_VALUE, WrongTypeError, resolve, source_of

if TYPE_CHECKING:
    from collections.abc import Callable

NEEDS_PROCESSES = ("max_tasks_per_child", "mp_context", "task_timeout", "worker_memory_mb")
"""Keywords that only worker processes can honour."""


OLDEST_WITH_INTERPRETERS = (3, 14)

LIMITS = ("task_timeout", "worker_memory_mb")

SETTINGS = (
    "max_workers",
    "backend",
    "address",
    "thread_safe",
    "progress",
    "relay",
    "desc",
    "idle_seconds",
    "retries",
    "preload",
    *LIMITS,
)


LEAST_FOR_WAITING, PROCESSES_PER_CPU, MOST_PROCESSES = 8, 2, 61
"""Processes for tasks that wait: each takes 20 to 30 MB of memory, and Windows cannot wait for more than 61."""


class Options(NamedTuple):
    """What was asked for; None where nothing was."""

    max_workers: int | None
    start_method: Any  # its name, or a multiprocessing context
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    max_tasks_per_child: int | None
    backend: Any  # a name; or an Executor or a Backend itself
    address: str | None  # of the engine of one that is not built in
    thread_safe: bool | None
    progress: Any  # a word, a class with tqdm's interface, or a reporter
    relay: bool
    desc: str | None
    unit: str
    tqdm_options: dict[str, Any]
    idle_seconds: float
    retries: int
    preload: tuple[str, ...]  # modules
    task_timeout: float | None
    worker_memory_mb: float | None
    chunksize: int | None
    buffersize: int | None
    fixed_kind: str | None  # the kind of worker that the executor's class fixes
    needs_processes: str | None  # why only processes will do
    prefers_processes: str | None  # why they are what is meant, where nothing else is asked for
    numeric_threads: int | None = None  # of BLAS and OpenMP in a worker process; None: its share, or what the variables say

    def choose(self) -> _choice.Choice:
        """Return what kind of worker is taken, how many at most, and why. Asks for the CPUs, which takes milliseconds."""
        counts = self.max_workers is None and "thread" not in (self.fixed_kind, self.backend)
        return _choice.choose(
            _choice.Facts(
                backend=self.backend_name,
                fixed=self.fixed_kind,
                gil=self.gil(),
                needs_processes=self.needs_processes,
                prefers_processes=self.prefers_processes,
                max_workers=self.max_workers,
                cpus=self.cpus() if counts else 1,
                thread_cpus=getattr(os, "process_cpu_count", os.cpu_count)() or 1,
            )
        )

    @property
    def is_auto(self) -> bool:
        """Whether measuring may change the choice."""
        return self.fixed_kind is None and self.backend == "auto"

    @property
    def backend_name(self) -> str:
        """What was asked for, in words."""
        return self.backend if isinstance(self.backend, str) else type(self.backend).__name__

    @property
    def is_remote(self) -> bool:
        """Whether a backend that is not built in provides the workers."""
        return self.fixed_kind is None and self.backend not in BACKENDS

    @property
    def keeps_processes(self) -> str | None:
        """Why tasks are never given to threads; None: they may be."""
        return self.needs_processes or self.prefers_processes

    @property
    def method(self) -> str:
        """The name of the start method."""
        method = self.start_method
        return method if isinstance(method, str) else str(method.get_start_method())

    @property
    def is_main_by_value(self) -> bool:
        """Whether what ``__main__`` defines goes to workers by value."""
        return self.method in BY_VALUE or self.is_remote or (self.fixed_kind is None and self.backend == _choice.INTERPRETER)

    def gil(self) -> bool:
        """Tell whether the GIL is on, now."""
        return bool(getattr(sys, "_is_gil_enabled", lambda: True)())

    def cpus(self) -> int:
        """Return how many CPUs this process may use: affinity and cgroups count. Takes milliseconds."""
        from .workers.cpus import cpu_count

        return cpu_count()

    def most_processes(self, cpus: int) -> int:
        """Return how many processes there may be at most for tasks that wait, where no number was given."""
        # An initializer may take long, or open what there are only so many of; forks from a program with threads may hang.
        if self.initializer is not None or self.method == "fork":
            return cpus
        return min(max(LEAST_FOR_WAITING, PROCESSES_PER_CPU * cpus), MOST_PROCESSES)


def options(fixed_kind: str | None, asked: dict[str, Any]) -> Options:
    """Return the options of an executor, from its keyword arguments.

    Raises:
        SettingError: a keyword or a variable has a value that cannot be used.
        TypeError, ValueError: one has the wrong type, or two contradict each other.
    """
    initializer, unit, tqdm_options = asked["initializer"], asked["unit"], asked["tqdm_options"]
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    _check_max_tasks(asked["max_tasks_per_child"])
    if not isinstance(unit, str):
        raise WrongTypeError(f"unit must be a text, not {unit!r}")
    if tqdm_options is not None and not isinstance(tqdm_options, dict):
        raise WrongTypeError(f"tqdm_options must be a dict of keywords for tqdm, not {tqdm_options!r}")
    found = {name: resolve(name, asked[name]) for name in SETTINGS}
    for name in LIMITS:
        # A class whose workers are threads is not made for these, and the variable is meant for others.
        if found[name] == float("inf") or fixed_kind == "thread":
            found[name] = None
    found["preload"] = found["preload"] or ()
    made = Options(
        **found,
        start_method=_checked_context(asked["mp_context"]),
        initializer=initializer,
        initargs=tuple(asked["initargs"]),
        max_tasks_per_child=asked["max_tasks_per_child"],
        unit=unit,
        tqdm_options=dict(tqdm_options or {}),
        chunksize=resolve("chunksize", None),
        buffersize=resolve("buffersize", None),
        fixed_kind=fixed_kind,
        needs_processes=next((source_of(name, asked[name]) for name in NEEDS_PROCESSES if _is_asked(name, asked, found)), None),
        prefers_processes=_preferring(initializer, asked["retries"], found["retries"]),
    )
    _check_facts(made)
    return made


def _preferring(initializer: Any, asked: int | None, retries: int) -> str | None:
    # What an initializer sets up, threads would share; and a crash that is expected would take this process with it.
    if initializer is not None:
        return "initializer"
    return source_of("retries", asked) if retries else None


def _is_asked(name: str, asked: dict[str, Any], found: dict[str, Any]) -> bool:
    # A start method from the environment is for the processes that there are; a limit is to be kept.
    return found[name] is not None if name in LIMITS else asked[name] is not None


def _check_facts(made: Options) -> None:
    if made.fixed_kind is None and made.backend == _choice.INTERPRETER and sys.version_info < OLDEST_WITH_INTERPRETERS:
        raise SettingError(f"backend='interpreter' needs Python 3.14 or newer; this is {sys.version.split()[0]}")
    # A contradiction is said when the executor is made. CPUs do not matter for it, and loky counts them.
    _choice.choose(_choice.Facts(made.backend_name, made.fixed_kind, True, made.needs_processes, None, made.max_workers, 1, 1))
    if made.max_tasks_per_child is not None and made.method == "fork":
        raise ValueError(
            'max_tasks_per_child is incompatible with the "fork" multiprocessing start method; supply a different mp_context.'
        )
    if made.worker_memory_mb is not None:
        from .workers.system import resident_megabytes

        if resident_megabytes(os.getpid()) is None:
            raise SettingError("worker_memory_mb: the memory of a process cannot be known here without the package psutil")


def _check_max_tasks(value: Any) -> None:
    if value is not None:
        if not isinstance(value, int):
            raise TypeError("max_tasks_per_child must be an integer")
        if value <= 0:
            raise ValueError("max_tasks_per_child must be >= 1")


def _checked_context(wish: Any) -> Any:
    if wish is None or isinstance(wish, str):
        return resolve("mp_context", wish)
    from multiprocessing.context import BaseContext

    if not isinstance(wish, BaseContext):
        raise WrongTypeError(f"mp_context must be a start method or a multiprocessing context, not {wish!r}")
    return wish
