"""What the bar costs when it is really drawn, in a terminal: seconds with it and without, in turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from rows import Row, compare

SCRIPT = """
import sys, time; sys.path.insert(0, {place!r})
import json, poolbar, tasks
from poolbar.progress import bar, painter
bar.FIRST_SHOWN_SECONDS, painter.PERIOD_SECONDS = 0, {period}  # a run of 0.05 s would have no bar
with poolbar.ProcessPoolExecutor(2, progress="bar") as shown, poolbar.ProcessPoolExecutor(2, progress="off") as silent:
    for pool in (shown, silent):
        assert list(pool.map({act}, {inputs})) == list({inputs})
    for line in sys.stdin:
        pool = shown if line.strip() == "bar" else silent
        began = time.perf_counter()
        count = sum(1 for _ in pool.map({act}, {inputs}))
        print(json.dumps([time.perf_counter() - began, count]), flush=True)
"""


class Terminal:
    """A program whose stderr is a terminal, read by a thread as a terminal would."""

    def __init__(self, act: str, inputs: str, period: float) -> None:
        import pty

        parent, terminal = pty.openpty()
        self.shown = 0
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT.format(place=str(Path(__file__).parent), act=act, inputs=inputs, period=period)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=terminal, text=True, env={**os.environ, "TERM": "xterm"},
        )  # fmt: skip
        os.close(terminal)
        self._reader = threading.Thread(target=self._read, args=(parent,))
        self._reader.start()

    def _read(self, parent: int) -> None:
        try:
            while data := os.read(parent, 65536):
                self.shown += len(data)
        except OSError:
            pass  # the last writer is gone
        os.close(parent)

    def seconds(self, which: str) -> float:
        """Return how long a run takes with a bar, or ``off``."""
        before = self.shown
        self.process.stdin.write(f"{which}\n")
        self.process.stdin.flush()
        seconds, _ = json.loads(self.process.stdout.readline())
        limit = time.monotonic() + 5
        while which == "bar" and self.shown == before:
            assert time.monotonic() < limit, "no bar was drawn"
            time.sleep(0.001)
        return seconds

    def close(self) -> None:
        """End the program."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self._reader.join()


def _row(name: str, asked: str, program: Terminal, rounds: int) -> Row:
    try:
        acts = {"no bar": lambda: program.seconds("off"), "poolbar": lambda: program.seconds("bar")}
        return compare(name, "s", asked, acts, rounds=rounds)
    finally:
        program.close()


def of_short_tasks() -> Row:
    """2,000 tasks of 1 ms."""
    return _row(
        "2,000 tasks of 1 ms, with a bar in a terminal", "<= 1.03 without", Terminal("tasks.nap", "[0.001] * 2000", 0.1), 9
    )


def of_tiny_tasks() -> Row:
    """200,000 tasks that do nothing."""
    return _row("200,000 no-ops, with a bar in a terminal", "<= 1.10 without", Terminal("tasks.noop", "range(200_000)", 0.02), 31)


ROWS = {"bar, 1 ms": of_short_tasks, "bar, no-ops": of_tiny_tasks}
