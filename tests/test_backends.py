"""Backends that are not built in: any executor runs batches, and all else is as at home."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import tasks
from conftest import Gate, environment, lines

import poolbar
from poolbar.backends import Backend, BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def spawned(**keywords: Any) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"), **keywords)


ENGINES: dict[str, Callable[[], Executor]] = {  # others pass the contract: see test_contract.py
    "threads": lambda: ThreadPoolExecutor(2),
    "processes": spawned,
}
if sys.version_info >= (3, 14):
    from concurrent.futures import InterpreterPoolExecutor

    # They do not look for modules where this one does.
    ENGINES["interpreters"] = lambda: InterpreterPoolExecutor(
        2, initializer=exec, initargs=(f"import sys; sys.path[:] = {sys.path}",)
    )


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Every kind in turn: tests must leave it whole."""
    with ENGINES[request.param]() as made:
        assert len(list(made.map(time.sleep, [0.2] * 4))) == 4  # it has all its workers
        yield made


@pytest.fixture
def executor(engine: Executor) -> Iterator[poolbar.ProgressExecutor]:
    with poolbar.ProgressExecutor(backend=engine) as made:
        yield made
    assert engine.submit(abs, -1).result(20) == 1  # it stays its owner's


@pytest.fixture
def processes() -> Iterator[ProcessPoolExecutor]:
    """Two, which a test may kill."""
    with spawned() as made:
        yield made


# --- as at home, on every engine


def test_results_come_in_order_and_the_slots_are_known(executor: poolbar.ProgressExecutor, engine: Executor) -> None:
    assert list(executor.map(abs, range(-2000, 0))) == list(range(2000, 0, -1))
    assert [future.result(20) for future in [executor.submit(divmod, number, 7) for number in range(200)]] == [
        divmod(number, 7) for number in range(200)
    ]
    assert executor.choice.kind == "remote"
    assert executor.choice.workers == 4  # one runs, and one is on its way, for each of two workers
    assert f"{type(engine).__name__}, 2 tasks at a time" in executor.choice.reason


def test_a_generator_is_pulled_no_further_than_a_window_reaches(executor: poolbar.ProgressExecutor) -> None:
    pulled = itertools.count()
    results = executor.map(tasks.same, (next(pulled) for _ in itertools.count()), buffersize=10)
    assert next(results) == 0
    assert next(pulled) <= 12
    del results


def test_an_error_of_a_task_has_the_traceback_of_where_it_was_raised(executor: poolbar.ProgressExecutor) -> None:
    error = executor.submit(tasks.fail, "some text").exception(20)
    assert isinstance(error, ValueError)
    assert "in fail" in str(error.__cause__)
    assert list(executor.map(tasks.fail_odd, [0, 2])) == [0, 2]
    with pytest.raises(ValueError, match="1"):
        list(executor.map(tasks.fail_odd, range(4)))


def test_what_does_not_pickle_fails_alone(executor: poolbar.ProgressExecutor) -> None:
    futures = [executor.submit(tasks.same, threading.Lock()), executor.submit(threading.Lock), executor.submit(abs, -1)]
    assert isinstance(futures[0].exception(20), poolbar.NotPicklable)
    assert isinstance(futures[1].exception(20), poolbar.NotPicklable)
    assert futures[2].result(20) == 1


def test_closures_and_classes_of_a_caller_run(executor: poolbar.ProgressExecutor) -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    factor = 3
    assert [point.x for point in executor.map(lambda point: Point(point.x * factor), map(Point, range(4)))] == [0, 3, 6, 9]


def test_prints_of_tasks_arrive_here_in_whole_lines(
    executor: poolbar.ProgressExecutor, capsys: pytest.CaptureFixture[str]
) -> None:
    if executor.choice.reason.startswith("backend='ThreadPool") and not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("tasks in this very process print as its threads do: without a GIL, into each other's lines")
    assert sorted(executor.map(tasks.print_lines, range(50))) == list(range(50))
    out, err = capsys.readouterr()
    assert sorted(out.splitlines()) == sorted(f"task {number} ends" for number in range(50))
    assert sorted(err.splitlines()) == sorted(f"on stderr {number}" for number in range(50))


