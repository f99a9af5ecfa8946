"""What kind of worker, and why: facts in, choice out. Pure: it asks nothing of the machine."""

from __future__ import annotations

from typing import NamedTuple


class Choice(NamedTuple):
    """What was taken, and why.

    Attributes:
        kind: "process" or "thread".
        workers: how many, at most.
        reason: in words.
    """

    kind: str
    workers: int
    reason: str


class Facts(NamedTuple):
    """What the choice depends on."""

    backend: str  # what was asked for: auto, process or thread
    fixed: str | None  # the kind that the executor's class fixes
    gil: bool  # the GIL is on, now
    needs_processes: str | None  # a keyword that only processes can honour
    max_workers: int | None
    cpus: int
    thread_cpus: int  # as the standard library counts them for threads


def choose(facts: Facts) -> Choice:
    """Decide.

    Raises:
        ValueError: what was asked for contradicts itself.
    """
    kind, reason = _kind(facts)
    if kind == "thread" and facts.needs_processes is not None:
        raise ValueError(f"{facts.needs_processes} needs worker processes, and threads were asked for")
    if facts.max_workers is not None:
        return Choice(kind, facts.max_workers, reason)
    workers = facts.cpus if kind == "process" else min(32, facts.thread_cpus + 4)
    return Choice(kind, workers, reason)


def _kind(facts: Facts) -> tuple[str, str]:
    if facts.fixed is not None:
        return facts.fixed, "the executor's class says so"
    if facts.backend != "auto":
        return facts.backend, f"backend={facts.backend!r} was asked for"
    if facts.needs_processes is not None:
        return "process", f"{facts.needs_processes} needs worker processes"
    if facts.gil:
        return "process", "this Python has a GIL: threads would compute one at a time"
    return "thread", "this Python runs without a GIL: threads compute side by side"
