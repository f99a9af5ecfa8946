"""``python -m poolbar``: see ``--help``."""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit status.

    Args:
        arguments: the command line; None for the process's own.
    """
    parser = argparse.ArgumentParser(prog="python -m poolbar", description="Run Python work in parallel and see it happen.")
    commands = parser.add_subparsers(metavar="COMMAND")
    info = commands.add_parser("info", help="show what an executor would take here, and why; versions, CPUs, settings")
    info.set_defaults(run=_info)
    asked = parser.parse_args(arguments)
    if "run" not in asked:
        parser.print_help()
        return 0
    status: int = asked.run()
    return status


def _info() -> int:
    from ._info import info

    text, is_good = info()
    print(text)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
