"""Pure-Python tasks in two threads against one after the other, where Python runs without a GIL.

    python benchmarks/threads.py

Serial, poolbar and the standard library alternate, round by round; a ratio is the median of the rounds' ratios to serial, by the
clock, which wants two free CPUs, and by CPU time, which tells what two free CPUs would make of it on a machine that is busy
otherwise. Exit status 1 where poolbar is not 1.7 times as fast as serial by CPU time.
"""

from __future__ import annotations

import concurrent.futures
import platform
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import poolbar

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 7
ASKED = 1.7


def collatz(number: int) -> int:
    """Compute for a millisecond or two, in Python alone; return how many steps lead from all numbers below to 1."""
    steps = 0
    for start in range(1, number):
        at = start
        while at != 1:
            at = at // 2 if at % 2 == 0 else 3 * at + 1
            steps += 1
    return steps


class Taken(NamedTuple):
    """Seconds that some work took."""

    clock: float
    cpu: float  # of all threads


def taken(work: Callable[[], Any]) -> Taken:
    """Do some work, and check what came of it."""
    began, cpu_began = time.perf_counter(), time.process_time()
    results = work()
    found = Taken(time.perf_counter() - began, time.process_time() - cpu_began)
    assert set(results) == {20114}
    return found


def submitted(executor: poolbar.ProgressExecutor, numbers: list[int]) -> list[poolbar.Future[int]]:
    return [executor.submit(collatz, number) for number in numbers]


def main() -> int:
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        print("This Python has a GIL: threads compute one at a time.")
        return 0
    numbers = [400] * 400
    rounds: dict[str, list[tuple[float, float]]] = {}
    with poolbar.ProgressExecutor(2, progress=False) as ours, concurrent.futures.ThreadPoolExecutor(2) as stdlib:
        assert ours.choice.kind == "thread"
        ways: dict[str, Callable[[], Any]] = {
            "map": lambda: list(ours.map(collatz, numbers)),
            "submit": lambda: [future.result() for future in submitted(ours, numbers)],
            "stdlib map": lambda: list(stdlib.map(collatz, numbers)),
        }
        for _ in range(ROUNDS):
            serial = taken(lambda: [collatz(number) for number in numbers])
            for name, way in ways.items():
                found = taken(way)
                rounds.setdefault(name, []).append((serial.clock / found.clock, 2 * serial.cpu / found.cpu))
    print(f"Python {platform.python_version()} without a GIL, 2 threads, times as fast as serial (median, lowest, highest):")
    for name, ratios in rounds.items():
        by_clock, by_cpu = zip(*ratios, strict=True)
        print(f"  {name:10}  by the clock {shown(by_clock)}   by CPU time {shown(by_cpu)}")
    return int(any(statistics.median(cpu for _, cpu in rounds[name]) < ASKED for name in ("map", "submit")))


def shown(ratios: tuple[float, ...]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    sys.exit(main())
