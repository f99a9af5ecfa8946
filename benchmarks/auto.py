"""What ``backend="auto"`` costs against a kind of worker that was chosen by hand: ratios, contenders in turn, warm pools."""

from __future__ import annotations

import concurrent.futures
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import poolbar
from poolbar.inside.meter import process_meter

sys.path.insert(0, str(Path(__file__).parent))
from natures import python_loop, sleep_20

ROUNDS = 7


def seconds(make: Any, function: Any, tasks: int) -> float:
    """Return how long a new executor takes for a map; its processes are warm."""
    with make() as pool:
        began = time.perf_counter()
        assert len(list(pool.map(function, range(tasks)))) == tasks
        return time.perf_counter() - began


def ratio(name: str, function: Any, tasks: int, ours: Any, other: Any) -> None:
    """Print how the medians compare, and the median of the rounds' ratios."""
    rounds = [(seconds(ours, function, tasks), seconds(other, function, tasks)) for _ in range(ROUNDS)]
    mine, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
    told = statistics.median(a / b for a, b in rounds)
    print(f"{name:60} {mine:.3f} s against {theirs:.3f} s: {told:.2f}", flush=True)


def auto() -> poolbar.ProgressExecutor:
    """Return an executor that chooses."""
    return poolbar.ProgressExecutor(thread_safe=True, progress=False)


def main() -> None:
    """Measure and print."""
    with auto() as executor:
        list(executor.map(time.sleep, [0.1] * 8))  # two processes are warm now
    threads, processes = partial(concurrent.futures.ThreadPoolExecutor, 32), partial(poolbar.ProcessPoolExecutor, progress=False)
    ratio("400 sleeps of 20 ms, against ThreadPoolExecutor(32)", sleep_20, 400, auto, threads)
    ratio("200 python loops, against processes", python_loop, 200, auto, processes)
    meter, times = process_meter(), []
    for _ in range(2000):
        began = time.perf_counter()
        meter.begin(was_long=True)
        meter.cost(1)
        times.append(time.perf_counter() - began)
    meter.close()
    cost = statistics.median(times)
    print(f"measuring a batch: {1e6 * cost:.1f} us, {100 * cost / 0.01:.2f} % of 10 ms, {100 * cost / 0.001:.2f} % of 1 ms")


if __name__ == "__main__":
    main()
