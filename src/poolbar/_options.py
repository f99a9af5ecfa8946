"""What an executor was asked for: checked, completed from the environment, and free of contradictions."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _choice
from ._errors import SettingError
from ._settings import WrongTypeError, resolve, source_of

if TYPE_CHECKING:
    from collections.abc import Callable

NEEDS_PROCESSES = ("max_tasks_per_child", "mp_context", "task_timeout", "worker_memory_mb")
"""Keywords that only worker processes can honour."""


LIMITS = ("task_timeout", "worker_memory_mb")

SETTINGS = ("max_workers", "backend", "progress", "relay", "desc", "idle_seconds", "retries", *LIMITS)


class Options(NamedTuple):
    """What was asked for; None where nothing was."""

    max_workers: int | None
    start_method: Any  # its name, or a multiprocessing context
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    max_tasks_per_child: int | None
    backend: str
    progress: Any  # a word, a class with tqdm's interface, or a reporter
    relay: bool
    desc: str | None
    unit: str
    tqdm_options: dict[str, Any]
    idle_seconds: float
    retries: int
    task_timeout: float | None
    worker_memory_mb: float | None
    chunksize: int | None
    buffersize: int | None
    fixed_kind: str | None  # the kind of worker that the executor's class fixes
    needs_processes: str | None  # why only processes will do

    def choose(self) -> _choice.Choice:
        """Return what kind of worker is taken, how many at most, and why. Asks for the CPUs, which takes milliseconds."""
        counts = self.max_workers is None and "thread" not in (self.fixed_kind, self.backend)
        return _choice.choose(
            _choice.Facts(
                backend=self.backend,
                fixed=self.fixed_kind,
                gil=getattr(sys, "_is_gil_enabled", lambda: True)(),
                needs_processes=self.needs_processes,
                max_workers=self.max_workers,
                cpus=_cpus() if counts else 1,
                thread_cpus=getattr(os, "process_cpu_count", os.cpu_count)() or 1,
            )
        )


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
    )
    _check_facts(made)
    return made


def _is_asked(name: str, asked: dict[str, Any], found: dict[str, Any]) -> bool:
    # A start method from the environment is for the processes that there are; a limit is to be kept.
    return found[name] is not None if name in LIMITS else asked[name] is not None


def _check_facts(made: Options) -> None:
    # A contradiction is said when the executor is made. CPUs do not matter for it, and loky counts them.
    _choice.choose(_choice.Facts(made.backend, made.fixed_kind, True, made.needs_processes, made.max_workers, 1, 1))
    method = made.start_method if isinstance(made.start_method, str) else made.start_method.get_start_method()
    if made.max_tasks_per_child is not None and method == "fork":
        raise ValueError(
            'max_tasks_per_child is incompatible with the "fork" multiprocessing start method; supply a different mp_context.'
        )
    if made.worker_memory_mb is not None:
        from .workers.system import resident_megabytes

        if resident_megabytes(os.getpid()) is None:
            raise SettingError("worker_memory_mb: the memory of a process cannot be known here without the package psutil")


def _cpus() -> int:
    from .workers.plan import cpu_count

    return cpu_count()


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
