"""What workers have in common that are spoken to through pipes, processes and interpreters.

    lane's thread ──tasks──▶ worker's main thread ──outcomes──▶ lane's thread
                  ──control──▶ worker's control thread

Three one-way pipes for each worker and no lock between workers, so that a dead one can hold none. The lane writes a batch
only when the worker has ended the last one and waits in a read: two full pipes never face each other. When the worker
is gone, the lane's read ends.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from time import monotonic
from typing import TYPE_CHECKING, Any

from .. import _messages as messages
from ..inside import ledger as ledgers
from ..inside import memory
from ..inside.channel import receiver, sender
from ..inside.pickling import loads
from ..inside.serve import ASK
from ..inside.setup import Paths
from . import WorkerFailed, relayed
from .sending import Outgoing
from .watch import Watch

if TYPE_CHECKING:
    from .._batch import Batch
    from . import Sink


class PipedWorker(ABC):
    """The parent's end of a worker. Owned by one lane at a time; some methods may be called from any thread.

    ``_look`` is held while a task is looked at in order to end it (3 ms), by the lane or by who calls ``kill``; by the lane as it
    begins and ends a batch and when it closes what is looked at; and while the control pipe is written. Nobody waits
    under it for the worker.
    """

    def __init__(self, main_by_value: bool) -> None:
        self.pid: int | None = None
        self.ran = 0
        self.first_megabytes: float | None = None
        self._main_by_value = main_by_value
        self._usable = False
        self._look = threading.Lock()
        self._batch: Batch | None = None  # that runs

    # --- start and end

    def _connect(self, tasks: Any, outcomes: Any, control: Any) -> Paths:
        """Take this side's ends of the pipes, and make the memory that is shared; return where it lies."""
        self._tasks, self._outcomes, self._control = sender(tasks), receiver(outcomes), sender(control)
        self._places = [ledgers.create(), memory.create(0), memory.create(0)]
        paths = Paths(*[place.path for place in self._places])
        self._ledger = ledgers.Ledger(paths.ledger)
        self._arguments, self._values = memory.Arena(paths.arguments), memory.Arena(paths.values)
        self._outgoing = Outgoing(self._main_by_value, self._arguments)
        return paths

    def _await_ready(self) -> None:
        """Wait until the worker is there and its initializer has run.

        Raises:
            EOFError, OSError: it has ended.
            WorkerFailed: its initializer raised.
        """
        while (message := loads(self._outcomes.receive()))[0] == messages.EVENTS:
            relayed.deliver(message[1], None)
        if message[0] == messages.REFUSED:
            self._bury()
            raise WorkerFailed(message[1], final=True)
        self._remove_places()
        self._usable = True

    def is_alive(self) -> bool:
        """Tell whether it is there and its pipe works."""
        return self._usable

    def _hear_last_words(self, seconds: float | None) -> None:
        """Show what it says as it ends, until it has ended, or for so long; else it would wait for ever in a full pipe."""
        deadline = None if seconds is None else monotonic() + seconds
        try:
            while deadline is None or ((rest := deadline - monotonic()) > 0 and self._outcomes.is_readable(rest)):
                message = loads(self._outcomes.receive())
                if message[0] == messages.EVENTS:
                    relayed.deliver(message[1], None)
        except EOFError:
            pass  # it has ended

    @abstractmethod
    def _bury(self) -> Any:
        """Wait for it, whose pipe has ended or that has been told to end; give back what it had. Returns how it ended."""

    def _discard(self) -> None:
        for end in (self._tasks, self._outcomes, self._control):
            end.close()
        for shared in (self._ledger, self._arguments, self._values):
            shared.close()
        self._remove_places()

    def _remove_places(self) -> None:
        while self._places:
            self._places.pop().remove()

    def rest(self) -> None:
        """Give back the memory that large data lay in: there is nothing to do."""
        self._arguments.shrink()
        self._values.shrink()

    # --- batches

    def run(self, batch: Batch, sink: Sink) -> None:
        """Run a batch. When the worker dies, the task that ran is lost, and what was not started is left in the batch."""
        data = self._outgoing.message(batch, sink)
        if data is None:
            return
        with self._look:
            self._batch = batch
        size = len(data) + self._outgoing.large
        try:
            self._tasks.send(data)
            del data
            self._receive(batch, size, sink)
        except (EOFError, OSError):
            self._mourn(batch, sink)
        else:
            with self._look:
                self._batch = None
        self._outgoing.batch_ended()

    def _watch(self, batch: Batch, sink: Sink) -> Watch:
        return Watch(self, batch, sink)

    def _receive(self, batch: Batch, sent: int, sink: Sink) -> None:
        receive = self._outcomes.receive
        received = 0
        patient = self._watch(batch, sink)
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
                from .remote_errors import rebuilt

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
                if kind == messages.STORED:
                    values = [memory.opened(value, self._values) for value in values]
                    size += sum(len(part) for value in values if type(value) is tuple for part in value)
                received += size
                self.ran += len(values)
                if values and seconds:
                    sink.took(len(values), seconds)
                if cost is not None:
                    sink.cost(messages.Cost._make(cost), sent, received)
                sink.values(values, kind != messages.VALUES, size, last)
                del values

    @abstractmethod
    def _mourn(self, batch: Batch, sink: Sink) -> None:
        """Settle what a dead worker had done of a batch."""

    def _settle_done(self, batch: Batch, sink: Sink) -> bool:
        """Deliver the values that a dead worker has left in the ledger; tell whether the task after these had started."""
        started = min(self._ledger.started(self._outgoing.number), len(batch.items))
        if started:
            for index, value, pickled in self._ledger.values():
                if index == batch.done < started:  # those before have come through the pipe
                    sink.values([value], pickled, 0, False)
        with self._look:
            self._batch = None
        return batch.done < started

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
