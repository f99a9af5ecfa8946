"""Count the words of many text files, line by line, and print the most frequent.

    python examples/words.py [PATH] [--lines N]

PATH is a file or a directory whose .py, .txt, .md and .rst files are read; without one, the library of the Python that runs
this, installed packages left out. The lines come from a generator, and ``map`` takes no more of them ahead than its window:
the input never has to fit into memory. Each line is a task; they are so small that only batches pay.
"""

import argparse
import itertools
import os
import re
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from poolbar import ProgressExecutor

SUFFIXES = {".md", ".py", ".rst", ".txt"}
WORD = re.compile(r"[^\W\d_]{2,}")


class Lines:
    """The lines of files, counted as they are read."""

    def __init__(self, root: Path, left_out: set[str]) -> None:
        self._root = root
        self._left_out = left_out
        self.read = 0

    def __iter__(self) -> Iterator[str]:
        for path in self._files():
            with path.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    self.read += 1
                    yield line

    def _files(self) -> Iterator[Path]:
        if self._root.is_file():
            yield self._root
        for directory, directories, names in os.walk(self._root):
            directories[:] = sorted(set(directories) - self._left_out)
            yield from (path for name in sorted(names) if (path := Path(directory, name)).suffix in SUFFIXES and path.is_file())


def words_of(line: str) -> list[str]:
    return [word.lower() for word in WORD.findall(line)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path)
    parser.add_argument("--lines", type=int, help="stop after so many lines")
    options = parser.parse_args()
    root = options.path or Path(sysconfig.get_path("stdlib"))
    if not root.exists():
        parser.error(f"{root} does not exist")

    lines = Lines(root, set() if options.path else {"site-packages", "dist-packages"})
    counts: Counter[str] = Counter()
    done = ahead = 0
    began = time.perf_counter()
    with ProgressExecutor(desc="words", unit="line") as executor:
        for words in executor.map(words_of, itertools.islice(lines, options.lines)):
            counts.update(words)
            done += 1
            ahead = max(ahead, lines.read - done)
    seconds = time.perf_counter() - began

    for word, count in counts.most_common(10):
        print(f"{count:10,}  {word}")
    print(f"{counts.total():,} words, {len(counts):,} different, in {done:,} lines; {seconds:.1f} s")
    print(f"never more than {ahead:,} lines were read ahead")


if __name__ == "__main__":
    main()
