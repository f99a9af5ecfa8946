"""``__main__`` (law 8): scripts without a guard, ``python -c``, stdin, a REPL; one namespace per worker."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from conftest import environment

if TYPE_CHECKING:
    from pathlib import Path

Script = Callable[..., list[str]]

BOTH = pytest.mark.parametrize("way", ["submit", "map"])

HEAD = """
import os, sys, poolbar
EXECUTOR = poolbar.ProcessPoolExecutor

def call(way, executor, fn, *args):
    if way == "submit":
        return executor.submit(fn, *args).result(20)
    return next(iter(executor.map(fn, *[[arg] for arg in args or [None]])))

WAY = sys.argv[1]
"""
# In HEAD's ``call``, a map needs an argument: functions without one take ``_=None``.


@pytest.mark.parametrize("way", ["file", "-c", "stdin"])
def test_a_script_without_a_guard_runs_once(script: Script, way: str) -> None:
    text = """
import os
print("begin", flush=True)
import poolbar

def square(x):
    return x * x

with poolbar.ProcessPoolExecutor(2) as executor:
    print(executor.submit(square, 3).result(), list(executor.map(square, range(4))), list(executor.map(lambda x: -x, [1])))
print("end")
"""
    assert script(text, way=way) == ["begin", "9 [0, 1, 4, 9] [-1]", "end"]


@pytest.mark.parametrize("method", ["poolbar", "loky", "loky_init_main", "spawn", "forkserver", "fork"])
def test_a_guarded_script_runs_under_every_start_method(script: Script, method: str) -> None:
    text = f"""
import poolbar

def square(x):
    return x * x

class Point:
    def __init__(self, x):
        self.x = x

def point(x):
    return Point(x)

def init(value):
    global DB
    DB = value

def read(_=None):
    return DB

if __name__ == "__main__":
    with poolbar.ProcessPoolExecutor(2, mp_context="{method}", initializer=init, initargs=(7,)) as executor:
        print(executor.submit(square, 3).result(), list(executor.map(square, range(4))))
        print(type(executor.submit(point, 1).result()) is Point, executor.submit(read).result(), list(executor.map(read, [0])))
"""
    assert script(text, POOLBAR_IDLE_SECONDS="0") == ["9 [0, 1, 4, 9]", "True 7 [7]"]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminal")
def test_a_repl_can_use_what_was_typed_in() -> None:
    import pty

    parent, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-i", "-q"], stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
        env=environment(PYTHON_BASIC_REPL="1", TERM="dumb"),
    ) as process:  # fmt: skip
        os.close(terminal)
        shown = b""

        def say(line: str, answer: bytes) -> None:
            nonlocal shown
            os.write(parent, line.encode() + b"\n")
            while answer not in shown:
                assert select.select([parent], [], [], 30)[0], shown
                shown += os.read(parent, 4096)
            shown = shown[shown.index(answer) + len(answer) :]

        say("import poolbar; print('rea' + 'dy')", b"ready")
        say("def triple(x): return 3 * x\n", b">>> ")
        say("executor = poolbar.ProcessPoolExecutor(1)", b">>> ")
        say("print('got', executor.submit(triple, 14).result())", b"got 42")
        say("def triple(x): return 3.5 * x\n", b">>> ")
        say("print('got', list(executor.map(triple, [2])))", b"got [7.0]")
        say("print('got', executor.submit(lambda: triple(4)).result())", b"got 14.0")
        say("executor.shutdown(); print('do' + 'ne')", b"done")
        os.write(parent, b"exit()\n")
        assert process.wait(30) == 0
    os.close(parent)


@BOTH
def test_functions_lambdas_closures_and_partials_of_the_script_run(script: Script, way: str) -> None:
    text = """
import functools

def add(a, b=10):
    return a + b

def adder(n):
    return lambda x: x + n

def decorated(fn):
    @functools.wraps(fn)
    def wrapper(*args):
        return fn(*args) + 1
    return wrapper

@decorated
def one_more(x):
    return x

def even(n):
    return True if n == 0 else odd(n - 1)

def odd(n):
    return False if n == 0 else even(n - 1)

class Multiplier:
    def __init__(self, factor):
        self.factor = factor
    def __call__(self, x):
        return self.factor * x
    def method(self, x):
        return -self.factor * x
    @classmethod
    def of_class(cls, x):
        return cls.__name__, x
    @staticmethod
    def of_none(x):
        return x

