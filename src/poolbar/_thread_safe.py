"""The user's word that a function may run in several threads at once. Nothing can prove it."""

from __future__ import annotations

import functools
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

# Not an attribute: functools.wraps would hand it on to wrappers, of which nobody has said anything.
_marked: weakref.WeakSet[Any] = weakref.WeakSet()


def thread_safe(function: F) -> F:
    """Mark a function, or a class whose instances are called, as safe to run in several threads of one process at once.

    An executor with ``backend="auto"`` then runs it in threads where measuring says that this is faster. The decorator that
    is applied last has to be this one.

    Raises:
        TypeError: it cannot be marked: a method of an instance, a ``functools.partial``. Mark the function itself.
    """
    if isinstance(function, functools.partial) or hasattr(function, "__self__") or not callable(function):
        raise TypeError(f"thread_safe() takes a function or a class, not {function!r}")
    _marked.add(function)
    return function


def is_thread_safe(fn: Any) -> bool:
    """Tell whether a callable was marked, or calls nothing but one that was."""
    if not _marked:
        return False  # as nearly always, and each submit asks
    while isinstance(fn, functools.partial):
        fn = fn.func
    fn = getattr(fn, "__func__", fn)  # of a bound method
    try:
        return fn in _marked or type(fn) in _marked
    except TypeError:  # it has no hash, or cannot be referenced weakly: so it was not marked
        return type(fn) in _marked
