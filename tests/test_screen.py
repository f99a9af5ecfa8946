"""What a person sees in a terminal: bars, and what is printed, logged and warned of beside them, line by line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from terminal import CTRL_C, Program, is_bar, programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAD = """
import faulthandler, logging, os, signal, sys, time, traceback, warnings
import poolbar, poolbar.progress.bar, tasks
from tasks import nap, note, wait_for

faulthandler.register(signal.SIGUSR1)  # see Program.tell_where_it_stands
poolbar.progress.bar.FIRST_SHOWN_SECONDS = 0.1

"""
POOL = "with poolbar.ProcessPoolExecutor(2) as executor:\n    "
THREADS = POOL.replace("Process", "Thread")

Start = Callable[..., Program]
Show = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a script in a terminal."""
    with programs() as begin:

        def run(text: str, **options: object) -> Program:
            (tmp_path / "script.py").write_text(HEAD + text)
            options.setdefault("size", (120, 50))
            return begin(tmp_path, "script.py", **options)

        yield run


@pytest.fixture
def show(start: Start) -> Show:
    """Run a script in a terminal to its end, which is a good one."""

    def run(text: str, **options: object) -> Program:
        program = start(text, **options)
        program.end(60)
        assert program.code() == 0
        return program

    return run


def go(program: Program, gate: str = "gate") -> None:
    """Let tasks go on that wait for this file."""
    (program.directory / gate).touch()


def names(lines: list[str]) -> list[str]:
    """Return what stands before the bars; other lines as they are."""
    return [re.sub(r":? *\d+%\|.*\]$", "", line) for line in lines]


def assert_no_ghosts(program: Program) -> None:
    """At no time was there a bar twice."""
    for frame in program.frames():
        twice = [name for name, count in Counter(names([line for line in frame if "%|" in line])).items() if count > 1]
        assert not twice, "\n".join([*twice, "in", *frame])


# --- bars beside bars


def test_a_map_in_the_loop_over_another_has_its_line_above_once_it_has_ended(start: Start) -> None:
    program = start(f"""
with poolbar.ThreadPoolExecutor(1) as outer:
    for name in outer.map(wait_for, ["script.py", "B", "end"], [None] * 3, "ABC", desc="Outer"):
        {POOL.strip()} list(executor.map(wait_for, ["script.py", f"after {{name}}"], desc=f"Inner {{name}}"))
print("after")
""")
    go(program, "after C")
    program.until(lambda: names(program.whole()) == ["Outer", "Inner A"])
    go(program, "after A")
    program.until(lambda: names(program.whole()) == ["Inner A", "Outer"])
    go(program, "B")
    program.until(lambda: names(program.whole()) == ["Inner A", "Outer", "Inner B"])
    go(program, "after B")
    go(program, "end")
    program.end()
    assert names(program.whole()) == ["Inner A", "Inner B", "Outer", "after"]
    assert all("100%" in line for line in program.whole()[:-1])
    assert_no_ghosts(program)


@pytest.mark.parametrize("order", [["One", "Two"], ["Two", "One"]])
def test_of_two_maps_at_once_the_one_that_ends_first_has_the_upper_line(start: Start, order: list[str]) -> None:
    program = start(f"""
one, two = poolbar.ThreadPoolExecutor(1), poolbar.ThreadPoolExecutor(1)
with one, two:
    runs = {{"One": one.map(wait_for, ["One"], desc="One"), "Two": two.map(wait_for, ["Two"], desc="Two")}}
    for name in {order}:
        list(runs[name])
        print("ended")
""")
    program.until(lambda: names(program.whole()) == ["One", "Two"])
    go(program, order[0])
    program.until(lambda: names(program.whole()) == [order[0], "ended", order[1]])
    go(program, order[1])
    program.end()
    assert names(program.whole()) == [order[0], "ended", order[1], "ended"]
    assert_no_ghosts(program)


