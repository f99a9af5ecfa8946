"""``python -m poolbar SCRIPT``: a program unchanged, and its pools are ours."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from conftest import environment
from terminal import CTRL_C, programs

if TYPE_CHECKING:
    from pathlib import Path

OURS = ("-m", "poolbar")


def run(directory: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run Python."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, cwd=directory,
        env=environment(PYTHONDONTWRITEBYTECODE="1", **changes),
    )  # fmt: skip


def told(directory: Path, text: str, *options: str, stderr: str = "", **changes: str) -> list[str]:
    """Run a script under poolbar, to a good end; return the lines that it printed."""
    (directory / "program.py").write_text(text)
    done = run(directory, *OURS, *options, "program.py", **changes)
    assert (done.returncode, done.stderr) == (0, stderr)
    return done.stdout.splitlines()


# --- as without us

LOOK = """
from __future__ import annotations  # of this file alone
import sys, __main__
print(__name__, __main__.__dict__ is globals(), sys.modules["__main__"] is __main__)
print(sys.argv, sys.path[:2])
hidden = "__builtins__", "__loader__", "__annotations__"
print({name: value for name, value in globals().items() if name.startswith("__") and name not in hidden})
print(type(__loader__), isinstance(__loader__, type), __builtins__)
"""

WAYS = {
    "a script": ["look.py", "a", "--workers", "-m"],
    "a script elsewhere": ["below/look.py"],
    "a module": ["-m", "below.look", "a", "--progress"],
    "a package": ["-m", "below"],
    "code": ["-c", LOOK, "a", "-c"],
    "a directory": ["below", "a"],
    "an archive": ["packed.zip", "--help"],
    "a compiled script": ["look.pyc", "a"],
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory with one program in all forms."""
    below = tmp_path / "below"
    below.mkdir()
    for path in (tmp_path / "look.py", below / "look.py", below / "__main__.py"):
        path.write_text(LOOK)
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.writestr("__main__.py", LOOK)
    compiled = f"import py_compile; py_compile.compile({str(tmp_path / 'look.py')!r}, {str(tmp_path / 'look.pyc')!r})"
    subprocess.run([sys.executable, "-c", compiled], check=True)
    return tmp_path


def comparable(text: str) -> str:
    """Return what a program saw, but for what only the interpreter's own start leaves."""
    text = re.sub(r"'__cached__': (None|'[^']*'),? ?", "", text)  # of a script: None, or not there on the newest
    return re.sub(r"object at 0x\w+|<code object .*?>", "", text)


@pytest.mark.parametrize("way", WAYS)
def test_a_program_sees_what_it_sees_under_python(place: Path, way: str) -> None:
    plain = run(place, *WAYS[way])
    ours = run(place, *OURS, "--progress", "off", *WAYS[way])
    assert (ours.returncode, ours.stderr) == (plain.returncode, plain.stderr) == (0, "")
    assert comparable(ours.stdout) == comparable(plain.stdout)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="-P came with 3.11")
def test_a_flag_that_keeps_directories_off_the_path_is_kept_to(place: Path) -> None:
    plain, ours = run(place, "-P", "below/look.py"), run(place, "-P", *OURS, "below/look.py")
    assert (ours.returncode, comparable(ours.stdout)) == (0, comparable(plain.stdout))


ENDS = {
    "a number": "import sys; sys.exit(3)",
    "a text": "raise SystemExit('so it is')",
    "an error": "def fail():\n    1 / 0\ntry:\n    fail()\nexcept ZeroDivisionError as zero:\n    raise ValueError(1) from zero",
    "an error of syntax": "print('never')\ndef (",
    "an interrupt": "raise KeyboardInterrupt",
    "a hook of its own": "import sys; sys.excepthook = lambda kind, error, trace: print(kind, trace.tb_lineno)\n1 / 0",
    "a thread that goes on": "import threading, time\ndef later():\n    time.sleep(0.2)\n    print(there)\n"
    "threading.Thread(target=later).start(); there = 1",
    "at the exit": "import atexit, sys\nthere = 1\natexit.register(lambda: print(sys.modules['__main__'].there))",
}


@pytest.mark.parametrize("way", ["file", "-c", "-m"])
@pytest.mark.parametrize("end", ENDS)
def test_a_program_ends_as_it_ends_under_python(tmp_path: Path, end: str, way: str) -> None:
    (tmp_path / "program.py").write_text(ENDS[end])
    what = {"file": ["program.py"], "-c": ["-c", ENDS[end]], "-m": ["-m", "program"]}[way]
    plain, ours = run(tmp_path, *what), run(tmp_path, *OURS, *what)
    assert (ours.returncode, ours.stdout) == (plain.returncode, plain.stdout)
    # Of -c, Python itself shows the source from 3.13 on.
    shown = [[line for line in done.stderr.splitlines() if way != "-c" or line[:4] != "    "] for done in (ours, plain)]
    assert shown[0] == shown[1]


