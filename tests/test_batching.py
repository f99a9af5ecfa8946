"""The size of batches is arithmetic (law 1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolbar._batching import GROWTH, MOST_BYTES, MOST_TASKS, SMALLEST_SHARE, TARGET_SECONDS, Pace

SIZES = st.integers(1, 10**9)
WORKERS = st.integers(1, 100)
SECONDS = st.floats(0, 1e4, allow_nan=False)


def paced(seconds: float, batches: int = 20, workers: int = 1) -> Pace:
    """Return the pace of tasks that took so long, batch after batch."""
    pace = Pace()
    for _ in range(batches):
        size = pace.next_size(10**9, workers)
        pace.note(size, size * seconds)
    return pace


def test_a_batch_of_an_unknown_function_is_one_task() -> None:
    assert Pace().next_size(10**6, 4) == 1
    assert Pace().next_size(1, 1) == 1


@pytest.mark.parametrize(
    ("seconds", "size"),
    [(1e-7, MOST_TASKS), (1e-5, 1000), (1e-4, 100), (1e-3, 10), (2e-3, 5), (1e-2, 1), (1.0, 1), (3600.0, 1)],
)
def test_a_batch_takes_about_ten_milliseconds(seconds: float, size: int) -> None:
    assert paced(seconds).next_size(10**9, 2) == pytest.approx(size, rel=0.02, abs=1)


def test_tasks_that_take_no_time_at_all_are_no_division_by_zero() -> None:
    assert paced(0.0).next_size(10**9, 2) == MOST_TASKS


@given(seconds=SECONDS, waiting=SIZES, workers=WORKERS)
def test_a_batch_has_at_least_one_task_and_never_more_than_the_bounds(seconds: float, waiting: int, workers: int) -> None:
    size = paced(seconds).next_size(waiting, workers)
    assert 1 <= size <= MOST_TASKS
    assert size == 1 or size * seconds <= TARGET_SECONDS * 1.01


@given(durations=st.lists(SECONDS, min_size=1, max_size=30), workers=WORKERS)
def test_growth_is_capped(durations: list[float], workers: int) -> None:
    pace, last = Pace(), 1
    for seconds in durations:
        size = pace.next_size(10**9, workers)
        assert size <= last * GROWTH
        last = size
        pace.note(size, size * seconds)


@given(fast=st.floats(0, 1e-5), slow=st.floats(1e-3, 10), waiting=SIZES)
def test_a_slower_measurement_counts_at_once(fast: float, slow: float, waiting: int) -> None:
    pace = paced(fast)
    pace.note(1, slow)
    assert pace.next_size(waiting, 2) <= max(1, TARGET_SECONDS / slow)


def test_a_faster_measurement_counts_by_and_by() -> None:
    pace = paced(0.01)
    pace.note(1, 1e-6)
    assert pace.next_size(10**9, 2) <= GROWTH
    for _ in range(40):
        size = pace.next_size(10**9, 2)
        pace.note(size, size * 1e-6)
    assert pace.next_size(10**9, 2) >= 1000


@given(waiting=st.integers(1, 10**6), workers=WORKERS, seconds=st.floats(1e-3, 9e-3))
def test_at_the_end_of_a_run_batches_shrink_so_that_all_workers_have_one(waiting: int, workers: int, seconds: float) -> None:
    """Of tasks that are worth splitting, none takes more than half of its share."""
    size = paced(seconds).next_size(waiting, workers)
    assert size <= max(1, -(-waiting // (2 * workers)))


@given(waiting=st.integers(1, 400), workers=WORKERS)
def test_work_that_is_too_short_to_be_worth_splitting_stays_together(waiting: int, workers: int) -> None:
    size = paced(1e-6).next_size(waiting, workers)
    assert min(waiting, size) * 1e-6 <= SMALLEST_SHARE * TARGET_SECONDS
    assert size >= waiting


@given(size=st.integers(1, 1 << 30), waiting=SIZES)
def test_arguments_of_a_batch_are_bounded_in_bytes(size: int, waiting: int) -> None:
    pace = paced(1e-7)
    pace.note_bytes(1, size)
    batch = pace.next_size(waiting, 2)
    assert batch == 1 or batch * size <= MOST_BYTES


@given(fixed=st.integers(1, 10**6), seconds=SECONDS, waiting=SIZES, workers=WORKERS)
def test_the_users_chunksize_is_what_it_is(fixed: int, seconds: float, waiting: int, workers: int) -> None:
    pace = Pace(fixed)
    pace.note(1, seconds)
    pace.note_bytes(1, 1 << 29)
    assert pace.next_size(waiting, workers) == fixed


@given(steps=st.lists(st.tuples(st.integers(1, 1000), SECONDS, SIZES, WORKERS), max_size=40))
def test_whatever_comes_the_next_size_is_a_whole_number_in_bounds(steps: list[tuple[int, float, int, int]]) -> None:
    pace = Pace()
    for tasks, seconds, waiting, workers in steps:
        pace.note(tasks, seconds)
        assert type(pace.next_size(waiting, workers)) is int
        assert 1 <= pace.next_size(waiting, workers) <= MOST_TASKS


def test_arguments_that_have_no_bytes_for_a_long_time_limit_nothing() -> None:
    pace = paced(1e-6)
    pace.note_bytes(10, 1000)
    for _ in range(1200):  # their mean is halved each time, until it is hardly a number
        pace.note_bytes(10, 0)
        size = pace.next_size(10**6, 2)
    assert size == paced(1e-6).next_size(10**6, 2)
