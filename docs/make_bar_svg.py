"""Take the README's picture: run an example in a pseudo-terminal, and draw the screen as it is while the bar moves.

    pip install '.[docs]'
    python docs/make_bar_svg.py [--at PERCENT] [--to NAME] [COMMAND ...]

Without a command: python examples/digest_tree.py. Writes docs/NAME.svg, else docs/bar.svg. Needs a Unix.
The other picture: --to inside --at 35 python examples/estimate_pi.py
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from pathlib import Path
from xml.sax.saxutils import escape

import pyte

HERE = Path(__file__).parent
COLUMNS, ROWS = 84, 24
CELL_WIDTH, CELL_HEIGHT, MARGIN = 9, 20, 16  # pixels
COLOURS = {"default": "#d8dee9", "red": "#f7768e", "green": "#9ece6a", "brown": "#e0af68", "blue": "#7aa2f7", "cyan": "#7dcfff"}
BAR = re.compile(r"^\S.*?(\d+)%\|.*\| \d+/(\d+) ", re.MULTILINE)  # not those inside tasks, which are indented
SAME_TOTAL = 10  # drawings with one total: all tasks have been submitted
EIGHTHS = " ▏▎▍▌▋▊▉█"


def screen_at(command: list[str], percent: int) -> list[list[pyte.screens.Char]]:
    """Run a command in a terminal; return the rows of the screen when its bar has come so far."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    stream.feed(f"$ {shlex.join(command)}\r\n".encode())
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    if command[0] == "python":
        command = [sys.executable, *command[1:]]
    environment = {**os.environ, "TERM": "linux", "PYTHONUTF8": "1"}
    totals: list[str] = []
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=HERE.parent) as process:
        os.close(theirs)
        try:
            while True:
                try:
                    data = os.read(ours, 65536)
                except OSError:  # Linux's way to say that the other side is closed
                    data = b""
                if not data:
                    raise SystemExit(f"the bar was never seen at {percent} % or more, and below 100 %")
                stream.feed(data)
                for shown, total in BAR.findall("\n".join(screen.display))[-1:]:
                    totals.append(total)
                    if totals[-SAME_TOTAL:] == [total] * SAME_TOTAL and percent <= int(shown) < 100:
                        return _rows(screen)
        finally:
            process.terminate()
            os.close(ours)


def _rows(screen: pyte.Screen) -> list[list[pyte.screens.Char]]:
    rows = [[screen.buffer[row][column] for column in range(COLUMNS)] for row in range(ROWS)]
    while not "".join(cell.data for cell in rows[-1]).strip():
        rows.pop()
    return rows


def svg(rows: list[list[pyte.screens.Char]], title: str) -> str:
    """Draw the cells of a screen."""
    width, height = COLUMNS * CELL_WIDTH + 2 * MARGIN, len(rows) * CELL_HEIGHT + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" rx="8" fill="#1a1b26"/>',
        '<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="15">',
    ]
    for number, row in enumerate(rows):
        top = MARGIN + number * CELL_HEIGHT
        column = 0
        while column < COLUMNS:
            end = column + 1
            while end < COLUMNS and _kind(row[end]) == _kind(row[column]):
                end += 1
            cells, left = row[column:end], MARGIN + column * CELL_WIDTH
            lines.extend(_blocks(cells, left, top) if _kind(row[column])[0] else _text(cells, left, top))
            column = end
    return "\n".join([*lines, "</g>", "</svg>", ""])


def _kind(cell: pyte.screens.Char) -> tuple[bool, str]:
    return cell.data in EIGHTHS[1:], cell.fg


def _text(cells: list[pyte.screens.Char], left: int, top: int) -> list[str]:
    text = "".join(cell.data for cell in cells).rstrip()
    if not text:
        return []
    colour = COLOURS.get(cells[0].fg, COLOURS["default"])
    # A place for each character keeps the columns in line whatever font there is.
    places = " ".join(str(left + number * CELL_WIDTH) for number in range(len(text)))
    return [f'<text y="{top + 15}" fill="{colour}" xml:space="preserve" x="{places}">{escape(text)}</text>']


def _blocks(cells: list[pyte.screens.Char], left: int, top: int) -> list[str]:
    # The bar's blocks are drawn, not written: fonts leave gaps between them.
    eighths = sum(EIGHTHS.index(cell.data) for cell in cells)
    colour = COLOURS["green"] if cells[0].fg == "default" else COLOURS.get(cells[0].fg, COLOURS["default"])
    return [f'<rect x="{left}" y="{top + 2}" width="{eighths * CELL_WIDTH / 8:g}" height="{CELL_HEIGHT - 4}" fill="{colour}"/>']


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at", type=int, default=60, metavar="PERCENT", help="default: %(default)s")
    parser.add_argument("command", nargs="*", default=["python", "examples/digest_tree.py"])
    parser.add_argument("--to", default="bar", metavar="NAME", help="default: %(default)s")
    options = parser.parse_args()
    rows = screen_at(options.command, options.at)
    target = HERE / f"{options.to}.svg"
    target.write_text(
        svg(rows, "A terminal in which " + shlex.join(options.command) + " shows its progress bar"), encoding="utf-8"
    )
    print("\n".join("".join(cell.data for cell in row).rstrip() for row in rows))


if __name__ == "__main__":
    main()
