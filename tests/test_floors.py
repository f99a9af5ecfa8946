"""The house: imports go downwards only, and a worker process loads nothing that it does not need (design, part 4)."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tasks
from conftest import environment

import poolbar

if TYPE_CHECKING:
    from collections.abc import Iterator

HOUSE = Path(poolbar.__file__).parent
MODULES = sorted(path.relative_to(HOUSE).with_suffix("").as_posix() for path in HOUSE.rglob("*.py"))

# From the ground up. A module may import from floors below its own, and from its own floor as NEIGHBOURS say.
FLOORS = [
    {"_broken", "_errors", "_living", "_messages"},
    {"inside", "_batching", "_choice", "_nature", "_settings", "_thread_safe"},
    {"backends", "progress", "workers"},
    {
        "_amap",
        "_backlog",
        "_batch",
        "_calls",
        "_crew",
        "_crews",
        "_exit",
        "_failures",
        "_function",
        "_future",
        "_gathering",
        "_hands",
        "_inputs",
        "_interrupts",
        "_judge",
        "_lane",
        "_map",
        "_memory",
        "_options",
        "_reading",
        "_remote",
        "_shown",
        "_supply",
    },
    {"_executor", "_presets", "joblib", "pool", "testing"},
    {"__init__"},
    {"_command", "_info", "_program"},
    {"_replacing"},
    {"__main__"},
]
# The edges and the machinery meet in data: batches and functions are carried, not driven, by those who run them.
TYPES_ONLY = {
    *(
        (f"workers/{name}", "_batch")
        for name in ("__init__", "interpreter", "piped", "process", "records", "remote", "sending", "thread", "watch")
    ),
    ("workers/remote", "_function"),
}
LAZY_FACE = {"__init__"}


@functools.cache
def imports(module: str, *, types: bool) -> frozenset[str]:
    """Return the modules of ours that one imports, in functions too; those for type checkers where ``types``."""
    return frozenset(found(module, ast.parse((HOUSE / f"{module}.py").read_text()), types=types))


def found(module: str, tree: ast.Module, *, types: bool) -> Iterator[str]:
    package = ["poolbar", *module.split("/")][:-1]
    skipped = {
        node for guard in ast.walk(tree) if isinstance(guard, ast.If) and "TYPE_CHECKING" in ast.dump(guard.test)
        for inner in guard.body for node in ast.walk(inner)
    }  # fmt: skip
    for node in ast.walk(tree):
        if not types and node in skipped:
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *((node.module or "").split(".") if node.module else [])])
            names = [f"{stem}.{alias.name}" for alias in node.names]
        for name in names:
            if name == "poolbar" or name.startswith("poolbar."):
                yield resolved(name)


def resolved(name: str) -> str:
    """Return the module in which an imported name is."""
    parts = name.split(".")[1:]
    while parts:
        for found in ("/".join(parts), "/".join([*parts, "__init__"])):
            if found in MODULES:
                return found
        parts.pop()
    return "__init__"


def floor(module: str) -> int:
    top = module.split("/", maxsplit=1)[0]
    return next(number for number, names in enumerate(FLOORS) if top in names)


@functools.cache
def foreign(module: str) -> set[str]:
    """Return the top-level names of all that a module imports, in functions too."""
    tree = ast.parse((HOUSE / f"{module}.py").read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").split(".")[0])
    return names


def test_every_module_stands_on_a_floor() -> None:
    assert {module.split("/")[0] for module in MODULES} == set().union(*FLOORS)


def test_imports_go_downwards_only() -> None:
    for module in MODULES:
        for other in imports(module, types=False):
            assert floor(other) <= floor(module), f"{module} imports {other}, which is above it"
        for other in imports(module, types=True):
            assert floor(other) <= floor(module) or (module, other) in TYPES_ONLY, f"{module} names {other}, which is above it"


def test_there_is_no_circle_of_imports_even_inside_functions() -> None:
    graph = {module: set(imports(module, types=False)) - {module} for module in MODULES}
    while graph:
        leaves = {module for module, others in graph.items() if not others & set(graph)}
        assert leaves, f"a circle among {sorted(graph)}"
        graph = {module: others for module, others in graph.items() if module not in leaves}


def test_the_island_imports_nothing_of_the_rest_but_messages() -> None:
    for module in MODULES:
        if module.startswith("inside/"):
            others = {other for other in imports(module, types=True) if not other.startswith("inside/")}
            assert others <= {"_messages"}, module


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("tqdm", "progress/drawn"),
        ("loky", "workers/"),
        ("cloudpickle", "inside/by_value"),
        ("threadpoolctl", "workers/numeric"),
        ("joblib", "joblib"),
    ],
)
def test_a_foreign_library_is_imported_in_one_place(name: str, place: str) -> None:
    users = [module for module in MODULES if name in foreign(module)]
    assert users
    assert all(module.startswith(place) for module in users)


@pytest.mark.parametrize("module", ["_batching", "_choice", "_nature"])
def test_policies_are_pure(module: str) -> None:
    assert foreign(module) <= {"__future__", "typing", "collections", "math"}
    assert set(imports(module, types=True)) <= {"_messages", "_nature"} - {module}


def fresh(text: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, env=environment(), check=True)
    return done.stdout.split()


SHOW = "print(*sorted(set(sys.modules) - before))"


def test_import_poolbar_loads_one_module() -> None:
    before = "import sys, importlib, typing; before = set(sys.modules)"  # importlib and typing: what a bare module may use
    assert fresh(f"{before}; import poolbar; {SHOW}") in (["poolbar"], ["__future__", "poolbar"])


def test_the_face_gives_every_name_that_it_lists() -> None:
    assert all(getattr(poolbar, name) is not None for name in poolbar.__all__)
    assert set(poolbar.__all__) <= set(dir(poolbar))
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        poolbar.nothing_of_ours  # noqa: B018


@pytest.mark.parametrize("text", ["poolbar.ProcessPoolExecutor()", "poolbar.ThreadPoolExecutor().submit(abs, 1).result()"])
def test_loky_cloudpickle_and_tqdm_are_loaded_when_they_are_needed(text: str) -> None:
    loaded = set(fresh(f"import sys, poolbar; {text}; before = set(); {SHOW}"))
    assert loaded & {"loky", "cloudpickle", "tqdm"} == set()


HEAVY = {
    "asyncio", "cloudpickle", "concurrent", "dataclasses", "hashlib", "inspect", "logging", "loky", "multiprocessing", "random",
    "runpy", "shutil", "socket", "subprocess", "tempfile", "tqdm", "traceback",
}  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="elsewhere loky starts workers, and brings much")
def test_a_worker_loads_nothing_but_the_island_and_what_is_light_of_the_standard_library() -> None:
    bare = set(fresh("import sys; print(*sys.modules)"))
    with poolbar.ProcessPoolExecutor(1, idle_seconds=0) as executor:
        worker = set(executor.submit(tasks.loaded).result(60))
        list(executor.map(tasks.square, range(1000)))
        assert executor.submit(tasks.add, 1, three=3).result(60) == 4
        after = set(executor.submit(tasks.loaded).result(60))
    ours = {name for name in worker if name.startswith("poolbar")}
    island = {
        f"poolbar.{module.removesuffix('/__init__').replace('/', '.')}" for module in MODULES if module.startswith("inside")
    }
    assert ours <= {"poolbar", "poolbar._messages"} | island
    assert "poolbar.inside.by_value" not in worker
    assert {name.partition(".")[0] for name in worker - bare} & HEAVY == set()
    assert after == worker
