"""What a killed worker costs: rows for run.py."""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rows import Row, compare
from tasks import mark, moment, nap

import poolbar

TASKS = 100_000
KILLS = 200
PERIOD_SECONDS = 0.02


def first_task_of_a_new_worker() -> float:
    """Milliseconds from the making of an executor to the beginning of its first task, in a worker that was not there before."""
    began = time.perf_counter()
    with poolbar.ProcessPoolExecutor(1, idle_seconds=0) as ours:
        return 1e3 * (ours.submit(moment).result() - began)


def first_task_after_a_kill() -> float:
    """Milliseconds from the killing of a busy worker to the beginning of the next task, on the one that takes its place."""
    with poolbar.ProcessPoolExecutor(1, idle_seconds=0) as ours:
        (pid,) = _pids(ours)
        held = ours.submit(nap, 600)
        following = ours.submit(moment)
        while not held.running():
            time.sleep(0.001)
        time.sleep(0.05)
        began = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        taken = following.result() - began
        assert isinstance(held.exception(), poolbar.WorkerCrashed)
        return 1e3 * taken


def _pids(executor: poolbar.ProgressExecutor) -> list[int]:
    executor.submit(abs, 1).result()
    return list(executor._processes)


def _started(executor: poolbar.ProgressExecutor) -> list[int]:
    # Not those that are starting: nothing would be lost with them.
    crew = executor._crew
    workers = [lane.worker for lane in list(crew.lanes)] if crew is not None else []
    return [worker.pid for worker in workers if worker is not None and worker.is_alive() and worker.pid is not None]


def replacement() -> Row:
    """From kill to first task, against the start of a worker."""
    acts = {"start of a worker": first_task_of_a_new_worker, "poolbar": first_task_after_a_kill}
    return compare("from a kill to the first task on the replacement", "ms", "<= 1.2 a start", acts, rounds=15)


def cost() -> Row:
    """Milliseconds that killing one of 4 workers adds to a run of 400 naps of 10 ms, against the start of a worker."""

    def run(kill: bool) -> float:
        with poolbar.ProcessPoolExecutor(4, idle_seconds=0) as ours:
            list(ours.map(nap, [0.05] * 8, chunksize=1))
            began = time.perf_counter()
            futures = [ours.submit(nap, 0.01) for _ in range(400)]
            futures[100].result()
            if kill:
                os.kill(next(iter(ours._processes)), signal.SIGKILL)
            poolbar.wait(futures)
            taken = time.perf_counter() - began
            assert sum(future.exception() is not None for future in futures) <= kill
        return taken

    def added() -> float:
        return 1e3 * max(0.0, statistics.median(run(kill=True) - run(kill=False) for _ in range(3)))

    acts = {"start of a worker": first_task_of_a_new_worker, "poolbar": added}
    return compare("what killing one of 4 workers adds to a run", "ms", "<= 1 start", acts, rounds=7)


def law_nine() -> Row:
    """Of 100,000 tasks with 200 kills: those that were lost, run twice, or failed without a kill to show for it. 0 is asked."""

    def act() -> float:
        with tempfile.TemporaryDirectory() as directory, poolbar.ProcessPoolExecutor(4) as ours:
            path = str(Path(directory) / "runs")
            Path(path).touch()
            ended = threading.Event()
            killed = 0

            def kill() -> None:
                nonlocal killed
                dead: set[int] = set()
                while killed < KILLS and not ended.wait(PERIOD_SECONDS):
                    for pid in set(_started(ours)) - dead:
                        dead.add(pid)
                        os.kill(pid, signal.SIGKILL)
                        killed += 1

            killer = threading.Thread(target=kill)
            futures = [ours.submit(mark, path, number, "fast", 0.0002, b"") for number in range(TASKS)]
            killer.start()
            poolbar.wait(futures, 600)
            ended.set()
            killer.join()
            runs = Counter(map(int, Path(path).read_text().split()))
        return _faults(futures, runs, killed)

    return compare(
        f"{TASKS:,} tasks, {KILLS} kills: lost, run twice, or failed without a kill", "tasks", "0", {"poolbar": act}, 1
    )


def _faults(futures: list[poolbar.Future[Any]], runs: Counter[int], killed: int) -> float:
    crashed = lost = 0
    for number, future in enumerate(futures):
        if future.done() and isinstance(future.exception(), poolbar.WorkerCrashed):
            crashed += 1
        elif not future.done() or future.result() != number or not runs[number]:
            lost += 1
    twice = sum(count - 1 for count in runs.values() if count > 1)
    print(f"  {killed} kills: {crashed} tasks crashed, {lost} lost, {twice} run twice")
    return lost + twice + max(0, crashed - killed)


ROWS = {"kill replacement": replacement, "kill cost": cost, "kill law 9": law_nine}
