"""What a reporter hears, and the built-in ones that need no terminal: the log and JSON lines."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import tasks
from conftest import Gate, environment, until
from hypothesis import given
from hypothesis import strategies as st

import poolbar
from poolbar.progress import Progress
from poolbar.progress.json_lines import fields
from poolbar.progress.log import FIRST_LINE_SECONDS, PERIOD_SECONDS, Log, line
from poolbar.progress.painter import painter

if TYPE_CHECKING:
    from pathlib import Path

BOTH = pytest.mark.parametrize("kind", [poolbar.ProcessPoolExecutor, poolbar.ThreadPoolExecutor])


class Heard(poolbar.Reporter):
    """Notes what it hears."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Progress]] = []
        self.events: list[poolbar.Event] = []

    def started(self, progress: Progress) -> None:
        self.calls.append(("started", progress))

    def added(self, progress: Progress) -> None:
        self.calls.append(("added", progress))

    def ended(self, progress: Progress) -> None:
        self.calls.append(("ended", progress))

    def event(self, progress: Progress, event: poolbar.Event) -> None:
        self.events.append(event)

    def finished(self, progress: Progress) -> None:
        self.calls.append(("finished", progress))

    def of(self, run: int) -> list[tuple[str, Progress]]:
        return [call for call in self.calls if call[1].run == run]

    def last(self) -> Progress:
        return self.calls[-1][1]


@BOTH
def test_a_reporter_hears_of_each_run_from_its_start_to_its_end(kind: Any) -> None:
    heard = Heard()
    with kind(2, progress=heard, desc="calls", unit="file") as executor:
        assert list(executor.map(tasks.same, range(5), desc="short")) == [*range(5)]
        assert len(list(executor.map(tasks.nap, [0.15] * 6))) == 6
        executor.submit(tasks.same, 1).result()
    runs = {progress.run: progress for _, progress in heard.calls}
    assert len(runs) == 3
    for run, last in runs.items():
        names = [name for name, _ in heard.of(run)]
        assert names[0] == "started"
        assert names[-1] == "finished"
        assert {"started", "finished"}.isdisjoint(names[1:-1])
        assert (last.done, last.failed, last.running, last.unit) == (last.total, 0, 0, "file")
        assert [progress.done for _, progress in heard.of(run)] == sorted(progress.done for _, progress in heard.of(run))
    assert {(progress.desc, progress.total) for progress in runs.values()} == {("short", 5), ("calls", 6), ("calls", 1)}
    assert 2 in {progress.running for _, progress in heard.calls}


def test_an_executor_that_runs_nothing_reports_nothing() -> None:
    heard = Heard()
    with poolbar.ThreadPoolExecutor(1, progress=heard) as executor:
        assert list(executor.map(tasks.same, [])) == []
    assert heard.calls == []


def die_once(path: str) -> None:
    if not os.path.exists(path):
        tasks.note(path, 1)
        os._exit(1)


def test_failed_retried_and_cancelled_tasks_are_told_apart(tmp_path: Path, gate: Gate) -> None:
    heard = Heard()
    with poolbar.ProcessPoolExecutor(1, progress=heard, retries=1) as executor:
        failing = executor.submit(tasks.fail)
        crashing = executor.submit(die_once, str(tmp_path / "tried"))
        holding = executor.submit(tasks.wait_for, gate.path)
        waiting = [executor.submit(tasks.same, number) for number in range(4)]
        assert all(future.cancel() for future in waiting[:3])
        gate.open()
        poolbar.wait([failing, crashing, holding, waiting[3]])
    last = heard.last()
    assert (last.total, last.done, last.failed, last.retried, last.cancelled) == (4, 4, 1, 1, 3)


def test_an_unknown_total_becomes_known_when_the_input_ends() -> None:
    heard = Heard()
    with poolbar.ThreadPoolExecutor(1, progress=heard) as executor:
        results = executor.map(tasks.nap, (0.05 for _ in range(12)), buffersize=2)
        assert len(list(results)) == 12
    assert heard.calls[0][1].total is None
    assert heard.last().total == heard.last().done == 12
    assert "added" in [name for name, _ in heard.calls]


def test_a_reporter_hears_of_time_that_goes_by() -> None:
    heard = Heard()
    with poolbar.ThreadPoolExecutor(1, progress=heard) as executor:
        executor.submit(tasks.nap, 1.4).result()
    seconds = [progress.seconds for name, progress in heard.calls if name == "ended"]
    assert len(seconds) >= 3
    assert all(later - earlier < 1.0 for earlier, later in pairwise(seconds))


def test_many_changes_are_reported_ten_times_a_second_at_most() -> None:
    heard = Heard()
    with poolbar.ThreadPoolExecutor(2, progress=heard) as executor:
        list(executor.map(tasks.nap, [0.002] * 600))
    ended = [progress for name, progress in heard.calls if name == "ended"]
    assert 2 <= len(ended) <= 10 * heard.last().seconds + 3


