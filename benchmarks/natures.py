"""29 tasks of every nature, for ``kinds.py``: what waits, what computes with the GIL and without, what moves much."""

import functools
import hashlib
import json
import os
import pickle
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib

import numpy as np

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

chance = random.Random(1)
TEXT = "".join(chance.choice("abcde ") for _ in range(60_000))
TABLE = [{"id": number, "name": f"name {number}", "values": list(range(20))} for number in range(1500)]
NUMBERS = [chance.random() for _ in range(30_000)]
BLOCK = bytes(range(256)) * 40_000


@functools.cache
def matrix(rows):
    """Return a square of random numbers."""
    return np.random.default_rng(1).random((rows, rows))


def spin(steps):
    """Compute in Python."""
    total = 0
    for step in range(steps):
        total += step * step % 7
    return total


def sleep_20(_):
    time.sleep(0.020)


def sleep_1(_):
    time.sleep(0.001)


def http_wait(port):
    return len(urllib.request.urlopen(f"http://127.0.0.1:{port}/20").read())


def http_now(port):
    return len(urllib.request.urlopen(f"http://127.0.0.1:{port}/0").read())


def child(_):
    return subprocess.run(["sleep", "0.02"], check=True).returncode


def child_computes(_):
    return subprocess.run([sys.executable, "-S", "-c", "sum(range(300_000))"], check=True).returncode


def file_synced(_):
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(4):
            file.write(BLOCK[:200_000])
            file.flush()
            os.fsync(file.fileno())
        file.seek(0)
        return len(file.read())


def mixed_fine(_):
    for _ in range(10):
        time.sleep(0.001)
        spin(12_000)


def mixed_coarse(_):
    time.sleep(0.010)
    spin(120_000)


def waits_mostly(_):
    time.sleep(0.018)
    spin(24_000)


def sha(_):
    return hashlib.sha256(BLOCK * 2).hexdigest()


def packed(_):
    return len(zlib.compress(BLOCK[:2_000_000], 6))


def matmul(_):
    return float((matrix(400) @ matrix(400))[0, 0])


def elementwise(_):
    values = matrix(700)
    return float(np.sqrt(np.exp(values)).sum())


def small_arrays(_):
    values = np.arange(50.0)
    for _ in range(6000):
        values = values * 1.0001 + 0.1
    return float(values[0])


def python_loop(_):
    return spin(200_000)


def to_json(_):
    return len(json.dumps(TABLE)) + len(json.loads(json.dumps(TABLE)))


def regex(_):
    return len(re.findall(r"(a|b)+c ?d", TEXT)) + len(re.findall(r"\w+e\b", TEXT[:20_000]))


def sort(_):
    ordered = sorted(NUMBERS)
    return ordered[0] + ordered[-1]


def to_pickle(_):
    return len(pickle.dumps(pickle.loads(pickle.dumps(TABLE))))


def rows_in_database(_):
    database = sqlite3.connect(":memory:")
    database.execute("create table t (a, b)")
    database.executemany("insert into t values (?, ?)", [(number, number * 2) for number in range(5000)])
    return sum(a for a, _ in database.execute("select a, b from t order by b"))


def sum_in_database(_):
    database = sqlite3.connect(":memory:")
    query = "with recursive n(x) as (select 1 union all select x + 1 from n where x < 60000) select sum(x) from n"
    return database.execute(query).fetchone()[0]


def picture(_):
    values = matrix(500)
    for _ in range(4):
        values = (values[1:-1, 1:-1] + values[:-2, 1:-1] + values[2:, 1:-1]) / 3
    return len(zlib.compress(values.astype("uint8").tobytes(), 1)) + spin(20_000)


def sha_of(data):
    return hashlib.sha256(data).hexdigest()


def array_sum(values):
    return float(values.sum())


def array_doubled(values):
    return values * 2


def list_sum(values):
    return sum(values)


def large_result(size):
    return b"x" * size


def nothing(value):
    return value


def natures(port):
    """Return the tasks: a function and its argument."""
    array = np.zeros(1_000_000)
    numbers = list(range(300_000))
    return {
        "sleep 20 ms": (sleep_20, 0),
        "sleep 1 ms": (sleep_1, 0),
        "http, 20 ms wait": (http_wait, port),
        "http, no wait": (http_now, port),
        "subprocess 20 ms": (child, 0),
        "subprocess computes": (child_computes, 0),
        "file, fsync": (file_synced, 0),
        "half waits, fine": (mixed_fine, 0),
        "half waits, coarse": (mixed_coarse, 0),
        "waits 90 %": (waits_mostly, 0),
        "sha256": (sha, 0),
        "zlib": (packed, 0),
        "matmul": (matmul, 0),
        "numpy, large": (elementwise, 0),
        "numpy, small": (small_arrays, 0),
        "python loop": (python_loop, 0),
        "json": (to_json, 0),
        "regex": (regex, 0),
        "sort": (sort, 0),
        "pickle": (to_pickle, 0),
        "sqlite, rows": (rows_in_database, 0),
        "sqlite, one query": (sum_in_database, 0),
        "picture": (picture, 0),
        "sha256 of 10 MB": (sha_of, BLOCK),
        "sum of 8 MB": (array_sum, array),
        "8 MB in and out": (array_doubled, array),
        "sum of a 300k list": (list_sum, numbers),
        "8 MB out": (large_result, 8_000_000),
        "nothing": (nothing, 0),
    }
