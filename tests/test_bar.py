"""The bar, in a real pseudo-terminal, as a terminal shows it (laws 12 and 13)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from conftest import environment
from terminal import Program, programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Show = Callable[..., Program]

EARLY = "from poolbar.progress import bar; bar.FIRST_SHOWN_SECONDS = 0.1\n"


@pytest.fixture
def show(tmp_path: Path) -> Iterator[Show]:
    """Run a script in a terminal; bars appear after half a second if it is to be ``late`` as they are, else earlier."""
    with programs() as start:

        def run(text: str, *, late: bool = False, **changes: str) -> Program:
            (tmp_path / "script.py").write_text(f"import os, sys, time, poolbar, tasks\n{'' if late else EARLY}{text}")
            program = start(tmp_path, "script.py", **changes)
            program.end(60)
            return program

        yield run


def bars_of(shown: Program) -> list[str]:
    """Return all lines with a bar that were ever shown."""
    return [line for frame in shown.frames() for line in frame if "task" in line or "%|" in line or "it/s" in line]


def counts(bars: list[str]) -> list[tuple[int, int]]:
    return [(int(found[1]), int(found[2])) for bar in bars if (found := re.search(r"(\d+)/(\d+)", bar))]


BOTH = pytest.mark.parametrize("kind", ["ProcessPoolExecutor", "ThreadPoolExecutor"])


@BOTH
def test_a_map_that_lasts_shows_a_bar_that_grows_and_reaches_the_end(show: Show, kind: str) -> None:
    shown = show(f"""
with poolbar.{kind}(2) as executor:
    list(executor.map(tasks.nap, [0.03] * 40, desc="Napping"))
print("after")
""")
    assert shown.code() == 0
    bars = bars_of(shown)
    found = counts(bars)
    assert found == sorted(found)
    assert len(set(found)) > 2
    assert {total for _, total in found} == {40}
    *_, bar, after = shown.lines()
    assert re.match(r"Napping: 100%\|█+\| 40/40 \[.*task/s\]$", bar)
    assert after == "after"


@BOTH
def test_a_short_run_is_silent(show: Show, kind: str) -> None:
    shown = show(f"""
with poolbar.{kind}(2, progress=False) as executor:
    list(executor.map(tasks.same, range(100)))  # the workers of the next one are warm
with poolbar.{kind}(2) as executor:
    list(executor.map(tasks.same, range(100)))
    executor.submit(tasks.same, 1).result()
""", late=True)  # fmt: skip
    assert (shown.code(), shown.raw) == (0, b"")


def test_the_bar_appears_after_half_a_second(show: Show) -> None:
    shown = show("""
import threading
with poolbar.ThreadPoolExecutor(1) as executor:
    began = time.monotonic()
    future = executor.submit(tasks.nap, 1.0)
    write = sys.stderr.write
    def timed(text):
        global first
        if text.strip() and "first" not in globals():
            first = time.monotonic() - began
        return write(text)
    sys.stderr.write = timed
    future.result()
sys.stderr.write = write
print("first", first)
""", late=True)  # fmt: skip
    first = float(re.search(r"first ([\d.]+)", shown.raw.decode())[1])  # type: ignore[index]
    assert 0.45 <= first <= 1.4


def test_it_never_shows_a_hundred_percent_before_the_end_and_always_reaches_it(show: Show) -> None:
    shown = show("""
with poolbar.ThreadPoolExecutor(4) as executor:
    list(executor.map(lambda n: time.sleep(0.5 if n == 999 else 0.0002), range(1000)))
""")
    bars = bars_of(shown)
    assert any("999/1000" in bar for bar in bars)
    assert not [bar for bar in bars if "100%" in bar and "1000/1000" not in bar]
    assert "100%" in shown.lines()[-1]
    assert "1000/1000" in shown.lines()[-1]


def test_failed_tasks_are_counted_in_the_postfix(show: Show) -> None:
    shown = show("""
with poolbar.ProcessPoolExecutor(2) as executor:
    futures = [executor.submit(tasks.fail_odd, number) for number in range(10)]
    futures += [executor.submit(tasks.nap, 0.3) for _ in range(2)]
    poolbar.wait(futures)
