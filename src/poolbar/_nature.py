"""What is known of the tasks of a function, and what each kind of worker would make of them. Pure arithmetic on measurements."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ._messages import Cost

MEMORY_SECONDS = 0.25
"""Measured time after which what was measured before counts half."""

ENOUGH_TASKS, ENOUGH_SECONDS = 3, 0.05
"""From so much on, measurements say something."""

BUSY_SHARE = 0.6
"""Where tasks keep the CPUs, or the GIL, busy for more of the time, what looks like waiting may be waiting for those."""

LEAST_THREADS, MOST_THREADS = 4, 64
"""More only helps tasks that wait for more than 97 % of their time, and slows down the others."""

SPARE = 1.3
"""Workers that wait for each one that is needed to keep a CPU busy: tasks do not take turns on their own."""

WORKER_SECONDS = 2e-7
"""Of the time that a task is said to take, the worker's own part: a plain loop has none of it."""

PROCESS_SECONDS, PARENT_SECONDS, MESSAGE_SECONDS = 60e-6, 25e-6, 0.004
"""What a message costs beside its tasks' own work, in the worker process and in the parent. Outcomes of tasks of less than a
millisecond share one, which is sent this often."""

PROMPT_SECONDS = 0.001

BYTE_SECONDS = 0.3e-9
"""What it costs each of the two sides to move a byte: 0.6 ns through a pipe, 0.1 to 0.4 beside it, where what is large goes."""

THREAD_SECONDS = 20e-6
"""What a task costs in a thread: with a GIL one task at a time is handed out."""


class Figures(NamedTuple):
    """What one task of a function costs, on average, in seconds and bytes.

    Attributes:
        tasks: that were measured.
        computing: CPU time of the thread that runs it.
        elsewhere: CPU time of threads and processes that it starts.
        waiting: neither computing nor waiting for a CPU.
        moving: pickling and unpickling of large arguments and values, in a worker process.
        size: of arguments and values, pickled.
        handling: the parent's own work with it, beside messages.
    """

    tasks: int
    computing: float
    elsewhere: float
    waiting: float
    moving: float
    size: float
    handling: float

    @property
    def seconds(self) -> float:
        """What it takes, with a CPU of its own."""
        return self.computing + self.waiting

    @property
    def waiting_share(self) -> float:
        """How much of its time it waits, 0 to 1."""
        return self.waiting / self.seconds if self.seconds else 0.0


class Machine(NamedTuple):
    """What tasks can have here."""

    cpus: int
    gil: bool
    processes: int  # at most
    threads: int  # at most
    is_given: bool = False  # these numbers were asked for: there are so many, and no fewer


class Rates(NamedTuple):
    """Tasks a second: one after the other, in threads, and in processes."""

    loop: float
    thread: float
    process: float


def rates(figures: Figures, machine: Machine) -> Rates:
    """Predict. The model: as many as there are workers, as the CPUs can compute, and as the GIL, or the parent, lets through."""
    seconds = max(figures.seconds, 1e-7)
    cpu = figures.computing + figures.elsewhere
    move = figures.moving + figures.size * BYTE_SECONDS
    together = max(1.0, MESSAGE_SECONDS / seconds) if seconds < PROMPT_SECONDS else 1.0  # tasks in a message
    aside = PROCESS_SECONDS / together + figures.handling / 2 + move
    one_at_a_time = max(figures.computing, THREAD_SECONDS) if machine.gil else THREAD_SECONDS / machine.cpus
    return Rates(
        loop=1 / max(seconds - WORKER_SECONDS, 1e-7),
        thread=min(threads_for(figures, machine) / seconds, 1 / one_at_a_time, machine.cpus / max(cpu, 1e-7)),
        process=min(
            processes_for(figures, machine) / (seconds + aside),
            machine.cpus / (cpu + aside),
            1 / (PARENT_SECONDS / together + figures.handling + move),
        ),
    )


def threads_for(figures: Figures, machine: Machine) -> int:
    """Return how many threads keep the CPUs, or the one that has the GIL, busy with such tasks."""
    if machine.is_given:
        return machine.threads
    least = max(LEAST_THREADS, machine.cpus)  # tasks that wait for each other find as many workers as with processes
    return min(machine.threads, _workers(figures, 1 if machine.gil else machine.cpus, least))


def processes_for(figures: Figures, machine: Machine) -> int:
    """Return how many processes keep the CPUs busy with such tasks: never fewer than CPUs."""
    if machine.is_given:
        return machine.processes
    return min(machine.processes, _workers(figures, machine.cpus, machine.cpus))


def _workers(figures: Figures, cpus: int, least: int) -> int:
    cpu = figures.computing + figures.elsewhere
    return max(least, math.ceil(min(1e6, cpus * (1 + SPARE * figures.waiting / max(cpu, 1e-9)) - 0.1)))


class Nature:
    """Measurements of the tasks of a function, and the kind of worker that they are given to.

    Attributes:
        kind: read and set with the backlog's lock held.
        batch_seconds: what a batch of them should take; None: what it does in workers of ours.
        measured: seconds of tasks that were, with the moving of what is theirs.
    """

    def __init__(self, kind: str, batch_seconds: float | None = None) -> None:
        self.kind = kind
        self.batch_seconds = batch_seconds
        self._count = 0
        self.measured = 0.0
        self._handling = 0.0
        # Sums in which older measurements weigh less; each cost is added in one go, by one lane at a time (see Chooser).
        self._tasks = self._computing = self._elsewhere = self._waiting = self._moving = self._size = 0.0

    def note(self, cost: Cost, size: int, busy: float, handling: float) -> None:
        """Learn from a batch.

        Args:
            cost: what was measured.
            size: bytes of arguments and values; 0 in threads, where nothing moves.
            busy: workers of its kind that were busy, for each CPU that they have: for each GIL, where they are threads.
            handling: what each task costs the parent, in seconds.
        """
        waiting = max(0.0, cost.wall - cost.cpu - cost.queued)
        if busy > 1 and cost.cpu * busy > BUSY_SHARE * cost.wall and self._tasks:
            waiting = min(waiting, cost.tasks * self._waiting / self._tasks)
        seconds = cost.wall + cost.moving + 2 * size * BYTE_SECONDS
        old = 0.5 ** (seconds / MEMORY_SECONDS)
        self._handling = handling
        self._count += cost.tasks
        self.measured += seconds
        self._computing = self._computing * old + cost.cpu
        self._waiting = self._waiting * old + waiting
        if size:  # in a thread nothing of this can be seen, and it stays what it was for each task
            self._elsewhere = self._elsewhere * old + cost.elsewhere
            self._moving = self._moving * old + cost.moving
            self._size = self._size * old + size
        elif self._tasks:
            grown = old + cost.tasks / self._tasks
            self._elsewhere, self._moving, self._size = self._elsewhere * grown, self._moving * grown, self._size * grown
        self._tasks = self._tasks * old + cost.tasks

    def figures(self) -> Figures | None:
        """Return what is known; None: not enough."""
        if self._count < ENOUGH_TASKS or self.measured < ENOUGH_SECONDS:
            return None
        tasks = self._tasks
        return Figures(
            self._count, self._computing / tasks, self._elsewhere / tasks, self._waiting / tasks, self._moving / tasks,
            self._size / tasks, self._handling,
        )  # fmt: skip
