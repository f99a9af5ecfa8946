"""Interactive Python, ``python -c`` and a script on stdin, in a terminal as a person sees it (laws 8 and 12)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from terminal import LIMIT, Program, is_bar, programs

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("IPython")

Start = Callable[..., Program]


@pytest.fixture
def start() -> Iterator[Start]:
    with programs() as begin:
        yield begin
