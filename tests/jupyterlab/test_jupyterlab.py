"""In JupyterLab: a real server and a real browser, and what a person sees on the page.

Not among the tests that pytest runs by itself: it needs Chromium, and `nox -s notebook` installs the rest.
Where NOTEBOOK_PICTURE names a file, a picture of a notebook in the middle of a run is put there.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import nbformat
import psutil
import pytest
from conftest import children, environment, is_gone, is_tracker, lines, until
from playwright.sync_api import expect, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PICTURE = os.environ.get("NOTEBOOK_PICTURE")
WIDTH, HEIGHT = 900, 500
TO_START_SECONDS = 60
IMPORTS = "import os, time\nimport poolbar, tasks\nfrom poolbar import ProcessPoolExecutor"
SETTINGS = {
    # no dialog that asks whether news may be fetched, and all cells in the page, seen or not
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}

expect.set_options(timeout=20_000)  # milliseconds


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> None:
    """Not after each test, as elsewhere: a browser starts and ends processes as it pleases. See ``_nothing_at_the_end``."""


@pytest.fixture(scope="module")
def _nothing_at_the_end(_trackers: None) -> Iterator[None]:
    def threads() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if not thread.name.startswith("pytest_timeout")}

    before, processes = threads(), children()
    yield
    until(lambda: threads() <= before and children() <= processes, 20)
    assert threads() - before == set()
    assert [psutil.Process(pid).cmdline() for pid in children() - processes] == []


class Server:
    """JupyterLab, with all that it writes in a directory of the test's."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.root.mkdir()
        for name, settings in SETTINGS.items():
            path = directory / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(settings))
        places = {
            "HOME": directory, "IPYTHONDIR": directory / "ipython", "JUPYTERLAB_SETTINGS_DIR": directory / "settings",
            "JUPYTERLAB_WORKSPACES_DIR": directory / "workspaces", "JUPYTER_CONFIG_DIR": directory / "config",
            "JUPYTER_DATA_DIR": directory / "data", "JUPYTER_RUNTIME_DIR": directory / "runtime",
        }  # fmt: skip
        variables = environment(**{name: str(path) for name, path in places.items()})
        for name in ("PYTEST_CURRENT_TEST", "PYTHONUNBUFFERED"):  # a kernel would notice
            variables.pop(name, None)
        self.token = secrets.token_hex()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._log = directory / "log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
                    f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={self.root}",
                    f"--IdentityProvider.token={self.token}",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables, cwd=directory,
            )  # fmt: skip
        self._kernels: list[psutil.Process] = []

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            assert self.process.poll() is None, self._log.read_text()
            with suppress(OSError):
                self.ask("GET", "status")
                return True
            return False

        assert until(is_ready, TO_START_SECONDS), self._log.read_text()

    def ask(self, method: str, path: str) -> Any:
        """Call the server's own interface."""
        request = urllib.request.Request(
            f"{self.url}/api/{path}", method=method, headers={"Authorization": f"token {self.token}"}
        )
        # Whatever proxy is set up is not for this.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    def processes(self) -> list[psutil.Process]:
        """Return kernels, their workers, and what else there is."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def end_kernels(self) -> None:
        for session in self.ask("GET", "sessions"):
            self.ask("DELETE", f"sessions/{session['id']}")
        assert until(lambda: not self.processes(), 20)

    def close(self) -> None:
        left = self.processes() if self.process.poll() is None else []
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for process in left:
            with suppress(psutil.NoSuchProcess):
                if not is_tracker(process):  # these end by themselves, and remove the semaphores that the others have left
                    process.kill()
        assert until(lambda: all(is_gone(process.pid) for process in left))


@pytest.fixture(scope="module")
def server(_nothing_at_the_end: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("jupyterlab"))
    try:
        made.wait_until_ready()
        yield made
    finally:
        made.close()


def is_browser(pid: int) -> bool:
    """Tell whether a process is one of the browser's; those come and go."""
    try:
        return "chrom" in psutil.Process(pid).name()
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def browser(_nothing_at_the_end: None) -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.fail(f"NOT TESTED: none of {', '.join(BROWSERS)} is on PATH (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        others = children()
        arguments = ["--no-proxy-server", "--disable-dev-shm-usage", "--disable-gpu"]
        started = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield started
        finally:
            own = {pid for pid in children() - others if is_browser(pid)}
            started.close()
            assert until(lambda: all(map(is_gone, own)), 20)  # some are nobody's children by then


class Lab:
    """A notebook in the browser."""

    def __init__(self, server: Server, page: Page, cells: list[str]) -> None:
        self.server = server
        self.page = page
        content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(dedent(cell).strip()) for cell in cells])
        content.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        name = f"{secrets.token_hex(4)}.ipynb"
        nbformat.write(content, server.root / name)
        # One document alone, without the file browser and tabs.
        page.goto(f"{server.url}/doc/tree/{name}?token={server.token}")
        expect(page.locator(".jp-CodeCell")).to_have_count(len(cells), timeout=1000 * TO_START_SECONDS)
        self.wait_until_idle()

    def wait_until_idle(self) -> None:
        expect(self.page.locator(".jp-Notebook-ExecutionIndicator")).to_have_attribute("data-status", "idle", timeout=60_000)

    def choose(self, menu: str, item: str) -> None:
        """Take something from the menu at the top."""
        self.page.locator(".lm-MenuBar-itemLabel", has_text=menu).and_(self.page.get_by_text(menu, exact=True)).click()
        self.page.locator(".lm-Menu-itemLabel").get_by_text(item, exact=True).click()

    def run_all(self) -> None:
        """Run all cells. JupyterLab does nothing where it is asked for that while it gets ready: it is asked again."""
        for _ in range(5):
            self.choose("Run", "Run All Cells")
            if until(lambda: "[ ]" not in self.cell(0).locator(".jp-InputArea-prompt").inner_text(), 5):
                return
        raise AssertionError("no cell was run")

    def run_cell(self, number: int) -> None:
        self.cell(number).locator(".jp-InputArea-prompt").click()
        self.page.keyboard.press("Shift+Enter")

    def cell(self, number: int) -> Locator:
        return self.page.locator(".jp-CodeCell").nth(number)

    def output(self, number: int) -> Locator:
        """Return what stands under a cell."""
        return self.cell(number).locator(".jp-OutputArea-output")

    def printed(self, number: int) -> list[str]:
        """Return the lines that were printed under a cell. Those from after the bar has appeared stand below it, apart."""
        texts = self.cell(number).locator('[data-mime-type="application/vnd.jupyter.stdout"]').all_inner_texts()
        return [line for text in texts for line in text.splitlines() if line.strip()]

    def wait_for_end_of(self, number: int) -> None:
        """Wait until a cell has its number: a star stands there before."""
        expect(self.cell(number).locator(".jp-InputArea-prompt")).to_have_text(re.compile(r"\[\d+\]:"), timeout=60_000)

    def kernel(self) -> psutil.Process:
        [found] = [
            process for process in psutil.Process(self.server.process.pid).children() if "ipykernel_launcher" in process.cmdline()
        ]
        return found


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    try:
        yield context.new_page()
    finally:
        context.close()


