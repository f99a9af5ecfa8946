"""Engines behind poolbar's executor, against their own: the same cluster, the same two workers.

    pip install distributed ray
    python benchmarks/engines.py dask
    python benchmarks/engines.py ray map lazy         rows with one of these words

dask: a scheduler and two workers of one thread each, as processes on loopback, and ``Client.get_executor(pure=False)``. Ray:
two CPUs of this host, and a call of a remote function for each task. The two executors alternate, round by round; a ratio is
the median of the rounds' ratios, above 1 where poolbar is faster. All results are checked. Exit status 1 where a figure falls
short of what was asked. No bar is drawn.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import Executor, Future
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

os.environ.setdefault("POOLBAR_PROGRESS", "off")

from figures import in_short, list_schedule, ratio, spread

import poolbar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 5
SLOTS = 2
TINY, THEIR_TINY = 20_000, 1500  # dask's own would take a minute for the first: rates are compared
NAP = 0.1
HEAVY_BYTES = 20_000_000
MIXED = [5e-6] * 20_000 + [NAP] * 16


def noop(_: int) -> None:
    return None


def spin_or_nap(seconds: float) -> float:
    """Take so long: what is short computes."""
    if seconds >= 0.001:
        time.sleep(seconds)
    else:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass
    return seconds


def heavy(data: bytes, number: int) -> int:
    return len(data) + number


def fresh() -> bytes:
    """Return data that nobody has seen."""
    return os.urandom(16) * (HEAVY_BYTES // 16)


# --- what is timed: each takes an executor, and returns a figure


def timed(run: Callable[[], Any], expected: Any) -> float:
    began = time.perf_counter()
    result = run()
    taken = time.perf_counter() - began
    assert result == expected, "a result is wrong"
    return taken


def submitted(executor: Executor, function: Callable[..., Any], arguments: list[Any]) -> list[Any]:
    return [future.result() for future in [executor.submit(function, argument) for argument in arguments]]


def tiny(executor: Executor) -> int:
    return TINY if isinstance(executor, poolbar.ProgressExecutor) else THEIR_TINY


def submits(executor: Executor) -> float:
    number = tiny(executor)
    return number / timed(lambda: submitted(executor, noop, list(range(number))), [None] * number)


def maps(executor: Executor) -> float:
    number = tiny(executor)
    return number / timed(lambda: list(executor.map(noop, range(number))), [None] * number)


def naps(number: int, executor: Executor) -> float:
    return timed(lambda: submitted(executor, spin_or_nap, [NAP] * number), [NAP] * number)


def mapped_naps(number: int, executor: Executor) -> float:
    return timed(lambda: list(executor.map(spin_or_nap, [NAP] * number)), [NAP] * number)


def mixed(executor: Executor) -> float:
    return timed(lambda: list(executor.map(spin_or_nap, MIXED)), MIXED)


def heavies(executor: Executor) -> float:
    function = partial(heavy, fresh())
    return timed(lambda: submitted(executor, function, list(range(100))), [HEAVY_BYTES + number for number in range(100)])


def mapped_heavies(executor: Executor) -> float:
    function = partial(heavy, fresh())
    return timed(lambda: list(executor.map(function, range(100))), [HEAVY_BYTES + number for number in range(100)])


def round_trip(executor: Executor) -> float:
    return spread([1000 * timed(lambda: submitted(executor, noop, [1]), [None]) for _ in range(50)]).median


def lazily(executor: Executor) -> tuple[int, float]:
    """Return how many inputs were taken when the first result came, and after how many milliseconds that was."""
    taken = itertools.count()
    results = executor.map(operator.neg, (next(taken) for _ in range(1_000_000)))
    milliseconds = 1000 * timed(partial(next, results), 0)
    return next(taken), milliseconds


class Row(NamedTuple):
    """What is timed, and what was asked for.

    Attributes:
        both: the engine's own takes part.
        asked: of the ratio, at least; 0: nothing.
        ideal: the least that it can take; 0: not known.
    """

    name: str
    run: Callable[[Executor], float]
    unit: str
    both: bool = True
    asked: float = 0.0
    ideal: float = 0.0


ROWS = [
    Row("submit, no-ops", submits, "tasks/s", asked=50),
    Row("map, no-ops", maps, "tasks/s", asked=50),
    Row("submit, 40 x 100 ms", partial(naps, 40), "s", asked=1 / 1.05, ideal=40 * NAP / SLOTS),
    Row("submit, 200 x 100 ms", partial(naps, 200), "s", asked=1 / 1.05, ideal=200 * NAP / SLOTS),
    Row("map, 200 x 100 ms", partial(mapped_naps, 200), "s", asked=1 / 1.05, ideal=200 * NAP / SLOTS),
    Row("map, 20,000 x 5 us, then 16 x 100 ms", mixed, "s", both=False, ideal=list_schedule(MIXED, SLOTS)),
    Row("submit, 100 x a function with 20 MB bound to it", heavies, "s"),
    Row("map, 100 x a function with 20 MB bound to it", mapped_heavies, "s"),
    Row("round trip of one submit", round_trip, "ms"),
]
LAZY = "lazy generator of 1,000,000: first result"


class Engine(NamedTuple):
    """An engine that runs.

    Attributes:
        name: with its version.
        address: where.
        own: what its users use.
    """

    name: str
    address: str
    own: Executor


@contextlib.contextmanager
def dask() -> Iterator[Engine]:
    """Run a scheduler and its workers."""
    import distributed

    warnings.filterwarnings("ignore", "Sending large graph")  # that is what the heavy function is about
    with tempfile.TemporaryDirectory() as directory, open(f"{directory}/errors", "wb") as errors, contextlib.ExitStack() as stack:
        file = f"{directory}/scheduler.json"
        common = ["--scheduler-file", file, "--host", "127.0.0.1", "--no-dashboard"]

        def start(*arguments: str) -> None:
            command = [sys.executable, "-m", "dask", *arguments, *common]
            process = subprocess.Popen(command, stdout=errors, stderr=errors, cwd=directory)
            stack.callback(process.wait)
            stack.callback(process.terminate)

        start("scheduler", "--port", "0")
        for _ in range(SLOTS):
            start("worker", "--nthreads", "1", "--no-nanny", "--local-directory", directory)
        with distributed.Client(scheduler_file=file, set_as_default=False) as client:
            client.wait_for_workers(SLOTS, 60)
            yield Engine(f"distributed {distributed.__version__}", client.scheduler.address, client.get_executor(pure=False))


class Remotes(Executor):
    """Calls of Ray's remote functions."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._latest: tuple[Any, Any] = None, None

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Call a function, which was made a remote one the first time."""
        if self._latest[0] is not fn:
            bound: tuple[Any, ...] = ()
            call = fn
            if isinstance(fn, partial):  # its data lies in Ray's object store
                call, bound = fn.func, tuple(map(self._ray.put, fn.args))
            self._latest = fn, (self._ray.remote(call), bound)
        call, bound = self._latest[1]
        future: Future[Any] = call.remote(*bound, *args).future()
        return future


@contextlib.contextmanager
def ray() -> Iterator[Engine]:
    """Start Ray on this host."""
    import ray

    ray.init(num_cpus=SLOTS, logging_level="error", include_dashboard=False)
    try:
        yield Engine(f"Ray {ray.__version__}", ray.get_runtime_context().gcs_address, Remotes(ray))
    finally:
        ray.shutdown()


ENGINES = {"dask": dask, "ray": ray}


def shown(values: list[float], unit: str) -> str:
    middle, low, high = map(in_short, spread(values))
    return f"{middle} {unit} [{low}..{high}]"


def compare(row: Row, own: Executor, their: Executor) -> bool:
    """Print a row of the table; tell whether it is as good as was asked."""
    ours: list[float] = []
    theirs: list[float] = []
    for turn in range(ROUNDS):
        pairs = [(ours, own), (theirs, their)] if row.both else [(ours, own)]
        for figures, executor in pairs[:: -1 if turn % 2 else 1]:
            figures.append(row.run(executor))
    is_good, ahead, asked = True, "", ""
    if theirs:
        factor = ratio(ours, theirs, "high" if row.unit == "tasks/s" else "low")
        is_good = factor.median >= row.asked
        ahead = f"{factor.median:.3g} x [{factor.low:.3g}..{factor.high:.3g}]"
        asked = f"{row.asked:.3g} x" if row.asked else ""
    ideal = f"{in_short(row.ideal)} {row.unit}; ours takes {spread(ours).median / row.ideal:.3f} of it" if row.ideal else ""
    cells = [row.name, shown(ours, row.unit), shown(theirs, row.unit) if theirs else "", ahead, asked, ideal]
    print("| " + " | ".join(cells) + " |", flush=True)
    return is_good


def main() -> int:
    name, *wanted = sys.argv[1:]
    is_good = True
    with ENGINES[name]() as engine, poolbar.ProgressExecutor(backend=name, address=engine.address) as own:
        print(f"Python {platform.python_version()}, {engine.name}, {SLOTS} workers of one CPU\n")
        print("| | poolbar | its own | ahead | asked | ideal |\n|---|---|---|---|---|---|")
        for executor in own, engine.own:
            maps(executor)  # the first use is slow
        for row in ROWS:
            if not wanted or any(word in row.name for word in wanted):
                is_good = compare(row, own, engine.own) and is_good
        if not wanted or any(word in LAZY for word in wanted):
            pulled, milliseconds = zip(*[lazily(own) for _ in range(ROUNDS)], strict=True)
            print(f"| {LAZY} | {shown(list(milliseconds), 'ms')}, {shown(list(pulled), 'inputs taken')} | | | | |")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
