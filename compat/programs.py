"""Runs programs of others that know nothing of poolbar with and without ``python -m poolbar``, and compares.

    python compat/programs.py [--only black]

Each program formats or checks files of Python's own library with two workers: once by itself, once under poolbar, and once under
poolbar in a terminal. What it wrote to its streams (in any order of lines), its exit code and the files that it changed have to
be the same, and the terminal has to show a bar. ``nox -s programs`` installs them; those that are missing are not tested, and
that is told.

    black       concurrent.futures.ProcessPoolExecutor, given to an event loop
    yapf        concurrent.futures.ProcessPoolExecutor
    pylint      concurrent.futures.ProcessPoolExecutor with an initializer
    compileall  concurrent.futures.ProcessPoolExecutor with a context; of the standard library
    isort       multiprocessing.pool.Pool
    flake8      multiprocessing.Pool with an initializer

Exit code 0: nothing differs.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
import tempfile
import termios
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

LIMIT_SECONDS = 300


class Program(NamedTuple):
    """How a program is run."""

    files: int  # of the library, so many that it runs for a second at least: a bar is shown after half of one
    arguments: list[str]
    alone: list[str]  # added for the run without poolbar


PROGRAMS = {
    "black": Program(12, ["--workers", "2", "src"], []),
    "yapf": Program(30, ["--parallel", "--in-place", "--recursive", "src"], []),
    "pylint": Program(12, ["-j2", "--score=n", "--disable=all", "--enable=W,E", "src"], []),
    # The last of these wins: workers of theirs that print side by side would tear each other's lines.
    "compileall": Program(1000, ["-f", "-j2", "src"], ["-j1"]),
    "isort": Program(1000, ["--jobs", "2", "src"], ["--jobs", "1"]),
    "flake8": Program(30, ["-j2", "src"], []),
}


class Seen(NamedTuple):
    """What a run left."""

    code: int
    output: list[str]  # lines of stdout, sorted
    errors: list[str]  # of stderr
    files: dict[str, str]


def prepare(program: Program, directory: Path) -> None:
    """Have the files there."""
    library = Path(sysconfig.get_paths()["stdlib"])
    packages = (".", "asyncio", "email", "json", "unittest", "xml/dom")
    places = [path for package in packages for path in sorted((library / package).glob("*.py")) if path.is_file()]
    source = directory / "src"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir()
    for number, path in zip(range(program.files), cycle(places)):
        shutil.copy(path, source / f"number_{number}_{path.name}")


def environment(directory: Path) -> dict[str, str]:
    """Return one in which nothing is remembered from the run before."""
    homes = dict.fromkeys(("BLACK_CACHE_DIR", "XDG_CACHE_HOME", "PYLINTHOME"), tempfile.mkdtemp(dir=directory))
    return {**{name: value for name, value in os.environ.items() if not name.startswith("POOLBAR_")}, **homes, "TERM": "xterm"}


def files_of(directory: Path) -> dict[str, str]:
    """Return the files that there are, with what is in them; of compiled ones, that they are there."""
    found = {}
    for path in sorted((directory / "src").rglob("*")):
        if path.is_file():
            digest = "" if path.suffix == ".pyc" else hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(directory))] = digest
    return found


def run(command: list[str], directory: Path) -> Seen:
    """Run a command in a directory; stderr is no terminal."""
    done = subprocess.run(
        [sys.executable, *command], cwd=directory, env=environment(directory), capture_output=True, text=True,
        timeout=LIMIT_SECONDS, check=False,
    )  # fmt: skip
    errors = done.stderr.splitlines()
    if "Traceback (most recent call last):" in errors:  # a file that it cannot read: the frames of a pool are the pool's own
        errors = [line for line in errors if not line.startswith(("  File ", "    "))]
    return Seen(done.returncode, sorted(done.stdout.splitlines()), sorted(errors), files_of(directory))


def in_terminal(command: list[str], directory: Path) -> tuple[int, str]:
    """Run a command in a terminal, in its foreground; return its exit code, and all that it wrote."""
    variables = environment(directory)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(directory)
        os.execve(sys.executable, [sys.executable, *command], variables)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
    written = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # so Linux tells the end
            break
        if not data:
            break
        written += data
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), written.decode(errors="replace")


def differences(name: str, directory: Path) -> list[str]:
    """Return what is not under poolbar as it is without, in words."""
    program = PROGRAMS[name]
    command = ["-m", name, *program.arguments]
    prepare(program, directory)
    plain = run([*command[:-1], *program.alone, command[-1]], directory)
    prepare(program, directory)
    ours = run(["-m", "poolbar", "--progress", "off", *command], directory)  # a run of 10 s would have lines of its own
    found = []
    for what in Seen._fields:
        expected, got = (getattr(seen, what) for seen in (plain, ours))
        if expected != got:
            found.append(f"{what}: {_shortly(expected, got)}")
    prepare(program, directory)
    code, written = in_terminal(["-m", "poolbar", *command], directory)
    if code != plain.code:
        found.append(f"code in a terminal: {plain.code}, under poolbar {code}")
    if not re.search(r"100%\|.*\| \d+/\d+ \[", written):
        found.append(f"no bar in a terminal: {written[-500:]!r}")
    return found


def _shortly(expected: object, got: object) -> str:
    if isinstance(expected, list) and isinstance(got, list):
        missing = [line for line in expected if line not in got][:5]
        more = [line for line in got if line not in expected][:5]
        return f"{len(expected)} lines, under poolbar {len(got)}; missing: {missing}; more: {more}"
    return f"{expected}, under poolbar {got}"


def main() -> int:
    """Run all and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PROGRAMS, nargs="*", default=list(PROGRAMS))
    failed = False
    for name in parser.parse_args().only:
        if find_spec(name) is None:
            print(f"{name:11} NOT TESTED: it is not installed")
            continue
        with tempfile.TemporaryDirectory() as directory:
            found = differences(name, Path(directory))
        print(f"{name:11} {'FAILED' if found else 'ok'}", *found, sep="\n            ", flush=True)
        failed = failed or bool(found)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
