"""Runs the interpreter's own tests of executors and of pools against poolbar, each in a process and with a time limit of its own.

    python compat/run_suite.py [--stdlib] [--contexts poolbar,fork,...] [--match WORD]

Exit code 0: everything passes that the stdlib's own classes pass, but for what stands in DEPARTURES.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
LIMIT_SECONDS = 120

DEPARTURES = {
    "test_killed_child": "reads _processes, and asks for a broken pool: here a dead worker fails its own task alone",
    "test_gh105829_should_not_deadlock_if_wakeup_pipe_full": "patches the stdlib's manager thread",
    "test_shutdown_deadlock_pickle": "reads _executor_manager_thread",
    "test_max_tasks_per_child_defaults_to_spawn_context": "reads _mp_context; the default is a context of its own, safe as it is",
    "test_python_finalization_error": "breaks threading's second thread; asks for a broken pool",
    "test_saturation": "counts _processes right after submit; here workers start in the background",
    "test_processes_terminate": "counts _processes right after submit; here workers start in the background",
    "test_failed_worker_replacement_breaks_pool": "reads _executor_manager_thread, and asks for a broken pool",
    "test_gc_during_max_tasks_worker_exit_gh152967": "reads _executor_manager_thread",
    "test_shutdown_no_wait_max_tasks_gh119592": "reads _executor_manager_thread",
    "test_shutdown_gh_132969_case_1": "reads _executor_manager_thread",
    "test_shutdown_gh_132969_case_2": "reads _executor_manager_thread",
    "test_force_shutdown_workers": "patches _force_shutdown",
    "test_force_shutdown_workers_invalid_op": "calls _force_shutdown",
    "test_force_shutdown_workers_stops_pool": "reads _executor_manager_thread",
    "test_kill_workers": "patches _force_shutdown",
    "test_terminate_workers": "patches _force_shutdown",
    "test_map_buffersize_when_buffer_is_full": "calls map() without an iterable: an error here",
    "test_map_buffersize_without_iterable": "calls map() without an iterable: an error here",
    "test_del_shutdown": "reads _executor_manager_thread and _call_queue",
    "test_shutdown_no_wait": "reads _executor_manager_thread and _call_queue",
}
"""Tests of process pools that look into the stdlib's class; one reason each."""

POOL_DEPARTURES = {
    "test_make_pool": "counts _pool right after the start; here workers start in the background",
    "ThreadPoolTestPool.test_terminate": "up to Python 3.12, asks that no task starts before terminate() right after the call",
    "test_pool_worker_lifetime": "counts _pool right after the start, and calls _repopulate_pool",
    "test_pool_worker_lifetime_early_close": "with fork: maxtasksperchild is refused then, as the stdlib's executor refuses it",
    "test_unpickleable_result": "asks that a lambda does not pickle; here it does",
    "test_map_unplicklable": "asks for the error that pickling raised; here it is the cause of NotPicklable",
    "test_imap_handle_iterable_exception": "asks for an iterable's error at the place of its chunk; here it comes at its own",
}
"""Tests of pools, of threads too."""


def listed() -> list[list[str]]:
    """Return module, class and method of each test."""
    output = subprocess.run([sys.executable, str(HERE / "stdlib_suite.py"), "list"], capture_output=True, text=True, check=False)
    if output.returncode:
        print(output.stderr)
    return [line.split() for line in output.stdout.splitlines()]


def run(which: str, test: list[str]) -> tuple[list[str], str, float, str]:
    """Run one test; return it with "ok", "FAILED", "TIME" or "skipped", seconds, and the output."""
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, str(HERE / "stdlib_suite.py"), "run", which, *test],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env={**os.environ, "POOLBAR_IDLE_SECONDS": "0"},  # the suite looks for processes left behind
    ) as process:  # fmt: skip
        try:
            output = process.communicate(timeout=LIMIT_SECONDS)[0]
            outcome = "skipped" if "SKIPPED" in output else "FAILED" if process.returncode else "ok"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, outcome = process.communicate()[0], "TIME"
    return test, outcome, time.monotonic() - began, output


def main() -> int:
    """Run the tests and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stdlib", action="store_true", help="run the stdlib's own classes")
    parser.add_argument("--contexts", default="thread,poolbar,loky,fork,spawn,forkserver")
    parser.add_argument("--match", default="")
    parser.add_argument("--at-once", type=int, default=4)
    options = parser.parse_args()
    tests = [test for test in listed() if any(is_of(test[1], context) for context in options.contexts.split(","))]
    tests = [test for test in tests if options.match in " ".join(test)]
    if not tests:
        print(f"0 tests: {sys.executable} has neither test.test_concurrent_futures nor test._test_multiprocessing")
        return 77
    which = "stdlib" if options.stdlib else "poolbar"
    counts: dict[str, int] = {}
    with ThreadPoolExecutor(options.at_once) as pool:
        for (_, cls, method), outcome, seconds, output in pool.map(lambda test: run(which, test), tests):
            reason = POOL_DEPARTURES.get(f"{cls}.{method}") or POOL_DEPARTURES.get(method)
            reason = reason or (None if "ThreadPool" in cls else DEPARTURES.get(method))
            excused = outcome in ("FAILED", "TIME") and reason
            word = "departure" if excused else outcome
            counts[word] = counts.get(word, 0) + 1
            print(f"{word:9} {seconds:6.1f} s  {cls}.{method}" + (f"  ({reason})" if excused else ""), flush=True)
            if outcome in ("FAILED", "TIME") and not excused:
                print(output, flush=True)
    print(f"{which}, Python {sys.version.split()[0]}: " + ", ".join(f"{n} {word}" for word, n in sorted(counts.items())))
    return 1 if counts.get("FAILED") or counts.get("TIME") else 0


def is_of(cls: str, context: str) -> bool:
    """Tell whether a class of the suite runs in this kind of pool."""
    if context == "thread":
        return cls.startswith("ThreadPool")
    if context == "fork" and cls.startswith("ProcessPoolForkserver"):
        return False
    return cls.startswith(f"ProcessPool{context.capitalize()}")


if __name__ == "__main__":
    sys.exit(main())
