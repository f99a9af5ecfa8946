"""What a worker runs that is an interpreter in its parent's process: the server, and what is different there.

Its main thread is one of the parent's, which enters it here. Every thread of its own must have ended before it can be closed, so
the two that are ours are none of the daemons that a process would have: the control thread ends when the parent says so, and the
thread that sends events when the server is through.
"""

from __future__ import annotations

import _thread
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from .channel import opened, receiver, sender
from .function import BadArguments, BadFunction
from .ledger import Ledger
from .meter import thread_meter
from .pickling import loads
from .relay import when_imported
from .serve import Server

if TYPE_CHECKING:
    from types import ModuleType

    from .setup import Setup


class _Interpreter(Server):
    """A server that tells when it is only here that a module cannot be imported."""

    def _fail(self, error: BaseException, *, last: bool) -> None:
        module = refused_module(error)
        if module is not None:
            told = f'the module {module!r} does not support sub-interpreters; use backend="process" for what needs it'
            if isinstance(error, (BadArguments, BadFunction)):
                made = ImportError(told, name=module)
                made.__cause__, error.__cause__ = error.__cause__, made
            else:
                annotated: Any = error
                annotated.add_note(told)
        super()._fail(error, last=last)


def refused_module(error: BaseException | None) -> str | None:
    """Return the name of the module that refuses to be imported in a sub-interpreter; None: that is not what is wrong."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        # Python's own words, and those of the tools that make extension modules.
        told = str(error.msg) if isinstance(error, ImportError) else ""
        if "interpreter" in told:
            _, _, named = told.partition("module ")
            name, _, rest = named.partition(" ")
            return name if rest.startswith("does not support") else _importer(error)
        error = error.__cause__ or error.__context__
    return None


def _importer(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else str(trace.tb_frame.f_globals.get("__name__"))


def _adapt_tqdm(tqdm: ModuleType) -> None:
    tqdm.tqdm.monitor_interval = 0  # its thread would be a daemon
    tqdm.TqdmDefaultWriteLock.mp_lock = None  # which would start a process, that of multiprocessing's resource tracker


def serve(name: str, tasks: int, outcomes: int, control: int, sealed: bytes) -> None:
    """Run a worker, in the thread that has entered this interpreter.

    Args:
        name: of its main thread, in log records.
        tasks: the number of a pipe's end, as are the next two.
        outcomes: another.
        control: a third.
        sealed: the pickle of a Setup.
    """
    threading.current_thread().name = name
    setup: Setup = loads(sealed)
    asked = receiver(opened(control, reading=True))
    way_in, way_out = receiver(opened(tasks, reading=True)), sender(opened(outcomes, reading=False))
    meter = thread_meter()  # what else computes in this process may be for anybody
    server = _Interpreter(way_in, way_out, Ledger(setup.memory.ledger), meter, setup)
    threads: Any = _thread
    events = server.outbox.events
    events.start_thread = partial(threads.start_joinable_thread, daemon=False)
    when_imported("tqdm.std", _adapt_tqdm)
    threading.Thread(target=server.control, args=(asked,), name="poolbar-control").start()
    try:
        if server.start(setup):
            del setup
            server.serve()
    finally:
        events.end_thread()
        server.close()
