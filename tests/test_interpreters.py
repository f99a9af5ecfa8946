"""Workers that are interpreters beside the main one. What they have in common with processes is tested there: KINDS, PIPED."""

from __future__ import annotations

import gc
import os
import re
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import tasks
from conftest import Gate, children, is_released, lines, until

import poolbar

if sys.version_info < (3, 14):
    pytest.skip("sub-interpreters for everybody came with Python 3.14", allow_module_level=True)

from concurrent import interpreters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def pool(workers: int = 2, **options: Any) -> poolbar.ProgressExecutor:
    return poolbar.ProgressExecutor(workers, backend="interpreter", **options)


@pytest.fixture(autouse=True)
def _all_are_closed() -> Iterator[None]:
    yield
    until(lambda: gc.collect() >= 0 and len(interpreters.list_all()) == 1, 10)
    assert interpreters.list_all() == [interpreters.get_main()]


@pytest.fixture
def current() -> Callable[[], int]:
    """Return the number of the interpreter in which this runs. Goes by value: psutil, which this module imports, refuses them."""

    def number() -> int:
        from concurrent import interpreters

        return interpreters.get_current().id

    return number


# --- what was asked for


def test_it_is_chosen_by_keyword_or_variable_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pool() as executor:
        assert executor.choice[:3] == ("interpreter", 2, "backend='interpreter' was asked for")
        assert executor.submit(tasks.add, 1, 2).result(20) == 3
        assert "interpreter workers" in repr(executor)
    monkeypatch.setenv("POOLBAR_BACKEND", "interpreter")
    assert poolbar.ProgressExecutor().choice[:2] == ("interpreter", poolbar.ProcessPoolExecutor().choice.workers)
    assert poolbar.ProcessPoolExecutor(1).choice.kind == "process"


@pytest.mark.parametrize(
    "option", [{"task_timeout": 1}, {"mp_context": "spawn"}, {"max_tasks_per_child": 1}, {"worker_memory_mb": 9}]
)
def test_what_only_processes_can_do_contradicts_it(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(option))} needs worker processes, and interpreters were asked for"):
        pool(**option)


def test_each_worker_is_an_interpreter_of_this_process_and_none_is_left(tmp_path: Path, current: Callable[[], int]) -> None:
    def meet_in(number: int) -> tuple[bool, int, int]:
        return tasks.meet(str(tmp_path), number, 3), os.getpid(), current()

    with pool(3) as executor:
        met, pids, numbers = zip(*executor.map(meet_in, range(3), chunksize=1), strict=True)
        assert len(interpreters.list_all()) == 4
    assert (set(met), set(pids), len(set(numbers))) == ({True}, {os.getpid()}, 3)


def test_a_worker_loads_neither_loky_nor_multiprocessing_nor_tqdm() -> None:
    with pool(1) as executor:
        loaded = set(executor.submit(tasks.loaded).result(20))
    assert "poolbar.inside.interpreter" in loaded
    assert loaded & {"loky", "multiprocessing", "tqdm", "cloudpickle", "logging", "traceback", "poolbar.workers"} == set()


# --- functions of a script


BY_VALUE = """
import os, sys
import poolbar

print("once")
calls = 0

class Pair:
    def __init__(self, left, right):
        self.left, self.right = left, right

class Odd(Exception):
    pass

def prepare(text):
    global prepared
    prepared = text
    with open(sys.argv[1], "a") as file:
        file.write("prepared\\n")

def count(_):
    global calls
    calls += 1
    return calls

def swap(pair):
    return Pair(pair.right, pair.left)

def fail():
    raise Odd("as asked")

def make(step):
    return lambda number: number + step

with poolbar.ProgressExecutor(1, initializer=prepare, initargs=("set by the initializer",)) as executor:
    print(executor.choice.kind)
    print(list(executor.map(make(10), range(3))))
    print(executor.submit(lambda: prepared).result())
    print(list(executor.map(count, range(3))), executor.submit(count, 0).result(), calls)
    swapped = executor.submit(swap, Pair(1, 2)).result()
    print(type(swapped) is Pair, swapped.left, swapped.right)
    try:
        executor.submit(fail).result()
    except Odd as error:
        print("Odd", error, "in fail" in str(error.__cause__))
    print(executor.submit(lambda: sys.argv[2:]).result())
"""


