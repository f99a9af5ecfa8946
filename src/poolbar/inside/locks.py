"""Locks in a thread in which a signal handler may raise at any moment: a task's, which has set an alarm for itself.

Such a handler is called between two instructions, so a lock that was just taken may be known to nobody who would release it. In
Python 3.14 that holds for the ``with`` statement too (cpython#148874). What is asked of an RLock after the fact tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def holding(lock: Any, act: Callable[..., T], *arguments: Any) -> T:
    """Call something while this thread holds an RLock, which it does not hold yet. Returns what the call returns."""
    try:
        with lock:
            return act(*arguments)
    except BaseException:
        if lock._is_owned():
            lock.release()
        raise


def holding_if_free(lock: Any, act: Callable[..., bool], *arguments: Any) -> bool:
    """Do so if no thread holds the lock. Returns whether none did and the call returned True."""
    try:
        if not lock.acquire(blocking=False):
            return False
        done = act(*arguments)
        lock.release()
        return done
    except BaseException:
        if lock._is_owned():
            lock.release()
        raise
