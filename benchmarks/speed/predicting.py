"""Predict files, against its two limits: decoding alone, and the network alone on the pixels.

``python -m benchmarks.speed.predicting BUNDLE PATH [--images N] [--engine NAME]`` takes the first N
images of a folder or archive and times the three in turn. What `predict` reaches of the slower
limit is what it makes of the machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.conditions import conditions
from diascope.bundle.image_files import decoders, list_image_files, read_ahead
from diascope.bundle.onnx_engine import with_engine
from diascope.bundle.predicting import CHUNK
from diascope.steps.predict import predict
from diascope.training.run import open_bundle

N_ROUNDS = 5


def main() -> None:
    """Print a row for each of the three."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle")
    parser.add_argument("path", type=Path)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--engine", default="torch")
    wanted = parser.parse_args()
    bundle = with_engine(open_bundle(wanted.bundle), wanted.engine)
    with ExitStack() as opened, tempfile.TemporaryDirectory() as folder:
        files, _ = list_image_files([wanted.path], opened)
        paths = []
        for number, (_, read) in enumerate(files[: wanted.images]):
            paths.append(Path(folder) / f"{number}.image")
            paths[-1].write_bytes(read())
        n_images = len(paths)
        images = [(str(path), path.read_bytes) for path in paths]
        decode = opened.enter_context(decoders())

        def read_all() -> list[np.ndarray]:
            read = read_ahead(decode, bundle.card.pixels, images, n_at_once=CHUNK)
            return [one for _, chunk in read for one in chunk if isinstance(one, np.ndarray)]

        pixels = np.stack(read_all())
        if len(pixels) < n_images:
            sys.exit(f"{n_images - len(pixels)} of the images cannot be read.")
        out = Path(folder) / "predictions.csv"
        ways: dict[str, Callable[[], object]] = {
            "decoding alone": read_all,
            "network alone": lambda: bundle.predict_with_ood_scores(pixels),
            "`predict`": lambda: predict(
                wanted.bundle, paths, out=out, engine=wanted.engine, overwrite=True
            ),
        }
        predict(
            wanted.bundle, paths[:CHUNK], out=out, engine=wanted.engine
        )  # whatever is made at first use
        rounds = [{name: seconds_of(way) for name, way in ways.items()} for _ in range(N_ROUNDS)]
    print(f"{n_images} images, {bundle.card.model}, {bundle.card.size_px} px, {wanted.engine}\n")
    print("| what | images/s, median (range) |\n|---|---|")
    for name in ways:
        print(f"| {name} | {spread([n_images / one[name] for one in rounds])} |")
    ratios = [max(list(one.values())[:2]) / one["`predict`"] for one in rounds]
    print(f"\n`predict` against the slower limit: {spread(ratios, digits=2)}\n\n{conditions()}")


def seconds_of(way: Callable[[], object]) -> float:
    """Return what one call takes."""
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def spread(values: list[float], digits: int = 0) -> str:
    """Return median and range in words."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    main()
