"""Interactive Python, ``python -c`` and a script on stdin, in a terminal as a person sees it (laws 8 and 12)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from terminal import LIMIT, Program, is_bar, programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Start = Callable[..., Program]


@pytest.fixture
def start() -> Iterator[Start]:
    with programs() as begin:
        yield begin


TYPED = [
    "import poolbar.progress.bar, os, sys, time; poolbar.progress.bar.FIRST_SHOWN_SECONDS = 0.1",
    "pool = poolbar.ProcessPoolExecutor(2)",
    "def task(number): print('task', number, os.getpid() == parent); time.sleep(0.15); return number",
    "",
    "parent = os.getpid()",
    "sum(pool.map(task, range(6)))",
    "with poolbar.ProcessPoolExecutor(2, desc='Block') as block: print('got', *block.map(task, range(6)))",
    "",
]
SHELLS = {
    "python": (["-q"], r">>>|\.\.\.", b"\n"),
    "python -i script.py": (["-q", "-i", "script.py"], r">>>|\.\.\.", b"\n"),
    "ipython": (
        ["-m", "IPython", "--no-banner", "--no-confirm-exit", "--colors=NoColor"], r"In \[\d+\]:| +\.\.\.:", b"\r",
    ),
}  # fmt: skip


def type_in(program: Program, shell: str, statements: list[str]) -> None:
    """Type statements, each when the prompt for it stands there, in a line of its own."""
    _, prompt, enter = SHELLS[shell]

    def waits() -> bool:
        return re.fullmatch(prompt, program.whole()[-1] if program.whole() else "") is not None

    program.until(waits)
    for statement in statements:
        lines = len(program.whole())
        program.type(statement.encode() + enter)
        program.until(lambda lines=lines: len(program.whole()) > lines and waits())


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    if request.param == "ipython":
        pytest.importorskip("IPython")
    return str(request.param)


def test_what_is_typed_into_a_shell_runs_in_workers_and_each_prompt_has_its_line(
    start: Start, tmp_path: Path, shell: str
) -> None:
    arguments, prompt, enter = SHELLS[shell]
    (tmp_path / "script.py").write_text("\n".join(TYPED[:5]))
    program = start(tmp_path, *arguments, echo=True, size=(120, 80), IPYTHONDIR=str(tmp_path))

    typed = TYPED[5:] if "script" in shell else TYPED
    type_in(program, shell, typed)
    told = [line for line in program.lines() if not re.match(prompt, line)]
    tasks = [f"task {number} False" for number in range(6)]
    assert sorted(told[:6]) == sorted(told[8:14]) == tasks
    assert is_bar(told[6])
    assert "6/6" in told[6]
    assert re.fullmatch(r"(Out\[\d+\]: )?15", told[7])
    assert is_bar(told[14])
    assert told[14].startswith("Block: 100%")
    assert told[15:] == ["got 0 1 2 3 4 5"]
    program.type(b"exit()" + enter)
    program.end(LIMIT)
    assert program.code() == 0
    assert b"Warning" not in program.raw
    assert b"Traceback" not in program.raw


SCRIPT = """
import os, time, poolbar.progress.bar
poolbar.progress.bar.FIRST_SHOWN_SECONDS = 0.1
parent = os.getpid()

def task(number):
    print("task", number, os.getpid() == parent)
    time.sleep(0.15)
    return number

with poolbar.ProcessPoolExecutor(2) as executor:
    print("got", *executor.map(task, range(6)))
"""


@pytest.mark.parametrize("way", ["-c", "-"])
def test_a_script_that_is_no_file_shows_its_bar_and_what_its_tasks_print(start: Start, tmp_path: Path, way: str) -> None:
    (tmp_path / "script").write_text(SCRIPT)
    with (tmp_path / "script").open() as script:
        program = start(tmp_path, *(["-c", SCRIPT] if way == "-c" else ["-"]), streams={} if way == "-c" else {"stdin": script})
        program.end(60)
    assert program.code() == 0
    *printed, bar, got = program.whole()
    assert sorted(printed) == [f"task {number} False" for number in range(6)]
    assert is_bar(bar)
    assert got == "got 0 1 2 3 4 5"


def test_in_ipython_a_bar_lives_on_from_cell_to_cell_and_ends_at_the_exit(start: Start, tmp_path: Path) -> None:
    """IPython replaces the streams' write for each cell, and keeps what is written there for its history."""
    pytest.importorskip("IPython")
    arguments, _, enter = SHELLS["ipython"]
    program = start(tmp_path, *arguments, echo=True, size=(120, 80), IPYTHONDIR=str(tmp_path))

    typed = [
        "import poolbar, time; from tqdm import tqdm; pool = poolbar.ProcessPoolExecutor(2, desc='Calls'); nap = time.sleep",
        "settle = lambda: [nap(0.01) for _ in iter(lambda: any(getattr(bar, 'is_up', 0) for bar in tqdm._instances), False)]",
        *["_ = [print('ended') for _ in poolbar.as_completed([pool.submit(nap, 0.2) for _ in range(6)])]; settle()"] * 2,
    ]
    type_in(program, "ipython", typed)
    assert program.lines().count("ended") == 12
    program.type(b"exit()" + enter)
    program.end(LIMIT)
    assert program.code() == 0
    assert re.match(r"Calls: 100%\|.*\| 12/12 ", program.lines()[-1])
    assert b"Warning" not in program.raw


@pytest.mark.xfail(strict=False, reason="nothing tells poolbar that a shell prompts: the bar is on the prompt's line")
@pytest.mark.parametrize("wait", ["; poolbar.wait(futures) and None", ""], ids=["have just ended", "still run"])
def test_the_bar_of_submits_is_out_of_the_prompts_way_where_they(start: Start, tmp_path: Path, wait: str) -> None:
    program = start(tmp_path, "-q", echo=True, size=(120, 80))
    type_in(program, "python", ["import poolbar, time; pool = poolbar.ProcessPoolExecutor(2)"])
    prompts = program.raw.count(b">>>")
    program.type(f"futures = [pool.submit(time.sleep, 0.6) for _ in range(4)]{wait}\n".encode())
    program.until(lambda: b"task/s" in program.raw and program.raw.count(b">>>") > prompts)
    program.type(b"poolbar.wait(futures) and time.sleep(0.3); print('do' + 'ne')\n")
    program.until(lambda: "done" in program.lines())
    assert ">>> poolbar.wait(futures) and time.sleep(0.3); print('do' + 'ne')" in program.lines()
