"""Reads the results of a run in a task of an asyncio event loop, whose thread is never blocked: no other thread waits for them.

    task of the loop: poll ──▶ chunk, or ``await`` the bell ◀── call_soon_threadsafe ◀── lanes
    pump, one more task, for asynchronous iterables: ``anext`` ──▶ Fed ──▶ lanes, while the window has room

Inputs are pulled by the loop's tasks alone. Who shuts the executor down meanwhile breaks them off.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from typing import TYPE_CHECKING, Any

from ._inputs import Queued, inputs_of, taken_now
from ._map import Nothing, Run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator

    from ._inputs import Inputs

    Begin = Callable[[Inputs, Callable[..., Any]], Any]  # begins a run of given inputs, made by what is given


class LoopBell:
    """Calls a task of an event loop. Rung by lanes, which never wait for the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Have the task look again. From any thread."""
        try:
            self._loop.call_soon_threadsafe(self._rung.set)
        except RuntimeError:
            pass  # the loop is closed, and nobody reads any more

    def listen(self) -> None:
        """Forget the rings so far: the task looks now."""
        self._rung.clear()

    async def wait(self, deadline: float | None) -> None:
        """Wait for a ring after ``listen``.

        Raises:
            TimeoutError: of concurrent.futures: the deadline is over.
        """
        if deadline is None:
            await self._rung.wait()
            return
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise FutureTimeoutError
        timer = self._loop.call_later(seconds, self._rung.set)
        try:
            await self._rung.wait()
        finally:
            timer.cancel()


class LoopRun(Run):
    """A run whose inputs the event loop's thread pulls, and no other."""

    def pull_the_rest(self) -> None:
        """Break the inputs off: the executor shuts down. What was pulled is run. From any thread."""
        with self._one_pulls:
            if not self._inputs.exhausted:
                self._inputs.error = RuntimeError("the executor was shut down before all of the input of amap was read")
                self._inputs.exhausted = True
        self.tally.set_total(self._inputs.pulled)
        self._unbounded = True
        self.offer()
        self._bell.ring()


class FedRun(LoopRun):
    """A run whose inputs a task of the loop, the pump, awaits one by one."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._may_have_room = asyncio.Event()

    def top_up(self) -> None:
        """Let the pump look whether the window has room."""
        self._may_have_room.set()

    async def pump(self, source: AsyncIterator[Any], fed: Fed) -> None:
        """Await items while the window has room, until there are no more."""
        try:
            async for item in source:
                fed.feed(item)
                self.offer()
                while self.room() <= 0 and not fed.exhausted:
                    self._may_have_room.clear()
                    await self._may_have_room.wait()
                if fed.exhausted:
                    return  # broken off
        except BaseException as error:
            fed.error = error
            if not isinstance(error, Exception):
                raise
        finally:
            fed.exhausted = True
            self.tally.set_total(fed.pulled)
            self.offer()
            self._bell.ring()


class Fed(Queued):
    """Inputs that a pump feeds."""

    def feed(self, item: Any) -> None:
        """Add an item."""
        self._waiting.append(item)
        self.pulled += 1

    def length(self) -> None:
        """Nobody knows how many there will be."""

    def pull(self, count: int) -> None:
        """Do nothing: what is there was fed."""

    def drop(self) -> None:
        """Have no more fed. What waits stays: a lane may be taking it."""
        self.exhausted = True


def results(begin: Begin, iterables: tuple[Any, ...], deadline: float | None) -> AsyncGenerator[Any, None]:
    """Return the asynchronous iterator over the results of a run, which begins when the first is asked for.

    Raises:
        TypeError: one of the iterables is not iterable.
    """
    if any(map(_is_asynchronous, iterables)):
        sources = [iterable if _is_asynchronous(iterable) else _spread(_taken(iterable)) for iterable in iterables]
        source = _in_step(sources) if len(sources) > 1 else aiter(sources[0])
        return _results(begin, Fed(starred=len(sources) > 1), source, deadline)
    return _results(begin, inputs_of(iterables), None, deadline)


async def _results(
    begin: Begin, inputs: Any, source: AsyncIterator[Any] | None, deadline: float | None
) -> AsyncGenerator[Any, None]:
    loop = running_loop("amap")
    bell = LoopBell(loop)
    run = begin(inputs, partial(LoopRun if source is None else FedRun, bell=bell))
    pump = None if source is None else loop.create_task(run.pump(source, inputs))
    del source
    try:
        while True:
            bell.listen()
            run.top_up()
            found = run.poll()
            if found is Nothing.OVER:
                break
            if found is Nothing.YET:
                await bell.wait(deadline)
            elif not isinstance(found, Nothing):
                values, count = run.values(found), found.tasks
                del found
                for _ in range(count):
                    yield next(values)  # by no name: nobody but the reader has it
                await asyncio.sleep(0)  # others have their turn, however fast results come
        run.finish()
    finally:
        run.leave()
        if pump is not None:
            pump.cancel()
            await asyncio.wait([pump])


def running_loop(what: str) -> asyncio.AbstractEventLoop:
    """Return the event loop of the calling task.

    Raises:
        RuntimeError: there is none, and ``what`` needs one.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            f"{what} needs a running asyncio event loop; elsewhere, let a thread wait: trio.to_thread.run_sync(future.result)"
        ) from None


def _is_asynchronous(iterable: Any) -> bool:
    return hasattr(type(iterable), "__aiter__")


def _taken(iterable: Any) -> Iterator[Any]:
    taken = taken_now(iterable)
    return iter(iterable if taken is None else taken)


async def _spread(iterable: Iterator[Any]) -> AsyncIterator[Any]:
    for item in iterable:
        yield item


async def _in_step(sources: list[Any]) -> AsyncIterator[tuple[Any, ...]]:
    iterators = [aiter(source) for source in sources]
    while True:
        row = []
        for iterator in iterators:
            try:
                row.append(await anext(iterator))
            except StopAsyncIteration:
                return
        yield tuple(row)


async def wait_apart(act: Callable[[], object], on_cancel: Callable[[], object]) -> None:
    """Have a thread of its own call something that waits, and await that. Cancelled, make it short and await it all the same."""
    # Not the loop's own executor, whose threads may all wait for what comes of this.
    thread = ThreadPoolExecutor(1, "poolbar-shutdown")
    waiting = asyncio.get_running_loop().run_in_executor(thread, act)
    thread.shutdown(wait=False)
    try:
        await asyncio.shield(waiting)
    except asyncio.CancelledError:
        on_cancel()
        await waiting
        raise
