"""A worker that is a process, started through loky's context or one of multiprocessing's. The only module that imports loky.

    lane's thread ──tasks──▶ worker's main thread ──outcomes──▶ lane's thread
                  ──control──▶ worker's control thread

Three one-way pipes for each worker and no lock between processes, so that a dead worker can hold none. The lane writes a
batch only when the worker has ended the last one and waits in a read: two full pipes never face each other. When the worker
dies, the lane's read ends; when the parent dies, the worker's control thread ends it.
"""

from __future__ import annotations

import multiprocessing.process
import os
import pickle
import signal
import threading
import time
import weakref
from collections import OrderedDict
from itertools import chain
from typing import TYPE_CHECKING, Any

from .. import _messages as messages
from ..inside import ledger as ledgers
from ..inside.channel import receiver, sender, widen
from ..inside.names import PROTOCOL
from ..inside.pickling import are_atoms, dumps, loads
from ..inside.serve import ASK, Setup, serve
from . import WorkerFailed
from .remote_errors import crashed, describe_exit, not_picklable, rebuilt
from .warm import shelf

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from .._batch import Batch
    from . import Sink
    from .plan import Plan

OVERDUE_SECONDS = 0.010
"""No outcome of a batch for this long: a long task runs. The outcomes before it are asked for, and what is not started is asked
back as soon as another worker has nothing to do."""

MOST_FUNCTIONS = 64
"""Functions that a worker keeps."""

MOST_BATCH_BYTES = 4 << 20
"""Pickled arguments sent in one message; a single task's may be larger."""

END_SECONDS = 5.0
"""A worker whose batch is done ends in this time, or is killed: its own exit hooks hang."""

_starting = threading.RLock()
"""Held while a process is started (about 10 ms), by lanes and by callers of submit. A forked worker must not inherit the
far ends of another's pipes, and multiprocessing's list of children is not made for several threads. A fork of the user's
waits for it too: its child must not find the locks of multiprocessing's trackers held. Reentrant: workers may fork."""

_parent_ends: weakref.WeakSet[Connection[Any, Any]] = weakref.WeakSet()
_processes: weakref.WeakSet[BaseProcess] = weakref.WeakSet()


def _hold_starts() -> None:
    _starting.acquire()


def _let_starts_go() -> None:
    _starting.release()


def _after_fork_in_child() -> None:
    global _starting
    _starting = threading.RLock()
    # Were these held open here, a worker would not see its parent die.
    for end in list(_parent_ends):
        end.close()
    # At this child's exit multiprocessing would join its parent's children, and fail.
    multiprocessing.process._children.difference_update(_processes)  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_hold_starts,
        after_in_parent=_let_starts_go,
        after_in_child=_after_fork_in_child,
    )


