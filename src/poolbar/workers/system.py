"""What the system tells of processes, and how it ends them."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

MEGABYTE = 1 << 20
LONGEST_PAUSE_SECONDS = 0.010


def descendants(pid: int | None) -> list[int]:
    """Return the processes that descend from one, where the system tells (Linux); else none."""
    found: list[int] = []
    waiting = [] if pid is None else [pid]
    while waiting:
        parent = waiting.pop()
        try:
            for thread in os.listdir(f"/proc/{parent}/task"):
                waiting += map(int, _told(f"/proc/{parent}/task/{thread}/children").split())
        except OSError:
            continue  # no such system, or no such process any more
        found.append(parent)
    return found[1:]


def _told(path: str) -> bytes:
    # Not by ``open``: to close what that returns takes 0.2 s on busy CPUs where Python 3.13 runs without a GIL (it waits for a
    # lock that it holds itself, and gives way forty times). A task that is out of time would go on for so long.
    parts = []
    descriptor = os.open(path, os.O_RDONLY)
    try:
        while part := os.read(descriptor, 65536):
            parts.append(part)
    finally:
        os.close(descriptor)
    return b"".join(parts)


def resident_megabytes(pid: int) -> float | None:
    """Return the memory that a process occupies; None where that cannot be known, or the process is gone."""
    if os.path.exists("/proc/self/statm"):
        try:
            return int(_told(f"/proc/{pid}/statm").split()[1]) * os.sysconf("SC_PAGE_SIZE") / MEGABYTE
        except OSError:
            return None
    try:
        import psutil
    except ImportError:
        return None
    try:
        return float(psutil.Process(pid).memory_info().rss) / MEGABYTE
    except psutil.Error:
        return None


def send_signal(process: BaseProcess, hard: bool) -> None:
    """Send a process SIGKILL, or SIGTERM; nothing if it is not there."""
    pid = process.pid
    if pid is None or process.exitcode is not None:
        return  # not started yet, or gone already
    if hard and os.name == "posix":
        kill(pid)  # loky's processes have no kill()
    else:
        process.terminate()


def kill(pid: int) -> None:
    """Send a process SIGKILL, if it is there and ours to kill."""
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass  # gone, or become another user's


def has_ended(process: BaseProcess, seconds: float) -> bool:
    """Wait for a process for some seconds; tell whether it has ended.

    Not by ``join``: that trusts a pipe of the process's, which a task may have closed. And multiprocessing reaps children
    wherever a process is started: another thread may have got the exit code from the system and not yet written it down.
    """
    deadline = time.monotonic() + seconds
    pause = 0.0002
    while process.exitcode is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    process.join()  # so that multiprocessing forgets it
    return True
