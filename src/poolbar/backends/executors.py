"""Any ``concurrent.futures.Executor`` as a backend: mpi4py's, ipyparallel's, loky's, the standard library's."""

from __future__ import annotations

import os
import threading
from concurrent.futures import BrokenExecutor
from typing import TYPE_CHECKING, Any

from .._errors import BackendError, text_of
from . import Backend

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future


class ExecutorBackend(Backend):
    """Hands calls to an executor, which stays its owner's: it is not shut down.

    Args:
        executor: that runs calls.
        max_workers: how many it runs at a time; None: what it says, or the number of CPUs.

    ``_lock`` is held while a call is submitted, for not all executors let several threads do so (ipyparallel's does not). Where a
    submit waits, for room in a queue, the other lanes wait too.
    """

    def __init__(self, executor: Executor, max_workers: int | None) -> None:
        self.name = type(executor).__name__
        self._executor = executor
        self._max_workers = max_workers
        self._lock = threading.Lock()

    def submit(self, call: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Submit a call."""
        try:
            with self._lock:
                return self._executor.submit(call, *args)
        except (BrokenExecutor, RuntimeError) as error:  # it has broken, or was shut down
            raise BackendError(f"{self.name} takes no more calls: {text_of(error)}") from error

    def slots(self) -> int:
        """Return what the executor says; each has its own name for it."""
        if self._max_workers is not None:
            return self._max_workers
        for name in ("_max_workers", "num_workers"):  # the standard library's, loky's; mpi4py's
            found = getattr(self._executor, name, None)
            if isinstance(found, int) and found > 0:
                return found
        return os.cpu_count() or 1
