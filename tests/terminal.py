"""A terminal, a program in its foreground, and the screen as a person sees it."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from conftest import environment, is_gone, is_tracker, until

if sys.platform == "win32":
    pytest.skip("no pseudo-terminals, and Ctrl-C is no signal there", allow_module_level=True)

import fcntl
import pty
import struct
import termios

import pyte

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 30.0
"""Seconds for what has to happen before something is done to a program: a busy machine starts Python and workers slowly."""

LIMIT = 10.0
"""Seconds from a key to the end of the program. It takes a few tenths of one; a busy machine is to pass too."""

CTRL_C = b"\x03"

SHELL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
pid = os.fork()
if pid == 0:
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.setpgid(0, 0)
    os.tcsetpgrp(2, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
os.write(2, f"\\x1b]2;ended {code}\\x07".encode())
while True:
    signal.pause()
"""
"""What a shell does: it leads the session and runs the program as its foreground job.

Were the program itself the leader, the kernel would send SIGHUP to all that it leaves behind, and nothing ever would be.
The end is told as the terminal's title: in order with what the program wrote, and not on the screen. SIGINT is as in a shell
even where the tests themselves were started with SIGINT ignored, in the background.
"""


class Program:
    """A Python program in the foreground of a terminal, and the screen of that terminal.

    Args:
        directory: where it runs.
        arguments: of Python.
        echo: the terminal shows what is typed.
        size: columns and rows.
        streams: ``stdin`` or ``stdout``, where they are not the terminal.
        changes: variables of the environment.
    """

    def __init__(
        self, directory: Path, *arguments: str, echo: bool = False, size: tuple[int, int] = (100, 50),
        streams: dict[str, Any] | None = None, **changes: str,
    ) -> None:  # fmt: skip
        self.directory = directory
        self.pressed: float | None = None
        self._heard: list[bytes | tuple[int, int]] = [size]
        self.screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self.screen)
        self._parent, terminal = pty.openpty()
        self.screen.write_process_input = lambda answer: os.write(self._parent, answer.encode())  # "where is the cursor?"
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *reversed(size), 0, 0))
        modes = termios.tcgetattr(terminal)
        # Else the kernel, at a Ctrl-C, throws away what the program has written and nobody has read yet.
        modes[3] |= termios.NOFLSH
        if not echo:
            # "^C" comes at any time around what the program writes in answer: without it, each line is the program's.
            modes[3] &= ~termios.ECHO
        termios.tcsetattr(terminal, termios.TCSANOW, modes)
        own = {"TERM": "xterm", "COLUMNS": "", "PYTHON_BASIC_REPL": "1", "PYTHON_COLORS": "0", "PYTHONUNBUFFERED": "", **changes}
        self._shell = subprocess.Popen(
            [sys.executable, "-S", "-c", SHELL, *arguments], cwd=directory, env=environment(**own), start_new_session=True,
            **{"stdin": terminal, "stdout": terminal, "stderr": terminal, **(streams or {})},
        )  # fmt: skip
        os.close(terminal)

    def close(self) -> None:
        """End what is left of it."""
        for process in self.processes():
            if not is_tracker(process):
                process.kill()
        # Trackers end by themselves when they see that the others are gone, and remove the semaphores that those have left.
        until(lambda: not self.processes(), LIMIT)
        self._shell.kill()
        self._shell.wait()
        os.close(self._parent)

    def processes(self) -> list[psutil.Process]:
        """Return what lives of the program: the session's processes but for the shell."""
        found = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self._shell.pid != process.pid and not is_gone(process.pid):
                    found.append(process)
            except ProcessLookupError:
                continue
        return found

    # --- the screen

    def whole(self) -> list[str]:
        """Return what is on the screen, with the empty lines between."""
        return _rows(self.screen)

    def lines(self) -> list[str]:
        """Return the lines on the screen that are not empty."""
        return [line for line in self.whole() if line]

    def bars(self) -> list[str]:
        """Return the bars on the screen."""
        return [line for line in self.lines() if is_bar(line)]

    def frames(self) -> Iterator[list[str]]:
        """Return what was on the screen, with empty lines between, each time that the cursor went to the left."""
        screen = pyte.Screen(*self._heard[0])
        stream = pyte.ByteStream(screen)
        for heard in self._heard[1:]:
            if isinstance(heard, tuple):
                screen.resize(*reversed(heard))
                continue
            for part in re.split(rb"(?<=\r)|(?<=\n)", heard):
                stream.feed(part)
                yield _rows(screen)

    @property
    def raw(self) -> bytes:
        """All that the program has written to the terminal."""
        written = b"".join(heard for heard in self._heard if isinstance(heard, bytes))
        return written.removesuffix(f"\x1b]2;{self.screen.title}\x07".encode())

    def resize(self, columns: int, rows: int) -> None:
        """Make the terminal larger or smaller; the kernel tells the program."""
        while self.read(0):  # what was drawn for the old size
            pass
        self._heard.append((columns, rows))
        self.screen.resize(rows, columns)
        fcntl.ioctl(self._parent, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    # --- what happens

    def code(self) -> int | None:
        """Return the exit code; None: it runs."""
        return int(self.screen.title.removeprefix("ended ")) if self.screen.title.startswith("ended ") else None

    def noted(self, name: str) -> list[str]:
        """Return what the program has noted in a file."""
        path = self.directory / name
        return path.read_text().split() if path.exists() else []

    def read(self, seconds: float = 0.02) -> bool:
        """Show what the program writes, if it does within that time."""
        if not select.select([self._parent], [], [], seconds)[0]:
            return False
        data = os.read(self._parent, 65536)
        self._heard.append(data)
        self._stream.feed(data)
        return True

    def until(self, fact: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Wait for a fact."""
        limit = time.monotonic() + seconds
        while not fact():
            hopeless = "it ended" if self.code() is not None else "waited in vain" if time.monotonic() > limit else ""
            if hopeless:
                self.tell_where_it_stands()
            assert not hopeless, "\n".join([f"{hopeless}; the screen:", *self.whole()])
            self.read()

    def tell_where_it_stands(self) -> None:
        """Have a program that hangs show where each of its threads stands, if it has asked faulthandler to."""
        for process in self.processes():
            if process.ppid() == self._shell.pid:
                process.send_signal(signal.SIGUSR1)
        limit = time.monotonic() + 2
        while time.monotonic() < limit:
            self.read()

    def type(self, keys: bytes) -> None:
        """Press keys."""
        if CTRL_C in keys and self.pressed is None:
            self.pressed = time.monotonic()
        os.write(self._parent, keys)

    def end(self, seconds: float = LIMIT) -> None:
        """Wait for the end: it comes soon, and leaves no process behind."""
        self.until(lambda: self.code() is not None, seconds)
        if self.pressed is not None:
            print(f"ended {time.monotonic() - self.pressed:.3f} s after the key was first pressed")
        print("the screen:", *self.whole(), sep="\n")
        # Workers are waited for by the program itself; multiprocessing's trackers end when they see that it is gone.
        assert until(lambda: not self.processes(), LIMIT), [process.cmdline() for process in self.processes()]


def _rows(screen: pyte.Screen) -> list[str]:
    texts = [
        "".join(screen.buffer[row][column].data for column in range(screen.columns)).rstrip() if row in screen.buffer else ""
        for row in range(screen.lines)
    ]
    while texts and not texts[-1]:
        del texts[-1]
    return texts


def is_bar(line: str) -> bool:
    """Tell whether a line is one of our bars, whole."""
    return re.match(r"([\w ]+:)? *\d+%\|.*\| \d+/\d+ \[.*task.*\]$", line) is not None


@contextmanager
def programs() -> Iterator[Callable[..., Program]]:
    """Start programs; none outlives the block."""
    with ExitStack() as stack:

        def start(*arguments: Any, **options: Any) -> Program:
            program = Program(*arguments, **options)
            stack.callback(program.close)
            return program

        yield start
