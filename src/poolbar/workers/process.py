"""A worker that is a process, started in our own way, or through a context of loky's or multiprocessing's.

When the parent dies, the worker's control thread ends it, or the kernel (see ``starting.life``).
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from .._errors import TaskTimeout, text_of
from .._settings import OWN
from ..inside.channel import pipe, widen
from ..inside.setup import Setup
from . import WorkerFailed, starting
from .piped import PipedWorker
from .system import descendants, has_ended, kill, resident_megabytes, send_signal
from .warm import shelf
from .watch import SHORTEST_LOOK_SECONDS, STUCK_SECONDS, TimedWatch, Watch

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from .._batch import Batch
    from . import Sink
    from .plan import Plan

FROM_OUTSIDE = (-signal.SIGTERM, -getattr(signal, "SIGKILL", signal.SIGTERM))

END_SECONDS = 5.0
"""A worker whose pipe has ended ends in this time, or is killed: nothing good can come of it any more."""

RETIRE_SECONDS = 30.0
"""A worker that was told to end may take this long: for its exit hooks, and for threads that tasks have left."""


class Ended(NamedTuple):
    """A task that the parent ended, by killing its worker."""

    number: int  # of the batch
    position: int
    is_late: bool  # else on request


class ProcessWorker(PipedWorker):
    """The parent's end of a worker process."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.main.by_value)
        self.plan = plan
        self.process: BaseProcess | None = None
        self._ended: Ended | None = None
        self._order: bool | None = None  # that it ends, with the rest: whether hard

    # --- start and end

    def launch(self) -> None:
        """Start the process; do not wait for it."""
        plan = self.plan
        with starting.starting:
            plan.start_trackers()
        with starting.starting, starting.interrupts_blocked():
            tasks, tasks_in = pipe()
            outcomes_out, outcomes = pipe()
            control, control_in = pipe()
            widen(tasks)
            widen(outcomes)
            starting.parent_ends.update((tasks_in, outcomes_out, control_in))
            paths = self._connect(tasks_in, outcomes_out, control_in)
            self._tasks.on_stuck = self.end_stuck
            setup = Setup(paths, plan.initializer, plan.limits, plan.flags, plan.main, plan.levels, plan.preload)
            try:
                self.process = plan.process((tasks, outcomes, control, starting.life()), setup)
                self.process.start()
                starting.processes.add(self.process)
            except BaseException:
                self._discard()
                raise
            finally:
                for end in (tasks, outcomes, control):
                    end.close()
        self.pid = self._await_pid(self.process)
        if self._order is not None:
            send_signal(self.process, self._order)

    def _await_pid(self, process: BaseProcess) -> int | None:
        # A template bears it when it has imported all. Not under the lock: others need no template.
        if self.plan.method == OWN:
            started: Any = process
            try:
                started._popen.await_pid()
            except OSError:
                self._bury()
                raise
        return process.pid

    def start(self) -> None:
        """Start the process unless ``launch`` has, and wait until its initializer has run. A warm one is ready."""
        if self._usable:
            return
        if self.process is None:
            try:
                self.launch()
            except Exception as error:
                final = not isinstance(error, OSError)
                raise WorkerFailed(f"it cannot be started: {text_of(error)}", final=final) from error
        # Loaded here, while the process starts, rather than when one has died: that may be too
        # late. By then the program may have given up its rights; and modules that are run while Python ends by a Ctrl-C
        # make it forget that it does.
        with starting.starting:  # no fork of the user's finds it half imported
            from .remote_errors import describe_exit

        try:
            self._await_ready()
        except (EOFError, OSError):
            is_initializing = self._ledger.is_initializing()
            code = self._bury()
            killed = not is_initializing and code in FROM_OUTSIDE
            raise WorkerFailed(f"it {describe_exit(code)} before it could run a task", killed=killed) from None

    def end(self, spent: bool) -> None:
        """End the process and wait for it; or keep it warm for the next executor."""
        if self.process is None:
            return
        key = self.plan.key
        is_good = not spent and self._usable and self._order is None
        if is_good:
            self.rest()
        if not (is_good and key is not None and shelf.put(key, self, self.plan.idle_seconds)):
            self.retire()

    def retire(self) -> None:
        """End the process and wait for it."""
        self.dismiss()
        self.await_end()

    def dismiss(self) -> None:
        """Tell the process to end; do not wait, unless its pipe is full."""
        self._tasks.patience = RETIRE_SECONDS
        try:
            self._tasks.send(b"")
        except OSError:
            pass  # it is dead already

    def await_end(self) -> None:
        """Wait for the process, which was told to end."""
        try:
            self._hear_last_words(RETIRE_SECONDS)
        except OSError:
            pass  # it was killed
        self._bury(RETIRE_SECONDS)

    def kill(self, hard: bool) -> None:
        """Send the process SIGKILL, or SIGTERM. The lane's read then ends, and the lane does the rest."""
        self._order = hard  # before the look at the process: ``launch`` looks here after it has made one
        process = self.process
        if process is not None:
            send_signal(process, hard)

    def reset(self) -> None:
        """Make a warm worker as good as new. Raises OSError where it has died."""
        self._tasks.send(self._outgoing.reset(self.plan.levels))

    def _bury(self, seconds: float = END_SECONDS) -> int | None:
        """Wait for the process, whose pipe has ended or that has been told to end; return its exit code."""
        self._usable = False
        process = self.process
        code: int | None = None
        if process is not None:
            if not has_ended(process, seconds):
                self._order = True
                send_signal(process, hard=True)
                has_ended(process, END_SECONDS)
            code = process.exitcode
        with self._look:
            self.process = None  # it holds a pipe of its own
            self._discard()
        return code

    # --- batches

    def run(self, batch: Batch, sink: Sink) -> None:
        """Run a batch. When the process dies, the task that ran is lost, and what was not started is left in the batch."""
        limit = self.plan.task_timeout
        self._tasks.patience = None if limit is None else limit + STUCK_SECONDS
        super().run(batch, sink)
        if self._ended is not None and self._usable:
            self._bury()  # the task that was to be ended had just ended by itself

    def _watch(self, batch: Batch, sink: Sink) -> Watch:
        limit = self.plan.task_timeout
        return super()._watch(batch, sink) if limit is None else TimedWatch(self, batch, sink, limit)

    def _mourn(self, batch: Batch, sink: Sink) -> None:
        is_started = self._settle_done(batch, sink)
        trace = self._ledger.trace()
        code = self._bury()
        if batch.done < len(batch.items):
            if is_started and self._ended is not None and self._ended[:2] == (self._outgoing.number, batch.done):
                self._settle_ended(batch, self._ended, sink)
            else:
                from .remote_errors import Death, crashed

                death = Death(self.pid, code, trace, self._order is not None, is_started)
                sink.lost(lambda tries: crashed(batch.next_call(), death, tries), is_started)

    def _settle_ended(self, batch: Batch, ended: Ended, sink: Sink) -> None:
        seconds = self.plan.task_timeout
        if ended.is_late and seconds is not None:
            sink.lost(lambda tries: TaskTimeout(batch.next_call(), seconds, self.pid, tries=tries), True)
        else:
            sink.killed()

    # --- from any thread, and for the watch

    def has_begun(self) -> bool:
        """Tell whether the process has begun its batch."""
        return self._ledger.has_begun(self._outgoing.number)

    def end_stuck(self) -> None:
        """End the process, which does not read what it was sent: it is frozen."""
        process = self.process
        if process is not None:
            send_signal(process, hard=True)

    def end_late_task(self, position: int) -> bool:
        """End the process if this task, which was seen to run for long, still runs."""
        with self._look:
            return self._end_task(position, is_late=True)

    def end_task(self, batch: Batch, position: int) -> bool:
        """End the process if it runs this task. False: it does not."""
        with self._look:
            if self._batch is not batch or self.running() != position:
                return False
            # A task that runs for longer than this is followed by a rest: see the ledger.
            time.sleep(SHORTEST_LOOK_SECONDS)
            return self.running() == position and self._end_task(position, is_late=False)

    def end_batch(self, batch: Batch) -> None:
        """End the process if it runs this batch."""
        with self._look:
            if self._batch is batch and self.process is not None:
                started = descendants(self.pid)
                self.kill(hard=True)
                for pid in started:
                    kill(pid)

    def _end_task(self, position: int, *, is_late: bool) -> bool:
        process, wish = self.process, Ended(self._outgoing.number, position, is_late)
        if process is None or self._ended is not None:
            return False
        started: list[int] = []
        try:
            self._ledger.hold(True)
            if self.running() == position:
                started = descendants(self.pid)
                self._ended = wish
        finally:  # a Ctrl-C may come anywhere, and be caught
            if self._ended is wish:
                send_signal(process, hard=True)  # first: a task that waits for what it has started would go on when that ends
                for pid in started:
                    kill(pid)  # it would go on for nobody
            else:
                self._ledger.hold(False)
        return self._ended is wish

    def megabytes(self) -> float | None:
        """Return the memory that the process occupies; None where that cannot be known."""
        return None if self.pid is None else resident_megabytes(self.pid)


def warm_worker(plan: Plan) -> ProcessWorker | None:
    """Take a worker from the shelf that is as good as one made from this plan."""
    if plan.key is None:
        return None
    worker: ProcessWorker | None = shelf.take(plan.key)
    if worker is not None:
        worker.plan = plan  # as good as its own, but for what only this side of the pipe knows
    if worker is not None and plan.initializer is None:
        try:
            worker.reset()
        except OSError:
            worker.retire()
            return None
    return worker
