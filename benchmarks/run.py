"""Measures the table of README.md: workloads x contenders, in turn, as ratios within rounds; each result is checked.

    python benchmarks/run.py                 all rows, as a table
    python benchmarks/run.py --json OUT      the figures too
    python benchmarks/run.py --write         table and plots into benchmarks/README.md and README.md, figures into results.json
    python benchmarks/run.py --only burst    rows whose key contains a word (with --write: the others stay as they were)
    python benchmarks/run.py --rounds 9      instead of 2 to 5
    python benchmarks/run.py --quick         one round, less in it, default arguments alone, and not the rows of poolbar alone
    python benchmarks/run.py --again         measures nothing: tables and plots of results.json

A row's figure is the median of its rounds, its ratio the median of the rounds' ratios. Machines are noisy: read ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))
os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[0], *filter(None, [os.environ.get("PYTHONPATH")])])  # workers start anew

import report
from catalogue import WORKLOADS
from host import Host
from limits import LIMITS
from stage import busy

if TYPE_CHECKING:
    from workloads import Workload

LIMIT_SECONDS = 90  # of a contender in a round
HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


class Table:
    """Runs workloads; keeps a process for each contender, and replaces those that failed.

    Args:
        quick: Whether less is measured.
        rounds: Of each workload; None: as the workload says.
    """

    def __init__(self, quick: bool, rounds: int | None) -> None:
        self.quick = quick
        self.rounds = rounds
        self.hosts: dict[str, Host] = {}
        self.absent: dict[str, str] = {}

    def measure(self, key: str) -> dict[str, Any]:
        """Return one workload's figures, round by round, with its errors and curves."""
        workload = WORKLOADS[key]
        taking_part = [*workload.fits, *(["limit"] if key in LIMITS else [])]
        figures: dict[str, dict[str, list[float]]] = {figure.key: {} for figure in workload.figures}
        errors: dict[str, str] = {}
        curves: dict[str, dict[str, list[Any]]] = {}
        for number in range(self._rounds(workload)):
            turn = number % len(taking_part)  # nobody always comes after the same one
            for name in taking_part[turn:] + taking_part[:turn]:
                if name in errors or not self._start(name):
                    continue
                answer = self.hosts[name].act(key, LIMIT_SECONDS)
                if "error" in answer:
                    errors[name] = answer["error"]
                    del self.hosts[name]
                    for values in figures.values():
                        values.pop(name, None)
                    continue
                for which, value in answer["figures"].items():
                    figures[which].setdefault(name, []).append(value)
                for which, curve in answer["curves"].items():
                    curves.setdefault(which, {}).setdefault(name, []).append(curve)
        return {"figures": figures, "errors": errors, "curves": curves}

    def _rounds(self, workload: Workload) -> int:
        return self.rounds or (1 if self.quick else workload.rounds)

    def _start(self, name: str) -> bool:
        if name not in self.hosts and name not in self.absent:
            host = Host(name, self.quick)
            if host.refused:
                self.absent[name] = host.refused
            else:
                self.hosts[name] = host
        return name in self.hosts

    def close(self) -> None:
        """End all processes."""
        for host in self.hosts.values():
            host.close()


def machine(absent: dict[str, str], quick: bool, others: list[float]) -> dict[str, Any]:
    """Return what the figures were measured with, and beside what."""
    versions = {}
    for name in ("loky", "joblib", "mpire", "pebble", "tqdm", "mqdm", "numpy"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "python": platform.python_version(), "system": platform.system(), "cpus": os.cpu_count(), "quick": quick,
        "versions": versions, "absent": absent, "others": statistics.median(others or [0.0]),
    }  # fmt: skip


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the results of the workloads, and of poolbar alone, that were asked for."""
    table = Table(options.quick, options.rounds)
    workloads, others = {}, []
    try:
        for key in WORKLOADS:
            if options.only in key and (options.only or not (options.quick and key.endswith("_tuned"))):
                others.append(busy())
                began = time.monotonic()
                workloads[key] = table.measure(key)
                print(f"{key}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    finally:
        table.close()
    claims = []
    if options.only or not options.quick:
        from claims import CLAIMS  # poolbar itself is here from now on; the contenders have ended

        claims = [act()._asdict() for name, act in CLAIMS.items() if options.only in name]
    return {"machine": machine(table.absent, options.quick, others), "workloads": workloads, "claims": claims}


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return all rows: the new ones, and of the old ones those that were not measured again."""
    claims = {row["name"]: row for row in [*old["claims"], *new["claims"]]}
    return {**new, "workloads": {**old["workloads"], **new["workloads"]}, "claims": list(claims.values())}


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if options.again else measure(options)
    print(report.in_markdown(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    if options.write or options.again:
        if not options.again and RESULTS.exists() and (options.only or options.quick):
            results = merged(json.loads(RESULTS.read_text()), results)
        RESULTS.write_text(json.dumps(results, separators=(",", ":")) + "\n")
        report.write(results, HERE)


if __name__ == "__main__":
    main()
