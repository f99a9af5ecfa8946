"""Figures: medians, spreads, ratios within rounds, and the bounds of list scheduling. Pure."""

from __future__ import annotations

import heapq
import statistics
from typing import NamedTuple

NEVER = float("inf")  # for what a contender never gets done, such as a first result from an endless input


class Spread(NamedTuple):
    """A median and what the rounds lie between."""

    median: float
    low: float
    high: float


def spread(values: list[float]) -> Spread:
    """Return the median of rounds, and the least and the greatest."""
    return Spread(statistics.median(values), min(values), max(values))


def ahead(ours: float, theirs: float, better: str) -> float:
    """Return by what factor we are ahead in a round: above 1 is in our favour.

    Args:
        ours: Our figure.
        theirs: The other's; ``NEVER`` where it is a time that did not come.
        better: "high" for rates, "low" for times and sizes.
    """
    return ours / theirs if better == "high" else theirs / ours


def ratio(ours: list[float], theirs: list[float], better: str) -> Spread:
    """Return the factors of the rounds: each compares figures that were taken one after the other."""
    return spread([ahead(*pair, better) for pair in zip(ours, theirs, strict=True)])


def best(figures: dict[str, list[float]], better: str) -> str | None:
    """Return who has the best median, or None where nobody has a figure."""
    medians = {name: statistics.median(values) for name, values in figures.items() if values}
    if not medians:
        return None
    return (max if better == "high" else min)(medians, key=lambda name: medians[name])


def list_schedule(seconds: list[float], workers: int) -> float:
    """Return when the last of these tasks ends if each goes, in this order, to the worker that is free first."""
    free = [0.0] * workers
    for taken in seconds:
        heapq.heapreplace(free, free[0] + taken)
    return max(free)


def in_short(figure: float) -> str:
    """Return a figure with three digits, or whole."""
    if figure == NEVER:
        return "never"
    return f"{figure:,.3g}" if abs(figure) < 100 else f"{figure:,.0f}"
