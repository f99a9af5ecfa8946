"""``__main__`` in a worker: one namespace, as under the standard library's start methods.

Kept apart from by_value.py so that a worker that needs no cloudpickle does not import it.
"""

from __future__ import annotations

import sys
import threading
from types import ModuleType
from typing import Any, NamedTuple


class Namespace(NamedTuple):
    """What stands for the parent's ``__main__`` in a worker."""

    values: dict[str, Any]
    sent: dict[str, Any]  # of each global that came with a function, the mark of the parent's value when it last came


class _Here(threading.local):
    """Of a thread that runs tasks in a process whose ``__main__`` is not ours to use."""

    namespace: Namespace | None = None


here = _Here()
_sent_values: dict[str, Any] = {}


class Side:
    """Which side of the pipe this process is, and how names of ``__main__`` are sent from here."""

    inside_worker = False
    main_by_value = True


def main_globals() -> dict[str, Any]:
    """Return the globals of this process's ``__main__``, or of what stands for it in this thread."""
    return sys.modules["__main__"].__dict__ if here.namespace is None else here.namespace.values


def sent_values() -> dict[str, Any]:
    """Return the marks of what came from the parent's ``__main__``; those of the same namespace."""
    return _sent_values if here.namespace is None else here.namespace.sent


def new_main() -> ModuleType:
    """Return a ``__main__`` that is empty but for its name."""
    main = ModuleType("__main__")
    main.__dict__["__builtins__"] = __builtins__
    return main


def start_main() -> None:
    """Give this worker a ``__main__`` that is empty but for its name, as a new process would have before its first task."""
    sys.modules["__main__"] = new_main()
    _sent_values.clear()
