"""What a batch calls, and how it reaches a worker process.

A function that pickles by reference, or whose state cannot have changed, is sealed (pickled) once and shared by all its tasks.
Any other callable is sealed anew for each submit, in the caller's thread, so that later changes of its state do not
leak in; each of its tasks gets a copy of its own.
"""

from __future__ import annotations

import itertools
import threading
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from ._batching import TARGET_SECONDS, Pace
from ._choice import THREAD
from ._errors import NotPicklable, text_of
from .inside.names import ModuleIsBeingImported, is_by_reference, refuse_while_importing
from .inside.pickling import seal
from .workers.blocks import are_equal, kept
from .workers.shared import bound_in_place

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._nature import Nature
    from .inside.pickling import Sealed

MOST_REMEMBERED = 256
"""Functions whose pickle and pace an executor remembers."""

_ids = itertools.count()


class Function:
    """A callable of the user's, with what is known of its tasks.

    Attributes:
        id: by which workers know it.
        call: the callable itself, for workers in this process; None where these never run it.
        name: how messages call it.
        sealed: its pickle, for workers elsewhere; None where these never run it.
        fresh: each task gets a copy of its own.
        nature: what its tasks are like, and which kind of worker takes them.
        pace: how long its tasks take. The backlog's lock guards it.
        takes_atoms: its arguments have been atoms so far. Written by lanes; a stale value costs time, nothing else.
    """

    __slots__ = ("call", "fresh", "id", "name", "nature", "pace", "sealed", "takes_atoms")

    def __init__(
        self, nature: Nature, call: Callable[..., Any] | None, name: str, sealed: Sealed | None = None, fresh: bool = False
    ) -> None:
        self.id = next(_ids)
        self.nature = nature
        self.call = call
        self.name = name
        self.sealed = sealed
        self.fresh = fresh
        self.pace = Pace(target=nature.batch_seconds or TARGET_SECONDS)
        self.takes_atoms = True

    @property
    def kind(self) -> str:
        """Return which kind of worker takes its tasks now. The backlog's lock is held, or it is a hint."""
        return self.nature.kind if self.sealed is not None else THREAD

    def is_same(self, other: Function) -> bool:
        """Tell whether another calls the same: of those that only threads run there is one for each submit."""
        return self.sealed is None and other.sealed is None and self.call is other.call

    def in_batches_of(self, tasks: int) -> Function:
        """Return this function with a fixed size of batches; workers know it as the same."""
        twin = Function(self.nature, self.call, self.name, self.sealed, self.fresh)
        twin.id = self.id
        twin.pace = Pace(tasks)
        return twin

    def for_run(self) -> Function:
        """Return this function for a run, whose tasks share one copy in each worker."""
        return Function(self.nature, self.call, self.name, self.sealed)


class Natures(Protocol):
    """Knows what the tasks of callables are like."""

    def of(self, fn: Callable[..., Any]) -> Nature:
        """Return what is known of the tasks of a callable."""

    def may_run_in_thread(self, fn: Callable[..., Any]) -> bool:
        """Tell whether a callable may ever be called in this process."""

    def is_for_threads(self) -> bool:
        """Tell whether threads take whatever comes, and nothing is ever pickled."""


def name_of(fn: Any) -> str:
    """Return a short name for a callable."""
    name = getattr(fn, "__qualname__", None) or getattr(fn, "__name__", None)
    if isinstance(name, str):
        return name
    inner = getattr(fn, "func", None)
    return f"{type(fn).__name__}({name_of(inner)})" if callable(inner) else type(fn).__name__


def sealed_function(fn: Callable[..., Any], main_by_value: bool) -> Sealed:
    """Pickle a callable; its large buffers are those of the callable itself.

    Raises:
        NotPicklable: it does not pickle.
        RuntimeError: its module is still being imported.
    """
    try:
        return seal(fn, main_by_value)
    except ModuleIsBeingImported:
        raise
    except Exception as error:
        raise NotPicklable(f"{name_of(fn)} cannot be pickled: {text_of(error)}") from error


