"""Bars inside tasks: tqdm's, which need no change, and ``report`` for a task that has none. The parent draws them."""

from __future__ import annotations

import itertools
import threading
from math import isfinite
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _messages as messages
from .streams import are_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from .events import Hearer

_numbers = itertools.count(1)


def relay_bars(tqdm: Any, events: Hearer) -> None:
    """Have tqdm's bars that would be drawn on the worker's streams drawn by the parent instead."""
    display, clear, close = tqdm.display, tqdm.clear, tqdm.close

    def is_ours(bar: Any) -> bool:
        return not (events.is_off or bar.gui) and are_ours(bar.fp)

    def relay_display(bar: Any, msg: str | None = None, pos: int | None = None) -> Any:
        if not is_ours(bar):
            return display(bar, msg, pos)
        events.put_bar(_state(bar))
        return True

    def relay_clear(bar: Any, nolock: bool = False) -> None:
        if not is_ours(bar):
            clear(bar, nolock)

    def relay_close(bar: Any) -> None:
        if bar.disable or not is_ours(bar):
            close(bar)
            return
        bar.disable = True
        bar._decr_instances(bar)
        events.put_bar(_state(bar)._replace(is_over=True))

    tqdm.display, tqdm.clear, tqdm.close = relay_display, relay_clear, relay_close


def own_lock(tqdm: Any) -> None:
    """Let tqdm in this process have a lock of its own, in place of one that came with a fork.

    That may be held by a thread which is not here. And the parent shares it: were this process killed while it holds it, the
    parent's bars would wait for ever.
    """
    lock_class = tqdm.TqdmDefaultWriteLock
    if hasattr(tqdm.tqdm, "_lock"):
        lock_class.th_lock = threading.RLock()
        if hasattr(lock_class, "mp_lock"):
            del lock_class.mp_lock  # the next one makes another
        tqdm.tqdm.set_lock(lock_class())


def _state(bar: Any) -> messages.Bar:
    number = getattr(bar, "_poolbar_number", None)
    if number is None:
        number = bar._poolbar_number = next(_numbers)
    facts = bar.format_dict
    details = {"unit_scale": facts["unit_scale"], "unit_divisor": facts["unit_divisor"], "postfix": bar.postfix}
    return messages.Bar(
        messages.BAR,
        number,
        (bar.desc or "").removesuffix(": "),
        _finite(bar.n) or 0,
        None if bar.total is None else _finite(bar.total),
        str(bar.unit),
        float(facts["elapsed"]),
        False,
        {name: value for name, value in details.items() if type(value) in (bool, int, float, str)},
    )


def _finite(number: Any) -> float | None:
    """Return a number as plain data; None for infinity and what is as good as that, and for nan. Raises TypeError."""
    if isinstance(number, (str, bytes, bytearray)):
        raise TypeError(f"a number is needed, not {number!r}")
    try:
        plain = float(number)  # of numpy, perhaps
    except OverflowError:
        return None  # an int of hundreds of digits
    if type(number) is int:
        return number
    return plain if isfinite(plain) else None


class Teller(NamedTuple):
    """How ``report`` tells what a task does."""

    put_bar: Callable[[messages.Bar], None]
    task: Callable[[], Hashable]  # what is different for each task


class _Here(threading.local):
    """Of a thread that runs tasks beside others in one process."""

    teller: Teller | None = None


here = _Here()


class Process:
    """Of a process, or an interpreter, that runs one task at a time."""

    teller: Teller | None = None


class _Reported(threading.local):
    task: Hashable = None
    number = 0
    began = 0.0


_reported = _Reported()

_FRACTION = {"bar_format": "{l_bar}{bar}| [{elapsed}<{remaining}{postfix}]"}


def report(done: float, total: float | None = None, desc: str = "") -> None:
    """Show how far the task is that calls this, on a line of its own below the bar.

    Outside of a task this does nothing, so a function that reports can be called as any other. Calling it often is cheap: what is
    shown is the last that was told.

    Args:
        done: what is done, in any unit; without a total the share that is, from 0 to 1.
        total: how much there is to do.
        desc: what stands before the bar.

    Raises:
        TypeError: ``done`` or ``total`` is no number.
    """
    teller = here.teller or Process.teller
    done = _finite(done) or 0
    whole = 1.0 if total is None else _finite(total)
    if teller is None:
        return
    task = teller.task()
    now = monotonic()
    if _reported.task != task:
        _reported.task, _reported.number, _reported.began = task, next(_numbers), now
    details: dict[str, Any] = dict(_FRACTION) if total is None else {}
    bar = messages.Bar(messages.BAR, _reported.number, str(desc), done, whole, "it", now - _reported.began, False, details)
    teller.put_bar(bar)
