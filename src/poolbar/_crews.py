"""Makes the crew of an executor: its lanes, each with a worker of the kind that was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._lane import Crew
from .workers.thread import ThreadWorker

if TYPE_CHECKING:
    from collections.abc import Callable

    from .workers import Worker
    from .workers.plan import Plan


def thread_crew(workers: int, name: str, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> Crew:
    """Return a crew of threads."""
    return Crew(workers, lambda: ThreadWorker(initializer, initargs), thread_name_prefix=name, one_at_a_time=True)


def process_crew(workers: int, name: str, plan: Plan, tasks_per_worker: int | None) -> Crew:
    """Return a crew of processes. Those that fork are started now."""
    from .workers.process import ProcessWorker, warm_worker

    spares: list[Worker] = []
    if plan.method == "fork":
        # As the standard library does: from one thread, before there are others that could hold a lock.
        for _ in range(workers):
            worker = ProcessWorker(plan)
            worker.launch()
            spares.append(worker)

    def new_worker() -> Worker:
        return warm_worker(plan) or ProcessWorker(plan)

    return Crew(workers, new_worker, thread_name_prefix=name, tasks_per_worker=tasks_per_worker, spares=spares)
