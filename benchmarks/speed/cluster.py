"""Predict on a Ray cluster of this machine, against the plain command: ratio after start-up.

``python -m benchmarks.speed.cluster BUNDLE [--images N] [--rounds N]`` draws an archive of small
images and predicts it in both ways in turn. The time of a way on the images beyond the first
parts is what counts: each is run on few images as well, and that time is taken away as start-up.
Both use all cores: one by as many threads as cores, the other by a process a core.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.conditions import conditions
from benchmarks.speed.predicting import seconds_of, spread
from diascope.serving.bulk import PART_SIZE
from diascope.steps.predict import predict

SIDE_PX = 72
N_DRAWN = 512  # different images; the archive repeats them under other names


def main() -> None:
    """Print a row for each way, and their ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    wanted = parser.parse_args()
    n_few = min(PART_SIZE // 8, wanted.images // 2)
    ratios, speeds = [], {"plain": [], "on a cluster": []}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        many = _drawn(folder / "many.zip", wanted.images)
        few = _drawn(folder / "few.zip", n_few)
        for number in range(wanted.rounds):
            seconds = {}
            for name, ray in (("plain", None), ("on a cluster", "local")):
                first, both = (
                    seconds_of(
                        lambda path=path, ray=ray, number=number: predict(
                            wanted.bundle,
                            [path],
                            out=folder / f"{number}-{path.stem}-{ray}.parquet",
                            ray=ray,
                        )
                    )
                    for path in (few, many)
                )
                seconds[name] = both - first
                speeds[name].append((wanted.images - n_few) / seconds[name])
            ratios.append(seconds["on a cluster"] / seconds["plain"])
            tables = [folder / f"{number}-many-{ray}.parquet" for ray in (None, "local")]
            if tables[0].read_bytes() != tables[1].read_bytes():
                raise SystemExit("The two tables differ.")
    print(f"{wanted.images} images of {SIDE_PX} px, {wanted.rounds} rounds, the same bytes\n")
    print("| way | images/s after start-up, median (range) |\n|---|---|")
    for name, values in speeds.items():
        print(f"| {name} | {spread(values)} |")
    print(f"\nseconds on a cluster / plain: {spread(ratios, digits=2)}\n\n{conditions()}")


def _drawn(path: Path, n_images: int) -> Path:
    """Write an archive of smooth images in PNG."""
    rng = np.random.default_rng(0)
    contents = []
    for _ in range(min(N_DRAWN, n_images)):
        drawn = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        file = BytesIO()
        drawn.resize((SIDE_PX, SIDE_PX)).save(file, "PNG")
        contents.append(file.getvalue())
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(n_images):
            archive.writestr(f"{number:07d}.png", contents[number % len(contents)])
    return path


if __name__ == "__main__":
    main()
