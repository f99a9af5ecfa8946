"""Each example is run as its reader would run it, on small input."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zlib
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_digest_tree_hashes_and_compresses_every_file(tmp_path: Path) -> None:
    contents = [b"a" * 1_000_000, b"b" * 500_000, b"b" * 500_000, b""]
    (tmp_path / "deeper").mkdir()
    for number, data in enumerate(contents):
        (tmp_path / ("deeper" if number % 2 else "") / f"{number}.bin").write_bytes(data)
    output = run("digest_tree.py", tmp_path)
    packed = sum(len(zlib.compress(data)) for data in contents)
    assert f"4 files below {tmp_path}: 2.0 MB, {packed / 1e6:.1f} MB compressed" in output
    in_order = sorted((str(path), path) for path in tmp_path.rglob("*.bin"))
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for _, path in in_order]
    whole = hashlib.sha256("".join(hashes).encode()).hexdigest()
    assert f"1 are copies of another; sha256 of all: {whole[:16]}" in output
    assert "not read" not in output


def test_digest_tree_of_something_else_than_a_directory_is_an_error(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "digest_tree.py"), str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "is not a directory" in done.stderr


def test_clip_rasters_prints_a_message_for_each_year_and_sums_the_results_up(tmp_path: Path) -> None:
    import rasterio  # in the test extra: where it is missing, this fails

    lines = run("clip_rasters.py", tmp_path, "--size", 200).splitlines()
    years = [int(found[1]) for line in lines if (found := re.match(r"land_cover_(\d+)\.tif: 160 x 140 pixels inside", line))]
    assert sorted(years) == list(range(2001, 2020))
    assert lines[-2].startswith("19 maps clipped")
    least, most = map(int, re.findall(r"(\d+) km²", lines[-1]))
    assert least < most
    for year in years:
        with rasterio.open(tmp_path / f"clipped_land_cover_{year}.tif") as clipped:
            cover = clipped.read(1)
            assert cover[0, 0] == clipped.nodata, "outside of the polygon"
            assert cover[70, 80] in range(1, 6), "inside"


def test_words_counts_the_words_of_more_lines_than_a_window_holds(tmp_path: Path) -> None:
    lines = 500_000  # the widest window is 400,000
    (tmp_path / "text.txt").write_text("the quick brown fox\njumps over the lazy dog\n" * (lines // 2), encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG the the the")
    output = run("words.py", tmp_path)
    first = output.splitlines()[0]
    assert first.split() == ["500,000", "the"]
    assert "2,250,000 words, 8 different, in 500,000 lines" in output
    ahead = int(re.findall(r"never more than ([\d,]+) lines", output)[0].replace(",", ""))
    assert ahead < lines


def test_words_stops_where_it_is_told_to(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("word\n" * 100, encoding="utf-8")
    assert "10 words, 1 different, in 10 lines" in run("words.py", text, "--lines", 10)


def test_estimate_pi_prints_each_estimate_and_their_mean() -> None:
    lines = run("estimate_pi.py", "--tasks", 6, "--points", 50_000).splitlines()
    assert sorted(line.split(":")[0] for line in lines[:-1]) == [f"seed {seed:2}" for seed in range(6)]
    assert re.fullmatch(r"3\.\d{6} on average; pi is 3\.141593", lines[-1])
