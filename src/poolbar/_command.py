"""The command line of ``python -m poolbar``: settings as options, then a command or a program with its own arguments."""

from __future__ import annotations

import argparse
from typing import NamedTuple

from ._errors import SettingError
from ._settings import TABLE, resolve

PROG = "python -m poolbar"
USAGE = f"""{PROG} [OPTIONS] SCRIPT [ARGUMENTS]
       {PROG} [OPTIONS] -m MODULE [ARGUMENTS]
       {PROG} [OPTIONS] -c CODE [ARGUMENTS]
       {PROG} [OPTIONS] info"""
DESCRIPTION = """Run a Python program unchanged, with the standard library's pools replaced by poolbar's, so that it shows its
progress. What the program itself gives a pool, such as a number of workers, wins over an option; an option over the variable."""
EPILOG = """info shows what an executor would take here, and why; versions, CPUs, settings. A script of that name: ./info."""

MODULE, CODE = "-m", "-c"
PROCESSES, THREADS, POOL = "processes", "threads", "pool"
PARTS = {
    PROCESSES: "concurrent.futures.ProcessPoolExecutor",
    THREADS: "concurrent.futures.ThreadPoolExecutor",
    POOL: "multiprocessing's Pool and ThreadPool",
}
"""What is replaced; ``--no-PART`` leaves one as it is."""


class Asked(NamedTuple):
    """What was asked for."""

    settings: dict[str, str]  # variables and their texts
    parts: frozenset[str]  # of the standard library, that are replaced
    form: str  # MODULE or CODE, or empty for a script
    what: str  # the script, module or code
    arguments: list[str]  # of the program


def option_of(variable: str) -> str:
    """Return the option that stands for a setting's variable."""
    return "--" + variable.removeprefix("POOLBAR_").lower().replace("_", "-")


_VARIABLES = {option_of(setting.variable): setting.variable for setting in TABLE}
_SHORT = {"--max-workers": ["--workers"]}
_WITH_VALUE = {*_VARIABLES, *(short for others in _SHORT.values() for short in others)}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the options, which also shows the help."""
    parser = argparse.ArgumentParser(PROG, USAGE, DESCRIPTION, EPILOG, allow_abbrev=False, add_help=False)
    parser.add_argument("-h", "--help", action="store_true", help="show this")
    for part, words in PARTS.items():
        parser.add_argument(f"--no-{part}", dest=part, action="store_false", help=f"leave {words} as it is")
    settings = parser.add_argument_group("settings", "As in the README; each is a variable of the environment too.")
    for setting in TABLE:
        option = option_of(setting.variable)
        told = setting.meaning.replace("`", "").replace("%", "%%")
        settings.add_argument(
            option, *_SHORT.get(option, ()), dest=setting.variable, metavar="VALUE", help=f"{setting.allowed}. {told}"
        )
    return parser


def read(parser: argparse.ArgumentParser, arguments: list[str]) -> Asked:
    """Return what a command line asks for. Ends the process, as argparse does, where it cannot be understood."""
    own, form, rest = _split(parser, arguments)
    given = vars(parser.parse_args(own))
    if given["help"] or not rest:
        parser.print_help()
        parser.exit()
    settings = {variable: given[variable] for variable in _VARIABLES.values() if given[variable] is not None}
    for setting in TABLE:
        try:
            resolve(setting.keyword, None, settings)
        except SettingError as error:
            parser.error(f"{option_of(setting.variable)}: {error}")
    return Asked(settings, frozenset(part for part in PARTS if given[part]), form, rest[0], rest[1:])


def _split(parser: argparse.ArgumentParser, arguments: list[str]) -> tuple[list[str], str, list[str]]:
    # As Python itself reads its command line: what follows the script, -m MODULE or -c CODE is the program's own.
    place = 0
    while place < len(arguments):
        word = arguments[place]
        if word[:2] in (MODULE, CODE):
            rest = [*filter(None, [word[2:]]), *arguments[place + 1 :]]
            if not rest:
                parser.error(f"argument expected for the {word} option")
            return arguments[:place], word[:2], rest
        if not word.startswith("-") or word == "-":
            return arguments[:place], "", arguments[place:]
        if word == "--":
            return arguments[:place], "", arguments[place + 1 :]
        place += 2 if word in _WITH_VALUE else 1
    return arguments, "", []
