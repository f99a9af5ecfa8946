"""Plots as SVG, written by hand: they need nothing, and follow the reader's light or dark mode. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from figures import Spread

STYLE = """<style>
text { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
.title { font-weight: 600; font-size: 13px; } .faint { fill: #59636e; }
.page { fill: #ffffff; } .grid { stroke: #d1d9e0; } .one { stroke: #1f2328; stroke-width: 1.5; } .spread { stroke: #59636e; }
.ahead { fill: #2f7fd6; } .behind { fill: #d9730d; } .tuned { opacity: 0.55; } .line { fill: none; stroke-width: 1.6; }
.ours { stroke-width: 3.2; }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc; } .faint { fill: #9198a1; } .page { fill: #0d1117; } .grid { stroke: #3d444d; } .one { stroke: #f0f6fc; }
.spread { stroke: #9198a1; } .ahead { fill: #4493f8; } .behind { fill: #f0883e; }
}
</style>"""
# Of lines: to be told apart on white and on black.
COLOURS = {
    "poolbar": "#2f7fd6", "stdlib fork": "#d9730d", "stdlib spawn": "#b58900", "loky": "#2da44e", "Pool": "#bf5af2",
    "mpire": "#e5484d", "pebble": "#12a594", "joblib": "#8b8d98", "mqdm": "#c2298a", "tqdm": "#6e7781",
}  # fmt: skip

LABELS, PLOT, NOTES, ROW, TOP = 380, 330, 170, 20, 64  # widths, and heights, of the plot of ratios
PANEL_WIDTH, PANEL_HEIGHT, LEGEND = 440, 250, 44


class Bar(NamedTuple):
    """A workload against its best peer."""

    name: str
    ratio: Spread  # above 1: poolbar is ahead
    note: str
    tuned: bool  # the peers with their best arguments


class Panel(NamedTuple):
    """Growth of a cost: microseconds per task over a count, by contender."""

    title: str
    over: str
    curves: dict[str, list[tuple[float, float]]]


class Scale(NamedTuple):
    """A logarithmic axis: from values to positions."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the position of a value; what is out of range is at the edge."""
        value = min(max(value, self.low), self.high)
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Return round numbers in range: powers of ten, and 2 and 5 times those where few would be left."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        tens = [10.0**power for power in powers]
        found = [value for value in tens if self.low <= value <= self.high]
        if len(found) < 3:
            found = [value * by for value in tens for by in (1, 2, 5) if self.low <= value * by <= self.high]
        return found


def ratios(bars: list[Bar]) -> str:
    """Return one bar for each workload, from 1 to its ratio, on a logarithmic axis."""
    low = min([0.5, *(bar.ratio.low for bar in bars)])
    high = max([10.0, *(bar.ratio.high for bar in bars)])
    scale = Scale(low / 1.1, high * 1.1, LABELS, LABELS + PLOT)
    bottom = TOP + ROW * len(bars)
    parts = [
        text(16, 24, "poolbar against the best peer of each workload", "title"),
        text(16, 44, "Right of the line poolbar does more, or takes less. Pale: the peers with their best arguments.", "faint"),
    ]
    for tick in scale.ticks():
        parts += [line(scale.at(tick), TOP - 4, scale.at(tick), bottom, "grid"),
                  text(scale.at(tick), bottom + 16, f"{number(tick)} x", "faint", "middle")]  # fmt: skip
    for row, bar in enumerate(bars):
        parts += _bar(bar, scale, TOP + ROW * row)
    parts.append(line(scale.at(1), TOP - 4, scale.at(1), bottom, "one"))
    return svg(LABELS + PLOT + NOTES, bottom + 28, "poolbar against the best peer of each workload, as ratios", parts)


def _bar(bar: Bar, scale: Scale, top: float) -> list[str]:
    left, right = sorted((scale.at(1), scale.at(bar.ratio.median)))
    kind = ("ahead" if bar.ratio.median >= 1 else "behind") + (" tuned" if bar.tuned else "")
    middle = top + ROW / 2
    return [
        text(LABELS - 10, middle + 4, *(("with the peers' best arguments", "faint") if bar.tuned else (bar.name, "")), "end"),
        f'<rect class="{kind}" x="{left}" y="{top + 4}" width="{max(1.0, round(right - left, 1))}" height="{ROW - 8}"/>',
        line(scale.at(bar.ratio.low), middle, scale.at(bar.ratio.high), middle, "spread"),
        text(LABELS + PLOT + 12, middle + 4, bar.note, "faint"),
    ]


def growth(panels: list[Panel]) -> str:
    """Return a plot of lines for each panel, two in a row, on logarithmic axes."""
    names = [name for name in COLOURS if any(name in panel.curves for panel in panels)]
    parts = []
    for place, name in enumerate(names):
        x = 16 + place * (2 * PANEL_WIDTH - 32) / max(1, len(names))
        parts += [f'<line class="line{_ours(name)}" stroke="{COLOURS[name]}" x1="{x:.0f}" y1="24" x2="{x + 18:.0f}" y2="24"/>',
                  text(x + 24, 28, name)]  # fmt: skip
    for place, panel in enumerate(panels):
        parts += _panel(panel, PANEL_WIDTH * (place % 2), LEGEND + PANEL_HEIGHT * (place // 2))
    rows = (len(panels) + 1) // 2
    return svg(2 * PANEL_WIDTH, LEGEND + PANEL_HEIGHT * rows, "cost per task with more tasks and with more workers", parts)


def _panel(panel: Panel, left: float, top: float) -> list[str]:
    points = [point for curve in panel.curves.values() for point in curve]
    across = [x for x, _ in points]
    up = [y for _, y in points]
    if min(across) == max(across):
        across.append(across[0] * 10)
    xs = Scale(min(across), max(across), left + 56, left + PANEL_WIDTH - 24)
    ys = Scale(min(up) / 1.3, max(up) * 1.3, top + PANEL_HEIGHT - 46, top + 34)
    parts = [text(left + 16, top + 20, f"{panel.title}: us per task", "title")]
    for tick in ys.ticks():
        parts += [line(xs.start, ys.at(tick), xs.end, ys.at(tick), "grid"),
                  text(xs.start - 6, ys.at(tick) + 4, number(tick), "faint", "end")]  # fmt: skip
    for tick in sorted(set(across)):
        parts += [line(xs.at(tick), ys.start, xs.at(tick), ys.start + 4, "grid"),
                  text(xs.at(tick), ys.start + 18, number(tick), "faint", "middle")]  # fmt: skip
    parts.append(text((xs.start + xs.end) / 2, ys.start + 36, panel.over, "faint", "middle"))
    for name, curve in sorted(panel.curves.items(), key=lambda pair: pair[0] == "poolbar"):  # ours above the others
        path = " ".join(f"{xs.at(x)},{ys.at(y)}" for x, y in curve)
        colour = COLOURS.get(name, "#8b8d98")
        parts.append(f'<polyline class="line{_ours(name)}" stroke="{colour}" points="{path}"/>')
        parts += [f'<circle fill="{colour}" cx="{xs.at(x)}" cy="{ys.at(y)}" r="2.5"/>' for x, y in curve]
    return parts


def _ours(name: str) -> str:
    return " ours" if name == "poolbar" else ""


def number(value: float) -> str:
    """Return a number as short as an axis needs it."""
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Return words at a place."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """Return a line."""
    return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def svg(width: float, height: float, told: str, parts: list[str]) -> str:
    """Return the whole picture; ``told`` is what it shows, for those who do not see it."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">'
    page = f'<rect class="page" width="{width}" height="{height}"/>'
    return "\n".join([head, f"<title>{escape(told)}</title>", STYLE, page, *parts, "</svg>"]) + "\n"
