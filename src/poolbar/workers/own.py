"""Worker processes started in our own way, on POSIX: a new Python that imports nothing but what a worker needs.

As under loky's start method, nothing of the parent's memory is inherited and ``__main__`` is not run again. Neither side imports
loky, which takes 50 ms on each; a worker does not even import multiprocessing. Where modules are to be preloaded, workers are
forks of a process that has done that (inside/template.py).
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

from ..inside.boot import Origin, Passed
from ..inside.channel import OwnEnd, pipe
from ..inside.pickling import dumps
from ..inside.setup import Initializer
from . import starting
from .flags import flag_arguments

if TYPE_CHECKING:
    from ..inside.setup import Setup
    from .template import Birth, Template

CAN_START = os.name == "posix" and not getattr(sys, "frozen", False)
"""A frozen program's executable takes no ``-c``."""

_COMMAND = """
import marshal, sys
descriptors = list(map(int, sys.argv[2].split(',')))
boot = open(descriptors[0], 'rb')
sys.path[:] = marshal.load(boot)
from poolbar.inside.{} import main
main(boot, descriptors)
"""  # until the path is here, only what is built in can be imported


class PoolbarContext(SpawnContext):
    """What ``executor._mp_context`` is: locks and queues of this context can be used in our workers."""

    _name = "poolbar"


class Start(NamedTuple):
    """What a process is started with."""

    ends: tuple[Any, Any, Any, Any]  # of pipes: tasks, outcomes, control, life
    setup: Setup
    environment: dict[str, str]
    template: Template | None  # of which it is to be a fork


class PoolbarProcess(BaseProcess):
    """A worker process, as multiprocessing knows it: one of this process's active children."""

    _start_method = "poolbar"

    def __init__(self, start: Start) -> None:
        super().__init__()
        self.own_start = start

    @staticmethod
    def _Popen(process: PoolbarProcess) -> _Child:  # noqa: N802  # multiprocessing's name
        return _Child(process)


def new_python(module: str, passed: list[int], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start an interpreter that calls ``main`` of a module of the island.

    Args:
        module: its name.
        passed: the descriptors that it gets; from the first it reads ``path_here()``, and what ``main`` asks for.
        environment: its own.
    """
    numbers = ",".join(map(str, passed))
    run = subprocess.Popen(
        [spawn.get_executable(), *flag_arguments(), "-c", _COMMAND.format(module), "poolbar", numbers],
        stdin=subprocess.DEVNULL,
        pass_fds=passed,
        env=environment,
        restore_signals=False,
    )
    starting.interpreters.add(run)
    return run


class _Carrier:
    """Takes along what travels only while a process is started: multiprocessing's locks, queues and connections."""

    DupFd = Passed

    def __init__(self, descriptors: list[int]) -> None:
        self._descriptors = descriptors

    def duplicate_for_child(self, descriptor: int) -> int:
        """Have a descriptor passed on; return its place."""
        self._descriptors.append(descriptor)
        return len(self._descriptors) - 1

    def sealed(self, setup: Setup) -> Setup:
        """Return the setup with the initializer's call pickled."""
        # Only this pickler knows multiprocessing's connections: the plain one would send the number of a descriptor.
        from ..inside.by_value import dumps_by_value

        assert setup.initializer is not None
        carrier: Any = self
        set_spawning_popen(carrier)  # of this thread
        try:
            return setup._replace(initializer=Initializer(dumps_by_value(setup.initializer.call, upward=False), None))
        finally:
            set_spawning_popen(None)


class _Child:
    """The process behind a PoolbarProcess, as multiprocessing asks for it. ``starting.starting`` is held while it is made.

    Attributes:
        sentinel: a descriptor that can be read from when the process has ended.
    """

    method = "poolbar"

    def __init__(self, process: PoolbarProcess) -> None:
        ends, setup, environment, template = process.own_start
        del process.own_start
        self._sentinel_end, alive = pipe()
        boot, boot_in = pipe()
        tracker = getfd()
        assert tracker is not None  # it runs now
        passed = [boot.fileno(), alive.fileno(), tracker, *(end.fileno() for end in ends)]
        if setup.initializer is not None and setup.initializer.sealed is None:
            setup = _Carrier(passed).sealed(setup)
        told = marshal.dumps(path_here())
        self._run: subprocess.Popen[bytes] | Birth
        try:
            if template is None:
                self._run = new_python("boot", passed, environment)
            else:
                self._run = template.bear(passed)
                told += marshal.dumps((directory_here(), environment))
        finally:
            boot.close()
            alive.close()
        self.sentinel = self._sentinel_end.fileno()
        write(boot_in, told + dumps(_origin(process)) + dumps(setup))

    @property
    def pid(self) -> int | None:
        """The process's number; None: a template has not borne it yet."""
        return self._run.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None: it runs, or nobody has looked."""
        return self._run.returncode

    def await_pid(self) -> int:
        """Wait until the process is there; return its number. Raises OSError: it will never be."""
        return self._run.pid if isinstance(self._run, subprocess.Popen) else self._run.await_pid()

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


def _origin(process: PoolbarProcess) -> Origin:
    told: Any = multiprocessing.process
    own = multiprocessing.process.current_process()
    level = None if util._logger is None else util._logger.getEffectiveLevel()  # type: ignore[attr-defined]
    return Origin(
        process.name,
        process._identity,
        list(map(str, sys.argv)),
        told.ORIGINAL_DIR,
        bytes(own.authkey),
        (own.name, os.getpid()),
        level,
        bool(util._log_to_stderr),  # type: ignore[attr-defined]
    )


def path_here() -> list[str]:
    """Return sys.path as it means the same in another process."""
    told: Any = multiprocessing.process
    return [str(place) if place != "" else told.ORIGINAL_DIR or "" for place in sys.path]


def directory_here() -> str:
    """Return the working directory; empty where there is none any more."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def write(end: OwnEnd, data: bytes) -> None:
    """Write all of it, and close the end."""
    try:
        with open(end.fileno(), "wb", closefd=False) as file:
            file.write(data)
    except BrokenPipeError:
        pass  # the reader is dead already: its other pipes have ended too, and who waits for these tells of it
    finally:
        end.close()
