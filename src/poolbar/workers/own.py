"""Worker processes started in our own way, on POSIX: a new Python that imports nothing but what a worker needs.

As under loky's start method, nothing of the parent's memory is inherited and ``__main__`` is not run again. Neither side imports
loky, which takes 50 ms on each; a worker does not even import multiprocessing.
"""

from __future__ import annotations

import marshal
import multiprocessing.process
import os
import subprocess
import sys
from multiprocessing import spawn, util
from multiprocessing.context import SpawnContext, set_spawning_popen
from multiprocessing.process import BaseProcess
from multiprocessing.resource_tracker import getfd
from typing import TYPE_CHECKING, Any, NamedTuple

from ..inside.boot import Origin
from ..inside.channel import OwnEnd, pipe
from ..inside.pickling import dumps
from ..inside.setup import Initializer
from .flags import flag_arguments

if TYPE_CHECKING:
    from ..inside.setup import Setup

CAN_START = os.name == "posix" and not getattr(sys, "frozen", False)
"""A frozen program's executable takes no ``-c``."""

_COMMAND = """
import marshal, sys
boot = open(int(sys.argv[2]), 'rb')
sys.path[:] = marshal.load(boot)
from poolbar.inside.boot import main
main(boot)
"""  # until the path is here, only what is built in can be imported


class PoolbarContext(SpawnContext):
    """What ``executor._mp_context`` is: locks and queues of this context can be used in our workers."""

    _name = "poolbar"


class Start(NamedTuple):
    """What a process is started with."""

    ends: tuple[Any, Any, Any, Any]  # of pipes: tasks, outcomes, control, life
    setup: Setup
    environment: dict[str, str]  # beside this process's own


class PoolbarProcess(BaseProcess):
    """A worker process, as multiprocessing knows it: one of this process's active children."""

    _start_method = "poolbar"

    def __init__(self, start: Start) -> None:
        super().__init__()
        self.own_start = start

    @staticmethod
    def _Popen(process: PoolbarProcess) -> _Child:  # noqa: N802  # multiprocessing's name
        return _Child(process)


class _Carrier:
    """Takes along what travels only while a process is started: multiprocessing's locks, queues and connections."""

    def __init__(self) -> None:
        from multiprocessing.popen_spawn_posix import _DupFd  # as which workers unpickle it

        self.DupFd = _DupFd
        self.descriptors: list[int] = []

    def duplicate_for_child(self, descriptor: int) -> int:
        """Have a descriptor passed on under its number."""
        self.descriptors.append(descriptor)
        return descriptor

    def sealed(self, setup: Setup) -> Setup:
        """Return the setup with the initializer's call pickled."""
        assert setup.initializer is not None
        carrier: Any = self
        set_spawning_popen(carrier)  # of this thread
        try:
            return setup._replace(initializer=Initializer(dumps(setup.initializer.call), None))
        finally:
            set_spawning_popen(None)


class _Child:
    """The process behind a PoolbarProcess, as multiprocessing asks for it. ``starting.starting`` is held while it is made.

    Attributes:
        sentinel: a descriptor that can be read from when the process has ended.
    """

    method = "poolbar"

    def __init__(self, process: PoolbarProcess) -> None:
        ends, setup, environment = process.own_start
        del process.own_start
        descriptors = [end.fileno() for end in ends]
        more: list[int] = []
        if setup.initializer is not None and setup.initializer.sealed is None:
            carrier = _Carrier()
            setup = carrier.sealed(setup)
            more = carrier.descriptors
        self._sentinel_end, alive = pipe()
        boot, boot_in = pipe()
        tracker = _tracker()
        origin = _origin(process, descriptors, alive.fileno(), tracker)
        try:
            self._run = subprocess.Popen(
                [spawn.get_executable(), *flag_arguments(), "-c", _COMMAND, "poolbar-worker", str(boot.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[boot.fileno(), alive.fileno(), tracker, *descriptors, *more],
                env={**os.environ, **environment},
                restore_signals=False,
            )
        finally:
            boot.close()
            alive.close()
        self.pid = self._run.pid
        self.sentinel = self._sentinel_end.fileno()
        _write(boot_in, marshal.dumps(_path()) + dumps(origin) + dumps(setup))

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None: it runs, or nobody has looked."""
        return self._run.returncode

    def poll(self) -> int | None:
        """Return the exit code; None: it runs."""
        return self._run.poll()

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for it; return the exit code, or None if it still runs."""
        try:
            return self._run.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self._run.terminate()

    def kill(self) -> None:
        """Send it SIGKILL."""
        self._run.kill()

    def close(self) -> None:
        """Give back what is held for it."""
        self._sentinel_end.close()


def _tracker() -> int:
    descriptor = getfd()
    assert descriptor is not None  # it runs now
    return descriptor


def _origin(process: PoolbarProcess, ends: list[int], sentinel: int, tracker: int) -> Origin:
    told: Any = multiprocessing.process
    own = multiprocessing.process.current_process()
    level = None if util._logger is None else util._logger.getEffectiveLevel()  # type: ignore[attr-defined]
    tasks, outcomes, control, life = ends
    return Origin(
        process.name,
        process._identity,
        list(map(str, sys.argv)),
        told.ORIGINAL_DIR,
        bytes(own.authkey),
        (own.name, os.getpid()),
        tracker,
        level,
        bool(util._log_to_stderr),  # type: ignore[attr-defined]
        (tasks, outcomes, control, life),
        sentinel,
    )


def _path() -> list[str]:
    told: Any = multiprocessing.process
    return [str(place) if place != "" else told.ORIGINAL_DIR or "" for place in sys.path]


def _write(end: OwnEnd, data: bytes) -> None:
    try:
        with open(end.fileno(), "wb", closefd=False) as file:
            file.write(data)
    except BrokenPipeError:
        pass  # it is dead already: its pipe to the lane has ended too, and the lane tells of it
    finally:
        end.close()
