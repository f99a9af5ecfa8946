"""The classes of the interpreter's own ``test._test_multiprocessing`` that test pools, for ``stdlib_suite``.

Crossed with the start methods, loky's too, and with threads. Pools inside of a multiprocessing manager are that module's own, and
are left out. ``multiprocessing.pool.Pool`` and ``ThreadPool`` are what is tested, as they are when this is imported.
"""

from __future__ import annotations

import multiprocessing.dummy
import multiprocessing.pool
import unittest
from functools import partial
from typing import Any

from loky.backend.context import get_context

multiprocessing.dummy.Pool = multiprocessing.pool.ThreadPool  # type: ignore[assignment]

from test import _test_multiprocessing as suite  # noqa: E402

NAMES = ("_TestPool", "_TestPoolWorkerErrors", "_TestPoolWorkerLifetime")


class _InProcesses(suite.ProcessesMixin):  # type: ignore[misc,name-defined]
    """Tests take their pools from here, or from ``multiprocessing``."""

    @classmethod
    def setUpClass(cls) -> None:
        multiprocessing.Pool = cls.Pool  # type: ignore[method-assign]
        super().setUpClass()


def _made(name: str, *bases: type, **attributes: Any) -> None:
    globals()[name] = type(name, bases, {"__module__": __name__, **attributes})


for _name in NAMES:
    _base = getattr(suite, _name)
    for _method in ("loky", "fork", "spawn", "forkserver"):
        _context = get_context(_method) if _method == "loky" else multiprocessing.get_context(_method)
        _pool = partial(multiprocessing.pool.Pool, context=_context)
        _full = f"ProcessPool{_method.capitalize()}{_name.removeprefix('_')}"
        _made(_full, _base, _InProcesses, unittest.TestCase, Pool=staticmethod(_pool))
    if "threads" in _base.ALLOWED_TYPES:
        _made(f"ThreadPool{_name.removeprefix('_')}", _base, suite.ThreadsMixin, unittest.TestCase)
