"""What the system tells of processes: who descends from one, and how much memory it occupies."""

from __future__ import annotations

import os

MEGABYTE = 1 << 20


def descendants(pid: int | None) -> list[int]:
    """Return the processes that descend from one, where the system tells (Linux); else none."""
    found: list[int] = []
    waiting = [] if pid is None else [pid]
    while waiting:
        parent = waiting.pop()
        try:
            for thread in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{thread}/children") as file:
                    waiting += map(int, file.read().split())
        except OSError:
            continue  # no such system, or no such process any more
        found.append(parent)
    return found[1:]


def resident_megabytes(pid: int) -> float | None:
    """Return the memory that a process occupies; None where that cannot be known, or the process is gone."""
    if os.path.exists("/proc/self/statm"):
        try:
            with open(f"/proc/{pid}/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MEGABYTE
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
