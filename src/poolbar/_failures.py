"""What failed in a run of ``map`` that goes on all the same: counted by type and place, and told at the end in a few lines."""

from __future__ import annotations

import os
import re
import threading
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_GROUPS = 20
"""Kinds of failures that are told apart; all further ones make one group."""

MOST_CHARACTERS = 200

_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+), in (?P<function>.*)$', re.MULTILINE)


class _Group:
    """Failures of one type at one place; the first in the input's order stands for all."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.text = self.call = ""
        self.count = 0


class Failures:
    """The failures of a run. ``_lock`` is held for a count: lanes note them, the caller's thread tells them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._groups: dict[tuple[str, str], _Group] = {}
        self._others = 0
        self.count = 0

    def note(self, error: BaseException, index: int, call: Callable[[], str]) -> None:
        """Count the failure of a task at an index. ``call`` returns the call that failed, in short form."""
        key = type(error).__qualname__, _place_of(error)
        with self._lock:
            self.count += 1
            group = self._groups.get(key)
            if group is None:
                if len(self._groups) >= MOST_GROUPS:
                    self._others += 1
                    return
                group = self._groups[key] = _Group(index)
            group.count += 1
            if group.count > 1 and index >= group.index:
                return
            group.index = index
        text, shown = _shortened(_text_of(error)), call()  # code of the user's runs here: a ``repr``
        with self._lock:
            if group.index == index:  # else an earlier one came meanwhile
                group.text, group.call = text, shown

    def summary(self, tasks: int) -> str:
        """Return what failed, the most frequent first. ``tasks`` is how many there were in all."""
        with self._lock:
            lines = [f"{self.count} of {tasks} tasks of {self._name} failed"]
            for (kind, place), group in sorted(self._groups.items(), key=lambda entry: -entry[1].count):
                first = "" if group.text.startswith(group.call) else f", first: {group.call}"
                lines.append(f"  {group.count} x {kind}{place}: {group.text}{first}")
            if self._others:
                lines.append(f"  {self._others} of other kinds")
        return "\n".join(lines)

    def tell(self, tasks: int) -> None:
        """Log the summary, if anything failed."""
        if self.count:
            import logging

            logging.getLogger("poolbar").warning("%s", self.summary(tasks))


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # a user's __str__ may raise anything
        return "?"


def _shortened(text: str) -> str:
    line = text.partition("\n")[0]
    return line if len(line) <= MOST_CHARACTERS else line[: MOST_CHARACTERS - 3] + "..."


def _place_of(error: BaseException) -> str:
    """Return where an exception was raised, by its own traceback or the remote one that is its cause, or "" for nowhere."""
    frames = traceback.extract_tb(error.__traceback__)
    if frames:
        return _place(frames[-1].filename, frames[-1].lineno, frames[-1].name)
    found = list(_FRAME.finditer(getattr(error.__cause__, "tb", "")))
    return _place(*found[-1].group("file", "line", "function")) if found else ""


def _place(file: str, line: object, function: str) -> str:
    return f" in {function} ({os.path.basename(file)}:{line})"
