"""Keyword beats environment beats default (law 16); errors and records survive a pipe."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import poolbar
from poolbar._broken import BrokenExecutor
from poolbar._settings import BACKENDS, START_METHODS, TABLE, resolve
from poolbar.inside.pickling import dumps, loads

GOOD: dict[str, st.SearchStrategy[tuple[Any, str, Any]]] = {
    # a keyword's value, a variable's text, and what the text means
    "max_workers": st.tuples(st.integers(1, 999), n := st.integers(1, 999).map(str), n).map(lambda t: (t[0], t[1], int(t[1]))),
    "chunksize": st.tuples(st.integers(1, 999), n, n).map(lambda t: (t[0], t[1], int(t[1]))),
    "buffersize": st.tuples(st.integers(1, 999), n, n).map(lambda t: (t[0], t[1], int(t[1]))),
    "backend": st.tuples(st.sampled_from(BACKENDS), st.sampled_from(BACKENDS)).map(lambda t: (*t, t[1])),
    "address": st.tuples(st.text(), st.text(min_size=1)).map(lambda t: (*t, t[1])),
    "mp_context": st.tuples(st.sampled_from(START_METHODS), st.sampled_from(START_METHODS)).map(lambda t: (*t, t[1])),
    "progress": st.tuples(
        st.sampled_from(["auto", "bar", "log", "off", "json", "json:a b.txt"]),
        st.sampled_from(
            [("on", "bar"), ("1", "bar"), ("TRUE", "bar"), ("yes", "bar"), ("no", "off"), ("Log", "log"), ("json:X", "json:X")]
        ),
    ).map(lambda t: (t[0], *t[1])),
    "relay": st.tuples(st.booleans(), st.sampled_from([("on", True), ("off", False), ("NO", False)])).map(
        lambda t: (t[0], *t[1])
    ),
    "thread_safe": st.tuples(st.booleans(), st.sampled_from([("on", True), ("1", True), ("off", False)])).map(
        lambda t: (t[0], *t[1])
    ),
    "idle_seconds": st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)).map(lambda t: (t[0], repr(t[1]), t[1])),
    "retries": st.tuples(st.integers(0, 9), st.integers(0, 9).map(str)).map(lambda t: (*t, int(t[1]))),
    "task_timeout": (above := st.tuples(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6)).map(lambda t: (t[0], repr(t[1]), t[1]))),
    "worker_memory_mb": above,
    "preload": st.just((("json", "a.b"), "numpy, a.b", ("numpy", "a.b"))),
    "desc": st.tuples(st.text(), st.text(min_size=1)).map(lambda t: (*t, t[1])),
}


def test_every_setting_of_the_table_is_tested_here() -> None:
    assert {setting.keyword for setting in TABLE} == set(GOOD)
    assert all(setting.variable.startswith("POOLBAR_") for setting in TABLE)


@pytest.mark.parametrize("setting", TABLE, ids=lambda setting: setting.keyword)
@given(data=st.data())
def test_a_keyword_beats_the_environment_which_beats_the_default(setting: Any, data: st.DataObject) -> None:
    given_value, text, meant = data.draw(GOOD[setting.keyword])
    keyword, environment = setting.keyword, {setting.variable: text}
    assert resolve(keyword, given_value, environment) == given_value
    assert resolve(keyword, None, environment) == meant
    assert resolve(keyword, None, {}) == setting.default
    assert resolve(keyword, None, {setting.variable: ""}) == setting.default


@pytest.mark.parametrize("setting", TABLE, ids=lambda setting: setting.keyword)
@given(text=st.text(min_size=1))
def test_any_text_in_a_variable_is_either_used_or_an_error_that_names_it(setting: Any, text: str) -> None:
    try:
        resolve(setting.keyword, None, {setting.variable: text})
    except poolbar.SettingError as error:
        told = str(error)
    else:
        return
    assert setting.variable in told
    assert repr(text) in told
    assert setting.allowed in told


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
VALUES = LEAVES | st.lists(LEAVES | st.lists(LEAVES)) | st.tuples(LEAVES, LEAVES) | st.dictionaries(st.text(), st.lists(LEAVES))


@given(value=VALUES)
def test_plain_data_survives_the_pickling(value: Any) -> None:
    assert loads(dumps(value)) == value
    assert type(loads(dumps(value))) is type(value)


@given(numbers=st.lists(st.integers()), name=st.text(min_size=1))
def test_closures_lambdas_and_local_classes_survive_the_pickling(numbers: list[int], name: str) -> None:
    class Local:
        def __init__(self) -> None:
            self.numbers = numbers

    function, local = loads(dumps((lambda extra: [*numbers, extra, name], Local())))
    assert function(1) == [*numbers, 1, name]
    assert local.numbers == numbers


ERRORS = [
    poolbar.SettingError("text"), poolbar.NotPicklable("text"), poolbar.NotUnpicklable("text"), BrokenExecutor("text"),
    poolbar.RemoteError("module.Type", "text", "traceback", "reason"), poolbar.WorkerCrashed("died", "call", 5, -9, 2, "trace"),
    poolbar.WorkerCrashed("died", "call", None, None, 1, ""), poolbar.TaskTimeout("call", 0.5, 5, tries=3),
]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_survives_a_pipe(error: Exception) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert (type(again), again.args, str(again), again.__dict__) == (type(error), error.args, str(error), error.__dict__)


class Silent(poolbar.Reporter):
    """Leaves out all that it can."""


@pytest.mark.parametrize("value", [Silent(), lambda **options: None])
def test_a_reporter_or_what_makes_bars_can_be_given_as_progress(value: Any) -> None:
    assert resolve("progress", value, {}) is value
    assert [resolve("progress", switch, {}) for switch in (True, False)] == ["bar", "off"]


@pytest.mark.parametrize("value", ["json:", "bars", "", 1, 1.5, object(), [], b"bar"])
def test_what_can_show_nothing_is_refused_as_progress_with_an_error_that_says_what_can(value: Any) -> None:
    with pytest.raises(poolbar.SettingError, match=r"progress must be .* a tqdm class or a Reporter") as error:
        poolbar.ThreadPoolExecutor(1, progress=value)
    assert repr(value) in str(error.value)