THEIRS = "for number in tqdm(executor.map(nap, [0.04] * 20, range(20), desc='Ours'), total=20, desc='Theirs'"


def test_a_bar_of_the_users_own_around_a_map_and_ours_have_lines_of_their_own(show: Show) -> None:
    shown = show(f"""
from tqdm import tqdm
{THREADS}{THEIRS}): pass
print("between")
{THREADS}{THEIRS}, leave=False): pass
print("after")
""")
    assert names(shown.whole()) == ["Ours", "Theirs", "between", "Ours", "after"]
    assert all("100%" in line for line in shown.lines() if line not in {"between", "after"})
    for frame in shown.frames():
        assert max(Counter(names(frame)).values(), default=0) <= 2  # of the two runs
    assert any(names(frame) == ["Theirs", "Ours"] for frame in shown.frames())


def test_prints_in_the_loop_of_a_bar_of_the_users_own_stand_above_both(start: Start) -> None:
    program = start(f"""
from tqdm import tqdm
{THREADS}for number in tqdm(executor.map(wait_for, ["begin"] * 3 + ["gate"], [None] * 4, range(4)), desc="Theirs", total=4):
        print("got", number)
        sys.stdout.write(f"and {{number}} ")
        sys.stdout.write("in ")
        sys.stdout.write("pieces\\n")
print("after")
""")
    program.until(lambda: names(program.lines()) == ["Theirs", ""])
    go(program, "begin")
    told = [f"{first} {number}{rest}" for number in range(4) for first, rest in (("got", ""), ("and", " in pieces"))]
    program.until(lambda: names(program.whole()) == [*told[:6], "Theirs", ""])
    go(program)
    program.end()
    assert names(program.whole()) == [*told, "", "Theirs", "after"]
    assert_no_ghosts(program)


# --- what the program itself prints

PRINTED = """
out
err
in pieces
line 0
line 1
line 2
WARNING logged
UserWarning: warned
Traceback (most recent call last):
ZeroDivisionError: division by zero
half
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_the_program_prints_stands_above_the_bar_in_whole_lines_and_in_order(start: Start, unbuffered: str) -> None:
    program = start(
        """
logging.basicConfig(format="%(levelname)s %(message)s")  # its handler holds the sys.stderr of before the bar
warnings.showwarning = lambda *warned: sys.stderr.write(warnings.formatwarning(*warned[:4], line=""))
with poolbar.ThreadPoolExecutor(2) as executor:
    results = executor.map(wait_for, ["begin", "gate"], desc="Naps")
    wait_for("begin")
    print("out")
    print("err", file=sys.stderr)
    sys.stdout.write("in ")
    sys.stdout.write("pieces")
    sys.stdout.write("\\n")
    sys.stdout.write("".join(f"line {number}\\n" for number in range(3)))
    logging.warning("logged")
    warnings.warn("warned")
    try:
        1 / 0
    except ZeroDivisionError:
        traceback.print_exc()
    print("half", end="")
    wait_for("whole")
    print(" and whole")
    wait_for("gate")
    list(results)
print("after")
""",
        PYTHONUNBUFFERED=unbuffered,
    )
    program.until(program.bars)
    go(program, "begin")
    program.until(lambda: program.lines()[-1:] == ["half"])  # the bar is not in the way
    printed = [re.sub(r"^.*script.py:\d+: ", "", line) for line in program.whole() if not line.startswith("  ")]
    assert printed == PRINTED.strip().splitlines()
    go(program, "whole")
    program.until(lambda: program.whole()[-2] == "half and whole" and is_bar(program.whole()[-1]))
    go(program)
    program.end()
    assert program.whole()[-3] == "half and whole"
    assert is_bar(program.whole()[-2])
    assert "2/2" in program.whole()[-2]
    assert program.whole()[-1] == "after"


def test_a_bar_that_appears_in_the_middle_of_a_write_waits_for_its_end(start: Start) -> None:
    """What another thread writes just then may be on its way, by the stream's own write."""
    program = start("""
import io, threading
from tqdm import tqdm

class Slow(io.FileIO):
    def write(self, data):
        if b"slow" in bytes(data):
            while not hasattr(sys.stdout.write, "is_above"):  # a bar is about to be drawn
                nap(0.001)
            for _ in range(50):
                if any(getattr(bar, "is_up", False) for bar in tqdm._instances):
                    break
                nap(0.01)
        return super().write(data)

sys.stdout = io.TextIOWrapper(io.BufferedWriter(Slow(1, "w", closefd=False)), line_buffering=True)
with poolbar.ThreadPoolExecutor(1) as executor:
    results = executor.map(wait_for, ["gate"])
    threading.Thread(target=print, args=("a slow line",)).start()
    list(results)
""")
    program.until(lambda: "a slow line" in program.raw.decode() and program.bars())
    assert names(program.whole()) == ["a slow line", ""]
    go(program)
    program.end()
    assert names(program.whole()) == ["a slow line", ""]


