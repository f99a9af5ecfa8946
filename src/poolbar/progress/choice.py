"""Which reporter shows the runs of an executor."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .._settings import is_reporter
from .place import cell, is_terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from . import Reporter

AUTO, BAR, LOG, OFF, JSON = "auto", "bar", "log", "off", "json"


def reporter_maker(wish: Any, tqdm_options: dict[str, Any], *, inside_worker: bool) -> Callable[[], Reporter] | None:
    """Return what makes the reporter of a run; None: silence.

    Args:
        wish: one of the words above, ``json:PATH``, a reporter, or a class with tqdm's interface.
        tqdm_options: further keywords for the bar.
        inside_worker: nothing is shown unless it was asked for: the parent alone draws.
    """
    if wish == AUTO:
        is_seen = is_terminal(sys.stderr) or cell() is not None
        wish = OFF if inside_worker else BAR if is_seen else LOG
    if wish == OFF:
        return None
    if wish == LOG:
        from .log import Log

        return Log
    if isinstance(wish, str) and wish.startswith(JSON):
        from .json_lines import JsonLines

        return lambda: JsonLines(wish.removeprefix(JSON).removeprefix(":") or None)
    if is_reporter(wish):
        return lambda: wish
    from .bar import Bar

    return lambda: Bar(None if wish == BAR else wish, tqdm_options)