@pytest.mark.parametrize("what", [["nothing.py"], ["-m", "nothing"], ["-m", "below.nothing"], ["-m"]])
def test_a_program_that_there_is_not_is_told_as_python_tells_it(place: Path, what: list[str]) -> None:
    plain, ours = run(place, *what), run(place, *OURS, *what)
    assert ours.returncode == plain.returncode
    if len(what) > 1 or what[0] != "-m":
        assert ours.stderr == plain.stderr
    else:
        assert "argument expected for the -m option" in ours.stderr


# --- what is replaced

NAMES = """
import concurrent.futures, multiprocessing, multiprocessing.dummy, sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import ProcessPoolExecutor as Processes
from concurrent.futures.thread import ThreadPoolExecutor as Threads
from multiprocessing import Pool
from multiprocessing.pool import ThreadPool
import poolbar

if __name__ == "__main__":
    made = [ProcessPoolExecutor(1), Processes(1), ThreadPoolExecutor(1), Threads(1), Pool(1), multiprocessing.pool.Pool(1),
        multiprocessing.get_context("spawn").Pool(1), ThreadPool(1), multiprocessing.dummy.Pool(1)]
    kinds = (poolbar.ProgressExecutor, poolbar.Pool)
    print(*(int(isinstance(each, kinds)) for each in made))
    for each in made:
        each.shutdown() if isinstance(each, concurrent.futures.Executor) else each.terminate()
"""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "1 1 1 1 1 1 1 1 1"),
        (["--no-processes"], "0 0 1 1 1 1 1 1 1"),
        (["--no-threads"], "1 1 0 0 1 1 1 1 1"),
        (["--no-pool"], "1 1 1 1 0 0 0 0 0"),
        (["--no-pool", "--no-threads", "--no-processes"], "0 0 0 0 0 0 0 0 0"),
    ],
)
def test_each_way_to_a_pool_leads_to_ours_but_for_those_left_out(tmp_path: Path, options: list[str], expected: str) -> None:
    assert told(tmp_path, NAMES, *options) == [expected]


EARLY = """
import builtins, concurrent.futures, multiprocessing.pool
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.pool import Pool, ThreadPool
builtins.early = ProcessPoolExecutor, ThreadPoolExecutor, Pool, ThreadPool
"""

CHECKED = """
import abc, concurrent.futures as futures, multiprocessing.pool as pools, pickle, threading
from poolbar._presets import ProcessPoolExecutor as Ours

def square(x):
    return x * x

class Mine(futures.ProcessPoolExecutor, abc.ABC):
    def __init__(self, workers):
        super().__init__(max_workers=workers)
        self.more = 1

class Named(futures.ThreadPoolExecutor):
    def __init__(self, name, max_workers):
        super().__init__(max_workers, name)

class MyPool(pools.Pool):
    def double(self, items):
        return [2 * value for value in self.map(square, items)]

if __name__ == "__main__":
    late = futures.ProcessPoolExecutor, futures.ThreadPoolExecutor, pools.Pool, pools.ThreadPool
    for old, new in zip(early, late):
        made = new(1)
        print(old is not new, isinstance(made, old), isinstance(made, new), issubclass(new, old))
        print((type(made).__module__, type(made).__qualname__) == (old.__module__, old.__qualname__))
        made.shutdown() if isinstance(made, futures.Executor) else made.terminate()
        with old(1) as pool:
            print(list(pool.map(square, range(3))))
    with pools.ThreadPool(1) as pool:
        print(isinstance(pool, pools.Pool))
    with Mine(2) as executor:
        print(isinstance(executor, early[0]), isinstance(executor, Ours), executor.more, executor._max_workers)
        print(executor._processes, executor._shutdown_thread, list(executor.map(square, range(4))))
    print(executor._shutdown_thread, pickle.loads(pickle.dumps(futures.ProcessPoolExecutor)) is late[0])
    with Named("own", max_workers=1) as executor:
        print(executor.submit(threading.current_thread).result().name)
    with MyPool(2) as pool:
        print(isinstance(pool, early[2]), pool.double([1, 2]))
    with futures.ThreadPoolExecutor(1) as executor:
        print(executor._work_queue.qsize())
        go = threading.Event()
        asked = [executor.submit(go.wait) for _ in range(3)]
        while not asked[0].running():
            pass
        print(executor._work_queue.qsize() > 0, executor._max_workers, len(executor._threads), executor._shutdown)
        go.set()
    print(executor._shutdown)
"""


