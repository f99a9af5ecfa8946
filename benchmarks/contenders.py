"""The contenders of the table: one small class for each, with the same few ways to run tasks.

Each imports its library when it is made, so that what is not installed is left out and a cold start pays for no other's import.
All run two workers, warm, unless a workload says otherwise. What is left at its default is the point of the rows "default
arguments"; ``chunk`` is given in the rows "best arguments", where a contender uses the best that it has for tasks in such chunks.
"""

from __future__ import annotations

import sys

import tasks


class Contender:
    """What a contender can do; a workload asks only those who can (the groups at the end of this file)."""

    def __init__(self, workers):
        """Make a pool; None: as many workers as it takes by itself."""
        self.workers = workers

    def submit(self, function, *args):
        """Start a task and return something for ``read``."""
        raise NotImplementedError

    def read(self, future):
        """Return the result of a task."""
        return future.result()

    def map(self, function, items, chunk=None):
        """Return the results in order, of a sequence."""
        raise NotImplementedError

    def stream(self, function, items):
        """Return an iterator over the results of an iterator: its laziest way with default arguments."""
        return self.map(function, items)

    def barred(self, function, items, chunk=None):
        """Return the results in order, with a bar: its own, or tqdm around them."""
        from tqdm import tqdm

        return tqdm(self.map(function, items, chunk), total=len(items))

    def close(self):
        """End the pool."""

    def forget(self):
        """End what is kept for the next pool."""


class Poolbar(Contender):
    """With default arguments in all rows: there is none that has to be found.

    A ProcessPoolExecutor; where the number of workers is left to it, a ProgressExecutor, which takes more for tasks that wait.
    """

    def __init__(self, workers):
        import poolbar

        self.poolbar = poolbar
        self.workers = workers
        self.pool = poolbar.ProcessPoolExecutor(workers) if workers else poolbar.ProgressExecutor()
        self.submit = self.pool.submit
        self.shown = None

    def map(self, function, items, chunk=None):
        return self.pool.map(function, items)

    def barred(self, function, items, chunk=None):
        if self.shown is None:
            self.shown = self.poolbar.ProcessPoolExecutor(self.workers, progress="bar")
        return self.shown.map(function, items)

    def close(self):
        for pool in filter(None, (self.pool, self.shown)):
            pool.shutdown()

    def forget(self):
        self.poolbar.shutdown_warm_workers()


class PoolbarThreads(Poolbar):
    """A ProgressExecutor that may take threads, and does where they are faster: only where tasks wait."""

    def __init__(self, workers):
        import poolbar

        self.poolbar = poolbar
        self.shown = None
        self.pool = poolbar.ProgressExecutor(workers, thread_safe=True)
        self.submit = self.pool.submit


class Stdlib(Contender):
    """concurrent.futures.ProcessPoolExecutor, by fork: the fastest of its start methods."""

    method = "fork"

    def __init__(self, workers):
        import concurrent.futures
        import multiprocessing

        self.pool = concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context(self.method))
        self.submit = self.pool.submit

    def map(self, function, items, chunk=None):
        return self.pool.map(function, items, chunksize=chunk or 1)

    def close(self):
        self.pool.shutdown()


class StdlibSpawn(Stdlib):
    """The same by spawn, the start method that is safe beside threads, as poolbar's is."""

    method = "spawn"


class Loky(Stdlib):
    """loky.ProcessPoolExecutor."""

    def __init__(self, workers):
        import loky

        self.pool = loky.ProcessPoolExecutor(workers)
        self.submit = self.pool.submit


class Threads(Stdlib):
    """concurrent.futures.ThreadPoolExecutor: where nothing has to move between processes."""

    def __init__(self, workers):
        import concurrent.futures

        self.pool = concurrent.futures.ThreadPoolExecutor(workers)
        self.submit = self.pool.submit


class Pool(Contender):
    """multiprocessing.Pool: map by default, imap with the best arguments."""

    def __init__(self, workers):
        import multiprocessing

        self.pool = multiprocessing.get_context("fork").Pool(workers)

    def submit(self, function, *args):
        return self.pool.apply_async(function, args)

    def read(self, future):
        return future.get()

    def map(self, function, items, chunk=None):
        return self.pool.imap(function, items, chunk) if chunk else self.pool.map(function, items)

    def stream(self, function, items):
        return self.pool.imap(function, items)

    def barred(self, function, items, chunk=None):
        from tqdm import tqdm

        return tqdm(self.pool.imap(function, items, chunk or 1), total=len(items))

    def close(self):
        self.pool.terminate()
        self.pool.join()


