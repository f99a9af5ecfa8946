"""Pure-Python tasks in two threads against one after the other, where Python runs without a GIL.

    python benchmarks/threads.py

Serial, poolbar and the standard library alternate, round by round; a ratio is the median of the rounds' ratios to serial.
Exit status 1 where poolbar is not 1.7 times as fast as serial. Wants two free CPUs.
"""

from __future__ import annotations

import concurrent.futures
import platform
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

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


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    results = work()
    assert set(results) == {20114}
    return time.perf_counter() - began


def submitted(executor: poolbar.ProgressExecutor, numbers: list[int]) -> list[poolbar.Future[int]]:
    return [executor.submit(collatz, number) for number in numbers]


def main() -> int:
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        print("This Python has a GIL: threads compute one at a time.")
        return 0
    numbers = [400] * 400
    ratios: dict[str, list[float]] = {"map": [], "submit": [], "stdlib map": []}
    with poolbar.ProgressExecutor(2, progress=False) as ours, concurrent.futures.ThreadPoolExecutor(2) as stdlib:
        assert ours.choice.kind == "thread"
        for _ in range(ROUNDS):
            serial = seconds(lambda: [collatz(number) for number in numbers])
            ratios["map"].append(serial / seconds(lambda: list(ours.map(collatz, numbers))))
            ratios["submit"].append(serial / seconds(lambda: [future.result() for future in submitted(ours, numbers)]))
            ratios["stdlib map"].append(serial / seconds(lambda: list(stdlib.map(collatz, numbers))))
    print(f"Python {platform.python_version()} without a GIL, 2 threads, times as fast as serial:")
    for name, found in ratios.items():
        print(f"  {name:10}  {statistics.median(found):.2f}  (of {min(found):.2f} to {max(found):.2f})")
    return int(min(statistics.median(ratios[name]) for name in ("map", "submit")) < ASKED)


if __name__ == "__main__":
    sys.exit(main())