def test_types_can_be_checked_also_by_who_had_the_classes_before(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(EARLY)
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    expected = ["True True True True", "True", "[0, 1, 4]"] * 4
    expected += ["True", "True True 1 2", "{} False [0, 1, 4, 9]", "True True", "own_0", "True [2, 8]"]
    expected += ["0", "True 1 1 False", "True"]
    assert told(tmp_path, CHECKED, PYTHONPATH=path) == expected


def test_an_event_loop_keeps_its_own_threads_and_takes_our_executors(tmp_path: Path) -> None:
    text = """
import asyncio, concurrent.futures, threading, poolbar

def name():
    return threading.current_thread().name

async def main():
    loop = asyncio.get_running_loop()
    print(await asyncio.to_thread(name), isinstance(loop._default_executor, poolbar.ProgressExecutor))
    with concurrent.futures.ProcessPoolExecutor(1) as executor:
        print(await loop.run_in_executor(executor, pow, 2, 5))
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1, "own"))
    print(await asyncio.to_thread(name), isinstance(loop._default_executor, poolbar.ProgressExecutor))

asyncio.run(main())
"""
    assert told(tmp_path, text) == ["asyncio_0 False", "32", "own_0 True"]


def test_pools_of_managers_and_interpreters_are_the_standard_librarys(tmp_path: Path) -> None:
    text = """
import concurrent.futures, multiprocessing, sys
if __name__ == "__main__":
    for method in multiprocessing.get_all_start_methods():
        with multiprocessing.get_context(method).Manager() as manager:
            pool = manager.Pool(1)
            print(pool.map(abs, [-1, 2]), "poolbar" in str(pool))
    if sys.version_info >= (3, 14):
        with concurrent.futures.InterpreterPoolExecutor(1) as executor:
            assert executor.submit(abs, -1).result() == 1
"""
    assert set(told(tmp_path, text)) == {"[1, 2] False"}


# --- how workers start

INHERITED = """
import multiprocessing, shared_state
from concurrent.futures import ProcessPoolExecutor

def read(_):
    return shared_state.value, own

def set_up(lock):
    global own
    with lock:
        own = 7

own = 0
shared_state.value = "set by the program"
{}
lock = multiprocessing.Lock()
with ProcessPoolExecutor(1, initializer=set_up, initargs=(lock,)) as executor:
    print(*executor.submit(read, 0).result(), executor._mp_context.get_start_method())
with multiprocessing.Pool(1, set_up, (lock,)) as pool:
    print(*pool.apply(read, (0,)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_program_that_forks_by_default_finds_in_workers_what_it_has_set(tmp_path: Path) -> None:
    (tmp_path / "shared_state.py").write_text("value = 'as imported'")
    fork = "multiprocessing.set_start_method('fork')"
    assert told(tmp_path, INHERITED.format(fork)) == ["set by the program 7 fork", "set by the program 7"]


def test_a_program_that_does_not_fork_has_our_own_workers_which_do_not_run_it_again(tmp_path: Path) -> None:
    (tmp_path / "shared_state.py").write_text("value = 'as imported'")
    spawn = "multiprocessing.set_start_method('spawn'); print('once')"
    method = "poolbar" if os.name == "posix" else "loky"
    assert told(tmp_path, INHERITED.format(spawn)) == ["once", f"as imported 7 {method}", "as imported 7"]


LIMITED = """
import multiprocessing.pool, os
from concurrent.futures import ProcessPoolExecutor

def pid(_):
    return os.getpid()

class Mine(multiprocessing.pool.Pool):
    pass

if __name__ == "__main__":
    with ProcessPoolExecutor(1, max_tasks_per_child=1) as executor:
        print(len(set(executor.map(pid, range(3)))))
    for method in multiprocessing.get_all_start_methods():
        with multiprocessing.get_context(method).Pool(1, maxtasksperchild=1) as pool:
            print(len(set(pool.map(pid, range(3), chunksize=1))))
    with Mine(1, maxtasksperchild=1) as pool:
        print(len(set(pool.map(pid, range(3), chunksize=1))))
"""


@pytest.mark.skipif(sys.version_info < (3, 11), reason="max_tasks_per_child came with 3.11")
def test_workers_are_replaced_after_some_tasks_under_every_start_method(tmp_path: Path) -> None:
    assert set(told(tmp_path, LIMITED)) == {"3"}


def test_a_context_that_is_given_does_not_settle_how_others_start(tmp_path: Path) -> None:
    text = """
import concurrent.futures, multiprocessing
if __name__ == "__main__":
    given = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, given) as executor:
        print(executor._mp_context is given)
    multiprocessing.set_start_method("spawn")
