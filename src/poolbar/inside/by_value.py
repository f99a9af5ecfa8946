"""What cannot be imported on the other side travels by value, through cloudpickle; ``__main__`` stays one namespace.

cloudpickle gives each function of ``__main__`` that it rebuilds a globals dict of its own. Under the standard library's start
methods a worker has *one* ``__main__``: what an initializer sets there is seen by the tasks, and a cache at module
level lives from task to task. So here the functions of ``__main__`` are rebuilt on the worker's ``__main__`` itself, and the
globals that come along are merged into it three ways: the parent's value is taken when the parent has changed it since
it was last sent, else what the worker made of it stays.

Used of cloudpickle's internals (tests hold them, pyproject.toml bounds the versions): ``Pickler.globals_ref``,
``_function_setstate``, ``_class_setstate``, ``_code_reduce``, and the shape of the reduce tuples of functions and classes.
"""

from __future__ import annotations

import io
import itertools
import os
import pickle
from collections import ChainMap
from functools import _lru_cache_wrapper, lru_cache
from hashlib import blake2b
from multiprocessing.reduction import ForkingPickler
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

import cloudpickle
from cloudpickle.cloudpickle import _class_setstate, _code_reduce, _function_setstate

from .names import PROTOCOL, is_by_value
from .shared_main import Side, here, main_globals, sent_values

if TYPE_CHECKING:
    from collections.abc import Callable


class _MainGlobals(dict[str, Any]):
    """Stands for the globals of ``__main__`` in a pickle: unpickles as the globals of the other side's ``__main__``."""

    def __reduce__(self) -> tuple[Any, ...]:
        return main_globals, ()


def _reduce_code(code: CodeType) -> tuple[Any, ...]:
    """Keep the name of the file, which tracebacks show: from version 3.1.3 on, cloudpickle writes another in its place."""
    make, arguments = _code_reduce(code)
    filename = "".join(code.co_filename)  # a copy, as cloudpickle has them: a pickle should not depend on who shares a string
    return make, tuple([filename if argument == "<dynamic-code>" else argument for argument in arguments])


class ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """cloudpickle's pickler with a shared ``__main__``, and multiprocessing's reducers (connections, locks while spawning)."""

    dispatch_table: ClassVar[Any] = ChainMap(
        {CodeType: _reduce_code},
        cloudpickle.Pickler.dispatch_table,
        ForkingPickler._extra_reducers,  # type: ignore[attr-defined]  # what register() fills
    )

    def __init__(self, file: Any, *, upward: bool, keep: Callable[[pickle.PickleBuffer], bool] | None) -> None:
        super().__init__(file, protocol=PROTOCOL, buffer_callback=keep)
        self._upward = upward  # to the parent; a worker can have workers of its own
        if not upward:
            self.globals_ref[id(main_globals())] = _MainGlobals()

    def reducer_override(self, obj: Any) -> Any:
        """Send functions and classes of ``__main__`` in our own way; leave the rest to cloudpickle."""
        if isinstance(obj, _lru_cache_wrapper) and is_by_value(obj.__module__):
            cached: Any = obj
            return rebuild_cached, (cached.__qualname__, cached.__wrapped__, cached.cache_parameters())
        if self._upward:
            return self._reduce_on_the_way_back(obj)
        reduced = super().reducer_override(obj)
        if isinstance(reduced, tuple) and len(reduced) == 6:
            make, arguments, state = reduced[:3]
            if isinstance(obj, FunctionType) and obj.__globals__ is main_globals():
                return make, arguments, state, None, None, merge_state
            if isinstance(obj, type):
                return make, arguments, state, None, None, _ClassSetter(_own_class_id(obj))
        return reduced

    def _reduce_on_the_way_back(self, obj: Any) -> Any:
        # What the parent sent is its own object there. Anything else brings its globals along as cloudpickle has it:
        # the parent's __main__ is not written to by its workers.
        if isinstance(obj, type) and obj in classes_of_parent:
            return own_class, (classes_of_parent[obj],)
        if isinstance(obj, FunctionType):
            function: FunctionType = obj
            name = function.__qualname__
            if name in sent_values() and main_globals().get(name) is function:
                return own_global, (name,)
        return super().reducer_override(obj)


