"""Whatever is wrong is told clearly, at the right place; nothing hangs, nothing else is lost."""

from __future__ import annotations

import pickle
import sys
import threading
import types
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

import pytest
import tasks
from conftest import KINDS, Gate
from tasks import NoTrip, OneWay, TwoArguments

import poolbar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# --- settings

BAD_KEYWORDS = [
    ("max_workers", 0), ("max_workers", -1), ("max_workers", 1.5), ("max_workers", "many"), ("max_workers", True),
    ("backend", "gpu"), ("backend", 3),
    ("progress", "perhaps"), ("progress", 3),
    ("mp_context", "teleport"), ("mp_context", 3),
    ("idle_seconds", -1), ("idle_seconds", "soon"), ("idle_seconds", float("nan")), ("idle_seconds", float("inf")),
    ("idle_seconds", True), ("desc", 3),
]  # fmt: skip


@pytest.mark.parametrize(("keyword", "value"), BAD_KEYWORDS)
def test_a_bad_keyword_is_an_error_that_names_it_and_its_value(keyword: str, value: Any) -> None:
    with pytest.raises(poolbar.SettingError) as caught:
        poolbar.ProgressExecutor(**{keyword: value})
    assert isinstance(caught.value, ValueError)
    assert keyword in str(caught.value)
    assert repr(value) in str(caught.value)


BAD_VARIABLES = [
    ("POOLBAR_MAX_WORKERS", "0", "greater than 0"), ("POOLBAR_MAX_WORKERS", "many", "whole number"),
    ("POOLBAR_MAX_WORKERS", "2.5", "whole number"),
    ("POOLBAR_BACKEND", "gpu", "auto, process, thread, interpreter (Python 3.14 or newer), dask"),
    ("POOLBAR_PROGRESS", "perhaps", "auto, bar (also on"),
    ("POOLBAR_CHUNKSIZE", "0", "greater than 0"), ("POOLBAR_CHUNKSIZE", "big", "whole number"),
    ("POOLBAR_BUFFERSIZE", "0", "greater than 0"), ("POOLBAR_BUFFERSIZE", "-5", "greater than 0"),
    ("POOLBAR_START_METHOD", "teleport", "spawn"),
    ("POOLBAR_IDLE_SECONDS", "soon", "seconds, 0 or more"), ("POOLBAR_IDLE_SECONDS", "-1", "0 or more"),
    ("POOLBAR_IDLE_SECONDS", "nan", "0 or more"),
]  # fmt: skip


@pytest.mark.parametrize(("variable", "value", "allowed"), BAD_VARIABLES)
def test_a_bad_variable_is_an_error_that_names_it_its_value_and_what_is_allowed(
    variable: str, value: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError) as caught:
        poolbar.ProgressExecutor()
    assert variable in str(caught.value)
    assert repr(value) in str(caught.value)
    assert allowed in str(caught.value)


def test_a_keyword_beats_a_bad_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLBAR_MAX_WORKERS", "many")
    with poolbar.ProgressExecutor(2) as executor:
        assert executor._max_workers == 2


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_keyword_is_a_type_error(kind: str) -> None:
    with pytest.raises(TypeError, match="workers"):
        KINDS[kind](workers=2)  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", KINDS)
def test_an_initializer_that_is_not_callable_is_a_type_error(kind: str) -> None:
    with pytest.raises(TypeError, match="initializer"):
        KINDS[kind](initializer=5)  # type: ignore[arg-type]


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-1, ValueError), ("3", TypeError), (1.5, TypeError)])
def test_a_bad_max_tasks_per_child_is_an_error(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="max_tasks_per_child"):
        poolbar.ProcessPoolExecutor(max_tasks_per_child=value)


def test_max_tasks_per_child_and_fork_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="max_tasks_per_child"):
        poolbar.ProcessPoolExecutor(mp_context="fork", max_tasks_per_child=2)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python has sub-interpreters")
