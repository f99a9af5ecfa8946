"""A process for each contender: what hangs, leaks or crashes in one touches no other, and memory is its own.

The two talk by lines of JSON: the key of a workload there, its figures or an error back. A host waits for the next line and does
nothing meanwhile, so that contenders can take turns on warm pools.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

START_SECONDS = 60


class Host:
    """The driver's end.

    Args:
        name: The contender, or "limit".
        quick: Whether less is measured.
    """

    def __init__(self, name: str, quick: bool) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, __file__, name, "quick" if quick else "whole"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        self.refused = self._answer(START_SECONDS).get("error")

    def act(self, key: str, limit_seconds: float) -> dict[str, Any]:
        """Return what a workload gave: ``figures`` and ``curves``, or an ``error``. After an error the process is gone."""
        try:
            self.process.stdin.write(f"{key}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return self._failed("its process is gone")
        return self._answer(limit_seconds)

    def _answer(self, limit_seconds: float) -> dict[str, Any]:
        ready, _, _ = select.select([self.process.stdout], [], [], limit_seconds)
        if not ready:
            return self._failed(f"hangs: nothing after {limit_seconds:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            return self._failed("its process is gone")
        answer = json.loads(line)
        return self._failed(answer["error"]) if "error" in answer else answer

    def _failed(self, why: str) -> dict[str, Any]:
        self.kill()
        return {"error": why}

    def close(self) -> None:
        """End the contender, by force if it does not."""
        try:
            self.process.stdin.close()
            self.process.wait(20)
        except (OSError, subprocess.TimeoutExpired):
            pass
        self.kill()

    def kill(self) -> None:
        """End its process and those that it has started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # all of them have ended
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            try:
                stream.close()
            except OSError:
                pass  # what it was still to be told


def perform(name: str, key: str, stage: Any) -> dict[str, Any]:
    """Return a workload's figures, as JSON takes them."""
    import catalogue
    import limits
    from figures import NEVER

    if name == "limit":
        return {"figures": {limits.FIGURES.get(key, key): limits.LIMITS[key][1]()}, "curves": {}}
    measured = catalogue.WORKLOADS[key].act(stage)
    figures = {which: None if value == NEVER else value for which, value in measured.figures.items()}  # JSON has no infinity
    return {"figures": figures, "curves": measured.curves}


def main() -> None:
    """Serve the driver until it closes its end."""
    name, extent = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what contenders print is not for the driver
    stage = None

    def answer(**what: Any) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    try:
        import contenders
        from stage import Stage

        if name != "limit":
            stage = Stage(name, extent == "quick")
            contenders.CONTENDERS[name](1).close()
    except ImportError as error:
        answer(error=f"not installed: {error.name}")
        return
    answer(ready=True)
    for line in sys.stdin:
        try:
            answer(**perform(name, line.strip(), stage))
        except AssertionError:
            answer(error="wrong result")
        except Exception as error:  # whatever a contender raises is its result in the table
            answer(error=f"{type(error).__name__}: {str(error)[:80]}")
    if stage is not None:
        stage.close()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
