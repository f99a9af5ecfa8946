"""The backend for joblib: scikit-learn and joblib.Parallel on our worker processes, with a bar, and joblib's own contract."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool, _RemoteTraceback
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from conftest import children, environment, is_gone, lines, until

import poolbar

joblib = pytest.importorskip("joblib", minversion="1.6", reason="joblib 1.6 or newer is not installed")

import tasks  # noqa: E402
from joblib import Parallel, delayed  # noqa: E402

import poolbar.joblib  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module", autouse=True)
def _trackers_of_joblib() -> None:
    from joblib.externals.loky.backend import resource_tracker

    resource_tracker.ensure_running()  # it lives as long as we do; no test left it behind


@pytest.fixture(autouse=True)
def _backend() -> Iterator[None]:
    with joblib.parallel_config(backend="poolbar", n_jobs=2):
        yield


def shown(path: Path) -> list[dict[str, Any]]:
    """Return what the log of JSON lines says of runs that are over."""
    told = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in told if line["state"] == "finished"]


def fail_at(number: int, place: int) -> int:
    if number == place:
        raise KeyError(number)
    return number


def active_backend() -> tuple[str, int]:
    from joblib.parallel import get_active_backend

    backend, _ = get_active_backend()
    return type(backend).__name__, backend.nesting_level


def threads_of_numeric_libraries() -> tuple[str, str]:
    return os.environ["OMP_NUM_THREADS"], os.environ["OPENBLAS_NUM_THREADS"]


def pool_left_open() -> int:
    from concurrent.futures import ProcessPoolExecutor

    kept.append(ProcessPoolExecutor(1, multiprocessing.get_context("spawn")))
    return kept[0].submit(abs, -1).result()


kept: list[Any] = []


def nested(backend: str) -> list[int]:
    import poolbar.joblib  # noqa: F401

    return list(Parallel(2, backend=backend)(delayed(abs)(-number) for number in range(4)))


# --- results


def test_results_are_those_of_the_tasks_in_their_order() -> None:
    assert Parallel()(delayed(tasks.add)(number, one=1) for number in range(20_000)) == list(range(1, 20_001))
    assert Parallel()(delayed(lambda number: number + 1)(number) for number in range(3)) == [1, 2, 3]
    assert Parallel()([]) == []


def test_tasks_run_in_our_worker_processes_which_are_kept_for_the_next_call() -> None:
    first = set(Parallel()(delayed(tasks.slow_pid)(0.01) for _ in range(8)))
    assert os.getpid() not in first
    assert {psutil.Process(pid).ppid() for pid in first} == {os.getpid()}
    second = set(Parallel()(delayed(tasks.slow_pid)(0.01) for _ in range(8)))
    assert first & second
    assert len(first | second) == 2


def test_idle_seconds_and_its_variable_say_how_long_workers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_gone(Parallel()(delayed(tasks.pid_of)() for _ in range(2))[0])
    poolbar.shutdown_warm_workers()
    assert is_gone(Parallel(idle_seconds=0)(delayed(tasks.pid_of)() for _ in range(2))[0])
    monkeypatch.setenv("POOLBAR_IDLE_SECONDS", "0")
    assert is_gone(Parallel()(delayed(tasks.pid_of)() for _ in range(2))[0])


@pytest.mark.parametrize("batch_size", [1, 7, "auto"])
@pytest.mark.parametrize("pre_dispatch", [1, "2*n_jobs", "all"])
def test_batch_size_and_pre_dispatch_are_joblibs(batch_size: int | str, pre_dispatch: int | str) -> None:
    parallel = Parallel(batch_size=batch_size, pre_dispatch=pre_dispatch)
    assert parallel(delayed(abs)(-number) for number in range(100)) == list(range(100))


def test_the_input_is_pulled_no_further_than_pre_dispatch_says(tmp_path: Path) -> None:
    pulled = []

    def numbers() -> Iterator[Any]:
        for number in range(1000):
            pulled.append(number)
            yield delayed(tasks.nap)(0.05, number)

    results = Parallel(return_as="generator", batch_size=1)(numbers())
    assert next(results) == 0
    assert len(pulled) < 20
    with pytest.warns(UserWarning, match="cancelled"):
        results.close()


def test_large_arrays_arrive_writable_and_come_back_whole() -> None:
    numpy = pytest.importorskip("numpy", reason="numpy has no wheel for this Python")
    array = numpy.arange(200_000, dtype=float)
    sums = Parallel()(delayed(doubled_in_place)(array) for _ in range(4))
    assert all((result == 2 * numpy.arange(200_000)).all() for result in sums)
    assert array[1] == 1


def doubled_in_place(array: Any) -> Any:
    array *= 2
    return array


@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
def test_generators_give_results_as_they_come(return_as: str) -> None:
    results = Parallel(return_as=return_as)(delayed(abs)(-number) for number in range(50))
    found = list(results)
    assert (found if return_as == "generator" else sorted(found)) == list(range(50))


def test_two_generators_of_one_backend_do_not_get_in_each_others_way() -> None:
    one = Parallel(return_as="generator")(delayed(tasks.nap)(0.01, number) for number in range(20))
    other = Parallel(return_as="generator")(delayed(tasks.nap)(0.01, -number) for number in range(20))
    assert list(zip(one, other, strict=True)) == [(number, -number) for number in range(20)]


# --- how many workers


def test_n_jobs_means_what_it_means_elsewhere_in_joblib() -> None:
    cpus = joblib.cpu_count()
    assert [joblib.effective_n_jobs(n_jobs) for n_jobs in (None, 1, 3, -1, -cpus - 5)] == [2, 1, 3, cpus, 1]
    with pytest.raises(ValueError, match="n_jobs == 0"):
        Parallel(0)(delayed(abs)(1) for _ in range(2))
    assert Parallel(1)(delayed(tasks.pid_of)() for _ in range(2)) == [os.getpid()] * 2


def test_inner_max_num_threads_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    share = str(max(1, joblib.cpu_count() // 2))
    assert Parallel()(delayed(threads_of_numeric_libraries)() for _ in range(2))[0] == ("7", share)
    with joblib.parallel_config(backend="poolbar", n_jobs=2, inner_max_num_threads=3):
        assert Parallel()(delayed(threads_of_numeric_libraries)() for _ in range(2))[0] == ("3", "3")


def test_a_parallel_in_a_task_has_threads_and_one_in_it_none_as_with_loky() -> None:
    assert Parallel()(delayed(active_backend)() for _ in range(2)) == [("ThreadingBackend", 1)] * 2


@pytest.mark.parametrize("backend", ["poolbar", "loky", "threading"])
def test_a_parallel_in_a_task_may_ask_for_any_backend(backend: str) -> None:
    assert Parallel()(delayed(nested)(backend) for _ in range(2)) == [[0, 1, 2, 3]] * 2


def test_a_worker_ends_though_a_task_has_left_a_pool_open() -> None:
    assert Parallel(idle_seconds=0)(delayed(pool_left_open)() for _ in range(2)) == [1, 1]
    assert Parallel(idle_seconds=0)(delayed(nested)("loky") for _ in range(2)) == [[0, 1, 2, 3]] * 2


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
def test_a_daemonic_process_runs_its_tasks_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    with pytest.warns(UserWarning, match="daemonic"):
        assert Parallel()(delayed(tasks.pid_of)() for _ in range(2)) == [os.getpid()] * 2


# --- progress


def test_each_call_has_a_bar_that_counts_tasks_not_batches(tmp_path: Path) -> None:
    with joblib.parallel_config(backend="poolbar", n_jobs=2, progress=f"json:{tmp_path / 'log'}", desc="numbers"):
        with Parallel() as parallel:
            parallel([delayed(abs)(number) for number in range(5000)])
            parallel(delayed(abs)(number) for number in range(300))
        Parallel(desc="others")(delayed(abs)(number) for number in range(20))
    told = [[line[key] for key in ("desc", "total", "done", "failed")] for line in shown(tmp_path / "log")]
    assert told == [["numbers", 5000, 5000, 0], ["numbers", 300, 300, 0], ["others", 20, 20, 0]]


class Watcher(poolbar.Reporter):
    """Notes the totals and what is done."""

    def __init__(self) -> None:
        self.seen: list[tuple[int | None, int]] = []

    def ended(self, progress: poolbar.Progress) -> None:
        self.seen.append((progress.total, progress.done))


@pytest.mark.parametrize(("is_list", "pre_dispatch"), [(True, None), (False, "all"), (False, None)])
def test_the_bar_knows_the_total_of_a_list_and_of_what_is_dispatched_at_once(is_list: bool, pre_dispatch: str | None) -> None:
    watcher = Watcher()
    calls = (delayed(tasks.nap)(0.1) for _ in range(12))
    with joblib.parallel_config(backend="poolbar", n_jobs=2, progress=watcher, pre_dispatch=pre_dispatch):
        Parallel(batch_size=1)(list(calls) if is_list else calls)
    totals = {total for total, done in watcher.seen if 0 < done < 6}
    assert totals == ({12} if is_list or pre_dispatch else {None})
    assert watcher.seen[-1] == (12, 12)


def test_prints_of_tasks_arrive(capsys: pytest.CaptureFixture[str]) -> None:
    Parallel()(delayed(print)("line", number) for number in range(3))
    assert sorted(capsys.readouterr().out.splitlines()) == ["line 0", "line 1", "line 2"]


def test_settings_that_cannot_be_used_are_refused_where_they_are_given() -> None:
    for wrong, told in ({"max_workers": 2}, "n_jobs"), ({"retries": -1}, "retries"), ({"no_setting": 1}, "no_setting"):
        with pytest.raises((poolbar.SettingError, TypeError), match=told):
            joblib.parallel_config(backend="poolbar", **wrong)
        with pytest.raises((poolbar.SettingError, TypeError), match=told):
            Parallel(**wrong)(delayed(abs)(number) for number in range(3))
    assert Parallel()(delayed(abs)(number) for number in range(3)) == [0, 1, 2]


# --- failures


def test_a_tasks_error_is_its_own_with_the_traceback_of_the_worker_and_the_next_call_works() -> None:
    with pytest.raises(KeyError) as caught:
        Parallel()(delayed(fail_at)(number, 30) for number in range(100))
    assert isinstance(caught.value.__cause__, _RemoteTraceback)
    assert "in fail_at" in str(caught.value.__cause__)
    assert Parallel()(delayed(abs)(-number) for number in range(10)) == list(range(10))


def test_a_parallel_in_a_with_block_works_after_an_error() -> None:
    with Parallel() as parallel:
        with pytest.raises(KeyError):
            parallel(delayed(fail_at)(number, 0) for number in range(1))
        assert parallel(delayed(abs)(-number) for number in range(10)) == list(range(10))


def test_a_worker_that_dies_is_a_broken_process_pool_and_the_next_call_works() -> None:
    with pytest.raises(poolbar.WorkerCrashed, match="SIGKILL" if os.name == "posix" else "") as caught:
        Parallel()(delayed(tasks.act)("kill") for _ in range(4))
    assert isinstance(caught.value, BrokenProcessPool)
    assert Parallel()(delayed(abs)(-number) for number in range(10)) == list(range(10))


def test_what_does_not_pickle_is_an_error_that_says_so() -> None:
    lock = threading.Lock()
    with pytest.raises(poolbar.NotPicklable):
        Parallel()(delayed(tasks.same)(lock) for _ in range(4))
    with pytest.raises(poolbar.NotPicklable):
        Parallel()(delayed(threading.Lock)() for _ in range(4))


def test_an_iterable_that_raises_ends_the_call_with_its_error() -> None:
    def broken() -> Iterator[Any]:
        yield from (delayed(abs)(number) for number in range(10))
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        Parallel()(broken())


def test_timeout_ends_the_call_and_what_runs() -> None:
    before = time.monotonic()
    with pytest.raises(multiprocessing.TimeoutError):
        Parallel(timeout=0.2)(delayed(tasks.nap)(seconds) for seconds in (0, 0, 60, 60))
    assert time.monotonic() - before < 30
    assert Parallel()(delayed(abs)(-number) for number in range(10)) == list(range(10))


def test_a_generator_that_is_dropped_ends_what_runs(tmp_path: Path) -> None:
    results = Parallel(return_as="generator", batch_size=1)(
        delayed(tasks.nap)(0 if number == 0 else 60, number) for number in range(4)
    )
    assert next(results) == 0
    before = time.monotonic()
    with pytest.warns(UserWarning, match="cancelled"):
        del results
    assert time.monotonic() - before < 30


CTRL_C = """
import os, sys, time
import joblib, poolbar.joblib