@pytest.mark.parametrize("way", ["file", "-c", "stdin"])
def test_lambdas_closures_and_classes_of_a_script_work_and_its_main_is_one_namespace(
    script: Callable[..., list[str]], tmp_path: Path, way: str
) -> None:
    told = script(BY_VALUE, str(tmp_path / "noted"), "second", way=way, POOLBAR_BACKEND="interpreter")
    assert told == [
        "once", "interpreter", "[10, 11, 12]", "set by the initializer", "[1, 2, 3] 4 0", "True 2 1", "Odd as asked True",
        "['second']",
    ]  # fmt: skip
    assert lines(tmp_path / "noted") == ["prepared"]


def test_an_initializer_runs_once_in_each_interpreter(tmp_path: Path, current: Callable[[], int]) -> None:
    path = str(tmp_path / "noted")

    def prepare() -> None:
        tasks.note(path, current())

    def meet_in(number: int) -> int:
        assert tasks.meet(str(tmp_path / "place"), number, 3)
        return current()

    (tmp_path / "place").mkdir()
    with pool(3, initializer=prepare) as executor:
        numbers = set(executor.map(meet_in, range(3), chunksize=1))
        assert executor.submit(current).result(20) in numbers
    assert Counter(lines(tmp_path / "noted")) == Counter(map(str, numbers))


def test_an_initializer_that_raises_breaks_the_executor_with_its_text(caplog: pytest.LogCaptureFixture) -> None:
    with pool(initializer=tasks.fail) as executor:
        with pytest.raises(poolbar.BrokenExecutor, match="its initializer raised ValueError: as asked"):
            executor.submit(abs, 1).result(20)
        with pytest.raises(poolbar.BrokenExecutor):
            executor.submit(abs, 1)
    assert "Exception in initializer" in caplog.text


def test_an_initializer_that_does_not_pickle_is_refused_at_the_first_task() -> None:
    executor = pool(initializer=tasks.remember, initargs=(threading.Lock(),))
    with pytest.raises(poolbar.NotPicklable, match="the initializer remember or its arguments"):
        executor.submit(abs, 1)


def test_what_sys_path_has_when_a_worker_starts_can_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_the_users.py").write_text("def double(number): return 2 * number\n")
    monkeypatch.syspath_prepend(tmp_path)
    import of_the_users  # type: ignore[import-not-found]

    with pool() as executor:
        assert list(executor.map(of_the_users.double, range(3))) == [0, 2, 4]