with EXECUTOR(1) as executor:
    calls = [add, lambda x: -x, adder(5), functools.partial(add, b=1), one_more, even, Multiplier(3), Multiplier(3).method,
             Multiplier.of_class, Multiplier.of_none]
    print([call(WAY, executor, fn, 1) for fn in calls])
"""
    assert script(HEAD + text, way) == ["[11, -1, 6, 2, 2, False, 3, -3, ('Multiplier', 1), 1]"]


@BOTH
def test_classes_of_the_script_come_back_as_the_parents_own(script: Script, way: str) -> None:
    text = """
import dataclasses, enum, typing, abc

class Plain:
    def __init__(self, x):
        self.x = x

class Child(Plain):
    def __init__(self, x):
        super().__init__(x)

class Slots:
    __slots__ = ("x",)

@dataclasses.dataclass
class Data:
    x: int
    more: "Data | None" = None

@dataclasses.dataclass(frozen=True)
class Frozen:
    x: int

class Color(enum.Enum):
    RED = 1

class Flags(enum.IntFlag):
    A = 1
    B = 2

class Named(typing.NamedTuple):
    x: int

class Abstract(abc.ABC):
    @abc.abstractmethod
    def f(self): ...

class Concrete(Abstract):
    def f(self):
        return 1

class Failure(Exception):
    def __init__(self, left, right):
        super().__init__(left, right)
        self.left = left

class Meta(type):
    pass

class WithMeta(metaclass=Meta):
    pass

def back(x):
    return x

def again(x):
    return type(x)

with EXECUTOR(1) as executor:
    values = [Plain(1), Child(1), Slots(), Data(1, Data(2)), Frozen(1), Color.RED, Flags.A | Flags.B, Named(1), Concrete(),
              Failure(1, 2), WithMeta()]
    for value in values:
        result = call(WAY, executor, back, value)
        assert type(result) is type(value), value
        assert isinstance(result, type(value).__mro__[-2]), value
        assert call(WAY, executor, again, value) is type(value), value
    assert call(WAY, executor, back, Color.RED) is Color.RED
    assert call(WAY, executor, back, Data(1, Data(2))) == Data(1, Data(2))
    assert call(WAY, executor, back, {Frozen(1): [Named(2)]}) == {Frozen(1): [Named(2)]}
    assert call(WAY, executor, Data, 5) == Data(5)
    assert call(WAY, executor, lambda _: Concrete().f(), 0) == 1

    def fail(_):
        raise Failure(3, 4)
    try:
        call(WAY, executor, fail, 0)
    except Failure as error:
        print(error.left)
"""
    assert script(HEAD + text, way) == ["3"]


@BOTH
def test_results_that_refer_to_functions_of_the_script_bring_the_parents_own(script: Script, way: str) -> None:
    text = """
def helper(x):
    return x

def fetch(_=None):
    return helper

def fetch_many(_=None):
    return {"f": [helper, fetch_many]}

def make(n):
    return lambda x: x + n

with EXECUTOR(1) as executor:
    print(call(WAY, executor, fetch) is helper)
    found = call(WAY, executor, fetch_many)["f"]
    print(found[0] is helper, found[1] is fetch_many)
    print(call(WAY, executor, make, 5)(1))
"""
    assert script(HEAD + text, way) == ["True", "True True", "6"]


@BOTH
def test_the_parents_class_keeps_its_methods_and_attributes(script: Script, way: str) -> None:
    text = """
class Thing:
    count = 0
    def name(self):
        return "old"

def count(thing):
    Thing.count += 1
    return thing

def rename(thing):
    Thing.name = lambda self: "of the worker"
    return thing

with EXECUTOR(1) as executor:
    first = call(WAY, executor, count, Thing())
    Thing.name = lambda self: "new"
    second = call(WAY, executor, count, Thing())
    third = call(WAY, executor, rename, Thing())
    print(first.name(), second.name(), third.name(), Thing().name(), Thing.count, type(first) is Thing)
"""
    assert script(HEAD + text, way) == ["new new new new 0 True"]


@BOTH
def test_an_initializer_that_sets_a_global_is_seen_by_tasks(script: Script, way: str) -> None:
    text = """
DB = None

def init(value):
    global DB, MORE
    DB = MORE = value

def read(_=None):
    return DB, MORE

with EXECUTOR(2, initializer=init, initargs=([7],)) as executor:
    print(call(WAY, executor, read), call(WAY, executor, lambda _: DB, 0), DB, "MORE" in globals())
