"""Futures at half the price: of what one costs, most is its Condition, which in nearly all of them nobody ever waits on."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class _Condition(threading.Condition):
    """A Condition whose list of waiters is made by the first who waits, and which has no bound methods of its lock at hand.

    A threading.Condition is nine objects, each of which the garbage collector looks at again and again while a burst of futures
    waits; this is two.
    """

    __slots__ = ("_lock", "_waiters")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waiters: Any = ()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        return self._lock.acquire(blocking, timeout)

    def locked(self) -> bool:  # from Python 3.14 on
        return self._lock.locked()  # type: ignore[attr-defined,no-any-return]

    def release(self) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        if not self._waiters:  # the lock is held, or the next line says that it is not
            self._waiters = deque()
        return super().wait(timeout)

    # What Condition asks of its lock.

    def _is_owned(self) -> bool:
        return self._lock._is_owned()  # type: ignore[attr-defined,no-any-return]

    def _release_save(self) -> Any:
        return self._lock._release_save()  # type: ignore[attr-defined]

    def _acquire_restore(self, state: Any) -> None:
        self._lock._acquire_restore(state)  # type: ignore[attr-defined]


def _made() -> Future[Any]:
    made: Any = _new(Future)
    made._condition = _Condition()
    made._state = "PENDING"
    made._result = None
    made._exception = None
    made._waiters = []
    made._done_callbacks = []
    future: Future[Any] = made
    return future


_new: Any = Future.__new__

# Another Python than we know may set more: then it makes its futures itself. A test tells us.
new_future: Callable[[], Future[Any]] = _made if vars(_made()).keys() == vars(Future()).keys() else Future
"""Returns a pending ``concurrent.futures.Future``."""
