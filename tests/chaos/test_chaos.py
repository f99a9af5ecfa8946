"""Random work on one executor while workers are killed, frozen and made to hang, as hypothesis thinks of it.

Whatever happens, each task has exactly one outcome, none runs more often than ``retries`` allows (each run of a task is a line in
a file), nothing is left of the executor, and all of it ends in time.

A seed is printed with each failure; POOLBAR_CHAOS_SEED=... plays the same steps again (what a kill hits depends on the moment),
and POOLBAR_CHAOS_EXAMPLES=... says how many games are played.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import psutil
import pytest
import tasks
from conftest import children, until
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

import poolbar
from poolbar.workers import watch

SEED = int(os.environ.get("POOLBAR_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
EXAMPLES = int(os.environ.get("POOLBAR_CHAOS_EXAMPLES", "5"))
LIMIT = 0.25  # seconds: the task_timeout
END_SECONDS = 60.0

# What a task does, and what can become of it when nobody interferes.
OUTCOMES = {
    "value": int,
    "nap": int,
    "large": bytes,
    "raise": ValueError,
    "result that does not pickle": poolbar.NotPicklable,
    "result that does not unpickle": poolbar.NotUnpicklable,
    "two arguments": poolbar.RemoteError,
    "exit": poolbar.WorkerCrashed,
    "kill": poolbar.WorkerCrashed,
    "hang": poolbar.TaskTimeout,
}
KINDS = st.sampled_from([*["value"] * 20, *["nap"] * 4, *["raise"] * 4, *sorted(OUTCOMES)])


def play(path: str, number: int, kind: str) -> Any:
    """Leave a line, then do what the kind says."""
    tasks.note(path, number)
    if kind == "nap":
        time.sleep(0.003)
    if kind == "large":
        return b"x" * 300_000
    if kind == "hang":
        time.sleep(600)
    return tasks.act(number if kind in {"value", "nap"} else kind)


def play_row(row: tuple[str, int, str]) -> Any:
    return play(*row)


class Submitted:
    """A task whose future we hold."""

    def __init__(self, number: int, kind: str, future: poolbar.Future[Any]) -> None:
        self.number = number
        self.kind = kind
        self.future = future
        self.was_cancelled = False  # before it was started: it must not have run


class Game(RuleBasedStateMachine):
    """One executor, and what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.chance = random.Random(0)
        self.directory = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.directory.name, "runs")
        Path(self.path).touch()
        self.threads = set(threading.enumerate())
        self.submitted: list[Submitted] = []
        self.maps: list[tuple[Any, list[str]]] = []
        self.kinds: dict[int, str] = {}
        self.frozen: list[int] = []
        self.kills = 0
        self.dropped = False
        self.executor: poolbar.ProgressExecutor | None = None
        self.retries = 0

    def numbered(self, kinds: list[str]) -> list[tuple[str, int, str]]:
        rows = [(self.path, len(self.kinds) + place, kind) for place, kind in enumerate(kinds)]
        self.kinds.update((number, kind) for _, number, kind in rows)
        return rows

    # --- what users do

    @precondition(lambda self: self.executor is None)
    @rule(workers=st.integers(1, 3), retries=st.sampled_from([0, 0, 2]), chance=st.integers(0, 1 << 30))
    def open(self, workers: int, retries: int, chance: int) -> None:
        self.retries = retries
        self.chance.seed(chance)
        self.executor = poolbar.ProcessPoolExecutor(workers, retries=retries, task_timeout=LIMIT, idle_seconds=0)

    @precondition(lambda self: self.executor is not None)
    @rule(kinds=st.lists(KINDS, min_size=1, max_size=30), times=st.sampled_from([1, 1, 1, 20]))
    def submit(self, kinds: list[str], times: int) -> None:
        assert self.executor is not None
        for row in self.numbered([*["value"] * (times - 1) * len(kinds), *kinds]):
            self.submitted.append(Submitted(row[1], row[2], self.executor.submit(play, *row)))

    @precondition(lambda self: self.executor is not None)
    @rule(
        kinds=st.lists(KINDS, min_size=1, max_size=60),
        chunksize=st.sampled_from([None, None, 1, 7]),
        ordered=st.booleans(),
        lazy=st.booleans(),
    )
    def map(self, kinds: list[str], chunksize: int | None, ordered: bool, lazy: bool) -> None:
        assert self.executor is not None
        rows = self.numbered(kinds)
        inputs = iter(rows) if lazy else rows
        results = self.executor.map(play_row, inputs, chunksize=chunksize, ordered=ordered, errors="collect")
        self.maps.append((results, kinds if ordered else []))

    @precondition(lambda self: self.maps)
    @rule(part=st.sampled_from(["all", "some", "drop"]))
    def read(self, part: str) -> None:
        results, kinds = self.maps.pop(self.chance.randrange(len(self.maps)))
        if part == "all":
            found = list(results)
            if kinds:
                assert len(found) == len(kinds)
                for kind, value in zip(kinds, found, strict=True):
                    self.check(kind, value)
        elif part == "some":
            next(results)
            results.close()  # the rest need not run

    @precondition(lambda self: self.submitted)
    @rule(kill=st.booleans())
    def cancel(self, kill: bool) -> None:
        assert self.executor is not None
        one = self.chance.choice(self.submitted)
        if kill:
            ended = self.executor.kill(one.future)
            assert ended == one.future.cancelled()
        elif one.future.cancel():
            one.was_cancelled = True

    @precondition(lambda self: self.submitted)
    @rule()
    def wait_for_one(self) -> None:
        one = self.chance.choice(self.submitted)
        poolbar.wait([one.future], END_SECONDS)
        assert one.future.done()

    # --- what happens to workers

    @precondition(lambda self: self.executor is not None)
    @rule(how=st.sampled_from([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP]), seconds=st.floats(0, 0.01))
    def hurt_a_worker(self, how: signal.Signals, seconds: float) -> None:
        assert self.executor is not None
        time.sleep(seconds)  # any moment will do: it is not waited for anything
        pids = self.started() if how == signal.SIGSTOP else list(self.executor._processes)
        if pids:
            pid = self.chance.choice(pids)
            try:
                os.kill(pid, how)
            except ProcessLookupError:
                return
            self.kills += 1
            if how == signal.SIGSTOP:
                self.frozen.append(pid)

    def started(self) -> list[int]:
        """Return who is ready for tasks: no limit is set to a start, for an initializer may take long."""
        crew = self.executor._crew if self.executor is not None else None
        workers = [lane.worker for lane in crew.lanes] if crew is not None else []
        return [worker.pid for worker in workers if worker is not None and worker.is_alive()]

    # --- the end

    @precondition(lambda self: self.executor is not None)
    @rule(cancel=st.booleans(), wait=st.booleans())
    def close(self, cancel: bool, wait: bool) -> None:
        assert self.executor is not None
        self.thaw()
        for results, _ in self.maps:
            results.close() if cancel else None
        self.maps = []
        self.executor.shutdown(wait=wait, cancel_futures=cancel)
        self.settle(self.executor)

    def thaw(self) -> None:
        for pid in self.frozen:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
        self.frozen = []

    def settle(self, executor: poolbar.ProgressExecutor) -> None:
        _, pending = poolbar.wait([one.future for one in self.submitted], END_SECONDS)
        assert not pending, f"{len(pending)} tasks without an outcome: {executor!r}"
        runs = Counter(map(int, Path(self.path).read_text().split()))
        crashes = 0
        for one in self.submitted:
            outcome = CancelledError() if one.future.cancelled() else one.future.exception(0) or one.future.result(0)
            self.check(one.kind, outcome)
            if one.was_cancelled:
                assert runs[one.number] == 0
            if not isinstance(outcome, (CancelledError, poolbar.WorkerCrashed)):
                assert runs[one.number] >= 1
            crashes += isinstance(outcome, poolbar.WorkerCrashed) and one.kind not in {"exit", "kill"}
        assert crashes <= self.kills, f"{crashes} tasks crashed, and {self.kills} workers were hurt"
        assert max(runs.values(), default=0) <= 1 + self.retries, "a task ran too often"
        executor.shutdown(wait=True)
        assert until(lambda: set(threading.enumerate()) <= self.threads | painter_and_reaper(), 10), threading.enumerate()
        self.submitted, self.maps, self.executor, self.kills = [], [], None, 0
        Path(self.path).write_text("")

    def check(self, kind: str, outcome: Any) -> None:
        allowed: tuple[type, ...] = (OUTCOMES[kind], CancelledError, poolbar.WorkerCrashed, poolbar.TaskTimeout)
        if kind == "kill" and self.kills == 0:
            allowed = (CancelledError, poolbar.WorkerCrashed)
        assert isinstance(outcome, allowed), f"{kind}: {outcome!r}"

    def teardown(self) -> None:
        self.thaw()
        if self.executor is not None:
            for results, _ in self.maps:
                results.close()
            self.maps = []
            self.executor.shutdown(wait=True)
            self.settle(self.executor)
        self.directory.cleanup()


def painter_and_reaper() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name in {"poolbar-painter", "poolbar-reaper"}}


@pytest.mark.timeout(60 * EXAMPLES)
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_whatever_happens_each_task_has_one_outcome_and_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "poolbar")
    monkeypatch.setattr(watch, "STUCK_SECONDS", 0.5)
    before = children()
    print(f"POOLBAR_CHAOS_SEED={SEED}")
    game = seed(SEED)(Game)
    run_state_machine_as_test(
        game,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=20,
            deadline=None,
            database=None,
            # What a kill hits depends on the moment: a failure cannot be made smaller by trying again.
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )
    assert until(lambda: children() <= before, 10), [psutil.Process(pid).cmdline() for pid in children() - before]
