"""The checks of a backend's contract."""

from __future__ import annotations

import contextlib
import io
import itertools
import operator
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from typing import TYPE_CHECKING, Any

from .. import _executor
from .._broken import BrokenExecutor
from .._errors import NotPicklable
from ..backends import Backend
from . import calls

if TYPE_CHECKING:
    from collections.abc import Iterator

Check = Callable[[Backend], None]

PATIENCE = 10.0
"""Seconds in which what must come comes."""

LARGE = 4 << 20
"""Bytes of what goes there and back in one piece."""


def demand(fact: object, words: str) -> None:
    """Raise AssertionError with these words unless something is true. An assert would be gone under ``python -O``."""
    if not fact:
        raise AssertionError(words)


@contextlib.contextmanager
def closing(backend: Backend) -> Iterator[Backend]:
    """Close a backend at the end."""
    try:
        yield backend
    finally:
        backend.close()


def executor_over(backend: Backend, **settings: Any) -> _executor.ProgressExecutor:
    """Return an executor that hands its batches to a backend, and closes it."""
    return _executor.ProgressExecutor(backend=backend, **{"progress": False, **settings})


# --- of a backend alone


def arguments_and_results_arrive_as_they_are(backend: Backend) -> None:
    """Bytes, None and plain tuples, also large ones."""
    with closing(backend):
        given = b"bytes", None, (1, "two", (3.0, True)), b""
        demand(
            backend.submit(calls.same, *given).result() == given, "the arguments of a call changed on their way there and back"
        )
        large = os.urandom(LARGE)
        demand(backend.submit(calls.same, large).result() == (large,), "a large argument changed on its way there and back")


def an_error_of_a_call_is_its_futures(backend: Backend) -> None:
    """With its type, which the parent looks at."""
    with closing(backend):
        error = backend.submit(calls.fail, "some text").exception()
        demand(isinstance(error, LookupError), f"a call raised LookupError, and its future has {error!r}")
        demand("some text" in str(error), f"the error of a call has lost its text: {error!r}")
        demand(backend.submit(calls.same).result() == (), "after a call that raised, none runs")


def what_was_put_arrives_in_its_place(backend: Backend) -> None:
    """However often, small and large, before and after other arguments."""
    with closing(backend):
        small, large = os.urandom(10), os.urandom(LARGE)
        first, second = backend.put(small), backend.put(large)
        for _ in range(3):
            found = backend.submit(calls.same, b"before", first, None, second, b"after").result()
            demand(found == (b"before", small, None, large, b"after"), "what was put did not arrive as it was")


def slots_is_a_number_that_is_known_at_once(backend: Backend) -> None:
    """It is asked between any two batches. None may be there yet."""
    with closing(backend):
        began = time.monotonic()
        for _ in range(100):
            slots = backend.slots()
            demand(type(slots) is int and slots >= 0, f"slots() is a whole number, not {slots!r}")
        demand(time.monotonic() - began < 1, "slots() waits for something")
        backend.watch(lambda: None)


def submit_does_not_wait_for_the_call(backend: Backend) -> None:
    """What the parent does meanwhile is its own affair."""
    with closing(backend):
        backend.submit(calls.same).result()  # what there is to start has started
        future = backend.submit(time.sleep, 0.5)
        demand(not future.done(), "submit waits until the call has ended")
        demand(future.result() is None, "a call that returns None has another result")