class Broken(Heard):
    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error = error

    def ended(self, progress: Progress) -> None:
        super().ended(progress)
        raise self.error("no screen")


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_a_reporter_that_raises_is_left_alone_and_the_work_goes_on(error: type[BaseException]) -> None:
    broken = Broken(error)
    with pytest.warns(RuntimeWarning, match=f"poolbar shows no progress: {error.__name__}: no screen"):  # noqa: SIM117
        with poolbar.ThreadPoolExecutor(1, progress=broken) as executor:
            assert len(list(executor.map(tasks.nap, [0.1] * 4))) == 4
    assert [name for name, _ in broken.calls] == ["started", "ended"]


def test_a_dropped_iterator_ends_its_report() -> None:
    heard = Heard()
    with poolbar.ThreadPoolExecutor(1, progress=heard) as executor:
        results = executor.map(tasks.nap, [0.02] * 50)
        next(results)
        del results
        assert until(lambda: heard.calls and heard.calls[-1][0] == "finished")
    assert heard.last().done < 50


# --- bars inside tasks


def reports(number: int) -> int:
    for done in range(6):
        poolbar.report(done, 6, desc=f"part {number}")
        time.sleep(0.06)
    return number


def reports_a_share(number: int) -> int:
    poolbar.report(0.25)
    time.sleep(0.25)
    return number


@BOTH
def test_a_task_reports_how_far_it_is(kind: Any) -> None:
    heard = Heard()
    with kind(2, progress=heard) as executor:
        assert sorted(executor.map(reports, range(4))) == [*range(4)]
    labels = {event.label for event in heard.events}
    assert labels == {f"part {number}" for number in range(4)}
    for label in labels:
        own = [event for event in heard.events if event.label == label]
        assert len({event.key for event in own}) == len({event.worker for event in own}) == 1
        assert {(event.total, event.unit) for event in own} == {(6, "it")}
        assert [event.is_over for event in own] == [False] * (len(own) - 1) + [True]
        assert [event.done for event in own] == sorted(event.done for event in own)
        assert own[0].seconds <= own[-1].seconds < 5
    assert {event.worker for event in heard.events} == {1, 2}


def test_a_share_is_a_bar_of_one_whole_and_is_labelled_by_its_function() -> None:
    heard = Heard()
    with poolbar.ProcessPoolExecutor(1, progress=heard) as executor:
        executor.submit(reports_a_share, 1).result()
    assert {(event.label, event.done, event.total) for event in heard.events} == {("reports_a_share", 0.25, 1.0)}


def test_outside_of_a_task_a_report_does_nothing_but_refuse_what_is_no_number() -> None:
    poolbar.report(0.5)
    poolbar.report(3, 4)
    with pytest.raises((TypeError, ValueError)):
        poolbar.report("half")  # type: ignore[arg-type]


# --- the log


def at(seconds: float, done: int, total: int | None = 1000, **changes: Any) -> Progress:
    counts = {"failed": 0, "retried": 0, "cancelled": 0, "running": 2, **changes}
    return Progress(run=1, desc=None, unit="task", total=total, done=done, seconds=seconds, **counts)


@given(
    steps=st.lists(st.tuples(st.floats(0.1, 40), st.integers(0, 200)), max_size=60), total=st.sampled_from([None, 1000, 10_000])
)
def test_the_log_has_a_line_after_ten_seconds_and_then_when_both_time_and_share_have_gone_by(
    steps: list[tuple[float, int]], total: int | None
) -> None:
    stream, log, logger = io.StringIO(), Log(), logging.getLogger("poolbar")
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        seconds, done, told = 0.0, 0, []
        for step, more in steps:
            seconds, done = seconds + step, min(done + more, 999)
            before = stream.tell()
            log.ended(at(seconds, done, total))
            if stream.tell() > before:
                told.append((seconds, done))
        lines = stream.getvalue()
        log.finished(at(seconds, done, total))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert "\r" not in lines
    assert len(lines.splitlines()) == len(told)
    assert len(stream.getvalue().splitlines()) == (len(told) + 1 if told else 0), "the end is told where the run was"
    assert bool(told) == (seconds >= FIRST_LINE_SECONDS)
    for earlier, later in pairwise(told):
        assert later[0] - earlier[0] >= PERIOD_SECONDS
        assert later[1] - earlier[1] >= (total or 0) / 10


@pytest.mark.parametrize(
    ("progress", "is_over", "text"),
    [
        (at(12, 240), False, "poolbar: 240 of 1000 tasks (24 %), 0:12 so far, 20 task/s, 0:38 left"),
        (at(75, 1, 1), True, "poolbar: done: 1 of 1 task (100 %), in 1:15, 0.0133 task/s"),
        (at(4000, 999, failed=3, retried=1, cancelled=2), True,
         "poolbar: ended: 999 of 1000 tasks (99 %), 3 failed, 1 retried, 2 cancelled, in 1:06:40, 0.25 task/s"),
        (at(12, 0, None), False, "poolbar: 0 tasks, 0:12 so far"),
        (at(12, 24, None)._replace(desc="Clips", unit="file"), False, "Clips: 24 files, 0:12 so far, 2 file/s"),
    ],
)  # fmt: skip
def test_a_line_of_the_log_says_where_the_run_stands(progress: Progress, is_over: bool, text: str) -> None:
    assert line(progress, is_over=is_over) == text


