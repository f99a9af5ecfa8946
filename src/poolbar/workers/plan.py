"""What worker processes of an executor are made from."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from .._settings import BY_VALUE, OWN
from ..inside.pickling import dumps
from ..inside.process import serve
from ..inside.setup import Flags, Initializer, Main
from . import starting
from .cpus import cpu_count
from .flags import flag_variables
from .relayed import levels
from .warm import shelf

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess

    from ..inside.setup import Setup
    from .template import Template

LIMITS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS",
)  # fmt: skip
"""Variables that say how many threads a numeric library may start."""

_OWN_MAIN = ("poolbar", "loky")  # start methods that leave in __main__ what started the process


def context_of(wish: Any) -> Any:
    """Return the multiprocessing context for a start method's name; a context itself is returned as it is."""
    if not isinstance(wish, str):
        return wish
    if wish == OWN:
        from . import own

        if own.CAN_START:
            return own.PoolbarContext()
        wish = "loky"
    if wish.startswith("loky"):
        from loky.backend.context import get_context

        return get_context(wish)
    import multiprocessing

    return multiprocessing.get_context(wish)


class Plan:
    """How to make a worker process.

    Attributes:
        idle_seconds: how long a worker is kept for the next executor; 0: not at all.
        task_timeout: seconds that a task may take; None: as long as it likes.
        levels: of this process's loggers, for what is logged in the worker; None: nothing is relayed.
        flags: of this interpreter, where the worker has them by its environment.
        preload: modules that workers have imported before they run anything.
        limits: variables that limit the threads of numeric libraries.
        key: workers of plans with equal keys can stand in for each other; None: these are not kept.
    """

    def __init__(
        self,
        context: Any,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        limits: dict[str, str],
        idle_seconds: float,
        task_timeout: float | None = None,
        relay: bool = False,
        preload: tuple[str, ...] = (),
    ) -> None:
        self.context = context
        self.task_timeout = task_timeout
        self.levels = levels() if relay else None
        self.preload = preload
        self._template: Template | None = None  # of which workers are forks; ``starting`` is held while it is looked at
        self.method = context.get_start_method()
        self.main = Main(by_value=self.method in BY_VALUE, empty=self.method in _OWN_MAIN)
        self.initializer = None if initializer is None else self._initializer(initializer, initargs)
        self.limits = limits
        self._flag_variables: dict[str, str] = {}
        self.flags = Flags({}, {})
        if self.method.startswith("loky"):
            self._flag_variables = flag_variables()
            self.flags = Flags({name: os.environ.get(name) for name in self._flag_variables}, sys._xoptions)
        self.idle_seconds = idle_seconds if self._can_be_warm() else 0.0
        self.key = self._make_key() if self.idle_seconds else None

    def _initializer(self, call: Callable[..., object], arguments: tuple[Any, ...]) -> Initializer:
        if self.main.by_value:
            try:
                return Initializer(dumps((call, arguments)), None)
            except (RuntimeError, TypeError):
                pass  # a lock or a pipe of multiprocessing's: it travels only while a process is started, with its arguments
        return Initializer(None, (call, arguments))

    def _can_be_warm(self) -> bool:
        # Only where __main__ can be made as good as new, and the initializer can be compared with the next executor's.
        return self.main.empty and (self.initializer is None or self.initializer.sealed is not None)

    def _make_key(self) -> tuple[Any, ...]:
        sealed = None if self.initializer is None else self.initializer.sealed
        # A worker whose initializer has run is not made as good as new: its levels stay.
        told = self.levels if sealed is not None else self.levels is not None
        return (
            self.method,
            sealed,
            told,
            tuple(self.limits.items()),
            self.preload,
            dict(os.environ),
            os.getcwd(),
            tuple(sys.path),
            tuple(sys.argv),
        )

    def start_trackers(self) -> None:
        """Start multiprocessing's resource tracker, and loky's for loky: these unblock SIGINT in the thread that starts them.

        Not only when something is to be tracked: a worker that then had none would start its own, which unlinks at the
        worker's end the memory that it shares with others.
        """
        if os.name == "posix" and self.method != "fork":
            from multiprocessing.resource_tracker import ensure_running

            ensure_running()
            if self.method.startswith("loky"):
                from loky.backend.resource_tracker import ensure_running as ensure_lokys

                ensure_lokys()

    def process(self, ends: tuple[Any, Any, Any, Any], setup: Setup) -> BaseProcess:
        """Return a process, not started, that serves.

        Args:
            ends: of pipes: tasks, outcomes, control, and ``starting.life``.
            setup: what it starts with.
        """
        if self.method == OWN:
            from .own import PoolbarProcess, Start

            environment = {**os.environ, **self.limits}
            return PoolbarProcess(Start(ends, setup, environment, self._living_template(environment)))
        made: Any = self.context.Process(target=serve, args=(*ends, setup))
        if self.method.startswith("loky"):
            made.env = {**self.limits, **self._flag_variables}
        process: BaseProcess = made
        return process

    def _living_template(self, environment: dict[str, str]) -> Template | None:
        if not self.preload:
            return None
        from .template import Template

        if self._template is None and self.key is not None:
            self._template = shelf.take((Template, self.key))
        if self._template is not None and not self._template.is_alive():
            self._template.retire()
            self._template = None
        if self._template is None:
            self._template = Template(self.preload, environment)
        return self._template

    def end(self) -> None:
        """Give back what workers are made with: there are none any more, and none will be made."""
        with starting.starting:
            template, self._template = self._template, None
        if template is not None and not (
            self.key is not None and shelf.put((type(template), self.key), template, self.idle_seconds)
        ):
            template.retire()


def thread_limits(workers: int, threads: int | None = None) -> dict[str, str]:
    """Return the variables that limit the threads of numeric libraries in each of so many workers.

    Args:
        workers: worker processes at most.
        threads: in each; None: its share of the CPUs, where the environment does not say it already.
    """
    if threads is not None:
        return dict.fromkeys(LIMITS, str(threads))
    share = str(max(1, cpu_count() // workers))
    return {name: share for name in LIMITS if name not in os.environ}