def stay(number):
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(60)

with joblib.parallel_config(backend="poolbar", n_jobs=2):
    joblib.Parallel()(joblib.delayed(stay)(number) for number in range(8))
"""


@pytest.mark.skipif(os.name != "posix", reason="such signals are POSIX's")
def test_ctrl_c_ends_the_call_and_the_workers(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(CTRL_C)
    begun = tmp_path / "begun"
    program = subprocess.Popen(
        [sys.executable, str(script), str(begun)], stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True
    )
    assert until(lambda: len(lines(begun)) >= 2, 60)
    os.killpg(program.pid, signal.SIGINT)
    before = time.monotonic()
    _, told = program.communicate(timeout=60)
    assert time.monotonic() - before < 10
    assert program.returncode == -signal.SIGINT
    assert told.splitlines()[-1] == "KeyboardInterrupt"
    assert told.count("Traceback (most recent call last)") == 1
    assert until(lambda: all(is_gone(int(pid)) for pid in lines(begun)))


def test_nothing_is_left_behind_by_a_call_without_warm_workers() -> None:
    before, threads = children(), threading.active_count()
    Parallel(idle_seconds=0)(delayed(abs)(number) for number in range(100))
    assert until(lambda: children() <= before and threading.active_count() <= threads + 1)  # the painter of bars may rest


def test_without_joblib_the_import_says_how_to_get_it(script: Callable[..., list[str]]) -> None:
    text = (
        'import sys\nsys.modules["joblib"] = None\ntry:\n    import poolbar.joblib\nexcept ImportError as told:\n    print(told)'
    )
    assert script(text)[0].endswith("pip install 'joblib>=1.5'")


# --- scikit-learn


def loky_and_ours(compute: Callable[[], Any]) -> tuple[Any, Any]:
    with joblib.parallel_config(backend="loky", n_jobs=2):
        one = compute()
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)
    with joblib.parallel_config(backend="poolbar", n_jobs=2):
        return one, compute()


def test_scikit_learn_computes_what_it_computes_with_loky() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn has no wheel for this Python")
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, cross_val_score

    x, y = make_classification(400, 10, random_state=0)

    def compute() -> list[Any]:
        search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, cv=3).fit(x, y)
        forest = RandomForestClassifier(10, random_state=0, n_jobs=2).fit(x, y)
        scores = cross_val_score(LogisticRegression(), x, y, cv=5)
        return [list(scores), list(search.cv_results_["mean_test_score"]), forest.predict_proba(x).tolist()]

    one, other = loky_and_ours(compute)
    assert one == other