def test_a_bar_that_pauses_in_the_middle_of_a_line_leaves_the_line_and_does_not_come_back(start: Start) -> None:
    program = start("""
with poolbar.ThreadPoolExecutor(1) as executor:
    future = executor.submit(wait_for, "gate")
    wait_for("begin")
    print("half", end="")
    future.result()
    nap(0.4)  # by then it has been seen that nothing runs
    print(" whole")
    note("told", 1)
    wait_for("end")
""")
    program.until(program.bars)
    go(program, "begin")
    program.until(lambda: program.whole() == ["half"])
    go(program)
    program.until(lambda: program.noted("told"))
    program.until(lambda: program.whole()[0] == "half whole")
    assert program.whole() == ["half whole"]
    go(program, "end")
    program.end()
    assert names(program.whole()) == ["half whole", ""]


def test_no_bar_is_drawn_while_input_waits(start: Start) -> None:
    program = start("""
import threading
from tqdm import tqdm

def task(number):
    if number == 1:
        wait_for("during")
        print("a task")
    return wait_for("gate")

def tell_of_the_bar():
    while not tqdm._instances:
        time.sleep(0.01)
    note("made", 1)

with poolbar.ProcessPoolExecutor(2) as executor:
    results = executor.map(task, range(2))
    threading.Thread(target=tell_of_the_bar).start()
    print("hello", input("name? "))
    wait_for("begin")
    print("hello", input("again? "))
    try:
        input("and again? ")
    except EOFError:
        print("none")
    del results  # unread: it runs to its end, which comes while input waits
    print("hello", input("at last? "))
print("after")
""", echo=True)  # fmt: skip
    program.until(lambda: program.noted("made"))
    program.type(b"Bob\n")
    program.until(lambda: names(program.whole()) == ["name? Bob", "hello Bob", ""])
    go(program, "begin")
    program.until(lambda: program.whole() == ["name? Bob", "hello Bob", "again?"])
    go(program, "during")
    program.until(lambda: program.whole() == ["name? Bob", "hello Bob", "again? a task"])
    program.type(b"Eve\n")
    program.until(lambda: program.lines()[-1] == "and again?")
    program.type(b"\x04")
    told = ["name? Bob", "hello Bob", "again? a task", "Eve", "hello Eve", "and again? none"]
    program.until(lambda: names(program.whole()) == [*told, "at last?"])
    go(program)
    program.until(lambda: names(program.whole()) == [*told, "at last?", ""] and program.screen.cursor.x == 0)
    program.type(b"Ann\n")
    program.end()
    assert names(program.whole()) == [*told, "at last?", "", "Ann", "hello Ann", "after"]
    assert not [line for frame in program.frames() for line in frame if re.search(r"(name|again)\?.*%\|", line)]


# --- what tasks print


