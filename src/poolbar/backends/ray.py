"""Ray as a backend: the cluster that the program is connected to, the one at an address, or one that is started here.

A batch is one task of Ray's, on one CPU. Where its worker is lost, Ray runs it again elsewhere. Functions and large calls lie in
Ray's object store. Records of batches that run go through an actor, on the host of this program: it ends with this program.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import threading
import uuid
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from .._errors import BackendError, text_of
from . import Backend
from .packed import packed, settle

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    import ray
except ImportError as error:
    raise BackendError(f"the backend 'ray' needs the package ray: pip install ray ({error})") from error

CONNECT_SECONDS = 10.0
"""In which a cluster at an address answers; Ray itself would try for minutes."""

COUNT_SECONDS = 1.0
"""How often the cluster's CPUs are counted."""

MOST_RERUNS = 1
"""How often Ray runs a batch again whose worker was lost, before its tasks are tried one by one."""


class _Cluster:
    """Ray in this process: there is one connection at most, which all backends share.

    ``_lock`` is held while one is opened or closed; others wait for that.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0  # backends that are open, of a connection that the first of them has opened; else 0

    def open(self, address: str | None) -> None:
        """Connect, where this program is not connected. Raises BackendError."""
        with self._lock:
            if not ray.is_initialized():
                _connect(address)
                self._users = 1
                return
            there = ray.get_runtime_context().gcs_address
            if address not in {None, "auto", there}:
                raise BackendError(f"this program uses the Ray at {there} already; there can be no other at {address}")
            if self._users:
                self._users += 1

    def close(self) -> None:
        """Disconnect, if the program has not connected itself, and nobody else is left. What was started then ends."""
        with self._lock:
            if self._users:
                self._users -= 1
                if not self._users:
                    ray.shutdown()


_cluster = _Cluster()


def _connect(address: str | None) -> None:
    address = address or os.environ.get("RAY_ADDRESS")
    if address is not None and ":" in address:
        host, _, port = address.rpartition("://")[2].rpartition(":")
        try:
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        except (OSError, ValueError) as error:  # the latter: it is no port
            raise BackendError(f"Ray at {address} cannot be reached: {text_of(error)}") from error
    try:
        ray.init(address, logging_level="warning")
    except Exception as error:  # Ray has many for this
        raise BackendError(f"Ray cannot be reached, or started: {text_of(error)}") from error


def connect(address: str | None) -> RayBackend:
    """Return Ray as a backend.

    Args:
        address: of its head, as ``ray.init`` takes it; None: that which this program is connected to, else what RAY_ADDRESS says,
            else one is started here, which ends with the last backend.

    Raises:
        BackendError: it cannot be reached, or the program is connected to another.
    """
    _cluster.open(address)
    try:
        return RayBackend()
    except BaseException:
        _cluster.close()
        raise


class RayBackend(Backend):
    """The Ray that this program is connected to.

    Its two threads, one that reads the line and one that counts, end with it; nobody else waits for them. A cluster that is gone
    takes the program with it: that is Ray's own way. After a ``ray.shutdown`` of the program's, Ray ends no future that it has
    given: the thread that counts does so.
    """

    reruns = True

    def __init__(self) -> None:
        self.name = f"Ray at {ray.get_runtime_context().gcs_address}"
        self._slots = count()
        # A lambda goes by value: to a worker that has no poolbar, that is an error of the task's, which says so.
        self._task = ray.remote(num_cpus=1, max_retries=MOST_RERUNS)(
            lambda data, numbers, *there: __import__("pickle").loads(data)(dict(zip(numbers, there, strict=True)))
        )
        self._results: set[Future[Any]] = set()  # of calls that have not ended; each operation is a single one
        self._exchange: Any = None
        self._is_closed = threading.Event()
        self._threads: list[threading.Thread] = []

    def submit(self, call: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Have a call run as a task of its own."""
        if not ray.is_initialized():
            raise BackendError(f"{self.name} has gone: ray.shutdown was called")
        data, references = packed(call, args, ray.ObjectRef)
        task = self._task.remote(data, list(references), *references.values())
        result: Future[Any] = Future()
        self._results.add(result)
        result.add_done_callback(self._results.discard)
        result.add_done_callback(partial(_cancel, task))
        task.future().add_done_callback(partial(_end, result))
        return result

    def slots(self) -> int:
        """Return how many CPUs the cluster has."""
        return self._slots

    def put(self, data: bytes) -> Any:
        """Put data into the object store, from where workers get it."""
        return ray.put(data)

    def line(self, deliver: Callable[[str, bytes], None]) -> Callable[[str, bytes], None] | None:
        """Send records to an actor, from where a thread of this program takes them."""
        name = f"poolbar-{uuid.uuid4().hex}"
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._exchange = (
            ray.remote(num_cpus=0, max_concurrency=1000)(Exchange).options(name=name, scheduling_strategy=here).remote()
        )
        self._start(self._read, deliver)
        return partial(send, name)

    def _read(self, deliver: Callable[[str, bytes], None]) -> None:
        while not self._is_closed.is_set():
            try:
                records = ray.get(self._exchange.take.remote())
            except ray.exceptions.RayError:
                return  # it was killed, by ``close``; or it has no poolbar, and no worker has
            for record in records:
                deliver(*record)

    def watch(self, changed: Callable[[], None]) -> None:
        """Count the CPUs now and then."""
        self._start(self._count, changed)

    def _count(self, changed: Callable[[], None]) -> None:
        while not self._is_closed.wait(COUNT_SECONDS):
            if not ray.is_initialized():
                self._give_up()
                return
            slots = count()
            if slots != self._slots:
                self._slots = slots
                changed()

    def _give_up(self) -> None:
        for result in list(self._results):
            settle(result, None, BackendError(f"{self.name} has gone: ray.shutdown was called"))

    def _start(self, act: Callable[[Any], None], argument: Any) -> None:
        thread = threading.Thread(target=act, args=(argument,), name=f"poolbar-ray{act.__name__}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """End the actor, the threads, and what was started."""
        self._is_closed.set()
        if self._exchange is not None and ray.is_initialized():
            ray.kill(self._exchange)
        for thread in self._threads:
            thread.join()
        _cluster.close()


def count() -> int:
    """Return how many CPUs the cluster has."""
    return int(ray.cluster_resources().get("CPU", 0))


def _cancel(task: Any, result: Future[Any]) -> None:
    if result.cancelled() and ray.is_initialized():
        ray.cancel(task)


def _end(result: Future[Any], ended: Future[Any]) -> None:
    error = ended.exception()
    if isinstance(error, ray.exceptions.RayTaskError):
        error = error.cause
    settle(result, None if error is not None else ended.result(), error)


class Exchange:
    """An actor: takes records from batches, and gives them to who asks. Ray does not keep the order of such calls."""

    def __init__(self) -> None:
        self._records: list[tuple[str, bytes]] = []
        self._has_some = asyncio.Event()

    async def add(self, batch: str, data: bytes) -> None:
        """Take a record."""
        self._records.append((batch, data))
        self._has_some.set()

    async def take(self) -> list[tuple[str, bytes]]:
        """Return the records that there are, as soon as there are some."""
        await self._has_some.wait()
        self._has_some.clear()
        records, self._records = self._records, []
        return records


@functools.lru_cache(maxsize=16)
def exchange(name: str) -> Any:
    """Return an actor by its name."""
    return ray.get_actor(name)


def send(name: str, batch: str, data: bytes) -> None:
    """Send what became of a batch while it runs: called where it runs."""
    exchange(name).add.remote(batch, data)