with EXECUTOR(2, initializer=init, initargs=([8],)) as executor:
    print(call(WAY, executor, read))
"""
    assert script(HEAD + text, way) == ["([7], [7]) [7] None False", "([8], [8])"]


@BOTH
def test_a_module_level_cache_lives_from_task_to_task_and_stays_in_the_worker(script: Script, way: str) -> None:
    text = """
CACHE = {}
COUNT = 0

def remember(x):
    global COUNT
    COUNT += 1
    CACHE[x] = True
    return COUNT, sorted(CACHE)

def look(_=None):
    return COUNT, sorted(CACHE)

with EXECUTOR(1) as executor:
    for x in range(3):
        print(call(WAY, executor, remember, x))
    print(call(WAY, executor, look), call(WAY, executor, lambda _: COUNT, 0), COUNT, CACHE)
"""
    assert script(HEAD + text, way) == ["(1, [0])", "(2, [0, 1])", "(3, [0, 1, 2])", "(3, [0, 1, 2]) 3 0 {}"]


@BOTH
def test_a_cached_function_of_the_script_keeps_its_cache(script: Script, way: str) -> None:
    text = """
import functools

@functools.lru_cache
def cached(x):
    open("ran", "a").write("x")
    return x

@functools.lru_cache(maxsize=None)
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

def through(x):
    return cached(x)

with EXECUTOR(1) as executor:
    print([call(WAY, executor, cached, 1) for _ in range(3)], len(open("ran").read()))
    print([call(WAY, executor, through, 1) for _ in range(3)], len(open("ran").read()))
    print(call(WAY, executor, fib, 60), cached.cache_info().currsize)
"""
    assert script(HEAD + text, way) == ["[1, 1, 1] 1", "[1, 1, 1] 1", "1548008755920 0"]


@BOTH
def test_what_the_parent_changes_is_seen_by_later_tasks(script: Script, way: str) -> None:
    text = """
FACTOR = 1
CONFIG = {"a": 1}

def factor(_=None):
    return FACTOR, CONFIG["a"], helper()

def helper():
    return "old"

with EXECUTOR(1) as executor:
    print(call(WAY, executor, factor))
    FACTOR, CONFIG["a"] = 2, 20
    print(call(WAY, executor, factor))
    def helper():
        return "new"
    print(call(WAY, executor, factor))
    def factor(_=None):
        return "another", helper()
    print(call(WAY, executor, factor))
    def factor(_=None):
        return "third", helper()
    print(call(WAY, executor, factor))
"""
    assert script(HEAD + text, way) == [
        "(1, 1, 'old')",
        "(2, 20, 'old')",
        "(2, 20, 'new')",
        "('another', 'new')",
        "('third', 'new')",
    ]


@BOTH
def test_what_the_parent_changes_back_is_seen_too(script: Script, way: str) -> None:
    text = """
NUMBER = 1
CONFIG = {"a": 1}

def number(_=None):
    return NUMBER

def config(_=None):
    return CONFIG["a"]

with EXECUTOR(1) as executor:
    for value in (1, 2, 1, 2, 1):
        NUMBER = CONFIG["a"] = value
        print(call(WAY, executor, number), call(WAY, executor, config), end=" ")
"""
    assert script(HEAD + text, way) == ["1 1 2 2 1 1 2 2 1 1 "]


@BOTH
def test_what_a_worker_changed_stays_until_the_parent_changes_it(script: Script, way: str) -> None:
    text = """
STATE = 0
ITEMS = [0]

def write(value):
    global STATE
    STATE = value
    ITEMS.append(value)
    return STATE, list(ITEMS)

def read(_=None):
    return STATE, list(ITEMS)

with EXECUTOR(1) as executor:
    print(call(WAY, executor, write, 5), call(WAY, executor, read))
    STATE = 1
    print(call(WAY, executor, read), call(WAY, executor, write, 6), call(WAY, executor, read))
    ITEMS.append("parent")
    print(call(WAY, executor, read), STATE, ITEMS)
"""
    assert script(HEAD + text, way) == [
        "(5, [0, 5]) (5, [0, 5])", "(1, [0, 5]) (6, [0, 5, 6]) (6, [0, 5, 6])", "(6, [0, 'parent']) 1 [0, 'parent']",
    ]  # fmt: skip


@BOTH
def test_two_functions_share_one_namespace(script: Script, way: str) -> None:
    text = """
VALUE = 0

def write(value):
    globals()["VALUE"] = value
    globals()["FRESH"] = value

