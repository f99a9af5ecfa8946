"""Six ratios to the standard library, in under a minute: has poolbar become slower?

    python benchmarks/guard.py            compare with guard.json; the exit status is 1 where a ratio has fallen by over 25 %
    python benchmarks/guard.py --write    make these the figures to compare with

Both take turns; a ratio is the median of its rounds. CI shows the result as a warning: machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

HERE = Path(__file__).parent
FIGURES = HERE / "guard.json"
MAY_FALL = 0.25
ROUNDS = 5
NAMES = (
    "round trip, all on one CPU", "burst of submits", "map, default arguments", "submits of a function with 20 MB",
    "8 MB arrays in", "500 small maps",
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable

    from stage import Stage
    from workloads import Measured


class Verdict(NamedTuple):
    """What became of a ratio."""

    name: str
    was: float | None  # None: not measured before
    now: float

    @property
    def fell(self) -> bool:
        """Whether it is lower than noise explains."""
        return self.was is not None and self.now < (1 - MAY_FALL) * self.was


def verdicts(was: dict[str, float], now: dict[str, float]) -> list[Verdict]:
    """Compare ratios with those of the last time."""
    return [Verdict(name, was.get(name), ratio) for name, ratio in now.items()]


def told(found: list[Verdict]) -> str:
    """Return a table, and what it comes to."""
    lines = [f"{'ahead of stdlib (fork)':<40}{'was':>8}{'now':>8}"]
    for verdict in found:
        was = "-" if verdict.was is None else f"{verdict.was:.2f}"
        lines.append(f"{verdict.name:<40}{was:>8}{verdict.now:>8.2f}{'   FELL' if verdict.fell else ''}")
    fell = [verdict.name for verdict in found if verdict.fell]
    lines.append(f"slower than before: {', '.join(fell)}" if fell else f"none fell by over {MAY_FALL:.0%}")
    return "\n".join(lines)


def acts() -> tuple[tuple[Callable[[Stage], Measured], str], ...]:
    """Return what is measured for each name, and whether high or low is better; all of it on warm pools of two."""
    from functools import partial

    import workloads

    return (
        (workloads.round_trip_one_cpu, "low"),
        (workloads.burst, "high"),
        (partial(workloads.mapped, key="map"), "high"),
        (partial(workloads.heavy, key="heavy_submit"), "low"),
        (partial(workloads.arrays_in, key="arrays_in"), "high"),
        (partial(workloads.small_maps, key="small_maps"), "low"),
    )


def measure() -> dict[str, float]:
    """Return the median ratio of each."""
    from figures import ratio
    from stage import Stage

    stages = {name: Stage(name, quick=True) for name in ("poolbar", "stdlib fork")}
    found = {}
    try:
        for name, (act, better) in zip(NAMES, acts(), strict=True):
            figures: dict[str, list[float]] = {key: [] for key in stages}
            for _ in range(ROUNDS):
                for key, stage in stages.items():
                    figures[key].extend(act(stage).figures.values())
            found[name] = round(ratio(figures["poolbar"], figures["stdlib fork"], better).median, 2)
    finally:
        for stage in stages.values():
            stage.close()
    return found


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    from stage import busy

    others = busy()
    now = measure()
    found = verdicts(json.loads(FIGURES.read_text()) if FIGURES.exists() else {}, now)
    print(told(found))
    print(f"others used {others:.0%} of the CPUs before")
    if options.write:
        FIGURES.write_text(json.dumps(now, indent=1) + "\n")
    elif any(verdict.fell for verdict in found):
        sys.exit(1)


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])  # workers start anew
    main()