def test_interpreters_need_a_newer_python_and_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(poolbar.SettingError, match=r"backend='interpreter' needs Python 3\.14 or newer; this is 3"):
        poolbar.ProgressExecutor(backend="interpreter")
    monkeypatch.setenv("POOLBAR_BACKEND", "interpreter")
    with pytest.raises(poolbar.SettingError, match=r"needs Python 3\.14"):
        poolbar.ProgressExecutor()
    assert poolbar.ProcessPoolExecutor().choice.kind == "process"


def test_threads_and_what_only_processes_can_do_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="max_tasks_per_child"):
        poolbar.ProgressExecutor(backend="thread", max_tasks_per_child=2)


# --- map and submit


@pytest.mark.parametrize("keyword", ["chunksize", "buffersize"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_size_below_one_is_a_value_error_at_the_call(pool: poolbar.ProgressExecutor, keyword: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"{keyword}.*{value}"):
        pool.map(tasks.same, [1], **{keyword: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("keyword", ["chunksize", "buffersize"])
@pytest.mark.parametrize("value", [1.5, "big", True])
def test_a_size_that_is_no_whole_number_is_an_error_at_the_call(pool: poolbar.ProgressExecutor, keyword: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=keyword):
        pool.map(tasks.same, [1], **{keyword: value})


def test_a_map_without_an_iterable_is_a_type_error(pool: poolbar.ProgressExecutor) -> None:
    with pytest.raises(TypeError, match="at least one iterable"):
        pool.map(tasks.same)


def test_something_that_is_not_iterable_is_a_type_error_at_the_call(pool: poolbar.ProgressExecutor) -> None:
    with pytest.raises(TypeError, match="not iterable"):
        pool.map(tasks.same, 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"not iterable|iteration"):
        pool.map(tasks.add, [1, 2], 5)  # type: ignore[arg-type]


def test_something_that_is_not_callable_is_a_type_error_at_the_call(pool: poolbar.ProgressExecutor) -> None:
    with pytest.raises(TypeError, match=r"callable.*5"):
        pool.submit(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"callable.*5"):
        pool.map(5, [1])  # type: ignore[arg-type]


def test_submit_without_a_function_is_a_type_error(pool: poolbar.ProgressExecutor) -> None:
    with pytest.raises(TypeError):
        pool.submit()  # type: ignore[call-arg]


def test_wrong_arguments_are_the_tasks_own_type_error(pool: poolbar.ProgressExecutor) -> None:
    with pytest.raises(TypeError, match="square"):
        pool.submit(tasks.square, 1, 2).result(20)  # type: ignore[call-arg]


# --- inputs that raise


class Broken(Exception):
    pass


def broken_after(count: int, error: BaseException) -> Iterator[int]:
    yield from range(count)
    raise error


@pytest.mark.parametrize("count", [0, 1, 5, 3000])
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("buffersize", [None, 2])
def test_what_came_before_an_error_of_the_input_arrives_then_the_error_itself(
    pool: poolbar.ProgressExecutor, count: int, ordered: bool, buffersize: int | None
) -> None:
    error = Broken("halfway")
    results, arrived = pool.map(tasks.square, broken_after(count, error), ordered=ordered, buffersize=buffersize), []
    with pytest.raises(Broken) as caught:
        arrived.extend(results)  # keeps what came before the error
    assert caught.value is error
    assert sorted(arrived) == [number * number for number in range(count)]
    assert pool.submit(tasks.square, 3).result(20) == 9


def test_an_error_of_one_of_several_inputs_ends_the_run_there(pool: poolbar.ProgressExecutor) -> None:
    results = pool.map(tasks.add, range(10), broken_after(2, Broken()))
    assert [next(results), next(results)] == [0, 2]
    with pytest.raises(Broken):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_an_interrupt_while_an_input_is_pulled_reaches_the_caller(pool: poolbar.ProgressExecutor) -> None:
    with pytest.raises(KeyboardInterrupt):
        list(pool.map(tasks.square, broken_after(3, KeyboardInterrupt())))
    assert pool.submit(tasks.square, 3).result(20) == 9


def test_an_iterable_whose_len_raises_is_iterated_all_the_same(pool: poolbar.ProgressExecutor) -> None:
    """As a tqdm bar around a generator does."""

    class NoLength:
        def __len__(self) -> int:
            raise TypeError("object of type 'generator' has no len()")

        def __iter__(self) -> Iterator[int]:
            return iter([1, 2, 3])

    assert list(pool.map(tasks.square, NoLength())) == [1, 4, 9]


def test_an_iterable_whose_len_is_wrong_is_iterated_all_the_same(pool: poolbar.ProgressExecutor) -> None:
    class WrongLength:
        def __len__(self) -> int:
            return 2

        def __iter__(self) -> Iterator[int]:
            return iter([1, 2, 3])

    assert list(pool.map(tasks.square, WrongLength())) == [1, 4, 9]


def test_an_iterable_whose_iter_raises_is_an_error_at_the_call(pool: poolbar.ProgressExecutor) -> None:
    class NoIteration:
        def __iter__(self) -> Iterator[int]:
            raise Broken

    with pytest.raises(Broken):
        pool.map(tasks.square, NoIteration())


# --- what does not pickle or unpickle (law 8)


@pytest.mark.parametrize(
    "argument", [threading.Lock(), NoTrip(), (n for n in ()), sys._getframe()], ids=lambda a: type(a).__name__
)
def test_an_argument_that_does_not_pickle_is_on_the_future(piped: poolbar.ProgressExecutor, argument: Any) -> None:
    future = piped.submit(tasks.same, argument)
    error = future.exception(20)
    assert isinstance(error, poolbar.NotPicklable)
    assert isinstance(error, pickle.PicklingError)
    assert isinstance(error, TypeError)
    assert "same" in str(error)
    assert error.__cause__ is not None


def test_an_argument_that_does_not_pickle_fails_its_own_task_of_a_map(piped: poolbar.ProgressExecutor) -> None:
    results = piped.map(tasks.same, [1, NoTrip(), 3])
    assert next(results) == 1
    with pytest.raises(poolbar.NotPicklable, match=r"same.*stays where it is"):
        next(results)


@pytest.mark.parametrize("chunksize", [None, 1, 10])
def test_unordered_results_before_an_argument_that_does_not_pickle_arrive(
    piped: poolbar.ProgressExecutor, chunksize: int | None, tmp_path: Path
) -> None:
    path = str(tmp_path / "ran")
    results = piped.map(tasks.note, [path] * 5, [0, 1, NoTrip(), 3, 4], chunksize=chunksize)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(poolbar.NotPicklable):
        next(results)


def test_an_argument_that_does_not_unpickle_fails_its_own_task(piped: poolbar.ProgressExecutor) -> None:
    before, bad, after = [piped.submit(tasks.same, argument) for argument in (1, OneWay(), 3)]
    assert before.result(20) == 1
    assert after.result(20) == 3
    error = bad.exception(20)
    assert isinstance(error, poolbar.NotUnpicklable)
    assert isinstance(error, BrokenProcessPool)
    assert "same" in str(error)
    assert "LookupError: cannot be rebuilt" in str(error)


@pytest.mark.parametrize("chunksize", [None, 1, 10])
def test_an_argument_that_does_not_unpickle_fails_its_own_task_of_a_map(
    piped: poolbar.ProgressExecutor, chunksize: int | None
) -> None:
    results = piped.map(tasks.same, [1, OneWay(), 3], chunksize=chunksize)
    assert next(results) == 1
    with pytest.raises(poolbar.NotUnpicklable, match="cannot be rebuilt"):
        next(results)


def test_a_function_that_does_not_pickle_is_on_the_future_and_raised_by_map(piped: poolbar.ProgressExecutor) -> None:
    assert isinstance(piped.submit(NoTrip(), 1).exception(20), poolbar.NotPicklable)
    with pytest.raises(poolbar.NotPicklable, match="NoTrip"):
        list(piped.map(NoTrip(), [1, 2]))


def test_a_function_that_does_not_unpickle_fails_its_tasks_alone(piped: poolbar.ProgressExecutor) -> None:
    futures = [piped.submit(OneWay(), number) for number in range(3)]
    good = piped.submit(tasks.same, 5)
    assert all(isinstance(future.exception(20), poolbar.NotUnpicklable) for future in futures)
    assert good.result(20) == 5
    with pytest.raises(poolbar.NotUnpicklable, match="OneWay"):
        list(piped.map(OneWay(), range(1000)))
    with pytest.raises(poolbar.NotUnpicklable, match="OneWay"):
        list(piped.map(OneWay(), range(1000), chunksize=100))


def test_a_function_of_a_module_that_workers_do_not_have_fails_its_tasks_alone(piped: poolbar.ProgressExecutor) -> None:
    module = types.ModuleType("only_in_the_parent")
    exec("def double(x): return 2 * x", module.__dict__)
    sys.modules["only_in_the_parent"] = module
    try:
        error = piped.submit(module.double, 1).exception(20)
        assert isinstance(error, poolbar.NotUnpicklable)
        assert "only_in_the_parent" in str(error)
        with pytest.raises(poolbar.NotUnpicklable, match="only_in_the_parent"):
            list(piped.map(module.double, [1, 2, 3]))
    finally:
        del sys.modules["only_in_the_parent"]
    assert piped.submit(tasks.same, 5).result(20) == 5


BAD_OUTCOMES: list[tuple[str, type[BaseException], str]] = [
    ("result that does not pickle", poolbar.NotPicklable, "act.*stays where it is"),
    ("result that does not unpickle", poolbar.NotUnpicklable, "act.*cannot be rebuilt"),
    ("two arguments", poolbar.RemoteError, "tasks.TwoArguments: left and right"),
    ("holds a lock", poolbar.RemoteError, "tasks.HoldsLock: locked"),
    ("mute", tasks.Mute, ""),
    ("raise", ValueError, "as asked"),
    ("SystemExit", SystemExit, "3"),
    ("KeyboardInterrupt", KeyboardInterrupt, ""),
]


def raised(future: poolbar.Future[Any]) -> BaseException:
    error = future.exception(20)
    assert error is not None
    return error


@pytest.mark.parametrize(("what", "error", "text"), BAD_OUTCOMES, ids=[row[0] for row in BAD_OUTCOMES])
def test_a_bad_outcome_is_its_own_tasks_alone(
    piped: poolbar.ProgressExecutor, what: str, error: type[BaseException], text: str
) -> None:
    before, bad, after = [piped.submit(tasks.act, argument) for argument in (1, what, 3)]
    found = raised(bad)
    assert type(found) is error
    if text:
        import re

        assert re.search(text, str(found))
    assert [before.result(20), after.result(20)] == [1, 3]


@pytest.mark.parametrize(("what", "error", "text"), BAD_OUTCOMES, ids=[row[0] for row in BAD_OUTCOMES])
def test_a_bad_outcome_in_the_middle_of_a_batch_touches_none_of_its_neighbours(
    gate: Gate, what: str, error: type[BaseException], text: str
) -> None:
    with poolbar.ProcessPoolExecutor(1) as executor:
        for future in [executor.submit(tasks.act, number) for number in range(2000)]:
            future.result(20)  # so that the tasks to come go in one batch
        gate.hold(executor)
        arguments: list[Any] = list(range(100))
        arguments[30] = arguments[60] = what
        futures = [executor.submit(tasks.act, argument) for argument in arguments]
        gate.open()
        for number, future in enumerate(futures):
            if number in (30, 60):
                assert type(raised(future)) is error
            else:
                assert future.result(20) == number
        assert raised(futures[30]) is not raised(futures[60])


@pytest.mark.parametrize("chunksize", [None, 1, 10])
@pytest.mark.parametrize(("what", "error", "text"), BAD_OUTCOMES, ids=[row[0] for row in BAD_OUTCOMES])
def test_a_bad_outcome_takes_its_place_among_the_results_of_a_map(
    piped: poolbar.ProgressExecutor, what: str, error: type[BaseException], text: str, chunksize: int | None
) -> None:
    results = piped.map(tasks.act, [0, 1, what, 3], chunksize=chunksize)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(error):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_an_exception_that_does_not_survive_the_trip_is_shown_by_a_stand_in(piped: poolbar.ProgressExecutor) -> None:
    """With its type, its text and the remote traceback; a BrokenProcessPool, which it is under the standard library."""
    error = piped.submit(tasks.act, "two arguments").exception(20)
    assert isinstance(error, poolbar.RemoteError)
    assert isinstance(error, BrokenProcessPool)
    assert error.type_name == "tasks.TwoArguments"
    assert error.text == "left and right"
    assert 'TwoArguments("left", "right")' in error.traceback
    assert "tasks.py" in str(error.__cause__)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.args, again.type_name, again.text) == (type(error), error.args, error.type_name, error.text)


def test_an_exception_brings_its_remote_traceback(piped: poolbar.ProgressExecutor) -> None:
    error = piped.submit(tasks.fail).exception(20)
    assert type(error) is ValueError
    assert "raise ValueError(text)" in str(error.__cause__)


def test_an_exceptions_attributes_and_notes_arrive(piped: poolbar.ProgressExecutor) -> None:
    sent = OSError(2, "nothing here", "name")
    sent.extra = [1, 2]  # type: ignore[attr-defined]
    error: Any = piped.submit(tasks.raise_it, sent).exception(20)
    assert (type(error), error.errno, error.filename, error.extra) == (FileNotFoundError, 2, "name", [1, 2])


def test_two_arguments_in_the_parent_too(piped: poolbar.ProgressExecutor) -> None:
    """Such an exception as an argument pickles, and does not unpickle there."""
    assert isinstance(piped.submit(tasks.same, TwoArguments("a", "b")).exception(20), poolbar.NotUnpicklable)


def test_a_deeply_nested_argument_or_result_fails_its_own_task(piped: poolbar.ProgressExecutor) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    try:
        assert piped.submit(tasks.same, deep).exception(20) is not None
        with pytest.raises((poolbar.NotPicklable, RecursionError)):
            list(piped.map(tasks.same, [deep]))
    finally:
        while deep:
            deep = deep[0]
    assert isinstance(piped.submit(eval, "[f := [], [f := [f] for _ in range(100_000)][-1]][1]").exception(20), Exception)
    assert piped.submit(tasks.same, 5).result(20) == 5


# --- functions of a module that is still being imported

IMPORTING = """
import functools
import poolbar

def double(number):
    return 2 * number

class Doubler:
    def __call__(self, number):
        return 2 * number
    def double(self, number):
        return 2 * number

errors = []
import multiprocessing
if multiprocessing.parent_process() is None:  # a fault must not start processes without end
    with poolbar.ProcessPoolExecutor(1) as executor:
        for call in {calls}:
            try:
                call()
            except RuntimeError as error:
                errors.append(str(error))
"""


@pytest.mark.parametrize(
    "call", ["executor.submit(double, 1).result(20)", "list(executor.map(double, [1]))",
             "executor.submit(functools.partial(double, 1)).result(20)", "executor.submit(Doubler(), 1).result(20)",
             "executor.submit(Doubler().double, 1).result(20)", "list(executor.map(functools.partial(double), [1]))"],
)  # fmt: skip
def test_a_function_of_a_module_that_is_still_being_imported_is_refused(
    script: Callable[..., list[str]], tmp_path: Path, call: str
) -> None:
    (tmp_path / "importing.py").write_text(IMPORTING.replace("{calls}", f"[lambda: {call}]"))
    lines = script("import sys, os; sys.path.insert(0, os.getcwd()); import importing; print(importing.errors)")
    assert "still being imported" in lines[0]
    assert "importing" in lines[0]
