"""Estimate pi by throwing points, with several generators of random numbers, and see what each task says while it runs.

    python examples/estimate_pi.py [--tasks N] [--points N]

The tasks know nothing of poolbar: they print, log, and have a tqdm bar. All of it arrives above and below the main bar.
"""

import argparse
import logging
import math
import random
from statistics import mean

from tqdm import tqdm

from poolbar import ProcessPoolExecutor

ROUND = 10_000  # points


def estimate(seed: int, points: int) -> float:
    generator = random.Random(seed)
    inside = thrown = 0
    for _ in tqdm(range(points // ROUND), desc=f"seed {seed}", unit="round"):
        inside += sum(generator.random() ** 2 + generator.random() ** 2 < 1 for _ in range(ROUND))
        thrown += ROUND
    found = 4 * inside / thrown
    print(f"seed {seed:2}: {found:.5f}")
    if abs(found - math.pi) > 2 / math.sqrt(thrown):
        logging.getLogger("pi").warning("seed %d is off by %.5f", seed, abs(found - math.pi))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=24)
    parser.add_argument("--points", type=int, default=4_000_000, help="for each task; default: %(default)s")
    options = parser.parse_args()
    logging.basicConfig(format="%(levelname)s %(name)s (pid %(process)d): %(message)s")

    with ProcessPoolExecutor(desc="pi") as executor:
        found = list(executor.map(estimate, range(options.tasks), [options.points] * options.tasks))
    print(f"{mean(found):.6f} on average; pi is {math.pi:.6f}")


if __name__ == "__main__":
    main()