# --- modules that do not support sub-interpreters


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module whose import fails in sub-interpreters only."""
    (tmp_path / "refused.py").write_text(
        "import faulthandler\ndef double(number): return 2 * number\nclass Value: pass\ndef made(): return Value()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import refused  # type: ignore[import-not-found]

    yield refused
    del sys.modules["refused"]


REFUSED = re.compile(r"the module 'faulthandler' does not support sub-interpreters; use backend=\"process\"")


def test_a_function_of_a_module_that_refuses_sub_interpreters_fails_its_own_tasks_and_says_why(refused: Any) -> None:
    with pool() as executor:
        bad = [executor.submit(refused.double, number) for number in range(50)]
        good = [executor.submit(tasks.square, number) for number in range(50)]
        for future in bad:
            error = future.exception(20)
            assert isinstance(error, poolbar.NotUnpicklable)
            assert "double does not unpickle in the worker" in str(error)
            assert REFUSED.search(str(error))
        assert [future.result(20) for future in good] == [number * number for number in range(50)]
        with pytest.raises(poolbar.NotUnpicklable, match=REFUSED):
            list(executor.map(refused.double, range(3)))
        assert list(executor.map(tasks.square, range(3))) == [0, 1, 4]


def test_so_does_an_argument_and_the_remote_traceback_shows_the_import(refused: Any) -> None:
    with pool(1) as executor:
        error = executor.submit(tasks.same, refused.Value()).exception(20)
        assert isinstance(error, poolbar.NotUnpicklable)
        assert REFUSED.search(str(error))
        assert "import faulthandler" in str(error.__cause__)
        assert executor.submit(tasks.same, 1).result(20) == 1


def test_an_import_inside_of_a_task_raises_what_it_raises_and_a_note_says_why() -> None:
    def use() -> None:
        import faulthandler  # noqa: F401

    with pool(1) as executor:
        error = executor.submit(use).exception(20)
        assert type(error) is ImportError
        assert REFUSED.search(error.__notes__[0])


def test_a_module_that_is_just_not_there_is_another_matter() -> None:
    with pool(1) as executor:
        error = executor.submit(exec, "import no_such_module").exception(20)
        assert type(error) is ModuleNotFoundError
        assert not hasattr(error, "__notes__")


def test_the_words_of_tools_that_make_extension_modules_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "Interpreter change detected - this module can only be loaded into one interpreter per process."
    (tmp_path / "compiled.py").write_text(f"raise ImportError({told!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pool(1) as executor:
        error = executor.submit(exec, "import compiled").exception(20)
        assert isinstance(error, ImportError)
        assert "the module 'compiled' does not support" in error.__notes__[0]


# --- ends


def test_a_task_that_runs_cannot_be_killed_and_what_lies_behind_it_can(gate: Gate) -> None:
    with pool(1) as executor:
        for future in [executor.submit(tasks.wait_for, __file__) for _ in range(3000)]:
            future.result(20)
        first = executor.submit(tasks.wait_for, gate.path, gate.path + "-begun")
        behind = [executor.submit(tasks.wait_for, __file__) for _ in range(20)]
        assert until(lambda: os.path.exists(gate.path + "-begun"))
        with pytest.raises(RuntimeError, match="a task that runs in an interpreter cannot be killed; it can in a worker process"):
            executor.kill(first)
        assert [executor.kill(future) for future in behind] == [True] * 20
        gate.open()
        assert first.result(20) is None
        assert executor.kill(first) is False


def test_a_callback_hears_that_a_task_cannot_be_killed(gate: Gate) -> None:
    heard: list[BaseException] = []

    def kill(_: Any) -> None:
        try:
            executor.kill(held)
        except RuntimeError as error:
            heard.append(error)

    with pool() as executor:
        (held,) = gate.hold(executor)
        other = executor.submit(abs, 1)
        other.add_done_callback(kill)
        assert until(lambda: heard)
        gate.open()
    assert "cannot be killed" in str(heard[0])


def test_kill_workers_drops_what_waits_and_lets_end_what_runs(gate: Gate, tmp_path: Path) -> None:
    with pool(1) as executor:
        for future in [executor.submit(tasks.wait_for, __file__) for _ in range(3000)]:
            future.result(20)
        first = executor.submit(tasks.wait_for, gate.path, gate.path + "-begun")
        behind = [executor.submit(tasks.wait_for, __file__) for _ in range(20)]
        assert until(lambda: os.path.exists(gate.path + "-begun"))
        executor.kill_workers()
        assert until(lambda: all(future.cancelled() for future in behind))
        gate.open()
        assert first.result(20) is None


def test_a_dropped_executor_closes_its_interpreters() -> None:
    executor: Any = pool()
    assert list(executor.map(tasks.square, range(1000))) == [number * number for number in range(1000)]
    del executor


def test_what_tasks_were_given_and_have_returned_is_released() -> None:
    import weakref

    with pool(1) as executor:
        value = executor.submit(tasks.tracked).result(20)
        watched = weakref.ref(value)
        del value
        assert is_released(watched)


def test_many_short_lived_executors_leave_no_thread_pipe_or_file(tmp_path: Path) -> None:
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for number in range(10):
        with pool(2, initializer=tasks.remember, initargs=(number,)) as executor:
            assert executor.submit(tasks.recall).result(20) == [number]
            assert isinstance(executor.submit(tasks.fail).exception(20), ValueError)
        assert interpreters.list_all() == [interpreters.get_main()]
    if descriptors:
        assert len(os.listdir("/proc/self/fd")) <= descriptors + 1


def test_at_the_interpreters_exit_all_that_was_asked_for_runs_and_all_are_closed(script: Callable[..., list[str]]) -> None:
    text = """
