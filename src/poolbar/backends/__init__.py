"""What an executor can hand its batches to, beside workers of its own: any Executor, a cluster, whatever a plug-in brings.

A backend runs calls; all else is ours: what a batch is, which tasks are in it, what becomes of them, and how that is shown. It is
named by ``backend=``: a ``Backend``, a ``concurrent.futures.Executor``, or the name of an entry point in the group
``poolbar.backends``, which is called with an address, or None, and returns one of the two.

``poolbar.testing.check_backend`` runs the contract against a backend.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from .._errors import BackendError as BackendError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future


class Backend(ABC):
    """Runs calls somewhere. Any thread may call its methods, several at a time.

    Attributes:
        name: in words, for messages.
        reruns: a call whose worker was lost is made again by the engine itself, as often as that sees fit. Where it gives up on
            a batch, its tasks are tried one by one, so that only the one that kills workers fails.
    """

    name = "the backend"
    reruns = False

    @abstractmethod
    def submit(self, call: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Have ``call(*args)`` run once, on any worker, and return a future for it, of ``concurrent.futures``.

        ``call`` is a function of poolbar's; ``args`` are bytes, None, plain tuples, and what ``put`` and ``line`` have returned:
        what ``put`` was given arrives in its place. The result is plain data.

        Raises:
            BackendError: no call can be run any more, by anyone.
        """

    @abstractmethod
    def slots(self) -> int:
        """Return how many calls can run at the same time, now. It is asked often, and must not wait."""

    def put(self, data: bytes) -> Any:
        """Return what stands for ``data`` among a call's arguments: it travels once, however many calls it is part of."""
        return data

    def line(self, deliver: Callable[[str, bytes], None]) -> Callable[[str, bytes], None] | None:
        """Return a function by which a call, where it runs, has ``deliver`` called here with the same arguments.

        It must pickle, and must not wait; ``deliver`` may be called from any thread, and in any order. None: there is no such
        way; then outcomes, prints and bars come when their batch has ended.
        """
        return None

    def watch(self, changed: Callable[[], None]) -> None:  # noqa: B027  # most have nothing to tell
        """Call ``changed`` whenever ``slots`` may return something else from now on, from any thread. None need come."""

    def close(self) -> None:  # noqa: B027  # nor to close
        """Let go of what was opened: no call will come, and none runs."""
