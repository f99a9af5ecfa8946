"""Python without a GIL: threads are what auto takes, until an extension module turns the GIL on."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a GIL that cannot be turned off"
)

EXTENSION = """
#include <Python.h>
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "wants_gil", NULL, 0, NULL};
PyMODINIT_FUNC PyInit_wants_gil(void) { return PyModuleDef_Init(&definition); }
"""

SCRIPT = """
import os, sys, warnings, poolbar
warnings.simplefilter("ignore")
sys.path.insert(0, {place!r})

def where(_):
    return os.getpid()

with poolbar.ProgressExecutor(2) as executor:
    print(executor.choice.kind, set(executor.map(where, range(20))) == {{os.getpid()}})
    import wants_gil
    print(os.getpid() in set(executor.map(where, range(20))), executor.choice.kind, "GIL" in executor.choice.reason)
    print(executor.submit(where, 1).result() == os.getpid(), "process workers" in repr(executor))
"""


def test_when_an_extension_turns_the_gil_on_the_next_run_goes_to_processes(
    script: Callable[..., list[str]], tmp_path: Path
) -> None:
    """An extension module that does not say that it needs no GIL, built here, as old ones are."""
    compiler, headers = shutil.which("cc"), sysconfig.get_paths()["include"]
    if compiler is None or not (Path(headers) / "Python.h").exists():
        pytest.skip("there is no C compiler, or there are no headers of this Python")
    (tmp_path / "wants_gil.c").write_text(EXTENSION)
    name = f"wants_gil{sysconfig.get_config_var('EXT_SUFFIX')}"
    subprocess.run([compiler, "-shared", "-fPIC", f"-I{headers}", "-o", name, "wants_gil.c"], cwd=tmp_path, check=True)
    told = script(SCRIPT.format(place=str(tmp_path)), PYTHON_GIL="")
    assert told == ["thread True", "False process True", "False True"]


def test_auto_computes_side_by_side_in_threads(script: Callable[..., list[str]]) -> None:
    text = (
        "import poolbar\n"
        "with poolbar.ProgressExecutor() as e: print(list(e.map(abs, [-1])), e.choice.kind, 'GIL' in e.choice.reason)"
    )
    assert script(text) == ["[1] thread True"]
