"""Ctrl-C, as a user presses it: in a terminal, to a script that a shell has started, with the bar on the screen."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import pytest
from terminal import CTRL_C, LIMIT, Program, is_bar, programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
    with programs() as begin:

        def run(text: str, *options: str, echo: bool = False) -> Program:
            (tmp_path / "script.py").write_text(PRELUDE + text)
            return begin(tmp_path, *options, "script.py", echo=echo)

        yield run


class Situation(NamedTuple):
    """Where a Ctrl-C comes: tasks run that would last a minute, and many wait."""

    text: str
    begun: int = 2  # tasks
    kept: int = 0  # results
    bars: int = 1


POOL = "with poolbar.ProcessPoolExecutor(2) as executor:\n    "
THREADS = POOL.replace("Process", "Thread")
INTERPRETERS = POOL.replace("ProcessPoolExecutor(2)", "ProgressExecutor(2, backend='interpreter')")
FROM_3_14 = pytest.mark.skipif(sys.version_info < (3, 14), reason="sub-interpreters came with Python 3.14")
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


@pytest.mark.parametrize("pool", [THREADS, pytest.param(INTERPRETERS, marks=FROM_3_14)], ids=["threads", "interpreters"])
def test_one_ctrl_c_lets_threads_and_interpreters_end_what_they_have_begun_and_nothing_else(start: Start, pool: str) -> None:
    program = start(that_tells(pool + SHORT))
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
