"""What the benchmarks run, in a module so that every contender can import it."""

import os
import time


def noop(x):
    """Return the argument."""
    return x


def nap(seconds):
    """Sleep, unless the time is 0."""
    if seconds:
        time.sleep(seconds)
    return seconds


def meet(directory, number, parties):
    """Return the seconds from here until ``parties`` tasks are here at once: each leaves a file and waits for the others'."""
    from pathlib import Path

    began = time.perf_counter()
    place = Path(directory)
    (place / str(number)).touch()
    while sum(1 for _ in place.iterdir()) < parties:
        if time.perf_counter() - began > 10:
            return float("inf")
        time.sleep(0.001)
    return time.perf_counter() - began


class Stays:
    """Does not pickle."""

    def __reduce__(self):
        raise TypeError("stays where it is")


def mark(path, number, kind, seconds, payload):
    """Note that this task runs, then do what its kind says."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, f"{number}\n".encode())
    finally:
        os.close(descriptor)
    if seconds:
        time.sleep(seconds)
    if kind == "raises":
        raise ValueError(number)
    if kind == "stays":
        return Stays()
    return payload if kind == "large" else number


def mark_row(row):
    """The same for arguments in a tuple."""
    return mark(*row)


def moment():
    """Return the time of a clock that all processes of a machine share."""
    return time.perf_counter()


def count_down(number):
    """Compute for a while, in pure Python; return 0."""
    while number:
        number -= 1
    return number


def length(array):
    """Return how many elements an array has."""
    return len(array)


def zeros(size):
    """Return an array of so many bytes."""
    import numpy as np

    return np.zeros(size, np.uint8)
