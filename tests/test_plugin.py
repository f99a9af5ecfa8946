"""The plug-in in examples/, as its users have it: installed, and used by its name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import environment

PLUGIN = Path(__file__).parent.parent / "examples" / "plugin"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory into which it is installed."""
    directory = tmp_path_factory.mktemp("site")
    source = shutil.copytree(PLUGIN, directory / "source")  # building leaves files
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=source)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(directory.glob("*.whl"))) as wheel:  # that is all that an installation of this one is
        wheel.extractall(directory / "packages")
    return directory / "packages"


def run(code: str, site: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), environment()["PYTHONPATH"]])
    env = environment(PYTHONPATH=path, POOLBAR_PROGRESS="off", **changes)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, env=env)


SCRIPT = """
import os
import poolbar

def square(number):
    print("task", number)
    return number * number, os.environ["PLACE"]

with poolbar.ProgressExecutor() as executor:
    results = list(executor.map(square, range(4)))
    print([value for value, _ in results], {place for _, place in results})
    print(executor.choice.kind, executor.choice.reason)
"""


def test_tasks_of_a_script_go_to_the_plugin_that_a_variable_names(site: Path) -> None:
    done = run(SCRIPT, site, POOLBAR_BACKEND="command", POOLBAR_ADDRESS=f"env PLACE=there '{sys.executable}'")
    assert done.returncode == 0, done.stderr
    *prints, results, choice = done.stdout.splitlines()
    assert sorted(prints) == [f"task {number}" for number in range(4)]
    assert results == "[0, 1, 4, 9] {'there'}"
    assert choice.startswith("remote backend='command' was asked for: the command")


def test_an_address_that_starts_no_python_is_told_of(site: Path) -> None:
    done = run(SCRIPT, site, POOLBAR_BACKEND="command", POOLBAR_ADDRESS="false")
    assert "BackendError: false starts no Python that can run tasks: " in done.stderr.splitlines()[-1]


def test_without_the_plugin_the_error_names_what_is_installed(tmp_path: Path) -> None:
    done = run(SCRIPT, tmp_path, POOLBAR_BACKEND="command")
    assert "POOLBAR_BACKEND='command'" in done.stderr
    assert "dask" in done.stderr


def test_the_contract_holds(site: Path) -> None:
    code = "from poolbar.testing import check_backend; from poolbar_command import connect; check_backend(lambda: connect(None))"
    done = run(code, site)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
