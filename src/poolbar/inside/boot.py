"""How a worker process begins that the parent has started in its own way (workers/own.py): it learns what it is, and serves.

No ``__main__`` is run here, and multiprocessing, which takes 8 ms, is not imported: what it should know of this process it is
told when a task imports it.
"""

from __future__ import annotations

import gc
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from .channel import OwnEnd
from .pickling import load
from .process import serve
from .relay import when_imported

if TYPE_CHECKING:
    from types import ModuleType
    from typing import BinaryIO

    from .setup import Setup

_arrived: list[int] = []


class Passed:
    """A descriptor that came with this process, by its place among them: in a pickle that was made as the process was started."""

    def __init__(self, place: int) -> None:
        self._place = place

    def detach(self) -> int:
        """Return the descriptor; the caller closes it. multiprocessing's name."""
        return _arrived[self._place]


class Origin(NamedTuple):
    """What a worker process is, and where it comes from."""

    name: str
    identity: tuple[int, ...]  # by which multiprocessing names this process's children
    argv: list[str]
    directory: str | None  # multiprocessing's ORIGINAL_DIR: what an empty entry of sys.path means
    authkey: bytes
    parent: tuple[str, int]  # name and pid
    log_level: int | None  # of multiprocessing's own log, where the parent has that
    log_to_stderr: bool

    def settle(self, tracker: int, life: int) -> None:
        """Have this process be what it should, now or when somebody wants to know.

        Args:
            tracker: the descriptor of multiprocessing's resource tracker, the parent's: what is shared is tracked in one place.
            life: one that can be read from when the parent is gone.
        """
        sys.argv[:] = self.argv
        when_imported("multiprocessing.process", partial(self._settle_process, life))
        when_imported("multiprocessing.resource_tracker", partial(_settle_tracker, tracker))
        when_imported("logging", _name_processes)
        if self.log_level is not None:
            self._log()

    def _settle_process(self, life: int, process: ModuleType) -> None:
        # As multiprocessing.spawn.prepare does in the standard library's workers.
        own: Any = process.current_process()
        own.name, own.authkey, own._identity = self.name, self.authkey, self.identity
        known: Any = process
        known.ORIGINAL_DIR = self.directory
        known._parent_process = known._ParentProcess(*self.parent, life)

    def _log(self) -> None:
        from multiprocessing import util

        if self.log_to_stderr:
            util.log_to_stderr()
        util.get_logger().setLevel(self.log_level)  # type: ignore[arg-type]  # it is there


def _settle_tracker(tracker: int, resource_tracker: ModuleType) -> None:
    resource_tracker._resource_tracker._fd = tracker


def _name_processes(_: ModuleType) -> None:
    # Log records have the name of the process only where multiprocessing is loaded.
    import multiprocessing.process  # noqa: F401


def _end_multiprocessing() -> None:
    # As at the end of each of its own processes, before anything else of this one ends: queues are flushed, children joined.
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:
        util._exit_function()


def main(boot: BinaryIO, descriptors: list[int]) -> None:
    """Run a worker.

    Args:
        boot: what the parent writes: an Origin, and a Setup.
        descriptors: that of ``boot``; one that is open as long as this process lives; that of multiprocessing's resource
            tracker; ends of pipes: tasks, outcomes, control, life; and those that came in the initializer's arguments.
    """
    _arrived[:] = descriptors
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # what a task starts must not hold it open
    _, _, tracker, tasks, outcomes, control, life, *_ = descriptors
    origin: Origin = load(boot)
    origin.settle(tracker, life)
    setup: Setup = load(boot)
    boot.close()
    gc.freeze()  # what is here by now stays to the end: the collector need not look at it, and the interpreter ends 3 ms sooner
    serve(OwnEnd(tasks), OwnEnd(outcomes), OwnEnd(control), OwnEnd(life), setup)
    _end_multiprocessing()
