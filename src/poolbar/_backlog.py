"""What waits to be run, in the order in which it arrived. Lanes take batches from it and give back what was not started.

One lock guards it. Callers of submit and map, lanes and callbacks take it, for microseconds: no code of the user's runs under it,
no pipe is written, nothing is waited for. A lane with nothing to do sleeps on a lock of its own, ``wake``; whoever
takes it off the list of idle ones releases that lock.
"""

from __future__ import annotations

import _thread
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from ._calls import Call, Calls
from ._hands import BUSY, COMING, IDLE, LEAVING, Hand, Hands

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._batch import Batch
    from ._function import Function
    from ._nature import Nature
    from .progress import Tally


class Entry(Protocol):
    """Something in the backlog that tasks are taken from. Its methods are called with the backlog's lock held."""

    function: Function
    order: int  # in which entries came; set here
    is_pulling: bool  # a caller pulls an iterator right now: tasks come without notice

    def available(self) -> int:
        """Return how many tasks could be taken now."""

    def take(self, size: int) -> Batch:
        """Take up to ``size`` tasks, at least one."""

    def is_finished(self) -> bool:
        """Tell whether no task can ever be taken any more, but for those that come back."""

    def starve(self) -> None:
        """Hear that a lane would take a task and there was none."""

    def cancel(self) -> Callable[[], None]:
        """Drop what was not started. What is returned is called without the lock."""

    def fail(self, error: Callable[[], BaseException]) -> Callable[[], None]:
        """Let what was not started end with an error, a fresh one each. What is returned is called without the lock."""


LOOK_SECONDS = 0.005
"""How often an idle lane looks for items while a caller pulls an iterator."""


REST_SECONDS = 1.0
"""A lane that had nothing to do for so long has its worker give back what it keeps for the next batch."""


