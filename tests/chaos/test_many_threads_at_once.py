"""Many threads do all that an executor offers, at once and for as long as is asked: nothing may be lost, run twice, or be left.

Most is to be seen where Python runs without a GIL: ``nox -s freethreaded`` plays for a minute with each kind of worker, and
POOLBAR_STRESS_SECONDS=... says how long else. With a GIL, threads take turns a thousand times as often as they usually do.
POOLBAR_CHAOS_SEED=... makes the same choices again; what meets what differs.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import threading
import time
from collections import Counter
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import pytest
import tasks
from conftest import KINDS, lines

import poolbar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECONDS = float(os.environ.get("POOLBAR_STRESS_SECONDS", "2"))
SEED = int(os.environ.get("POOLBAR_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
THREADS = 8
END_SECONDS = 60.0


class Told(poolbar.Reporter):
    """Hears of runs."""

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()
        self.last: dict[int, list[poolbar.Progress]] = {}

    def started(self, progress: poolbar.Progress) -> None:
        self.begun[progress.run] += 1

    def finished(self, progress: poolbar.Progress) -> None:
        self.last.setdefault(progress.run, []).append(progress)


class Game:
    """What the threads do, and what is to come of it: numbers of tasks that must run, and of those that may."""

    def __init__(self, kind: str, path: Path) -> None:
        self.kind = kind
        self.path = path
        self.told = Told()
        self.numbers = itertools.count(1)
        self.must: list[int] = []
        self.may: list[int] = []
        self.futures: list[tuple[int, poolbar.Future[int]]] = []
        self.heard: list[int] = []  # by callbacks
        self.lock = threading.Lock()  # of what follows
        self.executor = self.new()
        self.steps: list[Callable[[random.Random], None]] = [
            self.submit, self.submit, self.cancel, self.submit_in_a_callback,
            self.read, self.read, self.drop_unread, self.leave_halfway,
        ]  # fmt: skip

    def new(self) -> poolbar.ProgressExecutor:
        return KINDS[self.kind](3, progress=self.told)

    def take(self, count: int) -> list[int]:
        return [next(self.numbers) for _ in range(count)]

    # --- steps: each ends with RuntimeError where another thread has shut the executor down, and then none of its tasks runs

    def submit_one(self, number: int) -> poolbar.Future[int]:
        future = self.executor.submit(tasks.note_or_fail, str(self.path), number)
        self.futures.append((number, future))
        future.add_done_callback(lambda _: self.heard.append(number))
        return future

    def submit(self, chance: random.Random) -> None:
        for number in self.take(chance.randrange(1, 40)):
            self.submit_one(number)

    def cancel(self, chance: random.Random) -> None:
        for number in self.take(20):
            future = self.submit_one(number)
            if chance.random() < 0.5:
                future.cancel()
        chance.choice(self.futures)[1].cancel()  # another thread's

    def submit_in_a_callback(self, chance: random.Random) -> None:
        [first, second] = self.take(2)

        def go_on(_: Any) -> None:
            try:
                self.submit_one(second)
            except RuntimeError:
                pass  # it is shut down

        self.submit_one(first).add_done_callback(go_on)

    def map(self, chance: random.Random, numbers: list[int]) -> Iterator[Any]:
        options: dict[str, Any] = chance.choice([{}, {"ordered": False}, {"chunksize": 5}, {"buffersize": 3}])
        inputs = numbers if chance.random() < 0.5 else iter(numbers)
        return self.executor.map(tasks.note_or_fail, itertools.repeat(str(self.path)), inputs, errors="collect", **options)

    def read(self, chance: random.Random) -> None:
        numbers = self.take(chance.randrange(1, 200))
        results = self.map(chance, numbers)
        self.must += numbers
        found = [result.args[0] if isinstance(result, ValueError) else result for result in results]
        assert sorted(found) == numbers

    def drop_unread(self, chance: random.Random) -> None:
        numbers = self.take(chance.randrange(1, 100))
        self.map(chance, numbers)
        self.must += numbers

    def leave_halfway(self, chance: random.Random) -> None:
        numbers = self.take(chance.randrange(2, 200))
        self.may += numbers
        results = self.map(chance, numbers)
        for _ in itertools.islice(results, len(numbers) // 2):
            pass

    def replace(self) -> None:
        """Shut the executor down while others use it, and give them another."""
        with self.lock:
            old, self.executor = self.executor, self.new()
        old.shutdown()

    # --- the game

    def play(self, seed: int, until: float) -> None:
        chance = random.Random(seed)
        while time.monotonic() < until:
            try:
                chance.choice(self.steps)(chance)
            except RuntimeError as error:
                if "after shutdown" not in str(error):
                    raise
            if chance.random() < 0.01:
                self.replace()

    def check(self) -> None:
        self.executor.shutdown()
        ran = Counter(map(int, lines(self.path)))
        assert [number for number, count in ran.items() if count != 1] == []
        assert [number for number in self.must if number not in ran] == []
        for number, future in self.futures:
            assert future.done()
            assert future.cancelled() == (number not in ran)
            if future.cancelled():
                with pytest.raises(CancelledError):
                    future.result()
            elif number % 50:
                assert future.result() == number
            else:
                assert isinstance(future.exception(), ValueError)
        asked = {number for number, _ in self.futures}
        assert set(ran) <= asked.union(self.must, self.may)
        heard = Counter(self.heard)
        assert asked <= set(heard)
        assert set(heard.values()) == {1}
        assert set(self.told.begun) == set(self.told.last)
        assert set(self.told.begun.values()) == {1}
        assert {len(last) for last in self.told.last.values()} == {1}


@pytest.fixture(autouse=True)
def _threads_take_turns_often() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.timeout(SECONDS + 2 * END_SECONDS)
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_many_threads_do_at_once_each_task_has_one_outcome_and_nothing_is_left(kind: str, tmp_path: Path) -> None:
    game = Game(kind, tmp_path / "ran")
    errors: list[BaseException] = []
    until = time.monotonic() + SECONDS

    def play(seed: int) -> None:
        try:
            game.play(seed, until)
        except BaseException as error:
            errors.append(error)

    players = [threading.Thread(target=play, args=(SEED + number,)) for number in range(THREADS)]
    for player in players:
        player.start()
    for player in players:
        player.join(SECONDS + END_SECONDS)
    assert not any(player.is_alive() for player in players), f"POOLBAR_CHAOS_SEED={SEED}"
    assert errors == [], f"POOLBAR_CHAOS_SEED={SEED}"
    game.check()
