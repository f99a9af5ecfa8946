"""How worker processes start in our own way: what they load, what they know, and what they leave alone."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from multiprocessing import shared_memory
from pathlib import Path
from typing import TYPE_CHECKING, Any

import loky
import pytest
import tasks
from conftest import environment, is_gone, until

import poolbar
from poolbar.workers import cpus

if TYPE_CHECKING:
    from collections.abc import Callable

    Script = Callable[..., list[str]]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="elsewhere loky starts them")


# --- what is loaded


def test_a_worker_loads_neither_loky_nor_multiprocessing_nor_cloudpickle_before_a_task_does() -> None:
    with poolbar.ProcessPoolExecutor(1, idle_seconds=0) as executor:
        loaded = set(executor.submit(tasks.loaded).result(60))
        assert loaded & {"loky", "multiprocessing", "cloudpickle", "logging", "socket", "subprocess", "concurrent"} == set()
        assert executor.submit(lambda: "cloudpickle" in sys.modules).result(60)


def test_the_parent_loads_neither_loky_nor_cloudpickle_where_nothing_needs_them(script: Script) -> None:
    text = """
import math, sys, poolbar
with poolbar.ProcessPoolExecutor(2) as executor:
    print(list(executor.map(math.sqrt, [4, 9])), executor.submit(abs, -1).result(60))
print({"loky", "cloudpickle", "tqdm"} & set(sys.modules))
"""
    assert script(text) == ["[2.0, 3.0] 1", "set()"]


# --- what a worker is


def who() -> tuple[Any, ...]:
    own, parent = multiprocessing.current_process(), multiprocessing.parent_process()
    assert parent is not None
    return own.name, bytes(own.authkey), parent.name, parent.pid, parent.is_alive(), os.getppid()


def test_multiprocessing_knows_a_worker_as_a_child_of_this_process() -> None:
    here = multiprocessing.current_process()
    with poolbar.ProcessPoolExecutor(1, idle_seconds=0) as executor:
        told = executor.submit(who).result(60)
        (process,) = executor._processes.values()
        assert process in multiprocessing.active_children()
        assert told == (process.name, bytes(here.authkey), here.name, os.getpid(), True, os.getpid())
        assert not multiprocessing.connection.wait([process.sentinel], 0)
        process.kill()
        assert multiprocessing.connection.wait([process.sentinel], 20)
    assert process.exitcode == -9


def grandchild() -> tuple[str, int | None]:
    made = multiprocessing.get_context("spawn").Process(target=abs, args=(1,))
    made.start()
    made.join(60)
    return made.name, made.exitcode


def test_a_task_can_start_processes_of_its_own() -> None:
    with poolbar.ProcessPoolExecutor(1, idle_seconds=0) as executor:
        name, code = executor.submit(grandchild).result(60)
        (process,) = executor._processes.values()
    assert (name, code) == (f"SpawnProcess-{process.name.partition('-')[2]}:1", 0)


def ends_of(pid: int | str = "self") -> set[str]:
    place = f"/proc/{pid}/fd"
    found = set()
    for number in os.listdir(place):
        try:
            found.add(os.readlink(f"{place}/{number}"))
        except OSError:
            continue
    return {name for name in found if name.startswith("pipe:")}


def pipes_of_a_child() -> tuple[set[str], set[str]]:
    text = "import os; print(*(os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if int(n) > 2 and "
    text += "os.path.exists(f'/proc/self/fd/{n}')), sep='\\n')"
    told = subprocess.run([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True, close_fds=False, check=True)
    return ends_of(), set(told.stdout.split("\n"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the system does not tell")
def test_what_a_task_starts_does_not_hold_the_workers_pipes_open() -> None:
    with poolbar.ProcessPoolExecutor(1, idle_seconds=0) as executor:
        own, childs = executor.submit(pipes_of_a_child).result(60)
    assert own
    assert not own & childs


def test_a_worker_does_not_read_the_programs_input(script: Script) -> None:
    text = """
import sys, poolbar
def read(): return sys.stdin.read()
with poolbar.ProcessPoolExecutor(1) as executor: print(repr(executor.submit(read).result(60)))
"""
    assert script(text, way="stdin") == ["''"]


# --- how it finds what it needs


def test_a_worker_finds_poolbar_where_the_program_found_it(tmp_path: Path) -> None:
    # Not by PYTHONPATH, nor by the directory: the program has changed both.
    (tmp_path / "own_module.py").write_text("def double(number): return 2 * number")
    text = f"""
