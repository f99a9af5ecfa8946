"""The flags with which this interpreter was started: as arguments for workers of our own, as environment variables for loky's.

loky starts workers without flags; the standard library's start methods hand them on, or fork. What a variable cannot say loky's
do not get: -b, -v, and a -W with a comma in it.
"""

from __future__ import annotations

import os
import subprocess
import sys

_FLAGS = {
    "optimize": "PYTHONOPTIMIZE",
    "dont_write_bytecode": "PYTHONDONTWRITEBYTECODE",
    "no_user_site": "PYTHONNOUSERSITE",
    "safe_path": "PYTHONSAFEPATH",
}
_OPTIONS = {
    "context_aware_warnings": "PYTHON_CONTEXT_AWARE_WARNINGS",
    "cpu_count": "PYTHON_CPU_COUNT",
    "dev": "PYTHONDEVMODE",
    "faulthandler": "PYTHONFAULTHANDLER",
    "gil": "PYTHON_GIL",
    "int_max_str_digits": "PYTHONINTMAXSTRDIGITS",
    "lazy_imports": "PYTHON_LAZY_IMPORTS",
    "no_debug_ranges": "PYTHONNODEBUGRANGES",
    "pycache_prefix": "PYTHONPYCACHEPREFIX",
    "thread_inherit_context": "PYTHON_THREAD_INHERIT_CONTEXT",
    "tracemalloc": "PYTHONTRACEMALLOC",
    "utf8": "PYTHONUTF8",
    "warn_default_encoding": "PYTHONWARNDEFAULTENCODING",
}
"""-X: those that a task can notice."""


def flag_arguments() -> list[str]:
    """Return the flags as the interpreter's arguments: what the standard library hands on, and all of -X."""
    found: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # multiprocessing's, too
    known = {argument.partition("=")[0] for argument in found}
    for option, value in sys._xoptions.items():
        if option not in known:
            found += ["-X", option if value is True else f"{option}={value}"]
    return found


def flag_variables() -> dict[str, str]:
    """Return the variables that make a worker what this interpreter is, where the environment does not say it already."""
    found: dict[str, str] = {}
    if sys.flags.ignore_environment:  # -E, -I: empty is as good as not set
        found.update(dict.fromkeys([name for name in os.environ if name.startswith("PYTHON")], ""))
    for flag, name in _FLAGS.items():
        value = int(getattr(sys.flags, flag, 0))
        if value:
            found[name] = str(value)
    for option, name in _OPTIONS.items():
        if option in sys._xoptions:
            given = sys._xoptions[option]
            found[name] = "1" if given is True else str(given)
    found["PYTHONWARNINGS"] = _warnings()
    return {name: value for name, value in found.items() if value != os.environ.get(name, "")}


def _warnings() -> str:
    # As Python does: the variable's first, so that -W has the last word. The program may have set it for its workers.
    own = "" if sys.flags.ignore_environment else os.environ.get("PYTHONWARNINGS", "")
    known = own.split(",") if own else []
    by_dev = ["default"] if sys.flags.dev_mode else []  # PYTHONDEVMODE brings this one
    given = [option for option in sys.warnoptions if option not in [*known, *by_dev] and "," not in option]
    return ",".join([*known, *given])
