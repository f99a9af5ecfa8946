"""The flags with which this interpreter was started, as environment variables: loky starts workers without flags.

The other start methods hand them on, or fork. What a variable cannot say is not handed on: -b, -v, and a -W with a comma in it.
"""

from __future__ import annotations

import os
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