""")
    assert "12/12" in shown.lines()[-1]
    assert "failed=5" in shown.lines()[-1]


def test_the_bar_of_submits_grows_as_tasks_are_submitted(show: Show) -> None:
    shown = show("""
with poolbar.ProcessPoolExecutor(2, desc="Calls") as executor:
    for number in range(12):
        futures = [executor.submit(tasks.nap, 0.05) for _ in range(2)]
        poolbar.wait(futures)
""")
    totals = {total for _, total in counts(bars_of(shown))}
    assert len(totals) > 2
    assert max(totals) == 24
    assert shown.lines()[-1].startswith("Calls: 100%")
    assert "24/24" in shown.lines()[-1]
    assert len(shown.lines()) == 1


def test_a_map_over_a_generator_counts_without_a_total_and_takes_one_that_is_given(show: Show) -> None:
    shown = show("""
with poolbar.ThreadPoolExecutor(2) as executor:
    list(executor.map(tasks.nap, (0.025 for _ in range(40)), desc="Open"))
    list(executor.map(tasks.nap, (0.025 for _ in range(40)), desc="Given", total=40))
""")
    opened = [bar for bar in bars_of(shown) if bar.startswith("Open")]
    assert any(re.search(r"Open: \d+task", bar) for bar in opened)
    assert {total for _, total in counts([bar for bar in bars_of(shown) if bar.startswith("Given")])} == {40}
    assert [line.split("|")[0] for line in shown.lines()] == ["Open: 100%", "Given: 100%"]


def test_a_terminal_that_does_not_tell_its_size_shows_a_bar_that_grows(show: Show) -> None:
    """As under ``script`` where its own input is no terminal, or in a container."""
    shown = show("""
import fcntl, termios
fcntl.ioctl(2, termios.TIOCSWINSZ, bytes(8))
with poolbar.ThreadPoolExecutor(2, desc="Napping") as executor:
    list(executor.map(tasks.nap, [0.03] * 40))
""")
    assert len(set(counts(bars_of(shown)))) > 3
    assert [line.split("|")[0] for line in shown.lines()] == ["Napping: 100%"]


ENDS = {
    "an error": "    try:\n        for number, _ in enumerate(results): number < 15 or tasks.fail()\n    except ValueError: pass",
    "the error of a task": "    try: list(results)\n    except ValueError: pass",
    "close": "    next(results); time.sleep(0.3); results.close()",
    "drop": "    next(results); time.sleep(0.3); del results",
    "drop of iter": "    results = iter(results); time.sleep(0.3); del results",
    "drop unread": "    time.sleep(0.3); del results",
    "timeout": "    try: list(results)\n    except poolbar.TimeoutError: pass",
}


def test_a_bar_is_closed_with_a_line_of_its_own_however_the_run_ends(show: Show) -> None:
    task = "lambda n: tasks.fail_odd(time.sleep(0.03) or (n if n == 31 else 0))"
    runs = [
        f"""
with poolbar.ThreadPoolExecutor(1) as executor:
    results = executor.map({task}, range(40), desc="{end}", timeout={0.5 if end == "timeout" else None})
{text}
    results = None
print("after {end}")
"""
        for end, text in ENDS.items()
    ]
    shown = show("".join(runs))
    assert shown.code() == 0, shown.lines()
    told = [re.sub(r": +\d+%\|.*\]$", "", line) for line in shown.lines()]
    assert told == [line for end in ENDS for line in (end, f"after {end}")]


def test_two_maps_have_a_bar_each(show: Show) -> None:
    shown = show("""
with poolbar.ThreadPoolExecutor(2) as executor:
    first = executor.map(tasks.nap, [0.02] * 40, desc="First")
    second = executor.map(tasks.nap, [0.02] * 40, desc="Second")
    list(zip(first, second, strict=True))
