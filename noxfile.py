"""Sessions: tests, lint, types, compat, compat_one, programs, bench, guard, soak, chaos, freethreaded, notebook, hosts, engines.

    nox                        tests on every interpreter found, lint, types
    nox -s compat              the interpreter's own tests of executors and pools, on every interpreter found
    nox -s tests-3.13t         one of them

Interpreters are looked for in POOLBAR_PYTHONS (executables or their directories, separated as in PATH), then among pyenv's
versions, then on PATH. Those that are missing are skipped, and nox says so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nox

VERSIONS = ["3.10", "3.11", "3.12", "3.13", "3.14", "3.15", "3.13t"]
HAS_SUITE = "import importlib.util, sys; sys.exit(importlib.util.find_spec('test.test_concurrent_futures') is None)"

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["tests", "lint", "types"]
nox.options.error_on_missing_interpreters = False  # they are skipped, and listed as skipped at the end
nox.options.reuse_venv = "yes"


def directories() -> list[str]:
    """Return where interpreters may be, beside PATH."""
    named = [Path(name) for name in os.environ.get("POOLBAR_PYTHONS", "").split(os.pathsep) if name]
    found = [path if path.is_dir() else path.parent for path in named]
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=False).stdout.strip()
        # the newest last release first: 3.13.10 before 3.13.9
        versions = sorted(Path(root, "versions").glob("3*"), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])
        found += [path / "bin" for path in reversed(versions)]
    return [str(path) for path in found]


# nox looks for python3.X on PATH. pyenv's own shims there fail for versions that are not switched on: the real ones come first.
os.environ["PATH"] = os.pathsep.join([*directories(), os.environ["PATH"]])


@nox.session(python=VERSIONS)
def tests(session: nox.Session) -> None:
    # Where the newest release of a package has no wheel for an interpreter (3.13t), an older one that has is as good here.
    # For those without a GIL, what notebooks and dask need has none; it needs no compiler.
    built = "tornado,msgpack,pyyaml" if str(session.python).endswith("t") else "none"
    pure = {"TORNADO_EXTENSION": "0", "MSGPACK_PUREPYTHON": "1"}
    session.install("--only-binary=:all:", f"--no-binary={built}", ".[test]", env=pure)
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    session.install("ruff>=0.14")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    session.install(".[lint]")
    session.run("mypy", *session.posargs)


@nox.session(python=VERSIONS)
def compat(session: nox.Session) -> None:
    if not has_suite("python", session):
        session.skip(f"Python {session.python} ships without test.test_concurrent_futures")
    session.install(".")
    session.run("python", "compat/surface.py")
    session.run("python", "compat/run_suite.py", *session.posargs)


@nox.session(python=False)
def compat_one(session: nox.Session) -> None:
    """As compat, by the first interpreter that has the suite: the one that runs this, else the newest that is found."""
    others = (
        shutil.which(f"python{version}") for version in sorted(VERSIONS, key=lambda name: ("t" not in name, name), reverse=True)
    )
    for python in [sys.executable, *filter(None, others)]:
        if has_suite(python):
            break
        session.warn(f"{python} has no test.test_concurrent_futures")
    else:
        session.skip("NOT TESTED: no interpreter found ships test.test_concurrent_futures")
    environment = Path(session.create_tmp(), "venv")
    session.run(sys.executable, "-m", "virtualenv", "-q", "-p", python, str(environment))
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    session.run(str(scripts / "python"), "-m", "pip", "install", "-q", ".")
    session.run(str(scripts / "python"), "compat/surface.py")
    session.run(str(scripts / "python"), "compat/run_suite.py", *session.posargs)


@nox.session
def programs(session: nox.Session) -> None:
    """Programs of others under ``python -m poolbar``: they end as without it, and show a bar."""
    session.install(".", "black", "flake8", "isort", "pylint", "yapf")
    session.run("python", "compat/programs.py", *session.posargs)


def has_suite(python: str, session: nox.Session | None = None) -> bool:
    """Tell whether an interpreter ships its own executor tests."""
    if session is not None:
        python = shutil.which(python, path=os.pathsep.join(session.bin_paths or [])) or python
    return subprocess.run([python, "-c", HAS_SUITE], capture_output=True, check=False).returncode == 0


@nox.session
def bench(session: nox.Session) -> None:
    """All contenders: ``nox -s bench -- --quick``; with ``--write`` the pages too."""
    session.install(".[bench]")
    session.run("python", "benchmarks/run.py", *session.posargs)


@nox.session
def guard(session: nox.Session) -> None:
    """Six ratios to the standard library, in under a minute; a warning where one has fallen, for machines are noisy."""
    session.install(".", "numpy")
    session.run("python", "benchmarks/guard.py", *session.posargs, success_codes=[0, 1])


@nox.session
def soak(session: nox.Session) -> None:
    """Random work while workers are killed: ``nox -s soak -- --minutes 20``."""
    session.install(".")
    session.run("python", "benchmarks/soak.py", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """More games than the default suite plays: ``POOLBAR_CHAOS_EXAMPLES=200 nox -s chaos``."""
    session.install(".[test]")
    session.run("pytest", "tests/chaos", "-o", "timeout=0", *session.posargs)


@nox.session(python=[version for version in VERSIONS if version.endswith("t")])
def freethreaded(session: nox.Session) -> None:
    """Many threads at once without a GIL, for a minute with each kind of worker; and how much faster two threads compute."""
    session.install("--only-binary=:all:", ".", "pytest>=8.4", "pytest-timeout>=2.3", "psutil>=6")
    env = {"POOLBAR_STRESS_SECONDS": "60", **os.environ}
    session.run("pytest", "tests/chaos/test_many_threads_at_once.py", "-o", "faulthandler_timeout=0", *session.posargs, env=env)
    session.run("python", "benchmarks/threads.py")


@nox.session
def notebook(session: nox.Session) -> None:
    """JupyterLab as a person sees it, in Chromium: ``nox -s notebook``; with NOTEBOOK_PICTURE=docs/notebook.png a picture too."""
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        session.error("NOT TESTED: no Chromium on PATH (Debian: apt-get install chromium)")
    session.install(".[test]", "jupyterlab>=4.2", "playwright>=1.49")  # playwright's own browsers are not downloaded
    session.run("pytest", "tests/jupyterlab", *session.posargs)


@nox.session
def hosts(session: nox.Session) -> None:
    """Three hosts with dask, as network namespaces: one is cut off, one joins. Only for root, on Linux."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        session.error("NOT TESTED: hosts are network namespaces, which only root on Linux can make")
    if not shutil.which("ip"):
        session.error("NOT TESTED: no ip on PATH (Debian: apt-get install iproute2)")
    space = f"poolbar-{os.getpid()}"
    # One with a switch and a line in it, as the tests need them.
    for command in (f"netns add {space}", f"-n {space} link add type bridge", f"-n {space} link add type veth"):
        done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
        if done.returncode:
            break
    subprocess.run(["ip", "netns", "delete", space], capture_output=True, check=False)
    if done.returncode:
        session.error(f"NOT TESTED: network namespaces are not allowed here: ip {command}: {done.stderr.strip()}")
    session.install(".[test]", "distributed")
    session.run("pytest", "tests/hosts", *session.posargs)


@nox.session
def engines(session: nox.Session) -> None:
    """Ray, mpi4py and ipyparallel behind the same executor, each with its real workers."""
    session.install(".[test]", "ray", "ipyparallel", "mpi4py", "mpich")
    session.run("pytest", "tests/engines", *session.posargs)