def any_thread_may_submit(backend: Backend) -> None:
    """Several at the same time."""
    with closing(backend):
        found: list[list[Any]] = []

        def submit(thread: int) -> None:
            futures = [backend.submit(calls.same, b"", (thread, number)) for number in range(25)]
            found.append([future.result()[1] for future in futures])

        threads = [threading.Thread(target=submit, args=(number,), daemon=True) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        demand(sorted(found) == [[(thread, n) for n in range(25)] for thread in range(4)], "results came to the wrong futures")


def a_futures_callback_is_called_once(backend: Backend) -> None:
    """Also where the call raises, and where it has ended before."""
    with closing(backend):
        called: list[Future[Any]] = []
        futures = [backend.submit(calls.same), backend.submit(calls.fail, "")]
        for future in futures:
            future.add_done_callback(called.append)
        wait(futures)
        end = threading.Event()
        for future in futures:
            future.add_done_callback(lambda _: end.set())
        demand(end.wait(PATIENCE), "a callback that is added to an ended future is not called")
        deadline = time.monotonic() + PATIENCE
        while len(called) < len(futures) and time.monotonic() < deadline:
            time.sleep(0.01)
        demand(sorted(map(id, called)) == sorted(map(id, futures)), "each callback is called once, with its future")


def a_cancelled_future_ends(backend: Backend) -> None:
    """The call may run all the same; what it is after must not wait."""
    with closing(backend):
        futures = [backend.submit(time.sleep, 0.05) for _ in range(10)]
        cancelled = [future for future in reversed(futures) if future.cancel()]
        for future in cancelled:
            demand(future.cancelled(), "cancel() returned True, and the future is not cancelled")
            with contextlib.suppress(CancelledError):
                future.result()
        demand(backend.submit(calls.same).result() == (), "after calls that were cancelled, none runs")


def a_line_delivers_what_is_sent(backend: Backend) -> None:
    """All of it once, from several calls, with the same arguments; it pickles."""
    with closing(backend):
        heard: dict[str, list[bytes]] = {"first": [], "second": []}
        ended = threading.Semaphore(0)

        def deliver(key: str, data: bytes) -> None:
            heard[key].append(data)
            ended.release()

        line = backend.line(deliver)
        if line is None:
            return  # all comes with the result
        pickle.dumps(line)
        futures = [backend.submit(calls.send, line, key, 100) for key in heard]
        demand([future.result() for future in futures] == [100, 100], "a line cannot be used where calls run")
        for _ in range(200):
            demand(ended.acquire(timeout=PATIENCE), f"of 200 records that were sent, {sum(map(len, heard.values()))} came")
        numbers = sorted(b"%d" % number for number in range(100))
        found = {key: sorted(records) for key, records in heard.items()}
        demand(found == {"first": numbers, "second": numbers}, "a line delivered something else than was sent")


# --- of an executor over it


def tasks_have_their_results_in_order(backend: Backend) -> None:
    """Tiny ones, by map and by submit."""
    with executor_over(backend) as executor:
        found = list(executor.map(operator.neg, range(3000)))
        demand(found == [-number for number in range(3000)], "map's results are wrong")
        futures = [executor.submit(divmod, number, 7) for number in range(500)]
        demand([future.result() for future in futures] == [divmod(n, 7) for n in range(500)], "submit's results are wrong")


def a_generator_is_pulled_as_far_as_its_window(backend: Backend) -> None:
    """It may have no end; and who leaves it early has the executor for other tasks."""
    with executor_over(backend) as executor:
        pulled = itertools.count()
        run = executor.map(calls.identity, (next(pulled) for _ in itertools.count()), buffersize=10)
        demand([next(run) for _ in range(50)] == list(range(50)), "map's results are wrong")
        demand(next(pulled) <= 62, "the generator was pulled further than the window")
        del run
        demand(executor.submit(calls.identity, 1).result() == 1, "after a run that was left, no task runs")


def an_error_of_a_task_is_its_own(backend: Backend) -> None:
    """With the traceback from where it ran."""
    with executor_over(backend) as executor:
        futures = [executor.submit(calls.fail_at_7, number) for number in range(20)]
        error = futures[7].exception()
        demand(isinstance(error, LookupError), f"a task raised LookupError, and its future has {error!r}")
        demand("fail_at_7" in str(error and error.__cause__), "the error of a task has no traceback from where it ran")
        others = [future.result() for future in futures if future is not futures[7]]
        demand(others == [*range(7), *range(8, 20)], "an error of one task changed others' results")


def what_does_not_pickle_fails_alone(backend: Backend) -> None:
    """An argument, and a result."""
    with executor_over(backend) as executor:
        futures = [
            executor.submit(calls.identity, threading.Lock()),
            executor.submit(calls.unpicklable, 0),
            executor.submit(calls.identity, 1),
        ]
        for future in futures[:2]:
            error = future.exception()
            demand(isinstance(error, NotPicklable), f"what does not pickle is NotPicklable, not {error!r}")
        demand(futures[2].result() == 1, "beside what does not pickle, no task runs")


def what_tasks_print_arrives_once(backend: Backend) -> None:
    """In whole lines, on the parent's stdout."""
    here = io.StringIO()
    before, sys.stdout = sys.stdout, here
    try:
        with executor_over(backend) as executor:
            demand(list(executor.map(calls.say, range(30))) == list(range(30)), "map's results are wrong")
    finally:
        sys.stdout = before
    found = sorted(here.getvalue().splitlines())
    demand(found == sorted(f"line {number}" for number in range(30)), f"what 30 tasks printed arrived as {found}")


def an_initializer_runs_before_tasks(backend: Backend) -> None:
    """Wherever they run."""
    key = os.urandom(8).hex()
    with executor_over(backend, initializer=calls.prepare, initargs=(key,)) as executor:
        found = list(executor.map(calls.times_prepared, [key] * 50, chunksize=1))
    demand(set(found) == {1}, f"where tasks run, the initializer has run {sorted(set(found))} times, not once")


def an_initializer_that_raises_breaks_the_executor(backend: Backend) -> None:
    """And its text is told."""
    with executor_over(backend, initializer=calls.fail, initargs=("no database",)) as executor:
        error = executor.submit(calls.identity, 1).exception()
        demand(isinstance(error, BrokenExecutor), f"the initializer raised, and a task has {error!r}")
        demand("no database" in str(error), f"the error does not say what the initializer raised: {error}")


CHECKS: tuple[Check, ...] = (
    arguments_and_results_arrive_as_they_are,
    an_error_of_a_call_is_its_futures,
    what_was_put_arrives_in_its_place,
    slots_is_a_number_that_is_known_at_once,
    submit_does_not_wait_for_the_call,
    any_thread_may_submit,
    a_futures_callback_is_called_once,
    a_cancelled_future_ends,
    a_line_delivers_what_is_sent,
    tasks_have_their_results_in_order,
    a_generator_is_pulled_as_far_as_its_window,
    an_error_of_a_task_is_its_own,
    what_does_not_pickle_fails_alone,
    what_tasks_print_arrives_once,
    an_initializer_runs_before_tasks,
    an_initializer_that_raises_breaks_the_executor,
)
