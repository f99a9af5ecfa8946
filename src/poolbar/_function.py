"""What a batch calls, and how it reaches a worker process.

A function that pickles by reference, or whose state cannot have changed, is sealed (pickled) once and shared by all its tasks.
Any other callable is sealed anew for each submit, in the caller's thread, so that later changes of its state do not
leak in; each of its tasks gets a copy of its own.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from ._batching import Pace
from ._errors import NotPicklable, text_of
from .inside.names import ModuleIsBeingImported, is_by_reference, refuse_while_importing
from .inside.pickling import dumps

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_REMEMBERED = 256
"""Functions whose pickle and pace an executor remembers."""

_ids = itertools.count()


class Function:
    """A callable of the user's, with what is known of its tasks.

    Attributes:
        id: by which workers know it.
        call: the callable itself, for workers in this process; None where only the pickle is kept.
        name: how messages call it.
        sealed: its pickle, for worker processes.
        fresh: each task gets a copy of its own.
        pace: how long its tasks take. The backlog's lock guards it.
        takes_atoms: its arguments have been atoms so far. Written by lanes; a stale value costs time, nothing else.
    """

    __slots__ = ("call", "fresh", "id", "name", "pace", "sealed", "takes_atoms")

    def __init__(self, call: Callable[..., Any] | None, name: str, sealed: bytes | None = None, fresh: bool = False) -> None:
        self.id = next(_ids)
        self.call = call
        self.name = name
        self.sealed = sealed
        self.fresh = fresh
        self.pace = Pace()
        self.takes_atoms = True

    def in_batches_of(self, tasks: int) -> Function:
        """Return this function with a fixed size of batches; workers know it as the same."""
        twin = Function(self.call, self.name, self.sealed, self.fresh)
        twin.id = self.id
        twin.pace = Pace(tasks)
        return twin


def name_of(fn: Any) -> str:
    """Return a short name for a callable."""
    name = getattr(fn, "__qualname__", None) or getattr(fn, "__name__", None)
    if isinstance(name, str):
        return name
    inner = getattr(fn, "func", None)
    return f"{type(fn).__name__}({name_of(inner)})" if callable(inner) else type(fn).__name__


def seal(fn: Callable[..., Any], main_by_value: bool) -> bytes:
    """Pickle a callable.

    Raises:
        NotPicklable: it does not pickle.
        RuntimeError: its module is still being imported.
    """
    try:
        return dumps(fn, main_by_value)
    except ModuleIsBeingImported:
        raise
    except Exception as error:
        raise NotPicklable(f"{name_of(fn)} cannot be pickled: {text_of(error)}") from error


class Functions:
    """The functions that one executor was given. Several threads may submit: two that meet make one too many, no harm."""

    def __init__(self, main_by_value: bool) -> None:
        self._main_by_value = main_by_value
        self._shared: OrderedDict[Any, tuple[Function, tuple[Any, ...]]] = OrderedDict()
        self._latest: Function | None = None  # of those with state

    def get(self, fn: Callable[..., Any]) -> Function:
        """Return the function to submit for ``fn``. Raises as ``seal`` does."""
        kind = type(fn)
        if kind is FunctionType or kind is BuiltinFunctionType or kind is type:
            known = self._shared.get(fn)
            if known is not None and known[1] == _state(fn):
                return known[0]
            refuse_while_importing(fn)
            if is_by_reference(fn, self._main_by_value) or _is_stable(fn):
                return self._share(fn)
        return self._with_state(fn)

    def get_for_run(self, fn: Callable[..., Any]) -> Function:
        """Return the function that a run of ``fn`` calls: one copy for each worker. Raises as ``seal`` does."""
        function = self.get(fn)
        return Function(None, function.name, function.sealed) if function.fresh else function

    def _share(self, fn: Callable[..., Any]) -> Function:
        function = Function(None, name_of(fn), seal(fn, self._main_by_value))
        self._shared[fn] = (function, _state(fn))
        if len(self._shared) > MOST_REMEMBERED:
            self._shared.popitem(last=False)
        return function

    def _with_state(self, fn: Callable[..., Any]) -> Function:
        sealed = seal(fn, self._main_by_value)
        latest = self._latest
        if latest is not None and latest.sealed == sealed:
            # Only the latest: what others brought along since may have changed the worker's __main__.
            return latest
        # A plain function has no state but its closure: what it changes of its globals is to be seen by later tasks.
        fresh = not (isinstance(fn, FunctionType) and fn.__closure__ is None)
        self._latest = function = Function(None, name_of(fn), sealed, fresh)
        return function


_ATOMS = (int, float, complex, str, bytes, bool, type(None), type(...))


def _state(fn: Any) -> tuple[Any, ...]:
    """Return what the pickle of a function without state depends on; compared by equality, which is identity for functions."""
    if not isinstance(fn, FunctionType):
        return ()
    code = fn.__code__
    if not code.co_names and fn.__defaults__ is None:
        return (code,)
    namespace = fn.__globals__
    return code, fn.__defaults__, *[_Same(namespace[name]) for name in code.co_names if name in namespace]


class _Same:
    """Compares by identity and type, so that 1, 1.0 and True differ and no ``__eq__`` of the user's is called."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    __hash__ = None  # type: ignore[assignment]


def _is_stable(fn: Any) -> bool:
    """Tell whether a function sent by value has nothing that could change without ``_state`` noticing."""
    if not isinstance(fn, FunctionType) or fn.__closure__ or fn.__kwdefaults__ or fn.__dict__:
        return False
    if any(isinstance(constant, CodeType) for constant in fn.__code__.co_consts):
        return False  # an inner function's globals are not among co_names
    values = [*(fn.__defaults__ or ()), *(fn.__globals__.get(name) for name in fn.__code__.co_names)]
    return all(isinstance(value, ModuleType) or type(value) in _ATOMS or is_by_reference(value) for value in values)
