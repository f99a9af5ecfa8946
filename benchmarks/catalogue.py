"""The list of the table's workloads: what they are called, who takes part, and what is asked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import workloads
from contenders import BARS, CHUNKS, EXECUTORS, MAPS, ONE_SPAWN, STREAMS, SUBMITS
from workloads import FAST, SLOW, Figure, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from stage import Stage
    from workloads import Measured

FEW_SUBMITS = tuple(name for name in ONE_SPAWN if name in SUBMITS)
BOUNDS = ("limit", "threads")  # threads move nothing between processes


def one(key: str, name: str, unit: str, better: str, asked: str = "") -> tuple[Figure]:
    """Return the only figure of a workload."""
    return (Figure(key, name, unit, better, asked),)


def both_ways(
    figure: Figure, chunk: int, act: Callable[..., Measured], fits: tuple[str, ...] = ONE_SPAWN, rounds: int = 5
) -> dict[str, Workload]:
    """Return a map's workload twice: with the contenders' default arguments, and with the best that they have."""

    def run(stage: Stage, key: str, chunk: int | None) -> Measured:
        return act(stage, key, chunk=chunk)

    tuned = Figure(f"{figure.key}_tuned", f"{figure.name}, best arguments", *figure[2:4])
    chunked = tuple(name for name in fits if name in CHUNKS or name == "tqdm")
    return {
        figure.key: Workload((figure,), fits, partial(run, key=figure.key, chunk=None), rounds=rounds),
        tuned.key: Workload((tuned,), chunked, partial(run, key=tuned.key, chunk=chunk), rounds=rounds),
    }


def _makespan(asked: list[float]) -> Callable[..., Measured]:
    return partial(workloads.makespan, asked=asked)


TAIL = workloads.heavy_tail()

WORKLOADS: dict[str, Workload] = {
    "round_trip": Workload(
        one("round_trip", "round trip of one submit", "us", "low", ">= 1.7 x stdlib, 3.3 x loky"),
        (*SUBMITS, "threads"), workloads.round_trip, BOUNDS,
    ),
    "round_trip_one_cpu": Workload(
        one("round_trip_one_cpu", "the same, all on one CPU", "us", "low"),
        (*SUBMITS, "threads"), workloads.round_trip_one_cpu, BOUNDS, 3,
    ),
    "burst": Workload(
        one("burst", "burst: 20,000 submits, then all results", "tasks/s", "high", ">= 10 x stdlib, 12 x loky"),
        (*SUBMITS, "threads"), workloads.burst, BOUNDS,
    ),
    "completed": Workload(
        one("completed", "as_completed over 20,000 futures", "tasks/s", "high"),
        (*EXECUTORS, "threads"), workloads.completed, BOUNDS, 3,
    ),
    **both_ways(
        Figure("map", "map of 200,000 no-ops", "tasks/s", "high", ">= 100 x stdlib"), 1000, workloads.mapped, MAPS
    ),
    **both_ways(
        Figure("map_bar", "map of 200,000 no-ops with a bar", "tasks/s", "high", ">= 10 x stdlib"),
        1000, partial(workloads.mapped, bar=True), BARS,
    ),
    "endless": Workload(
        (
            Figure("endless_first", "endless generator: time to the first result", "ms", "low"),
            Figure("endless_pulled", "endless generator: inputs taken when the first result came", "inputs", "low", ranked=False),
            Figure("endless_memory", "endless generator: growth of the parent (1 at least)", "MB", "low"),
        ),
        STREAMS, workloads.endless, rounds=3,
    ),
    **both_ways(
        Figure("heavy", "400 tasks of a function with 20 MB bound to it, map", "s", "low", ">= 10 x stdlib"),
        200, workloads.heavy, rounds=3,
    ),
    "heavy_submit": Workload(
        one("heavy_submit", "the same by 400 submits", "s", "low", ">= 10 x stdlib"),
        FEW_SUBMITS, partial(workloads.heavy, key="heavy_submit"), rounds=3,
    ),
    "arrays_in": Workload(
        one("arrays_in", "24 arrays of 8 MB in", "GB/s", "high", ">= 3 x stdlib, 1.5 x joblib"),
        ONE_SPAWN, partial(workloads.arrays_in, key="arrays_in"),
    ),
    "arrays_out": Workload(
        one("arrays_out", "24 arrays of 8 MB out", "GB/s", "high", ">= 3 x stdlib, 1.5 x joblib"),
        ONE_SPAWN, partial(workloads.arrays_out, key="arrays_out"),
    ),
    "arrays_both": Workload(
        one("arrays_both", "24 arrays of 8 MB in and out", "GB/s", "high", ">= 3 x stdlib, 1.5 x joblib"),
        ONE_SPAWN, partial(workloads.arrays_both, key="arrays_both"),
    ),
    **both_ways(Figure("computing", "32 CPU-bound tasks of about 20 ms", "tasks/s", "high"), 1, workloads.computing),
    **both_ways(
        Figure("tail", "heavy-tailed naps: makespan / list schedule", "x", "low", "<= 1.1"), 1, _makespan(TAIL), rounds=3
    ),
    **both_ways(
        Figure("tail_cpu", "the same, computing", "x", "low", "<= 1.1"), 1, _makespan([-value for value in TAIL]), rounds=3
    ),
    **both_ways(
        Figure("fast_slow", "10,000 x 5 us, then 16 x 50 ms: makespan / list schedule", "x", "low"),
        4, _makespan(FAST + SLOW), rounds=3,
    ),
    **both_ways(
        Figure("slow_fast", "16 x 50 ms, then 10,000 x 5 us: makespan / list schedule", "x", "low"),
        4, _makespan(SLOW + FAST), rounds=3,
    ),
    **both_ways(Figure("small_maps", "500 maps of 8 no-ops", "us/map", "low"), 4, workloads.small_maps),
    "naps": Workload(
        one("naps", "60 naps of 20 ms, as many workers as by default", "tasks/s", "high"),
        ("poolbar", "poolbar, threads allowed", "stdlib fork", "loky", "pebble", "Pool", "threads"),
        workloads.naps, ("limit", "poolbar, threads allowed"), 3,
    ),
    "cold": Workload(
        one("cold", "cold start: import, pool, one result, exit", "ms", "low"), BARS, workloads.cold, rounds=3
    ),
    "warm": Workload(
        one("warm", "warm start: another pool, one result, end", "ms", "low"), BARS, workloads.warm, rounds=3
    ),
    "workers": Workload(
        (
            Figure("workers_growth", "growth: cost per submit with 32 / with 2 workers", "x", "low", "<= 1.3", ranked=False),
            Figure("workers_cost", "cost per submit with 32 workers", "us", "low"),
            Figure("workers_trip", "round trip with 32 workers", "us", "low"),
        ),
        FEW_SUBMITS, workloads.many_workers, rounds=2,
    ),
    "tasks": Workload(
        (Figure("tasks_growth", "growth: cost per submit of 80,000 / of 5,000", "x", "low", "flat", ranked=False),),
        FEW_SUBMITS, workloads.many_tasks, rounds=2,
    ),
    "mapped": Workload(
        (Figure("mapped_growth", "growth: cost per task of a map of 500,000 / of 5,000", "x", "low", "flat", ranked=False),),
        ONE_SPAWN, workloads.many_mapped, rounds=2,
    ),
}  # fmt: skip
