"""Backends that are not built in: any executor runs batches, and all else is as at home."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import pytest

import poolbar

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def engine() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        yield executor


def test_an_executor_as_backend_runs_our_batches(engine: ProcessPoolExecutor) -> None:
    with poolbar.ProgressExecutor(backend=engine) as executor:
        assert list(executor.map(abs, range(-2000, 0))) == list(range(2000, 0, -1))
        assert executor.submit(divmod, 7, 2).result() == (3, 1)
        assert executor.choice.kind == "remote"
    assert engine.submit(abs, -1).result() == 1  # it stays its owner's
