"""The bar: tqdm's, in a terminal or a notebook. The only module that imports tqdm."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import Counts

CLOCK_PERIODS = 5
"""Without news, the bar's clock is redrawn at every fifth look."""

_EARLY = re.compile(r"100%(?=\||<bar/>)")


def is_shown_by_default() -> bool:
    """Tell whether a bar would be seen: stderr is a terminal, or this is a notebook."""
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and getattr(shell, "kernel", None) is not None


class Bar:
    """A tqdm bar that is told counts."""

    def __init__(self, desc: str | None, unit: str, options: dict[str, Any]) -> None:
        self._options = {"miniters": 1, **options}
        if desc is not None:
            self._options.setdefault("desc", desc)
        if unit != "task" or "TQDM_UNIT" not in os.environ:
            self._options.setdefault("unit", unit)
        self._bar: Any = None
        self._looks = 0
        self._paused = False

    def show(self, counts: Counts) -> None:
        """Draw."""
        if self._bar is None:
            self._bar = self._made(counts)
        drawn = self._set(counts)
        if self._bar.fault is not None:
            raise self._bar.fault
        self._looks += 1
        if not drawn and (self._paused or self._looks % CLOCK_PERIODS == 0):
            self._bar.refresh()
        self._paused = False

    def _made(self, counts: Counts) -> Any:
        # It is made late, and is to show time and rate from the beginning; the delay keeps it from drawing a 0 first.
        bar = _bar_class()(**{"delay": 1e-9, **self._options, "total": counts.total})
        if not bar.disable:
            bar.start_t -= counts.seconds
            bar.last_print_t = bar.start_t
        return bar

    def _set(self, counts: Counts) -> bool:
        bar = self._bar
        bar.total = counts.total
        if counts.failed:
            bar.set_postfix(failed=counts.failed, refresh=False)
        return bool(bar.update(counts.done - bar.n))

    def pause(self) -> None:
        """Take the bar off the screen for now."""
        if self._bar is not None and not self._paused:
            self._bar.clear()
            self._paused = True

    def finish(self, counts: Counts) -> None:
        """Draw the end, on a line of its own."""
        if self._bar is not None:
            self._set(counts)
            self._bar.refresh()
            self._bar.close()


def _bar_class() -> Any:
    from tqdm.auto import tqdm

    class HonestBar(tqdm):  # type: ignore[misc]  # tqdm has no types
        """Rounds 99.6 % down, and starts no monitor thread: the painter redraws."""

        monitor_interval = 0

        fault: Exception | None = None

        def display(self, *args: Any, **kwargs: Any) -> Any:
            # tqdm holds its lock here, and does not let it go when drawing fails.
            try:
                return super().display(*args, **kwargs)
            except Exception as error:
                self.fault = error
                return None

        @staticmethod
        def format_meter(n: float, total: float | None, *args: Any, **kwargs: Any) -> str:
            text = tqdm.format_meter(n, total, *args, **kwargs)
            return _EARLY.sub(" 99%", text) if total and n < total else text

    return HonestBar
