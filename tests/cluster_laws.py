"""What holds for dask and for Ray alike: tests that each of their files imports, with an ``executor`` of its own."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING

import pytest
import tasks

if TYPE_CHECKING:
    from conftest import Gate

    import poolbar

__all__ = [
    "test_leaving_a_loop_early_lets_the_next_run_have_the_workers",
    "test_prints_of_tasks_arrive_here",
    "test_results_come_before_their_batch_has_ended",
    "test_submitted_tasks_have_their_own_results_and_errors",
    "test_what_has_not_started_can_be_cancelled_and_what_runs_cannot_be_killed",
    "test_what_waits_behind_a_slow_task_runs_elsewhere",
]


def test_submitted_tasks_have_their_own_results_and_errors(executor: poolbar.ProgressExecutor) -> None:
    futures = [executor.submit(divmod, 7, number % 3) for number in range(300)]
    for number, future in enumerate(futures):
        if number % 3:
            assert future.result(60) == divmod(7, number % 3)
        else:
            error = future.exception(60)
            assert isinstance(error, ZeroDivisionError)
            assert "Traceback" in str(error.__cause__)


def test_results_come_before_their_batch_has_ended(executor: poolbar.ProgressExecutor, gate: Gate) -> None:
    # The first of a batch's tasks has a result though the second one waits.
    run = executor.map(lambda path: path and tasks.wait_for(path), [None, gate.path], chunksize=2)
    assert next(run) is None
    gate.open()
    assert next(run) is None


def test_what_waits_behind_a_slow_task_runs_elsewhere(executor: poolbar.ProgressExecutor, gate: Gate) -> None:
    run = executor.map(lambda path: path and tasks.wait_for(path), [gate.path, *[None] * 40], chunksize=20, ordered=False)
    for _ in range(40):
        assert next(run) is None
    gate.open()
    assert list(run) == [None]


def say(number: int) -> int:
    print("task", number)
    print("on stderr", number, file=sys.stderr)
    return number


def test_prints_of_tasks_arrive_here(executor: poolbar.ProgressExecutor, capsys: pytest.CaptureFixture[str]) -> None:
    assert sorted(executor.map(say, range(50))) == list(range(50))
    out, err = capsys.readouterr()
    assert sorted(out.splitlines()) == sorted(f"task {number}" for number in range(50))
    assert sorted(err.splitlines()) == sorted(f"on stderr {number}" for number in range(50))


def test_what_has_not_started_can_be_cancelled_and_what_runs_cannot_be_killed(
    executor: poolbar.ProgressExecutor, gate: Gate
) -> None:
    held = gate.hold(executor, 2)
    waiting = [executor.submit(tasks.same, number) for number in range(10)]
    assert waiting[-1].cancel()
    with pytest.raises(RuntimeError, match="cannot be killed"):
        executor.kill(held[0])
    gate.open()
    assert [future.result(60) for future in held] == [None, None]
    assert [future.result(60) for future in waiting[:-1]] == list(range(9))


def test_leaving_a_loop_early_lets_the_next_run_have_the_workers(executor: poolbar.ProgressExecutor) -> None:
    for value in executor.map(tasks.square, itertools.count()):
        if value > 100:
            break
    assert list(executor.map(abs, [-1, -2])) == [1, 2]