@pytest.fixture
def opened(server: Server, page: Page) -> Iterator[Any]:
    """Open a notebook with these cells; its kernel ends with the test."""
    with ExitStack() as stack:
        stack.callback(server.end_kernels)
        yield lambda *cells: Lab(server, page, list(cells))


def test_the_bar_under_a_cell_ends_at_a_hundred_percent_with_the_counts(opened: Any) -> None:
    lab = opened(
        IMPORTS,
        "executor = ProcessPoolExecutor(2)\nresults = list(executor.map(tasks.nap, [0.1] * 24, desc='First'))",
        "results = list(executor.map(tasks.nap, [0.1] * 30, desc='Second'))",
    )
    lab.run_all()
    lab.wait_for_end_of(2)
    for number, name, total in ((1, "First", 24), (2, "Second", 30)):
        output = lab.output(number)
        expect(output).to_have_count(1)
        expect(output).to_contain_text(f"{name}: 100%")
        expect(output).to_contain_text(f"{total}/{total}")
        bar = output.locator(".progress-bar")
        expect(bar).to_have_attribute("style", re.compile("width: 100%"))
        expect(bar).to_contain_class("progress-bar-success")
    expect(lab.output(0)).to_have_count(0)


def test_what_tasks_print_stands_under_the_cell_that_runs_them(opened: Any) -> None:
    lab = opened(
        IMPORTS,
        """
        executor = ProcessPoolExecutor(2)
        def shout(number):
            print("task", number, end=" ")
            time.sleep(0.05)
            print("has run")
        """,
        "results = list(executor.map(shout, range(10)))",
        "results = list(executor.map(shout, range(10, 40)))",
        "print('the end')",
    )
    lab.run_all()
    lab.wait_for_end_of(4)
    expected = [sorted(f"task {n} has run" for n in numbers) for numbers in (range(10), range(10, 40))]
    assert [sorted(lab.printed(number)) for number in range(5)] == [[], [], *expected, ["the end"]]
    expect(lab.output(3).filter(has_text="30/30")).to_be_visible()