def test_what_tasks_print_log_and_warn_of_arrives_in_whole_lines_above_the_bar(start: Start) -> None:
    program = start(
        """
logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
warnings.simplefilter("always")
warnings.showwarning = lambda *warned: sys.stderr.write(warnings.formatwarning(*warned[:4], line=""))

def task(number):
    for line in range(20):
        print(f"<out {number} {line}>")
        print(f"<err {number} {line}>", file=sys.stderr)
        logging.info("<log %s %s>", number, line)
        sys.stdout.write(f"<part {number}")
        sys.stdout.write(f" {line}>\\n")
        sys.stdout.writelines(f"<many {number} {line} {part}>\\n" for part in "ab")
    warnings.warn(f"<warned {number}>")
    print(f"<unfinished {number}>", end="")
    if number > 1:
        wait_for("gate")

with poolbar.ProcessPoolExecutor(2) as executor:
    list(executor.map(task, range(4), desc="Loud"))
""",
        size=(150, 600),
    )
    expected = {f"<{kind} {number} {line}>" for kind in ("out", "err", "part") for number in range(4) for line in range(20)}
    expected |= {f"INFO <log {number} {line}>" for number in range(4) for line in range(20)}
    expected |= {f"<many {number} {line} {part}>" for number in range(4) for line in range(20) for part in "ab"}
    expected |= {f"UserWarning: <warned {number}>" for number in range(4)}
    unfinished = {f"<unfinished {number}>" for number in range(4)}

    def printed() -> list[str]:
        return [re.sub(r"^.*script.py:\d+: ", "", line) for line in program.whole()[:-1]]

    early = unfinished - {"<unfinished 2>", "<unfinished 3>"}
    program.until(lambda: program.bars() and len(printed()) >= len(expected | early))
    assert Counter(printed()) == Counter(expected | early)
    assert is_bar(program.whole()[-1])
    go(program)
    program.end()
    assert Counter(printed()) == Counter(expected | unfinished)
    assert is_bar(program.whole()[-1])
    assert "4/4" in program.whole()[-1]
    for kind in ("<out", "<err", "INFO <log", "<part"):
        for number in range(4):
            found = [line for line in printed() if line.startswith(f"{kind} {number}")]
            assert found == [f"{kind} {number} {line}>" for line in range(20)]


def test_no_line_is_broken_where_the_program_and_many_tasks_print_at_once(show: Show) -> None:
    shown = show(
        """
def task(number):
    nap(0.06 if number < 10 else 0.001)
    print("<task", number, "prints>")

with poolbar.ProcessPoolExecutor(2) as executor:
    for number, _ in enumerate(executor.map(task, range(250), chunksize=1)):
        if number >= 10:  # there is a bar
            print("<got", number, "prints", "too>")
""",
        size=(120, 600),
    )
    expected = [f"<task {number} prints>" for number in range(250)]
    expected += [f"<got {number} prints too>" for number in range(10, 250)]
    assert sorted(shown.whole()[:-1]) == sorted(expected)
    assert "250/250" in shown.whole()[-1]


LIBRARY = """
import sys
assert "tqdm" not in sys.modules, "a worker has no use for it"
from tqdm import tqdm

def crunch(tell, wait):
    for part in tqdm(range(4), desc="parts", mininterval=0):
        if part == 2:
            tell("parts")
            wait("parts")
"""
BARS = """
def own(name, wait, tell):
    from tqdm import tqdm, trange
    from tqdm.auto import tqdm as auto
    for epoch in trange(2, desc="epochs", mininterval=0):
        for step in auto(range(4), desc="steps", leave=False, mininterval=0):
            if step == 1 and epoch == 1:
                tell("epochs"); wait("epochs")
    bar = tqdm(total=2000, unit="B", unit_scale=True, desc="bytes", mininterval=0)
    bar.update(1000)
    bar.set_postfix(loss=0.5)
    tell("bytes"); wait("loss")
    bar.set_postfix(loss=0.25)
    wait("bytes")
    bar.close()

def tell(name): note("reached", name)
def wait(name): wait_for(name)

def task(which):
    if which == "library":
        import library
        library.crunch(tell, wait)
        poolbar.report(30, 40, desc="told")
        poolbar.report(31, 40, desc="told")
        tell("told"); wait("told")
        poolbar.report(0.25)
        tell("share"); wait("share")
    else:
        own(which, wait, tell)
    return which

assert "tqdm" not in sys.modules
with poolbar.ProcessPoolExecutor(2) as executor:
    results = executor.map(task, ["own", "library"], desc="Main")
    print(*results)
print("after")
"""


