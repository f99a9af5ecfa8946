"""A worker that is the lane's own thread. It runs one task at a time; nothing is pickled."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from .._errors import text_of
from ..inside.bars import Teller, here
from ..inside.meter import thread_meter
from . import WorkerFailed
from .numeric import pools
from .remote_errors import did_not_unpickle_here
from .shared import in_place

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._batch import Batch
    from ..inside.meter import Meter
    from . import Sink


class ThreadWorker:
    """Calls functions.

    Args:
        initializer: called before the first task.
        initargs: its arguments.
        workers: how many such workers share the CPUs.
    """

    def __init__(self, initializer: Callable[..., object] | None, initargs: tuple[Any, ...], workers: int) -> None:
        self.pid: int | None = None
        self.ran = 0
        self.first_megabytes: float | None = None
        self._begun = 0
        self._was_long = True  # the last task: the next one is measured
        self._meter: Meter | None = None  # made by the thread that it measures
        self._initializer = initializer
        self._initargs = initargs
        self._workers = workers
        self._modules = 0  # that were loaded when numeric libraries were last looked for

    def start(self) -> None:
        """Run the initializer."""
        if self._initializer is not None:
            try:
                self._initializer(*self._initargs)
            except BaseException as error:
                # The standard library's words and logger: people look for this line.
                logging.getLogger("concurrent.futures").critical("Exception in initializer:", exc_info=True)
                raise WorkerFailed(f"its initializer raised {text_of(error)}", final=True) from error

    def run(self, batch: Batch, sink: Sink) -> None:
        """Run the tasks, one after the other."""
        here.teller = Teller(sink.bar, self._task)  # in each thread its own
        if self._meter is None:
            self._meter = thread_meter()
        if len(sys.modules) != self._modules:
            self._modules = len(sys.modules)
            pools.share(self, self._workers)
        left = len(batch.items)
        while left:
            left -= 1
            self._begun += 1
            self._run_next(batch, sink, self._meter, last=left == 0)

    def _run_next(self, batch: Batch, sink: Sink, meter: Meter, *, last: bool) -> None:
        call = batch.function.call
        assert call is not None  # wherever threads run
        try:
            arguments, keywords = in_place(*batch.arguments(batch.done))
        except BaseException as error:  # it waited as a pickle; code of the user's runs while that is undone
            sink.failed(did_not_unpickle_here(batch.function.name, error), last)
            return
        meter.begin(self._was_long)
        try:
            value = call(*arguments, **keywords)
        except BaseException as error:  # it belongs to the task
            self._measured(meter, sink)
            sink.failed(error, last)
        else:
            self._measured(meter, sink)
            sink.values([value], False, 0, last)

    def _measured(self, meter: Meter, sink: Sink) -> None:
        self._was_long = meter.is_long()
        cost = meter.cost(1)
        if cost is not None:
            sink.cost(cost, 0, 0)

    def _task(self) -> int:
        return self._begun

    def rest(self) -> None:
        """Do nothing: it keeps nothing."""

    def is_alive(self) -> bool:
        """Return True: a thread does not die of a task."""
        return True

    def end(self, spent: bool) -> None:
        """Give back what was its own, and its share of the CPUs; the lane's thread ends by itself."""
        pools.leave(self)
        if self._meter is not None:
            self._meter.close()

    def kill(self, hard: bool) -> None:
        """Do nothing: a thread cannot be stopped."""

    def end_task(self, batch: Batch, position: int) -> bool:
        """Refuse: a thread has one task at a time, and cannot be stopped.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("a task that runs in a thread cannot be killed; it can in a worker process")

    def end_batch(self, batch: Batch) -> None:
        """Do nothing: a thread cannot be stopped."""

    def ask_back(self) -> None:
        """Do nothing: a thread takes one task at a time."""

    def megabytes(self) -> float | None:
        """Return None: threads share their memory."""
        return None
