"""Functions that tests run in workers. Some sleep: that is their work."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any, NoReturn


def same(value: Any) -> Any:
    return value


def add(*numbers: int, **more: int) -> int:
    return sum(numbers) + sum(more.values())


def square(number: int) -> int:
    return number * number


def nap(seconds: float, value: Any = None) -> Any:
    time.sleep(seconds)
    return value


def payload(size: int) -> bytes:
    return bytes(size)


def pid_of(_: Any = None) -> int:
    return os.getpid()


def slow_pid(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def wait_for(path: str, begun: str | None = None, value: Any = None) -> Any:
    """Run until there is a file; say that the task has begun by making another."""
    if begun is not None:
        write(begun)
    limit = time.monotonic() + 60
    while not os.path.exists(path):
        if time.monotonic() > limit:
            raise TimeoutError(path)
        time.sleep(0.002)
    return value


def write(path: str) -> None:
    with open(path, "w"):
        pass


def note(path: str, line: Any) -> Any:
    """Append a line to a file, in one write, and return the line."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)
    return line


def note_or_fail(path: str, number: int) -> int:
    """Say that this task ran; each fiftieth fails."""
    note(path, number)
    if number % 50 == 0:
        raise ValueError(number)
    return number


def note_and_nap(path: str, number: int) -> int:
    note(path, number)
    return nap(0.0005, number)  # type: ignore[no-any-return]


def meet(directory: str, number: int, count: int, seconds: float = 30.0) -> bool:
    """Wait until ``count`` tasks are here at the same time."""
    write(os.path.join(directory, f"here-{number}"))
    limit = time.monotonic() + seconds
    while len(os.listdir(directory)) < count:
        if time.monotonic() > limit:
            return False
        time.sleep(0.002)
    return True


def meet_or_not(where: tuple[Any, ...] | None) -> bool:
    """Take a microsecond, or meet others."""
    return True if where is None else meet(*where)


def stay(seconds: float | None) -> float | None:
    """Take a microsecond, or some time."""
    if seconds:
        time.sleep(seconds)
    return seconds


def fail(text: str = "as asked") -> NoReturn:
    raise ValueError(text)


def fail_odd(number: int) -> int:
    if number % 2:
        raise ValueError(number)
    return number


def raise_it(error: BaseException) -> NoReturn:
    raise error


def exit_with(code: int) -> NoReturn:
    sys.exit(code)


def print_lines(number: int) -> int:
    print("task", number, end="")
    print(" ends")
    print("on stderr", number, file=sys.stderr)
    return number


def report_and_nap(number: int) -> int:
    import poolbar

    poolbar.report(number, 10, f"task {number}")
    time.sleep(0.1)
    return number


class Heavy:
    """A function so large that an engine keeps it; it notes each load."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.content = bytes(1 << 20)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        note(self.path, os.getpid())

    def __call__(self, number: int) -> int:
        return number


def train(path: str) -> None:
    from tqdm import tqdm

    for step in tqdm(range(2), desc="epochs"):
        if step:
            wait_for(path)


def die_at_13(number: int) -> int:
    if number == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


# --- what does not survive the trip


class NoTrip:
    """Does not pickle."""

    def __reduce__(self) -> Any:
        raise RuntimeError("stays where it is")

    def __call__(self, *_: Any) -> int:
        return 1


class OneWay:
    """Pickles, and does not unpickle."""

    def __reduce__(self) -> Any:
        return explode, ()

    def __call__(self, *_: Any) -> int:
        return 1


def explode() -> NoReturn:
    raise LookupError("cannot be rebuilt")


class TwoArguments(Exception):
    """Its pickle calls __init__ with one argument: it does not unpickle."""

    def __init__(self, left: str, right: str) -> None:
        super().__init__(f"{left} and {right}")


class HoldsLock(Exception):
    """Does not pickle."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class Mute(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Watched(Exception):
    """Can be watched by a weak reference."""


def act(what: Any) -> Any:
    """Return the argument, or do what its name says."""
    if what == "raise":
        raise ValueError("as asked")
    if what == "result that does not pickle":
        return NoTrip()
    if what == "result that does not unpickle":
        return OneWay()
    if what == "two arguments":
        raise TwoArguments("left", "right")
    if what == "holds a lock":
        raise HoldsLock("locked")
    if what == "mute":
        raise Mute
    if what == "SystemExit":
        raise SystemExit(3)
    if what == "KeyboardInterrupt":
        raise KeyboardInterrupt
    if what == "exit":
        os._exit(3)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "segfault":
        import ctypes

        ctypes.string_at(0)
    return what


def note_and_act(path: str, number: int, what: Any) -> Any:
    """Say that this task ran, then act."""
    note(path, number)
    return act(what)


# --- what tells one process from another


class Counter:
    """A callable with state."""

    def __init__(self, count: int = 0) -> None:
        self.count = count

    def __call__(self, *_: Any) -> int:
        self.count += 1
        return self.count

    def increase(self, *_: Any) -> int:
        return self()


marks: list[Any] = []


def remember(value: Any) -> None:
    """An initializer."""
    marks.append(value)


def recall(*_: Any) -> list[Any]:
    return list(marks)


def remember_and_note(path: str, value: Any) -> None:
    note(path, os.getpid())
    marks.append(value)


def grow(value: Any) -> list[Any]:
    """Return a list that later tasks change."""
    marks.append(value)
    return marks


def append(items: list[Any]) -> int:
    """Change the argument."""
    items.append(0)
    return len(items)


def variables(*names: str) -> list[str | None]:
    return [os.environ.get(name) for name in names]


def loaded() -> list[str]:
    return sorted(sys.modules)


class Tracked:
    """Can be watched by a weak reference."""


def tracked(_: Any = None) -> Tracked:
    return Tracked()


def run_inner(workers: int, numbers: list[int], idle_seconds: float = 0) -> list[int]:
    """Use a pool inside a worker."""
    import poolbar

    with poolbar.ProcessPoolExecutor(workers, idle_seconds=idle_seconds) as inner:
        return list(inner.map(square, numbers))


def raise_watched(_: Any) -> NoReturn:
    raise Watched
