"""Makes the crew of an executor: its lanes, each with a worker of the kind that was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._crew import Crew
from ._memory import Memory
from .workers.thread import ThreadWorker

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._options import Options
    from .workers import Worker


def thread_crew(workers: int, name: str, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> Crew:
    """Return a crew of threads."""
    return Crew(workers, lambda: ThreadWorker(initializer, initargs), thread_name_prefix=name, one_at_a_time=True)


def process_crew(workers: int, name: str, asked: Options) -> tuple[Crew, bool]:
    """Return a crew of processes, and whether ``__main__`` goes to them by value. Those that fork are started now."""
    from .workers.plan import Plan, context_of
    from .workers.process import ProcessWorker, warm_worker

    idle_seconds = 0.0 if asked.max_tasks_per_child is not None else asked.idle_seconds
    context = context_of(asked.start_method)
    plan = Plan(context, asked.initializer, asked.initargs, workers, idle_seconds, asked.task_timeout, asked.relay)
    spares: list[Worker] = []
    if plan.method == "fork":
        # As the standard library does: from one thread, before there are others that could hold a lock.
        try:
            for _ in range(workers):
                worker = ProcessWorker(plan)
                spares.append(worker)
                worker.launch()
        except BaseException:  # a Ctrl-C: nobody else knows of these
            for spare in spares:
                spare.kill(hard=True)
                spare.end(spent=True)
            raise

    def new_worker() -> Worker:
        return warm_worker(plan) or ProcessWorker(plan)

    memory = None if asked.worker_memory_mb is None else Memory(asked.worker_memory_mb)
    tasks = asked.max_tasks_per_child
    crew = Crew(
        workers, new_worker, thread_name_prefix=name, tasks_per_worker=tasks, spares=spares, retries=asked.retries, memory=memory
    )
    return crew, plan.main.by_value