class ProcessWorker:
    """The parent's end of a worker process. Owned by one lane at a time; ``kill`` may come from any thread."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.pid: int | None = None
        self.process: BaseProcess | None = None
        self.ran = 0
        self._number = 0  # of the last batch
        self._sent: OrderedDict[int, None] = OrderedDict()  # functions that the worker has, the oldest first
        self._usable = False

    # --- start and end

    def launch(self) -> None:
        """Start the process; do not wait for it."""
        plan = self.plan
        context = plan.context
        with _starting:
            plan.start_trackers()
        with _starting, _interrupts_blocked():
            tasks, tasks_in = context.Pipe(duplex=False)
            outcomes_out, outcomes = context.Pipe(duplex=False)
            control, control_in = context.Pipe(duplex=False)
            widen(tasks)
            widen(outcomes)
            _parent_ends.update((tasks_in, outcomes_out, control_in))
            self._tasks, self._outcomes, self._control = sender(tasks_in), receiver(outcomes_out), sender(control_in)
            self._place: ledgers.Place | None = ledgers.create()
            self._ledger = ledgers.Ledger(self._place.path)
            setup = Setup(self._place.path, plan.initializer, plan.limits, plan.main)
            try:
                self.process = plan.process(serve, (tasks, outcomes, control, setup))
                self.process.start()
                _processes.add(self.process)
            except BaseException:
                self._discard()
                raise
            finally:
                for end in (tasks, outcomes, control):
                    end.close()
        self.pid = self.process.pid

    def start(self) -> None:
        """Start the process unless ``launch`` has, and wait until its initializer has run. A warm one is ready."""
        if self._usable:
            return
        if self.process is None:
            try:
                self.launch()
            except Exception as error:
                final = not isinstance(error, OSError)
                raise WorkerFailed(f"it cannot be started: {type(error).__name__}: {error}", final=final) from error
        try:
            message = loads(self._outcomes.receive())
        except (EOFError, OSError):
            code = self._bury()
            raise WorkerFailed(f"it {describe_exit(code)} before it could run a task", final=False) from None
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
        if not spent and self._usable and key is not None and shelf.put(key, self, self.plan.idle_seconds):
            return
        self.retire()

    def retire(self) -> None:
        """End the process and wait for it."""
        try:
            self._tasks.send(b"")
        except OSError:
            pass  # it is dead already
        process = self.process
        if process is not None:
            process.join()
        self._bury()

    def kill(self, hard: bool) -> None:
        """Send the process SIGKILL, or SIGTERM. The lane's read then ends, and the lane does the rest."""
        process = self.process
        if process is not None:
            _send_signal(process, hard)

    def reset(self) -> None:
        """Make a warm worker as good as new. Raises OSError where it has died."""
        self._tasks.send(pickle.dumps((messages.RESET,), PROTOCOL))
        self._sent.clear()

    def _bury(self) -> int | None:
        """Wait for the process, whose pipe has ended or that has been told to end; return its exit code."""
        self._usable = False
        process = self.process
        code: int | None = None
        if process is not None:
            process.join(END_SECONDS)
            if process.is_alive():
                _send_signal(process, hard=True)
                process.join()
            code = _exit_code(process)
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
        """Run a batch. When the process dies, the task that ran fails, and what was not started is left in the batch."""
        data = self._encode(batch, sink)
        if data is None:
            return
        try:
            self._tasks.send(data)
            del data
            self._receive(batch, sink)
        except (EOFError, OSError):
            self._mourn(batch, sink)

    def _receive(self, batch: Batch, sink: Sink) -> None:
        receive = self._outcomes.receive
        looks, ask_at = 0, 1
        is_asked_back = last = False
        while not last:
            if not is_asked_back and len(batch.items) - batch.done > 1 and not self._outcomes.is_readable(OVERDUE_SECONDS):
                looks += 1
                is_asked_back = sink.is_awaited()
                if is_asked_back:
                    sink.overdue(OVERDUE_SECONDS)
                if is_asked_back or looks == ask_at:
                    # Again after twice the time: the worker may have had nothing to send yet, or not begun.
                    ask_at = 2 * looks
                    self._ask(is_asked_back)
                continue
            looks, ask_at = 0, 1
            data = receive()
            size = len(data)
            message = loads(data)
            del data
            kind, number = message[:2]
            if number != self._number:
                continue  # tasks given back after their batch had ended: the lane has them already
            if kind == messages.GIVEN_BACK:
                sink.given_back(message[2])
            elif kind == messages.FAILED:
                failed = messages.Failed._make(message)
                last = failed.last
                self.ran += 1
                sink.took(1, failed.seconds)
                sink.failed(rebuilt(failed, batch.function.name), last)
            else:
                _, _, values, seconds, last = message
                del message
                self.ran += len(values)
                if values and seconds:
                    sink.took(len(values), seconds)
                sink.values(values, kind == messages.PICKLED, size, last)
                del values

    def _ask(self, for_what_is_not_started: bool) -> None:
        try:
            self._control.send(ASK.pack(self._number, for_what_is_not_started))
        except OSError:
            pass  # it is dead; what it sent before is read to the end first

    def _encode(self, batch: Batch, sink: Sink) -> bytes | None:
        """Return the message for a batch. A task whose arguments do not pickle fails here, and its batch ends before it."""
        self._number += 1
        function = batch.function
        is_new = function.id not in self._sent
        forget: tuple[int, ...] = ()
        if is_new:
            self._sent[function.id] = None
            if len(self._sent) > MOST_FUNCTIONS:
                forget = (self._sent.popitem(last=False)[0],)
        else:
            self._sent.move_to_end(function.id)
        head = (messages.RUN, self._number, function.id, function.sealed if is_new else None, function.fresh)
        payloads = batch.source.payloads(batch)
        if batch.form == messages.SEALED:
            return pickle.dumps((*head, messages.SEALED, payloads, forget), PROTOCOL)
        if function.takes_atoms:
            if are_atoms(chain.from_iterable(payloads) if batch.form == messages.STARRED else payloads):
                data = pickle.dumps((*head, batch.form, payloads, forget), PROTOCOL)
                function.pace.note_bytes(len(batch.items), len(data))
                return data
            function.takes_atoms = False
        sealed = self._seal_items(batch, sink)
        if not sealed:
            if is_new:
                del self._sent[function.id]
            return None
        return pickle.dumps((*head, messages.SEALED, sealed, forget), PROTOCOL)

    def _seal_items(self, batch: Batch, sink: Sink) -> list[bytes]:
        sealed: list[bytes] = []
        size = 0
        for position in range(len(batch.items)):
            try:
                data = dumps(batch.arguments(position), self.plan.main.by_value)
            except BaseException as error:  # code of the user's runs while pickling
                if position == 0:
                    sink.failed(not_picklable(batch.function.name, error), last=True)
                    return []
                break  # it comes back as the first of another batch
            if sealed and size + len(data) > MOST_BATCH_BYTES:
                break
            size += len(data)
            sealed.append(data)
        if len(sealed) < len(batch.items):
            sink.given_back(len(batch.items) - len(sealed))
        batch.function.pace.note_bytes(len(sealed), size)
        return sealed

    def _mourn(self, batch: Batch, sink: Sink) -> None:
        """Settle what a dead worker had done of a batch."""
        running = self._ledger.running(self._number)
        if running is not None:
            for index, value, pickled in self._ledger.values():
                if index == batch.done < len(batch.items):  # those before have come through the pipe
                    sink.values([value], pickled, 0, False)
        code = self._bury()
        if running == batch.done < len(batch.items):
            sink.failed(crashed(batch.function.name, self.pid, code), last=False)


def warm_worker(plan: Plan) -> ProcessWorker | None:
    """Take a worker from the shelf that is as good as one made from this plan."""
    if plan.key is None:
        return None
    worker: ProcessWorker | None = shelf.take(plan.key)
    if worker is not None and plan.initializer is None:
        try:
            worker.reset()
        except OSError:
            worker.retire()
            return None
    return worker


def _send_signal(process: BaseProcess, hard: bool) -> None:
    pid = process.pid
    if pid is None or process.exitcode is not None:
        return  # not started yet, or gone already
    if hard and os.name == "posix":
        try:
            os.kill(pid, signal.SIGKILL)  # loky's processes have no kill()
        except ProcessLookupError:
            pass
    else:
        process.terminate()


def _exit_code(process: BaseProcess) -> int | None:
    # multiprocessing reaps children wherever a process is started: another thread may have got the code from the system
    # and not yet written it down.
    for _ in range(100):
        if process.exitcode is not None:
            break
        time.sleep(0.001)
    return process.exitcode


class _interrupts_blocked:  # noqa: N801  # used as a function
    """Blocks SIGINT in this thread, so that a process started here is born with it blocked and never dies of a Ctrl-C."""

    def __enter__(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            self._before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    def __exit__(self, *_: object) -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