class Joblib(Contender):
    """joblib.Parallel: a list by default, a generator where that is asked for."""

    def __init__(self, workers):
        import joblib

        self.joblib = joblib
        self.workers = workers

    def map(self, function, items, chunk=None, **how):
        if chunk:
            how.update(batch_size=chunk, pre_dispatch="all")
        call = self.joblib.delayed(function)
        return self.joblib.Parallel(self.workers or -1, **how)(call(item) for item in items)

    def stream(self, function, items):
        return self.map(function, items, return_as="generator")

    def barred(self, function, items, chunk=None):
        from tqdm import tqdm

        return tqdm(self.map(function, items, chunk, return_as="generator"), total=len(items))

    def close(self):
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)


class Mpire(Contender):
    """mpire.WorkerPool, kept alive between two maps (it is not by default)."""

    def __init__(self, workers):
        import mpire

        self.pool = mpire.WorkerPool(workers, keep_alive=True)

    def submit(self, function, *args):
        return self.pool.apply_async(function, args)

    def read(self, future):
        return future.get()

    def map(self, function, items, chunk=None):
        return self.pool.map(function, items, chunk_size=chunk, concatenate_numpy_output=False)

    def stream(self, function, items):
        return self.pool.imap(function, items)

    def barred(self, function, items, chunk=None):
        return self.pool.map(function, items, chunk_size=chunk, progress_bar=True)

    def close(self):
        self.pool.terminate()


class Pebble(Contender):
    """pebble.ProcessPool."""

    def __init__(self, workers):
        import pebble

        self.pool = pebble.ProcessPool(workers) if workers else pebble.ProcessPool()

    def submit(self, function, *args):
        return self.pool.schedule(function, args)

    def map(self, function, items, chunk=None):
        return self.pool.map(function, items, chunksize=chunk or 1).result()

    def close(self):
        self.pool.stop()
        self.pool.join()


class Tqdm(Contender):
    """tqdm.contrib.concurrent.process_map: a bar always, and a pool for each call."""

    def __init__(self, workers):
        from tqdm.contrib.concurrent import process_map

        self.workers = workers
        self.process_map = process_map

    def map(self, function, items, chunk=None):
        return self.process_map(function, items, max_workers=self.workers, chunksize=chunk or 1)

    def barred(self, function, items, chunk=None):
        return self.map(function, items, chunk)


class Mqdm(Contender):
    """mqdm.pool: a bar always, and a pool for each call; it has no chunks."""

    def __init__(self, workers):
        import mqdm

        self.mqdm = mqdm
        self.workers = workers

    def map(self, function, items, chunk=None):
        return self.mqdm.pool(function, items, n_workers=self.workers)

    def stream(self, function, items):
        return self.mqdm.ipool(function, items, n_workers=self.workers, ordered_=True)

    def barred(self, function, items, chunk=None):
        return self.map(function, items)


CONTENDERS = {
    "poolbar": Poolbar, "stdlib fork": Stdlib, "stdlib spawn": StdlibSpawn, "loky": Loky, "Pool": Pool, "joblib": Joblib,
    "mpire": Mpire, "pebble": Pebble, "tqdm": Tqdm, "mqdm": Mqdm, "threads": Threads, "poolbar, threads allowed": PoolbarThreads,
}  # fmt: skip

# Who can do what.
EXECUTORS = ("poolbar", "stdlib fork", "stdlib spawn", "loky", "pebble")  # futures of concurrent.futures
SUBMITS = (*EXECUTORS, "Pool", "mpire")
MAPS = (*SUBMITS, "joblib")
CHUNKS = MAPS
BARS = (*MAPS, "tqdm", "mqdm")
STREAMS = ("poolbar", "stdlib fork", "loky", "pebble", "Pool", "mpire", "joblib", "mqdm")
ONE_SPAWN = ("poolbar", "stdlib fork", "loky", "pebble", "Pool", "mpire", "joblib")  # where it is all the same how workers start


def first_result(name):
    """Make a pool of two, run one task, end the pool; as a whole program that is a cold start."""
    contender = CONTENDERS[name](2)
    # Of one task alone some that only map would make no pool.
    values = [contender.read(contender.submit(tasks.noop, 1))] if name in SUBMITS else list(contender.map(tasks.noop, [1, 2]))
    contender.close()
    if values not in ([1], [1, 2]):
        sys.exit("a wrong result")
