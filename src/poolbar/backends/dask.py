"""dask as a backend: a ``distributed.Client`` of its own, to a scheduler that runs already.

A batch is one task of dask's, with a key of its own, so that equal ones are never taken for the same. The scheduler keeps it
until its result has come: when a worker is lost, dask runs the batch again elsewhere, as often as its setting
``distributed.scheduler.allowed-failures`` says. Functions are scattered to all workers; where every worker that had one is gone,
it is scattered again.
"""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import TYPE_CHECKING, Any

from .._errors import BackendError, text_of
from . import Backend
from .packed import packed, settle

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    import dask
    import distributed
    from tornado.ioloop import PeriodicCallback
except ImportError as error:
    raise BackendError(f"the backend 'dask' needs the package distributed: pip install distributed ({error})") from error

PACKED = "packed"
CALL = f"__import__('pickle').loads(there[{PACKED!r}])(there)"
"""What a task of dask's is: a worker without poolbar would end over a task that it cannot read."""

COUNT_SECONDS = 1.0
"""How often the workers' threads are counted."""

MOST_SCATTERS, PAUSE_SECONDS = 20, 0.25
"""How often data is sent, with a pause after each, until no worker dies meanwhile: the scheduler first has to notice."""

MOST_GRAPH_BYTES = 1 << 22
"""A larger call goes to a worker as data: the scheduler would keep it, and the client would warn of that."""

MOST_LINE_BYTES = 1 << 15
"""What is larger comes with its batch's result: of the events of a client, a scheduler keeps the last 1000."""


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
        client = Client(address, set_as_default=False, name="poolbar", **options)
    except (OSError, ValueError, TypeError) as error:  # the last two: it is no address
        raise BackendError(f"dask's scheduler at {address} cannot be reached: {text_of(error)}") from error
    return DaskBackend(client, address)


class Client(distributed.Client):  # type: ignore[misc]  # it is Any, see pyproject.toml
    """One whose thread ends too where no connection comes to be."""

    def start(self, **options: Any) -> None:
        """Connect."""
        try:
            super().start(**options)
        except BaseException:
            self._loop_runner.stop()  # ``close`` does so only for one that was connected
            raise


