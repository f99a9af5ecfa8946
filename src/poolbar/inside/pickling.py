"""Pickling, on both sides: by reference and fast where that works, by value through cloudpickle where it must be.

Plain data and what lives in importable modules goes through C's pickler (about 1 us for a small argument). What is
defined in ``__main__``, lambdas, closures and all else that the plain pickler refuses goes through cloudpickle, imported
when it is first needed.

What is large is *sealed* rather than pickled: the buffers of arrays stay where they are, beside the pickle, until somebody
copies them to where the other side finds them (pickle protocol 5, PEP 574).
"""

from __future__ import annotations

import io
import pickle
from functools import _lru_cache_wrapper, partial
from itertools import chain
from types import FunctionType
from typing import TYPE_CHECKING, Any

from .names import MAIN, PROTOCOL, is_by_value, refuse_while_importing

if TYPE_CHECKING:
    from collections.abc import Iterable

loads = pickle.loads


class _ByValue(Exception):
    """Something of a module that the other side cannot import."""


class PlainPickler(pickle.Pickler):
    """C's pickler, which refuses what must go by value."""

    main_by_value = True

    def reducer_override(self, obj: Any) -> Any:
        """Called by the C pickler for everything that is not of a builtin type."""
        if isinstance(obj, (FunctionType, type, _lru_cache_wrapper)):
            module = obj.__module__
            if is_by_value(module) and (self.main_by_value or module not in MAIN):
                raise _ByValue
            refuse_while_importing(obj)
        return NotImplemented


def dumps(obj: Any, main_by_value: bool = True, *, upward: bool = False) -> bytes:
    """Pickle ``obj``, by value where that is needed. Raises whatever the pickling raises.

    Args:
        obj: what to pickle.
        main_by_value: False where the other side has run ``__main__`` itself (the standard library's start methods).
        upward: from a worker to its parent.
    """
    return _dumps(obj, main_by_value, upward, None)


def _dumps(obj: Any, main_by_value: bool, upward: bool, large: list[memoryview] | None) -> bytes:
    keep = None if large is None else partial(_keep_large, large)
    buffer = io.BytesIO()
    pickler = PlainPickler(buffer, PROTOCOL, buffer_callback=keep)
    pickler.main_by_value = main_by_value
    try:
        pickler.dump(obj)
    except (_ByValue, pickle.PicklingError, AttributeError, TypeError, ValueError):
        from .by_value import dumps_by_value

        if large is not None:
            large.clear()
        return dumps_by_value(obj, upward=upward, keep=keep)
    return buffer.getvalue()


LARGE_BYTES = 1 << 16
"""Buffers of this size, and pickles, go beside the pipe: from here on that is faster (benchmarks/large.py)."""

Sealed = bytes | tuple[Any, ...]
"""Something pickled: the pickle, or, where anything in it is large, a tuple of the pickle and its buffers."""


def seal(obj: Any, main_by_value: bool = True, *, upward: bool = False) -> Sealed:
    """Pickle ``obj`` as ``dumps`` does, but leave large buffers where they are: what becomes of them is seen in the result."""
    large: list[memoryview] = []
    pickled = _dumps(obj, main_by_value, upward, large)
    return (pickled, *large) if large or len(pickled) >= LARGE_BYTES else pickled


def _keep_large(large: list[memoryview], buffer: pickle.PickleBuffer) -> bool:
    try:
        view = buffer.raw()
    except BufferError:  # it has gaps
        return True
    if len(view) < LARGE_BYTES:
        return True
    large.append(view)
    return False


def unseal(sealed: Sealed) -> Any:
    """Unpickle what was sealed. What is made has the buffers for its own. Raises whatever the unpickling raises."""
    return loads(sealed) if isinstance(sealed, bytes) else loads(sealed[0], buffers=sealed[1:])


ATOMS = frozenset((int, float, str, bytes, bool, complex, type(None)))
"""Types whose values cannot change and always unpickle: several may share one pickle, and it may be made later."""


_LONG = frozenset((str, bytes))


def bytes_of_atoms(items: Iterable[Any]) -> int | None:
    """Return how long the texts and bytes among atoms, or tuples of atoms, are; None if any item is something else.

    Costs 0.02 us for each item, and more where there are texts or bytes.
    """
    kinds = set(map(type, items))
    if kinds == {tuple}:
        items = list(chain.from_iterable(items))
        kinds = set(map(type, items))
    if not kinds <= ATOMS:
        return None
    if kinds.isdisjoint(_LONG):
        return 0
    return sum(len(item) for item in items if type(item) in _LONG)
