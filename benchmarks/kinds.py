"""Which kind of worker is right for a task, measured and predicted: 29 tasks in a loop, in threads, in processes, in both.

    python benchmarks/kinds.py                 the table
    python benchmarks/kinds.py --json OUT      the figures, as tests/kinds.json has them
    python benchmarks/kinds.py --only sleep    rows whose name contains a word

Rates are tasks a second, the best of alternating rounds. "threads" is the best of 2, 8 and 32 threads; "processes" the better of
as many as there are CPUs and of 8; "both" 2 processes with 8 threads each. What is predicted comes from the figures that an
executor with ``backend="auto"`` has measured in its worker processes.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import json
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import poolbar
from poolbar._choice import GAIN
from poolbar._nature import Machine, rates

sys.path.insert(0, str(Path(__file__).parent))
from natures import natures

SERVER = """
import http.server, time
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(int(self.path[1:]) / 1000)
        self.send_response(200); self.send_header("Content-Length", "2000"); self.end_headers(); self.wfile.write(b"x" * 2000)
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 200
server = Server(("127.0.0.1", 0), Page)
print(server.server_port, flush=True)
server.serve_forever()
"""

WORK_SECONDS = 0.3
ROUNDS = 2
CPUS = 2


def in_threads(work: Any, threads: int) -> list[Any]:
    """Run tasks in threads of a worker process."""
    function, arguments = work
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, arguments))


def seconds(act: Any) -> float:
    """Time a call."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def figures_of(function: Any, argument: Any) -> Any:
    """Return what an executor measures of the tasks in its worker processes."""
    with poolbar.ProgressExecutor(CPUS, thread_safe=False, progress=False) as executor:
        results = executor.map(function, itertools.repeat(argument), buffersize=8)
        began = time.perf_counter()
        for _ in results:
            if executor.choice.figures is not None and time.perf_counter() - began > WORK_SECONDS:
                break
        results.close()
        return executor.choice.figures


def measured(function: Any, argument: Any) -> dict[str, float]:
    """Return rates."""
    one = min(seconds(lambda: function(argument)) for _ in range(3))
    most = 5000 if len(pickle.dumps(function(argument))) + len(pickle.dumps(argument)) < 1e6 else 64
    tasks = max(64, min(most, int(WORK_SECONDS / one)))  # enough for 32 threads
    inputs = [argument] * tasks
    best: dict[str, float] = {}

    def note(name: str, act: Any, count: int = tasks) -> None:
        best[name] = max(best.get(name, 0.0), count / seconds(act))

    def both(pool: Any) -> None:
        half = tasks // 2
        futures = [pool.submit(in_threads, (function, part), 8) for part in (inputs[:half], inputs[half:])]
        assert sum(len(future.result()) for future in futures) == tasks

    with (
        poolbar.ProcessPoolExecutor(CPUS, progress=False) as few,
        poolbar.ProcessPoolExecutor(8, progress=False) as many,
        poolbar.ThreadPoolExecutor(2, progress=False) as two,
        poolbar.ThreadPoolExecutor(8, progress=False) as eight,
        poolbar.ThreadPoolExecutor(32, progress=False) as more,
    ):
        for pool, count in ((few, CPUS), (many, 8)):
            list(pool.map(time.sleep, [0.1] * count))  # all are there
            list(pool.map(function, [argument] * count))
        for _ in range(ROUNDS):
            note("loop", lambda: [function(argument) for _ in range(max(2, tasks // 4))], max(2, tasks // 4))
            for name, pool in (("threads", two), ("threads", eight), ("threads", more), ("processes", few), ("processes", many)):
                note(name, lambda pool=pool: list(pool.map(function, inputs)))
            note("both", lambda: both(few))
    return best


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--json")
    options.add_argument("--only", default="")
    asked = options.parse_args()
    cases: list[dict[str, Any]] = []
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline())
        rate_names = " ".join(f"{name:>8}" for name in ("loop", "threads", "process", "both"))
        print(f"{'task':20} {'ms':>7} {'wait':>5} {'MB':>5} | {rate_names} | T/P  predicted")
        for name, (function, argument) in natures(port).items():
            if asked.only in name:
                case = {"name": name, "figures": figures_of(function, argument)._asdict(), "rates": measured(function, argument)}
                cases.append(case)
                show(case)
    finally:
        server.terminate()
        server.wait()
    if asked.json:
        Path(asked.json).write_text(json.dumps(cases, indent=1) + "\n")


def show(case: dict[str, Any]) -> None:
    """Print a row."""
    from poolbar._nature import Figures

    figures, found = Figures(**case["figures"]), case["rates"]
    expected = rates(figures, Machine(CPUS, gil=True, processes=8, threads=64))
    ratio, predicted = found["threads"] / found["processes"], expected.thread / expected.process
    verdict = "right" if (ratio > 1) == (predicted > 1) or 1 / 1.15 < ratio < 1.15 else "WRONG"
    if predicted >= GAIN:
        verdict += ", threads"
    print(
        f"{case['name']:20} {1e3 * figures.seconds:7.2f} {figures.waiting_share:5.2f} {figures.size / 1e6:5.1f} | "
        f"{found['loop']:8.0f} {found['threads']:8.0f} {found['processes']:8.0f} {found['both']:8.0f} | "
        f"{ratio:5.2f} {predicted:5.2f} {verdict}",
        flush=True,
    )


if __name__ == "__main__":
    main()
