"""A worker that is the lane's own thread. It runs one task at a time; nothing is pickled."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .._errors import text_of
from ..inside.bars import Teller, here
from . import WorkerFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._batch import Batch
    from . import Sink


class ThreadWorker:
    """Calls functions."""

    def __init__(self, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
        self.pid: int | None = None
        self.ran = 0
        self.first_megabytes: float | None = None
        self._begun = 0
        self._initializer = initializer
        self._initargs = initargs

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
        call = batch.function.call
        left = len(batch.items)
        while left:
            left -= 1
            self._begun += 1
            arguments, keywords = batch.arguments(batch.done)
            try:
                value = call(*arguments, **keywords)  # type: ignore[misc]  # set wherever threads run
            except BaseException as error:  # it belongs to the task
                sink.failed(error, left == 0)
            else:
                sink.values([value], False, 0, left == 0)
                del value
            del arguments, keywords

    def _task(self) -> int:
        return self._begun

    def is_alive(self) -> bool:
        """Return True: a thread does not die of a task."""
        return True

    def end(self, spent: bool) -> None:
        """Do nothing: the lane's thread ends by itself."""

    def kill(self, hard: bool) -> None:
        """Do nothing: a thread cannot be stopped."""

    def end_task(self, batch: Batch, position: int) -> bool:
        """Return False: a thread cannot be stopped."""
        return False

    def end_batch(self, batch: Batch) -> None:
        """Do nothing: a thread cannot be stopped."""

    def ask_back(self) -> None:
        """Do nothing: a thread takes one task at a time."""

    def megabytes(self) -> float | None:
        """Return None: threads share their memory."""
        return None
