"""``python -m poolbar``: see ``--help``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ._command import CODE, MODULE, make_parser, read

if TYPE_CHECKING:
    from ._command import Asked


def main() -> int:
    """Run the command or the program that this process's command line names; return the exit status."""
    parser = make_parser()
    asked = read(parser, sys.argv[1:])
    os.environ.update(asked.settings)
    if asked.form == "" and asked.what == "info":
        if asked.arguments:
            parser.error(f"info takes no arguments: {' '.join(asked.arguments)}")
        return _info(asked)
    _run(asked)
    return 0


def _info(asked: Asked) -> int:
    from ._info import info

    text, is_good = info(frozenset(asked.settings))
    print(text)
    return 0 if is_good else 1


def _run(asked: Asked) -> None:
    from . import _program
    from ._replacing import replace

    replace(asked.parts, is_kind_open=bool({"POOLBAR_BACKEND", "POOLBAR_THREAD_SAFE"} & asked.settings.keys()))
    run = {MODULE: _program.run_module, CODE: _program.run_code}.get(asked.form, _program.run_script)
    run(asked.what, asked.arguments)


if __name__ == "__main__":
    sys.exit(main())
