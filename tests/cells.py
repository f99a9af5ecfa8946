"""A notebook for tests: a real kernel, and what each cell that it ran has shown, as a front end would show it."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from queue import Empty
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import psutil
from conftest import environment, is_gone, until
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WIDGET = "application/vnd.jupyter.widget-view+json"
TO_BE_READY_SECONDS = 60


class Cell:
    """A cell that ran, or runs."""

    def __init__(self) -> None:
        self.stdout = ""
        self.stderr = ""
        self.views: list[str] = []  # models of widgets that are shown under it
        self.results: list[str] = []
        self.error: str | None = None
        self.traceback = ""
        self.is_done = False

    def bars(self) -> list[str]:
        """Return the bars of plain text as they stand: a carriage return has the line written over."""
        shown = [line.split("\r")[-1] for line in re.split(r"\n", self.stdout + self.stderr)]
        return [line for line in shown if "%|" in line or "it/s" in line or "task/s" in line]


class Notebook:
    """A kernel, one for several tests: starting one takes more than a second."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        # No kernels but ipykernel's own for this interpreter; others, of the user's, may have its name.
        specs = KernelSpecManager(kernel_dirs=[])
        self._manager = KernelManager(kernel_spec_manager=specs, connection_file=str(directory / "kernel.json"))
        self._cells: dict[str, Cell] = {}
        self.widgets: dict[str, dict[str, Any]] = {}
        variables = environment(IPYTHONDIR=str(directory / "ipython"), JUPYTER_RUNTIME_DIR=str(directory))
        # Under pytest, ipykernel would leave alone what is written to the descriptors of stdout and stderr; and users buffer.
        for name in ("PYTEST_CURRENT_TEST", "PYTHONUNBUFFERED"):
            variables.pop(name, None)
        self._manager.start_kernel(env=variables, cwd=str(directory))
        self._connect()

    def _connect(self) -> None:
        self._client = self._manager.client()
        # No heartbeat: that is a thread. Whether the kernel is there is seen by its process.
        self._client.start_channels(hb=False, stdin=False)
        self._client.wait_for_ready(timeout=TO_BE_READY_SECONDS)

    @property
    def pid(self) -> int:
        """The kernel's process."""
        return self._manager.provisioner.pid

    def processes(self) -> list[psutil.Process]:
        """Return all processes that the kernel has started, and those have."""
        return psutil.Process(self.pid).children(recursive=True)

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes among them."""
        found = []
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                if not is_gone(process.pid) and "tracker" not in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def begin(self, source: str) -> Cell:
        """Let a cell run."""
        cell = Cell()
        # Where a cell fails, the kernel drops what comes in the next moments, unless told not to: a test is faster than a person.
        self._cells[self._client.execute(dedent(source), allow_stdin=False, stop_on_error=False)] = cell
        return cell

    def finish(self, cell: Cell, seconds: float = 60) -> Cell:
        """Wait for the end of a cell."""
        assert self.until(lambda: cell.is_done, seconds), "the cell does not end"
        return cell

    def run(self, source: str, seconds: float = 60) -> Cell:
        """Run a cell to its end; it must not fail."""
        cell = self.finish(self.begin(source), seconds)
        assert cell.error is None, cell.traceback
        return cell

    def value(self, source: str) -> str:
        """Return the repr of an expression's value."""
        return self.run(source).results[-1]

    def until(self, fact: Callable[[], Any], seconds: float = 20) -> Any:
        """Wait for something while messages are taken; return what it returned, true or not."""
        deadline = time.monotonic() + seconds
        while not (found := fact()) and time.monotonic() < deadline:
            with suppress(Empty):
                self._take(self._client.get_iopub_msg(timeout=0.05))
        return found

    def _take(self, message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind in {"comm_open", "comm_msg"}:
            state = content["data"].get("state", {})
            self.widgets.setdefault(content["comm_id"], {}).update(state)
        cell = self._cells.get(message["parent_header"].get("msg_id", ""))
        if cell is None:
            return
        if kind == "stream":
            setattr(cell, content["name"], getattr(cell, content["name"]) + content["text"])
        elif kind == "display_data" and WIDGET in content["data"]:
            cell.views.append(content["data"][WIDGET]["model_id"])
        elif kind == "execute_result":
            cell.results.append(content["data"]["text/plain"])
        elif kind == "error":
            cell.error, cell.traceback = content["ename"], "\n".join(content["traceback"])
        elif kind == "status" and content["execution_state"] == "idle":
            cell.is_done = True

    def counts(self, view: str) -> tuple[int, int, str]:
        """Return where tqdm's widget stands: value, maximum, style."""
        for name in self.widgets[view]["children"]:
            state = self.widgets[name.removeprefix("IPY_MODEL_")]
            if "max" in state:
                return int(state["value"]), int(state["max"]), state["bar_style"]
        raise AssertionError("no bar among the children")

    def interrupt(self) -> None:
        """As the button does: SIGINT to the kernel's process group, in which the workers are too."""
        self._manager.interrupt_kernel()

    def recover(self) -> None:
        """Have no cell run any more, whatever a test has left."""
        if all(cell.is_done for cell in self._cells.values()):
            return
        self.interrupt()
        if not self.until(lambda: all(cell.is_done for cell in self._cells.values()), 10):
            self.restart(now=True)

    def restart(self, *, now: bool = False) -> None:
        """As the button does."""
        self._client.stop_channels()
        self._cells.clear()
        self._manager.restart_kernel(now=now)
        self._connect()

    def shut_down(self) -> None:
        """As a front end does when it closes the notebook: ask, and kill what has not ended after some seconds."""
        self._client.stop_channels()
        self._manager.shutdown_kernel()

    def close(self) -> None:
        """Leave nothing behind."""
        left = self.processes() if self._manager.is_alive() else []
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._manager.context.destroy(linger=0)
        assert until(lambda: all(is_gone(process.pid) for process in left), 10)
