"""Ranks against threads: two ranks of one thread, and one process of two, on the same two cores.

Both train the default network with the same batches, in turn, several times; the ratio of each pair
is reported, so a machine that changes its speed meanwhile does no harm. Steps are timed, after the
first few; validation and the start of the processes are not. Each pair is shown as it is measured,
and no new pair begins after the time of its precision and size: five minutes in all.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.conditions import conditions
from diascope.models.compact import build
from diascope.training.inputs import ImageInputs
from diascope.training.joining import joined
from diascope.training.loop import Step, train_epochs
from diascope.training.plan import Augmentation, Training

WAYS = (("fp32", 64), ("fp32", 128), ("bf16", 64))
FEWEST_PAIRS, MOST_PAIRS = 2, 7
SECONDS = 80  # for the pairs of one way
N_WARM_UP = 3
N_STEPS = {64: 24, 128: 10}  # by the size
HOW = {
    "max_epochs": 1,
    "batch_size": 128,
    "optimizer": "muon",
    "learning_rate": 2e-3,
    "weight_decay": 0.02,
    "schedule": "one_cycle",
    "label_smoothing": 0.1,
    "imbalance": "none",
    "selection": "last",
    "patience_epochs": 0,
}


def train_here(precision: str, size_px: int) -> None:
    """Train as one of the processes; print images per second, if it is the first."""
    torch.set_num_threads(2 // int(os.environ.get("WORLD_SIZE", "1")))  # noqa: TID251
    torch.manual_seed(0)
    n_steps = N_STEPS[size_px]
    n_images = n_steps * HOW["batch_size"]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n_images, size_px, size_px, 3), np.uint8)
    augmentation = Augmentation(flips="dihedral", colour_jitter=0.08)
    with joined() as ranks, tempfile.TemporaryDirectory() as folder:
        events = train_epochs(
            build(2, size_px),
            ImageInputs(images, (0.5,) * 3, (0.3,) * 3, augmentation, 0),
            np.arange(n_images) % 2,
            train=np.arange(n_images),
            val=np.arange(16),
            how=Training(**HOW, max_steps=n_steps, precision=precision),
            seed=0,
            checkpoint=Path(folder) / "last.safetensors",
            ranks=ranks,
        )
        moments = {event.step: time.perf_counter() for event in events if isinstance(event, Step)}
        seconds = moments[n_steps] - moments[N_WARM_UP]
        if ranks.is_first:
            print((n_steps - N_WARM_UP) * HOW["batch_size"] / seconds)


def images_per_second(n_ranks: int, words: list[str]) -> float:
    """Train with so many processes on the cores of this one; return the speed."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = str(listening.getsockname()[1])
    processes = []
    for rank in range(n_ranks):
        place = {"RANK": rank, "WORLD_SIZE": n_ranks, "LOCAL_RANK": rank, "MASTER_PORT": port}
        place |= {"LOCAL_WORLD_SIZE": n_ranks, "MASTER_ADDR": "127.0.0.1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.speed.ranks", "--here", *words],
            env=os.environ  # noqa: TID251 - benchmarks may
            | {name: str(value) for name, value in place.items()}
            | {"OMP_NUM_THREADS": str(2 // n_ranks)}
            | {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"},
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
    said = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit("A process failed.")
    return float(said[0])


def main() -> None:
    """Print the speed of both, and their ratio, for each precision and size."""
    if sys.argv[1:2] == ["--here"]:
        train_here(sys.argv[2], int(sys.argv[3]))
        return
    cores = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, cores)  # of the processes that are started from here, too
    lines = [
        "| precision | side | one process | two ranks | ratio, median (range) |",
        "|---|---|---|---|---|",
    ]
    for precision, size_px in WAYS:
        pairs: list[tuple[float, float]] = []
        ends = time.monotonic() + SECONDS
        while len(pairs) < FEWEST_PAIRS or (len(pairs) < MOST_PAIRS and time.monotonic() < ends):
            order = (1, 2) if len(pairs) % 2 else (2, 1)
            speed = {n: images_per_second(n, [precision, str(size_px)]) for n in order}
            pairs.append((speed[1], speed[2]))
            print(
                f"{precision}, {size_px} px: {speed[1]:.0f} and {speed[2]:.0f} images/s, "
                f"{speed[2] / speed[1]:.2f}",
                flush=True,
            )
        ratios = np.array([two / one for one, two in pairs])
        one, two = np.median(pairs, axis=0)
        lines.append(
            f"| {precision} | {size_px} px | {one:.0f} images/s | {two:.0f} images/s | "
            f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f}) |"
        )
    print("\n" + "\n".join(lines))
    print(f"\n{conditions()}")


if __name__ == "__main__":
    main()
