"""Ranks against threads: two ranks of one thread, and one process of two, on the same two cores.

Both train the default network with the same batches, in turn, several times; the ratio of each pair
is reported, so a machine that changes its speed meanwhile does no harm. Steps are timed, after the
first few; validation and the start of the processes are not. How long the first rank waits for the
other and for what both send is timed as well. Each pair is shown as it is measured, and no new pair
begins after the time of its precision and size: five minutes in all.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    """Train as one of the processes; the first prints images/s, and its milliseconds of waiting."""
    torch.set_num_threads(2 // int(os.environ.get("WORLD_SIZE", "1")))  # noqa: TID251
    torch.manual_seed(0)
    n_steps = N_STEPS[size_px]
    n_images = n_steps * HOW["batch_size"]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n_images, size_px, size_px, 3), np.uint8)
    augmentation = Augmentation(flips="dihedral", colour_jitter=0.08)
    waits = Waits()
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
        moments = {
            event.step: (time.perf_counter(), waits.seconds)
            for event in events
            if isinstance(event, Step)
        }
        n_timed = n_steps - N_WARM_UP
        seconds, waited = np.subtract(moments[n_steps], moments[N_WARM_UP])
        if ranks.is_first:
            print(n_timed * HOW["batch_size"] / seconds, 1e3 * waited / n_timed)


class Waits:
    """The seconds that this process has been in the calls by which ranks exchange tensors."""

    def __init__(self) -> None:
        self.seconds = 0.0
        for name in ("all_reduce", "all_to_all_single"):
            setattr(torch.distributed, name, self._timed(getattr(torch.distributed, name)))

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            started = time.perf_counter()
            done = call(*given)
            self.seconds += time.perf_counter() - started
            return done

        return timed


def train(n_ranks: int, words: list[str]) -> tuple[float, float]:
    """Train with so many processes on the cores of this one; return images/s and waiting in ms."""
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
    speed, waited = map(float, said[0].split())
    return speed, waited


def main() -> None:
    """Print the speed of both, and their ratio, for each precision and size."""
    if sys.argv[1:2] == ["--here"]:
        train_here(sys.argv[2], int(sys.argv[3]))
        return
    cores = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, cores)  # of the processes that are started from here, too
    lines = [
        "| precision | side | one process | two ranks | waiting, ms a step | ratio (range) |",
        "|---|---|---|---|---|---|",
    ]
    for precision, size_px in WAYS:
        pairs: list[tuple[float, float, float]] = []
        ends = time.monotonic() + SECONDS
        while len(pairs) < FEWEST_PAIRS or (len(pairs) < MOST_PAIRS and time.monotonic() < ends):
            order = (1, 2) if len(pairs) % 2 else (2, 1)
            found = {n: train(n, [precision, str(size_px)]) for n in order}
            (one, _), (two, waited) = found[1], found[2]
            pairs.append((one, two, waited))
            print(
                f"{precision}, {size_px} px: {one:.0f} and {two:.0f} images/s, {two / one:.2f}",
                flush=True,
            )
        ratios = np.array([two / one for one, two, _ in pairs])
        one, two, waited = np.median(pairs, axis=0)
        lines.append(
            f"| {precision} | {size_px} px | {one:.0f} images/s | {two:.0f} images/s | "
            f"{waited:.0f} | {np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f}) |"
        )
    print("\n" + "\n".join(lines))
    print(f"\n{conditions()}")


if __name__ == "__main__":
    main()
