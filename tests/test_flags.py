"""The flags of the interpreter: workers have those of the program, and what tasks start has what the program would start."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

Script = Callable[..., list[str]]

METHODS = ["poolbar", "loky", "loky_init_main", "spawn"]
FREE_THREADED = pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python is never without a GIL")

TOLD = """
import os, subprocess, sys, tracemalloc, warnings

SEEN = ("optimize", "dont_write_bytecode", "no_user_site", "safe_path", "dev_mode", "utf8_mode", "warn_default_encoding",
        "gil")

def flags():
    seen = [getattr(sys.flags, name, None) for name in SEEN]
    digits = getattr(sys, "get_int_max_str_digits", lambda: None)()
    gil = getattr(sys, "_is_gil_enabled", lambda: None)()
    return seen, tracemalloc.get_traceback_limit(), digits, gil, sys._xoptions, sys.warnoptions, python()

def python():
    return sorted((name, value) for name, value in os.environ.items() if name.startswith("PYTHON"))

def child():
    text = "import sys; print(sys.flags, sys.warnoptions, sys._xoptions)"
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout

def check():
    assert False, "not with -O"
    return __debug__

def warn():
    warnings.warn("as wrong as can be", UserWarning)
"""

SAME = """
import sys, told, poolbar

if __name__ == "__main__":
    here = [told.flags(), told.child()]
    for method in sys.argv[1:]:
        with poolbar.ProcessPoolExecutor(1, mp_context=method) as executor:
            there = [executor.submit(function).result(60) for function in (told.flags, told.child)]
        print(here == there or (method, here, there))
"""


@pytest.fixture
def told(tmp_path: Path) -> None:
    (tmp_path / "told.py").write_text(TOLD)


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("-O",),
        ("-OO", "-B", "-s"),
        ("-W", "error::UserWarning", "-W", "ignore::DeprecationWarning"),
        ("-X", "dev"),
        ("-X", "utf8"),
        (
            "-X",
            "utf8=0",
            "-X",
            "tracemalloc=3",
            "-X",
            "int_max_str_digits=1000",
            "-X",
            "warn_default_encoding",
            "-W",
            "ignore::EncodingWarning",
        ),
        pytest.param(("-P",), marks=pytest.mark.skipif(sys.version_info < (3, 11), reason="-P came with Python 3.11")),
    ],
    ids=" ".join,
)
def test_a_worker_has_the_flags_of_the_program_and_its_child_processes_have_those_of_the_programs(
    script: Script, tmp_path: Path, told: None, flags: tuple[str, ...]
) -> None:
    # Which of the -X are handed on by spawn is the standard library's business.
    methods = [method for method in METHODS if not (method == "spawn" and "-X" in flags)]
    text = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{SAME}"  # -P keeps the directory of the script out
    assert script(text, *methods, flags=flags) == ["True"] * len(methods)


@pytest.mark.parametrize(
    ("flags", "variables"),
    [
        (("-O",), {"PYTHONOPTIMIZE": "2"}),
        (("-W", "error::UserWarning"), {"PYTHONWARNINGS": "ignore::ResourceWarning,error::ImportWarning"}),
        (("-X", "utf8=0"), {"PYTHONUTF8": "1"}),
        (("-E",), {"PYTHONOPTIMIZE": "1", "PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1", "PYTHONPATH": ""}),
    ],
    ids=" ".join,
)
def test_where_flags_and_variables_meet_a_worker_is_what_python_has_made_of_them_here(
    script: Script, tmp_path: Path, told: None, flags: tuple[str, ...], variables: dict[str, str]
) -> None:
    text = f"import sys; sys.path[:] = {[str(tmp_path), *sys.path]!r}\n{SAME}"  # -E keeps PYTHONPATH from being read
    assert script(text, "loky", flags=flags, **variables) == ["True"]


def test_asserts_of_modules_are_left_out_in_workers_under_o(script: Script, told: None) -> None:
    text = "import told, poolbar\nwith poolbar.ProcessPoolExecutor(1) as executor: print(executor.submit(told.check).result(60))"
    assert script(text, flags=("-O",)) == ["False"]


def test_a_warning_that_is_an_error_here_is_the_error_of_the_task(script: Script, told: None) -> None:
    text = """
import told, poolbar
with poolbar.ProcessPoolExecutor(1) as executor:
    print(repr(executor.submit(told.warn).exception(60)))
"""
    assert script(text, flags=("-W", "error::UserWarning")) == ["UserWarning('as wrong as can be')"]


def test_what_the_program_says_of_warnings_in_the_environment_holds_beside_its_flags(script: Script, told: None) -> None:
    text = """
import os, sys, told, poolbar
os.environ["PYTHONWARNINGS"] = "ignore::UserWarning"  # for its workers
with poolbar.ProcessPoolExecutor(1) as executor:
    print(executor.submit(told.warn).exception(60), executor.submit(told.flags).result(60)[5])
"""
    assert script(text, flags=("-W", "error::ImportWarning")) == ["None ['ignore::UserWarning', 'error::ImportWarning']"]


def test_a_pool_in_a_task_hands_the_flags_on(script: Script, told: None) -> None:
    text = """
import told, poolbar

def inner():
    with poolbar.ProcessPoolExecutor(1) as executor:
        return executor.submit(told.flags).result(60)

with poolbar.ProcessPoolExecutor(1) as executor:
    here, there = told.flags(), executor.submit(inner).result(60)
    print(here == there or (here, there))
"""
    flags = ("-O", "-X", "utf8", "-X", "int_max_str_digits=1000", "-W", "error::UserWarning")
    assert script(text, flags=flags) == ["True"]


def test_native_tracebacks_go_to_stderr_where_a_flag_asks_for_them(script: Script) -> None:
    text = """
import os, poolbar
with poolbar.ProcessPoolExecutor(1) as executor:
    print(type(executor.submit(os.abort).exception(60)).__name__)
"""
    assert script(text, flags=("-X", "faulthandler"), stderr="Fatal Python error: Aborted") == ["WorkerCrashed"]


@FREE_THREADED
@pytest.mark.parametrize("gil", ["0", "1"])
def test_the_gil_is_in_workers_what_a_flag_says_it_is_here(script: Script, told: None, gil: str) -> None:
    assert script(SAME, "loky", flags=("-X", f"gil={gil}")) == ["True"]
