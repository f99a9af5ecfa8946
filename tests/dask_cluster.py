"""A real dask scheduler on loopback, and worker processes that come and go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from conftest import environment, until

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

SETTINGS = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    # So long dask tries to reach a worker that was killed just now: when it hears of its end meanwhile, it goes on trying.
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
}

NO_POOLBAR = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "poolbar" or name.startswith("poolbar."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Finder())
"""


class Cluster:
    """A scheduler, which has no poolbar; workers are added one by one. All end with it.

    Args:
        directory: for its files.
        allowed_failures: a task that has killed more workers is given up.
    """

    def __init__(self, directory: Path, allowed_failures: int = 1) -> None:
        self._directory = directory
        self._errors = (directory / "stderr").open("w+")
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show",
            DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=str(allowed_failures), PYTHONPATH=self.site(NO_POOLBAR),
        )  # fmt: skip
        self.address: str = until(lambda: self._told("Scheduler at:"), 60).split()[-1]

    def site(self, code: str) -> str:
        """Return a PYTHONPATH for a process that runs code as it starts."""
        place = self._directory / f"site-{len(code)}"
        place.mkdir(exist_ok=True)
        (place / "sitecustomize.py").write_text(code)
        return os.pathsep.join([str(place), environment()["PYTHONPATH"]])

    def _start(self, what: str, *arguments: str, **changes: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", what, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=self._errors, cwd=self._directory, env=environment(**SETTINGS, **changes), start_new_session=True,
        )  # fmt: skip

    def _told(self, words: str) -> str | None:
        text = (self._directory / "stderr").read_text()
        return next((line for line in text.splitlines() if words in line), None)

    def add_worker(self, **changes: str) -> subprocess.Popen[bytes]:
        """Start a worker of one thread, without a nanny: what is killed stays dead."""
        worker = self._start(
            "worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1", "--local-directory",
            str(self._directory), "--death-timeout", "60", **changes,
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def threads(self) -> int:
        """Return how many threads the scheduler knows of."""
        import distributed

        with distributed.Client(self.address, set_as_default=False) as client:
            return sum(client.nthreads().values())

    def await_workers(self, number: int) -> None:
        """Wait until there are so many."""
        import distributed

        with distributed.Client(self.address, set_as_default=False) as client:
            assert until(lambda: len(client.nthreads()) == number, 60), (self._directory / "stderr").read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        for process in [*self.workers, self.scheduler]:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._errors.close()
