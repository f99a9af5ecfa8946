"""Batches as messages to a worker process, and what is known of what that worker has."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from itertools import chain
from typing import TYPE_CHECKING

from .. import _messages as messages
from ..inside.names import PROTOCOL
from ..inside.pickling import bytes_of_atoms, dumps

if TYPE_CHECKING:
    from .._batch import Batch
    from ..inside.relay import Levels
    from . import Sink

MOST_FUNCTIONS = 64
"""Functions that a worker keeps."""

MOST_BATCH_BYTES = 4 << 20
"""Pickled arguments sent in one message; a single task's may be larger."""


class Outgoing:
    """Writes messages for one worker.

    Attributes:
        number: of the last batch.
    """

    def __init__(self, main_by_value: bool) -> None:
        self._main_by_value = main_by_value
        self._sent: OrderedDict[int, None] = OrderedDict()  # functions that the worker has, the oldest first
        self._forgotten: tuple[int, ...] = ()  # of these, the worker has yet to hear
        self.number = 0

    def reset(self, levels: Levels | None) -> bytes:
        """Return the message that makes the worker as good as new."""
        self._sent.clear()
        return pickle.dumps((messages.RESET, levels), PROTOCOL)

    def message(self, batch: Batch, sink: Sink) -> bytes | None:
        """Return the message for a batch. A task whose arguments do not pickle fails here, and its batch ends before it."""
        self.number += 1
        function = batch.function
        is_new = function.id not in self._sent
        if is_new:
            self._sent[function.id] = None
            if len(self._sent) > MOST_FUNCTIONS:
                self._forgotten += (self._sent.popitem(last=False)[0],)
        else:
            self._sent.move_to_end(function.id)
        head = (messages.RUN, self.number, function.id, function.sealed if is_new else None, function.fresh)
        payloads = batch.source.payloads(batch)
        if batch.form == messages.SEALED:
            return pickle.dumps((*head, messages.SEALED, payloads, self._forget()), PROTOCOL)
        if function.takes_atoms:
            size = bytes_of_atoms(list(chain.from_iterable(payloads)) if batch.form == messages.STARRED else payloads)
            if size is not None and size <= MOST_BATCH_BYTES:
                data = pickle.dumps((*head, batch.form, payloads, self._forget()), PROTOCOL)
                function.pace.note_bytes(len(batch.items), len(data))
                return data
            function.takes_atoms = False  # or large ones: their sizes are looked at one by one
        sealed = self._seal_items(batch, sink)
        if not sealed:
            if is_new:
                del self._sent[function.id]
            return None
        return pickle.dumps((*head, messages.SEALED, sealed, self._forget()), PROTOCOL)

    def _forget(self) -> tuple[int, ...]:
        forgotten, self._forgotten = self._forgotten, ()
        return forgotten

    def _seal_items(self, batch: Batch, sink: Sink) -> list[bytes]:
        sealed: list[bytes] = []
        size = 0
        for position in range(len(batch.items)):
            try:
                data = dumps(batch.arguments(position), self._main_by_value)
            except BaseException as error:  # code of the user's runs while pickling
                if position == 0:
                    from .remote_errors import not_picklable

                    sink.failed(not_picklable(batch.function.name, error), last=True)
                    return []
                break  # it comes back as the first of another batch
            if sealed and size + len(data) > MOST_BATCH_BYTES:
                break
            size += len(data)
            sealed.append(data)
        if len(sealed) < len(batch.items):
            sink.given_back(len(batch.items) - len(sealed))
        batch.function.pace.note_bytes(len(sealed), size)
        return sealed
