"""The README says what is true: its table is the settings', its code runs, its commands are those of the CI."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import poolbar
from poolbar import _settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = README + (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
CODE = re.compile(r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
BLOCKS = [found.groups("") for found in CODE.finditer(PAGES)]  # code, and what it writes to stderr
COMMANDS = re.findall(r"^```sh\n(.*?)\n```$", README, re.MULTILINE | re.DOTALL)


def between(marker: str) -> str:
    return README.split(f"<!-- {marker} -->\n")[1].split(f"\n<!-- /{marker} -->")[0]


def test_table_of_environment_variables_is_made_from_the_settings() -> None:
    assert between("settings") == _settings.markdown_table()


@pytest.mark.parametrize(("block", "told"), BLOCKS, ids=[f"block-{number}" for number in range(1, len(BLOCKS) + 1)])
def test_python_blocks_run_as_scripts(block: str, told: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(block, encoding="utf-8")
    done = subprocess.run([sys.executable, "-W", "error", str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, sorted(done.stderr.splitlines())) == (0, sorted(told.splitlines()))
    assert done.stdout


def test_a_script_without_a_guard_runs_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(next(block for block, _ in BLOCKS if "this line runs once" in block), encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "this line runs once\n[7, 5, 4, 0, 0]\n"


def test_each_command_is_one_line_and_the_second_is_what_ci_runs_first() -> None:
    example, tests = COMMANDS
    assert "\n" not in example + tests
    steps = [line for line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    assert steps[2] == tests, "after set and cd"


def test_files_and_names_that_it_speaks_of_are_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    for name in re.findall(r"^\| `(\w+)` \| `\w*(?:Pool|Error)", README, re.MULTILINE):
        assert name in poolbar.__all__
