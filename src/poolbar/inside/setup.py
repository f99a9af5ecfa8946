"""What a worker process starts with."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from .pickling import loads

if TYPE_CHECKING:
    from collections.abc import Callable

    from .relay import Levels


class Main(NamedTuple):
    """What ``__main__`` is in this worker."""

    by_value: bool  # what the parent's __main__ defines comes by value, and goes back so
    empty: bool  # the start method leaves there what started the process: put an empty one in its place


class Initializer(NamedTuple):
    """Runs once in a worker before its first task; ``sealed`` is the pickle of (function, arguments), or None."""

    sealed: bytes | None
    call: tuple[Callable[..., object], tuple[Any, ...]] | None

    def run(self) -> None:
        """Call the initializer."""
        call = self.call if self.sealed is None else loads(self.sealed)
        assert call is not None  # one of the two is there
        function, arguments = call
        function(*arguments)


class Flags(NamedTuple):
    """The parent's interpreter flags, where environment variables have brought them: loky gives a process no flags."""

    before: dict[str, str | None]  # these variables, as the parent has them; None: not at all
    options: dict[str, Any]  # the parent's -X

    def settle(self) -> None:
        """Make the environment the parent's: Python has read it, and what a task starts gets what it would get there.

        Who hands on the flags of this process (multiprocessing, a pool of ours in a task) finds -X where it belongs.
        """
        for name, value in self.before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        sys._xoptions.update(self.options)


class Paths(NamedTuple):
    """Where memory lies that a worker and its parent share."""

    ledger: str
    arguments: str  # the arena of what comes in
    values: str  # and of what goes out


class Setup(NamedTuple):
    """What a worker starts with."""

    memory: Paths
    initializer: Initializer | None
    environment: dict[str, str]  # taken where the variable is not set
    flags: Flags
    main: Main
    levels: Levels | None  # of the parent's loggers; None: nothing is relayed
