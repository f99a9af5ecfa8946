"""``backend="auto"``: tasks are measured where they run, what would be faster is said once, or done where the user allows it."""

from __future__ import annotations

import functools
import http.server
import logging
import os
import re
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import tasks
from conftest import lines, until

import poolbar
from poolbar._thread_safe import is_thread_safe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="this Python runs without a GIL: auto begins with threads"
)

WORK_SECONDS = 0.3
"""So much measured work lets the kind be found."""


def sleep(_: Any) -> int:
    time.sleep(0.02)
    return os.getpid()


def fetch(port: int) -> int:
    import urllib.request

    urllib.request.urlopen(f"http://127.0.0.1:{port}/").read()
    return os.getpid()


def child(_: Any) -> int:
    subprocess.run(["sleep", "0.02"], check=True)
    return os.getpid()


def compute(steps: int = 100_000) -> int:
    total = 0
    for step in range(steps):
        total += step * step % 7
    return os.getpid()


def search(_: Any) -> int:
    re.findall(r"(a|b)+c ?d", "abcde cd " * 8000)
    return os.getpid()


def length(data: bytes) -> int:
    return os.getpid() if len(data) else 0


@pytest.fixture
def port() -> Iterator[int]:
    """A server on this machine that takes 20 ms for an answer."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(0.02)
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server.server_port
        server.shutdown()
        serving.join()
    until(lambda: not any("process_request_thread" in thread.name for thread in threading.enumerate()))


CASES = [
    (sleep, 0, "thread"),
    (fetch, "port", "thread"),
    (child, 0, "thread"),
    (compute, 100_000, "process"),
    (search, 0, "process"),
]
LARGE = bytes(8_000_000)


def ends_on(executor: poolbar.ProgressExecutor, function: Any, argument: Any, kind: str) -> list[int]:
    """Map until tasks have run for a while in workers of a kind; return the pids of where tasks ran."""
    results = executor.map(function, iter(lambda: argument, object()), buffersize=8)
    ran: list[int] = []
    began = time.monotonic()
    for pid in results:
        ran.append(pid)
        here = [pid == os.getpid() for pid in ran[-8:]]
        is_there = all(here) if kind == "thread" else not any(here)
        seconds = time.monotonic() - began
        if (seconds > WORK_SECONDS and len(ran) >= 30 and executor.choice.figures and is_there) or seconds > 20:
            break
    results.close()  # type: ignore[attr-defined]
    return ran


@pytest.mark.parametrize(("function", "argument", "kind"), [*CASES, (length, LARGE, "thread")])
def test_with_consent_tasks_end_on_the_right_kind_of_worker(function: Any, argument: Any, kind: str, port: int) -> None:
    with poolbar.ProgressExecutor(thread_safe=True) as executor:
        ran = ends_on(executor, function, port if argument == "port" else argument, kind)
        assert executor.choice.kind == kind
        assert executor.choice.figures is not None
        assert executor.choice.reason in repr(executor)
    assert ran[0] != os.getpid(), "it begins in processes"
    assert [pid == os.getpid() for pid in ran[-8:]] == [kind == "thread"] * 8


class Hears(poolbar.Reporter):
    """Keeps each advice that it hears, with its run."""

    def __init__(self) -> None:
        self.advice: list[tuple[int, str]] = []

    def ended(self, progress: poolbar.Progress) -> None:
        if progress.advice is not None and (progress.run, progress.advice) not in self.advice:
            self.advice.append((progress.run, progress.advice))

    finished = ended


@pytest.mark.parametrize(("function", "argument", "kind"), [*CASES, (length, LARGE, "thread")])
def test_without_consent_tasks_stay_in_processes_and_the_advice_comes_once(
    function: Any, argument: Any, kind: str, port: int
) -> None:
    hears = Hears()
    with poolbar.ProgressExecutor(progress=hears) as executor:
        for times in range(10):
            ran = ends_on(executor, function, port if argument == "port" else argument, "process")
            assert os.getpid() not in ran
            if times and (kind == "process" or hears.advice):
                break
        choice = executor.choice
    assert choice.kind == "process"
    assert len(hears.advice) == (kind == "thread")
    if kind == "thread":
        assert choice.advice is not None
        loop = "a plain loop would run them about"  # as good as threads, where nothing but the moving costs
        assert "thread_safe=True or POOLBAR_THREAD_SAFE=1" in choice.advice or loop in choice.advice
        assert re.search(r"\d x as fast", choice.advice)
    if function is sleep:
        assert re.match(r"these tasks wait (9\d|100) % of their time: threads would run them about", hears.advice[0][1])


def note_pid(path: str, number: int) -> tuple[int, int]:
    tasks.note(path, number)
    time.sleep(0.001)
    return number, os.getpid()


@pytest.mark.parametrize("way", ["map", "unordered", "submit"])
def test_a_switch_in_the_middle_loses_no_task_and_runs_none_twice(way: str, tmp_path: Path) -> None:
    """10,000 tasks, of which some run in processes and most in threads; the results come in order."""
    count = 10_000
    for times in range(3):  # on a machine that is busy with other things, what is measured may say nothing, or go back again
        path = tmp_path / f"ran-{times}"
        with poolbar.ProgressExecutor(thread_safe=True) as executor:
            function = functools.partial(note_pid, str(path))
            if way == "submit":
                results = [future.result() for future in [executor.submit(function, number) for number in range(count)]]
            else:
                results = list(executor.map(function, range(count), ordered=way == "map"))
        numbers, pids = zip(*results, strict=True)
        assert list(numbers if way != "unordered" else sorted(numbers)) == list(range(count))
        assert sorted(map(int, lines(path))) == list(range(count))
        if executor.choice.kind == "thread":
            break
    assert executor.choice.kind == "thread"
    assert os.getpid() in pids
    assert len(set(pids)) > 1


def first_waits_then_computes(number: int) -> int:
    return sleep(0) if number < 120 else compute(100_000)


@pytest.mark.parametrize("way", ["map", "submit"])
def test_it_goes_back_to_processes_when_the_tasks_turn(way: str) -> None:
    with poolbar.ProgressExecutor(thread_safe=True) as executor:
        if way == "map":
            ran = list(executor.map(first_waits_then_computes, range(300)))
        else:
            ran = []
            for begin in range(0, 300, 50):  # in threads nothing is pickled: what was submitted there ends there
                futures = [executor.submit(first_waits_then_computes, number) for number in range(begin, begin + 50)]
                ran += [future.result() for future in futures]
        assert executor.choice.kind == "process"
    here = [pid == os.getpid() for pid in ran]
    assert not here[0]
    assert any(here)
    assert not any(here[-20:])


def begin_and_end(_: int) -> tuple[float, float]:
    began = time.monotonic()  # of the machine: the same clock in all processes
    time.sleep(0.01)
    return began, time.monotonic()


def compute_for_10_ms(_: int) -> tuple[float, float]:
    began = time.monotonic()
    while time.monotonic() < began + 0.01:
        sum(range(1000))
    return began, time.monotonic()


@pytest.mark.skipif(sys.platform != "linux", reason="needs one clock for all processes")
def test_a_given_number_of_workers_is_never_exceeded_by_workers_of_two_kinds() -> None:
    """Two functions, one for threads and one for processes, keep each other company; neither starves."""
    with poolbar.ProgressExecutor(3, thread_safe=True) as executor:
        both = [executor.map(begin_and_end, range(150)), executor.map(compute_for_10_ms, range(150))]
        spans = [span for results in both for span in results]
    events = sorted([(began, 1) for began, _ in spans] + [(ended, -1) for _, ended in spans])
    running = most = 0
    for _, change in events:
        running += change
        most = max(most, running)
    assert most <= 3


def test_only_what_is_marked_moves() -> None:
    with poolbar.ProgressExecutor() as executor:
        assert os.getpid() in ends_on(executor, marked, 0, "thread")
        assert os.getpid() not in ends_on(executor, sleep, 0, "process")
        assert executor.submit(functools.partial(marked, 0)).result() == os.getpid()
    with poolbar.ProgressExecutor(thread_safe=False) as executor:
        assert os.getpid() not in ends_on(executor, marked, 0, "process")


@poolbar.thread_safe
def marked(_: Any) -> int:
    time.sleep(0.02)
    return os.getpid()


@poolbar.thread_safe
class Marked:
    def __call__(self) -> None:
        pass

    def method(self) -> None:
        pass


def test_a_mark_belongs_to_the_function_and_to_what_calls_it_alone() -> None:
    @functools.wraps(marked)
    def wrapper(value: Any) -> int:
        return marked(value)

    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self) -> None:
            pass

    assert is_thread_safe(marked)
    assert is_thread_safe(functools.partial(functools.partial(marked), 0))
    assert is_thread_safe(Marked())
    for other in (wrapper, sleep, functools.partial(sleep, 0), Marked().method, len, Unhashable(), 3):
        assert not is_thread_safe(other)
    for wrong in (functools.partial(sleep), Marked().method, 3, None):
        with pytest.raises(TypeError, match="thread_safe"):
            poolbar.thread_safe(wrong)  # type: ignore[type-var]


def test_the_variable_allows_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLBAR_THREAD_SAFE", "1")
    with poolbar.ProgressExecutor() as executor:
        assert os.getpid() in ends_on(executor, sleep, 0, "thread")
    for preset in (poolbar.ProcessPoolExecutor(2), poolbar.ProgressExecutor(2, backend="process")):
        with preset as executor:
            assert os.getpid() not in list(executor.map(sleep, range(60)))
            assert executor.choice.advice is None


@pytest.mark.parametrize(
    ("options", "name"),
    [({"initializer": os.getpid}, "initializer"), ({"retries": 1}, "retries"), ({"task_timeout": 60}, "task_timeout"),
     ({"max_tasks_per_child": 1000}, "max_tasks_per_child")],
)  # fmt: skip
def test_what_was_meant_for_processes_keeps_them(options: dict[str, Any], name: str) -> None:
    with poolbar.ProgressExecutor(thread_safe=True, **options) as executor:
        assert name in executor.choice.reason
        assert os.getpid() not in ends_on(executor, sleep, 0, "process")
        assert executor.choice.kind == "process"
        assert executor.choice.advice is None


def test_tasks_that_wait_have_more_processes_than_cpus_and_those_that_compute_have_not() -> None:
    with poolbar.ProgressExecutor() as executor:
        cpus = executor.choice.workers
        ran = list(executor.map(sleep, range(300)))
        most = len(set(ran))
        assert cpus < most <= max(8, 2 * cpus)
        assert executor.choice.workers == max(8, 2 * cpus)
        list(executor.map(compute, [100_000] * 80))
        assert executor.choice.workers == cpus
        list(executor.map(compute, [100_000] * 20))  # a worker that is one too many ends when it comes for work
        assert until(lambda: executor._crew is not None and executor._crew.backlog.lanes == cpus)
        assert executor.choice.kind == "process"


def test_a_number_of_workers_that_was_given_stays() -> None:
    with poolbar.ProgressExecutor(2) as executor:
        assert len(set(executor.map(sleep, range(100)))) == 2
        assert executor.choice.workers == 2


def test_an_initializer_runs_in_no_more_processes_than_there_are_cpus() -> None:
    with poolbar.ProgressExecutor(initializer=os.getpid) as executor:
        cpus = executor.choice.workers
        assert len(set(executor.map(sleep, range(150)))) <= cpus


class Breaks:
    """Pickles, and does not unpickle."""

    def __reduce__(self) -> Any:
        return broken, ()


def broken() -> None:
    raise OSError("not here")


def takes(_: Any) -> int:
    time.sleep(0.02)
    return os.getpid()


def test_what_was_pickled_for_a_process_and_does_not_unpickle_fails_its_own_task_in_a_thread_too() -> None:
    with poolbar.ProgressExecutor(thread_safe=True) as executor:
        futures = [executor.submit(takes, Breaks() if number % 10 == 9 else number) for number in range(300)]
        ran = [future.result() if number % 10 != 9 else future.exception() for number, future in enumerate(futures)]
    assert os.getpid() in ran
    for error in ran[9::10]:
        assert isinstance(error, poolbar.NotUnpicklable)
        assert "takes" in str(error)
        assert "not here" in str(error)


def sleep_or_wait_for(path: str | None) -> int:
    if path is not None:
        tasks.wait_for(path)
    return sleep(0)


def test_a_task_that_runs_in_a_thread_cannot_be_killed(gate: Any) -> None:
    with poolbar.ProgressExecutor(thread_safe=True) as executor:
        assert os.getpid() in ends_on(executor, sleep_or_wait_for, None, "thread")
        future = executor.submit(sleep_or_wait_for, gate.path)
        assert until(future.running)
        with pytest.raises(RuntimeError, match="thread"):
            executor.kill(future)
        gate.open()
        assert future.result() == os.getpid()


def test_closures_of_the_same_code_are_of_one_nature() -> None:
    def work(number: int) -> Any:
        def inner() -> int:
            time.sleep(0.02)
            return os.getpid() if number >= 0 else 0

        return inner

    with poolbar.ProgressExecutor(thread_safe=True) as executor:
        ran = [future.result() for future in [executor.submit(work(number)) for number in range(200)]]
        assert executor.submit(work(0)).result() == os.getpid()
    assert os.getpid() in ran


def test_the_advice_stands_in_the_log_and_above_the_bar(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from poolbar.progress import log

    monkeypatch.setattr(log, "FIRST_LINE_SECONDS", 0.3)
    with caplog.at_level(logging.INFO, "poolbar"), poolbar.ProgressExecutor(progress="log", desc="Naps") as executor:
        list(executor.map(sleep, range(200)))
    told = [record.message for record in caplog.records if "thread_safe=True" in record.message]
    assert len(told) == 1
    assert told[0].startswith("Naps: these tasks wait")


def test_microseconds_of_work_are_told_to_be_for_a_loop() -> None:
    hears = Hears()
    with poolbar.ProgressExecutor(progress=hears) as executor:
        assert sum(executor.map(len, ["ab"] * 3_000_000)) == 6_000_000
        assert executor.choice.advice is not None
        assert re.match(r"these tasks take 0\.\d+ us each: a plain loop would run them about", executor.choice.advice)
    assert len(hears.advice) == 1
