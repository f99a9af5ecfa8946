"""A worker that is an interpreter beside the main one, in this process. Needs Python 3.14.

    lane's thread ◀──pipes──▶ the worker's thread, in the interpreter: the server of a worker process

Pipes and threads inside, rather than calls by the lane: only so can outcomes leave and tasks come back in the middle of a long
task, and the way through pipes and back takes 6 us where a call takes 12. Nothing can stop a task.

The pipes are this side's, all six ends. The worker's thread lives as long as the interpreter: it enters it, comes back when the
server has ended, tells the control thread in there to end, closes the interpreter, which waits for all its threads, and only then
closes the far ends of the pipes: what is printed at the very end still arrives, and the lane's read ends.
"""

from __future__ import annotations

import pickle
import sys
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .._errors import text_of
from ..inside.channel import pipe, widen
from ..inside.names import PROTOCOL
from ..inside.setup import Flags, Initializer, Main, Setup
from . import WorkerFailed, starting
from .piped import PipedWorker
from .remote_errors import left

if TYPE_CHECKING:
    from .._batch import Batch
    from ..inside.relay import Levels
    from . import Sink

_ENTER = """
import sys
sys.path[:], sys.argv[:] = path, argv
from poolbar.inside.interpreter import serve
serve(*arguments)
"""


class InterpreterWorker(PipedWorker):
    """The parent's end of a worker interpreter.

    Args:
        initializer: runs before its first task.
        levels: of this process's loggers; None: nothing is relayed.
    """

    def __init__(self, initializer: Initializer | None, levels: Levels | None) -> None:
        super().__init__(main_by_value=True)
        self._initializer = initializer
        self._levels = levels
        self._thread: threading.Thread | None = None
        self._reason = "its server has ended"

    # --- start and end

    def start(self) -> None:
        """Make the interpreter, and wait until its initializer has run."""
        try:
            self._launch()
        except Exception as error:
            final = not isinstance(error, OSError)
            raise WorkerFailed(f"it cannot be started: {text_of(error)}", final=final) from error
        try:
            self._await_ready()
        except (EOFError, OSError):
            raise WorkerFailed(f"it ended before it could run a task: {self._bury()}") from None

    def _launch(self) -> None:
        with starting.starting:  # a fork now would leave these open in its child: there they are closed
            pairs = [pipe() for _ in range(3)]
            starting.parent_ends.update(end for pair in pairs for end in pair)
        (tasks, tasks_in), (outcomes_out, outcomes), (control, control_in) = pairs
        widen(tasks)
        widen(outcomes)
        theirs = (tasks, outcomes, control)
        paths = self._connect(tasks_in, outcomes_out, control_in)
        setup = Setup(paths, self._initializer, {}, Flags({}, {}), Main(by_value=True, empty=True), self._levels)
        try:
            interpreter = import_module("concurrent.interpreters").create()
            interpreter.prepare_main(
                path=tuple(str(place) for place in sys.path),
                argv=tuple(sys.argv),
                arguments=(f"Interpreter-{interpreter.id}", *(end.fileno() for end in theirs), pickle.dumps(setup, PROTOCOL)),
            )
            thread = threading.Thread(target=self._live, args=(interpreter, theirs), name="poolbar-interpreter")
            thread.start()
        except BaseException:
            for end in theirs:
                end.close()
            self._discard()
            raise
        self._thread = thread

    def _live(self, interpreter: Any, theirs: tuple[Any, ...]) -> None:
        # The worker's thread. Of another interpreter's exceptions there is but the text.
        try:
            interpreter.exec(_ENTER)
        except Exception as error:
            self._reason = text_of(error)
        finally:
            try:
                with self._look:
                    self._control.send(b"")
                interpreter.close()
            finally:
                for end in theirs:
                    end.close()

    def end(self, spent: bool) -> None:
        """End the interpreter and wait for that, and for the threads that tasks have left in it."""
        if self._thread is not None:
            try:
                self._tasks.send(b"")
            except OSError:
                pass  # its server has ended already
            self._bury()

    def _bury(self) -> str:
        self._usable = False
        thread, self._thread = self._thread, None
        if thread is not None:
            self._hear_last_words(None)
            thread.join()
            with self._look:
                self._discard()
        return self._reason

    def _mourn(self, batch: Batch, sink: Sink) -> None:
        is_started = self._settle_done(batch, sink)
        reason = self._bury()
        if batch.done < len(batch.items):
            sink.lost(lambda tries: left(batch.next_call(), reason, tries), is_started)

    # --- from any thread

    def kill(self, hard: bool) -> None:
        """Have it start no more tasks of its batch: what runs cannot be stopped."""
        if self._usable:
            self.ask_back()

    def end_task(self, batch: Batch, position: int) -> bool:
        """Return False: the task does not run.

        Raises:
            RuntimeError: it does, and cannot be stopped.
        """
        with self._look:
            if self._batch is batch and self.running() == position:
                raise RuntimeError("a task that runs in an interpreter cannot be killed; it can in a worker process")
        return False

    def end_batch(self, batch: Batch) -> None:
        """Have it start no more of this batch, if it runs it right now."""
        if self._batch is batch:
            self.ask_back()

    def megabytes(self) -> float | None:
        """Return None: interpreters share the memory of their process."""
        return None