def test_what_a_task_reports_is_shown(engine: Executor) -> None:
    seen = set()

    class Watcher(poolbar.Reporter):
        def event(self, progress: poolbar.Progress, event: poolbar.Event) -> None:
            seen.add((event.label, event.done, event.total))

    with poolbar.ProgressExecutor(backend=engine, progress=Watcher()) as executor:
        assert list(executor.map(tasks.report_and_nap, range(3))) == [0, 1, 2]
    assert seen == {(f"task {number}", number, 10) for number in range(3)}


def test_an_initializer_that_raises_breaks_the_executor_and_not_the_engine(engine: Executor) -> None:
    with poolbar.ProgressExecutor(backend=engine, initializer=tasks.fail, initargs=("no database",)) as executor:
        error = executor.submit(abs, -1).exception(20)
        assert isinstance(error, poolbar.BrokenExecutor)
        assert "no database" in str(error)
    assert engine.submit(abs, -1).result(20) == 1


def test_leaving_an_endless_run_early_lets_the_next_one_have_the_workers(executor: poolbar.ProgressExecutor) -> None:
    for value in executor.map(tasks.square, itertools.count()):
        if value > 100:
            break
    assert list(executor.map(abs, [-1, -2])) == [1, 2]


def test_two_executors_share_an_engine(engine: Executor) -> None:
    with poolbar.ProgressExecutor(backend=engine) as one, poolbar.ProgressExecutor(backend=engine) as two:
        runs = one.map(tasks.square, range(500)), two.map(tasks.square, range(500))
        assert [a == b for a, b in zip(*runs, strict=True)] == [True] * 500


def test_what_runs_cannot_be_killed_and_what_waits_can_be_cancelled(executor: poolbar.ProgressExecutor, gate: Gate) -> None:
    held = gate.hold(executor, 2)
    waiting = [executor.submit(tasks.same, number) for number in range(10)]
    assert waiting[-1].cancel()
    with pytest.raises(RuntimeError, match=r"cannot be killed; it can in a worker process"):
        executor.kill(held[0])
    gate.open()
    assert [future.result(20) for future in held] == [None, None]
    assert [future.result(20) for future in waiting[:-1]] == list(range(9))


def test_shutdown_that_cancels_lets_end_what_runs(engine: Executor, gate: Gate) -> None:
    executor = poolbar.ProgressExecutor(backend=engine)
    held = gate.hold(executor, 2)
    waiting = [executor.submit(tasks.same, number) for number in range(10)]
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting[4:])  # the first may be on their way
    gate.open()
    executor.shutdown(wait=True)
    assert [future.result(20) for future in held] == [None, None]


def test_what_is_large_arrives(executor: poolbar.ProgressExecutor) -> None:
    data = bytes(5 << 20)
    assert executor.submit(tasks.same, data).result(20) == data
    shared = executor.share({"data": data})
    assert list(executor.map(len, [shared, shared])) == [1, 1]


# --- of some engines


def test_max_workers_caps_what_is_in_flight_and_counts_the_slots_of_an_engine_that_does_not_tell(tmp_path: Path) -> None:
    class Mute(Executor):
        def __init__(self) -> None:
            self.threads = ThreadPoolExecutor(8)

        def submit(self, fn: Callable[..., Any], /, *args: Any, **keywords: Any) -> Any:
            return self.threads.submit(fn, *args, **keywords)

    mute = Mute()
    with poolbar.ProgressExecutor(2, backend=mute) as executor:
        assert executor.choice.workers == 2
        assert all(executor.map(tasks.meet, [str(tmp_path)] * 2, range(2), [2] * 2, chunksize=1))
    with poolbar.ProgressExecutor(backend=mute) as executor:
        assert executor.choice.workers == 2 * (os.cpu_count() or 1)
    mute.threads.shutdown()


def test_an_engine_is_asked_by_one_thread_at_a_time() -> None:
    class Shy(ThreadPoolExecutor):
        inside = 0
        most = 0

        def submit(self, fn: Callable[..., Any], /, *args: Any, **keywords: Any) -> Any:
            self.inside += 1
            self.most = max(self.most, self.inside)
            time.sleep(0.001)  # others come now, if they may
            self.inside -= 1
            return super().submit(fn, *args, **keywords)

    with Shy(4) as engine, poolbar.ProgressExecutor(backend=engine) as executor:
        assert list(executor.map(tasks.same, range(200), chunksize=1)) == list(range(200))
        assert engine.most == 1


