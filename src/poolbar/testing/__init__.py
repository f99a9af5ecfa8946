"""The contract of a backend, as checks that run against any: ``check_backend(make)``, or one by one under a test runner.

    import pytest
    from poolbar.testing import CHECKS, run_check

    @pytest.mark.parametrize("check", CHECKS)
    def test_contract(check):
        run_check(check, lambda: MyBackend("an address"))

The first checks use a backend as poolbar does, the others through a ``ProgressExecutor``. Each has one of its own, and seconds in
which it must end.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING

from .. import _remote
from .._errors import text_of
from .checks import CHECKS as CHECKS
from .checks import Check as Check

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from ..backends import Backend

SECONDS = 60.0
"""In which a check must end."""


def check_backend(make: Callable[[], Backend | Executor], *, seconds: float = SECONDS) -> None:
    """Run all checks against a backend.

    Args:
        make: returns one, anew for each check, which closes it; or an executor, which stays open, and may always be the same.
        seconds: in which each check must end.

    Raises:
        AssertionError: some failed; the text says which, and why.
    """
    failures = []
    for check in CHECKS:
        try:
            run_check(check, make, seconds=seconds)
        except Exception as error:
            failures.append(f"{check.__name__}: {text_of(error)}")
    if failures:
        raise AssertionError(f"{len(failures)} of {len(CHECKS)} checks failed:\n" + "\n".join(failures))


def run_check(check: Check, make: Callable[[], Backend | Executor], *, seconds: float = SECONDS) -> None:
    """Run one check.

    It runs in a thread of its own, so that a backend which hangs is left alone, and only that thread with it.

    Args:
        check: one of ``CHECKS``.
        make: as in ``check_backend``.
        seconds: in which it must end.

    Raises:
        AssertionError: the backend is not as it should be, or the check did not end.
    """
    result: Future[None] = Future()

    def run() -> None:
        try:
            check(_remote.open_backend(make(), None, None))
        except BaseException as error:
            result.set_exception(error)
        else:
            result.set_result(None)

    threading.Thread(target=run, name=f"check-{check.__name__}", daemon=True).start()
    if not wait([result], seconds).done:
        raise AssertionError(f"{check.__name__} did not end within {seconds:g} s")
    result.result()
