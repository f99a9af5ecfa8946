"""What runs a batch where an engine that is not ours runs calls: on a thread of dask's, in a process of another pool.

    lane's thread ──engine.submit(run_batch, …)──▶ a thread of the engine's ──its result──▶ lane's thread
                  ◀──line── outcomes and events in the middle of a batch, where the engine has a way for them

A batch is one call of the engine's, and no more is asked of that. It may run several side by side in one process, and it may lose
a worker and make the same call again on another: each is an *attempt*, and tells its records apart from others'. A batch that
has run for longer than its budget is cut short: what it has not started goes back, at once where there is a line, so that no task
waits for a slow one.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections import OrderedDict
from time import perf_counter
from typing import TYPE_CHECKING, Any

from .. import _messages as messages
from .attempt import Attempt, Head, clock
from .bars import Teller, here
from .errors import summary
from .function import BadArguments, BadFunction, Function, raiser
from .pickling import loads
from .shared_main import Namespace, new_main
from .shared_main import here as main_here

if TYPE_CHECKING:
    from collections.abc import Callable

    from .relay import Levels

MOST_FUNCTIONS, MOST_SESSIONS = 64, 16
"""What a thread keeps of functions, and a process of executors; those that were not used for the longest time go."""

# What a call of ``run_batch`` comes to: the first field of its result.
RAN, MISMATCH, REFUSED = range(3)

homes: set[str] = set()
"""The sessions whose parent this interpreter is: tasks of theirs may get here too, for an engine may run calls anywhere."""


class Session:
    """An executor, as this process knows it. ``_lock`` is held while its initializer runs: other threads wait for that."""

    def __init__(self, key: str) -> None:
        is_home = key in homes
        self.is_home = is_home
        self.namespace = None if is_home else Namespace(new_main().__dict__, {})
        self._lock = threading.Lock()
        self._is_started = False
        self._refusal = ""

    def refusal(self, setup: bytes | None) -> str:
        """Run the initializer, if that was not done; return why no task can run here, or nothing."""
        with self._lock:
            if not self._is_started and setup is not None:
                try:
                    function, arguments = loads(setup)
                    function(*arguments)
                except BaseException as error:
                    self._refusal = f"its initializer raised {summary(error)}"
            self._is_started = True
            return self._refusal


_sessions: OrderedDict[str, Session] = OrderedDict()
_sessions_lock = threading.Lock()
"""Held while one is looked up."""


def _session(key: str) -> Session:
    with _sessions_lock:
        session = _sessions.get(key)
        if session is None:
            session = _sessions[key] = Session(key)
            if len(_sessions) > MOST_SESSIONS:
                _sessions.popitem(last=False)
        _sessions.move_to_end(key)
        return session


class _Thread(threading.local):
    """Of a thread that runs batches: functions, by session and number, so that no two threads share one."""

    def __init__(self) -> None:
        self.functions: OrderedDict[tuple[str, int], Function] = OrderedDict()


_thread = _Thread()


def _function(head: Head, stored: bytes) -> Function:
    key = head.session, head.function
    functions = _thread.functions
    function = functions.get(key)
    if function is None:
        function = functions[key] = Function(loads(stored), head.fresh, _as_it_is)
        if len(functions) > MOST_FUNCTIONS:
            functions.popitem(last=False)
    functions.move_to_end(key)
    return function


def _as_it_is(stored: Any) -> Any:
    return stored


class _Unmeasured:
    """Measures nothing: an engine that is not ours is not chosen by measurements."""

    def aside(self, act: Callable[[], Any]) -> Any:
        return act()


def run_batch(head: tuple[Any, ...], setup: bytes | None, stored_function: bytes, message: bytes) -> tuple[Any, ...]:
    """Run a batch: what an engine is given to call.

    Args:
        head: see ``Head``.
        setup: the pickled call of the initializer.
        stored_function: its pickle, as it is sealed, pickled.
        message: the pickled list of what each task is called with.

    Returns:
        ``(RAN, attempt, records that took the line, the other records)``; or why nothing was run: ``(MISMATCH, text)`` or
        ``(REFUSED, text)``.
    """
    complaint = _mismatch(head[0], head[1])
    if complaint:
        return MISMATCH, complaint
    asked = Head._make(head)
    session = _session(asked.session)
    batch = Attempt(asked, loads(message))
    routes = _enter(session, batch, asked.levels)
    try:
        refusal = session.refusal(setup)
        if refusal:
            return REFUSED, refusal
        if asked.line is not None:
            clock.add(batch)
        try:
            _run(batch, asked, stored_function, routes)
        finally:
            clock.remove(batch)
    finally:
        _leave(routes)
    batch.end()
    return RAN, batch.id, batch.sent, [tuple(record) for record in batch.records]


def version() -> str:
    """Return the version of poolbar in this process."""
    found: str = sys.modules[__name__.partition(".")[0]].__version__
    return found


def _mismatch(poolbar: str, python: tuple[int, int]) -> str:
    if poolbar != version():
        return f"there is poolbar {version()}, and here {poolbar}: install the same one"
    if python != sys.version_info[:2]:
        there, here_is = _dotted(sys.version_info[:2]), _dotted(python)
        return f"there is Python {there}, and here {here_is}: what one pickles, the other may not know"
    return ""


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


_task_numbers = itertools.count()


def _enter(session: Session, batch: Attempt, levels: Levels | None) -> Any:
    """Have this thread speak for the batch; return its routes, None where what it says needs none."""
    main_here.namespace = session.namespace
    here.teller = Teller(batch.events.put_bar, lambda: (batch.id, batch.ended))
    if levels is None or session.is_home:
        return None
    from .routed import Routes

    routes = Routes(batch.events, levels)
    routes.enter()
    return routes


def _leave(routes: Any) -> None:
    if routes is not None:
        routes.leave()
    here.teller = None
    main_here.namespace = None


def _run(batch: Attempt, head: Head, stored_function: bytes, routes: Any) -> None:
    try:
        call = _function(head, stored_function).caller(head.form, _Unmeasured())
    except BaseException as error:  # user's code runs while unpickling
        call = raiser(error)
    todo = batch.todo
    stop_at = batch.began + head.budget
    pid = os.getpid()
    while True:
        try:
            item = todo.popleft()
        except IndexError:
            return
        try:
            value = call(item)
        except BaseException as error:  # it belongs to the task, SystemExit and KeyboardInterrupt too
            _fail(batch, error)
        else:
            try:
                batch.add(value)
            except BaseException as error:  # a user's __reduce__ may raise anything
                batch.fail(messages.DUMPING_RESULT, error)
            del value
        del item
        if os.getpid() != pid:
            os._exit(1)  # a task has forked, and returned in the child
        if routes is not None:
            routes.end_lines()
        if perf_counter() >= stop_at:
            todo.clear()  # what has no outcome in the end was not started


def _fail(batch: Attempt, error: BaseException) -> None:
    if isinstance(error, BadArguments) and error.__cause__ is not None:
        batch.fail(messages.LOADING_ARGUMENTS, error.__cause__)
    elif isinstance(error, BadFunction) and error.__cause__ is not None:
        batch.fail(messages.LOADING_FUNCTION, error.__cause__)
    else:
        batch.fail(messages.RAISED, error)
