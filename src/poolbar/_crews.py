"""Makes the crew of an executor: its lanes, each with a worker of the kind that was chosen."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ._choice import INTERPRETER, PROCESS, REMOTE, THREAD
from ._crew import Crew
from ._memory import Memory
from ._supply import Supply
from .workers.thread import ThreadWorker

if TYPE_CHECKING:
    from ._judge import Judge
    from ._options import Options
    from ._remote import Remote
    from .workers import Worker
    from .workers.plan import Plan


def crew_of(asked: Options, judge: Judge, name: str, remote: Remote | None) -> Crew:
    """Return a crew. No worker is started yet, but for those that fork.

    Args:
        asked: what the executor was asked for.
        judge: decides which kind of worker takes a task.
        name: of the lanes' threads.
        remote: provides the workers, in place of what is built in.
    """
    if remote is not None:
        supplies = {REMOTE: remote.supply()}
    else:
        supplies = {kind: _SUPPLIES[kind](asked, most, kind == judge.choice.kind) for kind, most in judge.kinds.items()}
    most_at_once = asked.max_workers if len(supplies) > 1 else None
    crew = Crew(supplies, judge, thread_name_prefix=name, retries=asked.retries, most_at_once=most_at_once)
    judge.preside(crew.backlog)
    if remote is not None:
        remote.follow(crew)
    return crew


def _threads(asked: Options, workers: int, at_once: bool) -> Supply:
    return Supply(lambda: ThreadWorker(asked.initializer, asked.initargs, workers), workers, one_at_a_time=True)


def _processes(asked: Options, workers: int, at_once: bool) -> Supply:
    maker = _ProcessMaker(asked, workers)
    if at_once:
        maker.plan()  # what is wrong with the initializer is said to the caller
    return Supply(
        maker.make,
        workers,
        tasks_per_worker=asked.max_tasks_per_child,
        memory=None if asked.worker_memory_mb is None else Memory(asked.worker_memory_mb),
        spares=maker.forked() if at_once and asked.method == "fork" else None,
        at_end=maker.end,
    )


class _ProcessMaker:
    """Makes worker processes, all from one plan. ``_lock`` is held while that is made (50 ms), by the first who needs it."""

    def __init__(self, asked: Options, workers: int) -> None:
        # It has a lock that is held during forks: loaded while one waits for a lane, it would let go of what it does not hold.
        import concurrent.futures.thread  # noqa: F401

        from .workers import starting  # threads as workers have no use for it

        # Lanes import under its lock: a fork of the user's waits, for its child must not find a module half imported, for ever.
        self._starts = starting
        self._asked = asked
        self._workers = workers
        self._lock = threading.Lock()
        self._plan: Plan | None = None

    def plan(self) -> Plan:
        with self._lock:
            if self._plan is None:
                with self._starts.starting:
                    self._plan = self._made()
            return self._plan

    def _made(self) -> Plan:
        from .workers.plan import Plan, context_of, thread_limits

        asked = self._asked
        idle_seconds = 0.0 if asked.max_tasks_per_child is not None else asked.idle_seconds
        context = context_of(asked.start_method)
        call, arguments, limit = asked.initializer, asked.initargs, asked.task_timeout
        threads = thread_limits(self._workers, asked.numeric_threads)
        return Plan(context, call, arguments, threads, idle_seconds, limit, asked.relay, asked.preload)

    def end(self) -> None:
        """Give back what workers are made with."""
        with self._lock:
            plan = self._plan
        if plan is not None:
            plan.end()

    def make(self) -> Worker:
        with self._starts.starting:
            from .workers.process import ProcessWorker, warm_worker

        plan = self.plan()
        return warm_worker(plan) or ProcessWorker(plan)

    def forked(self) -> list[Worker]:
        """Start all workers now, as the standard library does: from one thread, before others could hold a lock."""
        from .workers.process import ProcessWorker

        spares: list[Worker] = []
        try:
            for _ in range(self._workers):
                worker = ProcessWorker(self.plan())
                spares.append(worker)
                worker.launch()
        except BaseException:  # a Ctrl-C: nobody else knows of these
            for spare in spares:
                spare.kill(hard=True)
                spare.end(spent=True)
            raise
        return spares


def _interpreters(asked: Options, workers: int, at_once: bool) -> Supply:
    """Return a supply of interpreters.

    Raises:
        NotPicklable: the initializer does not pickle.
        RuntimeError: its module is still being imported.
    """
    from ._remote import sealed_call
    from .inside.setup import Initializer
    from .workers.interpreter import InterpreterWorker
    from .workers.relayed import levels

    initializer = None if asked.initializer is None else Initializer(sealed_call(asked.initializer, asked.initargs), None)
    told = levels() if asked.relay else None
    return Supply(lambda: InterpreterWorker(initializer, told), workers)


_SUPPLIES = {PROCESS: _processes, THREAD: _threads, INTERPRETER: _interpreters}