def shape(line: str) -> str:
    """Return what does not depend on time or on which worker it was."""
    line = re.sub(r"\|.*\|", "|", line)
    line = re.sub(r"\[.*?(, loss=[0-9.]*)?\]", r"[\1]", line)
    return re.sub(r"worker [12]:", "worker:", line)


def test_bars_inside_tasks_have_a_line_each_below_the_main_one_until_they_end(start: Start, tmp_path: Path) -> None:
    (tmp_path / "library.py").write_text(LIBRARY)
    program = start(BARS)

    def shown(main: str, *lines: str) -> None:
        program.until(lambda: [shape(line) for line in program.whole()[:1]] == [main])
        program.until(lambda: sorted(shape(line) for line in program.whole()) == sorted([main, *lines]))

    begun, size = "Main:   0%| 0/2 []", "  worker: bytes:  50%| 1.00k/2.00k [, loss=0.5]"
    epochs = ["  worker: epochs:  50%| 1/2 []", "  worker: steps:  25%| 1/4 []"]
    program.until(lambda: len(program.noted("reached")) == 2)
    shown(begun, *epochs, "  worker: parts:  50%| 2/4 []")
    go(program, "epochs")
    shown(begun, size, "  worker: parts:  50%| 2/4 []")
    go(program, "parts")
    shown(begun, size, "  worker: told:  78%| 31/40 []")
    go(program, "loss")
    size = size.replace("0.5]", "0.25]")
    shown(begun, size, "  worker: told:  78%| 31/40 []")
    go(program, "told")
    shown(begun, size, "  worker: task:  25%| []")
    go(program, "share")
    shown("Main:  50%| 1/2 []", size)
    go(program, "bytes")
    program.end()
    assert [shape(line) for line in program.whole()] == ["Main: 100%| 2/2 []", "own library", "after"]
    assert_no_ghosts(program)


# --- terminals


RESIZED = """
from tqdm import tqdm

def task(number):
    poolbar.report(1, 4, desc=f"part {number}")
    wait_for("gate")

with poolbar.ProcessPoolExecutor(2) as executor:
    results = executor.map(task, range(2), desc="A name that is long")
    for step in "01":
        wait_for(f"hold{step}")
        with tqdm.get_lock():  # who draws waits for it
            note("held", step)
            wait_for(f"resized{step}")
        wait_for(f"print{step}")
        print("a line that is longer than a narrow terminal")
    list(results)
print("after")
"""


def test_bars_fit_into_a_terminal_that_is_narrow_and_into_one_that_is_resized(start: Start) -> None:
    program = start(RESIZED, size=(30, 30))
    main, parts = r"A name that is long: +\d+%", r"  worker \d: part \d:  25%"
    printed = []

    def shown(narrowest: int, widest: int) -> bool:
        lines = program.whole()
        if lines[: len(printed)] != printed or len(lines) != len(printed) + 3:
            return False
        first, *others = lines[len(printed) :]
        fitting = all(narrowest <= len(line) < widest for line in (first, *others))
        return bool(fitting and re.match(main, first) and all(re.match(parts, line) for line in others))

    program.until(lambda: shown(26, 30))
    for step, (columns, narrowest) in enumerate([(120, 80), (60, 50)]):
        go(program, f"hold{step}")
        program.until(lambda step=step: len(program.noted("held")) == step + 1)
        program.resize(columns, 30)
        go(program, f"resized{step}")
        program.until(lambda narrowest=narrowest, columns=columns: shown(narrowest, columns))
        go(program, f"print{step}")
        printed.append("a line that is longer than a narrow terminal")
        program.until(lambda narrowest=narrowest, columns=columns: shown(narrowest, columns))
    go(program)
    program.end()
    assert names(program.whole()) == [*printed, "A name that is long", "after"]


