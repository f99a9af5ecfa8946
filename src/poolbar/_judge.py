"""Which kind of worker takes the tasks of a function: fixed when an executor is made, or decided anew as tasks are measured."""

from __future__ import annotations

import functools
import threading
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Protocol

from ._choice import PROCESS, THREAD, Choice, reconsider
from ._nature import MOST_THREADS, Machine, Nature
from ._thread_safe import is_thread_safe

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._backlog import Backlog
    from ._batch import Batch
    from ._messages import Cost
    from ._options import Options

MOST_REMEMBERED = 256
"""Functions of which an executor remembers what their tasks are like."""

ADVICE_TASKS, ADVICE_SECONDS = 10, 0.25
"""Advice is given when so much has been measured."""

WORTH_SECONDS = 0.25
"""Processes are added where the tasks that wait would take longer than this: the start of one takes 0.1 s."""


class Judge(Protocol):
    """Decides.

    Attributes:
        choice: what was decided last.
        kinds: of workers that there may be, with how many of each at first.
    """

    choice: Choice
    kinds: dict[str, int]

    def preside(self, backlog: Backlog) -> None:
        """Get to know where tasks wait. Called once, before there are any."""

    def look(self) -> None:
        """Look at what may have changed since the last run. Called when tasks are submitted, or mapped."""

    def of(self, fn: Callable[..., Any]) -> Nature:
        """Return what is known of the tasks of a callable."""

    def may_run_in_thread(self, fn: Callable[..., Any]) -> bool:
        """Tell whether a callable may ever be called in this process."""

    def is_in_thread(self, fn: Callable[..., Any]) -> bool:
        """Tell whether what is submitted now is for threads, and not pickled: it ends there."""

    def is_for_threads(self) -> bool:
        """Tell whether threads take whatever comes, and nothing is ever pickled."""

    def learn(self, batch: Batch, cost: Cost, size: int) -> None:
        """Learn what a batch has cost, from the lane that ran it."""


class FixedJudge:
    """Has decided."""

    def __init__(self, choice: Choice, batch_seconds: float | None = None) -> None:
        self.choice = choice
        self.kinds = {choice.kind: choice.workers}
        self._nature = Nature(choice.kind, batch_seconds)

    def preside(self, backlog: Backlog) -> None:
        """Do nothing."""

    def look(self) -> None:
        """Do nothing."""

    def of(self, fn: Callable[..., Any]) -> Nature:
        """Return the same for all."""
        return self._nature

    def may_run_in_thread(self, fn: Callable[..., Any]) -> bool:
        """Tell what is so for all."""
        return self.choice.kind == THREAD

    def is_in_thread(self, fn: Callable[..., Any]) -> bool:
        """Tell what is so for all."""
        return self.choice.kind == THREAD

    def is_for_threads(self) -> bool:
        """Tell what is so for all."""
        return self.choice.kind == THREAD

    def learn(self, batch: Batch, cost: Cost, size: int) -> None:
        """Do nothing: nothing follows from it."""


