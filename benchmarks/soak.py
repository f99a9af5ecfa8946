"""Random work on one executor while its workers are killed, for as long as is asked: nothing may be lost, run twice, or grow.

    python benchmarks/soak.py --minutes 20            and the figures, as a table
    python benchmarks/soak.py --minutes 1 --seed 7    the same work again; what the killer hits differs

Each task appends its number to a file, once for each time that it starts. Every 50 ms one worker, chosen at random, gets SIGKILL,
whether it starts, idles, reads, computes or writes. A task's outcome is its value, its own error, or WorkerCrashed.
Exit status 1 if a task was lost or run twice, if more tasks crashed than workers were killed, or if the parent grew.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import gc
import os
import random
import signal
import sys
import tempfile
import threading
import time
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import poolbar

sys.path.insert(0, str(Path(__file__).parent))
os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # for workers that are started anew

from tasks import mark, mark_row  # a module of this folder, which workers import too

PERIOD_SECONDS = 0.050
HANG_SECONDS = 120.0
LOOKS = 40  # at the parent's memory and descriptors
MOST_GROWTH_MB = 8.0  # of a heap that is used at random: a leak of a task's future alone would be a hundred times that


class Killer(threading.Thread):
    """Kills a worker every 50 ms."""

    def __init__(self, executor: poolbar.ProgressExecutor, chance: random.Random) -> None:
        super().__init__(name="killer", daemon=True)
        self.executor = executor
        self.chance = chance
        self.dead: weakref.WeakSet[Any] = weakref.WeakSet()  # not pids: these come again
        self.killed = 0
        self.ended = threading.Event()

    def run(self) -> None:
        """Kill until told to end."""
        while not self.ended.wait(PERIOD_SECONDS):
            # Also those that are dead already and not replaced yet, in vain: were the only worker that works killed each time,
            # faster than one starts, nothing could ever be done.
            processes = list(self.executor._processes.values())
            process = self.chance.choice(processes) if processes else None
            if process is not None and process not in self.dead:
                self.dead.add(process)
                try:
                    os.kill(process.pid, signal.SIGKILL)
                    self.killed += 1
                except ProcessLookupError:
                    pass  # it had just ended


class Tally:
    """What became of the tasks."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.lost = 0
        self.twice = 0

    def settle(self, path: str, expected: list[Any], found: list[Any]) -> None:
        """Compare a round's outcomes with what was to come, and with the notes that its tasks left."""
        with open(path) as file:
            runs = Counter(map(int, file.read().split()))
        self.twice += sum(count - 1 for count in runs.values())
        for number, (right, outcome) in enumerate(zip(expected, found, strict=True)):
            kind = "value" if not isinstance(outcome, BaseException) else type(outcome).__name__
            self.outcomes[kind] += 1
            is_right = kind == "WorkerCrashed" or (kind == right if right in {"ValueError", "NotPicklable"} else outcome == right)
            if not is_right or (kind != "WorkerCrashed" and not runs[number]):
                self.lost += 1
                print(f"task {number} of {len(expected)}: {outcome!r} for {right!r}, {runs[number]} runs", file=sys.stderr)


def rows(chance: random.Random, path: str) -> tuple[list[tuple[Any, ...]], list[Any]]:
    """Return a round's arguments and what is to come of them."""
    count = chance.choice((1, 2, 5, 30, 200, 1000, 4000))
    kinds = chance.choices(("fast", "short", "long", "large", "raises", "stays"), weights=(80, 10, 0.3, 0.5, 3, 1), k=count)
    made, right = [], []
    for number, kind in enumerate(kinds):
        size = chance.choice((10, 70_000, 1_000_000)) if kind == "large" else 0
        seconds = {"short": 0.002, "long": 0.1}.get(kind, 0.0)
        made.append((path, number, kind, seconds, b"x" * size))
        right.append({"raises": "ValueError", "stays": "NotPicklable", "large": b"x" * size}.get(kind, number))
    return made, right