def test_in_a_terminal_without_unicode_bars_are_of_ascii_and_what_it_cannot_show_is_escaped(show: Show) -> None:
    shown = show(
        """
def task(number):
    poolbar.report(number, 4, desc="caf\\xe9")
    print("caf\\xe9 \\u2603")
    logging.getLogger("task").warning("caf\\xe9")
    nap(0.1)

with poolbar.ProcessPoolExecutor(2, desc="na\\xefve") as executor:
    list(executor.map(task, range(8)))
print("after")
""",
        LANG="C", LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0", PYTHONIOENCODING="ascii",
    )  # fmt: skip
    assert Counter(shown.lines()[:-2]) == {"caf\\xe9 \\u2603": 8, "caf\\xe9": 8}
    assert re.match(r"na\\xefve: 100%\|#+\| 8/8 \[.*task/s\]$", shown.lines()[-2])
    assert shown.lines()[-1] == "after"
    assert any(re.match(r"  worker \d: caf\\xe9: +\d+%\|[#0-9 ]+\| \d/4", line) for frame in shown.frames() for line in frame)


def test_the_bar_tells_how_many_tasks_failed_were_tried_again_and_run(start: Start) -> None:
    program = start("""
def task(number):
    if number == 0:
        raise ValueError
    if number == 1 and not os.path.exists("tried"):
        note("tried", 1)
        print("dying")
        os._exit(1)
    wait_for("gate")

with poolbar.ProcessPoolExecutor(2, retries=1) as executor:
    poolbar.wait([executor.submit(task, number) for number in range(4)])
""")
    program.until(lambda: program.lines()[-1:] and program.lines()[-1].endswith(", failed=1, retried=1, running=2]"))
    assert program.whole()[:-1] == ["dying"]
    go(program)
    program.end()
    assert re.match(r"100%\|.*\| 4/4 \[.*task/s, failed=1, retried=1\]$", program.whole()[1])
    assert len(program.whole()) == 2


# --- how bars end

REPORTING = """
def task(number):
    while number > 0 and not os.path.exists("gate"):
        poolbar.report(number, 4, desc=f"part {number}")
        nap(0.01)
        if number == 1 and os.path.exists("fail"):
            raise ValueError("as asked")

"""
ENDS = {
    "error": "next(results); next(results)",
    "close": "next(results); wait_for('end'); results.close()",
    "drop": "next(results); wait_for('end'); del results",
}


@pytest.mark.parametrize("end", ENDS)
def test_bars_of_tasks_that_still_run_go_with_the_main_one(start: Start, end: str) -> None:
    program = start(f"""{REPORTING}
with poolbar.ProcessPoolExecutor(2) as executor:
    results = executor.map(task, range(3), desc="Main")
    try:
        {ENDS[end]}
    except ValueError as error:
        print(error)
    results = None
    print("ended")
    wait_for("gate")
print("after")
""")
    program.until(lambda: len(program.whole()) == 3 and all("part" in line for line in program.whole()[1:]))
    go(program, "fail" if end == "error" else "end")
    expected = ["Main", *(["as asked"] if end == "error" else []), "ended"]
    program.until(lambda: names(program.whole()) == expected)
    go(program)
    program.end()
    assert names(program.whole()) == [*expected, "after"]
    assert_no_ghosts(program)


def test_ctrl_c_takes_the_bars_of_tasks_away_before_the_traceback(start: Start) -> None:
    program = start(f"{REPORTING}{POOL}list(executor.map(task, range(3), desc='Main'))")
    program.until(lambda: len(program.whole()) == 3 and all("part" in line for line in program.whole()[1:]))
    program.type(CTRL_C)
    program.end()
    assert names(program.whole()[:2]) == ["Main", "Traceback (most recent call last):"]
    assert program.whole()[-1] == "KeyboardInterrupt"
    assert not [line for line in program.whole() if "worker" in line and "%" in line]