class Functions:
    """The functions that one executor was given. Several threads may submit: two that meet make one too many, no harm."""

    def __init__(self, main_by_value: bool, natures: Natures) -> None:
        self._main_by_value = main_by_value
        self._natures = natures
        self._shared: dict[Any, tuple[Function, tuple[Any, ...]]] = {}  # the oldest first
        self._sharing = threading.Lock()  # held while one is added: to find the oldest takes more than one step
        # Of those with state, and what it consists of where that cannot change.
        self._latest: tuple[Function | None, list[object] | None] = None, None

    def get(self, fn: Callable[..., Any]) -> Function:
        """Return the function to submit for ``fn``. Raises as ``sealed_function`` does."""
        kind = type(fn)
        if kind is FunctionType or kind is BuiltinFunctionType or kind is type:
            known = self._shared.get(fn)
            if known is not None and known[1] == _state(fn):
                return known[0]
            refuse_while_importing(fn)
            if is_by_reference(fn, self._main_by_value) or _is_stable(fn):
                return self._share(fn)
        return self._with_state(fn)

    def forget(self) -> None:
        """Remember no function any more: there will be no tasks."""
        with self._sharing:
            self._shared.clear()
        self._latest = None, None

    def get_for_run(self, fn: Callable[..., Any]) -> Function:
        """Return the function that a run of ``fn`` calls: one copy for each worker. Raises as ``sealed_function`` does."""
        if self._natures.is_for_threads():
            return self.in_thread(fn)
        function = self.get(fn)  # in threads too: the rest of a run may go to processes
        return function.for_run() if function.fresh else function

    def in_thread(self, fn: Callable[..., Any]) -> Function:
        """Return the function to call in this process for ``fn``, which may be anything."""
        # Not remembered: a thread takes one task at a time, whatever its pace.
        return Function(self._natures.of(fn), bound_in_place(fn), name_of(fn))

    def _share(self, fn: Callable[..., Any]) -> Function:
        function = self._made(fn, sealed_function(fn, self._main_by_value), fresh=False)
        with self._sharing:
            self._shared[fn] = (function, _state(fn))
            if len(self._shared) > MOST_REMEMBERED:
                del self._shared[next(iter(self._shared))]
        return function

    def _with_state(self, fn: Callable[..., Any]) -> Function:
        latest, known = self._latest
        constant = self._constant(fn)
        if latest is not None and constant is not None and constant == known:
            return latest
        sealed = sealed_function(fn, self._main_by_value)
        if latest is not None and latest.sealed is not None and are_equal(latest.sealed, sealed):
            # Only the latest: what others brought along since may have changed the worker's __main__.
            return latest
        # A plain function has no state but its closure: what it changes of its globals is to be seen by later tasks.
        fresh = constant is None and not (isinstance(fn, FunctionType) and fn.__closure__ is None)
        function = self._made(fn, sealed, fresh)
        self._latest = function, constant
        return function

    def _constant(self, fn: Callable[..., Any]) -> list[object] | None:
        """Return what a partial consists of, if none of it can change, however large it is; None: it can, or ``fn`` is none."""
        if type(fn) is not partial or fn.keywords or fn.__dict__ or not all(type(value) in _ATOMS for value in fn.args):
            return None
        parts: list[object] = [_Same(value) for value in (fn.func, *fn.args)]
        if is_by_reference(fn.func, self._main_by_value):
            return parts
        return [*parts, *_state(fn.func)] if _is_stable(fn.func) else None

    def _made(self, fn: Callable[..., Any], sealed: Sealed, fresh: bool) -> Function:
        call = bound_in_place(fn) if self._natures.may_run_in_thread(fn) else None
        return Function(self._natures.of(fn), call, name_of(fn), kept(sealed), fresh)


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
