"""How long it takes to the first result: ``python benchmarks/start.py [--rounds N]`` (about two minutes, two free CPUs).

Each figure is a script of its own, run by a new interpreter: its imports, its pool, its tasks, its end. Contenders alternate,
round by round; a figure is the median of the rounds, a ratio the median of the rounds' ratios to the standard library's spawn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STDLIB = "from concurrent.futures import ProcessPoolExecutor as Pool; more = {{'mp_context': get_context('{}')}}"
CONTENDERS = {
    "poolbar": "from poolbar import ProcessPoolExecutor as Pool; more = {}",
    **{f"stdlib {method}": STDLIB.format(method) for method in ("spawn", "forkserver", "fork")},
    "loky": "from loky import ProcessPoolExecutor as Pool; more = {}",
}
REFERENCE = "stdlib spawn"
SCRIPT = """
{head}
import sleeping
if __name__ == "__main__":
    with Pool({workers}, **more) as pool:
{body}
"""
FIRST = "        assert pool.submit(abs, -1).result() == 1"
ALL = "        assert len(set(pool.map(sleeping.pid, [0.05] * {workers}, chunksize=1))) >= 1"
SLEEPING = """
import os, time
def pid(seconds):
    time.sleep(seconds)
    return os.getpid()
def total(count):
    import numpy
    return int(numpy.arange(count).sum())
"""
WITH_NUMPY = "        assert {results} == [3] * {tasks}"


def seconds(place: Path, head: str, workers: int, body: str, **variables: str) -> float:
    """Run a script; return how long that took, from the start of its interpreter to its end."""
    if "get_context" in head:
        head = f"from multiprocessing import get_context\n{head}"
    (place / "script.py").write_text(SCRIPT.format(head=head, workers=workers, body=body))
    environment = {**os.environ, "POOLBAR_PROGRESS": "off", **variables}
    began = time.perf_counter()
    subprocess.run([sys.executable, str(place / "script.py")], check=True, env=environment)
    return time.perf_counter() - began


def compare(place: Path, rounds: int, workers: int, body: str) -> None:
    """Print a row for each contender."""
    taken: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name, head in CONTENDERS.items():
            taken[name].append(1e3 * seconds(place, head, workers, body.format(workers=workers)))
    for name, found in taken.items():
        ratio = statistics.median(one / other for one, other in zip(found, taken[REFERENCE], strict=True))
        print(f"| {name} | {statistics.median(found):.0f} | {ratio:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "sleeping.py").write_text(SLEEPING)
        for workers, what, body in ((2, "the first result of a pool of 2", FIRST), (8, "8 tasks of 50 ms on a pool of 8", ALL)):
            print(f"\n| {what} | ms | ratio to {REFERENCE} |\n|---|---|---|")
            seconds(place, CONTENDERS["poolbar"], workers, body.format(workers=workers))  # whatever is compiled now is not again
            compare(place, rounds, workers, body)


if __name__ == "__main__":
    main()