@pytest.mark.parametrize("leave", [True, False])
def test_a_bar_of_the_users_own_that_ends_first_leaves_ours_in_order(start: Start, leave: bool) -> None:
    program = start(f"""
from tqdm import tqdm
{THREADS}results = executor.map(wait_for, ["gate"] * 2, desc="Ours")
    theirs = tqdm(total=2, desc="Theirs", leave={leave})
    wait_for("begin")
    theirs.update(2)
    theirs.close()
    wait_for("print")
    print("between")
    list(results)
print("after")
""")
    program.until(lambda: names(program.whole()) == ["Theirs", "Ours"])
    go(program, "begin")
    left = ["Theirs"] if leave else []
    program.until(lambda: names(program.whole()) == [*left, "Ours"])
    go(program, "print")
    program.until(lambda: names(program.whole()) == [*left, "between", "Ours"])
    go(program)
    program.end()
    assert names(program.whole()) == [*left, "between", "Ours", "after"]


# --- other ways to show progress

LOUD = """
def task(number):
    print("task", number)
    print("error", number, file=sys.stderr)
    nap(0.06)
    return number

"""


def test_stdout_in_a_file_has_what_is_printed_and_nothing_else(start: Start, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as out:
        program = start(
            f"{LOUD}{POOL}for number in executor.map(task, range(12), desc='Main'): print('got', number)",
            streams={"stdout": out},
        )
        program.end(60)
    assert program.code() == 0
    assert Counter(program.whole()[:-1]) == Counter(f"error {number}" for number in range(12))
    assert names(program.whole()[-1:]) == ["Main"]
    found = (tmp_path / "out").read_text().splitlines()
    assert Counter(found) == Counter(f"{what} {number}" for what in ("task", "got") for number in range(12))
    assert [line for line in found if "got" in line] == [f"got {number}" for number in range(12)]


@pytest.mark.parametrize("progress", ["tqdm.tqdm", "'log'", "'off'"])
def test_with_another_kind_of_progress_what_is_printed_is_as_whole(show: Show, progress: str) -> None:
    shown = show(f"""
import tqdm
import poolbar.progress.log as log
log.FIRST_LINE_SECONDS = 0.1
{LOUD}
with poolbar.ProcessPoolExecutor(2, progress={progress}, desc="Main") as executor:
    for number in executor.map(task, range(12)): print("got", number)
print("after")
""")
    *lines, after = shown.whole()
    assert after == "after"
    printed = Counter(f"{what} {number}" for what in ("task", "error", "got") for number in range(12))
    told = [line for line in lines if line.startswith("Main: ")]
    assert Counter(line for line in lines if line not in told) == printed
    if progress == "tqdm.tqdm":
        assert re.match(r"Main: 100%\|█+\| 12/12 \[", lines[-1])
        assert len(told) == 1
    elif progress == "'log'":
        assert len(told) >= 2
        assert told[-1].startswith("Main: done: 12 of 12 tasks")
    else:
        assert b"%" not in shown.raw


def test_without_relay_tasks_print_and_draw_for_themselves(show: Show) -> None:
    shown = show(
        f"""
def task(number):
    from tqdm import tqdm
    print("task", number, flush=True)
    for _ in tqdm(range(5), desc="own"):
        nap(0.15)  # longer, all together, than a run is that has no bar

{POOL}list(executor.map(task, range(2), desc="Main"))
""",
        POOLBAR_RELAY="off",
    )
    assert {b"task 0\r\n", b"task 1\r\n"} <= set(re.findall(rb"task \d\r\n", shown.raw))
    assert b"own: 100%" in shown.raw
    assert b"worker" not in shown.raw
    assert names(shown.whole()[-1:]) == ["Main"]
