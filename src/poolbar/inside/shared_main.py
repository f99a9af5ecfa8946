"""``__main__`` in a worker: one namespace, as under the standard library's start methods.

Kept apart from by_value.py so that a worker that needs no cloudpickle does not import it.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

sent_values: dict[str, Any] = {}
"""In workers: of each global that came with a function, the mark of the parent's value when it last came."""


class Side:
    """Which side of the pipe this process is, and how names of ``__main__`` are sent from here."""

    inside_worker = False
    main_by_value = True


def main_globals() -> dict[str, Any]:
    """Return the globals of this process's ``__main__``."""
    return sys.modules["__main__"].__dict__


def start_main() -> None:
    """Give this worker a ``__main__`` that is empty but for its name, as a new process would have before its first task."""
    main = ModuleType("__main__")
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main
    sent_values.clear()