""")
    # tqdm itself leaves a copy of the lower bar behind when the upper one is closed first
    assert {line.split("|")[0] for line in shown.lines()} == {"First: 100%", "Second: 100%"}


NAPS = "with poolbar.ThreadPoolExecutor(1{}) as e: list(e.map(tasks.nap, [0.02] * 20))\n"


def test_the_bar_is_off_where_stderr_is_no_terminal_and_on_where_it_is_asked_for() -> None:
    text = f"""
import os, poolbar, tasks
{EARLY}
{NAPS.format(", desc='Off'")}
{NAPS.format(", desc='Keyword', progress=True")}
os.environ["POOLBAR_PROGRESS"] = "on"
{NAPS.format(", desc='Variable'")}
{NAPS.format(", desc='Keyword first', progress=False")}
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, env=environment(), check=True)
    assert set(re.findall(r"([\w ]+): 100%.* 20/20", done.stderr)) == {"Keyword", "Variable"}
    assert "Off" not in done.stderr
    assert "Keyword first" not in done.stderr


def test_the_bar_can_be_turned_off_in_a_terminal(show: Show) -> None:
    shown = show(NAPS.format(", progress=False") + "os.environ['POOLBAR_PROGRESS'] = 'off'\n" + NAPS.format(""))
    assert (shown.code(), shown.raw) == (0, b"")


def test_keywords_and_variables_shape_the_bar(show: Show) -> None:
    text = "".join(NAPS.format(keyword) for keyword in ("", ', unit="file"', ', desc="Own", tqdm_options={"ascii": True}'))
    named, files, own = show(text, POOLBAR_DESC="Named").lines()
    assert named.startswith("Named: 100%")
    assert "task/s" in named
    assert files.startswith("Named: 100%")
    assert "file/s" in files
    assert own.startswith("Own: 100%|###")


def test_tqdms_own_variables_work(show: Show) -> None:
    (line,) = show(NAPS.format(""), TQDM_ASCII=" #", TQDM_UNIT="banana").lines()
    assert "###" in line
    assert "banana/s" in line
    assert show(NAPS.format(""), TQDM_DISABLE="1").raw == b""


def test_workers_draw_nothing(show: Show) -> None:
    """Law 12: a pool inside a worker has no bar, though its stderr is the terminal."""
    shown = show("""
def inner(number):
    with poolbar.ThreadPoolExecutor(1, desc="Inner") as executor:
        return list(executor.map(tasks.nap, [0.1] * 10, [number] * 10))

if __name__ == "__main__":
    with poolbar.ProcessPoolExecutor(1, desc="Outer") as executor:
        executor.submit(inner, 1).result()
""")
    assert b"Inner" not in shown.raw
    assert shown.lines()[-1].startswith("Outer: 100%")


def test_a_bar_pauses_while_nothing_runs_and_ends_at_exit(show: Show) -> None:
    """An executor that is never shut down: between bursts the screen belongs to others."""
    shown = show("""
executor = poolbar.ThreadPoolExecutor(2, desc="Calls")
poolbar.wait([executor.submit(tasks.nap, 0.02) for _ in range(30)])
time.sleep(0.5)
print("between", flush=True)
poolbar.wait([executor.submit(tasks.nap, 0.02) for _ in range(30)])
""")
    assert shown.code() == 0
    assert "between" in shown.lines()
    assert "60/60" in shown.lines()[-1]


def test_workers_that_are_forked_while_the_bar_is_drawn_can_use_tqdm(show: Show) -> None:
    """tqdm's lock is copied as it is: held, where another thread draws just then."""
    shown = show("""
from poolbar.progress import bar, painter
bar.FIRST_SHOWN_SECONDS, painter.PERIOD_SECONDS, painter.CLOCK_SECONDS = 0, 0.0005, 0
import tqdm

def work(number):
    for _ in tqdm.tqdm(range(3)):
        pass
    if number % 2:
        os._exit(1)  # another worker is forked

with poolbar.ProcessPoolExecutor(2, mp_context="fork") as executor:
    results = list(executor.map(work, range(60), errors="collect"))
print("crashed", sum(isinstance(result, poolbar.WorkerCrashed) for result in results))
""")
    assert shown.code() == 0
    assert shown.lines()[-1] == "crashed 30"
