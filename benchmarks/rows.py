"""Rows of what was asked of poolbar alone: figures in turn, and their ratios within each round."""

from __future__ import annotations

import gc
import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

from figures import in_short

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 7


class Row(NamedTuple):
    """A line of the table."""

    name: str
    unit: str
    figures: dict[str, list[float]]  # contender: one figure a round
    asked: str
    ratios: dict[str, float]  # to each other contender, the median of the rounds


def median_seconds(act: Callable[[], object], times: int) -> float:
    """Return the median time of a call."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        act()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def compare(name: str, unit: str, asked: str, contenders: dict[str, Callable[[], float]], rounds: int = ROUNDS) -> Row:
    """Run contenders in turn."""
    figures: dict[str, list[float]] = {key: [] for key in contenders}
    for _ in range(rounds):
        for key, act in contenders.items():
            gc.collect()
            figures[key].append(act())
    ours = figures["poolbar"]
    ratios = {
        key: statistics.median(mine / theirs for mine, theirs in zip(ours, values, strict=True))
        for key, values in figures.items()
        if key != "poolbar"
    }
    return Row(name, unit, figures, asked, ratios)


def table(rows: list[Row]) -> str:
    """Return the rows in Markdown."""
    lines = [
        "| workload | unit | poolbar | others (median) | ratio to them (median of rounds) | asked |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        figures = {key: in_short(statistics.median(values)) for key, values in row.figures.items()}
        others = ", ".join(f"{key} {value}" for key, value in figures.items() if key != "poolbar")
        ratios = ", ".join(f"{ratio:.2f} {key}" if ratio < 10 else f"{ratio:,.0f} {key}" for key, ratio in row.ratios.items())
        lines.append(f"| {row.name} | {row.unit} | {figures['poolbar']} | {others} | {ratios} | {row.asked} |")
    return "\n".join(lines)
