"""Runs single tests of the interpreter's own executors and pools against poolbar's classes, or the stdlib's.

    python stdlib_suite.py list
    python stdlib_suite.py run poolbar MODULE CLASS METHOD

The suite, ``test.test_concurrent_futures`` and what ``stdlib_pools`` takes from ``test._test_multiprocessing``, is imported from
the interpreter that runs this, with the names in ``concurrent.futures`` and ``multiprocessing.pool`` replaced; the scripts
that it starts in interpreters of their own get the import replaced in their text. The process classes are crossed with
poolbar's own context, its default, and loky's too.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
import unittest
from typing import Any

PACKAGE = "test.test_concurrent_futures"
POOLS = "test._test_multiprocessing"


def modules() -> list[str]:
    """Return the names of the suite's modules: of executors one up to Python 3.11, a package of them later. Some have none."""
    pools = ["stdlib_pools"] if importlib.util.find_spec(POOLS) else []
    if not importlib.util.find_spec(PACKAGE):
        return pools
    package = importlib.import_module(PACKAGE)
    if not hasattr(package, "__path__"):
        return [PACKAGE, *pools]
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return [*(f"{PACKAGE}.{name}" for name in names if name.startswith("test_")), *pools]


def replace_executors() -> None:
    """Put poolbar's classes in the place of the stdlib's, before the suite takes hold of them."""
    import concurrent.futures
    import multiprocessing.pool

    import poolbar

    concurrent.futures.ProcessPoolExecutor = poolbar.ProcessPoolExecutor  # type: ignore[misc,assignment]
    concurrent.futures.ThreadPoolExecutor = poolbar.ThreadPoolExecutor  # type: ignore[misc,assignment]
    multiprocessing.pool.Pool = poolbar.Pool  # type: ignore[misc,assignment]
    multiprocessing.pool.ThreadPool = poolbar.ThreadPool  # type: ignore[misc,assignment]
    from test.support import script_helper

    original = script_helper.assert_python_ok

    def assert_python_ok(*arguments: Any, **keywords: Any) -> Any:
        return original(*[_replaced(argument) for argument in arguments], **keywords)

    script_helper.assert_python_ok = assert_python_ok


def _replaced(script: str) -> str:
    return script.replace("from concurrent.futures import", "from poolbar import").replace(
        "from multiprocessing import get_context",
        "get_context = str",  # poolbar takes the name, its own and loky's too
    )


def classes(module: Any) -> dict[str, type[unittest.TestCase]]:
    """Return the suite's test classes of a module, those for loky's context and poolbar's own added."""
    found = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == module.__name__
    }
    for name, cls in list(found.items()):
        if "PoolSpawn" in name and hasattr(cls, "ctx"):  # those of pools are there
            for context in ("loky", "poolbar"):
                other = name.replace("Spawn", context.capitalize())
                found[other] = type(other, (cls,), {"ctx": context, "get_context": _context, "__module__": module.__name__})
    return found


def _context(self: Any) -> Any:
    from poolbar.workers.plan import context_of

    return context_of(self.ctx)


def main() -> int:
    """List the tests, or run one."""
    if sys.argv[1] == "list":
        for name in modules():
            for class_name, cls in classes(importlib.import_module(name)).items():
                for method in unittest.TestLoader().getTestCaseNames(cls):
                    print(name, class_name, method)
        return 0
    which, name, class_name, method = sys.argv[2:]
    if which == "poolbar":
        replace_executors()
    module = importlib.import_module(name)
    test = classes(module)[class_name](method)
    set_up = getattr(module, "setUpModule", None)
    if set_up is not None:
        set_up()
    result = unittest.TextTestRunner(verbosity=2).run(unittest.TestSuite([test]))
    if not result.wasSuccessful():
        # Its executor hangs on the traceback: the module's clean-up would wait for workers that nobody ends.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
    unittest.case.doModuleCleanups()
    if result.skipped:
        print("SKIPPED", result.skipped[0][1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