def play(executor: poolbar.ProgressExecutor, chance: random.Random, tally: Tally, directory: str) -> None:
    """Run one round."""
    path = os.path.join(directory, "runs")
    Path(path).write_text("")
    made, right = rows(chance, path)
    way = chance.choice(("submit", "map", "unordered", "lazy"))
    found: list[Any]
    if way == "submit":
        futures = [executor.submit(mark, *row) for row in made]
        _, pending = poolbar.wait(futures, HANG_SECONDS)
        assert not pending, f"{len(pending)} of {len(futures)} tasks hang"
        found = [future.exception() or future.result() for future in futures]
    else:
        inputs = iter(made) if way == "lazy" else made
        results = executor.map(
            mark_row, inputs, ordered=way != "unordered", errors="collect", timeout=HANG_SECONDS,
            chunksize=chance.choice((None, None, 1, 50)),
        )  # fmt: skip
        found = list(results)
        if way == "unordered":
            assert len(found) == len(made)
            right, found = sorted(right, key=repr), sorted(found, key=repr)
            tally.outcomes.update("value" if not isinstance(one, BaseException) else type(one).__name__ for one in found)
            with open(path) as file:
                tally.twice += sum(count - 1 for count in Counter(file.read().split()).values())
            return
    tally.settle(path, right, found)


def megabytes() -> float:
    """Return the memory that this process occupies, but for what the allocator keeps for later."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def descriptors() -> int:
    """Return how many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if asked.seed is None else asked.seed
    print(f"seed {seed}", flush=True)
    chance, tally = random.Random(seed), Tally()
    import logging

    logging.getLogger("poolbar").setLevel(logging.CRITICAL)  # a summary for each of thousands of runs is of no use
    began = time.monotonic()
    looks: list[tuple[float, int]] = []
    rounds, look_at = 0, 0.0
    with tempfile.TemporaryDirectory() as directory, poolbar.ProcessPoolExecutor(asked.workers, progress=False) as executor:
        killer = Killer(executor, random.Random(seed + 1))
        killer.start()
        while time.monotonic() - began < 60 * asked.minutes:
            try:
                play(executor, chance, tally, directory)
            except BaseException:
                print(f"after {rounds} rounds, {killer.killed} killed: {executor!r}", file=sys.stderr, flush=True)
                faulthandler.dump_traceback()
                raise
            rounds += 1
            seconds = time.monotonic() - began
            if seconds >= look_at:
                look_at += asked.minutes * 60 / LOOKS
                looks.append((megabytes(), descriptors()))
                print(f"{seconds:.0f} s: {looks[-1][0]:.0f} MB, {looks[-1][1]} descriptors, {killer.killed} killed", flush=True)
        killer.ended.set()
        killer.join()
        assert executor.submit(abs, -1).result(HANG_SECONDS) == 1
    # From when caches are warm; the least that a part of the run shows, for what is on its way at a look is no leak.
    part = max(1, len(looks) // 4)
    growth, opened = (
        min(look[n] for look in looks[-part:]) - min(look[n] for look in looks[part : 2 * part] or looks[:1]) for n in (0, 1)
    )
    crashed = tally.outcomes["WorkerCrashed"]
    print("| minutes | tasks | workers killed | tasks crashed | lost | run twice | growth of the parent | descriptors |")
    print("|---|---|---|---|---|---|---|---|")
    total = sum(tally.outcomes.values())
    print(
        f"| {(time.monotonic() - began) / 60:.1f} | {total:,} | {killer.killed:,} | {crashed:,} | {tally.lost} "
        f"| {tally.twice} | {growth:+.1f} MB | {opened:+d} |"
    )
    print(f"{rounds} rounds, outcomes {dict(tally.outcomes)}")
    return int(tally.lost > 0 or tally.twice > 0 or crashed > killer.killed or growth > MOST_GROWTH_MB or opened > 8)


if __name__ == "__main__":
    sys.exit(main())
