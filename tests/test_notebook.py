"""In a notebook: a real kernel runs cells, and what they show is looked at as a front end gets it."""

from __future__ import annotations

import os
import signal
import sys
import time
from ast import literal_eval
from typing import TYPE_CHECKING

import ipykernel
import nbformat
import pytest
from cells import WIDGET, Cell, Notebook
from conftest import is_gone, lines, until
from nbclient import NotebookClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

IMPORTS = """
import logging, os, sys, time
import poolbar, tasks
from poolbar import ProcessPoolExecutor, ThreadPoolExecutor
from poolbar.progress import bar
bar.FIRST_SHOWN_SECONDS = 0.1
"""
AT_REST = """
for value in list(globals().values()):
    if isinstance(value, poolbar.ProgressExecutor):
        value.kill_workers()
        value.shutdown()
poolbar.shutdown_warm_workers()
"""
INTERRUPTED_WITHIN_SECONDS = 10


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    made = Notebook(tmp_path_factory.mktemp("notebook"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def notebook(kernel: Notebook) -> Iterator[Notebook]:
    """A kernel that the tests share, with what they need imported; at the end it is left without workers."""
    kernel.run(IMPORTS)
    yield kernel
    kernel.recover()
    kernel.run(IMPORTS + AT_REST)
    assert until(lambda: not kernel.workers(), 10)


@pytest.fixture
def another(kernel: Notebook, tmp_path: Path) -> Iterator[Notebook]:
    """A kernel of the test's own. Not the first one: with that comes an event loop of jupyter_client's, which stays."""
    made = Notebook(tmp_path)
    try:
        made.run(IMPORTS)
        yield made
    finally:
        made.close()


# --- what cells define


def test_functions_closures_and_classes_of_cells_run_in_worker_processes(notebook: Notebook) -> None:
    notebook.run("""
        from dataclasses import dataclass

        FACTOR = 3

        def scaled(number):
            return FACTOR * number

        def adder(more):
            def add(number):
                return scaled(number) + more
            return add

        class Shape:
            sides = 4
            def __init__(self, size):
                self.size = size
            def area(self):
                return self.size ** 2
            def __call__(self, number):
                return os.getpid(), Shape(self.size + number)

        @dataclass(frozen=True)
        class Point:
            x: int
            y: int = 0
            def moved(self, by):
                return Point(self.x + by, self.y)
    """)
    notebook.run("""
        with ProcessPoolExecutor(2) as executor:
            assert list(executor.map(scaled, range(5))) == [0, 3, 6, 9, 12]
            assert list(executor.map(adder(100), range(3))) == [100, 103, 106]
            assert list(executor.map(lambda n: n + FACTOR, range(3))) == [3, 4, 5]
            assert executor.submit(adder(1), 1).result() == 4
            assert executor.submit(lambda: FACTOR).result() == 3
            assert list(executor.map(Shape.area, [Shape(2), Shape(3)])) == [4, 9]
            pid, shape = executor.submit(Shape(1), 1).result()
            assert pid != os.getpid()
            assert type(shape) is Shape and shape.area() == 4
            assert list(executor.map(Point, range(2))) == [Point(0), Point(1)]
            assert executor.submit(Point(1, 5).moved, 1).result() == Point(2, 5)
            assert {executor.submit(Point, 1).result(), Point(1)} == {Point(1)}
    """)


def test_a_cell_that_is_run_again_with_another_function_uses_the_new_one(notebook: Notebook) -> None:
    notebook.run("executor = ProcessPoolExecutor(2)")
    for version in (1, 2, 3):
        notebook.run(f"""
            def inner():
                return {version}
            def answer(number):
                return inner() * 10 + number
            class Box:
                def get(self):
                    return inner()
        """)
        found = "list(one.map(answer, range(3))), one.submit(answer, 5).result(), one.submit(Box().get).result()"
        expected = str(([10 * version + n for n in range(3)], 10 * version + 5, version))
        assert notebook.value(f"one = executor; {found}") == expected
        notebook.run(f"with ProcessPoolExecutor(2) as one: found = {found}")
        assert notebook.value("found") == expected


def test_a_worker_sees_only_what_a_function_needs_of_the_notebook(notebook: Notebook) -> None:
    notebook.run("""
        unsendable = (number for number in range(3))  # no pickle has room for a generator
        used = 5
        with ProcessPoolExecutor(1) as executor:
            assert executor.submit(lambda: used).result() == 5
            assert not executor.submit(lambda: "unsendable" in globals()).result()
    """)


def test_a_cell_can_await_what_tasks_return(notebook: Notebook) -> None:
    notebook.run("""
        import asyncio
        with ProcessPoolExecutor(2) as executor:
            loop = asyncio.get_running_loop()
            results = await asyncio.gather(*(loop.run_in_executor(executor, tasks.square, number) for number in range(5)))
        assert results == [0, 1, 4, 9, 16]
    """)


# --- bars

LASTING = "list(executor.map(tasks.nap, [0.04] * 24))"  # half a second for two workers


@pytest.mark.parametrize("kind", ["ProcessPoolExecutor", "ThreadPoolExecutor"])
def test_a_run_that_lasts_shows_a_widget_that_ends_at_the_full_count(notebook: Notebook, kind: str) -> None:
    cell = notebook.run(f"with {kind}(2, desc='Napping') as executor: {LASTING}")
    assert [notebook.counts(view) for view in cell.views] == [(24, 24, "success")]
    texts = " ".join(str(state.get("value", "")) for state in notebook.widgets.values())
    assert "Napping" in texts
    assert "24/24" in texts
    assert (cell.stdout, cell.stderr) == ("", "")


def test_a_short_run_shows_nothing(notebook: Notebook) -> None:
    notebook.run("executor = ProcessPoolExecutor(2); list(executor.map(tasks.same, range(10)))")
    notebook.run("bar.FIRST_SHOWN_SECONDS = 0.5")  # as it is
    cell = notebook.run("list(executor.map(tasks.same, range(10))); executor.submit(abs, -1).result(); None")
    assert (cell.views, cell.stdout, cell.stderr) == ([], "", "")


def test_a_failed_run_leaves_its_bar_where_it_stood(notebook: Notebook) -> None:
    notebook.run("""
        def task(number):
            time.sleep(0.05)
            if number == 15:
                raise ValueError(number)
    """)
    cell = notebook.finish(notebook.begin("with ProcessPoolExecutor(2) as executor: list(executor.map(task, range(400)))"))
    assert cell.error == "ValueError"
    [(value, total, style)] = [notebook.counts(view) for view in cell.views]
    assert 14 <= value < 30
    assert (total, style) == (400, "danger")


def test_a_bar_belongs_to_the_cell_that_runs(notebook: Notebook) -> None:
    """The thread that draws was started by the first cell."""
    first = notebook.run(f"executor = ProcessPoolExecutor(2)\n{LASTING}\nNone")
    second = notebook.run(f"{LASTING}\nNone")
    assert [len(cell.views) for cell in (first, second)] == [1, 1]
    assert {*first.views} != {*second.views}


SUBMITS = "poolbar.wait([executor.submit(tasks.nap, 0.04) for _ in range(24)])"


def test_the_bar_of_submits_belongs_to_the_cell_that_submits(notebook: Notebook) -> None:
    notebook.run("executor = ProcessPoolExecutor(2)")
    first = notebook.run(f"{SUBMITS}\nNone")
    second = notebook.run(f"{SUBMITS}\nNone")
    assert [len(cell.views) for cell in (first, second)] == [1, 1]
    assert {*first.views} != {*second.views}


def test_the_bar_of_submits_stands_at_the_end_when_all_have_ended(notebook: Notebook) -> None:
    """Law 13, of an executor that is kept: more may be submitted later, and the last look was before the last task."""
    notebook.run("executor = ProcessPoolExecutor(2)")
    cell = notebook.run(f"{SUBMITS}\nNone")
    [view] = cell.views
    assert notebook.until(lambda: notebook.counts(view)[0] == 24, 5)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="ipykernel 6, for Python 3.10, puts what appears later into the next cell")
def test_the_bar_of_a_cell_that_has_ended_stays_with_it(notebook: Notebook, tmp_path: Path) -> None:
    """What one cell submits may still run when the next one does."""
    gate = tmp_path / "gate"
    first = notebook.run(f"""
        executor = ProcessPoolExecutor(2)
        futures = [executor.submit(tasks.wait_for, {str(gate)!r}) for _ in range(4)]
    """)
    second = notebook.run("with ThreadPoolExecutor(2) as another: list(another.map(tasks.nap, [0.04] * 24))")
    assert notebook.until(lambda: first.views, 5)
    gate.touch()
    notebook.run("poolbar.wait(futures)")
    notebook.run("executor.shutdown()")
    assert [notebook.counts(view)[:2] for view in first.views] == [(4, 4)]
    assert [notebook.counts(view)[:2] for view in second.views] == [(24, 24)]


def test_without_ipywidgets_the_bar_is_text_under_the_cell_that_runs(another: Notebook) -> None:
    another.run("sys.modules['ipywidgets'] = None\nexecutor = ProcessPoolExecutor(2)")
    mapping = [another.run(f"{LASTING}\nNone") for _ in range(2)]
    submitting = another.run(f"{SUBMITS}\nNone")
    after = another.run("executor.shutdown()")
    assert [(len(cell.bars()), cell.views) for cell in (*mapping, submitting, after)] == [(1, []), (1, []), (1, []), (0, [])]
    assert all("24/24" in bar for cell in (*mapping, submitting) for bar in cell.bars())
    assert "Warning" not in mapping[0].stderr


def test_a_notebook_that_is_run_as_a_whole_keeps_its_bars(tmp_path: Path) -> None:
    """By nbclient, as nbconvert, papermill and documentation builders do."""
    cells = [IMPORTS, f"with ProcessPoolExecutor(2) as executor: {LASTING}", AT_REST]
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("POOLBAR_PROGRESS")
        patch.delenv("PYTEST_CURRENT_TEST")
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        patch.setenv("IPYTHONDIR", str(tmp_path))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
        place = {"metadata": {"path": str(tmp_path)}}
        done = NotebookClient(content, timeout=60, resources=place, shutdown_kernel="immediate").execute()
    assert [output["output_type"] for cell in done.cells for output in cell["outputs"]] == ["display_data"]
    assert WIDGET in done.cells[1]["outputs"][0]["data"]
    models = done.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"].values()
    [bar] = [model["state"] for model in models if model["model_name"] == "FloatProgressModel"]
    assert (bar["value"], bar["max"], bar["bar_style"]) == (24, 24, "success")


# --- interrupts

IN_A_BLOCK = {
    "map": "with ProcessPoolExecutor(2) as executor: list(executor.map({task}, range(1000)))",
    "wait": "with ProcessPoolExecutor(2) as executor: poolbar.wait([executor.submit({task}, n) for n in range(1000)])",
}
KEPT = {
    "list": "list(executor.map({task}, range(1000)))",
    "loop": "results = executor.map({task}, range(1000))\nfor result in results: pass",
}
WORKS = "assert list({0}.map(tasks.square, range(50))) == [n * n for n in range(50)]; assert {0}.submit(abs, -1).result() == 1"


def interrupted(notebook: Notebook, cell: Cell) -> float:
    """Interrupt a cell; return how many seconds later it has ended."""
    began = time.monotonic()
    notebook.interrupt()
    notebook.finish(cell, 2 * INTERRUPTED_WITHIN_SECONDS)
    return time.monotonic() - began


def begin_and_interrupt(notebook: Notebook, notes: Path, source: str, seconds: float) -> None:
    """Let a cell run tasks that take so many seconds, on two workers, and interrupt it when both have begun one."""
    notebook.run(f"""
        def task(number):
            tasks.note({str(notes)!r}, number)
            time.sleep({seconds})
    """)
    cell = notebook.begin(source.format(task="task"))
    assert notebook.until(lambda: len(lines(notes)) >= 2)
    seconds = interrupted(notebook, cell)
    print(f"the cell ended {seconds:.2f} s after the interrupt")
    assert (cell.error, cell.stderr) == ("KeyboardInterrupt", "")
    assert seconds < INTERRUPTED_WITHIN_SECONDS


SHORT_AND_LONG = pytest.mark.parametrize("seconds", [0.05, 600])


@SHORT_AND_LONG
@pytest.mark.parametrize("way", IN_A_BLOCK)
def test_an_interrupt_in_a_with_block_ends_the_cell_and_the_workers(
    notebook: Notebook, tmp_path: Path, way: str, seconds: float
) -> None:
    begin_and_interrupt(notebook, tmp_path / "notes", IN_A_BLOCK[way], seconds)
    notebook.run(f"with ProcessPoolExecutor(2) as new: {WORKS.format('new')}", 10)


@SHORT_AND_LONG
@pytest.mark.parametrize("way", KEPT)
def test_an_interrupt_ends_the_cell_and_the_next_one_can_use_the_same_executor(
    notebook: Notebook, tmp_path: Path, way: str, seconds: float
) -> None:
    notebook.run("executor = ProcessPoolExecutor(2)")
    begin_and_interrupt(notebook, tmp_path / "notes", KEPT[way], seconds)
    notebook.run(WORKS.format("executor"), 10)
    notebook.run(f"with ProcessPoolExecutor(2) as new: {WORKS.format('new')}", 10)


def test_an_interrupt_of_a_wait_for_futures_leaves_them_to_be_cancelled(notebook: Notebook, tmp_path: Path) -> None:
    notebook.run("executor = ProcessPoolExecutor(2)")
    source = "futures = [executor.submit({task}, n) for n in range(1000)]\nfor future in futures: future.result()"
    begin_and_interrupt(notebook, tmp_path / "notes", source, 0.05)
    notebook.run("assert sum(future.cancel() for future in futures) > 900")
    notebook.run(WORKS.format("executor"), 10)


def test_an_interrupt_while_workers_start_leaves_an_executor_that_works(notebook: Notebook) -> None:
    """Python is being loaded in them: no traceback of theirs is shown."""
    notebook.run("executor = ProcessPoolExecutor(2)")
    for _ in range(3):
        cell = notebook.begin("list(executor.map(tasks.nap, [60] * 10))")
        assert notebook.until(notebook.workers)
        seconds = interrupted(notebook, cell)
        assert (cell.error, cell.stdout, cell.stderr) == ("KeyboardInterrupt", "", "")
        assert seconds < INTERRUPTED_WITHIN_SECONDS
        notebook.run("assert list(executor.map(tasks.square, range(3))) == [0, 1, 4]", 20)
        notebook.run(f"{AT_REST}\nexecutor = ProcessPoolExecutor(2)")
        assert until(lambda: not notebook.workers())


def test_an_interrupt_while_workers_are_idle_leaves_them_alive(notebook: Notebook) -> None:
    notebook.run("executor = ProcessPoolExecutor(2); list(executor.map(tasks.nap, [0.1] * 4))")
    before = notebook.value("sorted(executor._processes)")
    cell = notebook.begin("print('in', flush=True)\ntime.sleep(600)")
    assert notebook.until(lambda: "in" in cell.stdout)
    assert interrupted(notebook, cell) < INTERRUPTED_WITHIN_SECONDS
    assert cell.error == "KeyboardInterrupt"
    notebook.run("assert list(executor.map(tasks.square, range(5))) == [0, 1, 4, 9, 16]")
    assert notebook.value("sorted(executor._processes)") == before


# --- the end


def test_a_hundred_runs_in_a_cell_leave_no_worker_and_no_thread(notebook: Notebook) -> None:
    notebook.run("with ProcessPoolExecutor(2) as executor: executor.submit(abs, -1).result()")  # what starts but once
    notebook.run("""
        import threading
        poolbar.shutdown_warm_workers()
        before = set(threading.enumerate())
    """)
    notebook.run(
        """
        for run in range(100):
            with ProcessPoolExecutor(2) as executor:
                assert list(executor.map(lambda n: n + run, range(20))) == list(range(run, run + 20))
        del executor
        """,
        60,
    )
    notebook.run("poolbar.shutdown_warm_workers()")
    assert notebook.value("[thread for thread in threading.enumerate() if thread not in before]") == "[]"
    assert until(lambda: not notebook.workers(), 10)


ENDS: dict[str, Callable[[Notebook], None]] = {
    "restart": lambda notebook: notebook.restart(),
    "restart at once": lambda notebook: notebook.restart(now=True),
    "shutdown": lambda notebook: notebook.shut_down(),
    "SIGKILL": lambda notebook: os.kill(notebook.pid, signal.SIGKILL),
}


@pytest.mark.parametrize(
    ("end", "state"),
    [("restart", "busy"), ("restart at once", "busy"), ("shutdown", "idle"), ("SIGKILL", "idle"), ("SIGKILL", "busy")],
)
def test_no_worker_outlives_its_kernel(another: Notebook, tmp_path: Path, end: str, state: str) -> None:
    another.run("executor = ProcessPoolExecutor(2)\nlist(executor.map(tasks.nap, [0.1] * 4))\nNone")
    if state == "busy":
        another.begin(f"list(executor.map(lambda n: (tasks.note({str(tmp_path / 'notes')!r}, n), time.sleep(600)), range(9)))")
        assert another.until(lambda: len(lines(tmp_path / "notes")) == 2)
    processes = another.processes()
    assert len(another.workers()) == 2
    ENDS[end](another)
    assert until(lambda: all(is_gone(process.pid) for process in processes), 20)


# --- what tasks print and log


SHOUT = """
def shout(number):
    print("task", number, end=" ")
    print("begins")
    print("to stderr from", number, file=sys.stderr)
    print("and ends", number)
    return number
"""


OF_ITS_CELL = pytest.mark.skipif(
    ipykernel.version_info < (7,),
    reason="this ipykernel shows what any thread prints under the cell in which the thread was started",
)


@pytest.mark.parametrize("kind", ["ProcessPoolExecutor", pytest.param("ThreadPoolExecutor", marks=OF_ITS_CELL)])
@pytest.mark.parametrize("way", ["map", "submit"])
def test_what_tasks_print_is_shown_in_whole_lines_under_the_cell_that_runs_them(notebook: Notebook, kind: str, way: str) -> None:
    """Before that cell ends: what comes later is nowhere to be seen in a notebook that is run as a whole."""
    first = notebook.run(f"{SHOUT}\nexecutor = {kind}({2 if kind[0] == 'P' else 1})\nexecutor.submit(tasks.nap, 0.1).result()")
    call = {
        "map": "list(executor.map(shout, range(30)))",
        "submit": "[future.result() for future in [executor.submit(shout, number) for number in range(30)]]",
    }[way]
    second = notebook.run(f"{call}\nNone")
    third = notebook.run("print('third')")
    assert sorted(second.stdout.splitlines()) == sorted(
        line for number in range(30) for line in (f"task {number} begins", f"and ends {number}")
    )
    assert sorted(second.stderr.splitlines()) == sorted(f"to stderr from {number}" for number in range(30))
    assert (first.stdout, first.stderr) == ("", "")
    assert (third.stdout, third.stderr) == ("third\n", "")


def test_what_tasks_print_while_a_bar_is_shown_comes_as_it_is_printed(notebook: Notebook, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    notebook.run("executor = ProcessPoolExecutor(2)")
    cell = notebook.begin(f"""
        def task(number):
            print("begins", number)
            tasks.wait_for({str(gate)!r})
        list(executor.map(task, range(4)))
        print("the cell's own")
    """)
    assert notebook.until(lambda: cell.stdout.count("begins") == 2 and cell.views, 5)
    assert not cell.is_done
    gate.touch()
    notebook.finish(cell)
    assert cell.stdout.splitlines()[-1] == "the cell's own"
    assert sorted(cell.stdout.splitlines()[:-1]) == [f"begins {number}" for number in range(4)]


def test_log_records_of_tasks_reach_the_handlers_of_the_notebook(notebook: Notebook) -> None:
    notebook.run("""
        class Kept(logging.Handler):
            def emit(self, record):
                kept.append((record.name, record.levelname, record.getMessage()))
        def task(number):
            logging.getLogger("x").warning("number %d", number)
            logging.getLogger("x.y").info("number %d", number)
        executor = ProcessPoolExecutor(2)
        kept = []
    """)
    try:
        cell = notebook.run("""
            handler = Kept()
            logging.getLogger("x").addHandler(handler)
            logging.getLogger("x").propagate = False
            logging.getLogger("x").setLevel("INFO")
            list(executor.map(task, range(5)))
            found = sorted(kept)
        """)
    finally:
        notebook.run("""
            logging.getLogger("x").removeHandler(handler)
            logging.getLogger("x").propagate = True
            logging.getLogger("x").setLevel(logging.NOTSET)
        """)
    expected = [(name, level, f"number {n}") for name, level in (("x", "WARNING"), ("x.y", "INFO")) for n in range(5)]
    assert literal_eval(notebook.value("found")) == sorted(expected)
    assert (cell.stdout, cell.stderr) == ("", "")


def test_a_warning_logged_by_a_task_is_on_stderr_of_the_cell_where_no_logging_is_set_up(notebook: Notebook) -> None:
    notebook.run("executor = ProcessPoolExecutor(2); executor.submit(abs, -1).result()")
    cell = notebook.run("executor.submit(lambda: logging.getLogger('z').warning('beware')).result()")
    assert cell.stderr.splitlines() == ["beware"]
