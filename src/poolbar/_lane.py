"""A lane: one thread of the parent that keeps one worker busy.

    take a batch ─▶ worker.run ─▶ outcomes to their source, as they come ─▶ what is left goes back ─▶ take a batch

A lane's thread waits in two places: on its ``wake`` lock (whoever takes it off the backlog's idle list releases it), and in a
read from its worker's pipe, which ends when the worker dies.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from . import _hands
from . import _messages as messages
from ._calls import Calls, claim
from ._errors import text_of
from .progress import Event
from .workers import Worker, WorkerFailed
from .workers.relayed import deliver

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from ._batch import Batch
    from ._crew import Crew
    from ._hands import Hands
    from ._map import Run

MOST_UNREAD = 5
"""A task at whose reading so many workers died has killed them: it may be too large for the memory there is."""


class Lane:
    """Keeps one worker busy. It is its worker's Sink, and the backlog's Hand."""

    def __init__(self, crew: Crew, number: int, hands: Hands) -> None:
        self.number = number + 1
        self.hands = hands
        self.has_ended = False  # set as the thread's last act, with
        self.at_end = threading.Lock()  # which is released then. Not an Event: a Ctrl-C in its Python code leaves it locked
        self.at_end.acquire()
        self.wake = threading.Lock()
        self.wake.acquire()
        self.state = _hands.COMING
        self._supply = crew.supplies[hands.kind]
        self.limit: int | None = None
        self.worker: Worker | None = None
        self._crew = crew
        self._backlog = crew.backlog
        self.batch: Batch | None = None  # that its worker runs
        self.thread = threading.Thread(target=self._drive, name=f"{crew.thread_name_prefix}_{number}")

    # --- the loop

    def _drive(self) -> None:
        try:
            self._work_to_the_end()
        finally:
            self.has_ended = True
            self.at_end.release()

    def _work_to_the_end(self) -> None:
        try:
            self._work()
        except BaseException as error:
            # A fault of ours. Better a broken executor than one that hangs.
            self._crew.break_down(f"a lane failed: {text_of(error)}")
            if self.worker is not None:
                self.worker.kill(hard=True)  # it may be in the middle of a batch
            raise
        finally:
            is_last = self._backlog.lane_ended(self)
            if self.worker is not None:
                self.worker.end(spent=self._crew.is_forced)
                self.worker = None  # only now: until it has ended, it can be killed
            if is_last:
                self._crew.all_ended()

    def _work(self) -> None:
        while True:
            if self.worker is None:
                if not self._backlog.wait_for_work(self):
                    return
                self._start_worker()
                if self.worker is None:
                    return
            batch = self._backlog.take(self)
            if batch is None:
                return
            self._run(batch)
            del batch

    def _start_worker(self) -> None:
        crew = self._crew
        while not crew.is_forced:
            began = time.monotonic()
            worker = self._supply.new_worker()
            self.worker = worker  # where kill_workers finds it
            crew.kill_if_forced(worker)
            try:
                worker.start()
            except WorkerFailed as error:
                self.worker = None
                if crew.start_failed(error, began):
                    return
            else:
                crew.failed_starts = 0
                crew.killed_since = None
                self.limit = self._supply.first_limit()
                return
        self.worker = None

    def _run(self, batch: Batch) -> None:
        worker = self.worker
        assert worker is not None  # _work has started it
        self.batch = batch
        source = batch.source
        if isinstance(source, Calls):
            claim(batch, source.tally)
        failure: WorkerFailed | None = None
        try:
            if batch.items:
                worker.run(batch, self)
        except WorkerFailed as error:
            failure = error
        finally:
            self.batch = None
            self._backlog.finished(batch)
        if failure is not None:  # only now: what is left of the batch has come back, and fails with all that waits
            self._crew.break_down(str(failure))
            return
        if not worker.is_alive():
            self.worker = None
            return
        self.limit = self._supply.limit(worker)
        if self.limit == 0:
            worker.end(spent=True)
            self.worker = None

    def is_current(self) -> bool:
        """Tell whether this is the lane's own thread, in which callbacks run."""
        return self.thread is threading.current_thread()

    def rest(self) -> None:
        """Have the worker give back what it keeps for the next batch."""
        if self.worker is not None:
            self.worker.rest()

    def end_task(self, future: Future[Any]) -> bool:
        """End a task if it runs; have it back if it is only about to. From any thread. False: it was not handed to this lane.

        Raises:
            RuntimeError: what runs in such a worker cannot be ended.
        """
        batch, worker = self.batch, self.worker
        if batch is None or worker is None or not isinstance(batch.source, Calls):
            return False
        position = batch.source.place_of(batch, future)
        if position is None:
            return False
        if not worker.end_task(batch, position):
            worker.ask_back()
        return True

    def end_run(self, run: Run) -> None:
        """End what runs here of a run. From any thread."""
        batch = self.batch
        if batch is not None and batch.source is run:
            self._end_batch(batch)

    def end_batch(self) -> None:
        """End what runs here. From any thread."""
        batch = self.batch
        if batch is not None:
            self._end_batch(batch)

    def _end_batch(self, batch: Batch) -> None:
        worker = self.worker
        if worker is not None:
            worker.end_batch(batch)

    # --- Sink

    def values(self, values: list[Any], pickled: bool, size: int, last: bool) -> None:
        """Deliver values."""
        batch = self.batch
        assert batch is not None  # workers call this while they run a batch
        if last:
            self._backlog.finishing(self)
        if values:  # not for an empty last message: what follows may have been run elsewhere by now
            batch.source.tally.bars_over(self.number)
            tasks = len(values)  # counted now: a map's reader takes the values out of this very list as soon as they have come
            batch.source.ended(batch, values, pickled, size)
            batch.done += tasks

    def failed(self, error: BaseException, last: bool) -> None:
        """Deliver an error."""
        batch = self.batch
        assert batch is not None
        if last:
            self._backlog.finishing(self)
        batch.source.tally.bars_over(self.number)
        batch.source.failed(batch, error)
        batch.done += 1

    def lost(self, error: Callable[[int], BaseException], started: bool) -> None:
        """Have the task whose worker is gone tried again, as often as was asked for; else deliver its error."""
        batch = self.batch
        assert batch is not None
        batch.source.tally.bars_over(self.number)
        tries = self._backlog.tried(batch, started)
        if not started:
            if tries < MOST_UNREAD:
                return  # it goes back with the others
        elif tries <= self._crew.retries and not (self._crew.is_forced or self._backlog.is_dropped):
            self._backlog.try_again(batch)
            return
        batch.source.failed(batch, error(tries))
        batch.done += 1

    def apart(self) -> None:
        """Have the tasks that are left tried again, each alone."""
        batch = self.batch
        assert batch is not None
        batch.source.tally.bars_over(self.number)
        while batch.done < len(batch.items):
            self._backlog.try_again(batch)

    def killed(self) -> None:
        """Cancel the task that was ended on request."""
        batch = self.batch
        assert batch is not None
        batch.source.tally.bars_over(self.number)
        batch.source.killed(batch)
        batch.done += 1

    def happened(self, events: list[tuple[Any, ...]]) -> None:
        """Print, log and warn of here what was in the worker; have its bars shown."""
        assert self.batch is not None
        for bar in deliver(events, self.batch.source.context):
            self.bar(bar)

    def bar(self, bar: messages.Bar) -> None:
        """Have a bar inside the task shown."""
        batch = self.batch
        assert batch is not None
        label = bar.desc or batch.function.name
        batch.source.tally.bar(
            Event(
                (self.number, bar.number),
                self.number,
                label,
                bar.done,
                bar.total,
                bar.unit,
                bar.seconds,
                bar.is_over,
                bar.details,
            )
        )

    def given_back(self, count: int) -> None:
        """Put tasks that were not started back."""
        assert self.batch is not None
        self._backlog.give_back(self.batch, count)

    def took(self, tasks: int, seconds: float) -> None:
        """Pass on what was measured."""
        assert self.batch is not None
        self._backlog.learn(self.batch.function, tasks, seconds)

    def cost(self, cost: messages.Cost, bytes_in: int, bytes_out: int) -> None:
        """Pass on what was measured."""
        assert self.batch is not None
        self._crew.judge.learn(self.batch, cost, bytes_in + bytes_out)

    def overdue(self, seconds: float) -> None:
        """Let the next batch be one task again."""
        assert self.batch is not None
        self._backlog.learn(self.batch.function, 1, seconds)

    def is_awaited(self) -> bool:
        """Tell whether another lane would take what is not started."""
        assert self.batch is not None
        return self._backlog.has_idle_lanes(self.batch.function)
