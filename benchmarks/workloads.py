"""The workloads of the table: what each contender does in a round, and which figures that gives. Every result is checked."""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import time
from concurrent.futures import as_completed
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import contenders
import tasks
from figures import NEVER, list_schedule
from rows import median_seconds
from stage import WORKERS, one_cpu, peak_megabytes, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from contenders import Contender
    from stage import Stage

HEAVY_BYTES = 20_000_000
ARRAYS = 24
ARRAY_GIGABYTES = 8e6 / 1e9


class Figure(NamedTuple):
    """One row of the table."""

    key: str
    name: str
    unit: str
    better: str  # "high" or "low"
    asked: str = ""
    ranked: bool = True  # False: of each contender for itself, such as a growth, where a high cost that stays high is no merit


class Measured(NamedTuple):
    """What a contender did in a round."""

    figures: dict[str, float]  # by the keys of the workload's figures
    curves: dict[str, list[tuple[int, float]]] = {}  # noqa: RUF012 - never written; growth: what it was over, microseconds per task


class Workload(NamedTuple):
    """What is done, and by whom."""

    figures: tuple[Figure, ...]
    fits: tuple[str, ...]  # contenders
    act: Callable[[Stage], Measured]
    beside: tuple[str, ...] = ("limit",)  # shown, and not ranked: what they do is not the same
    rounds: int = 5


def just(key: str, figure: float) -> Measured:
    """Return one figure."""
    return Measured({key: figure})


# Single tasks


def round_trip(stage: Stage) -> Measured:
    return just("round_trip", _round_trip(stage.pool, 300 if stage.quick else 1000))


def round_trip_one_cpu(stage: Stage) -> Measured:
    with one_cpu(), stage.fresh(WORKERS) as pool:
        return just("round_trip_one_cpu", _round_trip(pool, 300 if stage.quick else 1000))


def _round_trip(pool: Contender, times: int) -> float:
    assert pool.read(pool.submit(tasks.noop, 3)) == 3
    return 1e6 * median_seconds(lambda: pool.read(pool.submit(tasks.noop, 1)), times)


def burst(stage: Stage) -> Measured:
    size = stage.size("burst", 20_000, lambda count: _burst(stage.pool, count))
    return just("burst", size / _burst(stage.pool, size))


def _burst(pool: Contender, count: int) -> float:
    def act() -> None:
        futures = [pool.submit(tasks.noop, number) for number in range(count)]
        assert [pool.read(future) for future in futures] == list(range(count))

    return seconds(act)


def completed(stage: Stage) -> Measured:
    def act() -> None:
        futures = {stage.pool.submit(tasks.noop, number): number for number in range(20_000)}
        assert all(future.result() == futures[future] for future in as_completed(futures))

    return just("completed", 20_000 / seconds(act))


# Maps


def mapped(stage: Stage, key: str, chunk: int | None = None, bar: bool = False) -> Measured:
    """Map over tiny tasks: as many as suit the contender's pace."""
    way = stage.pool.barred if bar else stage.pool.map

    def act(count: int) -> float:
        expected = list(range(count))

        def run() -> None:
            assert list(way(tasks.noop, range(count), chunk)) == expected

        return seconds(run)

    size = stage.size(key, 200_000, act)
    return just(key, size / act(size))


def small_maps(stage: Stage, key: str, chunk: int | None = None) -> Measured:
    def act(count: int) -> float:
        def run() -> None:
            for _ in range(count):
                assert list(stage.pool.map(tasks.noop, range(8), chunk)) == list(range(8))

        return seconds(run)

    count = 500 if act(20) < 0.08 else 50
    return just(key, 1e6 * act(count) / count)


def endless(stage: Stage) -> Measured:
    """Read an endless generator for a while: the time to the first result, and the memory of 300,000 (or of two seconds)."""
    state = {"pulled": 0, "first": 0.0, "ended": False, "drained": False}

    def numbers() -> Iterator[int]:
        while not state["ended"]:
            state["pulled"] += 1
            yield state["pulled"]
            if not state["first"] and time.perf_counter() - began > 0.3:
                state["ended"] = state["drained"] = True  # it would pull for ever

    with stage.fresh(WORKERS, started=stage.name in contenders.SUBMITS) as pool:
        assert list(pool.stream(tasks.noop, iter(range(100)))) == list(range(100))  # warm
        peak_before = peak_megabytes(reset=True)
        began = time.perf_counter()
        results = iter(pool.stream(tasks.noop, numbers()))
        assert next(results) == 1
        state["first"] = time.perf_counter() - began
        if state["drained"]:
            return Measured(dict.fromkeys(("endless_first", "endless_pulled", "endless_memory"), NEVER))
        pulled = state["pulled"]
        expected = 2
        while expected <= 300_000 and time.perf_counter() - began < 2:
            assert next(results) == expected
            expected += 1
        grown = peak_megabytes() - peak_before
        state["ended"] = True
        del results
    return Measured({"endless_first": 1e3 * state["first"], "endless_pulled": pulled, "endless_memory": max(1.0, grown)})


# Large data