import atexit, poolbar
from concurrent import interpreters
from tasks import nap
atexit.register(lambda: print([future.result() for future in futures], interpreters.list_all()))
executor = poolbar.ProgressExecutor(2, backend="interpreter")
futures = [executor.submit(nap, 0.01, number) for number in range(5)]
"""
    assert script(text) == ["[0, 1, 2, 3, 4] [Interpreter(0)]"]


def test_threads_that_a_task_has_left_are_awaited_at_the_end(tmp_path: Path) -> None:
    def leave() -> None:
        threading.Thread(target=tasks.wait_for, args=(str(tmp_path / "gate"), None)).start()
        threading.Thread(target=tasks.note, args=(str(tmp_path / "noted"), "ran")).start()

    with pool(1) as executor:
        executor.submit(leave).result(20)
        executor.shutdown(wait=False)
        assert until(lambda: lines(tmp_path / "noted") == ["ran"])
        (tmp_path / "gate").touch()


def test_exit_hooks_run_and_what_they_print_arrives(capsys: pytest.CaptureFixture[str]) -> None:
    def hook() -> None:
        import atexit

        atexit.register(lambda: [print("line", number) for number in range(20_000)])

    with pool(1) as executor:
        executor.submit(hook).result(20)
    assert capsys.readouterr().out.splitlines() == [f"line {number}" for number in range(20_000)]


def test_a_task_that_breaks_its_worker_fails_alone_and_the_worker_is_replaced(tmp_path: Path) -> None:
    def break_it() -> int:
        from poolbar.inside.outbox import Outbox

        del Outbox.flush
        return 1

    with pool(1) as executor:
        for future in [executor.submit(tasks.note, str(tmp_path / "other"), 0) for _ in range(1000)]:
            future.result(20)
        before, bad = executor.submit(tasks.note, str(tmp_path / "noted"), 1), executor.submit(break_it)
        after = [executor.submit(tasks.note, str(tmp_path / "noted"), number) for number in range(2, 50)]
        assert before.result(20) == 1
        error = bad.exception(20)
        assert isinstance(error, poolbar.WorkerCrashed)
        assert "break_it" in str(error)
        assert "the interpreter that ran it has ended" in str(error)
        assert "flush" in str(error)
        assert [future.result(20) for future in after] == list(range(2, 50))
    assert Counter(lines(tmp_path / "noted")) == Counter(map(str, range(1, 50)))


@pytest.mark.parametrize("method", ["poolbar", "loky", "spawn"])
def test_worker_processes_may_start_beside_interpreters(method: str) -> None:
    """But for "fork": a child that is forked where there are sub-interpreters crashes, in Python itself."""
    with pool() as executor:
        assert list(executor.map(tasks.square, range(100))) == [number * number for number in range(100)]
        with poolbar.ProcessPoolExecutor(1, mp_context=method, idle_seconds=0) as others:
            assert others.submit(tasks.square, 3).result(60) == 9
        assert executor.submit(tasks.square, 3).result(20) == 9


# --- what tasks say


def test_prints_log_records_and_warnings_arrive_whole_before_the_result(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    def say(number: int) -> int:
        import logging
        import warnings

        print("first", number, end=" ")
        print("second", number)
        logging.getLogger("of.tasks").warning("logged %s", number)
        warnings.warn(f"warned {number}", UserWarning, stacklevel=1)
        return number

    with pool() as executor:
        for number, value in enumerate(executor.map(say, range(40))):
            assert value == number
            assert f"first {number} second {number}\n" in capsys.readouterr().out or number
    assert sorted(record.message for record in caplog.records) == sorted(f"logged {number}" for number in range(40))
    assert {record.threadName for record in caplog.records} <= {f"Interpreter-{number}" for number in range(1, 1000)}
    assert sorted(str(warning.message) for warning in recwarn) == sorted(f"warned {number}" for number in range(40))


def test_a_flood_of_prints_at_the_end_arrives_and_leaves_no_thread(capsys: pytest.CaptureFixture[str]) -> None:
    def shout(number: int) -> None:
        for line in range(3000):
            print(f"<{number} {line}>")

    with pool() as executor:
        list(executor.map(shout, range(2), chunksize=1))
    told = capsys.readouterr().out.splitlines()
    for number in range(2):
        assert [line for line in told if line.startswith(f"<{number} ")] == [f"<{number} {line}>" for line in range(3000)]


class Heard(poolbar.Reporter):
    """Keeps what bars inside tasks say."""

    def __init__(self) -> None:
        self.events: list[poolbar.Event] = []
        self.last: poolbar.Progress | None = None

    def event(self, progress: poolbar.Progress, event: poolbar.Event) -> None:
        self.events.append(event)

    def finished(self, progress: poolbar.Progress) -> None:
        self.last = progress


def test_tqdm_bars_and_reports_of_tasks_are_shown_and_no_process_is_started_for_them(tmp_path: Path) -> None:
    def draw() -> None:
        from tqdm import tqdm

        for number in tqdm(range(4), desc="inner", mininterval=0):
            time.sleep(0.06)
            poolbar.report(number, 4, "reported")

    before = children()
    heard = Heard()
    with pool(1, progress=heard) as executor:
        executor.submit(draw).result(20)
        assert until(lambda: {"inner", "reported"} <= {event.label for event in heard.events}, 5)
        assert children() == before
    assert until(lambda: heard.last is not None, 5)
    assert heard.last is not None
    assert (heard.last.done, heard.last.failed) == (1, 0)


def test_relay_off_leaves_the_streams_alone(script: Callable[..., list[str]]) -> None:
    text = """
