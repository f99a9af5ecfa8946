"""The lanes of one kind of worker, as the backlog counts them. All of it is guarded by the backlog's lock."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import _thread
    from collections.abc import Callable

# The states of a lane.
COMING = "coming"  # its worker is starting, or it delivers the last outcomes of a batch: it will take work by itself
ROUSED = "roused"  # woken, and not here yet
BUSY = "busy"
IDLE = "idle"
LEAVING = "leaving"  # it is one too many, and about to end


class Hand(Protocol):
    """What is known here of a lane."""

    wake: _thread.LockType
    state: str
    limit: int | None  # tasks at most in its next batch
    hands: Hands

    def rest(self) -> None:
        """Give back what is kept for the next batch: none has come for a while."""


def rouse(lane: Hand) -> None:
    """Let a lane look at the backlog again. Harmless where it is awake: it looks once too often."""
    try:
        lane.wake.release()
    except RuntimeError:
        pass  # it has been roused already, and is not here yet


class Hands:
    """The lanes of one kind.

    Attributes:
        kind: of their workers.
        most: lanes at most; may change. Those that are too many end when they come for work.
        lanes: that there are.
    """

    def __init__(self, kind: str, most: int, start_lane: Callable[[Hands], None]) -> None:
        self.kind = kind
        self.most = most
        self.lanes = 0
        self._start_lane = start_lane
        self._idle: list[Hand] = []  # the last to fall asleep is woken first: its worker's caches are warm
        self._coming = 0
        self._roused = 0
        self._leaving = 0
        self._delivering: set[int] = set()  # threads of lanes that deliver a batch's last outcomes, perhaps in a callback

    @property
    def coming(self) -> int:
        """Return how many lanes will take work by themselves."""
        return self._coming

    @property
    def busy(self) -> int:
        """Return how many lanes have something to do."""
        return self.lanes - len(self._idle) - self._roused

    def are_some_idle(self) -> bool:
        """Tell whether a lane has nothing to do."""
        return bool(self._idle)

    def are_free(self) -> bool:
        """Tell whether a lane has nothing to do, or none has been started for it. Without the lock, a hint."""
        return bool(self._idle) or self.lanes - self._leaving < self.most

    def are_too_many(self) -> bool:
        """Tell whether a lane should end."""
        return self.lanes - self._leaving > self.most

    def rouse(self, count: int, more_than: Callable[[int], bool]) -> None:
        """Wake or start up to ``count`` lanes: as many as have something to do, beside those that are on their way.

        Args:
            count: at most.
            more_than: tells whether more than so many tasks wait for this kind.
        """
        while count and self._idle and more_than(self._roused):
            self.wake_one()
            count -= 1
        coming = self._coming
        if count and threading.get_ident() in self._delivering:
            coming -= 1  # this is a callback of that lane: it may be about to wait for what it has just submitted
        while count and self.lanes - self._leaving < self.most and more_than(self._roused + coming):
            self.lanes += 1
            self._coming += 1
            coming += 1
            try:
                self._start_lane(self)
            except KeyboardInterrupt:
                raise  # it was held back until the lane had started
            except BaseException:
                self.lanes -= 1
                self._coming -= 1
                raise
            count -= 1

    def wake_one(self) -> None:
        """Wake a lane that has nothing to do. There is one."""
        lane = self._idle.pop()
        lane.state = ROUSED
        self._roused += 1
        rouse(lane)

    def wake_all(self) -> None:
        """Wake all lanes that have nothing to do."""
        while self._idle:
            self.wake_one()

    def arrived(self, lane: Hand, state: str) -> None:
        """Note that a lane is here, and what it does next."""
        if lane.state == COMING:
            self._coming -= 1
            self._delivering.discard(threading.get_ident())
        elif lane.state == ROUSED:
            self._roused -= 1
        elif lane.state == IDLE and lane in self._idle:
            self._idle.remove(lane)  # it woke without having been taken off the list
        if state == COMING:
            self._coming += 1
        elif state == IDLE:
            self._idle.append(lane)
        elif state == LEAVING:
            self._leaving += 1
        lane.state = state

    def ended(self, lane: Hand) -> None:
        """Note that a lane is gone."""
        self.lanes -= 1
        if lane.state == LEAVING:
            self._leaving -= 1

    def finishing(self, lane: Hand) -> None:
        """Note that a lane's last outcomes have come: it delivers them, in this thread, and then takes work."""
        if lane.state == BUSY:
            self._coming += 1
            self._delivering.add(threading.get_ident())
            lane.state = COMING
