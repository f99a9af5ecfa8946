"""What runs tasks. A lane knows its worker by this protocol alone; a kind of worker is one module here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._batch import Batch
    from .._messages import Bar, Cost


class Sink(Protocol):
    """Takes what comes of a batch: the lane, for its worker. Called by the lane's thread, in the tasks' order."""

    def values(self, values: list[Any], pickled: bool, size: int, last: bool) -> None:
        """Take the values of the next tasks. ``last``: the worker is through with the batch."""

    def failed(self, error: BaseException, last: bool) -> None:
        """Take the error of the next task."""

    def lost(self, error: Callable[[int], BaseException], started: bool) -> None:
        """Hear that the worker is gone, and with it the next task, which had ``started``, or, if not, was about to be read.

        ``error`` makes the task's error, given how often it was tried.
        """

    def apart(self) -> None:
        """Have all tasks whose outcome has not come tried again, each alone: one of them ends the workers that run it."""

    def killed(self) -> None:
        """Hear that the next task was ended on request."""

    def happened(self, events: list[tuple[Any, ...]]) -> None:
        """Hear what has happened in the worker beside outcomes: records of ``_messages``, as tuples."""

    def bar(self, bar: Bar) -> None:
        """Hear of a bar inside the task, from the thread that runs it."""

    def given_back(self, count: int) -> None:
        """Take back the last ``count`` tasks of the batch: the worker will not start them."""

    def took(self, tasks: int, seconds: float) -> None:
        """Learn how long the tasks took, in the worker."""

    def cost(self, cost: Cost, bytes_in: int, bytes_out: int) -> None:
        """Learn what the batch has cost, all in all, and how large its arguments and values were on their way, in bytes."""

    def overdue(self, seconds: float) -> None:
        """Learn that a task takes at least so long, far longer than those before it."""

    def is_awaited(self) -> bool:
        """Tell whether another worker has nothing to do while this batch goes on."""


class Worker(Protocol):
    """Runs batches, one at a time. All methods but ``kill`` are called by the lane's thread."""

    pid: int | None
    ran: int  # tasks that were run here
    first_megabytes: float | None  # that it occupied after its first task, where somebody asked

    def start(self) -> None:
        """Start, and return when tasks can be run.

        Raises:
            WorkerFailed: it did not start, or its initializer raised.
        """

    def run(self, batch: Batch, sink: Sink) -> None:
        """Run a batch. Every task ends in the sink, or is left in the batch because it was not started.

        Raises:
            WorkerFailed: it cannot run any, and no other worker can.
        """

    def rest(self) -> None:
        """Give back what is kept for the next batch: none has come for a while."""

    def is_alive(self) -> bool:
        """Tell whether it can run another batch."""

    def end(self, spent: bool) -> None:
        """End it, and wait for that; or keep it for the next executor, unless it is ``spent``."""

    def kill(self, hard: bool) -> None:
        """End it at once, from any thread, whatever it does: by SIGKILL where ``hard``, else SIGTERM."""

    def end_task(self, batch: Batch, position: int) -> bool:
        """End the worker if it runs this task right now, from any thread. False: it does not.

        Raises:
            RuntimeError: it does, and cannot be stopped.
        """

    def end_batch(self, batch: Batch) -> None:
        """End the worker if it runs this batch right now, from any thread."""

    def ask_back(self) -> None:
        """Have what it has not started handed back, from any thread."""

    def megabytes(self) -> float | None:
        """Return the memory that it occupies; None where that cannot be known."""


class WorkerFailed(Exception):
    """A worker did not start.

    Attributes:
        final: another try would end the same way.
        killed: a signal from outside ended it before anything of the user's ran.
    """

    def __init__(self, reason: str, *, final: bool = False, killed: bool = False) -> None:
        super().__init__(reason)
        self.final = final
        self.killed = killed