class AutoJudge:
    """Begins with what the facts say, and follows the measurements where the user allows it.

    ``_lock`` is held while a batch is learnt from, for some 10 us, by lanes; the backlog's lock is taken under it, never the
    other way round.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._gil = options.gil()
        self.choice = options.choose()
        self._base, self._least, self._reason = self.choice[:3]  # what a function begins with
        given = options.max_workers
        self.kinds = {PROCESS: self.choice.workers, THREAD: given or MOST_THREADS}
        if self._base == THREAD:
            self.kinds = {PROCESS: given or options.cpus(), THREAD: self.choice.workers}
        self._natures: dict[Any, Nature] = {}  # the oldest first
        self._wanted: dict[Nature, int] = {}  # workers
        self._is_advised = False

    def preside(self, backlog: Backlog) -> None:
        """Get to know where tasks wait."""
        self._backlog = backlog

    @functools.cached_property
    def _machine(self) -> Machine:
        options, cpus = self._options, self._options.cpus()
        given = options.max_workers
        threads = (given or MOST_THREADS) if options.keeps_processes is None else 0
        # What began in threads shares this program's objects, and stays.
        processes = (given or options.most_processes(cpus)) if self._base == PROCESS else 0
        return Machine(cpus, self._gil, processes, threads, given is not None)

    def look(self) -> None:
        """See whether the GIL is on: the import of an extension module may have turned it on (PEP 703)."""
        if self._options.gil() == self._gil:
            return
        with self._lock:
            self._gil = self._options.gil()
            self.choice = self._options.choose()
            self._base, self._least, self._reason = self.choice[:3]
            self._natures.clear()
            self.__dict__.pop("_machine", None)

    # --- functions

    def of(self, fn: Callable[..., Any]) -> Nature:
        """Return what is known of functions with the same code."""
        key = code_of(fn), self.may_run_in_thread(fn)
        nature = self._natures.get(key)
        if nature is None:
            nature = self._natures.setdefault(key, Nature(self._base))  # another thread may have been first
            for old in list(self._natures)[:-MOST_REMEMBERED]:
                self._wanted.pop(self._natures.pop(old, nature), None)
        return nature

    def may_run_in_thread(self, fn: Callable[..., Any]) -> bool:
        """Tell whether the user allows it, or there is no GIL that would have made it processes."""
        if self._base == THREAD:
            return True
        allowed = self._options.thread_safe
        return self._options.keeps_processes is None and (is_thread_safe(fn) if allowed is None else allowed)

    def is_in_thread(self, fn: Callable[..., Any]) -> bool:
        """Tell whether it is so now."""
        return self.may_run_in_thread(fn) and self.of(fn).kind == THREAD

    def is_for_threads(self) -> bool:
        """Tell whether there is no GIL."""
        return self._base == THREAD

    # --- measurements

    def learn(self, batch: Batch, cost: Cost, size: int) -> None:
        """Decide anew."""
        function, source = batch.function, batch.source
        nature, kind = function.nature, function.kind
        machine = self._machine
        with self._lock:
            cores = 1 if kind == THREAD and machine.gil else machine.cpus
            busy = max(batch.busy, self._backlog.busy(kind))  # others may have kept it waiting, and have gone since
            nature.note(cost, size, busy / cores, source.handling_seconds)
            figures = nature.figures()
            if figures is None:
                return
            thread_safe = function.call is not None
            self.choice = choice = reconsider(nature.kind, self._reason, figures, machine, thread_safe=thread_safe)
            self._employ(nature, choice)
            if choice.advice is None or self._is_advised or figures.tasks < ADVICE_TASKS or nature.measured < ADVICE_SECONDS:
                return
            self._is_advised = source.tally.advise(choice.advice)

    def _employ(self, nature: Nature, choice: Choice) -> None:
        backlog = self._backlog
        if choice.kind != nature.kind:
            self._wanted[nature] = choice.workers
            backlog.set_most(choice.kind, max(choice.workers, self._wanted_by_others(nature, choice.kind)))
            backlog.assign(nature, choice.kind)
        elif self._options.max_workers is None:
            self._adjust(nature, choice)

    def _adjust(self, nature: Nature, choice: Choice) -> None:
        most = self._backlog.hands[choice.kind].most
        self._wanted[nature] = choice.workers
        wanted = max(choice.workers, self._wanted_by_others(nature, choice.kind))
        if choice.kind == self._base:
            wanted = max(wanted, self._least)  # tasks may wait for each other: there are as many workers as at first
        if wanted > most:
            assert choice.figures is not None  # it comes from them
            if self._backlog.waiting(nature) * choice.figures.seconds >= WORTH_SECONDS * most:
                self._backlog.set_most(choice.kind, min(wanted, 2 * most))
        elif 2 * wanted <= most:
            self._backlog.set_most(choice.kind, wanted)

    def _wanted_by_others(self, nature: Nature, kind: str) -> int:
        others = [(other, wanted) for other, wanted in list(self._wanted.items()) if other is not nature and other.kind == kind]
        return max((wanted for other, wanted in others if self._backlog.waiting(other)), default=0)


def code_of(fn: Any) -> Any:
    """Return what callables have in common whose tasks are of the same nature."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if isinstance(fn, MethodType):
        fn = fn.__func__
    if isinstance(fn, FunctionType):
        return fn.__code__
    return fn if isinstance(fn, (BuiltinFunctionType, type)) else type(fn)
