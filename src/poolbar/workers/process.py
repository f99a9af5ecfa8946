"""A worker that is a process, started through loky's context or one of multiprocessing's. The only module that imports loky.

    lane's thread ──tasks──▶ worker's main thread ──outcomes──▶ lane's thread
                  ──control──▶ worker's control thread

Three one-way pipes for each worker and no lock between processes, so that a dead worker can hold none. The lane writes a
batch only when the worker has ended the last one and waits in a read: two full pipes never face each other. When the worker
dies, the lane's read ends; when the parent dies, the worker's control thread ends it, or the kernel (see ``starting.life``).
"""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from .. import _messages as messages
from .._errors import TaskTimeout, text_of
from ..inside import ledger as ledgers
from ..inside.channel import receiver, sender, widen
from ..inside.pickling import loads
from ..inside.serve import ASK, serve
from ..inside.setup import Setup
from . import WorkerFailed, relayed, starting, watch
from .remote_errors import Death, crashed, describe_exit, rebuilt
from .sending import Outgoing
from .system import descendants, has_ended, kill, resident_megabytes, send_signal
from .warm import shelf
from .watch import SHORTEST_LOOK_SECONDS, Watch

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


class ProcessWorker:
    """The parent's end of a worker process. Owned by one lane at a time; some methods may be called from any thread.

    ``_look`` is held while a task is looked at in order to end it (3 ms), by the lane or by who calls ``kill``; by the lane as it
    begins and ends a batch and when it closes what is looked at; and while the control pipe is written. Nobody waits
    under it for the worker.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.pid: int | None = None
        self.process: BaseProcess | None = None
        self.why_unkillable: str | None = None
        self.ran = 0
        self.first_megabytes: float | None = None
        self._outgoing = Outgoing(plan.main.by_value)
        self._usable = False
        self._look = threading.Lock()
        self._batch: Batch | None = None  # that runs
        self._ended: Ended | None = None
        self._order: bool | None = None  # that it ends, with the rest: whether hard

    # --- start and end

    def launch(self) -> None:
        """Start the process; do not wait for it."""
        plan = self.plan
        context = plan.context
        with starting.starting:
            plan.start_trackers()
        with starting.starting, starting.interrupts_blocked():
            tasks, tasks_in = context.Pipe(duplex=False)
            outcomes_out, outcomes = context.Pipe(duplex=False)
            control, control_in = context.Pipe(duplex=False)
            widen(tasks)
            widen(outcomes)
            starting.parent_ends.update((tasks_in, outcomes_out, control_in))
            self._tasks, self._outcomes, self._control = sender(tasks_in), receiver(outcomes_out), sender(control_in)
            self._tasks.on_stuck = self.end_stuck
            self._place: ledgers.Place | None = ledgers.create()
            self._ledger = ledgers.Ledger(self._place.path)
            setup = Setup(self._place.path, plan.initializer, plan.limits, plan.flags, plan.main, plan.levels)
            try:
                self.process = plan.process(serve, (tasks, outcomes, control, starting.life(context), setup))
                self.process.start()
                starting.processes.add(self.process)
            except BaseException:
                self._discard()
                raise
            finally:
                for end in (tasks, outcomes, control):
                    end.close()
        self.pid = self.process.pid
        if self._order is not None:
            send_signal(self.process, self._order)

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
        try:
            while (message := loads(self._outcomes.receive()))[0] == messages.EVENTS:
                relayed.deliver(message[1], None)
        except (EOFError, OSError):
            is_initializing = self._ledger.is_initializing()
            code = self._bury()
            killed = not is_initializing and code in FROM_OUTSIDE
            raise WorkerFailed(f"it {describe_exit(code)} before it could run a task", killed=killed) from None
        if message[0] == messages.INITIALIZER_FAILED:
            self._bury()
            raise WorkerFailed(f"its initializer raised {message[1]}", final=True)
        self._remove_place()
        self._usable = True

    def is_alive(self) -> bool:
        """Tell whether the process is there and its pipe works."""
        return self._usable

    def end(self, spent: bool) -> None:
        """End the process and wait for it; or keep it warm for the next executor."""
        if self.process is None:
            return
        key = self.plan.key
        is_good = not spent and self._usable and self._order is None
        if not (is_good and key is not None and shelf.put(key, self, self.plan.idle_seconds)):
            self.retire()

    def retire(self) -> None:
        """End the process and wait for it."""
        self._tasks.patience = RETIRE_SECONDS
        try:
            self._tasks.send(b"")
            self._hear_last_words()
        except OSError:
            pass  # it is dead already
        self._bury(RETIRE_SECONDS)

    def _hear_last_words(self) -> None:
        # Else a worker that prints much as it ends would wait for ever in a full pipe.
        deadline = time.monotonic() + RETIRE_SECONDS
        try:
            while (rest := deadline - time.monotonic()) > 0 and self._outcomes.is_readable(rest):
                message = loads(self._outcomes.receive())
                if message[0] == messages.EVENTS:
                    relayed.deliver(message[1], None)
        except EOFError:
            pass  # it has ended

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

    def _discard(self) -> None:
        for end in (self._tasks, self._outcomes, self._control):
            end.close()
        self._ledger.close()
        self._remove_place()

    def _remove_place(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            place.remove()

    # --- batches

    def run(self, batch: Batch, sink: Sink) -> None:
        """Run a batch. When the process dies, the task that ran is lost, and what was not started is left in the batch."""
        data = self._outgoing.message(batch, sink)
        if data is None:
            return
        with self._look:
            self._batch = batch
        limit = self.plan.task_timeout
        self._tasks.patience = None if limit is None else limit + watch.STUCK_SECONDS
        size = len(data)
        try:
            self._tasks.send(data)
            del data
            self._receive(batch, size, sink)
        except (EOFError, OSError):
            self._mourn(batch, sink)
        else:
            with self._look:
                self._batch = None
            if self._ended is not None:
                self._bury()  # the task that was to be ended had just ended by itself

    def _receive(self, batch: Batch, sent: int, sink: Sink) -> None:
        receive = self._outcomes.receive
        received = 0
        patient = Watch(self, batch, sink, self.plan.task_timeout)
        last = False
        while not last:
            patience = patient.patience()
            if patience is not None and not self._outcomes.is_readable(patience):
                patient.look()
                continue
            data = receive()
            size = len(data)
            message = loads(data)
            del data
            kind, number = message[:2]
            if kind == messages.EVENTS:
                sink.happened(number)
                patient.heard_events()
                continue
            patient.heard()
            if number != self._outgoing.number:
                continue  # tasks given back after their batch had ended: the lane has them already
            if kind == messages.GIVEN_BACK:
                sink.given_back(message[2])
            elif kind == messages.FAILED:
                failed = messages.Failed._make(message)
                last = failed.last
                self.ran += 1
                sink.took(1, failed.seconds)
                if failed.cost is not None:
                    sink.cost(messages.Cost._make(failed.cost), sent, received)
                sink.failed(rebuilt(failed, batch.function.name), last)
            else:
                _, _, values, seconds, last, cost = message
                del message
                received += size
                self.ran += len(values)
                if values and seconds:
                    sink.took(len(values), seconds)
                if cost is not None:
                    sink.cost(messages.Cost._make(cost), sent, received)
                sink.values(values, kind == messages.PICKLED, size, last)
                del values

    def _mourn(self, batch: Batch, sink: Sink) -> None:
        """Settle what a dead worker had done of a batch."""
        number = self._outgoing.number
        started = min(self._ledger.started(number), len(batch.items))
        if started:
            for index, value, pickled in self._ledger.values():
                if index == batch.done < started:  # those before have come through the pipe
                    sink.values([value], pickled, 0, False)
        trace = self._ledger.trace()
        with self._look:
            self._batch = None
        code = self._bury()
        if batch.done < len(batch.items):
            is_started = batch.done < started
            if is_started and self._ended is not None and self._ended[:2] == (number, batch.done):
                self._settle_ended(batch, self._ended, sink)
            else:
                death = Death(self.pid, code, trace, self._order is not None, is_started)
                sink.lost(lambda tries: crashed(batch.next_call(), death, tries), is_started)

    def _settle_ended(self, batch: Batch, ended: Ended, sink: Sink) -> None:
        seconds = self.plan.task_timeout
        if ended.is_late and seconds is not None:
            sink.lost(lambda tries: TaskTimeout(batch.next_call(), seconds, self.pid, tries=tries), True)
        else:
            sink.killed()

    # --- from any thread, and for the watch

    def running(self) -> int | None:
        """Return the position of the task that runs; None where none does."""
        return self._ledger.running(self._outgoing.number)

    def ask(self, for_what_is_not_started: bool) -> None:
        """Ask for outcomes that were not sent yet, and for tasks."""
        with self._look:
            try:
                self._control.send_if_there_is_room(ASK.pack(self._outgoing.number, for_what_is_not_started))
            except OSError:
                pass  # it is dead; what it sent before is read to the end first

    def ask_back(self) -> None:
        """Have what it has not started handed back."""
        self.ask(True)

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
                for pid in descendants(self.pid):
                    kill(pid)
                self.kill(hard=True)

    def _end_task(self, position: int, *, is_late: bool) -> bool:
        process, wish = self.process, Ended(self._outgoing.number, position, is_late)
        if process is None or self._ended is not None:
            return False
        try:
            self._ledger.hold(True)
            if self.running() == position:
                self._ended = wish
                for pid in descendants(self.pid):
                    kill(pid)  # what the task has started would go on for nobody
        finally:  # a Ctrl-C may come anywhere, and be caught
            if self._ended is wish:
                send_signal(process, hard=True)
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