class DaskBackend(Backend):
    """A client of dask's.

    Its event loop has a thread of its own: there calls are made, and results waited for; those that come together are gathered
    in one go. Nobody waits for that thread; when the scheduler is gone, it lets all calls end.

    Args:
        client: that is this backend's own.
        address: of the scheduler.
    """

    reruns = True

    def __init__(self, client: Any, address: str) -> None:
        self.name = f"dask at {address}"
        self._client = client
        self._slots: int = sum(client.nthreads().values())
        self._counting: Any = None
        self._topic: str | None = None  # of the line

    def submit(self, call: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Have a call run as a task of its own."""
        if self._client.status not in {"running", "connecting"}:
            raise BackendError(f"{self.name} has gone")
        data, references = packed(call, args, Scattered)
        kept: dict[Any, Any] = dict(references)
        kept[PACKED] = Scattered(self._client, data, everywhere=False) if len(data) > MOST_GRAPH_BYTES else data
        result: Future[Any] = Future()
        self._client.loop.add_callback(self._run, kept, result)
        return result

    async def _run(self, kept: dict[Any, Any], result: Future[Any]) -> None:
        value: Any = None
        error: BaseException | None = None
        try:
            while not result.done():
                there = {name: await data.there() if isinstance(data, Scattered) else data for name, data in kept.items()}
                task = self._client.submit(eval, CALL, {"there": there}, key=f"poolbar-{uuid.uuid4().hex}", pure=False)
                result.add_done_callback(partial(self._release, task))
                try:
                    value = await self._client.gather(task, asynchronous=True)
                    break
                except (CancelledError, asyncio.CancelledError):
                    # What this call was given counts: another one may have begun to send it again.
                    if self._client.status != "running" or not any(map(is_lost, there.values())):
                        raise
        except (CancelledError, asyncio.CancelledError) as reason:
            error = BackendError(f"{self.name} has gone: {text_of(reason)}")
        except Exception as reason:  # what the scheduler made of it: a KilledWorker
            error = reason
        settle(result, value, error)

    def _release(self, task: Any, result: Future[Any]) -> None:
        if result.cancelled() and self._client.status == "running":
            self._client.loop.add_callback(partial(task.cancel, force=True, asynchronous=True))
        task.release()

    def slots(self) -> int:
        """Return how many threads dask's workers have."""
        return self._slots

    def put(self, data: bytes) -> Any:
        """Have data scattered to all workers, with the first call that needs it: those that come later get it from these."""
        return Scattered(self._client, data)

    def line(self, deliver: Callable[[str, bytes], None]) -> Callable[[str, bytes], None] | None:
        """Send events, which the scheduler passes on. Their topic is this client's, so that they are forgotten with it."""

        def heard(event: tuple[float, Any]) -> None:
            if not isinstance(event[1], dict):  # those are the scheduler's own
                deliver(*event[1])

        self._topic = self._client.id
        self._client.subscribe_topic(self._topic, heard)
        return partial(send, self._topic)

    def watch(self, changed: Callable[[], None]) -> None:
        """Count the threads now and then."""

        async def count() -> None:
            try:
                slots: int = sum((await self._client.scheduler.ncores()).values())
            except OSError:
                return  # the scheduler is gone, or the client: no call is waited for in vain
            if slots != self._slots:
                self._slots = slots
                changed()

        self._counting = PeriodicCallback(count, COUNT_SECONDS * 1000)
        self._client.loop.add_callback(self._counting.start)

    def close(self) -> None:
        """Close the client."""
        client = self._client
        if self._counting is not None:
            client.loop.add_callback(self._counting.stop)
        if self._topic is not None and client.status == "running":
            client.unsubscribe_topic(self._topic)  # or the scheduler tells this client of its own end, and complains
        client.close()


class Scattered:
    """Data that calls need. Owned by the event loop of its client: its methods are called there.

    Args:
        client: that sends it.
        data: what is sent.
        everywhere: to all workers, not to one.
    """

    def __init__(self, client: Any, data: bytes, *, everywhere: bool = True) -> None:
        self._client = client
        self._data = data
        self._everywhere = everywhere
        self._sending: asyncio.Future[Any] | None = None

    async def there(self) -> Any:
        """Return dask's future for it. While there are no workers, that waits."""
        if self._sending is None or self.is_lost():
            self._sending = asyncio.ensure_future(self._send())
        return await asyncio.shield(self._sending)

    async def _send(self) -> Any:
        tries = MOST_SCATTERS
        while True:
            try:
                return await self._client.scatter(self._data, broadcast=self._everywhere, hash=False, asynchronous=True)
            except asyncio.TimeoutError:  # there is no worker yet
                if self._client.status != "running":
                    raise
            except OSError:  # a worker died before it had it
                tries -= 1
                if self._client.status != "running" or not tries:
                    raise
                await asyncio.sleep(PAUSE_SECONDS)

    def is_lost(self) -> bool:
        """Tell whether it was sent, and no worker has it any more."""
        sending = self._sending
        if sending is None or not sending.done():
            return False
        return sending.cancelled() or sending.exception() is not None or is_lost(sending.result())


def is_lost(data: Any) -> bool:
    """Tell whether this is dask's future for data that no worker has any more."""
    return isinstance(data, distributed.Future) and data.status in {"cancelled", "lost"}


def send(topic: str, batch: str, data: bytes) -> None:
    """Send what became of a batch while it runs: called where it runs. Raises ValueError for what is too large."""
    if len(data) > MOST_LINE_BYTES:
        raise ValueError
    distributed.get_worker().log_event(topic, (batch, data))