class Backlog:
    """What waits, and the lanes that wait for it.

    Args:
        kinds: of workers, and how many there may be of each.
        start_lane: starts one more.
        most_in_flight: batches of all kinds at a time; None: as many as there are lanes.
    """

    def __init__(self, kinds: Mapping[str, int], start_lane: Callable[[Hands], None], most_in_flight: int | None = None) -> None:
        self.lock = threading.Lock()
        self.hands = {kind: Hands(kind, most, start_lane) for kind, most in kinds.items()}
        self._entries: deque[Any] = deque()
        self._appended = 0  # entries so far
        self._kinds: set[str] = set()  # of all entries so far
        self._most_in_flight = most_in_flight
        self.in_flight = 0  # batches that lanes hold
        self.done = 0  # tasks whose outcome was delivered
        self.closed = False
        self.is_dropped = False  # what had not started was dropped: so is what comes back
        self.broken: str | None = None

    @property
    def lanes(self) -> int:
        """Return how many lanes there are, of all kinds."""
        return sum(hands.lanes for hands in self.hands.values())

    # --- what callers do

    def put_call(self, function: Function, form: int, call: Call, tally: Tally) -> None:
        """Add a submitted task. The caller holds the lock and has seen that the backlog is open."""
        entries = self._entries
        tail = entries[-1] if entries else None
        if (
            type(tail) is Calls
            and (tail.function is function or tail.function.is_same(function))
            and tail.form == form
            and tail.tally is tally
        ):
            tail.tasks.append(call)
        else:
            calls = Calls(function, form, tally)
            calls.tasks.append(call)
            self._append(calls)
        hands = self.hands[function.kind]
        if hands.are_free():
            self._rouse(hands, 1)

    def _append(self, entry: Entry) -> None:
        entry.order = self._appended
        self._appended += 1
        self._entries.append(entry)
        self._kinds.add(entry.function.kind)

    def put_run(self, run: Entry) -> None:
        """Add a run of map. The caller holds the lock and has seen that the backlog is open."""
        self._append(run)
        self.came(run)

    def came(self, run: Entry) -> None:
        """Note that tasks of a run have become available. The lock is held."""
        available = run.available()
        hands = self.hands[run.function.kind]
        if available and hands.are_free():
            self._rouse(hands, run.function.pace.batches(available, hands.most))

    def _rouse(self, hands: Hands, count: int) -> None:
        hands.rouse(count, lambda tasks: self._more_than(hands.kind, tasks))

    def _more_than(self, kind: str, tasks: int) -> bool:
        for entry in self._entries:
            if entry.function.kind == kind:
                tasks -= entry.available()
                if tasks < 0:
                    return True
        return False

    def most_lanes(self, function: Function) -> int:
        """Return how many lanes at most share the tasks of a function."""
        return self.hands[function.kind].most

    # --- what lanes do

    def take(self, lane: Hand) -> Batch | None:
        """Return the next batch for a lane; wait for one. None: there will be none, or the lane is one too many."""
        hands = lane.hands
        while True:
            with self.lock:
                batch = self._next(lane)
                if batch is not None:
                    hands.arrived(lane, BUSY)
                    self.in_flight += 1
                    if hands.are_some_idle():
                        if self._more_than(hands.kind, 0):
                            self._rouse(hands, 1)
                        elif self._is_pulled(hands):
                            hands.wake_one()  # to look in this lane's place
                    return batch
                if not self._lie_down(lane):
                    return None
            self._sleep(lane)

    def wait_for_work(self, lane: Hand) -> bool:
        """Wait until there is work, for a lane that has no worker yet. False: there will be none, or the lane is one too many."""
        while True:
            with self.lock:
                if not lane.hands.are_too_many() and self._more_than(lane.hands.kind, 0):
                    lane.hands.arrived(lane, COMING)
                    return True
                if not self._lie_down(lane):
                    return False
            self._sleep(lane)

    def _lie_down(self, lane: Hand) -> bool:
        hands = lane.hands
        if self._is_over():
            hands.arrived(lane, BUSY)
            self._wake_all()
            return False
        if hands.are_too_many():
            hands.arrived(lane, LEAVING)
            return False
        hands.arrived(lane, IDLE)
        return True

    def _sleep(self, lane: Hand) -> None:
        began: float | None = time.monotonic()  # None: it has rested
        while not lane.wake.acquire(timeout=self._patience(lane.hands, began is None)):
            with self.lock:
                if lane.state == IDLE and self._more_than(lane.hands.kind, 0):
                    return
            if began is not None and time.monotonic() - began >= REST_SECONDS:
                lane.rest()
                began = None

    def _patience(self, hands: Hands, has_rested: bool) -> float:
        # While a caller pulls an iterator, items come without notice: it may block in the next one for long.
        with self.lock:
            if self._is_pulled(hands):
                return LOOK_SECONDS
        return -1 if has_rested else REST_SECONDS

    def _is_pulled(self, hands: Hands) -> bool:
        return any(entry.is_pulling and entry.function.kind == hands.kind for entry in self._entries)

    def watch(self, run: Entry) -> None:
        """Have an idle lane look for items that come without notice: a caller is about to pull an iterator."""
        with self.lock:
            hands = self.hands[run.function.kind]
            if hands.are_some_idle():
                hands.wake_one()

    def _is_over(self) -> bool:
        # A batch in flight may give tasks back, and these may want several workers at once: lanes wait for it.
        if not self.closed or self.in_flight:
            return False
        while self._entries and self._entries[0].is_finished():
            self._entries.popleft()  # dropped halfway, with nobody to find out
        return not self._entries

    def _next(self, lane: Hand) -> Batch | None:
        hands, entries = lane.hands, self._entries
        if hands.are_too_many() or self.in_flight == self._most_in_flight:
            return None
        position = 0
        while position < len(entries):
            entry = entries[position]
            if entry.is_finished():
                del entries[position]
                continue
            available = entry.available()
            if entry.function.kind == hands.kind:
                if available:
                    return self._taken(position, available, lane)
                entry.starve()
            elif available and self._is_last_free_place():
                return None  # it came before all that this lane could take
            position += 1
        return None

    def _is_last_free_place(self) -> bool:
        return self._most_in_flight is not None and self.in_flight + 1 == self._most_in_flight

    def _taken(self, position: int, available: int, lane: Hand) -> Batch:
        entry = self._entries[position]
        size = entry.function.pace.next_size(available, lane.hands.most)
        batch: Batch = entry.take(size if lane.limit is None else min(size, lane.limit))
        batch.busy = lane.hands.busy
        if entry.is_finished():
            del self._entries[position]
        return batch

    def finishing(self, lane: Hand) -> None:
        """Note that the last outcomes of the lane's batch have come: it delivers them and then takes the next."""
        with self.lock:
            lane.hands.finishing(lane)

    def learn(self, function: Function, tasks: int, seconds: float) -> None:
        """Note what tasks of a function took."""
        with self.lock:
            function.pace.note(tasks, seconds)

    def finished(self, batch: Batch) -> None:
        """Note that a lane is through with a batch; what is left of it comes back, to the front."""
        with self.lock:
            self.in_flight -= 1
            self.done += batch.done
            drop = self._take_back(batch, batch.items[batch.done :], batch.done)
            if self._is_over():
                self._wake_all()
            elif self._most_in_flight is not None and len(self._kinds) > 1:
                for hands in self.hands.values():  # there is a place again: perhaps for a worker of another kind
                    self._rouse(hands, 1)
        if drop is not None:
            drop()

    def give_back(self, batch: Batch, count: int) -> None:
        """Take the last ``count`` tasks of a batch back, to the front."""
        with self.lock:
            position = len(batch.items) - count
            items = batch.items[position:]
            del batch.items[position:]
            drop = self._take_back(batch, items, position)
        if drop is not None:
            drop()

    def tried(self, batch: Batch, started: bool) -> int:
        """Count a try of the next task of a batch, whose worker died; return how many there were."""
        with self.lock:
            return batch.source.tried(batch, started)

    def try_again(self, batch: Batch) -> None:
        """Take the next task of a batch back, to the front; it is taken alone."""
        with self.lock:
            batch.source.try_again(batch)
            batch.source.tally.retried()
            batch.done += 1
            self.done -= 1  # ``finished`` counts it in
            drop = self._came_back(batch.source)
        if drop is not None:
            drop()

    def _take_back(self, batch: Batch, items: list[Any], position: int) -> Callable[[], None] | None:
        if not items:
            return None
        batch.source.give_back(batch, items, position)
        return self._came_back(batch.source, len(items))

    def _came_back(self, source: Any, tasks: int = 1) -> Callable[[], None] | None:
        if self.is_dropped:
            dropped: Callable[[], None] | None = source.cancel()
            return dropped
        entries = self._entries
        if source not in entries:
            # Before all that came after it: what waits for it must not be started in its place.
            place = next((place for place, entry in enumerate(entries) if entry.order > source.order), len(entries))
            entries.insert(place, source)
        self._rouse(self.hands[source.function.kind], tasks)
        return None

    def has_idle_lanes(self, function: Function) -> bool:
        """Tell whether a worker that could run a function has nothing to do, or none has been started for it. A hint: no lock."""
        return self.hands[function.kind].are_free()

    def lane_ended(self, lane: Hand) -> bool:
        """Note that a lane is gone. True: it was the last."""
        with self.lock:
            lane.hands.ended(lane)
            return self.lanes == 0

    # --- the choice

    def set_most(self, kind: str, most: int) -> None:
        """Have so many lanes of a kind, at most."""
        with self.lock:
            hands = self.hands[kind]
            hands.most = most
            if hands.are_too_many():
                hands.wake_all()  # those that are too many find out
            self._rouse(hands, most)

    def assign(self, nature: Nature, kind: str) -> None:
        """Give the tasks of a nature that have not started, and those to come, to another kind of worker."""
        with self.lock:
            nature.kind = kind
            self._kinds.add(kind)
            hands = self.hands[kind]
            self._rouse(hands, hands.most)

    def busy(self, kind: str) -> int:
        """Return how many lanes of a kind have a batch. Without the lock: a hint."""
        return self.hands[kind].busy

    def waiting(self, nature: Nature) -> int:
        """Return how many tasks of a nature wait."""
        with self.lock:
            return sum(entry.available() for entry in self._entries if entry.function.nature is nature)

    # --- the end

    def close(self) -> None:
        """Take no more; lanes end when all that waits is done."""
        self._locked(self._close)

    def nudge(self) -> None:
        """Let lanes see that a run was dropped. From anywhere: where the lock is not free, a thread waits for it."""
        self._from_anywhere(self._wake_all)

    def abandon(self) -> None:
        """Close, from anywhere: the executor was dropped without a shutdown."""
        self._from_anywhere(self._close)

    def _close(self) -> None:
        self.closed = True
        self._wake_all()

    def _from_anywhere(self, act: Callable[[], None]) -> None:
        # The garbage collector may run this in a thread that holds the lock right now.
        if self.lock.acquire(blocking=False):
            try:
                act()
            finally:
                self.lock.release()
        else:
            _thread.start_new_thread(self._locked, (act,))

    def _locked(self, act: Callable[[], None]) -> None:
        with self.lock:
            act()

    def _wake_all(self) -> None:
        for hands in self.hands.values():
            hands.wake_all()

    def cancel_all(self, *, spare_the_first: bool) -> None:
        """Drop all that was not started.

        Args:
            spare_the_first: leave one task for each worker that is starting for it, as the standard library does, which has
                handed them over by then.
        """
        with self.lock:
            self.is_dropped = True
            first = self._first_calls(sum(hands.coming for hands in self.hands.values())) if spare_the_first else []
            rest = [entry.cancel() for entry in self._entries]
            self._entries.clear()
            self._entries.extend(first)
            self._wake_all()
        for act in rest:
            act()

    def _first_calls(self, count: int) -> list[Calls]:
        first = []
        for entry in self._entries:
            if count and isinstance(entry, Calls):
                spared = Calls(entry.function, entry.form, entry.tally)
                spared.context = entry.context
                while count and not entry.is_finished():
                    spared.tasks.extend(entry.take(1).items)
                    count -= 1
                first.append(spared)
        return first

    def break_down(self, reason: str, error: Callable[[], BaseException]) -> None:
        """Fail all that waits, and take no more: no worker can run anything."""
        with self.lock:
            if self.broken is None:
                self.broken = reason
            rest = [entry.fail(error) for entry in self._entries]
            self._entries.clear()
            self.closed = True
            self._wake_all()
        for act in rest:
            act()

    def figures(self) -> tuple[int, int, int]:
        """Return how many tasks wait, how many workers are busy, and how many tasks are done."""
        with self.lock:
            return sum(entry.available() for entry in self._entries), self.in_flight, self.done
