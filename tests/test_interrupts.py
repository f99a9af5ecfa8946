"""Ctrl-C, as a user presses it: in a terminal, to a script that a shell has started, with the bar on the screen."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import psutil
import pytest
from conftest import environment, is_gone, until

if sys.platform == "win32":
    pytest.skip("no pseudo-terminals, and Ctrl-C is no signal there", allow_module_level=True)

import fcntl
import pty
import struct
import termios

import pyte

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COLUMNS, ROWS = 100, 50
PATIENCE = 30.0
"""Seconds for what has to happen before the key is pressed: a busy machine starts Python and workers slowly."""

LIMIT = 10.0
"""Seconds from the key to the end of the program. It takes a few tenths of one; a busy machine is to pass too."""

CTRL_C = b"\x03"

SHELL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
pid = os.fork()
if pid == 0:
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
os.write(1, f"\\x1b]2;ended {code}\\x07".encode())
while True:
    signal.pause()
"""
"""What a shell does: it leads the session and runs the program as its foreground job.

Were the program itself the leader, the kernel would send SIGHUP to all that it leaves behind, and nothing ever would be.
The end is told as the terminal's title: in order with what the program wrote, and not on the screen. SIGINT is as in a shell
even where the tests themselves were started with SIGINT ignored, in the background.
"""

PRELUDE = """
import ctypes, faulthandler, os, signal, sys, time
import poolbar
from tasks import note

faulthandler.register(signal.SIGUSR1)  # see Program.tell_where_it_stands

def nap(number):
    note("begun", number)
    time.sleep(0.05)
    note("ended", number)
    return number

def stay(number):
    note("begun", number)
    time.sleep(60)

def spin(number):
    note("begun", number)
    while True:
        pass

def hold_the_gil(number):
    note("begun", number)
    ctypes.PyDLL(None).sleep(60)

def work(number):  # a few are short
    return nap(number) if number < 6 else stay(number)

results = []

def keep(value):
    results.append(value)
    note("kept", value)
"""


