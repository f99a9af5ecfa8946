"""How many CPUs this process may use: affinity, cgroups and LOKY_MAX_CPU_COUNT count, as for loky; a test compares the two.

loky itself is asked on Windows only: to import it takes 50 ms, longer than a worker takes to start.
"""

from __future__ import annotations

import math
import os


def cpu_count() -> int:
    """Return how many CPUs this process may use."""
    if os.name != "posix":
        from loky import cpu_count as count

        return int(count())
    cpus = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cpus
    return max(1, min(cpus, allowed, _quota("/sys/fs/cgroup") or cpus, int(os.environ.get("LOKY_MAX_CPU_COUNT", cpus))))


def _quota(cgroup: str) -> int | None:
    """Return the CPUs whose time this process's cgroup may use; None: there is no limit. Containers see their own there."""
    told = _words(f"{cgroup}/cpu.max")  # version 2: "max 100000", or "150000 100000"
    if len(told) != 2:
        told = _words(f"{cgroup}/cpu/cpu.cfs_quota_us") + _words(f"{cgroup}/cpu/cpu.cfs_period_us")  # version 1: -1, no limit
    if len(told) != 2 or "max" in told:
        return None
    quota, period = map(int, told)
    return math.ceil(quota / period) if quota > 0 and period > 0 else None


def _words(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []  # no such limit on this system
