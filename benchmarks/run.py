"""Measures what README.md claims, as ratios in one run against the standard library, loky and multiprocessing.Pool.

    python benchmarks/run.py                 all rows, as a table
    python benchmarks/run.py --json OUT      the figures too
    python benchmarks/run.py --write         the table into benchmarks/README.md
    python benchmarks/run.py --only burst    rows whose name contains a word

Contenders alternate, round by round, on warm pools with two workers and default arguments; a row's figure is the median of its
rounds, its ratio the median of the rounds' ratios. Every result is checked. Machines differ and are noisy: read ratios.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import loky

import poolbar

sys.path.insert(0, str(Path(__file__).parent))
os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # for workers that are started anew

import bars
import kills
from rows import Row, compare, median_seconds, table
from tasks import meet, nap, noop  # a module of this folder, which workers import too

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKERS = 2
HERE = Path(__file__).parent


def round_trip(pool: Any) -> float:
    """Microseconds of one submit and its result."""
    return 1e6 * median_seconds(lambda: pool.submit(noop, 1).result(), 1000)


def burst(pool: Any) -> float:
    """Tasks a second: 20,000 submits, then all results."""
    began = time.perf_counter()
    futures = [pool.submit(noop, number) for number in range(20_000)]
    results = [future.result() for future in futures]
    taken = time.perf_counter() - began
    assert results == list(range(20_000))
    return 20_000 / taken


def mapped(pool: Any, tasks: int) -> float:
    """Tasks a second of a map with default arguments."""
    began = time.perf_counter()
    results = list(pool.map(noop, range(tasks)))
    taken = time.perf_counter() - began
    assert results == list(range(tasks))
    return tasks / taken


def against_pools(only: str) -> Iterator[Row]:
    """Yield the rows that are measured on warm pools."""
    fork = multiprocessing.get_context("fork")
    with (
        concurrent.futures.ProcessPoolExecutor(WORKERS, mp_context=fork) as stdlib,
        loky.ProcessPoolExecutor(WORKERS) as lokys,
        fork.Pool(WORKERS) as pool,
        poolbar.ProcessPoolExecutor(WORKERS) as ours,
    ):
        pools = {"stdlib": stdlib, "loky": lokys, "poolbar": ours}
        for executor in pools.values():
            list(executor.map(noop, range(2000)))
        if only in "round trip":
            acts = {key: lambda executor=executor: round_trip(executor) for key, executor in pools.items()}
            yield compare("round trip of one submit", "us", "<= 0.6 stdlib, <= 0.3 loky", acts)
        if only in "round trip, one CPU" and hasattr(os, "sched_setaffinity"):
            yield one_cpu()
        if only in "burst":
            acts = {key: lambda executor=executor: burst(executor) for key, executor in pools.items()}
            yield compare("20,000 submits and all results", "tasks/s", ">= 8 stdlib, >= 12 loky", acts)
        if only in "map":
            acts = {
                "stdlib": lambda: mapped(stdlib, 20_000),
                "loky": lambda: mapped(lokys, 20_000),
                "Pool.map": lambda: mapped(pool, 200_000),
                "poolbar": lambda: mapped(ours, 200_000),
            }
            yield compare("map of 200,000 no-ops (stdlib, loky: 20,000)", "tasks/s", ">= 100 stdlib, >= 0.5 Pool.map", acts)


def one_cpu() -> Row:
    """The round trip with all processes on one CPU: the repeatable regime."""
    script = (
        "import os, sys; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); sys.path.insert(0, sys.argv[2])\n"
        "import concurrent.futures, multiprocessing, loky, poolbar, run\n"
        "fork = multiprocessing.get_context('fork')\n"
        "make = {'stdlib': lambda: concurrent.futures.ProcessPoolExecutor(2, mp_context=fork),\n"
        "        'loky': lambda: loky.ProcessPoolExecutor(2), 'poolbar': lambda: poolbar.ProcessPoolExecutor(2)}[sys.argv[1]]\n"
        "with make() as pool: run.round_trip(pool); print(run.round_trip(pool))"
    )

    def act(which: str) -> float:
        return float(
            subprocess.run([sys.executable, "-c", script, which, str(HERE)], capture_output=True, text=True, check=True).stdout
        )

    acts = {key: lambda key=key: act(key) for key in ("stdlib", "loky", "poolbar")}
    return compare("the same, all on one CPU", "us", "", acts, rounds=3)


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


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    rows = list(against_pools(options.only))
    alone = {"skew": skew, "barrier": barrier, "endless": endless, "imports": imports, "warm": warm, **bars.ROWS, **kills.ROWS}
    rows += [act() for name, act in alone.items() if options.only in name]
    text = table(rows)
    text += f"\n\nPython {platform.python_version()}, {os.cpu_count()} CPUs, {platform.system()}; loky {loky.__version__}."
    print(text)
    if options.json:
        Path(options.json).write_text(json.dumps([row._asdict() for row in rows], indent=1))
    if options.write:
        readme = HERE / "README.md"
        head, _, rest = readme.read_text().partition("<!-- table -->")
        tail = rest.partition("<!-- /table -->")[2]
        readme.write_text(f"{head}<!-- table -->\n{text}\n<!-- /table -->{tail}")


if __name__ == "__main__":
    main()