class _ClassSetter:
    """Sets the state of a class that was sent by value, and remembers whose class it is."""

    def __init__(self, class_id: str) -> None:
        self.class_id = class_id

    def __call__(self, cls: type, state: Any) -> None:
        classes_of_parent[cls] = self.class_id
        _class_setstate(cls, state)


classes_of_parent: WeakKeyDictionary[type, str] = WeakKeyDictionary()
"""In workers: the classes that came by value, and the id that the parent knows each by."""

_own_classes: dict[str, type] = {}
_own_ids: WeakKeyDictionary[type, str] = WeakKeyDictionary()
_numbers = itertools.count()


def _own_class_id(cls: type) -> str:
    class_id = _own_ids.get(cls)
    if class_id is None:
        class_id = f"{os.getpid()}-{next(_numbers)}"  # two threads may be here: they give one class two, never two classes one
        _own_ids[cls] = class_id
        _own_classes[class_id] = cls
    return class_id


def own_class(class_id: str) -> type:
    """Return the class of this process that was once sent under this id."""
    return _own_classes[class_id]


def own_global(name: str) -> Any:
    """Return the attribute of this process's ``__main__`` with this name."""
    try:
        return main_globals()[name]
    except KeyError:
        raise AttributeError(f"__main__ has no {name!r} any more") from None


def rebuild_cached(name: str, wrapped: FunctionType, parameters: dict[str, Any]) -> Any:
    """Return the cached function of this name and code: the one that is there already, so that its cache lives."""
    there = main_globals().get(name)
    if isinstance(there, _lru_cache_wrapper) and there.__wrapped__.__code__ == wrapped.__code__:
        return there
    made = lru_cache(**parameters)(wrapped)
    if (Side.inside_worker or here.namespace is not None) and name.isidentifier():
        main_globals()[name] = made
        sent_values()[name] = _mark(made)
    return made


def merge_state(function: FunctionType, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Set the state of a rebuilt function of ``__main__``; what its globals bring is merged three ways."""
    attributes, slots = state
    namespace, sent = function.__globals__, sent_values()
    for name, value in slots["__globals__"].items():
        mark = _mark(value)
        is_own = name in namespace and name not in sent  # a task put it there
        if not is_own and sent.get(name) != mark:
            namespace[name] = value
        sent[name] = mark
    _function_setstate(function, (attributes, {**slots, "__globals__": {}}))


class _MarkPickler(pickle.Pickler):
    """Pickles a value to compare it with an earlier one: functions by their code, classes and modules by identity."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, _lru_cache_wrapper):
            obj = obj.__wrapped__
        if isinstance(obj, FunctionType):
            return str, (f"{obj.__qualname__} {obj.__code__.co_code!r} {obj.__code__.co_consts!r}",)
        if isinstance(obj, (type, ModuleType)):
            return str, (f"{obj.__name__} {id(obj)}",)
        return NotImplemented


def _mark(value: Any) -> Any:
    """Tell two values apart that the parent sent under one name: equal marks mean that the parent did not change it."""
    buffer = io.BytesIO()
    try:
        _MarkPickler(buffer, PROTOCOL).dump(value)
    except Exception:  # a user's __reduce__ may raise anything; such a value counts as changed each time
        return object()
    return blake2b(buffer.getbuffer(), digest_size=16).digest()


def dumps_by_value(obj: Any, *, upward: bool, keep: Callable[[pickle.PickleBuffer], bool] | None = None) -> bytes:
    """Pickle ``obj`` with all that the other side cannot import.

    Args:
        obj: what to pickle.
        upward: for the parent of this worker.
        keep: called for each buffer; False: it takes it, and it is no part of the pickle.
    """
    buffer = io.BytesIO()
    ByValuePickler(buffer, upward=upward, keep=keep).dump(obj)
    return buffer.getvalue()
