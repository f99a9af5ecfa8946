"""dask on three hosts: each is a network namespace, with an address and a link of its own that can be cut.

Not among the tests that pytest runs by itself: it makes network namespaces, and so needs root and Linux: `nox -s hosts`.
The addresses are known inside the namespaces alone; nothing of this machine's own network is touched.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conftest import environment, until
from dask_cluster import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOSTS = {"head": "10.213.7.1", "one": "10.213.7.2", "two": "10.213.7.3"}
SCHEDULER = f"tcp://{HOSTS['head']}:8786"
LIMITS = {  # after which dask takes a silent host for lost
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "5s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s",  # it takes no less than 11
}
BOUND = 60.0  # seconds: several times what dask needs to notice, and less than the test's own limit

# Squares numbers until a file appears, and says of each where it ran. The function is so large that it is scattered: what a host
# that is lost had of it, others must get from elsewhere.
SCRIPT = """
import itertools, os, sys, time
from functools import partial
import distributed, poolbar

def square(table, number):
    time.sleep(0.02)
    return number * number, distributed.get_worker().address

def numbers(file):
    for number in itertools.count():
        if os.path.exists(file):
            return
        yield number

if __name__ == "__main__":
    with poolbar.ProgressExecutor(backend="dask", address=sys.argv[1]) as executor:
        for result in executor.map(partial(square, bytes(100_000)), numbers(sys.argv[2])):
            print(*result, flush=True)
"""


def ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout


class Network:
    """Three hosts at one switch, which is on the head. What runs on them ends with it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._spaces = {host: f"poolbar-{os.getpid()}-{host}" for host in HOSTS}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._errors = (directory / "stderr").open("wb")

    def build(self) -> None:
        for space in self._spaces.values():
            ip("netns", "add", space)
            ip("-n", space, "link", "set", "lo", "up")
        head = self._spaces["head"]
        ip("-n", head, "link", "add", "switch", "type", "bridge")
        self._give("head", "switch")
        for host in "one", "two":
            ip("-n", head, "link", "add", host, "type", "veth", "peer", "name", "line", "netns", self._spaces[host])
            ip("-n", head, "link", "set", host, "master", "switch", "up")
            self._give(host, "line")

    def _give(self, host: str, link: str) -> None:
        ip("-n", self._spaces[host], "address", "add", f"{HOSTS[host]}/24", "dev", link)
        ip("-n", self._spaces[host], "link", "set", link, "up")

    def cut(self, host: str) -> None:
        """Cut the host's line, at its own end. All that runs there goes on."""
        ip("-n", self._spaces[host], "link", "set", "line", "down")

    def start(self, host: str, *command: str, output: Path | None = None) -> subprocess.Popen[bytes]:
        """Run Python on a host."""
        with open(output or os.devnull, "wb") as stdout:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self._spaces[host], sys.executable, *command],
                stdin=subprocess.DEVNULL, stdout=stdout, stderr=self._errors, cwd=self._directory, start_new_session=True,
                env=environment(**SETTINGS, **LIMITS, POOLBAR_PROGRESS="off", DASK_TEMPORARY_DIRECTORY=str(self._directory)),
            )  # fmt: skip
        self._processes.append(process)
        return process

    def start_scheduler(self) -> None:
        self.start("head", "-m", "dask", "scheduler", "--host", HOSTS["head"], "--port", "8786", "--no-dashboard", "--no-show")
        assert until(lambda: "Scheduler at:" in self.complaints(), BOUND), self.complaints()

    def start_worker(self, host: str) -> None:
        address = HOSTS[host]
        self.start(host, "-m", "dask", "worker", SCHEDULER, "--host", address, "--nthreads", "1", "--no-nanny", "--no-dashboard")

    def complaints(self) -> str:
        return (self._directory / "stderr").read_text()

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._errors.close()
        there = ip("netns", "list").split()
        for space in self._spaces.values():
            if space in there:
                ip("netns", "delete", space)  # and with it its links


class Run:
    """The script on the head, and what it has printed."""

    def __init__(self, network: Network, directory: Path) -> None:
        self._network = network
        self._output = directory / "output"
        self._enough = directory / "enough"
        script = directory / "script.py"
        script.write_text(SCRIPT)
        self._process = network.start("head", str(script), SCHEDULER, str(self._enough), output=self._output)

    def results(self) -> list[tuple[int, str]]:
        """Return the squares that have come, and which host each came from."""
        whole = self._output.read_text().rpartition("\n")[0].splitlines()
        by_address = {address: host for host, address in HOSTS.items()}
        told = (line.split() for line in whole)
        return [(int(square), by_address[address.partition("://")[2].partition(":")[0]]) for square, address in told]

    def hosts(self, since: int = 0) -> set[str]:
        return {host for _, host in self.results()[since:]}

    def wait_for(self, fact: Callable[[], bool]) -> None:
        assert until(lambda: fact() or self._process.poll() is not None, BOUND), self._network.complaints()
        assert fact(), self._network.complaints()

    def end(self) -> list[tuple[int, str]]:
        """Have it end, which takes a bounded time; return all results."""
        self._enough.touch()
        assert self._process.wait(BOUND) == 0, self._network.complaints()
        results = self.results()
        assert [square for square, _ in results] == [number * number for number in range(len(results))]
        return results


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    made = Network(tmp_path)
    try:
        made.build()
        made.start_scheduler()
        yield made
    finally:
        made.close()


def test_tasks_run_on_both_hosts(network: Network, tmp_path: Path) -> None:
    network.start_worker("one")
    network.start_worker("two")
    run = Run(network, tmp_path)
    run.wait_for(lambda: run.hosts() == {"one", "two"})
    run.end()


def test_a_run_survives_that_a_host_is_cut_off(network: Network, tmp_path: Path) -> None:
    network.start_worker("one")
    network.start_worker("two")
    run = Run(network, tmp_path)
    run.wait_for(lambda: run.hosts() == {"one", "two"})
    network.cut("two")
    known = len(run.results())
    # Results are in the order of the numbers: that many come only when those which the lost host had have come from the other.
    run.wait_for(lambda: len(run.results()) >= known + 100)
    run.wait_for(lambda: run.hosts(len(run.results()) - 20) == {"one"})
    run.end()


def test_a_host_that_joins_in_the_middle_of_a_run_gets_tasks(network: Network, tmp_path: Path) -> None:
    network.start_worker("one")
    run = Run(network, tmp_path)
    run.wait_for(lambda: len(run.results()) >= 10)
    assert run.hosts() == {"one"}
    network.start_worker("two")
    run.wait_for(lambda: "two" in run.hosts())
    run.end()


def test_a_host_that_joins_takes_over_from_one_that_is_cut_off(network: Network, tmp_path: Path) -> None:
    network.start_worker("one")
    run = Run(network, tmp_path)
    run.wait_for(lambda: len(run.results()) >= 10)
    network.cut("one")
    network.start_worker("two")
    run.wait_for(lambda: "two" in run.hosts())
    assert "two" in {host for _, host in run.end()[-3:]}
