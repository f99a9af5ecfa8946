"""Measures the two ways of large data to a worker and back, the pipe and memory that both share, by size: where LARGE_BYTES lies.

    python benchmarks/large.py

Microseconds of a round trip with an array of so many bytes as argument, or as value, on a warm worker; medians, in turn.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))
os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # for workers that are started anew

import numpy as np
from rows import median_seconds
from tasks import length, zeros

import poolbar
from poolbar.inside import function, outbox, pickling
from poolbar.workers import sending

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = [1 << power for power in range(12, 23)]
NEVER = 1 << 60


def by_way(threshold: int) -> None:
    """Have buffers of this size and larger go beside the pipe, in this process."""
    for module in (pickling, outbox, sending, function):
        vars(module)["LARGE_BYTES"] = threshold


def main() -> None:
    """Measure, and print a table."""
    pools: dict[str, Any] = {}
    for way, threshold in (("pipe", NEVER), ("memory", 1)):
        pools[way] = poolbar.ProcessPoolExecutor(1, progress=False, idle_seconds=0, initializer=by_way, initargs=(threshold,))
    print("| bytes | in, pipe | in, memory | out, pipe | out, memory |\n|---|---|---|---|---|")
    for size in SIZES:
        array = np.zeros(size, np.uint8)
        acts: dict[str, Callable[[Any], Any]] = {
            "in": lambda pool, array=array: pool.submit(length, array).result(),
            "out": lambda pool, size=size: pool.submit(zeros, size).result(),
        }
        cells = []
        for act in acts.values():
            for way, pool in pools.items():
                by_way(NEVER if way == "pipe" else 1)
                cells.append(1e6 * median_seconds(partial(act, pool), 300 if size < 1 << 20 else 40))
        print(f"| {size:,} | " + " | ".join(f"{cell:.0f}" for cell in cells) + " |", flush=True)
    for pool in pools.values():
        pool.shutdown()


if __name__ == "__main__":
    main()
