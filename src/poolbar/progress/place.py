"""Where this process is looked at: in a terminal, in a notebook's cell, or nowhere."""

from __future__ import annotations

import sys
from typing import Any


def is_terminal(stream: Any) -> bool:
    """Tell whether a stream writes to a terminal."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


def cell() -> int | None:
    """Return the number of the notebook's cell that runs; None: this is no notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell.execution_count if shell is not None and getattr(shell, "kernel", None) is not None else None
