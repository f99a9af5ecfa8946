"""What tasks in worker processes print, log and warn of arrives in this process, whole, in order and in time."""

from __future__ import annotations

import atexit
import os
import random
import signal
import sys
import threading
import time
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any

import pytest

import poolbar

if TYPE_CHECKING:
    from collections.abc import Callable

METHODS = pytest.mark.parametrize("method", ["loky", "loky_init_main", "spawn", "forkserver", "fork"])


@pytest.fixture(scope="module", autouse=True)
def _forkserver() -> None:
    forkserver.ensure_running()  # it keeps a pipe open; no test left that behind


def run(function: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """Run one task in a worker process, and let that end."""
    with poolbar.ProcessPoolExecutor(1, **{"idle_seconds": 0, **settings}) as executor:
        return executor.submit(function, *arguments).result(60)


# --- prints


def say(number: int) -> int:
    print("task", number)
    print("on stderr", number, file=sys.stderr)
    return number


def test_what_a_task_prints_is_here_before_its_result(processes: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(20):
        assert processes.submit(say, number).result(20) == number
        assert capsys.readouterr() == (f"task {number}\n", f"on stderr {number}\n")
    for number, value in enumerate(processes.map(say, range(300))):
        assert value == number
    out, err = capsys.readouterr()
    assert sorted(out.splitlines()) == sorted(f"task {number}" for number in range(300))
    assert sorted(err.splitlines()) == sorted(f"on stderr {number}" for number in range(300))


@METHODS
def test_prints_arrive_under_every_start_method(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(say, 1, mp_context=method) == 1
    assert capsys.readouterr() == ("task 1\n", "on stderr 1\n")


def count_aloud(worker: int, numbers: int) -> None:
    for number in range(numbers):
        print(worker, number)


def test_of_many_lines_that_two_workers_print_at_once_none_is_lost_or_out_of_order(
    processes: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    count = 60_000
    list(processes.map(count_aloud, range(2), [count] * 2, chunksize=1))
    lines = capsys.readouterr().out.splitlines()
    for worker in "01":
        assert [line for line in lines if line[0] == worker] == [f"{worker} {number}" for number in range(count)]


def print_parts(_: int) -> None:
    sys.stdout.write("no end")
    sys.stderr.write("nor ")
    sys.stderr.write("here")


def test_an_unfinished_line_ends_with_its_task(processes: Any, capsys: pytest.CaptureFixture[str]) -> None:
    processes.submit(print_parts, 0).result(20)
    assert capsys.readouterr() == ("no end\n", "nor here\n")


def print_oddly(_: int) -> None:
    print("x" * 10_000_000)
    sys.stdout.buffer.write(b"bytes \xff\n")
    print("\udc80 \N{SNOWMAN}", flush=True)
    print("a\nb\n\nc", end="\n\n", file=sys.stderr)
    sys.stdout.reconfigure(encoding="latin-1")
    print("\xe9", end="")


def test_long_odd_and_many_lines_in_one_print_arrive(processes: Any, capsys: pytest.CaptureFixture[str]) -> None:
    processes.submit(print_oddly, 0).result(20)
    out, err = capsys.readouterr()
    assert out == "x" * 10_000_000 + "\nbytes \\xff\n\\udc80 \N{SNOWMAN}\n\xe9\n"
    assert err == "a\nb\n\nc\n\n"


def count_and_die(numbers: int, how: str) -> None:
    count_aloud(0, numbers)
    if how == "exit":
        os._exit(1)
    os.kill(os.getpid(), signal.SIGKILL if how == "kill" else signal.SIGSEGV)


@pytest.mark.parametrize("how", ["exit", "kill", "crash"])
def test_what_a_task_prints_right_before_its_worker_dies_arrives(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(poolbar.WorkerCrashed):
        run(count_and_die, 900, how)
    assert capsys.readouterr().out == "".join(f"0 {number}\n" for number in range(900))


def print_at_the_end() -> None:
    threading.main_thread().join()
    for number in range(3000):
        print("thread", number)


def print_at_exit() -> None:
    for number in range(3000):
        print("hook", number)
    print("the end", end="")


def leave_behind() -> None:
    atexit.register(print_at_exit)
    threading.Thread(target=print_at_the_end).start()


def test_what_threads_and_exit_hooks_print_as_the_worker_ends_arrives(capsys: pytest.CaptureFixture[str]) -> None:
    run(leave_behind)
    told = [f"{name} {number}" for name in ("thread", "hook") for number in range(3000)]
    assert capsys.readouterr().out.splitlines() == [*told, "the end"]


def print_then_fail() -> None:
    for number in range(3000):
        print("line", number)
    print("part", end="")
    raise ValueError("no start")


def test_what_an_initializer_prints_before_it_raises_arrives(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(poolbar.BrokenExecutor, match="no start"):
        run(abs, 1, initializer=print_then_fail)
    assert capsys.readouterr().out.splitlines() == [*(f"line {number}" for number in range(3000)), "part"]
    (record,) = [record for record in caplog.records if record.name == "concurrent.futures"]
    assert record.message == "Exception in initializer:"
    assert "ValueError: no start" in (record.exc_text or "")


def print_to_dunder() -> None:
    print("past the relay", file=sys.__stdout__)


@pytest.mark.parametrize("method", ["loky", "loky_init_main", "spawn", "fork"])  # the forkserver's stdout is that of its start
def test_what_a_task_prints_to_the_original_stdout_is_not_lost(method: str, capfd: pytest.CaptureFixture[str]) -> None:
    run(print_to_dunder, mp_context=method)
    assert capfd.readouterr().out == "past the relay\n"


class Late(Exception):
    pass


def print_under_an_alarm(seed: int) -> int:
    """Print while a signal handler raises now and then, as those do who limit a function's time."""

    def end(*_: Any) -> None:
        raise Late

    signal.signal(signal.SIGALRM, end)
    pick = random.Random(seed)
    raised = 0
    limit = time.monotonic() + 0.5
    while time.monotonic() < limit:
        try:
            signal.setitimer(signal.ITIMER_REAL, pick.uniform(0.0005, 0.003))
            try:
                while True:
                    print("line" * pick.choice((1, 1, 1, 5000)))
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Late:
            raised += 1
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    return raised


def test_a_signal_handler_that_raises_in_the_middle_of_a_print_breaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with poolbar.ProcessPoolExecutor(2) as executor:
        assert all(raised > 3 for raised in executor.map(print_under_an_alarm, range(4)))
        assert executor.submit(say, 7).result(20) == 7
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "task 7"
    assert all(line.replace("line", "") == "" for line in lines[:-1] if len(line) % 4 == 0)


def print_in_a_handler(_: int) -> int:
    told = 0

    def tell(*_: Any) -> None:
        nonlocal told
        told += 1
        sys.stdout.write(f"alarm {told}\n")

    signal.signal(signal.SIGALRM, tell)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    limit = time.monotonic() + 0.5
    while time.monotonic() < limit:
        sys.stdout.write("line\n")  # in one: print may be interrupted between the line and its end
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    return told


def test_a_signal_handler_may_print(processes: Any, capsys: pytest.CaptureFixture[str]) -> None:
    told = list(processes.map(print_in_a_handler, range(2)))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("alarm")]
    assert sorted(lines) == sorted(f"alarm {number + 1}" for count in told for number in range(count))


class Chatty:
    """Lives in a cycle: the collector ends it, anywhere."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        print("gone")


def collect_often() -> None:
    import gc

    gc.set_threshold(5, 2, 2)


def leave_cycles(number: int) -> list[list[int]]:
    for line in range(100):
        Chatty()
        print("line", line)
    return [[number]] * 3


def test_finalizers_may_print_while_events_and_outcomes_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    with poolbar.ProcessPoolExecutor(2, initializer=collect_often, idle_seconds=0) as executor:
        assert len(list(executor.map(leave_cycles, range(100)))) == 100
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("gone") == 100 * 100
    assert len(lines) == 2 * 100 * 100


# --- bars


def draw_bars(number: int) -> int:
    from tqdm import tqdm

    with tqdm(total=2) as bar:
        bar.update()
        bar.refresh()
    return number


def test_a_forked_worker_does_not_wait_for_the_lock_that_its_parent_drew_under() -> None:
    from tqdm import tqdm

    held = threading.Event()
    done = threading.Event()

    def draw() -> None:
        with tqdm.get_lock():
            held.set()
            done.wait(60)

    drawing = threading.Thread(target=draw)
    drawing.start()
    try:
        assert held.wait(20)
        assert run(draw_bars, 3, mp_context="fork") == 3
    finally:
        done.set()
        drawing.join()


def die_while_drawing() -> None:
    from tqdm import tqdm

    with tqdm.get_lock():
        os.kill(os.getpid(), signal.SIGKILL)


@METHODS
def test_a_worker_that_is_killed_while_it_draws_does_not_stop_the_bars_of_its_parent(method: str) -> None:
    from tqdm import tqdm

    tqdm.get_lock()
    with pytest.raises(poolbar.WorkerCrashed):
        run(die_while_drawing, mp_context=method)

    def draw() -> None:
        with tqdm.get_lock():
            pass

    drawing = threading.Thread(target=draw, daemon=True)
    drawing.start()
    drawing.join(20)
    assert not drawing.is_alive()
