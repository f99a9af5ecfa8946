"""What kind of worker, and why: facts and measurements in, choice out. Pure: it asks nothing of the machine."""

from __future__ import annotations

from typing import NamedTuple

from ._nature import BYTE_SECONDS, PROMPT_SECONDS, Figures, Machine, Rates, processes_for, rates, threads_for

GAIN = 1.5
"""Another kind of worker must be so much faster to be taken, or to be worth a word."""

PROCESS, THREAD, INTERPRETER, REMOTE = "process", "thread", "interpreter", "remote"


class Choice(NamedTuple):
    """What was taken, and why.

    Attributes:
        kind: "process", "thread", "interpreter", or "remote": what a backend provides that is not built in.
        workers: how many, at most.
        reason: in words.
        advice: what would be faster, in words, and how to have it; None: nothing that is known.
        figures: what was measured of the tasks; None: not enough.
        rates: tasks a second that these figures let one expect, in a loop, in threads and in processes.
    """

    kind: str
    workers: int
    reason: str
    advice: str | None = None
    figures: Figures | None = None
    rates: Rates | None = None


class Facts(NamedTuple):
    """What the choice depends on."""

    backend: str  # what was asked for: auto, process, thread or interpreter; or the name of another
    fixed: str | None  # the kind that the executor's class fixes
    gil: bool  # the GIL is on, now
    needs_processes: str | None  # a keyword that only processes can honour
    prefers_processes: str | None  # one that both can honour, each in its way: it was meant for processes
    max_workers: int | None
    cpus: int
    thread_cpus: int  # as the standard library counts them for threads


def choose(facts: Facts) -> Choice:
    """Decide, before anything is measured.

    Raises:
        ValueError: what was asked for contradicts itself.
    """
    kind, reason = _kind(facts)
    if kind != PROCESS and facts.needs_processes is not None:
        asked = f"{kind}s were" if kind != REMOTE else f"backend={facts.backend!r} was"
        raise ValueError(f"{facts.needs_processes} needs worker processes, and {asked} asked for")
    if facts.max_workers is not None:
        return Choice(kind, facts.max_workers, reason)
    workers = min(32, facts.thread_cpus + 4) if kind == THREAD else facts.cpus
    return Choice(kind, workers, reason)


def _kind(facts: Facts) -> tuple[str, str]:
    if facts.fixed is not None:
        return facts.fixed, "the executor's class says so"
    if facts.backend != "auto":
        kind = facts.backend if facts.backend in (PROCESS, THREAD, INTERPRETER) else REMOTE
        return kind, f"backend={facts.backend!r} was asked for"
    for keyword in (facts.needs_processes, facts.prefers_processes):
        if keyword is not None:
            return PROCESS, f"{keyword} needs worker processes"
    if facts.gil:
        return PROCESS, "this Python has a GIL: threads would compute one at a time"
    return THREAD, "this Python runs without a GIL: threads compute side by side"


def reconsider(kind: str, reason: str, figures: Figures, machine: Machine, *, thread_safe: bool) -> Choice:
    """Decide anew, after tasks have been measured that were given to workers of one kind.

    Args:
        kind: of these workers.
        reason: why this kind was taken before anything was measured.
        figures: what was measured.
        machine: what tasks can have.
        thread_safe: the user allows threads.
    """
    expected = rates(figures, machine)
    if kind == PROCESS and thread_safe and expected.thread >= GAIN * expected.process:
        kind = THREAD
    elif kind == THREAD and expected.process >= GAIN * expected.thread:
        kind = PROCESS
    if kind == PROCESS:
        workers, own, other, others = processes_for(figures, machine), expected.process, expected.thread, "threads"
    else:
        workers, own, other, others = threads_for(figures, machine), expected.thread, expected.process, "processes"
    reason = f"{described(figures)}: {_compared(own, other, others)}" if other else f"{reason}; {described(figures)}"
    return Choice(kind, workers, reason, _advice(kind, figures, expected), figures, expected)


def _compared(own: float, other: float, others: str) -> str:
    if own >= GAIN * other:
        return f"about {times(own / other)} as fast as {others}"
    if other >= GAIN * own:
        return f"{others} would be about {times(other / own)} as fast, and are not allowed"
    return f"{others} would be no faster"


def _advice(kind: str, figures: Figures, expected: Rates) -> str | None:
    own = expected.process if kind == PROCESS else expected.thread
    # Where a loop does as well as threads, it is the simpler of the two.
    if expected.loop >= GAIN * own and expected.thread < 1.2 * expected.loop:
        return f"{described(figures)}: a plain loop would run them about {times(expected.loop / own)} as fast"
    if kind == PROCESS and expected.thread >= GAIN * own:
        return (
            f"{described(figures)}: threads would run them about {times(expected.thread / own)} as fast; "
            "allow it with thread_safe=True or POOLBAR_THREAD_SAFE=1"
        )
    return None


def described(figures: Figures) -> str:
    """Return in words what decides."""
    moving = figures.moving + 2 * figures.size * BYTE_SECONDS
    if moving > figures.seconds and figures.size > 1e5:
        size = f"{figures.size / 1e6:.1f} MB"
        return f"these tasks take {duration(figures.seconds)}, and moving their {size} takes {duration(moving)}"
    if figures.waiting_share >= 0.5:
        return f"these tasks wait {100 * figures.waiting_share:.0f} % of their time"
    if figures.seconds < PROMPT_SECONDS:
        return f"these tasks take {duration(figures.seconds)} each"
    return f"these tasks compute {100 - 100 * figures.waiting_share:.0f} % of their time"


def times(factor: float) -> str:
    """Return a factor with two digits."""
    return f"{factor:.1f} x" if factor < 9.95 else f"{factor:.0f} x"


def duration(seconds: float) -> str:
    """Return a time in the unit that fits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.2g} us"