import poolbar
with poolbar.ProgressExecutor(1, backend="interpreter", relay=False) as executor:
    print(executor.submit(lambda: __import__("sys").stdout is __import__("sys").__stdout__).result(), flush=True)
    executor.submit(print, "by itself", flush=True).result()
"""
    assert script(text) == ["True", "by itself"]


# --- pools inside of tasks


@pytest.mark.parametrize("inner", ["thread", "interpreter"])
def test_a_task_may_have_a_pool_of_its_own(inner: str) -> None:
    def run(numbers: list[int]) -> list[int]:
        with poolbar.ProgressExecutor(2, backend=inner) as executor:
            return list(executor.map(tasks.square, numbers))

    with pool() as executor:
        assert list(executor.map(run, [[1, 2], [3, 4]])) == [[1, 4], [9, 16]]


def test_a_bar_that_was_asked_for_inside_of_a_task_is_shown_when_it_ends() -> None:
    def run() -> list[int]:
        class Last(poolbar.Reporter):
            def finished(self, progress: poolbar.Progress) -> None:
                told.append(progress.done)

        told: list[int] = []
        with poolbar.ProgressExecutor(2, backend="thread", progress=Last()) as executor:
            list(executor.map(tasks.square, range(9)))
        return told

    with pool(1) as executor:
        assert executor.submit(run).result(20) == [9]


def test_a_task_may_have_a_pool_of_processes_of_its_own() -> None:
    with pool(2) as executor:
        futures = [executor.submit(tasks.run_inner, 2, [1, 2, 3]) for _ in range(4)]
        assert [future.result(30) for future in futures] == [[1, 4, 9]] * 4


# --- many at once


def test_many_tasks_that_raise_return_and_are_cancelled_at_random_are_each_settled_once(tmp_path: Path) -> None:
    path = str(tmp_path / "noted")
    with pool(3) as executor:
        futures = [executor.submit(tasks.note_and_act, path, n, "raise" if n % 7 == 3 else n) for n in range(3000)]
        cancelled = [number for number, future in enumerate(futures) if number % 5 == 0 and future.cancel()]
        for number, future in enumerate(futures):
            if number in cancelled:
                assert future.cancelled()
            elif number % 7 == 3:
                assert isinstance(future.exception(20), ValueError)
            else:
                assert future.result(20) == number
    assert Counter(lines(tmp_path / "noted")) == Counter(str(number) for number in set(range(3000)) - set(cancelled))


@pytest.mark.parametrize("cancel", [False, True])
def test_a_shutdown_in_the_middle_of_everything_ends(cancel: bool, tmp_path: Path) -> None:
    path = str(tmp_path / "noted")
    executor = pool(3)
    futures = [executor.submit(tasks.note_and_nap, path, number) for number in range(300)]
    futures[20].result(20)
    executor.shutdown(cancel_futures=cancel)
    done = [number for number, future in enumerate(futures) if not future.cancelled()]
    assert cancel or len(done) == 300
    assert Counter(lines(tmp_path / "noted")) == Counter(map(str, done))
