"""What runs a batch where an engine that is not ours runs calls: on a thread of dask's, in a process of another pool.

    lane's thread ──engine.submit(run_batch, …)──▶ a thread of the engine's ──its result──▶ lane's thread
                  ◀──line── outcomes and events in the middle of a batch, where the engine has a way for them

A batch is one call of the engine's, and no more is asked of that. It may run several side by side in one process, and it may lose
a worker and make the same call again on another: each is an *attempt*, and tells its records apart from others'. A batch that
has run for longer than its budget is cut short: what it has not started goes back, at once where there is a line, so that no task
waits for a slow one.
"""

from __future__ import annotations

import contextvars
import itertools
import os
import pickle
import sys
import threading
import uuid
from collections import OrderedDict, deque
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _messages as messages
from .bars import Teller, here
from .errors import described, summary
from .events import Events
from .function import BadArguments, BadFunction, Function, raiser
from .names import PROTOCOL
from .pickling import ATOMS, loads, seal
from .shared_main import Namespace, new_main
from .shared_main import here as main_here

if TYPE_CHECKING:
    from collections.abc import Callable

    from .relay import Levels

CLOCK_SECONDS = 0.010
"""How often batches that run are looked at: the errors of their budgets, and of when outcomes are sent."""

MOST_FUNCTIONS, MOST_SESSIONS = 64, 16
"""What a thread keeps of functions, and a process of executors; those that were not used for the longest time go."""

# What a call of ``run_batch`` comes to: the first field of its result.
RAN, MISMATCH, REFUSED = range(3)

homes: set[str] = set()
"""The sessions whose parent this interpreter is: tasks of theirs may get here too, for an engine may run calls anywhere."""


class Head(NamedTuple):
    """What a batch comes with beside its tasks. The first two are compared before the rest is looked at."""

    poolbar: str  # version
    python: tuple[int, int]
    session: str  # which executor's, anywhere in the world
    batch: str
    function: int
    fresh: bool
    form: int
    budget: float  # seconds
    levels: Levels | None  # of the parent's loggers; None: nothing is relayed
    line: Callable[[str, bytes], None] | None  # sends records of a batch while it runs


class Record(NamedTuple):
    """Something that became of a batch."""

    start: int  # in the batch: of the task whose outcome comes first; of the first that is not started
    message: Any  # of ``_messages``, as a tuple; or, of events, already pickled


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


