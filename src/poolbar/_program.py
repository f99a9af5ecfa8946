"""Runs a program as ``python SCRIPT``, ``python -m MODULE`` and ``python -c CODE`` do, in a ``__main__`` of its own.

Not by ``runpy.run_path``: that puts the old ``__main__`` back at the program's end, while tasks and threads of the program may
still want theirs.
"""

from __future__ import annotations

import builtins
import io
import os
import runpy
import sys
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader
from pkgutil import get_importer, read_code
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

# What Python itself calls for ``-m``, and for a directory or an archive that is given as the script.
_run_module_as_main: Callable[..., Any] = runpy._run_module_as_main  # type: ignore[attr-defined]


def run_script(script: str, arguments: list[str]) -> None:
    """Run a file, or a directory or an archive that has a ``__main__.py``. What the program raises comes out of here.

    Raises:
        SystemExit: also where there is no such file.
    """
    sys.argv[:] = [script, *arguments]
    path = os.path.abspath(script)
    if get_importer(path) is not None:
        _begin_path(path, always=True)
        _run(lambda _: _run_module_as_main("__main__", alter_argv=False))
        return
    try:
        with io.open_code(path) as file:
            data = file.read()
    except OSError as error:
        print(f"{sys.executable}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}", file=sys.stderr)
        sys.exit(2)
    _begin_path(os.path.dirname(os.path.realpath(script)))
    loader = (SourcelessFileLoader if path.endswith(".pyc") else SourceFileLoader)("__main__", path)
    _run(lambda main: _execute(data, path, main), __file__=path, __cached__=None, __loader__=loader)


def run_module(name: str, arguments: list[str]) -> None:
    """Run a module. What the program raises comes out of here, as does SystemExit where there is no such module."""
    sys.argv[:] = ["-m", *arguments]  # until the module is found, as under Python
    _run(lambda _: _run_module_as_main(name, alter_argv=True))


def run_code(text: str, arguments: list[str]) -> None:
    """Run code. What it raises comes out of here."""
    sys.argv[:] = ["-c", *arguments]
    _begin_path("")
    _run(lambda main: _execute(text.encode(), "<string>", main), __loader__=BuiltinImporter)


def _begin_path(place: str, *, always: bool = False) -> None:
    # In the place of the working directory, which -m has put there, but under -P and -I.
    is_safe = sys.flags.isolated or getattr(sys.flags, "safe_path", False)
    if not is_safe:
        del sys.path[0]
    if always or not is_safe:
        sys.path.insert(0, place)


def _run(start: Callable[[ModuleType], object], **attributes: Any) -> None:
    main = ModuleType("__main__")
    vars(main).update(__builtins__=builtins, **attributes)
    sys.modules["__main__"] = main
    try:
        start(main)
    except BaseException:
        _hide_own_frames()
        raise


def _execute(data: bytes, path: str, main: ModuleType) -> None:
    code = read_code(io.BytesIO(data)) or compile(data, path, "exec", dont_inherit=True)
    exec(code, vars(main))


def _hide_own_frames() -> None:
    """Have the traceback that ends the program begin with the program."""
    hook = sys.excepthook  # the program's, if it has set one

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        own, frame = None, trace
        while frame is not None:
            if frame.tb_frame.f_globals is globals():
                own = frame
            frame = frame.tb_next
        if own is not None:
            trace = own.tb_next
        hook(kind, error.with_traceback(trace), trace)

    sys.excepthook = show
