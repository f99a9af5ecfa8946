"""What ``python -m poolbar info`` shows: for bug reports, and for who wonders what is taken here."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, version

from . import __version__
from ._errors import BackendError
from ._executor import ProgressExecutor
from ._settings import TABLE, Setting, installed_backends, resolve
from .workers.cpus import cpu_count

PACKAGES = ("loky", "tqdm", "cloudpickle", "threadpoolctl", "distributed", "ray")

Rows = list[tuple[str, str]]


def info(options: frozenset[str] = frozenset()) -> tuple[str, bool]:
    """Return the text, and whether an executor can be made with the settings that there are.

    Args:
        options: the variables that options of the command line have set.
    """
    chosen, can_choose = _choice()
    settings = [_setting(setting, is_option=setting.variable in options) for setting in TABLE]
    known = {setting.variable for setting in TABLE}
    unknown: Rows = [(name, "is no setting") for name in sorted(os.environ) if name.startswith("POOLBAR_") and name not in known]
    parts = [chosen, _versions(), _cpus(), [row for row, _ in settings] + unknown]
    return "\n\n".join(map(_table, parts)), can_choose and all(is_good for _, is_good in settings)


def _table(rows: Rows) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {text}" for name, text in rows)


def _choice() -> tuple[Rows, bool]:
    try:
        with ProgressExecutor() as executor:
            choice = executor.choice  # of an engine that is not ours, it tells what there is: it is asked
    except (ValueError, BackendError) as error:  # of a variable, or of two that contradict each other; there is no engine
        return [("choice", f"none: {error}")], False
    return [("choice", f"{choice.kind}, at most {choice.workers} workers"), ("why", choice.reason)], True


def _versions() -> Rows:
    found: Rows = [("poolbar", __version__), ("Python", f"{platform.python_version()} ({_build()}), {sys.executable}")]
    found.append(("system", platform.platform()))
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            found.append((name, "not installed"))
    found.append(("backends", ", ".join(sorted(installed_backends()))))
    return found


def _build() -> str:
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "with a GIL"
    is_on = getattr(sys, "_is_gil_enabled", lambda: True)()
    return f"free-threaded, the GIL is {'on' if is_on else 'off'}"


def _cpus() -> Rows:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        ("CPUs of the machine", str(os.cpu_count())),
        ("by affinity", str(usable)),
        ("by cgroup too", f"{cpu_count()}, which is the default of max_workers for processes"),
    ]


def _setting(setting: Setting, *, is_option: bool) -> tuple[tuple[str, str], bool]:
    given = os.environ.get(setting.variable, "")
    try:
        value = resolve(setting.keyword, None)
    except ValueError as error:
        return (setting.variable, f"error: {error}"), False
    source = "option" if is_option else "variable" if given else "default"
    return (setting.variable, f"{setting.keyword} = {value!r} ({source})"), True
