"""Progress for programs: one JSON line for each change, ten a second at most for each run, and one at its end."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .._choice import Choice
    from . import Event, Progress

COUNTS = ("run", "desc", "unit", "total", "done", "failed", "retried", "cancelled", "running")


class JsonLines:
    """Writes JSON lines.

    Args:
        path: of a file, to whose end they are added; None: stderr.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path

    def started(self, progress: Progress) -> None:
        """Do nothing: ``ended`` comes at the same time."""

    def added(self, progress: Progress) -> None:
        """Do nothing: ``ended`` comes at the same time."""

    def ended(self, progress: Progress) -> None:
        """Write a line."""
        self._write(progress, "running")

    def event(self, progress: Progress, event: Event) -> None:
        """Do nothing: lines are about runs."""

    def finished(self, progress: Progress) -> None:
        """Write the last line."""
        self._write(progress, "finished")

    def _write(self, progress: Progress, state: str) -> None:
        text = json.dumps(fields(progress, state)) + "\n"
        if self._path is not None:
            # Opened each time: several processes may add to it, and a file that was moved away is made anew.
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(text)
        elif sys.stderr is not None:
            sys.stderr.write(text)
            sys.stderr.flush()


def fields(progress: Progress, state: str) -> dict[str, Any]:
    """Return the fields of a line: counts, ``state``, ``seconds``, ``rate`` (tasks a second), ``eta`` (seconds), ``choice``."""
    counts = {name: getattr(progress, name) for name in COUNTS}
    rate, eta, choice = progress.rate, progress.eta, progress.choice
    return {
        "state": state,
        **counts,
        "seconds": round(progress.seconds, 3),
        "rate": None if rate is None else round(rate, 3),
        "eta": None if eta is None else round(eta, 3),
        "choice": None if choice is None else choice_fields(choice),
        "advice": progress.advice,
    }


def choice_fields(choice: Choice) -> dict[str, Any]:
    """Return what a choice says; ``figures`` in seconds and bytes a task, ``rates`` in tasks a second."""
    figures, rates = choice.figures, choice.rates
    return {
        "kind": choice.kind,
        "workers": choice.workers,
        "reason": choice.reason,
        "figures": None if figures is None else figures._asdict(),
        "rates": None if rates is None else rates._asdict(),
    }
