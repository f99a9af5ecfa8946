"""The choice is a function of figures: 29 tasks that were measured in every kind of worker, and laws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolbar._choice import GAIN, PROCESS, THREAD, Choice, Facts, choose, duration, reconsider, times
from poolbar._messages import Cost
from poolbar._nature import ENOUGH_SECONDS, MOST_THREADS, Figures, Machine, Nature, processes_for, rates, threads_for

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("kinds.json").read_text())  # by benchmarks/kinds.py
MACHINE = Machine(2, gil=True, processes=8, threads=MOST_THREADS)
WAITS = Figures(100, 0.0002, 0.0, 0.0198, 0.0, 100, 1e-6)
COMPUTES = Figures(100, 0.02, 0.0, 0.0, 0.0, 100, 1e-6)


def decided(kind: str, figures: Figures, machine: Machine = MACHINE, *, thread_safe: bool = True) -> Choice:
    return reconsider(kind, "at first", figures, machine, thread_safe=thread_safe)


# --- what was measured


def loss(case: dict[str, Any]) -> float:
    """Return how many times faster the better kind was, of processes and threads, than the one that is chosen with consent."""
    measured = case["rates"]
    found = {PROCESS: measured["processes"], THREAD: measured["threads"]}
    return max(found.values()) / found[decided(PROCESS, Figures(**case["figures"])).kind]


def test_27_of_29_tasks_end_where_nothing_else_would_be_half_as_fast_again() -> None:
    assert len(CASES) == 29
    wrong = {case["name"]: round(loss(case), 2) for case in CASES if loss(case) >= GAIN}
    assert len(wrong) <= 2, wrong


def test_of_the_clear_cases_at_most_one_is_wrong() -> None:
    clear = [case for case in CASES if not 1 / GAIN < case["rates"]["threads"] / case["rates"]["processes"] < GAIN]
    assert len(clear) >= 12
    wrong = {case["name"]: round(loss(case), 2) for case in clear if loss(case) > 1}
    assert len(wrong) <= 1, wrong


def test_the_choice_loses_little_all_in_all() -> None:
    """Against the better kind for each task; always threads, or always processes, lose more."""

    def mean(losses: list[float]) -> float:
        product = 1.0
        for one in losses:
            product *= one
        return float(product ** (1 / len(losses)))

    ours = mean([loss(case) for case in CASES])
    for kind in ("threads", "processes"):
        assert ours < mean([max(case["rates"]["threads"], case["rates"]["processes"]) / case["rates"][kind] for case in CASES])
    assert ours < 1.15


# --- laws

SECONDS = st.floats(1e-7, 10)
FIGURES = st.builds(
    Figures, tasks=st.just(100), computing=SECONDS, elsewhere=st.just(0.0) | SECONDS, waiting=st.just(0.0) | SECONDS,
    moving=st.just(0.0) | SECONDS, size=st.floats(1, 1e9), handling=st.floats(1e-7, 1e-5),
)  # fmt: skip
MACHINES = st.builds(
    Machine,
    cpus=st.integers(1, 128),
    gil=st.booleans(),
    processes=st.integers(1, 256),
    threads=st.integers(0, MOST_THREADS),
    is_given=st.booleans(),
)


@given(figures=FIGURES, machine=MACHINES, thread_safe=st.booleans(), kind=st.sampled_from([PROCESS, THREAD]))
def test_a_choice_stays_as_long_as_the_figures_do(figures: Figures, machine: Machine, thread_safe: bool, kind: str) -> None:
    first = decided(kind, figures, machine, thread_safe=thread_safe)
    again = decided(first.kind, figures, machine, thread_safe=thread_safe)
    assert again == first


@given(figures=FIGURES, machine=MACHINES)
def test_without_consent_processes_stay(figures: Figures, machine: Machine) -> None:
    assert decided(PROCESS, figures, machine, thread_safe=False).kind == PROCESS
    assert decided(PROCESS, figures, machine._replace(threads=0)).kind == PROCESS


@given(figures=FIGURES, machine=MACHINES)
def test_what_began_in_threads_where_there_are_no_processes_stays(figures: Figures, machine: Machine) -> None:
    choice = decided(THREAD, figures, machine._replace(processes=0, threads=4))
    assert choice.kind == THREAD
    assert choice.reason.startswith("at first; these tasks")


@given(figures=FIGURES, machine=MACHINES)
def test_workers_are_no_more_than_allowed_and_rates_are_numbers(figures: Figures, machine: Machine) -> None:
    assert 0 <= threads_for(figures, machine) <= machine.threads
    assert min(machine.processes, machine.cpus) <= processes_for(figures, machine) <= machine.processes
    assert all(0 <= rate < 1e9 for rate in rates(figures, machine))


@given(figures=FIGURES, machine=MACHINES, thread_safe=st.booleans())
def test_advice_is_given_where_something_is_half_as_fast_again_and_only_there(
    figures: Figures, machine: Machine, thread_safe: bool
) -> None:
    choice = decided(PROCESS, figures, machine, thread_safe=thread_safe)
    expected = choice.rates
    assert expected is not None
    own = expected.process if choice.kind == PROCESS else expected.thread
    better = expected.loop >= GAIN * own and expected.thread < 1.2 * expected.loop
    better = better or (choice.kind == PROCESS and expected.thread >= GAIN * own)
    assert (choice.advice is not None) == better


WAITING = "these tasks wait 99 % of their time: threads would"
CONSENT = "allow it with thread_safe=True or POOLBAR_THREAD_SAFE=1"
LARGE, MOVING = (
    COMPUTES._replace(computing=0.001, moving=0.01, size=8e6),
    "these tasks take 1 ms, and moving their 8.0 MB takes 14.8 ms:",
)
TINY = COMPUTES._replace(computing=2e-7)
LOOP = "a plain loop would run them about"
SAID = [
    (
        WAITS,
        MACHINE,
        f"{WAITING} be about 8.0 x as fast, and are not allowed",
        f"{WAITING} run them about 8.0 x as fast; {CONSENT}",
    ),
    (WAITS, MACHINE._replace(processes=2, threads=2), f"{WAITING} be no faster", None),
    (COMPUTES, MACHINE, "these tasks compute 100 % of their time: about 2.0 x as fast as threads", None),
    (LARGE, MACHINE, f"{MOVING} threads would be about 12 x as fast, and are not allowed", f"{MOVING} {LOOP} 12 x as fast"),
    (
        TINY,
        MACHINE,
        "these tasks take 0.2 us each: about 19 x as fast as threads",
        f"these tasks take 0.2 us each: {LOOP} 10 x as fast",
    ),
]


@pytest.mark.parametrize(("figures", "machine", "reason", "advice"), SAID)
def test_what_is_said(figures: Figures, machine: Machine, reason: str, advice: str | None) -> None:
    choice = decided(PROCESS, figures, machine, thread_safe=False)
    assert (choice.kind, choice.reason, choice.advice) == (PROCESS, reason, advice)


def test_factors_and_times_have_the_digits_that_count() -> None:
    assert [times(factor) for factor in (1.5, 9.94, 9.96, 16.4)] == ["1.5 x", "9.9 x", "10 x", "16 x"]
    assert [duration(seconds) for seconds in (2.5, 0.0123, 2e-7)] == ["2.5 s", "12.3 ms", "0.2 us"]


# --- the facts


@pytest.mark.parametrize(
    ("changes", "kind", "workers", "reason"),
    [
        ({}, PROCESS, 4, "has a GIL"),
        ({"gil": False}, THREAD, 12, "without a GIL"),
        ({"gil": False, "max_workers": 3}, THREAD, 3, "without a GIL"),
        ({"gil": False, "needs_processes": "task_timeout"}, PROCESS, 4, "task_timeout"),
        ({"gil": False, "prefers_processes": "initializer"}, PROCESS, 4, "initializer"),
        ({"backend": "thread", "prefers_processes": "initializer"}, THREAD, 12, "asked for"),
        ({"backend": "interpreter"}, "interpreter", 4, "asked for"),
        ({"backend": "thread", "fixed": "process"}, PROCESS, 4, "class"),
    ],
)
def test_facts_decide_before_anything_is_measured(changes: dict[str, Any], kind: str, workers: int, reason: str) -> None:
    facts = Facts("auto", None, True, None, None, None, 4, 8)._replace(**changes)
    choice = choose(facts)
    assert (choice.kind, choice.workers) == (kind, workers)
    assert reason in choice.reason


@pytest.mark.parametrize("backend", ["thread", "interpreter"])
def test_a_wish_that_cannot_be_had_is_refused(backend: str) -> None:
    with pytest.raises(ValueError, match=f"task_timeout needs worker processes, and {backend}s were asked for"):
        choose(Facts(backend, None, True, "task_timeout", None, None, 4, 8))


# --- what is measured


def cost(tasks: int, wall: float, cpu: float, queued: float = 0.0) -> Cost:
    return Cost(tasks, wall, cpu, 0.0, queued, 0.0)


def test_figures_come_when_enough_was_measured() -> None:
    nature = Nature(PROCESS)
    nature.note(cost(2, 10.0, 1.0), 100, 1, 1e-6)
    assert nature.figures() is None
    nature.note(cost(1, ENOUGH_SECONDS, 0.01), 100, 1, 1e-6)
    assert nature.figures() is not None


def test_the_wait_for_a_cpu_is_no_waiting_of_the_task() -> None:
    """On a busy machine a task that computes has a wall time far beyond its CPU time."""
    nature = Nature(PROCESS)
    for _ in range(10):
        nature.note(cost(1, 0.1, 0.03, queued=0.07), 100, 1, 1e-6)
    figures = nature.figures()
    assert figures is not None
    assert figures.waiting == pytest.approx(0, abs=1e-9)
    assert figures.computing == pytest.approx(0.03)


def test_the_wait_for_the_gil_is_no_waiting_of_the_task() -> None:
    """32 threads that compute wait for each other, and seem to wait for something."""
    nature = Nature(THREAD)
    nature.note(cost(3, 0.1, 0.1), 300, 1, 1e-6)
    for _ in range(100):
        nature.note(cost(1, 0.32, 0.01), 0, 32, 1e-6)
    figures = nature.figures()
    assert figures is not None
    assert figures.waiting_share < 0.01
    assert decided(THREAD, figures).kind == PROCESS


def test_what_was_measured_long_ago_counts_little() -> None:
    nature = Nature(PROCESS)
    for _ in range(20):
        nature.note(cost(1, 0.1, 0.1), 100, 1, 1e-6)
    for _ in range(20):
        nature.note(cost(1, 0.1, 0.0), 100, 1, 1e-6)
    figures = nature.figures()
    assert figures is not None
    assert figures.waiting_share > 0.95