class Batch:
    """A batch as it runs here. Its thread runs tasks; the clock's sends outcomes, and what is not started back.

    ``_lock`` is held while outcomes are added and records leave, so that these are in order; the engine's line is used under
    it, by either thread, and a line does not wait.
    """

    def __init__(self, head: Head, items: list[Any]) -> None:
        self._kept = len(items)  # tasks that are not handed back
        self.todo = deque(items)  # taken from by two threads, at its two ends, each by one atomic call
        self.ended = 0
        self.attempt = uuid.uuid4().hex
        self.records: list[Record] = []  # for the result
        self.sent = 0  # records that took the line
        self.events = Events(self)
        self.began = self.flushed_at = perf_counter()
        self._head = head
        self._line = head.line
        self._context = contextvars.copy_context()  # an engine knows its own by it; the clock's thread has none
        self._lock: Any = threading.RLock()
        self._values: list[Any] = []
        self._is_plain = True
        self.events.listen(self._line is not None)

    # --- the way to the parent, for events

    def is_writing(self) -> bool:
        """Tell whether this thread is in the middle of writing."""
        return bool(self._lock._is_owned())

    def send(self, data: bytes) -> None:
        """Write a message of events."""
        with self._lock:
            self._leave(Record(self.ended, data))

    def send_if_there_is_room(self, data: bytes) -> bool:
        """Write a message of events, if nobody else is writing. Tells whether it was."""
        if self.is_writing() or not self._lock.acquire(blocking=False):
            return False
        try:
            self._leave(Record(self.ended, data))
            return True
        finally:
            self._lock.release()

    def _leave(self, record: Record) -> None:
        if self._line is not None:
            data = pickle.dumps((self.attempt, self.sent, tuple(record)), PROTOCOL)
            try:
                self._context.run(self._line, self._head.batch, data)
            except Exception:  # the engine's: what it does not take now, the result takes
                self._line = None
            else:
                self.sent += 1
                return
        self.records.append(record)

    # --- outcomes

    def add(self, value: Any) -> None:
        """Add the value of the next task. May raise what pickling it raises; then nothing was added."""
        is_plain = type(value) in ATOMS
        kept = value if is_plain else _sealed(value)
        with self._lock:
            if is_plain is not self._is_plain:
                self._flush()
                self._is_plain = is_plain
            self._values.append(kept)
            self.ended += 1

    def fail(self, stage: int, error: BaseException) -> None:
        """Add the error of the next task."""
        told = described(error, stage)
        with self._lock:
            self._flush()
            failed = messages.Failed(messages.FAILED, 0, stage, *told, self._elapsed(), False)
            self._leave(Record(self.ended, tuple(failed)))
            self.ended += 1

    def flush(self) -> None:
        """Have what was added leave."""
        self.events.flush()
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        values, self._values = self._values, []
        if values:
            kind = messages.VALUES if self._is_plain else messages.PICKLED
            self._leave(Record(self.ended - len(values), (kind, 0, values, self._elapsed(), False)))

    def _elapsed(self) -> float:
        now = perf_counter()
        seconds, self.flushed_at = now - self.flushed_at, now
        return seconds

    # --- the clock's

    def look(self) -> None:
        """Send what was added, if it has waited for long; hand back what is not started, if the batch is over its budget."""
        now = perf_counter()
        if now - self.flushed_at >= self._head.budget / 2 and self._values:
            self.flush()
        if now - self.began >= self._head.budget and self.todo:
            self._hand_back()

    def _hand_back(self) -> None:
        kept = self._kept
        while True:
            try:
                self.todo.pop()
            except IndexError:
                break
            self._kept -= 1
        if self._kept < kept:
            with self._lock:
                self._leave(Record(self._kept, (messages.GIVEN_BACK,)))

    def end(self) -> None:
        """Have all leave that is left."""
        self.events.listen(True)  # what could not be sent comes with the result
        self.events.end_thread()
        with self._lock:
            self._flush()


def _sealed(value: Any) -> Any:
    sealed = seal(value, upward=True)
    return sealed if type(sealed) is bytes else tuple([bytes(part) for part in sealed])


class _Clock:
    """Looks at the batches that run in this process and have a line. Its thread lives while there are some.

    ``_lock`` is held while a batch comes or goes, and guards whether there is a thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches: set[Batch] = set()
        self._runs = False

    def add(self, batch: Batch) -> None:
        with self._lock:
            self._batches.add(batch)
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, name="poolbar-clock", daemon=True).start()

    def remove(self, batch: Batch) -> None:
        with self._lock:
            self._batches.discard(batch)

    def _run(self) -> None:
        while True:
            sleep(CLOCK_SECONDS)
            with self._lock:
                batches = list(self._batches)
                if not batches:
                    self._runs = False
                    return
            for batch in batches:
                batch.look()


_clock = _Clock()


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
    batch = Batch(asked, loads(message))
    routes = _enter(session, batch, asked.levels)
    try:
        refusal = session.refusal(setup)
        if refusal:
            return REFUSED, refusal
        if asked.line is not None:
            _clock.add(batch)
        try:
            _run(batch, asked, stored_function, routes)
        finally:
            _clock.remove(batch)
    finally:
        _leave(routes)
    batch.end()
    return RAN, batch.attempt, batch.sent, [tuple(record) for record in batch.records]


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


def _enter(session: Session, batch: Batch, levels: Levels | None) -> Any:
    """Have this thread speak for the batch; return its routes, None where what it says needs none."""
    main_here.namespace = session.namespace
    here.teller = Teller(batch.events.put_bar, lambda: (batch.attempt, batch.ended))
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


def _run(batch: Batch, head: Head, stored_function: bytes, routes: Any) -> None:
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


def _fail(batch: Batch, error: BaseException) -> None:
    if isinstance(error, BadArguments) and error.__cause__ is not None:
        batch.fail(messages.LOADING_ARGUMENTS, error.__cause__)
    elif isinstance(error, BadFunction) and error.__cause__ is not None:
        batch.fail(messages.LOADING_FUNCTION, error.__cause__)
    else:
        batch.fail(messages.RAISED, error)