"""
    assert told(tmp_path, text) == ["True"]


def test_an_option_says_how_workers_start(tmp_path: Path) -> None:
    text = """
import concurrent.futures
print(concurrent.futures.ProcessPoolExecutor(1)._mp_context.get_start_method())
"""
    assert told(tmp_path, text, "--start-method", "spawn") == ["spawn"]


# --- settings

CHOICE = """
import concurrent.futures, multiprocessing
with concurrent.futures.ProcessPoolExecutor() as executor, multiprocessing.Pool() as pool:
    print(executor.choice.kind, executor.choice.workers, pool._executor.choice.kind)
    print(executor.submit(abs, -1).result(), pool.map(abs, [-1]))
"""


def test_options_are_the_settings_and_win_over_variables(tmp_path: Path) -> None:
    assert told(tmp_path, CHOICE, "--workers", "3", POOLBAR_MAX_WORKERS="5") == ["process 3 process", "1 [1]"]
    assert told(tmp_path, CHOICE, "--max-workers=4") == ["process 4 process", "1 [1]"]


def test_the_kind_of_worker_can_be_asked_for(tmp_path: Path) -> None:
    assert told(tmp_path, CHOICE, "--workers", "3", "--backend", "thread") == ["thread 3 thread", "1 [1]"]
    assert told(tmp_path, CHOICE, "--workers", "3", POOLBAR_BACKEND="thread") == ["process 3 process", "1 [1]"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--retries", "many"], "--retries: retries must be 0 or more: POOLBAR_RETRIES='many' cannot be used"),
        (["--workers"], "expected one argument"),
        (["--wrokers", "3"], "unrecognized arguments: --wrokers"),
    ],
)
def test_an_option_that_cannot_be_used_is_told_before_the_program_runs(
    tmp_path: Path, options: list[str], complaint: str
) -> None:
    separator = [] if options == ["--workers"] else ["-c", "print('it runs')"]
    done = run(tmp_path, *OURS, *options, *separator)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr


# --- real programs


def test_compileall_compiles_in_our_workers_what_it_compiles_without_us(tmp_path: Path) -> None:
    for tree in ("plain", "ours"):
        (tmp_path / tree / "src").mkdir(parents=True)
        for number in range(20):
            (tmp_path / tree / "src" / f"module_{number}.py").write_text(f"def f(x):\n    return {number}\n")
        (tmp_path / tree / "src" / "wrong.py").write_text("def (")
    arguments = ["-m", "compileall", "-j2", "src"]
    plain = run(tmp_path / "plain", *arguments[:2], "src")  # two of its workers would mix up their lines
    ours = run(tmp_path / "ours", *OURS, "--progress", "json:told.jsonl", *arguments)
    assert ours.returncode == plain.returncode == 1
    assert sorted(ours.stdout.splitlines()) == sorted(plain.stdout.splitlines())
    assert ours.stderr == plain.stderr
    made = [sorted(path.name for path in (tmp_path / tree).rglob("*.pyc")) for tree in ("plain", "ours")]
    assert made[0] == made[1]
    assert len(made[0]) == 20
    assert '"done": 21' in (tmp_path / "ours" / "told.jsonl").read_text()


NAPS = """
import multiprocessing, signal, sys, time
from concurrent.futures import ProcessPoolExecutor

if __name__ == "__main__":
    with {} as pool:
        for value in pool.{}(time.sleep, [{}] * 20):
            pass
    print("over")
"""


@pytest.mark.parametrize(("made", "method"), [("ProcessPoolExecutor(2)", "map"), ("multiprocessing.Pool(2)", "imap")])
def test_a_terminal_has_a_bar(tmp_path: Path, made: str, method: str) -> None:
    (tmp_path / "program.py").write_text(NAPS.format(made, method, 0.1))
    with programs() as start:
        program = start(tmp_path, *OURS, "program.py")
        program.end(60)
        assert program.code() == 0
        assert program.lines()[-1] == "over"
        assert any("20/20" in line for line in program.bars())


def test_ctrl_c_ends_a_program_as_it_ends_under_python_with_one_traceback_its_own(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(NAPS.format("ProcessPoolExecutor(2)", "map", 60))
    with programs() as start:
        program = start(tmp_path, *OURS, "program.py")
        program.until(lambda: any("0/20" in line for line in program.lines()))
        program.type(CTRL_C)
        program.end()
        text = "\n".join(program.lines())
        assert program.code() == -signal.SIGINT
        assert text.count("Traceback") == 1
        assert text.endswith("KeyboardInterrupt")
        assert "__main__.py" not in text