def test_an_interrupt_by_the_keyboard_ends_the_run_and_the_next_cell_works(opened: Any, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    lab = opened(
        IMPORTS,
        f"""
        def task(number):
            tasks.note({str(notes)!r}, number)
            time.sleep(600)
        with ProcessPoolExecutor(2) as executor:
            list(executor.map(task, range(100)))
        """,
        "with ProcessPoolExecutor(2) as executor:\n    print(sum(executor.map(tasks.square, range(10))))",
    )
    lab.run_all()
    assert until(lambda: len(lines(notes)) == 2, 60)
    expect(lab.output(1).locator(".progress-bar")).to_have_count(1)
    lab.cell(1).locator(".jp-InputArea-prompt").click()  # the letters are for the notebook, not for a cell's text
    began = time.monotonic()
    lab.page.keyboard.press("i")
    lab.page.keyboard.press("i")
    expect(lab.output(1).last).to_contain_text("KeyboardInterrupt")
    print(f"KeyboardInterrupt was seen {time.monotonic() - began:.2f} s after the keys")
    assert time.monotonic() - began < 10
    expect(lab.output(2)).to_have_count(0)
    lab.wait_until_idle()
    lab.run_cell(2)
    expect(lab.output(2)).to_have_text("285")


def test_a_restart_of_the_kernel_leaves_no_worker_and_the_next_run_works(opened: Any, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    lab = opened(
        IMPORTS,
        f"""
        executor = ProcessPoolExecutor(2)
        results = executor.map(lambda n: (tasks.note({str(notes)!r}, n), time.sleep(600)), range(4))
        """,
    )
    lab.run_all()
    assert until(lambda: len(lines(notes)) == 2, 60)
    kernel = lab.kernel()
    processes = [kernel, *kernel.children(recursive=True)]
    assert len(processes) >= 3
    lab.choose("Kernel", "Restart Kernel…")
    lab.page.locator(".jp-Dialog .jp-mod-accept").click()
    assert until(lambda: all(is_gone(process.pid) or not process.is_running() for process in processes), 30)
    lab.wait_until_idle()
    lab.run_cell(0)
    lab.wait_for_end_of(0)
    assert lab.kernel() != kernel


@pytest.mark.skipif(not PICTURE, reason="only where NOTEBOOK_PICTURE names a file")
def test_a_picture_is_taken_in_the_middle_of_a_run(opened: Any) -> None:
    lab = opened(
        """
        import time
        from poolbar import ProcessPoolExecutor

        def tile(number):
            time.sleep(0.05)
            if number % 10 == 5:
                print(f"tile {number} is mostly cloud")
            return number ** 2
        """,
        """
        with ProcessPoolExecutor() as executor:
            areas = list(executor.map(tile, range(120), desc="tiles"))
        """,
    )
    lab.run_all()
    expect(lab.output(1).filter(has_text="tile 45 is mostly cloud")).to_be_visible()
    lab.page.locator(".jp-Notebook").screenshot(path=PICTURE)
    assert Path(str(PICTURE)).stat().st_size < 150_000
