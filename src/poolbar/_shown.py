"""A call in short form, for messages: ``resize('a.png', 640, keep=True)``.

Arguments that are pickled already are read by an unpickler that knows no class of the user's and calls nothing of it: what is in
them may be the very thing that killed a worker.
"""

from __future__ import annotations

import io
import pickle
import reprlib
from itertools import repeat
from typing import Any

MOST_CHARACTERS = 160
MOST_PICKLED_BYTES = 1 << 16
"""Larger arguments are not looked at."""

_HARMLESS = ("collections", "datetime", "decimal", "fractions", "pathlib", "pathlib._local", "uuid")
"""Modules of the standard library whose objects are worth seeing."""

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 50


class _StandIn:
    """Takes the place of any class or function of the user's while a pickle is read; takes whatever is done to it."""

    name = "object"

    def __new__(cls, *arguments: Any, **_: Any) -> _StandIn:
        made = arguments[0] if arguments else None
        if isinstance(made, type) and issubclass(made, _StandIn):
            return super().__new__(made)  # a function that makes an object of this class
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        """Keep nothing."""

    def __setstate__(self, _: Any) -> None:
        """Keep nothing."""

    def __setitem__(self, _: Any, __: Any) -> None:
        """Keep nothing."""

    def append(self, _: Any) -> None:
        """Keep nothing."""

    def extend(self, _: Any) -> None:
        """Keep nothing."""

    add = append

    def __call__(self, *_: Any, **__: Any) -> _StandIn:
        return self

    def __repr__(self) -> str:
        return f"<{self.name}>"


def _stand_in(name: str) -> type[_StandIn]:
    return type(name, (_StandIn,), {"name": name})


def _class_by_value(*arguments: Any) -> type[_StandIn]:
    # How cloudpickle begins a class of __main__: the metaclass or the bases, the name, and what else there is.
    return _stand_in(str(arguments[1]))


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in _HARMLESS:
            return super().find_class(module, name)
        if name in {"_make_skeleton_class", "_make_skeleton_enum"}:
            return _class_by_value
        return _stand_in(name)

    def persistent_load(self, _: Any) -> Any:
        return _StandIn()


def call_text(name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> str:
    """Return the call of a function by this name in short form. It calls the ``repr`` of the arguments."""
    shown = [_text(value) for value in arguments]
    shown += [f"{key}={_text(value)}" for key, value in keywords.items()]
    text = ", ".join(shown)
    if len(text) > MOST_CHARACTERS:
        text = text[: MOST_CHARACTERS - 3] + "..."
    return f"{name}({text})"


def sealed_call_text(name: str, sealed: Any) -> str:
    """Return the same of arguments that are sealed: ``(arguments, keywords)``. No code of the user's runs."""
    pickled = sealed if isinstance(sealed, bytes) else sealed[0]  # of large buffers only what they are in is shown
    if len(pickled) > MOST_PICKLED_BYTES:
        return f"{name}(...)"
    try:
        arguments, keywords = _Reader(io.BytesIO(pickled), buffers=repeat(b"")).load()
        return call_text(name, arguments, keywords)
    except Exception:  # a pickle that does more than stand-ins can take
        return f"{name}(...)"


def _text(value: Any) -> str:
    try:
        return _repr.repr(value)
    except BaseException:  # a user's __repr__ may raise anything
        return f"<{type(value).__name__}>"
