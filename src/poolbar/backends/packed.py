"""What dask's and Ray's calls have in common: the engines pass data by references of their own; all else is one pickle.

The pickle is opened where the call runs, by code that names nothing of ours: who passes it on need not have poolbar, and to a
worker that has none it is an error of the call's, with the name of what is missing.
"""

from __future__ import annotations

from concurrent.futures import InvalidStateError
from functools import partial
from typing import TYPE_CHECKING, Any

from ..inside.pickling import dumps

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future


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


def settle(result: Future[Any], value: Any, error: BaseException | None) -> None:
    """Give a call's future its result or its error; leave it as it is where another thread has ended or cancelled it."""
    try:
        if error is None:
            result.set_result(value)
        else:
            result.set_exception(error)
    except InvalidStateError:  # a look before would not tell: it may be cancelled in between
        pass
