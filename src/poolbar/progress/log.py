"""The log: now and then a line through ``logging``, for where a bar would be in the way, such as the log of a batch system."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import Event, Progress

FIRST_LINE_SECONDS = 10.0
"""Runs that are shorter than this are silent."""

PERIOD_SECONDS, PERIOD_SHARE = 30.0, 0.1
"""After the first line there is one whenever both have gone by: so much time, and this share of the tasks."""

_logger = logging.getLogger("poolbar")


class Log:
    """Writes lines about a run to the logger "poolbar", level INFO; to stderr where logging is not set up."""

    def __init__(self) -> None:
        self._last: Progress | None = None  # that there was a line of
        self._has_advised = False

    def started(self, progress: Progress) -> None:
        """Do nothing: a run must last a while."""

    def added(self, progress: Progress) -> None:
        """Do nothing: ``ended`` comes at the same time."""

    def ended(self, progress: Progress) -> None:
        """Write a line, if it is time."""
        last = self._last
        if last is None:
            is_time = progress.seconds >= FIRST_LINE_SECONDS
        else:
            step = 0 if progress.total is None else PERIOD_SHARE * progress.total
            is_time = progress.seconds - last.seconds >= PERIOD_SECONDS and progress.done - last.done >= step
        if is_time and not progress.is_quiet:
            self._last = progress
            _write(line(progress))
        self._advise(progress)

    def _advise(self, progress: Progress) -> None:
        if progress.advice is not None and not self._has_advised and self._last is not None:
            self._has_advised = True
            _write(f"{progress.desc or 'poolbar'}: {progress.advice}")

    def event(self, progress: Progress, event: Event) -> None:
        """Do nothing: lines are few."""

    def finished(self, progress: Progress) -> None:
        """Write the last line."""
        if self._last is not None:
            self._advise(progress)
            _write(line(progress, is_over=True))


def line(progress: Progress, *, is_over: bool = False) -> str:
    """Return what a line says of a run."""
    done, total, unit = progress.done, progress.total, progress.unit
    share = "" if not total else f" ({100 * done // total} %)"
    parts = [f"{done} {_plural(unit, done)}{share}" if total is None else f"{done} of {total} {_plural(unit, total)}{share}"]
    if is_over:
        parts[0] = "done: " + parts[0] if done == total else "ended: " + parts[0]
    parts += [f"{count} {name}" for name in ("failed", "retried", "cancelled") if (count := getattr(progress, name))]
    parts.append(f"{_time(progress.seconds)} so far" if not is_over else f"in {_time(progress.seconds)}")
    if progress.rate is not None:
        parts.append(f"{progress.rate:.3g} {unit}/s")
    if not is_over and progress.eta is not None:
        parts.append(f"{_time(progress.eta)} left")
    return f"{progress.desc or 'poolbar'}: {', '.join(parts)}"


def _plural(unit: str, count: int) -> str:
    return unit if count == 1 else f"{unit}s"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _write(text: str) -> None:
    if _logger.hasHandlers():
        _logger.info("%s", text)
    elif sys.stderr is not None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
