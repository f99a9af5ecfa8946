"""A worker that is a slot in an engine which is not ours: each batch is a call that a backend has run somewhere.

    lane's thread ──backend.submit──▶ the engine ──future──▶ its callback ─▶ mailbox ──▶ lane's thread
                                       ◀──line── records while the batch runs ─▶ mailbox

A lane waits in one place: for its batch's mailbox. There the engine's threads put what comes of the batch, and who ends it by
force a word; none of them waits. An engine that is gone lets the call's future end, with an error: no more is asked of it.
"""

from __future__ import annotations

import sys
import threading
import uuid
from collections import OrderedDict
from concurrent.futures import BrokenExecutor, CancelledError
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from .._broken import WorkerCrashed
from .._errors import BackendError, text_of
from ..inside import remote as inside
from ..inside.attempt import Head
from ..inside.pickling import dumps
from . import WorkerFailed
from .records import Going
from .sending import Inline

if TYPE_CHECKING:
    from concurrent.futures import Future

    from .._batch import Batch
    from .._function import Function
    from ..backends import Backend
    from ..inside.relay import Levels
    from . import Sink

INLINE_BYTES = 1 << 12
"""A function with a smaller pickle comes with each batch: that costs less than to ask where it lies."""

MOST_FUNCTIONS = 64
"""Functions that the engine keeps for an executor."""

LINE_SECONDS = 10.0
"""What was sent before a batch ended is here that long after its end, or it is lost."""


class Word(NamedTuple):
    """What is put into a mailbox beside records."""

    what: str


ENDED, DROP, KILL = Word("the call has ended"), Word("drop the batch"), Word("kill the worker")


class Engine:
    """A backend, as the lanes of one executor use it.

    Args:
        backend: that runs the calls.
        setup: the pickled call of the initializer; None: there is none.
        levels: of this process's loggers; None: nothing is relayed.
        budget: seconds after which a batch hands back what it has not started.

    ``_lock`` is held while a function is put where the engine's workers find it, by the first lane that needs it; others wait.
    """

    def __init__(self, backend: Backend, setup: bytes | None, levels: Levels | None, budget: float) -> None:
        self.backend = backend
        self.session = uuid.uuid4().hex
        self._budget = budget
        self._levels = levels
        self._lock = threading.Lock()
        self._functions: OrderedDict[int, Any] = OrderedDict()  # what stands for each
        self._mailboxes: dict[str, SimpleQueue[Any]] = {}  # by batch; each operation is a single one
        inside.homes.add(self.session)
        self._line = backend.line(self._deliver)
        self._setup = None if setup is None else backend.put(setup)

    def _deliver(self, batch: str, data: bytes) -> None:
        mailbox = self._mailboxes.get(batch)
        if mailbox is not None:  # else it is of a batch that was dropped
            mailbox.put(data)

    def call(self, function: Function, form: int, message: bytes, mailbox: SimpleQueue[Any]) -> tuple[str, Future[Any]]:
        """Have a batch run; return its key, and the engine's future. Raises BackendError."""
        key = uuid.uuid4().hex
        head = Head(
            inside.version(), sys.version_info[:2], self.session, key, function.id, function.fresh, form, self._budget,
            self._levels, self._line,
        )  # fmt: skip
        self._mailboxes[key] = mailbox
        try:
            stored = self._stored(function)
            future = self.backend.submit(inside.run_batch, tuple(head), self._setup, stored, message)
        except BaseException:
            self.forget(key)
            raise
        future.add_done_callback(lambda _: mailbox.put(ENDED))
        return key, future

    def forget(self, batch: str) -> None:
        """Take no more records of a batch."""
        self._mailboxes.pop(batch, None)

    def _stored(self, function: Function) -> Any:
        with self._lock:
            found = self._functions.get(function.id)
            if found is None:
                data = dumps(Inline(True).stored(function.sealed))
                found = data if len(data) < INLINE_BYTES else self.backend.put(data)
                self._functions[function.id] = found
                if len(self._functions) > MOST_FUNCTIONS:
                    self._functions.popitem(last=False)
            self._functions.move_to_end(function.id)
            return found

    def close(self) -> None:
        """Let go of the backend: there are no lanes any more."""
        inside.homes.discard(self.session)
        self._functions.clear()
        self._setup = None
        self.backend.close()


