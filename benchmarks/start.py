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
NUMPY = "        assert len(list(pool.map(sleeping.total, [3] * {workers}, chunksize=1))) == {workers}"
SECOND = """
import time
for turn in range(2):
    began = time.perf_counter()
    with Pool({workers}, **more) as pool:
        assert pool.submit(abs, -1).result() == 1
print(1e3 * (time.perf_counter() - began))
"""


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


def preload(place: Path, rounds: int) -> None:
    """Print what preloading numpy does for the results of 2 and of 8 workers that use it."""
    head = CONTENDERS["poolbar"]
    for workers in (2, 8):
        taken: dict[str, list[float]] = {"": [], "numpy": []}
        for _ in range(rounds):
            for names, found in taken.items():
                found.append(1e3 * seconds(place, head, workers, NUMPY.format(workers=workers), POOLBAR_PRELOAD=names))
        without, with_it = (statistics.median(found) for found in taken.values())
        ratio = statistics.median(one / other for one, other in zip(taken["numpy"], taken[""], strict=True))
        print(f"| {workers} tasks with numpy on a pool of {workers} | {without:.0f} | {with_it:.0f} | {ratio:.2f} |")


def warm(rounds: int) -> None:
    """Print how long the second pool of a program takes to its first result."""
    text = f"{CONTENDERS['poolbar']}\n{SECOND.format(workers=2)}"
    environment = {**os.environ, "POOLBAR_PROGRESS": "off"}
    told = [
        subprocess.run([sys.executable, "-c", text], stdout=-1, text=True, check=True, env=environment) for _ in range(rounds)
    ]
    print(f"\nA second pool, with warm workers: {statistics.median(float(done.stdout) for done in told):.1f} ms")


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
        print("\n| whole scripts | ms | with POOLBAR_PRELOAD=numpy | ratio |\n|---|---|---|---|")
        preload(place, rounds)
    warm(rounds)


if __name__ == "__main__":
    main()
