"""What was asked of poolbar alone in earlier rounds of work, row by row: run.py measures it after the table of contenders."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bars
import kills
from rows import Row, compare, median_seconds
from tasks import meet, nap, noop

import poolbar

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKERS = 2


def skew() -> Row:
    """2,000 no-ops, then 40 naps of 0.1 s, on 4 workers; 1.0 s at best."""
    fork = multiprocessing.get_context("fork")
    with poolbar.ProcessPoolExecutor(4) as ours, concurrent.futures.ProcessPoolExecutor(4, mp_context=fork) as stdlib:

        def act(pool: Any) -> float:
            began = time.perf_counter()
            assert sum(pool.map(nap, [0] * 2000 + [0.1] * 40)) > 3.9
            return time.perf_counter() - began

        for pool in (ours, stdlib):
            list(pool.map(nap, [0] * 100))
        return compare(
            "2,000 no-ops, then 40 x 0.1 s, 4 workers (ideal 1.0)", "s", "<= 1.15 s",
            {"stdlib": lambda: act(stdlib), "poolbar": lambda: act(ours)}, rounds=3,
        )  # fmt: skip


def barrier() -> Row:
    """After 5,000 tiny tasks of a function, 4 tasks of it meet: the seconds that the last waits for the first."""
    with poolbar.ProcessPoolExecutor(4) as ours, tempfile.TemporaryDirectory() as place:
        list(ours.map(nap, [0] * 4, chunksize=1))

        def act() -> float:
            with tempfile.TemporaryDirectory(dir=place) as directory:
                own = str(Path(directory) / "own")
                Path(own).mkdir()
                for future in [ours.submit(meet, own, 0, 1) for _ in range(5000)]:
                    future.result()
                together = Path(directory) / "together"
                together.mkdir()
                return max(future.result() for future in [ours.submit(meet, str(together), n, 4) for n in range(4)])

        return compare("5,000 tiny tasks, then 4 of the function that meet", "s", "at once", {"poolbar": act}, rounds=5)


def endless() -> Row:
    """The parent's memory over 2,000,000 results of an endless generator, and how far ahead it is pulled."""
    pulled = 0

    def numbers() -> Iterator[int]:
        nonlocal pulled
        while True:
            pulled += 1
            yield pulled

    def act() -> float:
        nonlocal pulled
        pulled = 0
        ahead = 0
        with poolbar.ProcessPoolExecutor(WORKERS) as ours:
            for count, _ in enumerate(ours.map(noop, numbers()), 1):
                ahead = max(ahead, pulled - count)
                if count == 200_000:
                    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                if count == 2_000_000:
                    break
        print(f"  pulled ahead: {ahead} at most", file=sys.stderr)
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024

    return compare("endless generator: growth from result 200,000 to 2,000,000", "MB", "flat", {"poolbar": act}, rounds=1)


def imports() -> Row:
    """Milliseconds of ``import poolbar`` over a bare interpreter."""

    def act(code: str) -> float:
        return 1e3 * median_seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True), 15)

    return compare(
        "import, whole interpreter", "ms", "<= 15 ms over bare",
        {"bare": lambda: act("pass"), "stdlib": lambda: act("import concurrent.futures.process"),
         "poolbar": lambda: act("import poolbar")}, rounds=3,
    )  # fmt: skip


def warm() -> Row:
    """Milliseconds of a second ``with`` block of a script: executor, one result, shutdown."""

    def act() -> float:
        def block() -> None:
            with poolbar.ProgressExecutor(WORKERS) as ours:
                assert ours.submit(noop, 1).result() == 1

        block()
        return 1e3 * median_seconds(block, 9)

    return compare("a warm `with ProgressExecutor()` and one result", "ms", "< 5 ms", {"poolbar": act}, rounds=3)


CLAIMS = {
    "skew": skew, "barrier": barrier, "endless growth": endless, "imports": imports, "warm again": warm,
    **bars.ROWS, **kills.ROWS,
}  # fmt: skip
