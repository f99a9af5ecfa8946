"""What pickles by name, and what does not: asked on both sides before anything is pickled."""

from __future__ import annotations

import sys
from typing import Any

PROTOCOL = 5
MAIN = ("__main__", "__mp_main__")


def is_by_value(name: str | None) -> bool:
    """Tell whether what a module defines must be sent by value: ``__main__`` and what users registered with cloudpickle."""
    if name in MAIN:
        return True
    cloudpickle = sys.modules.get("cloudpickle")
    return cloudpickle is not None and name in cloudpickle.list_registry_pickle_by_value()


class ModuleIsBeingImported(RuntimeError):
    """What is to be pickled is of a module whose import has not ended: a worker's answer could never come through."""


def refuse_while_importing(obj: Any) -> None:
    """Raise ModuleIsBeingImported if the module of a function or class is still being imported."""
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    spec = getattr(module, "__spec__", None)
    if getattr(spec, "_initializing", False):
        raise ModuleIsBeingImported(
            f"{obj.__qualname__} was handed to an executor while its module {obj.__module__!r} is still being imported: "
            "other threads and processes would wait for that import, and it for them. Start the work after the import, "
            "for instance in a function that is called from the main script."
        )


def is_by_reference(function: Any, main_by_value: bool = True) -> bool:
    """Tell whether a function pickles as the name of a module's attribute, so that it has no state of its own to send."""
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    if not isinstance(name, str) or (is_by_value(module) and (main_by_value or module not in MAIN)):
        return False
    found: Any = sys.modules.get(module or "builtins")
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is function
