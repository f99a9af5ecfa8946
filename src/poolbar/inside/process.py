"""What a worker process runs: the server, and what binds the process to its parent.

The control thread, or the kernel where it can, ends the process when the parent is gone, whatever killed it.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from . import shared
from .bars import Process
from .channel import receiver, sender
from .ledger import Ledger
from .lifeline import end_with, ignore_interrupts, let_go
from .meter import process_meter
from .serve import Server

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from .channel import ConnectionReceiver, End, Receiver
    from .relay import Levels
    from .setup import Setup


class _Process(Server):
    """A server that has a process for itself: its working directory, its environment, its path."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.beginnings = os.getcwd(), dict(os.environ), list(sys.path)

    def reset(self, levels: Levels) -> None:
        """Become as good as new, for the next executor."""
        super().reset(levels)
        directory, environment, path = self.beginnings
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:] = path

    def stop(self) -> None:
        """Start no more tasks of this batch. Called in a child that a task has forked: they are its parent's."""
        self.unstarted[1].clear()
        Process.teller = None
        self.outbox.events.is_off = True  # what this child says is not for the parent
        if self.streams is not None:
            self.streams.let_go()

    def control_and_end(self, pipe: Receiver | ConnectionReceiver) -> None:
        """Do what the control thread does; then the parent is gone, and the process ends."""
        self.control(pipe)
        os._exit(1)


def serve(
    tasks: Connection[Any, Any] | End,
    outcomes: Connection[Any, Any] | End,
    control: Connection[Any, Any] | End,
    life: Connection[Any, Any] | End,
    setup: Setup,
) -> None:
    """Run a worker: the target of its process."""
    ignore_interrupts()
    end_with(life)
    shared.start()
    for name, value in setup.environment.items():
        os.environ.setdefault(name, value)
    try:
        ledger = Ledger(setup.memory.ledger)
        if not (os.environ.get("PYTHONFAULTHANDLER") or "faulthandler" in sys._xoptions):  # else they are wanted on stderr
            ledger.catch_traces(setup.memory.ledger)
        setup.flags.settle()
        server = _Process(receiver(tasks), sender(outcomes), ledger, process_meter(), setup)
    except FileNotFoundError:
        return  # the parent is gone
    if hasattr(os, "register_at_fork"):
        if server.streams is not None:
            os.register_at_fork(before=server.streams.take_in)
        os.register_at_fork(after_in_child=lambda: let_go(tasks, outcomes, control, life))
        os.register_at_fork(after_in_child=server.stop)
    threading.Thread(target=server.control_and_end, args=(receiver(control),), name="poolbar-control", daemon=True).start()
    if not server.start(setup):
        return
    del setup
    pid = os.getpid()
    try:
        server.serve()
    except OSError:
        if os.getpid() == pid:
            raise
        os._exit(1)  # a task has forked, and returned in the child, which has no pipes
    _end_pools()


def _end_pools() -> None:
    # Executors of the standard library and of loky that tasks have left open: the interpreter ends their workers only after
    # multiprocessing has joined all children, which would wait for ever. What is called here is not called again.
    calls: list[Any] = getattr(threading, "_threading_atexits", [])
    while calls:
        calls.pop()()