def test_an_initializer_runs_once_in_each_process(processes: ProcessPoolExecutor, tmp_path: Path) -> None:
    path = str(tmp_path / "begun")
    with poolbar.ProgressExecutor(backend=processes, initializer=note_pid, initargs=(path,)) as executor:
        pids = set(executor.map(tasks.slow_pid, [0.02] * 40, chunksize=1))
        assert set(executor.map(tasks.pid_of, range(10))) <= pids
    begun = lines(tmp_path / "begun")
    assert sorted(begun) == sorted(map(str, pids))


def note_pid(path: str) -> None:
    tasks.note(path, os.getpid())


def test_a_task_of_threads_may_submit_to_the_engine_that_it_runs_in() -> None:
    with ThreadPoolExecutor(2) as engine, poolbar.ProgressExecutor(1, backend=engine) as executor:
        engines[0] = engine
        assert executor.submit(ask_the_engine).result(20) == 3
        engines.clear()


engines: dict[int, Executor] = {}


def ask_the_engine() -> int:
    return engines[0].submit(abs, -3).result(20)


# --- engines that break, end, or are none


def test_a_worker_that_dies_breaks_an_engine_that_breaks_by_it_and_nothing_hangs(processes: ProcessPoolExecutor) -> None:
    with poolbar.ProgressExecutor(backend=processes) as executor:
        assert list(executor.map(abs, range(10))) == list(range(10))
        futures = [executor.submit(tasks.same, 1), executor.submit(os._exit, 3), *[executor.submit(tasks.nap, 0.01)] * 20]
        errors = [future.exception(20) for future in futures]
        assert isinstance(errors[1], poolbar.WorkerCrashed)
        assert "_exit(3): lost by ProcessPoolExecutor: BrokenProcessPool" in str(errors[1])
        assert all(error is None or isinstance(error, BrokenExecutor) for error in errors)
        with pytest.raises(BrokenExecutor, match="ProcessPoolExecutor"):
            executor.submit(abs, -1).result(20)


def test_a_run_ends_with_an_error_when_its_engine_breaks(processes: ProcessPoolExecutor) -> None:
    with poolbar.ProgressExecutor(backend=processes) as executor:
        run = executor.map(tasks.slow_pid, [0.01] * 500)
        os.kill(next(run), signal.SIGKILL)
        with pytest.raises(BrokenExecutor):
            list(run)


def test_retries_do_not_bring_back_an_engine_that_has_broken(processes: ProcessPoolExecutor) -> None:
    with poolbar.ProgressExecutor(backend=processes, retries=2) as executor:
        assert isinstance(executor.submit(os._exit, 3).exception(20), BrokenExecutor)


def test_a_worker_that_dies_costs_one_task_where_the_engine_is_poolbars_own() -> None:
    with poolbar.ProcessPoolExecutor(2, progress=False) as engine, poolbar.ProgressExecutor(backend=engine) as executor:
        crash = executor.submit(os._exit, 3)
        assert isinstance(crash.exception(20), poolbar.WorkerCrashed)
        assert executor.submit(abs, -1).result(20) == 1


def test_an_engine_that_its_owner_shuts_down_during_a_run_ends_it_with_an_error(gate: Gate) -> None:
    engine = ThreadPoolExecutor(8)  # more than wait: which of several batches comes first is not said
    with poolbar.ProgressExecutor(backend=engine) as executor:
        inputs = itertools.chain([None], [gate.path] * 4, itertools.repeat(None, 100_000))
        run = executor.map(lambda path: path and tasks.wait_for(path), inputs, chunksize=1)
        assert next(run) is None
        engine.shutdown(wait=False, cancel_futures=True)
        gate.open()
        with pytest.raises(BrokenExecutor, match="ThreadPoolExecutor"):
            list(run)
        with pytest.raises(BrokenExecutor, match="takes no more calls"):
            executor.submit(abs, -1).result(20)