class RemoteWorker:
    """The parent's end of a slot. A batch that it runs may run anywhere in the engine, the next one elsewhere."""

    def __init__(self, engine: Engine) -> None:
        self.pid: int | None = None
        self.ran = 0
        self.first_megabytes: float | None = None
        self._engine = engine
        self._sending = Inline(True)
        self._mailbox: SimpleQueue[Any] | None = None  # of the batch that runs
        self._batch: Batch | None = None
        self._is_killed = False

    def start(self) -> None:
        """Do nothing: the engine has workers."""

    def run(self, batch: Batch, sink: Sink) -> None:
        """Run a batch.

        Raises:
            WorkerFailed: no batch can be run any more, by anyone.
        """
        payloads = self._sending.payloads(batch, sink)
        if payloads is None:
            return
        form, items = payloads
        mailbox: SimpleQueue[Any] = SimpleQueue()
        try:
            key, future = self._engine.call(batch.function, form, dumps(items), mailbox)
        except Exception as error:  # a backend may raise what it should not
            text = str(error) if isinstance(error, BackendError) else f"{self._engine.backend.name}: {text_of(error)}"
            raise WorkerFailed(text, final=True) from error
        del items, payloads
        self._batch, self._mailbox = batch, mailbox
        if self._is_killed:
            mailbox.put(KILL)
        try:
            self._follow(Going(batch, sink), mailbox, future)
        finally:
            self._mailbox = self._batch = None
            self._engine.forget(key)

    def _follow(self, going: Going, mailbox: SimpleQueue[Any], future: Future[Any]) -> None:
        while (item := mailbox.get()) is not ENDED:
            if isinstance(item, Word):
                future.cancel()
                going.drop(self._engine.backend.name, hard=item is KILL)
                return
            going.take(item)
        try:
            result = future.result()
        except BaseException as error:  # the engine's: CancelledError is no Exception everywhere
            self._mourn(going, error)
            return
        if result[0] != inside.RAN:
            raise WorkerFailed(_refused(self._engine.backend.name, *result), final=True)
        _, attempt, sent, records = result
        self._await_line(going, mailbox, attempt, sent)
        self.ran += going.end(records)

    def _await_line(self, going: Going, mailbox: SimpleQueue[Any], attempt: str, sent: int) -> None:
        # The engine may bring a result before what was sent before it.
        while going.received(attempt) < sent:
            try:
                item = mailbox.get(timeout=LINE_SECONDS)
            except Empty:
                return
            if isinstance(item, bytes):
                going.take(item)

    def _mourn(self, going: Going, error: BaseException) -> None:
        backend = self._engine.backend
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == "poolbar":
            raise WorkerFailed(
                f"the workers of {backend.name} have no poolbar: pip install poolbar there ({error})", final=True
            ) from error
        if isinstance(error, (BrokenExecutor, BackendError)) and not isinstance(error, WorkerCrashed):  # and it will break again
            going.lose(backend.name, error)
            raise WorkerFailed(f"{backend.name} has broken: {text_of(error)}", final=True) from error
        if backend.reruns and not isinstance(error, CancelledError) and going.is_several():
            going.sink.apart()
        else:
            going.lose(backend.name, error)

    def rest(self) -> None:
        """Do nothing: it keeps nothing."""

    def is_alive(self) -> bool:
        """Return True: a slot does not die."""
        return True

    def end(self, spent: bool) -> None:
        """Do nothing: the engine's workers are its own."""

    def kill(self, hard: bool) -> None:
        """Wait no longer for the batch that runs, if any: its tasks fail. The engine may run them to their end."""
        self._is_killed = True  # before the look: ``run`` looks here after it has a mailbox
        self._put(KILL)

    def end_task(self, batch: Batch, position: int) -> bool:
        """Refuse: what another engine runs cannot be stopped.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError(f"a task that {self._engine.backend.name} runs cannot be killed; it can in a worker process")

    def end_batch(self, batch: Batch) -> None:
        """Wait no longer for this batch, if it runs."""
        if self._batch is batch:
            self._put(DROP)

    def _put(self, word: Word) -> None:
        mailbox = self._mailbox
        if mailbox is not None:
            mailbox.put(word)

    def ask_back(self) -> None:
        """Do nothing: what is over its budget comes back by itself."""

    def megabytes(self) -> float | None:
        """Return None: it is not this machine's."""
        return None


def _refused(name: str, kind: int, text: str) -> str:
    return f"a worker of {name} does not fit: {text}" if kind == inside.MISMATCH else text
