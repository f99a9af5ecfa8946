"""Hash and compress every file below a directory, and print a summary.

    python examples/digest_tree.py [PATH]

PATH is a directory; without one, the library of the Python that runs this, installed packages left out. One task for each
file, by ``submit``; the results are read by ``as_completed``, and the bar shows how far they are.
"""

import argparse
import hashlib
import os
import sysconfig
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from poolbar import ProgressExecutor, as_completed


class Digest(NamedTuple):
    """What one file comes to."""

    name: str
    size: int  # bytes
    packed: int  # bytes, compressed
    sha256: str


def digest(path: Path) -> Digest:
    data = path.read_bytes()
    return Digest(str(path), len(data), len(zlib.compress(data)), hashlib.sha256(data).hexdigest())


def files_below(root: Path, left_out: set[str]) -> Iterator[Path]:
    for directory, directories, names in os.walk(root):
        directories[:] = sorted(set(directories) - left_out)
        yield from (path for name in sorted(names) if (path := Path(directory, name)).is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path)
    given = parser.parse_args().path
    root = given or Path(sysconfig.get_path("stdlib"))
    left_out = set() if given else {"site-packages", "dist-packages"}
    if not root.is_dir():
        parser.error(f"{root} is not a directory")

    began = time.perf_counter()
    digests = []
    failures = []
    with ProgressExecutor(desc="digest", unit="file") as executor:
        futures = {executor.submit(digest, path): path for path in files_below(root, left_out)}
        for future in as_completed(futures):
            try:
                digests.append(future.result())
            except OSError as failure:
                failures.append((futures[future], failure))
    seconds = time.perf_counter() - began

    digests.sort()
    size = sum(each.size for each in digests)
    packed = sum(each.packed for each in digests)
    whole = hashlib.sha256("".join(each.sha256 for each in digests).encode()).hexdigest()
    print(f"{len(digests)} files below {root}: {size / 1e6:.1f} MB, {packed / 1e6:.1f} MB compressed")
    print(f"{len(digests) - len({each.sha256 for each in digests})} are copies of another; sha256 of all: {whole[:16]}")
    for each in sorted(digests, key=lambda each: each.size, reverse=True)[:3]:
        print(f"  {each.size / 1e6:6.1f} MB  {Path(each.name).relative_to(root)}")
    for path, error in failures:
        print(f"not read: {path}: {error}")
    choice = executor.choice
    print(f"{seconds:.1f} s, by at most {choice.workers} workers ({choice.kind})")


if __name__ == "__main__":
    main()