def heavy(stage: Stage, key: str, chunk: int | None = None) -> Measured:
    """400 tasks of a function with 20 MB bound to it; where 40 take over half a second, ten times that."""

    def act(count: int) -> float:
        function = partial(tasks.size_and, tasks.array_out(0, HEAVY_BYTES // 8))  # one that no worker has seen
        expected = [(HEAVY_BYTES, number) for number in range(count)]

        def run() -> None:
            if key == "heavy_submit":
                results = [stage.pool.read(future) for future in [stage.pool.submit(function, n) for n in range(count)]]
            else:
                results = list(stage.pool.map(function, range(count), chunk))
            assert results == expected

        return seconds(run)

    few = act(40)
    return just(key, 10 * few if few > 0.5 else act(400))


def arrays_in(stage: Stage, key: str, chunk: int | None = None) -> Measured:
    arrays = [tasks.array_out(number) for number in range(ARRAYS)]

    def run() -> None:
        assert list(stage.pool.map(tasks.array_in, arrays, chunk)) == [1954.0 * number for number in range(ARRAYS)]

    return just(key, ARRAYS * ARRAY_GIGABYTES / seconds(run))


def arrays_out(stage: Stage, key: str, chunk: int | None = None) -> Measured:
    def run() -> None:
        sums = [tasks.array_in(array) for array in stage.pool.map(tasks.array_out, range(ARRAYS), chunk)]
        assert sums == [1954.0 * number for number in range(ARRAYS)]

    return just(key, ARRAYS * ARRAY_GIGABYTES / seconds(run))


def arrays_both(stage: Stage, key: str, chunk: int | None = None) -> Measured:
    arrays = [tasks.array_out(number) for number in range(ARRAYS)]

    def run() -> None:
        sums = [tasks.array_in(array) for array in stage.pool.map(tasks.array_both, arrays, chunk)]
        assert sums == [1954.0 * (number + 1) for number in range(ARRAYS)]

    return just(key, 2 * ARRAYS * ARRAY_GIGABYTES / seconds(run))


# Balance


def computing(stage: Stage, key: str, chunk: int | None = None) -> Measured:
    def run() -> None:
        assert list(stage.pool.map(tasks.count_down, [tasks.STEPS] * tasks.TIMES, chunk)) == [0] * tasks.TIMES

    return just(key, tasks.TIMES / seconds(run))


def makespan(stage: Stage, key: str, asked: list[float], chunk: int | None = None) -> Measured:
    """Return how long a run takes, over what a list schedule of the tasks' own times would."""
    taken: list[float] = []

    def run() -> None:
        taken.extend(stage.pool.map(tasks.timed, asked, chunk))

    whole = seconds(run)
    assert len(taken) == len(asked)
    assert all(real >= least for real, least in zip(taken, asked, strict=True))
    return just(key, whole / list_schedule(taken, WORKERS))


def heavy_tail() -> list[float]:
    """Return the seconds of 240 tasks: most take 2 ms, a few a hundred times as much; in all 2.4 s."""
    chance = random.Random(7)
    raw = [min(0.15, 0.002 * chance.paretovariate(1.1)) for _ in range(240)]
    return [value * 2.4 / sum(raw) for value in raw]


FAST = [-5e-6] * 10_000
SLOW = [0.05] * 16


def naps(stage: Stage) -> Measured:
    with stage.fresh(None) as pool:

        def run() -> None:
            futures = [pool.submit(tasks.nap, 0.02) for _ in range(60)]
            assert sum(pool.read(future) for future in futures) > 1.19

        seconds(run)  # workers that are started on demand, kinds that are chosen by measuring
        return just("naps", 60 / seconds(run))


# Starts


def cold(stage: Stage) -> Measured:
    place = str(Path(__file__).parent)
    script = f"import sys; sys.path.insert(0, {place!r}); import contenders; contenders.first_result({stage.name!r})"

    def run() -> None:
        subprocess.run([sys.executable, "-c", script], check=True, stdin=subprocess.DEVNULL)

    return just("cold", 1e3 * median_seconds(run, 3))


def warm(stage: Stage) -> Measured:
    contenders.first_result(stage.name)
    return just("warm", 1e3 * median_seconds(lambda: contenders.first_result(stage.name), 5))


# Growth


def many_workers(stage: Stage) -> Measured:
    """Cost per task of 5,000 submits, and a round trip, with more and more workers, all started."""
    curve, trips = [], {}
    for workers in (2, 32) if stage.quick else (2, 4, 8, 16, 32):
        with stage.fresh(workers) as pool:
            _burst(pool, 2000)
            curve.append((workers, 1e6 * statistics.median(_burst(pool, 5000) for _ in range(3)) / 5000))
            trips[workers] = _round_trip(pool, 300)
    figures = {
        "workers_growth": curve[-1][1] / curve[0][1],
        "workers_cost": curve[-1][1],
        "workers_trip": trips[32],
    }
    return Measured(figures, {"workers": curve, "trips": list(trips.items())})


def many_tasks(stage: Stage) -> Measured:
    """Cost per task of more and more submits; beyond 80,000 only where that is done in some seconds."""
    curve: list[tuple[int, float]] = []
    for count in (5_000, 20_000, 80_000, 200_000, 500_000)[: 2 if stage.quick else 5]:
        if count > 80_000 and curve[-1][1] * count > 6e6:
            break
        curve.append((count, 1e6 * _burst(stage.pool, count) / count))
    return Measured({"tasks_growth": curve[:3][-1][1] / curve[0][1]}, {"tasks": curve})


def many_mapped(stage: Stage) -> Measured:
    """Cost per task of a longer and longer map with default arguments."""
    curve: list[tuple[int, float]] = []
    for count in (5_000, 20_000, 50_000, 200_000, 500_000):
        if count > 20_000 and curve[-1][1] * count > 4e6:
            break

        def run(count: int = count) -> None:
            assert sum(stage.pool.map(tasks.noop, range(count))) == count * (count - 1) // 2

        curve.append((count, 1e6 * statistics.median(seconds(run) for _ in range(3 if count == 5_000 else 1)) / count))
    return Measured({"mapped_growth": curve[-1][1] / curve[0][1]}, {"mapped": curve})
