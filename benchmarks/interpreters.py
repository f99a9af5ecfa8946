"""Measures workers that are interpreters, against our worker processes and the standard library's InterpreterPoolExecutor.

    python3.14 benchmarks/interpreters.py          all rows, as a table

Two workers. Contenders alternate, round by round; a row's figure is the median of its rounds, its ratio the median of the rounds'
ratios. Every result is checked. Machines differ and are noisy: read ratios.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from concurrent.futures import InterpreterPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import poolbar

sys.path.insert(0, str(Path(__file__).parent))
os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[0], os.environ.get("PYTHONPATH", "")])  # for what is started anew

from rows import Row, compare, median_seconds, table
from tasks import count_down, noop  # a module of this folder, which workers import too

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKERS = 2

COLD = """
import sys, time
began = time.perf_counter()
{imports}
from tasks import meet
with {pool} as executor:
    met = [executor.submit(meet, sys.argv[1], number, 2) for number in range(2)]
    seconds = [future.result() for future in met]
    taken = time.perf_counter() - began
assert max(seconds) < 10
print(1e3 * taken)
"""
POOLS = {
    "poolbar": ("import poolbar", 'poolbar.ProgressExecutor(2, backend="interpreter", progress=False)'),
    "our processes": ("import poolbar", "poolbar.ProcessPoolExecutor(2, progress=False)"),
    "stdlib": ("from concurrent.futures import InterpreterPoolExecutor", "InterpreterPoolExecutor(2)"),
}


def cold(contender: str) -> float:
    """Milliseconds from the first import of a program until both workers have run a task, at the same time."""
    import tempfile

    imports, pool = POOLS[contender]
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-c", COLD.format(imports=imports, pool=pool), place]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def round_trip(pool: Any) -> float:
    """Microseconds of one submit and its result."""
    return 1e6 * median_seconds(lambda: pool.submit(noop, 1).result(), 500)


def computed(pool: Any) -> float:
    """Seconds of 40 tasks in pure Python, of 30 ms or so each."""
    began = time.perf_counter()
    assert list(pool.map(count_down, [1_200_000] * 40)) == [0] * 40
    return time.perf_counter() - began


def mapped(pool: Any) -> float:
    """Tasks a second of a map with default arguments."""
    began = time.perf_counter()
    assert list(pool.map(noop, range(20_000))) == list(range(20_000))
    return 20_000 / (time.perf_counter() - began)


def closures(pool: Any) -> float:
    """Tasks a second of 2,000 submits, each of a closure of its own."""

    def adder(step: int) -> Any:
        return lambda number: number + step

    began = time.perf_counter()
    futures = [pool.submit(adder(step), 1) for step in range(2000)]
    assert [future.result() for future in futures] == [step + 1 for step in range(2000)]
    return 2000 / (time.perf_counter() - began)


def is_refused(pool: Any) -> bool:
    """Tell whether a pool does not run closures."""
    try:
        closures(pool)
    except Exception:
        return True
    return False


def rows() -> Iterator[Row]:
    """Yield the rows."""
    yield compare("cold start until two workers have run a task", "ms", "", {key: lambda key=key: cold(key) for key in POOLS})
    with ExitStack() as stack:
        pools: dict[str, Any] = {
            "poolbar": poolbar.ProgressExecutor(WORKERS, backend="interpreter", progress=False),
            "our processes": poolbar.ProcessPoolExecutor(WORKERS, progress=False),
            "stdlib": InterpreterPoolExecutor(WORKERS),
        }
        for pool in pools.values():
            stack.enter_context(pool)
            computed(pool)
        for name, unit, measure in (
            ("round trip of one submit", "us", round_trip),
            ("40 tasks in pure Python of 30 ms", "s", computed),
            ("map of 20,000 no-ops", "tasks/s", mapped),
        ):
            yield compare(name, unit, "", {key: lambda pool=pool: measure(pool) for key, pool in pools.items()})  # noqa: B023
        assert is_refused(pools.pop("stdlib"))
        yield compare(
            "2,000 submits of closures (stdlib: refused)", "tasks/s", "",
            {key: lambda pool=pool: closures(pool) for key, pool in pools.items()},
        )  # fmt: skip


def main() -> None:
    """Measure, and print the table."""
    print(table(list(rows())))
    print(f"\nPython {platform.python_version()}, {os.cpu_count()} CPUs, {platform.system()}.")


if __name__ == "__main__":
    main()