def read(_=None):
    return VALUE, globals().get("FRESH"), __name__

with EXECUTOR(1) as executor:
    call(WAY, executor, write, 3)
    print(call(WAY, executor, read), call(WAY, executor, lambda _: FRESH, 0), "FRESH" in globals())
    print(call(WAY, executor, eval, "VALUE" if False else "__import__('__main__').FRESH"))
"""
    assert script(HEAD + text, way) == ["(3, 3, '__main__') 3 False", "3"]


@BOTH
def test_a_next_executor_starts_with_a_clean_main(script: Script, way: str) -> None:
    """Even where its worker is a warm one."""
    text = """
COUNT = 0

def increase(_=None):
    global COUNT
    COUNT += 1
    globals().setdefault("MARK", COUNT)
    return COUNT, os.getpid()

def names(_=None):
    return "MARK" in globals(), COUNT, os.getpid()

with EXECUTOR(1) as executor:
    first = [call(WAY, executor, increase)[0] for _ in range(2)]
    pid = call(WAY, executor, increase)[1]
with EXECUTOR(1) as executor:
    *second, same = call(WAY, executor, names)
print(first, second, same == pid)
"""
    assert script(HEAD + text, way) == ["[1, 2] [False, 0] True"]


@BOTH
def test_the_parents_globals_are_never_written_by_results(script: Script, way: str) -> None:
    text = """
VALUE = "parent's"
def use(x=None):
    return VALUE

def write_and_return(_=None):
    global VALUE, use, ADDED
    VALUE = ADDED = "worker's"
    def inner():
        return VALUE
    keep = use
    def use():
        return "replaced"
    return [inner, keep, use]

with EXECUTOR(1) as executor:
    before = dict(globals())
    functions = call(WAY, executor, write_and_return)
    functions[0]()
    mine = ("before", "functions", "mine")
    print(sorted(name for name, value in globals().items() if before.get(name, 0) is not value and name not in mine))
    print(VALUE, use())
"""
    assert script(HEAD + text, way) == ["[]", "parent's parent's"]


@BOTH
def test_a_pool_made_inside_a_worker_runs_what_the_script_defined(script: Script, way: str) -> None:
    text = """
FACTOR = 2

class Point:
    def __init__(self, x):
        self.x = x

def double(x):
    return Point(FACTOR * x)

def outer(numbers):
    with EXECUTOR(1) as inner:
        points = [*inner.map(double, numbers), inner.submit(double, 10).result()]
        points.append(inner.submit(lambda p: Point(p.x + 1), Point(1)).result())
    assert all(isinstance(point, Point) for point in points)
    return points

with EXECUTOR(1) as executor:
    points = call(WAY, executor, outer, [1, 2])
    print([point.x for point in points], all(isinstance(point, Point) for point in points))
"""
    assert script(HEAD + text, way) == ["[2, 4, 20, 2] True"]


def test_threads_of_the_script_may_submit_its_functions_at_once(script: Script) -> None:
    text = """
import threading, poolbar
LIMIT = {"a": 3}

def work(x):
    return x % LIMIT["a"]

with poolbar.ProcessPoolExecutor(2) as executor:
    wrong = []
    def submit(n):
        futures = [executor.submit(work, x) for x in range(200)]
        wrong.extend(x for x, future in enumerate(futures) if future.result() != x % 3)
    threads = [threading.Thread(target=submit, args=(n,)) for n in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
print(wrong)
"""
    assert script(text) == ["[]"]


def test_a_module_run_with_m_works(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("def triple(x): return 3 * x\n")
    (package / "__main__.py").write_text(
        "from .helper import triple\nimport poolbar\ndef more(x): return triple(x) + 1\n"
        "with poolbar.ProcessPoolExecutor(1) as executor:\n"
        "    print(executor.submit(more, 1).result(), list(executor.map(triple, [1])))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "package"], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("4 [3]\n", "")


def test_unpicklable_globals_that_a_function_uses_are_on_the_future_and_the_executor_goes_on(script: Script) -> None:
    text = """
import threading, poolbar
LOCK = threading.Lock()

def locked(_=None):
    with LOCK:
        return 1

with poolbar.ProcessPoolExecutor(1) as executor:
    print(type(executor.submit(locked).exception()).__name__)
    try:
        list(executor.map(locked, [1]))
    except poolbar.NotPicklable as error:
        print("locked" in str(error))
    print(executor.submit(abs, -1).result())
"""
    assert script(text) == ["NotPicklable", "True", "1"]
