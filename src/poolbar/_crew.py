"""A crew: the lanes of an executor, with their backlog; and what is done with all crews of the process at its end."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

from ._backlog import Backlog
from ._broken import BrokenExecutor  # not later: while the interpreter ends, the standard library's module cannot be imported
from ._hands import rouse
from ._interrupts import LOOK_UP_SECONDS, interrupts_deferred
from ._lane import Lane
from ._living import Living

if TYPE_CHECKING:
    import weakref
    from collections.abc import Mapping
    from concurrent.futures import Future

    from ._hands import Hands
    from ._judge import Judge
    from ._map import Run
    from ._supply import Supply
    from .progress import Tally
    from .workers import Worker, WorkerFailed
    from .workers.shared import Shared

KILL_PERIOD_SECONDS, LONGEST_KILL_PERIOD_SECONDS = 0.001, 0.020
"""How often who kills a task looks what has become of it."""

STOP_SECONDS = 1.0
"""A crew that is stopped has this time to let go of its workers; then all are killed, those that are just starting too."""

LOST_SECONDS = 1.0
"""On its way from one lane to another, a task is nowhere to be seen for microseconds, not so long."""

LONGEST_KILLED_STARTS_SECONDS = 120.0
"""Workers that a signal from outside ended as they started say nothing of the next; so long without one that lives does."""

MOST_FAILED_STARTS = 3
"""After so many workers in a row that did not start, the executor is broken."""


class Crew:
    """The lanes of an executor, with their backlog. Knows nothing of the executor, which may be dropped without a shutdown.

    Args:
        supplies: of workers, by their kind.
        judge: decides which kind takes the tasks of a function.
        thread_name_prefix: of the lanes' threads.
        retries: how often a task is tried again whose worker died.
        most_at_once: workers of all kinds that may be busy at a time; None: as many as there are.
    """

    def __init__(
        self,
        supplies: Mapping[str, Supply],
        judge: Judge,
        *,
        thread_name_prefix: str,
        retries: int = 0,
        most_at_once: int | None = None,
    ) -> None:
        kinds = {kind: supply.most for kind, supply in supplies.items()}
        self.backlog = Backlog(kinds, self._start_lane, most_at_once)
        self.supplies = supplies
        self.judge = judge
        self.thread_name_prefix = thread_name_prefix
        self.retries = retries
        self.lanes: list[Lane] = []
        self._numbers = itertools.count()
        self.failed_starts = 0  # in a row; written by lanes, a lost update costs one more try
        self.failed_at = 0.0  # when the last of them failed
        self.killed_since: float | None = None  # since when starting workers have been killed, one and all
        self.is_forced = False  # workers are being killed
        self.owner: weakref.ref[Any] | None = None  # the executor; its callback abandons this crew
        self.calls_tally: Tally | None = None
        self.tallies: Living[Tally] = Living()
        self.shared: list[Shared[Any]] = []  # lives until no task can ask for it
        self._runs: set[Run] = set()  # runs that have tasks left to take; guarded by the backlog's lock
        _crews.add(self)

    def _start_lane(self, hands: Hands) -> None:
        # Called with the backlog's lock held. A Ctrl-C comes before or after: a lane that is half started would be lost.
        with interrupts_deferred():
            self.lanes = [lane for lane in self.lanes if not lane.has_ended]  # those that were too many
            lane = Lane(self, next(self._numbers), hands)
            self.lanes.append(lane)
            try:
                lane.thread.start()
            except BaseException:  # there is no room for another thread
                self.lanes.remove(lane)
                raise

    def kill_if_forced(self, worker: Worker) -> None:
        """Kill a worker that a lane has just taken, if ``kill`` may have looked for workers before it could see this one."""
        if self.is_forced:  # set before that look
            worker.kill(hard=True)

    def all_ended(self) -> None:
        """End the workers that no lane has taken, and what all were made with; free what tasks have shared."""
        for supply in self.supplies.values():
            supply.end()
        if self.backlog.closed:  # else there may be more
            for shared in list(self.shared):
                shared.free()

    def start_failed(self, error: WorkerFailed, began: float) -> bool:
        """Note that a worker did not start, which ``began`` to at that time. True: the executor is broken."""
        if error.killed:
            since = self.killed_since = self.killed_since or time.monotonic()
            is_hopeless, tries = time.monotonic() - since > LONGEST_KILLED_STARTS_SECONDS, " (one after the other, for minutes)"
        else:
            if began >= self.failed_at:  # those that fail side by side, for one reason perhaps, count as one
                self.failed_starts += 1
                self.failed_at = time.monotonic()
            is_hopeless, tries = self.failed_starts >= MOST_FAILED_STARTS, f" ({self.failed_starts} workers in a row)"
        if error.final:
            is_hopeless, tries = True, ""
        if is_hopeless:
            self.break_down(f"no worker can be started: {error}{tries}")
            return True
        return False

    def break_down(self, reason: str) -> None:
        """Let all that waits fail: no worker can run it."""
        self.backlog.break_down(reason, lambda: BrokenExecutor(reason))

    def keep(self, run: Run) -> None:
        """Remember a run that is about to start: a shutdown has all its tasks run, read or not."""
        with self.backlog.lock:
            self._runs = {other for other in self._runs if not other.is_finished()}
            self._runs.add(run)

    def finish_runs(self) -> None:
        """Pull in this thread what iterators given to ``map`` have left to give."""
        with self.backlog.lock:
            runs, self._runs = self._runs, set()
        for run in runs:
            run.pull_the_rest()

    def finish(self, *, wait: bool, cancel: bool) -> None:
        """Take no more tasks; let lanes end when all is done."""
        if not cancel:
            self.finish_runs()
        self.close()
        if cancel:
            self.backlog.cancel_all(spare_the_first=True)
        else:
            self.finish_runs()  # those that came meanwhile
        if not self.lanes:
            self.all_ended()
        if wait and not self._is_callback():
            self.join()

    def close(self) -> None:
        """Take no more tasks; what was asked for goes on."""
        self.backlog.close()
        for lane in list(self.lanes):
            # All of them: a Ctrl-C may have come just when somebody had taken one off the idle list.
            rouse(lane)

    def abandon(self) -> None:
        """Let lanes end when all is done: the executor was dropped without a shutdown. From anywhere."""
        self.backlog.abandon()
        if self.calls_tally is not None:
            self.calls_tally.close_when_done()

    def running(self, tally: Tally) -> int:
        """Return how many of a tally's tasks run right now: each lane that has a batch of them runs one."""
        batches = [lane.batch for lane in list(self.lanes)]
        return sum(batch is not None and batch.source.tally is tally for batch in batches)

    def close_tallies(self) -> None:
        """Have the end shown of all that nobody reads any more. Called when all is done."""
        if self.calls_tally is not None:
            self.calls_tally.close_when_done()
        for tally in self.tallies:
            # What was dropped by force never ends.
            if self.is_forced or tally.is_over():
                tally.close()

    def join(self) -> None:
        """Wait for all lanes, also for those that are started meanwhile: for tasks that come back."""
        while not self._have_ended_in(LOOK_UP_SECONDS):
            pass
        for lane in list(self.lanes):
            if not lane.is_current():
                lane.thread.join(LOOK_UP_SECONDS)  # it is at its last line

    def _have_ended_in(self, seconds: float) -> bool:
        """Tell whether all other lanes have ended; if not, wait for one of them, for so long."""
        with self.backlog.lock:  # no lane is being started just now
            alive = next((lane for lane in self.lanes if not (lane.is_current() or lane.has_ended)), None)
        if alive is None:
            return True
        # Not by the thread's own join: interrupted, it takes a thread that runs for one that has ended (Python 3.8 to 3.12).
        if alive.at_end.acquire(timeout=seconds):
            alive.at_end.release()  # for whoever else waits
        return False

    def kill_task(self, future: Future[Any]) -> bool:
        """End a submitted task, whatever it does; wait until it is cancelled. False: it ended by itself.

        Raises:
            ValueError: the future is not of this executor.
            RuntimeError: its worker cannot be stopped.
        """
        if self._is_callback():
            # It must not wait for what only lanes can do, for two might wait for each other. What cannot be done is said here.
            for lane in list(self.lanes):
                lane.end_task(future)
            threading.Thread(target=self._kill_task, args=(future,), name="poolbar-kill", daemon=True).start()
            return True
        return self._kill_task(future)

    def _is_callback(self) -> bool:
        # Or a task that runs in a thread: either way, this is a lane's thread.
        return any(lane.is_current() for lane in list(self.lanes))

    def _kill_task(self, future: Future[Any]) -> bool:
        deadline = time.monotonic() + LOST_SECONDS
        pause = KILL_PERIOD_SECONDS
        while not (future.done() or future.cancel()):
            if any(lane.end_task(future) for lane in list(self.lanes)):
                deadline = time.monotonic() + LOST_SECONDS
            elif time.monotonic() > deadline:
                raise ValueError(f"{future!r} is not of this executor")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_KILL_PERIOD_SECONDS)
        return future.cancelled()

    def end_run(self, run: Run) -> None:
        """End the tasks of a run that have started, if they run in processes: these are killed, and replaced."""
        with interrupts_deferred():
            for lane in list(self.lanes):
                lane.end_run(run)

    def stop(self) -> None:
        """Cancel what waits and end what runs in processes. Workers that have nothing to do are kept for the next executor."""
        self.close()
        self.backlog.cancel_all(spare_the_first=False)
        deadline = time.monotonic() + STOP_SECONDS
        pause = KILL_PERIOD_SECONDS
        self._end_batches()
        while not (self._is_callback() or self._have_ended_in(pause)):
            if time.monotonic() > deadline:
                self.kill(hard=True)
                break
            self._end_batches()  # a lane may have taken one before it was closed
            pause = min(2 * pause, LONGEST_KILL_PERIOD_SECONDS)
        for tally in self.tallies:
            tally.close()

    def _end_batches(self) -> None:
        for lane in list(self.lanes):
            lane.end_batch()

    def kill(self, *, hard: bool) -> None:
        """Cancel what waits and kill the workers."""
        self.is_forced = True
        self.close()
        self.backlog.cancel_all(spare_the_first=False)
        spares = [worker for supply in self.supplies.values() for worker in supply.spares]
        for worker in [*[lane.worker for lane in list(self.lanes)], *spares]:
            if worker is not None:
                worker.kill(hard)


_crews: Living[Crew] = Living()


def finish_all(*, at_once: bool) -> None:
    """Run all that was asked for of any executor, at the interpreter's exit; or drop it and kill the workers, ``at_once``."""
    crews = list(_crews)
    for crew in crews:
        if at_once:
            crew.kill(hard=True)
        else:
            crew.finish(wait=False, cancel=False)
    for crew in crews:
        crew.join()
        crew.close_tallies()


def any_at_work() -> bool:
    """Tell whether any executor has a lane."""
    return any(crew.backlog.lanes for crew in _crews)


def drop_all() -> None:
    """Kill the workers of all executors and show the end of their runs; wait for nothing. The process is about to end."""
    for crew in _crews:
        crew.kill(hard=True)
        crew.close_tallies()


def forget_all() -> None:
    """In a forked child: the lanes are its parent's. Their executors here refuse work."""
    for crew in _crews:
        crew.backlog = Backlog({}, lambda _: None)
        crew.backlog.closed = True
        crew.backlog.broken = "this executor was made in another process, of which this one is a fork; make a new one here"
        crew.lanes = []
        crew._runs = set()
    _crews.clear()
