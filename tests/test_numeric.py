"""Tasks in threads share the CPUs when they call numeric libraries, which have threads of their own."""

from __future__ import annotations

import ctypes.util
from collections.abc import Callable

import pytest

pytest.importorskip("numpy")
pytest.importorskip("threadpoolctl")

Script = Callable[..., list[str]]

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "GOTO_NUM_THREADS")

HEAD = """
import os, sys, threading
import poolbar, threadpoolctl
from loky import cpu_count

def threads():
    return max(library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas")

def share(workers):
    return max(1, cpu_count() // workers)

MANY = 8  # more than the share of a worker below

def have_many():
    # By a thread that ends: threadpoolctl lets no other one set the number while it lives.
    setter = threading.Thread(target=threadpoolctl.threadpool_limits, args=(MANY,))
    setter.start()
    setter.join()
"""
LOADED = HEAD + "import numpy\nhave_many()\n"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_each_task_in_a_thread_has_its_share_of_the_cpus_and_later_all_is_as_it_was(script: Script) -> None:
    text = """
workers = 2 * cpu_count()
with poolbar.ThreadPoolExecutor(workers) as executor:
    print(set(executor.map(lambda _: threads(), range(100))), executor.submit(threads).result(), threads())
print(threads())
with poolbar.ThreadPoolExecutor(1) as executor:
    print(executor.submit(threads).result() == min(MANY, share(1)))
print(threads())
"""
    assert script(LOADED + text) == ["{1} 1 1", "8", "True", "8"]


def test_a_library_that_a_task_loads_is_limited_from_the_next_task_on(script: Script) -> None:
    text = """
def load():
    import numpy
    have_many()

with poolbar.ThreadPoolExecutor(2 * cpu_count()) as executor:
    executor.submit(load).result()
    print(executor.submit(threads).result())
print(threads())
"""
    assert script(HEAD + text) == ["1", "8"]


def test_of_several_executors_that_with_most_workers_counts_whichever_ends_first(script: Script) -> None:
    text = """
def use(executor):
    executor.submit(abs, 1).result()
    return threads()

few, many = poolbar.ThreadPoolExecutor(1), poolbar.ThreadPoolExecutor(2 * cpu_count())
first = min(MANY, share(1))
seen = [use(few), use(many)]
few.shutdown()
seen.append(threads())
again = poolbar.ThreadPoolExecutor(1)
seen.append(use(again))
many.shutdown()
seen.append(threads())
again.shutdown()
seen.append(threads())
print(seen == [first, 1, 1, 1, first, MANY] or seen)

with poolbar.ThreadPoolExecutor(1) as outer:
    def nested():
        with poolbar.ThreadPoolExecutor(2 * cpu_count()) as inner:
            inside = inner.submit(threads).result()
        return inside, threads()
    print(outer.submit(nested).result() == (1, first), threads() == first)
print(threads())
"""
    assert script(LOADED + text) == ["True", "True True", "8"]


def test_what_a_program_sets_itself_while_there_is_an_executor_stays(script: Script) -> None:
    text = """
with poolbar.ThreadPoolExecutor(2 * cpu_count()) as executor:
    executor.submit(threads).result()
    threadpoolctl.threadpool_limits(3)
    print(executor.submit(threads).result())
print(threads())
"""
    assert script(LOADED + text) == ["3", "3"]


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"])
def test_a_variable_of_the_users_wins(script: Script, name: str) -> None:
    text = """
with poolbar.ThreadPoolExecutor(2 * cpu_count()) as executor:
    print(executor.submit(threads).result())
"""
    assert script(LOADED + text, **{name: "7"}) == ["8"]


def test_without_a_numeric_library_threadpoolctl_is_not_imported(script: Script) -> None:
    text = """
import sys, poolbar
with poolbar.ThreadPoolExecutor(2) as executor:
    print(list(executor.map(abs, range(3))), {"threadpoolctl", "loky", "numpy"} & set(sys.modules))
"""
    assert script(text) == ["[0, 1, 2] set()"]


def test_without_threadpoolctl_nothing_is_limited(script: Script) -> None:
    text = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "threadpoolctl" else found(name, *more)
with poolbar.ThreadPoolExecutor(2 * cpu_count()) as executor:
    print(executor.submit(threads).result())
"""
    assert script(LOADED + text) == ["8"]


@pytest.mark.skipif(ctypes.util.find_library("gomp") is None, reason="there is no OpenMP here")
def test_openmp_is_limited_in_each_thread_that_runs_tasks_and_in_no_other(script: Script) -> None:
    text = """
import ctypes, ctypes.util, tempfile, time
openmp = ctypes.CDLL(ctypes.util.find_library("gomp"))
openmp.omp_set_num_threads(MANY)
workers = 2 * cpu_count()
met = threading.Barrier(workers)

def limit(_):
    met.wait(20)
    return openmp.omp_get_max_threads()

with poolbar.ThreadPoolExecutor(workers) as executor:
    print(set(executor.map(limit, range(workers))), openmp.omp_get_max_threads())
print(openmp.omp_get_max_threads())
"""
    assert script(LOADED + text) == ["{1} 8", "8"]