class Program:
    """A program in the foreground of a terminal, and the screen of that terminal."""

    def __init__(self, directory: Path, *arguments: str, echo: bool = False) -> None:
        self.directory = directory
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.raw = b""
        self.pressed: float | None = None
        self._stream = pyte.ByteStream(self.screen)
        self._parent, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        modes = termios.tcgetattr(terminal)
        # Else the kernel, at a Ctrl-C, throws away what the program has written and nobody has read yet.
        modes[3] |= termios.NOFLSH
        if not echo:
            # "^C" comes at any time around what the program writes in answer: without it, each line is the program's.
            modes[3] &= ~termios.ECHO
        termios.tcsetattr(terminal, termios.TCSANOW, modes)
        self._shell = subprocess.Popen(
            [sys.executable, "-S", "-c", SHELL, *arguments], stdin=terminal, stdout=terminal, stderr=terminal, cwd=directory,
            env=environment(TERM="xterm", COLUMNS="", PYTHON_BASIC_REPL="1", PYTHON_COLORS="0"), start_new_session=True,
        )  # fmt: skip
        os.close(terminal)

    def close(self) -> None:
        """End what is left of it."""
        for process in self.processes():
            process.kill()
        self._shell.kill()
        self._shell.wait()
        os.close(self._parent)

    def processes(self) -> list[psutil.Process]:
        """Return what lives of the program: the session's processes but for the shell."""
        found = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self._shell.pid != process.pid and not is_gone(process.pid):
                    found.append(process)
            except ProcessLookupError:
                continue
        return found

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def bars(self) -> list[str]:
        return [line for line in self.lines() if is_bar(line)]

    def code(self) -> int | None:
        """Return the exit code; None: it runs."""
        return int(self.screen.title.removeprefix("ended ")) if self.screen.title.startswith("ended ") else None

    def noted(self, name: str) -> list[str]:
        path = self.directory / name
        return path.read_text().split() if path.exists() else []

    def read(self, seconds: float = 0.02) -> None:
        """Show what the program writes; wait for that some time at most."""
        if select.select([self._parent], [], [], seconds)[0]:
            data = os.read(self._parent, 65536)
            self.raw += data
            self._stream.feed(data)

    def until(self, fact: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Wait for a fact."""
        limit = time.monotonic() + seconds
        while not fact():
            hopeless = "it ended" if self.code() is not None else "waited in vain" if time.monotonic() > limit else ""
            if hopeless:
                self.tell_where_it_stands()
            assert not hopeless, "\n".join([f"{hopeless}; the screen:", *self.lines()])
            self.read()

    def tell_where_it_stands(self) -> None:
        """Have a program that hangs show where each of its threads stands."""
        for process in self.processes():
            if process.ppid() == self._shell.pid:
                process.send_signal(signal.SIGUSR1)
        limit = time.monotonic() + 2
        while time.monotonic() < limit:
            self.read()

    def type(self, keys: bytes) -> None:
        if CTRL_C in keys and self.pressed is None:
            self.pressed = time.monotonic()
        os.write(self._parent, keys)

    def end(self) -> None:
        """Wait for the end: it comes soon, and leaves no process behind."""
        self.until(lambda: self.code() is not None, LIMIT)
        if self.pressed is not None:
            print(
                f"ended {time.monotonic() - self.pressed:.3f} s after the key was first pressed; the screen:",
                *self.lines(),
                sep="\n",
            )
        # Workers are waited for by the program itself; multiprocessing's trackers end when they see that it is gone.
        assert until(lambda: not self.processes(), LIMIT), [process.cmdline() for process in self.processes()]


def is_bar(line: str) -> bool:
    return re.match(r"(\w+:)? *\d+%\|.*\| \d+/\d+ \[.*task.*\]$", line) is not None


def assert_one_traceback(program: Program) -> None:
    """The script was ended by a KeyboardInterrupt, as Python tells of it; nobody else had anything to say."""
    assert program.code() == -signal.SIGINT
    assert program.lines()[-1] == "KeyboardInterrupt"
    assert program.raw.count(b"Traceback (most recent call last)") == 1
    assert b"Exception ignored" not in program.raw


Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a script in a terminal."""
    with ExitStack() as stack:

        def run(text: str, *options: str, echo: bool = False) -> Program:
            (tmp_path / "script.py").write_text(PRELUDE + text)
            program = Program(tmp_path, *options, "script.py", echo=echo)
            stack.callback(program.close)
            return program

        yield run


class Situation(NamedTuple):
    """Where a Ctrl-C comes: tasks run that would last a minute, and many wait."""

    text: str
    begun: int = 2  # tasks
    kept: int = 0  # results
    bars: int = 1


POOL = "with poolbar.ProcessPoolExecutor(2) as executor:\n    "
THREADS = POOL.replace("Process", "Thread")
FORKED = POOL.replace("(2)", "(2, mp_context='fork')")
BARE = "executor = poolbar.ProcessPoolExecutor(2)\n"
LIST = "list(executor.map(stay, range(20)))"
LOOP = "for value in executor.map(work, range(20)): keep(value)"
SHORT = "for value in executor.map(nap, range(9999)): keep(value)"
SUBMITS = "futures = [executor.submit(stay, number) for number in range(20)]"
AS_COMPLETED = "for future in poolbar.as_completed(futures): keep(future.result())"
BARE_SUBMITS = f"{BARE}{SUBMITS}\nfutures[0].result()"

SITUATIONS = {
    "loop over map": Situation(POOL + LOOP, 8, 6),
    "loop over unordered map": Situation(POOL + LOOP.replace("range(20)", "range(20), ordered=False"), 8, 6),
    "loop over map of an iterator": Situation(POOL + LOOP.replace("range(20)", "iter(range(20)), total=20"), 8, 6),
    "list of map": Situation(POOL + LIST),
    "as_completed": Situation(f"{POOL}{SUBMITS.replace('stay', 'work')}\n    {AS_COMPLETED}", 8, 6),
    "result of a future": Situation(f"{POOL}{SUBMITS}\n    futures[0].result()"),
    "sleeps in the block": Situation(f"{POOL}{SUBMITS}\n    while True: time.sleep(0.01)"),
    "end of the block": Situation(POOL + SUBMITS),
    "end of the block, map unread": Situation(f"{POOL}executor.map(stay, range(20))"),
    "map without a block": Situation(BARE + LIST),
    "tasks busy in Python": Situation(POOL + LIST.replace("stay", "spin")),
    "tasks that hold the GIL": Situation(POOL + LIST.replace("stay", "hold_the_gil")),
    "forked workers": Situation(FORKED + LIST),
    "two executors": Situation(
        "with poolbar.ProcessPoolExecutor(1) as first, poolbar.ProcessPoolExecutor(1) as executor:\n"
        f"    for number in range(20): first.submit(stay, number)\n    {LIST}",
        bars=2,
    ),
}


def that_tells(text: str) -> str:
    """Return a script that tells, on its way out, what it has and what has begun by then."""
    told = 'note("results", " ".join(map(str, results))); print("begun", len(open("begun").readlines()))'
    return "try:\n    " + text.replace("\n", "\n    ") + f"\nfinally:\n    {told}\n"


def assert_told(program: Program, bars: int = 1) -> None:
    """The bars come first, what is printed next begins on a line of its own, and no task has begun since."""
    lines = program.lines()
    assert [is_bar(line) for line in lines[:bars]] == [True] * bars
    begun = len(program.noted("begun"))
    assert lines[bars : bars + 2] == [f"begun {begun}", "Traceback (most recent call last):"]


@pytest.mark.parametrize("situation", SITUATIONS)
def test_one_ctrl_c_ends_the_program_and_leaves_it_its_results(start: Start, situation: str) -> None:
    text, begun, kept, bars = SITUATIONS[situation]
    program = start(that_tells(text))
    # By then the main thread waits, for the minute that the tasks last: the signal does not come just before the wait begins,
    # where Python would act on it when the wait ends, nor where threading.Condition would leave its lock held.
    program.until(
        lambda: len(program.bars()) == bars and len(program.noted("begun")) == begun and len(program.noted("kept")) == kept
    )
    program.type(CTRL_C)
    program.end()
    assert_one_traceback(program)
    assert_told(program, bars)
    assert len(program.noted("begun")) == begun
    results = program.noted("results")
    if situation in {"as_completed", "loop over unordered map"}:
        results.sort()
    assert results == [str(number) for number in range(kept)]


def test_one_ctrl_c_lets_threads_end_what_they_have_begun_and_nothing_else(start: Start) -> None:
    program = start(that_tells(THREADS + SHORT))
    program.until(lambda: program.bars() and len(program.noted("kept")) >= 6)
    program.type(CTRL_C)
    program.end()
    assert_one_traceback(program)
    assert_told(program)
    assert sorted(program.noted("begun")) == sorted(program.noted("ended"))
    results = program.noted("results")
    assert results == [str(number) for number in range(len(results))]
    assert len(results) >= 6


def test_the_bar_of_submits_without_a_block_is_closed_before_the_traceback(start: Start) -> None:
    program = start(BARE_SUBMITS)
    program.until(lambda: program.bars() and len(program.noted("begun")) >= 2)
    program.type(CTRL_C)
    program.end()
    assert len(program.noted("begun")) == 2
    assert [is_bar(line) for line in program.lines()[:2]] == [True, False]
    assert_one_traceback(program)


def test_the_bar_has_a_line_of_its_own_where_the_terminal_echoes_the_key(start: Start) -> None:
    """The bar ends before the last column, so the echo reaches into the next line; there the bar is drawn once more."""
    program = start(POOL + LIST, echo=True)
    program.until(program.bars)
    program.type(CTRL_C)
    program.end()
    assert b"^C" in program.raw
    # The kernel sends the signal first, and may echo the key when the bar is closed already.
    lines = [line.removeprefix("^C").removesuffix("^C") for line in program.lines()]
    assert is_bar(lines[lines.index("Traceback (most recent call last):") - 1])
    assert_one_traceback(program)


SLOW_START = """
def prepare():
    note("preparing", 1)
    time.sleep(60)

with poolbar.ProcessPoolExecutor(4, initializer=prepare) as executor:
    futures = [executor.submit(stay, number) for number in range(20)]
    print("submitted")
    while True:
        time.sleep(0.01)
"""
STARTS: dict[str, tuple[str, Callable[[Program], object]]] = {
    "submitted": (SLOW_START, lambda program: "submitted" in program.lines()),
    "initializing": (SLOW_START, lambda program: program.noted("preparing")),
    "first begun": (SLOW_START.replace(", initializer=prepare", ""), lambda program: program.noted("begun")),
    "forking": (SLOW_START.replace("initializer", "mp_context='fork', initializer"), lambda program: program.noted("preparing")),
}


@pytest.mark.parametrize("moment", STARTS)
def test_one_ctrl_c_while_workers_start_ends_the_program(start: Start, moment: str) -> None:
    text, is_there = STARTS[moment]
    program = start(text)
    program.until(lambda: is_there(program))
    program.type(CTRL_C)
    program.end()
    assert_one_traceback(program)
    assert len(program.noted("begun")) <= 4


AGAIN = {
    "a new executor": f"""
try:
    {POOL.replace("    ", "        ")}{LIST}
except KeyboardInterrupt:
    print("caught")
with poolbar.ProcessPoolExecutor(2, progress=False) as executor:
    print("then", *executor.map(abs, range(5)))
""",
    "the same executor": f"""
with poolbar.ProcessPoolExecutor(2) as executor:
    try:
        {SHORT}
    except KeyboardInterrupt:
        print("caught")
    print("then", *executor.map(abs, range(5)))
""",
}


@pytest.mark.parametrize("what", AGAIN)
def test_a_program_that_catches_ctrl_c_goes_on_with(start: Start, what: str) -> None:
    program = start(AGAIN[what])
    program.until(lambda: program.bars() and len(program.noted("begun")) >= 2)
    program.type(CTRL_C)
    program.end()
    assert program.code() == 0
    bar, *others = program.lines()
    assert is_bar(bar)
    assert others == ["caught", "then 0 1 2 3 4"]


STATEMENTS = {
    "without a block": [BARE.strip(), "list(executor.map(nap, range(9999)))"],
    "with a block": [POOL.strip(), f"    {LIST}", ""],
}


@pytest.mark.parametrize("what", STATEMENTS)
def test_in_a_repl_ctrl_c_ends_a_statement_and_the_next_one_works(start: Start, what: str) -> None:
    program = start("", "-q", "-i")

    def prompts(*said: str) -> bool:
        lines = program.lines()
        return lines[-1:] == [">>>"] and lines[-1 - len(said) : -1] == list(said)

    program.until(prompts)
    program.type("\n".join([*STATEMENTS[what], ""]).encode())
    program.until(lambda: program.bars() and len(program.noted("begun")) >= 2)
    program.type(CTRL_C)
    program.until(lambda: prompts("KeyboardInterrupt"), LIMIT)
    lines = program.lines()
    assert is_bar(lines[lines.index("Traceback (most recent call last):") - 1])
    executor = "executor" if what == "without a block" else "poolbar.ProcessPoolExecutor(2)"
    program.type(f"executor = {executor}; print('\\nthen', *executor.map(abs, range(5)))\n".encode())
    program.until(lambda: prompts("then 0 1 2 3 4"), LIMIT)
    program.type(b"executor.shutdown(); exit()\n")
    program.end()
    assert program.code() in {0, -signal.SIGINT}  # at its end Python 3.14 tells of a KeyboardInterrupt that was shown before
    assert program.raw.count(b"Traceback (most recent call last)") == 1


# --- the key is pressed again

HOLD = """
def hold(_=None):
    note("begun", "hold")
    for _ in range(2):
        note("read", sys.stdin.readline().strip())

def tell_of_the_end(last):  # the last of the futures is cancelled when the program begins to end
    last.add_done_callback(lambda _: note("ending", 1))

"""
HELD = {
    "threads": (THREADS, f"first = executor.submit(hold); {SUBMITS}; tell_of_the_end(futures[-1])"),
    # A callback of a task whose worker was killed runs in a thread of the library, and the end waits for it.
    "processes": (POOL, f"{SUBMITS}; futures[0].add_done_callback(hold); tell_of_the_end(futures[-1])"),
}
PLACES = {
    "in a block": "{with_block}{submits}\n    while True: time.sleep(0.01)",
    "at the end of a block": "{with_block}{submits}",
    "without a block": "{bare}{submits}\nwhile True: time.sleep(0.01)",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", HELD)
def test_a_second_and_a_third_ctrl_c_change_nothing_while_the_program_ends(start: Start, kind: str, place: str) -> None:
    with_block, submits = HELD[kind][0].replace("(2)", "(1)"), HELD[kind][1]
    bare = with_block.strip().replace("with ", "executor = ").replace(" as executor:", "\n")
    program = start(HOLD + PLACES[place].format(with_block=with_block, bare=bare, submits=submits))
    program.until(lambda: program.bars() and program.noted("begun"))  # a slow worker may come later than the bar
    program.type(CTRL_C)
    program.until(lambda: program.noted("ending"), LIMIT)
    # A line that was typed after the key is read after the signal was sent. The program's main thread, which waits for the
    # reader's thread, has then been woken by it.
    program.type(CTRL_C + b"second\n")
    program.until(lambda: program.noted("read") == ["second"], LIMIT)
    program.type(CTRL_C + b"third\n")
    program.end()
    assert program.noted("read") == ["second", "third"]
    assert program.code() == -signal.SIGINT
    assert program.raw.count(b"Traceback (most recent call last)") == 1
    assert b"Exception ignored" not in program.raw


@pytest.mark.parametrize("text", [POOL + LIST, POOL + SUBMITS, BARE_SUBMITS], ids=["map", "end of the block", "without a block"])
def test_a_key_that_is_held_down_leaves_no_process(start: Start, text: str) -> None:
    """What it hits may be Python's own end, or its printing of a traceback: what is on the screen is not looked at."""
    program = start(text)
    program.until(lambda: program.bars() and len(program.noted("begun")) >= 2)
    while program.code() is None:
        program.type(CTRL_C)
        assert program.pressed is not None
        assert time.monotonic() < program.pressed + LIMIT
        program.read(0.03)  # as a keyboard repeats it
    program.end()
    assert program.code() == -signal.SIGINT
    assert len(program.noted("begun")) == 2
