"""Batches as messages to a worker process, and what is known of what that worker has."""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections import OrderedDict
from itertools import chain
from typing import TYPE_CHECKING, Any

from .. import _messages as messages
from ..inside.names import PROTOCOL
from ..inside.pickling import LARGE_BYTES, bytes_of_atoms, seal
from .blocks import Block

if TYPE_CHECKING:
    from .._batch import Batch
    from ..inside.memory import Arena
    from ..inside.pickling import Sealed
    from ..inside.relay import Levels
    from . import Sink
    from .blocks import Blocks

MOST_FUNCTIONS = 64
"""Functions that a worker keeps."""

MOST_BATCH_BYTES = 4 << 20
"""Pickled arguments sent in one message; a single task's may be larger."""


class Sending(ABC):
    """Writes what a message says of the tasks of a batch.

    Args:
        main_by_value: what the parent's ``__main__`` defines comes by value.

    Attributes:
        large: bytes that large arguments of the last batch have.
    """

    def __init__(self, main_by_value: bool) -> None:
        self._main_by_value = main_by_value
        self.large = 0

    def payloads(self, batch: Batch, sink: Sink) -> tuple[int, list[Any]] | None:
        """Return the form of a batch's arguments, and of each task what the message says.

        A task whose arguments do not pickle fails here, and its batch ends before it; None: it was the first.
        """
        self.large = 0
        function = batch.function
        payloads = batch.source.payloads(batch)
        if batch.form == messages.SEALED:
            return messages.SEALED, self._already_sealed(payloads, sink)
        if function.takes_atoms:
            size = bytes_of_atoms(list(chain.from_iterable(payloads)) if batch.form == messages.STARRED else payloads)
            if size is not None and size <= MOST_BATCH_BYTES:
                function.pace.note_bytes(len(payloads), size)
                return batch.form, payloads
            function.takes_atoms = False  # or large ones: their sizes are looked at one by one
        sealed = self._seal_items(batch, sink)
        return (messages.SEALED, sealed) if sealed else None

    def _already_sealed(self, payloads: list[Sealed], sink: Sink) -> list[Any]:
        stored: list[Any] = []
        for payload in payloads:
            if stored and self.large > MOST_BATCH_BYTES:
                sink.given_back(len(payloads) - len(stored))
                break
            stored.append(payload if isinstance(payload, bytes) else self.stored(payload))
        return stored

    def _seal_items(self, batch: Batch, sink: Sink) -> list[Any]:
        stored: list[Any] = []
        size = 0
        for position in range(len(batch.items)):
            try:
                sealed = seal(batch.arguments(position), self._main_by_value)
            except BaseException as error:  # code of the user's runs while pickling
                if position == 0:
                    from .remote_errors import not_picklable

                    sink.failed(not_picklable(batch.function.name, error), last=True)
                    return []
                break  # it comes back as the first of another batch
            if isinstance(sealed, bytes):
                size += len(sealed)
                stored.append(sealed)
            else:
                stored.append(self.stored(_with_blocks(sealed, batch.source.blocks)))
            if size + self.large > MOST_BATCH_BYTES:
                break
        if len(stored) < len(batch.items):
            sink.given_back(len(batch.items) - len(stored))
        batch.function.pace.note_bytes(len(stored), size + self.large)
        return stored

    def stored(self, sealed: Sealed | None) -> Any:
        """Return what the message says of something sealed: where its parts lie, or what they are."""
        if sealed is None or isinstance(sealed, bytes):
            return sealed
        return tuple([self._part(part) for part in sealed])

    @abstractmethod
    def _part(self, part: Any) -> Any:
        """Return what the message says of a pickle or a buffer, and count it."""


class Outgoing(Sending):
    """Writes messages for one worker.

    Args:
        main_by_value: what the parent's ``__main__`` defines comes by value.
        arena: where large data is put for this worker.

    Attributes:
        number: of the last batch.
    """

    def __init__(self, main_by_value: bool, arena: Arena) -> None:
        super().__init__(main_by_value)
        self._arena = arena
        self._lent: list[Block] = []  # that the last batch refers to: by path, which the worker opens as it comes to a task
        self._sent: OrderedDict[int, None] = OrderedDict()  # functions that the worker has, the oldest first
        self._forgotten: tuple[int, ...] = ()  # of these, the worker has yet to hear
        self.number = 0

    def reset(self, levels: Levels | None) -> bytes:
        """Return the message that makes the worker as good as new."""
        self._sent.clear()
        return pickle.dumps((messages.RESET, levels), PROTOCOL)

    def message(self, batch: Batch, sink: Sink) -> bytes | None:
        """Return the message for a batch; None: all that it had failed here, or came back."""
        self.number += 1
        self._arena.rewind()
        payloads = self.payloads(batch, sink)
        if payloads is None:
            return None
        function = batch.function
        stored = None
        if function.id in self._sent:
            self._sent.move_to_end(function.id)
        else:
            stored = self.stored(function.sealed)
            self._sent[function.id] = None
            if len(self._sent) > MOST_FUNCTIONS:
                self._forgotten += (self._sent.popitem(last=False)[0],)
        forgotten, self._forgotten = self._forgotten, ()
        head = messages.RUN, self.number, function.id, stored, function.fresh
        return pickle.dumps((*head, *payloads, forgotten), PROTOCOL)

    def batch_ended(self) -> None:
        """Let go of what only the last batch has kept: the worker has read all of it."""
        self._lent.clear()

    def _part(self, part: Any) -> Any:
        if len(part) < LARGE_BYTES and type(part) is not Block:
            return part
        content = part.content if type(part) is Block else part
        try:
            if type(part) is Block and part.is_repeated:
                path = part.path()
                self._lent.append(part)
                return path, len(part)
            self.large += len(part)
            return self._arena.put(content)
        except (OSError, MemoryError):  # no room for it, or for another descriptor: the pipe takes it
            return bytes(content)


class Inline(Sending):
    """Writes messages that have all in themselves: for workers that share no memory with this process."""

    def _part(self, part: Any) -> Any:
        content = part.content if type(part) is Block else part
        self.large += len(content)
        return content if type(content) is bytes else bytes(content)


def _with_blocks(sealed: tuple[Any, ...], blocks: Blocks) -> tuple[Any, ...]:
    return (sealed[0], *[blocks.repeated(buffer) or buffer for buffer in sealed[1:]])
