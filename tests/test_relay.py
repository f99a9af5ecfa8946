"""What tasks in worker processes print, log and warn of arrives in this process, whole, in order and in time."""

from __future__ import annotations

import atexit
import contextlib
import enum
import io
import logging
import math
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import warnings
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import start, until

import poolbar
from poolbar.inside.locks import holding, holding_if_free
from poolbar.progress import bar
from poolbar.workers import process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

METHODS = pytest.mark.parametrize("method", ["poolbar", "loky", "loky_init_main", "spawn", "forkserver", "fork"])


@pytest.fixture(scope="module", autouse=True)
def _forkserver() -> None:
    forkserver.ensure_running()  # it keeps a pipe open; no test left that behind


def run(function: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """Run one task in a worker process, and let that end."""
    with poolbar.ProcessPoolExecutor(1, **{"idle_seconds": 0, **settings}) as executor:
        return executor.submit(function, *arguments).result(60)


# --- prints


def say(number: int) -> int:
    print("task", number)
    print("on stderr", number, file=sys.stderr)
    return number


def test_what_a_task_prints_is_here_before_its_result(processes: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(20):
        assert processes.submit(say, number).result(20) == number
        assert capsys.readouterr() == (f"task {number}\n", f"on stderr {number}\n")
    for number, value in enumerate(processes.map(say, range(300))):
        assert value == number
    out, err = capsys.readouterr()
    assert sorted(out.splitlines()) == sorted(f"task {number}" for number in range(300))
    assert sorted(err.splitlines()) == sorted(f"on stderr {number}" for number in range(300))


@METHODS
def test_prints_arrive_under_every_start_method(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(say, 1, mp_context=method) == 1
    assert capsys.readouterr() == ("task 1\n", "on stderr 1\n")


def count_aloud(worker: int, numbers: int) -> None:
    for number in range(numbers):
        print(worker, number)


def test_of_many_lines_that_two_workers_print_at_once_none_is_lost_or_out_of_order(
    processes: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    count = 60_000
    list(processes.map(count_aloud, range(2), [count] * 2, chunksize=1))
    lines = capsys.readouterr().out.splitlines()
    for worker in "01":
        assert [line for line in lines if line[0] == worker] == [f"{worker} {number}" for number in range(count)]


def print_parts(_: int) -> None:
    sys.stdout.write("no end")
    sys.stderr.write("nor ")
    sys.stderr.write("here")


def test_an_unfinished_line_ends_with_its_task(processes: Any, capsys: pytest.CaptureFixture[str]) -> None:
    processes.submit(print_parts, 0).result(20)
    assert capsys.readouterr() == ("no end\n", "nor here\n")


def print_oddly(_: int) -> None:
    print("x" * 10_000_000)
    sys.stdout.buffer.write(b"bytes \xff\n")
    print("\udc80 \N{SNOWMAN}", flush=True)
    print("a\nb\n\nc", end="\n\n", file=sys.stderr)
    sys.stdout.reconfigure(encoding="latin-1")
    print("\xe9", end="")


def test_long_odd_and_many_lines_in_one_print_arrive(processes: Any, capsys: pytest.CaptureFixture[str]) -> None:
    processes.submit(print_oddly, 0).result(20)
    out, err = capsys.readouterr()
    assert out == "x" * 10_000_000 + "\nbytes \\xff\n\\udc80 \N{SNOWMAN}\n\xe9\n"
    assert err == "a\nb\n\nc\n\n"


def count_and_die(numbers: int, how: str) -> None:
    count_aloud(0, numbers)
    if how == "exit":
        os._exit(1)
    os.kill(os.getpid(), signal.SIGKILL if how == "kill" else signal.SIGSEGV)


@pytest.mark.parametrize("how", ["exit", "kill", "crash"])
def test_what_a_task_prints_right_before_its_worker_dies_arrives(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(poolbar.WorkerCrashed):
        run(count_and_die, 900, how)
    assert capsys.readouterr().out == "".join(f"0 {number}\n" for number in range(900))


def print_at_the_end() -> None:
    threading.main_thread().join()
    for number in range(3000):
        print("thread", number)


def print_at_exit() -> None:
    for number in range(3000):
        print("hook", number)
    print("the end", end="")


def leave_behind() -> None:
    atexit.register(print_at_exit)
    threading.Thread(target=print_at_the_end).start()


def test_what_threads_and_exit_hooks_print_as_the_worker_ends_arrives(capsys: pytest.CaptureFixture[str]) -> None:
    run(leave_behind)
    told = [f"{name} {number}" for name in ("thread", "hook") for number in range(3000)]
    assert capsys.readouterr().out.splitlines() == [*told, "the end"]


def print_then_fail() -> None:
    for number in range(3000):
        print("line", number)
    print("part", end="")
    raise ValueError("no start")


def test_what_an_initializer_prints_before_it_raises_arrives(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(poolbar.BrokenExecutor, match="no start"):
        run(abs, 1, initializer=print_then_fail)
    assert capsys.readouterr().out.splitlines() == [*(f"line {number}" for number in range(3000)), "part"]
    (record,) = [record for record in caplog.records if record.name == "concurrent.futures"]
    assert record.message == "Exception in initializer:"
    assert "ValueError: no start" in (record.exc_text or "")


def print_to_dunder() -> None:
    print("past the relay", file=sys.__stdout__)


# the forkserver's stdout is that of its start
@pytest.mark.parametrize("method", ["poolbar", "loky", "loky_init_main", "spawn", "fork"])
def test_what_a_task_prints_to_the_original_stdout_is_not_lost(method: str, capfd: pytest.CaptureFixture[str]) -> None:
    run(print_to_dunder, mp_context=method)
    assert capfd.readouterr().out == "past the relay\n"


class Late(Exception):
    pass


def print_under_an_alarm(seed: int) -> int:
    """Print while a signal handler raises now and then, as those do who limit a function's time."""

    def end(*_: Any) -> None:
        raise Late

    signal.signal(signal.SIGALRM, end)
    pick = random.Random(seed)
    raised = 0
    limit = time.monotonic() + 0.5
    while time.monotonic() < limit:
        try:
            # And again: Python 3.14 may lose what a handler raises.
            signal.setitimer(signal.ITIMER_REAL, pick.uniform(0.0005, 0.003), 0.05)
            try:
                while True:
                    print("line" * pick.choice((1, 1, 1, 5000)))
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Late:
            raised += 1
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    return raised


def test_a_signal_handler_that_raises_in_the_middle_of_a_print_breaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with poolbar.ProcessPoolExecutor(2) as executor:
        assert all(raised > 3 for raised in executor.map(print_under_an_alarm, range(4)))
        assert executor.submit(say, 7).result(20) == 7
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "task 7"
    assert all(line.replace("line", "") == "" for line in lines[:-1] if len(line) % 4 == 0)


@pytest.mark.parametrize("take", [holding, holding_if_free])
def test_a_signal_handler_that_raises_leaves_no_lock_held(take: Callable[..., bool]) -> None:
    def end(*_: Any) -> None:
        raise Late

    lock: Any = threading.RLock()
    before = signal.signal(signal.SIGALRM, end)
    try:
        for number in range(1000):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.00001 * (1 + number % 20), 0.05)
                try:
                    while True:
                        take(lock, bool, 1)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Late:
                assert not lock._is_owned()
    finally:
        signal.signal(signal.SIGALRM, before)


def print_in_a_handler(_: int) -> int:
    told = 0

    def tell(*_: Any) -> None:
        nonlocal told
        told += 1
        sys.stdout.write(f"alarm {told}\n")

    signal.signal(signal.SIGALRM, tell)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    limit = time.monotonic() + 0.5
    while time.monotonic() < limit:
        sys.stdout.write("line\n")  # in one: print may be interrupted between the line and its end
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    return told


def test_a_signal_handler_may_print(processes: Any, capsys: pytest.CaptureFixture[str]) -> None:
    told = list(processes.map(print_in_a_handler, range(2)))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("alarm")]
    assert sorted(lines) == sorted(f"alarm {number + 1}" for count in told for number in range(count))


class Chatty:
    """Lives in a cycle: the collector ends it, anywhere."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        print("gone")


def collect_often() -> None:
    import gc

    gc.set_threshold(5, 2, 2)


def leave_cycles(number: int) -> list[list[int]]:
    for line in range(100):
        Chatty()
        print("line", line)
    return [[number]] * 3


def test_finalizers_may_print_while_events_and_outcomes_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    with poolbar.ProcessPoolExecutor(2, initializer=collect_often, idle_seconds=0) as executor:
        assert len(list(executor.map(leave_cycles, range(100)))) == 100
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("gone") == 100 * 100
    assert len(lines) == 2 * 100 * 100


# --- forks, and streams that tasks change


def fork_and_print() -> int:
    print("before", end=" ")
    held = sys.stdout
    child = os.fork()
    if child == 0:
        code = 1
        try:
            print("child")
            print("to what was held", file=held)
            logging.getLogger("child").warning("a record")
            warnings.warn("a warning", stacklevel=1)
            poolbar.report(0.5)
            with contextlib.redirect_stdout(io.StringIO()) as kept:
                grandchild = os.fork()
                if grandchild == 0:
                    print("grandchild")
                    os._exit(kept.getvalue() != "grandchild\n")
            code = os.waitpid(grandchild, 0)[1]
        finally:
            os._exit(code)
    code = os.waitpid(child, 0)[1]
    print("after")
    return code


def test_what_a_task_forks_prints_for_itself(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(fork_and_print) == 0
    out, err = capfd.readouterr()
    assert out == "child\nto what was held\nbefore after\n"
    assert "a record\n" in err
    assert "a warning" in err


def fork_beside_threads_that_print() -> None:
    stop = threading.Event()

    def print_on() -> None:
        while not stop.is_set():
            print("line")

    threads = [threading.Thread(target=print_on) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        child = os.fork()
        if child == 0:
            logging.getLogger("child").warning("a record")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    stop.set()
    for thread in threads:
        thread.join()


def test_a_fork_may_come_while_other_threads_of_the_task_print(capfd: pytest.CaptureFixture[str]) -> None:
    run(fork_beside_threads_that_print)
    out, err = capfd.readouterr()
    assert set(out.split("\n")) <= {"line", "lineline", ""}
    assert err.count("a record\n") == 50


def close_stdout(_: Any) -> int:
    sys.stdout.close()
    sys.stderr = None  # type: ignore[assignment]
    return os.getpid()


def test_a_stream_that_a_task_closes_is_there_again_for_the_next_executor(capsys: pytest.CaptureFixture[str]) -> None:
    with poolbar.ProcessPoolExecutor(1) as executor:
        closed = executor.submit(close_stdout, 1).result(20)
    with poolbar.ProcessPoolExecutor(1) as executor:
        assert executor.submit(os.getpid).result(20) == closed
        executor.submit(say, 5).result(20)
    assert capsys.readouterr() == ("task 5\n", "on stderr 5\n")


def leave_a_loud_thread() -> None:
    def print_on() -> None:
        while True:
            print("line")

    threading.Thread(target=print_on).start()


def test_a_worker_whose_threads_print_for_ever_is_ended_in_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(process, "RETIRE_SECONDS", 0.5)
    began = time.monotonic()
    run(leave_a_loud_thread)
    assert time.monotonic() - began < 20
    assert capsys.readouterr().out


# --- log records


class Level(enum.IntEnum):
    NOTICE = 35


class Stays:
    """Does not pickle, and has no text."""

    def __reduce__(self) -> Any:
        raise RuntimeError("stays")

    def __str__(self) -> str:
        raise RuntimeError("no text")


class ComesToNothing:
    """Pickles in a worker, and does not unpickle elsewhere."""

    def __reduce__(self) -> Any:
        return only_in, (os.getpid(),)


def only_in(pid: int) -> str:
    if pid != os.getpid():
        raise RuntimeError("another process")
    return "here"


def log(kind: str) -> int:
    logger = logging.getLogger("relay.tests")
    if kind == "plain":
        logger.warning("%s of %d", "one", 2, extra={"job": {"number": 7}, "odd": Stays()}, stack_info=True)
    elif kind == "error":
        try:
            raise_deep()
        except ZeroDivisionError:
            logger.exception("it failed")
    elif kind == "enum":

        class Local(enum.IntEnum):
            LOUD = 37

        logger.log(Level.NOTICE, "notice")
        logger.log(Local.LOUD, "loud")
    elif kind == "adapter":
        logging.LoggerAdapter(logger, {"by": "adapter"}).error("adapted")
    elif kind == "bad":
        logger.warning("%d", "x")
    elif kind == "extra":
        logger.warning("kept", extra={"gone": ComesToNothing()})
    elif kind == "levels":
        for level in (10, 20, 30):
            logger.log(level, "level %d", level)
            logging.getLogger("relay.tests.loud").log(level, "loud %d", level)
    return os.getpid()


def raise_deep() -> float:
    return 1 / 0


def test_a_log_record_keeps_what_it_says(processes: Any, caplog: pytest.LogCaptureFixture) -> None:
    pid = processes.submit(log, "plain").result(20)
    (record,) = caplog.records
    assert (record.name, record.levelname, record.message) == ("relay.tests", "WARNING", "one of 2")
    assert (record.process, record.processName != "MainProcess") == (pid, True)
    assert (record.filename, record.funcName, record.threadName) == ("test_relay.py", "log", "MainThread")
    assert record.job == {"number": 7}  # type: ignore[attr-defined]
    assert record.odd == "<Stays>"  # type: ignore[attr-defined]
    assert "in log\n" in (record.stack_info or "")


def test_a_log_record_keeps_the_text_of_its_traceback(processes: Any, caplog: pytest.LogCaptureFixture) -> None:
    processes.submit(log, "error").result(20)
    (record,) = caplog.records
    assert (record.levelno, record.message) == (logging.ERROR, "it failed")
    assert "in raise_deep\n" in (record.exc_text or "")
    assert "ZeroDivisionError: division by zero" in caplog.text


def test_odd_levels_adapters_and_extras_arrive(
    processes: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("enum", "adapter", "extra", "bad"):
        processes.submit(log, kind).result(20)
    told = [(record.levelno, type(record.levelno), record.message) for record in caplog.records]
    assert told == [(35, int, "notice"), (37, int, "loud"), (40, int, "adapted"), (30, int, "kept")]
    assert caplog.records[2].by == "adapter"  # type: ignore[attr-defined]
    err = capsys.readouterr().err
    assert "--- Logging error ---" in err
    assert "Message: '%d'" in err


@METHODS
def test_loggers_in_workers_have_the_levels_of_the_parent(method: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "relay.tests")
    caplog.set_level(logging.DEBUG, "relay.tests.loud")
    run(log, "levels", mp_context=method)
    assert caplog.messages == ["loud 10", "level 20", "loud 20", "level 30", "loud 30"]


def test_a_warm_worker_takes_the_levels_of_its_next_executor(caplog: pytest.LogCaptureFixture) -> None:
    seen = []
    for level in (logging.DEBUG, logging.ERROR, logging.INFO):
        caplog.set_level(level, "relay.tests")
        caplog.clear()
        with poolbar.ProcessPoolExecutor(1) as executor:
            pid = executor.submit(log, "levels").result(20)
        seen.append((pid, [message for message in caplog.messages if message.startswith("level")]))
    assert len({pid for pid, _ in seen}) == 1
    assert [len(messages) for _, messages in seen] == [3, 0, 2]


def test_a_filter_and_disabled_logging_in_the_parent_count(processes: Any, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("relay.tests")

    def refuse(record: logging.LogRecord) -> bool:
        return "one" not in record.getMessage()

    logger.addFilter(refuse)
    try:
        processes.submit(log, "plain").result(20)
        processes.submit(log, "adapter").result(20)
    finally:
        logger.removeFilter(refuse)
    logging.disable(logging.CRITICAL)
    try:
        processes.submit(log, "adapter").result(20)
    finally:
        logging.disable(logging.NOTSET)
    assert caplog.messages == ["adapted"]


def set_up_logging(force: bool) -> None:
    logging.basicConfig(format="own %(levelname)s %(message)s", force=force)


@pytest.mark.parametrize(("method", "force"), [("loky", False), ("fork", True)])
def test_a_handler_that_an_initializer_sets_up_is_used_instead(
    method: str, force: bool, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    run(log, "adapter", mp_context=method, initializer=set_up_logging, initargs=(force,))
    assert capsys.readouterr().err == "own ERROR adapted\n"
    assert caplog.messages == []


class Raises(logging.Handler):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def emit(self, record: logging.LogRecord) -> None:
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("broken"), SystemExit("broken")])
@pytest.mark.parametrize("action", ["always", "error"])
def test_a_handler_that_raises_breaks_no_executor(
    error: BaseException, action: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = Raises(error)
    logging.getLogger().addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter(action)
            with poolbar.ProcessPoolExecutor(1) as executor:
                executor.submit(log, "adapter").result(20)
                assert executor.submit(say, 1).result(20) == 1
    finally:
        logging.getLogger().removeHandler(handler)
    assert capsys.readouterr().out == "task 1\n"
    if action == "always":
        assert "broken" in str(told[0].message)


# --- warnings


class Own(UserWarning):
    pass


class Made(UserWarning):
    """Made of something else than its text."""

    def __init__(self, number: int, unit: str) -> None:
        super().__init__(number, unit)
        self.number = number

    def __str__(self) -> str:
        return f"made of {self.number}"


def warn(number: int) -> int:
    warnings.warn("often", Own, stacklevel=1)
    warnings.warn(f"of {number}", Own, stacklevel=1)
    warnings.warn(Made(number % 2, "m"), stacklevel=1)
    warnings.warn_explicit("from elsewhere", SyntaxWarning, "elsewhere.py", 3)
    with warnings.catch_warnings(record=True) as kept:
        warnings.simplefilter("always")
        warnings.warn("kept", Own, stacklevel=1)
    assert len(kept) == 1
    return number


def test_a_warning_is_shown_once_for_a_place_however_many_workers_warn() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        with poolbar.ProcessPoolExecutor(2) as executor:
            assert len(list(executor.map(warn, range(6), chunksize=1))) == 6
    texts = sorted(str(warning.message) for warning in told)
    assert texts == sorted(["often", *(f"of {number}" for number in range(6)), "made of 0", "made of 1", "from elsewhere"])
    by_text = {str(warning.message): warning for warning in told}
    assert by_text["often"].category is Own
    assert issubclass(by_text["made of 1"].category, Made)
    assert by_text["often"].filename == __file__
    assert (by_text["from elsewhere"].filename, by_text["from elsewhere"].lineno) == ("elsewhere.py", 3)


def test_warnings_of_tasks_are_seen_by_pytest_and_by_the_filters_here(processes: Any, recwarn: pytest.WarningsRecorder) -> None:
    warnings.simplefilter("always")
    warnings.filterwarnings("ignore", "of 1")
    warnings.filterwarnings("ignore", module="elsewhere")
    processes.submit(warn, 1).result(20)
    assert {str(warning.message) for warning in recwarn.list} <= {"often", "made of 1"}
    assert "often" in {str(warning.message) for warning in recwarn.list}


def warn_as_error(_: int) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            warnings.warn("raised there", Own, stacklevel=1)
        except Own as error:
            return str(error)
    return ""


def test_a_warning_that_is_an_error_in_the_worker_is_the_tasks(processes: Any, recwarn: pytest.WarningsRecorder) -> None:
    assert processes.submit(warn_as_error, 1).result(20) == "raised there"
    assert not recwarn.list


# --- all of it off


def say_all() -> None:
    print("printed")
    logging.getLogger("relay.tests").warning("logged")
    warnings.warn("warned", Own, stacklevel=1)
    from tqdm import tqdm

    for _ in tqdm(range(2), desc="drawn"):
        pass


def test_without_the_relay_workers_say_all_by_themselves(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    run(say_all, relay=False)
    out, err = capfd.readouterr()
    assert out == "printed\n"
    assert "logged\n" in err
    assert "Own: warned" in err
    assert "drawn: 100%" in err
    assert caplog.messages == []
    assert not recwarn.list


# --- bars


def draw_bars(number: int) -> int:
    from tqdm import tqdm

    with tqdm(total=2) as bar:
        bar.update()
        bar.refresh()
    return number


def test_a_forked_worker_does_not_wait_for_the_lock_that_its_parent_drew_under() -> None:
    from tqdm import tqdm

    held = threading.Event()
    done = threading.Event()

    def draw() -> None:
        with tqdm.get_lock():
            held.set()
            done.wait(60)

    drawing = threading.Thread(target=draw)
    drawing.start()
    try:
        assert held.wait(20)
        assert run(draw_bars, 3, mp_context="fork") == 3
    finally:
        done.set()
        drawing.join()


def die_while_drawing() -> None:
    from tqdm import tqdm

    with tqdm.get_lock():
        os.kill(os.getpid(), signal.SIGKILL)


@METHODS
def test_a_worker_that_is_killed_while_it_draws_does_not_stop_the_bars_of_its_parent(method: str) -> None:
    from tqdm import tqdm

    tqdm.get_lock()
    with pytest.raises(poolbar.WorkerCrashed):
        run(die_while_drawing, mp_context=method)

    def draw() -> None:
        with tqdm.get_lock():
            pass

    drawing = threading.Thread(target=draw, daemon=True)
    drawing.start()
    drawing.join(20)
    assert not drawing.is_alive()


ODD_BARS: dict[str, Any] = {
    "inf": {"total": math.inf}, "nan": {"total": math.nan}, "none": {"total": 0}, "less": {"total": -3},
    "lines": {"total": 5, "desc": "two\nlines", "unit": "\n"}, "numpy": {"total": np.int64(5)},
}  # fmt: skip


def draw_oddly(kind: str) -> None:
    from tqdm import tqdm

    if kind in ODD_BARS:
        with tqdm(**ODD_BARS[kind]) as bar:
            for _ in range(5):
                bar.update(np.float32(1))
                time.sleep(0.06)
        return
    if kind == "huge":
        poolbar.report(10**400)
        time.sleep(0.3)
        return
    for done in (math.nan, math.inf, -5, 1.0000001, 10**400):
        poolbar.report(done)
        poolbar.report(done, math.nan)
        poolbar.report(1, done)
        time.sleep(0.06)
    for no_number in ("1", b"1", None, []):
        with pytest.raises(TypeError):
            poolbar.report(no_number)  # type: ignore[arg-type]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("kind", [*ODD_BARS, "report", "huge"])
def test_odd_numbers_in_bars_of_tasks_stop_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(bar, "FIRST_SHOWN_SECONDS", 0.0)
    with poolbar.ProcessPoolExecutor(1, progress=True) as executor:
        executor.submit(draw_oddly, kind).result(20)
    assert "worker 1: " in terminal.getvalue()
    assert "100%" in terminal.getvalue().rsplit("\r", 1)[-1]


def test_a_print_while_another_thread_makes_a_bar_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    from tqdm import tqdm

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(bar, "FIRST_SHOWN_SECONDS", 0.0)
    monkeypatch.setattr(tqdm, "monitor_interval", 0)  # else there is a thread more from the first on
    with poolbar.ThreadPoolExecutor(1, progress=True) as executor:
        shown = threading.Event()
        running = executor.submit(shown.wait, 20)
        assert until(lambda: "running=1" in terminal.getvalue())
        made = tqdm.__new__(tqdm)  # as far as it is made when another thread may go on
        try:
            print("said", file=sys.stderr)
        finally:
            tqdm._instances.discard(made)
            shown.set()
        assert running.result(20)
    assert "said\n" in terminal.getvalue()


def test_a_lock_of_multiprocessing_may_be_set_for_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """As tqdm's own README does, for its bars in several processes."""
    from tqdm import tqdm

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(bar, "FIRST_SHOWN_SECONDS", 0.0)
    before = tqdm.get_lock()
    context = multiprocessing.get_context("spawn")
    tqdm.set_lock(context.RLock())
    try:
        with poolbar.ProcessPoolExecutor(
            2, context, tqdm.set_lock, (tqdm.get_lock(),), progress=True
        ) as executor:  # fmt: skip
            for _ in executor.map(draw_oddly, ["numpy"] * 4, chunksize=1):
                print("said here", file=sys.stderr)
    finally:
        tqdm.set_lock(before)
    assert terminal.getvalue().count("said here\n") == 4


# --- tasks that are never silent


def print_on(path: str | None) -> str | None:
    """Print until there is a file; without a path take a microsecond."""
    while path is not None and not os.path.exists(path):
        for _ in range(5000):
            print("line")
    return path


def test_a_task_that_prints_all_the_time_is_ended_when_its_time_is_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with poolbar.ProcessPoolExecutor(1, task_timeout=0.5) as executor:
        late = executor.submit(print_on, str(tmp_path / "never"))
        assert isinstance(late.exception(12), poolbar.TaskTimeout)
        assert executor.submit(say, 1).result(20) == 1
    assert set(capsys.readouterr().out.splitlines()) == {"line", "task 1"}


def test_a_task_that_prints_all_the_time_does_not_hold_up_those_behind_it(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with poolbar.ProcessPoolExecutor(2) as executor:
        start(executor, 2)
        results = executor.map(print_on, [str(gate), *[None] * 19], chunksize=10, ordered=False, timeout=12)
        try:
            assert [next(results) for _ in range(19)] == [None] * 19
        finally:
            gate.touch()
        assert list(results) == [str(gate)]
