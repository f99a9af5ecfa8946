"""Clip 19 yearly land-cover maps, 2001 to 2019, by a mask polygon, and print how much of each class lies inside.

    pip install 'poolbar[examples]'
    python examples/clip_rasters.py [DIRECTORY] [--size PIXELS]

The maps are made first, as GeoTIFFs in DIRECTORY (without one, in a temporary directory). Each task returns a message and
a result; ``map(..., ordered=False)`` gives them in the order in which the maps are done.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.mask import mask
from rasterio.transform import from_origin
from tqdm import tqdm

from poolbar import ProgressExecutor

YEARS = range(2001, 2020)
CLASSES = {1: "water", 2: "built", 3: "forest", 4: "grass", 5: "crops"}
PIXEL_METRES = 30.0
WEST, NORTH = 1_500_000.0, 2_000_000.0  # metres, in Albers' projection of North America


def make_map(path: Path, year: int, size: int) -> Path:
    """Write a map of patches; towns grow into crops from year to year."""
    random = np.random.default_rng(2001)
    coarse = random.integers(1, len(CLASSES) + 1, (size // 20 + 1, size // 20 + 1), dtype=np.uint8)
    cover = coarse.repeat(20, axis=0).repeat(20, axis=1)[:size, :size]
    speckled = random.random((size, size), dtype=np.float32)
    cover[speckled < 0.05] = 4
    cover[(cover == 5) & (speckled > 1 - 0.01 * (year - 2000))] = 2
    profile = {
        "driver": "GTiff", "width": size, "height": size, "count": 1, "dtype": "uint8", "nodata": 0, "compress": "deflate",
        "tiled": True, "crs": "EPSG:5070", "transform": from_origin(WEST, NORTH, PIXEL_METRES, PIXEL_METRES),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(cover, 1)
    return path


def mask_polygon(size: int) -> dict[str, object]:
    """Return a hexagon in the middle of the maps, as GeoJSON."""
    half = size * PIXEL_METRES / 2
    angles = np.linspace(0, 2 * np.pi, 7)
    ring = [(WEST + half + 0.8 * half * np.cos(a), NORTH - half + 0.8 * half * np.sin(a)) for a in angles]
    return {"type": "Polygon", "coordinates": [ring]}


def clip(path: Path, polygon: dict[str, object]) -> tuple[str, dict[str, float]]:
    """Write the clipped map beside the whole one; return a message and the area of each class in square kilometres."""
    with rasterio.open(path) as raster:
        clipped, transform = mask(raster, [polygon], crop=True)
        profile = {**raster.profile, "height": clipped.shape[1], "width": clipped.shape[2], "transform": transform}
    target = path.with_name(f"clipped_{path.name}")
    with rasterio.open(target, "w", **profile) as raster:
        raster.write(clipped)
    pixels = np.bincount(clipped.ravel(), minlength=len(CLASSES) + 1)
    areas = {name: float(pixels[value]) * (PIXEL_METRES / 1000) ** 2 for value, name in CLASSES.items()}
    return f"{path.name}: {profile['width']} x {profile['height']} pixels inside, {target.stat().st_size / 1e3:.0f} kB", areas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path)
    parser.add_argument("--size", type=int, default=3000, help="width and height of a map in pixels (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = options.directory or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        run(directory, options.size)


def run(directory: Path, size: int) -> None:
    polygon = mask_polygon(size)
    paths = [directory / f"land_cover_{year}.tif" for year in YEARS]
    began = time.perf_counter()
    built = []
    with ProgressExecutor(unit="map") as executor:
        made = executor.map(make_map, paths, YEARS, [size] * len(paths), desc="make")
        clipped = executor.map(clip, made, [polygon] * len(paths), ordered=False, desc="clip", total=len(paths))
        for message, areas in clipped:
            tqdm.write(message)  # print() that leaves the bar alone
            built.append(areas["built"])
    print(f"{len(built)} maps clipped in {time.perf_counter() - began:.1f} s")
    print(f"built: {min(built):.0f} km² in {YEARS[0]}, {max(built):.0f} km² in {YEARS[-1]}")


if __name__ == "__main__":
    main()
