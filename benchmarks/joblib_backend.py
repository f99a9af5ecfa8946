"""joblib's Parallel and scikit-learn on poolbar's backend, against joblib's own (loky): the same results, and how fast.

    pip install joblib scikit-learn
    python benchmarks/joblib_backend.py

The two backends alternate, round by round, with warm workers; a ratio is the median of the rounds' ratios, above 1 where poolbar
is faster. The results are compared each time. Exit status 1 where they differ. No bar is drawn.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

os.environ.setdefault("POOLBAR_PROGRESS", "off")

import joblib
import numpy as np
import sklearn
from joblib import Parallel, delayed
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.svm import SVC

import poolbar.joblib

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 7
JOBS = 2
X, Y = make_classification(2000, 20, random_state=0)
LARGE_X, LARGE_Y = make_classification(50_000, 20, random_state=0)  # 8 MB
ARRAY = np.arange(1_000_000, dtype=float)  # 8 MB


class Workload(NamedTuple):
    """What is timed."""

    name: str
    run: Callable[[], Any]


def doubled(array: Any) -> Any:
    return array * 2


def total(array: Any) -> float:
    return float(array.sum())


def grid() -> Any:
    search = GridSearchCV(SVC(), {"C": [0.1, 1, 10], "gamma": [0.01, 0.1]}, cv=3).fit(X, Y)
    return [search.best_params_, list(search.cv_results_["mean_test_score"])]


def forest() -> Any:
    model = RandomForestClassifier(40, n_jobs=JOBS, random_state=0).fit(X, Y)
    return model.predict_proba(X)


WORKLOADS = [
    Workload("one call, 2 tasks", lambda: Parallel()(delayed(abs)(i) for i in range(2))),
    Workload("20,000 x abs", lambda: Parallel()(delayed(abs)(i) for i in range(20_000))),
    Workload("200,000 x abs", lambda: Parallel()(delayed(abs)(i) for i in range(200_000))),
    Workload("20,000 x abs, batch_size=1", lambda: Parallel(batch_size=1)(delayed(abs)(i) for i in range(20_000))),
    Workload('20,000 x abs, pre_dispatch="all"', lambda: Parallel(pre_dispatch="all")(delayed(abs)(i) for i in range(20_000))),
    Workload("60 naps of 10 ms", lambda: Parallel()(delayed(time.sleep)(0.01) for _ in range(60))),
    Workload("24 arrays of 8 MB, in and out", lambda: Parallel()(delayed(doubled)(ARRAY + i) for i in range(24))),
    Workload("24 arrays of 8 MB, in", lambda: Parallel()(delayed(total)(ARRAY + i) for i in range(24))),
    Workload("100 x the same 8 MB, in", lambda: Parallel()(delayed(total)(ARRAY) for _ in range(100))),
    Workload("cross_val_score, logistic, 16 folds", lambda: cross_val_score(LogisticRegression(), X, Y, cv=16)),
    Workload("cross_val_score, 8 MB, 10 folds", lambda: cross_val_score(LogisticRegression(), LARGE_X, LARGE_Y, cv=10)),
    Workload("GridSearchCV, SVC, 18 fits", grid),
    Workload("RandomForest, 40 trees", forest),
]


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two results are equal, to the last bit."""
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else one == other


def timed(backend: str, workload: Workload) -> tuple[float, Any]:
    with joblib.parallel_config(backend=backend, n_jobs=JOBS):
        began = time.perf_counter()
        result = workload.run()
        return time.perf_counter() - began, result


def compare(workload: Workload) -> tuple[str, bool]:
    """Return a row of the table, and whether all results were the same."""
    seconds: dict[str, list[float]] = {"loky": [], "poolbar": []}
    same = True
    for turn in range(ROUNDS + 1):  # the first one warms up
        results = {}
        for backend in sorted(seconds, reverse=bool(turn % 2)):
            taken, results[backend] = timed(backend, workload)
            if turn:
                seconds[backend].append(taken)
        same = same and is_same(results["loky"], results["poolbar"])
    ratio = statistics.median(loky / own for loky, own in zip(seconds["loky"], seconds["poolbar"], strict=True))
    loky, own = (statistics.median(taken) for taken in seconds.values())
    return f"| {workload.name} | {loky:.4f} s | {own:.4f} s | {ratio:.2f} x |" + ("" if same else " RESULTS DIFFER"), same


def main() -> int:
    print(f"Python {platform.python_version()}, joblib {joblib.__version__}, scikit-learn {sklearn.__version__}, n_jobs={JOBS}\n")
    print("| | loky | poolbar | ahead |\n|---|---|---|---|")
    wanted = sys.argv[1:]
    is_good = True
    for workload in WORKLOADS:
        if wanted and not any(word in workload.name for word in wanted):
            continue
        row, same = compare(workload)
        print(row, flush=True)
        is_good = is_good and same
    poolbar.shutdown_warm_workers()
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
