"""Executors of other packages as backend, with their real workers: mpi4py's and ipyparallel's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import loky
import pytest
from conftest import environment

from poolbar.testing import check_backend

BODY = """
def say(number):
    print("task", number)
    return number * 10

def fail(number):
    raise LookupError(number)

def use(engine):
    with poolbar.ProgressExecutor(backend=engine) as executor:
        print(executor.choice.reason)
        print(list(executor.map(abs, range(-2000, 0))) == list(range(2000, 0, -1)))
        pulled = itertools.count()
        run = executor.map(lambda _: os.getpid(), (next(pulled) for _ in itertools.count()), buffersize=10)
        print(next(run) != os.getpid(), next(pulled) <= 12)
        del run
        error = executor.submit(fail, 7).exception(60)
        print(repr(error), "in fail" in str(error.__cause__))
        print(isinstance(executor.submit(abs, threading.Lock()).exception(60), poolbar.NotPicklable))
        print([future.result(60) for future in [executor.submit(divmod, number, 7) for number in range(3)]])
        print(sorted(executor.map(say, range(4))))
    print(engine.submit(abs, -3).result(60))
"""
HEAD = "import itertools, os, sys, threading\nimport poolbar\n" + BODY
MPI = (
    HEAD
    + """
if __name__ == "__main__":
    from mpi4py.futures import MPIPoolExecutor
    with MPIPoolExecutor(2) as engine:
        use(engine)
"""
)
IPYPARALLEL = (
    HEAD
    + """
if __name__ == "__main__":
    import ipyparallel
    with ipyparallel.Cluster(n=2, log_level=40) as client:
        use(client.executor())
"""
)
TOLD = [
    "True", "True True", "LookupError(7) True", "True", "[(0, 0), (0, 1), (0, 2)]", *[f"task {number}" for number in range(4)],
    "[0, 10, 20, 30]", "3",
]  # fmt: skip


PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # where MPI's own programs are


def told(script: str, tmp_path: Path, *command: str) -> tuple[str, list[str]]:
    """Return what an engine is called, and what the script printed; prints of tasks are in order of their numbers."""
    (tmp_path / "script.py").write_text(script)
    env = environment(POOLBAR_PROGRESS="off", PATH=PATH)
    done = subprocess.run([*command, "script.py"], capture_output=True, text=True, timeout=100, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    name, *lines = done.stdout.splitlines()
    prints = sorted(line for line in lines if line.startswith("task "))
    others = [line for line in lines if not line.startswith("task ")]
    return name, others[:-2] + prints + others[-2:]


def mpiexec() -> str:
    found = shutil.which("mpiexec", path=PATH)
    if not found or find_spec("mpi4py") is None:
        pytest.skip("NOT TESTED: mpi4py and an MPI with mpiexec are needed (pip install mpi4py mpich)")
    return found


def test_mpi4pys_executor_with_workers_that_it_spawns(tmp_path: Path) -> None:
    mpiexec()
    name, found = told(MPI, tmp_path, sys.executable)
    assert "MPIPoolExecutor, 2 tasks at a time" in name
    assert found == TOLD


def test_mpi4pys_executor_under_mpiexec(tmp_path: Path) -> None:
    name, found = told(MPI, tmp_path, mpiexec(), "-n", "3", sys.executable, "-m", "mpi4py.futures")
    assert "MPIPoolExecutor, 2 tasks at a time" in name
    assert found == TOLD


@pytest.mark.skipif(find_spec("ipyparallel") is None, reason="NOT TESTED: ipyparallel is not installed")
def test_ipyparallels_executor(tmp_path: Path) -> None:
    name, found = told(IPYPARALLEL, tmp_path, sys.executable)
    assert "ViewExecutor, 2 tasks at a time" in name
    assert found == TOLD


def test_lokys_executor_keeps_the_contract() -> None:
    with loky.ProcessPoolExecutor(2) as engine:
        check_backend(lambda: engine)