def test_an_engine_that_was_shut_down_before_says_so() -> None:
    engine = ThreadPoolExecutor(2)
    engine.shutdown()
    with poolbar.ProgressExecutor(backend=engine) as executor:
        with pytest.raises(BrokenExecutor, match="ThreadPoolExecutor takes no more calls"):
            executor.submit(abs, -1).result(20)
        with pytest.raises(BrokenExecutor, match="ThreadPoolExecutor takes no more calls"):
            list(executor.map(abs, [-1]))


class Odd(Backend):
    """Raises where it should not."""

    name = "an odd engine"

    def submit(self, call: Callable[..., Any], /, *args: Any) -> Any:
        raise OSError("the cable is out")

    def slots(self) -> int:
        return 1


def test_a_backend_that_raises_something_else_breaks_the_executor_and_is_named() -> None:
    with poolbar.ProgressExecutor(backend=Odd()) as executor:
        error = executor.submit(abs, -1).exception(20)
    assert isinstance(error, BrokenExecutor)
    assert "the cable is out" in str(error)


class Duck:
    def submit(self) -> None:
        """Be no executor."""


def test_what_is_no_engine_is_refused() -> None:
    for wrong in (3, object(), ThreadPoolExecutor):
        with pytest.raises(TypeError, match="backend must be the name of a backend, an Executor or a Backend"):
            poolbar.ProgressExecutor(backend=wrong)  # type: ignore[arg-type]
    with pytest.raises(BackendError, match=r"Duck .* is neither a poolbar.backends.Backend nor a concurrent.futures.Executor"):
        poolbar.ProgressExecutor(backend=Duck()).submit(abs, -1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"backend='nowhere' cannot be used; allowed: .*dask"):
        poolbar.ProgressExecutor(backend="nowhere")


def test_what_needs_worker_processes_of_ours_is_refused() -> None:
    with ThreadPoolExecutor(1) as engine:
        for asked in ({"task_timeout": 1}, {"worker_memory_mb": 100}, {"max_tasks_per_child": 1}, {"mp_context": "spawn"}):
            with pytest.raises(ValueError, match="needs worker processes, and backend='ThreadPoolExecutor' was asked for"):
                poolbar.ProgressExecutor(backend=engine, **asked)


def test_a_plugin_that_cannot_be_loaded_says_which_and_why(tmp_path: Path) -> None:
    site = tmp_path / "broken-1.dist-info"
    site.mkdir()
    (site / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (site / "entry_points.txt").write_text("[poolbar.backends]\nbroken = there_is_no_such_module:connect\nnumber = math:pi\n")
    env = environment(PYTHONPATH=os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]]))
    for name, words in [
        ("broken", "the backend 'broken' (there_is_no_such_module:connect) cannot be opened: ModuleNotFoundError"),
        ("number", "the backend 'number' (math:pi) cannot be opened: TypeError"),
    ]:
        code = f"import poolbar; poolbar.ProgressExecutor(backend={name!r}).submit(abs, -1)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env)
        last = done.stderr.splitlines()[-1]
        assert last.startswith("poolbar._errors.BackendError: ")
        assert words in last


INTERRUPTED = """
import os, signal, sys, threading, time
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
import poolbar
import tasks

def interrupt():
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background, it is ignored
    threading.Thread(target=interrupt).start()
    with ENGINE as engine:
        try:
            with poolbar.ProgressExecutor(backend=engine) as executor:
                list(executor.map(tasks.wait_for, [sys.argv[2]] * 3, [sys.argv[1], None, None]))
        finally:
            tasks.write(sys.argv[2])
"""


@pytest.mark.parametrize("engine", ["ThreadPoolExecutor(2)", "ProcessPoolExecutor(2, multiprocessing.get_context('spawn'))"])
def test_one_interrupt_ends_a_run_and_leaves_the_engine_to_its_owner(engine: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(INTERRUPTED.replace("ENGINE", engine))
    done = subprocess.run(
        [sys.executable, "script.py", str(tmp_path / "begun"), str(tmp_path / "gate")],
        capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment(POOLBAR_PROGRESS="off"),
    )  # fmt: skip
    assert done.stderr.count("Traceback") == 1, done.stderr
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")


def test_errors_of_backends_are_told_from_others() -> None:
    assert issubclass(BackendError, RuntimeError)
    assert poolbar.BackendError is BackendError
