"""What a worker runs, be it a process or an interpreter: batches in, outcomes out, until the parent says that it is enough.

    main thread       reads batches from ``tasks``, runs them, writes outcomes to ``outcomes``
    control thread    waits on ``control``: hands back what is not started when the parent asks for it

A worker knows nothing of executors, so a warm one can serve the next.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from functools import partial
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Any

from .. import _messages as messages
from . import shared
from .bars import Process, Teller
from .function import BadArguments, BadFunction, Function, raiser
from .memory import Arena, opened
from .outbox import FLUSH_SECONDS, PROMPT_SECONDS, Outbox
from .pickling import loads
from .relay import Relay
from .shared_main import Side, start_main
from .streams import Streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from .channel import ConnectionReceiver, ConnectionSender, Receiver, Sender
    from .ledger import Ledger
    from .meter import Meter
    from .relay import Levels
    from .setup import Setup

BUDGET_SECONDS = 0.020
"""A batch that has run this long hands back what it has not started: twice what a batch should take."""

ASK = struct.Struct("q?")
"""What comes over the control pipe: the number of a batch that shows nothing for long. Its outcomes are wanted now, and
its unstarted tasks back, if the flag is set."""


class Server:
    """The state that the two threads of a worker share: which batch is running, and what of it is not started."""

    def __init__(
        self,
        tasks: Receiver | ConnectionReceiver,
        outcomes: Sender | ConnectionSender,
        ledger: Ledger,
        meter: Meter,
        setup: Setup,
    ) -> None:
        self.tasks = tasks
        self.arguments = Arena(setup.memory.arguments)
        self._opened = partial(opened, arena=self.arguments)
        self.outbox = Outbox(outcomes, ledger, Arena(setup.memory.values), meter)
        self.ledger = ledger
        self.relay: Relay | None = None
        self.streams: Streams | None = None
        Process.teller = Teller(self.outbox.events.put_bar, lambda: (self.outbox.number, ledger.head[0]))
        if setup.levels is not None:
            self.streams = Streams(self.outbox.events)
            self.relay = Relay(self.outbox.events, setup.levels)
            self.outbox.end_lines = self.streams.end_lines
        self.functions: dict[int, Function] = {}
        # Read by the control thread. One tuple, so that number and tasks are seen together; the two threads take from
        # the two ends of the deque, each end with one atomic call.
        self.unstarted: tuple[int, deque[Any]] = (0, deque())
        self.asked_back = 0  # the last batch that was asked back, perhaps before it was read here

    def start(self, setup: Setup) -> bool:
        """Make this worker ready for tasks, and say so. False: its initializer raised, so no task can run here."""
        Side.inside_worker = True
        Side.main_by_value = setup.main.by_value
        if setup.main.empty:
            start_main()
        for name in setup.preload:
            try:
                import_module(name)
            except BaseException as error:  # it may raise anything
                self.outbox.refuse("preload (POOLBAR_PRELOAD) has a module that cannot be imported, " + repr(name), error)
                return False
        if setup.initializer is not None:
            self.ledger.initialize()
            try:
                setup.initializer.run()
            except BaseException as error:
                _report(error)
                self.outbox.refuse("its initializer raised", error)
                return False
        self.outbox.ready(os.getpid())
        return True

    def serve(self) -> None:
        """Run batches until the parent says that it is enough, or is gone."""
        while True:
            try:
                data = self.tasks.receive()
            except (EOFError, OSError):
                return
            if not data:
                if self.streams is not None:
                    self.streams.end()
                self.outbox.end()
                return
            message = loads(data)
            del data
            if message[0] == messages.RESET:
                self.reset(message[1])
            else:
                self.run(messages.Run._make(message))

    def close(self) -> None:
        """Give back what the system has lent: not every worker ends with a process."""
        self.arguments.close()
        self.outbox.close()

    def reset(self, levels: Levels) -> None:
        """Become as good as new, for the next executor."""
        self.functions.clear()
        shared.forget()
        if self.relay is not None and self.streams is not None:
            self.streams.renew()
            self.relay.set_levels(levels)
        start_main()

    def run(self, batch: messages.Run) -> None:
        """Run a batch."""
        todo = deque(batch.items)
        batch.items.clear()
        # In this order: what the control thread does not see here, it has left in ``asked_back``.
        self.unstarted = (batch.number, todo)
        if self.asked_back == batch.number:
            self.hand_back(batch.number, todo)
        for old in batch.forget:
            self.functions.pop(old, None)
        if batch.stored_function is not None:
            self.functions[batch.function] = Function(batch.stored_function, batch.fresh, self._opened)
        function = self.functions[batch.function]
        outbox = self.outbox
        outbox.begin(batch.number, function.manner, function.expected)
        try:
            call = function.caller(batch.form, outbox.meter)
        except BaseException as error:  # user's code runs while unpickling
            call = raiser(error)
        outbox.meter.begin(function.was_long)
        self._run_tasks(call, todo)
        function.was_long = outbox.meter.is_long()
        function.manner, function.expected = outbox.manner, outbox.expected

    def _run_tasks(self, call: Callable[[Any], Any], todo: deque[Any]) -> None:
        # The hot loop: 0.25 us for a task that returns an int, of which the call itself is 0.04.
        outbox = self.outbox
        expected, note, keep = outbox.expected, outbox.note, outbox.values.append
        started = self.ledger.head
        take = todo.popleft
        index = 0
        began = now = perf_counter()
        flush_at = began + FLUSH_SECONDS
        self.ledger.run_from(0)
        while True:
            try:
                item = take()
            except IndexError:
                break
            started[0] = index
            try:
                value = call(item)
            except BaseException as error:  # it belongs to the task, SystemExit and KeyboardInterrupt too
                outbox.ended = index
                index += 1
                self._fail(error, last=not todo)
                now, flush_at = self._rest(index)
                continue
            try:
                if type(value) is not expected:
                    raise ValueError
                note(index, value)
                keep(value)
            except (ValueError, OverflowError, IndexError):
                outbox.ended = index
                self._add(value, last=not todo)
                expected, note = outbox.expected, outbox.note
            index += 1
            before = now
            now = perf_counter()
            if now - before >= PROMPT_SECONDS or now >= flush_at:
                outbox.ended = index
                if now - began >= BUDGET_SECONDS:
                    todo.clear()
                del item, value
                if not outbox.closed:
                    outbox.flush(last=not todo)
                now, flush_at = self._rest(index)
        outbox.ended = index
        if not outbox.closed:
            outbox.flush(last=True)
        self.ledger.rest()

    def _rest(self, following: int) -> tuple[float, float]:
        # After each task that took PROMPT_SECONDS or more: a parent that ends such a task relies on it.
        self.ledger.rest()
        self.ledger.run_from(following)
        now = perf_counter()
        return now, now + FLUSH_SECONDS

    def _add(self, value: Any, *, last: bool) -> None:
        try:
            self.outbox.add(value)
        except BaseException as error:  # a user's __reduce__ may raise anything
            self.outbox.fail(messages.DUMPING_RESULT, error, last=last)

    def _fail(self, error: BaseException, *, last: bool) -> None:
        if isinstance(error, BadArguments) and error.__cause__ is not None:
            self.outbox.fail(messages.LOADING_ARGUMENTS, error.__cause__, last=last)
        elif isinstance(error, BadFunction) and error.__cause__ is not None:
            self.outbox.fail(messages.LOADING_FUNCTION, error.__cause__, last=last)
        else:
            self.outbox.fail(messages.RAISED, error, last=last)

    def control(self, pipe: Receiver | ConnectionReceiver) -> None:
        """Send outcomes and hand tasks back when asked, until the parent is gone or has had enough: the control thread."""
        try:
            while data := pipe.receive():
                asked, is_wanted_back = ASK.unpack(data)
                if is_wanted_back:
                    self.asked_back = asked
                number, todo = self.unstarted
                if number == asked:
                    self.outbox.flush_early()
                    if is_wanted_back:
                        self.hand_back(number, todo)
        except (EOFError, OSError):
            return

    def hand_back(self, number: int, todo: deque[Any]) -> None:
        """Hand back what is not started, but for the batch's first task: each batch that was sent gets something done."""
        count = 0
        while len(todo) > 1 or self.ledger.has_begun(number):
            try:
                todo.pop()
            except IndexError:
                break
            count += 1
        if count:
            self.outbox.give_back(number, count)


def _report(error: BaseException) -> None:
    # As the standard library does: people look for this line in their logs.
    import logging

    logging.getLogger("concurrent.futures").critical(
        "Exception in initializer:", exc_info=(type(error), error, error.__traceback__)
    )
