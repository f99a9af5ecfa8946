"""Compares poolbar's public surface with ``concurrent.futures`` and ``multiprocessing.pool``: names, and each parameter.

    python compat/surface.py

Exit code 0: nothing differs but what stands in DEPARTURES, and all of that differs on some Python.
"""

from __future__ import annotations

import concurrent.futures
import inspect
import multiprocessing.pool
import sys

import poolbar
from poolbar import _gathering

DEPARTURES = {
    "Executor.map: chunksize=1, here None": "None lets batches size themselves",
    "ProcessPoolExecutor.map: chunksize=1, here None": "None lets batches size themselves",
    "ThreadPoolExecutor.BROKEN": "undocumented, for subclasses inside the stdlib; the error is a BrokenThreadPool here too",
    "ThreadPoolExecutor.prepare_context": "undocumented, for subclasses inside the stdlib",
    "ThreadPoolExecutor.__init__: **ctxkwargs": "private to the stdlib's interpreter pool",
    "Pool.imap: chunksize=1, here None": "None lets batches size themselves",
    "Pool.imap_unordered: chunksize=1, here None": "None lets batches size themselves",
    "Pool.Process": "undocumented, for subclasses inside the stdlib",
    "ThreadPool.Process": "undocumented, for subclasses inside the stdlib",
    "AsyncResult.__init__: pool is missing": "made by the pool",
    "AsyncResult.__init__: callback is missing": "made by the pool",
    "AsyncResult.__init__: error_callback is missing": "made by the pool",
    "IMapIterator.__init__: pool is missing": "made by the pool",
}
"""What differs, and why. More parameters than the stdlib's are no departure, if they come by keyword or have a default."""

CLASSES = {
    "Executor": poolbar.ProgressExecutor,
    "ProcessPoolExecutor": poolbar.ProcessPoolExecutor,
    "ThreadPoolExecutor": poolbar.ThreadPoolExecutor,
}
POOL_CLASSES = {
    "Pool": poolbar.Pool,
    "ThreadPool": poolbar.ThreadPool,
    "AsyncResult": _gathering.AsyncResult,
    "IMapIterator": _gathering.IMapIterator,
}


def differences() -> list[str]:
    """Return what the stdlib has and poolbar has not, or has otherwise."""
    found = [f"name {name}" for name in concurrent.futures.__all__ if not hasattr(poolbar, name)]
    pairs = [(name, getattr(concurrent.futures, name), ours) for name, ours in CLASSES.items()]
    pairs += [(name, getattr(multiprocessing.pool, name), ours) for name, ours in POOL_CLASSES.items()]
    for name, theirs, ours in pairs:
        for method in sorted({*vars(theirs), "__init__"}):
            if method.startswith("_") and method != "__init__":
                continue
            if name == "Executor" and method == "__init__":
                continue  # the stdlib's has none of its own
            if not hasattr(ours, method):
                found.append(f"{name}.{method}")
            elif callable(getattr(theirs, method)):
                found += compared(f"{name}.{method}", getattr(theirs, method), getattr(ours, method))
    return found


def compared(where: str, theirs: object, ours: object) -> list[str]:
    """Return how two signatures differ."""
    found = []
    mine = inspect.signature(ours).parameters  # type: ignore[arg-type]
    positions = [name for name, parameter in mine.items() if parameter.kind is not parameter.KEYWORD_ONLY]
    for position, (name, parameter) in enumerate(inspect.signature(theirs).parameters.items()):  # type: ignore[arg-type]
        if parameter.kind is parameter.VAR_KEYWORD:
            if not any(other.kind is parameter.VAR_KEYWORD for other in mine.values()):
                found.append(f"{where}: **{name}")
        elif name not in mine:
            found.append(f"{where}: {name} is missing")
        elif mine[name].default != parameter.default:
            found.append(f"{where}: {name}={parameter.default}, here {mine[name].default}")
        elif parameter.kind is not mine[name].kind:
            found.append(f"{where}: {name} is {parameter.kind.description}, here {mine[name].kind.description}")
        elif parameter.kind is not parameter.KEYWORD_ONLY and positions.index(name) != position:
            found.append(f"{where}: {name} is argument {position}, here {positions.index(name)}")
    return found


def main() -> int:
    """Print what differs."""
    found = differences()
    for difference in found:
        print(f"{'departure' if difference in DEPARTURES else 'DIFFERS'}: {difference}  {DEPARTURES.get(difference, '')}")
    wrong = [difference for difference in found if difference not in DEPARTURES]
    print(f"surface, Python {sys.version.split()[0]}: {len(wrong)} differences, {len(found) - len(wrong)} departures")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
