"""What the checks have workers call: those import it from here."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def same(*values: Any) -> Any:
    """Return what it is called with."""
    return values


def fail(text: str) -> None:
    """Raise a LookupError."""
    raise LookupError(text)


def fail_at_7(number: int) -> int:
    """Return a number, unless it is 7."""
    if number == 7:
        fail("seven")
    return number


def send(line: Callable[[str, bytes], None], key: str, count: int) -> int:
    """Use a line so often."""
    for number in range(count):
        line(key, b"%d" % number)
    return count


def identity(value: Any) -> Any:
    """Return a value."""
    return value


def say(number: int) -> int:
    """Print a line."""
    print("line", number)
    return number


prepared: list[str] = []
"""What the initializers of this process were given."""


def prepare(key: str) -> None:
    """Note what this initializer was given."""
    prepared.append(key)


def times_prepared(key: str) -> int:
    """Return how often an initializer of this worker was given this."""
    return prepared.count(key)


def unpicklable(_: Any) -> Any:
    """Return what does not pickle."""
    return threading.Lock()
