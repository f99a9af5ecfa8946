"""dask as a backend: a ``distributed.Client`` of its own, to a scheduler that runs already.

A batch is one task of dask's, with a key of its own, so that equal ones are never taken for the same. The scheduler keeps it
until its result has come: when a worker is lost, dask runs the batch again elsewhere, as often as its setting
``distributed.scheduler.allowed-failures`` says.
"""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import TYPE_CHECKING, Any

from .._errors import BackendError, text_of
from . import Backend

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    import dask
    import distributed
except ImportError as error:
    raise BackendError(f"the backend 'dask' needs the package distributed: pip install distributed ({error})") from error


def connect(address: str | None) -> DaskBackend:
    """Return dask as a backend.

    Args:
        address: of the scheduler; None: that of the client which this program has already, else what dask's configuration says.

    Raises:
        BackendError: no address is known, or there is no scheduler at it.
    """
    options: dict[str, Any] = {}
    if address is None:
        try:
            there = distributed.Client.current()
        except ValueError:
            address = dask.config.get("scheduler-address", None)
        else:
            address, options = there.scheduler.address, {"security": there.security}
    if address is None:
        raise BackendError(
            "there is no dask scheduler to go to: give address= or POOLBAR_ADDRESS, set DASK_SCHEDULER_ADDRESS, or make a "
            "distributed.Client first"
        )
    try:
        client = distributed.Client(address, set_as_default=False, name="poolbar", **options)
    except (OSError, ValueError, TypeError) as error:  # the last two: it is no address
        raise BackendError(f"dask's scheduler at {address} cannot be reached: {text_of(error)}") from error
    return DaskBackend(client, address)


class DaskBackend(Backend):
    """A client of dask's.

    Its event loop has a thread of its own: there results are waited for and gathered, those that come together in one go.

    Args:
        client: that is this backend's own.
        address: of the scheduler.
    """

    reruns = True

    def __init__(self, client: Any, address: str) -> None:
        self.name = f"dask at {address}"
        self._client = client
        self._topic = f"poolbar-{uuid.uuid4().hex}"
        self._slots: int = sum(client.nthreads().values())
        self._changed: Callable[[], None] | None = None

    def submit(self, call: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Submit a call as a task of its own."""
        result: Future[Any] = Future()
        key = f"poolbar-{uuid.uuid4().hex}"
        try:
            task = self._client.submit(call, *args, key=key, pure=False)
            self._client.loop.add_callback(self._follow, task, result)
        except Exception as error:  # of the client's, once it is closed
            raise BackendError(f"{self.name} takes no more tasks: {text_of(error)}") from error
        result.add_done_callback(partial(self._release, task))
        return result

    async def _follow(self, task: Any, result: Future[Any]) -> None:
        try:
            value = await self._client.gather(task, asynchronous=True)
        except (CancelledError, asyncio.CancelledError) as error:
            if not result.done():
                result.set_exception(BackendError(f"{self.name} has gone: {error}"))
        except Exception as error:  # what the scheduler made of it: a KilledWorker
            if not result.done():
                result.set_exception(error)
        else:
            if not result.done():
                result.set_result(value)

    def _release(self, task: Any, result: Future[Any]) -> None:
        if result.cancelled() and self._client.status == "running":
            self._client.loop.add_callback(partial(task.cancel, force=True, asynchronous=True))
        task.release()

    def slots(self) -> int:
        """Return how many threads dask's workers have."""
        return self._slots

    def put(self, data: bytes) -> Any:
        """Scatter data to all workers: those that come later get it from these."""
        return self._client.scatter(data, broadcast=True, hash=False)

    def line(self, deliver: Callable[[str, bytes], None]) -> Callable[[str, bytes], None] | None:
        """Send events, which the scheduler passes on."""
        self._client.subscribe_topic(self._topic, lambda event: deliver(*event[1]))
        return partial(send, self._topic)

    def watch(self, changed: Callable[[], None]) -> None:
        """Listen to the scheduler, which tells of all workers that come and go."""
        self._changed = changed
        self._client.subscribe_topic("all", self._heard)

    async def _heard(self, event: tuple[float, Any]) -> None:
        if event[1].get("action") in ("add-worker", "remove-worker"):
            slots: int = sum((await self._client.scheduler.ncores()).values())
            if slots != self._slots and self._changed is not None:
                self._slots = slots
                self._changed()

    def close(self) -> None:
        """Close the client."""
        self._changed = None
        for topic in ("all", self._topic):  # or the scheduler tells of this client's end to this client, and complains
            self._client.unsubscribe_topic(topic)
        self._client.close()


def send(topic: str, batch: str, data: bytes) -> None:
    """Send what became of a batch while it runs: called where it runs."""
    distributed.get_worker().log_event(topic, (batch, data))
