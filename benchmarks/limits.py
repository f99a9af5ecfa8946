"""What the machine and Python allow: measured in the same rounds, so that a figure can be read against it."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from concurrent.futures import Future, as_completed
from typing import TYPE_CHECKING

import tasks
from rows import median_seconds
from stage import one_cpu, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def echo() -> Iterator[Callable[[], object]]:
    """Yield one round trip of a byte through two raw pipes; a process at the other end sends it back."""
    there_out, there = os.pipe()
    back, back_in = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(there)
        while byte := os.read(there_out, 1):
            os.write(back_in, byte)
        os._exit(0)
    os.close(there_out)
    os.close(back_in)

    def once() -> None:
        os.write(there, b"x")
        os.read(back, 1)

    try:
        yield once
    finally:
        os.close(there)
        os.close(back)
        os.waitpid(pid, 0)


def pipe() -> float:
    """Microseconds of a raw round trip."""
    with echo() as once:
        return 1e6 * median_seconds(once, 1000)


def pipe_one_cpu() -> float:
    """The same on one CPU."""
    with one_cpu():
        return pipe()


def futures(read: Callable[[list[Future[int]]], list[int]]) -> float:
    """Futures a second that are made, set and read, without any worker."""

    def act() -> None:
        made = [Future[int]() for _ in range(20_000)]
        for number, future in enumerate(made):
            future.set_running_or_notify_cancel()
            future.set_result(number)
        assert len(read(made)) == 20_000

    return 20_000 / seconds(act)


def pickled() -> float:
    """Numbers a second that are pickled and unpickled in lists of 1,000, as arguments and as results."""
    items = list(range(1000))

    def act() -> None:
        for _ in range(400):
            assert len(pickle.loads(pickle.dumps(items, 5))) == 1000

    return 200_000 / seconds(act)


def copied() -> float:
    """Gigabytes a second of a copy of 8 MB to memory that is there; 24 different ones."""
    arrays = [tasks.array_out(number) for number in range(24)]
    target = tasks.array_out(0)

    def act() -> None:
        for array in arrays:
            target[:] = array

    return 24 * 8e6 / 1e9 / seconds(act)


def two_processes() -> float:
    """CPU-bound tasks a second of two bare processes that have half of them each."""

    def act() -> None:
        pids = []
        for _ in range(2):
            pid = os.fork()
            if not pid:
                for _ in range(tasks.TIMES // 2):
                    tasks.count_down(tasks.STEPS)
                os._exit(0)
            pids.append(pid)
        for pid in pids:
            os.waitpid(pid, 0)

    return tasks.TIMES / seconds(act)


def interpreter() -> float:
    """Milliseconds of an interpreter that does nothing."""
    return 1e3 * median_seconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True), 3)


LIMITS: dict[str, tuple[str, Callable[[], float]]] = {
    "round_trip": ("raw pipe, there and back", pipe),
    "round_trip_one_cpu": ("raw pipe, there and back", pipe_one_cpu),
    "burst": ("Future made, set and read", lambda: futures(lambda made: [future.result() for future in made])),
    "completed": ("as_completed over set futures", lambda: futures(lambda made: [f.result() for f in as_completed(made)])),
    "map": ("pickled there and back", pickled),
    "map_tuned": ("pickled there and back", pickled),
    "map_bar": ("pickled there and back", pickled),
    "map_bar_tuned": ("pickled there and back", pickled),
    "arrays_in": ("memcpy", copied),
    "arrays_out": ("memcpy", copied),
    "arrays_both": ("memcpy", copied),
    "computing": ("two bare processes", two_processes),
    "computing_tuned": ("two bare processes", two_processes),
    "small_maps": ("raw pipe, there and back", pipe),
    "small_maps_tuned": ("raw pipe, there and back", pipe),
    "cold": ("bare interpreter", interpreter),
    "workers": ("raw pipe, there and back", pipe),
}
FIGURES = {"workers": "workers_trip"}  # which figure of a workload a limit is for, where it has several