SCRIPT = """
import logging, sys, time
import poolbar.progress.log as log
log.FIRST_LINE_SECONDS, log.PERIOD_SECONDS = 0.15, 0.3  # else this would take a minute
import poolbar, tasks
{setup}
with poolbar.ThreadPoolExecutor(1, desc="Naps") as executor:
    list(executor.map(tasks.nap, [0.05] * 20))
"""


def run(text: str, **changes: str) -> str:
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, env=environment(**changes))
    assert (done.returncode, done.stdout) == (0, "")
    return done.stderr


def test_where_there_is_no_terminal_a_long_run_logs_plain_lines_to_stderr() -> None:
    lines = run(SCRIPT.format(setup="")).splitlines()
    assert 2 <= len(lines) <= 5
    assert all(text.startswith("Naps: ") for text in lines)
    assert lines[-1].startswith("Naps: done: 20 of 20 tasks (100 %), in 0:0")


def test_the_log_goes_where_logging_is_set_up_to() -> None:
    told = run(SCRIPT.format(setup="logging.basicConfig(level=logging.INFO, format='%(levelname)s %(name)s %(message)s')"))
    assert all(text.startswith("INFO poolbar Naps: ") for text in told.splitlines())
    assert len(told.splitlines()) >= 2
    assert run(SCRIPT.format(setup="logging.basicConfig(level=logging.WARNING)")) == ""


def test_a_run_of_less_than_ten_seconds_logs_nothing() -> None:
    assert run("import poolbar, tasks\nwith poolbar.ThreadPoolExecutor(1) as e: list(e.map(tasks.nap, [0.05] * 10))") == ""


# --- JSON lines


def test_json_lines_tell_of_each_run_and_their_fields_are_those_that_are_documented(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    with poolbar.ThreadPoolExecutor(1, progress=f"json:{path}", desc="Naps") as executor:
        list(executor.map(tasks.nap, [0.015] * 40))
        futures = [executor.submit(tasks.fail) for _ in range(3)]
        poolbar.wait(futures)
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    counts = ("run", "desc", "unit", "total", "done", "failed", "retried", "cancelled", "running")
    assert {tuple(told) for told in lines} == {("state", *counts, "seconds", "rate", "eta", "choice", "advice")}
    choice = lines[-1]["choice"]
    assert set(choice) == {"kind", "workers", "reason", "figures", "rates"}
    assert (choice["kind"], choice["workers"]) == ("thread", 1)
    for run_number in {told["run"] for told in lines}:
        own = [told for told in lines if told["run"] == run_number]
        assert [told["state"] for told in own] == ["running"] * (len(own) - 1) + ["finished"]
        assert len(own) <= 10 * own[-1]["seconds"] + 3
        assert own[-1]["done"] == own[-1]["total"]
        assert own[-1]["eta"] == 0
    assert {told["failed"] for told in lines if told["state"] == "finished"} == {0, 3}
    first = lines[0]
    assert (first["desc"], first["unit"], first["total"]) == ("Naps", "task", 40)


def test_json_lines_go_to_stderr_where_no_path_is_given() -> None:
    text = "import poolbar, tasks\nwith poolbar.ProcessPoolExecutor(1) as e: list(e.map(tasks.nap, [0.01] * 5))"
    lines = [json.loads(told) for told in run(text, POOLBAR_PROGRESS="json").splitlines()]
    assert lines[-1]["state"] == "finished"
    assert lines[-1]["done"] == 5


@given(
    done=st.integers(0, 10**6), more=st.none() | st.integers(0, 10**6), seconds=st.floats(0, 1e6), desc=st.none() | st.text(),
)  # fmt: skip
def test_any_line_is_json_and_rate_and_eta_are_numbers_or_null(
    done: int, more: int | None, seconds: float, desc: str | None
) -> None:
    progress = at(seconds, done, None if more is None else done + more)._replace(desc=desc)
    told = json.loads(json.dumps(fields(progress, "running"), allow_nan=False))
    assert told["desc"] == desc
    assert (told["rate"] is None) == (done == 0 or seconds <= 1e-6)
    assert (told["eta"] is None) == (told["rate"] is None or more is None)


def test_a_run_is_reported_at_once_whatever_there_was_before(gate: Gate) -> None:
    """The thread that reports has had nothing to do when it was ended, and another takes its place."""
    first = poolbar.ThreadPoolExecutor(1, progress=Heard())
    assert first.submit(tasks.same, 1).result(20) == 1
    first.shutdown(wait=False)
    assert until(lambda: painter._is_idle)
    first.shutdown()
    heard = Heard()
    with poolbar.ThreadPoolExecutor(1, progress=heard) as executor:
        gate.hold(executor)
        assert until(lambda: heard.calls, 3)
        gate.open()