import os, sys
sys.path[:0] = {[str(Path(poolbar.__file__).parent.parent), str(tmp_path)]!r}
os.chdir("/")
import poolbar, own_module
with poolbar.ProcessPoolExecutor(1) as executor: print(executor.submit(own_module.double, 4).result(60), poolbar.__file__)
"""
    variables = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-I", "-c", text], capture_output=True, text=True, timeout=60, env=variables)
    assert (done.stdout.split(), done.stderr) == (["8", poolbar.__file__], "")


def test_modules_of_the_working_directory_do_not_stand_in_for_the_standard_librarys(tmp_path: Path) -> None:
    for name in ("marshal", "mmap", "typing"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not this one')")
    text = "import sys; sys.path.remove(''); import poolbar\n"
    text += "with poolbar.ProcessPoolExecutor(1) as executor: print(executor.submit(abs, -4).result(60))"
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment()
    )
    assert (done.stdout, done.stderr) == ("4\n", "")


def test_the_executable_is_multiprocessings(script: Script, tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\ntouch {tmp_path}/taken\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    text = f"""
import multiprocessing, poolbar
multiprocessing.set_executable({str(other)!r})
with poolbar.ProcessPoolExecutor(1) as executor: print(executor.submit(abs, -4).result(60))
"""
    assert script(text) == ["4"]
    assert (tmp_path / "taken").exists()


def test_an_executable_that_is_no_python_is_an_error(script: Script) -> None:
    text = """
import multiprocessing, poolbar
with poolbar.ProcessPoolExecutor(1) as executor: executor.submit(abs, -4).result(60)  # now the resource tracker is there
for other in ("/bin/false", "/no/such/python"):
    multiprocessing.set_executable(other)
    with poolbar.ProcessPoolExecutor(1, initializer=print, initargs=("x" * 1_000_000,)) as executor:
        print(executor.submit(abs, -4).exception(60))
"""
    false, missing = script(text)
    assert "it ended with exit code 1 before it could run a task" in false
    assert "FileNotFoundError" in missing


# --- what travels only while a process starts


SHARING = """
def take(*things):
    global taken
    taken = things

def use(number):
    lock, queue, event, value, writer = taken
    with lock:
        value.value += number
    queue.put(number)
    event.set()
    if number == 1:
        writer.send("one")
"""


@pytest.mark.parametrize("by_name", [True, False])
def test_locks_queues_and_pipes_of_multiprocessing_can_be_initargs(script: Script, tmp_path: Path, by_name: bool) -> None:
    (tmp_path / "sharing.py").write_text(SHARING)
    text = f"""
import poolbar
{"from sharing import take, use" if by_name else SHARING}
with poolbar.ProcessPoolExecutor(1) as executor: context = executor._mp_context
reader, writer = context.Pipe(duplex=False)
things = context.Lock(), context.Queue(), context.Event(), context.Value("i", 0), writer
with poolbar.ProcessPoolExecutor(2, initializer=take, initargs=things) as executor:
    list(executor.map(use, range(10)))
print(things[3].value, sorted(things[1].get() for _ in range(10)), things[2].is_set(), reader.recv())
"""
    assert script(text) == ["45 [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] True one"]


@pytest.mark.parametrize("by_name", [True, False])
def test_a_queue_alone_can_be_in_initargs(script: Script, tmp_path: Path, by_name: bool) -> None:
    sharing = "def put(queue): queue.put('from the worker')"
    (tmp_path / "sharing.py").write_text(sharing)
    text = f"""
import multiprocessing, poolbar
{"from sharing import put" if by_name else sharing}
queue = multiprocessing.get_context("spawn").Queue()
with poolbar.ProcessPoolExecutor(1, initializer=put, initargs=(queue,)) as executor: executor.submit(abs, 1).result(60)
print(queue.get(timeout=20))
"""
    assert script(text) == ["from the worker"]


def look_into(name: str) -> int:
    shared = shared_memory.SharedMemory(name)
    shared.buf[1] = 9
    first = shared.buf[0]
    shared.close()
    return first


def test_shared_memory_stays_when_a_worker_that_has_seen_it_ends() -> None:
    with poolbar.ProcessPoolExecutor(1, idle_seconds=0) as executor:
        executor.submit(abs, 1).result(60)  # the worker is there before the memory is
        shared = shared_memory.SharedMemory(create=True, size=8)
        try:
            shared.buf[0] = 7
            assert executor.submit(look_into, shared.name).result(60) == 7
            (process,) = executor._processes.values()
            executor.shutdown()
            assert until(lambda: is_gone(process.pid))
            again = shared_memory.SharedMemory(shared.name)
            assert again.buf[1] == 9
            again.close()
        finally:
            shared.close()
            shared.unlink()


def test_a_worker_tells_nobody_of_leaks_that_are_none(script: Script) -> None:
    text = """
import test_start, poolbar
from multiprocessing.shared_memory import SharedMemory
with poolbar.ProcessPoolExecutor(1) as executor:
    shared = SharedMemory(create=True, size=8)
    print(executor.submit(test_start.look_into, shared.name).result(60))
shared.close()
shared.unlink()
"""
    assert script(f"import sys; sys.path.append({str(Path(__file__).parent)!r})\n{text}") == ["0"]  # and nothing on stderr


# --- CPUs


@pytest.mark.parametrize("limit", [None, "1", "3", "1000"])
def test_the_cpus_are_lokys_number(limit: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if limit is not None:
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", limit)
    assert cpus.cpu_count() == loky.cpu_count()


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "400000 100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "250000\n"}, None),
    ],
)
def test_a_cgroups_quota_of_either_version_counts(tmp_path: Path, files: dict[str, str], count: int | None) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert cpus._quota(str(tmp_path)) == count
