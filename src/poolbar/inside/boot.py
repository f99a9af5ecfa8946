"""How a worker process begins that the parent has started in its own way (workers/own.py): it learns what it is, and serves.

No ``__main__`` is run here, and multiprocessing, which takes 8 ms, is not imported: what it should know of this process it is
told when a task imports it.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from .channel import OwnEnd
from .pickling import load
from .process import serve
from .relay import when_imported

if TYPE_CHECKING:
    from types import ModuleType
    from typing import BinaryIO

    from .setup import Setup


class Origin(NamedTuple):
    """What a worker process is, and where it comes from."""

    name: str
    identity: tuple[int, ...]  # by which multiprocessing names this process's children
    argv: list[str]
    directory: str | None  # multiprocessing's ORIGINAL_DIR: what an empty entry of sys.path means
    authkey: bytes
    parent: tuple[str, int]  # name and pid
    tracker: int  # the descriptor of multiprocessing's resource tracker: what a task shares is tracked with what the parent does
    log_level: int | None  # of multiprocessing's own log, where the parent has that
    log_to_stderr: bool
    ends: tuple[int, int, int, int]  # descriptors: tasks, outcomes, control, life
    sentinel: int  # a descriptor: where this process holds it open, it is alive

    def settle(self) -> None:
        """Have this process be what it should, now or when somebody wants to know."""
        for descriptor in (*self.ends, self.sentinel, self.tracker):
            os.set_inheritable(descriptor, False)  # what a task starts must not hold them open
        sys.argv[:] = self.argv
        when_imported("multiprocessing.process", self._settle_process)
        when_imported("multiprocessing.resource_tracker", self._settle_tracker)
        when_imported("logging", _name_processes)
        if self.log_level is not None:
            self._log()

    def _settle_process(self, process: ModuleType) -> None:
        # As multiprocessing.spawn.prepare does in the standard library's workers.
        own: Any = process.current_process()
        own.name, own.authkey, own._identity = self.name, self.authkey, self.identity
        known: Any = process
        known.ORIGINAL_DIR = self.directory
        known._parent_process = known._ParentProcess(*self.parent, self.ends[3])

    def _settle_tracker(self, resource_tracker: ModuleType) -> None:
        resource_tracker._resource_tracker._fd = self.tracker

    def _log(self) -> None:
        from multiprocessing import util

        if self.log_to_stderr:
            util.log_to_stderr()
        util.get_logger().setLevel(self.log_level)  # type: ignore[arg-type]  # it is there


def _name_processes(_: ModuleType) -> None:
    # Log records have the name of the process only where multiprocessing is loaded.
    import multiprocessing.process  # noqa: F401


def main(boot: BinaryIO) -> None:
    """Run a worker, as ``boot`` says, which the parent writes: an Origin, and a Setup."""
    origin: Origin = load(boot)
    origin.settle()
    setup: Setup = load(boot)
    boot.close()
    gc.freeze()  # what is here by now stays to the end: the collector need not look at it, and the interpreter ends 3 ms sooner
    tasks, outcomes, control, life = map(OwnEnd, origin.ends)
    serve(tasks, outcomes, control, life, setup)
