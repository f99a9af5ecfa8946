"""``python -m poolbar``, as a person runs it."""

from __future__ import annotations

import subprocess
import sys
import sysconfig

import pytest
from conftest import environment

import poolbar
from poolbar._settings import TABLE


def run(*arguments: str, flags: tuple[str, ...] = (), **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, "-m", "poolbar", *arguments],
        capture_output=True, text=True, timeout=60, env=environment(**variables),
    )  # fmt: skip


def shown(*options: str, **variables: str) -> dict[str, str]:
    done = run(*options, "info", **variables)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split("  ", 1) for line in done.stdout.splitlines() if line]
    return {name: text.strip() for name, text in rows}


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_without_a_command_it_tells_how_it_is_used(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python -m poolbar")
    assert "info" in done.stdout


def test_what_is_neither_a_command_nor_a_script_is_an_error() -> None:
    done = run("inform")
    assert done.returncode == 2
    assert "can't open file" in done.stderr
    assert "inform" in done.stderr


def test_info_takes_no_arguments_but_options_before_it() -> None:
    assert run("info", "more").returncode == 2
    assert run("--workers", "3", "info").returncode == 0


def test_info_shows_what_an_executor_takes_and_why() -> None:
    with poolbar.ProgressExecutor() as executor:
        kind, workers, reason = executor.choice[:3]
    rows = shown()
    assert rows["choice"] == f"{kind}, at most {workers} workers"
    assert rows["why"] == reason
    assert rows["by cgroup too"].split(",")[0] == str(poolbar.ProcessPoolExecutor().choice.workers)


def test_info_shows_versions_and_whether_there_is_a_gil() -> None:
    import loky

    rows = shown()
    assert rows["poolbar"] == poolbar.__version__
    assert rows["Python"].startswith(sys.version.split()[0])
    assert ("free-threaded" in rows["Python"]) == bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    assert rows["loky"] == loky.__version__
    assert {"tqdm", "cloudpickle", "threadpoolctl"} <= set(rows)
    assert "dask" in rows["backends"].split(", ")


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python is never without a GIL")
@pytest.mark.parametrize(("flag", "state"), [("gil=0", "off"), ("gil=1", "on")])
def test_info_tells_whether_the_gil_is_on(flag: str, state: str) -> None:
    assert f"the GIL is {state}" in run("info", flags=("-X", flag)).stdout


def test_info_shows_each_setting_and_where_it_came_from() -> None:
    rows = shown(POOLBAR_MAX_WORKERS="3", POOLBAR_BACKEND="thread", POOLBAR_WORKERS="4")
    assert {setting.variable for setting in TABLE} <= set(rows)
    assert rows["POOLBAR_MAX_WORKERS"] == "max_workers = 3 (variable)"
    assert rows["POOLBAR_IDLE_SECONDS"] == "idle_seconds = 10.0 (default)"
    assert rows["POOLBAR_WORKERS"] == "is no setting"
    assert rows["choice"] == "thread, at most 3 workers"


def test_info_shows_what_an_option_has_set() -> None:
    rows = shown("--workers", "3", "--desc=all", POOLBAR_MAX_WORKERS="5", POOLBAR_RETRIES="1")
    assert rows["POOLBAR_MAX_WORKERS"] == "max_workers = 3 (option)"
    assert rows["POOLBAR_DESC"] == "desc = 'all' (option)"
    assert rows["POOLBAR_RETRIES"] == "retries = 1 (variable)"
    assert rows["choice"].endswith("at most 3 workers")


def test_help_tells_of_every_setting() -> None:
    told = run("--help").stdout
    assert all("--" + setting.variable.removeprefix("POOLBAR_").lower().replace("_", "-") in told for setting in TABLE)


def test_info_shows_what_is_wrong_with_a_variable_and_fails() -> None:
    done = run("info", POOLBAR_RETRIES="many", POOLBAR_MAX_WORKERS="3")
    assert (done.returncode, done.stderr) == (1, "")
    wrong = "POOLBAR_RETRIES='many' cannot be used; allowed: a whole number, 0 or more"
    assert len([line for line in done.stdout.splitlines() if wrong in line]) == 2  # nothing can be chosen either
    assert "max_workers = 3 (variable)" in done.stdout


def test_info_shows_that_two_variables_contradict_each_other_and_fails() -> None:
    done = run("info", POOLBAR_BACKEND="thread", POOLBAR_TASK_TIMEOUT="3")
    assert (done.returncode, done.stderr) == (1, "")
    assert "POOLBAR_TASK_TIMEOUT needs worker processes" in done.stdout
