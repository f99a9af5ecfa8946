"""A call as an engine takes it that passes data by references of its own: one pickle, and what lies in the engine already.

The pickle is opened where the call runs, by code that names nothing of ours: who passes it on need not have poolbar, and to a
worker that has none it is an error of the call's, with the name of what is missing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..inside.pickling import dumps

if TYPE_CHECKING:
    from collections.abc import Callable


def packed(call: Callable[..., Any], args: tuple[Any, ...], reference: type) -> tuple[bytes, dict[int, Any]]:
    """Pickle a call without those arguments that are references.

    Returns:
        The pickle of a function that takes, by their numbers, what the references stand for; and these references.
    """
    references = {number: arg for number, arg in enumerate(args) if isinstance(arg, reference)}
    plain = [None if number in references else arg for number, arg in enumerate(args)]
    return dumps(partial(filled, call, plain)), references


def filled(call: Callable[..., Any], args: list[Any], there: dict[Any, bytes]) -> Any:
    """Make a call, where it runs, some arguments of which were there."""
    return call(*[there.get(number, arg) for number, arg in enumerate(args)])
