"""Workers that a backend provides: a cluster, or an executor that is not ours."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from ._choice import REMOTE, Choice
from ._errors import BackendError, NotPicklable, text_of
from ._function import name_of
from ._settings import installed_backends
from ._supply import Supply
from .backends import Backend
from .backends.executors import ExecutorBackend
from .inside.names import ModuleIsBeingImported
from .inside.pickling import dumps
from .workers.relayed import levels
from .workers.remote import Engine, RemoteWorker

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._crew import Crew
    from ._options import Options

BATCHES_PER_SLOT = 2
"""One runs, and one is on its way: it waits where it will run, so that no slot waits for a round trip."""

LEAST_BATCH_SECONDS, BATCH_SECONDS_PER_SLOT = 0.050, 0.001
"""What a batch should take: a round trip is 5 ms, and a scheduler takes about 1000 calls a second, from all slots together."""


def open_backend(asked: str | Executor | Backend, address: str | None, max_workers: int | None) -> Backend:
    """Return the backend that was asked for.

    Args:
        asked: its name, or itself.
        address: where its engine is; None: it knows.
        max_workers: how many calls run at a time in an executor that does not tell; None: as many as there are CPUs.

    Raises:
        BackendError: there is none of that name, what it needs is not installed, or its engine cannot be reached.
    """
    made: Any = _made(asked, address) if isinstance(asked, str) else asked
    if isinstance(made, Backend):
        return made
    if isinstance(made, Executor):
        return ExecutorBackend(made, max_workers)
    what = f"the backend {asked!r} made {made!r}, which" if isinstance(asked, str) else f"backend={asked!r}"
    raise BackendError(f"{what} is neither a poolbar.backends.Backend nor a concurrent.futures.Executor")


def _made(name: str, address: str | None) -> Any:
    entry = installed_backends()[name]  # the settings have seen that it is there
    try:
        return entry.load()(address)
    except BackendError:
        raise
    except Exception as error:
        raise BackendError(f"the backend {name!r} ({entry.value}) cannot be opened: {text_of(error)}") from error


class Remote:
    """A backend, opened for one executor.

    Raises:
        BackendError: it cannot be opened.
        NotPicklable: the initializer does not pickle.
        RuntimeError: its module is still being imported.
    """

    def __init__(self, asked: Options) -> None:
        self._asked = asked
        setup = None if asked.initializer is None else sealed_call(asked.initializer, asked.initargs)
        self._backend = open_backend(asked.backend, asked.address, asked.max_workers)
        try:
            slots = self._backend.slots()
            self.batch_seconds = max(LEAST_BATCH_SECONDS, slots * BATCH_SECONDS_PER_SLOT)
            told = levels() if asked.relay else None
            self._engine = Engine(self._backend, setup, told, 2 * self.batch_seconds)
        except BaseException:
            self._backend.close()
            raise

    def choice(self) -> Choice:
        """Return what there is now."""
        slots = self._backend.slots()
        lanes = max(1, BATCHES_PER_SLOT * slots)
        if self._asked.max_workers is not None:
            lanes = min(lanes, self._asked.max_workers)
        reason = f"backend={self._asked.backend_name!r} was asked for: {self._backend.name}, {slots} tasks at a time"
        return Choice(REMOTE, lanes, reason)

    def supply(self) -> Supply:
        """Return where lanes have their workers from."""
        return Supply(lambda: RemoteWorker(self._engine), self.choice().workers, at_end=self._engine.close)

    def follow(self, crew: Crew) -> None:
        """Have as many lanes as there is work for, from now on."""

        def changed() -> None:
            crew.judge.choice = self.choice()
            crew.backlog.set_most(REMOTE, crew.judge.choice.workers)

        self._backend.watch(changed)

    def close(self) -> None:
        """Let go of it: nobody has used it."""
        self._engine.close()


def sealed_call(call: Callable[..., object], arguments: tuple[Any, ...]) -> bytes:
    """Pickle an initializer and its arguments.

    Raises:
        NotPicklable: they do not pickle.
        RuntimeError: its module is still being imported.
    """
    try:
        return dumps((call, arguments))
    except ModuleIsBeingImported:
        raise
    except Exception as error:
        raise NotPicklable(f"the initializer {name_of(call)} or its arguments cannot be pickled: {text_of(error)}") from error
