"""The results as tables in Markdown, between the markers of README.md and benchmarks/README.md, and as plots."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, NamedTuple

import plots
from catalogue import WORKLOADS
from figures import NEVER, Spread, best, in_short, ratio, spread
from limits import FIGURES, LIMITS
from rows import Row, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from workloads import Figure

STDLIB = "stdlib fork"
SHORT = ("round_trip", "burst", "map", "map_bar", "heavy", "arrays_both", "tail", "fast_slow", "warm")  # of README.md
KILL = "from a kill to the first task on the replacement"


class Line(NamedTuple):
    """A row of the table."""

    figure: Figure
    figures: dict[str, list[float]]  # contender: one a round; poolbar, peers and those beside
    errors: dict[str, str]
    beside: tuple[str, ...]  # shown, not ranked
    peer: str | None  # the best
    ahead: dict[str, Spread]  # of each peer: by what factor poolbar is
    limit: tuple[str, float] | None


def lines(results: dict[str, Any]) -> Iterator[Line]:
    """Yield the rows in the order of the catalogue."""
    for key, workload in WORKLOADS.items():
        if key not in results["workloads"]:
            continue
        measured = results["workloads"][key]
        for figure in workload.figures:
            figures = {
                name: [NEVER if value is None else value for value in values]
                for name, values in measured["figures"].get(figure.key, {}).items()
            }
            limits = figures.pop("limit", None)
            limit = (LIMITS[key][0], statistics.median(limits)) if limits and FIGURES.get(key, key) == figure.key else None
            ranked = {name: each for name, each in figures.items() if name != "poolbar" and name not in workload.beside}
            ranked = {name: each for name, each in ranked.items() if figure.ranked and statistics.median(each) != NEVER}
            ours = figures.get("poolbar", [NEVER])
            ahead = {}
            if statistics.median(ours) != NEVER:
                ahead = {name: ratio(ours, each, figure.better) for name, each in ranked.items()}
            yield Line(figure, figures, measured["errors"], workload.beside, best(ranked, figure.better), ahead, limit)


def in_markdown(results: dict[str, Any]) -> str:
    """Return all tables."""
    parts = [_main_table(list(lines(results))), _made_with(results["machine"])]
    if results["claims"]:
        parts.insert(1, "Of poolbar alone; for times a ratio below 1 means that poolbar takes less:")
        parts.insert(2, table([Row(**row) for row in results["claims"]]))
    return "\n\n".join(parts)


def _main_table(rows: list[Line]) -> str:
    text = [
        "| workload | unit | poolbar | best peer | ahead of it (rounds) | of stdlib | others (ahead of them) | limit | asked |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    text += [f"| {' | '.join(_cells(row))} |" for row in rows]
    return "\n".join(text)


def _cells(row: Line) -> list[str]:
    ours = row.figures.get("poolbar")
    rest = sorted((name for name in row.figures if name not in {"poolbar", row.peer}), key=lambda name: _order(row, name))
    others = [_other(row, name) for name in rest]
    others += [f"{name}: {why}" for name, why in row.errors.items() if name != "poolbar"]
    to_best = row.ahead.get(row.peer or "")
    stdlib = row.ahead.get(STDLIB)
    return [
        row.figure.name,
        row.figure.unit,
        _with_range(spread(ours)) if ours else f"**{row.errors.get('poolbar', 'not measured')}**",
        f"{row.peer} {_figure(row, row.peer)}" if row.peer else "",
        f"**{factor(to_best.median)}** ({factor(to_best.low)} to {factor(to_best.high)})" if to_best else "",
        factor(stdlib.median) if stdlib else "",
        ", ".join(others),
        f"{row.limit[0]} {in_short(row.limit[1])}" if row.limit else "",
        row.figure.asked,
    ]


def _figure(row: Line, name: str) -> str:
    return in_short(statistics.median(row.figures[name]))


def _order(row: Line, name: str) -> float:
    median = statistics.median(row.figures[name])
    return -median if row.figure.better == "high" else median


def _other(row: Line, name: str) -> str:
    told = f" ({factor(row.ahead[name].median)})" if name in row.ahead else ""
    return f"{name} {_figure(row, name)}{told}"


def _with_range(figures: Spread) -> str:
    if figures.low == figures.high:
        return in_short(figures.median)
    return f"{in_short(figures.median)} ({in_short(figures.low)} to {in_short(figures.high)})"


def factor(value: float) -> str:
    """Return a ratio with two decimals, or fewer where it is large."""
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _made_with(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    quick = " A quick run: fewer rounds, smaller sizes." if machine["quick"] else ""
    absent = "".join(f" {name}: {why}." for name, why in machine["absent"].items())
    others = f" Between the rows, others used {machine['others']:.0%} of the CPUs."
    return f"Python {machine['python']}, {machine['cpus']} CPUs, {machine['system']}; {versions}.{quick}{absent}{others}"


def _short_table(results: dict[str, Any]) -> str:
    machine = results["machine"]
    text = [
        f"Two workers, {machine['cpus']} CPUs, Python {machine['python'].rpartition('.')[0]}, default arguments, all in one run:",
        "",
        "| | poolbar | stdlib (fork) | best other | ahead of it |",
        "|---|---|---|---|---|",
    ]
    for row in lines(results):
        if row.figure.key not in SHORT or "poolbar" not in row.figures or row.peer is None:
            continue
        unit = row.figure.unit
        stdlib = f"{_figure(row, STDLIB)} {unit}" if STDLIB in row.figures else ""
        text.append(
            f"| {row.figure.name} | {_figure(row, 'poolbar')} {unit} | {stdlib} | {row.peer} {_figure(row, row.peer)} {unit} "
            f"| {factor(row.ahead[row.peer].median)} x |"
        )
    for claim in results["claims"]:
        if claim["name"] == KILL:
            ours, start = (statistics.median(claim["figures"][name]) for name in ("poolbar", "start of a worker"))
            text.append(f"| {KILL} (a start: {in_short(start)} ms) | {in_short(ours)} ms | | | |")
    return "\n".join(text)


def write(results: dict[str, Any], here: Path) -> None:
    """Write tables and plots to where the pages have them."""
    rows = list(lines(results))
    between(here / "README.md", "table", in_markdown(results))
    between(here.parent / "README.md", "figures", _short_table(results))
    bars = [
        plots.Bar(row.figure.name, row.ahead[row.peer], f"{factor(row.ahead[row.peer].median)} x {row.peer}",
                  row.figure.key.endswith("_tuned"))
        for row in rows if row.peer in row.ahead
    ]  # fmt: skip
    (here / "ratios.svg").write_text(plots.ratios(bars))
    (here / "growth.svg").write_text(plots.growth(_panels(results)))


def _panels(results: dict[str, Any]) -> list[plots.Panel]:
    panels = []
    for workload, key, title, over in (
        ("tasks", "tasks", "submit, by tasks", "tasks"),
        ("mapped", "mapped", "map, by tasks", "tasks"),
        ("workers", "workers", "submit, by workers", "workers"),
        ("workers", "trips", "round trip, by workers", "workers"),
    ):
        measured = results["workloads"].get(workload, {"curves": {}})["curves"].get(key)
        if measured:
            panels.append(plots.Panel(title, over, {name: _median_curve(rounds) for name, rounds in measured.items()}))
    return panels


def _median_curve(rounds: list[list[list[float]]]) -> list[tuple[float, float]]:
    at: dict[float, list[float]] = {}
    for curve in rounds:
        for x, y in curve:
            at.setdefault(x, []).append(y)
    return [(x, statistics.median(values)) for x, values in sorted(at.items())]


def between(page: Path, marker: str, text: str) -> None:
    """Put text between two markers of a page."""
    head, opened, rest = page.read_text(encoding="utf-8").partition(f"<!-- {marker} -->")
    _, closed, tail = rest.partition(f"<!-- /{marker} -->")
    if not (opened and closed):
        raise ValueError(f"no marker {marker} in {page}")
    page.write_text(f"{head}<!-- {marker} -->\n{text}\n<!-- /{marker} -->{tail}", encoding="utf-8")
