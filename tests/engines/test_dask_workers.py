"""dask's workers come and go: what takes longer than the default suite should. See ``test_dask`` for the rest."""

from __future__ import annotations

import itertools
import os
import signal
import time
from contextlib import closing
from typing import TYPE_CHECKING

import tasks
from conftest import until
from dask_cluster import Cluster
from test_dask import cluster, executor_at, pytestmark, shared

import poolbar

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["cluster", "pytestmark", "shared"]  # fixtures, and what is not warned of


def test_a_run_begins_when_the_first_worker_comes(cluster: Cluster) -> None:
    with executor_at(cluster) as executor:
        future = executor.submit(tasks.Heavy(os.devnull), 1)  # what it has bound waits as well
        cluster.add_worker()
        assert future.result(60) == 1


def test_a_worker_that_joins_in_the_middle_of_a_run_gets_its_share(cluster: Cluster) -> None:
    cluster.add_worker()
    cluster.await_workers(1)
    with executor_at(cluster) as executor:
        assert executor.choice.workers == 2
        with closing(executor.map(lambda _: (time.sleep(0.02), os.getpid())[1], itertools.count(), ordered=False)) as run:
            first = next(run)
            cluster.add_worker()
            assert any(pid != first for pid in run)
        assert until(lambda: executor.choice.workers == 4)


def test_a_worker_that_leaves_in_the_middle_of_a_run_costs_nothing(cluster: Cluster) -> None:
    leaving = cluster.add_worker()
    cluster.add_worker()
    cluster.await_workers(2)
    with executor_at(cluster) as executor:
        run = executor.map(lambda number: (time.sleep(0.02), number)[1], range(60))
        assert next(run) == 0
        leaving.send_signal(signal.SIGTERM)
        assert list(run) == list(range(1, 60))
        assert leaving.wait(60) is not None


def test_a_task_that_kills_its_worker_fails_alone(shared: Cluster, tmp_path: Path) -> None:
    with Cluster(tmp_path, allowed_failures=0) as cluster:
        for _ in range(4):  # a batch and a task of it kill one each; dask may lose one more to each
            cluster.add_worker()
        cluster.await_workers(4)
        with executor_at(cluster, max_workers=2) as executor:
            results = list(executor.map(tasks.die_at_13, range(40), chunksize=20, errors="collect"))
            assert isinstance(results[13], poolbar.WorkerCrashed), results[13]
            assert "die_at_13(13)" in str(results[13])
            assert results[:13] + results[14:] == [*range(13), *range(14, 40)]
            cluster.add_worker()
            assert executor.submit(abs, -1).result(60) == 1
