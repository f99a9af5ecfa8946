"""What comes of a batch that runs in an engine which is not ours, as it reaches its lane."""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from .. import _messages as messages
from ..inside.attempt import Record
from ..inside.pickling import loads

if TYPE_CHECKING:
    from .._batch import Batch
    from . import Sink


class Going:
    """A batch that runs: delivers what comes of it.

    An engine that lost a worker makes the call again, so records may tell once more what is known: that is left out.
    """

    def __init__(self, batch: Batch, sink: Sink) -> None:
        self.sink = sink
        self._batch = batch
        self._received: dict[str, int] = {}  # records of each attempt
        self._early: dict[str, dict[int, Any]] = {}  # those of each attempt before which others are still to come
        self._ran = 0

    def received(self, attempt: str) -> int:
        """Return how many records of an attempt came by the line, without a gap."""
        return self._received.get(attempt, 0)

    def is_several(self) -> bool:
        """Tell whether the outcome of more than one task is not known."""
        return len(self._batch.items) - self._batch.done > 1

    def take(self, data: bytes) -> None:
        """Take a record that came by the line, which need not keep their order."""
        attempt, number, record = loads(data)
        early = self._early.setdefault(attempt, {})
        early[number] = record
        while (due := self.received(attempt)) in early:
            self._deliver(Record._make(early.pop(due)), is_end=False)
            self._received[attempt] = due + 1

    def end(self, records: list[tuple[Any, ...]]) -> int:
        """Take those that came with the result; return how many tasks were run."""
        if not records:
            self.sink.values([], False, 0, True)
        for number, record in enumerate(records, 1):
            self._deliver(Record._make(record), is_end=number == len(records))
        return self._ran

    def _deliver(self, record: Record, *, is_end: bool) -> None:
        start, message = record
        batch, sink = self._batch, self.sink
        if isinstance(message, bytes):
            message = loads(message)
        kind = message[0]
        if kind == messages.EVENTS:
            sink.happened(message[1])
        elif kind == messages.GIVEN_BACK:
            sink.overdue(1.0)
            if start < len(batch.items):
                sink.given_back(len(batch.items) - start)
        elif kind == messages.FAILED:
            if start == batch.done < len(batch.items):
                from .remote_errors import rebuilt

                failed = messages.Failed._make(message)
                self._ran += 1
                sink.took(1, failed.seconds)
                sink.failed(rebuilt(failed, batch.function.name), is_end)
        else:
            _, _, values, seconds, _ = message
            news = values[batch.done - start : len(batch.items) - start] if start <= batch.done else []
            if news:
                self._ran += len(news)
                sink.took(len(values), seconds)
                sink.values(news, kind == messages.PICKLED, 0, is_end)

    def lose(self, name: str, error: BaseException) -> None:
        """Let all fail whose outcome is not known: which of them was running when the engine lost the call, nobody can tell."""
        from .remote_errors import lost

        batch = self._batch
        while batch.done < len(batch.items):
            self.sink.lost(lambda tries: lost(batch.next_call(), name, error, tries), True)

    def drop(self, name: str, *, hard: bool) -> None:
        """Let all be cancelled, or fail, whose outcome is not known."""
        if hard:
            self.lose(name, CancelledError("the executor does not wait for it any more"))
            return
        while self._batch.done < len(self._batch.items):
            self.sink.killed()
