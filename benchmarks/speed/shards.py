"""A pack in several files against one in a single file, and from a local object store.

``python -m benchmarks.speed.shards`` draws 40,000 images of 64 px, packs them into one file and
into eight, and reads batches of 128 from both in turn, warm: rows at random, rows in order, and
rows at random as a training takes them, augmented and normalised. ``--n 4000`` draws fewer images.
With s3fs and moto, rows at random are also read from an S3 server on this machine, for the first
and for the second time; the server is written in Python and shares the processor.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.conditions import conditions
from diascope.data.pack_places import PackFolder, PackPlace, PackStore
from diascope.data.shards import Layout
from diascope.system.remote import open_store
from diascope.training.inputs import ImageInputs
from diascope.training.plan import Augmentation

SIDE_PX, BATCH_SIZE, N_SHARDS, N_ROUNDS = 64, 128, 8, 40
N_BATCHES = 40  # a round; of the augmented ones a tenth


def main() -> None:
    """Print a row for each way of reading."""
    options = argparse.ArgumentParser()
    options.add_argument("--n", type=int, default=40_000)
    n_images = options.parse_args().n
    with tempfile.TemporaryDirectory() as folder:
        places = [PackFolder(Path(folder) / name) for name in ("one", "several")]
        shards = [n_images, -(-n_images // N_SHARDS)]
        one, several = (packed(*each) for each in zip(places, shards, [n_images] * 2, strict=True))
        assert np.array_equal(one[: n_images // 3], several[: n_images // 3])  # noqa: S101
        print("| rows | rows/s of one file | rows/s of several | ratio, median (range) |")
        print("|---|---|---|---|")
        for name, read, n_batches in ways():
            for images in (one, several):
                read(images, n_batches, 0)
            seconds = [
                [timed(read, images, n_batches, round_number) for images in (one, several)]
                for round_number in range(N_ROUNDS)
            ]
            ratios = [first / second for first, second in seconds]
            speeds = [
                n_batches * BATCH_SIZE / statistics.median(each)
                for each in zip(*seconds, strict=True)
            ]
            print(
                f"| {name} | {speeds[0]:,.0f} | {speeds[1]:,.0f} | "
                f"{statistics.median(ratios):.3f} ({min(ratios):.2f} to {max(ratios):.2f}) |",
                flush=True,
            )
        with local_store() as address:
            if address is not None:
                print_from_store(address, Path(folder), min(n_images, 4000))
    print(f"\n{conditions()}")


def packed(place: PackPlace, rows_a_shard: int, n_images: int) -> Any:
    """Write drawn images and open them."""
    layout = Layout(n_images, SIDE_PX, rows_a_shard)
    for shard in layout.shards:
        place.write_shard(layout, shard, map(drawn, layout.rows(shard)))
    place.write_index(layout, {"n_images": n_images})
    index = place.index()
    assert index is not None  # noqa: S101
    return place.open(layout, index)


def drawn(row: int) -> NDArray[np.uint8]:
    """Return one image of noise."""
    return np.random.default_rng(row).integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)


def ways() -> Iterator[tuple[str, Callable[[Any, int, int], None], int]]:
    """Yield the ways to read: a name, a function that reads so many batches, and how many."""

    def at_random(images: Any, n_batches: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(n_batches):
            images[rng.integers(0, len(images), BATCH_SIZE)]

    def in_order(images: Any, n_batches: int, seed: int) -> None:
        for batch in range(n_batches):
            start = (seed * n_batches + batch) * BATCH_SIZE % (len(images) - BATCH_SIZE)
            images[np.arange(start, start + BATCH_SIZE)]

    def augmented(images: Any, n_batches: int, seed: int) -> None:
        how = Augmentation(flips="dihedral")
        inputs = ImageInputs(images, (0.5,) * 3, (0.3,) * 3, how, seed)
        rng = np.random.default_rng(seed)
        for step in range(n_batches):
            rows = rng.integers(0, len(images), BATCH_SIZE)
            inputs.to_learn(rows, step, torch.device("cpu"))

    yield "at random", at_random, N_BATCHES
    yield "in order", in_order, N_BATCHES
    yield "at random, augmented", augmented, N_BATCHES // 10


def timed(read: Callable[[Any, int, int], None], images: Any, n_batches: int, seed: int) -> float:
    """Return the seconds of some batches."""
    started = time.perf_counter()
    read(images, n_batches, seed)
    return time.perf_counter() - started


@contextlib.contextmanager
def local_store() -> Iterator[str | None]:
    """Serve a bucket on this machine, and yield its address; None without s3fs or moto."""
    try:
        import s3fs
        from moto.server import ThreadedMotoServer
    except ImportError:
        yield None
        return
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # or it prints each request
    with contextlib.redirect_stdout(io.StringIO()):
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
    host, port = server.get_host_and_port()
    about = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    about |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    os.environ.update(about)  # noqa: TID251 - what the library reads
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir("packs")
    try:
        yield "s3://packs/drawn"
    finally:
        server.stop()


def print_from_store(address: str, folder: Path, n_images: int) -> None:
    """Print how fast rows come from a store, and when they are read again."""
    place = PackStore(open_store(address), folder)
    images = packed(place, -(-n_images // N_SHARDS), n_images)
    order = np.random.default_rng(0).permutation(n_images)
    print(f"\n{n_images:,} images in a local object store, rows/s in batches of {BATCH_SIZE}:")
    for name in ("read for the first time", "again"):
        started = time.perf_counter()
        for start in range(0, n_images, BATCH_SIZE):
            images[order[start : start + BATCH_SIZE]]
        print(f"{name}: {n_images / (time.perf_counter() - started):,.0f}")


if __name__ == "__main__":
    main()
