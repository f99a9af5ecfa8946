"""Threads of numeric libraries (BLAS, OpenMP) while tasks run in threads side by side: as many as let all share the CPUs.

A BLAS has one setting for the whole process, so while several executors are alive, the one with most workers counts, and the last
worker restores what was. OpenMP has one for each thread, which ends with it. Both are found only once they are loaded: each
worker looks again when modules have been imported. That is done by threadpoolctl, where it is installed; it is imported
when a numeric library is there.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Any

NUMERIC = ("numpy", "torch", "faiss", "lightgbm", "xgboost")
"""Where none of these is loaded, nothing else that brings such a library is."""

VARIABLES = {
    "openblas": ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"),
    "mkl": ("MKL_NUM_THREADS", "OMP_NUM_THREADS"),
    "blis": ("BLIS_NUM_THREADS", "OMP_NUM_THREADS"),
}
"""By which users set the number themselves; for all others by the last of these."""


class _Limited:
    """A BLAS, and what it had before it was limited."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._before: int = library.num_threads
        self._given: int = self._before

    def limit(self, threads: int | None) -> None:
        """Give it so many threads, or what it had. One whose number somebody else has set since is left alone."""
        if self._library.num_threads != self._given:
            return
        self._given = self._before if threads is None else min(threads, self._before)
        self._library.set_num_threads(self._given)
        # From 3.8 on, threadpoolctl lets no thread set a BLAS but the one that did so first, while that lives or until it says
        # that it is done. If that is the user's, it was left alone just now.
        done = getattr(self._library, "clear_controlling_thread", None)
        if done is not None:
            done()


class Pools:
    """The thread pools of the numeric libraries in this process. ``_lock`` is held while they are limited, for microseconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers: dict[object, int] = {}  # those that are alive, and how many threads each may have beside the others
        self._limited: dict[str, _Limited] = {}  # by the library's file

    def share(self, worker: object, workers: int) -> None:
        """Limit what is loaded by now, in this thread, to what one of so many workers may use."""
        if not any(name in sys.modules for name in NUMERIC):
            return
        found = _libraries()
        if not found:
            return
        from .cpus import cpu_count

        threads = max(1, cpu_count() // workers)
        with self._lock:
            self._workers[worker] = threads
            for library in found:
                if _is_of_a_thread(library):
                    library.set_num_threads(min(threads, library.num_threads))
                elif library.filepath not in self._limited:
                    self._limited[library.filepath] = _Limited(library)
            self._apply()

    def leave(self, worker: object) -> None:
        """Let the others have the share of a worker that has ended; the last one restores what was."""
        with self._lock:
            if self._workers.pop(worker, None) is not None:
                self._apply()
                if not self._workers:
                    self._limited.clear()

    def _apply(self) -> None:
        for limited in self._limited.values():
            limited.limit(min(self._workers.values(), default=None))

    def forget(self) -> None:
        """Start anew in a forked child: the workers are its parent's. What was limited is so until the next workers end."""
        self._lock = threading.Lock()
        self._workers.clear()


def _libraries() -> list[Any]:
    """Return the numeric libraries that are loaded, but for those whose threads the user has set."""
    from importlib.util import find_spec

    if find_spec("threadpoolctl") is None:
        return []
    from threadpoolctl import ThreadpoolController

    try:
        found = ThreadpoolController().lib_controllers
    except Exception as error:  # a library that it cannot read; a warning of it, where warnings are errors
        logging.getLogger("poolbar").warning("the threads of numeric libraries are not limited: %s", error)
        return []
    return [library for library in found if not _is_set(VARIABLES.get(library.internal_api, ("OMP_NUM_THREADS",)))]


def _is_of_a_thread(library: Any) -> bool:
    is_openmp = library.user_api == "openmp"
    return is_openmp or (library.internal_api == "openblas" and getattr(library, "threading_layer", "") == "openmp")


def _is_set(variables: tuple[str, ...]) -> bool:
    return any(os.environ.get(name) for name in variables)


pools = Pools()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pools.forget)
